"""What drives an injected transport: the session without a link, and the task that calls the transport's methods.

These may be plain functions, then they run in a thread of their own, or coroutine functions, then on the loop. The
transport may call back from any thread, also inside of `emit_event`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import evolve

from thalovant_proto import events as wire
from thalovant_proto.client.attempt import CLOSED, Ending
from thalovant_proto.client.routes import Route, Routes
from thalovant_proto.client.session import HubSession
from thalovant_proto.codec.envelope import envelope_of, message_from
from thalovant_proto.errors import DecodeError
from thalovant_proto.failures import Failure, FailureKind, Progress
from thalovant_proto.outcomes import SessionState
from thalovant_proto.secret import KEY_SIZE, Secret
from thalovant_proto.trust import Trust

from .. import logs
from .._internal.portal import Handlers
from .._internal.redact import redact_text
from ..errors import ThalovantConnectionError, ThalovantError, ThalovantRuntimeError
from ..events import ThalovantEvent

if TYPE_CHECKING:
    from thalovant_proto.client.config import ClientConfig

#: Seconds between looks at `is_connected`: while somebody waits, and otherwise.
LOOK_OFTEN: Final = 0.05
LOOK_SELDOM: Final = 1.0
#: A transport that nobody waits for is connected again after so many seconds, at least.
REST: Final = 5.0
#: How long `disconnect` may take, in seconds.
LEAVE_WITHIN: Final = 2.0
#: A call back from the main thread returns when handlers are done, after so many seconds at the latest: what feeds a
#: client events from there is a test, which looks at the effect next. Threads of transports do not wait.
HANDLED_WITHIN: Final = 0.25


_SPREAD: Final = (wire.Propagate, wire.Escalate, wire.Broadcast)


class InjectedStack(HubSession):
    """The session without a link, in the place of a `ClientStack`."""

    route = 0
    generation = None

    def __init__(self, config: ClientConfig) -> None:
        self._told: list[Any] = []
        routes = Routes(Route(name="transport", pin_id="", make_link=cast("Any", None)))
        trust = Trust(static_key=Secret(bytes(KEY_SIZE)))
        super().__init__(config, routes, trust=trust, entropy=os.urandom, report=self._told.append)

    def outcomes(self) -> list[Any]:
        """What happened since the last call."""
        told = self._told.copy()
        self._told.clear()
        return told

    def up(self, now: float) -> None:
        """The transport is connected, which proves the hub."""
        completed = wire.HandshakeCompleted(generation=wire.Generation.NOISE, node_id="")
        self._told.append(completed)
        self.handshake_completed(completed, now)
        self.proved(now)

    def eof(self, now: float) -> None:
        """The end, where there is one."""
        if not self.over:
            self.attempt_ended(Ending(failure=CLOSED), Progress(), now)

    def hurry(self, now: float) -> None:
        """Somebody waits: the next try is due."""
        if self.state is SessionState.WAITING:
            self._dial_at = now


class InjectedDriver:
    """Calls the methods of a transport where a link would move bytes, in one task, for an `InjectedSession`."""

    def __init__(self, stack: InjectedStack, transport: Any, session: Any) -> None:
        self._stack = stack
        self._transport = transport
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        methods = (getattr(transport, name, None) for name in ("connect", "emit_event"))
        self._on_loop = any(map(iscoroutinefunction, methods))
        self._calls = Handlers("thalovant-transport")
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bound: dict[tuple[str, str], Callable[[Any], None]] = {}
        self._binding = False
        self._awaited: set[asyncio.Future[Any]] = set()  # results of bindings
        self._settling: set[asyncio.Task[None]] = set()  # handlers that a test waits for
        self._resent: set[int] = set()  # tokens
        self._up = self._aborted = False
        self._tries = 0  # that failed since it was connected
        self._token: object = None
        self.error: ThalovantError | None = None  # as the transport raised it

    @property
    def over(self) -> bool:
        """Whether this driver has ended, or is told to."""
        return self._aborted or (self._task is not None and self._task.done())

    def start(self) -> None:
        """Begin."""
        self._task = self._loop.create_task(self._run())

    def wake(self) -> None:
        """Look at the session again."""
        self._news.set()

    def abort(self) -> None:
        """End at once."""
        self._aborted = True
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Wait for the end."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def alive(self) -> bool:
        """Whether the transport says that it is connected, by the same connection as before."""
        found = getattr(self._transport, "is_connected", True)
        found = found() if callable(found) else found
        if iscoroutine(found):
            found.close()  # there is nobody here who could wait for it
        return bool(found) and getattr(self._transport, "session_token", None) == self._token

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """The result of a method, which may have to be awaited. Raises `ThalovantRuntimeError` if there is none."""
        method = self._method(name)
        if self._on_loop:
            result = method(*args, **options)
        else:
            work = self._calls.submit(partial(method, *args, **options))
            # A loop that ends cancels whoever waits; the transport is to be disconnected all the same.
            result = await asyncio.shield(asyncio.wrap_future(work))
        return await result if isawaitable(result) else result

    def bind(self) -> None:
        """Have the transport, while it is connected, call back for what is wanted now, and for nothing else."""
        if not self._up:
            return
        wanted = self._session.wanted()
        self._unbind(self._bound.keys() - wanted)
        for key in sorted(wanted - self._bound.keys()):
            kind, name = key
            method, hear = self._method(f"on_{kind}"), partial(self._hear, kind, name)
            self._binding, self._bound[key] = True, hear
            try:
                self._await(method(name, hear) if name else method(hear))
            except BaseException:
                del self._bound[key]
                raise
            finally:
                self._binding = False

    # --- the task ---

    async def _run(self) -> None:
        stack = self._stack
        try:
            while not stack.over:
                now = self._loop.time()
                stack.handle_timeout(now)
                if stack.leaves():
                    stack.eof(now)
                elif stack.dials(now):
                    await self._attempt()
                else:
                    await self._sleep()
                self._tell()
        finally:
            self._calls.stop()

    async def _attempt(self) -> None:
        stack, callers = self._stack, self._session._callers
        stack.attempt_started()
        self._tell()
        try:
            ending = await self._connected()
        finally:
            await self._leave()
        hurried = callers.connects or stack.queue.waiting or ending.unsent
        stack.attempt_ended(evolve(ending, pause=None if hurried else REST), Progress(), self._loop.time())
        attempts = stack.config.attempts
        if self.error is not None and attempts is not None and self._tries > attempts and not stack.over:
            callers.ended(self.error)
            for one in tuple(stack.queue.waiting):
                self._fail(one.token, _again(self.error))

    async def _connected(self) -> Ending:
        """Connect, be connected, and how that ended."""
        stack = self._stack
        try:
            await self._during(self.call("connect"), lambda: not stack.leaves())
            if stack.leaves():
                return Ending(failure=CLOSED)
            self._token = getattr(self._transport, "session_token", None)
            self._up, self._tries, self.error = True, 0, None
            stack.link_opened()
            self.bind()
        except Exception as error:
            self._tries += 1
            self.error = error if isinstance(error, ThalovantError) else _down(error)
            final = isinstance(error, ThalovantError) and not error.retryable
            return Ending(failure=Failure(kind=FailureKind.CONNECT, message=str(self.error), final=final))
        stack.up(self._loop.time())
        while True:
            stack.handle_timeout(self._loop.time())
            self._tell()
            if (ending := await self._publish()) is not None:
                return ending
            if stack.leaves():
                return Ending(failure=CLOSED)
            if not self.alive():
                return self._lost(self._stopped())
            await self._sleep()

    async def _publish(self) -> Ending | None:
        """Send what is queued. What the transport raises for counts as not sent, and is sent again once."""
        stack = self._stack
        while (one := stack.take(0.0, self._loop.time())) is not None:
            if self._awaited:
                await asyncio.wait(self._awaited, timeout=LEAVE_WITHIN)
            again = one.token in self._resent
            self._resent.discard(one.token)
            try:
                await self._during(self._emit(one.message), partial(self._session.waits, one.token))
            except Exception as error:
                lost = isinstance(error, ThalovantConnectionError) and error.delivery not in ("unknown", "yes")
                lost |= not isinstance(error, ThalovantError | ValueError | TypeError)
                if not lost or not stack.config.auto_reconnect:
                    self._fail(one.token, error)
                elif again or stack.config.attempts == 0:
                    self._fail(one.token, _again(error))
                else:
                    self._resent.add(one.token)
                    return self._lost(_again(error), one.token)
            else:
                stack.written(one.token, self._loop.time(), final=True)
            self._tell()
        return None

    async def _emit(self, message: wire.Message) -> None:
        if isinstance(message, wire.Bus):
            await self.call("emit_event", message.type, message.data, message.context)
        elif isinstance(message, wire.Binary):
            await self.call("send_binary", message.payload, message.name, message.metadata)
        elif isinstance(message, _SPREAD) and hasattr(self._transport, "send_hive_frame"):
            inner = message.payload["payload"]
            await self.call("send_hive_frame", message.msg_type, inner["type"], inner["data"], inner["context"])
        else:
            await self.call("send_hive_message", HiveFrame(envelope_of(message)), encrypt=True)

    async def _during(self, call: Coroutine[Any, Any, None], wanted: Callable[[], bool]) -> None:
        """Call the transport while that is wanted; time goes on meanwhile."""
        task = self._loop.create_task(call)
        task.add_done_callback(lambda _: self._news.set())
        try:
            while wanted() and not task.done():
                await self._sleep()
                self._stack.handle_timeout(self._loop.time())
                self._tell()
            if task.done():
                task.result()
        finally:
            if not task.done():
                task.cancel()
                self._calls.stop()  # it may hang: the next one gets another thread

    async def _sleep(self) -> None:
        due, look = self._stack.next_timeout, LOOK_OFTEN if self._session.looks_often() else LOOK_SELDOM
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(look if due is None else min(look, max(due - self._loop.time(), 0))):
                await self._news.wait()
        self._news.clear()

    async def _leave(self) -> None:
        self._unbind(set(self._bound))
        self._up = False
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                await self.call("disconnect")
        except Exception as error:
            logs.client.debug("The transport could not disconnect: %s", type(error).__name__)

    def _lost(self, error: ThalovantConnectionError, *unsent: int) -> Ending:
        self.error = error
        return Ending(failure=Failure(kind=FailureKind.LOST, message=str(error)), unsent=unsent)

    def _stopped(self) -> ThalovantConnectionError:
        said = getattr(self._transport, "last_error", None)
        said = said() if callable(said) else said
        message = "HiveMind transport stopped" + (f": {redact_text(str(said))}" if said else ".")
        return ThalovantConnectionError(message, name="lost", delivery="unknown")

    def _fail(self, token: int, error: Exception) -> None:
        self._stack.cancel(token)
        self._session.fail(token, error)

    def _tell(self) -> None:
        for outcome in self._stack.outcomes():
            self._session._outcome(outcome)

    # --- the transport ---

    def _method(self, name: str) -> Any:
        if not callable(method := getattr(self._transport, name, None)):
            hint = "thalovant.transport.Transport lists what a transport needs."
            raise ThalovantRuntimeError(f"The transport has no method {name}().", name="unsupported", hint=hint)
        return method

    def _await(self, result: Any) -> None:
        if isawaitable(result):
            future = asyncio.ensure_future(result)
            self._awaited.add(future)
            future.add_done_callback(self._awaited.discard)

    def _unbind(self, keys: set[tuple[str, str]]) -> None:
        for key in keys:
            (kind, name), hear = key, self._bound.pop(key)
            try:
                method = self._method(f"remove_{kind}")
                self._await(method(name, hear) if name else method(hear))
            except Exception as error:  # it will not call back on a connection that is gone
                logs.client.debug("The transport could not remove a subscription: %s", type(error).__name__)

    def _hear(self, kind: str, name: str, message: Any) -> None:
        """The transport calls back, from whichever thread."""
        if threading.get_ident() == self._thread and not self._binding:
            self._take(kind, name, message)
            return
        waits = threading.current_thread() is threading.main_thread() and not self._binding
        handled = threading.Event() if waits else None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._take, kind, name, message, handled)
            if handled is not None:
                handled.wait(HANDLED_WITHIN)

    def _take(self, kind: str, name: str, message: Any, handled: threading.Event | None = None) -> None:
        if kind == "mycroft":
            event = ThalovantEvent.from_message(message, name)
            bus = wire.bus(type=str(event.name), data=event.data, context=event.context, raw=message)
            self._stack.heard(bus, self._loop.time())
        elif kind == "hive_message":
            with contextlib.suppress(DecodeError):
                frame = message_from(envelope_from(message))
                if isinstance(frame, wire.Query | wire.Cascade):
                    self._stack.heard_frame(frame, self._loop.time())
                self._session._outcome(frame)
        elif (binary := _binary_from(message)) is not None:
            self._session._outcome(binary)
        self._tell()
        self.wake()
        if handled is not None:
            task = self._loop.create_task(self._handled(handled))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _handled(self, handled: threading.Event) -> None:
        while tasks := self._session._subscribers.handling():
            await asyncio.wait(tasks)
        handled.set()


class HiveFrame(dict[str, Any]):
    """A HiveMind envelope for `send_hive_message`: a dict whose entries are attributes too."""

    __getattr__ = dict.get


def _down(error: Exception) -> ThalovantConnectionError:
    said = redact_text(str(error)) or type(error).__name__
    return _caused(error, f"The transport could not connect: {said}", "hub_down")


def _again(error: Exception) -> ThalovantConnectionError:
    return _caused(error, "HiveMind transport failed after reconnect.", "lost")


def _caused(error: Exception, message: str, name: str) -> ThalovantConnectionError:
    ours = ThalovantConnectionError(message, name=name, delivery="no")
    ours.__cause__ = error
    return ours


def _binary_from(message: Any) -> wire.Binary | None:
    """Raw bytes of a transport: a frame of the core, or anything with `kind`, `data` and `metadata`."""
    if isinstance(message, wire.Binary):
        return message
    kind, data, metadata = (getattr(message, name, None) for name in ("kind", "data", "metadata"))
    if not isinstance(data, bytes | bytearray):
        return None
    number = next((one for one in range(16) if wire.Binary(bin_type=one).name == kind), 0)
    return wire.Binary(bin_type=number, payload=bytes(data), metadata=dict(metadata or {}))


def envelope_from(message: Any) -> dict[str, Any]:
    """A HiveMind message as an object of JSON, whether it comes as that or with attributes."""
    if isinstance(message, Mapping):
        return dict(message)
    kind = getattr(message, "msg_type", "")
    if not hasattr(message, "payload"):
        return {"type": kind, "data": getattr(message, "data", {}), "context": getattr(message, "context", {})}
    inner, metadata = envelope_from(message.payload), getattr(message, "metadata", None)
    return {"msg_type": str(getattr(kind, "value", kind)), "payload": inner, "metadata": metadata or {}}
