"""The parts that the blocking driver and the trio driver share: plain non-blocking sockets, waited for in two ways."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from attrs import define, field

from ._endpoint import ClientEndpoint, ClientStack, Order, OutcomeT
from .dialer import (
    DEFAULT_TIMEOUTS,
    PENDING,
    Attempt,
    ContextSource,
    DialError,
    Resolver,
    Timeouts,
    Until,
    attempt,
    resolve,
)

_READ: Final = 256 * 1024


class SocketWire:
    """One connected socket. Passes bytes on while it is held; left, it delivers the last ones and ends."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held: bool = True
        self.leaving: float | None = None  # when it ends, whatever is left
        self._out = memoryview(b"")

    @property
    def full(self) -> bool:
        """Whether bytes wait for the socket to be writable."""
        return bool(self._out)

    def write(self, data: bytes) -> None:
        """Write what the socket takes, keep the rest."""
        self._out = memoryview(bytes(self._out) + data if self._out else data)
        self.flush()

    def flush(self) -> None:
        """Write what the socket takes. Faults show when reading."""
        while self._out:
            try:
                self._out = self._out[self.sock.send(self._out) :]
            except PENDING:
                return
            except OSError:
                self._out = memoryview(b"")
        if self.leaving is not None:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def leave(self, deadline: float) -> None:
        """Deliver what is left, then wait for the peer's end: closing earlier would reset the connection."""
        self.held = False
        self.leaving = deadline
        self.flush()


@define(eq=False, repr=False, slots=False)
class SocketEndpoint(ClientEndpoint[OutcomeT, SocketWire]):
    """A client stack on plain sockets. The driver waits, and calls `advance`, `readable`, `writable`.

    `on_outcome` is called where the driver runs, in order; it may call the stack. What it raises ends the run. `tls` is
    for targets with TLS: a context, or a function that makes one, called in a thread.
    """

    stack: ClientStack[OutcomeT]
    on_outcome: Callable[[OutcomeT], None] = field(kw_only=True)
    tls: ContextSource = field(default=None, kw_only=True)
    timeouts: Timeouts = field(default=DEFAULT_TIMEOUTS, kw_only=True)
    resolver: Resolver = field(default=resolve, kw_only=True)
    error: Exception | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.stack, tls_timeout=self.timeouts.tls)

    def abort(self) -> None:
        """End at once, without goodbye. Nothing is told any more."""
        self.end()

    def tell(self, outcome: OutcomeT) -> None:
        self.on_outcome(outcome)

    def crashed(self, error: Exception) -> None:
        self.error = error
        self.end()

    def obey(self, order: Order) -> None:
        self.give_up()
        if self.wire is not None:
            self.wire.leave(self.now + self.timeouts.linger)
            self.wire = None
        if order is Order.DIAL:
            self.begin(attempt(self.target, self.tls, self.resolver, self.timeouts, lambda: self.now))
        elif order is Order.STOP:
            self.finish()

    def advance(self, steps: Attempt) -> Until | None:
        """Resume an attempt. Returns what it waits for, or None when it ended and the stack knows how."""
        try:
            return next(steps)
        except StopIteration as done:
            sock, context = done.value
            self.wire = self.new_wire(sock)
            self.connected(context)
        except DialError as exc:
            self.dial_failed(exc.failure)
        except Exception as exc:  # a resolver that raises what it must not
            self.crashed(exc)
        return None

    def readable(self, wire: SocketWire) -> bool:
        """Read once. Returns whether there may be more."""
        data, reason = b"", ""
        try:
            data = wire.sock.recv(_READ)
        except PENDING:
            return True
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        if wire.held and data:
            self.received(data, wire.sock)
        elif wire.held:
            self.socket_ended(reason)
        return bool(data)

    def writable(self, wire: SocketWire) -> None:
        """Write what waits, and then what else there is."""
        wire.flush()
        if wire.held and not wire.full:
            self.wake()

    @abstractmethod
    def begin(self, steps: Attempt) -> None:
        """Carry on with an attempt until it ends or is given up."""

    @abstractmethod
    def give_up(self) -> None:
        """Give up the attempt, if there is one."""

    @abstractmethod
    def new_wire(self, sock: socket.socket) -> SocketWire:
        """Look after `sock` until it ends."""

    @abstractmethod
    def end(self) -> None:
        """End at once, without goodbye."""
