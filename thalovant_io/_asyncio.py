"""The parts that all endpoints on asyncio share: one socket's protocol, time on the loop, and the dialer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from abc import abstractmethod
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Final, cast

from thalovant_proto.carrier import Target

from ._endpoint import Endpoint, Machine, OutcomeT, WireT
from .dialer import DEFAULT_TIMEOUTS, ContextSource, Resolver, Timeouts, Until, attempt, resolve

#: Bytes that are read at a time. A transport of asyncio would make 256 KiB for each read and give them back, which in a
#: process that has grown costs a visit to the kernel or two.
_READ: Final = 64 * 1024
_reading = threading.local()


def _read_buffer() -> memoryview:
    """The buffer of this thread, for all its sockets: what is read is taken out at once."""
    if not hasattr(_reading, "buffer"):
        _reading.buffer = memoryview(bytearray(_READ))
    buffer: memoryview = _reading.buffer
    return buffer


class SocketProtocol(asyncio.BufferedProtocol):
    """One socket. Passes bytes on while it is held; left, it delivers the last ones and ends."""

    __slots__ = ("_buffer", "_endpoint", "_held", "_linger", "_socket", "full", "transport", "write")

    def __init__(self, endpoint: WiredEndpoint[Any]) -> None:
        self._buffer = _read_buffer()
        self._endpoint = endpoint
        self._held = True
        self._linger: asyncio.TimerHandle | None = None
        self._socket: socket.socket
        self.full: bool = False  # takes no more bytes for now
        self.transport: asyncio.Transport
        self.write: Callable[[bytes], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self._socket = transport.get_extra_info("socket")
        self._endpoint.wire_up(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._held:
            self._endpoint.received(bytes(self._buffer[:nbytes]), self._socket)

    def eof_received(self) -> None:
        self._ended("")  # the transport closes itself afterwards, its bytes written

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended("" if exc is None else getattr(exc, "strerror", None) or type(exc).__name__)
        if self._linger is not None:
            self._linger.cancel()
        self._endpoint.wire_gone(self)

    def _ended(self, reason: str) -> None:
        if self._held:
            self._endpoint.socket_ended(reason)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._held:
            self._endpoint.wake()
        else:
            self._shut()

    def leave(self, linger: float) -> None:
        """Write the bytes that wait, then end: within `linger` seconds, or hard.

        The socket closes when the peer has closed it too. Closing it earlier resets the connection if the peer is
        still sending, and a reset takes our last bytes away from under the peer.
        """
        if not self._held:
            return
        self._held = False
        self._linger = self._endpoint.loop.call_later(linger, self.transport.abort)
        self.transport.resume_reading()  # whoever held it back is gone, and the peer's end has to be seen
        self.transport.set_write_buffer_limits(0)  # so that `resume_writing` means: all is written
        if not self.transport.get_write_buffer_size():
            self._shut()

    def _shut(self) -> None:
        try:
            self.transport.write_eof()
        except OSError:  # the peer has reset the connection meanwhile
            self.transport.abort()

    def abort(self) -> None:
        """End at once."""
        self._held = False
        self.transport.abort()


class LoopEndpoint(Endpoint[OutcomeT, WireT]):
    """An endpoint on an asyncio loop, with at most one socket and one timer."""

    __slots__ = ("_timer", "_timer_at", "_waits", "loop")

    def __init__(self, machine: Machine[OutcomeT] | None, loop: asyncio.AbstractEventLoop, **role: Any) -> None:
        super().__init__(machine, **role)
        self.loop: asyncio.AbstractEventLoop = loop
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._waits = False  # there may be something to write at the end of this turn

    @property
    def now(self) -> float:
        """The loop's time: the `now` for calls on the machine."""
        return self.loop.time()

    def finish(self) -> None:
        super().finish()
        self.settled()

    def settled(self) -> None:
        self._waits = False
        # A timer that comes too early stays: most deadlines move away with each message, and early is harmless.
        when = None if self.over else self.next_timeout
        if self._timer is not None and (when is None or when < self._timer_at):
            self._timer.cancel()
            self._timer = None
        if when is not None and self._timer is None:
            self._timer = self.loop.call_at(when, self._timer_ended)
            self._timer_at = when

    def _timer_ended(self) -> None:
        self._timer = None
        self.timed_out()

    def react(self) -> None:
        # Tasks that outcomes wake or begin go first: what they send leaves in one write with what is owed by itself.
        self._running = True
        try:
            self._waits = self._tell_outcomes()
        finally:
            self._running = False
        if not self._waits:
            super().react()

    def unanswered(self, sock: socket.socket) -> None:
        # After those tasks, too: an answer acknowledges for nothing.
        self.loop.call_soon(self._turn_ended, sock)

    def _turn_ended(self, sock: socket.socket) -> None:
        if self._waits:
            self.wake()
        super().unanswered(sock)

    def post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(call)

    def report(self, message: str, error: Exception) -> None:
        """Tell the loop's exception handler."""
        self.loop.call_exception_handler({"message": message, "exception": error})


class WiredEndpoint(LoopEndpoint[OutcomeT, SocketProtocol]):
    """An endpoint on a loop whose bytes travel by sockets."""

    __slots__ = ()

    @abstractmethod
    def wire_up(self, wire: SocketProtocol) -> None:
        """The TCP connection of `wire` is there."""

    @abstractmethod
    def wire_gone(self, wire: SocketProtocol) -> None:
        """The socket of `wire` is closed."""


async def adopt(loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, sock: socket.socket) -> None:
    """Give the connected `sock` to `protocol`. Closes it if that fails, or is cancelled."""
    try:
        await loop.create_connection(lambda: protocol, sock=sock)
    except BaseException:
        sock.close()
        raise


async def dial(
    target: Target,
    *,
    tls: ContextSource = None,
    resolver: Resolver = resolve,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> tuple[socket.socket, SSLContext | None]:
    """Connect to `target` over TCP. Returns the socket and, if the target takes TLS, the context.

    Raises `DialError`; leaves nothing behind, also when cancelled.
    """
    loop = asyncio.get_running_loop()
    steps = attempt(target, tls, resolver, timeouts, loop.time)
    try:
        while True:
            await _wait(loop, next(steps))
    except StopIteration as done:
        sock, context = done.value
        return sock, context
    finally:
        steps.close()


async def _wait(loop: asyncio.AbstractEventLoop, until: Until) -> None:
    """Wait for whatever comes first."""
    came = asyncio.Event()
    timers = [] if until.deadline is None else [loop.call_at(until.deadline, came.set)]
    watched: list[socket.socket] = []

    def done(future: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(came.set)

    if until.future is not None:
        until.future.add_done_callback(done)
    try:
        for sock in until.sockets:
            try:
                loop.add_writer(sock, came.set)
                watched.append(sock)
            except NotImplementedError:  # Windows has loops that watch no sockets: look again soon
                timers.append(loop.call_later(0.02, came.set))
        await came.wait()
    finally:
        for timer in timers:
            timer.cancel()
        for sock in watched:
            loop.remove_writer(sock)
