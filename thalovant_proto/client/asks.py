"""Asks: which events answer which utterance, and when an answer is complete. One pure machine, time as argument.

An ask ends
- on *handled* once speech is there; on *handled* without speech after a short settle, with an empty reply;
- after quiet, restarted by each speech, if *handled* never comes;
- at once on a hard failure (policy, query timeout); on a soft one when *handled* arrives or after the settle, since a
  fallback may still speak; a soft one beside speech is none, since the speech is an answer;
- at its deadline, with whatever was heard.
Speech that was heard is never thrown away. A query has its answer in frames of its own, and a last one that says so; it
waits for that one, however quiet it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import define, field

from .. import events as e
from ..codec.envelope import envelope_of, message_from
from ..errors import DecodeError
from ..failures import Failure
from ..outcomes import AskEnded, AskFailed, AskFault, AskHandled, AskPiece, Delivery, Outcome
from .ownership import UNTRACKED_UTTERANCE_GRACE_SECONDS, Sounds, refusal_belongs_to_ask

#: Quiet lasts so many settles, so that a skill that speaks twice within two seconds is heard out.
QUIET_SETTLES: Final = 8
#: Events that one ask keeps. A hub that sends more has said enough: the ask ends with them.
MAX_EVENTS: Final = 4096
#: *Handled* is told of an ask that has ended for so many seconds: it has the state that the next turn needs.
LATE_HANDLED: Final = 2.0
#: Asks that have ended are known for their late events: so many, newest first.
ENDED_ASKS: Final = 256

_SPEECH: Final = frozenset((e.SPEAK, e.OVOS_SPEAK))
_SOFT: Final = frozenset((e.INTENT_FAILURE, e.INTENT_UNMATCHED))
_HARD: Final = frozenset((e.POLICY_DENIED, e.QUERY_TIMEOUT))
#: Of a query, what comes beside its frames.
_UNFRAMED: Final = frozenset((e.POLICY_DENIED, e.AUDIO_QUEUE))
#: The bus types that an ask listens to.
ANSWERS: Final = _SPEECH | _SOFT | _HARD | {e.UTTERANCE_HANDLED, e.AUDIO_QUEUE}


@define(kw_only=True, eq=False)
class Ask:
    """One utterance in flight; with a `query_id` it travels as a query."""

    id: int  # also the token of its message
    message: e.Bus = field(repr=False)
    request_id: str
    deadline: float
    query_id: str | None = None
    reports_pieces: bool = True
    delivery: Delivery = "no"
    waiting: bool = False  # the utterance is with the link, or gone: answers may come
    retried: bool = False  # it may have left on an earlier link
    pieces: list[e.Bus] = field(factory=list, repr=False)
    events: list[e.Bus] = field(factory=list, repr=False)
    handled: bool = False
    soft: e.Bus | None = None
    sounds: Sounds = field(factory=Sounds, repr=False)
    ends_at: float | None = None

    @property
    def frame(self) -> e.Message:
        """What is sent."""
        if self.query_id is None:
            return self.message
        return e.Query(payload=envelope_of(self.message), metadata={"query_id": self.query_id})


@define(eq=False)
class _Ended:
    session_id: str | None
    told_until: float


class Asks:
    """All asks of a session. What becomes of them is told in order: `AskPiece`, `AskEnded`, `AskFailed`."""

    def __init__(self, report: Callable[[Outcome], None], *, settle: float, empty_wait: float = math.inf) -> None:
        self._report = report
        self._settle = settle
        self._late_settle = min(settle, empty_wait)  # where nothing was said yet
        self._asks: dict[int, Ask] = {}
        self._by_request: dict[str, Ask] = {}
        self._by_query: dict[str, Ask] = {}
        self._ended: dict[str, _Ended] = {}  # by request id, oldest first
        self._untracked_until = -math.inf
        self._nameless = 0  # of the untracked, those without a request id that are not handled
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
        self._ended.pop(ask.request_id, None)
        if ask.query_id is not None:
            self._by_query[ask.query_id] = ask
        if self.next_timeout is None or ask.deadline < self.next_timeout:
            self.next_timeout = ask.deadline

    def known(self, request_id: str, query_id: str | None = None) -> bool:
        """Whether an ask with this request id, or a query with this query id, is in flight."""
        return request_id in self._by_request or query_id in self._by_query

    def published(self, message: e.Bus, now: float) -> None:
        """A message that is no ask is with the link: what follows it is its own, and a refusal may be."""
        self._ended.pop(message.request_id or "", None)
        if message.type == e.UTTERANCE:
            self._nameless = (self._nameless if self._untracked(now) else 0) + (message.request_id is None)
            self._untracked_until = now + UNTRACKED_UTTERANCE_GRACE_SECONDS

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
        """Take an event if it answers one of the asks, or one that has ended.

        `own_session` is the hello's session id where the hub answers with nothing else (legacy), else None.
        """
        if event.type not in ANSWERS:
            return False
        ask = self._find(event, now, own_session)
        if ask is None:
            return self._late(event, now, own_session)
        self._take(ask, event, now)
        return True

    def on_frame(self, frame: e.Query | e.Cascade, now: float) -> None:
        """Take what a frame holds if it is a piece of the answer to a query."""
        query_id = frame.metadata.get("query_id")
        ask = self._by_query.get(query_id) if isinstance(query_id, str) else None
        if ask is None or not ask.waiting:
            return
        try:
            event = message_from(frame.payload)
        except DecodeError:
            return  # what is inside is the other side's business
        if isinstance(event, e.Bus):
            self._take(ask, event, now)

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
            self._end(ask, now, failure=ask.soft, fault=fault, link=failure)
        self.next_timeout = min(map(_due, self._asks.values()), default=None)
        return bool(due)

    def _find(self, event: e.Bus, now: float, own_session: str | None) -> Ask | None:
        if (request_id := event.request_id) is not None:
            ask = self._by_request.get(request_id)
            if ask is None or not ask.waiting:
                return None
            return ask if ask.query_id is None or event.type in _UNFRAMED else None
        waiting = [ask for ask in self._asks.values() if ask.waiting]
        asks = [ask for ask in waiting if ask.query_id is None]
        if event.type == e.POLICY_DENIED:
            return self._refused(event, now, asks, [ask for ask in waiting if ask.query_id is not None])
        # Without a request id an event belongs to an ask only if there is nothing else that it could belong to.
        if self._nameless and self._untracked(now):
            self._nameless -= event.type == e.UTTERANCE_HANDLED
            return None
        fitting = [ask for ask in asks if _fits(ask.message.session_id, event, own_session)]
        return fitting[0] if len(fitting) == 1 else None

    def _refused(self, event: e.Bus, now: float, asks: list[Ask], queries: list[Ask]) -> Ask | None:
        denied_type = event.data.get("denied_type")
        if denied_type == e.Query.msg_type:
            return queries[0] if len(queries) == 1 else None
        if asks and refusal_belongs_to_ask(
            request_id=None,
            own_request_id=asks[0].request_id,
            denied_type=denied_type,
            asks_in_flight=len(asks),
            queries_in_flight=len(queries),
            sends_in_flight=int(self._untracked(now)),
            asked_type=asks[0].message.type,
        ):
            return asks[0]
        return None

    def _untracked(self, now: float) -> bool:
        return now < self._untracked_until

    def _late(self, event: e.Bus, now: float, own_session: str | None) -> bool:
        """Whether an event belongs to an ask that has ended: nobody who listens afterwards should take it for his."""
        handled = event.type == e.UTTERANCE_HANDLED
        if (request_id := event.request_id) is not None:
            ended = self._ended.get(request_id)
        elif handled and not self._asks and not self._untracked(now):
            recent = [each for each in self._ended.values() if now < each.told_until]
            ended = recent[0] if len(recent) == 1 and _fits(recent[0].session_id, event, own_session) else None
        else:
            return False
        if ended is not None and handled and now < ended.told_until:
            self._report(AskHandled(session_id=ended.session_id, event=event))
        return ended is not None

    def _take(self, ask: Ask, event: e.Bus, now: float) -> None:
        ask.delivery = "yes"
        if event.type == e.AUDIO_QUEUE and not ask.sounds.admit(event.data):
            return
        ask.events.append(event)
        if event.type in _SPEECH:
            self._spoke(ask, event, now)
        elif event.type == e.AUDIO_QUEUE:
            self._settle_at(ask, now, said=not ask.handled and ask.soft is None)
        elif event.type == e.UTTERANCE_HANDLED and ask.query_id is None:
            self._handled(ask, event, now)
        elif event.type in _SOFT:
            ask.soft = event
            self._end_at(ask, now + self._late_settle)
        elif event.type in _HARD:
            self._end(ask, now, failure=event)
        elif event.type == e.QUERY_COMPLETE:
            ask.handled = True
            self._end(ask, now, failure=ask.soft)
        if ask.id in self._asks and len(ask.events) >= MAX_EVENTS:
            self._end(ask, now, failure=ask.soft, fault=AskFault.TIMEOUT)

    def _spoke(self, ask: Ask, event: e.Bus, now: float) -> None:
        ask.pieces.append(event)
        ask.soft = ask.ends_at = None  # a fallback answered after all
        if ask.reports_pieces:
            self._report(AskPiece(ask=ask.id, event=event))
        if ask.handled:
            self._end(ask, now)
        else:
            self._settle_at(ask, now, said=True)

    def _handled(self, ask: Ask, event: e.Bus, now: float) -> None:
        ask.handled = True
        self._report(AskHandled(session_id=ask.message.session_id, event=event))
        if ask.pieces or ask.soft is not None:
            self._end(ask, now, failure=ask.soft)
        else:
            self._settle_at(ask, now, said=False)

    def _settle_at(self, ask: Ask, now: float, *, said: bool) -> None:
        """An ask ends where nothing more comes; a query has an end that comes."""
        if ask.query_id is None:
            self._end_at(ask, now + (QUIET_SETTLES * self._settle if said else self._late_settle))

    def _end(
        self,
        ask: Ask,
        now: float = -math.inf,
        *,
        failure: e.Bus | None = None,
        fault: AskFault | None = None,
        link: Failure | None = None,
    ) -> None:
        self._forget(ask, now)
        if ask.pieces and failure is not None and failure.type in _SOFT:
            failure, ask.handled = None, True  # the hub is done, and what it said is the answer
        if ask.pieces or (failure is None and (ask.handled or ask.sounds.kept)):
            self._report(
                AskEnded(
                    ask=ask.id,
                    pieces=tuple(ask.pieces),
                    events=tuple(ask.events),
                    handled=ask.handled and failure is None,
                    failure=failure,
                    dropped_media=ask.sounds.dropped,
                )
            )
            return
        if failure is not None:
            fault = _fault(failure)
        assert fault is not None  # noqa: S101 - an ask ends by speech, handled, an event or a fault
        self._report(AskFailed(ask=ask.id, fault=fault, delivery=ask.delivery, event=failure, failure=link))

    def _end_at(self, ask: Ask, at: float) -> None:
        ask.ends_at = at
        if self.next_timeout is None or at < self.next_timeout:
            self.next_timeout = at

    def _forget(self, ask: Ask, now: float = -math.inf) -> None:
        del self._asks[ask.id]
        del self._by_request[ask.request_id]
        if ask.query_id is not None:
            del self._by_query[ask.query_id]
        self._ended[ask.request_id] = _Ended(ask.message.session_id, now + LATE_HANDLED)
        if len(self._ended) > ENDED_ASKS:
            del self._ended[next(iter(self._ended))]
        if not self._asks:
            self.next_timeout = None


def _fits(session_id: str | None, event: e.Bus, own_session: str | None) -> bool:
    """Whether an event without a request id can be meant for an ask of this session."""
    found = event.session_id
    if found is None or session_id is None:
        return True
    return any(e.same_session(found, one) for one in (own_session, session_id))


def _due(ask: Ask) -> float:
    return ask.deadline if ask.ends_at is None else min(ask.deadline, ask.ends_at)


def _fault(event: e.Bus) -> AskFault:
    if event.type in _SOFT:
        return AskFault.UNANSWERED
    return AskFault.DENIED if event.type == e.POLICY_DENIED else AskFault.HUB
