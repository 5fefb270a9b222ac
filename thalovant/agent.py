"""`AsyncThalovantAgent` and `ThalovantAgent`: programs that live by the events of a hub, until they are told to stop.

An agent is a client with handlers. Its handlers are called by the subscriptions of the client, which survive
reconnects; the agent bounds how many run at once and how long, tells of their errors, and lets them finish at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar, overload

from . import logs
from ._internal.options import AsyncOnly, FromStored, SyncOnly, check_times, function, seconds, whole
from ._internal.portal import Handlers, blocking, shaped
from .async_client import AsyncThalovantClient
from .client import ThalovantClient
from .errors import ThalovantConnectionError, ThalovantRuntimeError, ThalovantTimeoutError
from .events import E, SpeakEvent, ThalovantEvent, name_and_class
from .subscriptions import AsyncThalovantSubscription, ThalovantSubscription

if TYPE_CHECKING:
    from ._internal.portal import Portal
    from .conversation import AsyncThalovantConversation, ThalovantConversation
    from .identity import ThalovantIdentity
    from .models import ThalovantReply

#: States of a client that has stopped to try by itself.
OVER: Final = ("idle", "closed", "displaced", "failed")

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
S = TypeVar("S", bound=AsyncThalovantSubscription | ThalovantSubscription)


class _Agent(FromStored, Generic[S]):
    """What an agent is told before it runs."""

    _plain: ClassVar[str] = ""  # why no handler may be a coroutine function

    def __init__(
        self,
        identity: ThalovantIdentity,
        *,
        max_concurrency: int = 16,
        handler_timeout: float | None = 60.0,
        drain_timeout: float = 10.0,
        **client_options: Any,
    ) -> None:
        """Make an agent and its client, whose options are `client_options`.

        `max_concurrency`: how many handlers run at once, of all events. `handler_timeout`: seconds for each call of a
        handler, None for as long as it takes. `drain_timeout`: seconds for those that run when the agent is stopped.
        """
        self._max_concurrency = whole("max_concurrency", max_concurrency, 1)
        if handler_timeout is not None:
            check_times(handler_timeout=handler_timeout)
        self._handler_timeout = handler_timeout
        self._drain_timeout = seconds(drain_timeout)
        self._registered: list[tuple[Any, Callable[..., Any], dict[str, Any]]] = []
        self._middleware: list[Callable[..., Any]] = []
        self._error_handlers: list[Callable[..., Any]] = []
        self._set_up(identity, client_options)

    def _set_up(self, identity: ThalovantIdentity, options: dict[str, Any]) -> None:
        raise NotImplementedError

    @property
    def _runs(self) -> bool:
        raise NotImplementedError

    def _subscribe(self, event_name: Any, handler: Callable[..., Any], concurrency: int, filters: dict[str, Any]) -> S:
        raise NotImplementedError

    def subscribe(
        self, event_name: str | type[E], handler: Callable[[E], Any], *, concurrency: int = 1, **filters: Any
    ) -> S:
        """Hear from now on; the agent need not run. `on` has the options."""
        function(handler, "a handler", plain=self._plain)
        return self._subscribe(event_name, handler, whole("concurrency", concurrency, 1), filters)

    @overload
    def on(
        self, event_name: str | type[E], handler: None = None, *, concurrency: int = 1, **filters: Any
    ) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...
    @overload
    def on(
        self, event_name: str | type[E], handler: Callable[[E], R], *, concurrency: int = 1, **filters: Any
    ) -> Callable[[E], R] | S: ...
    def on(self, event_name: Any, handler: Any = None, *, concurrency: int = 1, **filters: Any) -> Any:
        """Have `handler(event)` called for every event of that name, or class, while the agent runs. A decorator too.

        `concurrency`: how many events the handler takes at once; one at a time keeps them in order. `filters` are those
        of the client's `on`. Gives the handler; while the agent runs it subscribes at once and gives the subscription,
        which ends with the run.
        """
        if handler is None:
            return lambda given: self.on(event_name, given, concurrency=concurrency, **filters)
        name, _ = name_and_class(event_name)
        function(handler, f"the handler of {name!r}", plain=self._plain)
        if self._runs:
            return self.subscribe(event_name, handler, concurrency=concurrency, **filters)
        options = {"concurrency": whole("concurrency", concurrency, 1), "filters": filters}
        self._registered.append((event_name, handler, options))
        return handler

    def on_speak(self, handler: Any = None, **options: Any) -> Any:
        """`on` for what the hub says, with or without parentheses."""
        return self.on(SpeakEvent, handler, **options)

    def middleware(self, wrapper: F) -> F:
        """Have `wrapper(event, handle)` called around all handlers: `handle(event)` goes on. A decorator.

        What was added first is outermost. For an `AsyncThalovantAgent` it is a coroutine function that awaits
        `handle(event)`.
        """
        self._middleware.append(function(wrapper, "middleware", plain=self._plain))
        return wrapper

    def on_error(self, handler: F) -> F:
        """Have `handler(error, event)` called when a handler raises or is out of time, besides the log. A decorator."""
        self._error_handlers.append(function(handler, "the handler of errors", plain=self._plain))
        return handler


class AsyncThalovantAgent(_Agent[AsyncThalovantSubscription], AsyncOnly):
    """A client with handlers that runs until it is stopped, on the running asyncio loop.

        agent = AsyncThalovantAgent.from_identity_file("_identity.json")

        @agent.on("speak")
        async def show(event):
            print(event.text)

        asyncio.run(agent.run_forever())

    `client` is its client. A handler that raises, hangs or is slow disturbs no other one.
    """

    def _set_up(self, identity: ThalovantIdentity, options: dict[str, Any]) -> None:
        self._free = asyncio.Semaphore(self._max_concurrency)
        self._subscriptions: weakref.WeakSet[AsyncThalovantSubscription] = weakref.WeakSet()
        self._handling: set[asyncio.Task[Any]] = set()
        self._run: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self.client: AsyncThalovantClient = self._make_client(identity, options)

    def _make_client(self, identity: ThalovantIdentity, options: dict[str, Any]) -> AsyncThalovantClient:
        return AsyncThalovantClient(identity, **options)

    @property
    def _runs(self) -> bool:
        return self._run is not None

    # --- life ---

    async def run_forever(self, *, poll_interval: float = 0.25) -> None:
        """Connect, subscribe all handlers, and keep the connection until `stop`; then close.

        Every `poll_interval` seconds the connection is looked at. Where the client has given up, it connects anew;
        when that fails, or the first connection does, this ends with the error. SIGTERM counts as `stop`, unless the
        program handles it: handlers that run finish within `drain_timeout`. Cancelled, it waits for none.
        """
        drain = self._drain_timeout
        with _sigterm(self.stop):
            try:
                await self._keep_running(poll_interval)
            except asyncio.CancelledError:
                drain = 0
                raise
            finally:
                await self._end(drain)

    def stop(self) -> None:
        """Have `run_forever` end: no more events, running handlers finish. From any thread; nothing if not running."""
        if self._run is not None:
            loop, keeping = self._run
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(keeping.cancel)

    async def close(self) -> None:
        """End all subscriptions, cancel handlers that run, and close the client."""
        self.stop()
        await self._end(0)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _keep_running(self, poll_interval: float) -> None:
        check_times(poll_interval=poll_interval)
        if self._run is not None:
            raise ThalovantRuntimeError(
                "The agent is running already.", name="running", hint="Stop it first, or make another agent."
            )
        self._free = asyncio.Semaphore(self._max_concurrency)  # it belongs to a loop
        keeping = asyncio.create_task(self._keep_connected(poll_interval))
        self._run = asyncio.get_running_loop(), keeping
        try:
            await asyncio.wait((keeping,))
            if not keeping.cancelled():
                keeping.result()
        finally:
            self._run = None
            keeping.cancel()

    async def _keep_connected(self, poll_interval: float) -> None:
        for event_name, handler, options in self._registered:  # before the hub can say anything
            self._subscribe(event_name, handler, hear=self.client._hear, **options)
        await self.client.connect()
        while True:
            await asyncio.sleep(poll_interval)
            try:
                await self.client.healthcheck()
            except ThalovantConnectionError:
                if self.client.state in OVER:
                    raise

    async def _end(self, drain: float) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.close()
        until = asyncio.get_running_loop().time() + drain
        while self._others and (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._others, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in self._others:
            task.cancel()
        await self.client.close(None if drain else 0)

    @property
    def _others(self) -> set[asyncio.Task[Any]]:
        """The handlers that run, without the one that asks."""
        return self._handling - {asyncio.current_task()}

    # --- handlers ---

    def _subscribe(
        self,
        event_name: Any,
        handler: Callable[..., Any],
        concurrency: int,
        filters: dict[str, Any],
        hear: Callable[..., AsyncThalovantSubscription] | None = None,
    ) -> AsyncThalovantSubscription:
        own = asyncio.Semaphore(concurrency)

        async def take(event: ThalovantEvent) -> None:
            """Start the handler as soon as it may; the events behind this one wait meanwhile, in order."""
            await own.acquire()
            await self._free.acquire()
            call = self._link(handler)
            for wrapper in reversed(self._middleware):
                call = self._link(wrapper, call)
            self._start(self._perform(call, event), event.name, partial(self._report, event), own, self._free)

        subscription = (hear or self.client.on)(event_name, take, **filters)
        self._subscriptions.add(subscription)
        return subscription

    def _start(
        self,
        work: Coroutine[Any, Any, object],
        what: str,
        failed: Callable[[BaseException], None],
        *slots: asyncio.Semaphore,
    ) -> None:
        """Run `work` within the handlers' time; then, or when that is over, free the slots."""
        task = asyncio.create_task(work)
        self._handling.add(task)

        def over() -> None:
            error = None if not task.done() or task.cancelled() else task.exception()
            if task not in self._handling:
                return  # it was out of time before
            self._handling.discard(task)
            for slot in slots:
                slot.release()
            if task.cancelled():
                logs.handlers.warning("A handler of %r was cancelled", what)
            elif task.done():
                if error is not None:
                    failed(error)
            else:
                task.cancel()
                failed(
                    ThalovantTimeoutError(
                        f"The handler of {what!r} did not end within {self._handler_timeout:g}s.",
                        name="handler_timeout",
                        hint="Find out what it waits for, or give the agent another handler_timeout.",
                    )
                )

        timer = self._handler_timeout and asyncio.get_running_loop().call_later(self._handler_timeout, over)

        def done(_: object) -> None:
            if timer:
                timer.cancel()
            over()

        task.add_done_callback(done)

    def _report(self, event: ThalovantEvent, error: BaseException) -> None:
        logs.handlers.error("A handler of %r raised", event.name, exc_info=error)
        for handler in self._error_handlers:
            self._start(self._perform(handler, error, event), event.name, _log_error_handler)

    def _link(self, call: Callable[..., Any], *more: Any) -> Callable[[Any], Any]:
        """`call` as a link of the chain of middleware: what it is given is an event, what it gives can be awaited."""
        return lambda event: self._perform(call, event, *more)

    async def _perform(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call a handler and wait for its end."""
        result = call(*args)
        return await result if isawaitable(result) else result

    # --- what its client does ---

    @shaped(AsyncThalovantClient.conversation)
    def conversation(self, **options: Any) -> AsyncThalovantConversation:
        return self.client.conversation(**options)

    @shaped(AsyncThalovantClient.ask)
    async def ask(self, text: str, **options: Any) -> ThalovantReply:
        return await self.client.ask(text, **options)

    @shaped(AsyncThalovantClient.send_utterance)
    async def send_utterance(self, text: str, **options: Any) -> None:
        await self.client.send_utterance(text, **options)

    async def reply(
        self,
        event: ThalovantEvent,
        msg_type: str,
        data: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """`reply` of the client: answer an event, to where it came from."""
        await self.client.reply(event, msg_type, data, context)


class _Threaded(AsyncThalovantAgent):
    """The agent behind a `ThalovantAgent`: its handlers run in threads, so that they may call the client."""

    def _make_client(self, identity: ThalovantIdentity, options: dict[str, Any]) -> AsyncThalovantClient:
        self.twin = ThalovantClient(identity, **options)
        self._idle: list[Handlers] = []
        return self.twin._original

    def _link(self, call: Callable[..., Any], *more: Any) -> Callable[[Any], Any]:
        return lambda event: call(event, *more)

    async def _perform(self, call: Callable[..., Any], *args: Any) -> Any:
        thread = self._idle.pop() if self._idle else Handlers("thalovant-handlers")
        future = thread.submit(call, *args)
        try:
            return await asyncio.wrap_future(future)
        finally:
            if future.done():
                self._idle.append(thread)
            else:
                thread.stop()  # nobody waits any more for the handler that it runs

    async def _end(self, drain: float) -> None:
        try:
            await super()._end(drain)
        finally:
            while self._idle:
                self._idle.pop().stop()


class ThalovantAgent(_Agent[ThalovantSubscription], SyncOnly):
    """A client with handlers that runs until it is stopped, in the thread that runs it.

        agent = ThalovantAgent.from_identity_file("_identity.json")

        @agent.on("speak")
        def show(event):
            print(event.text)

        agent.run_forever()

    `client` is its client. A handler that raises, hangs or is slow disturbs no other one.
    """

    _plain = "handlers of ThalovantAgent run in threads: use AsyncThalovantAgent"

    def _set_up(self, identity: ThalovantIdentity, options: dict[str, Any]) -> None:
        self._original = _Threaded(
            identity,
            max_concurrency=self._max_concurrency,
            handler_timeout=self._handler_timeout,
            drain_timeout=self._drain_timeout,
            **options,
        )
        self._registered = self._original._registered
        self._middleware = self._original._middleware
        self._error_handlers = self._original._error_handlers

    @property
    def client(self) -> ThalovantClient:
        """Its client."""
        return self._original.twin

    @property
    def _runs(self) -> bool:
        return self._original._runs

    def _here(self) -> Portal:
        return self.client._here()

    def run_forever(self, *, poll_interval: float = 0.25) -> None:
        """Connect, subscribe all handlers, and keep the connection until `stop`; then close.

        Every `poll_interval` seconds the connection is looked at. Where the client has given up, it connects anew;
        when that fails, or the first connection does, this ends with the error. Ctrl-C counts as `stop`, SIGTERM too
        unless the program handles it: handlers that run finish within `drain_timeout`. Ctrl-C again waits for none.
        """
        original, portal = self._original, self._here()
        with _sigterm(self.stop):
            try:
                portal.call(lambda: original._keep_running(poll_interval))
            except KeyboardInterrupt:
                pass
            finally:
                try:
                    portal.call(lambda: original._end(original._drain_timeout))
                finally:
                    self.client.close(0)

    @shaped(AsyncThalovantAgent.stop)
    def stop(self) -> None:
        self._original.stop()

    @shaped(AsyncThalovantAgent.close)
    def close(self) -> None:
        if self._here().running:
            self._here().call(self._original.close)
        self.client.close()

    def __enter__(self) -> Self:
        self.client.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _subscribe(
        self, event_name: Any, handler: Callable[..., Any], concurrency: int, filters: dict[str, Any]
    ) -> ThalovantSubscription:
        def on_loop() -> AsyncThalovantSubscription:
            return self._original._subscribe(event_name, handler, concurrency, filters)

        return ThalovantSubscription(self._here().run(on_loop), self.client)

    @shaped(AsyncThalovantAgent.conversation)
    def conversation(self, **options: Any) -> ThalovantConversation:
        return self.client.conversation(**options)

    ask: Final = blocking(AsyncThalovantAgent.ask)
    send_utterance: Final = blocking(AsyncThalovantAgent.send_utterance)
    reply: Final = blocking(AsyncThalovantAgent.reply)


def _log_error_handler(error: BaseException) -> None:
    logs.handlers.error("A handler of errors raised", exc_info=error)


@contextlib.contextmanager
def _sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM call `stop`, where the program does nothing about it and Python lets us."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
