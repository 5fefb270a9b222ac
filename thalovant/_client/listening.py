"""Events for callers that wait for them: the next one of a name, or one after the other, over all reconnects.

A consumer that is too slow gets an error instead of a gap, since it counts on having all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from thalovant_proto.events import request_id_of, same_session

from .. import logs
from .._internal.options import function, mapping
from ..events import E
from ..expectations import AsyncThalovantExpectation, Wanted, not_emitted

if TYPE_CHECKING:
    from thalovant_proto.events import Bus


async def next_event(wanted: Wanted[E], timeout: float) -> E:
    """The next event. Raises `ThalovantTimeoutError`, or the reason why the session ended."""
    try:
        async with asyncio.timeout(timeout), AsyncThalovantExpectation[E](wanted, 1, kept=True, limit=1) as expected:
            return await expected._next()
    except TimeoutError:
        raise not_emitted(wanted, timeout) from wanted.session.last_error


async def each_event(
    wanted: Wanted[E], timeout: float | None, max_events: int | None, most: int
) -> AsyncGenerator[E, None]:
    """Events as they come, of which at most `most` wait; ends after `timeout` seconds or `max_events`."""
    if max_events is not None and max_events <= 0:
        return
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    try:
        async with asyncio.timeout_at(deadline):
            await wanted.session.open()
    except TimeoutError:
        return
    async with AsyncThalovantExpectation[E](wanted, most, kept=True, limit=max_events) as expected:
        given = 0
        while max_events is None or given < max_events:
            try:
                async with asyncio.timeout_at(deadline):
                    event = await expected._next()
            except TimeoutError:
                return
            given += 1
            yield event


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
