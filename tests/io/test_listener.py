"""The hub's listener: peers on real connections, with and without TLS, and everything that clients do to it."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import queue
import resource
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.io.pki import Pki
from tests.io.running import DRIVERS, PATIENCE, Accepted, EchoConnection, Running, RunningHub, both, free_port
from tests.io.stacks import EchoPeer, Ended, Failed, FrameClient, Heard, Opened, Outcome, framed
from thalovant_io.asyncio_listener import Listener
from thalovant_io.dialer import Timeouts
from thalovant_proto.crypto.kdf import DeriveKey, Kdf, derive
from thalovant_proto.dial import DialFault
from thalovant_proto.secret import Secret

pytestmark = pytest.mark.usefixtures("each_loop")


def hub_of(tls: bool, pki: Pki, **options: Any) -> RunningHub:
    """A hub, with or without TLS."""
    return RunningHub(tls=pki.server() if tls else None, **options)


@contextlib.contextmanager
def dialed(hub: RunningHub) -> Iterator[Accepted]:
    """A plain client of the hub."""
    with socket.create_connection(("127.0.0.1", hub.port)) as sock:
        yield Accepted(sock)


@both
@pytest.mark.parametrize("driver", DRIVERS)
def test_drivers_and_the_listener_understand_each_other(driver: str, tls: bool, pki: Pki) -> None:
    """Small frames, large frames, a derived key, a goodbye from the hub."""
    with hub_of(tls, pki) as hub:
        stack = FrameClient(hub.tls_target if tls else hub.target)
        with Running(driver, stack, tls=pki.client()) as running:
            running.expect(Opened)
            for size in (0, 1, 1000, 1 << 23):
                running.call(stack.send, bytes(size))
                assert running.expect(Heard) == Heard(bytes(size))
            running.call(stack.send, b"key:1")
            effect = DeriveKey(id=1, kdf=Kdf.PBKDF2, secret=Secret(b"key:1"), salt=b"salt")
            assert running.expect(Heard).body == derive(effect).reveal()
            running.call(stack.send, b"bye")
            assert running.expect(Heard) == Heard(b"bye")
            assert running.expect(Ended) == Ended("")
            running.join()


@both
def test_the_hub_speaks_at_any_time(tls: bool, pki: Pki) -> None:
    """What a hub sends from elsewhere leaves with `wake`, on that connection only."""
    with hub_of(tls, pki) as hub, contextlib.ExitStack() as clients:
        running = []
        for number in range(3):
            stack = FrameClient(hub.tls_target if tls else hub.target)
            running.append(clients.enter_context(Running("asyncio", stack, tls=pki.client())))
            running[-1].expect(Opened)
            running[-1].call(stack.send, b"%d" % number)
            running[-1].expect(Heard)
        connections: dict[Outcome, EchoConnection] = {}
        for _ in running:
            connection, outcome = hub.heard.get(timeout=PATIENCE)
            connections[outcome] = connection
        for number, client in enumerate(running):
            connection = connections[Heard(b"%d" % number)]
            hub.call(hub.peers[connection].send, b"news for %d" % number)
            hub.call(connection.wake)
            assert client.expect(Heard) == Heard(b"news for %d" % number)


def test_connections_have_addresses_and_no_delay(pki: Pki) -> None:
    """The hub knows where a peer comes from; small frames are not held back."""
    with hub_of(False, pki) as hub, dialed(hub) as client:
        client.sock.sendall(framed(b"hello"))
        hub.expect(Heard)
        (connection,) = hub.peers
        assert (connection.address.host, connection.address.port) == client.sock.getsockname()
        assert not connection.address.tls
        assert connection.wire is not None
        accepted = connection.wire.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_alarms_of_peers_ring(pki: Pki) -> None:
    """Timers work on the hub's side too."""
    with hub_of(False, pki) as hub, dialed(hub) as client:
        client.sock.sendall(framed(b"hello"))
        hub.expect(Heard)
        (connection,) = hub.peers

        def set_alarm() -> None:
            hub.peers[connection].set_alarm(connection.now + 0.01)
            connection.wake()

        hub.call(set_alarm)
        hub.heard.get(timeout=PATIENCE)


@both
def test_no_peer_before_tls_is_done(tls: bool, pki: Pki) -> None:
    """A hub meets only clients that got through TLS; without TLS, everybody at once."""
    with hub_of(tls, pki) as hub, dialed(hub) as client:
        client.sock.sendall(framed(b"hello"))
        if tls:
            address, message = hub.faults.get(timeout=PATIENCE)
            assert f"{address.host} port {address.port} speaks something unknown instead of TLS" in message
            assert client.sock.recv(1) == b""
            assert not hub.peers
        else:
            hub.expect(Heard)
            assert len(hub.peers) == 1


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n",
            "speaks plain text (HTTP?) instead of TLS; it should use wss://",
        ),
        (b"\x16\x03\x01\x00\x05hello", "failed:"),
        (b"\x16\x03\x01\x40\x00", "closed the connection in the middle of the TLS handshake"),
        (b"", "closed the connection in the middle of the TLS handshake"),
    ],
)
def test_clients_that_do_not_do_tls_are_told_of(words: bytes, heard: str, pki: Pki) -> None:
    """One line for the log, with the client's address."""
    with hub_of(True, pki) as hub, dialed(hub) as client:
        client.sock.sendall(words)
        client.sock.shutdown(socket.SHUT_WR)
        client.rest()
        _, message = hub.faults.get(timeout=PATIENCE)
        assert heard in message
        assert "\n" not in message


def test_a_client_that_stalls_in_tls_is_left(pki: Pki) -> None:
    """The TLS handshake has a deadline, before there is a peer with timers of its own."""
    with hub_of(True, pki, timeouts=Timeouts(tls=0.02, linger=0.02)) as hub, dialed(hub) as client:
        assert client.rest() == b""
        _, message = hub.faults.get(timeout=PATIENCE)
        assert message.endswith("did not finish the TLS handshake in time")


def test_a_client_that_does_not_trust_the_hub_is_told_of(pki: Pki) -> None:
    """The client's own alert, in words."""
    with hub_of(True, pki) as hub:
        stranger = ssl.create_default_context()
        with Running("asyncio", FrameClient(hub.tls_target), tls=stranger) as running:
            assert running.expect(Failed).failure.fault is DialFault.CERTIFICATE_UNTRUSTED
        _, message = hub.faults.get(timeout=PATIENCE)
        assert "does not trust the authority of our certificate" in message


def test_a_client_with_old_tls_is_told_of(pki: Pki) -> None:
    """A hub for TLS 1.3 only, and a client that has 1.2 only: both sides say so."""
    context = pki.server()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    client = pki.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with RunningHub(tls=context) as hub:
        with Running("asyncio", FrameClient(hub.tls_target), tls=client) as running:
            assert running.expect(Failed).failure.fault is DialFault.TLS_VERSION
        _, message = hub.faults.get(timeout=PATIENCE)
        assert "it speaks no TLS version that is allowed here" in message


def test_connections_over_the_cap_are_closed(pki: Pki) -> None:
    """Two may stay, the third goes at once; when one leaves there is room again."""
    with hub_of(False, pki, max_connections=2) as hub, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(dialed(hub)) for _ in range(2)]
        for client in clients:
            client.sock.sendall(framed(b"hello"))
            hub.expect(Heard)
        with dialed(hub) as third, contextlib.suppress(ConnectionError):
            assert third.rest() == b""
        assert hub.listener.refused == 1
        clients[0].sock.sendall(framed(b"bye"))
        clients[0].exactly(4 + 5 + 4 + 3)
        clients[0].sock.shutdown(socket.SHUT_WR)
        assert clients[0].rest() == b""
        with dialed(hub) as fourth:
            fourth.sock.sendall(framed(b"hello"))
            assert fourth.exactly(9) == framed(b"hello")


@both
def test_the_hubs_last_words_arrive(tls: bool, pki: Pki) -> None:
    """A peer that finishes while its client is still sending: its last frame is not lost to a reset."""
    with hub_of(tls, pki) as hub, dialed(hub) as client:
        if tls:
            client = Accepted(pki.client().wrap_socket(client.sock, server_hostname="localhost"))
        with client.sock:
            size = 4 << 20
            client.sock.sendall(framed(bytes(size)) + framed(b"bye") + bytes(1 << 16))
            left = 4 + size + 4 + 3
            while left:
                client.sock.sendall(bytes(4096))
                left -= len(client.exactly(min(left, 1 << 16)))
            assert client.rest() == b""


def test_a_connection_that_is_held_back_ends_all_the_same(pki: Pki) -> None:
    """A hub may stop reading a client that sends too much; when the peer has finished, the end is still seen."""
    with hub_of(False, pki, timeouts=Timeouts(linger=1000.0)) as hub, dialed(hub) as client:
        client.sock.sendall(framed(b"hello"))
        client.skip(9)
        ((connection, peer),) = hub.peers.items()

        def finish() -> None:
            assert connection.wire is not None
            connection.wire.transport.pause_reading()
            peer.finished = True
            connection.wake()

        hub.call(finish)
        assert client.rest() == b""
        client.sock.sendall(framed(b"unread"))
        client.sock.close()
        hub.grace = PATIENCE
    assert hub.reported == []


def test_a_client_that_does_not_read_holds_bytes_back_in_the_peer(pki: Pki) -> None:
    """The hub's memory for a client that does not read is bounded by what the peer keeps."""
    with hub_of(False, pki) as hub, dialed(hub) as client:
        client.sock.sendall(framed(b"hello"))
        hub.expect(Heard)
        ((connection, peer),) = hub.peers.items()

        def flood() -> int:
            for _ in range(64):
                peer.send(bytes(1 << 20))
                connection.wake()
            return peer.drained

        assert hub.call(flood) < 32 << 20
        client.skip(9 + 64 * (4 + (1 << 20)))


@pytest.mark.parametrize("where", ["handler", "peer", "make_peer", "on_fault"])
def test_a_fault_of_the_hub_hits_one_connection_at_most(where: str, pki: Pki) -> None:
    """What a handler or a peer raises goes to the loop's exception handler; the others do not notice."""
    fault = LookupError("the hub's fault")

    def handler(connection: EchoConnection, outcome: Outcome) -> None:
        if where == "handler" and outcome == Heard(b"bad"):
            raise fault

    def make_peer(connection: EchoConnection) -> EchoPeer:
        peer = EchoPeer()
        if where == "make_peer" and connection.address.port == victim:
            raise fault
        if where == "peer" and connection.address.port == victim:
            peer.raises = fault
        return peer

    def on_fault(address: object, message: str) -> None:
        raise fault

    victim = 0
    options = {"on_fault": on_fault} if where == "on_fault" else {}
    with hub_of(where == "on_fault", pki, make_peer=make_peer, handler=handler, **options) as hub:
        with socket.socket() as bad:
            bad.bind(("127.0.0.1", 0))
            victim = bad.getsockname()[1]
            bad.connect(("127.0.0.1", hub.port))
            with contextlib.suppress(ConnectionError):
                bad.sendall(framed(b"bad") + framed(b"worse"))
                if where == "handler":
                    assert Accepted(bad).exactly(7 + 9) == framed(b"bad") + framed(b"worse")
                else:
                    assert Accepted(bad).rest() == b""
        if where != "on_fault":
            with dialed(hub) as good:
                good.sock.sendall(framed(b"good"))
                assert good.exactly(8) == framed(b"good")
    assert hub.reported == [fault]


async def test_an_address_that_is_taken() -> None:
    """The fault of the operating system comes through."""
    with free_port() as port, pytest.raises(OSError, match="Address already in use"):
        await Listener(make_peer=lambda connection: EchoPeer(), on_outcome=lambda connection, outcome: None).listen(
            "127.0.0.1", port
        )


@both
def test_connections_are_refused_by_address_before_anything_is_made(tls: bool, pki: Pki) -> None:
    """`admit` is asked first; `on_accepted` and `on_gone` are told of those that it let in, with a peer or not."""
    seen: list[str] = []
    gone = threading.Event()

    def on_gone(connection: EchoConnection) -> None:
        seen.append("gone")
        gone.set()

    with hub_of(
        tls,
        pki,
        admit=lambda host: seen.append(host) or len(seen) > 1,  # type: ignore[func-returns-value]
        on_accepted=lambda connection: seen.append(connection.address.host),
        on_gone=on_gone,
    ) as hub:
        with dialed(hub) as first, contextlib.suppress(ConnectionError):
            assert first.rest() == b""
        assert (hub.listener.refused, hub.listener.connections) == (1, 0)
        with dialed(hub) as second:
            second.sock.shutdown(socket.SHUT_WR)
            assert second.rest() == b""
        assert gone.wait(PATIENCE)
        assert seen == ["127.0.0.1", "127.0.0.1", "127.0.0.1", "gone"]


def test_a_hook_that_raises_costs_one_connection() -> None:
    """It goes to the loop's exception handler; the next connection is accepted."""
    faults = [LookupError("the hub's fault")]

    def admit(host: str) -> bool:
        if faults:
            raise faults.pop()
        return True

    with RunningHub(admit=admit) as hub:
        with dialed(hub) as bad, contextlib.suppress(ConnectionError):
            assert bad.rest() == b""
        with dialed(hub) as good:
            good.sock.sendall(framed(b"good"))
            assert good.exactly(8) == framed(b"good")
    assert [str(error) for error in hub.reported] == ["the hub's fault"]


def test_accepting_pauses_while_file_descriptors_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes then waits, one line is logged, and all are served when there are descriptors again."""
    logged: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(logging.getLogger("thalovant.io"), "handle", lambda record: logged.put(record.getMessage()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with RunningHub() as hub, dialed(hub) as early, contextlib.ExitStack() as clients:
        early.sock.sendall(framed(b"early"))
        assert early.exactly(9) == framed(b"early")
        late = [Accepted(clients.enter_context(socket.socket())) for _ in range(3)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(int(fd) for fd in os.listdir("/proc/self/fd")) + 1, hard))
            for client in late:
                client.sock.connect(("127.0.0.1", hub.port))
                client.sock.sendall(framed(b"late"))
            assert logged.get(timeout=PATIENCE) == "Accepting connections pauses: Too many open files"
            early.sock.sendall(framed(b"bye"))
            assert early.exactly(7) == framed(b"bye")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in late:
            assert client.exactly(8) == framed(b"late")
    assert logged.empty()


def test_a_silent_connection_costs_little(pki: Pki) -> None:
    """No TLS state before a byte has come, and at most 16 KiB of Python's memory for each of them."""
    many = 50

    def weigh() -> tuple[int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sum(isinstance(thing, ssl.SSLObject) for thing in gc.get_objects())

    accepted: queue.Queue[EchoConnection] = queue.Queue()
    with hub_of(True, pki, on_accepted=accepted.put) as hub, contextlib.ExitStack() as clients:
        tracemalloc.start()
        clients.callback(tracemalloc.stop)
        clients.enter_context(dialed(hub))
        accepted.get(timeout=PATIENCE)
        before, _ = hub.call(weigh)
        for _ in range(many):
            clients.enter_context(dialed(hub))
            accepted.get(timeout=PATIENCE)
        hub.call(lambda: None)
        after, states = hub.call(weigh)
        assert states == 0
        assert (after - before) / many < 16 * 1024
