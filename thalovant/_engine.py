"""Between the public client and the machines: one `ClientStack`, its driver, and who waits for what.

Everything here runs on one asyncio loop. It decides nothing about the protocol; it hands outcomes to futures, queues
and subscriptions, and turns failures into the errors that users see.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field

from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_proto import events as wire
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.outcomes import (
    AskEnded,
    AskFailed,
    AskPiece,
    Connected,
    Delivered,
    Delivery,
    SendFailed,
    Sent,
    SessionState,
    StateChanged,
    TrustChanged,
)
from thalovant_proto.stack import ClientStack

from ._failures import ask_error, link_error
from .errors import ThalovantConnectionError, ThalovantError, ThalovantTimeoutError
from .models import ThalovantConnectionInfo, ThalovantConnectionPhase

if TYPE_CHECKING:
    from ssl import SSLContext

    from thalovant_proto.trust import Trust

    from ._plan import Plan
    from .trust_store import TrustStore

log = logging.getLogger("thalovant")

_PHASES: dict[SessionState, ThalovantConnectionPhase] = {
    SessionState.IDLE: "idle",
    SessionState.CONNECTING: "connecting",
    SessionState.HANDSHAKE: "handshake",
    SessionState.READY: "ready",
    SessionState.WAITING: "connecting",
    SessionState.CLOSING: "closed",
    SessionState.CLOSED: "closed",
    SessionState.DISPLACED: "error",
    SessionState.FAILED: "error",
}
_ENDED = (SessionState.CLOSED, SessionState.DISPLACED, SessionState.FAILED)

StateHandler = Callable[[SessionState, "ThalovantError | None"], None]
BinaryHandler = Callable[[wire.Binary], None]


@define(eq=False)
class _Ask:
    """One ask, as its caller sees it: pieces in a queue, the end as the last item."""

    timeout: float
    items: asyncio.Queue[wire.Bus | AskEnded | ThalovantError] = field(factory=asyncio.Queue)


@define(eq=False)
class _Subscription:
    """One subscription; it may be older than the stack."""

    name: str | None
    deliver: Callable[[wire.Bus], None]
    matches: Callable[[wire.Bus], bool] | None
    kept: bool
    id: int = 0


@define(eq=False)
class _Marks:
    """When a connection reached its phases, for `connection_info`."""

    started_at: datetime | None = None
    connected_at: datetime | None = None
    started: float = 0.0
    opened: float | None = None
    completed: float | None = None
    connected: float | None = None


class Engine:
    """The connection of one client, over all its links. Made and used on one loop."""

    def __init__(self, plan: Plan, *, store: TrustStore, context: Callable[[], SSLContext] | SSLContext) -> None:
        self._plan = plan
        self._store = store
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._stack: ClientStack | None = None
        self._driver: AsyncioDriver[Any] | None = None
        self._starting = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None
        self._trust: Trust | None = None  # to be saved
        self._asks: dict[int, _Ask] = {}
        self._sends: dict[int, asyncio.Future[Delivery]] = {}
        self._subscriptions: list[_Subscription] = []
        self._delivers: dict[int, Callable[[wire.Bus], None]] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._marks = _Marks()
        self._ended_by: ThalovantError | None = None
        self.on_state: set[StateHandler] = set()
        self.on_binary: set[BinaryHandler] = set()

    # --- the connection ---

    @property
    def live(self) -> bool:
        """Whether messages can travel now."""
        return self._stack is not None and self._stack.ready

    @property
    def proven(self) -> bool:
        """Whether the hub's acceptance is certain."""
        return self._stack is not None and self._stack.proven

    @property
    def last_error(self) -> ThalovantError | None:
        """Why there is no connection, None if nothing is wrong."""
        failure = None if self._stack is None else self._stack.failure
        return None if failure is None else link_error(failure)

    @property
    def dropped(self) -> int:
        """Kept events that gave way to newer ones."""
        return 0 if self._stack is None else self._stack.dropped

    async def open(self) -> ClientStack:
        """Have the session wanted, and a driver on it; does not wait for the connection."""
        if self._driver is not None and not self._over():
            assert self._stack is not None  # noqa: S101 - a driver drives one
            return self._stack
        async with self._starting:
            if self._driver is not None:
                if not self._over():
                    assert self._stack is not None  # noqa: S101
                    return self._stack
                await self._driver.closed()
            if self._stack is None:
                # The static key is on disk before the first dial: a hub pins the first one that it sees for good.
                trust = await asyncio.to_thread(self._store.load)
                self._stack = ClientStack(
                    self._plan.config, self._plan.make_link, trust=trust, entropy=secrets.token_bytes
                )
                for subscription in self._subscriptions:
                    self._bind(self._stack, subscription)
            self._marks = _Marks(started_at=datetime.now(UTC), started=self._loop.time())
            self._ended_by = None
            self._driver = AsyncioDriver(
                self._stack, on_outcome=self._outcome, tls=self._context, timeouts=self._plan.timeouts
            )
            self._stack.open(self._loop.time())
            self._driver.start()
            return self._stack

    async def connect(self, timeout: float) -> None:
        """Wait for a connection that is up: proven, or as good as it gets. Raises the reason why there is none."""
        stack = await self.open()
        if stack.ready and self._marks.connected is not None:
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            cause = self.last_error
            message = f"Hub connection did not complete within {timeout:g}s."
            raise ThalovantConnectionError(
                message if cause is None else f"{message} {cause}",
                code="connect_timeout",
                hint="" if cause is None else cause.hint,
                retryable=True,
            ) from cause
        finally:
            self._waiters.discard(waiter)

    async def close(self, timeout: float) -> None:
        """Say goodbye and leave nothing behind: no task, socket or timer. What was learnt is on disk afterwards."""
        if self._stack is not None and self._driver is not None:
            driver = self._driver
            self._stack.close(self._loop.time(), timeout=timeout)
            driver.wake()
            try:
                await driver.closed()
            except asyncio.CancelledError:
                driver.abort()
                raise
        if self._saving is not None:
            await self._saving

    async def wait_closed(self) -> None:
        """Wait until the session has ended, for whatever reason."""
        if self._driver is not None:
            await self._driver.closed()

    def abort(self) -> None:
        """End at once, without goodbye."""
        if self._driver is not None:
            self._driver.abort()

    def info(self) -> ThalovantConnectionInfo:
        """How the present connection came about, or failed to."""
        marks, stack = self._marks, self._stack
        error = self.last_error
        return ThalovantConnectionInfo(
            phase=_PHASES[SessionState.IDLE if stack is None else stack.state],
            started_at=_iso(marks.started_at),
            connected_at=_iso(marks.connected_at),
            transport_open_ms=_ms(marks.started, marks.opened),
            socket_open_ms=_ms(marks.started, marks.opened) if self._plan.protocol == "wss" else None,
            handshake_ms=_ms(marks.opened, marks.completed),
            connect_ms=_ms(marks.started, marks.connected),
            last_error=None if error is None else str(error),
        )

    # --- messages ---

    async def send(self, message: wire.Message, timeout: float) -> Delivery:
        """Send, connecting first if need be; returns when the message has left. Raises if it did not in time."""
        stack = await self.open()
        token = self._local(lambda: stack.send(message, self._loop.time()))
        left: asyncio.Future[Delivery] = self._loop.create_future()
        self._sends[token] = left
        self._wake()
        try:
            async with asyncio.timeout(timeout):
                return await left
        except TimeoutError:
            delivery: Delivery = stack.cancel(token) or "unknown"
            cause = self.last_error
            why = "the hub takes no more data" if cause is None else str(cause)
            raise ThalovantTimeoutError(
                f"The message was not sent within {timeout:g}s: {why}", code="send_timeout", delivery=delivery
            ) from cause
        except asyncio.CancelledError:
            stack.cancel(token)
            raise
        finally:
            self._sends.pop(token, None)

    async def ask(self, message: wire.Bus, timeout: float) -> AsyncIterator[wire.Bus | AskEnded]:
        """Ask: yields the pieces of speech, then the end. Raises when there is no speech to yield."""
        stack = await self.open()
        id = self._local(lambda: stack.ask(message, self._loop.time(), timeout=timeout))
        ask = self._asks[id] = _Ask(timeout)
        self._wake()
        try:
            while True:
                item = await ask.items.get()
                if isinstance(item, ThalovantError):
                    raise item
                yield item
                if isinstance(item, AskEnded):
                    return
        finally:
            if self._asks.pop(id, None) is not None:
                stack.cancel(id)

    def subscribe(
        self,
        name: str | None,
        deliver: Callable[[wire.Bus], None],
        *,
        matches: Callable[[wire.Bus], bool] | None = None,
        kept: bool = False,
    ) -> Callable[[], None]:
        """Have events delivered as long as this engine lives; returns the way to end it. Does not connect."""
        subscription = _Subscription(name, deliver, matches, kept)
        self._subscriptions.append(subscription)
        if self._stack is not None:
            self._bind(self._stack, subscription)
            self._wake()

        def unsubscribe() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                self._delivers.pop(subscription.id, None)
                if self._stack is not None:
                    self._stack.unsubscribe(subscription.id)

        return unsubscribe

    def _bind(self, stack: ClientStack, subscription: _Subscription) -> None:
        subscription.id = stack.subscribe(
            subscription.name, self._loop.time(), matches=subscription.matches, kept=subscription.kept
        )
        self._delivers[subscription.id] = subscription.deliver

    @property
    def own_session(self) -> str | None:
        """The session id that a legacy hub answers with whatever the request said; None on newer hubs."""
        generation = None if self._stack is None else self._stack.generation
        legacy = generation is not None and generation is not wire.Generation.NOISE
        return self._plan.config.session_id if legacy else None

    @contextlib.contextmanager
    def ends(self, ended: Callable[[ThalovantError], None]) -> Iterator[None]:
        """Have `ended` called once if the session stops meanwhile."""

        def changed(state: SessionState, error: ThalovantError | None) -> None:
            if state in _ENDED:
                ended(error or ThalovantConnectionError("The client was closed.", code="closed"))

        self.on_state.add(changed)
        try:
            yield
        finally:
            self.on_state.discard(changed)

    # --- outcomes ---

    def _outcome(self, outcome: object) -> None:
        match outcome:
            case Delivered(subscription=id, event=event):
                if (deliver := self._delivers.get(id)) is not None:
                    deliver(event)
            case AskPiece(ask=id, event=event):
                if id in self._asks:
                    self._asks[id].items.put_nowait(event)
            case AskEnded(ask=id):
                if id in self._asks:
                    self._asks[id].items.put_nowait(outcome)
            case AskFailed(ask=id):
                if id in self._asks:
                    self._asks[id].items.put_nowait(ask_error(outcome, timeout=self._asks[id].timeout))
            case Sent(token=token, delivery=delivery):
                if (left := self._sends.get(token)) is not None and not left.done():
                    left.set_result(delivery)
            case SendFailed(token=token):
                if (left := self._sends.get(token)) is not None and not left.done():
                    left.set_exception(link_error(outcome.failure, delivery=outcome.delivery))
            case StateChanged():
                self._state_changed(outcome)
            case wire.HandshakeCompleted():
                self._marks.completed = self._loop.time()
            case Connected():
                self._marks.connected = self._loop.time()
                self._marks.connected_at = datetime.now(UTC)
                self._settle_waiters(None)
            case TrustChanged(trust=trust):
                self._save(trust)
            case wire.Binary():
                for handler in tuple(self.on_binary):
                    handler(outcome)

    def _state_changed(self, changed: StateChanged) -> None:
        error = None if changed.failure is None else link_error(changed.failure)
        if changed.state is SessionState.CONNECTING:
            started = datetime.now(UTC)
            self._marks = _Marks(started_at=started, started=self._loop.time())
        elif changed.state is SessionState.HANDSHAKE:
            self._marks.opened = self._loop.time()
        elif changed.state in _ENDED:
            self._settle_waiters(error or ThalovantConnectionError("The client was closed.", code="closed"))
        for handler in tuple(self.on_state):
            handler(changed.state, error)

    def _settle_waiters(self, error: ThalovantError | None) -> None:
        for waiter in self._waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _save(self, trust: Trust) -> None:
        self._trust = trust
        if self._saving is None or self._saving.done():
            self._saving = self._loop.create_task(self._save_latest())

    async def _save_latest(self) -> None:
        while (trust := self._trust) is not None:
            self._trust = None
            try:
                await asyncio.to_thread(self._store.store, trust)
            except (OSError, ThalovantError) as error:
                # The connection is fine; only the next one will not know this hub.
                log.warning("What was learnt about the hub could not be saved: %s", error)

    def _over(self) -> bool:
        return self._stack is None or self._stack.state in (*_ENDED, SessionState.CLOSING)

    def _wake(self) -> None:
        if self._driver is not None:
            self._driver.wake()

    def _local(self, call: Callable[[], int]) -> int:
        try:
            return call()
        except LocalProtocolError as error:
            raise ThalovantConnectionError(str(error), code=error.code, delivery="no") from None


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 3)
