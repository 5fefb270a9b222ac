"""From a target to a socket: names, the race of the families, timeouts, and every way to give up, on every driver."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from attrs import evolve

from tests.io.pki import Pki
from tests.io.running import (
    DRIVERS,
    PATIENCE,
    Accepted,
    BlackHole,
    Running,
    Server,
    assert_says_it_once,
    echo,
    free_port,
)
from tests.io.stacks import Failed, FrameClient, Heard, Opened, Rang
from thalovant_io.dialer import Address, DialError, Timeouts, dial_failed_from, prepare_socket, resolve
from thalovant_io.tls import CaFileError, default_context
from thalovant_proto.carrier import Target
from thalovant_proto.dial import DialFailed, DialFault

drivers = pytest.mark.parametrize("driver", DRIVERS)

NAME = Target(host="hub.example", port=443, tls=False)
NEVER = 1000.0  # seconds; nothing may depend on their passing


def failure_of(driver: str, target: Target, **options: Any) -> DialFailed:
    """How a dial of `target` ends."""
    with Running(driver, FrameClient(target), **options) as running:
        failure = running.expect(Failed).failure
        running.join()
        assert running.no_more()
        assert running.error is None
    assert_says_it_once(failure)
    return failure


def at(*addresses: tuple[str, int]) -> Callable[[str, int], Sequence[Address]]:
    """A resolver that knows these."""
    return lambda host, port: [
        (socket.AF_INET6, (host, port, 0, 0)) if ":" in host else (socket.AF_INET, (host, port))
        for host, port in addresses
    ]


@drivers
def test_refused(driver: str) -> None:
    """Nobody listens: said at once, with the address."""
    with free_port() as port:
        failure = failure_of(driver, Target(host="127.0.0.1", port=port, tls=False))
    assert (failure.phase, failure.fault) == ("connect", DialFault.REFUSED)
    assert failure.message == f"cannot connect to 127.0.0.1:{port}: 127.0.0.1 (connection refused)"


@drivers
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no such name"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "the name server cannot answer now"),
        (OSError("something else"), "the name server cannot answer now"),
    ],
)
def test_names_that_cannot_be_looked_up(driver: str, error: OSError, words: str) -> None:
    """The resolver's fault in words."""

    def resolver(host: str, port: int) -> Sequence[Address]:
        raise error

    failure = failure_of(driver, NAME, resolver=resolver)
    assert (failure.phase, failure.fault) == ("dns", DialFault.DNS)
    assert f"cannot look up hub.example: {words}" in failure.message


@drivers
@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_names_that_cannot_be(driver: str, host: str) -> None:
    """The system's resolver refuses them before anything is sent."""
    failure = failure_of(driver, evolve(NAME, host=host))
    assert (failure.phase, failure.fault) == ("dns", DialFault.DNS)
    assert "this cannot be a host" in failure.message


@pytest.fixture
def hanging() -> Iterator[Callable[[str, int], Sequence[Address]]]:
    """A resolver that does not answer until the test is over."""
    over = threading.Event()

    def resolver(host: str, port: int) -> Sequence[Address]:
        assert over.wait(PATIENCE)
        return []

    yield resolver
    over.set()


@drivers
def test_a_name_server_that_does_not_answer(driver: str, hanging: Callable[[str, int], Sequence[Address]]) -> None:
    """The lookup has a timeout of its own."""
    failure = failure_of(driver, NAME, resolver=hanging, timeouts=Timeouts(dns=0.02, connect=NEVER))
    assert (failure.phase, failure.fault) == ("dns", DialFault.DNS)
    assert "the name server does not answer" in failure.message


@drivers
def test_no_answer_to_connect(driver: str) -> None:
    """Neither accepted nor refused: the connect timeout."""
    with BlackHole() as hole:
        failure = failure_of(driver, hole.target, timeouts=Timeouts(connect=0.05))
    assert (failure.phase, failure.fault) == ("connect", DialFault.TIMEOUT)
    assert f"cannot connect to 127.0.0.1:{hole.port}: no answer within 0.05 s" in failure.message


@drivers
def test_a_dead_address_does_not_hold_up_the_others(driver: str) -> None:
    """IPv6 leads nowhere: IPv4 is tried after the head start and wins; the dead attempt is given up."""
    with BlackHole("::1") as hole, Server(echo) as server:
        stack = FrameClient(NAME)
        options: dict[str, Any] = {
            "resolver": at(("::1", hole.port), ("127.0.0.1", server.port)),
            "timeouts": Timeouts(attempt=0.01),
        }
        with Running(driver, stack, **options) as running:
            running.expect(Opened)
            running.call(stack.send, b"hello")
            assert running.expect(Heard) == Heard(b"hello")


@drivers
def test_a_late_answer_counts(driver: str) -> None:
    """A connection that takes its time (the system repeats its first packet after a second) comes up all the same."""
    with BlackHole() as hole:
        stack = FrameClient(hole.target, idle=True)
        with Running(driver, stack) as running:
            running.call(lambda: stack.set_alarm(running.now() + 0.01))
            running.expect(Rang)  # the dial is under way
            hole.open()
            running.expect(Opened)


@drivers
def test_a_refused_address_gives_way_at_once(driver: str) -> None:
    """No head start is waited for after a failure."""
    with free_port() as dead, Server(echo) as server:
        addresses = at(("127.0.0.1", dead), ("127.0.0.1", server.port))
        with Running(driver, FrameClient(NAME), resolver=addresses, timeouts=Timeouts(attempt=NEVER)) as running:
            running.expect(Opened)


@drivers
def test_the_first_address_wins_when_all_are_well(driver: str) -> None:
    """IPv6 first, as the resolver says; IPv4 is not even tried."""
    with Server(echo, host="::1") as first, BlackHole() as second:
        addresses = at(("::1", first.port), ("127.0.0.1", second.port))
        with Running(driver, FrameClient(NAME), resolver=addresses, timeouts=Timeouts(attempt=NEVER)) as running:
            running.expect(Opened)


@drivers
def test_all_addresses_fail(driver: str) -> None:
    """All are named, and the most telling fault is the verdict."""
    with free_port() as dead:
        addresses = at(("fe80::1", dead), ("127.0.0.1", dead), ("127.0.0.2", dead), ("127.0.0.1", dead))
        no_tcp: Address = (9999, ("nowhere",))
        failure = failure_of(driver, NAME, resolver=lambda host, port: [no_tcp, *addresses(host, port)])
    assert (failure.phase, failure.fault) == ("connect", DialFault.REFUSED)
    assert failure.message.count("127.0.0.1 (connection refused)") == 1
    assert "127.0.0.2 (connection refused)" in failure.message
    assert "fe80::1 (invalid argument)" in failure.message  # on which interface?
    assert "nowhere (address family not supported by protocol)" in failure.message


@drivers
def test_no_address_at_all(driver: str) -> None:
    """A resolver that finds nothing, without a fault."""
    failure = failure_of(driver, NAME, resolver=at())
    assert (failure.phase, failure.fault) == ("connect", DialFault.OTHER)
    assert "cannot connect to hub.example:443: no address could be tried" in failure.message


@drivers
def test_an_address_is_not_looked_up(driver: str) -> None:
    """Literals need no resolver, nor a thread."""

    def resolver(host: str, port: int) -> Sequence[Address]:
        raise AssertionError("looked up")

    for host in ("127.0.0.1", "::1"):
        with (
            Server(echo, host=host) as server,
            Running(driver, FrameClient(server.target), resolver=resolver) as running,
        ):
            running.expect(Opened)
            assert running.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@drivers
def test_a_resolver_that_breaks_is_heard_of(driver: str) -> None:
    """An exception that is no fault of a lookup is a bug: it ends the driver and is raised."""

    def resolver(host: str, port: int) -> Sequence[Address]:
        raise KeyError(host)

    with Running(driver, FrameClient(NAME), resolver=resolver) as running:
        running.join()
        assert isinstance(running.error, KeyError)


@drivers
def test_a_context_that_cannot_be_made(driver: str, pki: Pki) -> None:
    """No CA file, no trust: a final fault that names the file, before anything is dialed."""
    missing = str(pki.folder / "missing.pem")
    failure = failure_of(driver, evolve(NAME, tls=True), tls=lambda: default_context(missing))
    assert (failure.phase, failure.fault) == ("tls", DialFault.CERTIFICATE_UNTRUSTED)
    assert f"cannot verify hub.example:443: CA file {missing} cannot be read: No such file" in failure.message

    def broken() -> None:
        raise ZeroDivisionError

    failure = failure_of(driver, evolve(NAME, tls=True), tls=broken)
    assert failure.message == "cannot verify hub.example:443: no TLS context (ZeroDivisionError)"


@drivers
def test_a_name_that_no_certificate_can_hold(driver: str, pki: Pki) -> None:
    """It resolves, but TLS cannot ask for it."""
    with Server(lambda connection: None) as server:
        target = Target(host=".local", port=server.port, tls=True)
        addresses = at(("127.0.0.1", server.port))
        failure = failure_of(driver, target, resolver=addresses, tls=pki.client())
    assert (failure.phase, failure.fault) == ("tls", DialFault.CERTIFICATE_HOST)
    assert f".local:{server.port}: no certificate can be for this host name" in failure.message


@contextlib.contextmanager
def stuck(phase: str, pki: Pki, resolver: object) -> Iterator[tuple[Target, dict[str, Any]]]:
    """A target whose dial hangs in that phase, and the options for it."""
    timeouts = Timeouts(dns=NEVER, connect=NEVER, tls=NEVER, attempt=NEVER)
    options: dict[str, Any] = {"timeouts": timeouts, "tls": pki.client()}
    match phase:
        case "context":
            over = threading.Event()
            options["tls"] = lambda: over.wait(PATIENCE)
            yield evolve(NAME, tls=True), options
            over.set()
        case "dns":
            yield NAME, {**options, "resolver": resolver}
        case "connect":
            with BlackHole() as hole:
                yield hole.target, options
        case "tls":
            with Server(listen, tolerant=True) as server:
                yield Target(host="localhost", port=server.port, tls=True), options


def listen(connection: Accepted) -> None:
    """A script: read until the end."""
    connection.rest()


PHASES = ("context", "dns", "connect", "tls")


@drivers
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["stop", "abort", "next"])
def test_a_dial_can_be_given_up(driver: str, phase: str, how: str, pki: Pki, hanging: object) -> None:
    """In every phase, the stack may stop, move on to another dial, or be aborted; nothing of the dial is left."""
    with stuck(phase, pki, hanging) as (target, options), Server(echo) as server:
        stack = FrameClient(target)
        with Running(driver, stack, **options) as running:
            match how:
                case "stop":
                    running.call(stack.stop)
                case "abort":
                    running.abort()
                case "next":
                    running.call(stack.dial, server.target)
                    running.call(stack.leave)
                    assert running.expect(Opened) == Opened(2)
                    running.call(stack.stop)
            running.join()
            assert running.no_more()
            assert running.error is None


@drivers
@pytest.mark.parametrize("phase", PHASES)
def test_alarms_ring_while_a_dial_hangs(driver: str, phase: str, pki: Pki, hanging: object) -> None:
    """A stack's time goes on while it has no socket."""
    with stuck(phase, pki, hanging) as (target, options):
        stack = FrameClient(target)
        with Running(driver, stack, **options) as running:
            running.call(lambda: stack.set_alarm(running.now() + 0.01))
            running.expect(Rang)


def test_a_socket_that_met_itself_is_refused() -> None:
    """A dial of a free local port can connect the socket to itself: nobody is there, and the port must stay free."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        with pytest.raises(ConnectionRefusedError):
            prepare_socket(sock)


def test_the_systems_resolver_finds_this_machine() -> None:
    """`resolve` gives families and addresses as sockets take them."""
    assert (socket.AF_INET, ("127.0.0.1", 443)) in resolve("localhost", 443)


@pytest.mark.parametrize(
    ("error", "phase", "fault", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "?"), "dns", DialFault.DNS, "cannot look up hub.example: no such name"),
        (UnicodeError("label too long"), "dns", DialFault.DNS, "this cannot be a host and a port"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "?"), "connect", DialFault.REFUSED, "443: (connection refused)"),
        (OSError(errno.ENETUNREACH, "?"), "connect", DialFault.UNREACHABLE, "443: (network is unreachable)"),
        (TimeoutError(), "connect", DialFault.TIMEOUT, "443: (no answer in time)"),
        (OSError(errno.ETIMEDOUT, "?"), "connect", DialFault.TIMEOUT, "443: (connection timed out)"),
        (ConnectionResetError(), "connect", DialFault.OTHER, "443: (ConnectionResetError)"),
        (LookupError("secret"), "connect", DialFault.OTHER, "443: (LookupError)"),
        (ssl.SSLError(1, "[SSL: NO_SHARED_CIPHER] ?"), "tls", DialFault.TLS, "TLS with hub.example:443 failed:"),
        (ssl.SSLCertVerificationError(1, "?"), "tls", DialFault.CERTIFICATE_INVALID, "not acceptable"),
        (CaFileError("CA file x cannot be read"), "tls", DialFault.CERTIFICATE_UNTRUSTED, "443: CA file x cannot"),
    ],
    ids=repr,
)
def test_exceptions_of_other_drivers_become_reports(error: Exception, phase: str, fault: DialFault, words: str) -> None:
    """Whoever opens sockets in another way has the same words for what went wrong."""
    failure = dial_failed_from(error, NAME)

    assert (failure.phase, failure.fault) == (phase, fault)
    assert words in failure.message
    assert "secret" not in failure.message
    assert_says_it_once(failure)
    assert dial_failed_from(DialError(failure), NAME) is failure
