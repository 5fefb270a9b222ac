"""Calls of a client that hear what the hub says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from .._internal.options import LISTEN_BUFFER, seconds, text, whole
from ..events import HIVE_KINDS, BinaryHandler, EventHandler, EventPredicate, HiveHandler, ThalovantEvent

if TYPE_CHECKING:
    from thalovant_proto.client.subscriptions import Filter

    from ..subscriptions import AsyncThalovantSubscription
    from .session import ClientSession


class Hearing:
    """What `AsyncThalovantClient` hears."""

    if TYPE_CHECKING:
        _session: ClientSession
        _connect_within: float | None

    def on(
        self,
        event_name: str,
        handler: EventHandler,
        *,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        predicate: EventPredicate | None = None,
    ) -> AsyncThalovantSubscription:
        """Call `handler(event)` for every event of that name, one event at a time.

        Coroutine functions are awaited; the handlers of a `ThalovantClient` run in a thread of their own. Connects in
        the background, and with `auto_reconnect` waits for a hub that is not there yet for as long as there is a
        subscription. Subscriptions survive reconnects. What a handler raises is logged.
        """
        from ..subscriptions import AsyncThalovantSubscription

        subscription = AsyncThalovantSubscription(event_name, handler)
        matches = self._filter(context, session_id, request_id, predicate)
        end = self._session.subscribe(event_name, subscription._deliver, matches=matches)
        subscription._closes_with(self._session.wait_for_hub(end, self._connect_within))
        return subscription

    def on_binary(self, handler: BinaryHandler) -> AsyncThalovantSubscription:
        """Call `handler(binary)` with a `ThalovantBinary` for every binary message of the hub, as `on` does for events.

        Example:
            >>> end = client.on_binary(lambda binary: print(binary.kind, binary.file_name, len(binary.data)))
            >>> end()
        """
        from thalovant_proto.events import Binary

        from ..subscriptions import AsyncThalovantSubscription

        subscription = AsyncThalovantSubscription("binary", handler)
        end = self._session.on_frame(subscription._deliver_binary, Binary)
        subscription._closes_with(self._session.wait_for_hub(end, self._connect_within))
        return subscription

    def on_hive(self, kind: str, handler: HiveHandler) -> AsyncThalovantSubscription:
        """Call `handler(frame)` for every frame of the mesh of that kind, one of `HIVE_KINDS`, as `on` does for events.

        A frame has `msg_type`, `payload` (for most kinds the envelope inside), `route`, `metadata`, `source_peer`;
        each handler gets a copy of its own. Raises `ValueError` for another kind: answers to queries are what `query`
        gives, bus messages what `on` hears.
        """
        from thalovant_proto import events as wire

        from ..subscriptions import AsyncThalovantSubscription

        if kind not in HIVE_KINDS:
            raise ValueError(f"on_hive() takes one of {', '.join(HIVE_KINDS)}, not {kind!r}")
        subscription = AsyncThalovantSubscription(kind, handler)
        frames: type[wire.Message] = getattr(wire, kind.capitalize())
        end = self._session.on_frame(subscription._deliver_frame, frames)
        subscription._closes_with(self._session.wait_for_hub(end, self._connect_within))
        return subscription

    async def wait_for_event(
        self,
        name: str,
        *,
        timeout: float = 12.0,
        predicate: EventPredicate | None = None,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> ThalovantEvent:
        """The next event of that name; one that followed a send of ours and that nobody took counts too.

        Raises `ThalovantTimeoutError` after `timeout` seconds, `ThalovantConnectionError` if the session ends.
        """
        from .listening import next_event

        matches = self._filter(context, session_id, request_id, predicate)
        text(name, "the name of an event")
        return await next_event(self._session, name, matches, seconds(timeout))

    def listen(
        self,
        name: str,
        *,
        timeout: float | None = None,
        max_events: int | None = None,
        predicate: EventPredicate | None = None,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        max_buffered_events: int = LISTEN_BUFFER,
    ) -> AsyncGenerator[ThalovantEvent, None]:
        """Events of that name as they come; ends silently after `timeout` seconds or `max_events`.

        Events that followed a send of ours and that nobody took come first. Raises `ThalovantConnectionError` if the
        session ends, and `ThalovantRuntimeError` when the consumer is `max_buffered_events` behind.
        """
        from .listening import Inbox, each_event

        whole("max_buffered_events", max_buffered_events, 1)
        text(name, "the name of an event")
        matches = self._filter(context, session_id, request_id, predicate)
        within = None if timeout is None else seconds(timeout)
        return each_event(self._session, name, matches, within, max_events, Inbox(max_buffered_events))

    def _filter(
        self,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
        predicate: EventPredicate | None,
    ) -> Filter | None:
        from .listening import event_filter

        return event_filter(context, session_id, request_id, predicate, own_session=lambda: self._session.own_session)
