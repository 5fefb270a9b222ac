"""Dialing, from a host and a port to a TCP connection: names, the race of IPv6 and IPv4, and faults in words.

Holds no event loop and waits for nothing; the drivers put the pieces together, each in its own way.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import ssl
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import gt

from thalovant_proto.carrier import Target
from thalovant_proto.dial import DialFailed, DialFault

from ._threads import SingleFlight
from .tls import CaFileError, classify, default_context

Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""A socket family and the address as `socket.connect` takes it."""

Resolver: TypeAlias = Callable[[str, int], Sequence[Address]]
"""Looks a host and a port up, best address first. Runs in a thread; raises one of `LOOKUP_ERRORS`."""

LOOKUP_ERRORS: Final = (OSError, ValueError, OverflowError)
"""A name that is not there, that cannot be one, and a port that cannot be one."""

PENDING: Final = (BlockingIOError, InterruptedError)
"""A call on a non-blocking socket that goes on by itself."""

ContextSource: TypeAlias = Callable[[], ssl.SSLContext] | ssl.SSLContext | None
"""A context, a function that makes one (called in a thread), or None for `tls.default_context`."""


@frozen(kw_only=True)
class Timeouts:
    """Time limits of the phases of a socket's life, in seconds."""

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


# Hosts that are looked up by other names than their own, the latest last. Threads share it, one operation at a time.
_led: list[tuple[str, tuple[str, ...]]] = []


@contextmanager
def preferred_origin(host: str, address: str, *, only: bool = False) -> Iterator[None]:
    """Have connections to `host` go to `address` first, then to where its name leads, until the block ends.

    In this process, for every client that connects meanwhile. `only`: to that address and nowhere else. TLS and the
    hub's keys are checked as ever, for `host`.

    Example:
        >>> with preferred_origin("hub.example", "192.168.1.20"):
        ...     client.connect()
    """
    entry = (host.lower(), (address,) if only else (address, host))
    _led.append(entry)
    try:
        yield
    finally:
        _led.remove(entry)


def resolve(host: str, port: int, flags: int = 0) -> Sequence[Address]:
    """The system's resolver. Blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def start_lookup(target: Target, resolver: Resolver) -> Future[Sequence[Address]]:
    """Look the host of `target` up in a thread; an address literal needs none and is there at once."""
    names = next((names for host, names in _led[::-1] if host == target.host.lower()), (target.host,))
    literal = functools.partial(resolve, flags=socket.AI_NUMERICHOST)
    future: Future[Sequence[Address]] = Future()
    try:
        future.set_result([address for name in names for address in literal(name, target.port)])
    except LOOKUP_ERRORS:
        return _flight.submit((resolver, names, target.port), functools.partial(_look_up, resolver, names, target.port))
    return future


def _look_up(resolver: Resolver, names: Sequence[str], port: int) -> Sequence[Address]:
    """The addresses of all names that there are; raises what the last one raised if there is none."""
    found: list[Address] = []
    for name in names:
        try:
            found += resolver(name, port)
        except LOOKUP_ERRORS:
            if not found and name is names[-1]:
                raise
    return found


def start_context(source: ContextSource) -> Future[ssl.SSLContext]:
    """Make the context of `source` in a thread; one that exists already is there at once."""
    if isinstance(source, ssl.SSLContext):
        future: Future[ssl.SSLContext] = Future()
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
        """The time to ask again at, if nothing happens."""
        return min(self._due, self._deadline) if self._left else self._deadline

    def lost(self, now: float) -> DialFailed | None:
        """Why nobody can win any more, or None while somebody can."""
        if now >= self._deadline:
            return self._failure(DialFault.TIMEOUT, f"no answer within {self._timeouts.connect:g} s")
        if self._left or self._running:
            return None
        # The most telling of the faults: an address of the other family is often just not reachable.
        order = [DialFault.REFUSED, DialFault.TIMEOUT, DialFault.UNREACHABLE, DialFault.OTHER]
        faults = [_fault(error) for _, error in self._errors]
        fault = min(faults, key=order.index, default=DialFault.OTHER)
        return self._failure(fault) if faults else self._failure(fault, "no address could be tried")

    def _failure(self, fault: DialFault, *more: str) -> DialFailed:
        causes = dict.fromkeys(f"{host} ({_words(error)})" for host, error in self._errors)
        return _connect_failed(self._target, fault, ", ".join([*causes, *more]))


@frozen
class Until:
    """The events that an attempt waits for: a future, one of its sockets to be writable, a time; the first counts."""

    deadline: float | None
    future: Future[Any] | None = None
    sockets: Sequence[socket.socket] = ()


Attempt: TypeAlias = Generator[Until, None, tuple[socket.socket, ssl.SSLContext | None]]


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
            raise DialError(dial_failed_from(exc, target, phase="tls")) from None
    deadline = clock() + timeouts.dns
    lookup = start_lookup(target, resolver)
    try:
        while not lookup.done() and clock() < deadline:
            yield Until(deadline, lookup)
        race = Race(target, lookup.result(timeout=0), clock(), timeouts)
    except LOOKUP_ERRORS as exc:  # TimeoutError is an OSError
        raise DialError(dial_failed_from(exc, target, phase="dns")) from None
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


def dial_failed_from(
    error: BaseException, target: Target, *, phase: Literal["dns", "connect", "tls"] | None = None
) -> DialFailed:
    """The report on an exception that a dial of `target` ended with, for `ClientStack.dial_failed`.

    For drivers with sockets of their own. Knows the exceptions of `socket`, `ssl` and asyncio. `phase` says what was
    being done, where the exception does not: an OSError may come from a name server, too.
    """
    if isinstance(error, DialError):
        return error.failure
    where = address_of(target)
    if isinstance(error, ssl.SSLError):
        fault, message = classify(error, where, server_side=False)
        return DialFailed(phase="tls", fault=fault, message=message)
    if phase == "tls" or isinstance(error, CaFileError):
        cause = str(error) if isinstance(error, CaFileError) else f"no TLS context ({type(error).__name__})"
        if isinstance(error, CaFileError) and error.hint:
            return DialFailed(phase="tls", fault=DialFault.CERTIFICATE_INVALID, message=cause, hint=error.hint)
        message = f"cannot verify {where}: {cause}"
        return DialFailed(phase="tls", fault=DialFault.CERTIFICATE_UNTRUSTED, message=message)
    if phase == "dns" or isinstance(error, (socket.gaierror, ValueError, OverflowError)):
        message = f"cannot look up {target.host}: {_lookup_words(error)}"
        return DialFailed(phase="dns", fault=DialFault.DNS, message=message)
    return _connect_failed(target, _fault(error), f"({_words(error)})")


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


def _connect_failed(target: Target, fault: DialFault, cause: str) -> DialFailed:
    return DialFailed(phase="connect", fault=fault, message=f"cannot connect to {address_of(target)}: {cause}")


def _fault(error: BaseException) -> DialFault:
    if isinstance(error, TimeoutError):
        return DialFault.TIMEOUT
    return _FAULTS.get(getattr(error, "errno", None) or 0, DialFault.OTHER)


def _words(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, TimeoutError):
        return "no answer in time"
    return os.strerror(number).lower() if number else type(error).__name__


def _lookup_words(error: BaseException) -> str:
    if isinstance(error, (ValueError, OverflowError)):
        return "this cannot be a host and a port"
    if isinstance(error, TimeoutError):
        return "the name server does not answer"
    if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
        return "no such name"
    return "the name server cannot answer now"


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Each address once, the families taking turns, in the resolver's order otherwise (RFC 8305 §4)."""
    by_family: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        by_family.setdefault(address[0], []).append(address)
    queues = list(by_family.values())
    return [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
