"""The driver of a client stack on trio."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable

from attrs import define, field

try:
    import trio
except ImportError:
    raise ImportError("the trio driver needs trio: pip install 'thalovant[trio]'") from None

from ._endpoint import OutcomeT
from ._sockets import SocketEndpoint, SocketWire
from .dialer import Attempt, Until


@define(eq=False, repr=False, slots=False)
class TrioDriver(SocketEndpoint[OutcomeT]):
    """Runs one client stack in the task that calls `run`. Use it in that run of trio only."""

    _changed: trio.Event = field(init=False, factory=trio.Event)  # the wait for the timer has become too long
    _armed: float = field(init=False, default=math.inf)
    _scope: trio.CancelScope | None = field(init=False, default=None)  # of the attempt
    _all: trio.CancelScope = field(init=False, factory=trio.CancelScope)
    _nursery: trio.Nursery = field(init=False)
    _token: trio.lowlevel.TrioToken = field(init=False)

    @property
    def now(self) -> float:
        """The time for calls on the stack."""
        return trio.current_time()

    async def run(self) -> None:
        """Run until the stack has stopped, or `abort`, or cancelled. Leaves no socket, however it ends."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            with self._all:
                async with trio.open_nursery() as self._nursery:
                    await self._keep_time()
        finally:
            self.finish()
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        self.finish()
        self._all.cancel()

    def settled(self) -> None:
        when = self.next_timeout
        if self.over or (when is not None and when < self._armed):
            self._changed.set()

    def post(self, call: Callable[[], None]) -> None:
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            pass

    def begin(self, steps: Attempt) -> None:
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._dial, steps, self._scope)

    def give_up(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None

    def new_wire(self, sock: socket.socket) -> SocketWire:
        self._scope = None  # the attempt is over
        wire = _TrioWire(sock)
        self._nursery.start_soon(self._serve, wire)
        return wire

    async def _keep_time(self) -> None:
        self.wake()
        while not self.over:
            when = self.next_timeout
            self._armed = math.inf if when is None else when
            self._changed = trio.Event()
            with trio.move_on_at(self._armed) as timer:
                await self._changed.wait()
            if timer.cancelled_caught:
                self.timed_out()

    async def _dial(self, steps: Attempt, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while (until := self.advance(steps)) is not None:
                    await self._wait(until)
        finally:
            steps.close()

    async def _wait(self, until: Until) -> None:
        with trio.move_on_at(math.inf if until.deadline is None else until.deadline):
            async with trio.open_nursery() as nursery:
                for sock in until.sockets:
                    nursery.start_soon(_first_writable, sock, nursery.cancel_scope)
                if until.future is not None:
                    done = trio.Event()
                    until.future.add_done_callback(lambda _: self.post(done.set))
                    await done.wait()

    async def _serve(self, wire: _TrioWire) -> None:
        try:
            with wire.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, wire)
                    await trio.lowlevel.wait_readable(wire.sock)
                    while self.readable(wire):
                        await trio.lowlevel.wait_readable(wire.sock)
                    nursery.cancel_scope.cancel()
        finally:
            wire.sock.close()

    async def _write(self, wire: _TrioWire) -> None:
        while True:
            await wire.filled.wait()
            wire.filled = trio.Event()
            while wire.full:
                await trio.lowlevel.wait_writable(wire.sock)
                self.writable(wire)


async def _first_writable(sock: socket.socket, scope: trio.CancelScope) -> None:
    await trio.lowlevel.wait_writable(sock)
    scope.cancel()


class _TrioWire(SocketWire):
    """A socket whose tasks wait for it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.scope = trio.CancelScope()
        self.filled = trio.Event()  # bytes wait

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.full:
            self.filled.set()

    def leave(self, deadline: float) -> None:
        super().leave(deadline)
        self.scope.deadline = deadline
