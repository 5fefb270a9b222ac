"""Calls of a client that hear what the hub says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._internal.options import LISTEN_BUFFER, seconds, whole
from ..events import HIVE_KINDS, BinaryHandler, E, HiveHandler, name_and_class

if TYPE_CHECKING:
    from ..expectations import AsyncThalovantExpectation, Wanted
    from ..subscriptions import AsyncThalovantSubscription
    from .session import ClientSession


class Hearing:
    """What `AsyncThalovantClient` hears."""

    if TYPE_CHECKING:
        _session: ClientSession
        _connect_within: float | None

    def on(
        self,
        event_name: str | type[E],
        handler: Callable[[E], Any],
        *,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        predicate: Callable[[E], bool] | None = None,
    ) -> AsyncThalovantSubscription:
        """Call `handler(event)` for every event of that name, or class, one event at a time.

        Coroutine functions are awaited; the handlers of a `ThalovantClient` run in a thread of their own. Connects in
        the background, and with `auto_reconnect` waits for a hub that is not there yet for as long as there is a
        subscription. Subscriptions survive reconnects. What a handler raises is logged.
        """
        wanted = self._wanted(event_name, context, session_id, request_id, predicate)
        return self._hear(wanted, handler, connect=True)

    def _hear(self, wanted: Wanted[E], handler: Any, *, connect: bool = False) -> AsyncThalovantSubscription:
        from ..subscriptions import AsyncThalovantSubscription

        session, name, kind, matches = wanted
        subscription = AsyncThalovantSubscription(str(name), handler, kind)
        end = session.subscribe(name, subscription._deliver, matches=matches)
        subscription._closes_with(session.wait_for_hub(end, self._connect_within) if connect else end)
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
        end = self._session.frames.add(Binary, subscription._deliver_binary)
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
        end = self._session.frames.add(frames, subscription._deliver_frame)
        subscription._closes_with(self._session.wait_for_hub(end, self._connect_within))
        return subscription

    async def wait_for_event(
        self,
        event_name: str | type[E],
        *,
        timeout: float = 12.0,
        predicate: Callable[[E], bool] | None = None,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> E:
        """The next event of that name, or class; one that followed a send of ours and that nobody took counts too.

        Raises `ThalovantTimeoutError` after `timeout` seconds, `ThalovantConnectionError` if the session ends.
        """
        from .listening import next_event

        wanted = self._wanted(event_name, context, session_id, request_id, predicate)
        return await next_event(wanted, seconds(timeout))

    def listen(
        self,
        event_name: str | type[E],
        *,
        timeout: float | None = None,
        max_events: int | None = None,
        predicate: Callable[[E], bool] | None = None,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        max_buffered_events: int = LISTEN_BUFFER,
    ) -> AsyncGenerator[E, None]:
        """Events of that name, or class, as they come; ends silently after `timeout` seconds or `max_events`.

        Events that followed a send of ours and that nobody took come first. Raises `ThalovantConnectionError` if the
        session ends, and `ThalovantRuntimeError` when the consumer is `max_buffered_events` behind.
        """
        from .listening import each_event

        whole("max_buffered_events", max_buffered_events, 1)
        wanted = self._wanted(event_name, context, session_id, request_id, predicate)
        within = None if timeout is None else seconds(timeout)
        return each_event(wanted, within, max_events, max_buffered_events)

    def expect(
        self,
        event_name: str | type[E],
        *,
        predicate: Callable[[E], bool] | None = None,
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> AsyncThalovantExpectation[E]:
        """Listen from the beginning of a block on, and wait in it: whatever the block sends, no answer is missed.

        async with client.expect("speak") as expected:
            await client.send_utterance("Say hello.")
            event = await expected.wait(timeout=5)
        """
        from ..expectations import AsyncThalovantExpectation

        wanted = self._wanted(event_name, context, session_id, request_id, predicate)
        return AsyncThalovantExpectation(wanted, LISTEN_BUFFER)

    def _wanted(
        self,
        given: str | type[E],
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        predicate: Callable[[E], bool] | None = None,
    ) -> Wanted[E]:
        from ..expectations import Wanted
        from .listening import event_filter

        name, kind = name_and_class(given)
        own = lambda: self._session.own_session  # noqa: E731
        matches = event_filter(context, session_id, request_id, predicate, kind, own_session=own)
        return Wanted(self._session, name, kind, matches)
