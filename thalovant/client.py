"""`ThalovantClient`: `AsyncThalovantClient` for programs without an event loop of their own.

Works in scripts, threads, notebooks and inside running loops. Every method is the asynchronous one, run on a private
loop thread; handlers run on a thread of their own, so that they may call the client.
"""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from . import logs
from ._internal.options import DEFAULT_USERAGENT, UNCLOSED, FromStored, SyncOnly, function, seconds
from ._internal.portal import (
    Handlers,
    Portal,
    blocking,
    interpreter_ends,
    iterating,
    shaped,
)
from .async_client import AsyncThalovantClient
from .context import reply_context
from .conversation import ThalovantConversation
from .subscriptions import AsyncThalovantSubscription, ThalovantSubscription, expecting

if TYPE_CHECKING:
    from .async_client import StateHandler
    from .errors import ThalovantError
    from .events import AudioSource, BinaryHandler, EventHandler, HiveHandler
    from .identity import ThalovantIdentity
    from .models import ThalovantConnectionInfo
    from .protocols import HubProtocol

__all__ = ["DEFAULT_USERAGENT", "AsyncThalovantClient", "ThalovantClient", "ThalovantSubscription", "reply_context"]

T = TypeVar("T")

_live: weakref.WeakSet[ThalovantClient] = weakref.WeakSet()


class ThalovantClient(FromStored, SyncOnly):
    """Talks to one hub as one client identity, from any thread.

    It connects by itself when something is asked of it, reconnects by itself when the hub or the network went away,
    and keeps subscriptions over that. Use it as `with`, or call `close`.
    """

    @shaped(AsyncThalovantClient.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        from ._client.settings import check_identity

        check_identity(args[0] if args else options.get("identity"), type(self).__name__)  # in words of this class
        self._original = AsyncThalovantClient(*args, **options)
        self._begin_anew()
        _live.add(self)

    @property
    def identity(self) -> ThalovantIdentity:
        """The identity that this client was made for."""
        return self._original.identity

    @property
    def protocol(self) -> HubProtocol:
        """The transport in use, or tried now: "wss", "https" or "mqtt"."""
        return self._original.protocol

    @property
    def state(self) -> str:
        """The connection's state now, one of those that `on_state` tells.

        Example:
            >>> client.state
            'ready'
        """
        return self._original.state

    @property
    def connected(self) -> bool:
        """Whether messages can travel now.

        Example:
            >>> client.connected
            True
        """
        return self._original.connected

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._original._where} {self.state}>"

    # --- the connection ---

    connect: Final = blocking(AsyncThalovantClient.connect)
    connect_with_info: Final = blocking(AsyncThalovantClient.connect_with_info)
    healthcheck: Final = blocking(AsyncThalovantClient.healthcheck)
    doctor: Final = blocking(AsyncThalovantClient.doctor)

    @shaped(AsyncThalovantClient.connection_info)
    def connection_info(self) -> ThalovantConnectionInfo:
        return self._visit(self._original._session.info)

    @shaped(AsyncThalovantClient.close)
    def close(self, timeout: float | None = None) -> None:
        if timeout is not None:
            seconds(timeout)
        self._here().close(lambda: self._original.close(timeout), self._original._session.abort)
        self._handlers.stop()

    disconnect = close

    @shaped(AsyncThalovantClient.wait_closed)
    def wait_closed(self, timeout: float | None = None) -> None:
        if self._here().running:
            self._portal.call(lambda: self._original.wait_closed(timeout))

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

    @shaped(AsyncThalovantClient.on_state)
    def on_state(self, handler: StateHandler) -> Callable[[], None]:
        function(handler, "a handler of states", plain="it would never be awaited: use a plain function")

        def changed(state: str, error: ThalovantError | None) -> None:
            self._handlers.submit(handler, state, error).add_done_callback(_log_state_handler)

        end = self._visit(lambda: self._original.on_state(changed))
        return lambda: self._visit(end)

    # --- asking ---

    ask: Final = blocking(AsyncThalovantClient.ask)
    stream: Final = iterating(AsyncThalovantClient.stream)
    query: Final = blocking(AsyncThalovantClient.query)

    @shaped(AsyncThalovantClient.conversation)
    def conversation(self, **options: Any) -> ThalovantConversation:
        return ThalovantConversation(self, **options)

    # --- sending ---

    send_utterance: Final = blocking(AsyncThalovantClient.send_utterance)
    send_action: Final = blocking(AsyncThalovantClient.send_action)
    send_code: Final = blocking(AsyncThalovantClient.send_code)
    emit: Final = blocking(AsyncThalovantClient.emit)
    reply: Final = blocking(AsyncThalovantClient.reply)
    propagate: Final = blocking(AsyncThalovantClient.propagate)
    escalate: Final = blocking(AsyncThalovantClient.escalate)
    broadcast: Final = blocking(AsyncThalovantClient.broadcast)
    send_binary: Final = blocking(AsyncThalovantClient.send_binary)

    @shaped(AsyncThalovantClient.send_audio)
    def send_audio(self, source: AudioSource, *args: Any, **options: Any) -> None:
        from ._internal.audio import Sound, messages

        session, timeout = self._original._session, self._original._send_timeout
        for message in messages(source, Sound(*args, **options)):  # read here, where a microphone is the caller's
            self._here().call(partial(session.send, message, timeout))

    # --- hearing ---

    @shaped(AsyncThalovantClient.on)
    def on(self, event_name: Any, handler: EventHandler, **filters: Any) -> ThalovantSubscription:
        handle = self._in_handler_thread(handler)
        return self._subscribed(lambda: self._original.on(event_name, handle, **filters))

    @shaped(AsyncThalovantClient.on_binary)
    def on_binary(self, handler: BinaryHandler) -> ThalovantSubscription:
        handle = self._in_handler_thread(handler)
        return self._subscribed(lambda: self._original.on_binary(handle))

    @shaped(AsyncThalovantClient.on_hive)
    def on_hive(self, kind: str, handler: HiveHandler) -> ThalovantSubscription:
        handle = self._in_handler_thread(handler)
        return self._subscribed(lambda: self._original.on_hive(kind, handle))

    wait_for_event: Final = blocking(AsyncThalovantClient.wait_for_event)
    listen: Final = iterating(AsyncThalovantClient.listen)
    expect: Final = expecting(AsyncThalovantClient.expect)

    # --- what the hub understands ---

    intents: Final = blocking(AsyncThalovantClient.intents)
    list_intents: Final = blocking(AsyncThalovantClient.list_intents)
    describe_intent: Final = blocking(AsyncThalovantClient.describe_intent)

    # --- inside ---

    def _subscribed(self, begin: Callable[[], AsyncThalovantSubscription]) -> ThalovantSubscription:
        subscription = ThalovantSubscription(self._here().run(begin), self)
        begun = getattr(self._original._session, "begun", None)  # of a transport of the user's
        if begun is not None and not self._portal.inside:
            self._portal.call(begun)
        return subscription

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
        from asyncio import wrap_future

        function(handler, "a handler", plain="handlers of ThalovantClient run in a thread: use AsyncThalovantClient")
        return lambda event: wrap_future(self._handlers.submit(handler, event))

    def __del__(self) -> None:
        portal: Portal | None = getattr(self, "_portal", None)  # None: the constructor raised
        if portal is None or self._pid != os.getpid():
            return
        self._handlers.stop()
        if portal.running:
            self._original._session.leave()
            portal.leave()
            warnings.warn(UNCLOSED, ResourceWarning, stacklevel=2, source=self)


def _log_state_handler(done: Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        logs.handlers.error("A handler of state changes raised", exc_info=error)


def _close_all() -> None:
    interpreter_ends.set()
    for client in tuple(_live):
        client.close(timeout=0)


atexit.register(_close_all)
