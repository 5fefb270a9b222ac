"""Agents: handlers that live by the hub's events, in both ways, until somebody stops them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantAgent,
    AsyncThalovantSubscription,
    SpeakEvent,
    ThalovantAgent,
    ThalovantConnectionError,
    ThalovantEvent,
    ThalovantRuntimeError,
    ThalovantSubscription,
    ThalovantTimeoutError,
)

from .agents import AGENTS, Heard, call, make, running, tick
from .lab import PATIENCE, Lab, logged

# --- registering ---


@pytest.mark.parametrize("kind", AGENTS)
async def test_handlers_before_and_while_it_runs(v3: Lab, kind: type[Any]) -> None:
    """Before, each way gives the handler; while running a subscription at once, from the decorator too."""
    agent, heard, late = make(v3, kind), Heard(), Heard()
    spoken = [Heard() for _ in range(4)]
    assert agent.on("test.tick")(heard) is heard
    assert [agent.on("speak", spoken[0]), agent.on_speak(spoken[1])] == spoken[:2]
    assert [agent.on_speak()(spoken[2]), agent.on(SpeakEvent)(spoken[3])] == spoken[2:]

    async with running(agent):
        made = [await call(agent.on, "test.tick", late), agent.on("test.tick")(late)]
        made.append(await call(agent.subscribe, "test.tick", late))
        subscription = AsyncThalovantSubscription if kind is AsyncThalovantAgent else ThalovantSubscription
        assert [type(one) for one in made] == [subscription] * 3
        await call(made[0].close)
        await tick(agent, 2)
        assert await heard.numbers(2) == [0, 1]
        assert sorted(await late.numbers(4)) == [0, 0, 1, 1]
        for one in spoken:
            assert [(type(event), event.text) for event in await one.first(1)] == [(SpeakEvent, "done")]


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda agent: agent.on(""), "the name of an event"),
        (lambda agent: agent.on(ThalovantEvent), "the name of an event"),
        (lambda agent: agent.on("x", concurrency=0), "concurrency must be a whole number"),
    ],
)
def test_mistakes_of_names(v3: Lab, kind: type[Any], wrong: Callable[[Any], Any], message: str) -> None:
    """They are told at the call."""
    with pytest.raises(ValueError, match=message):
        wrong(make(v3, kind))(print)


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrency": 0},
        {"handler_timeout": 0},
        {"handler_timeout": None},
        {"drain_timeout": -1},
        {"send_timeout": 0},
    ],
)
def test_mistakes_of_options(v3: Lab, kind: type[Any], options: dict[str, Any]) -> None:
    """Own options and those of the client."""
    with pytest.raises(ValueError, match=r"must be"):
        make(v3, kind, **options)


def test_unknown_filter(v3: Lab) -> None:
    """It is told at the call too, not when the agent runs."""
    with pytest.raises(TypeError, match="sesion_id"):
        make(v3).on("speak", print, sesion_id="S")


async def _coroutine(*args: Any) -> None: ...


@pytest.mark.parametrize("way", ["on_speak", "middleware", "on_error"])
def test_coroutine_functions_for_threads(v3: Lab, way: str) -> None:
    """A `ThalovantAgent` would never await them."""
    with pytest.raises(TypeError, match="use AsyncThalovantAgent"):
        getattr(make(v3, ThalovantAgent), way)(_coroutine)
    with pytest.raises(TypeError, match="must be a function, not int"):
        getattr(make(v3), way)(5)


# --- what handlers do ---


@pytest.mark.parametrize("kind", AGENTS)
async def test_handler_asks(each: Lab, kind: type[Any]) -> None:
    """Handlers may use the agent, and hear in order while they take their time."""
    agent, answers = make(each, kind), Heard()
    if kind is AsyncThalovantAgent:

        @agent.on("test.tick")
        async def handle(event: ThalovantEvent) -> None:
            answers((await agent.ask(f"tick {event.data['number']}")).text)
    else:

        @agent.on("test.tick")
        def handle(event: ThalovantEvent) -> None:
            answers(agent.conversation().ask(f"tick {event.data['number']}").text)

    async with running(agent):
        await tick(agent, 2)
        assert await answers.first(2) == ["You said: tick 0", "You said: tick 1"]


@pytest.mark.parametrize("kind", AGENTS)
async def test_reply(v3: Lab, kind: type[Any]) -> None:
    """It goes back with the context of the event, turned round, and with what is given over it."""
    agent, heard = make(v3, kind), Heard()
    agent.on("test.tick", heard)
    async with running(agent):
        await tick(agent, 1)
        (event,) = await heard.first(1)
        await call(agent.reply, event, "test.note", {"kind": kind.__name__}, {"extra": 1})
        answer = await asyncio.to_thread(
            v3.hub.wait_for, "test.note", timeout=PATIENCE, predicate=lambda note: note.data == {"kind": kind.__name__}
        )
        assert (answer.context["extra"], answer.request_id) == (1, event.request_id)


def _hang(release: threading.Event, kind: type[Any]) -> Callable[[Any], Any]:
    async def never(event: ThalovantEvent) -> None:
        await asyncio.Event().wait()

    return never if kind is AsyncThalovantAgent else lambda event: release.wait(PATIENCE)


@pytest.mark.parametrize("kind", AGENTS)
async def test_handlers_that_misbehave(v3: Lab, kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    """One hangs, one raises, one returns nonsense: others hear all, and each fault is logged and reported."""
    agent, heard, errors, release = make(v3, kind, handler_timeout=0.05), Heard(), Heard(), threading.Event()
    agent.on("test.tick", _hang(release, kind))
    agent.on("test.tick", lambda event: 1 / event.data["number"])
    agent.on("test.tick", lambda event: object())
    agent.on("test.tick", heard)
    agent.on_error(errors)
    agent.on_error(lambda error, event: {}["nobody hears of this"])

    async with running(agent):
        await tick(agent, 2)
        assert await heard.numbers(2) == [0, 1]
        told = await errors.first(3)
        await tick(agent, 1)
        release.set()

    kinds = [ThalovantTimeoutError, ThalovantTimeoutError, ZeroDivisionError]
    assert sorted((type(error) for error, _ in told), key=lambda one: one.__name__) == kinds
    late = next(error for error, _ in told if isinstance(error, ThalovantTimeoutError))
    assert (str(late), late.name) == ("The handler of 'test.tick' did not end within 0.05s.", "handler_timeout")
    assert {event.name for _, event in told} == {"test.tick"}
    messages = {record.message for record in logged(caplog)}
    assert messages == {"A handler of 'test.tick' raised"}


async def test_handler_of_a_thread_that_exits(v3: Lab) -> None:
    """`sys.exit()` in a handler is an error like others: the agent goes on."""
    agent, errors = make(v3, ThalovantAgent), Heard()
    agent.on("test.tick", lambda event: sys.exit(3))
    agent.on_error(errors)
    async with running(agent):
        await tick(agent, 1)
        ((error, _),) = await errors.first(1)
        assert (str(error), error.name) == ("A handler raised SystemExit.", "handler_exit")
        await tick(agent, 1)


@pytest.mark.parametrize(
    ("limit", "concurrency", "most"), [(16, 1, 1), (16, 3, 3), (2, 3, 2)], ids=["in order", "own", "of the agent"]
)
async def test_concurrency(v3: Lab, limit: int, concurrency: int, most: int) -> None:
    """One handler takes one event at a time unless it wants more; the agent has a limit for all."""
    agent, started, go = make(v3, max_concurrency=limit), Heard(), asyncio.Event()

    @agent.on("test.tick", concurrency=concurrency)
    async def handle(event: ThalovantEvent) -> None:
        started(event)
        await go.wait()

    async with running(agent):
        await tick(agent, 5)
        await started.first(most)
        assert len(started.all) == most
        go.set()
        assert await started.numbers(5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", AGENTS)
async def test_middleware(v3: Lab, kind: type[Any]) -> None:
    """It is around every handler, the first outermost; it may change the event, and see what the handler raises."""
    agent, steps = make(v3, kind), Heard()
    agent.on("test.tick", lambda event: steps(event.data["number"]))

    def around(name: str) -> Callable[..., Any]:
        async def awaiting(event: ThalovantEvent, handle: Callable[..., Any]) -> None:
            steps(f"{name} before")
            await handle(ThalovantEvent(event.name, {"number": f"{event.data['number']} by {name}"}))
            steps(f"{name} after")

        def plain(event: ThalovantEvent, handle: Callable[..., Any]) -> None:
            steps(f"{name} before")
            handle(ThalovantEvent(event.name, {"number": f"{event.data['number']} by {name}"}))
            steps(f"{name} after")

        return awaiting if kind is AsyncThalovantAgent else plain

    for name in "ab":
        agent.middleware(around(name))
    async with running(agent):
        await tick(agent, 1)
        assert await steps.first(5) == ["a before", "b before", "0 by a by b", "b after", "a after"]


# --- life ---


@pytest.mark.parametrize("kind", AGENTS)
async def test_handlers_survive_reconnects(own: Lab, kind: type[Any]) -> None:
    """The hub goes and comes back: the same handlers hear it."""
    agent, heard = make(own, kind), Heard()
    agent.on("test.tick", heard)
    async with running(agent):
        await tick(agent, 1)
        await asyncio.to_thread(own.hub.stop)
        await asyncio.to_thread(own.hub.start)
        assert await asyncio.to_thread(own.hub.wait_for_connection, "shared", timeout=PATIENCE)
        await tick(agent, 1)
        assert await heard.numbers(2) == [0, 0]


@pytest.mark.parametrize("kind", AGENTS)
async def test_it_runs_again(v3: Lab, kind: type[Any]) -> None:
    """After `stop` its handlers hear nothing; a second run has them once; `stop` and `close` before do no harm."""
    agent, heard = make(v3, kind), Heard()
    agent.on("test.tick", heard)
    agent.stop()
    await call(agent.close)
    for _ in range(2):
        async with running(agent) as run:
            await tick(agent, 1)
            agent.stop()
            await run
        assert not agent.client.connected
    assert await heard.numbers(2) == [0, 0]
    assert len(heard.all) == 2


def test_it_runs_again_on_another_loop(v3: Lab) -> None:
    """With handlers that had to wait for each other on the first one, and events that nobody took."""
    agent, started = make(v3, max_concurrency=1), Heard()

    @agent.on("test.tick")
    async def handle(event: ThalovantEvent) -> None:
        started(event)
        await asyncio.sleep(PATIENCE if event.data["number"] else 0)

    async def once(count: int) -> None:
        async with running(agent):
            await tick(agent, 4)
            await started.first(count)
            await agent.close()

    for count in (2, 4):
        asyncio.run(once(count))


async def test_second_run_at_the_same_time(v3: Lab) -> None:
    """An agent runs once."""
    agent = make(v3)
    async with running(agent):
        with pytest.raises(ThalovantRuntimeError, match="running already"):
            await agent._keep_running(1.0)


@pytest.mark.parametrize("kind", AGENTS)
async def test_first_connection_that_fails(own: Lab, kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    """It ends with the error, which nothing else tells, and leaves a client that can be used."""
    agent = make(own, kind, reconnect_attempts=0)
    agent.on_speak(print)
    await asyncio.to_thread(own.hub.stop)
    with pytest.raises(ThalovantConnectionError):
        await call(agent.run_forever)
    await asyncio.to_thread(own.hub.start)
    await tick(agent, 1)
    await call(agent.close)
    assert logged(caplog) == []


async def test_client_that_gives_up(own: Lab) -> None:
    """A client that does not reconnect by itself does by the agent; when that fails, the error ends the run."""
    agent, heard = make(own, auto_reconnect=False, reconnect_attempts=0), Heard()
    agent.on("test.tick", heard)
    async with running(agent) as run:
        await asyncio.to_thread(own.hub.disconnect, "shared")
        await tick(agent, 1)
        assert await heard.numbers(1) == [0]
        await asyncio.to_thread(own.hub.stop)
        with pytest.raises(ThalovantConnectionError):
            await run


@pytest.mark.parametrize("kind", AGENTS)
async def test_context_manager(v3: Lab, kind: type[Any]) -> None:
    """It connects at the beginning and closes at the end."""
    agent = make(v3, kind)
    if kind is AsyncThalovantAgent:
        async with agent:
            assert agent.client.connected
    else:
        await asyncio.to_thread(agent.__enter__)
        assert agent.client.connected
        await asyncio.to_thread(agent.__exit__, None, None, None)
    assert not agent.client.connected


async def test_close_in_a_handler(v3: Lab) -> None:
    """It ends the run from inside."""
    agent, closed = make(v3), Heard()

    @agent.on("test.tick")
    async def handle(event: ThalovantEvent) -> None:
        await agent.close()
        closed(event)

    async with running(agent) as run:
        await agent.send_utterance("count to 1")
        await run
    assert await closed.numbers(1) == [0]


def test_close_from_another_thread(v3: Lab, nothing_left: None) -> None:
    """The thread that runs the agent returns without an error, whatever its handlers do."""
    agent, release = make(v3, ThalovantAgent), threading.Event()
    agent.client.on_state(lambda state, error: state == "ready" and agent.send_utterance("count to 1"))
    agent.on("test.tick", lambda event: (threading.Thread(target=agent.close).start(), release.wait(PATIENCE)))
    agent.run_forever()
    release.set()
    assert not agent.client.connected


@pytest.mark.parametrize("finishes", [True, False])
async def test_cancelled(v3: Lab, finishes: bool) -> None:
    """Whoever cancels `run_forever` waits for no handler; one that stops it does, if it ends in time."""
    agent, started, ended = make(v3, drain_timeout=PATIENCE), Heard(), Heard()

    @agent.on("test.tick")
    async def handle(event: ThalovantEvent) -> None:
        started(event)
        try:
            await asyncio.sleep(0.05 if finishes else PATIENCE)
            ended("finished")
        except asyncio.CancelledError:
            ended("cancelled")
            raise

    run = asyncio.create_task(agent.run_forever())
    await tick(agent, 1)
    await started.first(1)
    if finishes:
        agent.stop()
        await run
    else:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert await ended.first(1) == ["finished" if finishes else "cancelled"]


async def test_drain_is_bounded(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that goes on and on is cancelled, and that is logged."""
    agent, started = make(v3, drain_timeout=0.05), Heard()

    @agent.on("test.tick")
    async def handle(event: ThalovantEvent) -> None:
        started(event)
        await asyncio.sleep(PATIENCE)

    async with running(agent):
        await tick(agent, 1)
        await started.first(1)
    assert [record.message for record in logged(caplog)] == ["A handler was cancelled, since the agent ends"]
