"""Events as users see them: names, and the fields that every message has somewhere."""

from __future__ import annotations

import pickle
import threading
from types import SimpleNamespace

import pytest

from thalovant import ThalovantEvent, ThalovantPolicyDeniedError, ThalovantReply, events
from thalovant_proto.events import Bus

NAMES = {
    "EVENT_RECOGNIZER_LOOP_UTTERANCE": "recognizer_loop:utterance",
    "EVENT_SPEAK": "speak",
    "EVENT_FALLBACK_LIST": "ovos.skills.fallback.list",
    "EVENT_FALLBACK_LIST_RESPONSE": "ovos.skills.fallback.list.response",
    "UNTRACKED_UTTERANCE_GRACE_SECONDS": 10.0,
    "MAX_AUDIO_CLIP_BYTES": 4_194_304,
    "MAX_REPLY_MEDIA_BYTES": 16_777_216,
    "EVENT_UTTERANCE_HANDLED": "ovos.utterance.handled",
    "EVENT_INTENT_FAILURE": "complete_intent_failure",
    "EVENT_POLICY_DENIED": "hive.policy.denied",
    "EVENT_OVOS_UTTERANCE_SPEAK": "ovos.utterance.speak",
    "EVENT_QUERY_TIMEOUT": "hive.query.timeout",
    "EVENT_INTENT_UNMATCHED": "ovos.intent.unmatched",
    "EVENT_AUDIO_QUEUE": "mycroft.audio.queue",
    "EVENT_INTENT_LIST": "ovos.intent.list",
    "EVENT_INTENT_LIST_RESPONSE": "ovos.intent.list.response",
    "EVENT_INTENT_DESCRIBE": "ovos.intent.describe",
    "EVENT_INTENT_DESCRIBE_RESPONSE": "ovos.intent.describe.response",
    "EVENT_SKILLS_LIST": "ovos.skills.list",
    "EVENT_SKILLS_LIST_RESPONSE": "ovos.skills.list.response",
    "EVENT_ADAPT_MANIFEST": "intent.service.adapt.manifest",
    "EVENT_ADAPT_MANIFEST_GET": "intent.service.adapt.manifest.get",
    "EVENT_PADATIOUS_MANIFEST": "intent.service.padatious.manifest",
    "EVENT_PADATIOUS_MANIFEST_GET": "intent.service.padatious.manifest.get",
    "HIVE_BROADCAST": "broadcast",
    "HIVE_PROPAGATE": "propagate",
    "HIVE_ESCALATE": "escalate",
    "HIVE_INTERCOM": "intercom",
    "HIVE_RENDEZVOUS": "rendezvous",
    "HOME_REQUEST": "thalovant.home.request",
    "HOME_RESPONSE": "thalovant.home.response",
}


@pytest.mark.parametrize(("name", "value"), NAMES.items())
def test_name(name, value):
    """The constants are the wire's words."""
    assert getattr(events, name) == value


def event(data=None, context=None, name="speak") -> ThalovantEvent:
    return ThalovantEvent(name, data or {}, context or {})


@pytest.mark.parametrize(
    ("name", "failure", "denied"),
    [
        ("speak", False, False),
        ("ovos.utterance.handled", False, False),
        ("complete_intent_failure", True, False),
        ("ovos.intent.unmatched", True, False),
        ("hive.query.timeout", True, False),
        ("hive.policy.denied", True, True),
    ],
)
def test_failures(name, failure, denied):
    """Four events say that there will be no answer."""
    assert (event(name=name).is_failure, event(name=name).is_policy_denied) == (failure, denied)


@pytest.mark.parametrize(
    ("data", "text", "utterances"),
    [
        ({}, "", ()),
        ({"utterance": "hi"}, "hi", ("hi",)),
        ({"text": "hi"}, "hi", ()),
        ({"utterances": ["a", "b"]}, "a", ("a", "b")),
        ({"utterances": "a"}, "a", ("a",)),
        ({"utterance": "", "text": "x", "utterances": ["q"]}, "x", ("q",)),
        ({"utterance": 5, "utterances": ["q", 3, "z"]}, "q", ("q", "z")),
        ({"utterances": []}, "", ()),
        ({"utterance": "  a  b "}, "  a  b ", ("  a  b ",)),
    ],
)
def test_what_is_said(data, text, utterances):
    """Utterance, text, or the first of several; all of them."""
    assert (event(data).text, event(data).utterances) == (text, utterances)


@pytest.mark.parametrize(
    ("data", "context", "session", "request_"),
    [
        ({}, {}, None, None),
        ({}, {"session": {"session_id": "S"}}, "S", None),
        ({}, {"session_id": "T"}, "T", None),
        ({}, {"session": {"session_id": ""}, "session_id": "T"}, "T", None),
        ({}, {"session": {"session_id": 5}}, "5", None),
        ({}, {"session": "no mapping", "session_id": "T"}, "T", None),
        ({"session_id": "not here"}, {}, None, None),
        ({}, {"request_id": "", "thalovant_request_id": "TR", "correlation_id": "C"}, None, "TR"),
        ({"request_id": "D"}, {"session": {"request_id": "Q"}}, None, "Q"),
        ({"request_id": "D"}, {"correlation_id": "C"}, None, "C"),
        ({"correlation_id": "D"}, {}, None, "D"),
        ({}, {"request_id": 5}, None, "5"),
    ],
)
def test_ids(data, context, session, request_):
    """Where hubs and skills put them, as text."""
    assert (event(data, context).session_id, event(data, context).request_id) == (session, request_)


@pytest.mark.parametrize(
    ("data", "context", "lang", "site"),
    [
        ({}, {}, None, None),
        ({"lang": "de"}, {"lang": "fr", "session": {"lang": "it", "site_id": "s"}, "site_id": "t"}, "de", "s"),
        ({"lang": ""}, {"lang": "fr", "site_id": "t"}, "fr", "t"),
        ({}, {"session": {"lang": "it"}}, "it", None),
    ],
)
def test_language_and_site(data, context, lang, site):
    """The nearest that is told."""
    assert (event(data, context).lang, event(data, context).site_id) == (lang, site)


FULL = {"session": {"session_id": "S"}, "request_id": "R"}
MATCHES = [
    # the event's context, what is asked for, whether it matches
    (FULL, {}, True),
    (FULL, {"session_id": "S"}, True),
    (FULL, {"session_id": "Z"}, False),
    ({"session": {"session_id": "hub:S"}}, {"session_id": "S"}, True),
    ({"session": {"session_id": "hub:S"}}, {"session_id": "b:S"}, False),
    ({"session": {"session_id": "hubS"}}, {"session_id": "S"}, False),
    (FULL, {"request_id": "R"}, True),
    (FULL, {"request_id": "Z"}, False),
    (FULL, {"session_id": "Z", "request_id": "R"}, True),
    (FULL, {"session_id": "S", "request_id": "Z"}, False),
    (FULL, {"session_id": ""}, True),
    (FULL, {"context": {"session": {"session_id": "Z"}}}, False),
    (FULL, {"context": {"thalovant_request_id": "Z"}}, False),
    (FULL, {"context": {"session": {"request_id": "R", "session_id": "Z"}}}, True),
    (FULL, {"context": {"session": {"session_id": "Z"}}, "session_id": "S"}, True),
    (FULL, {"context": {}}, True),
    ({}, {"session_id": "S", "request_id": "R"}, True),
    ({"request_id": "R"}, {"session_id": "Z"}, True),
    ({"session_id": "S"}, {"request_id": "Z"}, True),
    ({"session_id": "S"}, {"session_id": "Z", "request_id": "R"}, False),
]


@pytest.mark.parametrize(("context", "asked", "matches"), MATCHES)
def test_matching(context, asked, matches):
    """Two request ids decide alone, else two session ids do; what one side lacks is compatible."""
    assert event(context=context).matches_context(**asked) is matches


def test_from_a_transport():
    """Whatever object a transport hands over, its own name wins, and what is no mapping is empty."""
    message = SimpleNamespace(msg_type="rig.pong", data={"a": 1}, context={"b": 2})
    made = ThalovantEvent.from_message(message, "subscribed")
    assert (made.name, made.data, made.context, made.raw) == ("rig.pong", {"a": 1}, {"b": 2}, message)

    odd = ThalovantEvent.from_message(SimpleNamespace(msg_type=None, data=[1], context="x"), "subscribed")
    assert (odd.name, odd.data, odd.context) == ("subscribed", {}, {})
    assert ThalovantEvent.from_message(object(), "subscribed").name == "subscribed"


def test_from_the_core():
    """A bus message of the protocol core is an event."""
    bus = Bus(type="rig.pong", data={"a": 1}, context={"b": 2})

    assert ThalovantEvent.from_bus(bus) == ThalovantEvent("rig.pong", {"a": 1}, {"b": 2}, bus)


def test_as_dict():
    """The documented keys, no more."""
    assert event({"utterance": "<b>hi</b>", "lang": "de"}, FULL).as_dict() == {
        "name": "speak",
        "data": {"utterance": "<b>hi</b>", "lang": "de"},
        "context": FULL,
        "text": "<b>hi</b>",
        "display_text": "hi",
        "session_id": "S",
        "request_id": "R",
        "display_items": [
            {"kind": "text", "text": "hi", "data": None, "title": None, "payload": None, "url": None, "silent": False}
        ],
    }


def test_repr():
    """Name, data, context; not the object that it came from."""
    assert (
        repr(ThalovantEvent("n", {"a": 1}, {"b": 2}, "raw"))
        == "ThalovantEvent(name='n', data={'a': 1}, context={'b': 2})"
    )


def test_rich_media():
    """The part of the data that is to be shown."""
    assert event({"utterance": "x", "table": [1]}).rich_media == {"table": [1]}


def test_audio():
    """A queued sound may be inside the event, as hex."""
    sound = event({"uri": "x", "binary_data": "00ff"}, name="mycroft.audio.queue")
    elsewhere = event({"uri": "x"}, name="mycroft.audio.queue")

    assert (sound.is_audio, sound.has_audio, sound.audio_bytes()) == (True, True, b"\x00\xff")
    assert (elsewhere.is_audio, elsewhere.has_audio) == (True, False)


def test_audio_is_measured_before_it_is_decoded():
    """A limit of the caller's; the default is 4 MiB."""
    sound = event({"binary_data": "zz" * 5}, name="mycroft.audio.queue")

    with pytest.raises(ValueError, match="over 4 bytes"):
        sound.audio_bytes(max_bytes=4)
    with pytest.raises(ValueError, match="over 4194304 bytes"):
        event({"binary_data": "0" * (2 * events.MAX_AUDIO_CLIP_BYTES + 1)}, name="mycroft.audio.queue").audio_bytes()
    assert event({"binary_data": "00ff"}, name="mycroft.audio.queue").audio_bytes(max_bytes=2) == b"\x00\xff"


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ({"binary_data": "zz"}, "mycroft.audio.queue", "not hexadecimal"),
        ({"binary_data": 5}, "mycroft.audio.queue", "no embedded audio"),
        ({}, "mycroft.audio.queue", "no embedded audio"),
        ({"binary_data": "00"}, "speak", "no embedded audio"),
    ],
)
def test_no_audio(data, name, message):
    """Asking for a sound that is not there is an error of the caller's."""
    with pytest.raises(ValueError, match=message):
        event(data, name=name).audio_bytes()


# --- classes of events ---

HUGE = 10**5000
CLASSES = [
    (events.SpeakEvent, "speak"),
    (events.OvosSpeakEvent, "ovos.utterance.speak"),
    (events.UtteranceHandledEvent, "ovos.utterance.handled"),
    (events.AudioEvent, "mycroft.audio.queue"),
    (events.IntentFailureEvent, "complete_intent_failure"),
    (events.IntentUnmatchedEvent, "ovos.intent.unmatched"),
    (events.PolicyDeniedEvent, "hive.policy.denied"),
]


@pytest.mark.parametrize(("kind", "name"), CLASSES)
def test_class_of_a_name(kind, name):
    """Events of a known name come as its class, equal to a plain one, and as another class where that is asked for."""
    bus = Bus(type=name, data={"a": 1}, context={"b": 2})
    plain = ThalovantEvent(name, {"a": 1}, {"b": 2})

    message = SimpleNamespace(msg_type=name, data=bus.data, context=bus.context)
    for made in (ThalovantEvent.from_bus(bus), ThalovantEvent.from_message(message), kind.from_bus(bus)):
        assert (type(made), made, repr(made)) == (kind, plain, repr(plain).replace("ThalovantEvent", kind.__name__))
        assert made == plain and plain == made
    assert made not in (ThalovantEvent("other", {"a": 1}, {"b": 2}), ThalovantEvent(name), name, None)
    assert events.name_and_class(kind) == (name, kind)
    assert type(ThalovantEvent.from_bus(Bus(type="else"))) is ThalovantEvent


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (
            events.SpeakEvent,
            {"utterance": "hi", "expect_response": True, "meta": {"x": 1}},
        ),
        (events.AudioEvent, {"uri": "https://hub.example/a.mp3"}),
    ],
)
def test_fields(kind, data):
    """What a hub says; where it says nothing, or something else, the fields are empty."""
    assert {field: getattr(kind(kind.event_name, data), field) for field in data} == data
    for wrong in (None, 5, HUGE, "x" * 10**6, [], [HUGE]):
        made = kind(kind.event_name, dict.fromkeys(data, wrong))
        for field, right in data.items():
            assert getattr(made, field) == (
                wrong if isinstance(wrong, str) and isinstance(right, str) else type(right)()
            )
            assert getattr(kind, field) == type(right)()


def test_what_was_denied():
    """The error of it; a field that is missing or no text is empty."""
    data = {"denied_type": "t", "code": "c", "reason": HUGE, "data": {"allowed": [" a ", "", HUGE]}}
    error = events.PolicyDeniedEvent("hive.policy.denied", data).error

    assert isinstance(error, ThalovantPolicyDeniedError)
    assert (error.denied_type, error.code, error.reason, error.allowed, error.quota) == ("t", "c", "", ("a",), None)


def test_class_of_a_program():
    """The first class of a name is what its events come as; a second one is what they come as where it is asked for."""

    class Opened(ThalovantEvent, event="test.opened"):
        door = events.EventField(str, "unknown")

    class Again(ThalovantEvent, event="test.opened"):
        pass

    bus = Bus(type="test.opened", data={"door": "back"})
    assert (type(ThalovantEvent.from_bus(bus)), ThalovantEvent.from_bus(bus).door) == (Opened, "back")
    assert (type(Again.from_bus(bus)), events.name_and_class(Again)) == (Again, ("test.opened", Again))
    assert Opened("test.opened", {"door": 5}).door == "unknown"


@pytest.mark.parametrize("raw", [None, Bus(type="speak"), lambda: None, SimpleNamespace(lock=threading.Lock())])
def test_events_and_replies_travel_between_processes(raw):
    """They arrive equal; what they were made from stays behind."""
    event = events.SpeakEvent("speak", {"utterance": "hi"}, {"session": {"session_id": "s"}}, raw=raw)
    reply = ThalovantReply.from_events([event], handled=True, failure_event=ThalovantEvent("x", raw=raw))

    arrived, answer = pickle.loads(pickle.dumps((event, reply)))

    assert (arrived, type(arrived), answer) == (event, type(event), reply)
    assert (arrived.raw, answer.raw_messages, event.raw) == (None, (), raw)
