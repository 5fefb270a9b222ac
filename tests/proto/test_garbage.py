"""Whatever arrives, in every state and both roles: nothing is raised, only the peer is blamed, memory is bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from tests.examples import examples
from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.legacy import Cipher, LegacyCipher
from thalovant_proto.crypto.noise import Unauthentic
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.limits import KIB, Limits
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

from .memory import retained
from .pair import CRYPTO_KEY, HTTPS, LEGACY_MQTT, MQTT, WSS, carried, quick
from .places import PLACES
from .puppet import Stage

V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE

places = st.builds(
    lambda place, carrier: evolve(place, carrier=carrier),
    st.sampled_from(PLACES),
    st.sampled_from([WSS, HTTPS, MQTT, LEGACY_MQTT]),
)
frame_types = st.sampled_from(FrameType)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
MSG_TYPES = ["hello", "shake", "handshake", "bus", "query", "bin", "intercom", "3rdparty", "rendezvous", "", "x"]
FIELDS = ["envelope", "encoding", "cipher", "encodings", "ciphers", "noise", "password", "preshared_key", "handshake",
          "node_id", "session", "site_id", "type", "data", "context", "binarize"]  # fmt: skip
noises = st.fixed_dictionaries(
    {},
    optional={
        "msg": st.binary(max_size=130).map(bytes.hex) | json_values,
        "pattern": st.sampled_from(["XXpsk2", "KKpsk0", "NNpsk0"]) | json_values,
        "suite": st.sampled_from(["25519_ChaChaPoly_SHA256", "25519_AESGCM_SHA256"]) | json_values,
        "patterns": st.lists(st.sampled_from(["XXpsk2", "KKpsk0"])) | json_values,
        "suites": st.lists(st.sampled_from(["25519_ChaChaPoly_SHA256"])) | json_values,
    },
)
payloads = st.dictionaries(st.sampled_from(FIELDS), json_values | st.just(True), max_size=5) | st.builds(
    lambda fields, noise: fields | {"noise": noise}, st.dictionaries(st.sampled_from(FIELDS), json_values), noises
)
envelopes = st.fixed_dictionaries(
    {"msg_type": st.sampled_from(MSG_TYPES) | json_values, "payload": payloads | json_values},
    optional={
        "metadata": json_values,
        "route": json_values,
        "node": json_values,
        "source_peer": json_values,
        "ciphertext": st.binary(max_size=40).map(bytes.hex) | json_values,
        "nonce": st.just("00" * 16) | json_values,
        "tag": st.just("00" * 16) | json_values,
    },
)
quickly = examples(150)


def check(stage: Stage, events: list[e.Event]) -> None:
    """What must be so after any input."""
    assert all(isinstance(event, e.Event) for event in events)
    ends = [event for event in events if isinstance(event, e.Closed)]
    assert ends == events[-1:] * bool(ends)
    for closed in ends:
        assert closed.error is None or isinstance(closed.error, RemoteProtocolError)
        assert closed.error is not None or closed.kind is CloseKind.FORGOTTEN
        assert stage.end.state is State.CLOSED
        assert stage.end.receive(Frame(b"{}", FrameType.TEXT), stage.now) == []
        assert stage.end.handle_timeout(1e9) == []
    assert bool(ends) is (stage.end.state is State.CLOSED)


def say(stage: Stage, frame: Frame) -> None:
    """Bring garbage across, as the carrier would."""
    stage.puppet.shakes = False
    events = stage.end.receive(carried(frame, stage.puppet.carrier), stage.now)
    for effect in stage.end.effects():
        events += stage.end.effect_done(effect.id, quick(effect), stage.now)
    check(stage, events)


# --- garbage


@quickly
@given(places, st.binary(max_size=200), frame_types)
def test_any_bytes(place, data, kind):
    """As text, as binary, as nothing in particular."""
    say(place.stage(), Frame(data, kind))


@quickly
@given(places, json_values | envelopes, frame_types)
def test_any_json(place, value, kind):
    """Values, and envelopes whose fields hold anything."""
    say(place.stage(), Frame(json.dumps(value).encode(), kind))


mutations = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "double"]), st.integers(0, 10_000), st.integers(1, 255)),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    for what, where, value in changes:
        at = where % (len(data) + 1)
        match what:
            case "flip":
                data = data[:at] + bytes(byte ^ value for byte in data[at : at + 1]) + data[at + 1 :]
            case "cut":
                data = data[:at]
            case "insert":
                data = data[:at] + bytes([value]) + data[at:]
            case _:
                data = data[:at] + data[at // 2 :]
    return data


@quickly
@given(places, mutations)
def test_a_real_frame_that_was_changed(place, changes):
    """What is due there, or a message of the session, bent somewhere."""
    stage = place.stage()
    puppet = stage.puppet
    genuine = puppet.frames(puppet.due[0] if puppet.due else e.Utterance(text="hello"))[0]

    say(stage, Frame(mutated(genuine.data, changes), genuine.type))


@quickly
@given(
    st.sampled_from(Role),
    st.sampled_from([WSS, MQTT]),
    st.booleans(),
    envelopes.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
)
def test_anything_sealed_by_somebody_with_the_key(role, carrier, binary, body):
    """A peer that is who it says and talks nonsense, as text or as a bit frame."""
    stage = Stage(role, V0, carrier=carrier).until(State.READY if role is Role.CLIENT else State.OFFERED)
    cipher, nonce = LegacyCipher(Secret(CRYPTO_KEY.as_bytes()), Cipher.AES_GCM, Encoding.HEX), b"nonce of garbage"
    if binary:
        say(stage, Frame(cipher.seal_binary(body, nonce), FrameType.BINARY))
    else:
        say(stage, Frame(cipher.seal_text(body, nonce), FrameType.TEXT))


# --- memory


SMALL = Limits(frame=100_000, reassembly=200_000, legacy_frames=100)
PARKED = 128 * KIB  # frames that wait while a key is derived


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_what_is_kept_is_bounded_whatever_arrives(place):
    """The largest frames that pass, over and over: no more than the limits' sum stays."""
    bounded = Stage(place.role, place.generation, pinned=place.pinned, carrier=place.carrier, limits=SMALL)
    bounded = bounded if place.state is State.CLAIMED else bounded.until(place.state)
    filler = "x" * 19_000
    frames = [
        bounded.puppet.in_clear(e.ClearHello(payload={"site_id": filler})),
        carried(Frame(filler.encode(), FrameType.TEXT), place.carrier),
    ]
    if bounded.puppet.channel is not None:
        frames[:0] = [frame for _ in range(50) for frame in bounded.puppet.frames(e.Bus(type="a", data={"b": filler}))]
    before = retained(bounded.end)

    for frame in frames:
        bounded.end.receive(frame, 0.0)
        assert retained(bounded.end) - before <= 2 * (SMALL.reassembly + PARKED + SMALL.frame)
    assert bounded.end.state is State.CLOSED


# --- tampering


def tampered(frame: Frame) -> Iterator[Frame]:
    """The frame with one byte changed, for each byte."""
    for at in range(len(frame.data)):
        data = bytearray(frame.data)
        data[at] ^= 1
        yield Frame(bytes(data), frame.type)


FORMS = [
    pytest.param(V0, False, id="v0-text"),
    pytest.param(V0, True, id="v0-bits"),
    pytest.param(V1, False, id="v1-text"),
    pytest.param(V1, True, id="v1-bits"),
    pytest.param(V3, False, id="v3-text"),
    pytest.param(V3, True, id="v3-bits"),
]


@pytest.mark.parametrize(("generation", "binarize"), FORMS)
def test_every_byte_of_100_messages_is_protected(generation, binarize):
    """No message is read with a byte changed; the channel is none the worse, and reads the genuine one."""
    stage = Stage(Role.CLIENT, generation, client={"binarize": binarize}).until(State.READY)
    channel = stage.puppet.channel
    for number in range(100):
        message = e.Bus(type="t", data={"n": number})
        stage.end.send(message, 0.0)
        ((frame, _),) = stage.end.frames_to_send()
        for changed in tampered(frame):
            with pytest.raises(Unauthentic):
                channel.open(changed, 0.0)
        assert channel.open(frame, 0.0) == message


@pytest.mark.parametrize(("generation", "binarize"), FORMS)
def test_a_tampered_frame_ends_the_session(generation, binarize):
    """Wherever it was changed; nothing of it is told."""
    stage = Stage(Role.HUB, generation, client={"binarize": binarize}).until(State.READY)
    (genuine,) = stage.puppet.frames(e.Ping())

    for changed in list(tampered(genuine))[::5]:
        stage = Stage(Role.HUB, generation, client={"binarize": binarize}).until(State.READY)
        (closed,) = stage.deliver(changed)
        assert isinstance(closed.error, RemoteProtocolError)
        check(stage, [closed])
