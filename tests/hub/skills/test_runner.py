"""Skills at work: what they say, and that what they do wrong stays with their own turn."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.hub.routing import heard, utterance, wrapped
from tests.hub.skills.staging import Scene, opened
from thalovant.hub.skills.speech import NoAnswer, SkillFailure, speech
from thalovant.hub.skills.turn import SyncTurn, Turn
from thalovant_proto import events as e

HANDLED = "ovos.utterance.handled"
FAILED = ["complete_intent_failure", HANDLED]


def say_ok(scene: Scene) -> None:
    """Add a skill that always works."""

    @scene.skill("ok")
    async def ok(turn: Turn) -> str:
        return "ok"


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


# --- conversations ---------------------------------------------------------------------------------------------------


async def test_memory_lasts_for_a_conversation(scene: Scene) -> None:
    """By client and session: the same id of another client is another conversation."""

    @scene.skill()
    async def count(turn: Turn) -> str:
        turn.memory["n"] = turn.memory.get("n", 0) + 1
        return f"{turn.client} {turn.session_id} {turn.memory['n']}"

    ada, bob = scene.hive.peer("ada"), scene.hive.peer("bob")
    for peer, session in ((ada, "s"), (ada, "s"), (ada, "t"), (bob, "s"), (ada, "s")):
        scene.hear(peer, session={"session_id": session})
    await scene.ended(5)
    await scene.end()

    assert scene.speech == ["ada s 1", "ada s 2", "ada t 1", "bob s 1", "ada s 3"]


@pytest.mark.settings(conversations=2)
async def test_a_conversation_that_was_quiet_longest_is_forgotten(scene: Scene) -> None:
    """Memory is bounded, and so is what an id costs."""

    @scene.skill()
    async def count(turn: Turn) -> str:
        turn.memory["n"] = turn.memory.get("n", 0) + 1
        return f"{turn.session_id[0]}{turn.memory['n']}"

    peer = scene.hive.peer()
    for session in ("a", "b", "a", "c", "a", "b"):
        scene.hear(peer, session={"session_id": session * 10_000})
    await scene.ended(6)
    await scene.end()

    assert scene.speech == ["a1", "b1", "a2", "c1", "a3", "b1"]


@pytest.mark.settings(conversations=1)
async def test_a_forgotten_conversation_has_no_question_left(scene: Scene) -> None:
    """Who waits in it learns that nobody will answer."""
    lost: list[str] = []

    @scene.skill()
    async def ask(turn: Turn) -> None:
        try:
            await turn.ask("Well?")
        except NoAnswer as error:
            lost.append(str(error))

    for number in (1, 2, 3):
        scene.hear(scene.hive.peer())
        await scene.ended(number)
    await scene.until(lambda: len(lost) == 2)
    await scene.end()

    assert lost[:2] == ["the conversation was forgotten"] * 2


def test_a_thread_may_outlive_the_hub() -> None:
    """What it says then goes nowhere, and says so."""
    gate, ended = threading.Event(), threading.Event()
    late: list[str] = []

    async def act() -> None:
        async with opened() as scene:

            @scene.skill()
            def slow(turn: SyncTurn) -> None:
                gate.wait(30)
                try:
                    turn.speak("too late")
                except SkillFailure as failure:
                    late.append(str(failure))
                ended.set()

            scene.hear(scene.hive.peer())
            await scene.until(lambda: scene.runner.turns == 1)
            await asyncio.sleep(0)

    asyncio.run(act())
    gate.set()

    assert ended.wait(20)
    assert late == ["the hub is gone: nothing more can be said"]


def order(scene: Scene) -> None:
    """Add a skill that asks back."""

    @scene.skill("order")
    async def pizza(turn: Turn) -> str:
        size = await turn.ask("What size?", choices=["small", "large"])
        top = await turn.ask("What on it?")
        return f"A {size} one with {top}."


async def test_a_follow_up_question_goes_on_with_the_next_turn(scene: Scene) -> None:
    """Each question ends its turn and waits for the next one of that session; answers have that turn's request id."""
    say_ok(scene)
    order(scene)
    peer, session = scene.hive.peer(), {"session_id": "s"}
    scene.hear(peer, "order", session=session, request_id="r1")
    await scene.ended(1)
    scene.hear(peer, "ok", session={"session_id": "other"}, request_id="r2")
    await scene.ended(2)
    scene.hear(peer, "large", session=session, request_id="r3")
    await scene.ended(3)
    scene.hear(peer, "ok", session=session, request_id="r4")
    await scene.ended(4)
    await scene.end()

    assert [(context["request_id"], data.get("utterance")) for _, data, context in scene.said] == [
        ("r1", "What size?"),
        ("r1", None),
        ("r2", "ok"),
        ("r2", None),
        ("r3", "What on it?"),
        ("r3", None),
        ("r4", "A large one with ok."),
        ("r4", None),
    ]
    assert [scene.said[0][1]["expect_response"], scene.said[1][1].get("expect_response")] == [True, None]
    assert scene.said[0][1]["quick_replies"] == ["small", "large"]
    assert {context["skill_id"] for _, _, context in scene.said} == {"pizza", "ok"}


async def test_threads_can_ask_back_too(scene: Scene) -> None:
    """A function that is not `async` waits in its thread, however long people think: that is not its time."""

    @scene.skill("order", timeout=0.3)
    def pizza(turn: SyncTurn) -> str:
        size = turn.ask("What size?")
        turn.emit("app.ordered", {"size": size})
        turn.send_binary(b"beep")
        return f"A {size} one, {turn.text}."

    peer = scene.hive.peer()
    scene.hear(peer, "order")
    await scene.ended(1)
    late = asyncio.get_running_loop().time() + 0.6  # twice what the skill may work
    await scene.until(lambda: asyncio.get_running_loop().time() > late)
    scene.hear(peer, "small")
    await scene.ended(2)
    await scene.end()

    assert scene.speech == ["What size?", "A small one, small."]
    assert next(data for type, data, _ in scene.said if type == "app.ordered") == {"size": "small"}
    assert [frame.payload for frame in scene.frames if isinstance(frame, e.Binary)] == [b"beep"]


async def test_a_question_that_nobody_answers_ends_quietly(scene: Scene) -> None:
    """The skill may catch it; either way the client has its end already."""
    caught: list[str] = []

    @scene.skill("one")
    async def one(turn: Turn) -> None:
        await turn.ask("Well?", timeout=0.01)

    @scene.skill("two")
    async def two(turn: Turn) -> None:
        try:
            await turn.ask("Well?", timeout=0.01)
        except NoAnswer as error:
            caught.append(str(error))

    scene.hear(scene.hive.peer(), "one")
    scene.hear(scene.hive.peer(), "two")
    await scene.until(lambda: bool(caught) and scene.runner.turns == 0)
    await scene.end()

    assert caught == ["nobody answered within 0.01 s"]
    assert sorted(scene.types, reverse=True) == ["speak", "speak", HANDLED, HANDLED]


async def test_a_newer_question_takes_the_answer(scene: Scene) -> None:
    """Two skills ask in one session: the later one is who the client answers."""
    lost: list[str] = []

    @scene.hub_on("app.event")
    async def ask(turn: Turn) -> None:
        try:
            answer = await turn.ask(f"{turn.data['n']}?")
            await turn.speak(f"{turn.data.get('n')} {answer}")
        except NoAnswer as error:
            lost.append(str(error))

    peer = scene.hive.peer()
    for n in (1, 2):
        scene.runner.on_request(heard(scene.hive.say(peer, e.Bus(type="app.event", data={"n": n}))).request)
    await scene.until(lambda: scene.types.count("speak") == 2)
    scene.hear(peer, "yes")
    await scene.until(lambda: scene.types.count("speak") == 3)
    await scene.end()

    assert lost == ["another question was asked"]
    assert scene.speech[-1] == "None yes"


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


async def test_drain_ends_questions_that_wait(scene: Scene) -> None:
    """Nobody will answer them any more."""
    order(scene)
    scene.hear(scene.hive.peer(), "order")
    await scene.ended()
    await scene.runner.drain(30)
    assert scene.runner.turns == 0
    await scene.end()

    assert scene.types == ["speak", HANDLED]
