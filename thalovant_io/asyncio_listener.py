"""The listener of a hub on asyncio: accepts connections and runs a peer on each, without a task per connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ssl import SSLContext
from typing import Generic

from attrs import define, field

from ._asyncio import SocketProtocol
from ._endpoint import OutcomeT
from .asyncio_connection import Connection, MakePeer, PeerAddress
from .dialer import DEFAULT_TIMEOUTS, Timeouts

# Ten thousand idle clients and some that come back before we know that they had gone.
MAX_CONNECTIONS = 16_384


@define(eq=False, repr=False)
class Listener(Generic[OutcomeT]):
    """Accepts connections until it is closed. Made by `serve`."""

    make_peer: MakePeer[OutcomeT]
    on_outcome: Callable[[Connection[OutcomeT], OutcomeT], None]
    on_fault: Callable[[PeerAddress, str], None]
    tls: SSLContext | None
    max_connections: int
    timeouts: Timeouts
    refused: int = 0  # connections over the cap
    addresses: list[tuple[str, int]] = field(factory=list)
    _server: asyncio.Server | None = None
    _closing: bool = False
    _connections: set[Connection[OutcomeT]] = field(factory=set)
    _changed: asyncio.Event = field(factory=asyncio.Event)  # a connection is gone

    @property
    def connections(self) -> int:
        """How many connections there are, those that are leaving included."""
        return len(self._connections)

    async def listen(self, host: str | None, port: int, backlog: int) -> None:
        """Start to accept; `addresses` says where. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SocketProtocol(Connection(self, loop)), host, port, backlog=backlog
        )
        self.addresses = [sock.getsockname()[:2] for sock in self._server.sockets]

    async def close(self, *, grace: float = 5.0) -> None:
        """Accept no more, and wait `grace` seconds for the peers to finish; then end what is left.

        Tell the peers before, so that they say goodbye. Ends everything at once when cancelled.
        """
        self._stop()
        try:
            async with asyncio.timeout(grace):
                await self._gone()
        except TimeoutError:
            pass
        finally:
            self.abort()
        await self._gone()

    def abort(self) -> None:
        """Accept no more, and end all connections at once."""
        self._stop()
        for connection in tuple(self._connections):
            connection.abort()

    def admit(self, connection: Connection[OutcomeT]) -> bool:
        """Count a new connection, or refuse it."""
        self._connections.add(connection)
        over = len(self._connections) > self.max_connections
        self.refused += over
        return not over and not self._closing

    def forget(self, connection: Connection[OutcomeT]) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._changed.set()

    def _stop(self) -> None:
        self._closing = True  # one that was accepted just now may still come up
        if self._server is not None:
            self._server.close()

    async def _gone(self) -> None:
        while self._connections:
            self._changed.clear()
            await self._changed.wait()


async def serve(
    make_peer: MakePeer[OutcomeT],
    host: str | None,
    port: int,
    *,
    on_outcome: Callable[[Connection[OutcomeT], OutcomeT], None],
    on_fault: Callable[[PeerAddress, str], None] = lambda address, message: None,
    tls: SSLContext | None = None,
    max_connections: int = MAX_CONNECTIONS,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    backlog: int = 512,
) -> Listener[OutcomeT]:
    """Accept connections on `host` (None: all addresses) and `port` (0: a free one), and run a peer on each.

    `on_outcome` is told what the peers report, `on_fault` of clients whose TLS failed, with one line for a log. What
    either raises goes to the loop's exception handler. A connection over `max_connections` is closed at once.
    Raises OSError if the address cannot be had.
    """
    listener = Listener(make_peer, on_outcome, on_fault, tls, max_connections, timeouts)
    await listener.listen(host, port, backlog)
    return listener
