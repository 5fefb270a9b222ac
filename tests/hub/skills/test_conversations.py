"""Memory of a conversation, and questions that a skill asks back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.hub.routing import heard
from tests.hub.skills.staging import HANDLED, Scene, opened, say_ok
from thalovant.hub.skills.speech import NoAnswer, SkillFailure
from thalovant.hub.skills.turn import SyncTurn, Turn
from thalovant_proto import events as e


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


async def test_drain_ends_questions_that_wait(scene: Scene) -> None:
    """Nobody will answer them any more."""
    order(scene)
    scene.hear(scene.hive.peer(), "order")
    await scene.ended()
    await scene.runner.drain(30)
    assert scene.runner.turns == 0
    await scene.end()

    assert scene.types == ["speak", HANDLED]
