"""Hubs with real sockets and clients of them, on one loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Self

from thalovant.async_client import AsyncThalovantClient
from thalovant.hub import Hub
from thalovant.hub.demo import SKILLS
from thalovant.identity import ThalovantIdentity

PATIENCE = 30.0


class World:
    """Hubs and clients of one test, closed with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._closers: list[Callable[[], Coroutine[Any, Any, None]]] = []

    async def hub(self, **options: Any) -> Hub:
        """A hub that listens."""
        hub = Hub(**{"skills": SKILLS, **options})
        self._closers.append(hub.close)
        await hub.start()
        return hub

    def client(self, identity: ThalovantIdentity, **options: Any) -> AsyncThalovantClient:
        """A client; the same identity has the same keys."""
        folder = self.folder / "clients" / identity.site_id
        client = AsyncThalovantClient(identity, **{"noise_state_dir": folder, **options})
        self._closers.append(lambda: client.close(0))
        return client

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let the loop run until something is so."""
        while not reached():
            await asyncio.sleep(0.001)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, folder: Path) -> AsyncIterator[Self]:
        """A world for one test; closes everything, newest first."""
        world = cls(folder)
        try:
            yield world
        finally:
            for close in reversed(world._closers):
                await close()
