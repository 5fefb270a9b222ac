"""Asks: which events answer which utterance, and when an answer is complete. One pure machine, time as argument.

An ask ends
- on *handled* once speech is there; on *handled* without speech after a short settle, with an empty reply;
- after quiet, restarted by each speech, if *handled* never comes;
- at once on a hard failure (policy, query timeout); on a soft one when *handled* arrives or after the settle, since a
  fallback may still speak;
- at its deadline, with whatever was heard.
Speech that was heard is never thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import define, field

from .. import events as e
from ..failures import Failure
from ..outcomes import AskEnded, AskFailed, AskFault, AskPiece, Delivery, Outcome

#: Quiet lasts so many settles, so that a skill that speaks twice within two seconds is heard out.
QUIET_SETTLES: Final = 8
#: Events that one ask keeps. A hub that sends more has said enough: the ask ends with them.
MAX_EVENTS: Final = 4096

_SPEECH: Final = frozenset((e.SPEAK, e.OVOS_SPEAK))
_SOFT: Final = frozenset((e.INTENT_FAILURE, e.INTENT_UNMATCHED))
_HARD: Final = frozenset((e.POLICY_DENIED, e.QUERY_TIMEOUT))
#: The bus types that an ask listens to.
ANSWERS: Final = _SPEECH | _SOFT | _HARD | {e.UTTERANCE_HANDLED}


@define(kw_only=True, eq=False)
class Ask:
    """One utterance in flight."""

    id: int  # also the token of its message
    message: e.Bus = field(repr=False)
    request_id: str
    deadline: float
    reports_pieces: bool = True
    delivery: Delivery = "no"
    waiting: bool = False  # the utterance is with the link, or gone: answers may come
    retried: bool = False  # it may have left on an earlier link
    pieces: list[e.Bus] = field(factory=list, repr=False)
    events: list[e.Bus] = field(factory=list, repr=False)
    handled: bool = False
    soft: e.Bus | None = None
    ends_at: float | None = None


class Asks:
    """All asks of a session. What becomes of them is told in order: `AskPiece`, `AskEnded`, `AskFailed`."""

    def __init__(self, report: Callable[[Outcome], None], *, settle: float) -> None:
        self._report = report
        self._settle = settle
        self._asks: dict[int, Ask] = {}
        self._by_request: dict[str, Ask] = {}
        # A lower bound of all deadlines, recomputed in `handle_timeout` only: an event costs the same with any number
        # of asks.
        self.next_timeout: float | None = None

    def __len__(self) -> int:
        return len(self._asks)

    def __contains__(self, id: int) -> bool:
        return id in self._asks

    def __iter__(self) -> Iterator[Ask]:
        """Those that have not ended, oldest first."""
        return iter(tuple(self._asks.values()))

    def start(self, ask: Ask) -> None:
        """An ask begins; its utterance is not sent yet."""
        self._asks[ask.id] = ask
        self._by_request[ask.request_id] = ask
        if self.next_timeout is None or ask.deadline < self.next_timeout:
            self.next_timeout = ask.deadline

    def known(self, request_id: str) -> bool:
        """Whether an ask with this request id is in flight."""
        return request_id in self._by_request

    def sent(self, id: int) -> None:
        """The utterance is with the link: answers may come. Ids of other messages are fine, here and below."""
        if (ask := self._asks.get(id)) is not None:
            ask.waiting = True
            ask.delivery = "unknown" if ask.delivery == "no" else ask.delivery

    def receipted(self, id: int) -> None:
        """The next hop took the utterance."""
        if (ask := self._asks.get(id)) is not None:
            ask.delivery = "yes"

    def unsent(self, id: int) -> None:
        """The utterance came back: it did not leave this time."""
        if (ask := self._asks.get(id)) is not None:
            ask.waiting = False
            ask.delivery = ask.delivery if ask.retried else "no"

    def retry(self, ask: Ask) -> None:
        """The utterance will be sent once more."""
        ask.waiting, ask.retried = False, True

    def cancel(self, id: int) -> Ask | None:
        """Forget an ask without an outcome."""
        ask = self._asks.get(id)
        if ask is not None:
            self._forget(ask)
        return ask

    def on_message(self, event: e.Bus, now: float, *, own_session: str | None) -> bool:
        """Take an event if it answers one of the asks.

        `own_session` is the hello's session id where the hub answers with nothing else (legacy), else None.
        """
        if event.type not in ANSWERS:
            return False
        ask = self._find(event, own_session)
        if ask is None:
            return False
        ask.delivery = "yes"
        ask.events.append(event)
        if event.type in _SPEECH:
            self._spoke(ask, event, now)
        elif event.type == e.UTTERANCE_HANDLED:
            self._handled(ask, now)
        elif event.type in _SOFT:
            ask.soft = event
            self._end_at(ask, now + self._settle)
        else:
            self._end(ask, failure=event)
        if ask.id in self._asks and len(ask.events) >= MAX_EVENTS:
            self._end(ask, failure=ask.soft)
        return True

    def lose(self, ids: Iterable[int], failure: Failure) -> None:
        """No answer will come any more. What was heard counts."""
        for id in ids:
            if (ask := self._asks.get(id)) is not None:
                self._end(ask, failure=ask.soft, fault=AskFault.LINK, link=failure)

    def handle_timeout(self, now: float, *, failure: Failure | None) -> bool:
        """Time has passed; whether an ask ended. `failure` is what the link suffers from, to be told on a timeout."""
        if self.next_timeout is None or now < self.next_timeout:
            return False
        due = [ask for ask in self._asks.values() if now >= _due(ask)]
        for ask in due:
            fault = AskFault.TIMEOUT if ask.ends_at is None or now < ask.ends_at else None
            self._end(ask, failure=ask.soft, fault=fault, link=failure)
        self.next_timeout = min(map(_due, self._asks.values()), default=None)
        return bool(due)

    def _find(self, event: e.Bus, own_session: str | None) -> Ask | None:
        if (request_id := event.request_id) is not None:
            ask = self._by_request.get(request_id)
            return ask if ask is not None and ask.waiting else None
        # Without a request id an event belongs to an ask only if there is no other that it could belong to.
        fitting = (ask for ask in self._asks.values() if ask.waiting and _fits(ask, event, own_session))
        ask = next(fitting, None)
        return ask if next(fitting, None) is None else None

    def _spoke(self, ask: Ask, event: e.Bus, now: float) -> None:
        ask.pieces.append(event)
        ask.soft = None  # a fallback answered after all
        if ask.reports_pieces:
            self._report(AskPiece(ask=ask.id, event=event))
        if ask.handled:
            self._end(ask)
        else:
            self._end_at(ask, now + QUIET_SETTLES * self._settle)

    def _handled(self, ask: Ask, now: float) -> None:
        ask.handled = True
        if ask.pieces or ask.soft is not None:
            self._end(ask, failure=ask.soft)
        else:
            self._end_at(ask, now + self._settle)

    def _end(
        self,
        ask: Ask,
        *,
        failure: e.Bus | None = None,
        fault: AskFault | None = None,
        link: Failure | None = None,
    ) -> None:
        self._forget(ask)
        if ask.pieces or (ask.handled and failure is None):
            pieces, events = tuple(ask.pieces), tuple(ask.events)
            handled = ask.handled and failure is None
            self._report(AskEnded(ask=ask.id, pieces=pieces, events=events, handled=handled, failure=failure))
            return
        if failure is not None:
            fault = _fault(failure)
        assert fault is not None  # noqa: S101 - an ask ends by speech, handled, an event or a fault
        self._report(AskFailed(ask=ask.id, fault=fault, delivery=ask.delivery, event=failure, failure=link))

    def _end_at(self, ask: Ask, at: float) -> None:
        ask.ends_at = at
        if self.next_timeout is None or at < self.next_timeout:
            self.next_timeout = at

    def _forget(self, ask: Ask) -> None:
        del self._asks[ask.id]
        del self._by_request[ask.request_id]
        if not self._asks:
            self.next_timeout = None


def _fits(ask: Ask, event: e.Bus, own_session: str | None) -> bool:
    """Whether an event without a request id can be meant for this ask."""
    if isinstance(event, e.PolicyDenied):  # has no session either (real-hubs.md §3)
        return event.denied_type in (ask.message.type, ask.message.msg_type)
    return event.session_id in (None, own_session, ask.message.session_id)


def _due(ask: Ask) -> float:
    return ask.deadline if ask.ends_at is None else min(ask.deadline, ask.ends_at)


def _fault(event: e.Bus) -> AskFault:
    if event.type in _SOFT:
        return AskFault.UNANSWERED
    return AskFault.DENIED if event.type == e.POLICY_DENIED else AskFault.HUB
