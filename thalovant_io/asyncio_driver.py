"""The driver of a client stack on asyncio. No task runs while a connection is up: bytes, timers and calls do it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ssl import SSLContext

from attrs import define, field

from thalovant_proto.carrier import Target

from ._asyncio import SocketProtocol, WiredEndpoint, adopt, dial
from ._endpoint import ClientEndpoint, ClientStack, Order, OutcomeT
from .dialer import DEFAULT_TIMEOUTS, ContextSource, DialError, Resolver, Timeouts, dial_failed_from, resolve


@define(eq=False, repr=False, slots=False)
class AsyncioDriver(WiredEndpoint[OutcomeT], ClientEndpoint[OutcomeT, SocketProtocol]):
    """Runs one client stack on the running loop. Not thread safe; use it on that loop only.

    `on_outcome` is called on the loop, in order; it may call the stack. What it raises goes to the loop's exception
    handler, and the driver goes on.

    `on_socket_up` is called when a socket is up, TLS included, before the stack learns of it. `on_crash` is called when
    the stack raised something: a bug, which the loop's exception handler was told of, and the driver's end.

    `tls` is for targets with TLS: a context, or a function that makes one, called in a thread.
    """

    stack: ClientStack[OutcomeT]
    on_outcome: Callable[[OutcomeT], None] = field(kw_only=True)
    on_socket_up: Callable[[float], None] = field(default=lambda now: None, kw_only=True)
    on_crash: Callable[[Exception], None] = field(default=lambda error: None, kw_only=True)
    tls: ContextSource = field(default=None, kw_only=True)
    timeouts: Timeouts = field(default=DEFAULT_TIMEOUTS, kw_only=True)
    resolver: Resolver = field(default=resolve, kw_only=True)
    _attempt: asyncio.Task[None] | None = field(init=False, default=None)  # to open a socket
    # The socket that the attempt is about to give.
    _coming: tuple[SocketProtocol, SSLContext | None] | None = field(init=False, default=None)
    _tasks: set[asyncio.Task[None]] = field(init=False, factory=set)
    _wires: set[SocketProtocol] = field(init=False, factory=set)
    _ended: asyncio.Event = field(init=False, factory=asyncio.Event)
    _error: Exception | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.stack, asyncio.get_running_loop(), tls_timeout=self.timeouts.tls)

    def start(self) -> None:
        """Begin: dial if the stack says so."""
        self.wake()

    async def closed(self) -> None:
        """Wait until the stack has stopped, or `abort`, and nothing is left: no task, timer or socket.

        Raises what the stack raised, if it did: a bug, which ended the driver. May be cancelled; the driver goes on.
        """
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """End at once, without goodbye. Nothing is told any more."""
        self.finish()
        self._give_up()
        self.wire = None
        for wire in tuple(self._wires):
            wire.abort()
        self._check_end()

    def tell(self, outcome: OutcomeT) -> None:
        try:
            self.on_outcome(outcome)
        except Exception as exc:
            self.report("A handler of outcomes failed", exc)

    def obey(self, order: Order) -> None:
        self._give_up()
        if self.wire is not None:
            self.wire.leave(self.timeouts.linger)
            self.wire = None
        if order is Order.DIAL:
            self._attempt = self.loop.create_task(self._dial(self.target))
            self._tasks.add(self._attempt)
            self._attempt.add_done_callback(self._task_done)
        elif order is Order.STOP:
            self.finish()
            self._check_end()

    def crashed(self, error: Exception) -> None:
        self._error = error
        self.report("A client stack failed", error)
        self.abort()
        self.on_crash(error)

    def _socket_up(self, now: float) -> None:
        self.on_socket_up(now)
        super()._socket_up(now)

    def wire_up(self, wire: SocketProtocol) -> None:
        if self._coming is None or self._coming[0] is not wire:
            wire.abort()  # given up just before it was there; uvloop would not say that it is gone
            return
        self._wires.add(wire)
        wire.transport.set_write_buffer_limits(0)  # what the kernel does not take yet can still be taken back
        context = self._coming[1]
        self.wire, self._coming, self._attempt = wire, None, None
        self.connected(context)

    def wire_gone(self, wire: SocketProtocol) -> None:
        self._wires.discard(wire)
        self._check_end()

    async def _dial(self, target: Target) -> None:
        try:
            sock, context = await dial(target, tls=self.tls, resolver=self.resolver, timeouts=self.timeouts)
            wire = SocketProtocol(self)
            self._coming = (wire, context)
            await adopt(self.loop, wire, sock)
        except (DialError, OSError) as exc:
            self._attempt = self._coming = None
            self.dial_failed(dial_failed_from(exc, target))
        except Exception as exc:  # a resolver that raises what it must not
            self.crashed(exc)

    def _give_up(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        self._attempt = self._coming = None

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._check_end()

    def _check_end(self) -> None:
        if self.over and not self._tasks and not self._wires:
            self._ended.set()
