"""A client over a transport that its user hands in (`transport=`): the session is ours, messages go through theirs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from thalovant_proto import events as wire
from thalovant_proto.client.asks import ANSWERS
from thalovant_proto.outcomes import SessionState

from ..errors import ThalovantConnectionError, ThalovantError, ThalovantRuntimeError
from ..models import ThalovantConnectionInfo, ThalovantHealth
from .session import ClientSession
from .transporting import InjectedDriver, InjectedStack
from .waiters import Frames

if TYPE_CHECKING:
    from thalovant_io.asyncio_driver import AsyncioDriver
    from thalovant_proto.client.stack import ClientStack
    from thalovant_proto.outcomes import Delivery

    from .settings import Plan
    from .waiters import Ask


def check_transport(transport: object) -> None:
    """Raises `TypeError` for what is no transport, as the name of one or a class."""
    methods = ("connect", "emit_event", "on_mycroft")
    if isinstance(transport, type) or not any(callable(getattr(transport, name, None)) for name in methods):
        given = transport.__name__ if isinstance(transport, type) else type(transport).__name__
        raise TypeError(
            f"transport must be an object with connect(), emit_event() and the like, not {given}: "
            "name one of the hub's own by protocol="
        )


class InjectedSession(ClientSession):
    """The connection of one client over a transport of its user's. Whatever is asked of it connects first."""

    def __init__(self, plan: Plan, transport: Any) -> None:
        super().__init__(plan, store=cast("Any", None), context=cast("Any", None))
        self._transport = transport
        self._ending: set[Callable[[ThalovantError], None]] = set()
        self._keeps = False  # something was sent, whose answers may be listened to later
        self._queries = 0
        self.frames = _Frames(self._bound)

    async def _new_stack(self) -> ClientStack:
        stack = InjectedStack(self._plan.config)
        stack.patient = self._patient
        return cast("ClientStack", stack)

    def _new_driver(self, stack: ClientStack) -> AsyncioDriver[Any]:
        made = InjectedDriver(cast("InjectedStack", stack), self._transport, self)
        return cast("AsyncioDriver[Any]", made)

    @property
    def _theirs(self) -> InjectedDriver | None:
        return cast("InjectedDriver | None", self._driver)

    async def open(self) -> ClientStack:
        stack = await super().open()
        if stack.ready and (driver := self._theirs) is not None:
            if driver.alive():
                return stack
            self.abort()
            stack = await super().open()
        waiter: asyncio.Future[None] = self._here().create_future()
        self._callers.connects.add(waiter)
        cast("InjectedStack", stack).hurry(self._now)
        self.wake()
        try:
            await waiter
        finally:
            self._callers.connects.discard(waiter)
        return stack

    async def connect(self, timeout: float | None) -> None:
        try:
            await super().connect(timeout)
        except ThalovantConnectionError as error:
            if error.name == "connect_timeout":
                self.abort()
            raise

    async def begun(self) -> None:
        """Wait for what `on` began: whoever has subscribed expects to be called back from then on."""
        if self._connecting is not None:
            await asyncio.wait((self._connecting,))

    async def send(self, message: wire.Message, timeout: float) -> Delivery:
        if isinstance(message, wire.Bus):
            self._keeps = callable(getattr(self._transport, "on_mycroft", None))
            self._bind()
        return await super().send(message, timeout)

    async def _begin_ask(self, message: wire.Bus, timeout: float, **options: Any) -> tuple[Ask, Callable[[], None]]:
        if queries := options.get("query_id") is not None:
            self._need_frames()
        ask, end = await super()._begin_ask(message, timeout, **options)
        self._queries += queries

        def left() -> None:
            self._queries -= queries
            end()

        return ask, self._bound(left)

    def subscribe(self, name: str | None, deliver: Callable[[wire.Bus], None], **options: Any) -> Callable[[], None]:
        return self._bound(super().subscribe(name, deliver, **options))

    def _bound(self, end: Callable[[], None]) -> Callable[[], None]:
        """Have the transport told of a subscription, and of its `end`."""

        def left() -> None:
            end()
            self._bind()

        try:
            self._bind()
        except BaseException:
            left()
            raise
        return left

    @contextlib.contextmanager
    def ends(self, ended: Callable[[ThalovantError], None]) -> Iterator[None]:
        self._ending.add(ended)
        try:
            with super().ends(ended):
                yield
        finally:
            self._ending.discard(ended)

    async def health(self) -> ThalovantHealth:
        """What the transport says of its health, and where it says nothing, whether it is connected."""
        driver, own = self._theirs, await super().health()
        asked = driver is not None and callable(getattr(self._transport, "healthcheck", None))
        found = await driver.call("healthcheck") if driver is not None and asked else None
        if isinstance(found, Mapping):
            names = ("connected", "handshake_complete", "transport_alive", "last_error")
            return replace(own, **{name: found[name] for name in names if found.get(name) is not None})
        return found if isinstance(found, ThalovantHealth) else own

    def info(self) -> ThalovantConnectionInfo:
        ask = getattr(self._transport, "connection_info", None)
        found = ask() if callable(ask) and not iscoroutinefunction(ask) else ask
        return found if isinstance(found, ThalovantConnectionInfo) else super().info()

    # --- for the driver ---

    def wanted(self) -> set[tuple[str, str]]:
        """What is to be bound at the transport: the kind of the subscription, and the name."""
        names = {*self._subscribers.names(), *(ANSWERS if self._keeps or self._callers.asks else ())}
        frames = {*self.frames.kinds(), *((wire.Query, wire.Cascade) if self._queries else ())}
        return {("mycroft", name) for name in names} | set(map(_binding, frames))

    def waits(self, token: int) -> bool:
        """Whether somebody waits for this message to be sent, or for its answer."""
        return token in self._callers.sends or token in self._callers.asks

    def looks_often(self) -> bool:
        """Whether somebody waits for something."""
        return bool(self._callers or self._ending or self.on_state)

    def fail(self, token: int, error: Exception) -> None:
        """End a send or an ask with the transport's own error."""
        if (sent := self._callers.sends.get(token)) is not None and not sent.done():
            sent.set_exception(error)
        elif (ask := self._callers.asks.get(token)) is not None:
            ask.items.put_nowait(error)

    # --- inside ---

    def _bind(self) -> None:
        if self._theirs is not None:
            self._theirs.bind()

    def _need_frames(self) -> None:
        for name in ("send_hive_message", "on_hive_message"):
            if not callable(getattr(self._transport, name, None)):
                message, hint = "This transport does not support HiveMind query frames.", f"Give it {name}()."
                raise ThalovantRuntimeError(message, name="unsupported", hint=hint)

    def _state_changed(self, state: SessionState, error: ThalovantError | None) -> None:
        if error is not None and self._theirs is not None:
            error = self._theirs.error or error
        super()._state_changed(state, error)
        if state is SessionState.WAITING and error is not None:
            for ended in tuple(self._ending):
                ended(error)


class _Frames(Frames):
    def __init__(self, bound: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        super().__init__()
        self._bound = bound

    def add(self, kind: type[wire.Message], hear: Callable[[Any], None]) -> Callable[[], None]:
        return self._bound(super().add(kind, hear))


def _binding(kind: type[wire.Message]) -> tuple[str, str]:
    return ("binary", "") if kind is wire.Binary else ("hive_message", kind.msg_type)
