"""Randomness and time, which embedders hand in.

`entropy(n)` gives n bytes that nobody can guess; `now` is in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import LocalProtocolError

Entropy = Callable[[int], bytes]


class BadEntropy(LocalProtocolError):
    """The embedder's `entropy` gave something else than the bytes it was asked for. Raised by the call at hand."""


def checked(entropy: Entropy) -> Entropy:
    """`entropy`, whose every answer is held to the length that was asked for."""

    def exactly(size: int) -> bytes:
        data = entropy(size)
        if not isinstance(data, bytes) or len(data) != size:
            raise BadEntropy(f"entropy({size}) must give {size} bytes")
        return data

    return exactly


def forward(before: float, now: float) -> float:
    """`now`. Raises `LocalProtocolError` if it is no time, or one before the last call's."""
    if now >= before:
        return now
    raise LocalProtocolError(f"the clock ran back: {now!r} after {before!r}", code="clock_ran_back")


def soonest(*times: float | None) -> float | None:
    """The first of the times that are not None."""
    first = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first
