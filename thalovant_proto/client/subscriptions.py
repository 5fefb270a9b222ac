"""Subscriptions, and the events that are kept for those who send first and listen afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define

from .. import events as e
from ..outcomes import Delivered, Outcome

#: Kept per session, and for how long: a program that sends and then listens does so at once.
KEPT_EVENTS: Final = 64
KEPT_FOR: Final = 30.0

Filter = Callable[[e.Bus], bool]


@define(eq=False)
class _Subscription:
    id: int
    name: str | None
    matches: Filter | None
    left: int | None  # how many more events it wants

    def takes(self, event: e.Bus) -> bool:
        if self.name is not None and self.name != event.type:
            return False
        return self.matches is None or self.matches(event)


class Subscriptions:
    """Hands events to every subscription that they match, and keeps for a while what nobody took.

    Kept are events that follow a send of ours, oldest dropped; each is given once, in order, to the first subscription
    that asks for kept ones and matches.
    """

    def __init__(self, report: Callable[[Outcome], None]) -> None:
        self._report = report
        self._subscriptions: dict[int, _Subscription] = {}
        self._kept: deque[tuple[float, e.Bus]] = deque()
        self._keep_until: float | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """The number of kept events that were dropped for newer ones."""
        return self._dropped

    def subscribe(
        self,
        id: int,
        name: str | None,
        now: float,
        *,
        matches: Filter | None = None,
        kept: bool = False,
        limit: int | None = None,
    ) -> None:
        """Begin a subscription to one bus type, or to all (None). `kept`: what was kept comes first.

        It ends by itself after `limit` events, so that the next one is not taken by somebody who has enough.
        """
        subscription = self._subscriptions[id] = _Subscription(id, name, matches, limit)
        if not kept:
            return
        self._expire(now)
        left: deque[tuple[float, e.Bus]] = deque()
        for at, event in self._kept:
            if id in self._subscriptions and subscription.takes(event):
                self._deliver(subscription, event)
            else:
                left.append((at, event))
        self._kept = left

    def unsubscribe(self, id: int) -> None:
        """End a subscription; unknown ids are fine."""
        self._subscriptions.pop(id, None)

    def expect(self, now: float) -> None:
        """We sent something: what follows is worth keeping."""
        self._keep_until = now + KEPT_FOR

    def on_message(self, event: e.Bus, now: float, *, keep: bool) -> None:
        """Hand an event on. `keep` is off for what an ask has consumed."""
        taken = False
        for subscription in tuple(self._subscriptions.values()):
            if subscription.takes(event):
                self._deliver(subscription, event)
                taken = True
        if taken or not keep or self._keep_until is None or now >= self._keep_until:
            return
        self._expire(now)
        if len(self._kept) >= KEPT_EVENTS:
            self._kept.popleft()
            self._dropped += 1
        self._kept.append((now, event))

    def _deliver(self, subscription: _Subscription, event: e.Bus) -> None:
        self._report(Delivered(subscription=subscription.id, event=event))
        if subscription.left is not None:
            subscription.left -= 1
            if subscription.left <= 0:
                self.unsubscribe(subscription.id)

    def _expire(self, now: float) -> None:
        while self._kept and self._kept[0][0] + KEPT_FOR <= now:
            self._kept.popleft()
