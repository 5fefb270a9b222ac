"""`AsyncThalovantClient`: the client on asyncio. The synchronous one in `client.py` is made of it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from . import logs
from ._internal.options import (
    DEFAULT_USERAGENT,
    LISTEN_BUFFER,
    UNCLOSED,
    AsyncOnly,
    FromStored,
    check_times,
    function,
    seconds,
    text,
    whole,
)
from .conversation import AsyncThalovantConversation, Carry
from .errors import ThalovantError
from .events import EventHandler, EventPredicate, ThalovantEvent

# The event loop, TLS and the protocol are imported where a client is made: programs pay for them when they need one.
if TYPE_CHECKING:
    from ssl import SSLContext

    from thalovant_proto.client.subscriptions import Filter
    from thalovant_proto.events import Binary, Bus
    from thalovant_proto.outcomes import SessionState

    from ._internal.session import ClientSession
    from .identity import ThalovantIdentity
    from .models import ThalovantConnectionInfo, ThalovantDoctorReport, ThalovantHealth, ThalovantReply
    from .protocols import HubProtocol
    from .subscriptions import AsyncThalovantSubscription

BinaryHandler: TypeAlias = "Callable[[Binary], object]"
StateHandler: TypeAlias = Callable[[str, ThalovantError | None], object]


class AsyncThalovantClient(FromStored, AsyncOnly):
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

        Raises `ThalovantUnsupportedProtocolError` or `ThalovantIdentityError` for an identity that cannot work,
        `TypeError` for what is none, `ValueError` for options that cannot be meant.
        """
        from ._internal.messages import Messages
        from ._internal.session import ClientSession
        from ._internal.settings import check_identity, make_plan, tls_source, verifies
        from .trust_store import TrustStore

        check_identity(identity, type(self).__name__)
        check_times(
            connect_timeout=connect_timeout,
            handshake_timeout=handshake_timeout,
            send_timeout=send_timeout,
            reply_settle_seconds=reply_settle_seconds,
        )
        whole("reconnect_attempts", reconnect_attempts, 0)
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
        self._session = ClientSession(plan, store=store, context=context)
        self._messages = Messages(plan.config, identity.metadata)
        self._carry = Carry()

    @property
    def protocol(self) -> HubProtocol:
        """The transport in use, or tried now: "wss", "https" or "mqtt"."""
        return self._session.protocol

    @property
    def state(self) -> str:
        """The connection's state now, one of those that `on_state` tells.

        Example:
            >>> client.state
            'ready'
        """
        return self._session.state.value

    @property
    def connected(self) -> bool:
        """Whether messages can travel now.

        Example:
            >>> client.connected
            True
        """
        return self.state == "ready"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._where} {self.state}>"

    @property
    def _where(self) -> str:
        return self._session._plan.where(self.protocol)

    # --- the connection ---

    async def connect(self, timeout: float | None = None) -> None:
        """Connect, if there is no connection. Returns when the hub has accepted us, as far as it tells.

        Raises a `ThalovantConnectionError` that names the reason, within `timeout` seconds.
        """
        await self._session.connect(self._connect_within if timeout is None else seconds(timeout))

    async def connect_with_info(self, timeout: float | None = None) -> ThalovantConnectionInfo:
        """`connect`, then `connection_info`."""
        await self.connect(timeout)
        return await self.connection_info()

    async def connection_info(self) -> ThalovantConnectionInfo:
        """The history of the present connection, or the reason why there is none. Does not connect."""
        return self._session.info()

    async def healthcheck(self) -> ThalovantHealth:
        """Whether the connection works; connects first. Raises what `connect` raises."""
        from .models import ThalovantHealth

        await self.connect()
        session = self._session
        error = session.last_error
        return ThalovantHealth(
            connected=session.live,
            handshake_complete=session.live,
            transport_alive=session.live,
            last_error=None if error is None else str(error),
            connection=session.info(),
        )

    async def doctor(self) -> ThalovantDoctorReport:
        """Check identity, endpoint, connection and transport, and report on each; `print` it. Never raises."""
        from ._internal.doctor import examine

        return await examine(self)

    async def close(self, timeout: float | None = None) -> None:
        """Send what is queued, say goodbye, leave nothing behind. Idempotent; the client can be used again.

        `timeout` bounds the sending (`send_timeout` if None); 0 waits for nothing.
        """
        await self._session.close(self._send_timeout if timeout is None else seconds(timeout))

    disconnect = close

    async def wait_closed(self) -> None:
        """Wait until the connection has ended for good: closed by us, refused, or displaced."""
        await self._session.wait_closed()

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
        from asyncio import CancelledError

        # Whoever cancels does not want to wait for a hub.
        await self.close(0 if isinstance(error, CancelledError | KeyboardInterrupt) else None)

    def __del__(self) -> None:
        session: ClientSession | None = getattr(self, "_session", None)  # None: the constructor raised
        if session is not None and session.leave():
            warnings.warn(UNCLOSED, ResourceWarning, stacklevel=2, source=self)

    def on_state(self, handler: StateHandler) -> Callable[[], None]:
        """Call `handler(state, error)` now, and at every change of the connection's state; returns the way to end that.

        States: idle, connecting, handshake, ready, waiting, closing, closed, displaced, failed.
        """

        def changed(state: SessionState, error: ThalovantError | None) -> None:
            try:
                handler(state.value, error)
            except Exception:
                logs.handlers.exception("A handler of state changes raised")

        function(handler, "a handler of states", plain="it would never be awaited: use a plain function")
        session = self._session
        session.on_state.add(changed)
        changed(session.state, session.state_error)
        return lambda: session.on_state.discard(changed)

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
        message = self._messages.utterance("ask", text, lang, context, session_id, request_id)
        reply = self._messages.reply(await self._session.ask(message, seconds(timeout)), message)
        self._carry.learn(reply.session_id, reply.events)
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
        message = self._messages.utterance("stream", text, lang, context, session_id, request_id)
        return self._stream(message, seconds(timeout))

    async def _stream(self, message: Bus, timeout: float) -> AsyncGenerator[ThalovantEvent, None]:
        from thalovant_proto.outcomes import AskEnded

        async with contextlib.aclosing(self._session.stream(message, timeout)) as pieces:
            async for item in pieces:
                if isinstance(item, AskEnded):
                    self._carry.learn(self._messages.session_of(message), map(ThalovantEvent.from_bus, item.events))
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

        message = self._messages.question(text, lang, context, session_id, request_id)
        ended = await query(self._session, message, query_id or str(message.request_id), seconds(timeout))
        return self._messages.reply(ended, message)

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
    ) -> None:
        """Send what a button, a menu item or a confirmation stands for. Raises `ValueError` for a blank payload."""
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
    ) -> None:
        """Send a scanned or typed value that is exact, as of a QR code. Raises `ValueError` for a blank one."""
        message = self._messages.code(value, kind, label, lang, context, session_id, request_id)
        await self._session.send(message, self._send_timeout)

    async def emit(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Put a message of any type on the hub's bus."""
        await self._session.send(self._messages.emitted(event_type, data, context), self._send_timeout)

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
        await self._session.send(self._messages.binary(payload, kind, metadata), self._send_timeout)

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
        from .subscriptions import AsyncThalovantSubscription

        subscription = AsyncThalovantSubscription(event_name, handler)
        matches = self._filter(context, session_id, request_id, predicate)
        subscription._closes_with(self._session.subscribe(event_name, subscription._deliver, matches=matches))
        self._session.connect_soon(self._connect_within)
        return subscription

    def on_binary(self, handler: BinaryHandler) -> AsyncThalovantSubscription:
        """Call `handler(binary)` for every binary message of the hub: `.name`, `.payload`, `.metadata`."""
        from .subscriptions import AsyncThalovantSubscription

        subscription = AsyncThalovantSubscription("binary", handler)
        deliver, handlers = subscription._deliver_binary, self._session.on_binary
        handlers.add(deliver)
        subscription._closes_with(lambda: handlers.discard(deliver))
        self._session.connect_soon(self._connect_within)
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
        from ._internal.listening import next_event

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
        from ._internal.listening import Inbox, each_event

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
        from ._internal.listening import event_filter

        return event_filter(context, session_id, request_id, predicate, own_session=lambda: self._session.own_session)
