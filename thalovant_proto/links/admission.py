"""A limit on peers that have yet to prove themselves: the same rule for sockets, sessions and peers behind a broker."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class AdmissionLimit(Generic[T]):
    """Places for those that prove nothing: `total` in all, `per_source` for one source, an address for example.

    A newcomer that finds no place displaces the oldest one that had its place for `grace` seconds, or is refused.
    """

    def __init__(self, *, total: int, per_source: int, grace: float) -> None:
        self._total = total
        self._per_source = per_source
        self._grace = grace
        self._places: dict[T, tuple[Hashable, float]] = {}  # the source of each, and since when; oldest first
        self._sources: dict[Hashable, dict[T, None]] = {}  # oldest first

    def __len__(self) -> int:
        """The number of places that are taken."""
        return len(self._places)

    def admit(self, one: T, source: Hashable | None, now: float) -> T | None:
        """Give a newcomer a place. Returns who has to go: nobody, the one that it displaces, or itself when refused.

        With None as source only the total counts.
        """
        oldest = self._obstacle(source)
        if oldest is not None:
            if now - self._places[oldest][1] < self._grace:
                return one
            self.release(oldest)
        self.add(one, source, now)
        return oldest

    def add(self, one: T, source: Hashable | None, now: float) -> None:
        """Give a newcomer a place even where there is none."""
        self._places[one] = source, now
        if source is not None:
            self._sources.setdefault(source, {})[one] = None

    def refuses(self, source: Hashable | None, now: float) -> bool:
        """Whether `admit` would refuse a newcomer."""
        oldest = self._obstacle(source)
        return oldest is not None and now - self._places[oldest][1] < self._grace

    def touch(self, one: T, now: float) -> None:
        """Count its time from now on, as if it had just come. No effect on one that has no place."""
        if one in self._places:
            source = self._places[one][0]
            self.release(one)
            self.add(one, source, now)

    def release(self, one: T) -> None:
        """Free a place: its holder is proven, or gone. Harmless if repeated."""
        source, _ = self._places.pop(one, (None, 0.0))
        if source is not None:
            del self._sources[source][one]
            if not self._sources[source]:
                del self._sources[source]

    def _obstacle(self, source: Hashable | None) -> T | None:
        """The one whose place a newcomer would need, None while there are free ones."""
        others = self._sources.get(source, {})
        if len(others) >= self._per_source:
            return next(iter(others))
        return next(iter(self._places)) if len(self._places) >= self._total else None
