"""How a host and a port become a TCP connection: names, the race of IPv6 and IPv4, and faults in words.

Holds no event loop and waits for nothing; the drivers put the pieces together, each in its own way.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import Future
from ssl import SSLContext
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from attrs.validators import gt

from thalovant_proto.carrier import Target
from thalovant_proto.dial import DialFailed, DialFault

from ._threads import SingleFlight
from .tls import CaFileError, default_context

Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""A socket family and the address as `socket.connect` takes it."""

Resolver: TypeAlias = Callable[[str, int], Sequence[Address]]
"""Looks a host and a port up, best address first. Runs in a thread; raises one of `LOOKUP_ERRORS`."""

LOOKUP_ERRORS: Final = (OSError, ValueError, OverflowError)
"""A name that is not there, that cannot be one, and a port that cannot be one."""

PENDING: Final = (BlockingIOError, InterruptedError)
"""A call on a non-blocking socket that goes on by itself."""

ContextSource: TypeAlias = Callable[[], SSLContext] | SSLContext | None
"""A context, a function that makes one (called in a thread), or None for `tls.default_context`."""


@frozen(kw_only=True)
class Timeouts:
    """How long each phase of a socket's life may take, in seconds."""

    dns: float = field(default=10.0, validator=gt(0))  # the usual resolver gives up after 10 itself
    connect: float = field(default=10.0, validator=gt(0))
    tls: float = field(default=10.0, validator=gt(0))
    # The head start of each address over the next (RFC 8305 §8).
    attempt: float = field(default=0.25, validator=gt(0))
    # How long a socket that we leave may take to deliver our last bytes and to end.
    linger: float = field(default=2.0, validator=gt(0))


DEFAULT_TIMEOUTS: Final = Timeouts()


class DialError(Exception):
    """A dial that failed; `failure` is for the stack."""

    def __init__(self, failure: DialFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


# A process with a thousand clients asks for one name at a time; a few names may hang without holding up the others.
_flight = SingleFlight(8, "thalovant-dial")


def resolve(host: str, port: int) -> Sequence[Address]:
    """The system's resolver. Blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def start_lookup(target: Target, resolver: Resolver) -> Future[Sequence[Address]]:
    """Look the host of `target` up in a thread; an address literal needs none and is there at once."""
    future: Future[Sequence[Address]] = Future()
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except LOOKUP_ERRORS:
        key: Hashable = (resolver, target.host, target.port)
        return _flight.submit(key, functools.partial(resolver, target.host, target.port))
    future.set_result([(family, address) for family, _, _, _, address in found])
    return future


def start_context(source: ContextSource) -> Future[SSLContext]:
    """Make the context of `source` in a thread; one that exists already is there at once."""
    if isinstance(source, SSLContext):
        future: Future[SSLContext] = Future()
        future.set_result(source)
        return future
    make = default_context if source is None else source
    return _flight.submit(id(make), make)  # which stays its own while the call holds it


class Race:
    """Which address to try when, and what to say if none answers (RFC 8305). Knows no socket."""

    def __init__(self, target: Target, addresses: Sequence[Address], now: float, timeouts: Timeouts) -> None:
        self._target = target
        self._left = _interleaved(addresses)
        self._running = 0
        self._due = now
        self._timeouts = timeouts
        self._deadline = now + timeouts.connect
        self._errors: list[tuple[str, OSError]] = []

    def next(self, now: float) -> Address | None:
        """An address to try now, or None. Ask again after every failure and at `next_timeout`."""
        if not self._left or now < self._due:
            return None
        self._running += 1
        self._due = now + self._timeouts.attempt
        return self._left.pop(0)

    def failed(self, address: Address, error: OSError, now: float) -> None:
        """The attempt at `address` failed: the next one may start at once."""
        self._errors.append((address[1][0], error))
        self._running -= 1
        self._due = now

    @property
    def next_timeout(self) -> float:
        """When to ask again if nothing happens."""
        return min(self._due, self._deadline) if self._left else self._deadline

    def lost(self, now: float) -> DialFailed | None:
        """Why nobody can win any more, or None while somebody can."""
        if now >= self._deadline:
            late = f"no answer within {self._timeouts.connect:g} s; check the address and the firewalls on the way"
            return self._failure(DialFault.TIMEOUT, late)
        if self._left or self._running:
            return None
        # The most telling of the faults: an address of the other family is often just not reachable.
        order = [DialFault.REFUSED, DialFault.TIMEOUT, DialFault.UNREACHABLE, DialFault.OTHER]
        faults = [_fault(error) for _, error in self._errors]
        fault = min(faults, key=order.index, default=DialFault.OTHER)
        return self._failure(fault, _HINTS[fault])

    def _failure(self, fault: DialFault, hint: str) -> DialFailed:
        causes = dict.fromkeys(f"{host} {_words(error)}" for host, error in self._errors)
        message = f"cannot connect to {address_of(self._target)}: {', '.join([*causes, hint])}"
        return DialFailed(phase="connect", fault=fault, message=message)


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
    except PENDING:
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


def new_socket(address: Address) -> socket.socket:
    """A non-blocking TCP socket for `address`."""
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def prepare_socket(sock: socket.socket) -> None:
    """Make a connection that just came up ours. Raises OSError if it is none."""
    # A local port without a listener may be given to the very socket that dials it: TCP then connects it to itself.
    if sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def quick_ack(sock: socket.socket) -> None:
    """Have what was read acknowledged now, where the system can be told to (Linux).

    It waits some 40 ms otherwise, for bytes that might go the same way; and a peer with Nagle's algorithm, as most
    brokers and hubs are, waits with it before it sends its next small packet. Holds for what was read, so call it each
    time there is no answer; an answer acknowledges by itself.
    """
    if _QUICKACK is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except (OSError, ValueError):
            pass  # the socket has ended meanwhile


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


def lookup_failed(target: Target, error: Exception) -> DialFailed:
    """What a resolver's exception means."""
    cause = "the name server cannot answer now; check this machine's network"
    if isinstance(error, (ValueError, OverflowError)):
        cause = "this cannot be a host and a port"
    elif isinstance(error, TimeoutError):
        cause = "the name server does not answer; check this machine's network"
    elif isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
        cause = "no such name; check the host"
    return DialFailed(phase="dns", fault=DialFault.DNS, message=f"cannot look up {target.host}: {cause}")


def connect_failed(target: Target, error: OSError) -> DialFailed:
    """What the exception means of a socket that failed just when it was connected."""
    return DialFailed(
        phase="connect", fault=_fault(error), message=f"cannot connect to {address_of(target)}: {_words(error)}"
    )


def context_failed(target: Target, error: Exception) -> DialFailed:
    """What an exception of a context source means: final, since nobody can be trusted without one."""
    cause = str(error) if isinstance(error, CaFileError) else f"no TLS context ({type(error).__name__})"
    message = f"cannot verify {address_of(target)}: {cause}"
    return DialFailed(phase="tls", fault=DialFault.CERTIFICATE_UNTRUSTED, message=message)


def address_of(target: Target) -> str:
    """The name of a target in messages: "hub.example:443", "[::1]:443"."""
    return f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"


_NO_SUCH_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

_FAULTS: Final = {
    errno.ECONNREFUSED: DialFault.REFUSED,
    errno.ETIMEDOUT: DialFault.TIMEOUT,
    errno.ENETUNREACH: DialFault.UNREACHABLE,
    errno.EHOSTUNREACH: DialFault.UNREACHABLE,
    errno.ENETDOWN: DialFault.UNREACHABLE,
    errno.EADDRNOTAVAIL: DialFault.UNREACHABLE,
    errno.EAFNOSUPPORT: DialFault.UNREACHABLE,
}

_HINTS: Final = {
    DialFault.REFUSED: "nobody listens there; check the port, and that the hub runs",
    DialFault.TIMEOUT: "check the address and the firewalls on the way",
    DialFault.UNREACHABLE: "check this machine's network",
    DialFault.OTHER: "no address could be tried",
}


def _fault(error: OSError) -> DialFault:
    return _FAULTS.get(error.errno or 0, DialFault.OTHER)


def _words(error: OSError) -> str:
    return f"({os.strerror(error.errno).lower() if error.errno else type(error).__name__})"


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Each address once, the families taking turns, in the resolver's order otherwise (RFC 8305 §4)."""
    by_family: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        by_family.setdefault(address[0], []).append(address)
    queues = list(by_family.values())
    return [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
