"""Every driver runs the same stacks over real sockets, with the same result."""

from __future__ import annotations

import queue
import socket
import ssl
import sys
import threading
from collections.abc import Callable

import pytest
from attrs import evolve

from tests.io.pki import Pki
from tests.io.running import DRIVERS, PATIENCE, Accepted, Running, Script, Server, both, echo
from tests.io.stacks import Derived, Ended, FrameClient, Heard, Opened, Rang, framed
from thalovant_io.dialer import Timeouts
from thalovant_proto.crypto.kdf import DeriveKey, Kdf, derive
from thalovant_proto.secret import Secret

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def serving(script: Script, tls: bool, pki: Pki) -> Server:
    """A server for `script`, with or without TLS."""
    return Server(script, tls=pki.server() if tls else None)


@both
def test_frames_travel_both_ways(driver: str, tls: bool, pki: Pki) -> None:
    """What the stack sends arrives, what arrives is told, and the end comes without a fault."""
    with serving(echo, tls, pki) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            assert running.expect(Opened) == Opened(1)
            for size in (0, 1, 1000, 100_000):
                running.call(stack.send, bytes(size))
                assert running.expect(Heard) == Heard(bytes(size))
            running.call(stack.stop)
            running.join()
        assert running.no_more()
        assert running.error is None


@both
def test_many_small_frames_keep_their_order(driver: str, tls: bool, pki: Pki) -> None:
    """3 000 frames, many in flight at a time, come back whole and in order."""
    bodies = [b"%d" % number for number in range(3000)]
    with serving(echo, tls, pki) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            for start in range(0, len(bodies), 100):
                running.call(stack.send, *bodies[start : start + 100])
            assert [running.expect(Heard).body for _ in bodies] == bodies


@both
def test_large_frames_cross_each_other(driver: str, tls: bool, pki: Pki) -> None:
    """8 MiB each way at the same time: a driver that stopped reading while it cannot write would hang here."""
    size = 8 << 20
    received: queue.Queue[bytes] = queue.Queue()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"\x5a" * size))  # before it reads a single byte
        received.put(connection.frame())
        connection.sock.sendall(framed(b"done"))
        connection.rest()

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            running.call(stack.send, b"\xa5" * size)
            assert running.expect(Heard) == Heard(b"\x5a" * size)
            assert running.expect(Heard) == Heard(b"done")
            assert received.get(timeout=PATIENCE) == b"\xa5" * size
            running.call(stack.stop)
            running.join()


@both
def test_a_peer_that_does_not_read_holds_bytes_back_in_the_stack(driver: str, tls: bool, pki: Pki) -> None:
    """While the socket is full the driver takes no more from the stack, and goes on when the peer reads again."""
    chunk = bytes(1 << 20)
    read = threading.Event()
    received: queue.Queue[int] = queue.Queue()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"go"))
        assert read.wait(PATIENCE)
        received.put(sum(len(connection.frame()) for _ in range(64)))
        connection.rest()

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            running.expect(Heard)
            for _ in range(64):
                running.call(stack.send, chunk)
            running.call(lambda: stack.set_alarm(running.now()))
            running.expect(Rang)  # all that was called before has happened
            assert stack.drained < 32 * len(chunk)
            read.set()
            assert received.get(timeout=PATIENCE) == 64 * len(chunk)
            running.call(stack.stop)
            running.join()


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the system cannot be told to quick_ack")
def test_what_has_no_answer_is_acknowledged(driver: str) -> None:
    """At once: a peer with Nagle's algorithm holds its next small packet back until then."""
    answers = 50  # more than a system acknowledges at once by itself, at the start of a connection
    heard: queue.Queue[None] = queue.Queue()
    unacknowledged: queue.Queue[int] = queue.Queue()

    def hook(outcome: object) -> None:
        if isinstance(outcome, Heard) and outcome.body:
            stack.send(outcome.body)

    def script(connection: Accepted) -> None:
        for _ in range(answers):
            connection.sock.sendall(framed(b"ping"))
            assert connection.frame() == b"ping"
        connection.sock.sendall(framed(b""))
        heard.get(timeout=PATIENCE)
        # The field `tcpi_unacked` of Linux, in packets. Left alone it would be 0 some 40 ms later, too.
        info = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
        unacknowledged.put(int.from_bytes(info[24:28], sys.byteorder))
        connection.rest()

    with Server(script) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, hook=hook) as running:
            running.expect(Opened)
            for _ in range(answers + 1):
                running.expect(Heard)
            # In the second round from now, after everything that the driver does about what it has read.
            running.call(running.call, heard.put, None)
            assert unacknowledged.get(timeout=PATIENCE) == 0
            running.call(stack.stop)
            running.join()


@both
def test_the_end_of_the_socket_is_told(driver: str, tls: bool, pki: Pki) -> None:
    """A peer that closes: what it sent is heard, then the stack learns of the end and decides what comes next."""

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"last words"))
        connection.exactly(1)

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target, server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            for serial in (1, 2):
                assert running.expect(Opened) == Opened(serial)
                assert running.expect(Heard) == Heard(b"last words")
                running.call(stack.send, b"")
                running.expect(Ended)
            running.join()
            assert running.error is None


def test_a_tls_goodbye_is_a_clean_end(driver: str, pki: Pki) -> None:
    """After the peer's close_notify there is nothing to complain about; without one the reason says so."""
    goodbyes = iter([True, False])

    def script(connection: Accepted) -> None:
        connection.exactly(4)
        if next(goodbyes):
            assert isinstance(connection.sock, ssl.SSLSocket)
            connection.sock.unwrap()

    with Server(script, tls=pki.server()) as server:
        stack = FrameClient(server.target, server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            running.call(stack.send, b"")
            assert running.expect(Ended) == Ended("")
            running.expect(Opened)
            running.call(stack.send, b"")
            assert running.expect(Ended).reason == f"localhost:{server.port} left without a TLS goodbye"


@both
def test_a_reset_is_told(driver: str, tls: bool, pki: Pki) -> None:
    """A connection that is reset ends with a reason."""

    def script(connection: Accepted) -> None:
        connection.exactly(4)
        connection.reset()

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            running.call(stack.send, b"")
            assert "reset by peer" in running.expect(Ended).reason


def test_a_broken_record_ends_the_connection(driver: str, pki: Pki) -> None:
    """Ciphertext that was tampered with: what came before it is heard, then the end, with the cause."""
    context = pki.server()

    def script(connection: Accepted) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sock.sendall(outgoing.read())
                incoming.write(connection.sock.recv(1 << 16))
        tls.write(framed(b"fine"))
        fine = outgoing.read()
        tls.write(framed(b"wrong"))
        wrong = bytearray(outgoing.read())
        wrong[-1] ^= 1
        connection.sock.sendall(fine + wrong)
        connection.rest()

    with Server(script) as server:
        stack = FrameClient(evolve(server.target, host="localhost", tls=True))
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            assert running.expect(Heard) == Heard(b"fine")
            assert f"TLS with localhost:{server.port} failed: decryption failed" in running.expect(Ended).reason


def test_a_client_certificate_that_is_missed_late_is_named(driver: str, pki: Pki) -> None:
    """With TLS 1.3 the server's refusal comes after the handshake: the end of the connection names it."""
    context = pki.server()
    context.verify_mode = ssl.CERT_REQUIRED

    def script(connection: Accepted) -> None:
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            context.wrap_socket(connection.sock, server_side=True)

    with Server(script) as server:
        stack = FrameClient(evolve(server.target, host="localhost", tls=True))
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            assert "wants a client certificate" in running.expect(Ended).reason


@both
def test_last_words_arrive(driver: str, tls: bool, pki: Pki) -> None:
    """What the stack said before it left or stopped is delivered whole, even to a peer that is still sending."""
    size = 4 << 20
    heard: queue.Queue[int] = queue.Queue()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"go") + (1 << 30).to_bytes(4))  # and a frame that never ends
        left = 4 + size
        while left:
            connection.sock.sendall(bytes(4096))
            left -= len(connection.exactly(min(left, 1 << 16)))
        heard.put(size)
        assert connection.rest() == b""

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target, server.target)
        with Running(driver, stack, tls=pki.client()) as running:

            def say_and(leave: Callable[[], None]) -> None:
                stack.send(bytes(size))
                leave()

            for leave in (stack.leave, stack.stop):
                running.expect(Opened)
                running.expect(Heard)
                running.call(say_and, leave)
                assert heard.get(timeout=PATIENCE) == size
            running.join()
            assert running.error is None


@both
def test_a_peer_that_never_ends_is_left_all_the_same(driver: str, tls: bool, pki: Pki) -> None:
    """A stopped driver waits for the peer's end only as long as it is told to."""
    over = threading.Event()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"go"))
        assert over.wait(PATIENCE)

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client(), timeouts=Timeouts(linger=0.05)) as running:
            running.expect(Opened)
            running.expect(Heard)
            running.call(stack.send, bytes(16 << 20))  # more than the socket takes
            running.call(stack.stop)
            running.join()
        over.set()


def test_alarms_ring_in_time_and_in_order(driver: str) -> None:
    """Timers come from the stack, also earlier ones that are set later; none is forgotten, with or without a socket."""
    with Server(echo) as server:
        stack = FrameClient(server.target, idle=True)
        with Running(driver, stack) as running:
            running.expect(Opened)
            times: queue.Queue[list[float]] = queue.Queue()

            def set_alarms() -> None:
                alarms = [running.now() + after for after in (1000, 0.03, 0.01, 0.02)]
                for alarm in alarms:
                    stack.set_alarm(alarm)
                    running.wake_here()
                times.put(sorted(alarms)[:3])

            for change in (lambda: None, stack.leave):
                running.call(change)
                running.call(set_alarms)
                assert times.get(timeout=PATIENCE) == [running.expect(Rang).when for _ in range(3)]


def test_an_alarm_that_is_put_off_rings_later(driver: str) -> None:
    """A driver may wake up at the old time; the stack is told at the new one all the same."""
    with Server(echo) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack) as running:
            running.expect(Opened)
            times: queue.Queue[float] = queue.Queue()

            def set_alarm() -> None:
                times.put(running.now())
                stack.set_alarm(running.now() + 0.02)

            running.call(set_alarm)
            running.call(stack.put_off_alarms, 0.02)
            assert running.expect(Rang).when >= times.get(timeout=PATIENCE) + 0.04 - 1e-6  # of adding floats


def test_keys_are_derived_off_the_loop(driver: str) -> None:
    """An effect comes back as its key, with its id; several of them may be under way."""
    effects = [
        DeriveKey(id=number, kdf=Kdf.PBKDF2, secret=Secret(b"secret %d" % number), salt=b"salt") for number in (1, 2, 3)
    ]
    with Server(echo) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack) as running:
            running.expect(Opened)
            for effect in effects:
                running.call(stack.derive, effect)
            derived = {outcome.id: outcome.key for outcome in (running.expect(Derived) for _ in effects)}
        assert derived == {effect.id: derive(effect).reveal() for effect in effects}


def test_a_key_that_cannot_be_derived_ends_the_connection(driver: str) -> None:
    """No memory, no such algorithm: the connection that waits for the key ends with that reason, at once."""
    hopeless = DeriveKey(id=1, kdf=Kdf.ARGON2ID, secret=Secret(b"secret"), salt=b"short")
    with Server(echo) as server:
        stack = FrameClient(server.target, server.target)
        with Running(driver, stack) as running:
            running.expect(Opened)
            running.call(stack.derive, hopeless)
            assert running.expect(Ended).reason == "the session key could not be derived: ValueError"
            assert running.expect(Opened) == Opened(2)


def test_outcomes_may_call_the_stack(driver: str) -> None:
    """What a handler of outcomes sends leaves at once, in the same turn; it may stop the stack, too."""
    stack: FrameClient

    def hook(outcome: object) -> None:
        match outcome:
            case Opened():
                stack.send(b"0")
            case Heard(body=body) if int(body) < 100:
                stack.send(b"%d" % (int(body) + 1))
            case Heard():
                stack.stop()

    with Server(echo) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, hook=hook) as running:
            running.expect(Opened)
            assert [running.expect(Heard).body for _ in range(101)] == [b"%d" % number for number in range(101)]
            running.join()
            assert running.error is None


def test_a_handler_that_raises_is_heard_of(driver: str) -> None:
    """A fault of the application is never silent: asyncio reports it and goes on, the others end and raise it."""
    fault = LookupError("a handler's fault")

    def hook(outcome: object) -> None:
        if isinstance(outcome, Heard) and outcome.body == b"bad":
            raise fault

    with Server(echo) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, hook=hook) as running:
            running.expect(Opened)
            running.call(stack.send, b"bad")
            running.expect(Heard)
            if driver in ("asyncio", "uvloop"):
                running.call(stack.send, b"good")
                assert running.expect(Heard) == Heard(b"good")
                assert running.reported == [fault]
            else:
                running.join()
                assert running.error is fault


def test_a_stack_that_raises_ends_the_driver(driver: str) -> None:
    """A bug in the core: the driver ends, leaves nothing, and raises it where it is waited for."""
    fault = AssertionError("a bug")
    with Server(echo) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack) as running:
            running.expect(Opened)
            stack.raises = fault
            running.call(stack.send, b"")
            running.join()
            assert running.error is fault
            assert running.reported == ([fault] if driver in ("asyncio", "uvloop") else [])


def test_a_handler_may_abort(driver: str) -> None:
    """What came in the same turn is not told any more."""
    running: Running

    def hook(outcome: object) -> None:
        if isinstance(outcome, Heard):
            running.abort_here()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"one") + framed(b"two"))
        connection.rest()

    with Server(script, tolerant=True) as server, Running(driver, FrameClient(server.target), hook=hook) as running:
        running.expect(Opened)
        assert running.expect(Heard) == Heard(b"one")
        running.join()
        assert running.no_more()
        assert running.error is None


@both
def test_abort_ends_at_once(driver: str, tls: bool, pki: Pki) -> None:
    """No goodbye, no outcome, nothing left; also while bytes wait, timers are set and keys are being derived."""
    over = threading.Event()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"go"))
        assert over.wait(PATIENCE)

    with serving(script, tls, pki) as server:
        stack = FrameClient(server.target, server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            running.expect(Heard)
            running.call(lambda: stack.set_alarm(running.now() + 1000))
            running.call(stack.derive, DeriveKey(id=1, kdf=Kdf.PBKDF2, secret=Secret(b"never heard of"), salt=b""))
            running.call(stack.send, bytes(16 << 20))
            running.abort()
            running.join()
            assert running.no_more()
            assert running.error is None
        over.set()
