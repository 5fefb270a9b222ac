"""The turns of a pump: an input goes in, then orders, bytes, effects and outcomes come out until there are no more."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Generic

from thalovant_proto.secret import Secret

from ._endpoint import Order, OutcomeT, Pump
from .derivation import start_derivation
from .dialer import quick_ack


class Runner(ABC, Generic[OutcomeT]):
    """Runs one pump, whatever the event loop. A driver says how to write, wait, dial and tell."""

    __slots__ = ("_again", "_answered", "_effects", "_turning", "over", "pump")

    def __init__(self, pump: Pump[OutcomeT]) -> None:
        self.pump: Pump[OutcomeT] = pump
        self.over: bool = False  # no more turns
        self._turning = False
        self._again = False
        self._answered = False  # bytes were written since the last ones came
        self._effects: dict[int, Future[Secret[bytes]]] = {}

    def turn(self, feed: Callable[..., None] | None = None) -> None:
        """Give the pump an input (called with `now=`), then do what it says, at once.

        Harmless when called from `tell`. What the machine raises is a bug of ours; it ends the runner, and loudly.
        """
        if self.over:
            return
        try:
            if feed is not None:
                feed(now=self.now)
            self._again = True
            if not self._turning:
                self._turning = True
                try:
                    while self._again and not self.over:
                        self._turn_once()
                finally:
                    self._turning = False
                self.turned()
        except Exception as exc:
            self.crashed(exc)

    def received(self, data: bytes, sock: socket.socket) -> None:
        """Give the pump bytes from `sock`, then do what it says."""
        self._answered = False
        self.turn(partial(self.pump.receive, data))
        if not self._answered:
            self.unanswered(sock)

    def unanswered(self, sock: socket.socket) -> None:
        """Nothing was written so far to what `sock` has brought."""
        if not self._answered:
            quick_ack(sock)

    def finish(self) -> None:
        """No more turns and derivations. Harmless if repeated."""
        self.over = True
        for future in self._effects.values():
            future.cancel()
        self._effects.clear()

    def _turn_once(self) -> None:
        self._again = False
        order, data = self.pump.turn(full=self.full)
        if data:
            self.write(data)
            self._answered = True
            self._again = True  # the machine may have waited for that
        for effect in self.pump.effects():
            future = self._effects[effect.id] = start_derivation(effect)
            future.add_done_callback(partial(self._derived_in_thread, effect.id))
        for outcome in self.pump.outcomes():
            if self.over:
                return
            self.tell(outcome)
            self._again = True  # the application may have called the machine
        if order is not Order.KEEP and not self.over:
            self.obey(order)

    def _derived_in_thread(self, id: int, future: Future[Secret[bytes]]) -> None:
        self.post(partial(self._derived, id, future))

    def _derived(self, id: int, future: Future[Secret[bytes]]) -> None:
        if self._effects.get(id) is not future:
            return  # nobody waits any more
        del self._effects[id]
        error = future.exception()
        if error is None:
            self.turn(partial(self.pump.effect_done, id, future.result()))
        else:
            self.turn(partial(self.pump.effect_failed, error))

    @property
    @abstractmethod
    def now(self) -> float:
        """The time, in the clock of all calls on the stack."""

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether the socket takes no more bytes for now."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Write to the present socket; keep what it does not take."""

    @abstractmethod
    def tell(self, outcome: OutcomeT) -> None:
        """Hand an outcome to the application."""

    @abstractmethod
    def obey(self, order: Order) -> None:
        """Carry out an order other than KEEP."""

    @abstractmethod
    def turned(self) -> None:
        """All is done for now: wait, until the pump's `next_timeout` at most."""

    @abstractmethod
    def post(self, call: Callable[[], None]) -> None:
        """Have `call` made where the runner runs. Called from other threads; harmless when all is over."""

    @abstractmethod
    def crashed(self, error: Exception) -> None:
        """End because of a bug of ours, and see that somebody learns of it."""
