"""Peers without a socket on asyncio: what goes in is heard, timers ring, keys come, and the end is told once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.io.stacks import Derived, EchoPeer, Ended, Heard, Outcome, Rang, framed
from thalovant_io.asyncio_connection import SessionRunner

PATIENCE = 20.0

pytestmark = pytest.mark.usefixtures("each_loop")


class Session:
    """A runner, its peer, and what was told of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = EchoPeer()
        self.told: list[Outcome] = []
        self.ends = 0
        self.changed = asyncio.Event()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.faults.append(context))
        self.fails = False
        self.runner = SessionRunner(self.peer, on_outcome=self._tell, on_end=self._end)

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self.changed.clear()
                await self.changed.wait()

    def _tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)
        self.changed.set()
        if self.fails:
            raise ValueError("a bug of the application")

    def _end(self) -> None:
        self.ends += 1
        self.changed.set()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Session]:
    """A session for one test, ended with it."""
    session = Session()
    yield session
    session.runner.abort()
    assert session.ends == 1


@pytest.fixture
def session() -> AbstractAsyncContextManager[Session]:
    """A session on the test's loop."""
    return opened()


async def test_what_goes_in_is_told_at_once(session: Session) -> None:
    """Bytes of any owner; none at all lets the peer look for itself."""
    session.runner.receive(framed(b"one"))
    session.runner.receive(b"")
    session.peer.frame_received(b"two")
    session.runner.wake()

    assert session.told == [Heard(b"one"), Heard(b"two")]
    assert session.ends == 0


async def test_a_peer_that_is_finished_ends_once(session: Session) -> None:
    """After its last news; what comes later is not told."""
    session.runner.receive(framed(b"bye"))
    assert (session.told, session.ends) == ([Heard(b"bye")], 1)

    session.runner.receive(framed(b"late"))
    session.runner.socket_ended()
    session.runner.abort()
    assert (session.told, session.ends) == ([Heard(b"bye")], 1)


async def test_the_end_of_its_link_is_told_to_the_peer(session: Session) -> None:
    """With the reason."""
    session.runner.socket_ended("the broker has gone")

    assert (session.told, session.ends) == ([Ended("the broker has gone")], 1)


async def test_timers_ring_unless_it_is_held(session: Session) -> None:
    """What a held peer's timers would give out waits; let go, it comes."""
    session.peer.set_alarm(session.loop.time())
    session.runner.hold(True)
    session.runner.wake()
    for _ in range(3):
        await asyncio.sleep(0)
    assert session.told == []

    session.runner.hold(False)
    await session.until(lambda: session.told)
    assert isinstance(session.told[0], Rang)


async def test_keys_come_from_a_thread(session: Session) -> None:
    """As for every driver."""
    session.runner.receive(framed(b"key:x"))
    await session.until(lambda: len(session.told) == 2)

    assert isinstance(session.told[1], Derived)


async def test_a_key_that_cannot_be_derived_ends_the_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer learns why."""

    def no_memory(effect: object) -> object:
        raise MemoryError

    monkeypatch.setattr("thalovant_io.derivation.derive", no_memory)
    session.runner.receive(framed(b"key:never seen before"))
    await session.until(lambda: session.ends)

    assert session.told[-1] == Ended("the session key could not be derived: MemoryError")


async def test_bugs_are_reported_and_end_what_they_must(session: Session) -> None:
    """A handler's bug harms nobody else; a peer's ends it."""
    session.fails = True
    session.runner.receive(framed(b"one"))
    assert (session.ends, len(session.faults)) == (0, 1)

    session.peer.raises = ZeroDivisionError()
    session.runner.receive(b"x")
    assert (session.ends, len(session.faults)) == (1, 2)
    assert session.faults[1]["message"] == "A hub peer failed"
