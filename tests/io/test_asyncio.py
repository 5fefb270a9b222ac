"""What only asyncio has: cancellation at every await, and the driver among other tasks of a loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.io.pki import Pki
from tests.io.running import PATIENCE, Accepted, BlackHole, Server, echo, free_port
from tests.io.stacks import Failed, FrameClient, Heard, Opened, Outcome, framed
from thalovant_io._asyncio import dial
from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.derivation import start_derivation
from thalovant_io.dialer import Address, DialError, Timeouts
from thalovant_io.tls import default_context
from thalovant_proto.carrier import Target
from thalovant_proto.crypto.kdf import DeriveKey, Kdf
from thalovant_proto.dial import DialFault
from thalovant_proto.secret import Secret

pytestmark = pytest.mark.usefixtures("each_loop")


async def cancelled_after(turns: int, call: Callable[[], Awaitable[object]]) -> bool:
    """Run a call and cancel it after some turns of the loop. Returns whether it had ended before."""
    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.done():
        await task
        return True
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1, "a task is left"
    return False


@pytest.mark.parametrize("dead", [False, True], ids=["one address", "a dead one first"])
def test_a_dial_can_be_cancelled_at_every_await(dead: bool, pki: Pki) -> None:
    """Whatever it waits for, no socket and no task is left (the fixture counts); uncancelled, it connects."""
    with Server(echo) as server, BlackHole("::1") as hole:
        found: list[Address] = [(socket.AF_INET, ("127.0.0.1", server.port))]
        if dead:
            found.insert(0, (socket.AF_INET6, ("::1", hole.port, 0, 0)))

        def resolver(host: str, port: int) -> Sequence[Address]:
            return found

        async def call() -> None:
            target = Target(host="hub.example", port=1, tls=True)
            source = lambda: default_context(pki.ca_file)  # noqa: E731
            sock, context = await dial(target, tls=source, resolver=resolver, timeouts=Timeouts(attempt=1e-9))
            sock.close()
            assert context is not None

        async def main() -> None:
            turns = 0
            while not await cancelled_after(turns, call):
                turns += 1
            assert turns > 3

        asyncio.run(main())
        gc.collect()  # a socket that was forgotten would complain now


async def test_a_driver_can_be_aborted_at_every_turn(pki: Pki) -> None:
    """From the first dial on, over TLS: after `abort` and `closed`, no task and no socket is left."""
    with Server(echo, tls=pki.server(), tolerant=True) as server:
        for turns in range(60):
            driver = AsyncioDriver(FrameClient(server.target), on_outcome=lambda outcome: None, tls=pki.client())
            driver.start()
            for _ in range(turns):
                await asyncio.sleep(0)
            driver.abort()
            driver.abort()
            driver.wake()
            await driver.closed()
            assert len(asyncio.all_tasks()) == 1
        gc.collect()


async def test_what_a_task_answers_leaves_with_what_the_stack_owes(pki: Pki) -> None:
    """In one write, which is one TLS record."""

    class Polite(FrameClient):
        def frame_received(self, body: bytes) -> None:
            super().frame_received(body)
            self.send(b"ack")

    heard, records = asyncio.Event(), queue.Queue[bytes]()

    def hook(outcome: Outcome) -> None:
        if isinstance(outcome, Heard):
            heard.set()

    def script(connection: Accepted) -> None:
        connection.sock.sendall(framed(b"go"))
        records.put(connection.sock.recv(100))
        connection.rest()

    with Server(script, tls=pki.server()) as server:
        stack = Polite(server.target)
        driver = AsyncioDriver(stack, on_outcome=hook, tls=pki.client())
        driver.start()
        await heard.wait()
        stack.send(b"answer")
        driver.wake()
        assert await asyncio.to_thread(records.get, timeout=PATIENCE) == framed(b"ack") + framed(b"answer")
        stack.stop()
        driver.wake()
        await driver.closed()


async def test_waiting_for_the_end_may_be_cancelled(pki: Pki) -> None:
    """The driver goes on; several may wait."""
    with Server(echo) as server:
        heard: asyncio.Queue[Outcome] = asyncio.Queue()
        stack = FrameClient(server.target)
        driver = AsyncioDriver(stack, on_outcome=heard.put_nowait)
        driver.start()
        impatient = asyncio.create_task(driver.closed())
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        waiters = [asyncio.create_task(driver.closed()) for _ in range(2)]
        async with asyncio.timeout(PATIENCE):
            assert await heard.get() == Opened(1)
            stack.send(b"still here")
            driver.wake()
            assert await heard.get() == Heard(b"still here")
            stack.stop()
            driver.wake()
            await asyncio.gather(*waiters)
        await driver.closed()


async def test_a_socket_that_fails_when_the_loop_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems find out about a reset only then: it is a dial that failed, not a bug."""
    with Server(listen) as server:

        async def refuse(*args: object, **options: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
        heard: list[Outcome] = []
        driver = AsyncioDriver(FrameClient(server.target), on_outcome=heard.append)
        driver.start()
        async with asyncio.timeout(PATIENCE):
            await driver.closed()
        (failed,) = heard
        assert isinstance(failed, Failed)
        assert failed.failure.message == f"cannot connect to 127.0.0.1:{server.port}: (invalid argument)"


def test_a_key_for_a_loop_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever stops a loop without closing its driver hears nothing of the key that comes too late."""
    effect = DeriveKey(id=1, kdf=Kdf.PBKDF2, secret=Secret(b"for nobody"), salt=b"salt")
    stack = FrameClient(Target(host="127.0.0.1", port=9, tls=False), idle=True)
    stack.leave()
    stack.derive(effect)
    loop = asyncio.new_event_loop()

    async def main() -> None:
        AsyncioDriver(stack, on_outcome=lambda outcome: None).start()

    loop.run_until_complete(main())
    loop.close()
    start_derivation(effect).result(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "thalovant-derive":
            thread.join(PATIENCE)
    assert caplog.records == []


async def test_dialing_outside_a_driver() -> None:
    """It is usable on its own, with faults as `DialError`."""
    with Server(listen) as server:
        sock, context = await dial(server.target)
        with sock:
            assert (sock.getpeername(), context) == (("127.0.0.1", server.port), None)
        with free_port() as port, pytest.raises(DialError) as caught:
            await dial(Target(host="127.0.0.1", port=port, tls=False))
        assert caught.value.failure.fault is DialFault.REFUSED
        assert str(caught.value) == caught.value.failure.message


def listen(connection: Accepted) -> None:
    """A script: read until the end."""
    connection.rest()
