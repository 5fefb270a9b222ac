"""`AsyncThalovantClient`: the client on asyncio. The synchronous one in `client.py` is made of it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from . import logs
from ._client.hearing import Hearing
from ._client.sending import Sending
from ._client.understanding import Understanding
from ._internal.options import (
    DEFAULT_USERAGENT,
    UNCLOSED,
    AsyncOnly,
    FromStored,
    check_times,
    function,
    seconds,
    session_of,
    whole,
)
from .context import request_context
from .conversation import AsyncThalovantConversation, Carry
from .errors import ThalovantError, ThalovantTimeoutError
from .events import ThalovantEvent

# The event loop, TLS and the protocol are imported where a client is made: programs pay for them when they need one.
if TYPE_CHECKING:
    from ssl import SSLContext

    from thalovant_proto.events import Bus
    from thalovant_proto.outcomes import AskEnded, SessionState

    from ._client.session import ClientSession
    from .identity import ThalovantIdentity
    from .models import ThalovantConnectionInfo, ThalovantDoctorReport, ThalovantHealth, ThalovantReply
    from .protocols import HubProtocol

StateHandler: TypeAlias = Callable[[str, ThalovantError | None], object]


class AsyncThalovantClient(Sending, Hearing, Understanding, FromStored, AsyncOnly):
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
        reconnect_attempts: int | None = 1,
        protocol: HubProtocol | None = None,
        fallback: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        ssl_context: SSLContext | None = None,
        client_cert_file: str | os.PathLike[str] | None = None,
        client_key_file: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        noise_state_dir: str | os.PathLike[str] | None = None,
        allow_insecure: bool = False,
        allow_legacy: bool = False,
        retry: Literal["never", "idempotent"] = "never",
        transport: Any = None,
        empty_reply_wait_seconds: float = 5.0,
        self_signed: bool = False,
        session: object = None,
        admission_timeout: float = 120.0,
    ) -> None:
        """Make a client, which connects when it is first used. Times are in seconds.

        `connect_timeout` holds for each of name lookup, TCP and TLS; `handshake_timeout` for the hub's handshake;
        `send_timeout` for a message to leave. `reply_settle_seconds`: how long `ask` waits for more where more may
        come. `reconnect_attempts`: tries after a failed first one; None waits for the hub as long as it takes.
        `protocol`: "wss", "https" or "mqtt"; chosen by the identity if None. `fallback`: where that one does not lead
        to the hub, try the others that the identity has on; what the hub itself refuses stays refused. `ca_file`,
        `ssl_context`: whom to trust instead of the system's authorities. `client_cert_file`, `client_key_file`: PEM
        files of a certificate of this client's own, where a gateway before the hub wants one. `headers`: added to the
        requests of WSS and HTTPS, over the identity's. `noise_state_dir`: where keys and pins are stored.
        `allow_insecure` takes plain endpoints off this machine, `allow_legacy` handshakes before v3 over them.
        `retry="idempotent"`: an ask whose connection died is sent again with the same request id instead of failing;
        right where the hub's skills do no harm when run twice.
        `transport`: an object with the methods of `thalovant.transport.Transport`, which carries everything in place of
        the hub's own. `empty_reply_wait_seconds`: how long `ask` waits, at most, where nothing was said yet.
        `self_signed`: any certificate of the hub will do, which lets anybody stand in for it; it warns. `session`: an
        HTTP session of yours, accepted and left alone, as there is nothing here that needs one. `admission_timeout`:
        how long the first `connect` waits until the hub takes a client that was made just now; 0 does not wait.

        Raises `ThalovantUnsupportedProtocolError` or `ThalovantIdentityError` for an identity that cannot work,
        `TypeError` for what is none, `ValueError` for options that cannot be meant.
        """
        from ._client.messages import Messages
        from ._client.session import ClientSession
        from ._client.settings import check_identity, make_plan, tls_source, verifies
        from .trust_store import TrustStore

        check_identity(identity, type(self).__name__)
        if transport is not None:
            from ._client.injected import InjectedSession, check_transport

            check_transport(transport)
        check_times(
            connect_timeout=connect_timeout,
            handshake_timeout=handshake_timeout,
            send_timeout=send_timeout,
            reply_settle_seconds=reply_settle_seconds,
            empty_reply_wait_seconds=empty_reply_wait_seconds,
            admission_timeout=admission_timeout,
        )
        if reconnect_attempts is not None:
            whole("reconnect_attempts", reconnect_attempts, 0)
        self.identity = identity
        self._send_timeout = send_timeout
        self._admission_timeout = admission_timeout
        self._admitting = False
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
            verified=not self_signed and (ssl_context is None or verifies(ssl_context)),
            headers=headers,
            empty_wait=empty_reply_wait_seconds,
            injected=transport is not None,
        )
        self._connect_once = (connect_timeout + handshake_timeout) * len(plan.protocols) + 1.0
        self._connect_within = None if reconnect_attempts is None else self._connect_once
        cert_file, key_file = client_cert_file, client_key_file
        if cert_file is None and key_file is None:
            cert_file, key_file = identity.client_cert_file, identity.client_key_file
        ca_file = ca_file if ca_file is not None else identity.ca_file
        if transport is None:
            store = TrustStore(noise_state_dir, identity)
            context = tls_source(ca_file, ssl_context, cert_file, key_file, self_signed=self_signed)
            self._session = ClientSession(plan, store=store, context=context)
        else:
            self._session = InjectedSession(plan, transport)
        self._messages = Messages(plan.config, identity.metadata)
        self._carry = Carry(plan.config.session_id)
        self._session.on_handled = self._carry.hear

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
        return "admitting" if self._admitting else self._session.state.value

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

        Raises a `ThalovantConnectionError` that names the reason, within `timeout` seconds; with
        `reconnect_attempts=None` and no `timeout` only for what waiting cannot mend. A client that was made just now
        first waits until its hub takes it.
        """
        # A control plane that made the identity leaves it with the way to wait for the hub.
        if self._admission_timeout and (admitted := getattr(self.identity, "_admitted", None)) is not None:
            self._admitting = True
            try:
                await admitted(self._admission_timeout if timeout is None else min(timeout, self._admission_timeout))
            finally:
                self._admitting = False
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
        await self.connect()
        return await self._session.health()

    async def doctor(self) -> ThalovantDoctorReport:
        """Check identity, endpoint, connection and transport, and report on each; `print` it. Never raises."""
        from ._client.doctor import examine

        return await examine(self)

    async def close(self, timeout: float | None = None) -> None:
        """Send what is queued, say goodbye, leave nothing behind. Idempotent; the client can be used again.

        `timeout` bounds the sending (`send_timeout` if None); 0 waits for nothing.
        """
        await self._session.close(self._send_timeout if timeout is None else seconds(timeout))

    disconnect = close

    async def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the connection has ended for good: closed by us, refused, or displaced.

        Raises `ThalovantTimeoutError` if that takes more than `timeout` seconds.
        """
        from asyncio import timeout as within

        try:
            async with within(None if timeout is None else seconds(timeout)):
                await self._session.wait_closed()
        except TimeoutError:
            raise ThalovantTimeoutError(f"The connection did not end within {timeout:g}s.") from None

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
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> ThalovantReply:
        """Say `text` to the hub and collect what it says, within `timeout` seconds.

        Raises `ValueError` for a blank text, `ThalovantTimeoutError` if nothing was heard in time, a
        `ThalovantRuntimeError` for what the hub reports (policy, no skill), and `ThalovantConnectionError`.
        `error.delivery` says whether the hub can have acted on it; an utterance is sent at most once. `stt_lang`,
        `pipeline` and `location` are the hints of `request_context`.
        """
        context = request_context(context, stt_lang=stt_lang, pipeline=pipeline, location=location)
        context = self._carry.add(context, session_id)
        message = self._messages.utterance("ask", text, lang, context, session_id, request_id)
        return self._reply(await self._session.ask(message, seconds(timeout)), message)

    def stream(
        self,
        text: str,
        *,
        timeout: float = 12.0,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[ThalovantEvent, None]:
        """`ask`, a piece of speech at a time as the hub says it. Raises what `ask` raises, if nothing was said."""
        context = request_context(context, stt_lang=stt_lang, pipeline=pipeline, location=location)
        context = self._carry.add(context, session_id)
        message = self._messages.utterance("stream", text, lang, context, session_id, request_id)
        return self._stream(message, seconds(timeout))

    async def _stream(self, message: Bus, timeout: float) -> AsyncGenerator[ThalovantEvent, None]:
        from thalovant_proto.outcomes import AskEnded

        async with contextlib.aclosing(self._session.stream(message, timeout)) as pieces:
            async for item in pieces:
                if isinstance(item, AskEnded):
                    self._reply(item, message)
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
        stt_lang: str | None = None,
        pipeline: Sequence[str] | None = None,
        location: Mapping[str, Any] | None = None,
        query_id: str | None = None,
    ) -> ThalovantReply:
        """`ask` by a `query` frame, which hubs pass up their chain until one answers.

        `query_id` names it (the request id if None); without `session_id` it has a session of its own. Raises what
        `ask` raises, and `ThalovantTimeoutError` if the hub is done and has said nothing.
        """
        context = request_context(context, stt_lang=stt_lang, pipeline=pipeline, location=location)
        session_id = session_id or session_of(context)
        if session_id is not None:
            context = self._carry.add(context, session_id)
        message = self._messages.question(text, lang, context, session_id, request_id)
        ended = await self._session.ask(message, seconds(timeout), query_id=query_id or str(message.request_id))
        if session_id is not None:
            for event in ended.events:
                self._carry.hear(session_id, event)
        reply = self._messages.reply(ended, message)
        if not reply.media_events:
            raise ThalovantTimeoutError("Hub finished the query but said nothing.", name="silent", delivery="yes")
        return reply

    def _reply(self, ended: AskEnded, message: Bus) -> ThalovantReply:
        reply = self._messages.reply(ended, message)
        self._carry.file(message.session_id, reply.session_id)
        return reply

    def conversation(
        self,
        *,
        session_id: str | None = None,
        lang: str = "en-us",
        context: Mapping[str, Any] | None = None,
    ) -> AsyncThalovantConversation:
        """Turns that share one session: a new one if `session_id` is None."""
        return AsyncThalovantConversation(self, session_id=session_id, lang=lang, context=context)
