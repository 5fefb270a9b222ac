"""INTERCOM payloads: both shapes, signed, and each opened once."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import thalovant_proto
from tests.examples import examples
from tests.proto.crypto.test_rsa import CLIENT, HUB
from tests.proto.vectors import load
from thalovant_proto.crypto import intercom, rsa
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.intercom import ReplayCache
from thalovant_proto.errors import DecodeError

VECTORS = load("rsa_and_intercom")
RECORDED = VECTORS["intercom_hybrid"]["envelope"]
B64 = Encoding.B64


def entropy(size: int) -> bytes:
    return bytes(range(size))


def unseal(payload, *, sender=HUB, recipient=CLIENT, replays=None) -> bytes:
    """What the client does with a payload of the hub's."""
    cache = ReplayCache() if replays is None else replays
    return intercom.unseal(payload, sender=sender.public_key(), recipient=recipient, replays=cache)


def seal(plaintext: bytes) -> dict[str, str]:
    return intercom.seal(plaintext, sender=HUB, recipient=CLIENT.public_key(), entropy=entropy)


def signed(payload: dict[str, str], sender=HUB) -> dict[str, str]:
    """The payload with a right signature over whatever its ciphertext is."""
    return {**payload, "signature": B64.encode(rsa.sign(B64.decode(payload["ciphertext"]), sender))}


def older(plaintext: bytes) -> dict[str, str]:
    """The older shape: RSA throughout."""
    return signed({"ciphertext": B64.encode(rsa.encrypt(plaintext, CLIENT.public_key()))})


# --- both shapes


def test_the_recorded_payload_opens():
    """Hybrid, as the newer hubs write it: a serialised envelope comes out."""
    plaintext = unseal(RECORDED)

    assert plaintext.decode() == VECTORS["intercom_hybrid"]["plaintext"]
    assert json.loads(plaintext)["msg_type"] == "bus"


def test_the_recorded_older_payload_opens():
    """RSA throughout. The recording has no signature, so the test signs it with the sender's key."""
    payload = signed({"ciphertext": VECTORS["intercom_plain_rsa"]["ciphertext_b64"]})

    assert unseal(payload).decode() == VECTORS["intercom_plain_rsa"]["plaintext"]


def test_ours_has_the_recorded_shape():
    """Same fields, same sizes; with the recorded key and nonce even the same ciphertext and tag."""
    key = rsa.decrypt(B64.decode(RECORDED["encrypted_key"]), CLIENT)
    draws = {32: key, 16: B64.decode(RECORDED["nonce"])}

    ours = intercom.seal(
        VECTORS["intercom_hybrid"]["plaintext"].encode(),
        sender=HUB,
        recipient=CLIENT.public_key(),
        entropy=draws.__getitem__,
    )

    assert {name: len(text) for name, text in RECORDED.items()} == {name: len(text) for name, text in ours.items()}
    assert [ours[name] for name in ("ciphertext", "tag", "nonce")] == [
        RECORDED[name] for name in ("ciphertext", "tag", "nonce")
    ]
    assert unseal(ours) == VECTORS["intercom_hybrid"]["plaintext"].encode()


@examples(20)
@given(st.binary(max_size=2000))
def test_round_trip(plaintext):
    """Anything can be sealed, whatever its length."""
    assert unseal(seal(plaintext)) == plaintext


def test_older_payloads_make_the_round_trip():
    """As far as one RSA block goes."""
    assert unseal(older(b"x" * 214)) == b"x" * 214


# --- signature and seal


@pytest.mark.parametrize("name", ["encrypted_key", "ciphertext", "tag", "nonce", "signature"])
def test_every_changed_field_is_noticed(name):
    """Every byte of each: the signature covers the ciphertext, the tag and RSA the rest."""
    data = B64.decode(RECORDED[name])
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(DecodeError):
            unseal({**RECORDED, name: B64.encode(changed)})


def test_an_unknown_sender_is_refused_before_decrypting():
    """The signature is checked against the given key, and first: nothing else of the payload is read."""
    with pytest.raises(DecodeError, match="signature"):
        unseal({"ciphertext": RECORDED["ciphertext"], "signature": RECORDED["signature"]}, sender=CLIENT)


def test_a_payload_for_somebody_else_is_refused():
    """Signed right, sealed for another key."""
    with pytest.raises(DecodeError, match="does not open"):
        unseal(RECORDED, recipient=HUB)
    with pytest.raises(DecodeError, match="does not open"):
        unseal(older(b"text"), recipient=HUB)


@pytest.mark.parametrize("name", ["ciphertext", "tag", "nonce", "signature"])
@pytest.mark.parametrize("value", ["missing", None, 5, b"AA==", "not base64", "é", ""])
def test_fields_that_are_not_right_are_refused(name, value):
    """Missing, of another type, not encoded, or empty."""
    payload = {key: text for key, text in RECORDED.items() if key != name}
    with pytest.raises(DecodeError):
        unseal(payload if value == "missing" else {**payload, name: value})


@pytest.mark.parametrize(("name", "size"), [("tag", 12), ("nonce", 12), ("nonce", 0), ("encrypted_key", 16)])
def test_lengths_are_those_of_the_protocol(name, size):
    """What the AEAD would take is still not what the protocol says."""
    data = rsa.encrypt(bytes(size), CLIENT.public_key()) if name == "encrypted_key" else bytes(size)
    with pytest.raises(DecodeError, match="wrong length"):
        unseal({**seal(b"text"), name: B64.encode(data)})


@examples(30)
@given(st.dictionaries(st.sampled_from([*RECORDED, "other"]), st.text(max_size=20) | st.none() | st.integers()))
def test_garbage_is_the_peers_fault(payload):
    """Whatever the payload, nothing but `DecodeError` comes of it."""
    with pytest.raises(DecodeError):
        unseal(payload)


def test_signed_garbage_is_the_peers_fault():
    """A sender that we trust may still send what opens nowhere."""
    with pytest.raises(DecodeError, match="does not open"):
        unseal(signed({"ciphertext": B64.encode(b"")}))


# --- replays


def test_a_payload_opens_once():
    """A second time it is a replay, also if it comes wrapped under another key of its own."""
    replays = ReplayCache()
    unseal(RECORDED, replays=replays)
    key = rsa.decrypt(B64.decode(RECORDED["encrypted_key"]), CLIENT)
    wrapped_anew = {**RECORDED, "encrypted_key": B64.encode(rsa.encrypt(key, CLIENT.public_key()))}

    for payload in (RECORDED, wrapped_anew, signed(RECORDED)):
        with pytest.raises(DecodeError, match="opened before"):
            unseal(payload, replays=replays)


def test_what_does_not_open_takes_no_place():
    """So that garbage pushes nothing out of the cache."""
    replays = ReplayCache()
    for payload in ({**RECORDED, "signature": "AAAA"}, {**RECORDED, "tag": B64.encode(bytes(16))}, {}):
        with pytest.raises(DecodeError):
            unseal(payload, replays=replays)

    assert len(replays) == 0
    unseal(RECORDED, replays=replays)
    assert len(replays) == 1


def test_the_cache_is_bounded():
    """It forgets the oldest first, and a replay does not make its original younger."""
    replays = ReplayCache(capacity=2)

    assert [replays.add(text) for text in (b"a", b"b", b"a")] == [True, True, False]
    assert replays.add(b"c")
    assert len(replays) == 2
    assert [replays.add(text) for text in (b"b", b"c", b"a")] == [False, False, True]


# --- cost


def test_nobody_imports_them_without_need():
    """RSA is slow to import and rarely used: no other module of the core imports it at the top."""
    root = Path(thalovant_proto.__file__).parent
    for path in root.rglob("*.py"):
        if path.stem in {"rsa", "intercom"}:
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                names = {node.module, *(alias.name for alias in node.names)}
            else:
                names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            assert not {str(name).rpartition(".")[2] for name in names} & {"rsa", "intercom"}, path
