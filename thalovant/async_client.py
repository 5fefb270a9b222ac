"""`AsyncThalovantClient`: the client on asyncio. The synchronous one in `client.py` is its shadow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from thalovant_proto import events as wire
from thalovant_proto.client.subscriptions import Filter
from thalovant_proto.outcomes import AskEnded, SessionState

from . import context as contexts
from ._internal.from_stored import FromStored
from ._internal.session import UNCLOSED, Engine
from ._internal.settings import DEFAULT_USERAGENT, check_times, make_plan, seconds, tls_source, verifies
from .conversation import AsyncThalovantConversation, Carry
from .errors import ThalovantError, ThalovantTimeoutError
from .events import (
    EVENT_RECOGNIZER_LOOP_UTTERANCE,
    EventHandler,
    EventPredicate,
    ThalovantEvent,
)
from .identity import ThalovantIdentity
from .models import ThalovantConnectionInfo, ThalovantDoctorReport, ThalovantHealth, ThalovantReply
from .subscriptions import LISTEN_BUFFER, AsyncThalovantSubscription, Inbox, event_filter
from .trust_store import TrustStore

if TYPE_CHECKING:
    from ssl import SSLContext

    from .protocols import HubProtocol

log: logging.Logger = logging.getLogger("thalovant")

BinaryHandler = Callable[[wire.Binary], object]
StateHandler = Callable[[str, ThalovantError | None], object]


class AsyncThalovantClient(FromStored):
    """Talks to one hub as one client identity, on the running asyncio loop.

    It connects by itself when something is asked of it, reconnects by itself when the hub or the network went away,
    and keeps subscriptions over that. Use it as `async with`, or call `close`.
    """

    def __init__(
        self,
        identity: ThalovantIdentity,
        *,
        useragent: str = DEFAULT_USERAGENT,
        connect_timeout: float = 4.0,
        handshake_timeout: float = 20.0,
        send_timeout: float = 8.0,
        reply_settle_seconds: float = 0.25,
        auto_reconnect: bool = True,
        reconnect_attempts: int = 1,
        protocol: HubProtocol | None = None,
        fallback: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        ssl_context: SSLContext | None = None,
        noise_state_dir: str | os.PathLike[str] | None = None,
        allow_insecure: bool = False,
        allow_legacy: bool = False,
        retry: Literal["never", "idempotent"] = "never",
    ) -> None:
        """Make a client, which connects when it is first used. Times are in seconds.

        `connect_timeout` holds for each of name lookup, TCP and TLS; `handshake_timeout` for the hub's handshake;
        `send_timeout` for a message to leave. `reply_settle_seconds`: how long `ask` waits for more where more may
        come. `reconnect_attempts`: tries after a failed first one. `protocol`: "wss", "https" or "mqtt"; chosen by the
        identity if None. `fallback`: where that one does not lead to the hub, try the others that the identity has on;
        what the hub itself refuses stays refused. `ca_file`, `ssl_context`: whom to trust instead of the system's
        authorities. `noise_state_dir`: where keys and pins are stored. `allow_insecure` takes plain endpoints off this
        machine, `allow_legacy` handshakes before v3 over them. `retry="idempotent"`: an ask whose connection died is
        sent again with the same request id instead of failing; right where the hub's skills do no harm when run twice.

        Raises `ThalovantUnsupportedProtocolError` or `ThalovantIdentityError` for an identity that cannot work.
        """
        check_times(
            connect_timeout=connect_timeout,
            handshake_timeout=handshake_timeout,
            send_timeout=send_timeout,
            reply_settle_seconds=reply_settle_seconds,
        )
        self.identity = identity
        self._send_timeout = send_timeout
        plan = make_plan(
            identity,
            protocol,
            fallback=fallback,
            user_agent=useragent,
            connect_timeout=connect_timeout,
            handshake_timeout=handshake_timeout,
            settle=reply_settle_seconds,
            auto_reconnect=auto_reconnect,
            attempts=reconnect_attempts,
            retry=retry,
            allow_insecure=allow_insecure,
            allow_legacy=allow_legacy,
            verified=ssl_context is None or verifies(ssl_context),
        )
        self._connect_within = (connect_timeout + handshake_timeout) * len(plan.protocols) + 1.0
        store = TrustStore(noise_state_dir, identity)
        context = tls_source(ca_file if ca_file is not None else identity.ca_file, ssl_context)
        self._engine = Engine(plan, store=store, context=context)
        self._carry = Carry()
        self._connecting: asyncio.Task[None] | None = None  # in the background

    @property
    def protocol(self) -> HubProtocol:
        """The transport in use, or tried now: "wss", "https" or "mqtt"."""
        return self._engine.protocol

    # --- the connection ---

    async def connect(self, timeout: float | None = None) -> None:
        """Connect, if there is no connection. Returns when the hub has accepted us, as far as it tells.

        Raises a `ThalovantConnectionError` that names the reason, within `timeout` seconds.
        """
        await self._engine.connect(self._connect_within if timeout is None else seconds(timeout))

    async def connect_with_info(self, timeout: float | None = None) -> ThalovantConnectionInfo:
        """`connect`, then `connection_info`."""
        await self.connect(timeout)
        return await self.connection_info()

    async def connection_info(self) -> ThalovantConnectionInfo:
        """How the present connection came about, or what stands in its way. Does not connect."""
        return self._engine.info()

    async def healthcheck(self) -> ThalovantHealth:
        """Whether the connection works; connects first. Raises what `connect` raises."""
        await self.connect()
        engine = self._engine
        error = engine.last_error
        return ThalovantHealth(
            connected=engine.live,
            handshake_complete=engine.live,
            transport_alive=engine.live,
            last_error=None if error is None else str(error),
            connection=engine.info(),
        )

    async def doctor(self) -> ThalovantDoctorReport:
        """Check identity, endpoint, connection and transport, and report on each; `print` it. Never raises."""
        from ._internal.doctor import examine

        return await examine(self)

    async def close(self, timeout: float | None = None) -> None:
        """Send what is queued, say goodbye, leave nothing behind. Idempotent; the client can be used again.

        `timeout` bounds the sending (`send_timeout` if None); 0 waits for nothing.
        """
        task, self._connecting = self._connecting, None
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait((task,))
        await self._engine.close(self._send_timeout if timeout is None else seconds(timeout))

    disconnect = close

    async def wait_closed(self) -> None:
        """Wait until the connection has ended for good: closed by us, refused, or displaced."""
        await self._engine.wait_closed()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close(0)  # nobody leaves a block that was not entered
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Cancelled: whoever cancels does not want to wait for a hub.
        await self.close(0 if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) else None)

    def __del__(self) -> None:
        engine: Engine | None = getattr(self, "_engine", None)  # None: the constructor raised
        if engine is not None and engine.leave():
            warnings.warn(UNCLOSED, ResourceWarning, stacklevel=2, source=self)

    def on_state(self, handler: StateHandler) -> Callable[[], None]:
        """Call `handler(state, error)` at every change of the connection's state; returns the way to end that.

        States: connecting, handshake, ready, waiting, closing, closed, displaced, failed.
        """

        def changed(state: SessionState, error: ThalovantError | None) -> None:
            try:
                handler(state.value, error)
            except Exception:
                log.exception("A handler of state changes raised")

        engine = self._engine
        engine.on_state.add(changed)
        return lambda: engine.on_state.discard(changed)

    # --- asking ---

    async def ask(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> ThalovantReply:
        """Say `text` to the hub and collect what it says, within `timeout` seconds.

        Raises `ValueError` for a blank text, `ThalovantTimeoutError` if nothing was heard in time, a
        `ThalovantRuntimeError` for what the hub reports (policy, no skill), and `ThalovantConnectionError`.
        `error.delivery` says whether the hub can have acted on it; an utterance is sent at most once.
        """
        context = self._carry.add(context, session_id)
        message = self._utterance("ask", text, lang, context, session_id, request_id)
        reply = _reply(await self._engine.ask(message, seconds(timeout)), message)
        self._carry.learn(message.session_id, reply.events)
        return reply

    def stream(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[ThalovantEvent, None]:
        """`ask`, a piece of speech at a time as the hub says it. Raises what `ask` raises, if nothing was said."""
        context = self._carry.add(context, session_id)
        message = self._utterance("stream", text, lang, context, session_id, request_id)
        return self._stream(message, seconds(timeout))

    async def _stream(self, message: wire.Bus, timeout: float) -> AsyncGenerator[ThalovantEvent, None]:
        async with contextlib.aclosing(self._engine.stream(message, timeout)) as pieces:
            async for item in pieces:
                if isinstance(item, AskEnded):
                    self._carry.learn(message.session_id, map(ThalovantEvent.from_bus, item.events))
                else:
                    yield ThalovantEvent.from_bus(item)

    async def query(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        query_id: str | None = None,
    ) -> ThalovantReply:
        """`ask` by a `query` frame, which hubs pass up their chain until one answers.

        `query_id` names it (the request id if None); without `session_id` it has a session of its own. Raises what
        `ask` raises, and `ThalovantTimeoutError` if the hub is done and has said nothing.
        """
        from ._internal.query import query

        message = self._utterance("query", text, lang, context, session_id or contexts.new_session_id(), request_id)
        name = query_id or message.request_id or contexts.new_request_id()
        return _reply(await query(self._engine, message, name, seconds(timeout)), message)

    def conversation(
        self,
        *,
        session_id: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
    ) -> AsyncThalovantConversation:
        """Turns that share one session: a new one if `session_id` is None."""
        return AsyncThalovantConversation(self, session_id=session_id, lang=lang, context=context)

    # --- sending ---

    async def send_utterance(
        self,
        text: str,
        *,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Say `text` without waiting for an answer; what answers it can be heard afterwards.

        Raises `ValueError` for a blank text.
        """
        message = self._utterance("send_utterance", text, lang, context, session_id, request_id)
        await self._engine.send(message, self._send_timeout)

    async def send_action(
        self,
        payload: str,
        *,
        title: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Send what a button, a menu item or a confirmation stands for. Raises `ValueError` for a blank payload."""
        request = contexts.action_request(
            payload,
            site_id=self.identity.site_id,
            title=title,
            lang=lang,
            context=context,
            metadata=self.identity.metadata,
            session_id=session_id,
            request_id=request_id,
        )
        await self._send_request(request)

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
    ) -> None:
        """Send a scanned or typed value that is exact, as of a QR code. Raises `ValueError` for a blank one."""
        request = contexts.code_request(
            value,
            site_id=self.identity.site_id,
            kind=kind,
            label=label,
            lang=lang,
            context=context,
            metadata=self.identity.metadata,
            session_id=session_id,
            request_id=request_id,
        )
        await self._send_request(request)

    async def emit(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Put a message of any type on the hub's bus."""
        merged = contexts.with_metadata(context, self.identity.metadata)
        message = wire.bus(
            type=contexts.required_text(event_type, "emit", "event type"), data=dict(data or {}), context=merged
        )
        await self._engine.send(message, self._send_timeout)

    async def send_binary(
        self,
        payload: bytes,
        kind: str | int = "raw_audio",
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Send raw bytes: `raw_audio`, `numpy_image`, `file`, `stt_audio_transcribe`, `stt_audio_handle`, `tts_audio`,
        or a subtype's number.

        Raises `ValueError` for an unknown kind.
        """
        message = wire.Binary(bin_type=_bin_type(kind), payload=bytes(payload), metadata=dict(metadata or {}))
        await self._engine.send(message, self._send_timeout)

    # --- hearing ---

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
        the background. Subscriptions survive reconnects. What a handler raises is logged.
        """
        subscription = AsyncThalovantSubscription(event_name, handler)
        matches = self._filter(context, session_id, request_id, predicate)
        subscription._closes_with(self._engine.subscribe(event_name, subscription._deliver, matches=matches))
        self._connect_soon()
        return subscription

    def on_binary(self, handler: BinaryHandler) -> AsyncThalovantSubscription:
        """Call `handler(binary)` for every binary message of the hub: `.name`, `.payload`, `.metadata`."""
        subscription = AsyncThalovantSubscription("binary", handler)
        deliver, handlers = subscription._deliver_binary, self._engine.on_binary
        handlers.add(deliver)
        subscription._closes_with(lambda: handlers.discard(deliver))
        self._connect_soon()
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
        matches = self._filter(context, session_id, request_id, predicate)
        found: asyncio.Future[ThalovantEvent] = asyncio.get_running_loop().create_future()

        def deliver(bus: wire.Bus) -> None:
            if not found.done():
                found.set_result(ThalovantEvent.from_bus(bus))

        def ended(error: ThalovantError) -> None:
            if not found.done():
                found.set_exception(error)

        engine = self._engine
        try:
            async with asyncio.timeout(seconds(timeout)):
                await engine.open()
                with contextlib.ExitStack() as exits:
                    exits.enter_context(engine.ends(ended))
                    exits.callback(engine.subscribe(name, deliver, matches=matches, kept=True, limit=1))
                    return await found
        except TimeoutError:
            cause = engine.last_error
            message = f"Hub did not emit {name!r} within {timeout:g}s."
            raise ThalovantTimeoutError(
                message if cause is None else f"{message} {cause}",
                code="timeout",
                hint="" if cause is None else cause.hint,
                retryable=True,
            ) from cause

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
        if max_buffered_events < 1:
            raise ValueError(f"max_buffered_events must be at least 1, not {max_buffered_events}")
        matches = self._filter(context, session_id, request_id, predicate)
        within = None if timeout is None else seconds(timeout)
        return self._listen(name, matches, within, max_events, Inbox(max_buffered_events))

    async def _listen(
        self, name: str, matches: Filter | None, timeout: float | None, max_events: int | None, inbox: Inbox
    ) -> AsyncGenerator[ThalovantEvent, None]:
        if max_events is not None and max_events <= 0:
            return
        engine = self._engine
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout_at(deadline):
                await engine.open()
        except TimeoutError:
            return
        with contextlib.ExitStack() as exits:
            exits.enter_context(engine.ends(inbox.end))
            exits.callback(engine.subscribe(name, inbox.deliver, matches=matches, kept=True, limit=max_events))
            given = 0
            while max_events is None or given < max_events:
                try:
                    async with asyncio.timeout_at(deadline):
                        event = await inbox.next()
                except TimeoutError:
                    return
                given += 1
                yield event

    # --- inside ---

    def _connect_soon(self) -> None:
        loop, task = asyncio.get_running_loop(), self._connecting
        if task is None or task.done() or task.get_loop() is not loop:
            self._connecting = loop.create_task(self._connect_in_background())

    async def _connect_in_background(self) -> None:
        try:
            await self.connect()
        except ThalovantError as error:
            log.warning("Could not connect in the background: %s", error)

    async def _send_request(self, request: contexts.Request) -> None:
        message = wire.bus(type=EVENT_RECOGNIZER_LOOP_UTTERANCE, data=request.data, context=request.context)
        await self._engine.send(message, self._send_timeout)

    def _utterance(
        self,
        method: str,
        text: str,
        lang: str,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
    ) -> wire.Bus:
        request = contexts.utterance_request(
            text,
            site_id=self.identity.site_id,
            lang=lang,
            context=context,
            metadata=self.identity.metadata,
            session_id=session_id,
            request_id=request_id,
            method=method,
        )
        return wire.bus(type=EVENT_RECOGNIZER_LOOP_UTTERANCE, data=request.data, context=request.context)

    def _filter(
        self,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
        predicate: EventPredicate | None,
    ) -> Filter | None:
        return event_filter(context, session_id, request_id, predicate, own_session=lambda: self._engine.own_session)


def _reply(ended: AskEnded, message: wire.Bus) -> ThalovantReply:
    return ThalovantReply.from_events(
        [ThalovantEvent.from_bus(bus) for bus in ended.events],
        handled=ended.handled,
        failure_event=None if ended.failure is None else ThalovantEvent.from_bus(ended.failure),
        session_id=message.session_id,
        request_id=message.request_id,
    )


def _bin_type(kind: str | int) -> int:
    if isinstance(kind, int):
        if 0 <= kind <= 15:
            return kind
    else:
        try:
            return wire.BinType[kind.upper()]
        except KeyError:
            pass
    known = ", ".join(one.name.lower() for one in wire.BinType)
    raise ValueError(f"unknown kind of binary message: {kind!r}; use {known}, or a number from 0 to 15")
