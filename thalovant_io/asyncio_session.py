"""Runs a hub's peer that has no socket of its own on asyncio: an HTTPS session, or a client behind an MQTT broker.

Its bytes come from whoever owns the sockets, and leave with theirs; its timers, derivations and outcomes are run here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from ._asyncio import LoopRunner, SocketProtocol
from ._endpoint import Order, OutcomeT, Pump
from ._interfaces import HubPeer
from .tls import TlsFault


class SessionRunner(LoopRunner[OutcomeT]):
    """Runs one peer on the running loop until it is finished. Use it on that loop only.

    `on_outcome` is told what the peer reports; what it raises goes to the loop's exception handler. `on_end` is called
    once, when nothing more will be told.
    """

    __slots__ = ("_on_end", "_on_outcome", "_peer", "_session_pump")

    def __init__(
        self, peer: HubPeer[OutcomeT], *, on_outcome: Callable[[OutcomeT], None], on_end: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._session_pump = _SessionPump(peer, loop.time())
        super().__init__(self._session_pump, loop)
        self._peer = peer
        self._on_outcome = on_outcome
        self._on_end = on_end

    def receive(self, data: bytes) -> None:
        """Give the peer bytes, or none, to let it look at what its link has."""
        self.turn(partial(self._peer.receive_data, data))

    def eof(self, reason: str = "") -> None:
        """Tell the peer that its link has ended."""
        self.turn(partial(self.pump.eof, reason=reason))

    def wake(self) -> None:
        """Do what the peer wants; call it after calls on the peer. Harmless when it is over."""
        self.turn()

    def hold(self, hold: bool) -> None:
        """Let the peer's timers rest, and with them what its link gives out by itself."""
        self._session_pump.held = hold
        self.wake()

    def abort(self) -> None:
        """End at once. Nothing is told any more."""
        if not self.over:
            self.finish()
            self._on_end()

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

    def wire_up(self, wire: SocketProtocol) -> NoReturn:
        raise RuntimeError("a session has no socket")

    def wire_gone(self, wire: SocketProtocol) -> NoReturn:
        raise RuntimeError("a session has no socket")


class _SessionPump(Pump[OutcomeT]):
    """A pump that is up from the start, without TLS: there is no socket."""

    __slots__ = ("_peer", "held")

    def __init__(self, peer: HubPeer[OutcomeT], now: float) -> None:
        super().__init__(peer)
        self._peer = peer
        self.held = False
        self._start(None, now, 0)

    @property
    def next_timeout(self) -> float | None:
        return None if self.held else super().next_timeout

    def _order(self) -> Order:
        return Order.STOP if self._peer.finished else Order.KEEP

    def _opened(self, now: float) -> None:
        pass  # the peer's link is open when it is made

    def _ended(self, fault: TlsFault | None, now: float, reason: str) -> None:
        self._peer.eof(now, reason)
