"""The plumbing without sockets: what a driver is told to do, and which bytes belong to which socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from tests.io.pki import Pki
from tests.io.stacks import Ended, Failed, FrameClient, Heard, Opened, Outcome, framed
from thalovant_io._endpoint import ClientEndpoint, Order, server_name
from thalovant_io.dialer import address_of
from thalovant_io.tls import TlsPipe
from thalovant_proto.carrier import Target
from thalovant_proto.client.stack import Dial, Run, Stop, Wait
from thalovant_proto.dial import DialFailed, DialFault

FIRST = Target(host="hub.example", port=1, tls=False)
SECOND = Target(host="localhost", port=2, tls=True)
FAILED = DialFailed(phase="connect", fault=DialFault.REFUSED, message="no")


class Willful(FrameClient):
    """A stack that can be made to say anything."""

    forced: Dial | Run | Wait | Stop | None = None

    def step(self) -> Dial | Run | Wait | Stop:
        return self.forced or super().step()


class Endpoint(ClientEndpoint[Outcome, "Wire"]):
    """A driver on a desk: time is set by hand, what it is told to do is written down."""

    def __init__(self, stack: FrameClient) -> None:
        super().__init__(stack, tls_timeout=10.0)
        self.time = 0.0
        self.told: list[Outcome] = []
        self.done: list[Order | bytes] = []  # since the last look

    def look(self) -> list[Order | bytes]:
        """The orders it was given and the bytes it wrote, in order, since the last look."""
        done, self.done = self.done, []
        return done

    def look_after_waking(self) -> list[Order | bytes]:
        """The same, after an input that brings nothing."""
        self.wake()
        return self.look()

    @property
    def now(self) -> float:
        return self.time

    def tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)

    def obey(self, order: Order) -> None:
        self.done.append(order)
        self.wire = None
        if order is Order.STOP:
            self.finish()

    def settled(self) -> None:
        """Time is set by hand."""

    def post(self, call: Callable[[], None]) -> None:
        raise NotImplementedError

    def crashed(self, error: Exception) -> None:
        raise error

    def connect(self, context: ssl.SSLContext | None) -> None:
        """The attempt gave a TCP connection."""
        self.wire = Wire(self)
        self.connected(context)

    def receive(self, data: bytes) -> None:
        """The socket brought something."""
        with socket.socket() as sock:
            self.received(data, sock)


class Wire:
    """The socket of an endpoint on a desk."""

    full = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def write(self, data: bytes) -> None:
        self._endpoint.done.append(data)


def dialing(stack: FrameClient) -> Endpoint:
    """An endpoint that has been told to dial."""
    endpoint = Endpoint(stack)
    assert endpoint.look_after_waking() == [Order.DIAL]
    return endpoint


def test_one_dial_for_each_serial() -> None:
    """While the attempt goes on it is kept; a failed one is not repeated unless the stack says so anew."""
    stack = Willful(FIRST, SECOND)
    endpoint = dialing(stack)
    assert endpoint.target == FIRST
    assert endpoint.look_after_waking() == []

    endpoint.dial_failed(FAILED)
    assert endpoint.told == [Failed(FAILED)]
    assert endpoint.look() == [Order.DIAL]
    assert endpoint.target == SECOND

    stack.forced = Dial(SECOND, 2)
    endpoint.dial_failed(FAILED)
    assert endpoint.look() == [Order.DROP]


def test_a_socket_that_the_stack_does_not_mean_is_dropped() -> None:
    """Run names the dial that it is about."""
    stack = Willful(FIRST)
    endpoint = dialing(stack)
    endpoint.connect(None)
    assert endpoint.look() == []
    stack.forced = Run(7)
    assert endpoint.look_after_waking() == [Order.DROP]


def test_bytes_for_the_next_socket_do_not_leave_on_the_old_one() -> None:
    """A stack that dials anew may have bytes for the new socket already: they wait for it."""
    stack = Willful(FIRST)
    endpoint = dialing(stack)
    endpoint.connect(None)
    stack.send(b"for the new one")
    stack.forced = Dial(FIRST, 2)
    assert endpoint.look_after_waking() == [Order.DIAL]
    assert endpoint.look_after_waking() == []
    stack.forced = Run(2)
    endpoint.connect(None)
    assert endpoint.look() == [framed(b"for the new one")]


def test_bytes_of_a_socket_that_ended_wait_for_the_next() -> None:
    """After the end nothing is taken from the stack."""
    stack = Willful(FIRST)
    endpoint = dialing(stack)
    endpoint.connect(None)
    stack.forced = Wait()
    endpoint.socket_ended("reset")
    endpoint.socket_ended("told twice")
    stack.send(b"for the new one")
    endpoint.receive(framed(b"late"))
    assert endpoint.told == [Opened(1), Ended("reset")]
    assert {*endpoint.look()} == {Order.DROP}
    assert stack.drained == 0


def test_last_words_leave_even_if_the_socket_is_full() -> None:
    """A full socket holds bytes back, but not the last ones."""
    stack = FrameClient(FIRST)
    endpoint = dialing(stack)
    endpoint.connect(None)
    assert endpoint.wire is not None
    endpoint.wire.full = True
    stack.send(b"hello")
    assert endpoint.look_after_waking() == []
    stack.leave()
    assert endpoint.look_after_waking() == [framed(b"hello"), Order.DROP, Order.STOP]


def test_tls_comes_first_and_says_goodbye(pki: Pki) -> None:
    """The stack hears of the socket when TLS is up, and speaks through it; at the end TLS says goodbye."""
    stack = FrameClient(SECOND)
    endpoint = dialing(stack)
    server = TlsPipe(pki.server(), "client", server_side=True)
    endpoint.time = 1.0
    endpoint.connect(pki.client())
    assert endpoint.next_timeout == 11.0
    stack.set_alarm(5.0)
    assert endpoint.next_timeout == 5.0
    stack.put_off_alarms(100.0)
    endpoint.time = 10.9
    endpoint.timed_out()  # early: no effect
    while not (server.ready and stack.step() == Run(1)):
        for data in endpoint.look():
            assert isinstance(data, bytes)
            server.receive(data)
        endpoint.receive(server.data_to_send())
    assert endpoint.told == [Opened(1)]
    assert endpoint.next_timeout == 105.0

    stack.send(b"hello")
    (data,) = endpoint.look_after_waking()
    assert isinstance(data, bytes)
    assert server.receive(data) == framed(b"hello")
    server.send(framed(b"hi") + framed(b"bye"))
    server.close()
    endpoint.receive(server.data_to_send())
    assert endpoint.told == [Opened(1), Heard(b"hi"), Heard(b"bye"), Ended("")]
    data, order = endpoint.look()
    assert order is Order.STOP
    assert isinstance(data, bytes)
    server.receive(data)
    assert server.closed


def test_the_tls_handshake_has_a_deadline(pki: Pki) -> None:
    """Without a peer that answers, the dial fails at the deadline."""
    endpoint = dialing(FrameClient(SECOND))
    endpoint.connect(pki.client())
    endpoint.time = 10.0
    endpoint.timed_out()
    (failed,) = endpoint.told
    assert isinstance(failed, Failed)
    assert (failed.failure.phase, failed.failure.fault) == ("tls", DialFault.TIMEOUT)
    assert endpoint.next_timeout is None


def test_names_in_messages_and_certificates() -> None:
    """Addresses of IPv6 in brackets; neither zone nor trailing dot in a certificate's name."""
    assert address_of(Target(host="::1", port=443, tls=True)) == "[::1]:443"
    assert address_of(Target(host="hub.example.", port=443, tls=True)) == "hub.example.:443"
    assert server_name("hub.example.") == "hub.example"
    assert server_name("fe80::1%eth0") == "fe80::1"
