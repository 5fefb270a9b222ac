"""The end of the hub's listener and of its connections: goodbyes, time-outs, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref

import pytest

from tests.io.pki import Pki
from tests.io.running import PATIENCE, EchoConnection, both
from tests.io.stacks import EchoPeer, FrameClient, Heard, Opened, Outcome, framed
from thalovant_io._accepting import Acceptor
from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.asyncio_listener import Listener
from thalovant_proto.carrier import Target

pytestmark = pytest.mark.usefixtures("each_loop")


async def test_closing_waits_for_peers_that_finish(pki: Pki) -> None:
    """A closed listener accepts no more, lets its peers say goodbye, and returns when they have gone."""
    peers: dict[EchoConnection, EchoPeer] = {}

    def make_peer(connection: EchoConnection) -> EchoPeer:
        peers[connection] = EchoPeer()
        return peers[connection]

    listener = Listener(make_peer=make_peer, on_outcome=lambda connection, outcome: None)
    await listener.listen("127.0.0.1", 0)
    host, port = listener.addresses[0]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(framed(b"hello"))
    assert await reader.readexactly(9) == framed(b"hello")
    closing = asyncio.create_task(listener.close(grace=PATIENCE))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
    ((connection, peer),) = peers.items()
    peer.send(b"goodbye")
    peer.finished = True
    connection.wake()
    assert await reader.read() == framed(b"goodbye")
    writer.close()
    await closing
    assert listener.connections == 0
    connection.wake()  # harmless now
    connection.abort()
    await listener.close()


@pytest.mark.parametrize("how", ["grace", "cancel", "abort"])
async def test_peers_that_do_not_finish_are_ended(how: str, pki: Pki) -> None:
    """When the grace is over, or nobody wants to wait, the connections end hard and nothing is left."""
    listener = Listener(
        make_peer=lambda connection: EchoPeer(), on_outcome=lambda connection, outcome: None, tls=pki.server()
    )
    await listener.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(
        *listener.addresses[0], ssl=pki.client(), server_hostname="localhost"
    )
    writer.write(framed(b"hello"))
    await reader.readexactly(9)
    match how:
        case "grace":
            await listener.close(grace=0.01)
        case "cancel":
            closing = asyncio.create_task(listener.close(grace=PATIENCE))
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
        case "abort":
            listener.abort()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert listener.connections == 0
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("last", [b"bye", b"abort", b"stop", b"leave"])
@both
async def test_connections_that_are_gone_are_freed_at_once(last: bytes, tls: bool, pki: Pki) -> None:
    """Neither side waits for the garbage collector, which comes late to a busy hub: there are no cycles left."""
    machines: list[weakref.ref[object]] = []

    def make_peer(connection: EchoConnection) -> EchoPeer:
        peer = EchoPeer()
        machines.append(weakref.ref(peer))
        return peer

    def on_outcome(connection: EchoConnection, outcome: Outcome) -> None:
        if outcome == Heard(b"abort"):
            connection.abort()

    async def client(port: int) -> None:
        heard: asyncio.Queue[Outcome] = asyncio.Queue()
        stack = FrameClient(Target(host="localhost", port=port, tls=tls))
        machines.append(weakref.ref(stack))
        driver = AsyncioDriver(stack, on_outcome=heard.put_nowait, tls=pki.client())
        driver.start()
        assert await heard.get() == Opened(1)
        stack.send(last)
        driver.wake()
        await heard.get()
        if last == b"stop":
            stack.stop()
            driver.wake()
        elif last == b"leave":
            driver.abort()
        await driver.closed()

    gc.disable()
    try:
        listener = Listener(make_peer=make_peer, on_outcome=on_outcome, tls=pki.server() if tls else None)
        await listener.listen("127.0.0.1", 0)
        await client(listener.addresses[0][1])
        await listener.close()
        await asyncio.sleep(0)  # the loop lets go of the callback that it ran
        assert [machine() for machine in machines] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("turns", range(5))
async def test_what_is_accepted_while_it_closes_is_closed(turns: int) -> None:
    """In whichever turn of the loop that comes: the client hears of it, and no socket is left open."""
    taken: list[socket.socket] = []
    acceptor = Acceptor(lambda sock, address: taken.append(sock))
    ((_, port),) = await acceptor.listen("127.0.0.1", 0, 5)
    await asyncio.sleep(0)
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        acceptor.close()
        acceptor.close()
        await acceptor.closed()
        for sock in taken:
            sock.close()
        client.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    gc.collect()
