"""The one table: what it says, and that real connections of both roles obey it in every state for every wire kind."""

from __future__ import annotations

import enum
import runpy
from pathlib import Path
from typing import Any

import pytest

from thalovant_proto import events as e
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.errors import LocalProtocolError, RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret
from thalovant_proto.state import CLIENT_KINDS, HUB_KINDS, IGNORED, TRANSITIONS, Kind, Role, State, next_state

from .pair import CARRIERS, Pair
from .places import PLACES, Place
from .puppet import Stage

DOCS = Path(__file__).parents[2] / "docs"
CLIENT, HUB = Role.CLIENT, Role.HUB
V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE

POINT = public_key(Secret(b"somebody's private key, 32 bytes"))

CLEAR_KINDS: tuple[Kind, ...] = (
    e.ClearHello, e.HubHello, e.Offer, e.Xx1, e.Kk1, e.Noise2, e.Noise3, e.Proof, e.ProofAnswer,
)  # fmt: skip
SEALED_KINDS: tuple[Kind, ...] = (
    e.ClientHello, e.SealedHandshake, e.Bus, e.SharedBus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade,
    e.Ping, e.Rendezvous, e.ThirdParty, e.Intercom, e.Binary,
)  # fmt: skip
KINDS = CLEAR_KINDS + SEALED_KINDS
EVERY_CELL = [(state, sender, kind) for state in State for sender in Role for kind in KINDS]


def outcome(state: State, sender: Role, kind: Kind) -> State | type[LocalProtocolError] | None:
    """What the table says: the next state, None for ignored, or that it is illegal."""
    try:
        return next_state(state, sender, kind)
    except LocalProtocolError:
        return LocalProtocolError


# --- what it says

IN_SESSION = {
    CLIENT: set(SEALED_KINDS) - {e.ClientHello, e.SealedHandshake, e.ThirdParty},
    HUB: set(SEALED_KINDS) - {e.ClientHello, e.SealedHandshake, e.ThirdParty, e.SharedBus},
}


def test_what_either_side_says_inside_a_session():
    """What is a client's alone: to show (`shared_bus`) and to pass upwards (`escalate`); `3rdparty` is nobody's."""
    assert {CLIENT: set(CLIENT_KINDS), HUB: set(HUB_KINDS)} == IN_SESSION


def test_the_page_shows_the_table():
    """Cell by cell, so that a change of the law shows where it is read; `make docs` writes the page."""
    written = runpy.run_path(str(DOCS / "diagram.py"))["page"]()

    assert (DOCS / "protocol" / "states.md").read_text() == written


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_cell_is_legal_or_ignored_or_refused(state):
    """For each state, sender and wire kind there is one answer, and the error says who, what and where."""
    for cell in (cell for cell in EVERY_CELL if cell[0] is state):
        _, sender, kind = cell
        legal, ignored = (sender, kind) in TRANSITIONS[state], cell in IGNORED
        assert not (legal and ignored)
        if legal or ignored:
            assert TRANSITIONS[state].get((sender, kind)) is next_state(*cell)
            continue
        with pytest.raises(LocalProtocolError) as refused:
            next_state(*cell)
        assert str(refused.value) == f"the {sender.value} may not send {kind.__name__} in state {state.name}"


def test_the_table_knows_all_wire_kinds_and_nothing_else():
    """Local facts and views of `Bus` are in no cell; a new kind must be put somewhere, if only into this list."""
    inside = {kind for cells in TRANSITIONS.values() for _, kind in cells} | {kind for *_, kind in IGNORED}
    bases = {e.Event, e.Message, e.PayloadMessage}
    local = {e.HandshakeCompleted, e.Proven, e.Skipped, e.Closed}
    views = set(e.Bus.__subclasses__())
    defined = {found for found in vars(e).values() if isinstance(found, type) and issubclass(found, e.Event)}

    assert set(KINDS) == inside == defined - bases - local - views


def test_nothing_follows_the_end():
    """Closed is closed, and no event leads there: it is a local fact."""
    assert not TRANSITIONS[State.CLOSED]
    assert all(then is not State.CLOSED for cells in TRANSITIONS.values() for then in cells.values())


# --- what real connections do


class Form(enum.Enum):
    """How a peer brings an event across."""

    CLEAR = "in clear"
    SEALED = "sealed"


every_place = pytest.mark.parametrize("place", PLACES, ids=str)


def made(kind: Kind) -> e.Event:
    """A well-formed event of a kind, one that is due nowhere."""
    arguments: dict[Kind, dict[str, Any]] = {
        e.ClearHello: {"payload": {"site_id": "x"}},
        e.HubHello: {"payload": {"node_id": "another", "peer": "x"}},
        e.Offer: {"payload": {"max_protocol_version": 9}},
        e.Xx1: {"suite": "25519_ChaChaPoly_SHA256", "message": POINT + bytes(49)},
        e.Kk1: {"suite": "25519_ChaChaPoly_SHA256", "message": POINT + bytes(49)},
        e.Noise2: {"message": POINT + bytes(88)},
        e.Noise3: {"message": bytes(64)},
        e.Proof: {"envelope": "00" * 24},
        e.ProofAnswer: {"envelope": "00" * 24},
        e.Bus: {"type": "any.thing"},
    }
    return kind(**arguments.get(kind, {}))


def said(place: Place, stage: Stage, kind: Kind, form: Form) -> list[e.Event]:
    """Have the peer bring an event of that kind across. What is due is the real thing."""
    puppet = stage.puppet
    due = next((event for event in puppet.due if type(event) is kind), None)
    if due is None and place.due is kind:  # a proof may come twice
        due = next(event for event in stage.events if type(event) is kind)
    event = due or made(kind)
    if due is not None and due in puppet.due:
        puppet.due.remove(due)
    if form is Form.CLEAR:
        return stage.deliver(puppet.in_clear(event))
    return stage.deliver(*puppet.frames(event))


def expected(place: Place, kind: Kind, form: Form) -> State | type[LocalProtocolError] | None:
    """What the law says, after the guards that depend on data: was it offered, is it sealed?"""
    if form is Form.CLEAR:
        if kind is e.Binary and (place.role, place.state, place.generation) == (CLIENT, State.READY, V3):
            return None  # bytes that do not open, of a hub that has proven nothing yet
        if kind in SEALED_KINDS:
            return LocalProtocolError  # nothing but the handshake comes in clear
        if kind is e.ClearHello and (place.state, place.generation) == (State.KEYED, V3):
            return LocalProtocolError  # with v3 nothing at all comes in clear once there are keys
        if kind not in (place.due, e.ClearHello) and place.role is HUB:
            return LocalProtocolError  # was not offered
        if kind in (e.HubHello, e.Offer) and kind is not place.due:
            return LocalProtocolError  # not the first one, and another one
    return outcome(place.state, place.role.peer, kind)


HUBS_ALONE = {e.HubHello, e.Offer, e.Noise2, e.ProofAnswer}
# In clear, a hello and a handshake are the kinds above, whatever they were meant to be.
SPEAKABLE = {
    (CLIENT, Form.CLEAR): set(KINDS) - HUBS_ALONE - {e.ClientHello, e.SealedHandshake},
    (HUB, Form.CLEAR): HUBS_ALONE | set(SEALED_KINDS) - {e.ClientHello, e.SealedHandshake},
    (CLIENT, Form.SEALED): set(SEALED_KINDS),
    (HUB, Form.SEALED): set(SEALED_KINDS),
}


def has_keys(place: Place) -> bool:
    """Whether the peer of that place holds keys to seal with. With v0 it does from the beginning."""
    return place.state in (State.KEYED, State.READY) or (place.role, place.generation) == (HUB, V0)


CASES = [
    pytest.param(place, kind, form, id=f"{place}-{kind.__name__}-{form.value}")
    for place in PLACES
    for form in Form
    for kind in KINDS
    if kind in SPEAKABLE[place.role.peer, form] and (form is Form.CLEAR or has_keys(place))
]


@pytest.mark.parametrize(("place", "kind", "form"), CASES)
def test_a_real_connection_obeys_the_table(place, kind, form):
    """In every state that a peer can find it in, for every wire kind, in clear and sealed."""
    stage = place.stage()
    before = len(stage.puppet.heard)

    events = said(place, stage, kind, form)

    then = expected(place, kind, form)
    heard = [event for event in events if event.wire_kind is kind]
    if place.carrier.rehello and kind in (e.HubHello, e.Offer) and kind is not place.due:
        assert [(type(event), event.error) for event in events] == [(e.Closed, None)]  # the hub has started over
    elif then is LocalProtocolError:
        assert isinstance(events[-1], e.Closed)
        assert isinstance(events[-1].error, RemoteProtocolError)
        assert stage.end.state is State.CLOSED
        assert [event for event in events[:-1] if event.wire_kind is not kind] == []
        assert stage.end.frames_to_send() == []
    elif then is None:
        assert [event for event in events if not isinstance(event, e.Proven)] == []
        assert stage.end.state is place.state
    else:
        assert [type(event) for event in heard] == [kind]
        assert not any(isinstance(event, e.Closed) for event in events)
        for event in stage.puppet.heard[before:]:  # what the end then said by itself is law, too
            then = next_state(then, place.role, event.wire_kind)
        assert stage.end.state is then


@every_place
def test_a_closed_connection_hears_nothing(place):
    """Whatever came before, and whatever comes."""
    stage = place.stage()
    due = stage.puppet.frames(stage.puppet.due[0]) if stage.puppet.due else []
    stage.end.close()

    assert stage.deliver(*due, stage.puppet.in_clear(made(e.ClearHello))) == []
    assert stage.end.state is State.CLOSED


def test_every_cell_of_the_table_is_lived():
    """No cell is there for nothing: some real connection takes it."""
    lived = {
        (place.state, place.role.peer, kind)
        for place, kind, form in (case.values for case in CASES)
        if isinstance(expected(place, kind, form), State)
    }

    assert lived == {(state, *cell) for state, cells in TRANSITIONS.items() for cell in cells}


SESSIONS = [(V3, False), (V3, True), (V1, False), (V0, False)]


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize(("generation", "pinned"), SESSIONS, ids=["XX", "KK", "v1", "v0"])
def test_both_ends_live_by_the_same_table(carrier, generation, pinned):
    """A whole session, folded over the table by an onlooker who only knows who said what, ends where both ends are."""
    pair = Pair(generation, pinned=pinned, carrier=carrier).drive()
    pair.send(CLIENT, e.Utterance(text="hello"), e.Ping()).drive()
    pair.send(HUB, e.Speak(text="echo: hello"), e.UtteranceHandled()).drive()
    again = Pair(generation, pinned=pinned, carrier=carrier)

    state = State.IDLE
    for sender, frame in pair.travelled:
        for event in again.arrive(sender, frame):
            if event.wire_kind in KINDS:
                state = next_state(state, sender, event.wire_kind)

    assert State.READY is state is pair.client.state is pair.hub.state
    assert len([event for event in again.heard_by_client if isinstance(event, e.Bus)]) == 2


@every_place
@pytest.mark.parametrize("kind", SEALED_KINDS, ids=lambda kind: kind.__name__)
def test_sending_obeys_the_same_table(place, kind):
    """`send` takes what the law lets that end say now, and raises for the rest without a trace."""
    stage = place.stage()
    then = outcome(place.state, place.role, kind)

    if isinstance(then, State):
        stage.end.send(made(kind), stage.now)
        assert stage.puppet.hear(stage.end.frames_to_send()[0][0]).wire_kind is kind
        assert stage.end.state is then
    else:
        with pytest.raises(LocalProtocolError):
            stage.end.send(made(kind), stage.now)
        assert stage.end.frames_to_send() == []
        assert place.state is stage.end.state
