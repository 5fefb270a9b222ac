"""The time and the queue of a client's next poll, which follow from what it said and heard."""

from __future__ import annotations

from typing import Final

from .stream import Resource

# The pause before a poll, growing with each that finds nothing: at first, where somebody waits, where nobody does.
_FIRST: Final = 0.001
_EAGER: Final = 0.1
_IDLE: Final = 2.0
_GROWTH: Final = 1.5
# Which polls also look into the queue that should be empty: a legacy hub's binary frames, a noise hub's second hello.
# Those that find frames do so more rarely, since the client's answer to these would have to wait for it.
_BOTH_QUEUES_EVERY: Final = 4
_BOTH_QUEUES_WHEN_BUSY: Final = 16


class PollSchedule:
    """When to poll, `due_at`, and what: `queue`. Polls alternate with requests of the client's own."""

    def __init__(self) -> None:
        self.due_at: float = 0.0
        self.eager: bool = False  # somebody waits for an answer
        self._pause = _FIRST
        self._polls = 0
        self._other_queue = False  # the next poll looks into it
        self._main = Resource.TEXT

    @property
    def queue(self) -> Resource:
        """The queue of the next poll."""
        if self._other_queue:
            return Resource.TEXT if self._main is Resource.BINARY else Resource.BINARY
        return self._main

    def speak_binary(self) -> None:
        """The client's frames are binary, so the hub's will be."""
        if self._main is not Resource.BINARY:
            self._main = Resource.BINARY
            self._other_queue, self._polls = False, 0

    def start(self, now: float) -> None:
        """Poll at once: the hub's hello waits already."""
        self.due_at = now
        self._pause = _FIRST

    def hurry(self, now: float) -> None:
        """Poll soon, unless a poll is due sooner: at once for somebody who waits."""
        due = self.due_at
        self._pause = _FIRST
        self._pause_from(now, at_once=self.eager)
        self.due_at = min(due, self.due_at)

    def polled(self, now: float, *, found: bool) -> None:
        """A poll was answered, with frames or without."""
        self._polls = 1 if self._other_queue else self._polls + 1
        if found:
            self._pause = _FIRST
        self._other_queue = self._polls >= (_BOTH_QUEUES_WHEN_BUSY if found else _BOTH_QUEUES_EVERY)
        self._pause_from(now, at_once=self._other_queue or (found and self.eager))

    def _pause_from(self, now: float, *, at_once: bool) -> None:
        """Poll after a pause, and the next one will be longer; or without one, which lengthens nothing."""
        if at_once:
            self.due_at = now
            return
        pause = min(self._pause, _EAGER if self.eager else _IDLE)
        self.due_at = now + pause
        self._pause = pause * _GROWTH
