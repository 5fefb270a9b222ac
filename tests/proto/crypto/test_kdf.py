"""Key derivation: the PSK of v3 and the session key of v1, exact."""

from __future__ import annotations

import hashlib

import pytest

from thalovant_proto.crypto.kdf import DeriveKey, Kdf, derive, psk_salt
from thalovant_proto.secret import Secret

from ..vectors import load

PSK_CASES = load("psk_argon2id")["cases"]


@pytest.mark.parametrize("case", PSK_CASES, ids=[f"case {number}" for number, _ in enumerate(PSK_CASES)])
def test_psk_of_password_and_node_id(case):
    """argon2id over the password, salted with the hash of the node id (wire.md §5.2)."""
    salt = psk_salt(case["node_id_utf8"])
    assert salt.hex() == case["salt_sha256_node_id"]

    key = derive(DeriveKey(id=1, kdf=Kdf.ARGON2ID, secret=Secret(case["password_utf8"].encode()), salt=salt))

    assert key.reveal().hex() == case["psk"]


def test_node_id_is_taken_as_received():
    """No trimming, no normalisation: a line break more is another hub. An effect may end up in a log."""
    assert hashlib.sha256(b"hub\n").digest() == psk_salt("hub\n") != psk_salt("hub")
    effect = DeriveKey(id=7, kdf=Kdf.PBKDF2, secret=Secret(b"hunter2"), salt=b"saltsalt")

    assert "hunter2" not in repr(effect)
    assert "saltsalt" not in repr(effect)
