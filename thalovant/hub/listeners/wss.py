"""The hub's WSS port: accepted sockets become seats."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from thalovant_io.asyncio_connection import Connection
from thalovant_proto.carrier import Frame
from thalovant_proto.links.wss.server import WssServerLink

from ..connections import ClientConnection, PeerOutcome
from .base import Port

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher


class MeteredWssLink(WssServerLink):
    """A client's WebSocket that knows how many bytes of it wait for the socket."""

    pending: int = 0

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        super().send(frame, now, token=token)
        self.pending += len(frame.data)

    def data_to_send(self) -> bytes:
        self.pending = 0
        return super().data_to_send()


class _Socket:
    """A seat's connection, as the dispatcher knows it."""

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
        self._connection.hold(hold)

    def abort(self) -> None:
        self._connection.abort()


class WssListener(Port[PeerOutcome]):
    """Accepts WebSockets for a dispatcher. `start` it once."""

    protocol = "wss"

    def __init__(self, board: Dispatcher, host: str, port: int, context: ssl.SSLContext | None) -> None:
        connections = board.settings.connections
        super().__init__(self._make_peer, host, port, context, setting="wss_port", connections=connections)
        self._board = board
        self._secure = context is not None
        self._seats: dict[Connection[PeerOutcome], ClientConnection] = {}

    def heard(self, connection: Connection[PeerOutcome], outcome: PeerOutcome) -> None:
        self._board.heard(self._seats[connection], outcome)

    def gone(self, connection: Connection[PeerOutcome]) -> None:
        seat = self._seats.pop(connection, None)
        if seat is not None:
            self._board.left(seat)

    def _make_peer(self, connection: Connection[PeerOutcome]) -> ClientConnection:
        link = MeteredWssLink(secure=self._secure)
        seat = self._board.accept(link, _Socket(connection, link), address=connection.address.host)
        self._seats[connection] = seat
        return seat
