"""The one transition table: who may send which wire kind in which state, for both roles and all generations.

The table does not know which side we are, so both sides obey one law and one test covers both. Data-dependent guards
(was it offered? is it the same offer again?) sit in `connection.py`, after the table. No other file assigns a state.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from . import events as e
from .errors import LocalProtocolError


class Role(enum.Enum):
    """The two ends of a hub connection."""

    CLIENT = "client"
    HUB = "hub"

    # Members are alike only if they are the same. The table is asked twice for each message, and an enum's own hash,
    # that of the name, is computed in Python.
    __hash__ = object.__hash__

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.HUB if self is Role.CLIENT else Role.CLIENT


class State(enum.Enum):
    """How far a connection is."""

    IDLE = enum.auto()  # the hub owes its hello
    GREETED = enum.auto()  # the hub said hello; its offer is next
    OFFERED = enum.auto()  # the client owes its first handshake message, or with a pre-shared key its sealed hello
    CLAIMED = enum.auto()  # as OFFERED, and the client said hello in clear: worth nothing until a frame of its opens
    XX_SENT = enum.auto()  # first contact: the hub owes the second Noise message
    XX_ANSWERED = enum.auto()  # first contact: the client owes the third
    KK_SENT = enum.auto()  # pinned: the hub owes the second and last
    PROVING = enum.auto()  # the client's password proof is out; the hub owes its own
    KEYED = enum.auto()  # both hold the keys; the client owes its sealed hello
    READY = enum.auto()
    CLOSED = enum.auto()

    __hash__ = object.__hash__  # as with `Role`


Kind = type[e.Event]
Cell = tuple[Role, Kind]

CLIENT, HUB = Role.CLIENT, Role.HUB

#: What a client may say inside a session, and what a hub may (wire.md §1.6).
CLIENT_KINDS: Final[tuple[Kind, ...]] = (
    e.Bus, e.SharedBus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade, e.Ping, e.Rendezvous, e.Intercom,
    e.Binary,
)  # fmt: skip
HUB_KINDS: Final[tuple[Kind, ...]] = (
    e.Bus, e.Broadcast, e.Propagate, e.Query, e.Cascade, e.Ping, e.Rendezvous, e.Intercom, e.Binary,
)  # fmt: skip

_FIRST: Final[Mapping[Cell, State]] = {
    (CLIENT, e.ClearHello): State.CLAIMED,
    (CLIENT, e.Xx1): State.XX_SENT,
    (CLIENT, e.Kk1): State.KK_SENT,
    (CLIENT, e.Proof): State.PROVING,
    # With a pre-shared key there is no handshake: the first frame that opens is the session.
    (CLIENT, e.ClientHello): State.READY,
    **{(CLIENT, kind): State.READY for kind in CLIENT_KINDS},
}

TRANSITIONS: Final[Mapping[State, Mapping[Cell, State]]] = {
    State.IDLE: {(HUB, e.HubHello): State.GREETED},
    State.GREETED: {(HUB, e.Offer): State.OFFERED},
    State.OFFERED: _FIRST,
    State.CLAIMED: _FIRST,
    State.XX_SENT: {(HUB, e.Noise2): State.XX_ANSWERED},
    State.XX_ANSWERED: {(CLIENT, e.Noise3): State.KEYED},
    State.KK_SENT: {(HUB, e.Noise2): State.KEYED},
    State.PROVING: {(HUB, e.ProofAnswer): State.KEYED},
    State.KEYED: {
        (CLIENT, e.ClientHello): State.READY,
        # The hello is not mandatory on real hubs: any frame under the keys opens the session.
        **{(CLIENT, kind): State.READY for kind in CLIENT_KINDS},
        # Older clients answer an offer twice; until a frame of theirs opens, the newer proof replaces the key.
        (CLIENT, e.Proof): State.PROVING,
        # …and some say their hello in clear although they hold the key. Worth nothing until a frame opens.
        (CLIENT, e.ClearHello): State.KEYED,
    },
    State.READY: {
        (CLIENT, e.ClientHello): State.READY,  # a change of session
        **{(CLIENT, kind): State.READY for kind in CLIENT_KINDS},
        **{(HUB, kind): State.READY for kind in HUB_KINDS},
    },
    State.CLOSED: {},
}

_AWAITING_CLIENT: Final = (State.OFFERED, State.CLAIMED, State.XX_SENT, State.XX_ANSWERED, State.KK_SENT, State.PROVING)

#: Illegal but harmless behaviour of real peers: dropped, the session lives.
IGNORED: Final[frozenset[tuple[State, Role, Kind]]] = frozenset(
    {
        (State.READY, CLIENT, e.SealedHandshake),
        (State.READY, HUB, e.SealedHandshake),
        (State.READY, HUB, e.Escalate),
        (State.READY, HUB, e.SharedBus),
        (State.READY, CLIENT, e.ThirdParty),
        (State.READY, HUB, e.ThirdParty),
        # HTTP hubs deliver hello and offer again; only byte-equal ones get this far (guard in connection.py).
        (State.GREETED, HUB, e.HubHello),
        *((state, HUB, kind) for state in _AWAITING_CLIENT for kind in (e.HubHello, e.Offer)),
    }
)


def next_state(state: State, sender: Role, kind: Kind) -> State | None:
    """The state after `sender` sent `kind`; None if that is to be ignored. Raises `LocalProtocolError` if illegal."""
    found = TRANSITIONS[state].get((sender, kind))
    if found is None and (state, sender, kind) not in IGNORED:
        raise LocalProtocolError(f"the {sender.value} may not send {kind.__name__} in state {state.name}")
    return found
