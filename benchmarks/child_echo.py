"""The other end of a bare exchange over TCP: as many bytes down as are wanted for so many bytes up.

A protocol on an event loop, as ours are: what is left of an ask beyond this is what an SDK on asyncio can save.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import cast

from children import serve_on_loop


class Exchange(asyncio.Protocol):
    """One connection."""

    def __init__(self, up: int, down: int) -> None:
        self._up, self._answer = up, bytes(down)
        self._had = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._had += len(data)
        if self._had >= self._up:
            self._had -= self._up
            self._transport.write(self._answer)


async def port(*, up: int, down: int) -> int:
    """A port where `up` bytes are answered with `down`."""
    server = await asyncio.get_running_loop().create_server(partial(Exchange, up, down), "127.0.0.1")
    servers.append(server)
    return int(server.sockets[0].getsockname()[1])


async def spent() -> float:
    """Seconds of processor time since the start."""
    return time.process_time()


servers: list[asyncio.Server] = []


if __name__ == "__main__":
    asyncio.run(serve_on_loop({"port": port, "spent": spent}))
