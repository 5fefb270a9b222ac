"""What goes along with a request and what belongs to its reply: hints, sounds, late speech, refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from thalovant import (
    ThalovantEvent,
    ThalovantPolicyDeniedError,
    ThalovantQuota,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
    ThalovantUnansweredError,
    build_location,
)
from thalovant._client.listening import event_filter
from thalovant.events import failure_error
from thalovant.hub.skills.turn import Turn
from thalovant_proto.events import Bus

from .lab import Lab

BERLIN = build_location("Berlin", country="de")
HINTS: dict[str, Any] = {"stt_lang": "de-de", "pipeline": ["first", "second"], "location": BERLIN}
SAYING = ("ask", "stream", "query", "send_utterance", "send_action", "send_code")


def _hints(event: ThalovantEvent) -> list[Any]:
    context = event.context
    return [context.get("stt_lang"), context["session"].get("pipeline"), context.get("location")]


@pytest.mark.parametrize("method", SAYING)
async def test_hints(v3: Lab, method: str) -> None:
    """Language and place at the top, stages in the session, beside whatever the caller set; no hint leaves no trace."""
    async with v3.talking() as client, client.conversation() as convo:
        for speaker, who in ((client, "client"), (convo, "conversation")):
            for hints, how in (({}, "plain"), (HINTS, "hinted")):
                given = {"channel": "chat", "session": {"a": 1}}
                called = getattr(speaker, method)(f"{method} {who} {how}", context=given, request_id=how, **hints)
                if method == "stream":
                    assert [piece async for piece in called]
                else:
                    await called
                assert given == {"channel": "chat", "session": {"a": 1}}
    for who in ("client", "conversation"):
        plain, hinted = (v3.heard(f"{method} {who} {how}")[0] for how in ("plain", "hinted"))
        assert (_hints(plain), _hints(hinted)) == ([None] * 3, list(HINTS.values()))
        assert (hinted.context["channel"], hinted.context["session"]["a"]) == ("chat", 1)


def test_hints_of_the_synchronous_client(v3: Lab) -> None:
    """They are the same methods."""
    with v3.client() as client, client.conversation() as convo:
        client.ask("sync client", **HINTS)
        convo.send_code("sync conversation", **HINTS)
        v3.hub.wait_for("recognizer_loop:utterance", predicate=lambda e: "sync conversation" in e.utterances)
    for text in ("sync client", "sync conversation"):
        assert _hints(v3.heard(text)[0]) == list(HINTS.values())


# --- sounds ---


async def _ring(turn: Turn) -> str:
    for clip in ("00ff", "00ff", "0a"):
        await turn.emit("mycroft.audio.queue", {"binary_data": clip})
    await turn.emit("mycroft.audio.queue", {"uri": "ding.wav"})
    return "Ding."


async def test_sounds_of_a_reply(own: Lab) -> None:
    """In their place among the events, each clip once; of a query too."""
    own.hub.skill("ring")(_ring)
    async with own.talking() as client:
        for reply in (await client.ask("ring"), await client.query("ring")):
            assert [event.audio_bytes() for event in reply.events if event.has_audio] == [b"\x00\xff", b"\x0a"]
            assert [event.name for event in reply.media_events] == ["mycroft.audio.queue"] * 3 + ["speak"]
            assert (reply.text, reply.has_audio, reply.dropped_media) == ("Ding.", True, 0)


# --- what is left of an ask ---


async def test_late_speech_is_not_handed_on(own: Lab) -> None:
    """Of an ask that gave up it is kept for nobody; what answers a send is."""
    async with own.talking(goodbye=False) as client:
        await client.send_utterance("two steps sent")
        with pytest.raises(ThalovantTimeoutError):
            await client.ask("hang", timeout=0.05)
        asked = asyncio.create_task(client.ask("two steps asked"))
        await own.wait_for("recognizer_loop:utterance", text="two steps asked")
        asked.cancel()
        await asyncio.wait((asked,))
        for gate in ("asked", "sent"):
            await client.emit("test.go", {"gate": gate})
        await client.ask("until all is said")
        said = [event.text async for event in client.listen("speak", max_events=2)]
    assert said == ["one", "two"]


# --- refusals ---

DENIED, UTTERANCE, QUOTA = "hive.policy.denied", "recognizer_loop:utterance", "intent_quota_exceeded"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"code": "acl_disallowed_type", "reason": "no", "data": {"allowed": ["speak", " ", "", 5, " a.b "]}},
            ("acl_disallowed_type", "no", ("speak", "a.b"), None),
        ),
        ({}, ("", "", (), None)),
        ({"code": 5, "reason": ["x"], "data": [1]}, ("", "", (), None)),
        ({"code": "backend_unavailable", "data": {"limit": 5}}, ("backend_unavailable", "", (), None)),
        (
            {
                "code": "intent_quota_exceeded",
                "data": {"period": "daily", "limit": 50, "used": "50", "reset_after": 9.0},
            },
            (QUOTA, "", (), ThalovantQuota("daily", 50, 50, 9)),
        ),
        (
            {
                "code": "intent_quota_exceeded",
                "data": {"period": 1, "limit": 2**53 - 1, "used": 2**53, "reset_after": True},
            },
            (QUOTA, "", (), ThalovantQuota("", 2**53 - 1, 0, 0)),
        ),
        (
            {"code": QUOTA, "data": {"limit": 1e20, "used": "-1", "reset_after": 1.5}},
            (QUOTA, "", (), ThalovantQuota("", 0, 0, 0)),
        ),
        (
            {
                "code": "intent_quota_exceeded",
                "data": {"limit": "\u0663", "used": float("inf"), "reset_after": "9" * 20},
            },
            (QUOTA, "", (), ThalovantQuota("", 0, 0, 0)),
        ),
    ],
)
def test_refusal(data: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """The hub's words, of the right kind; a quota where that is the reason."""
    error = failure_error(ThalovantEvent(DENIED, {"denied_type": UTTERANCE, **data}))

    assert isinstance(error, ThalovantPolicyDeniedError)
    assert (error.denied_type, (error.code, error.reason, error.allowed, error.quota)) == (UTTERANCE, expected)


@pytest.mark.parametrize("name", ["complete_intent_failure", "ovos.intent.unmatched"])
def test_unanswered(name: str) -> None:
    """`said` is what the person said."""
    error = failure_error(ThalovantEvent(name, {"utterance": "a boat to the stars"}))

    assert isinstance(error, ThalovantUnansweredError)
    assert (error.said, str(error)) == ("a boat to the stars", f"Hub reported {name}.")


def test_other_failures() -> None:
    """Are runtime errors with the reason."""
    error = failure_error(ThalovantEvent("hive.query.timeout", {"error": "no_answer"}))

    assert (type(error), error.name, str(error)) == (ThalovantRuntimeError, "hub_failure", "no_answer")


@pytest.mark.parametrize("what", ["send_utterance", "send_action", "send_code", "emit", "query", "nothing"])
async def test_refusal_beside_something_else(own: Lab, what: str) -> None:
    """It names no request: it is the ask's only if that alone is in flight."""
    async with own.talking(goodbye=False) as client:
        heard = asyncio.Event()
        client.on(DENIED, lambda event: heard.set())
        running: list[asyncio.Task[Any]] = []
        if what == "emit":
            await client.emit(UTTERANCE, {"utterances": ["sent"]})
        elif what == "query":
            running.append(asyncio.create_task(client.query("hang")))
            await own.wait_for(UTTERANCE, text="hang")
        elif what != "nothing":
            await getattr(client, what)("sent")
        asked = asyncio.create_task(client.ask("two steps asked"))
        await own.wait_for(UTTERANCE, text="two steps asked")
        own.hub.emit_to("shared", DENIED, {"denied_type": UTTERANCE})
        await heard.wait()
        await client.emit("test.go", {"gate": "asked"})
        reply = await asked
        for task in running:
            task.cancel()
            await asyncio.wait((task,))
    found = reply.failure_event and reply.failure_event.name
    assert (reply.text, found) == (("one", DENIED) if what == "nothing" else ("one two", None))


async def test_second_query_with_a_request_id(v3: Lab) -> None:
    """Is refused before anything is sent, whichever of both comes first."""
    async with v3.talking(goodbye=False) as client:
        first = asyncio.create_task(client.query("two steps same", request_id="same"))
        await v3.wait_for(UTTERANCE, text="two steps same")
        for again in (client.ask, client.query):
            with pytest.raises(ThalovantRuntimeError, match="in flight") as caught:
                await again("never sent", request_id="same")
            assert (caught.value.name, caught.value.delivery) == ("request_in_flight", "no")
        await client.emit("test.go", {"gate": "same"})
        assert (await first).text == "one two"
    assert v3.heard("never sent") == []


@pytest.mark.parametrize(("session", "heard"), [("own", True), ("hub:own", True), ("other", False), (None, True)])
def test_session_of_a_legacy_hub(session: str | None, heard: bool) -> None:
    """Its one session is everybody's, in a namespace too."""
    matches = event_filter(None, "S", None, None, ThalovantEvent, own_session=lambda: "own")
    context = {} if session is None else {"session": {"session_id": session}}

    assert matches is not None
    assert matches(Bus(type="speak", context=context)) is heard


async def test_conversation_hears_through_a_namespace(own: Lab) -> None:
    """A hub that hands a session back as `namespace:id` still reaches its handlers."""
    async with own.talking() as client, client.conversation(session_id="S") as convo:
        await client.connect()
        heard: list[str] = []
        convo.on("speak", lambda event: heard.append(event.text))
        for session in ("9519690c3a7c8993:S", "other:T", "S"):
            own.hub.emit_to("shared", "speak", {"utterance": session}, session_id=session)
        await client.ask("all there?")
    assert heard == ["9519690c3a7c8993:S", "S"]
