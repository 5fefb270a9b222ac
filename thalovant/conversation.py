"""Conversations: turns that share a session, and the state that a session carries from one turn to the next."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from ._internal.options import AsyncOnly, SyncOnly, mapping, session_of
from ._internal.portal import blocking, iterating, shaped
from .events import CONVERSATION_SESSION_FIELDS, EVENT_UTTERANCE_HANDLED, carry_conversation
from .subscriptions import expecting

if TYPE_CHECKING:
    from thalovant_proto.events import Bus

    from ._internal.portal import Portal
    from .async_client import AsyncThalovantClient
    from .client import ThalovantClient
    from .events import E, EventHandler, ThalovantEvent
    from .expectations import AsyncThalovantExpectation
    from .models import ThalovantReply
    from .subscriptions import AsyncThalovantSubscription, ThalovantSubscription

#: Sessions that one client remembers; then the one that was quiet longest is forgotten.
SESSIONS: Final = 32
#: Further ids under which one session is known: a hub may answer under another one than it was asked in.
FURTHER_IDS: Final = 8

C = TypeVar("C", bound="AsyncThalovantClient | ThalovantClient")


class Carry:
    """State of the sessions of one client, carried from one turn to the next.

    Turns without a session id belong to the client's `own` session.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()  # by the id that a turn was asked in
        self._further: dict[str, list[str]] = {}  # of each, the other ids
        self._first: dict[str, str] = {}  # of each other id

    def add(self, context: Mapping[str, Any] | None, session_id: str | None) -> Mapping[str, Any] | None:
        """`context` with what its session carries; what the caller set stays."""
        carried = self._states.get(self._resolved(session_id or session_of(context)))
        if not carried:
            return context
        given = (context or {}).get("session")
        return {
            **(context or {}),
            "session": carry_conversation(carried, given if isinstance(given, Mapping) else None),
        }

    def hear(self, session_id: str | None, event: Bus) -> None:
        """Remember what the hub says about a session as it is done with a turn of it."""
        session = event.context.get("session")
        if event.type == EVENT_UTTERANCE_HANDLED and isinstance(session, Mapping):
            first = self.file(session_id, event.session_id)
            self._states[first] = {key: session[key] for key in CONVERSATION_SESSION_FIELDS if key in session}

    def file(self, session_id: str | None, other: str | None) -> str:
        """Know a session under another id too; the id that it has here."""
        first = self._resolved(session_id)
        self._states.setdefault(first, {})
        self._states.move_to_end(first)
        further = self._further.setdefault(first, [])
        # An id that turns were asked in stays theirs, as does the one of turns without.
        if other and other.strip() and other not in (first, self._own, *further) and other not in self._states:
            if (before := self._first.get(other)) is not None:
                self._further[before].remove(other)
            self._first[other] = first
            further.append(other)
            if len(further) > FURTHER_IDS:
                del self._first[further.pop(0)]
        if len(self._states) > SESSIONS:
            oldest, _ = self._states.popitem(last=False)
            for id in self._further.pop(oldest):
                del self._first[id]
        return first

    def _resolved(self, session_id: str | None) -> str:
        return self._first.get(session_id or self._own, session_id or self._own)


class _Conversation(Generic[C]):
    """Session, language and context that the turns of a conversation share."""

    def __init__(
        self,
        client: C,
        *,
        session_id: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
    ) -> None:
        from thalovant_proto.client.message_context import new_session_id

        self.client = client
        self.session_id: str = session_id or new_session_id(os.urandom)
        self.lang = lang
        self.context: dict[str, Any] = mapping(context, "context")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r} {self.lang!r} of {self.client!r}>"

    def _options(
        self, lang: str | None, context: Mapping[str, Any] | None, request_id: str | None, **hints: Any
    ) -> dict[str, Any]:
        """The options of a call on the client."""
        return {
            **hints,
            "lang": lang or self.lang,
            "context": self._merged(context),
            "session_id": self.session_id,
            "request_id": request_id,
        }

    def _filters(
        self, context: Mapping[str, Any] | None, request_id: str | None, predicate: Callable[[E], bool] | None
    ) -> dict[str, Any]:
        """The filters of a call on the client that hears events."""
        return {
            "context": context,
            "session_id": self.session_id,
            "request_id": request_id,
            "predicate": predicate,
        }

    def _merged(self, context: Mapping[str, Any] | None) -> dict[str, Any]:
        merged = {**self.context, **mapping(context, "context")}
        sessions = [one.get("session") for one in (self.context, context or {})]
        session = {key: value for one in sessions if isinstance(one, Mapping) for key, value in one.items()}
        return {**merged, "session": session} if session else merged

    def _emitted(self, context: Mapping[str, Any] | None) -> dict[str, Any]:
        merged = self._merged(context)
        own = {"site_id": self.client.identity.site_id, "lang": self.lang}
        return {**merged, "session": {**own, **merged.get("session", {}), "session_id": self.session_id}}


class AsyncThalovantConversation(_Conversation["AsyncThalovantClient"], AsyncOnly):
    """Turns that share one session. Made by `client.conversation`; as `async with` it only reads well.

    `client`, `session_id`, `lang` and `context` are what it was made with. A call's own `context` goes over the
    conversation's; inside `session` both are merged.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # the connection is the client's

    async def ask(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> ThalovantReply:
        """`ask` of the client, in this session."""
        options = self._options(lang, context, request_id, stt_lang=stt_lang, pipeline=pipeline, location=location)
        return await self.client.ask(text, timeout=timeout, **options)

    def stream(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[ThalovantEvent, None]:
        """`stream` of the client, in this session."""
        options = self._options(lang, context, request_id, stt_lang=stt_lang, pipeline=pipeline, location=location)
        return self.client.stream(text, timeout=timeout, **options)

    async def query(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
        query_id: str | None = None,
    ) -> ThalovantReply:
        """`query` of the client, in this session."""
        options = self._options(lang, context, request_id, stt_lang=stt_lang, pipeline=pipeline, location=location)
        return await self.client.query(text, timeout=timeout, query_id=query_id, **options)

    async def send_utterance(
        self,
        text: str,
        *,
        lang: str | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> None:
        """`send_utterance` of the client, in this session."""
        options = self._options(lang, context, request_id, stt_lang=stt_lang, pipeline=pipeline, location=location)
        await self.client.send_utterance(text, **options)

    async def send_action(
        self,
        payload: str,
        *,
        title: str | None = None,
        lang: str | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> None:
        """`send_action` of the client, in this session."""
        options = self._options(lang, context, request_id, stt_lang=stt_lang, pipeline=pipeline, location=location)
        await self.client.send_action(payload, title=title, **options)

    async def send_code(
        self,
        value: str,
        *,
        kind: str = "code",
        label: str | None = None,
        lang: str | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> None:
        """`send_code` of the client, in this session."""
        options = self._options(lang, context, request_id, stt_lang=stt_lang, pipeline=pipeline, location=location)
        await self.client.send_code(value, kind=kind, label=label, **options)

    async def emit(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """`emit` of the client, in this session and without a request id."""
        await self.client.emit(event_type, data, self._emitted(context))

    def on(
        self,
        event_name: str | type[E],
        handler: Callable[[E], Any],
        *,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        predicate: Callable[[E], bool] | None = None,
    ) -> AsyncThalovantSubscription:
        """`on` of the client, for events of this session."""
        return self.client.on(event_name, handler, **self._filters(context, request_id, predicate))

    async def wait_for_event(
        self,
        event_name: str | type[E],
        *,
        timeout: float = 12.0,
        predicate: Callable[[E], bool] | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> E:
        """`wait_for_event` of the client, for an event of this session."""
        filters = self._filters(context, request_id, predicate)
        return await self.client.wait_for_event(event_name, timeout=timeout, **filters)

    def listen(
        self,
        event_name: str | type[E],
        *,
        timeout: float | None = None,
        max_events: int | None = None,
        predicate: Callable[[E], bool] | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[E, None]:
        """`listen` of the client, for events of this session."""
        filters = self._filters(context, request_id, predicate)
        return self.client.listen(event_name, timeout=timeout, max_events=max_events, **filters)

    def expect(
        self,
        event_name: str | type[E],
        *,
        predicate: Callable[[E], bool] | None = None,
        context: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> AsyncThalovantExpectation[E]:
        """`expect` of the client, for events of this session."""
        return self.client.expect(event_name, **self._filters(context, request_id, predicate))


class ThalovantConversation(_Conversation["ThalovantClient"], SyncOnly):
    """Turns that share one session. Made by `client.conversation`; as `with` it only reads well.

    `client`, `session_id`, `lang` and `context` are what it was made with. A call's own `context` goes over the
    conversation's; inside `session` both are merged.
    """

    @property
    def _original(self) -> AsyncThalovantConversation:
        return AsyncThalovantConversation(
            self.client._original, session_id=self.session_id, lang=self.lang, context=self.context
        )

    def _here(self) -> Portal:
        return self.client._here()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # the connection is the client's

    ask: Final = blocking(AsyncThalovantConversation.ask)
    stream: Final = iterating(AsyncThalovantConversation.stream)
    query: Final = blocking(AsyncThalovantConversation.query)
    send_utterance: Final = blocking(AsyncThalovantConversation.send_utterance)
    send_action: Final = blocking(AsyncThalovantConversation.send_action)
    send_code: Final = blocking(AsyncThalovantConversation.send_code)
    emit: Final = blocking(AsyncThalovantConversation.emit)
    wait_for_event: Final = blocking(AsyncThalovantConversation.wait_for_event)
    listen: Final = iterating(AsyncThalovantConversation.listen)
    expect: Final = expecting(AsyncThalovantConversation.expect)

    @shaped(AsyncThalovantConversation.on)
    def on(self, event_name: Any, handler: EventHandler, **filters: Any) -> ThalovantSubscription:
        return self.client.on(event_name, handler, session_id=self.session_id, **filters)
