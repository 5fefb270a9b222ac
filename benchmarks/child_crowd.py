"""Strangers at a hub's port, in a process of their own: connections that say nothing, and a relay for one that does.

What the hub closes is dialed again, as by somebody who means it. Other addresses of loopback stand for other machines.
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

from children import allow_files, serve_on_loop

#: Seconds before a connection that was refused or closed is tried again.
PAUSE = 1.0


class Silent(asyncio.Protocol):
    """A connection that is kept, and says nothing."""

    def __init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():  # cancelled, when the process ends
            self.over.set_result(None)


class Relay(asyncio.Protocol):
    """One half of a connection that passes everything on; the other is dialed from `source`."""

    def __init__(self, port: int, source: str, other: Relay | None = None) -> None:
        self._port, self._source, self._other = port, source, other
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self._other is None:
            task = asyncio.get_running_loop().create_task(self._dial())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _dial(self) -> None:
        make = partial(Relay, self._port, self._source, self)
        try:
            _, self._other = await asyncio.get_running_loop().create_connection(
                make, "127.0.0.1", self._port, local_addr=(self._source, 0)
            )
        except OSError:
            self.transport.abort()
            return
        self._other.transport.write(self._waiting)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._waiting += data
        else:
            self._other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None:
            self._other.transport.close()


tasks: set[asyncio.Task[None]] = set()
connected = 0


async def _keep(port: int, source: str) -> None:
    global connected
    loop = asyncio.get_running_loop()
    while True:
        try:
            _, silent = await loop.create_connection(Silent, "127.0.0.1", port, local_addr=(source, 0))
        except OSError:
            await asyncio.sleep(PAUSE)
            continue
        connected += 1
        await silent.over
        connected -= 1
        await asyncio.sleep(PAUSE)


async def crowd(*, port: int, count: int, sources: list[str]) -> None:
    """So many silent connections to a port, from now on, from these addresses in turn."""
    for _, source in zip(range(count), itertools.cycle(sources), strict=False):
        tasks.add(asyncio.get_running_loop().create_task(_keep(port, source)))


async def held() -> int:
    """How many of them are connected; some may still wait to be accepted."""
    return connected


async def relay(*, port: int, source: str) -> int:
    """A port from which everything is passed on to another, from an address."""
    server = await asyncio.get_running_loop().create_server(partial(Relay, port, source), "127.0.0.1")
    servers.append(server)
    return int(server.sockets[0].getsockname()[1])


servers: list[asyncio.Server] = []


if __name__ == "__main__":
    allow_files(8_192)
    asyncio.run(serve_on_loop({call.__name__: call for call in (crowd, held, relay)}))
