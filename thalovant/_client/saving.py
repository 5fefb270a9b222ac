"""What a client learns about its hub, on its way to the disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .. import logs
from ..errors import ThalovantError

if TYPE_CHECKING:
    from thalovant_proto.trust import Trust

    from ..trust_store import TrustStore


class Saving:
    """Stores the newest trust off the loop, one at a time."""

    def __init__(self, store: TrustStore) -> None:
        self._store = store
        self._trust: Trust | None = None  # to be stored
        self._task: asyncio.Task[None] | None = None

    def save(self, trust: Trust) -> None:
        """Have it stored, soon."""
        self._trust = trust
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._save_latest())

    async def done(self) -> None:
        """Wait until all is on disk."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _save_latest(self) -> None:
        while (trust := self._trust) is not None:
            self._trust = None
            try:
                await asyncio.to_thread(self._store.store, trust)
            except (OSError, ThalovantError) as error:
                # The connection is fine; only the next one will not know this hub.
                logs.client.warning("What was learnt about the hub could not be saved: %s", error)
