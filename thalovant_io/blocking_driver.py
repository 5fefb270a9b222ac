"""The driver of a client stack on blocking calls: one thread, plain sockets, `selectors`."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE

from attrs import define, field

from ._endpoint import OutcomeT
from ._sockets import SocketEndpoint, SocketWire
from .dialer import Attempt


@define(eq=False, repr=False, slots=False)
class BlockingDriver(SocketEndpoint[OutcomeT]):
    """Runs one client stack in the thread that calls `run`. Only `call_soon` and `abort` are for other threads."""

    _steps: Attempt | None = field(init=False, default=None)
    _wires: list[SocketWire] = field(init=False, factory=list)
    _calls: deque[Callable[[], object]] = field(init=False, factory=deque)
    _nudge: socket.socket | None = field(init=False, default=None)  # what we write here ends the wait for sockets
    _watched: dict[socket.socket, int] = field(init=False, factory=dict)
    _selector: selectors.BaseSelector = field(init=False)

    @property
    def now(self) -> float:
        """The time for calls on the stack."""
        return time.monotonic()

    def run(self) -> None:
        """Run until the stack has stopped, or `abort`. Leaves no socket, however it ends."""
        nudged, self._nudge = socket.socketpair()
        nudged.setblocking(False)
        self._nudge.setblocking(False)
        try:
            with selectors.DefaultSelector() as self._selector:
                self.wake()
                while not self.over or self._wires:
                    self._round(nudged)
        finally:
            self.end()
            nudge, self._nudge = self._nudge, None
            nudge.close()
            nudged.close()
        if self.error is not None:
            raise self.error

    def call_soon(self, call: Callable[[], object]) -> None:
        """Have `call` made by `run`, then do what the stack wants. For any thread; without effect after `run`."""
        self._calls.append(call)
        if (nudge := self._nudge) is not None:
            try:
                nudge.send(b"\0")
            except OSError:
                pass  # full: `run` will wake up anyway; closed: it has ended

    def abort(self) -> None:
        """End `run` at once, without goodbye. Nothing is told any more. For any thread."""
        self.over = True
        self.call_soon(self.end)

    def end(self) -> None:
        self.finish()
        self.give_up()
        for wire in self._wires:
            wire.sock.close()
        self._wires.clear()

    def settled(self) -> None:
        pass  # `run` looks at the timers itself

    def post(self, call: Callable[[], None]) -> None:
        self.call_soon(call)

    def begin(self, steps: Attempt) -> None:
        self._steps = steps

    def give_up(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def new_wire(self, sock: socket.socket) -> SocketWire:
        wire = SocketWire(sock)
        self._wires.append(wire)
        return wire

    def _round(self, nudged: socket.socket) -> None:
        """Wait for whatever comes first, and see to it."""
        until = None
        while until is None and (steps := self._steps) is not None:
            until = self.advance(steps)
            if until is None and self._steps is steps:
                self._steps = None
        if self.over and not self._wires:
            return
        times = [wire.leaving for wire in self._wires]
        wanted = {wire.sock: EVENT_READ | (EVENT_WRITE if wire.full else 0) for wire in self._wires}
        wanted[nudged] = EVENT_READ
        if until is not None:
            times.append(until.deadline)
            wanted |= dict.fromkeys(until.sockets, EVENT_WRITE)
            if until.future is not None:
                until.future.add_done_callback(lambda _: self.call_soon(_nothing))
        if not self.over:
            times.append(self.next_timeout)
        self._watch(wanted)
        if self._calls:  # made before there was anything to nudge
            times.append(self.now)
        when = min((time for time in times if time is not None), default=None)
        ready = self._selector.select(None if when is None else max(0.0, when - self.now))
        masks = {key.fileobj: mask for key, mask in ready}
        if nudged in masks:
            nudged.recv(4096)
        for wire in tuple(self._wires):
            self._serve(wire, masks.get(wire.sock, 0))
        while self._calls:
            self._calls.popleft()()
            self.wake()
        if not self.over and (when := self.next_timeout) is not None and when <= self.now:
            self.timed_out()

    def _serve(self, wire: SocketWire, mask: int) -> None:
        if mask & EVENT_WRITE:
            self.writable(wire)
        ended = bool(mask & EVENT_READ) and not self.readable(wire)
        if (ended or (wire.leaving is not None and wire.leaving <= self.now)) and wire in self._wires:
            self._wires.remove(wire)
            wire.sock.close()

    def _watch(self, wanted: dict[socket.socket, int]) -> None:
        if wanted == self._watched:
            return
        for sock in self._watched.keys() - wanted.keys():
            self._selector.unregister(sock)
        for sock, events in wanted.items():
            if sock not in self._watched:
                self._selector.register(sock, events)
            elif events != self._watched[sock]:
                self._selector.modify(sock, events)
        self._watched = wanted


def _nothing() -> None:
    """To be woken up is enough."""
