"""Outcomes: the news of a `ClientStack` for its application, besides the events of `events.py`."""

from __future__ import annotations

import enum
from typing import Literal

from attrs import field, frozen

from . import events as e
from .failures import Failure
from .trust import Trust

#: Whether what was sent can have been executed: `no` is certain, `yes` was answered or receipted.
Delivery = Literal["no", "unknown", "yes"]


class SessionState(enum.Enum):
    """The state of a session, for users."""

    IDLE = "idle"
    CONNECTING = "connecting"  # dialing, or the link opens
    HANDSHAKE = "handshake"
    READY = "ready"
    WAITING = "waiting"  # for the next attempt
    CLOSING = "closing"
    CLOSED = "closed"
    DISPLACED = "displaced"
    FAILED = "failed"


@frozen(kw_only=True)
class Outcome:
    """Base of the outcomes that are no wire events."""


@frozen(kw_only=True)
class StateChanged(Outcome):
    """The session's state is another one. `failure` says why, for waiting, displaced and failed."""

    state: SessionState
    failure: Failure | None = None


@frozen(kw_only=True)
class Connected(Outcome):
    """A connection is up for use. `proven` as it is now: a hub of v0 proves nothing until it answers."""

    proven: bool


@frozen(kw_only=True)
class TrustChanged(Outcome):
    """Something worth remembering was learnt; store it."""

    trust: Trust


@frozen(kw_only=True)
class Sent(Outcome):
    """A message left: handed to the socket, or receipted where the link gives receipts."""

    token: int
    delivery: Delivery


@frozen(kw_only=True)
class SendFailed(Outcome):
    """A message will not be sent, or nobody knows whether it arrived."""

    token: int
    delivery: Delivery
    failure: Failure


@frozen(kw_only=True)
class Delivered(Outcome):
    """An event for a subscription."""

    subscription: int
    event: e.Bus


@frozen(kw_only=True)
class FilterFailed(Outcome):
    """A subscription has ended because its filter raised."""

    subscription: int
    error: Exception


@frozen(kw_only=True)
class AskPiece(Outcome):
    """Speech for an ask, as it arrives."""

    ask: int
    event: e.Bus


@frozen(kw_only=True)
class AskEnded(Outcome):
    """An ask has its reply. `failure` is the hub's failure event beside speech that was heard.

    `dropped_media` counts the sounds that were too large, or too many, to be among the events.
    """

    ask: int
    pieces: tuple[e.Bus, ...]
    events: tuple[e.Bus, ...] = field(repr=False)
    handled: bool
    failure: e.Bus | None = None
    dropped_media: int = 0


@frozen(kw_only=True)
class AskHandled(Outcome):
    """The hub is done with an ask in this session, which may have ended 2 s before. What it says of the session counts.

    Not told of queries.
    """

    event: e.Bus = field(repr=False)
    session_id: str | None = None


class AskFault(enum.Enum):
    """The reason for which an ask has no reply."""

    TIMEOUT = "timeout"
    DENIED = "denied"  # the hub's policy
    UNANSWERED = "unanswered"  # no skill took it
    HUB = "hub"  # the hub reported another failure
    LINK = "link"


@frozen(kw_only=True)
class AskFailed(Outcome):
    """An ask ended without speech. `event` is the hub's failure event, `failure` what happened to the link."""

    ask: int
    fault: AskFault
    delivery: Delivery
    event: e.Bus | None = None
    failure: Failure | None = None
