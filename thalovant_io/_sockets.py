"""What the blocking driver and the trio driver share: plain non-blocking sockets, and who waits for them is open."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from functools import partial
from ssl import SSLContext
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from thalovant_proto.carrier import Target

from ._drive import Runner
from ._endpoint import ClientPump, Order, OutcomeT
from ._interfaces import ClientStack
from .dialer import (
    DEFAULT_TIMEOUTS,
    LOOKUP_ERRORS,
    Address,
    ContextSource,
    DialError,
    Race,
    Resolver,
    Timeouts,
    context_failed,
    lookup_failed,
    new_socket,
    prepare_socket,
    resolve,
    start_context,
    start_lookup,
)

_READ: Final = 256 * 1024
_PENDING: Final = (BlockingIOError, InterruptedError)


@frozen
class Until:
    """What an attempt waits for: a future, one of its sockets to be writable, or a time, whichever is first."""

    deadline: float | None
    future: Future[Any] | None = None
    sockets: Sequence[socket.socket] = ()


Attempt: TypeAlias = Generator[Until, None, tuple[socket.socket, SSLContext | None]]


def attempt(
    target: Target, source: ContextSource, resolver: Resolver, timeouts: Timeouts, clock: Callable[[], float]
) -> Attempt:
    """Dial `target` step by step: resume it when what it waits for may have come; closing it ends all its sockets.

    Returns the socket and, if the target takes TLS, the context. Raises `DialError`.
    """
    context = None
    if target.tls:
        making = start_context(source)
        while not making.done():
            yield Until(None, making)
        try:
            context = making.result()
        except Exception as exc:
            raise DialError(context_failed(target, exc)) from None
    deadline = clock() + timeouts.dns
    lookup = start_lookup(target, resolver)
    try:
        while not lookup.done() and clock() < deadline:
            yield Until(deadline, lookup)
        race = Race(target, lookup.result(timeout=0), clock(), timeouts)
    except LOOKUP_ERRORS as exc:  # TimeoutError is an OSError
        raise DialError(lookup_failed(target, exc)) from None
    finally:
        lookup.cancel()
    running: dict[socket.socket, Address] = {}
    try:
        while True:
            while (address := race.next(clock())) is not None:
                _begin(race, running, address, clock)
            for sock in tuple(running):
                if _up(race, running, sock, clock):
                    del running[sock]
                    return sock, context
            if (failure := race.lost(clock())) is not None:
                raise DialError(failure)
            yield Until(race.next_timeout, sockets=tuple(running))
    finally:
        for sock in running:
            sock.close()


def _begin(race: Race, running: dict[socket.socket, Address], address: Address, clock: Callable[[], float]) -> None:
    try:
        sock = new_socket(address)
    except OSError as exc:
        race.failed(address, exc, clock())
        return
    running[sock] = address
    try:
        sock.connect(address[1])
    except _PENDING:
        pass
    except OSError as exc:
        del running[sock]
        sock.close()
        race.failed(address, exc, clock())


def _up(race: Race, running: dict[socket.socket, Address], sock: socket.socket, clock: Callable[[], float]) -> bool:
    try:
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "")
        try:
            sock.getpeername()
        except OSError:
            return False  # not yet
        prepare_socket(sock)
    except OSError as exc:
        sock.close()
        race.failed(running.pop(sock), exc, clock())
        return False
    return True


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
            except _PENDING:
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
class SocketRunner(Runner[OutcomeT]):
    """A runner of a client stack on plain sockets. The driver waits, and calls `advance`, `readable`, `writable`.

    `on_outcome` is called where the driver runs, in order; it may call the stack. What it raises ends the run. `tls` is
    for targets with TLS: a context, or a function that makes one, called in a thread.
    """

    stack: ClientStack[OutcomeT]
    on_outcome: Callable[[OutcomeT], None] = field(kw_only=True)
    tls: ContextSource = field(default=None, kw_only=True)
    timeouts: Timeouts = field(default=DEFAULT_TIMEOUTS, kw_only=True)
    resolver: Resolver = field(default=resolve, kw_only=True)
    client_pump: ClientPump[OutcomeT] = field(init=False)
    wire: SocketWire | None = field(init=False, default=None)
    error: Exception | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.client_pump = ClientPump(self.stack, tls_timeout=self.timeouts.tls)
        super().__init__(self.client_pump)

    def wake(self) -> None:
        """Do what the stack wants; call it after calls on the stack, unless they were made by `on_outcome`."""
        self.turn()

    def abort(self) -> None:
        """End at once, without goodbye. Nothing is told any more."""
        self.end()

    @property
    def full(self) -> bool:
        return self.wire is not None and self.wire.full

    def write(self, data: bytes) -> None:
        if self.wire is not None:
            self.wire.write(data)

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
            target = self.client_pump.target
            self.begin(attempt(target, self.tls, self.resolver, self.timeouts, lambda: self.now))
        elif order is Order.STOP:
            self.finish()

    def advance(self, steps: Attempt) -> Until | None:
        """Resume an attempt. Returns what it waits for, or None when it ended and the stack knows how."""
        try:
            return next(steps)
        except StopIteration as done:
            sock, context = done.value
            self.wire = self.new_wire(sock)
            self.turn(partial(self.client_pump.connected, context))
        except DialError as exc:
            self.turn(partial(self.client_pump.dial_failed, exc.failure))
        except Exception as exc:  # a resolver that raises what it must not
            self.crashed(exc)
        return None

    def readable(self, wire: SocketWire) -> bool:
        """Read once. Returns whether there may be more."""
        data, reason = b"", ""
        try:
            data = wire.sock.recv(_READ)
        except _PENDING:
            return True
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        if wire.held and data:
            self.received(data, wire.sock)
        elif wire.held:
            self.turn(partial(self.pump.eof, reason=reason))
        return bool(data)

    def writable(self, wire: SocketWire) -> None:
        """Write what waits, and then what else there is."""
        wire.flush()
        if wire.held and not wire.full:
            self.turn()

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
