"""What a connection keeps to itself: nothing passes to or from strangers, no secret is told, nothing is random."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State
from thalovant_proto.trust import Trust

from .memory import reachable
from .pair import (
    ACCESS_KEY,
    CARRIERS,
    CLIENT_STATIC,
    CRYPTO_KEY,
    HUB_STATIC,
    NODE_ID,
    PASSWORD,
    PIN_ID,
    WSS,
    Pair,
    client_side,
    hub_side,
    quick,
    stream,
)
from .puppet import Stage

V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE
SESSIONS = [(V3, False), (V3, True), (V1, False), (V0, False)]
sessions = pytest.mark.parametrize(("generation", "pinned"), SESSIONS, ids=["XX", "KK", "v1", "v0"])
every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
OTHER_PASSWORD, OTHER_KEY = Secret("guessed password, as long"), Secret("ffffffffffffffff")
HANDSHAKE = (e.ClearHello, e.Xx1, e.Kk1, e.Noise3, e.Proof, e.HandshakeCompleted, e.Closed)


# --- strangers


@sessions
@every_carrier
def test_a_hub_tells_a_stranger_nothing_but_the_handshake(generation, pinned, carrier):
    """Until a frame of the client has opened, `send` refuses and only clear handshake frames leave (security.md §1)."""
    pair = Pair(generation, pinned=pinned, carrier=carrier)
    while not pair.hub.proven:
        with pytest.raises(LocalProtocolError):
            pair.hub.send(e.Speak(text="the door code is 1234"), pair.now)
        assert all(json.loads(frame.data)["msg_type"] in ("hello", "shake") for frame in pair.to_client)
        assert pair.step()

    pair.hub.send(e.Speak(text="the door code is 1234"), pair.now)
    assert isinstance(pair.heard_by_hub[-1], e.ClientHello)


@sessions
@every_carrier
def test_a_hub_hears_from_a_stranger_nothing_but_the_handshake(generation, pinned, carrier):
    """Everything that it reports before `Proven` is of the handshake, and claims nothing of a session."""
    pair = Pair(generation, pinned=pinned, carrier=carrier).drive()

    before = pair.heard_by_hub[: pair.heard_by_hub.index(e.Proven())]
    assert all(isinstance(event, HANDSHAKE) for event in before)


@sessions
def test_a_stranger_without_the_secrets_is_never_heard(generation, pinned):
    """With the access key alone, whatever is sent ends it unheard (security.md §1)."""
    for make in (
        lambda stage: stage.puppet.in_clear(e.Utterance(text="open the door")),
        lambda stage: stage.puppet.in_clear(e.Propagate(payload={})),
        lambda stage: stage.puppet.in_clear(e.Binary(payload=b"abc")),
        lambda stage: Frame(bytes(100), FrameType.BINARY),
        lambda stage: Frame(b'{"ciphertext": "00", "tag": "00", "nonce": "00"}', FrameType.TEXT),
    ):
        stage = Stage(Role.HUB, generation, pinned=pinned, client={"password": OTHER_PASSWORD})
        stage.say(e.ClearHello(payload={"site_id": "attic"}))
        stage.deliver(make(stage))
        assert [type(event) for event in stage.events] == [e.ClearHello, e.Closed]
        assert not stage.end.proven


@pytest.mark.parametrize("state", [State.OFFERED, State.XX_ANSWERED, State.KEYED], ids=lambda state: state.name)
def test_generation_is_none_before_the_keys_and_after_the_end(state):
    """What a connection says about itself follows its keys."""
    stage = Stage(Role.HUB).until(state)
    assert stage.end.generation is (V3 if state is State.KEYED else None)

    stage.end.close()

    assert (
        stage.end.generation, stage.end.next_timeout, stage.end.used_up, stage.end.state,
    ) == (None, None, 0.0, State.CLOSED)  # fmt: skip


def test_a_client_knows_the_hubs_name_until_it_is_proven():
    """That is when a failed attempt needs it: to drop what was cached for that hub."""
    stage = Stage(Role.CLIENT)
    assert stage.end.node_id is None
    stage.until(State.READY)
    assert stage.end.node_id == NODE_ID
    stage.say(e.Ping())
    assert stage.end.node_id is None
    assert Stage(Role.HUB).end.node_id is None

    odd = Stage(Role.CLIENT)
    odd.say(e.HubHello(payload={"node_id": 5}))
    assert odd.end.node_id is None


@sessions
def test_nothing_can_be_sent_before_the_keys_nor_after_the_end(generation, pinned):
    """A `LocalProtocolError` that names the state."""
    pair = Pair(generation, pinned=pinned)
    with pytest.raises(LocalProtocolError, match="IDLE"):
        pair.client.send(e.Ping(), 0.0)
    pair.drive()
    pair.client.close()
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        pair.client.send(e.Ping(), 0.0)


# --- secrets


def planted() -> dict[str, bytes]:
    """Every secret of a pair, by name."""
    return {
        "access key": ACCESS_KEY.as_bytes(),
        "password": PASSWORD.as_bytes(),
        "crypto key": CRYPTO_KEY.as_bytes(),
        "client's static key": CLIENT_STATIC.reveal(),
        "hub's static key": HUB_STATIC.reveal(),
        "what a user said": b"my pin is 4711",
    }


def forms(secret: bytes) -> Iterator[str]:
    """How a secret might show."""
    yield secret.hex()
    yield base64.b64encode(secret).decode().rstrip("=")
    yield repr(secret)[2:-1]
    yield str(list(secret))[1:-1]


def ends() -> Iterator[tuple[Pair, str]]:
    """Pairs in which something goes wrong, one kind after the other."""
    trust = Trust(static_key=CLIENT_STATIC, pins={PIN_ID: public_key(Secret(b"z" * 32))})
    yield Pair(client={"password": OTHER_PASSWORD}), "wrong password, XX"
    yield Pair(pinned=True, client={"password": OTHER_PASSWORD}), "wrong password, KK"
    yield Pair(client={"trust": trust, "allow_kk": False}), "changed hub key"
    yield Pair(pinned=True, client={"trust": Trust(static_key=Secret(b"y" * 32))}), "changed client key"
    yield Pair(V1, client={"password": OTHER_PASSWORD}), "wrong password, v1"
    yield Pair(V0, client={"crypto_key": OTHER_KEY}), "wrong crypto key"
    yield Pair(V0, client={"crypto_key": Secret("short")}), "unusable crypto key"
    yield Pair(V1, client={"password": None, "crypto_key": None}), "no secrets"
    yield Pair(hub={"password": None}), "no password at the hub"
    for generation, pinned in SESSIONS:
        ready = Pair(generation, pinned=pinned).drive()
        ready.send(Role.CLIENT, e.Utterance(text="my pin is 4711"))
        frame = ready.to_hub.popleft()
        ready.to_hub.append(Frame(frame.data[:-3] + b"000", frame.type))
        yield ready, f"tampered, {generation.name}"
        said = Pair(generation, pinned=pinned).drive()
        said.to_hub.append(
            Frame(b'{"msg_type": "bus", "payload": {"type": "my pin is 4711", "data": 4711}}', frame.type)
        )
        yield said, f"in clear, {generation.name}"


ENDS = list(ends())


@pytest.mark.parametrize("pair", [pair for pair, _ in ENDS], ids=[name for _, name in ENDS])
def test_no_error_no_goodbye_and_no_repr_tells_a_secret(pair):
    """Whatever goes wrong, at either end (security.md §7)."""
    pair.drive()

    closed = [
        event for heard in (pair.heard_by_client, pair.heard_by_hub) for event in heard if isinstance(event, e.Closed)
    ]
    assert closed
    for event in closed:
        said = " ".join((repr(event), str(event), event.reason, str(event.error), event.error.hint, repr(event.error)))
        for name, secret in planted().items():
            assert not any(form in said for form in forms(secret)), name
    handshake = (event for event in (*pair.heard_by_client, *pair.heard_by_hub) if not isinstance(event, e.Message))
    for text in (repr(pair.client), repr(pair.hub), *map(repr, handshake), repr(client_side()), repr(hub_side())):
        for name, secret in planted().items():
            assert not any(form in text for form in forms(secret)), name


def test_a_peer_is_told_the_kind_of_its_fault_and_no_detail():
    """A handful of constant texts, short enough for a WebSocket close frame."""
    heard = [event for pair, _ in ends() for event in pair.drive().heard_by_hub if isinstance(event, e.Closed)]

    reasons = {event.reason for event in heard}
    assert reasons == {"handshake failure", "invalid message", "client Noise static key contradicts the pinned key"}
    assert all(len(reason.encode()) <= 123 for reason in reasons)


@sessions
def test_the_secrets_of_a_handshake_go_with_it(generation, pinned):
    """Once a session runs, a connection has no way to password, crypto key, static key or access key."""
    pair = Pair(generation, pinned=pinned)
    assert any(found is PASSWORD for found in reachable(pair.client))
    pair.drive()

    for end in (pair.client, pair.hub):
        found = {id(each) for each in reachable(end)}
        assert not found & {id(secret) for secret in (PASSWORD, CRYPTO_KEY, CLIENT_STATIC, HUB_STATIC, ACCESS_KEY)}


# --- nothing is random


@sessions
def test_other_entropy_gives_other_frames(generation, pinned):
    """All that is sealed depends on it."""
    frames = []
    for seed in ("one", "two"):
        client = HubConnection(client_side(pinned=pinned), WSS, entropy=stream(seed), now=0.0)
        hub = HubConnection(hub_side(generation, pinned=pinned), WSS, entropy=stream("hub"), now=0.0)
        for frame, _ in hub.frames_to_send():
            client.receive(frame, 0.0)
            for effect in client.effects():
                client.effect_done(effect.id, quick(effect), 0.0)
        frames.append(client.frames_to_send()[0][0].data)

    assert frames[0] != frames[1]
