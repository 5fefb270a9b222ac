"""Subscriptions of handlers: one event at a time, in order, with a bounded number of events that wait.

A handler that is too slow loses the oldest events, and their number is told.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

from . import logs
from ._internal.options import function
from .events import ThalovantBinary, ThalovantEvent

if TYPE_CHECKING:
    import asyncio

    from thalovant_proto.events import Binary, Bus, PayloadMessage

    from ._internal.portal import Twin
    from .client import ThalovantClient
    from .events import E
    from .expectations import AsyncThalovantExpectation, ThalovantExpectation

A = TypeVar("A")
P = ParamSpec("P")

#: Events that wait for a slow handler; beyond it the oldest are dropped and counted.
HANDLER_BUFFER: Final = 1024
#: The same for raw bytes: 16 MiB are eight minutes of speech.
HANDLER_BYTES: Final = 16 * 1024 * 1024


class AsyncThalovantSubscription:
    """A subscription made by `on`, `on_binary` or `on_hive`: `close()` ends it, also as a context manager. Idempotent.

    Calling it closes it too, and it may be awaited, which gives itself at once.

    `event_name` is what it listens to. `dropped` counts events that a slow handler never saw: those over 1024, or
    16 MiB of raw bytes.
    """

    def __init__(
        self, event_name: str, handler: Callable[[Any], object], kind: type[ThalovantEvent] = ThalovantEvent
    ) -> None:
        self.event_name: str = event_name
        self._kind = kind
        self.dropped: int = 0
        self._handler = function(handler, f"the handler of {event_name!r}")
        self._waiting: deque[ThalovantEvent | ThalovantBinary | PayloadMessage] = deque()
        self._bytes = 0
        self._closed = False
        self._task: asyncio.Task[None] | None = None  # while there are events
        self._on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        """No more events. A coroutine that handles one now is cancelled, unless it is the caller."""
        self._closed = True
        self._on_close()
        self._waiting.clear()
        if self._task is not None:
            from asyncio import current_task

            if self._task is not current_task():
                self._task.cancel()

    unsubscribe = close

    def __call__(self) -> None:
        self.close()

    def __await__(self) -> Generator[None, None, Self]:
        yield from ()
        return self

    def __repr__(self) -> str:
        return _shown(self, self._closed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _closes_with(self, on_close: Callable[[], None]) -> None:
        """Have `on_close` called by `close`."""
        self._on_close = on_close

    def _deliver(self, event: Bus) -> None:
        """Hand an event over; never blocks."""
        self._put(self._kind.from_bus(event))

    def _deliver_binary(self, binary: Binary) -> None:
        self._bytes += len(binary.payload)
        while self._bytes > HANDLER_BYTES and self._waiting:
            self._drop()
        self._put(ThalovantBinary.from_wire(binary))

    def _deliver_frame(self, frame: PayloadMessage) -> None:
        self._put(deepcopy(frame))

    def _put(self, event: ThalovantEvent | ThalovantBinary | PayloadMessage) -> None:
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

    def _take(self) -> ThalovantEvent | ThalovantBinary | PayloadMessage:
        event = self._waiting.popleft()
        if isinstance(event, ThalovantBinary):
            self._bytes -= len(event.data)
        return event

    def _handle_next(self) -> None:
        """Call the handler now. What is to be awaited gets a task, and all that comes meanwhile waits for its end.

        So events are handled one at a time and in order, and the reader goes on meanwhile and answers pings.
        """
        if (awaitable := self._call(self._take())) is not None and not self._closed:
            from asyncio import get_running_loop

            self._task = get_running_loop().create_task(self._finish(awaitable))

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

    def _call(self, event: ThalovantEvent | ThalovantBinary | PayloadMessage) -> Awaitable[object] | None:
        try:
            result = self._handler(event)
        except Exception:
            self._log_fault()
            return None
        return result if isinstance(result, Awaitable) else None

    async def _guarded(self, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except Exception:
            self._log_fault()

    def _log_fault(self) -> None:
        logs.handlers.exception("A handler of %r raised", self.event_name)


class ThalovantSubscription:
    """A subscription made by `on`, `on_binary` or `on_hive`: `close()` ends it, also as a context manager. Idempotent.

    Calling it closes it too.
    """

    def __init__(self, subscription: AsyncThalovantSubscription, client: ThalovantClient) -> None:
        self._subscription = subscription
        self._client = client  # which lives as long as its subscriptions

    @property
    def event_name(self) -> str:
        """The name of the events that it listens to."""
        return self._subscription.event_name

    @property
    def dropped(self) -> int:
        """Events that a slow handler never saw: those over 1024, or 16 MiB of raw bytes."""
        return self._subscription.dropped

    def close(self) -> None:
        """No more events. A handler that runs now goes on to its end."""
        self._client._visit(self._subscription.close)

    unsubscribe = close

    def __call__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return _shown(self, self._subscription._closed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _shown(subscription: AsyncThalovantSubscription | ThalovantSubscription, closed: bool) -> str:
    dropped = f", {subscription.dropped} dropped" if subscription.dropped else ""
    state = "closed" if closed else "open"
    return f"<{type(subscription).__name__} {subscription.event_name!r} {state}{dropped}>"


def expecting(
    method: Callable[Concatenate[A, P], AsyncThalovantExpectation[E]],
) -> Callable[Concatenate[Twin, P], ThalovantExpectation[E]]:
    """The twin of `expect`."""

    @functools.wraps(method)
    def twin(self: Twin, /, *args: P.args, **options: P.kwargs) -> ThalovantExpectation[E]:
        from .expectations import ThalovantExpectation

        return ThalovantExpectation(method(self._original, *args, **options), self._here)

    return twin
