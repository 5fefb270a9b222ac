"""Asks: which events answer which utterance, and when an answer is complete. One pure machine, time as argument.

An ask ends (DESIGN: what the session promises)
- on *handled* once speech is there; on *handled* without speech after a short settle, with an empty reply;
- after quiet, restarted by each speech, if *handled* never comes;
- at once on a hard failure (policy, query timeout); on a soft one when *handled* arrives or after the settle, since a
  fallback may still speak;
- at its deadline, with whatever was heard.
Speech that was heard is never thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field

from . import events as e
from .failures import Failure
from .outcomes import AskEnded, AskFailed, AskFault, AskPiece, Delivery, Outcome

#: How many settles make quiet: a skill that speaks twice within two seconds is heard out.
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
    delivery: Delivery = "no"
    pieces: list[e.Bus] = field(factory=list, repr=False)
    events: list[e.Bus] = field(factory=list, repr=False)
    handled: bool = False
    soft: e.Bus | None = None
    ends_at: float | None = None


class Asks:
    """All asks of a session."""

    def __init__(self, *, settle: float) -> None:
        self._settle = settle
        self._asks: dict[int, Ask] = {}
        self._by_request: dict[str, Ask] = {}
        self._outcomes: list[Outcome] = []

    def __len__(self) -> int:
        return len(self._asks)

    def start(self, ask: Ask) -> None:
        """An ask begins; its utterance is not sent yet."""
        self._asks[ask.id] = ask
        self._by_request[ask.request_id] = ask

    def known(self, request_id: str) -> bool:
        """Whether an ask with this request id is in flight."""
        return request_id in self._by_request

    def sent(self, token: int, delivery: Delivery) -> None:
        """The utterance with this token left, or came back unsent (`no`)."""
        if (ask := self._asks.get(token)) is not None:
            ask.delivery = delivery

    def cancel(self, id: int) -> Ask | None:
        """Forget an ask without an outcome."""
        ask = self._asks.get(id)
        if ask is not None:
            self._forget(ask)
        return ask

    def hear(self, event: e.Bus, now: float, *, own_session: str | None) -> bool:
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
            ask.ends_at = now + self._settle
        else:
            self._end(ask, failure=event)
        if ask.id in self._asks and len(ask.events) >= MAX_EVENTS:
            self._end(ask, failure=ask.soft)
        return True

    def lose(self, tokens: Iterable[int], failure: Failure) -> None:
        """The link died after these utterances left: nobody knows whether they run; no answer will come."""
        for token in tokens:
            if (ask := self._asks.get(token)) is not None:
                self._end(ask, fault=AskFault.LINK, link=failure)

    def lose_all(self, failure: Failure) -> None:
        """The session stops for good: every ask ends."""
        for ask in list(self._asks.values()):
            self._end(ask, fault=AskFault.LINK, link=failure)

    def in_flight(self) -> list[Ask]:
        """The asks that have not ended."""
        return list(self._asks.values())

    @property
    def next_timeout(self) -> float | None:
        """When the next ask may end by itself."""
        return min((_due(ask) for ask in self._asks.values()), default=None)

    def handle_timeout(self, now: float, *, failure: Failure | None) -> None:
        """Time has passed. `failure` is what the link suffers from at the moment, to be told on a timeout."""
        for ask in [ask for ask in self._asks.values() if now >= _due(ask)]:
            if ask.ends_at is not None and now >= ask.ends_at:
                self._end(ask, failure=ask.soft)
            else:
                self._end(ask, failure=ask.soft, fault=AskFault.TIMEOUT, link=failure)

    def outcomes(self) -> list[Outcome]:
        """What happened since the last call, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _find(self, event: e.Bus, own_session: str | None) -> Ask | None:
        if (request_id := event.request_id) is not None:
            return self._by_request.get(request_id)
        # Without a request id an event belongs to an ask only if there is no other that it could belong to.
        sent = [ask for ask in self._asks.values() if ask.delivery != "no"]
        if isinstance(event, e.PolicyDenied):
            sent = [ask for ask in sent if ask.message.type == event.denied_type]
        elif (session_id := event.session_id) is not None and session_id != own_session:
            sent = [ask for ask in sent if ask.message.session_id in (None, session_id)]
        return sent[0] if len(sent) == 1 else None

    def _spoke(self, ask: Ask, event: e.Bus, now: float) -> None:
        ask.pieces.append(event)
        ask.soft = None  # a fallback answered after all
        self._outcomes.append(AskPiece(ask=ask.id, event=event))
        if ask.handled:
            self._end(ask)
        else:
            ask.ends_at = now + QUIET_SETTLES * self._settle

    def _handled(self, ask: Ask, now: float) -> None:
        ask.handled = True
        if ask.pieces or ask.soft is not None:
            self._end(ask, failure=ask.soft)
        else:
            ask.ends_at = now + self._settle

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
            ended = AskEnded(ask=ask.id, pieces=pieces, events=events, handled=handled, failure=failure)
            self._outcomes.append(ended)
            return
        if failure is not None:
            fault = _fault(failure)
        assert fault is not None  # noqa: S101 - an ask ends by speech, handled, an event or a fault
        self._outcomes.append(AskFailed(ask=ask.id, fault=fault, delivery=ask.delivery, event=failure, failure=link))

    def _forget(self, ask: Ask) -> None:
        del self._asks[ask.id]
        del self._by_request[ask.request_id]


def _due(ask: Ask) -> float:
    return ask.deadline if ask.ends_at is None else min(ask.deadline, ask.ends_at)


def _fault(event: e.Bus) -> AskFault:
    if event.type in _SOFT:
        return AskFault.UNANSWERED
    return AskFault.DENIED if event.type == e.POLICY_DENIED else AskFault.HUB
