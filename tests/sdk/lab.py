"""A hub in this process with skills made for tests, and clients of it. Every wait has a generous end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import thalovant.testing
from thalovant import AsyncThalovantClient, ThalovantClient, ThalovantEvent, ThalovantIdentity
from thalovant.hub import Settings, Skill, SkillFailure
from thalovant.hub.skills.registry import skill
from thalovant.hub.skills.turn import Turn
from thalovant.hub.storage.clients import DEFAULT_ALLOWED

PATIENCE = 20.0
GENERATIONS = (3, 1, 0)
#: What the hub takes besides utterances: `test.go` lets a skill go on, `test.flood` makes the hub talk.
ALLOWED = (*DEFAULT_ALLOWED, "test.go", "test.note", "test.flood")

#: The loggers of a client.
LAYERS = ("thalovant.client", "thalovant.link", "thalovant.handlers", "thalovant.trust")

T = TypeVar("T")
_numbers = itertools.count(1)


class Lab:
    """A running hub of one generation.

    Its clients share an identity, so that only the first connection of all tests is a first contact.
    """

    def __init__(self, hub: thalovant.testing.LocalHub, generation: int) -> None:
        self.hub = hub
        self.generation = generation
        self._added: set[str] = set()
        self._gates: dict[str, asyncio.Event] = {}
        hub.on("test.go")(self._open_gate)
        hub.on("test.flood")(_flood)
        hub.skill("two steps {gate}")(self._two_steps)

    def identity(self, name: str = "shared", **options: Any) -> ThalovantIdentity:
        """The identity of a client; registered if it is not yet, then with `options`."""
        if name not in self._added:
            self._added.add(name)
            self.hub.add_client(name, **{"allowed": ALLOWED, **options})
        return self.hub.identity(name)

    def stranger(self, **options: Any) -> ThalovantIdentity:
        """The identity of a client that the hub has never seen."""
        return self.identity(f"stranger-{next(_numbers)}", **options)

    def state_dir(self, name: str = "shared") -> Path:
        """Where the shared client has its keys."""
        return self.hub.state_dir(name)

    def forget_keys(self, name: str) -> None:
        """Let a client come with a new key, as the hub's operator can."""
        self.hub._portal.run(lambda: self.hub._original.forget_keys(name))

    def client(self, **options: Any) -> ThalovantClient:
        """A synchronous client of the shared identity."""
        return ThalovantClient(self.identity(), **{"noise_state_dir": self.state_dir(), **options})

    def async_client(self, **options: Any) -> AsyncThalovantClient:
        """An asynchronous client of the shared identity."""
        return AsyncThalovantClient(self.identity(), **{"noise_state_dir": self.state_dir(), **options})

    @contextlib.asynccontextmanager
    async def talking(self, *, goodbye: bool = True, **options: Any) -> AsyncIterator[AsyncThalovantClient]:
        """An asynchronous client that connects when it is used; closed afterwards, without `goodbye` at once."""
        client = self.async_client(**options)
        try:
            yield client
        finally:
            await client.close(None if goodbye else 0)

    def heard(self, text: str) -> list[ThalovantEvent]:
        """What the hub heard that says `text`, in order."""
        return [event for event in self.hub.heard if text in (event.text, *event.utterances)]

    async def wait_for(self, name: str, *, text: str = "") -> ThalovantEvent:
        """What the hub heard under that name, saying `text` if given."""

        def says(event: ThalovantEvent) -> bool:
            return not text or text in event.utterances

        return await asyncio.to_thread(self.hub.wait_for, name, timeout=PATIENCE, predicate=says)

    async def _two_steps(self, turn: Turn) -> AsyncIterator[str]:
        """Say "one", wait until the gate is opened, say "two"."""
        yield "one"
        gate = self._gates.setdefault(turn.slots["gate"], asyncio.Event())
        await gate.wait()
        yield "two"

    async def _open_gate(self, turn: Turn) -> None:
        self._gates.setdefault(turn.data["gate"], asyncio.Event()).set()


async def _flood(turn: Turn) -> None:
    for number in range(turn.data["count"]):
        await turn.emit("test.tick", {"number": number})


@skill("say {items}")
async def say(turn: Turn) -> AsyncIterator[str]:
    """Say each of the items, one after the other."""
    for item in turn.slots["items"].split(" and "):
        yield item


@skill("stay silent")
async def silent(turn: Turn) -> None:
    """Have nothing to say."""


@skill("fail because {reason}")
async def fail(turn: Turn) -> None:
    """Fail."""
    raise SkillFailure(turn.slots["reason"])


@skill("hang", "hang {which}")
async def hang(turn: Turn) -> None:
    """Never answer."""
    await asyncio.Event().wait()


@skill("start and hang")
async def start_and_hang(turn: Turn) -> AsyncIterator[str]:
    """Say something and never end."""
    yield "started"
    await asyncio.Event().wait()


@skill("count to {count}")
async def count(turn: Turn) -> str:
    """Send as many numbered events."""
    for number in range(int(turn.slots["count"])):
        await turn.emit("test.tick", {"number": number})
    return "done"


@skill("guess")
async def guess(turn: Turn) -> str:
    """Ask back."""
    answer = await turn.ask("Which one?")
    return f"It was {answer}."


@skill("send {size} bytes")
async def send_bytes(turn: Turn) -> None:
    """Send raw bytes."""
    await turn.send_binary(b"\5" * int(turn.slots["size"]), metadata={"name": "five"})


@skill("which session")
async def which_session(turn: Turn) -> str:
    """Say the id of the conversation."""
    return turn.session_id


SKILLS: tuple[Skill, ...] = (say, silent, fail, hang, start_and_hang, count, guess, send_bytes, which_session)


@contextlib.contextmanager
def lab(generation: int = 3) -> Iterator[Lab]:
    """A hub for one test, or for all of them."""
    settings = Settings(drain_time=0.1, skill_timeout=600)  # skills that hang say nothing in the logs of later tests
    with thalovant.testing.hub(generation=generation, skills=[*SKILLS, *_demo()], settings=settings) as hub:
        yield Lab(hub, generation)


def _demo() -> tuple[Skill, ...]:
    from thalovant.hub.demo import SKILLS as demo

    return demo


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own; no task may be left, nor anything for the garbage collector."""

    async def watched() -> T:
        async with asyncio.timeout(PATIENCE):
            result = await work
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"
        return result

    result = asyncio.run(watched(), debug=False)
    gc.collect()
    return result


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the client logged; the hub in this process logs too."""
    return [record for record in caplog.records if record.name in LAYERS]


class States:
    """Listens to a client's states, from whichever thread."""

    def __init__(self, client: AsyncThalovantClient | ThalovantClient) -> None:
        self.seen: list[tuple[str, Exception | None]] = []
        self._news = threading.Condition()
        self.end = client.on_state(self._hear)

    @property
    def names(self) -> list[str]:
        """The states, in order."""
        return [state for state, _ in self.seen]

    def _hear(self, state: str, error: Exception | None) -> None:
        with self._news:
            self.seen.append((state, error))
            self._news.notify_all()

    def wait(self, state: str, *, times: int = 1) -> Exception | None:
        """Wait until a state was seen that often; its error."""
        with self._news:
            assert self._news.wait_for(lambda: self.names.count(state) >= times, PATIENCE), self.seen
            return [error for name, error in self.seen if name == state][times - 1]

    async def reach(self, state: str, *, times: int = 1) -> Exception | None:
        """`wait`, for coroutines."""
        return await asyncio.to_thread(self.wait, state, times=times)


@contextlib.contextmanager
def silent_listener() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
