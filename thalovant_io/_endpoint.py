"""Everything between a socket and a stack that needs no socket: TLS, its deadline, and what to do next.

A driver moves bytes between its socket and a pump and obeys the pump's orders. All drivers and the listener share
these, so nothing is decided twice.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from ssl import SSLContext
from typing import Generic, TypeVar

from thalovant_proto.carrier import Target
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.secret import Secret

from ._interfaces import ClientStack, Dial, HubPeer, Machine, Run, Stop
from .tls import TlsFault, TlsPipe

OutcomeT = TypeVar("OutcomeT")


class Order(enum.Enum):
    """What a driver does about its socket, after writing the bytes that come with the order."""

    KEEP = "keep"  # hold it, or go on with the attempt to open it
    DROP = "drop"  # hold none: give up an attempt, leave a socket
    DIAL = "dial"  # as DROP; then open one to `target`
    STOP = "stop"  # as DROP; then end


class Pump(ABC, Generic[OutcomeT]):
    """One machine, and the TLS of the socket that it has at the moment, if any."""

    __slots__ = ("_deadline", "_machine", "_tls", "_up")

    def __init__(self, machine: Machine[OutcomeT] | None) -> None:
        self._machine = machine  # None: a connection that has not finished TLS yet
        self._tls: TlsPipe | None = None
        self._deadline: float | None = None  # of the TLS handshake, while it goes on
        self._up = False  # bytes travel between the socket and the machine

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        plaintext = data
        if self._tls is not None:
            plaintext = self._tls.receive(data)
            if self._tls.ready and self._deadline is not None:
                self._open(now)
        if self._up and self._machine is not None and plaintext:
            self._machine.receive_data(plaintext, now)
        if self._tls is not None and (self._tls.closed or self._tls.fault is not None):
            self._end(self._tls.fault, now)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended: cleanly, or as `reason` says."""
        self._end(None if self._tls is None else self._tls.eof(reason), now, reason)

    @property
    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`."""
        when = None if self._machine is None else self._machine.next_timeout
        if self._deadline is None or when is None:
            return self._deadline if when is None else when
        return min(self._deadline, when)

    def handle_timeout(self, now: float) -> None:
        """Time has passed; harmless if early."""
        if self._tls is not None and self._deadline is not None and now >= self._deadline:
            self._end(self._tls.overdue(), now)
        if self._machine is not None:
            self._machine.handle_timeout(now)

    def effects(self) -> Sequence[DeriveKey]:
        """Slow work to start; it ends in `effect_done` or `effect_failed`."""
        return () if self._machine is None else self._machine.effects()

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """A key is there."""
        if self._machine is not None:
            self._machine.effect_done(id, key, now)

    def effect_failed(self, error: BaseException, now: float) -> None:
        """A key will never be there (no memory, no such algorithm): the connection that waits for it ends."""
        if self._up:
            self._end(None, now, f"the session key could not be derived: {type(error).__name__}")

    def outcomes(self) -> Sequence[OutcomeT]:
        """News for the application, in order."""
        return () if self._machine is None else self._machine.outcomes()

    def turn(self, *, full: bool = False) -> tuple[Order, bytes]:
        """What to do now, and the bytes to write to the present socket before that.

        Call it after every input. With `full` (the socket takes no more for now) the machine keeps its bytes, unless
        they are the last ones.
        """
        order = self._order()
        if order is Order.KEEP and full:
            return order, b""
        # The bytes of a machine that wants another socket are for that one.
        fresh = self._machine is None or not self._up or order is Order.DIAL
        data = b"" if fresh or self._machine is None else self._machine.data_to_send()
        if self._tls is not None:
            if data:
                self._tls.send(data)
            if order is not Order.KEEP:
                self._tls.close()
            data = self._tls.data_to_send()
        if order is not Order.KEEP:
            self._tls = self._deadline = None
            self._up = False
        return order, data

    @abstractmethod
    def _order(self) -> Order:
        """Ask the machine."""

    @abstractmethod
    def _opened(self, now: float) -> None:
        """The socket is up, TLS included: tell the machine."""

    @abstractmethod
    def _ended(self, fault: TlsFault | None, now: float, reason: str) -> None:
        """The socket ended before it was up (`fault` says why) or after: tell the machine."""

    def _start(self, tls: TlsPipe | None, now: float, tls_timeout: float) -> None:
        """TCP is there."""
        self._tls = tls
        if tls is None:
            self._open(now)
        else:
            self._deadline = now + tls_timeout

    def _open(self, now: float) -> None:
        self._deadline = None
        self._up = True
        self._opened(now)

    def _end(self, fault: TlsFault | None, now: float, reason: str = "") -> None:
        if self._up or self._deadline is not None:
            self._ended(fault, now, reason)
            self._deadline = None
            self._up = False


class ClientPump(Pump[OutcomeT]):
    """The pump of a client stack, over all its sockets."""

    __slots__ = ("_held", "_serial", "_stack", "_tls_timeout", "target")

    def __init__(self, stack: ClientStack[OutcomeT], *, tls_timeout: float) -> None:
        super().__init__(stack)
        self._stack = stack
        self._tls_timeout = tls_timeout
        self._serial: int | None = None  # of the last socket that the stack asked for
        self._held = False  # it, or the attempt to open it, is still there
        self.target: Target = Target(host="", port=0, tls=False)  # where to, after the order DIAL

    def connected(self, context: SSLContext | None, now: float) -> None:
        """The attempt gave a TCP connection; with `context`, TLS comes next."""
        tls = None
        if context is not None:
            try:
                tls = TlsPipe(context, address_of(self.target), server_hostname=server_name(self.target.host))
            except ValueError:
                message = f"{address_of(self.target)}: no certificate can be for this host name; check the host"
                self.dial_failed(DialFailed(phase="tls", fault=DialFault.CERTIFICATE_HOST, message=message), now)
                return
        self._start(tls, now, self._tls_timeout)

    def dial_failed(self, failure: DialFailed, now: float) -> None:
        """The attempt ended without a socket."""
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

    def _opened(self, now: float) -> None:
        self._stack.socket_opened(now)

    def _ended(self, fault: TlsFault | None, now: float, reason: str) -> None:
        self._held = False
        if self._up:
            self._stack.eof(now, reason if fault is None else fault.message)
        elif fault is not None:
            self._stack.dial_failed(DialFailed(phase="tls", fault=fault.fault, message=fault.message), now)


class PeerPump(Pump[OutcomeT]):
    """The pump of one accepted connection. The hub's peer is made when TLS is done."""

    __slots__ = ("_make", "_over", "_peer", "fault")

    def __init__(self, make: Callable[[], HubPeer[OutcomeT]]) -> None:
        super().__init__(None)
        self._make: Callable[[], HubPeer[OutcomeT]] | None = make
        self._peer: HubPeer[OutcomeT] | None = None
        self._over = False
        self.fault: TlsFault | None = None  # why there was never a peer

    def accepted(self, tls: TlsPipe | None, now: float, tls_timeout: float) -> None:
        """The TCP connection is there."""
        self._start(tls, now, tls_timeout)

    def _order(self) -> Order:
        return Order.STOP if self._over or (self._peer is not None and self._peer.finished) else Order.KEEP

    def _opened(self, now: float) -> None:
        if self._make is not None:
            self._machine = self._peer = self._make()
            self._make = None  # it refers to our owner; a busy hub cannot wait for the garbage collector

    def _ended(self, fault: TlsFault | None, now: float, reason: str) -> None:
        self._over = True
        self._make = None
        if self._peer is not None:
            self._peer.eof(now, reason if fault is None else fault.message)
        else:
            self.fault = fault


def address_of(target: Target) -> str:
    """How messages call a target: "hub.example:443", "[::1]:443"."""
    return f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"


def server_name(host: str) -> str:
    """The name that a certificate holds for `host`: no trailing dot, no zone."""
    return host.rstrip(".").partition("%")[0]
