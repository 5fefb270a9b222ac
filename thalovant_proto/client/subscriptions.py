"""Subscriptions, and the events that are kept for those who send first and listen afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Final

from attrs import define

from .. import events as e
from ..outcomes import Delivered, FilterFailed, Outcome

#: Kept per session, and for how long: a program that sends and then listens does so at once.
KEPT_EVENTS: Final = 64
KEPT_FOR: Final = 30.0

Filter = Callable[[e.Bus], bool]


@define(eq=False)
class _Subscription:
    id: int
    name: str | None
    matches: Filter | None
    wanted: int | None  # how many more events


class Subscriptions:
    """Hands events to every subscription that they match, and keeps for a while what nobody took.

    Kept are events that follow a send of ours, oldest dropped; each is given once, in order, to the first subscription
    that asks for kept ones and matches.
    """

    def __init__(self, report: Callable[[Outcome], None]) -> None:
        self._report = report
        self._all: dict[int, _Subscription] = {}
        # By the type that they ask for, in the order of their ids: an event meets those only that may want it.
        self._by_name: dict[str | None, dict[int, _Subscription]] = {}
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
        subscription = self._all[id] = _Subscription(id, name, matches, limit)
        self._by_name.setdefault(name, {})[id] = subscription
        if not kept:
            return
        self._expire(now)
        untaken: deque[tuple[float, e.Bus]] = deque()
        for at, event in self._kept:
            if id not in self._all or name not in (None, event.type) or not self._deliver(subscription, event):
                untaken.append((at, event))
        self._kept = untaken

    def unsubscribe(self, id: int) -> None:
        """End a subscription; unknown ids are fine."""
        if (subscription := self._all.pop(id, None)) is not None:
            same = self._by_name[subscription.name]
            del same[id]
            if not same:
                del self._by_name[subscription.name]

    def expect(self, now: float) -> None:
        """We sent something: what follows is worth keeping."""
        self._keep_until = now + KEPT_FOR

    def on_message(self, event: e.Bus, now: float, *, keep: bool) -> None:
        """Hand an event on. `keep` is off for what an ask has consumed."""
        taken = False
        if self._all:
            for subscription in self._candidates(event.type):
                taken |= self._deliver(subscription, event)
        if taken or not keep or self._keep_until is None or now >= self._keep_until:
            return
        self._expire(now)
        if len(self._kept) >= KEPT_EVENTS:
            self._kept.popleft()
            self._dropped += 1
        self._kept.append((now, event))

    def _candidates(self, name: str) -> Collection[_Subscription]:
        """Those that ask for the type, or for all, in the order of their ids."""
        named, general = self._by_name.get(name), self._by_name.get(None)
        if named is None or general is None:
            return tuple((named or general or {}).values())
        return sorted((*named.values(), *general.values()), key=attrgetter("id"))

    def _deliver(self, subscription: _Subscription, event: e.Bus) -> bool:
        """Hand an event to a subscription for its type; whether the filter lets it pass."""
        try:
            if subscription.matches is not None and not subscription.matches(event):
                return False
        except Exception as error:
            self.unsubscribe(subscription.id)
            self._report(FilterFailed(subscription=subscription.id, error=error))
            return False
        self._report(Delivered(subscription=subscription.id, event=event))
        if subscription.wanted is not None:
            subscription.wanted -= 1
            if subscription.wanted <= 0:
                self.unsubscribe(subscription.id)
        return True

    def _expire(self, now: float) -> None:
        while self._kept and self._kept[0][0] + KEPT_FOR <= now:
            self._kept.popleft()
