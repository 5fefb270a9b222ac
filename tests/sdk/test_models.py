"""What calls return: replies, health, timings, doctor reports."""

from __future__ import annotations

import pytest

from thalovant import (
    ThalovantConnectionInfo,
    ThalovantDoctorCheck,
    ThalovantDoctorReport,
    ThalovantEvent,
    ThalovantHealth,
    ThalovantReply,
)


def speak(text, name="speak", context=None, **data) -> ThalovantEvent:
    return ThalovantEvent(name, {"utterance": text, **data}, context or {})


@pytest.mark.parametrize(
    ("said", "utterances"),
    [
        ([], ()),
        (["a", "b"], ("a", "b")),
        (["a", "a", "b", "a"], ("a", "b", "a")),
        (["", "  ", "a"], ("a",)),
        (["  two\n words ", "two words"], ("two words",)),
    ],
)
def test_collected_text(said, utterances):
    """In one line each, blanks and immediate repetitions left out, joined by a space."""
    reply = ThalovantReply.from_events([speak(text) for text in said], handled=True)

    assert (reply.text, reply.utterances) == (" ".join(utterances), utterances)


def test_collected_reply():
    """Both kinds of speech count, other events are kept but not spoken; ids and raw messages go along."""
    events = [
        ThalovantEvent("speak", {"utterance": "a"}, raw="first"),
        ThalovantEvent("rig.note", {"utterance": "not said"}, raw="second"),
        ThalovantEvent("ovos.utterance.speak", {"utterance": "b"}, raw="third"),
    ]

    reply = ThalovantReply.from_events(iter(events), handled=True, session_id="S", request_id="R", dropped_media=1)

    assert reply == ThalovantReply(
        "a b", ("a", "b"), True, "S", "R", ("first", "second", "third"), tuple(events), None, dropped_media=1
    )


def test_reply_of_few_words():
    """Code that makes replies for tests names the text and little else."""
    reply = ThalovantReply("x")

    assert (reply.utterances, reply.handled, reply.session_id, reply.events) == ((), False, None, ())


@pytest.mark.parametrize(
    ("handled", "failure", "ok"),
    [(True, None, True), (False, None, False), (True, ThalovantEvent("complete_intent_failure"), False)],
)
def test_ok(handled, failure, ok):
    """Handled, and nothing failed."""
    assert ThalovantReply("x", handled=handled, failure_event=failure).ok is ok


def test_display():
    """The items of all events; a reply without any shows its text, SSML taken out."""
    assert [item.text for item in ThalovantReply("<b>hi</b> you").display_items()] == ["hi you"]
    assert ThalovantReply("<b>hi</b> you").display_text == "hi you"
    assert ThalovantReply("").display_items() == ()

    shown = ThalovantReply.from_events(
        [speak("one"), ThalovantEvent("x", {"table": [1]}), speak("two")]
    ).display_items()
    assert [(item.kind, item.text) for item in shown] == [("text", "one"), ("table", None), ("text", "two")]


def test_display_in_pieces():
    """The limit holds for the events' texts and for the reply's own."""
    for reply in (ThalovantReply("hello there"), ThalovantReply.from_events([speak("hello there")])):
        assert [item.text for item in reply.display_items(max_text_chars=6)] == ["hello", "there"]


def test_reply_as_dict():
    """The documented keys."""
    failure = ThalovantEvent("hive.policy.denied", {"reason": "no"})
    reply = ThalovantReply.from_events(
        [speak("<b>hi</b>", lang="de")], handled=True, failure_event=failure, session_id="S"
    )

    assert reply.as_dict() == {
        "text": "<b>hi</b>",
        "display_text": "hi",
        "utterances": ["<b>hi</b>"],
        "handled": True,
        "ok": False,
        "claimed": False,
        "session_id": "S",
        "request_id": None,
        "lang": "de",
        "pipeline_ids": [],
        "skill_ids": [],
        "display_items": [item.as_dict() for item in reply.display_items()],
        "failure_event": failure.as_dict(),
        "events": [event.as_dict() for event in reply.events],
        "dropped_media": 0,
    }
    assert ThalovantReply("x").as_dict()["failure_event"] is None


def test_who_answered():
    """Stages and skills in the order they appear, each once; what is no name is left out."""
    contexts = [
        {"skill_id": "b", "pipeline_id": "p"},
        {"skill_id": "a"},
        {"skill_id": "b"},
        {"skill_id": 5},
        {"skill_id": ""},
        {"skill_id": " ", "pipeline_id": ["p"]},
    ]
    reply = ThalovantReply.from_events([speak("x", context=context) for context in contexts])

    assert (reply.skill_ids, reply.pipeline_ids) == (("b", "a", " "), ("p",))


FALLBACK = {"pipeline_id": "ovos-fallback-pipeline-low"}


@pytest.mark.parametrize(
    ("events", "handled", "claimed"),
    [
        ([speak("x")], True, True),
        ([speak("x")], False, False),
        ([], True, True),
        ([speak("x", context=FALLBACK)], True, False),
        ([speak("x", context=FALLBACK), speak("y", context={"pipeline_id": "adapt"})], True, True),
        ([speak("x", context=FALLBACK, meta={"thalovant_claimed": True})], True, True),
        ([speak("x", context=FALLBACK, meta={"thalovant_claimed": "yes"})], True, False),
        ([speak("x", context=FALLBACK, meta=5)], True, False),
        ([speak("x", context=FALLBACK), speak("", context=FALLBACK, meta={"thalovant_claimed": True})], True, True),
        ([speak("x", "ovos.utterance.speak", context=FALLBACK, meta={"thalovant_claimed": True})], True, True),
        ([speak("x", "test.note", context=FALLBACK, meta={"thalovant_claimed": True})], True, False),
        ([speak("x", context={"pipeline_id": "before-fallback-after"})], True, False),
        ([speak("x", context={"pipeline_id": "FALLBACK"})], True, True),
        ([speak("x", context={"pipeline_id": ["fallback"]})], True, True),
        ([speak("x", context={"pipeline_id": 5}), speak("y", context={"pipeline_id": "fallback"})], True, False),
    ],
)
def test_claimed(events, handled, claimed):
    """A fallback answers to everything; that is no answer, unless its skill says that it is one."""
    assert ThalovantReply.from_events(events, handled=handled).claimed is claimed


def test_media_of_a_reply():
    """Speech and sounds in order; the language is the first that is told."""
    sound = ThalovantEvent("mycroft.audio.queue", {"binary_data": "00"})
    events = [ThalovantEvent("rig.note"), speak("a", lang="de"), sound, speak("b", "ovos.utterance.speak", lang="fr")]
    reply = ThalovantReply.from_events(events)

    assert reply.media_events == tuple(events[1:])
    assert reply.has_audio
    assert reply.lang == "de"
    assert not ThalovantReply.from_events(events[:2]).has_audio
    assert ThalovantReply("x").lang is None


def test_connection_info():
    """Idle by default; eight keys."""
    assert ThalovantConnectionInfo().as_dict() == {
        "phase": "idle",
        "started_at": None,
        "connected_at": None,
        "transport_open_ms": None,
        "socket_open_ms": None,
        "handshake_ms": None,
        "connect_ms": None,
        "last_error": None,
    }
    assert ThalovantConnectionInfo("ready", "a", "b", 1.5, 2.0, 3.25, 4, "x").as_dict()["handshake_ms"] == 3.25


@pytest.mark.parametrize(
    ("flags", "error", "ok"),
    [
        ((True, True, True), None, True),
        ((True, True, True), "gone", False),
        ((False, True, True), None, False),
        ((True, False, True), None, False),
        ((True, True, False), None, False),
    ],
)
def test_health(flags, error, ok):
    """Three flags and no error."""
    assert ThalovantHealth(*flags, error).ok is ok


def test_health_as_text_and_dict():
    """What the command line prints, and what it prints as JSON."""
    health = ThalovantHealth(True, True, False, "gone", ThalovantConnectionInfo("error"))

    assert str(health) == "failed connected=True handshake_complete=True transport_alive=False last_error=gone"
    assert health.lines()[0] == "failed"
    assert health.as_dict() == {
        "ok": False,
        "connected": True,
        "handshake_complete": True,
        "transport_alive": False,
        "last_error": "gone",
        "connection": ThalovantConnectionInfo("error").as_dict(),
    }
    assert str(ThalovantHealth(True, True, True)) == "ok connected=True handshake_complete=True transport_alive=True"
    assert "connection" not in ThalovantHealth(True, True, True).as_dict()


IDENTITY = ThalovantDoctorCheck("identity", True, "site_id=x", 1.23456)
CONNECT = ThalovantDoctorCheck("connect", False, "refused")


def test_doctor_report():
    """One line per check, the duration left out where nothing was timed."""
    report = ThalovantDoctorReport({"site_id": "x"}, (IDENTITY, CONNECT))

    assert not report.ok
    assert report.format() == str(report)
    assert str(report).splitlines() == [
        "Thalovant doctor: failed",
        "- identity: ok (1 ms) - site_id=x",
        "- connect: failed - refused",
    ]
    assert report.as_dict() == {
        "ok": False,
        "identity": {"site_id": "x"},
        "checks": [
            {"name": "identity", "ok": True, "detail": "site_id=x", "duration_ms": 1.235},
            {"name": "connect", "ok": False, "detail": "refused", "duration_ms": 0.0},
        ],
    }


def test_healthy_doctor_report():
    """All well, nothing timed below a millisecond is hidden."""
    report = ThalovantDoctorReport(
        {}, (ThalovantDoctorCheck("a", True, "x", 0.4), ThalovantDoctorCheck("b", True, "y", 1234.9))
    )

    assert report.ok
    assert str(report).splitlines() == ["Thalovant doctor: ok", "- a: ok (0 ms) - x", "- b: ok (1235 ms) - y"]
