"""The retry ladder, which says when to dial again, and the guards against two endless loops."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..entropy import Entropy

FIRST_DELAY: Final = 0.05
#: The backoff starts over only after a session has lasted this long. Otherwise a hub that accepts and closes at once
#: would be dialed in a loop without a pause.
STEADY: Final = 2.0
#: While an outage is young a hub is probably restarting: users should not wait for a long pause to end.
YOUNG: Final = 10.0
YOUNG_CAP: Final = 0.5
OLD_CAP: Final = 30.0
#: A hub that forgets us is dialed at most this often within a minute (its earlier frames may have run).
FORGOTTEN_LIMIT: Final = 3
FORGOTTEN_WITHIN: Final = 60.0
#: Two displacements this close together are another program with our key, not an accident.
DISPLACED_WITHIN: Final = 30.0


class Redial:
    """Delays between attempts: the first at once, then jittered, doubling, capped. A steady session starts over."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._since: float | None = None  # when the outage began
        self._delay = FIRST_DELAY
        self._proven: float | None = None
        self._forgotten: deque[float] = deque(maxlen=FORGOTTEN_LIMIT)
        self._displaced: float | None = None

    def proven(self, now: float) -> None:
        """A session works: if it lasts, the outage is over."""
        self._proven = now

    def failed(self, now: float) -> float:
        """The time of the next attempt after one failed or a session was lost."""
        steady = self._proven is not None and now - self._proven >= STEADY
        self._proven = None
        if self._since is None or steady:
            self._since, self._delay = now, FIRST_DELAY
            return now
        delay = min(self._delay, YOUNG_CAP if now - self._since < YOUNG else OLD_CAP)
        self._delay = 2 * delay
        # Full delay down to half of it, so that many clients of one hub do not come back in step.
        return now + delay * (1 + self._entropy(1)[0] / 255) / 2

    def forgotten(self, now: float) -> float:
        """The time of the next attempt after the hub forgot us."""
        full = len(self._forgotten) == FORGOTTEN_LIMIT
        at = max(now, self._forgotten[0] + FORGOTTEN_WITHIN) if full else now
        self._forgotten.append(at)
        return at

    def displaced(self, now: float) -> bool:
        """Whether this displacement is the second in a row."""
        again = self._displaced is not None and now - self._displaced <= DISPLACED_WITHIN
        self._displaced = now
        return again
