"""v1 over `HubConnection`: the password proofs of both sides, what they choose, and the key that comes of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from thalovant_proto import events as e
from thalovant_proto.codec.channel import LegacyChannel
from thalovant_proto.codec.legacy_policy import OFFERED_ENCODINGS
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.kdf import DeriveKey, Kdf, derive
from thalovant_proto.crypto.legacy import Cipher, LegacyCipher
from thalovant_proto.errors import (
    CredentialsMissing,
    CredentialsRefused,
    DowngradeRefused,
    LocalProtocolError,
    RemoteProtocolError,
)
from thalovant_proto.events import Generation
from thalovant_proto.handshake import password as hsub
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

from ..pair import CARRIERS, NODE_ID, PASSWORD, Pair, legacy_channel, quick, stream
from ..puppet import Stage

V1 = Generation.PASSWORD
OTHER_PASSWORD = Secret("another password, also long")
IV = bytes(range(8))
every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)


def proof(iv: bytes = IV, password: Secret[str] = PASSWORD, **choices: Any) -> e.Proof:
    """A client's proof."""
    return e.Proof(envelope=hsub.envelope(password, iv), **choices)


def channel(answer: e.ProofAnswer, iv: bytes = IV, entropy: str = "channel") -> LegacyChannel:
    """What a client seals with after that answer to its proof."""
    salt = hsub.salt(iv, hsub.envelope_iv(answer.envelope))
    key = quick(DeriveKey(id=0, kdf=Kdf.PBKDF2, secret=Secret(PASSWORD.as_bytes()), salt=salt))
    return legacy_channel(LegacyCipher(key, Cipher(answer.cipher), Encoding(answer.encoding)), V1, entropy)


def answered(stage: Stage) -> e.ProofAnswer:
    """The last answer that a hub gave."""
    return [event for event in stage.puppet.heard if isinstance(event, e.ProofAnswer)][-1]


def hub(**changes: Any) -> Stage:
    """A hub, and a client whose proofs and keys the test makes."""
    stage = Stage(Role.HUB, V1, **changes)
    stage.puppet.shakes = False
    return stage


# --- both ends agree


@every_carrier
def test_the_handshake_completes_and_both_ends_are_proven(carrier):
    """The client is proven to the hub by its first frame, the hub to the client by its proof."""
    pair = Pair(V1, carrier=carrier).drive()

    assert State.READY is pair.client.state is pair.hub.state
    assert V1 is pair.client.generation is pair.hub.generation
    completed = e.HandshakeCompleted(generation=V1, node_id=NODE_ID)
    assert [type(event) for event in pair.heard_by_client[2:]] == [e.ProofAnswer, e.HandshakeCompleted, e.Proven]
    assert [type(event) for event in pair.heard_by_hub] == [e.Proof, e.HandshakeCompleted, e.Proven, e.ClientHello]
    assert completed == pair.heard_by_client[3] == pair.heard_by_hub[1]
    assert (
        pair.client.proven, pair.hub.proven, pair.client.pattern, pair.hub.pattern,
    ) == (True, True, None, None)  # fmt: skip


def test_the_real_derivation_fits():
    """PBKDF2 on both sides, of the same salt."""
    pair = Pair(V1, derive=derive).drive()

    assert State.READY is pair.client.state is pair.hub.state


def test_a_hub_answers_once_it_can_open_what_follows():
    """The client may seal as soon as it has the answer, however long the hub's derivation takes."""
    pair = Pair(V1, derive=None).drive()
    assert [(role, effect.kdf) for role, effect in pair.derivations] == [(Role.HUB, Kdf.PBKDF2)]
    assert State.PROVING is pair.client.state is pair.hub.state

    pair.answer()
    pair.drive()
    pair.answer()
    pair.send(Role.CLIENT, *[e.Ping()] * 20).drive()

    assert pair.heard_by_hub[-20:] == [e.Ping()] * 20


@pytest.mark.parametrize("binarize", [False, True])
@every_carrier
def test_bit_frames_where_the_client_wants_and_the_carrier_takes_them(carrier, binarize):
    """Bus messages both ways; over HTTPS real hubs of that age read no binary frame, so up there all is text."""
    pair = Pair(V1, carrier=carrier, client={"binarize": binarize}).drive()
    pair.send(Role.CLIENT, e.Utterance(text="hello")).drive()
    up = pair.travelled[-1][1].data
    pair.send(Role.HUB, e.Speak(text="hello")).drive()
    down = pair.travelled[-1][1].data

    assert (pair.heard_by_hub[-1], pair.heard_by_client[-1]) == (e.Utterance(text="hello"), e.Speak(text="hello"))
    text_up = carrier.text_up and not (binarize and carrier.legacy_binary_up)
    assert up.startswith(b'{"ciphertext"') is text_up
    assert down.startswith(b'{"ciphertext"') is not binarize


@every_carrier
def test_binaries_go_down_everywhere_and_up_where_hubs_read_them(carrier):
    """Over HTTPS the caller is told, and the session goes on."""
    pair = Pair(V1, carrier=carrier).drive()
    audio = e.Binary(bin_type=e.BinType.TTS_AUDIO, payload=bytes(300), metadata={"lang": "pt"})

    pair.send(Role.HUB, audio).drive()
    assert pair.heard_by_client[-1] == audio
    if carrier.legacy_binary_up:
        pair.send(Role.CLIENT, audio).drive()
        assert pair.heard_by_hub[-1] == audio
    else:
        with pytest.raises(LocalProtocolError, match="binary") as refused:
            pair.client.send(audio, 0.0)
        assert refused.value.code == "no_binary_up"
    pair.send(Role.CLIENT, e.Ping()).drive()
    assert pair.heard_by_hub[-1] == e.Ping()


# --- wrong passwords and forged proofs


def test_a_hub_refuses_a_proof_of_another_password():
    """With one constant text, before it derives anything."""
    pair = Pair(V1, client={"password": OTHER_PASSWORD}, derive=None).drive()

    closed = pair.heard_by_hub[-1]
    assert isinstance(closed.error, CredentialsRefused)
    assert (closed.code, closed.reason) == (1008, "handshake failure")
    assert not pair.derivations


def test_a_client_refuses_a_hub_that_does_not_prove_the_password():
    """Stable hubs do not check the client's proof (real-hubs.md §5.2): the client's check is the only one."""
    stage = Stage(Role.CLIENT, V1, hold=True).until(State.PROVING)

    (closed,) = stage.say(e.ProofAnswer(envelope=hsub.envelope(OTHER_PASSWORD, IV)))

    assert isinstance(closed.error, CredentialsRefused)
    assert closed.error.code == "wrong_password"
    assert stage.pending == []


def test_its_own_iv_back_is_refused():
    """Whoever reflects it need not know the password, and the salt would be zero (wire.md §2.1). At either end."""
    client, at_hub = Stage(Role.CLIENT, V1).until(State.PROVING), hub(hold=True)
    own = next(event for event in client.puppet.heard if isinstance(event, e.Proof))

    (closed,) = client.say(e.ProofAnswer(envelope=own.envelope))
    events = at_hub.say(proof(stream("hub")(hsub.IV_SIZE)))

    assert isinstance(closed.error, RemoteProtocolError)
    assert "own IV" in str(closed.error)
    assert "own IV" in str(events[-1].error)
    assert at_hub.pending == []


@pytest.mark.parametrize("envelope", ["", "00" * 23, "00" * 41, "zz" * 24, "٠" * 48], ids=ascii)
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_a_malformed_proof_is_refused(role, envelope):
    """48 to 80 hex characters it must have."""
    stage = Stage(role, V1).until(State.PROVING if role is Role.CLIENT else State.OFFERED)

    events = stage.say((e.ProofAnswer if role is Role.CLIENT else e.Proof)(envelope=envelope))

    assert isinstance(events[-1].error, RemoteProtocolError)
    assert "envelope" in str(events[-1].error)


def test_a_longer_proof_counts_as_far_as_it_goes():
    """Some peers send the whole hash; all of it is compared."""
    whole = IV.hex() + hashlib.sha256(IV + PASSWORD.as_bytes()).hexdigest()
    stage = hub()
    stage.say(e.Proof(envelope=whole))
    assert stage.end.state is State.KEYED

    forged = hub().say(e.Proof(envelope=whole[:-1] + ("0" if whole[-1] != "0" else "1")))
    assert isinstance(forged[-1].error, CredentialsRefused)


# --- what they choose


@pytest.mark.parametrize("encoding", OFFERED_ENCODINGS, ids=lambda encoding: encoding.value)
@pytest.mark.parametrize("cipher", Cipher, ids=lambda cipher: cipher.value)
def test_a_hub_takes_the_clients_first_choice(encoding, cipher):
    """Of those that it offered; both directions speak it."""
    stage = hub()
    others = {"encodings": ("JSON-ROT13", encoding.value, "JSON-HEX"), "ciphers": ("XOR", cipher.value, "AES-GCM")}

    stage.say(proof(**others))

    answer = answered(stage)
    assert (answer.encoding, answer.cipher) == (encoding.value, cipher.value)
    stage.puppet.channel = channel(answer)
    assert stage.say(e.Ping()) == [e.Proven(), e.Ping()]
    stage.end.send(e.Rendezvous(payload={"a": 1}), 0.0)
    ((frame, _),) = stage.end.frames_to_send()
    assert stage.puppet.hear(frame) == e.Rendezvous(payload={"a": 1})


@pytest.mark.parametrize("choices", [{}, {"encodings": (), "ciphers": ()}], ids=["missing", "empty"])
def test_no_choice_is_the_old_default(choices):
    """HEX and AES-GCM (wire.md §2.1; probe `empty ciphers list`)."""
    stage = hub()

    stage.say(proof(**choices))

    assert (answered(stage).encoding, answered(stage).cipher) == ("JSON-HEX", "AES-GCM")


@pytest.mark.parametrize(
    "choices",
    [{"encodings": ("JSON-ROT13",)}, {"ciphers": ("XOR",)}, {"encodings": ("JSON-Z85P",)}],
    ids=["encoding", "cipher", "not offered"],
)
def test_a_choice_that_was_not_offered_is_refused(choices):
    """Stable clients cannot read `JSON-Z85P`: nobody is offered it."""
    stage = hub(hold=True)

    events = stage.say(proof(**choices))

    assert isinstance(events[-1].error, RemoteProtocolError)
    assert "encoding" in str(events[-1].error)


OFFERS = {
    "both lists": ({}, ("JSON-B64", "JSON-HEX"), ("AES-GCM", "CHACHA20-POLY1305")),
    "the hub's only ones": (
        {"encodings": ["JSON-HEX"], "ciphers": ["CHACHA20-POLY1305"]}, ("JSON-HEX",), ("CHACHA20-POLY1305",),
    ),
    "no lists": (
        {"encodings": None, "ciphers": None}, ("JSON-B64", "JSON-HEX"), ("AES-GCM", "CHACHA20-POLY1305"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "encodings", "ciphers"), OFFERS.values(), ids=OFFERS)
def test_a_client_names_what_both_have(change, encodings, ciphers):
    """In its own order of preference."""
    stage = Stage(Role.CLIENT, V1).until(State.GREETED)
    offer = stage.puppet.due.popleft()
    stage.puppet.shakes = False

    stage.say(e.Offer(payload=offer.payload | change))

    sent = stage.puppet.heard[-1]
    assert (sent.encodings, sent.ciphers, sent.binarize) == (encodings, ciphers, False)


@pytest.mark.parametrize(
    ("state", "change", "words"),
    [
        (State.GREETED, {"encodings": ["JSON-B91"]}, "share"),
        (State.GREETED, {"ciphers": []}, "share"),
        # also where we could speak it
        *(
            (State.PROVING, change, "did not offer")
            for change in ({"encoding": "JSON-B91"}, {"encoding": "JSON-ROT13"}, {"cipher": "XOR"}, {"cipher": ""})
        ),
    ],
)
def test_what_we_have_not_or_did_not_name_is_refused(state, change, words):
    """In the offer there is nothing to name, in the answer it was not ours to choose."""
    stage = Stage(Role.CLIENT, V1).until(state)
    genuine = stage.puppet.due.popleft()
    if isinstance(genuine, e.Offer):
        event: e.Event = e.Offer(payload=genuine.payload | change)
    else:
        named = {"envelope": genuine.envelope, "encoding": "JSON-B64", "cipher": "AES-GCM"}
        event = e.ProofAnswer(**(named | change))

    (closed,) = stage.say(event)

    assert words in str(closed.error)


# --- a proof that comes twice


def test_a_second_proof_replaces_the_key():
    """Older clients answer an offer twice (real-hubs.md §5.2, §9 d): the last one counts until a frame opens.

    The newer IV goes with whichever answer comes first: one key.
    """
    for answer_of in (0, 1):
        stage = hub()
        stage.say(proof(IV))
        first = answered(stage)

        events = stage.say(proof(b"second!!"))

        assert [type(event) for event in events] == [e.Proof, e.HandshakeCompleted]
        assert stage.end.state is State.KEYED
        stage.puppet.channel = channel((first, answered(stage))[answer_of], b"second!!")
        assert stage.say(e.Ping()) == [e.Proven(), e.Ping()]
        stage.puppet.channel = channel(first)
        assert isinstance(stage.say(e.Ping())[-1].error, RemoteProtocolError)


def test_a_replaced_key_opens_what_was_sealed_with_it():
    """A client sends another proof while it reads the answer to the first: what it sealed in between is heard, once."""
    stage = hub()
    stage.say(proof(IV))
    first = channel(answered(stage))
    stage.say(proof(b"second!!"))
    second = channel(answered(stage), b"second!!")

    stage.puppet.channel = first
    (frame,) = stage.puppet.frames(e.Ping())
    assert stage.deliver(frame) == [e.Proven(), e.Ping()]
    stage.end.send(e.Ping(), 0.0)
    ((answer, _),) = stage.end.frames_to_send()
    assert second.open(answer, 0.0) == e.Ping()
    assert isinstance(stage.deliver(frame)[-1].error, RemoteProtocolError)


def test_replaced_keys_are_few():
    """Those that opened nothing go first."""
    stage = hub()
    stage.say(proof(IV))
    stage.puppet.channel = channel(answered(stage))
    (oldest,) = stage.puppet.frames(e.Ping())
    for number in range(4):
        stage.say(proof(bytes([number]) * 8))

    assert isinstance(stage.deliver(oldest)[-1].error, RemoteProtocolError)


def test_a_second_proof_waits_for_the_first_ones_key():
    """Both are answered, in order."""
    stage = hub(hold=True)

    stage.say(proof(IV))
    stage.say(proof(b"second!!"))
    assert stage.end.state is State.PROVING
    stage.answer()
    stage.answer()

    assert len([event for event in stage.puppet.heard if isinstance(event, e.ProofAnswer)]) == 2
    stage.puppet.channel = channel(answered(stage), b"second!!")
    assert stage.say(e.Ping()) == [e.Proven(), e.Ping()]


@pytest.mark.parametrize(
    ("stage", "error", "reason"),
    [
        # a session that is in use keeps its key
        (lambda: Stage(Role.HUB, V1).until(State.READY), RemoteProtocolError, None),
        # from a v3 client it is a downgrade, and refused with the words of the real hubs
        (lambda: Stage(Role.HUB), DowngradeRefused, "this node requires the v3 Noise handshake"),
        # without a password it is the same goodbye as for a wrong one
        (lambda: Stage(Role.HUB, V1, hub={"password": None}), CredentialsRefused, "handshake failure"),
        (
            lambda: Stage(Role.HUB, Generation.PRESHARED, hub={"password": None}),
            CredentialsRefused,
            "handshake failure",
        ),
    ],
    ids=["in a session", "v3", "v1 without a password", "v0 without a password"],
)
def test_a_proof_that_is_not_asked_for_is_refused(stage, error, reason):
    """It does not pass where it is not due, or where there is nothing to prove."""
    (closed,) = stage().say(proof())

    assert isinstance(closed.error, error)
    assert reason in (None, closed.reason)
    assert closed.code == 1008


# --- what is not for everybody


def test_a_client_without_a_password_is_told_at_once():
    """It is the identity that lacks something."""
    pair = Pair(V1, client={"password": None, "crypto_key": None}).drive()

    error = pair.heard_by_client[-1].error
    assert isinstance(error, CredentialsMissing)
    assert "password" in str(error)


# --- hellos in clear


@pytest.mark.parametrize("sealed", [None, e.ClientHello(payload={"site_id": "kitchen"})], ids=["claimed", "sealed"])
def test_a_hello_in_clear_stands_once_a_frame_opens(sealed):
    """Some clients say it although they hold the key; it counts when something authentic follows, and not before.

    A sealed one replaces it: what anybody may have said in clear is then nobody's word.
    """
    stage = hub()
    stage.say(proof())
    stage.puppet.channel = channel(answered(stage))
    claimed = e.ClearHello(payload={"session": {"session_id": "claimed"}, "site_id": "attic"})

    assert stage.say(claimed) == [claimed]
    assert not stage.end.proven
    if sealed is None:
        assert stage.say(e.Ping()) == [e.Proven(), e.ClientHello(payload=claimed.payload), e.Ping()]
    else:
        assert stage.say(sealed) == [e.Proven(), sealed]
    assert stage.say(e.Ping()) == [e.Ping()]
