"""A hub that says its opening again, and clear frames once there are keys: dropped, forgotten, or a violation."""

from __future__ import annotations

import pytest
from attrs import evolve

from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind
from thalovant_proto.codec.envelope import parse_clear
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.state import Role, State

from .pair import CARRIERS, CLIENT_STATIC, HTTPS, LEGACY_MQTT, MQTT, WSS, Pair, carried, hub_side
from .puppet import Stage

V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE
REHELLO = {name: carrier for name, carrier in CARRIERS.items() if carrier.rehello}
every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
rehello_carriers = pytest.mark.parametrize("carrier", REHELLO.values(), ids=REHELLO)
sessions = pytest.mark.parametrize(
    ("generation", "pinned"), [(V3, False), (V3, True), (V1, False), (V0, False)], ids=["XX", "KK", "v1", "v0"]
)
SHAKING = [
    (State.GREETED, V3, False),
    (State.XX_SENT, V3, False),
    (State.KK_SENT, V3, True),
    (State.PROVING, V1, False),
]
while_shaking = pytest.mark.parametrize(
    ("state", "generation", "pinned"), SHAKING, ids=[state.name for state, *_ in SHAKING]
)
OTHER_HELLO = e.HubHello(payload={"node_id": "n", "peer": "another"})
OTHER_OFFER = e.Offer(payload={"max_protocol_version": 3, "noise": {}})


def openings(stage: Stage) -> list[e.HubHello | e.Offer]:
    """What the hub has said of its opening."""
    return [event for event in stage.events if isinstance(event, e.HubHello | e.Offer)]


# --- before there are keys


@every_carrier
@while_shaking
def test_the_same_opening_again_is_dropped(carrier, state, generation, pinned):
    """Hubs deliver hello and offer again over HTTP (wire.md §0.1, 5); the handshake goes on as if nothing was."""
    stage = Stage(Role.CLIENT, generation, pinned=pinned, carrier=carrier).until(state)

    for opening in openings(stage) * 3:
        assert stage.say(opening) == []

    assert stage.until(State.READY).end.state is State.READY


@every_carrier
def test_the_same_opening_again_while_a_key_is_derived_is_dropped(carrier):
    """It is parked, then dropped; the first message is sent once."""
    stage = Stage(Role.CLIENT, carrier=carrier, hold=True).until(State.OFFERED)
    hello, offer = openings(stage)

    assert stage.say(hello) + stage.say(offer) + stage.answer() == []

    assert [type(event) for event in stage.puppet.heard] == [e.Xx1]
    assert stage.until(State.READY).end.state is State.READY


@while_shaking
@pytest.mark.parametrize("other", [OTHER_HELLO, OTHER_OFFER], ids=["hello", "offer"])
def test_another_opening_is_a_violation_where_no_hub_has_it(state, generation, pinned, other):
    """On a WebSocket one connection is one session."""
    stage = Stage(Role.CLIENT, generation, pinned=pinned, carrier=WSS).until(state)
    due = state is State.GREETED and isinstance(other, e.Offer)

    events = stage.say(other)

    assert isinstance(events[-1].error, RemoteProtocolError)
    assert ("that we share" if due else f"changed its {type(other).__name__}") in str(events[-1].error)


@rehello_carriers
@while_shaking
@pytest.mark.parametrize("other", [OTHER_HELLO, OTHER_OFFER], ids=["hello", "offer"])
def test_another_opening_means_that_the_hub_has_forgotten_us(carrier, state, generation, pinned, other):
    """Nobody's fault: dial again (wire.md §0.1, 1). Its hello may have got lost, if an offer was not due."""
    stage = Stage(Role.CLIENT, generation, pinned=pinned, carrier=carrier).until(state)

    (closed,) = stage.say(other)

    if state is State.GREETED and other is OTHER_OFFER:
        assert isinstance(closed.error, RemoteProtocolError)  # it is the first one, and of no use
    else:
        assert (closed.kind, closed.error) == (CloseKind.FORGOTTEN, None)
        assert closed.code != 1008
    assert stage.end.state is State.CLOSED


def test_an_offer_must_follow_a_hello():
    """The first frame of a hub is its hello, everywhere."""
    for carrier in CARRIERS.values():
        (closed,) = Stage(Role.CLIENT, carrier=carrier).say(hub_side().offer())
        assert isinstance(closed.error, RemoteProtocolError)


# --- once there are keys


@rehello_carriers
@sessions
@pytest.mark.parametrize("other", [OTHER_HELLO, OTHER_OFFER], ids=["hello", "offer"])
def test_a_clear_opening_in_a_session_means_forgotten(carrier, generation, pinned, other):
    """Proven or not: the hub has lost the session and says hello again (wire.md §0.1, 1)."""
    for proven in (False, True):
        stage = Stage(Role.CLIENT, generation, pinned=pinned, carrier=carrier).until(State.READY)
        if proven:
            stage.say(e.Ping())

        (closed,) = stage.say(other)

        assert (closed.kind, closed.error, closed.reason) == (CloseKind.FORGOTTEN, None, "the hub starts over")


@rehello_carriers
def test_a_late_copy_of_the_opening_is_not_a_new_one(carrier):
    """While nothing of the session was heard it may be the first one's echo; afterwards the hub has started over."""
    stage = Stage(Role.CLIENT, carrier=carrier).until(State.READY)
    hello, offer = openings(stage)

    assert stage.say(hello) + stage.say(offer) == []
    stage.say(e.Ping())
    (closed,) = stage.say(hello)

    assert closed.kind is CloseKind.FORGOTTEN


@sessions
def test_a_clear_opening_in_a_session_is_a_violation_on_a_websocket(generation, pinned):
    """After keys exist a clear frame is one, also the very opening again (wire.md §0.1, 1)."""
    for again in (0, 1):
        stage = Stage(Role.CLIENT, generation, pinned=pinned).until(State.READY)
        opening = openings(stage)[again]
        if generation is Generation.PRESHARED:
            stage.say(e.Ping())  # a v0 hub that has heard nothing yet may greet once more

        (closed,) = stage.say(opening)

        assert isinstance(closed.error, RemoteProtocolError)
        assert closed.kind is CloseKind.CLOSED


@every_carrier
@sessions
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_a_clear_message_in_a_session_is_a_violation(carrier, generation, pinned, role):
    """Whoever sends it, on every carrier (security.md §1, §3)."""
    stage = Stage(role, generation, pinned=pinned, carrier=carrier).until(State.READY)

    (closed,) = stage.deliver(stage.puppet.in_clear(e.Utterance(text="open the door")))

    assert isinstance(closed.error, RemoteProtocolError)


# --- the wake-up of MQTT


@pytest.mark.parametrize("carrier", [HTTPS, MQTT, LEGACY_MQTT], ids=["https", "mqtt", "legacy-mqtt"])
@sessions
def test_a_hello_that_wakes_the_hub_changes_nothing(carrier, generation, pinned):
    """However often it comes before the handshake; the session is the same with it and without."""
    pair = Pair(generation, pinned=pinned, carrier=carrier)
    wake = carried(Stage(Role.HUB, carrier=carrier).puppet.in_clear(e.ClearHello(payload={"site_id": ""})), carrier)
    for _ in range(3):
        pair.arrive(Role.CLIENT, wake)
    pair.drive()

    assert State.READY is pair.client.state is pair.hub.state
    told = [event for event in pair.heard_by_hub if not isinstance(event, e.ClearHello)]
    assert Pair(generation, pinned=pinned, carrier=carrier).drive().heard_by_hub == told


@every_carrier
def test_a_hub_says_its_opening_first_and_once(carrier):
    """Hello and offer wait from the start, as text, whatever the carrier takes up."""
    frames = list(Pair(carrier=carrier).to_client)

    opening = [parse_clear(frame, Role.HUB) for frame in frames]
    assert [hub_side().hello(), hub_side().offer()] == opening
    assert all(frame.data.startswith(b'{"msg_type"') for frame in frames)


def test_an_offer_tells_what_the_client_may_do():
    """One generation for each client; KK once its key is pinned (wire.md §1.3)."""
    noise = hub_side().offer().payload
    assert set(noise) == {"max_protocol_version", "binarize", "encodings", "ciphers", "noise"}
    assert (noise["max_protocol_version"], noise["noise"]["patterns"]) == (3, ["XXpsk2"])
    pinned = hub_side(pinned=True).offer().payload
    assert pinned["noise"]["patterns"] == ["KKpsk0", "XXpsk2"]
    assert pinned["noise"]["suites"] == ["25519_ChaChaPoly_SHA256", "25519_AESGCM_SHA256"]
    password, preshared = hub_side(V1).offer().payload, hub_side(V0).offer().payload
    assert [password[name] for name in LEGACY_FIELDS] == [True, 1, 1, False, True, True]
    assert [preshared[name] for name in LEGACY_FIELDS] == [False, 0, 1, True, False, True]
    assert "JSON-Z85P" not in password["encodings"]
    assert evolve(hub_side(V1), binarize=True).offer().payload["binarize"]
    assert CLIENT_STATIC.reveal().hex() not in str(pinned)


LEGACY_FIELDS = ("handshake", "min_protocol_version", "max_protocol_version", "preshared_key", "password",
                 "crypto_required")  # fmt: skip
