"""RSA keys in PEM."""

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


HUB = key_of("hub")


@pytest.mark.parametrize("side", ["hub", "client"])
def test_public_keys_travel_as_the_hubs_write_them(side):
    """The PEM of the vectors, to the last character, from either half."""
    pem = VECTORS[f"{side}_rsa"]["public_pem"]
    key = key_of(side)

    assert pem == rsa.public_pem(key) == rsa.public_pem(key.public_key())


def test_private_keys_are_kept_as_pem():
    """Written, hidden, read back."""
    pem = rsa.private_pem(HUB)

    assert repr(pem) == "<secret>"
    assert rsa.load_private(pem).private_numbers() == HUB.private_numbers()


def test_a_new_key_is_what_the_hubs_have():
    """2048 bits and the usual exponent."""
    key = rsa.generate()

    assert (key.key_size, key.public_key().public_numbers().e) == (2048, 65537)


@pytest.mark.parametrize(
    ("key", "what"),
    [(generate_private_key(65537, 1024), "1024 bits"), (ed25519.Ed25519PrivateKey.generate(), "not RSA")],
    ids=["1024", "ed25519"],
)
def test_keys_that_will_not_do_are_refused(key, what):
    """Too small, or of another kind."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    with pytest.raises(DecodeError, match=what):
        rsa.load_private(Secret(pem))


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
    with pytest.raises(DecodeError) as caught:
        rsa.load_private(Secret(pem.encode("utf-8", "replace")))
    assert "hunter2" not in str(caught.value)


def test_a_pem_of_any_size_costs_nothing():
    """The size is looked at first."""
    with pytest.raises(DecodeError, match="over the limit"):
        rsa.load_private(Secret(b"x" * 20_000))
