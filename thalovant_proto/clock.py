"""Times: seconds of the embedder's monotonic clock, which it hands in with every call."""

from __future__ import annotations

from .errors import LocalProtocolError


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
