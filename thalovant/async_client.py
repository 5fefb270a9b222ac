"""`AsyncThalovantClient`: the client on asyncio. The synchronous one in `client.py` is its shadow."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from thalovant_proto import events as wire
from thalovant_proto.outcomes import AskEnded, SessionState

from . import context as contexts
from ._engine import Engine
from ._plan import make_plan, verifies
from ._version import __version__
from .errors import (
    ThalovantError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)
from .events import EVENT_RECOGNIZER_LOOP_UTTERANCE, EventHandler, EventPredicate, ThalovantEvent
from .identity import ThalovantIdentity
from .models import ThalovantConnectionInfo, ThalovantHealth, ThalovantReply
from .protocols import HubProtocol, choose_protocol
from .trust_store import TrustStore

if TYPE_CHECKING:
    from ssl import SSLContext

log = logging.getLogger("thalovant")

DEFAULT_USERAGENT = f"ThalovantPythonSDK/{__version__}"
#: Events that wait for a slow handler; beyond it the oldest are dropped and counted.
HANDLER_BUFFER = 1024
#: Events that wait for the consumer of `listen`; beyond it the subscription ends with an error.
LISTEN_BUFFER = 256

BinaryHandler = Callable[[wire.Binary], Awaitable[None] | None]
StateHandler = Callable[[str, "ThalovantError | None"], None]


class AsyncThalovantSubscription:
    """A subscription made by `on`: `close()` ends it, also as a context manager. Idempotent.

    `dropped` counts events that a slow handler never saw.
    """

    def __init__(self, event_name: str, handler: Callable[[Any], Awaitable[None] | None]) -> None:
        self.event_name = event_name
        self.dropped = 0
        self._handler = handler
        self._events: deque[Any] = deque()
        self._more = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        """No more events; a handler that runs now is not interrupted if it is the caller."""
        self._on_close()
        if self._task is not asyncio.current_task():
            self._task.cancel()

    unsubscribe = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def deliver(self, event: Any) -> None:
        """Hand an event over; never blocks."""
        if len(self._events) >= HANDLER_BUFFER:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._more.set()

    def closes_with(self, on_close: Callable[[], None]) -> None:
        """What `close` does besides."""
        self._on_close = on_close

    async def _run(self) -> None:
        # One at a time and in order: the reader does not wait for it, and answers pings meanwhile.
        while True:
            while self._events:
                await self._handle(self._events.popleft())
            self._more.clear()
            await self._more.wait()

    async def _handle(self, event: Any) -> None:
        try:
            result = self._handler(event)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("A handler of %r raised", self.event_name)


class AsyncThalovantClient:
    """Talks to one hub as one client identity, on the running asyncio loop.

    It connects by itself when something is asked of it, reconnects by itself when the hub or the network went away,
    and keeps subscriptions over that. Use it as `async with`, or call `close`.

    Times are in seconds. `connect_timeout` holds for each of name lookup, TCP and TLS; `handshake_timeout` for the
    hub's handshake; `send_timeout` for a message to leave. `reply_settle_seconds`: how long `ask` waits for more where
    more may come. `reconnect_attempts`: tries after a failed first one. `protocol`: "wss", "https" or "mqtt"; chosen by
    the identity if None. `ca_file`, `ssl_context`: whom to trust instead of the system's authorities.
    `noise_state_dir`: where keys and pins live. `allow_insecure` takes plain endpoints off this machine,
    `allow_legacy` handshakes before v3 over them. `retry="idempotent"`: an ask whose connection died is sent again with
    the same request id instead of failing; right where the hub's skills do no harm when run twice.

    Raises `ThalovantUnsupportedProtocolError` or `ThalovantIdentityError` for an identity that cannot work.
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
        ca_file: str | os.PathLike[str] | None = None,
        ssl_context: SSLContext | None = None,
        noise_state_dir: str | os.PathLike[str] | None = None,
        allow_insecure: bool = False,
        allow_legacy: bool = False,
        retry: Literal["never", "idempotent"] = "never",
    ) -> None:
        if retry not in ("never", "idempotent"):
            raise ValueError('retry must be "never" or "idempotent"')
        self.identity = identity
        self.protocol: HubProtocol = choose_protocol(identity, protocol)
        self._connect_within = connect_timeout + handshake_timeout + 1.0
        self._send_timeout = send_timeout
        self._settle = reply_settle_seconds
        self._ca_file = ca_file if ca_file is not None else identity.ca_file
        self._ssl_context = ssl_context
        self._store = TrustStore(None if noise_state_dir is None else Path(noise_state_dir), identity)
        self._plan = make_plan(
            identity,
            self.protocol,
            user_agent=useragent,
            connect_timeout=connect_timeout,
            handshake_timeout=handshake_timeout,
            settle=reply_settle_seconds,
            auto_reconnect=auto_reconnect,
            attempts=reconnect_attempts,
            idempotent=retry == "idempotent",
            allow_insecure=allow_insecure,
            allow_legacy=allow_legacy,
            verified=ssl_context is None or verifies(ssl_context),
        )
        self._engine_: Engine | None = None
        self._opening: set[asyncio.Task[Any]] = set()

    # --- from what is stored ---

    @classmethod
    def from_identity_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """A client for the identity in a JSON file; `options` are the constructor's."""
        return cls(ThalovantIdentity.from_file(path), **options)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client for the identity in `THALOVANT_*` variables; `options` are the constructor's."""
        return cls(ThalovantIdentity.from_env(), **options)

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str] | None = None, *, profile: str | None = None, **options: Any
    ) -> Self:
        """A client for a profile of the config file; `options` are the constructor's."""
        return cls(ThalovantIdentity.from_config(path, profile=profile), **options)

    # --- the connection ---

    async def connect(self, timeout: float | None = None) -> None:
        """Connect, if there is no connection. Returns when the hub has accepted us, as far as it tells.

        Raises a `ThalovantConnectionError` that names the reason, within `timeout` seconds.
        """
        await self._engine.connect(self._connect_within if timeout is None else timeout)

    async def connect_with_info(self, timeout: float | None = None) -> ThalovantConnectionInfo:
        """`connect`, then `connection_info`."""
        await self.connect(timeout)
        return await self.connection_info()

    async def connection_info(self) -> ThalovantConnectionInfo:
        """How the present connection came about, or what stands in its way. Does not connect."""
        return ThalovantConnectionInfo() if self._engine_ is None else self._engine_.info()

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

    async def close(self, timeout: float | None = None) -> None:
        """Send what is queued, say goodbye, leave nothing behind. Idempotent; the client can be used again.

        `timeout` bounds the sending (`send_timeout` if None); 0 waits for nothing.
        """
        for task in tuple(self._opening):
            task.cancel()
        if self._engine_ is not None:
            await self._engine_.close(self._send_timeout if timeout is None else timeout)

    disconnect = close

    async def wait_closed(self) -> None:
        """Wait until the connection has ended for good: closed by us, refused, or displaced."""
        await self._engine.wait_closed()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Cancelled: whoever cancels does not want to wait for a hub.
        await self.close(0 if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) else None)

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
        message = self._utterance("ask", text, lang, context, session_id, request_id)
        async for item in self._engine.ask(message, timeout):
            if isinstance(item, AskEnded):
                return _reply(item, message)
        raise AssertionError("an ask ends with its end or an error")  # pragma: no cover

    async def stream(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> AsyncIterator[ThalovantEvent]:
        """`ask`, a piece of speech at a time as the hub says it. Raises what `ask` raises, if nothing was said."""
        message = self._utterance("stream", text, lang, context, session_id, request_id)
        async for item in self._engine.ask(message, timeout):
            if not isinstance(item, AskEnded):
                yield ThalovantEvent.from_bus(item)

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
        message = wire.bus(type=event_type, data=dict(data or {}), context=merged)
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
        """Call `handler(event)` for every event of that name; coroutine functions are awaited, one event at a time.

        Connects in the background. Subscriptions survive reconnects. What a handler raises is logged.
        """
        subscription = AsyncThalovantSubscription(event_name, handler)
        matches = self._matches(context, session_id, request_id, predicate)

        def deliver(bus: wire.Bus) -> None:
            subscription.deliver(ThalovantEvent.from_bus(bus))

        subscription.closes_with(self._engine.subscribe(event_name, deliver, matches=matches))
        self._open_soon()
        return subscription

    def on_binary(self, handler: BinaryHandler) -> AsyncThalovantSubscription:
        """Call `handler(binary)` for every binary message of the hub: `.name`, `.payload`, `.metadata`."""
        subscription = AsyncThalovantSubscription("binary", handler)
        handlers = self._engine.on_binary
        handlers.add(subscription.deliver)
        subscription.closes_with(lambda: handlers.discard(subscription.deliver))
        self._open_soon()
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
        matches = self._matches(context, session_id, request_id, predicate)
        found: asyncio.Future[ThalovantEvent] = asyncio.get_running_loop().create_future()

        def deliver(bus: wire.Bus) -> None:
            if not found.done():
                found.set_result(ThalovantEvent.from_bus(bus))

        def ended(error: ThalovantError) -> None:
            if not found.done():
                found.set_exception(error)

        engine = self._engine
        await engine.open()
        with engine.ends(ended):
            unsubscribe = engine.subscribe(name, deliver, matches=matches, kept=True)
            try:
                async with asyncio.timeout(timeout):
                    return await found
            except TimeoutError:
                cause = engine.last_error
                raise ThalovantTimeoutError(
                    f"Hub did not emit {name!r} within {timeout:g}s.", code="timeout", retryable=True
                ) from cause
            finally:
                unsubscribe()

    async def listen(
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
    ) -> AsyncIterator[ThalovantEvent]:
        """Events of that name as they come; ends silently after `timeout` seconds or `max_events`.

        Events that followed a send of ours and that nobody took come first. Raises `ThalovantConnectionError` if the
        session ends, and `ThalovantRuntimeError` when the consumer is `max_buffered_events` behind.
        """
        if max_events is not None and max_events <= 0:
            return
        matches = self._matches(context, session_id, request_id, predicate)
        inbox = _Inbox(max_buffered_events)
        engine = self._engine
        await engine.open()
        with engine.ends(inbox.end):
            unsubscribe = engine.subscribe(name, inbox.deliver, matches=matches, kept=True)
            deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
            given = 0
            try:
                while max_events is None or given < max_events:
                    try:
                        async with asyncio.timeout_at(deadline):
                            event = await inbox.next()
                    except TimeoutError:
                        return
                    given += 1
                    yield event
            finally:
                unsubscribe()

    # --- inside ---

    @property
    def _engine(self) -> Engine:
        if self._engine_ is None:
            from thalovant_io.tls import default_context

            ca_file, given = self._ca_file, self._ssl_context
            self._engine_ = Engine(
                self._plan, store=self._store, context=lambda: default_context(ca_file, ssl_context=given)
            )
        return self._engine_

    def _open_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self._engine.open())
        self._opening.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
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

    def _matches(
        self,
        context: Mapping[str, Any] | None,
        session_id: str | None,
        request_id: str | None,
        predicate: EventPredicate | None,
    ) -> Callable[[wire.Bus], bool] | None:
        if context is None and session_id is None and request_id is None and predicate is None:
            return None

        def matches(bus: wire.Bus) -> bool:
            event = ThalovantEvent.from_bus(bus)
            # A legacy hub has one session per connection and answers with that one, whatever was asked.
            own = self._engine.own_session
            asked = None if own is not None and event.session_id == own else session_id
            if not event.matches_context(context, session_id=asked, request_id=request_id):
                return False
            if predicate is None:
                return True
            try:
                return bool(predicate(event))
            except Exception:
                log.exception("A predicate for %r raised", event.name)
                return False

        return matches


class _Inbox:
    """What `listen` has not yielded yet."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[ThalovantEvent] = deque()
        self._error: ThalovantError | None = None
        self._changed = asyncio.Event()

    def deliver(self, bus: wire.Bus) -> None:
        if len(self._events) >= self._limit:
            self.end(ThalovantRuntimeError("Event buffer overflow; subscription retired.", code="overflow"))
        elif self._error is None:
            self._events.append(ThalovantEvent.from_bus(bus))
            self._changed.set()

    def end(self, error: ThalovantError) -> None:
        self._error = self._error or error
        self._changed.set()

    async def next(self) -> ThalovantEvent:
        while not self._events:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()


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
