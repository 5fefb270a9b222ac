"""The part between a socket and a machine that needs neither socket nor event loop: TLS, its deadline, the next step.

An input goes in; then orders, bytes, effects and outcomes come out until there are no more. All drivers and the
listener build on this, so nothing is decided twice.
"""

from __future__ import annotations

import enum
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from ssl import SSLContext
from typing import Any, Generic, Protocol, TypeVar

from thalovant_proto.carrier import Target
from thalovant_proto.client.stack import Dial, Run, Stop, Wait
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.secret import Secret

from .derivation import start_derivation
from .dialer import DialError, address_of, quick_ack
from .tls import TlsFault, TlsPipe

# --- the machines that drivers drive: no driver knows more of them than this

O_co = TypeVar("O_co", covariant=True)


class Machine(Protocol[O_co]):
    """The common part of client stacks and hub peers: bytes and time in, bytes, effects and outcomes out."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the peer."""

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended; `reason` says how, on one line."""

    def data_to_send(self) -> bytes:
        """Bytes for the peer."""

    @property
    def next_timeout(self) -> float | None:
        """The time to call `handle_timeout` at, None for never."""

    def handle_timeout(self, now: float) -> None:
        """Time has passed."""

    def effects(self) -> list[DeriveKey]:
        """Slow work to start."""

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """Slow work that ended."""

    def outcomes(self) -> Sequence[O_co]:
        """News for the application, in order."""


class ClientStack(Machine[O_co], Protocol[O_co]):
    """One hub session as a client. It outlives sockets and says when it wants one."""

    def step(self) -> Dial | Wait | Run | Stop:
        """The present instruction about sockets."""

    def socket_opened(self, now: float) -> None:
        """The socket of the last `Dial` is up, TLS included."""

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        """The last `Dial` ended without a socket."""


class HubPeer(Machine[O_co], Protocol[O_co]):
    """One accepted connection as a hub."""

    @property
    def finished(self) -> bool:
        """Whether to close the socket, after writing what `data_to_send` gives."""


# --- one of them, and its socket


class Wire(Protocol):
    """The present socket of an endpoint."""

    @property
    def full(self) -> bool:
        """Whether it takes no more bytes for now."""

    def write(self, data: bytes) -> None:
        """Write, and keep what the socket does not take."""


OutcomeT = TypeVar("OutcomeT")
WireT = TypeVar("WireT", bound=Wire)


class Order(enum.Enum):
    """An instruction to a driver about its socket, carried out after writing the bytes that belong there."""

    KEEP = "keep"  # hold it, or go on with the attempt to open it
    DROP = "drop"  # hold none: give up an attempt, leave a socket
    DIAL = "dial"  # as DROP; then open one to `target`
    STOP = "stop"  # as DROP; then end


class Endpoint(ABC, Generic[OutcomeT, WireT]):
    """One machine, and the TLS of the socket that it has at the moment, if any.

    What the machine raises is a bug of ours; it ends the endpoint, and loudly.
    """

    __slots__ = ("_again", "_answered", "_deadline", "_effects", "_machine", "_running", "_tls", "_up", "over", "wire")

    def __init__(self, machine: Machine[OutcomeT] | None) -> None:
        self._machine: Machine[OutcomeT] | None = machine  # None: a connection that has not finished TLS yet
        self.wire: WireT | None = None
        self.over: bool = False  # nothing goes in or out any more
        self._tls: TlsPipe | None = None
        self._deadline: float | None = None  # of the TLS handshake, while it goes on
        self._up = False  # bytes travel between the socket and the machine
        self._running = False
        self._again = False
        self._answered = False  # bytes were written since the last ones came
        self._effects: dict[int, Future[Secret[bytes]]] = {}

    # --- inputs ---

    def received(self, data: bytes, sock: socket.socket) -> None:
        """Take bytes that `sock` has brought, and do what follows."""
        if self.over:
            return
        self._answered = False
        try:
            now = self.now
            if (tls := self._tls) is not None:
                data = tls.receive(data)
                if self._deadline is not None and tls.ready:
                    self._open(now)
            if data and self._up and self._machine is not None:
                self._machine.receive_data(data, now)
            if tls is not None and (tls.closed or tls.fault is not None):
                self._end(tls.fault, now)
            self.react()
        except Exception as exc:
            self.crashed(exc)
        if not self._answered:
            self.unanswered(sock)

    def wake(self) -> None:
        """Do what the machine wants; call it after calls on the machine, unless an outcome's handler made them.

        Harmless at any time.
        """
        if self.over:
            return
        try:
            self._run()
        except Exception as exc:
            self.crashed(exc)

    def socket_ended(self, reason: str = "") -> None:
        """The socket ended: cleanly, or as `reason` says."""
        self._feed(self._socket_ended, reason)

    def timed_out(self) -> None:
        """Time has passed; harmless if early."""
        self._feed(self._handle_timeout)

    @property
    def next_timeout(self) -> float | None:
        """The time to call `timed_out` at, None for never."""
        when = None if self._machine is None else self._machine.next_timeout
        if self._deadline is None or when is None:
            return self._deadline if when is None else when
        return min(self._deadline, when)

    def finish(self) -> None:
        """Take nothing more, and wait for no derivation. Harmless if repeated."""
        self.over = True
        for future in self._effects.values():
            future.cancel()
        self._effects.clear()

    # --- what follows from an input ---

    def _feed(self, take: Callable[..., None], *values: Any) -> None:
        if self.over:
            return
        try:
            take(*values, self.now)
            self._run()
        except Exception as exc:
            self.crashed(exc)

    def _run(self) -> None:
        """Hand out what there is until there is no more."""
        self._again = True
        if self._running:
            return  # a handler of outcomes has called: whoever runs goes on
        self._running = True
        try:
            while self._again and not self.over:
                self._tell_outcomes()
                self._again = False
                if self.over:
                    break
                order = self._order()
                if self._write_output(order) or self._tell_outcomes():
                    self._again = True  # the machine may have waited for that
                if order is not Order.KEEP:
                    self._tell_outcomes()  # those of the last bytes
                    if not self.over:
                        self.obey(order)
        finally:
            self._running = False
        self.settled()

    def _tell_outcomes(self) -> bool:
        """Returns whether there were any."""
        machine = self._machine
        if machine is None:
            return False
        for effect in machine.effects():
            future = self._effects[effect.id] = start_derivation(effect)
            future.add_done_callback(partial(self._derived_in_thread, effect.id))
        outcomes = machine.outcomes()
        for outcome in outcomes:
            self.tell(outcome)
            if self.over:
                break
        return bool(outcomes)

    def _write_output(self, order: Order) -> bool:
        """Write what belongs to the present socket. A full one gets no more, unless these are its last bytes."""
        wire, tls, last = self.wire, self._tls, order is not Order.KEEP
        if wire is not None and wire.full and not last:
            return False
        # The bytes of a machine that wants another socket are for that one.
        fresh = self._machine is None or not self._up or order is Order.DIAL
        data = b"" if fresh or self._machine is None else self._machine.data_to_send()
        if tls is not None:
            if data:
                tls.send(data)
            if last:
                tls.close()
            data = tls.data_to_send()
        if last:
            self._tls = self._deadline = None
            self._up = False
        if not data:
            return False
        if wire is not None:
            wire.write(data)
            self._answered = True
        return True

    def _derived_in_thread(self, id: int, future: Future[Secret[bytes]]) -> None:
        self.post(partial(self._derived, id, future))

    def _derived(self, id: int, future: Future[Secret[bytes]]) -> None:
        if self._effects.get(id) is not future:
            return  # nobody waits any more
        del self._effects[id]
        if (error := future.exception()) is None and self._machine is not None:
            self._feed(self._machine.effect_done, id, future.result())
        else:
            self._feed(self._effect_failed, error)

    def _effect_failed(self, error: BaseException, now: float) -> None:
        """End the connection that waits for a key: there is no memory for it, or no such algorithm."""
        if self._up:
            self._end(None, now, f"the session key could not be derived: {type(error).__name__}")

    def _handle_timeout(self, now: float) -> None:
        if self._tls is not None and self._deadline is not None and now >= self._deadline:
            self._end(self._tls.overdue(), now)
        if self._machine is not None:
            self._machine.handle_timeout(now)

    # --- the socket ---

    def _start(self, tls: TlsPipe | None, tls_timeout: float, now: float) -> None:
        """TCP is there."""
        self._tls = tls
        if tls is None:
            self._open(now)
        else:
            self._deadline = now + tls_timeout

    def _open(self, now: float) -> None:
        self._deadline = None
        self._up = True
        self._socket_up(now)

    def _socket_ended(self, reason: str, now: float) -> None:
        self._end(None if self._tls is None else self._tls.eof(reason), now, reason)

    def _end(self, fault: TlsFault | None, now: float, reason: str = "") -> None:
        if self._up or self._deadline is not None:
            self._socket_down(fault, now, reason)
            self._deadline = None
            self._up = False

    # --- the role ---

    @abstractmethod
    def _order(self) -> Order:
        """Ask the machine what to do about sockets."""

    @abstractmethod
    def _socket_up(self, now: float) -> None:
        """Tell the machine that the socket is up, TLS included."""

    @abstractmethod
    def _socket_down(self, fault: TlsFault | None, now: float, reason: str) -> None:
        """Tell the machine that the socket ended, before it was up (`fault` says why) or after."""

    # --- the driver ---

    @property
    @abstractmethod
    def now(self) -> float:
        """The time for calls on the machine."""

    @abstractmethod
    def tell(self, outcome: OutcomeT) -> None:
        """Hand an outcome to the application."""

    @abstractmethod
    def obey(self, order: Order) -> None:
        """Carry out an order other than KEEP."""

    @abstractmethod
    def settled(self) -> None:
        """Wait for the next input, until `next_timeout` at most: there is no more to do."""

    @abstractmethod
    def post(self, call: Callable[[], None]) -> None:
        """Have `call` made where the endpoint runs. Called from other threads; harmless when all is over."""

    @abstractmethod
    def crashed(self, error: Exception) -> None:
        """End because of a bug of ours, and see that somebody learns of it."""

    def react(self) -> None:
        """Do what follows from bytes that came."""
        self._run()

    def unanswered(self, sock: socket.socket) -> None:
        """Acknowledge what `sock` has brought, unless something was written meanwhile."""
        if not self._answered:
            quick_ack(sock)


class ClientEndpoint(Endpoint[OutcomeT, WireT]):
    """A client stack, over all its sockets."""

    def __init__(self, stack: ClientStack[OutcomeT], *, tls_timeout: float) -> None:
        super().__init__(stack)
        self.target: Target = Target(host="", port=0, tls=False)  # where to, after the order DIAL
        self._stack = stack
        self._tls_timeout = tls_timeout
        self._serial: int | None = None  # of the last socket that the stack asked for
        self._held = False  # it, or the attempt to open it, is still there

    def connected(self, context: SSLContext | None) -> None:
        """The attempt gave a TCP connection; with `context`, TLS comes next."""
        self._feed(self._connected, context)

    def dial_failed(self, failure: DialFailed) -> None:
        """The attempt ended without a socket."""
        self._feed(self._dial_failed, failure)

    def _connected(self, context: SSLContext | None, now: float) -> None:
        try:
            self._start(begin_tls(self.target, context), self._tls_timeout, now)
        except DialError as error:
            self._dial_failed(error.failure, now)

    def _dial_failed(self, failure: DialFailed, now: float) -> None:
        self._held = False
        self._stack.dial_failed(failure, now)

    def _order(self) -> Order:
        match self._stack.step():
            case Run(serial=serial):
                return Order.KEEP if self._held and serial == self._serial else Order.DROP
            case Dial(serial=serial) if serial == self._serial:
                return Order.KEEP if self._held else Order.DROP
            case Dial(target=target, serial=serial):
                self.target, self._serial, self._held = target, serial, True
                return Order.DIAL
            case Stop():
                return Order.STOP
        return Order.DROP

    def _socket_up(self, now: float) -> None:
        self._stack.socket_opened(now)

    def _socket_down(self, fault: TlsFault | None, now: float, reason: str) -> None:
        self._held = False
        if self._up:
            self._stack.eof(now, reason if fault is None else fault.message)
        elif fault is not None:
            self._stack.dial_failed(fault.failure, now)


def begin_tls(target: Target, context: SSLContext | None) -> TlsPipe | None:
    """TLS with `target`, if there is to be any. Raises `DialError` for a name that no certificate can hold."""
    try:
        where, name = address_of(target), server_name(target.host)
        return None if context is None else TlsPipe(context, where, server_hostname=name)
    except ValueError:
        message = f"{where}: no certificate can be for this host name"
        raise DialError(DialFailed(phase="tls", fault=DialFault.CERTIFICATE_HOST, message=message)) from None


def server_name(host: str) -> str:
    """The name that a certificate holds for `host`: no trailing dot, no zone."""
    return host.rstrip(".").partition("%")[0]
