"""Accepting sockets on asyncio, with a pause while the process has no file descriptors left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import math
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

log = logging.getLogger("thalovant.io")

#: While file descriptors are short, accepting is tried again after so many seconds, or when a connection has ended.
RETRY: Final = 1.0
#: The shortage is logged at most once in so many seconds.
LOG_PAUSE: Final = 60.0
#: So many sockets are accepted before other work of the loop gets its turn.
_BATCH: Final = 64


class Acceptor:
    """Hands accepted sockets, with their peers' addresses, to `take`, until it is closed. Use it on one loop only.

    What `take` raises goes to the loop's exception handler, and the socket is closed.
    """

    def __init__(self, take: Callable[[socket.socket, tuple[Any, ...]], None]) -> None:
        self._take = take
        self._loop: asyncio.AbstractEventLoop
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()  # a connection has: there may be a descriptor
        self._logged = -math.inf
        self._closing = False

    async def listen(self, host: str | None, port: int, backlog: int) -> list[tuple[str, int]]:
        """Start to accept on `host` (None: all addresses) and `port` (0: a free one).

        Returns where, or raises OSError.
        """
        self._loop = asyncio.get_running_loop()
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self._sockets = _listening(dict.fromkeys((family, address) for family, _, _, _, address in found), backlog)
        self._tasks = [self._loop.create_task(self._accept(sock)) for sock in self._sockets]
        return [sock.getsockname()[:2] for sock in self._sockets]

    def connection_ended(self) -> None:
        """End a pause: a file descriptor may be free again."""
        self._ended.set()

    def close(self) -> None:
        """Accept no more. Harmless if repeated."""
        self._closing = True
        for sock, task in zip(self._sockets, self._tasks, strict=True):
            # After what is due already: a task that is cancelled would lose a connection accepted in this turn.
            self._loop.call_soon(task.cancel)
            # The loop may still watch the socket, whose number can be another's as soon as it is closed.
            with contextlib.suppress(NotImplementedError, ValueError):  # Windows: it watches none; closed before
                self._loop.remove_reader(sock)
            sock.close()

    async def closed(self) -> None:
        """Wait, after `close`, until no task is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, sock: socket.socket) -> None:
        for number in itertools.count(1):
            if self._closing:
                return
            try:
                accepted, address = await self._loop.sock_accept(sock)
            except ConnectionAbortedError:  # the client was faster
                continue
            except OSError as exc:
                await self._pause(exc)
                continue
            if self._closing:
                accepted.close()
                return
            try:
                self._take(accepted, address)
            except Exception as exc:
                accepted.close()
                self._loop.call_exception_handler({"message": "A connection could not be taken", "exception": exc})
            if not number % _BATCH:
                await asyncio.sleep(0)  # `sock_accept` does not wait where clients do

    async def _pause(self, error: OSError) -> None:
        if self._loop.time() - self._logged >= LOG_PAUSE:
            self._logged = self._loop.time()
            log.warning("Accepting connections pauses: %s", os.strerror(error.errno or 0))
        self._ended.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY):
                await self._ended.wait()


def _listening(found: Iterable[tuple[socket.AddressFamily, Any]], backlog: int) -> list[socket.socket]:
    """Sockets that listen on these addresses. Of several, those that the machine does not have are passed over."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in found:
        try:
            sockets.append(_listening_socket(family, address, backlog))
        except OSError as exc:
            if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                for sock in sockets:
                    sock.close()
                raise
            missing = exc
    if missing is not None and not sockets:
        raise missing
    return sockets


def _listening_socket(family: socket.AddressFamily, address: Any, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock
