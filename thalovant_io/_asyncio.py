"""What the asyncio driver and the asyncio listener share: one socket's protocol, and a runner on the loop."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from ._drive import Runner
from ._endpoint import OutcomeT, Pump


class SocketProtocol(asyncio.Protocol):
    """One socket. Passes bytes on while it is held; left, it delivers the last ones and ends."""

    __slots__ = ("_held", "_linger", "_runner", "full", "transport")

    def __init__(self, runner: LoopRunner[Any]) -> None:
        self._runner = runner
        self._held = True
        self._linger: asyncio.TimerHandle | None = None
        self.full: bool = False  # takes no more bytes for now
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._runner.wire_up(self)

    def data_received(self, data: bytes) -> None:
        if self._held:
            self._runner.received(data, self.transport.get_extra_info("socket"))

    def eof_received(self) -> None:
        self._ended("")  # the transport closes itself afterwards, its bytes written

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended("" if exc is None else getattr(exc, "strerror", None) or type(exc).__name__)
        if self._linger is not None:
            self._linger.cancel()
        self._runner.wire_gone(self)

    def _ended(self, reason: str) -> None:
        if self._held:
            self._runner.turn(partial(self._runner.pump.eof, reason=reason))

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._held:
            self._runner.turn()
        else:
            self._shut()

    def leave(self, linger: float) -> None:
        """Write what is left, then end: within `linger` seconds, or hard.

        The socket closes when the peer has closed it too. Closing it earlier resets the connection if the peer is
        still sending, and a reset takes our last bytes away from under the peer.
        """
        if not self._held:
            return
        self._held = False
        self._linger = self._runner.loop.call_later(linger, self.transport.abort)
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


class LoopRunner(Runner[OutcomeT]):
    """A runner on an asyncio loop, with at most one wire and one timer."""

    __slots__ = ("_timer", "loop", "wire")

    def __init__(self, pump: Pump[OutcomeT], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(pump)
        self.loop: asyncio.AbstractEventLoop = loop
        self.wire: SocketProtocol | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def now(self) -> float:
        """The loop's time: the `now` for calls on the stack."""
        return self.loop.time()

    @property
    def full(self) -> bool:
        return self.wire is not None and self.wire.full

    def write(self, data: bytes) -> None:
        if self.wire is not None:
            self.wire.transport.write(data)

    def finish(self) -> None:
        super().finish()
        self.turned()

    def turned(self) -> None:
        # A timer that comes too early stays: most deadlines move away with each message, and early is harmless.
        when = None if self.over else self.pump.next_timeout
        if self._timer is not None and (when is None or when < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if when is not None and self._timer is None:
            self._timer = self.loop.call_at(when, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self.turn(self.pump.handle_timeout)

    def post(self, call: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            pass  # the loop is closed: nobody waits

    def report(self, message: str, error: Exception) -> None:
        """Tell the loop's exception handler."""
        self.loop.call_exception_handler({"message": message, "exception": error})

    @abstractmethod
    def wire_up(self, wire: SocketProtocol) -> None:
        """The TCP connection of `wire` is there."""

    @abstractmethod
    def wire_gone(self, wire: SocketProtocol) -> None:
        """The socket of `wire` is closed."""
