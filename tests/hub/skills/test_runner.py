"""Skills at work: what they say, and that what they do wrong stays with their own turn."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.hub.skills.staging import HANDLED, Scene, say_ok
from thalovant.hub.skills.speech import SkillFailure, speech
from thalovant.hub.skills.turn import SyncTurn, Turn

FAILED = ["complete_intent_failure", HANDLED]


# --- results ---------------------------------------------------------------------------------------------------------


async def _text(turn: Turn) -> str:
    return "one"


async def _mapping(turn: Turn) -> dict[str, Any]:
    return speech("one", table=[1])


async def _nothing(turn: Turn) -> None:
    return None


async def _list(turn: Turn) -> list[str]:
    return ["one", "two"]


async def _stream(turn: Turn) -> AsyncIterator[str]:
    for text in ("one", "two", "three"):
        yield text


async def _said(turn: Turn) -> str:
    await turn.speak("one")
    return "two"


def _plain(turn: SyncTurn) -> str:
    return "one"


def _plain_stream(turn: SyncTurn) -> Iterator[str]:
    yield "one"
    yield "two"


def _plain_said(turn: SyncTurn) -> str:
    turn.speak("one")
    return "two"


def _plain_coroutine(turn: SyncTurn) -> Any:
    return _text(turn)  # type: ignore[arg-type]  # it does not look


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_text, ["one"]),
        (_mapping, ["one"]),
        (_nothing, []),
        (_list, ["one", "two"]),
        (_stream, ["one", "two", "three"]),
        (_said, ["one", "two"]),
        (_plain, ["one"]),
        (_plain_stream, ["one", "two"]),
        (_plain_said, ["one", "two"]),
        (_plain_coroutine, ["one"]),
    ],
)
async def test_what_a_skill_gives_is_said_then_the_end(scene: Scene, function: Any, said: list[str]) -> None:
    """Whatever kind of function, and whatever kind of result."""
    scene.skill()(function)
    scene.hear(scene.hive.peer(), request_id="r1")
    await scene.ended()
    await scene.end()

    assert scene.speech == said
    assert scene.types[-1] == HANDLED
    assert [context["request_id"] for _, _, context in scene.said] == ["r1"] * len(scene.said)
    assert all(data["lang"] == "en-us" for type, data, _ in scene.said if type == "speak")


async def test_answers_name_the_skill(scene: Scene) -> None:
    """As real hubs do: clients tell a skill from a fallback by it."""
    say_ok(scene)

    @scene.skill(name="everything")
    async def everything(turn: Turn) -> str:
        return "?"

    scene.hear(scene.hive.peer(), "ok")
    scene.hear(scene.hive.peer(), "else")
    await scene.ended(2)
    await scene.end()

    ids = {(context["skill_id"], context["pipeline_id"]) for _, _, context in scene.said}

    assert ids == {("ok", "thalovant-hub-skills"), ("everything", "thalovant-hub-fallback")}


async def test_without_a_skill_the_client_learns_at_once(scene: Scene) -> None:
    """`complete_intent_failure` with what was said and why, then the end."""
    scene.hear(scene.hive.peer(), "anything")
    await scene.ended()
    await scene.end()

    assert scene.types == FAILED
    assert scene.said[0][1] == {"utterances": ["anything"], "reason": "no skill of this hub answers this"}


async def test_a_skill_waits_for_a_client_that_is_behind(scene: Scene) -> None:
    """`speak` and streams go on when the client has read."""
    scene.skill()(_stream)
    scene.behind = asyncio.Event()
    scene.hear(scene.hive.peer())
    await scene.until(lambda: scene.drains == 1)
    assert scene.speech == ["one"]
    scene.behind.set()
    await scene.ended()
    await scene.end()

    assert scene.speech == ["one", "two", "three"]


# --- faults ----------------------------------------------------------------------------------------------------------


async def _raises(turn: Turn) -> str:
    raise RuntimeError("oops")


async def _leaves(turn: Turn) -> str:
    sys.exit(3)


async def _cancels(turn: Turn) -> str:
    raise asyncio.CancelledError


async def _breaks(turn: Turn) -> AsyncIterator[str]:
    yield "half"
    raise RuntimeError("oops")


def _plain_raises(turn: SyncTurn) -> str:
    raise RuntimeError("oops")


def _plain_leaves(turn: SyncTurn) -> str:
    sys.exit(3)


def _plain_stops(turn: SyncTurn) -> str:
    raise StopIteration


def _plain_interrupts(turn: SyncTurn) -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "function",
    [_raises, _leaves, _cancels, _breaks, _plain_raises, _plain_leaves, _plain_stops, _plain_interrupts],
)
async def test_a_skill_that_raises_fails_its_own_turn(
    scene: Scene, function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told, without the details; the log names the skill, with them; others do not notice."""
    say_ok(scene)
    scene.skill("go", name="the bad one")(function)
    scene.hear(scene.hive.peer(), "go")
    scene.hear(scene.hive.peer(), "ok")
    await scene.ended(2)
    await scene.end()

    assert "ok" in scene.speech
    failure = next(data for type, data, _ in scene.said if type == FAILED[0])
    assert (failure["reason"], failure["code"]) == ("the skill 'the bad one' failed", "skill_failed")
    (record,) = caplog.records
    assert record.getMessage() == "Skill 'the bad one' raised"
    assert record.levelno == logging.ERROR
    assert record.exc_info


async def _number(turn: Turn) -> Any:
    return 7


async def _numbers(turn: Turn) -> Any:
    return [7]


async def _bytes(turn: Turn) -> Any:
    return b"x"


async def _empty(turn: Turn) -> Any:
    return {}


async def _object(turn: Turn) -> Any:
    return {"text": "x", "table": object()}


async def _surrogate(turn: Turn) -> Any:
    return "\ud800"


async def _not_a_number(turn: Turn) -> Any:
    return {"text": "x", "table": float("nan")}


def _plain_number(turn: SyncTurn) -> Any:
    return 7


@pytest.mark.parametrize(
    "function", [_number, _numbers, _bytes, _empty, _object, _surrogate, _not_a_number, _plain_number]
)
async def test_nonsense_fails_its_own_turn(scene: Scene, function: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be said, or sent, is the skill's fault: the log says so in one line."""
    scene.skill("go", name="the bad one")(function)
    scene.hear(scene.hive.peer(), "go")
    await scene.ended()
    await scene.end()

    assert scene.types == FAILED
    assert scene.said[0][1]["reason"] == "the skill 'the bad one' failed"
    (record,) = caplog.records
    assert record.getMessage().startswith("Skill 'the bad one' gave ")
    assert not record.exc_info


@pytest.mark.parametrize("early", [True, False])
async def test_a_skill_may_say_that_it_cannot(scene: Scene, early: bool, caplog: pytest.LogCaptureFixture) -> None:
    """`SkillFailure` is an answer: its reason goes to the client, and nothing to the log."""

    @scene.skill()
    async def oven(turn: Turn) -> None:
        if not early:
            await turn.speak("Let me see.")
        raise SkillFailure("the oven is cold")

    scene.hear(scene.hive.peer())
    await scene.ended()
    await scene.end()

    assert scene.types == ([] if early else ["speak"]) + FAILED
    assert scene.said[-2][1]["reason"] == "the oven is cold"
    assert caplog.records == []


async def test_a_skill_that_hangs_is_given_up(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """After its time the client is told; `timeout=` is a skill's own time; others go on meanwhile."""
    say_ok(scene)

    @scene.skill("hang", timeout=0.01)
    async def hang(turn: Turn) -> None:
        await asyncio.Event().wait()

    scene.hear(scene.hive.peer(), "hang")
    scene.hear(scene.hive.peer(), "ok")
    await scene.ended(2)
    await scene.end()

    assert scene.speech == ["ok"]
    assert scene.said[-2][1]["reason"] == "the skill 'hang' did not answer in time"
    assert [record.getMessage() for record in caplog.records] == ["Skill 'hang' did not answer within 0.01 s"]


@pytest.mark.settings(skill_timeout=0.01)
async def test_a_skill_that_will_not_end_says_nothing_more(scene: Scene) -> None:
    """It may hold on to its task; its client has been told, and hears no more of it."""
    late: list[str] = []

    @scene.skill()
    async def stubborn(turn: Turn) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await turn.speak("too late")
            except SkillFailure as failure:
                late.append(str(failure))

    scene.hear(scene.hive.peer())
    await scene.until(lambda: bool(late))
    await scene.end()

    assert scene.types == FAILED
    assert late == ["the turn is over: nothing more can be said"]


async def test_threads_that_hang_are_bounded_and_keep_to_their_skill(scene: Scene) -> None:
    """A function that never returns holds its own places only; the rest of that skill's calls time out."""
    gate = threading.Event()
    running: list[int] = []
    try:

        @scene.skill("stuck", timeout=0.05)
        def stuck(turn: SyncTurn) -> str:
            running.append(1)
            gate.wait(30)
            return "late"

        @scene.skill("fine")
        def fine(turn: SyncTurn) -> str:
            return "fine"

        for _ in range(10):
            scene.hear(scene.hive.peer(), "stuck")
        await scene.ended(10)
        scene.hear(scene.hive.peer(), "fine")
        await scene.ended(11)
        await scene.end()
    finally:
        gate.set()

    assert len(running) == 8
    assert scene.speech == ["fine"]
    assert scene.types.count(FAILED[0]) == 10


async def test_one_client_cannot_keep_all_skills_busy(scene: Scene) -> None:
    """Beyond its share its requests are refused, in a way that says to try again; others are answered."""
    say_ok(scene)
    gate = asyncio.Event()

    @scene.skill("wait")
    async def wait(turn: Turn) -> None:
        await gate.wait()

    greedy = scene.hive.peer()
    for _ in range(257):
        scene.hear(greedy, "wait")
    scene.hear(scene.hive.peer(), "ok")
    await scene.ended()
    gate.set()
    await scene.ended(257)
    scene.hear(greedy, "ok")
    await scene.ended(258)
    await scene.end()

    (refusal,) = [data for type, data, _ in scene.said if type == "hive.policy.denied"]
    assert (refusal["denied_type"], refusal["code"]) == ("recognizer_loop:utterance", "backend_unavailable")
    assert scene.speech == ["ok", "ok"]


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_drain_waits_for_turns_and_takes_no_more(scene: Scene) -> None:
    """What runs may finish; what comes is refused, in a way that says to try again."""
    say_ok(scene)
    gate = asyncio.Event()

    @scene.skill("slow")
    async def slow(turn: Turn) -> str:
        await gate.wait()
        return "done"

    peer = scene.hive.peer()
    scene.hear(peer, "slow")
    draining = asyncio.create_task(scene.runner.drain(30))
    await scene.until(lambda: scene.runner.stopping)
    scene.hear(peer, "ok")
    gate.set()
    await draining
    await scene.end()

    assert scene.types == ["hive.policy.denied", "speak", HANDLED]
    assert scene.said[0][1]["code"] == "backend_unavailable"
    assert scene.speech == ["done"]


async def test_drain_ends_what_takes_too_long(scene: Scene) -> None:
    """After the grace the client is told why."""

    @scene.skill()
    async def hang(turn: Turn) -> None:
        await asyncio.Event().wait()

    scene.hear(scene.hive.peer())
    await scene.until(lambda: scene.runner.turns == 1)
    await asyncio.sleep(0)
    await scene.runner.drain(0.01)
    await scene.end()

    assert scene.types == FAILED
    assert scene.said[0][1]["reason"] == "the hub is stopping"
