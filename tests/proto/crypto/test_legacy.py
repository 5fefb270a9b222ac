"""Legacy sealing: the frames that real peers wrote, byte for byte, and nothing that was tampered with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, strategies as st

from tests.proto.vectors import load
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.legacy import Cipher, LegacyCipher, crypto_key
from thalovant_proto.errors import DecodeError
from thalovant_proto.secret import Secret

CASES = load("legacy_encrypted_frames")["cases"]
FRAMES = [
    pytest.param(case, Encoding(name), id=f"{case['cipher']}-{len(case['key']) // 2}-{name}")
    for case in CASES
    for name in case["json_frames"]
]
KEY = Secret(bytes(range(32)))
every_cipher = pytest.mark.parametrize("cipher", Cipher, ids=lambda cipher: cipher.value)
every_encoding = pytest.mark.parametrize("encoding", Encoding, ids=lambda encoding: encoding.value)


def cipher_of(case: dict[str, Any], encoding: Encoding = Encoding.HEX) -> LegacyCipher:
    return LegacyCipher(Secret(bytes.fromhex(case["key"])), Cipher(case["cipher"]), encoding)


# --- what real peers wrote


@pytest.mark.parametrize(("case", "encoding"), FRAMES)
def test_text_frames(case, encoding):
    """Every cipher, key size and encoding: our frame is theirs, and theirs opens."""
    cipher = cipher_of(case, encoding)
    nonce, plaintext = bytes.fromhex(case["nonce"]), case["plaintext_utf8"].encode()
    frame = case["json_frames"][encoding.value]["frame"]

    assert cipher.seal_text(plaintext, nonce) == frame.encode()
    assert cipher.open_text(json.loads(frame)) == (nonce, plaintext)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['cipher']}-{len(case['key']) // 2}")
def test_binary_frames_and_frames_of_webcrypto(case):
    """Nonce, ciphertext and tag in a row; and text frames whose tag is the end of the ciphertext."""
    cipher = cipher_of(case)
    nonce, plaintext = bytes.fromhex(case["nonce"]), case["plaintext_utf8"].encode()
    frame = bytes.fromhex(case["binary_frame"])

    assert cipher.seal_binary(plaintext, nonce) == frame
    assert cipher.open_binary(frame) == (nonce, plaintext)
    assert cipher.open_text(json.loads(case["webcrypto_no_tag_hex_frame"])) == (nonce, plaintext)


@every_encoding
def test_text_frames_with_nonces_as_everyone_else_has_them(encoding):
    """Other people's AES-GCM has nonces of 12 bytes: such a text frame opens, with or without a tag of its own."""
    cipher, nonce = LegacyCipher(KEY, Cipher.AES_GCM, encoding), bytes(range(12))
    frame = json.loads(cipher.seal_text(b"text", nonce))
    sealed = AESGCM(KEY.reveal()).encrypt(nonce, b"text", None)
    without_tag = {"ciphertext": encoding.encode(sealed), "nonce": frame["nonce"]}

    assert (nonce, b"text") == cipher.open_text(frame) == cipher.open_text(without_tag)


# --- what did not come from a holder of the key


@every_cipher
@every_encoding
def test_every_changed_byte_of_a_text_frame_is_noticed(cipher, encoding):
    """Whatever the byte, the frame is no JSON, no sealed frame, or does not open."""
    sealer = LegacyCipher(KEY, cipher, encoding)
    frame = sealer.seal_text(b'{"msg_type": "bus"}', bytes(range(cipher.nonce_size)))
    for position in range(len(frame)):
        changed = frame[:position] + bytes([frame[position] ^ 1]) + frame[position + 1 :]
        try:
            message = json.loads(changed)
        except ValueError:
            continue
        with pytest.raises(DecodeError):
            sealer.open_text(message)


@every_cipher
@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_every_changed_byte_of_a_binary_frame_is_noticed(cipher, flip):
    """Nonce, ciphertext and tag alike."""
    sealer = LegacyCipher(KEY, cipher, Encoding.HEX)
    frame = sealer.seal_binary(b"\x82\x02{}{}", bytes(range(cipher.nonce_size)))
    for position in range(len(frame)):
        with pytest.raises(DecodeError, match="does not open"):
            sealer.open_binary(frame[:position] + bytes([frame[position] ^ flip]) + frame[position + 1 :])
    for size in range(len(frame)):
        with pytest.raises(DecodeError):
            sealer.open_binary(frame[:size])


@every_cipher
def test_another_key_does_not_open(cipher):
    """Nor does the other cipher under the same key."""
    frame = LegacyCipher(KEY, cipher, Encoding.HEX).seal_binary(b"text", bytes(cipher.nonce_size))

    with pytest.raises(DecodeError, match="does not open under the session key"):
        LegacyCipher(Secret(bytes(32)), cipher, Encoding.HEX).open_binary(frame)
    (other,) = set(Cipher) - {cipher}
    with pytest.raises(DecodeError):
        LegacyCipher(KEY, other, Encoding.HEX).open_binary(frame)


ODD_VALUES: tuple[Any, ...] = (None, 5, [], {}, b"00", "", "x", "é", "00" * 12, "00" * 17)
GOOD = {"ciphertext": "00" * 20, "tag": "00" * 16, "nonce": "00" * 16}


@pytest.mark.parametrize(
    "frame",
    [
        {},
        GOOD,
        *({key: value for key, value in GOOD.items() if key != name} for name in GOOD),
        *({**GOOD, name: value} for name in GOOD for value in ODD_VALUES),
    ],
    ids=str,
)
def test_frames_that_are_not_right_are_refused(frame):
    """Missing, of another type, not encoded, too short, too long, or simply not sealed by the key."""
    with pytest.raises(DecodeError):
        LegacyCipher(KEY, Cipher.AES_GCM, Encoding.HEX).open_text(frame)


def test_what_else_a_frame_holds_is_ignored():
    """Unknown keys are not a reason to refuse: they are not authenticated, so nobody reads them."""
    cipher = LegacyCipher(KEY, Cipher.AES_GCM, Encoding.B64)
    frame = json.loads(cipher.seal_text(b"text", bytes(16)))

    assert cipher.open_text({**frame, "version": 1}) == (bytes(16), b"text")


@given(
    cipher=st.sampled_from(Cipher),
    encoding=st.sampled_from(Encoding),
    values=st.fixed_dictionaries({}, optional={name: st.text(max_size=40) | st.none() for name in GOOD}),
    data=st.binary(max_size=60),
)
def test_garbage_is_the_peers_fault(cipher, encoding, values, data):
    """Whatever the fields of a text frame hold, or a binary one, nothing but `DecodeError` comes of it."""
    with pytest.raises(DecodeError):
        LegacyCipher(KEY, cipher, encoding).open_text(values)
    with pytest.raises(DecodeError):
        LegacyCipher(KEY, cipher, encoding).open_binary(data)


@given(cipher=st.sampled_from(Cipher), encoding=st.sampled_from(Encoding), plaintext=st.binary(max_size=100))
def test_round_trip(cipher, encoding, plaintext):
    """Anything can be sealed, the empty text too, and the frame is JSON whatever the encoding."""
    sealer = LegacyCipher(KEY, cipher, encoding)
    nonce = bytes(range(sealer.nonce_size))

    assert sealer.open_text(json.loads(sealer.seal_text(plaintext, nonce))) == (nonce, plaintext)
    assert sealer.open_binary(sealer.seal_binary(plaintext, nonce)) == (nonce, plaintext)


# --- keys


@pytest.mark.parametrize(
    ("cipher", "size"),
    [(Cipher.AES_GCM, size) for size in (0, 8, 15, 17, 33, 64)]
    + [(Cipher.CHACHA20_POLY1305, size) for size in (16, 24)],
)
def test_keys_that_do_not_fit_the_cipher_are_refused(cipher, size):
    """A typed refusal that names the cipher and the lengths, and not the key."""
    with pytest.raises(ValueError, match=f"{cipher.value} takes a key of .* not {size}"):
        LegacyCipher(Secret(b"k" * size), cipher, Encoding.HEX)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0123456789abcdef", b"0123456789abcdef"),  # as text: hex is not decoded
        ("0123456789abcdef", bytes.fromhex(CASES[0]["key"])),  # of the reference peers
        ("0123456789abcde ", b"0123456789abcde "),  # fits as it is
        ("k" * 24, b"k" * 24),
        ("k" * 32, b"k" * 32),
        ("k" * 32 + "\n", b"k" * 32),  # as read from a file
        ("0123456789abcdefg", b"0123456789abcdef"),
        (" 0123456789abcdefg", b"0123456789abcdef"),
        ("k" * 100, b"k" * 16),
        ("é" * 8, "é".encode() * 8),  # bytes count, not characters
    ],
)
def test_crypto_key(text, key):
    """16, 24 or 32 bytes are the key; of others the first 16."""
    assert crypto_key(text).reveal() == key


@pytest.mark.parametrize("text", ["", "short", "0123456789abcde", "  0123456789abcde  ", "\ud800" * 16])
def test_crypto_keys_that_are_none(text):
    """Too short, or no text: the field is named, its content is not."""
    with pytest.raises(ValueError, match=r"^crypto_key (must have|is not)") as caught:
        crypto_key(text)
    assert "0123" not in str(caught.value)
