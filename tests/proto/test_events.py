"""Events: complete when they exist, views of `Bus` both ways, and the questions that they answer about themselves."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind
from thalovant_proto.secret import Secret

words = st.text(min_size=1, max_size=12)
bodies = st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=8), max_size=4)

# --- views: made here, and read off the wire

MADE = {
    "utterance": (
        e.Utterance(text="lights on", lang="en-gb"),
        "recognizer_loop:utterance",
        {"utterances": ["lights on"], "lang": "en-gb"},
    ),
    "utterance, newer name": (
        e.Utterance(type="ovos.utterance.handle", text="lights on"),
        "ovos.utterance.handle",
        {"utterances": ["lights on"], "lang": "en-us"},
    ),
    "speak": (e.Speak(text="done", lang="pt-pt"), "speak", {"utterance": "done", "lang": "pt-pt"}),
    "speak, newer name": (
        e.Speak(type="ovos.utterance.speak", text="done"),
        "ovos.utterance.speak",
        {"utterance": "done", "lang": "en-us"},
    ),
    "speak, media only": (
        e.Speak(data={"media": [{"url": "https://hub.test/a.png"}]}),
        "speak",
        {"utterance": "", "lang": "en-us", "media": [{"url": "https://hub.test/a.png"}]},
    ),
    "handled": (e.UtteranceHandled(), "ovos.utterance.handled", {}),
    "failure": (e.IntentFailure(), "complete_intent_failure", {}),
    "failure, newer name": (e.IntentFailure(type="ovos.intent.unmatched"), "ovos.intent.unmatched", {}),
    "denied": (
        e.PolicyDenied(denied_type="rig.forbidden", code="acl_disallowed_type", reason="not in allowed_types"),
        "hive.policy.denied",
        {"denied_type": "rig.forbidden", "code": "acl_disallowed_type", "reason": "not in allowed_types"},
    ),
}


@pytest.mark.parametrize(("view", "name", "data"), MADE.values(), ids=MADE)
def test_a_view_writes_the_bus_message_and_is_read_back(view, name, data):
    """What a view says is in `type` and `data`, where peers look for it; to the table it is a `Bus`."""
    assert view.type == name
    assert view.data == data
    assert view.wire_kind is e.Bus
    assert view.payload == {"type": name, "data": data, "context": {}}
    assert e.bus(type=name, data=data, context={}) == view


READ = {
    "only the first utterance counts": (
        e.UTTERANCE, {"utterances": ["a", "b"]}, e.Utterance(text="a", data={"utterances": ["a", "b"]}),
    ),
    "lang that is no text": (
        e.SPEAK, {"utterance": "a", "lang": 1}, e.Speak(text="a", data={"utterance": "a", "lang": 1}),
    ),
    "denial without details": (
        e.POLICY_DENIED, {"denied_type": "bus"}, e.PolicyDenied(denied_type="bus", data={"denied_type": "bus"}),
    ),
    "denial with odd details": (
        e.POLICY_DENIED,
        {"denied_type": "bus", "code": 5, "reason": None},
        e.PolicyDenied(denied_type="bus", data={"denied_type": "bus", "code": 5, "reason": None}),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "view"), READ.values(), ids=READ)
def test_odd_but_usable_data_make_a_view(name, data, view):
    """A view takes what it can use and leaves `data` as it came."""
    found = e.bus(type=name, data=data, context={})

    assert found == view
    assert found.data == data


PLAIN = {
    "no view for the type": ("recognizer_loop:b64_audio", {"utterance": "a"}),
    "no utterances": (e.UTTERANCE, {}),
    "utterances that are no list": (e.UTTERANCE, {"utterances": "lights on"}),
    "empty utterances": (e.UTTERANCE, {"utterances": []}),
    "an utterance that is no text": (e.UTTERANCE, {"utterances": [1]}),
    "an empty utterance": (e.UTTERANCE, {"utterances": [""]}),
    "speak without text": (e.SPEAK, {"media": []}),
    "speak whose text is none": (e.SPEAK, {"utterance": ["a"]}),
    "denial of nothing": (e.POLICY_DENIED, {"code": "policy_error"}),
}


@pytest.mark.parametrize(("name", "data"), PLAIN.values(), ids=PLAIN)
def test_data_that_do_not_fit_stay_a_plain_bus_message(name, data):
    """A view is never half filled: what does not fit keeps its type and data, and is a `Bus`."""
    found = e.bus(type=name, data=data, context={"a": 1}, metadata={"b": 2})

    assert found == e.Bus(type=name, data=data, context={"a": 1}, metadata={"b": 2})


@given(text=words, lang=words, data=bodies, context=bodies)
def test_unknown_data_and_context_stay_beside_what_a_view_knows(text, lang, data, context):
    """Building and reading a view keeps every other field."""
    data = {name: value for name, value in data.items() if name not in ("utterances", "lang")}
    made = e.Utterance(text=text, lang=lang, data=data, context=context)

    found = e.bus(type=made.type, data=made.data, context=made.context)

    assert found == made
    assert data.items() <= found.data.items()
    assert found.context == context


def test_changing_a_view_keeps_it_whole():
    """A routed copy of a view still says the same, in its fields and in `data`."""
    made = e.Utterance(text="lights on", lang="de-de")

    routed = attrs.evolve(made, context={"source": "here"})

    assert (
        routed.text, routed.lang, routed.data, routed.context,
    ) == ("lights on", "de-de", made.data, {"source": "here"})  # fmt: skip


@pytest.mark.parametrize("make", [lambda: e.Utterance(text=""), lambda: e.Bus(type="")], ids=["utterance", "bus"])
def test_events_are_complete_when_they_exist(make):
    """An utterance without words and a bus message without a type cannot be made; what was handed out is a fact."""
    with pytest.raises(ValueError):
        make()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        e.Speak(text="a").text = "b"


# --- what they know about themselves

SESSIONS = {
    "in the session": ({"session": {"session_id": "a"}, "session_id": "b"}, "a"),
    "beside it": ({"session": {"session_id": ""}, "session_id": "b"}, "b"),
    "a session that is no object": ({"session": "a", "session_id": "b"}, "b"),
    "a number": ({"session": {"session_id": 7}}, "7"),
    "nowhere": ({"session": {}}, None),
}


@pytest.mark.parametrize(("context", "expected"), SESSIONS.values(), ids=SESSIONS)
def test_session_id_of_a_bus_message(context, expected):
    """`context.session.session_id` or `context.session_id`, as text."""
    assert e.Bus(type="a", context=context).session_id == expected


REQUESTS = {
    "context first": ({"request_id": "a", "session": {"request_id": "b"}}, {"request_id": "c"}, "a"),
    "then its session": ({"session": {"request_id": "b"}}, {"request_id": "c"}, "b"),
    "then data": ({"session": "no object"}, {"request_id": "c"}, "c"),
    "the first of three names": ({"correlation_id": "z", "thalovant_request_id": "y"}, {}, "y"),
    "the last of them": ({"correlation_id": "z"}, {}, "z"),
    "a place before a name": ({"correlation_id": "z"}, {"request_id": "c"}, "z"),
    "empty counts as none": ({"request_id": ""}, {"request_id": 0}, None),
    "a number": ({"request_id": 12}, {}, "12"),
}


@pytest.mark.parametrize(("context", "data", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_request_id_of_a_bus_message(context, data, expected):
    """Three names in three places, places first."""
    assert e.Bus(type="a", context=context, data=data).request_id == expected


@pytest.mark.parametrize(("site", "expected"), [("kitchen", "kitchen"), ("", None), (None, None), (3, None)])
def test_site_id_of_a_hello(site, expected):
    """Text or nothing."""
    assert e.ClientHello(payload={"site_id": site}).site_id == expected


@pytest.mark.parametrize(
    ("number", "name"), [(0, "binary:0"), (1, "raw_audio"), (e.BinType.TTS_AUDIO, "tts_audio"), (15, "binary:15")]
)
def test_name_of_a_binary(number, name):
    """Subtypes in lower case, unknown ones by number."""
    assert e.Binary(bin_type=number).name == name


# --- what they do not tell


def test_secrets_are_in_no_repr():
    """Proofs, keys, Noise messages and hub names stay out of logs."""
    hidden = b"\xaa" * 32
    events = [
        e.ClearHello(payload={"secret": "hidden"}),
        e.HubHello(payload={"secret": "hidden"}),
        e.Offer(payload={"secret": "hidden"}),
        e.Xx1(suite="s", message=hidden),
        e.Kk1(suite="s", message=hidden),
        e.Noise2(message=hidden),
        e.Noise3(message=hidden),
        e.Proof(envelope="hidden"),
        e.ProofAnswer(envelope="hidden"),
        e.Bus(type="a", target_pubkey="hidden"),
        e.Binary(payload=hidden),
        e.HandshakeCompleted(
            generation=e.Generation.NOISE, node_id="hidden", peer_static=hidden, psk=Secret(b"hidden" * 6)
        ),
    ]  # fmt: skip

    for text in map(repr, events):
        assert "hidden" not in text
        assert repr(hidden)[2:-1] not in text


@pytest.mark.parametrize("kind", [e.HandshakeCompleted, e.Proven, e.Closed], ids=lambda kind: kind.__name__)
def test_local_facts_are_their_own_kind(kind):
    """They never travel: nothing maps them to a kind that does."""
    arguments = {"generation": e.Generation.NOISE, "node_id": "", "kind": CloseKind.CLOSED}
    names = {field.name for field in attrs.fields(kind)}

    assert kind(**{name: value for name, value in arguments.items() if name in names}).wire_kind is kind


def test_bus_message_needs_a_type():
    """However it is made."""
    for make in (e.bus, e.Bus):
        with pytest.raises(ValueError):
            make(type="", data={}, context={})
