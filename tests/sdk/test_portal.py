"""The threads behind the synchronous client: calls in, results out, interrupts, ends."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from thalovant import ThalovantRuntimeError
from thalovant._internal import portal as _portal
from thalovant._internal.portal import Handlers, Portal

from .lab import PATIENCE


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal("test-portal")
    yield made
    made.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "test-portal"]


async def _thread() -> threading.Thread:
    return threading.current_thread()


def test_call_runs_elsewhere(portal: Portal) -> None:
    """In one daemon thread that comes with the first call."""
    assert not portal.running

    first, second = portal.call(_thread), portal.run(threading.current_thread)

    assert first is second is not threading.current_thread()
    assert first.daemon
    assert portal.running


def test_errors_come_back(portal: Portal) -> None:
    """What a coroutine raises is raised by the call."""

    async def fails() -> None:
        raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"):
        portal.call(fails)


def test_stop_and_use_again(portal: Portal) -> None:
    """A stopped portal starts again; stopping twice is harmless; `last` runs on the loop before it ends."""
    portal.stop()
    before = portal.call(_thread)
    seen: list[threading.Thread] = []

    portal.stop(lambda: seen.append(threading.current_thread()))
    portal.stop()

    assert [before] == seen
    assert not before.is_alive()
    assert portal.call(_thread) is not before


def test_stop_tells_those_who_wait(portal: Portal) -> None:
    """A call that runs when the loop ends fails; it does not hang."""
    waits, failures = threading.Event(), []

    async def hangs() -> None:
        waits.set()
        await asyncio.Event().wait()

    def calls() -> None:
        with pytest.raises(ThalovantRuntimeError, match="closed while the call was running") as caught:
            portal.call(hangs)
        failures.append(caught.value.name)

    thread = threading.Thread(target=calls)
    thread.start()
    assert waits.wait(PATIENCE)
    portal.stop()
    thread.join(PATIENCE)

    assert failures == ["closed"]


def test_visit_starts_nothing(portal: Portal) -> None:
    """Without a loop it looks from here, with one from there."""
    assert portal.visit(threading.current_thread) is threading.current_thread()
    assert not portal.running

    inside = portal.call(_thread)

    assert portal.visit(threading.current_thread) is inside


def test_no_waiting_for_oneself(portal: Portal) -> None:
    """The loop's thread may run functions, but not wait for coroutines: that would be for ever."""

    async def inside() -> threading.Thread:
        with pytest.raises(ThalovantRuntimeError, match="its own loop thread") as caught:
            portal.call(_thread)
        assert caught.value.name == "wrong_thread"
        return portal.run(threading.current_thread)

    assert portal.call(inside) is portal.call(_thread)


def test_iterate(portal: Portal) -> None:
    """Items come one by one; whoever leaves early ends the iterator, on its loop."""
    ended: list[threading.Thread] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            await asyncio.sleep(0)
            ended.append(threading.current_thread())

    assert list(portal.iterate(numbers)) == [0, 1, 2]
    left = portal.iterate(numbers)
    assert next(left) == 0
    assert len(ended) == 1
    del left
    gc.collect()

    assert ended == [portal.call(_thread)] * 2


def test_interrupt_cancels(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the waiting thread cancels the coroutine, and lets it leave before it goes on."""
    monkeypatch.setattr(_portal, "CANCEL_WITHIN", PATIENCE)
    events: list[str] = []
    main = threading.get_ident()

    async def hangs() -> None:
        asyncio.get_running_loop().call_soon(signal.pthread_kill, main, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            events.append("left")

    with pytest.raises(KeyboardInterrupt):
        portal.call(hangs)
    events.append("interrupted")

    assert events == ["left", "interrupted"]


def test_interrupt_does_not_wait_for_ever(portal: Portal) -> None:
    """A coroutine that will not leave holds nobody up."""
    main = threading.get_ident()
    stays = asyncio.Event()

    async def refuses() -> None:
        asyncio.get_running_loop().call_soon(signal.pthread_kill, main, signal.SIGINT)
        while not stays.is_set():
            try:
                await stays.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(KeyboardInterrupt):
        portal.call(refuses)
    portal.run(stays.set)


def test_interrupt_leaves_a_slow_walk(portal: Portal) -> None:
    """The interrupt is what the caller sees, also when the iterator needs longer to leave than it is waited for."""
    main = threading.get_ident()
    may_leave, left = asyncio.Event(), threading.Event()

    async def walks() -> AsyncIterator[int]:
        asyncio.get_running_loop().call_soon(signal.pthread_kill, main, signal.SIGINT)
        try:
            yield await asyncio.Event().wait()
        finally:
            await may_leave.wait()
            left.set()

    with pytest.raises(KeyboardInterrupt):
        list(portal.iterate(walks))
    portal.run(may_leave.set)

    assert left.wait(PATIENCE)


def test_close_runs_last_words_whatever_happens(portal: Portal) -> None:
    """A goodbye that fails does not keep the thread."""

    async def fails() -> None:
        raise ZeroDivisionError

    last: list[str] = []
    portal.close(fails, lambda: last.append("not running"))
    portal.call(_thread)
    with pytest.raises(ZeroDivisionError):
        portal.close(fails, lambda: last.append("ended"))

    assert last == ["ended"]
    assert not portal.running


def test_handlers_in_order() -> None:
    """One daemon thread runs them one after the other, and gives results and errors to who submitted them."""
    handlers = Handlers("test-handlers")
    ran: list[tuple[int, threading.Thread]] = []

    futures = [handlers.submit(lambda n: ran.append((n, threading.current_thread())), n) for n in range(3)]
    failed = handlers.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(PATIENCE)

    assert all(future.done() for future in futures)
    assert [number for number, _ in ran] == [0, 1, 2]
    (thread,) = {thread for _, thread in ran}
    assert thread.daemon
    handlers.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_handlers_again_and_given_up() -> None:
    """After `stop` the next one gets a new thread; what was given up before its turn does not run."""
    handlers = Handlers("test-handlers")
    handlers.stop()
    blocks = threading.Event()
    ran: list[str] = []
    first = handlers.submit(blocks.wait, PATIENCE)
    given_up = handlers.submit(ran.append, "given up")
    last = handlers.submit(ran.append, "last")

    assert given_up.cancel()
    blocks.set()
    assert first.result(PATIENCE)
    last.result(PATIENCE)
    handlers.stop()

    assert ran == ["last"]
