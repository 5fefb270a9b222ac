"""Agents under test: made, run, told to tick, and what their handlers hear."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from thalovant import (
    AsyncThalovantAgent,
    ThalovantAgent,
    ThalovantSubscription,
)

from .lab import PATIENCE, Lab

AGENTS = [AsyncThalovantAgent, ThalovantAgent]


def make(lab: Lab, kind: type[Any] = AsyncThalovantAgent, **options: Any) -> Any:
    """An agent of the shared identity."""
    return kind(lab.identity(), **{"noise_state_dir": lab.state_dir(), **options})


@contextlib.asynccontextmanager
async def running(agent: Any) -> AsyncIterator[asyncio.Task[None]]:
    """An agent that runs, and is stopped at the end."""
    if isinstance(agent, ThalovantAgent):
        run = asyncio.create_task(asyncio.to_thread(agent.run_forever, poll_interval=0.01))
        await asyncio.to_thread(agent.client.connect)
    else:
        run = asyncio.create_task(agent.run_forever(poll_interval=0.01))
        await agent.client.connect()
    try:
        yield run
    finally:
        agent.stop()
        with contextlib.suppress(Exception):
            await run


async def call(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a method of either kind of agent."""
    if isinstance(getattr(method, "__self__", None), ThalovantAgent | ThalovantSubscription):
        return await asyncio.to_thread(method, *args, **options)
    result = method(*args, **options)
    return await result if isinstance(result, Awaitable) else result


async def tick(agent: Any, count: int) -> None:
    """Have the hub send that many `test.tick`s, numbered from 0."""
    assert (await call(agent.ask, f"count to {count}")).text == "done"


class Heard:
    """What a handler got, from whichever thread."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._news = threading.Condition()

    def __call__(self, item: Any, *more: Any) -> None:
        with self._news:
            self.all.append((item, *more) if more else item)
            self._news.notify_all()

    async def first(self, count: int) -> list[Any]:
        """So many, as soon as they are there."""
        return await asyncio.to_thread(self._first, count)

    def _first(self, count: int) -> list[Any]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.all) >= count, PATIENCE), self.all
            return self.all[:count]

    async def numbers(self, count: int) -> list[int]:
        """The numbers of so many ticks."""
        return [event.data["number"] for event in await self.first(count)]
