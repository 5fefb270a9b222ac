"""Events for callers that wait for them: the next one of a name, or one after the other, over all reconnects.

A consumer that is too slow gets an error instead of a gap, since it counts on having all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from thalovant_proto.events import request_id_of, same_session

from .. import logs
from .._internal.error_mapping import out_of_time
from .._internal.options import function, mapping
from ..errors import ThalovantError, ThalovantRuntimeError
from ..events import E

if TYPE_CHECKING:
    from thalovant_proto.client.subscriptions import Filter
    from thalovant_proto.events import Bus

    from .session import ClientSession


async def next_event(session: ClientSession, name: str, kind: type[E], matches: Filter | None, timeout: float) -> E:
    """The next event of that name. Raises `ThalovantTimeoutError`, or the reason why the session ended."""
    found: asyncio.Future[E] = asyncio.get_running_loop().create_future()

    def deliver(bus: Bus) -> None:
        if not found.done():
            found.set_result(kind.from_bus(bus))

    def ended(error: ThalovantError) -> None:
        if not found.done():
            found.set_exception(error)

    try:
        async with asyncio.timeout(timeout):
            await session.open()
            with contextlib.ExitStack() as exits:
                exits.enter_context(session.ends(ended))
                exits.callback(session.subscribe(name, deliver, matches=matches, kept=True, limit=1))
                return await found
    except TimeoutError:
        raise not_emitted(name, timeout, session) from session.last_error


def not_emitted(name: str, timeout: float, session: ClientSession) -> ThalovantError:
    """The error for an event that did not come in time."""
    return out_of_time(f"Hub did not emit {name!r} within {timeout:g}s.", session.last_error)


async def each_event(
    session: ClientSession,
    name: str | None,
    matches: Filter | None,
    timeout: float | None,
    max_events: int | None,
    inbox: Inbox[E],
) -> AsyncGenerator[E, None]:
    """Events of that name (None: all) as they come, through `inbox`; ends after `timeout` seconds or `max_events`."""
    if max_events is not None and max_events <= 0:
        return
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    try:
        async with asyncio.timeout_at(deadline):
            await session.open()
    except TimeoutError:
        return
    with contextlib.ExitStack() as exits:
        exits.enter_context(session.ends(inbox.end))
        exits.callback(session.subscribe(name, inbox.deliver, matches=matches, kept=True, limit=max_events))
        given = 0
        while max_events is None or given < max_events:
            try:
                async with asyncio.timeout_at(deadline):
                    event = await inbox.next()
            except TimeoutError:
                return
            given += 1
            yield event


class Inbox(Generic[E]):
    """Events that `listen` has not yielded yet: at most `limit`."""

    def __init__(self, limit: int, kind: type[E]) -> None:
        self._limit = limit
        self._kind = kind
        self._events: deque[E] = deque()
        self._error: ThalovantError | None = None
        self._changed = asyncio.Event()

    def deliver(self, event: Bus) -> None:
        """Keep an event for the consumer."""
        if len(self._events) >= self._limit:
            self.end(
                ThalovantRuntimeError(
                    "Event buffer overflow; subscription retired.",
                    name="overflow",
                    hint="Take events faster, or allow more to wait: max_buffered_events.",
                )
            )
        elif self._error is None:
            self._events.append(self._kind.from_bus(event))
            self._changed.set()

    def end(self, error: ThalovantError) -> None:
        """There is nothing more to come, for this reason; what has come is still given."""
        self._error = self._error or error
        self._changed.set()

    async def next(self) -> E:
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
    predicate: Callable[[E], bool] | None,
    kind: type[E],
    *,
    own_session: Callable[[], str | None],
) -> Callable[[Bus], bool] | None:
    """A test for the events that a subscription takes; None for all. A predicate that raises is logged and means no.

    `own_session` gives the one session id that a legacy hub answers with, whatever was asked; None on newer hubs.
    """
    if context is None and session_id is None and request_id is None and predicate is None:
        return None
    mapping(context, "context")
    if predicate is not None:
        function(predicate, "predicate", plain="its coroutine would count as yes: use a plain function")

    def matches(bus: Bus) -> bool:
        event = kind.from_bus(bus)
        if (found := event.session_id) is not None and same_session(found, own_session()):
            fits = event.matches_context(request_id=request_id or request_id_of(context or {}))
        else:
            fits = event.matches_context(context, session_id=session_id, request_id=request_id)
        if not fits or predicate is None:
            return fits
        try:
            return bool(predicate(event))
        except Exception:
            logs.handlers.exception("A predicate for %r raised", event.name)
            return False

    return matches
