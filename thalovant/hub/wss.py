"""The hub's WSS port: accepted sockets become seats."""

from __future__ import annotations

import errno
import logging
import ssl
from typing import TYPE_CHECKING

from thalovant_io.asyncio_connection import Connection, PeerAddress
from thalovant_io.asyncio_listener import Listener
from thalovant_io.dialer import DEFAULT_TIMEOUTS
from thalovant_proto.links.base import Frame
from thalovant_proto.links.wss_server import WssServerLink

from .errors import HubSetupError
from .seats import PeerOutcome, Seat

if TYPE_CHECKING:
    from .switchboard import Switchboard


log = logging.getLogger("thalovant.hub")


class MeteredWssLink(WssServerLink):
    """A client's WebSocket that knows how many bytes of it wait for the socket."""

    pending = 0

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        super().send(frame, now, token=token)
        self.pending += len(frame.data)

    def data_to_send(self) -> bytes:
        self.pending = 0
        return super().data_to_send()


class _Socket:
    """A seat's connection, as the switchboard knows it."""

    __slots__ = ("_connection", "_link")

    def __init__(self, connection: Connection[PeerOutcome], link: MeteredWssLink) -> None:
        self._connection = connection
        self._link = link

    @property
    def unread(self) -> int:
        return self._link.pending

    def wake(self) -> None:
        self._connection.wake()

    def hold(self, hold: bool) -> None:
        if self._connection.wire is not None:
            transport = self._connection.wire.transport
            (transport.pause_reading if hold else transport.resume_reading)()

    def abort(self) -> None:
        self._connection.abort()


class WssListener:
    """Accepts WebSockets for a switchboard. `start` it once."""

    protocol = "wss"

    def __init__(self, board: Switchboard, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._board = board
        self._host = host
        self._port = port
        self._context = context
        self._seats: dict[Connection[PeerOutcome], Seat] = {}
        self._listener: _Listener | None = None

    @property
    def port(self) -> int:
        """The port that it has."""
        return self._port

    async def start(self) -> None:
        """Begin to accept. Raises `HubSetupError` if the address cannot be had."""
        listener = _Listener(self, self._context, self._board.settings.connections)
        try:
            await listener.listen(self._host, self._port, 512)
        except OSError as error:
            raise listen_error(error, self._host, self._port, setting="wss_port") from None
        self._listener = listener
        self._port = listener.addresses[0][1]

    async def close(self, grace: float) -> None:
        """Accept no more; wait `grace` seconds for the connections to end, then end them."""
        if self._listener is not None:
            await self._listener.close(grace=grace)

    def make_peer(self, connection: Connection[PeerOutcome]) -> Seat:
        """The seat of a new connection."""
        link = MeteredWssLink(secure=self._context is not None)
        seat = self._board.accept(link, _Socket(connection, link), address=connection.address.host)
        self._seats[connection] = seat
        return seat

    def heard(self, connection: Connection[PeerOutcome], outcome: PeerOutcome) -> None:
        """Something became true on a connection."""
        self._board.heard(self._seats[connection], outcome)

    def gone(self, connection: Connection[PeerOutcome]) -> None:
        """A connection is over, however that came."""
        seat = self._seats.pop(connection, None)
        if seat is not None:
            self._board.left(seat)


class _Listener(Listener[PeerOutcome]):
    """A listener that tells its owner when a connection is gone."""

    def __init__(self, owner: WssListener, context: ssl.SSLContext | None, connections: int) -> None:
        super().__init__(owner.make_peer, owner.heard, _fault, context, connections, DEFAULT_TIMEOUTS)
        self._owner = owner

    def forget(self, connection: Connection[PeerOutcome]) -> None:
        super().forget(connection)
        self._owner.gone(connection)


def _fault(address: PeerAddress, message: str) -> None:
    log.debug("%s", message)


def listen_error(error: OSError, host: str, port: int, *, setting: str) -> HubSetupError:
    """The error for an address that cannot be had: which of host and port to change."""
    if error.errno == errno.EADDRINUSE:
        return HubSetupError(f"Port {port} on {host} is taken by another program", setting=setting)
    if error.errno == errno.EACCES:
        return HubSetupError(f"Port {port} may be used by the system administrator only", setting=setting)
    return HubSetupError(f"{host} is no address of this machine", setting="host")
