"""One connection of a hub on asyncio: the socket that was accepted, and the peer on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from ._asyncio import LoopRunner, SocketProtocol
from ._endpoint import Order, OutcomeT, PeerPump
from ._interfaces import HubPeer
from .tls import TlsPipe

if TYPE_CHECKING:
    from .asyncio_listener import Listener


@frozen(kw_only=True)
class PeerAddress:
    """Where a connection comes from."""

    host: str
    port: int
    tls: bool


class Connection(LoopRunner[OutcomeT]):
    """One accepted connection. Use it on the listener's loop only."""

    __slots__ = ("_listener", "_peer_pump", "address")

    def __init__(self, listener: Listener[OutcomeT], loop: asyncio.AbstractEventLoop, address: PeerAddress) -> None:
        self._peer_pump = PeerPump(partial(listener.make_peer, self))
        super().__init__(self._peer_pump, loop)
        self._listener = listener
        self.address = address

    def wake(self) -> None:
        """Do what the peer wants; call it after calls on the peer. Harmless when the connection is gone."""
        self.turn()

    def abort(self) -> None:
        """End at once, without goodbye. Nothing is told any more."""
        self.finish()
        if self.wire is not None:
            self.wire.abort()

    def tell(self, outcome: OutcomeT) -> None:
        try:
            self._listener.on_outcome(self, outcome)
        except Exception as exc:
            self.report("A handler of outcomes failed", exc)

    def obey(self, order: Order) -> None:  # STOP: a peer knows no other
        self.finish()
        if self.wire is not None:
            self.wire.leave(self._listener.timeouts.linger)
        if self._peer_pump.fault is not None:
            self._listener.on_fault(self.address, self._peer_pump.fault.message)

    def crashed(self, error: Exception) -> None:
        self.report("A hub peer failed", error)
        self.abort()

    def wire_up(self, wire: SocketProtocol) -> None:
        self.wire = wire
        if self.over:
            wire.abort()  # it was ended before the loop had taken it
            return
        timeouts, context = self._listener.timeouts, self._listener.tls
        name = f"{self.address.host} port {self.address.port}"
        tls = None if context is None else TlsPipe(context, name, server_side=True)
        self.turn(partial(self._peer_pump.accepted, tls, tls_timeout=timeouts.tls))

    def wire_gone(self, wire: SocketProtocol) -> None:
        self.finish()
        self.wire = None  # it refers to us
        self._listener.forget(self)


MakePeer: TypeAlias = Callable[[Connection[OutcomeT]], HubPeer[OutcomeT]]
"""Makes the hub's peer for a connection whose TLS, if any, is done. Keep the connection to `wake` or `abort` it."""
