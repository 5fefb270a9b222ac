"""Handlers of other messages, of queries and of raw bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.hub.routing import heard, utterance, wrapped
from tests.hub.skills.staging import Scene, say_ok
from thalovant.hub.skills.turn import Turn
from thalovant_proto import events as e

# --- other messages --------------------------------------------------------------------------------------------------


async def test_handlers_answer_by_the_turns_methods(scene: Scene) -> None:
    """A bus message of any type reaches its handlers; no end is said, since nobody waits for one."""

    @scene.hub_on("app.event")
    async def answer(turn: Turn) -> None:
        await turn.emit("app.answer", {"got": turn.data["n"], "type": turn.type})

    peer = scene.hive.peer()
    bus = e.Bus(type="app.event", data={"n": 1}, context={"request_id": "r1"})
    scene.runner.on_request(heard(scene.hive.say(peer, bus)).request)
    await scene.until(lambda: bool(scene.said) and scene.runner.turns == 0)
    await scene.end()

    ((type, data, context),) = scene.said

    assert (type, data, context["request_id"]) == ("app.answer", {"got": 1, "type": "app.event"}, "r1")


async def test_a_handler_that_fails_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """With its name; the client hears nothing of it."""

    @scene.hub_on("app.event")
    async def broken(turn: Turn) -> None:
        raise RuntimeError("oops")

    scene.runner.on_request(heard(scene.hive.say(scene.hive.peer(), e.Bus(type="app.event"))).request)
    await scene.until(lambda: bool(caplog.records))
    await scene.end()

    assert scene.said == []
    assert caplog.records[0].getMessage() == "Skill 'broken' raised"


async def test_messages_that_nobody_handles_are_taken(scene: Scene) -> None:
    """As on a real hub's bus."""
    scene.runner.on_request(heard(scene.hive.say(scene.hive.peer(), e.Bus(type="app.event"))).request)
    await scene.end()

    assert scene.frames == []


async def test_watchers_see_everything_first(scene: Scene) -> None:
    """What a watcher raises is logged, and changes nothing."""
    seen: list[tuple[str, str]] = []
    say_ok(scene)

    def watch(turn: Any) -> None:
        seen.append((turn.type, turn.text))
        raise RuntimeError("oops")

    scene.skills.watchers.append(watch)
    scene.hear(scene.hive.peer(), "ok")
    await scene.ended()
    await scene.end()

    assert scene.speech == ["ok"]
    assert seen == [("recognizer_loop:utterance", "ok")]


# --- queries ---------------------------------------------------------------------------------------------------------


def inner(frame: e.Message) -> tuple[str, dict[str, Any]]:
    """Type and data of the bus message in a query's answer."""
    assert isinstance(frame, e.Query)
    bus = frame.payload["payload"]
    return bus["type"], bus["data"]


@pytest.mark.parametrize("says", [[], ["one"], ["one", "two"]])
async def test_a_query_is_answered_in_frames(scene: Scene, says: list[str]) -> None:
    """One for each thing said, then its end."""

    @scene.skill()
    async def answer(turn: Turn) -> list[str]:
        return says

    query = e.Query(payload=wrapped(utterance()))
    scene.runner.on_request(heard(scene.hive.say(scene.hive.peer(), query)).request)
    await scene.until(lambda: len(scene.frames) == len(says) + 1)
    await scene.end()

    assert [(inner(f)[0], inner(f)[1]["utterance"]) for f in scene.frames[:-1]] == [("speak", text) for text in says]
    assert inner(scene.frames[-1]) == ("hive.query.complete", {})


@pytest.mark.parametrize("bus", [utterance("nobody knows"), e.Bus(type="app.event")])
async def test_a_query_that_nobody_answers_times_out_at_once(scene: Scene, bus: e.Bus) -> None:
    """This hub is the top: there is nobody to wait for."""
    query = e.Query(payload=wrapped(bus), metadata={"query_id": "q"})
    scene.runner.on_request(heard(scene.hive.say(scene.hive.peer(), query)).request)
    await scene.end()

    (frame,) = scene.frames

    assert inner(frame) == ("hive.query.timeout", {"query_id": "q", "error": "no_answer"})


# --- raw bytes -------------------------------------------------------------------------------------------------------


async def test_raw_bytes_are_handled_in_order(scene: Scene) -> None:
    """One message of a client after the other, whatever a handler waits for; clients do not wait for each other."""
    got: list[tuple[str, bytes]] = []
    gate = asyncio.Event()

    async def audio(turn: Turn) -> None:
        assert turn.binary is not None
        if turn.binary.payload == b"1":
            await gate.wait()
        got.append((turn.client, turn.binary.payload))
        await turn.send_binary(turn.binary.payload * 2, metadata={"rate": turn.data["rate"]})

    scene.skills.on(e.BinType.RAW_AUDIO, audio)
    ada, bob = scene.hive.peer("ada"), scene.hive.peer("bob")
    for payload in (b"1", b"2", b"3"):
        scene.hear_binary(ada, payload)
    scene.hear_binary(bob, b"x")
    scene.hear_binary(bob, b"file", e.BinType.FILE)  # which nobody handles
    await scene.until(lambda: bool(got))
    gate.set()
    await scene.until(lambda: len(scene.frames) == 4 and scene.runner.turns == 0)
    await scene.end()

    assert got == [("bob", b"x"), ("ada", b"1"), ("ada", b"2"), ("ada", b"3")]
    assert [(frame.payload, frame.bin_type) for frame in scene.frames if isinstance(frame, e.Binary)] == [
        (b"xx", 6),
        (b"11", 6),
        (b"22", 6),
        (b"33", 6),
    ]


@pytest.mark.settings(unsent=200)
async def test_a_client_that_sends_faster_than_it_is_heard_is_held(scene: Scene) -> None:
    """Beyond the limit nothing more is read from it, until half of what waited is handled."""
    gate = asyncio.Event()

    async def slow(turn: Turn) -> None:
        await gate.wait()

    scene.skills.on(e.BinType.RAW_AUDIO, slow)
    peer = scene.hive.peer()
    for _ in range(3):
        scene.hear_binary(peer, bytes(50))
        assert scene.held == [] or len(scene.held) == 1
    assert scene.held == [True]
    gate.set()
    await scene.until(lambda: scene.runner.turns == 0)
    await scene.end()

    assert scene.held == [True, False]


@pytest.mark.settings(skill_timeout=0.02)
async def test_a_handler_of_bytes_that_fails_or_hangs_does_not_stop_the_next(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Each message has its own turn and its own time."""
    got: list[bytes] = []

    async def audio(turn: Turn) -> None:
        assert turn.binary is not None
        got.append(turn.binary.payload)
        if turn.binary.payload == b"raise":
            raise RuntimeError("oops")
        while turn.binary.payload == b"hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if scene.runner.stopping:
                    raise

    scene.skills.on(e.BinType.RAW_AUDIO, audio)
    peer = scene.hive.peer()
    for payload in (b"raise", b"hang", b"last"):
        scene.hear_binary(peer, payload)
    await scene.until(lambda: len(got) == 3)
    await scene.end()

    assert got == [b"raise", b"hang", b"last"]
    assert [record.getMessage() for record in caplog.records] == [
        "Skill 'audio' raised",
        "Skill 'audio' did not answer within 0.02 s",
    ]
