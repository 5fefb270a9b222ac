"""The plumbing without sockets: what a driver is told to do, and which bytes belong to which socket."""

from __future__ import annotations

from tests.io.pki import Pki
from tests.io.stacks import EchoPeer, Ended, Failed, FrameClient, Heard, Opened, Outcome, framed
from thalovant_io._endpoint import ClientPump, Order, PeerPump, address_of, server_name
from thalovant_io._interfaces import Dial, Run, Stop, Wait
from thalovant_io.tls import TlsPipe
from thalovant_proto.carrier import Target
from thalovant_proto.dial import DialFailed, DialFault

FIRST = Target(host="hub.example", port=1, tls=False)
SECOND = Target(host="localhost", port=2, tls=True)
FAILED = DialFailed(phase="connect", fault=DialFault.REFUSED, message="no")


class Willful(FrameClient):
    """A stack that can be made to say anything."""

    forced: Dial | Run | Wait | Stop | None = None

    def step(self) -> Dial | Run | Wait | Stop:
        return self.forced or super().step()


def pump_of(stack: FrameClient) -> ClientPump[Outcome]:
    """A pump that has been told to dial."""
    pump = ClientPump(stack, tls_timeout=10.0)
    assert pump.turn() == (Order.DIAL, b"")
    return pump


def test_one_dial_for_each_serial() -> None:
    """While the attempt goes on the order is to keep it; a failed one is not repeated unless the stack says so anew."""
    stack = Willful(FIRST, SECOND)
    pump = pump_of(stack)
    assert pump.target == FIRST
    assert pump.turn() == (Order.KEEP, b"")

    pump.dial_failed(FAILED, 1.0)
    assert pump.outcomes() == [Failed(FAILED)]
    assert pump.turn() == (Order.DIAL, b"")
    assert pump.target == SECOND

    stack.forced = Dial(SECOND, 2)
    pump.dial_failed(FAILED, 2.0)
    assert pump.turn() == (Order.DROP, b"")


def test_a_socket_that_the_stack_does_not_mean_is_dropped() -> None:
    """Run names the dial that it is about."""
    stack = Willful(FIRST)
    pump = pump_of(stack)
    pump.connected(None, 1.0)
    assert pump.turn() == (Order.KEEP, b"")
    stack.forced = Run(7)
    assert pump.turn() == (Order.DROP, b"")


def test_bytes_for_the_next_socket_do_not_leave_on_the_old_one() -> None:
    """A stack that dials anew may have bytes for the new socket already: they wait for it."""
    stack = Willful(FIRST)
    pump = pump_of(stack)
    pump.connected(None, 1.0)
    pump.turn()
    stack.send(b"for the new one")
    stack.forced = Dial(FIRST, 2)
    assert pump.turn() == (Order.DIAL, b"")
    stack.forced = Dial(FIRST, 2)
    assert pump.turn() == (Order.KEEP, b"")
    pump.connected(None, 2.0)
    stack.forced = Run(2)
    assert pump.turn() == (Order.KEEP, framed(b"for the new one"))


def test_bytes_of_a_socket_that_ended_wait_for_the_next() -> None:
    """After the end nothing is taken from the stack."""
    stack = Willful(FIRST)
    pump = pump_of(stack)
    pump.connected(None, 1.0)
    pump.eof(2.0, "reset")
    pump.eof(2.0, "told twice")
    pump.receive(framed(b"late"), 2.0)
    assert pump.outcomes() == [Opened(1), Ended("reset")]
    stack.forced = Wait()
    stack.send(b"for the new one")
    assert pump.turn() == (Order.DROP, b"")
    assert stack.drained == 0


def test_last_words_leave_even_if_the_socket_is_full() -> None:
    """A full socket holds bytes back, but not the last ones."""
    stack = FrameClient(FIRST)
    pump = pump_of(stack)
    pump.connected(None, 1.0)
    stack.send(b"hello")
    assert pump.turn(full=True) == (Order.KEEP, b"")
    stack.leave()
    assert pump.turn(full=True) == (Order.DROP, framed(b"hello"))
    assert pump.turn() == (Order.STOP, b"")


def test_tls_comes_first_and_says_goodbye(pki: Pki) -> None:
    """The stack hears of the socket when TLS is up, and speaks through it; at the end TLS says goodbye."""
    stack = FrameClient(SECOND)
    pump = pump_of(stack)
    server = TlsPipe(pki.server(), "client", server_side=True)
    pump.connected(pki.client(), 1.0)
    assert pump.next_timeout == 11.0
    stack.set_alarm(5.0)
    assert pump.next_timeout == 5.0
    stack.put_off_alarms(100.0)
    pump.handle_timeout(10.9)  # early: no effect
    while not (server.ready and stack.step() == Run(1)):
        order, data = pump.turn()
        assert order is Order.KEEP
        server.receive(data)
        pump.receive(server.data_to_send(), 2.0)
    assert pump.outcomes() == [Opened(1)]
    assert pump.next_timeout == 105.0

    stack.send(b"hello")
    assert server.receive(pump.turn()[1]) == framed(b"hello")
    server.send(framed(b"hi") + framed(b"bye"))
    server.close()
    pump.receive(server.data_to_send(), 3.0)
    assert pump.outcomes() == [Heard(b"hi"), Heard(b"bye"), Ended("")]
    order, data = pump.turn()
    assert order is Order.STOP
    server.receive(data)
    assert server.closed


def test_the_tls_handshake_has_a_deadline(pki: Pki) -> None:
    """Without a peer that answers, the dial fails at the deadline."""
    pump = pump_of(FrameClient(SECOND))
    pump.connected(pki.client(), 1.0)
    pump.turn()
    pump.handle_timeout(11.0)
    (failed,) = pump.outcomes()
    assert isinstance(failed, Failed)
    assert (failed.failure.phase, failed.failure.fault) == ("tls", DialFault.TIMEOUT)
    assert pump.next_timeout is None


def test_a_key_that_cannot_be_derived_ends_what_is_up_and_nothing_else(pki: Pki) -> None:
    """The failure may come when the next socket is being opened already: that one is not to blame."""
    stack = FrameClient(SECOND)
    pump = pump_of(stack)
    pump.effect_failed(MemoryError(), 1.0)
    pump.connected(pki.client(), 1.0)
    pump.effect_failed(MemoryError(), 1.0)
    assert pump.outcomes() == []
    assert pump.turn()[0] is Order.KEEP


def test_a_peer_lives_until_it_has_finished() -> None:
    """A hub's pump keeps the socket until the peer has finished or the socket ended; then it stops."""
    for end in ("bye", "eof"):
        pump = PeerPump(EchoPeer)
        assert (list(pump.outcomes()), list(pump.effects()), pump.next_timeout) == ([], [], None)
        pump.accepted(None, 1.0, 10.0)
        assert pump.turn() == (Order.KEEP, b"")
        pump.receive(framed(b"hello"), 2.0)
        assert pump.turn() == (Order.KEEP, framed(b"hello"))
        if end == "bye":
            pump.receive(framed(b"bye"), 3.0)
            assert pump.turn() == (Order.STOP, framed(b"bye"))
        else:
            pump.eof(3.0)
            assert pump.turn() == (Order.STOP, b"")


def test_names_in_messages_and_certificates() -> None:
    """Addresses of IPv6 in brackets; neither zone nor trailing dot in a certificate's name."""
    assert address_of(Target(host="::1", port=443, tls=True)) == "[::1]:443"
    assert address_of(Target(host="hub.example.", port=443, tls=True)) == "hub.example.:443"
    assert server_name("hub.example.") == "hub.example"
    assert server_name("fe80::1%eth0") == "fe80::1"
