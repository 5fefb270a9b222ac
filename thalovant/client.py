"""`ThalovantClient`: `AsyncThalovantClient` for programs without an event loop of their own.

Works in scripts, threads, notebooks and inside running loops. Every method is the asynchronous one, run on a private
loop thread; handlers run on a thread of their own, so that they may call the client.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from ._internal.portal import Handlers, Portal
from ._internal.session import UNCLOSED
from ._internal.settings import DEFAULT_USERAGENT
from .async_client import AsyncThalovantClient
from .conversation import ThalovantConversation
from .identity import ThalovantIdentity
from .subscriptions import LISTEN_BUFFER, ThalovantSubscription

if TYPE_CHECKING:
    from ssl import SSLContext

    from .async_client import BinaryHandler, StateHandler
    from .errors import ThalovantError
    from .events import EventHandler, EventPredicate, ThalovantEvent
    from .models import ThalovantConnectionInfo, ThalovantDoctorReport, ThalovantHealth, ThalovantReply
    from .protocols import HubProtocol

__all__ = ["DEFAULT_USERAGENT", "AsyncThalovantClient", "ThalovantClient", "ThalovantSubscription"]

T = TypeVar("T")

log: logging.Logger = logging.getLogger("thalovant")

_live: weakref.WeakSet[ThalovantClient] = weakref.WeakSet()


class ThalovantClient:
    """Talks to one hub as one client identity, from any thread.

    It connects by itself when something is asked of it, reconnects by itself when the hub or the network went away,
    and keeps subscriptions over that. Use it as `with`, or call `close`.

    Times are in seconds. `connect_timeout` holds for each of name lookup, TCP and TLS; `handshake_timeout` for the
    hub's handshake; `send_timeout` for a message to leave. `reply_settle_seconds`: how long `ask` waits for more where
    more may come. `reconnect_attempts`: tries after a failed first one. `protocol`: "wss", "https" or "mqtt"; chosen by
    the identity if None. `fallback`: where that one does not lead to the hub, try the others that the identity has on;
    what the hub itself refuses stays refused. `ca_file`, `ssl_context`: whom to trust instead of the system's
    authorities. `noise_state_dir`: where keys and pins live. `allow_insecure` takes plain endpoints off this machine,
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
        fallback: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        ssl_context: SSLContext | None = None,
        noise_state_dir: str | os.PathLike[str] | None = None,
        allow_insecure: bool = False,
        allow_legacy: bool = False,
        retry: Literal["never", "idempotent"] = "never",
    ) -> None:
        self._client = AsyncThalovantClient(
            identity,
            useragent=useragent,
            connect_timeout=connect_timeout,
            handshake_timeout=handshake_timeout,
            send_timeout=send_timeout,
            reply_settle_seconds=reply_settle_seconds,
            auto_reconnect=auto_reconnect,
            reconnect_attempts=reconnect_attempts,
            protocol=protocol,
            fallback=fallback,
            ca_file=ca_file,
            ssl_context=ssl_context,
            noise_state_dir=noise_state_dir,
            allow_insecure=allow_insecure,
            allow_legacy=allow_legacy,
            retry=retry,
        )
        self._begin_anew()
        _live.add(self)

    @property
    def identity(self) -> ThalovantIdentity:
        """The identity that this client was made for."""
        return self._client.identity

    @property
    def protocol(self) -> HubProtocol:
        """The transport in use, or tried now: "wss", "https" or "mqtt"."""
        return self._client.protocol

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

    def connect(self, timeout: float | None = None) -> None:
        """Connect, if there is no connection. Returns when the hub has accepted us, as far as it tells.

        Raises a `ThalovantConnectionError` that names the reason, within `timeout` seconds.
        """
        self._here().call(lambda: self._client.connect(timeout))

    def connect_with_info(self, timeout: float | None = None) -> ThalovantConnectionInfo:
        """`connect`, then `connection_info`."""
        return self._here().call(lambda: self._client.connect_with_info(timeout))

    def connection_info(self) -> ThalovantConnectionInfo:
        """How the present connection came about, or what stands in its way. Does not connect."""
        return self._visit(self._client._engine.info)

    def healthcheck(self) -> ThalovantHealth:
        """Whether the connection works; connects first. Raises what `connect` raises."""
        return self._here().call(self._client.healthcheck)

    def doctor(self) -> ThalovantDoctorReport:
        """Check identity, endpoint, connection and transport, and report on each; `print` it. Never raises."""
        return self._here().call(self._client.doctor)

    def close(self, timeout: float | None = None) -> None:
        """Send what is queued, say goodbye, leave nothing behind. Idempotent; the client can be used again.

        `timeout` bounds the sending (`send_timeout` if None); 0 waits for nothing.
        """
        self._here().close(lambda: self._client.close(timeout), self._client._engine.abort)
        self._handlers.stop()

    disconnect = close

    def wait_closed(self) -> None:
        """Wait until the connection has ended for good: closed by us, refused, or displaced."""
        if self._here().running:
            self._portal.call(self._client.wait_closed)

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close(0)  # nobody leaves a block that was not entered
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Interrupted: whoever pressed Ctrl-C does not want to wait for a hub.
        self.close(0 if isinstance(error, KeyboardInterrupt | SystemExit) else None)

    def on_state(self, handler: StateHandler) -> Callable[[], None]:
        """Call `handler(state, error)` at every change of the connection's state; returns the way to end that.

        States: connecting, handshake, ready, waiting, closing, closed, displaced, failed.
        """

        def changed(state: str, error: ThalovantError | None) -> None:
            self._handlers.submit(handler, state, error).add_done_callback(_log_state_handler)

        end = self._visit(lambda: self._client.on_state(changed))
        return lambda: self._visit(end)

    # --- asking ---

    def ask(
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
        options: dict[str, Any] = {"lang": lang, "context": context, "session_id": session_id, "request_id": request_id}
        return self._here().call(lambda: self._client.ask(text, timeout=timeout, **options))

    def stream(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> Iterator[ThalovantEvent]:
        """`ask`, a piece of speech at a time as the hub says it. Raises what `ask` raises, if nothing was said."""
        options: dict[str, Any] = {"lang": lang, "context": context, "session_id": session_id, "request_id": request_id}
        return self._here().iterate(lambda: self._client.stream(text, timeout=timeout, **options))

    def query(
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
        options: dict[str, Any] = {"lang": lang, "context": context, "session_id": session_id, "request_id": request_id}
        return self._here().call(lambda: self._client.query(text, timeout=timeout, query_id=query_id, **options))

    def conversation(
        self,
        *,
        session_id: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
    ) -> ThalovantConversation:
        """Turns that share one session: a new one if `session_id` is None."""
        return ThalovantConversation(self, session_id=session_id, lang=lang, context=context)

    # --- sending ---

    def send_utterance(
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
        options: dict[str, Any] = {"lang": lang, "context": context, "session_id": session_id, "request_id": request_id}
        self._here().call(lambda: self._client.send_utterance(text, **options))

    def send_action(
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
        options: dict[str, Any] = {"lang": lang, "context": context, "session_id": session_id, "request_id": request_id}
        self._here().call(lambda: self._client.send_action(payload, title=title, **options))

    def send_code(
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
        options: dict[str, Any] = {"lang": lang, "context": context, "session_id": session_id, "request_id": request_id}
        self._here().call(lambda: self._client.send_code(value, kind=kind, label=label, **options))

    def emit(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Put a message of any type on the hub's bus."""
        self._here().call(lambda: self._client.emit(event_type, data, context))

    def send_binary(
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
        self._here().call(lambda: self._client.send_binary(payload, kind, metadata=metadata))

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
    ) -> ThalovantSubscription:
        """Call `handler(event)` for every event of that name, one at a time, on the client's handler thread.

        Connects in the background. Subscriptions survive reconnects. What a handler raises is logged.
        """
        filters: dict[str, Any] = {
            "context": context,
            "session_id": session_id,
            "request_id": request_id,
            "predicate": predicate,
        }
        handle = self._in_handler_thread(handler)
        return ThalovantSubscription(self._here().run(lambda: self._client.on(event_name, handle, **filters)), self)

    def on_binary(self, handler: BinaryHandler) -> ThalovantSubscription:
        """Call `handler(binary)` for every binary message of the hub: `.name`, `.payload`, `.metadata`."""
        handle = self._in_handler_thread(handler)
        return ThalovantSubscription(self._here().run(lambda: self._client.on_binary(handle)), self)

    def wait_for_event(
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
        filters: dict[str, Any] = {
            "predicate": predicate,
            "context": context,
            "session_id": session_id,
            "request_id": request_id,
        }
        return self._here().call(lambda: self._client.wait_for_event(name, timeout=timeout, **filters))

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
    ) -> Iterator[ThalovantEvent]:
        """Events of that name as they come; ends silently after `timeout` seconds or `max_events`.

        Events that followed a send of ours and that nobody took come first. Raises `ThalovantConnectionError` if the
        session ends, and `ThalovantRuntimeError` when the consumer is `max_buffered_events` behind.
        """
        filters: dict[str, Any] = {
            "predicate": predicate,
            "context": context,
            "session_id": session_id,
            "request_id": request_id,
        }
        return self._here().iterate(
            lambda: self._client.listen(
                name, timeout=timeout, max_events=max_events, max_buffered_events=max_buffered_events, **filters
            )
        )

    # --- inside ---

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._portal = Portal("thalovant-client")
        self._handlers = Handlers("thalovant-handlers")

    def _here(self) -> Portal:
        """The loop to call into. In a forked child it is a new one: threads and sockets are the parent's."""
        if self._pid != os.getpid():
            self._begin_anew()
        return self._portal

    def _visit(self, work: Callable[[], T]) -> T:
        """Look at the client: on its loop, or here if it has none at the moment."""
        return self._here().visit(work)

    def _in_handler_thread(self, handler: Callable[[Any], object]) -> Callable[[Any], Awaitable[object]]:
        return lambda event: asyncio.wrap_future(self._handlers.submit(handler, event))

    def __del__(self) -> None:
        portal: Portal | None = getattr(self, "_portal", None)  # None: the constructor raised
        if portal is not None and portal.running and self._pid == os.getpid():
            self._client._engine.leave()
            portal.leave()
            warnings.warn(UNCLOSED, ResourceWarning, stacklevel=2, source=self)


def _log_state_handler(done: Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("A handler of state changes raised", exc_info=error)


def _close_all() -> None:
    for client in tuple(_live):
        client.close(timeout=0)


atexit.register(_close_all)
