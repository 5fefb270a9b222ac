"""`AsyncThalovantAgent` and `ThalovantAgent`: programs that live by the events of a hub, until they are told to stop.

An agent is a client with handlers. Its handlers are called by the subscriptions of the client, which survive
reconnects; the agent bounds how many run at once and how long, tells of their errors, and lets them finish at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar, overload

from . import logs
from ._internal.options import AsyncOnly, FromStored, SyncOnly, check_times, function, seconds, whole
from ._internal.portal import Handlers, shaped
from .async_client import AsyncThalovantClient
from .client import ThalovantClient
from .errors import ThalovantConnectionError, ThalovantRuntimeError, ThalovantTimeoutError
from .events import E, SpeakEvent, ThalovantEvent
from .subscriptions import AsyncThalovantSubscription, ThalovantSubscription

if TYPE_CHECKING:
    from .identity import ThalovantIdentity

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


def _of_client(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[_Agent, P], R]:
    """A method of an agent that is its client's."""

    @functools.wraps(method)
    def call(self: _Agent, /, *args: P.args, **options: P.kwargs) -> R:
        return method(self.client, *args, **options)

    return call


class _Agent(FromStored):
    """What both kinds of agents are told. `_original` is the one that does it."""

    if TYPE_CHECKING:
        client: Any
        subscribe: Any

        @property
        def _original(self) -> Any: ...

    _plain = ""  # why no handler may be a coroutine function

    @overload
    def on(self, event_name: str | type[E], **options: Any) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...
    @overload
    def on(self, event_name: str | type[E], handler: Callable[[E], Any], **options: Any) -> Any: ...
    def on(self, event_name: Any, handler: Any = None, **options: Any) -> Any:
        """Have `handler(event)` called for every event of that name, or class, while the agent runs. A decorator too.

        `concurrency` (1): how many events the handler takes at once; one at a time keeps them in order. Further options
        are the filters of the client's `on`. Gives the handler; while the agent runs it subscribes at once and gives
        the subscription, which ends with the run.
        """
        if handler is None:
            return functools.partial(self.on, event_name, **options)
        if self._original._run is not None:
            return self.subscribe(event_name, handler, **options)
        heard = self._original._heard(self._check(handler, "a handler"), event_name, **options)
        self._original._registered.append(heard)
        return handler

    @overload
    def on_speak(self, handler: F, **options: Any) -> F: ...
    @overload
    def on_speak(self, handler: None = None, **options: Any) -> Callable[[F], F]: ...
    def on_speak(self, handler: Any = None, **options: Any) -> Any:
        """`on` for what the hub says, with or without parentheses."""
        return self.on(SpeakEvent, handler, **options)

    def middleware(self, wrapper: F) -> F:
        """Have `wrapper(event, handle)` called around all handlers: `handle(event)` goes on. A decorator.

        What was added first is outermost. For an `AsyncThalovantAgent` it is a coroutine function that awaits
        `handle(event)`.
        """
        self._original._middleware.append(self._check(wrapper, "middleware"))
        return wrapper

    def on_error(self, handler: F) -> F:
        """Have `handler(error, event)` called when a handler raises or is out of time, besides the log. A decorator."""
        self._original._error_handlers.append(self._check(handler, "the handler of errors"))
        return handler

    def _check(self, given: Any, what: str) -> Any:
        return function(given, what, plain=self._plain)


class AsyncThalovantAgent(_Agent, AsyncOnly):
    """A client with handlers that runs until it is stopped, on the running asyncio loop.

        agent = AsyncThalovantAgent.from_identity_file("_identity.json")

        @agent.on("speak")
        async def show(event):
            print(event.text)

        asyncio.run(agent.run_forever())

    `client` is its client. A handler that raises, hangs or is slow disturbs no other one.
    """

    def __init__(
        self,
        /,
        identity: ThalovantIdentity,
        *,
        max_concurrency: int = 16,
        handler_timeout: float = 60.0,
        drain_timeout: float = 10.0,
        **client_options: Any,
    ) -> None:
        """Make an agent and its client, whose options are `client_options`. Times are in seconds.

        `max_concurrency`: how many handlers run at once, of all events. `handler_timeout`: how long one may take for an
        event. `drain_timeout`: how long those that run may go on when the agent is stopped.
        """
        check_times(handler_timeout=handler_timeout)
        self._max_concurrency = whole("max_concurrency", max_concurrency, 1)
        self._handler_timeout = handler_timeout
        self._drain_timeout = seconds(drain_timeout)
        self._registered: list[tuple[Any, Any, int]] = []
        self._middleware: list[Callable[..., Any]] = []
        self._error_handlers: list[Callable[..., Any]] = []
        self._free = asyncio.Semaphore(max_concurrency)
        self._subscriptions: weakref.WeakSet[AsyncThalovantSubscription] = weakref.WeakSet()
        self._handling: set[asyncio.Task[Any]] = set()
        self._run: asyncio.Task[None] | None = None
        self.client: AsyncThalovantClient = self._make_client(identity, client_options)

    def _make_client(self, identity: ThalovantIdentity, options: dict[str, Any]) -> AsyncThalovantClient:
        return AsyncThalovantClient(identity, **options)

    @property
    def _original(self) -> Self:
        return self

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
        if (run := self._run) is not None:
            run.get_loop().call_soon_threadsafe(run.cancel)

    async def close(self) -> None:
        """End all subscriptions, cancel handlers that run, and close the client."""
        self.stop()
        await self._end(0)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _keep_running(self, poll_interval: float) -> None:
        check_times(poll_interval=poll_interval)
        if self._run is not None:
            raise ThalovantRuntimeError("The agent is running already.", name="running")
        self._free = asyncio.Semaphore(self._max_concurrency)  # it belongs to a loop
        run = self._run = asyncio.create_task(self._keep_connected(poll_interval))
        try:
            await asyncio.wait((run,))
            if not run.cancelled():
                run.result()
        finally:
            self._run = None
            run.cancel()

    async def _keep_connected(self, poll_interval: float) -> None:
        for heard in self._registered:  # before the hub can say anything
            self._hear(*heard)
        await self.client.connect()
        while True:
            await asyncio.sleep(poll_interval)
            try:
                await self.client.healthcheck()
            except ThalovantConnectionError:
                if self.client.state in ("idle", "closed", "displaced", "failed"):  # else it goes on by itself
                    raise

    async def _end(self, drain: float) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.close()
        if running := self._handling - {asyncio.current_task()}:
            _, late = await asyncio.wait(running, timeout=drain)
            for task in late:
                task.cancel()
                logs.handlers.warning("A handler was cancelled, since the agent ends")
        await self.client.close(None if drain else 0)

    # --- handlers ---

    def subscribe(
        self, /, event_name: str | type[E], handler: Callable[[E], Any], **options: Any
    ) -> AsyncThalovantSubscription:
        """Hear from now on; the agent need not run. `options` are those of `on`."""
        return self._hear(*self._heard(self._check(handler, "a handler"), event_name, **options), connect=True)

    def _heard(self, handler: Any, event_name: Any, *, concurrency: int = 1, **filters: Any) -> tuple[Any, Any, int]:
        return self.client._wanted(event_name, **filters), handler, whole("concurrency", concurrency, 1)

    def _hear(self, wanted: Any, handler: Any, concurrency: int, **options: bool) -> AsyncThalovantSubscription:
        own = asyncio.Semaphore(concurrency)

        async def take(event: ThalovantEvent) -> None:
            """Start the handler as soon as it may; the events behind this one wait meanwhile, in order."""
            await own.acquire()
            await self._free.acquire()
            call = self._link(handler)
            for wrapper in reversed(self._middleware):
                call = self._link(wrapper, call)
            task = asyncio.create_task(self._handle(event, self._error_handlers, (own, self._free), call, event))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

        subscription = self.client._hear(wanted, take, **options)
        self._subscriptions.add(subscription)
        return subscription

    async def _handle(
        self, event: ThalovantEvent, on_error: Sequence[Any], slots: Iterable[asyncio.Semaphore], call: Any, *args: Any
    ) -> None:
        """Call a handler within its time, and tell of its error; then free the slots."""
        try:
            async with asyncio.timeout(self._handler_timeout) as time:
                await self._perform(call, *args)
        except Exception as raised:
            late = f"The handler of {event.name!r} did not end within {self._handler_timeout:g}s."
            error = ThalovantTimeoutError(late, name="handler_timeout") if time.expired() else raised
            logs.handlers.error("A handler of %r raised", event.name, exc_info=error)
            for handler in on_error:
                await self._handle(event, (), (), handler, error, event)
        finally:
            for slot in slots:
                slot.release()

    def _link(self, call: Callable[..., Any], *more: Any) -> Callable[[Any], Any]:
        """`call` as a link of the chain of middleware: what it is given is an event, what it gives can be awaited."""
        return lambda event: self._perform(call, event, *more)

    async def _perform(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call a handler and wait for its end."""
        result = call(*args)
        return await result if isawaitable(result) else result

    # --- what its client does ---

    conversation: Final = _of_client(AsyncThalovantClient.conversation)
    ask: Final = _of_client(AsyncThalovantClient.ask)
    send_utterance: Final = _of_client(AsyncThalovantClient.send_utterance)
    reply: Final = _of_client(AsyncThalovantClient.reply)


class _Threaded(AsyncThalovantAgent):
    """The agent behind a `ThalovantAgent`: its handlers run in threads, so that they may call the client."""

    def _make_client(self, identity: ThalovantIdentity, options: dict[str, Any]) -> AsyncThalovantClient:
        self.twin = ThalovantClient(identity, **options)
        return self.twin._original

    def _link(self, call: Callable[..., Any], *more: Any) -> Callable[[Any], Any]:
        return lambda event: call(event, *more)

    async def _perform(self, call: Callable[..., Any], *args: Any) -> Any:
        thread = Handlers("thalovant-handlers")
        future = thread.submit(call, *args)
        thread.stop()  # after this; nobody waits for it if it is out of time
        return await asyncio.wrap_future(future)


class ThalovantAgent(_Agent, SyncOnly):
    """A client with handlers that runs until it is stopped, in the thread that runs it.

        agent = ThalovantAgent.from_identity_file("_identity.json")

        @agent.on("speak")
        def show(event):
            print(event.text)

        agent.run_forever()

    `client` is its client. A handler that raises, hangs or is slow disturbs no other one.
    """

    _plain = "handlers of ThalovantAgent run in threads: use AsyncThalovantAgent"

    @shaped(AsyncThalovantAgent.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._original: _Threaded = _Threaded(*args, **options)
        self._runs = False

    @property
    def client(self) -> ThalovantClient:
        """Its client."""
        return self._original.twin

    def run_forever(self, *, poll_interval: float = 0.25) -> None:
        """Connect, subscribe all handlers, and keep the connection until `stop`; then close.

        Every `poll_interval` seconds the connection is looked at. Where the client has given up, it connects anew;
        when that fails, or the first connection does, this ends with the error. Ctrl-C counts as `stop`, SIGTERM too
        unless the program handles it: handlers that run finish within `drain_timeout`. Ctrl-C again waits for none.
        """
        original, portal = self._original, self.client._here()
        self._runs = True
        with _sigterm(self.stop):
            try:
                portal.call(lambda: original._keep_running(poll_interval))
            except KeyboardInterrupt:
                pass
            finally:
                try:
                    portal.call(lambda: original._end(original._drain_timeout))
                finally:
                    self._runs = False
                    self.client.close(0)

    @shaped(AsyncThalovantAgent.stop)
    def stop(self) -> None:
        self._original.stop()

    @shaped(AsyncThalovantAgent.close)
    def close(self) -> None:
        self.client._here().finish(self._original.close)
        if not self._runs:  # else what runs closes it at its end
            self.client.close()

    def __enter__(self) -> Self:
        self.client.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @shaped(AsyncThalovantAgent.subscribe)
    def subscribe(self, event_name: Any, handler: Any, **options: Any) -> ThalovantSubscription:
        self._check(handler, "a handler")
        return self.client._subscribed(lambda: self._original.subscribe(event_name, handler, **options))

    conversation: Final = _of_client(ThalovantClient.conversation)
    ask: Final = _of_client(ThalovantClient.ask)
    send_utterance: Final = _of_client(ThalovantClient.send_utterance)
    reply: Final = _of_client(ThalovantClient.reply)


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
