"""Messages on their way to the hub: queued here, held by the link, or gone; and their fate when the link dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from attrs import define

from .. import events as e
from ..errors import LocalProtocolError
from ..failures import Failure
from ..outcomes import Delivery, Outcome, SendFailed, Sent

#: Messages that a link holds at a time: enough to keep every carrier busy. What waits here can still be taken back.
WINDOW: Final = 64


@define(kw_only=True, eq=False)
class Outgoing:
    """One message. Of an ask (`ask`) only `Sent` is told here; the ask has an end of its own."""

    token: int
    message: e.Message
    ask: bool = False
    written: bool = False  # at least a part was handed to a socket


class SendQueue:
    """The messages of a session, in the order of their tokens."""

    def __init__(self, report: Callable[[Outcome], None], *, limit: int) -> None:
        self._report = report
        self._limit = limit
        self.waiting: deque[Outgoing] = deque()
        self._held: dict[int, Outgoing] = {}

    @property
    def queued(self) -> int:
        """The number of messages that wait for a link."""
        return len(self.waiting)

    @property
    def held(self) -> int:
        """The number of messages that a link holds without a final word."""
        return len(self._held)

    @property
    def flushed(self) -> bool:
        """Whether nothing waits here or in the link's buffer."""
        return not self.waiting and all(one.written for one in self._held.values())

    def put(self, one: Outgoing) -> None:
        """Queue a message. Raises `LocalProtocolError` if as many wait as may."""
        if len(self.waiting) >= self._limit:
            message, hint = f"{self._limit} messages already wait to be sent", "wait until some have left, then go on"
            raise LocalProtocolError(message, code="queue_full", hint=hint)
        self.waiting.append(one)

    def next_message(self) -> Outgoing | None:
        """The next message, for the link from now on. None if there is none, or the link has enough."""
        if not self.waiting or len(self._held) >= WINDOW:
            return None
        one = self.waiting.popleft()
        self._held[one.token] = one
        return one

    def written(self, token: int, *, final: bool) -> None:
        """The link handed a message to the socket; `final` if it will not say more about it."""
        if (one := self._held.get(token)) is None:
            return  # it was given up
        one.written = True
        if final:
            del self._held[token]
            self._report(Sent(token=token, delivery="unknown"))

    def receipted(self, token: int) -> None:
        """The next hop took a message."""
        if self._held.pop(token, None) is not None:
            self._report(Sent(token=token, delivery="yes"))

    def rejected(self, token: int, failure: Failure) -> None:
        """A message cannot be framed: it will never travel."""
        if (one := self._held.pop(token, None)) is not None:
            self._fail(one, "no", failure)

    def withdraw(self, token: int, *, of_ask: bool = False) -> Delivery | None:
        """Give up a message without an outcome: `no` if it will not travel, None if it is unknown here.

        The message of an ask is given up with it only (`of_ask`): it outlives an ask that has ended.
        """
        if (held := self._held.get(token)) is not None and held.ask is of_ask:
            del self._held[token]
            return "unknown"
        for one in self.waiting:
            if one.token == token:
                self.waiting.remove(one)
                return "no"
        return None

    def reclaim(self, unsent: Collection[int], failure: Failure) -> list[int]:
        """The link is gone: what never left is queued again, the rest failed. The tokens that came back.

        `unsent` are the tokens that the link names as such.
        """
        back = []
        for one in self._held.values():
            if one.written and one.token not in unsent:
                self._fail(one, "unknown", failure)
            else:
                one.written = False
                back.append(one)
        self._held.clear()
        self.requeue(back)
        return [one.token for one in back]

    def requeue(self, messages: Collection[Outgoing]) -> None:
        """Queue messages once more, in front of what was queued after them, whatever the limit says."""
        if messages:
            self.waiting = deque(sorted((*messages, *self.waiting), key=lambda one: one.token))

    def keep(self, wanted: Callable[[Outgoing], bool]) -> None:
        """Drop what is queued and not wanted any more, without an outcome."""
        self.waiting = deque(filter(wanted, self.waiting))

    def fail(self, failure: Failure) -> None:
        """Nothing will travel any more."""
        for one in self.waiting:
            self._fail(one, "no", failure)
        self.waiting.clear()

    def _fail(self, one: Outgoing, delivery: Delivery, failure: Failure) -> None:
        if not one.ask:
            self._report(SendFailed(token=one.token, delivery=delivery, failure=failure))
