"""The one transition table: who may send which wire kind in which state, for both roles and all generations.

No other file assigns a state. `docs/protocol/states.md` shows the table as a diagram.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from . import events as e
from .errors import LocalProtocolError


class Role(enum.Enum):
    """The two ends of a hub connection."""

    CLIENT = "client"
    HUB = "hub"

    # Members are alike only if they are the same. The table is asked twice for each message, and an enum's own hash,
    # that of the name, is computed in Python.
    if not TYPE_CHECKING:
        __hash__ = object.__hash__

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.HUB if self is Role.CLIENT else Role.CLIENT


class State(enum.Enum):
    """The progress of a connection."""

    IDLE = enum.auto()  # the hub owes its hello
    GREETED = enum.auto()  # the hub said hello; its offer is next
    OFFERED = enum.auto()  # the client owes its first handshake message, or with a pre-shared key its sealed hello
    CLAIMED = enum.auto()  # as OFFERED, and the client said hello in clear: worth nothing until a frame of its opens
    XX_SENT = enum.auto()  # first contact: the hub owes the second Noise message
    XX_ANSWERED = enum.auto()  # first contact: the client owes the third
    KK_SENT = enum.auto()  # pinned: the hub owes the second and last
    PROVING = enum.auto()  # the client's password proof is out; the hub owes its own
    KEYED = enum.auto()  # both hold the keys; the client owes its sealed hello
    READY = enum.auto()  # messages travel, both ways
    CLOSED = enum.auto()  # over: input is ignored, nothing can be sent

    if not TYPE_CHECKING:
        __hash__ = object.__hash__  # as with `Role`


Kind = type[e.Event]
Cell = tuple[Role, Kind]

CLIENT, HUB = Role.CLIENT, Role.HUB

#: The kinds that a client may send inside a session, and those that a hub may (wire.md §1.6).
CLIENT_KINDS: Final[tuple[Kind, ...]] = (
    e.Bus, e.SharedBus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade, e.Ping, e.Rendezvous, e.Intercom,
    e.Binary,
)  # fmt: skip
HUB_KINDS: Final[tuple[Kind, ...]] = (
    e.Bus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade, e.Ping, e.Rendezvous, e.Intercom, e.Binary,
)  # fmt: skip

# --- theory of operation
#
# A connection has one state, and the state says who may send what next. The key of a cell is the sender and the kind of
# what was sent; its value is the state that follows. The table does not know which side we are: a client looks up what
# it sends as CLIENT and what it receives as HUB, a hub the other way round, and both arrive at the same state. So one
# table is the law for both roles, and one test covers both. `next_state` raises `LocalProtocolError` for an empty cell.
# That is right for `send`; for what the peer sent, `connection.py` turns it into the peer's `RemoteProtocolError`.
#
# Kinds are what travels. Two things that mean something different are two kinds, even if their bytes look alike:
#
# - A hello in clear and a sealed hello. Anybody can write the former, so it proves nothing and opens nothing. The
#   latter has opened under the session's keys, so it proves that the client has them, and opens the session.
# - The first messages of XX and KK, since different messages follow them.
#
# Bus messages are one kind: `Utterance`, `Speak` and the other views of `Bus` are parsed after the table, by
# `Event.wire_kind` they are `Bus` here. The local facts `HandshakeCompleted`, `Proven` and `Closed` never travel. They
# are conclusions of one side and stand in no cell.
#
# Every connection begins with the hub's hello and its offer: IDLE, GREETED, OFFERED. Then the generations part:
#
#   v3, first contact   Xx1, Noise2, Noise3    XX_SENT, XX_ANSWERED, KEYED
#   v3, both pinned     Kk1, Noise2            KK_SENT, KEYED
#   v1                  Proof, ProofAnswer     PROVING, KEYED
#   v0                  nothing                READY
#
# With v0 both sides have the key from the start, so there is no handshake: the first frame of the client that opens is
# the session. Older clients begin with whatever they have to say, so that frame may be a hello or any other message.
# This gives OFFERED its cells for sealed kinds. They are of no use to other clients: without a key there is no channel,
# and a frame that is no handshake frame is refused before anybody asks the table.
#
# CLAIMED is OFFERED after the client said hello in clear: it has the same cells. Hubs on MQTT are woken by such a
# hello, and clients of v0 and v1 open with one. The state exists because the hub has learnt something by it, though
# nothing about who the client is: somebody is there, so the timer that greets a silent v0 client once more is stopped.
# What the hello says is kept aside; it counts as the client's hello once a frame of that client has opened, and never
# with v3.
#
# In KEYED both sides have the keys and the client speaks first. There is no cell for the hub: it says nothing before a
# frame of the client has opened, which is what READY means to a hub. Real hubs do not insist that this frame is the
# hello, so any message will do. Two cells lead back, for older clients of v1: one that answers an offer twice proves
# its password twice, and the newer proof replaces the key; one that says its hello in clear stays where it is.
#
# READY ends only in CLOSED. No kind leads there, so no cell does: a fault, a timer or `close` ends a connection from
# any state, and `HubConnection.close` is the one place for that.
#
# IGNORED holds what real peers send although it means nothing in that state, and what does no harm: a handshake frame
# inside an open session, kinds that are illegal from a hub, the opening once more, as HTTP hubs deliver it and our own
# hub says it to a silent client. Such an event is dropped, nobody is told, and the session lives. A cell that leads to
# its own state is something else: there the event is legal and is told.
#
# The table looks at kinds only. What depends on data is decided beside it: whether a second hello or offer equals the
# first (`connection.py`, before the table is asked), whether pattern and suite were offered, whether the proof is right
# and the pin the same (`handshake/`, after it). So a cell says that an event may come now, not that it is good.

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
        (State.READY, HUB, e.ClientHello),  # no news, and yet a proof
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
