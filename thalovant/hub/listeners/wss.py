"""The WSS listener of a hub: each accepted socket becomes a client's connection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from thalovant_io.asyncio_connection import Connection
from thalovant_proto.links.wss.server import WssServerLink

from ..connections import ClientConnection, PeerOutcome
from .base import Binding, Listener

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher


class WssListener(Listener[PeerOutcome]):
    """Accepts WebSockets for a dispatcher. `start` it once."""

    protocol = "wss"

    def __init__(self, dispatcher: Dispatcher, binding: Binding) -> None:
        super().__init__(self._make_peer, binding)
        self._dispatcher = dispatcher
        self._secure = binding.context is not None

    def on_outcome(self, connection: Connection[PeerOutcome], outcome: PeerOutcome) -> None:
        if isinstance(connection.peer, ClientConnection):
            self._dispatcher.on_outcome(connection.peer, outcome)

    def on_gone(self, connection: Connection[PeerOutcome]) -> None:
        if isinstance(connection.peer, ClientConnection):
            self._dispatcher.on_gone(connection.peer)

    def _make_peer(self, connection: Connection[PeerOutcome]) -> ClientConnection:
        return self._dispatcher.accept(
            WssServerLink(secure=self._secure),
            connection,
            address=connection.address.host,
            counted=True,
            on_proven=partial(self.admission.proven, connection),
        )
