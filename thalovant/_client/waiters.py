"""Waiting callers and subscribers of one client, by the ids under which the outcomes of a stack name them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field

from thalovant_proto.events import Message, Rendezvous
from thalovant_proto.outcomes import AskEnded, AskFailed, AskPiece, Delivered, Delivery, SendFailed, Sent

from .._internal.error_mapping import ask_error, send_error
from ..errors import ThalovantError

if TYPE_CHECKING:
    from thalovant_proto.client.stack import ClientStack
    from thalovant_proto.events import Bus


@define(eq=False)
class Ask:
    """One ask, as its caller sees it: pieces in a queue, the end or an error as the last item."""

    timeout: float
    request_id: str | None
    items: asyncio.Queue[Bus | AskEnded | Exception] = field(factory=asyncio.Queue)

    async def next(self) -> Bus | AskEnded:
        """The next piece, or the end. Raises the error that ended it."""
        item = await self.items.get()
        if isinstance(item, Exception):
            raise item
        return item


class Callers:
    """Callers that wait for an outcome of the present stack."""

    def __init__(self) -> None:
        self.asks: dict[int, Ask] = {}
        self.sends: dict[int, asyncio.Future[Delivery]] = {}
        self.connects: set[asyncio.Future[None]] = set()

    def __bool__(self) -> bool:
        return bool(self.asks or self.sends or self.connects)

    def deliver(self, outcome: object) -> None:
        """Hand an outcome to the caller that waits for it, unless that has given up."""
        match outcome:
            case AskPiece(ask=id, event=event) if id in self.asks:
                self.asks[id].items.put_nowait(event)
            case AskEnded(ask=id) if id in self.asks:
                self.asks[id].items.put_nowait(outcome)
            case AskFailed(ask=id) if id in self.asks:
                ask = self.asks[id]
                error = ask_error(outcome, timeout=ask.timeout)
                if isinstance(error, ThalovantError):
                    error.request_id = ask.request_id
                ask.items.put_nowait(error)
            case Sent(token=token, delivery=delivery) if token in self.sends:
                _settle(self.sends[token], delivery)
            case SendFailed(token=token, failure=failure) if token in self.sends:
                _settle(self.sends[token], send_error(failure, outcome.delivery))

    def connected(self) -> None:
        """End the calls of `connect`: the connection is up."""
        for waiter in self.connects:
            _settle(waiter, None)

    def ended(self, error: ThalovantError) -> None:
        """Fail the calls of `connect`; the stack ends asks and sends one by one."""
        for waiter in self.connects:
            _settle(waiter, error)

    def crashed(self, error: ThalovantError) -> None:
        """Fail all callers: the stack reports nothing any more."""
        for ask in self.asks.values():
            ask.items.put_nowait(error)
        for waiter in self.sends.values():
            _settle(waiter, error)
        self.ended(error)


@define(eq=False)
class _Subscription:
    name: str | None
    deliver: Callable[[Bus], None]
    matches: Callable[[Bus], bool] | None
    kept: bool
    limit: int | None
    id: int = 0  # in the present stack


class Subscribers:
    """Subscriptions of a client, which outlive its stacks."""

    def __init__(self) -> None:
        self._all: list[_Subscription] = []
        self._stack: ClientStack | None = None
        self._by_id: dict[int, _Subscription] = {}

    def add(
        self,
        name: str | None,
        deliver: Callable[[Bus], None],
        now: float,
        *,
        matches: Callable[[Bus], bool] | None = None,
        kept: bool = False,
        limit: int | None = None,
    ) -> Callable[[], None]:
        """Begin a subscription; the function returned ends it, and does nothing when it is called twice."""
        subscription = _Subscription(name, deliver, matches, kept, limit)
        self._all.append(subscription)
        if self._stack is not None:
            self._bind(self._stack, subscription, now)
        return lambda: self._remove(subscription)

    def move(self, stack: ClientStack | None, now: float) -> None:
        """Listen to another stack; to none until there is one."""
        self._stack = stack
        self._by_id.clear()
        if stack is not None:
            for subscription in self._all:
                self._bind(stack, subscription, now)

    def deliver(self, delivered: Delivered) -> None:
        """Hand an event over."""
        if (subscription := self._by_id.get(delivered.subscription)) is not None:
            subscription.deliver(delivered.event)

    def names(self) -> set[str]:
        """The types that are listened to."""
        return {one.name for one in self._all if one.name is not None}

    def handling(self) -> list[asyncio.Task[None]]:
        """The handlers at work."""
        owners = (getattr(one.deliver, "__self__", None) for one in self._all)
        return [task for one in owners if (task := getattr(one, "_task", None)) is not None]

    def _bind(self, stack: ClientStack, subscription: _Subscription, now: float) -> None:
        subscription.id = stack.subscribe(
            subscription.name, now, matches=subscription.matches, kept=subscription.kept, limit=subscription.limit
        )
        self._by_id[subscription.id] = subscription

    def _remove(self, subscription: _Subscription) -> None:
        if subscription not in self._all:
            return
        self._all.remove(subscription)
        if self._by_id.pop(subscription.id, None) is not None and self._stack is not None:
            self._stack.unsubscribe(subscription.id)


class Frames:
    """Who hears messages that are no bus messages, by their kind. They outlive stacks, too."""

    def __init__(self) -> None:
        self._by_kind: defaultdict[type, dict[Callable[[Any], None], None]] = defaultdict(dict)  # in order

    def add(self, kind: type[Message], hear: Callable[[Any], None]) -> Callable[[], None]:
        """Have those of a kind handed over; the function returned ends it."""
        self._by_kind[kind][hear] = None
        return lambda: self._remove(kind, hear)

    def kinds(self) -> list[type[Message]]:
        """Those that somebody hears."""
        return [kind for kind, heard in self._by_kind.items() if heard]

    def deliver(self, frame: Message) -> None:
        """Hand one over, but the answer to a rendezvous of ours, which only asks whether the hub is there."""
        if isinstance(frame, Rendezvous) and frame.payload.get("status") == "error":
            return
        for hear in tuple(self._by_kind[type(frame)]):
            hear(frame)

    def _remove(self, kind: type[Message], hear: Callable[[Any], None]) -> None:
        self._by_kind[kind].pop(hear, None)


def _settle(future: asyncio.Future[Any], result: object) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
