"""What v3 takes of an offer and of a first message: both ends hash what was said, and take no less than was offered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.noise import Handshake, Pattern, Suite, prologue, public_key
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State
from thalovant_proto.trust import Trust

from ..pair import CLIENT_STATIC, HUB_STATIC, PIN_ID, WSS, Pair, client_side, hub_side, stream
from ..puppet import Stage

CLIENT_PUBLIC, HUB_PUBLIC = public_key(CLIENT_STATIC), public_key(HUB_STATIC)
both_patterns = pytest.mark.parametrize("pinned", [False, True], ids=["XX", "KK"])


# --- what was offered


@pytest.mark.parametrize("place", ["hello", "offer"])
@pytest.mark.parametrize("change", [{"peer": "x"}, {"more": 1}, {"binarize": True}, {"encodings": []}], ids=str)
@both_patterns
def test_a_tampered_opening_fails_at_the_hub(place, change, pinned):
    """Both frames are part of what both ends hash: nothing is added or changed on the way."""
    pair = Pair(pinned=pinned)
    frames = list(pair.to_client)
    pair.to_client.clear()
    number = ("hello", "offer").index(place)
    envelope = json.loads(frames[number].data)
    envelope["payload"] |= change
    frames[number] = Frame(json.dumps(envelope).encode(), frames[number].type)
    pair.to_client.extend(frames)

    pair.drive()

    assert pair.heard_by_hub[-1].reason == "handshake failure"


OFFER = hub_side(pinned=True).offer().payload
NOISE = OFFER["noise"]
UNUSABLE = {
    "no pattern": {"noise": NOISE | {"patterns": []}},
    "another pattern": {"noise": NOISE | {"patterns": ["NNpsk0"]}},
    "patterns that are no list": {"noise": NOISE | {"patterns": "XXpsk2"}},
    "only the pinned pattern": {"noise": NOISE | {"patterns": ["KKpsk0"]}},
    "another suite": {"noise": NOISE | {"suites": ["448_ChaChaPoly_BLAKE2b"]}},
    "no suites": {"noise": {"patterns": ["XXpsk2"]}},
    "nothing": {"noise": {}},
}


@pytest.mark.parametrize("change", UNUSABLE.values(), ids=UNUSABLE)
def test_noise_without_a_pattern_and_suite_of_ours_is_refused(change):
    """No fallback to less: that would be a downgrade by whoever sits in between."""
    stage = Stage(Role.CLIENT, Generation.PASSWORD).until(State.GREETED)

    (closed,) = stage.say(e.Offer(payload=OFFER | {"password": True} | change))

    assert isinstance(closed.error, RemoteProtocolError)
    assert "pattern and suite" in str(closed.error)


@pytest.mark.parametrize(
    ("trust", "allow_kk", "patterns", "expected"),
    [
        ({PIN_ID: HUB_PUBLIC}, True, ["KKpsk0", "XXpsk2"], "KKpsk0"),
        ({PIN_ID: HUB_PUBLIC}, True, ["XXpsk2"], "XXpsk2"),
        ({PIN_ID: HUB_PUBLIC}, False, ["KKpsk0", "XXpsk2"], "XXpsk2"),
        ({"wss://other:1": HUB_PUBLIC}, True, ["KKpsk0", "XXpsk2"], "XXpsk2"),
    ],
    ids=["pinned", "not offered", "retrying", "another hub"],
)
def test_kk_needs_a_pin_and_an_offer_and_leave(trust, allow_kk, patterns, expected):
    """Otherwise XX, always."""
    side = {"trust": Trust(static_key=CLIENT_STATIC, pins=trust), "allow_kk": allow_kk}
    stage = Stage(Role.CLIENT, pinned=True, client=side, hold=True).until(State.GREETED)
    assert stage.end.pattern is None

    stage.say(e.Offer(payload=OFFER | {"noise": NOISE | {"patterns": patterns}}))
    (effect,) = stage.pending
    stage.end.effect_done(effect.id, Secret(bytes(32)), 0.0)

    assert stage.end.pattern == expected


@pytest.mark.parametrize("node_id", [None, "", 5, ["a"]], ids=repr)
def test_a_hub_without_a_node_id_is_refused(node_id):
    """The PSK depends on it."""
    stage = Stage(Role.CLIENT)
    stage.say(e.HubHello(payload={} if node_id is None else {"node_id": node_id}))

    (closed,) = stage.say(e.Offer(payload=OFFER))

    assert "node_id" in str(closed.error)


@pytest.mark.parametrize(
    ("first", "suite"),
    [(e.Kk1, "25519_ChaChaPoly_SHA256"), (e.Xx1, "25519_ChaChaPoly_BLAKE2b"), (e.Xx1, "")],
    ids=["KK without a pin", "another suite", "no suite"],
)
def test_a_hub_takes_what_it_offered(first, suite):
    """To this client, in this connection (wire.md §1.5)."""
    stage = Stage(Role.HUB)

    (closed,) = stage.say(first(suite=suite, message=CLIENT_PUBLIC + bytes(16)))

    assert "not offered" in str(closed.error)
    assert (closed.code, closed.reason) == (1008, "invalid message")


# --- what the first message wishes for


def recorder(opening: list[dict[str, Any]], *, initiator: bool) -> Handshake:
    """The Noise of one end of first contact, after that opening, for a test that says what it likes with it."""
    pattern, suite = Pattern.XX, Suite.CHACHAPOLY
    noise = Handshake(
        initiator=initiator,
        pattern=pattern,
        suite=suite,
        prologue=prologue(*opening, pattern, suite),
        static=CLIENT_STATIC if initiator else HUB_STATIC,
        ephemeral=Secret(b"e" * 32),
    )
    noise.psk = Secret(b"p" * 32)
    return noise


def clear(kind: str, payload: dict[str, Any]) -> Frame:
    return Frame(json.dumps({"msg_type": kind, "payload": payload}).encode(), FrameType.TEXT)


def noise_of(frame: Frame) -> bytes:
    return bytes.fromhex(json.loads(frame.data)["payload"]["noise"]["msg"])


def first_contact(payload: bytes) -> tuple[list[e.Event], bytes]:
    """A hub's events and the payload of its answer, for a client whose first message holds that payload."""
    hub = HubConnection(hub_side(psk=Secret(b"p" * 32)), WSS, entropy=stream("hub"), now=0.0)
    noise = recorder([json.loads(frame.data)["payload"] for frame, _ in hub.frames_to_send()], initiator=True)
    said = {"pattern": "XXpsk2", "suite": Suite.CHACHAPOLY.value, "msg": noise.write_message(payload).hex()}

    events = hub.receive(clear("shake", {"noise": said}), 0.0)

    ((answer, _),) = hub.frames_to_send()
    return events, noise.read_message(noise_of(answer))


WISHES = {
    "none": (b'{"binarize":false,"encodings":[]}', "JSON-HEX"),
    "known": (b'{"binarize":true,"encodings":["JSON-B64","JSON-HEX"]}', "JSON-B64"),
    "unknown": (b'{"encodings":["JSON-ROT13"]}', "JSON-HEX"),
    "odd": (b'{"encodings":[1],"binarize":"yes"}', "JSON-HEX"),
    "no list": (b'{"encodings":"JSON-B64"}', "JSON-HEX"),
    "no object": (b"[1]", "JSON-HEX"),
    "no JSON": (b"\xff", "JSON-HEX"),
    "nothing": (b"", "JSON-HEX"),
}


@pytest.mark.parametrize(("payload", "encoding"), WISHES.values(), ids=WISHES)
def test_whatever_a_client_wishes_for_the_handshake_goes_on(payload, encoding):
    """The answer echoes the first encoding if it is one; nobody is proven yet (wire.md §5.4, security.md §14)."""
    events, answer = first_contact(payload)

    assert [type(event) for event in events] == [e.Xx1]
    assert json.loads(answer) == {"encoding": encoding}


def test_a_client_cares_for_nothing_in_the_answer():
    """Its payload says nothing (real-hubs.md §6): the handshake goes on whatever is in it."""
    client = HubConnection(client_side(), WSS, entropy=stream("client"), now=0.0)
    opening = [hub_side().hello().payload, hub_side().offer().payload]
    for kind, payload in zip(("hello", "shake"), opening, strict=True):
        client.receive(clear(kind, payload), 0.0)
    (effect,) = client.effects()
    client.effect_done(effect.id, Secret(b"p" * 32), 0.0)
    ((first, _),) = client.frames_to_send()
    noise = recorder(opening, initiator=False)
    noise.read_message(noise_of(first))

    client.receive(clear("shake", {"noise": {"msg": noise.write_message(b"\xff{{{").hex()}}), 0.0)

    assert client.state is State.READY
