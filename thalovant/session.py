"""Links that are kept: `AsyncHubSession` for daemons on asyncio, `HubSession` for programs with threads.

A session makes its attempts with one client each, as `LinkSupervisor` decides, and takes subscriptions from client to
client.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from attrs import define, field

from . import logs
from ._internal.options import function
from ._internal.portal import shaped
from .async_client import AsyncThalovantClient
from .errors import ThalovantConnectionError, ThalovantDisplacedError, ThalovantError, ThalovantRuntimeError
from .events import ThalovantEvent
from .origins import OriginPreference, hub_hostname, preferred_origin
from .subscriptions import AsyncThalovantSubscription
from .supervisor import HubSessionPolicy, LinkDecision, LinkSupervisor, outcome_of

if TYPE_CHECKING:
    from .client import ThalovantClient
    from .events import EventHandler
    from .identity import ThalovantIdentity
    from .models import ThalovantReply

__all__ = [
    "AsyncHubSession", "HubSession", "HubSessionPolicy", "LinkDecision", "LinkSupervisor", "OriginPreference", "alive",
    "hub_hostname", "preferred_origin",
]  # fmt: skip

T = TypeVar("T")
_Wanted: TypeAlias = dict[AsyncThalovantSubscription, None]

_MISTAKES = (TypeError, AttributeError, NameError)  # of the program: no other attempt would mend them


def alive(client: Any) -> bool:
    """Whether a client's connection has not come to its end: neither failed nor closed. One that waits is alive.

    Example:
        >>> client.close()
        >>> alive(client)
        False
    """
    if isinstance(state := getattr(client, "state", None), str):
        return state not in ("closing", "closed", "displaced", "failed")
    return client.connection_info().phase not in ("error", "closed")


def _or_usual(given: HubSessionPolicy | None) -> HubSessionPolicy:
    return given or HubSessionPolicy()


def _subscribed(wanted: _Wanted, client: Any, name: str, handler: EventHandler) -> Callable[[], None]:
    """Have one more subscription, on `client` if there is one; returns the way to end it."""
    one = AsyncThalovantSubscription(name, handler)
    one._closes_with(lambda: wanted.pop(one, None))
    wanted[one] = None
    if client is not None:
        _follow(client, wanted, one)
    return one.close


def _follow(client: Any, wanted: _Wanted, *new: AsyncThalovantSubscription) -> None:
    """Listen on a client, to what is new or else to all that is wanted. What it refuses is wanted no more."""
    for one in new or tuple(wanted):
        wanted.pop(one, None)
        if isinstance(client, AsyncThalovantClient):  # before it connects, so that nothing is missed
            begun: Any = client._session.subscribe(one.event_name, one._deliver)
        else:
            begun = client.on(one.event_name, one._handler)
        wanted[one] = None
        one._closes_with(partial(_ended, wanted, one, getattr(begun, "close", begun)))


def _ended(wanted: _Wanted, one: AsyncThalovantSubscription, end: Callable[[], object]) -> None:
    wanted.pop(one, None)
    end()


async def _comes(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


@define(eq=False, repr=False, slots=False)
class AsyncHubSession:
    """Keeps a link to a hub for as long as a daemon runs: `run()` connects, holds, and connects again until `close()`.

    `connect` is an async function that gives a connected client, a new one each time. A link counts as up once it has
    lasted `settle_seconds` after its handshake: a hub may refuse as late as that. `clock` gives seconds for the grace
    of `policy`. `for_identity` makes a session whose clients are `AsyncThalovantClient`s.
    """

    _connect: Callable[[], Awaitable[AsyncThalovantClient]]
    _policy: HubSessionPolicy = field(default=None, kw_only=True, converter=_or_usual)
    _clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    _settle_seconds: float = field(default=0.75, kw_only=True)
    _wanted: _Wanted = field(init=False, factory=dict)
    _listeners: _Wanted = field(init=False, factory=dict)  # for changes of the link
    _client: Any = field(init=False, default=None)  # accepted, or on its way
    _accepted: bool = field(init=False, default=False)
    _lost: asyncio.Event = field(init=False, factory=asyncio.Event)
    _loss: ThalovantError | None = field(init=False, default=None)
    _turn: asyncio.Lock = field(init=False, factory=asyncio.Lock)  # one attempt at a time
    _limit: asyncio.Timeout | None = field(init=False, default=None)  # of the present attempt
    _shut: asyncio.Event = field(init=False, factory=asyncio.Event)

    @classmethod
    def for_identity(
        cls,
        identity: ThalovantIdentity,
        *,
        session: object = None,
        policy: HubSessionPolicy | None = None,
        settle_seconds: float = 0.75,
        **client_kwargs: Any,
    ) -> AsyncHubSession:
        """A session of `AsyncThalovantClient(identity, **client_kwargs)`; made without input or output.

        `session`, an HTTP session of the program's own, is accepted and neither used nor closed. Raises what the
        client's constructor raises.
        """
        options = {**client_kwargs, "auto_reconnect": False, "reconnect_attempts": 0}  # the session's ladder decides
        AsyncThalovantClient(identity, **options)  # a mistake is told now

        async def connect() -> AsyncThalovantClient:
            client = AsyncThalovantClient(identity, **options)
            made._hold(client)
            await client.connect()
            return client

        made = cls(connect, policy=policy, settle_seconds=settle_seconds)
        return made

    @property
    def client(self) -> AsyncThalovantClient | None:
        """The client that is held; its link may have ended a moment ago."""
        return self._client if self._accepted else None

    @property
    def held(self) -> bool:
        """Whether a client is held."""
        return self._accepted

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self._accepted and not self._lost.is_set()

    async def connect(self) -> None:
        """Make one attempt, if the link is not up; returns when it has settled. Raises what the attempt ended with."""
        async with self._turn:
            if self.connected:
                return
            await self._let_go()
            if self._shut.is_set():
                raise _closed()
            limit = self._limit = asyncio.timeout(None)
            try:
                async with limit:
                    self._hold(client := await self._connect())
                    if hasattr(client, "on_state"):
                        client.on_state(partial(self._changed, client))
                    await self._settle()
            except BaseException as error:
                logs.link.debug("An attempt of a session failed: %s", error)
                await self._let_go()
                if isinstance(error, TimeoutError) and limit.expired():
                    raise _closed() from None
                raise
            finally:
                self._limit = None
            self._accepted = True
            self._tell(True)

    async def run(self) -> None:
        """Keep the link until `close()`: connect, hold, connect again by the policy; a link that is there is kept.

        Raises the last error when it gives up: `ThalovantHubRefusedError` when the grace is over,
        `ThalovantHubKeyChangedError` and `ThalovantClientKeyRejectedError` at once.
        """
        supervisor = LinkSupervisor(self._policy)
        while not self._shut.is_set():
            try:
                await self.connect()
            except Exception as error:
                if self._shut.is_set():
                    return
                decision = supervisor.after(outcome_of(error), self._clock())
                if decision.action == "give_up" or isinstance(error, _MISTAKES):
                    raise
            else:
                supervisor.after("up", self._clock())
                while not await _comes(self._lost, self._policy.probe_seconds):
                    if not alive(self._client):
                        self._lose(None)
                # Whoever displaced us would be displaced at once, and so on.
                displaced = isinstance(self._loss, ThalovantDisplacedError)
                decision = supervisor.after("failed" if displaced else "dropped", self._clock())
            await _comes(self._shut, decision.wait_seconds)

    async def close(self) -> None:
        """End the link, the attempt and `run()`, for good. Idempotent; also before anything was connected."""
        self._shut.set()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        async with self._turn:
            await self._let_go()

    def on(self, name: str, handler: EventHandler) -> Callable[[], None]:
        """Call `handler(event)` for every event of that name, from whichever client; returns the way to end that.

        Before or after connecting. Coroutine functions are awaited, one event at a time; what one raises is logged.
        """
        return _subscribed(self._wanted, None if self._lost.is_set() else self._client, name, handler)

    def on_state_change(self, callback: Callable[[bool], object]) -> Callable[[], None]:
        """Call `callback(True)` whenever the link is up, `callback(False)` when it is not any more.

        Coroutine functions are awaited, in order; what one raises is logged. Returns the way to end that.
        """
        function(callback, "a callback of state changes")
        return _subscribed(self._listeners, None, "the link", lambda event: callback(event.data["up"]))

    @shaped(AsyncThalovantClient.ask)
    async def ask(self, *args: Any, **options: Any) -> ThalovantReply:
        return await self._up().ask(*args, **options)  # type: ignore[no-any-return]

    @shaped(AsyncThalovantClient.emit)
    async def emit(self, *args: Any, **options: Any) -> None:
        await self._up().emit(*args, **options)

    @shaped(AsyncThalovantClient.reply)
    async def reply(self, *args: Any, **options: Any) -> None:
        await self._up().reply(*args, **options)

    def _up(self) -> Any:
        if self.connected:
            return self._client
        message, hint = "The session has no link to the hub now.", "Wait until on_state_change tells True."
        raise ThalovantConnectionError(message, hint=hint, delivery="no") from self._loss

    def _hold(self, client: Any) -> None:
        """Listen to a client, unless that is done already."""
        if client is not self._client:
            self._client, self._loss = client, None
            self._lost.clear()
            _follow(client, self._wanted)

    def _changed(self, client: Any, state: str, error: ThalovantError | None) -> None:
        if state != "ready" and client is self._client:
            self._lose(error)

    def _lose(self, error: ThalovantError | None) -> None:
        if not self._lost.is_set():
            self._loss = error
            self._lost.set()
            if self._accepted:
                self._tell(False)

    async def _settle(self) -> None:
        """Wait as long as a link must last. Raises why this one did not."""
        client, passed = self._client, 0.0
        if isinstance(client, AsyncThalovantClient) and (done := client._session._timings.completed) is not None:
            passed = asyncio.get_running_loop().time() - done
        if await _comes(self._lost, self._settle_seconds - passed) or not alive(client):
            raise self._loss or ThalovantConnectionError("The link ended as soon as it was up.", name="lost")

    async def _let_go(self) -> None:
        if self._client is not None:
            self._lose(None)
            client, self._client, self._accepted = self._client, None, False
            with contextlib.suppress(Exception):  # it is of no use any more
                await client.close()

    def _tell(self, up: bool) -> None:
        for heard in tuple(self._listeners):
            heard._put(ThalovantEvent("link", {"up": up}))


@define(eq=False, repr=False, slots=False)
class HubSession:
    """A link to a hub for programs with threads. Calls that find it ended connect anew, and nothing is sent twice.

    `connect` is a function that gives a connected client, a new one each time. With `warm` a daemon thread connects
    right away and looks after the link, as often as `policy` says; otherwise the first call connects, and `probe` is
    the program's to call. `retry_at`: when a probe connects next, on `clock`; `retry_wait`: how long that was from the
    last failure, in seconds; both 0 while there is nothing to wait for, infinite where no other attempt would help.
    """

    _connect: Callable[[], ThalovantClient]
    _policy: HubSessionPolicy = field(default=None, kw_only=True, converter=_or_usual)
    _clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    _warm: bool = field(default=True, kw_only=True)
    _thread_name: str = field(default="thalovant-hub-session", kw_only=True)
    retry_at: float = field(init=False, default=0.0)
    retry_wait: float = field(init=False, default=0.0)
    _wanted: _Wanted = field(init=False, factory=dict)
    _client: ThalovantClient | None = field(init=False, default=None)
    _turn: threading.RLock = field(init=False, factory=threading.RLock)  # one attempt at a time
    _state: threading.RLock = field(init=False, factory=threading.RLock)  # of what is held
    _thread: threading.Thread | None = field(init=False, default=None)
    _news: threading.Event = field(init=False, factory=threading.Event)
    _shut: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._supervisor = LinkSupervisor(self._policy)
        if self._warm:
            self.warm()

    @property
    def held(self) -> bool:
        """Whether a client is held whose connection has not ended."""
        return (client := self._client) is not None and alive(client)

    @property
    def probe_delay(self) -> float:
        """Seconds until the next probe is due."""
        return self._policy.probe_seconds if self.held else self._policy.probe_down_seconds

    def warm(self) -> None:
        """Connect in the background and look after the link there. Returns at once."""
        if self._thread is None and not self._shut:
            self._thread = threading.Thread(target=self._keep, name=self._thread_name, daemon=True)
            self._thread.start()

    def probe(self) -> bool:
        """Connect if the link has ended and its wait is over. Whether a client is held then; raises no failure."""
        with self._turn:
            if not self._shut and self._clock() >= self.retry_at:
                with contextlib.suppress(Exception):  # logged; a call that needs the link raises it
                    self._obtain()
            return self.held

    def on(self, name: str, handler: EventHandler) -> Callable[[], None]:
        """Call `handler(event)` for every event of that name, on each client in turn; returns the way to end that."""
        with self._state:
            return _subscribed(self._wanted, self._client if self.held else None, name, handler)

    @shaped(AsyncThalovantClient.ask)
    def ask(self, *args: Any, **options: Any) -> ThalovantReply:
        return self._call(lambda client: client.ask(*args, **options))

    @shaped(AsyncThalovantClient.emit)
    def emit(self, *args: Any, **options: Any) -> None:
        self._call(lambda client: client.emit(*args, **options))

    def close(self) -> None:
        """End the link for good. Idempotent; waits for no attempt that is under way."""
        self._shut = True
        self._news.set()
        self._drop(self._client)

    def _call(self, call: Callable[[ThalovantClient], T]) -> T:
        client = self._obtain()
        try:
            return call(client)
        except (ThalovantRuntimeError, ValueError, TypeError):  # the hub's answer, or a mistake of the caller
            raise
        except Exception:
            self._drop(client)
            raise

    def _obtain(self) -> ThalovantClient:
        with self._turn:
            if (client := self._client) is not None and alive(client):
                return client
            self._drop(client)
            if self._shut:
                raise _closed()
            try:
                made = self._connect()
                with self._state:
                    self._client = made
                    _follow(made, self._wanted)
                if hasattr(made, "on_state"):
                    made.on_state(lambda state, error: self._news.set())
                if self._shut:
                    raise _closed()
            except Exception as error:
                logs.link.debug("An attempt of a session failed: %s", error)
                self._drop(self._client)
                decision = self._supervisor.after(outcome_of(error), now := self._clock())
                self.retry_wait = math.inf if decision.action == "give_up" else decision.wait_seconds
                self.retry_at = now + self.retry_wait
                raise
            self._supervisor.after("up", self._clock())
            self.retry_at = self.retry_wait = 0.0
            return made

    def _drop(self, client: ThalovantClient | None) -> None:
        if client is not None and client is self._client:
            self._client = None
            self._news.set()
            with contextlib.suppress(Exception):  # it is of no use any more
                client.close()

    def _keep(self) -> None:
        while not self._shut:
            self._news.clear()
            self.probe()
            self._news.wait(0 if self._shut else self.probe_delay)


def _closed() -> ThalovantConnectionError:
    told = {"name": "closed", "hint": "Make another session."}
    return ThalovantConnectionError("The session is closed.", **told, retryable=False, delivery="no")
