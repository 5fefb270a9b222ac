"""Messages of one client: made of what its methods are given, and replies made of what comes back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thalovant_proto import events as wire
from thalovant_proto.client.message_context import message_context, new_request_id, new_session_id

from .._internal.options import mapping, session_of
from ..events import ThalovantEvent
from ..models import ThalovantReply

if TYPE_CHECKING:
    from thalovant_proto.client.config import ClientConfig
    from thalovant_proto.outcomes import AskEnded


class Messages:
    """The messages of a client with this configuration, whose identity has this metadata."""

    def __init__(self, config: ClientConfig, metadata: Mapping[str, Any]) -> None:
        self._config = config
        self._metadata = dict(metadata)

    def utterance(
        self,
        method: str,
        text: str,
        lang: str,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
    ) -> wire.Bus:
        """An utterance of the user. Raises `ValueError` that names the `method` for a blank text."""
        text = _required(text, method, "text prompt")
        return self._request({"utterances": [text], "lang": lang}, context, session_id, request_id)

    def question(
        self,
        text: str,
        lang: str,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
    ) -> wire.Bus:
        """The same for `query`, whose session is a new one unless it is given."""
        session_id = session_id or new_session_id(os.urandom)
        return self.utterance("query", text, lang, context, session_id, request_id)

    def action(
        self,
        payload: str,
        title: str | None,
        lang: str,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
    ) -> wire.Bus:
        """A pressed button or a picked item: an utterance that says so. Raises `ValueError` for a blank payload."""
        payload = _required(payload, "send_action", "payload")
        context = {**mapping(context, "context"), "input": {"kind": "action", "title": title, "payload": payload}}
        return self._request({"utterances": [payload], "lang": lang}, context, session_id, request_id)

    def code(
        self,
        value: str,
        kind: str,
        label: str | None,
        lang: str,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
    ) -> wire.Bus:
        """A scanned or typed value that must not be interpreted as speech. Raises `ValueError` for a blank value."""
        value = _required(value, "send_code", "value")
        given = {"kind": kind, "label": label, "value": value, "exact": True}
        data = {"utterances": [value], "lang": lang, "input": dict(given)}
        return self._request(data, {**mapping(context, "context"), "input": given}, session_id, request_id)

    def emitted(
        self, method: str, event_type: str, data: Mapping[str, Any] | None, context: Mapping[str, Any] | None
    ) -> wire.Bus:
        """A message of any type. Raises `ValueError` that names the `method` for a blank one."""
        event_type = _required(event_type, method, "event type")
        built = message_context(self._with_metadata(context), self._config)
        return wire.bus(type=event_type, data=mapping(data, f"the data of {method}()"), context=built)

    def inquiry(self, event_type: str, data: Mapping[str, Any], lang: str | None = None) -> wire.Bus:
        """A question to the hub itself, of no session in particular and in no language unless it is given."""
        request_id = new_request_id(os.urandom)
        built = message_context(self._with_metadata(None), self._config, lang=lang, request_id=request_id)
        return wire.bus(type=event_type, data=dict(data), context=built)

    def session_of(self, message: wire.Bus) -> str | None:
        """The session that the caller named; None for the client's own."""
        return None if message.session_id == self._config.session_id else message.session_id

    def reply(self, ended: AskEnded, message: wire.Bus) -> ThalovantReply:
        """The reply to an ask that has ended."""
        events = [ThalovantEvent.from_bus(bus) for bus in ended.events]
        return ThalovantReply.from_events(
            events,
            handled=ended.handled,
            failure_event=None if ended.failure is None else ThalovantEvent.from_bus(ended.failure),
            session_id=next(filter(None, map(_session_id, events)), None) or self.session_of(message),
            request_id=message.request_id,
            dropped_media=ended.dropped_media,
        )

    def _request(
        self, data: dict[str, Any], context: Mapping[str, Any] | None, session_id: str | None, request_id: str | None
    ) -> wire.Bus:
        built = message_context(
            self._with_metadata(context),
            self._config,
            session_id=session_id or session_of(context),
            lang=data["lang"],
            # A request id in the context is replaced: the same context may serve many requests.
            request_id=request_id or new_request_id(os.urandom),
        )
        return wire.bus(type=wire.UTTERANCE, data=data, context=built)

    def _with_metadata(self, context: Mapping[str, Any] | None) -> dict[str, Any]:
        """A copy of `context` with the identity's metadata under its own, whose keys win."""
        built = mapping(context, "context")
        if self._metadata:
            own = built.get("metadata")
            built["metadata"] = {**self._metadata, **(own if isinstance(own, Mapping) else {})}
        return built


def _required(text: str, method: str, what: str) -> str:
    """The text without surrounding space."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{method}() requires a non-empty {what}.")
    return text.strip()


def _session_id(event: ThalovantEvent) -> str:
    return (event.session_id or "").strip()
