"""RSA keys in PEM, the envelope of the RSA handshake, and INTERCOM payloads past their signature.

Real keys would spend a millisecond a time and reject all but what we signed ourselves. So payloads meet keys that sign
by a hash and seal by a tag: what is behind the signature is fuzzed too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from fuzz.harness import Tape, tape
from tests.proto.vectors import load
from thalovant_proto import jsontext
from thalovant_proto.crypto import intercom, rsa
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.intercom import ReplayCache
from thalovant_proto.errors import DecodeError
from thalovant_proto.secret import Secret

BITS = 2048
SIZE = BITS // 8
SEALED = b"sealed for the recipient:"


class HashKey:
    """Both halves of a key, at the cost of a hash."""

    key_size = BITS

    def sign(self, data: bytes, *_: object) -> bytes:
        return hashlib.shake_256(data).digest(SIZE)

    def verify(self, signature: bytes, data: bytes, *_: object) -> None:
        if signature != self.sign(data):
            raise InvalidSignature

    def encrypt(self, plaintext: bytes, *_: object) -> bytes:
        return SEALED + plaintext

    def decrypt(self, ciphertext: bytes, *_: object) -> bytes:
        if not ciphertext.startswith(SEALED):
            raise ValueError("not for us")
        return ciphertext.removeprefix(SEALED)


KEY = HashKey()
PUBLIC = cast(RSAPublicKey, KEY)
PRIVATE = cast(RSAPrivateKey, KEY)


def one(data: bytes) -> object:
    tape = Tape(data)
    return tape.pick((payload, signed, round_trip, envelope, public, numbers))(tape)


def unseal(payload: dict[str, Any]) -> bytes | None:
    replays = ReplayCache(capacity=2)
    try:
        plaintext = intercom.unseal(payload, sender=PUBLIC, recipient=PRIVATE, replays=replays)
    except DecodeError:
        return None
    try:
        intercom.unseal(payload, sender=PUBLIC, recipient=PRIVATE, replays=replays)
    except DecodeError:
        return plaintext
    raise AssertionError("a payload opens twice")


def payload(tape: Tape) -> object:
    """Any JSON object."""
    try:
        found = jsontext.loads(tape.rest(), max_size=8192, max_depth=4)
    except DecodeError:
        return None
    return unseal(found) if isinstance(found, dict) else None


def signed(tape: Tape) -> object:
    """Any parts under a signature that is right."""
    ciphertext, hybrid = tape.chunk(), tape.byte() & 1
    parts = {"ciphertext": ciphertext, "signature": KEY.sign(ciphertext)}
    if hybrid:
        key = KEY.encrypt(tape.chunk()) if tape.byte() & 1 else tape.chunk()
        parts |= {"encrypted_key": key, "tag": tape.chunk(), "nonce": tape.chunk()}
    return unseal({name: Encoding.B64.encode(part) for name, part in parts.items()})


def round_trip(tape: Tape) -> object:
    """A payload of ours opens."""
    plaintext = tape.rest()
    ours = intercom.seal(
        plaintext, sender=PRIVATE, recipient=PUBLIC, entropy=lambda n: hashlib.shake_256(plaintext).digest(n)
    )
    assert unseal(dict(ours)) == plaintext
    return ours


def envelope(tape: Tape) -> object:
    """The handshake's envelope, of a stranger and under a right signature."""
    text = tape.rest().decode("utf-8", "replace")
    ciphertext = text.encode()
    for written in (text, (KEY.sign(ciphertext) + ciphertext).hex()):
        try:
            rsa.open_secret(written, sender=PUBLIC, recipient=PRIVATE)
        except DecodeError:
            continue
    secret = Secret(hashlib.sha256(ciphertext).digest())
    ours = rsa.seal_secret(secret, sender=PRIVATE, recipient=PUBLIC)
    assert rsa.open_secret(ours, sender=PUBLIC, recipient=PRIVATE) == secret
    return text


def public(tape: Tape) -> object:
    """A peer's `pubkey`: a text."""
    return use(tape.rest().decode("utf-8", "replace"))


def numbers(tape: Tape) -> object:
    """A peer's `pubkey`: DER whose numbers are any."""
    exponent, modulus = tape.chunk()[:64], tape.chunk()[:1024]
    algorithm = _der(0x30, _der(0x06, bytes.fromhex("2a864886f70d010101")) + _der(0x05, b""))
    key = _der(0x30, _der(0x02, modulus) + _der(0x02, exponent))
    der = _der(0x30, algorithm + _der(0x03, b"\0" + key))
    return use(f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----")


def use(pem: str) -> object:
    """What is done with a peer's key: a signature is checked, and it is written again."""
    try:
        key = rsa.load_public(pem)
    except DecodeError:
        return None
    try:
        rsa.verify(bytes(SIZE), b"data", key)
    except DecodeError:
        pass
    else:
        raise AssertionError("zeros are a signature")
    assert rsa.load_public(rsa.public_pem(key)).public_numbers() == key.public_numbers()
    return key


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + length + body


def seeds() -> Iterator[bytes]:
    vectors = load("rsa_and_intercom")
    recorded = vectors["intercom_hybrid"]["envelope"]
    yield tape(0) + jsontext.dumps(recorded)
    ours = intercom.seal(b'{"msg_type": "bus"}', sender=PRIVATE, recipient=PUBLIC, entropy=lambda n: bytes(n))
    yield tape(0) + jsontext.dumps(ours)
    yield tape(1, b"ciphertext", 1, 1, bytes(32), bytes(16), bytes(16))
    yield tape(1, SEALED + b"plaintext", 0)
    yield tape(2) + vectors["intercom_hybrid"]["plaintext"].encode()
    yield tape(3) + vectors["rsa_handshake"]["envelope_hex"].encode()
    for side in ("hub_rsa", "client_rsa"):
        yield tape(4) + vectors[side]["public_pem"].encode()
        modulus = vectors[side]["n"]
        number = int(modulus, 16) if isinstance(modulus, str) else modulus
        yield tape(5, b"\1\0\1", number.to_bytes(SIZE + 1, "big"))
        yield tape(5, b"\3", bytes(SIZE - 1) + b"\1")
