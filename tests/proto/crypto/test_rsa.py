"""RSA: keys in PEM, and the envelope of the handshake variant that nobody completes."""

from __future__ import annotations

import functools

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    generate_private_key,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from hypothesis import given, strategies as st

from tests.examples import examples
from tests.proto.vectors import load
from thalovant_proto.crypto import rsa
from thalovant_proto.errors import DecodeError
from thalovant_proto.secret import Secret

VECTORS = load("rsa_and_intercom")


@functools.cache
def key_of(side: str) -> RSAPrivateKey:
    """The throw-away key of `hub` or `client` in the vectors."""
    numbers = {name: VECTORS[f"{side}_rsa"][name] for name in "nedpq"}
    n, e, d, p, q = (int(value, 16) if isinstance(value, str) else value for value in numbers.values())
    crt = rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q)
    return RSAPrivateNumbers(p, q, d, *crt, RSAPublicNumbers(e, n)).private_key()


HUB, CLIENT = key_of("hub"), key_of("client")
ENVELOPE = VECTORS["rsa_handshake"]["envelope_hex"]
SECRET = Secret(bytes.fromhex(VECTORS["rsa_handshake"]["secret"]))


# --- the handshake's envelope


def test_the_recorded_envelope_opens():
    """The hub signed, the client opens: signature first, then ciphertext."""
    assert rsa.open_secret(ENVELOPE, sender=HUB.public_key(), recipient=CLIENT) == SECRET


def test_our_envelope_has_the_same_shape_and_opens():
    """Random padding makes each new; length and meaning are those of the recorded one."""
    ours = rsa.seal_secret(SECRET, sender=HUB, recipient=CLIENT.public_key())

    assert len(ours) == len(ENVELOPE)
    assert ours == ours.lower() != rsa.seal_secret(SECRET, sender=HUB, recipient=CLIENT.public_key())
    assert rsa.open_secret(ours, sender=HUB.public_key(), recipient=CLIENT) == SECRET


def test_every_changed_byte_of_an_envelope_is_noticed():
    """In the signature or in what it covers, which is all the rest."""
    data = bytes.fromhex(ENVELOPE)
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(DecodeError, match="signature"):
            rsa.open_secret(changed.hex(), sender=HUB.public_key(), recipient=CLIENT)


def test_envelopes_of_others_are_refused():
    """Signed by another key, or sealed for another: both are a `DecodeError`."""
    with pytest.raises(DecodeError, match="signature"):
        rsa.open_secret(ENVELOPE, sender=CLIENT.public_key(), recipient=CLIENT)
    with pytest.raises(DecodeError, match="does not open"):
        rsa.open_secret(ENVELOPE, sender=HUB.public_key(), recipient=HUB)


@examples(40)
@given(st.text(max_size=20) | st.binary(max_size=600).map(bytes.hex))
def test_garbage_is_the_peers_fault(text):
    """Whatever the envelope, nothing but `DecodeError` comes of it."""
    with pytest.raises(DecodeError):
        rsa.open_secret(text, sender=HUB.public_key(), recipient=CLIENT)


@pytest.mark.parametrize("size", [0, 255, 257])
def test_ciphertexts_of_the_wrong_size_are_refused(size):
    """A signed ciphertext may still be none for our key."""
    ciphertext = bytes(size)

    with pytest.raises(DecodeError, match="does not open"):
        rsa.open_secret((rsa.sign(ciphertext, HUB) + ciphertext).hex(), sender=HUB.public_key(), recipient=CLIENT)


# --- keys in PEM


@pytest.mark.parametrize("side", ["hub", "client"])
def test_public_keys_travel_as_the_hubs_write_them(side):
    """The PEM of the vectors, to the last character, from either half; read back it is the same key."""
    pem = VECTORS[f"{side}_rsa"]["public_pem"]
    key = key_of(side)

    assert pem == rsa.public_pem(key) == rsa.public_pem(key.public_key())
    assert key.public_key() == rsa.load_public(pem) == rsa.load_public(pem + "\n")


def test_private_keys_are_kept_as_pem():
    """Written, hidden, read back."""
    pem = rsa.private_pem(HUB)

    assert repr(pem) == "<secret>"
    assert rsa.load_private(pem).private_numbers() == HUB.private_numbers()


def test_a_new_key_is_what_the_hubs_have():
    """2048 bits and the usual exponent."""
    key = rsa.generate()

    assert (key.key_size, key.public_key().public_numbers().e) == (2048, 65537)


def pem_of(key) -> tuple[Secret[bytes], str]:
    """Both halves of any key, whatever the protocol thinks of it."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Secret(private), public.decode()


@pytest.mark.parametrize(
    ("key", "what"),
    [(generate_private_key(65537, 1024), "1024 bits"), (ed25519.Ed25519PrivateKey.generate(), "not RSA")],
    ids=["1024", "ed25519"],
)
def test_keys_that_will_not_do_are_refused(key, what):
    """Too small, or of another kind."""
    private, public = pem_of(key)

    with pytest.raises(DecodeError, match=what):
        rsa.load_private(private)
    with pytest.raises(DecodeError, match=what):
        rsa.load_public(public)


def test_encrypted_private_keys_are_refused():
    """There is nobody to ask for the passphrase."""
    pem = HUB.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    with pytest.raises(DecodeError, match="unencrypted"):
        rsa.load_private(Secret(pem))


@pytest.mark.parametrize(
    "pem", ["", "hunter2", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "é", "\ud800"]
)
def test_what_is_no_key_is_refused(pem):
    """Any text; none of it is repeated in the error."""
    for load_it in (lambda: rsa.load_public(pem), lambda: rsa.load_private(Secret(pem.encode("utf-8", "replace")))):
        with pytest.raises(DecodeError) as caught:
            load_it()
        assert "hunter2" not in str(caught.value)


def test_a_pem_of_any_size_costs_nothing():
    """The size is looked at first."""
    with pytest.raises(DecodeError, match="over the limit"):
        rsa.load_public("x" * 20_000)
    with pytest.raises(DecodeError, match="over the limit"):
        rsa.load_private(Secret(b"x" * 20_000))
