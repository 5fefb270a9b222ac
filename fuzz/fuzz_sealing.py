"""Legacy sealing and the password proof: what does not open is a `DecodeError`, what was sealed opens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from fuzz.harness import Tape, tape
from tests.proto.vectors import load
from thalovant_proto import jsontext
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.legacy import Cipher, LegacyCipher, crypto_key
from thalovant_proto.errors import DecodeError
from thalovant_proto.handshake import password
from thalovant_proto.secret import Secret

CIPHERS = list(Cipher)
ENCODINGS = list(Encoding)
CASES: list[dict[str, Any]] = load("legacy_encrypted_frames")["cases"]
KEYS = {len(key): Secret(key) for key in (bytes.fromhex(case["key"]) for case in CASES)}
PASSWORD = Secret("password of the target")


def one(data: bytes) -> object:
    tape = Tape(data)
    return tape.pick((text, binary, round_trip, key, proof))(tape)


def cipher_of(tape: Tape) -> LegacyCipher:
    cipher = tape.pick(CIPHERS)
    return LegacyCipher(KEYS[tape.pick(cipher.key_sizes)], cipher, tape.pick(ENCODINGS))


def text(tape: Tape) -> object:
    """A JSON frame of a stranger."""
    cipher = cipher_of(tape)
    try:
        frame = jsontext.loads(tape.rest(), max_size=8192, max_depth=2)
        if isinstance(frame, dict):
            return cipher.open_text(frame)
    except DecodeError:
        pass
    return None


def binary(tape: Tape) -> object:
    """A binary frame of a stranger."""
    cipher = cipher_of(tape)
    try:
        return cipher.open_binary(tape.rest())
    except DecodeError:
        return None


def round_trip(tape: Tape) -> object:
    """A frame of ours, whole and with one byte changed."""
    cipher = cipher_of(tape)
    at, change, plaintext = tape.byte(), tape.byte(), tape.rest()
    nonce = hashlib.shake_256(plaintext).digest(cipher.nonce_size)
    sealed = cipher.seal_binary(plaintext, nonce)
    assert cipher.open_binary(sealed) == (nonce, plaintext)
    written = cipher.seal_text(plaintext, nonce)
    frame: dict[str, Any] = jsontext.loads(written, max_size=len(written), max_depth=1)
    assert cipher.open_text(frame) == (nonce, plaintext)
    if change:
        changed = bytearray(sealed)
        changed[at % len(changed)] ^= change
        try:
            cipher.open_binary(bytes(changed))
        except DecodeError:
            pass
        else:
            raise AssertionError("a changed frame opens")
    return frame


def key(tape: Tape) -> object:
    """What an identity may hold as its key."""
    try:
        found = crypto_key(tape.rest().decode("utf-8", "replace"))
    except ValueError:
        return None
    assert len(found.reveal()) in KEYS
    return found


def proof(tape: Tape) -> object:
    """A password proof of a stranger, and ours with one character changed."""
    at, change = tape.byte(), tape.byte()
    theirs = tape.rest().decode("utf-8", "replace")
    try:
        iv = password.envelope_iv(theirs)
    except DecodeError:
        iv = hashlib.shake_256(theirs.encode()).digest(password.IV_SIZE)
    else:
        assert not password.verify(PASSWORD, theirs), "a stranger proves our password"
    ours = password.envelope(PASSWORD, iv)
    assert password.verify(PASSWORD, ours)
    changed = bytearray(ours.encode())
    changed[at % len(changed)] = change
    try:
        held = password.verify(PASSWORD, changed.decode("latin-1"))
    except DecodeError:
        held = False
    assert not held or changed.lower() == ours.encode(), "a changed proof holds"
    return theirs


def seeds() -> Iterator[bytes]:
    for case in CASES:
        number = next(place for place, cipher in enumerate(CIPHERS) if cipher.value == case["cipher"])
        size = CIPHERS[number].key_sizes.index(len(bytes.fromhex(case["key"])))
        yield tape(1, number, size, 0) + bytes.fromhex(case["binary_frame"])
        for place, encoding in enumerate(ENCODINGS):
            yield tape(0, number, size, place) + case["json_frames"][encoding.value]["frame"].encode()
            yield tape(2, number, size, place, 7, 1) + case["plaintext_utf8"].encode()
        yield tape(0, number, size, ENCODINGS.index(Encoding.HEX)) + case["webcrypto_no_tag_hex_frame"].encode()
    for case in load("legacy_password_handshake")["cases"]:
        yield tape(4, 0, 0) + case["client_hsub"].encode()
        yield tape(4, 0, 0) + case["client_hsub_full_80"].encode()
    yield tape(3) + b"0123456789abcdef"
    yield tape(3) + b" 0123456789abcdef "
