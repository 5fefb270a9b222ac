"""Events for those who wait: `expect` says first what a block waits for, then sends, then waits.

A consumer that is too slow gets an error instead of a gap, since it counts on having all.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self

from ._internal.options import AsyncOnly, SyncOnly, seconds
from ._internal.portal import shaped
from .errors import ThalovantError, ThalovantRuntimeError
from .events import E

if TYPE_CHECKING:
    from thalovant_proto.client.subscriptions import Filter
    from thalovant_proto.events import Bus

    from ._internal.portal import Portal


class Wanted(NamedTuple, Generic[E]):
    """What somebody hears: events of a name (None: all), as objects of a class, that pass a test."""

    session: Any  # a `ClientSession`, or the like of a transport
    name: str | None
    kind: type[E]
    matches: Filter | None


class AsyncThalovantExpectation(Generic[E], AsyncOnly):
    """What `expect` gives: an `async with` block that hears events from its start on, for `wait` to take."""

    def __init__(self, wanted: Any, most: int, **options: Any) -> None:
        import asyncio

        self._wanted: Wanted[E] = wanted
        self._most = most  # events that wait
        self._options = options
        self._events: deque[E] = deque()
        self._error: ThalovantError | None = _outside()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        session, name, _, matches = self._wanted
        await session.open()
        self._error = None
        with contextlib.ExitStack() as exits:
            exits.enter_context(session.ends(self._end))
            exits.callback(session.subscribe(name, self._deliver, matches=matches, **self._options))
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._exits.close()
        self._end(_outside())

    def _deliver(self, event: Bus) -> None:
        if len(self._events) >= self._most:
            self._end(ThalovantRuntimeError("Event buffer overflow; subscription retired.", name="overflow"))
        elif self._error is None:
            self._events.append(self._wanted.kind.from_bus(event))
            self._changed.set()

    def _end(self, error: ThalovantError) -> None:
        """There is nothing more to come, for this reason; what has come is still given."""
        self._error = self._error or error
        self._changed.set()

    async def wait(self, timeout: float = 12.0) -> E:
        """The next of the events, which may have come already; called again, the one after it.

        Raises `ThalovantTimeoutError` after `timeout` seconds, `ThalovantConnectionError` if the session ends, and
        `ThalovantRuntimeError` outside of the block.
        """
        import asyncio

        try:
            async with asyncio.timeout(seconds(timeout)):
                return await self._next()
        except TimeoutError:
            raise not_emitted(self._wanted, timeout) from self._wanted.session.last_error

    async def _next(self) -> E:
        """The next event. Raises the reason why there will be none."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()


class ThalovantExpectation(Generic[E], SyncOnly):
    """What `expect` gives: a `with` block that hears events from its start on, for `wait` to take."""

    def __init__(self, original: AsyncThalovantExpectation[E], here: Callable[[], Any]) -> None:
        self._original = original
        self._here: Callable[[], Portal] = here

    def __enter__(self) -> Self:
        self._here().call(self._original.__aenter__)
        return self

    def __exit__(self, *exc: object) -> None:
        self._here().visit(self._original._leave)

    @shaped(AsyncThalovantExpectation.wait)
    def wait(self, timeout: float = 12.0) -> E:
        return self._here().call(lambda: self._original.wait(timeout))


def not_emitted(wanted: Any, timeout: float) -> ThalovantError:
    """The error for an event that did not come in time."""
    from ._internal.error_mapping import out_of_time

    return out_of_time(f"Hub did not emit {wanted.name!r} within {timeout:g}s.", wanted.session.last_error)


def _outside() -> ThalovantError:
    return ThalovantRuntimeError("Events are expected inside of the block of `expect` only.", name="not_expected")
