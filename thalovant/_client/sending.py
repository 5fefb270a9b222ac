"""Calls of a client that send and do not wait for an answer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..context import reply_context, request_context

if TYPE_CHECKING:
    from ..events import AudioSource, ThalovantEvent
    from .messages import Messages
    from .session import ClientSession


class Sending:
    """What `AsyncThalovantClient` sends."""

    if TYPE_CHECKING:
        _session: ClientSession
        _messages: Messages
        _send_timeout: float

    async def send_utterance(
        self,
        text: str,
        *,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> None:
        """Say `text` without waiting for an answer; what answers it can be heard afterwards.

        `stt_lang`, `pipeline` and `location` are the hints of `request_context`. Raises `ValueError` for a blank text.
        """
        context = request_context(context, stt_lang=stt_lang, pipeline=pipeline, location=location)
        message = self._messages.utterance("send_utterance", text, lang, context, session_id, request_id)
        await self._session.send(message, self._send_timeout)

    async def send_action(
        self,
        payload: str,
        *,
        title: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> None:
        """Send what a button, a menu item or a confirmation stands for. Raises `ValueError` for a blank payload."""
        context = request_context(context, stt_lang=stt_lang, pipeline=pipeline, location=location)
        message = self._messages.action(payload, title, lang, context, session_id, request_id)
        await self._session.send(message, self._send_timeout)

    async def send_code(
        self,
        value: str,
        *,
        kind: str = "code",
        label: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a scanned or typed value that is exact, as of a QR code. Raises `ValueError` for a blank one."""
        context = request_context(context, stt_lang=stt_lang, pipeline=pipeline, location=location)
        message = self._messages.code(value, kind, label, lang, context, session_id, request_id)
        await self._session.send(message, self._send_timeout)

    async def emit(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Put a message of any type on the hub's bus."""
        await self._session.send(self._messages.emitted("emit", event_type, data, context), self._send_timeout)

    async def propagate(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Send an event to the whole mesh: the hub, its other clients, and the hubs above it.

        Raises `ValueError` for a blank type. A hub closes the connection of a client that may not do this.
        """
        await self._spread("Propagate", event_type, data, context)

    async def escalate(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Send an event to the hub and to the hubs above it. Like `propagate` otherwise."""
        await self._spread("Escalate", event_type, data, context)

    async def broadcast(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Send an event to all other clients of the hub, as an administrator of it. Like `propagate` otherwise."""
        await self._spread("Broadcast", event_type, data, context)

    async def reply(
        self,
        event: ThalovantEvent,
        msg_type: str,
        data: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer `event`: put a message on the hub's bus that goes back to whoever sent it.

        Its context is the event's as the hub sent it, turned round (`thalovant.client.reply_context`), with `context`
        over it. Raises what `emit` raises. Cancelled while another message is on its way, it is never sent.
        """
        sent = getattr(event.raw, "context", None)
        turned = reply_context(sent if isinstance(sent, Mapping) else event.context)
        await self.emit(msg_type, data, {**turned, **(context or {})})

    async def send_binary(
        self,
        payload: bytes,
        kind: str | int = "raw_audio",
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Send raw bytes: `raw_audio`, `numpy_image`, `file`, `stt_transcribe`, `stt_handle`, `tts_audio`, or the
        number of another kind.

        Raises `ValueError` for an unknown kind.
        """
        from .._internal.binaries import binary

        await self._session.send(binary("send_binary", payload, kind, metadata), self._send_timeout)

    async def send_audio(
        self,
        source: AudioSource,
        kind: str | int = "raw_audio",
        *,
        sample_rate: int = 16000,
        sample_width: int = 2,
        lang: str = "en-us",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Send sound: a WAV, or bare samples of one channel, signed and little-endian, `sample_width` bytes each.

        `source`: bytes, a path, a file opened for bytes, or an iterable that gives bytes as they are recorded. A WAV
        says its rate and width itself; one that says a wrong length is sent as far as it goes. As `raw_audio`, which
        a hub listens to as to a microphone, it is sent while it is read; as `stt_handle` (what is said there is done)
        or `stt_transcribe` (it is written down), with `lang`, as one message at the end.

        Raises `ValueError` for a source without sound and for a WAV that no hub reads, `OSError` for a file that cannot
        be read, and what `send_binary` raises.

        Example:
            >>> client.send_audio("question.wav", "stt_handle", lang="pt")
        """
        from .._internal.audio import Sound, messages_async

        sound = Sound(kind, sample_rate=sample_rate, sample_width=sample_width, lang=lang, metadata=metadata)
        async with contextlib.aclosing(messages_async(source, sound)) as messages:
            async for message in messages:
                await self._session.send(message, self._send_timeout)

    async def _spread(
        self, kind: str, event_type: str, data: Mapping[str, Any] | None, context: Mapping[str, Any] | None
    ) -> None:
        from thalovant_proto import events as wire
        from thalovant_proto.codec.envelope import envelope_of

        inner = self._messages.emitted(kind.lower(), event_type, data, context)
        await self._session.send(getattr(wire, kind)(payload=envelope_of(inner)), self._send_timeout)
