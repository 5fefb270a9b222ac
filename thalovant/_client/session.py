"""The session of one client: a `ClientStack`, its driver, and the life of both.

It decides nothing about the protocol: outcomes go to those who wait for them, failures become the errors that users
see. It works on one asyncio loop at a time, and moves to another one when that has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_proto import events as wire, outcomes
from thalovant_proto.client.stack import ClientStack
from thalovant_proto.outcomes import AskEnded, Connected, Delivered, Delivery, SessionState, StateChanged, TrustChanged

from .. import logs
from .._internal.error_mapping import (
    ask_timeout,
    closed_error,
    crash_error,
    link_error,
    out_of_time,
    queued,
    state_error,
    told,
    with_folders,
)
from .._internal.options import UNCLOSED
from ..errors import ThalovantConnectionError, ThalovantError, ThalovantRuntimeError
from ..models import ThalovantConnectionInfo, ThalovantHealth
from .saving import Saving
from .timings import Outages, Timings
from .waiters import Ask, Callers, Frames, Subscribers

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..protocols import HubProtocol
    from ..trust_store import TrustStore
    from .settings import Plan

#: How long a hub may take to answer our goodbye, in seconds, beyond what the caller of `close` allows for sending.
GOODBYE_TIME: Final = 4.0
#: The same for a close that waits for nothing: enough for a hub that is there, too short to be noticed.
ABRUPT_TIME: Final = 0.1

_ENDED = (SessionState.CLOSED, SessionState.DISPLACED, SessionState.FAILED)

StateHandler = Callable[[SessionState, "ThalovantError | None"], None]

# Objects inherited from the parent process over fork. Kept alive so that their finalizers do not run in the child.
_inherited: list[object] = []


class ClientSession:
    """The connection of one client, over all its links."""

    def __init__(self, plan: Plan, *, store: TrustStore, context: Callable[[], SSLContext] | SSLContext) -> None:
        self._plan = plan
        self._store = store
        self._context = context
        self._abandoned = False  # its client was collected as garbage
        self._closes = 0  # calls of `close`: who was opening then gives up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribers = Subscribers()
        self._waiting: set[object] = set()  # subscriptions that wait for the hub, however long it takes
        self.on_state: set[StateHandler] = set()
        self.frames: Frames = Frames()
        self.on_handled: Callable[[str | None, wire.Bus], None] | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Drop everything that belongs to a loop or a process that is gone."""
        self._pid = os.getpid()
        self._stack: ClientStack | None = None
        self._driver: AsyncioDriver[Any] | None = None
        self._guard: AsyncGenerator[None, None] | None = None
        self._starting = asyncio.Lock()
        self._saving = Saving(self._store)
        self._connecting: asyncio.Task[None] | None = None  # in the background
        self._outages = Outages()
        self._callers = Callers()
        self._timings = Timings()

    def _here(self) -> asyncio.AbstractEventLoop:
        """The running loop, which is ours from now on."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ThalovantRuntimeError(
                "There is no running event loop for an asynchronous client.",
                name="no_loop",
                hint="Call it in a coroutine (asyncio.run), or use ThalovantClient.",
            ) from None
        if loop is self._loop and self._pid == os.getpid():
            return loop
        if self._pid != os.getpid():
            _inherited.append(vars(self).copy())
        elif self.running and self._loop is not None and not self._loop.is_closed():
            raise ThalovantRuntimeError(
                "This client is in use on another event loop.",
                name="wrong_loop",
                hint="Make a client for each event loop, or close it there first.",
            )
        self._loop = loop
        self._begin_anew()
        self._subscribers.move(None, self._now)
        return loop

    # --- the connection ---

    @property
    def running(self) -> bool:
        """Whether there is a connection, or one is being made, ended or waited for."""
        return self._driver is not None and not self._driver.over and self._pid == os.getpid()

    @property
    def live(self) -> bool:
        """Whether messages can travel now."""
        return self._stack is not None and self._stack.ready

    @property
    def state(self) -> SessionState:
        """The state as users see it. In a forked child there is no connection yet."""
        return SessionState.IDLE if self._stack is None or self._pid != os.getpid() else self._stack.state

    @property
    def state_error(self) -> ThalovantError | None:
        """What the present state comes of, None if nothing is wrong."""
        return None if self._stack is None else state_error(self.state, self._stack.failure)

    @property
    def protocol(self) -> HubProtocol:
        """The transport in use, or tried now."""
        return self._plan.protocols[0 if self._stack is None else self._stack.route]

    @property
    def last_error(self) -> ThalovantError | None:
        """Why there is no connection, None if nothing is wrong."""
        failure = None if self._stack is None else self._stack.failure
        return None if failure is None else link_error(with_folders(failure, self._store))

    @property
    def _now(self) -> float:
        assert self._loop is not None  # noqa: S101 - whoever comes here came by `_here`
        return self._loop.time()

    async def open(self) -> ClientStack:
        """Have the session wanted, and a driver on it; does not wait for the connection."""
        self._here()
        if (up := self._up) is not None:
            return up
        closes = self._closes
        async with self._starting:
            if (up := self._up) is not None:
                return up
            if self._driver is not None:
                await self._driver.closed()
            stack = self._stack
            made = await self._new_stack() if stack is None else None
            if self._guard is not None:
                await self._guard.aclose()
            if self._closes != closes:
                raise closed_error(delivery="no")
            if made is not None:
                stack = self._stack = made
                self._subscribers.move(stack, self._now)
            assert stack is not None  # noqa: S101 - there was one, or one was made
            driver = self._driver = self._new_driver(stack)
            guard = self._guard = self._guarding(driver)
            await anext(guard)
            stack.open(self._now)
            driver.start()
            return stack

    async def _new_stack(self) -> ClientStack:
        # The static key is on disk before the first dial: a hub pins the first one that it sees for good.
        trust = await asyncio.to_thread(self._store.load)
        return ClientStack(
            self._plan.config, *self._plan.routes, trust=trust, entropy=os.urandom, patient=self._patient
        )

    def _patient(self) -> bool:
        return self._plan.config.auto_reconnect and bool(self._waiting)

    def _new_driver(self, stack: ClientStack) -> AsyncioDriver[Any]:
        return AsyncioDriver(
            stack,
            on_outcome=self._outcome,
            on_socket_up=lambda now: self._timings.socket_up(now),
            on_crash=self._crashed,
            tls=self._context,
            timeouts=self._plan.timeouts,
        )

    @property
    def _up(self) -> ClientStack | None:
        """The stack, if its session is wanted."""
        if self._stack is None or self._stack.state in (*_ENDED, SessionState.CLOSING):
            return None
        return self._stack if self.running else None

    async def connect(self, timeout: float | None) -> None:
        """Wait for a connection that is up: proven, or as good as it gets. Raises the reason why there is none.

        A client that seeks its hub for subscribers tries at once, and as often as any other before this raises.
        """
        waiter: asyncio.Future[None] = self._here().create_future()
        try:
            async with asyncio.timeout(timeout):
                stack = await self.open()
                if not stack.ready or self._timings.connected is None:
                    self._callers.connects.add(waiter)
                    stack.open(self._now)
                    self.wake()
                    await waiter
        except TimeoutError:
            message = f"Hub connection did not complete within {timeout:g}s."
            kind = ThalovantConnectionError
            raise out_of_time(message, cause := self.last_error, kind=kind, name="connect_timeout") from cause
        finally:
            self._callers.connects.discard(waiter)

    def wait_for_hub(self, end: Callable[[], None], within: float | None) -> Callable[[], None]:
        """Connect in the background for a subscription, and wait for the hub until it ends; returns how to `end` it."""
        loop, token = self._here(), object()
        self._waiting.add(token)
        if self._connecting is None or self._connecting.done():
            self._connecting = loop.create_task(self._connect_in_background(within))

        def ended() -> None:
            self._waiting.discard(token)
            end()

        return ended

    async def _connect_in_background(self, timeout: float | None) -> None:
        try:
            await self.connect(timeout)
        except ThalovantError as error:
            if self._up is None:  # else it goes on, and `Outages` says so
                logs.client.warning("Could not connect in the background: %s", error)

    async def close(self, timeout: float) -> None:
        """Say goodbye and leave nothing behind: no task, socket or timer. What was learnt is on disk afterwards."""
        self._here()
        self._closes += 1
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        stack, driver = self._stack, self._driver
        if stack is not None and driver is not None:
            if not driver.over:
                stack.close(self._now, timeout=timeout)
                driver.wake()
            try:
                async with asyncio.timeout(timeout + GOODBYE_TIME if timeout > 0 else ABRUPT_TIME):
                    await driver.closed()
            except TimeoutError:
                self.abort()
                await driver.closed()
            except asyncio.CancelledError:
                self.abort()
                raise
        if self._guard is not None:
            await self._guard.aclose()
        await self._saving.done()

    async def wait_closed(self) -> None:
        """Wait until the session has ended, for whatever reason."""
        self._here()
        if self._driver is not None:
            await self._driver.closed()

    def abort(self) -> None:
        """End at once, without goodbye. Those who wait are told."""
        if self._driver is None or self._stack is None:
            return
        self._driver.abort()
        self._stack.close(self._now, timeout=0)
        self._stack.eof(self._now)  # nor will a goodbye leave later
        for outcome in self._stack.outcomes():
            self._outcome(outcome)

    def leave(self) -> bool:
        """Abort, from any thread and without waiting; whether there was anything to end, the first time."""
        if self._abandoned or not self.running or self._loop is None:
            return False
        self._abandoned = True
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self.abort)
        return True

    async def _guarding(self, driver: AsyncioDriver[Any]) -> AsyncGenerator[None, None]:
        """An async generator that stays suspended while connected.

        A loop that shuts down closes its generators, which runs the `finally` here and aborts the session. Otherwise
        the garbage collector would find the sockets of a closed loop, and complain about each.
        """
        try:
            yield
        finally:
            if not driver.over:
                self.abort()
                await driver.closed()
                warnings.warn(UNCLOSED, ResourceWarning, stacklevel=2)

    def info(self) -> ThalovantConnectionInfo:
        """The history of the present connection, or the reason why there is none."""
        state = SessionState.IDLE if self._stack is None else self._stack.state
        return self._timings.info(state, websocket=self.protocol == "wss", error=self.last_error)

    async def health(self) -> ThalovantHealth:
        """Whether the connection works."""
        error = None if self.last_error is None else str(self.last_error)
        return ThalovantHealth(self.live, self.live, self.live, error, self.info())

    # --- messages ---

    async def send(self, message: wire.Message, timeout: float) -> Delivery:
        """Send, connecting first if need be; returns when the message has left. Raises if it did not in time."""
        sent: asyncio.Future[Delivery] = self._here().create_future()
        sends, stack, token = self._callers.sends, None, 0
        try:
            async with asyncio.timeout(timeout):
                stack = await self.open()
                token = queued(lambda: stack.send(message, self._now))
                sends[token] = sent
                self.wake()
                return await sent
        except TimeoutError:
            delivery = "no" if stack is None else stack.cancel(token) or "unknown"
            cause, late = self.last_error, f"The message was not sent within {timeout:g}s."
            raise out_of_time(late, cause, name="send_timeout", delivery=delivery) from cause
        except asyncio.CancelledError:
            if stack is not None:
                stack.cancel(token)
            raise
        finally:
            sends.pop(token, None)

    async def ask(self, message: wire.Bus, timeout: float, *, query_id: str | None = None) -> AskEnded:
        """Ask, and wait for the end, which has all pieces. Raises when there is no answer."""
        ask, end = await self._begin_ask(message, timeout, pieces=False, query_id=query_id)
        try:
            ended = await ask.next()
        finally:
            end()
        assert isinstance(ended, AskEnded)  # noqa: S101 - nothing else was wanted
        return ended

    async def stream(self, message: wire.Bus, timeout: float) -> AsyncGenerator[wire.Bus | AskEnded, None]:
        """Ask, and yield the pieces of speech, then the end. Raises when there is no speech to yield."""
        ask, end = await self._begin_ask(message, timeout, pieces=True)
        try:
            while not isinstance(item := await ask.next(), AskEnded):
                yield item
            yield item
        finally:
            end()

    # No context manager that is a generator: a loop that ends closes all asynchronous generators at once, and one that
    # is left by another would then be closed already.
    async def _begin_ask(
        self, message: wire.Bus, timeout: float, *, pieces: bool, query_id: str | None = None
    ) -> tuple[Ask, Callable[[], None]]:
        deadline = self._here().time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                stack = await self.open()
        except TimeoutError:
            raise ask_timeout(timeout, "no", None if self._stack is None else self._stack.failure) from None
        id = queued(
            lambda: stack.ask(message, self._now, timeout=deadline - self._now, pieces=pieces, query_id=query_id)
        )
        ask = self._callers.asks[id] = Ask(timeout, message.request_id)
        self.wake()

        def end() -> None:
            self._callers.asks.pop(id, None)
            stack.cancel(id)

        return ask, end

    def subscribe(
        self,
        name: str | None,
        deliver: Callable[[wire.Bus], None],
        *,
        matches: Callable[[wire.Bus], bool] | None = None,
        kept: bool = False,
        limit: int | None = None,
    ) -> Callable[[], None]:
        """Have events delivered as long as this session lives; returns the way to end it. Does not connect.

        `kept`: those that were kept come first. `limit`: how many it takes, so that the next is kept for others.
        """
        self._here()
        end = self._subscribers.add(name, deliver, self._now, matches=matches, kept=kept, limit=limit)
        self.wake()
        return end

    @property
    def own_session(self) -> str | None:
        """The session id that a legacy hub answers with whatever the request said; None on newer hubs."""
        generation = None if self._stack is None else self._stack.generation
        legacy = generation is not None and generation is not wire.Generation.NOISE
        return self._plan.config.session_id if legacy else None

    @contextlib.contextmanager
    def ends(self, ended: Callable[[ThalovantError], None]) -> Iterator[None]:
        """Have `ended` called if the session stops meanwhile."""

        def changed(state: SessionState, error: ThalovantError | None) -> None:
            if state in _ENDED:
                ended(error or closed_error())

        self.on_state.add(changed)
        try:
            yield
        finally:
            self.on_state.discard(changed)

    # --- inside ---

    def wake(self) -> None:
        """Have the driver do what the stack wants, after calls on the stack."""
        if self._driver is not None:
            self._driver.wake()

    def _outcome(self, outcome: object) -> None:
        match outcome := told(outcome, self._store):
            case Delivered():
                self._subscribers.deliver(outcome)
            case StateChanged(state=state, failure=failure):
                self._state_changed(state, state_error(state, failure))
            case wire.HandshakeCompleted():
                self._timings.completed = self._now
            case Connected():
                self._timings.up(self._now)
                self._callers.connected()
            case TrustChanged(trust=trust):
                self._saving.save(trust)
            case wire.Skipped(reason=reason):
                self._outages.skipped(self._place, reason)
            case wire.Message():
                self.frames.deliver(outcome)
            case outcomes.AskHandled(session_id=session_id, event=event) if self.on_handled is not None:
                self.on_handled(session_id, event)
            case _:
                self._callers.deliver(outcome)

    def _state_changed(self, state: SessionState, error: ThalovantError | None) -> None:
        logs.link.debug("%s %s%s", self._place, state.value, "" if error is None else f": {error}")
        seeks = self._stack is not None and (self._stack.exhausted or self._plan.config.attempts is None)
        self._outages.tell(state, self._place, error, seeks=seeks)
        if state is SessionState.CONNECTING:
            self._timings = Timings.begin(self._now)
        elif state is SessionState.HANDSHAKE:
            self._timings.opened = self._now
        elif state is SessionState.WAITING and seeks and self._plan.config.attempts is not None and error is not None:
            self._callers.ended(error)  # those who wait for a connection; the client waits further
        elif state in _ENDED:
            if error is not None and not (self._callers or self.on_state):
                logs.client.warning("The connection has ended: %s", error)  # nobody else says so
            self._callers.ended(error or closed_error())
        for handler in tuple(self.on_state):
            handler(state, error)

    @property
    def _place(self) -> str:
        """The protocol and the address in use, or tried now."""
        return self._plan.places[0 if self._stack is None else self._stack.route]

    def _crashed(self, error: Exception) -> None:
        """The machines failed and are not to be trusted any more: everybody is told, the next call has new ones."""
        told = crash_error(error)
        self._stack = self._driver = None
        self._subscribers.move(None, self._now)
        self._callers.crashed(told)
        self._state_changed(SessionState.FAILED, told)
