"""The v1 password envelope and its salt, as the stable peers compute them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.proto.vectors import load
from thalovant_proto.crypto import kdf
from thalovant_proto.errors import DecodeError
from thalovant_proto.handshake import password
from thalovant_proto.secret import Secret

CASES = load("legacy_password_handshake")["cases"]
REFLECTED = [case for case in CASES if case["client_iv"] == case["server_iv"]]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case["client_iv"])
SECRET = Secret("correct horse battery staple 42")
IV = bytes(range(8))


@every_case
@pytest.mark.parametrize("side", ["client", "server"])
def test_envelope_vectors(case, side):
    """Both sides' envelopes, written and verified, and the random bytes inside."""
    secret, iv = Secret(case["password_utf8"]), bytes.fromhex(case[f"{side}_iv"])

    assert password.envelope(secret, iv) == case[f"{side}_hsub"]
    assert password.verify(secret, case[f"{side}_hsub"])
    assert password.envelope_iv(case[f"{side}_hsub"]) == iv


@every_case
def test_every_accepted_length(case):
    """From the 48 characters that peers send to the 80 of the whole hash, upper case too."""
    secret, full = Secret(case["password_utf8"]), case["client_hsub_full_80"]
    for size in range(48, 81):
        assert password.verify(secret, full[:size])
        assert password.verify(secret, full[:size].upper())
        assert not password.verify(Secret(case["password_utf8"] + " "), full[:size])


@every_case
def test_session_keys(case):
    """Salt and key are the same from both sides; an IV of ours that comes back is refused."""
    client, server = bytes.fromhex(case["client_iv"]), bytes.fromhex(case["server_iv"])
    if case in REFLECTED:
        assert not any(bytes.fromhex(case["salt_xor"]))
        with pytest.raises(DecodeError, match="our own IV"):
            password.salt(client, server)
        return

    salt = password.salt(client, server)

    assert case["salt_xor"] == salt.hex() == password.salt(server, client).hex()
    secret = Secret(case["password_utf8"].encode())
    key = kdf.derive(kdf.DeriveKey(id=1, kdf=kdf.Kdf.PBKDF2, secret=secret, salt=salt))
    assert key.reveal().hex() == case["session_key_pbkdf2"]


def test_one_case_is_a_reflection():
    """The case that must be rejected is among the vectors."""
    assert len(REFLECTED) == 1


def test_every_changed_character_is_noticed():
    """In the random bytes or in the hash; upper and lower case are the same."""
    proof = password.envelope(SECRET, IV)
    for position, character in enumerate(proof):
        for other in set("0123456789abcdef") - {character}:
            assert not password.verify(SECRET, proof[:position] + other + proof[position + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 47,
        "0" * 81,
        "0" * 47 + "g",
        "0" * 48 + "\n",
        " " + "0" * 48,
        "0x" + "0" * 46,
        "0_" * 24,
        "٠" * 48,  # digits, but not ASCII
        "\ud800" * 48,
    ],
)
def test_what_is_no_envelope_is_refused(text):
    """Wrong length or wrong characters: neither right nor wrong, but a `DecodeError`."""
    with pytest.raises(DecodeError):
        password.verify(SECRET, text)
    with pytest.raises(DecodeError):
        password.envelope_iv(text)


@given(st.text(max_size=90) | st.text("0123456789abcdefABCDEF", min_size=46, max_size=82))
def test_garbage_is_the_peers_fault(text):
    """Nothing proves the password by chance, and nothing raises anything else."""
    try:
        assert not password.verify(SECRET, text)
    except DecodeError:
        assert not 48 <= len(text) <= 80 or not set(text) <= set("0123456789abcdefABCDEF")
