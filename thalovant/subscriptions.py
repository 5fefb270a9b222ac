"""Between events and the code of users: handlers of `on`, one event at a time, and what `listen` has not yielded yet.

Both are bounded. A handler that is too slow loses the oldest events, and their number is told; a consumer of `listen`
that is too slow gets an error, since it counts on having all.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from .errors import ThalovantError, ThalovantRuntimeError
from .events import EventPredicate, ThalovantEvent, context_request_id

if TYPE_CHECKING:
    from thalovant_proto.events import Binary, Bus

    from .client import ThalovantClient

log: logging.Logger = logging.getLogger("thalovant")

#: Events that wait for a slow handler; beyond it the oldest are dropped and counted.
HANDLER_BUFFER: Final = 1024
#: The same for raw bytes: 16 MiB are eight minutes of speech.
HANDLER_BYTES: Final = 16 * 1024 * 1024
#: Events that wait for the consumer of `listen`; beyond it the subscription ends with an error.
LISTEN_BUFFER: Final = 256


class AsyncThalovantSubscription:
    """A subscription made by `on` or `on_binary`: `close()` ends it, also as a context manager. Idempotent.

    `event_name` is what it listens to. `dropped` counts events that a slow handler never saw: those over 1024, or
    16 MiB of raw bytes.
    """

    def __init__(self, event_name: str, handler: Callable[[Any], object]) -> None:
        self.event_name = event_name
        self.dropped: int = 0
        self._handler = handler
        self._waiting: deque[ThalovantEvent | Binary] = deque()
        self._bytes = 0
        self._closed = False
        self._task: asyncio.Task[None] | None = None  # while there are events
        self._on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        """No more events. A coroutine that handles one now is cancelled, unless it is the caller."""
        self._closed = True
        self._on_close()
        self._waiting.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    unsubscribe = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _closes_with(self, on_close: Callable[[], None]) -> None:
        """What `close` does besides."""
        self._on_close = on_close

    def _deliver(self, event: Bus) -> None:
        """Hand an event over; never blocks."""
        self._put(ThalovantEvent.from_bus(event))

    def _deliver_binary(self, binary: Binary) -> None:
        self._bytes += len(binary.payload)
        while self._bytes > HANDLER_BYTES and self._waiting:
            self._drop()
        self._put(binary)

    def _put(self, event: ThalovantEvent | Binary) -> None:
        if self._closed:
            return  # the handler of an earlier subscription to the same event has just closed this one
        if len(self._waiting) >= HANDLER_BUFFER:
            self._drop()
        self._waiting.append(event)
        if self._task is None:
            self._handle_next()

    def _drop(self) -> None:
        self._take()
        self.dropped += 1

    def _take(self) -> ThalovantEvent | Binary:
        event = self._waiting.popleft()
        if not isinstance(event, ThalovantEvent):
            self._bytes -= len(event.payload)
        return event

    def _handle_next(self) -> None:
        """Call the handler now. What is to be awaited gets a task, and all that comes meanwhile waits for its end.

        So events are handled one at a time and in order, and the reader goes on meanwhile and answers pings.
        """
        if (awaitable := self._call(self._take())) is not None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._finish(awaitable))

    async def _finish(self, awaitable: Awaitable[object] | None) -> None:
        try:
            while True:
                if awaitable is not None:
                    await self._guarded(awaitable)
                if not self._waiting:
                    return
                awaitable = self._call(self._take())
        finally:
            self._task = None

    def _call(self, event: ThalovantEvent | Binary) -> Awaitable[object] | None:
        try:
            result = self._handler(event)
        except Exception:
            self._log_fault()
            return None
        return result if inspect.isawaitable(result) else None

    async def _guarded(self, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except Exception:
            self._log_fault()

    def _log_fault(self) -> None:
        log.exception("A handler of %r raised", self.event_name)


class ThalovantSubscription:
    """A subscription made by `on` or `on_binary`: `close()` ends it, also as a context manager. Idempotent."""

    def __init__(self, subscription: AsyncThalovantSubscription, client: ThalovantClient) -> None:
        self._subscription = subscription
        self._client = client  # which lives as long as its subscriptions

    @property
    def event_name(self) -> str:
        """What it listens to."""
        return self._subscription.event_name

    @property
    def dropped(self) -> int:
        """Events that a slow handler never saw: those over 1024, or 16 MiB of raw bytes."""
        return self._subscription.dropped

    def close(self) -> None:
        """No more events. A handler that runs now goes on to its end."""
        self._client._visit(self._subscription.close)

    unsubscribe = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Inbox:
    """What `listen` has not yielded yet: at most `limit` events."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[ThalovantEvent] = deque()
        self._error: ThalovantError | None = None
        self._changed = asyncio.Event()

    def deliver(self, event: Bus) -> None:
        """Keep an event for the consumer."""
        if len(self._events) >= self._limit:
            self.end(
                ThalovantRuntimeError(
                    "Event buffer overflow; subscription retired.",
                    code="overflow",
                    hint="Take events faster, or allow more to wait: max_buffered_events.",
                )
            )
        elif self._error is None:
            self._events.append(ThalovantEvent.from_bus(event))
            self._changed.set()

    def end(self, error: ThalovantError) -> None:
        """There is nothing more to come, for this reason; what has come is still given."""
        self._error = self._error or error
        self._changed.set()

    async def next(self) -> ThalovantEvent:
        """The next event. Raises the reason why there will be none."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()


def event_filter(
    context: Mapping[str, Any] | None,
    session_id: str | None,
    request_id: str | None,
    predicate: EventPredicate | None,
    *,
    own_session: Callable[[], str | None],
) -> Callable[[Bus], bool] | None:
    """Which events a subscription takes; None for all. A predicate that raises is logged and means no.

    `own_session` gives the one session id that a legacy hub answers with, whatever was asked; None on newer hubs.
    """
    if context is None and session_id is None and request_id is None and predicate is None:
        return None

    def matches(bus: Bus) -> bool:
        event = ThalovantEvent.from_bus(bus)
        if (own := own_session()) is not None and event.session_id == own:
            fits = event.matches_context(request_id=request_id or context_request_id(context or {}))
        else:
            fits = event.matches_context(context, session_id=session_id, request_id=request_id)
        if not fits or predicate is None:
            return fits
        try:
            return bool(predicate(event))
        except Exception:
            log.exception("A predicate for %r raised", event.name)
            return False

    return matches
