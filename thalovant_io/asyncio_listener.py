"""The listener of a hub on asyncio: accepts connections and runs a peer on each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Final, Generic

from attrs import define, field

from ._accepting import Acceptor
from ._asyncio import SocketProtocol
from ._endpoint import OutcomeT
from .asyncio_connection import Connection, MakePeer, PeerAddress
from .dialer import DEFAULT_TIMEOUTS, Timeouts

#: Room for ten thousand idle clients and for some that come back before we know that they had gone.
MAX_CONNECTIONS: Final = 16_384


def _ignore(*args: object) -> None:
    """A hook that nobody asked for."""


@define(eq=False, repr=False, kw_only=True)
class Listener(Generic[OutcomeT]):
    """Accepts connections from `listen` until it is closed, and runs a peer on each, without a task per connection.

    `on_outcome` is told what the peers report, `on_fault` of clients whose TLS failed, with one line for a log.

    `admit` is asked with the address of each connection before anything is made for it: False closes the socket,
    without TLS and unheard, as is done with one over `max_connections`. `on_accepted` is told of each one that was
    admitted, before its TLS, and `on_gone` when it is over, however that came; it may never have had a peer.

    What these raise goes to the loop's exception handler.
    """

    make_peer: MakePeer[OutcomeT]
    on_outcome: Callable[[Connection[OutcomeT], OutcomeT], None]
    on_fault: Callable[[PeerAddress, str], None] = _ignore
    admit: Callable[[str], bool] = lambda host: True
    on_accepted: Callable[[Connection[OutcomeT]], None] = _ignore
    on_gone: Callable[[Connection[OutcomeT]], None] = _ignore
    tls: SSLContext | None = None
    max_connections: int = MAX_CONNECTIONS
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    refused: int = field(init=False, default=0)  # connections over the cap, or not admitted
    addresses: list[tuple[str, int]] = field(init=False, factory=list)
    _acceptor: Acceptor = field(init=False)
    _handovers: set[asyncio.Task[None]] = field(init=False, factory=set)  # of sockets to the loop
    _connections: set[Connection[OutcomeT]] = field(init=False, factory=set)
    _changed: asyncio.Event = field(init=False, factory=asyncio.Event)  # a connection is gone

    def __attrs_post_init__(self) -> None:
        self._acceptor = Acceptor(self._take)

    @property
    def connections(self) -> int:
        """The number of connections, those that are ending included."""
        return len(self._connections)

    async def listen(self, host: str | None, port: int, *, backlog: int = 512) -> None:
        """Start to accept on `host` (None: all addresses) and `port` (0: a free one); `addresses` says where.

        Raises OSError if the address cannot be had.
        """
        self.addresses = await self._acceptor.listen(host, port, backlog)

    async def close(self, *, grace: float = 5.0) -> None:
        """Accept no more, and wait `grace` seconds for the peers to finish; then end what is left.

        Tell the peers before, so that they say goodbye. Ends everything at once when cancelled.
        """
        self._acceptor.close()
        try:
            async with asyncio.timeout(grace):
                await self._until_empty()
        except TimeoutError:
            pass
        finally:
            self.abort()
        await self._until_empty()
        await asyncio.gather(self._acceptor.closed(), *self._handovers, return_exceptions=True)

    def abort(self) -> None:
        """Accept no more, and end all connections at once."""
        self._acceptor.close()
        for connection in tuple(self._connections):
            connection.abort()

    def forget(self, connection: Connection[OutcomeT]) -> None:
        """A connection is gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._changed.set()
            self._acceptor.connection_ended()
            self.on_gone(connection)

    def _take(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        if len(self._connections) >= self.max_connections or not self.admit(address[0]):
            self.refused += 1
            sock.close()
            return
        loop = asyncio.get_running_loop()
        connection = Connection(self, loop, PeerAddress(host=address[0], port=address[1], tls=self.tls is not None))
        self.on_accepted(connection)
        self._connections.add(connection)
        task = loop.create_task(self._hand_over(loop, sock, connection))
        self._handovers.add(task)
        task.add_done_callback(self._handovers.discard)

    async def _hand_over(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, connection: Connection[OutcomeT]
    ) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(lambda: SocketProtocol(connection), sock)
        except OSError:  # the client has gone meanwhile
            sock.close()
            self.forget(connection)

    async def _until_empty(self) -> None:
        while self._connections:
            self._changed.clear()
            await self._changed.wait()
