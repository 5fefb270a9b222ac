"""v0 over `HubConnection`: a key from the start, no handshake, and what a carrier without frame types makes of it."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from thalovant_proto import events as e
from thalovant_proto.carrier import Carrier, Frame, FrameType
from thalovant_proto.codec.channel import LegacyChannel
from thalovant_proto.codec.envelope import clear_frame, encode, parse_clear
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.legacy import Cipher, LegacyCipher
from thalovant_proto.errors import CredentialsMissing, LocalProtocolError, RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.handshake import password as hsub
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

from ..pair import (
    CARRIERS,
    CRYPTO_KEY,
    LEGACY_MQTT,
    MQTT,
    PASSWORD,
    WSS,
    Pair,
    carried,
    client_side,
    hub_side,
    legacy_channel,
    quick,
    stream,
)
from ..puppet import Stage

V0 = Generation.PRESHARED
OTHER_KEY = Secret("fedcba9876543210")
every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)

GREETING_TIME = 3.0


def channel(key: Secret[str] = CRYPTO_KEY) -> LegacyChannel:
    """The channel of somebody who holds that key."""
    return legacy_channel(LegacyCipher(Secret(key.as_bytes()), Cipher.AES_GCM, Encoding.HEX), V0)


@every_carrier
def test_the_session_is_there_at_once_and_proven_by_the_first_frame_that_opens(carrier):
    """Nothing to derive, no handshake; each end believes the other when it has read it."""
    pair = Pair(V0, carrier=carrier, derive=None).drive()

    assert (pair.client.state, pair.client.proven) == (State.READY, False)
    assert (pair.hub.state, pair.hub.proven) == (State.READY, True)
    assert V0 is pair.client.generation is pair.hub.generation
    completed = e.HandshakeCompleted(generation=V0, node_id=hub_side().node_id)
    assert [type(event) for event in pair.heard_by_client] == [e.HubHello, e.Offer, type(completed)]
    assert pair.heard_by_client[-1] == completed
    assert [type(event) for event in pair.heard_by_hub] == [e.Proven, e.ClientHello]

    pair.send(Role.HUB, e.Speak(text="hello")).drive()
    assert pair.heard_by_client[-2:] == [e.Proven(), e.Speak(text="hello")]


@every_carrier
def test_the_client_says_nothing_in_clear(carrier):
    """Its hello goes sealed too: every real hub accepts that (wire.md §0.1, 9)."""
    pair = Pair(V0, carrier=carrier).drive().send(Role.CLIENT, e.Utterance(text="hello")).drive()

    sent = [frame for sender, frame in pair.travelled if sender is Role.CLIENT]
    assert len(sent) == 2
    assert [type(channel().open(frame, 0.0)) for frame in sent] == [e.ClientHello, e.Utterance]


def test_an_old_hub_behind_mqtt_gets_bit_frames_only():
    """JSON text is not understood there (real-hubs.md §8); ours answers in kind."""
    pair = Pair(V0, carrier=LEGACY_MQTT).drive()
    pair.send(Role.CLIENT, e.Utterance(text="hello")).drive()
    pair.send(Role.HUB, e.Speak(text="hello")).drive()

    cipher = LegacyCipher(Secret(CRYPTO_KEY.as_bytes()), Cipher.AES_GCM, Encoding.HEX)
    *up, down = [(sender, frame.data) for sender, frame in pair.travelled[2:]]
    assert [cipher.open_binary(data)[1][0] for _, data in up] == [0x8D, 0x83]  # hello, bus; compressed
    assert cipher.open_binary(down[1])[1][0] == 0x83
    with pytest.raises(LocalProtocolError):
        pair.client.send(e.Intercom(), 0.0)


# --- keys


@pytest.mark.parametrize("sides", [{"client": {"crypto_key": OTHER_KEY}}, {"hub": {"crypto_key": None}}])
def test_a_wrong_key_ends_it_at_the_hub_without_a_reason(sides):
    """What it looks like to the client is the session's business: here it is only a close."""
    pair = Pair(V0, **sides).drive()

    closed = pair.heard_by_hub[-1]
    assert isinstance(closed.error, RemoteProtocolError)
    assert (closed.code, closed.reason) == (1008, "invalid message")
    assert (pair.client.state, pair.client.proven, pair.hub.proven) == (State.READY, False, False)


def test_a_hub_with_another_key_is_noticed_by_the_client():
    """Its frames do not open."""
    stage = Stage(Role.CLIENT, V0).until(State.READY)
    stage.puppet.channel = channel(OTHER_KEY)

    (closed,) = stage.say(e.Speak(text="hello"))

    assert isinstance(closed.error, RemoteProtocolError)


@pytest.mark.parametrize(
    ("client", "hub"),
    [
        ("0123456789abcdef", "0123456789abcdef"),
        ("0123456789abcdef01234567", "0123456789abcdef01234567"),
        ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
        ("0123456789abcdef and more", "0123456789abcdef"),
        (" 0123456789abcdef\n", "0123456789abcdef"),
    ],
    ids=["16", "24", "32", "longer", "spaces"],
)
def test_keys_of_every_usable_length_fit(client, hub):
    """As they are where AES takes them, else their first 16 characters (wire.md §2.3)."""
    pair = Pair(V0, client={"crypto_key": Secret(client)}, hub={"crypto_key": Secret(hub)}).drive()

    assert pair.hub.proven


@pytest.mark.parametrize(
    "key", [Secret("too short"), Secret("\ud800" * 16), None, Secret("")], ids=["short", "no Unicode", "none", "empty"]
)
def test_a_key_that_cannot_be_one_is_the_identitys_fault(key):
    """An error that says so, nothing raised, nothing of the key told."""
    pair = Pair(V0, client={"crypto_key": key}).drive()

    closed = pair.heard_by_client[-1]
    assert isinstance(closed.error, CredentialsMissing)
    assert "crypto_key" in str(closed.error)
    assert not key or key.reveal() not in str(closed.error)


def test_a_password_proof_replaces_a_preshared_key():
    """A client may start the envelope although the offer says it need not (real-hubs.md §5.1)."""
    pair = Pair(V0, client={"crypto_key": None}, hub={"password": PASSWORD}).drive()

    assert Generation.PASSWORD is pair.client.generation is pair.hub.generation
    assert pair.client.proven and pair.hub.proven


# --- hellos in clear


def test_a_clear_hello_is_a_claim_until_a_frame_opens():
    """Clients of that age open a session in clear (real-hubs.md §5.1)."""
    stage = Stage(Role.HUB, V0)
    claimed = {"session": {"session_id": "claimed"}, "site_id": "attic"}

    assert stage.say(e.ClearHello(payload={"site_id": "x"})) == [e.ClearHello(payload={"site_id": "x"})]
    assert stage.say(e.ClearHello(payload=claimed)) == [e.ClearHello(payload=claimed)]
    assert (stage.end.state, stage.end.proven) == (State.CLAIMED, False)
    with pytest.raises(LocalProtocolError):
        stage.end.send(e.Speak(text="secret"), 0.0)
    assert stage.say(e.Ping()) == [e.Proven(), e.ClientHello(payload=claimed), e.Ping()]
    assert stage.say(e.Ping()) == [e.Ping()]


def test_a_claim_says_nothing_with_v3():
    """There a clear hello wakes a hub, and whoever sent it must not speak for who comes after (security.md §1)."""
    stage = Stage(Role.HUB, carrier=MQTT)
    stage.say(e.ClearHello(payload={"pubkey": "an attacker's", "site_id": "attic"}))
    stage.until(State.KEYED)

    assert stage.say(e.Ping()) == [e.Proven(), e.Ping()]


# --- where frames have no type


@pytest.mark.parametrize("start", [b"{", b"[", b" {", b"\n\t ["], ids=repr)
@pytest.mark.parametrize("carrier", [MQTT, LEGACY_MQTT], ids=["mqtt", "legacy-mqtt"])
@pytest.mark.parametrize("sender", Role, ids=lambda role: role.value)
def test_a_sealed_frame_that_begins_like_json_is_still_opened(start, carrier, sender):
    """One random nonce in 128 does: where the carrier does not say what a frame is, the key decides."""

    def entropy(size: int) -> bytes:
        return (start + next(nonces))[:size]

    nonces = iter([bytes([n]) * 16 for n in range(8)])
    hub = HubConnection(hub_side(V0), carrier, entropy=entropy, now=0.0)
    client = HubConnection(client_side(binarize=True), carrier, entropy=entropy, now=0.0)
    for frame, _ in hub.frames_to_send():
        client.receive(carried(frame, carrier), 0.0)
    for frame, _ in client.frames_to_send():
        assert frame.data.startswith(start)
        assert hub.receive(carried(frame, carrier), 0.0)[0] == e.Proven()
    ends = {Role.CLIENT: client, Role.HUB: hub}

    audio = e.Binary(payload=b"abc")
    ends[sender].send(audio, 0.0)
    ((frame, _),) = ends[sender].frames_to_send()

    assert frame.data.startswith(start)
    assert ends[sender.peer].receive(carried(frame, carrier), 0.0)[-1] == audio


@pytest.mark.parametrize("size", [12, 16])
def test_text_frames_are_answered_with_nonces_like_their_own(size):
    """Some clients open no text frame whose nonce is longer or shorter than theirs; binary frames have one length."""
    hub = HubConnection(hub_side(V0), WSS, entropy=stream("hub"), now=0.0)
    hub.frames_to_send()
    cipher = LegacyCipher(Secret(CRYPTO_KEY.as_bytes()), Cipher.AES_GCM, Encoding.HEX)
    nonces = stream("nonces")

    def heard(*, text: bool) -> list[e.Event]:
        body = encode(e.Ping(), text=text, binarize=False, compress=True).data
        if text:
            return hub.receive(Frame(cipher.seal_text(body, nonces(size)), FrameType.TEXT), 0.0)
        return hub.receive(Frame(cipher.seal_binary(body, nonces(16)), FrameType.BINARY), 0.0)

    def said(event: e.Message) -> bytes:
        hub.send(event, 0.0)
        ((frame, _),) = hub.frames_to_send()
        return frame.data

    assert heard(text=True) == [e.Proven(), e.Ping()]
    assert len(cipher.open_text(json.loads(said(e.Ping())))[0]) == size
    assert len(cipher.open_binary(said(e.Binary(payload=b"abc")))[0]) == 16
    assert heard(text=False) == [e.Ping()]
    assert len(cipher.open_text(json.loads(said(e.Ping())))[0]) == size


@pytest.mark.parametrize(("carrier", "mirrored"), [(MQTT, True), (LEGACY_MQTT, True), (WSS, False)])
def test_where_frames_have_no_types_a_hub_answers_in_kind(carrier, mirrored):
    """A client that seals binary frames may read no others; raw bytes say nothing of it, and mesh fields need JSON."""
    hub = HubConnection(hub_side(V0), carrier, entropy=stream("hub"), now=0.0)
    hub.frames_to_send()
    cipher = LegacyCipher(Secret(CRYPTO_KEY.as_bytes()), Cipher.AES_GCM, Encoding.HEX)
    nonces = stream("nonces")

    def answered_in_text(heard: e.Message | None, *, text: bool = True, answer: e.Message | None = None) -> bool:
        if heard is not None:
            body = encode(heard, text=text, binarize=False, compress=True).data
            frame = cipher.seal_text(body, nonces(16)) if text else cipher.seal_binary(body, nonces(16))
            kind = FrameType.TEXT if text else FrameType.BINARY
            assert hub.receive(carried(Frame(frame, kind), carrier), 0.0)[-1] == heard
        hub.send(answer or e.Bus(type="app.event"), 0.0)
        ((sent, _),) = hub.frames_to_send()
        is_text = sent.type is FrameType.TEXT
        assert len((cipher.open_text(json.loads(sent.data)) if is_text else cipher.open_binary(sent.data))[0]) == 16
        return is_text

    bus, audio = e.Bus(type="app.event"), e.Binary(payload=b"abc")
    assert answered_in_text(bus)
    assert answered_in_text(audio, text=False)
    assert answered_in_text(bus, text=False) is not mirrored
    assert answered_in_text(bus, text=False, answer=e.Propagate(payload={}, route=[{"source": "a", "targets": []}]))
    assert answered_in_text(None) is not mirrored
    assert answered_in_text(bus)


def test_where_frames_have_types_they_count():
    """A text frame is never taken for a binary one."""
    stage = Stage(Role.HUB, V0)
    frame = stage.puppet.frames(e.Binary(payload=b"abc"))[0]

    (closed,) = stage.deliver(Frame(frame.data, FrameType.TEXT))

    assert isinstance(closed.error, RemoteProtocolError)


def test_a_carrier_may_be_any_mixture():
    """Untyped, and no binaries up: text goes, whatever the client wished for."""
    carrier = Carrier(typed=False, legacy_binary_up=False, secure=True)
    pair = Pair(V0, carrier=carrier, client={"binarize": True}).drive()

    assert pair.travelled[-1][1].data.startswith(b'{"ciphertext"')
    assert pair.hub.proven


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["key", "both"])
def test_a_client_that_says_nothing_is_greeted_once_more(password):
    """Old ones lose the first greeting to a race of their own; where it can, the second one offers the password too."""
    side = hub_side(V0, password=password, offers_password=False)
    hub = HubConnection(side, WSS, entropy=stream("hub"), now=0.0)
    first = [parse_clear(frame, Role.HUB) for frame, _ in hub.frames_to_send()]
    due = GREETING_TIME

    assert (hub.next_timeout, hub.handle_timeout(due - 0.1), hub.frames_to_send()) == (due, [], [])
    assert hub.handle_timeout(due) == []
    again = [parse_clear(frame, Role.HUB) for frame, _ in hub.frames_to_send()]

    assert [side.hello(), side.offer()] == first
    assert [side.hello(), evolve(side, offers_password=True).offer()] == again
    assert again[1].payload["password"] is (password is not None)
    assert (hub.handle_timeout(2 * due), hub.frames_to_send()) == ([], [])
    assert hub.receive(channel().seal(e.Ping())[0], 2 * due) == [e.Proven(), e.Ping()]


@pytest.mark.parametrize(
    ("generation", "sign"),
    [
        *((V0, sign) for sign in (e.ClearHello(payload={}), e.ClientHello(payload={}), e.Ping())),
        # the others begin with an answer of the client's own, and a second offer would be a second session
        (Generation.PASSWORD, None),
        (Generation.NOISE, None),
    ],
)
def test_who_is_not_greeted_again(generation, sign):
    """A client that said something has heard the first greeting; only v0 has a second one."""
    stage = Stage(Role.HUB, generation)
    if sign is not None:
        stage.puppet.channel = channel()
        stage.say(sign)
    heard = len(stage.puppet.heard)

    stage.wait(GREETING_TIME)

    assert heard == len(stage.puppet.heard)


@every_carrier
def test_a_greeting_that_crosses_our_first_frame_is_dropped(carrier):
    """On a slow line the hub greets again what it has not heard yet: no other session, and nothing to be answered."""
    side = hub_side(V0, password=PASSWORD, offers_password=False)
    again = evolve(side, offers_password=True)
    client = HubConnection(client_side(), carrier, entropy=stream("client"), now=0.0)

    def hears(event: e.ClearEvent) -> list[e.Event]:
        return client.receive(carried(clear_frame(event, text=True), carrier), 3.0)

    hears(side.hello())
    hears(side.offer())
    assert (client.state, len(client.frames_to_send())) == (State.READY, 1)

    assert [hears(again.hello()), hears(again.offer())] == [[], []]
    assert (client.state, client.frames_to_send()) == (State.READY, [])


def test_a_proof_sealed_with_the_crypto_key_is_a_proof():
    """A client that holds both secrets seals its password proof (bus-client 0.4); the answer gives a session key."""
    side = hub_side(V0, password=PASSWORD, offers_password=False)
    hub = HubConnection(side, Carrier(secure=True), entropy=stream("hub"), now=0.0)
    payload = {"envelope": hsub.envelope(PASSWORD, b"12345678"), "encodings": ["JSON-HEX"], "ciphers": ["AES-GCM"]}
    (frame,) = channel().seal(e.SealedHandshake(payload=payload))

    events = hub.receive(frame, 0.0)
    (effect,) = hub.effects()
    events += hub.effect_done(effect.id, quick(effect), 0.0)

    assert [type(event) for event in events] == [e.Proof, e.HandshakeCompleted]
    assert (hub.state, hub.generation, hub.proven) == (State.KEYED, Generation.PASSWORD, False)
    assert side.offer().payload["password"] is False


def both_proven() -> tuple[HubConnection, LegacyChannel]:
    """A hub that has a session key of a client's sealed proof, and the client's channel of the crypto key."""
    hub = HubConnection(hub_side(V0, password=PASSWORD), WSS, entropy=stream("hub"), now=0.0)
    preshared = channel()
    prove(hub, preshared, b"12345678")
    return hub, preshared


def prove(hub: HubConnection, preshared: LegacyChannel, iv: bytes) -> list[e.Event]:
    """Say a proof that is sealed with the crypto key, and derive what it leads to."""
    payload = {"envelope": hsub.envelope(PASSWORD, iv), "encodings": ["JSON-B91"], "ciphers": ["AES-GCM"]}
    events = hub.receive(preshared.seal(e.SealedHandshake(payload=payload))[0], 0.0)
    return events + [event for effect in hub.effects() for event in hub.effect_done(effect.id, quick(effect), 0.0)]


def test_a_second_proof_sealed_with_the_crypto_key_replaces_the_first():
    """A client that answers an offer twice seals both proofs alike (bus-client 0.4 over HTTP)."""
    hub, preshared = both_proven()

    events = prove(hub, preshared, b"second!!")

    assert [type(event) for event in events] == [e.Proof, e.HandshakeCompleted]
    assert (hub.state, hub.generation, hub.proven) == (State.KEYED, Generation.PASSWORD, False)


def test_after_a_proof_the_crypto_key_seals_nothing_else():
    """The session has its own key by then: only handshakes may come under the older one, each once."""
    hub, preshared = both_proven()
    (closed,) = hub.receive(preshared.seal(e.Ping())[0], 0.0)
    assert isinstance(closed.error, RemoteProtocolError)

    hub, preshared = both_proven()
    payload = {"envelope": hsub.envelope(PASSWORD, b"second!!")}
    (frame,) = preshared.seal(e.SealedHandshake(payload=payload))
    hub.receive(frame, 0.0)
    (effect,) = hub.effects()
    hub.effect_done(effect.id, quick(effect), 0.0)
    (closed,) = hub.receive(frame, 0.0)
    assert isinstance(closed.error, RemoteProtocolError)


def test_a_sealed_handshake_that_is_none_is_refused():
    """Sealed or not, it must be one."""
    stage = Stage(Role.HUB, V0).until(State.OFFERED)
    stage.puppet.channel = channel()

    assert isinstance(stage.say(e.SealedHandshake(payload={}))[-1].error, RemoteProtocolError)
