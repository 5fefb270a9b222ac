"""Drivers and servers at work in threads, for tests that look at them from outside. Every wait has a generous end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

import pytest
import trio

from tests.io.stacks import EchoPeer, Outcome
from tests.loops import UVLOOP
from thalovant_io._endpoint import ClientStack
from thalovant_io.asyncio_connection import Connection, PeerAddress
from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.asyncio_listener import Listener
from thalovant_io.blocking_driver import BlockingDriver
from thalovant_io.trio_driver import TrioDriver
from thalovant_proto.carrier import Target
from thalovant_proto.dial import DialFailed

PATIENCE = 30.0
DRIVERS = ("asyncio", *(["uvloop"] if UVLOOP is not None else []), "trio", "blocking")

both = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])

T = TypeVar("T")
EchoConnection: TypeAlias = Connection[Outcome]


class Running:
    """A driver of one kind that runs a stack, until the `with` block ends or the stack stops.

    `begin` is called where the driver runs, with its time, just before it starts.
    """

    def __init__(
        self,
        kind: str,
        stack: ClientStack[Any],
        *,
        begin: Callable[[float], object] = lambda now: None,
        hook: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> None:
        self.stack = stack
        self.reported: list[BaseException] = []  # to the loop's exception handler
        self.error: BaseException | None = None  # what the run raised
        self.leftovers: list[str] = []
        self.now: Callable[[], float]
        self.socket: Callable[[], Any]  # the present one
        self._kind = kind
        self._begin = begin
        self._hook = hook
        self._options = options
        self._outcomes: queue.Queue[Any] = queue.Queue()
        self._call: Callable[[Callable[[], object]], None]
        self._abort: Callable[[], None]
        self._wake: Callable[[], None]
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"test-{kind}")

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, *exc: object) -> None:
        self.abort()
        self.join()

    def abort(self) -> None:
        """Abort the driver."""
        self._call(self._abort)

    def abort_here(self) -> None:
        """Abort the driver, called where it runs."""
        self._abort()

    def wake_here(self) -> None:
        """Wake the driver, called where it runs."""
        self._wake()

    def join(self) -> None:
        """Wait for the end of the run."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the driver does not end"
        assert self.leftovers == []

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call the stack where the driver runs, and wake the driver."""
        self._call(lambda: function(*args))

    def expect(self, kind: type[T]) -> T:
        """The next outcome, which is of this kind."""
        outcome = self._outcomes.get(timeout=PATIENCE)
        assert isinstance(outcome, kind), f"{outcome!r} is no {kind.__name__}"
        return outcome

    def until(self, kind: type[T], matches: Callable[[T], object] = lambda outcome: True) -> T:
        """The next outcome of this kind that `matches`; those before it are passed over."""
        while not (isinstance(outcome := self._outcomes.get(timeout=PATIENCE), kind) and matches(outcome)):
            pass
        return outcome

    def no_more(self) -> bool:
        """Whether all outcomes were taken."""
        return self._outcomes.empty()

    def _tell(self, outcome: Any) -> None:
        self._outcomes.put(outcome)
        if self._hook is not None:
            self._hook(outcome)

    def _run(self) -> None:
        try:
            getattr(self, f"_run_{self._kind}")()
        except BaseException as exc:
            self.error = exc
        finally:
            self._started.set()

    def _run_asyncio(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: self.reported.append(context["exception"]))
            driver = AsyncioDriver(self.stack, on_outcome=self._tell, **self._options)

            def call(function: Callable[[], object]) -> None:
                def call_and_wake() -> None:
                    function()
                    driver.wake()

                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(call_and_wake)

            self._call, self._abort, self.now = call, driver.abort, loop.time
            self._wake = driver.wake
            self.socket = lambda: driver.wire and driver.wire.transport.get_extra_info("socket")
            self._begin(driver.now)
            driver.start()
            self._started.set()
            try:
                await driver.closed()
            finally:
                self.leftovers += [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
                timers = getattr(loop, "_scheduled", ())  # no public way to see them, and none at all for uvloop
                self.leftovers += [repr(timer) for timer in timers if not timer.cancelled()]

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    def _run_uvloop(self) -> None:
        self._run_asyncio(UVLOOP)

    def _run_trio(self) -> None:
        async def main() -> None:
            token = trio.lowlevel.current_trio_token()
            driver = TrioDriver(self.stack, on_outcome=self._tell, **self._options)

            def call(function: Callable[[], object]) -> None:
                def call_and_wake() -> None:
                    function()
                    driver.wake()

                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(call_and_wake)

            self._call, self._abort, self.now = call, driver.abort, trio.current_time
            self._wake = driver.wake
            self.socket = lambda: driver.wire and driver.wire.sock
            self._begin(driver.now)
            self._started.set()
            await driver.run()
            statistics = trio.lowlevel.current_statistics()
            self.leftovers += [f"{statistics.tasks_living} tasks"] * (statistics.tasks_living > 3)

        trio.run(main)

    def _run_blocking(self) -> None:
        driver = BlockingDriver(self.stack, on_outcome=self._tell, **self._options)
        self._call, self._abort, self.now = driver.call_soon, driver.abort, lambda: driver.now
        self._wake = driver.wake
        self.socket = lambda: driver.wire and driver.wire.sock
        self._begin(driver.now)
        self._started.set()
        driver.run()


class RunningHub:
    """A listener with echoing peers, in a thread, until the `with` block ends."""

    def __init__(self, *, handler: Callable[[EchoConnection, Outcome], None] | None = None, **options: Any) -> None:
        self.heard: queue.Queue[tuple[EchoConnection, Outcome]] = queue.Queue()
        self.faults: queue.Queue[tuple[PeerAddress, str]] = queue.Queue()
        self.reported: list[BaseException] = []
        self.peers: dict[EchoConnection, EchoPeer] = {}
        self.listener: Listener[Outcome]
        self.grace = 0.0
        self._handler = handler
        self._options = {
            "make_peer": self._make_peer,
            "on_fault": self._fault,
            **options,
        }
        self._loop: asyncio.AbstractEventLoop
        self._close: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="test-hub")

    def __enter__(self) -> RunningHub:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        self.port = self.listener.addresses[0][1]
        self.target = Target(host="127.0.0.1", port=self.port, tls=False)
        self.tls_target = Target(host="localhost", port=self.port, tls=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self.call(self._close.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the hub does not end"

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a function on the hub's loop, and return its result."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(lambda: future.set_result(function(*args)))
        return future.result(PATIENCE)

    def expect(self, kind: type[T]) -> T:
        """The next outcome of any peer, which is of this kind."""
        outcome = self.heard.get(timeout=PATIENCE)[1]
        assert isinstance(outcome, kind), f"{outcome!r} is no {kind.__name__}"
        return outcome

    def _make_peer(self, connection: EchoConnection) -> EchoPeer:
        self.peers[connection] = EchoPeer()
        return self.peers[connection]

    def _fault(self, address: PeerAddress, message: str) -> None:
        self.faults.put((address, message))

    def _on_outcome(self, connection: EchoConnection, outcome: Outcome) -> None:
        self.heard.put((connection, outcome))
        if self._handler is not None:
            self._handler(connection, outcome)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.reported.append(context["exception"]))
        self._close = asyncio.Event()
        self.listener = Listener(on_outcome=self._on_outcome, **self._options)
        await self.listener.listen("127.0.0.1", 0)
        self._started.set()
        await self._close.wait()
        await self.listener.close(grace=self.grace)
        assert self.listener.connections == 0
        assert len(asyncio.all_tasks()) == 1


def assert_says_it_once(failure: DialFailed) -> None:
    """The message says what happened, and the hint alone what to do."""
    assert "\n" not in failure.message
    assert failure.hint
    assert not re.search(r"\b(check|use|pass|name its|update|renew|must|needs)\b", failure.message)
    for clause in re.split(r"[,;:] ", failure.hint):
        assert clause not in failure.message


class Accepted:
    """A socket of a test's server, with blocking calls and a generous deadline."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock

    def exactly(self, size: int) -> bytes:
        """That many bytes."""
        data = b""
        while len(data) < size:
            more = self.sock.recv(min(size - len(data), 1 << 20))
            assert more, f"the connection ended after {len(data)} of {size} bytes"
            data += more
        return data

    def skip(self, size: int) -> None:
        """Read that many bytes and forget them."""
        while size:
            size -= len(self.exactly(min(size, 1 << 20)))

    def frame(self) -> bytes:
        """The body of the next frame."""
        return self.exactly(int.from_bytes(self.exactly(4)))

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        data = b""
        while more := self.sock.recv(1 << 20):
            data += more
        return data

    def reset(self) -> None:
        """End without goodbye of any kind."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


Script = Callable[[Accepted], None]


class Server:
    """Runs a script on each connection, in a thread; its faults surface at the end of the `with` block.

    A `tolerant` server does not mind clients that go in the middle of something.
    """

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", tolerant: bool = False
    ) -> None:
        self._script = script
        self._tls = tls
        self._tolerant = tolerant
        self._threads: list[threading.Thread] = []
        self._faults: list[BaseException] = []
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=8
        )
        self.port: int = self._listener.getsockname()[1]
        self.target = Target(host=host if tls is None else "localhost", port=self.port, tls=tls is not None)

    def __enter__(self) -> Server:
        self._threads.append(threading.Thread(target=self._accept))
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a server's script does not end"
        for fault in self._faults:
            raise fault

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                sock.settimeout(PATIENCE)
                if self._tls is None:
                    self._script(Accepted(sock))
                else:
                    with self._tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True) as secured:
                        self._script(Accepted(secured))
            except BaseException as exc:
                if not (self._tolerant and isinstance(exc, OSError)):
                    self._faults.append(exc)


def echo(connection: Accepted) -> None:
    """A script: echo until the end."""
    while data := connection.sock.recv(1 << 18):
        connection.sock.sendall(data)


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port on 127.0.0.1 where nobody listens, and nobody else will while the block runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class BlackHole:
    """A port where connecting hangs: its listener's queue is full and nobody accepts, until it is opened."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.bind((host, 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.target = Target(host=host, port=self.port, tls=False)
        self._fillers = [socket.socket(family) for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())

    def __enter__(self) -> BlackHole:
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in (*self._fillers, self._listener):
            sock.close()

    def open(self) -> None:
        """Make room: connections come through when their system tries again."""
        for filler in self._fillers:
            filler.close()
        self._listener.listen(8)
        self._listener.accept()[0].close()
