"""The hub's end of one client on asyncio: a peer on an accepted socket, or one that has no socket of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from ._asyncio import LoopEndpoint, SocketProtocol, WiredEndpoint
from ._endpoint import HubPeer, Order, OutcomeT, Wire
from .tls import TlsFault, TlsPipe

if TYPE_CHECKING:
    from .asyncio_listener import Listener


@frozen(kw_only=True)
class PeerAddress:
    """The origin of a connection."""

    host: str
    port: int
    tls: bool


class Connection(WiredEndpoint[OutcomeT]):
    """One accepted connection. The hub's peer is made when TLS is done. Use it on the listener's loop only."""

    __slots__ = ("_ended", "_fault", "_listener", "address", "peer")

    def __init__(self, listener: Listener[OutcomeT], loop: asyncio.AbstractEventLoop, address: PeerAddress) -> None:
        super().__init__(None, loop)
        self.address: PeerAddress = address
        self._listener = listener
        self.peer: HubPeer[OutcomeT] | None = None  # once TLS is done
        self._ended = False  # the socket has
        self._fault: TlsFault | None = None  # of the TLS handshake: there was never a peer

    def hold(self, hold: bool) -> None:
        """Read nothing more for now, or read again."""
        if self.wire is not None:
            (self.wire.transport.pause_reading if hold else self.wire.transport.resume_reading)()

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
        if self._fault is not None:
            self._listener.on_fault(self.address, self._fault.message)

    def crashed(self, error: Exception) -> None:
        self.report("A hub peer failed", error)
        self.abort()

    def wire_up(self, wire: SocketProtocol) -> None:
        self.wire = wire
        if self.over:
            wire.abort()  # it was ended before the loop had taken it
            return
        context = self._listener.tls
        name = f"{self.address.host} port {self.address.port}"
        tls = None if context is None else TlsPipe(context, name, server_side=True)
        self._feed(self._start, tls, self._listener.timeouts.tls)

    def wire_gone(self, wire: SocketProtocol) -> None:
        self.finish()
        self.wire = None  # it refers to us
        self._listener.forget(self)

    def _order(self) -> Order:
        return Order.STOP if self._ended or (self.peer is not None and self.peer.finished) else Order.KEEP

    def _socket_up(self, now: float) -> None:
        self._machine = self.peer = self._listener.make_peer(self)

    def _socket_down(self, fault: TlsFault | None, now: float, reason: str) -> None:
        self._ended = True
        if self.peer is not None:
            self.peer.eof(now, reason if fault is None else fault.message)
        else:
            self._fault = fault


MakePeer: TypeAlias = Callable[[Connection[OutcomeT]], HubPeer[OutcomeT]]
"""Makes the hub's peer for a connection whose TLS, if any, is done. Keep the connection to `wake` or `abort` it."""


class SessionRunner(LoopEndpoint[OutcomeT, Wire]):
    """Runs a peer without a socket until it is finished: an HTTPS session, or a client behind an MQTT broker.

    Its bytes come from whoever owns the sockets, and leave with theirs, or to a `wire` in memory; its timers,
    derivations and outcomes are run here, on the running loop. Use it on that loop only.

    `on_outcome` is told what the peer reports; what it raises goes to the loop's exception handler. `on_settled` is
    called when all has been done that follows from a call, `on_end` once, when nothing more will be told.
    """

    __slots__ = ("_held", "_on_end", "_on_outcome", "_on_settled", "_peer")

    def __init__(
        self,
        peer: HubPeer[OutcomeT],
        *,
        on_outcome: Callable[[OutcomeT], None],
        on_end: Callable[[], None],
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(peer, asyncio.get_running_loop())
        self._peer = peer
        self._held = False
        self._on_outcome = on_outcome
        self._on_end = on_end
        self._on_settled = on_settled
        self._open(self.now)

    def receive(self, data: bytes) -> None:
        """Give the peer bytes, or none, to let it look at what its link has."""
        self._feed(self._peer.receive_data, data)

    def hold(self, hold: bool) -> None:
        """Let the peer's timers rest, and with them what its link gives out by itself."""
        self._held = hold
        self.wake()

    @property
    def next_timeout(self) -> float | None:
        return None if self._held else super().next_timeout

    def abort(self) -> None:
        """End at once. Nothing is told any more."""
        if not self.over:
            self.finish()
            self._on_end()

    def settled(self) -> None:
        super().settled()
        self._on_settled()

    def tell(self, outcome: OutcomeT) -> None:
        try:
            self._on_outcome(outcome)
        except Exception as exc:
            self.report("A handler of outcomes failed", exc)

    def obey(self, order: Order) -> None:  # STOP: a peer knows no other
        self.abort()

    def crashed(self, error: Exception) -> None:
        self.report("A hub peer failed", error)
        self.abort()

    def _order(self) -> Order:
        return Order.STOP if self._peer.finished else Order.KEEP

    def _socket_up(self, now: float) -> None:
        pass  # the peer's link is open when it is made

    def _socket_down(self, fault: TlsFault | None, now: float, reason: str) -> None:
        self._peer.eof(now, reason)
