"""The Noise handshakes, both patterns, suites and roles: what the peer did is a `DecodeError`, and then it is over.

Strangers are refused at the first seal. So the messages here are the real ones, with any payload, then changed; or of
a peer that knows every secret but shows keys that are none, such as points of low order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, cast

from fuzz.harness import Tape, tape
from thalovant_proto.crypto.noise import Handshake, Pattern, Suite, public_key
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.secret import Secret

PATTERNS = list(Pattern)
SUITES = list(Suite)
LENGTH = {Pattern.XX: 3, Pattern.KK: 2}
KEYS = {name: Secret(hashlib.sha256(name.encode()).digest()) for name in ("is", "ie", "rs", "re")}
PSK = Secret(hashlib.sha256(b"psk").digest())

# Points of low order, in the forms that X25519 takes.
LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
]


class Forged:
    """A key pair whose public half is whatever the peer likes. Every product with it is zero, as with low order."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def public_key(self) -> Forged:
        return self

    def public_bytes_raw(self) -> bytes:
        return self._public

    def exchange(self, peer: object) -> bytes:
        return bytes(32)


def end(initiator: bool, pattern: Pattern, suite: Suite) -> Handshake:
    ours, theirs = ("i", "r") if initiator else ("r", "i")
    handshake = Handshake(
        initiator=initiator,
        pattern=pattern,
        suite=suite,
        prologue=b"prologue",
        static=KEYS[f"{ours}s"],
        ephemeral=KEYS[f"{ours}e"],
        remote_static=public_key(KEYS[f"{theirs}s"]) if pattern is Pattern.KK else None,
    )
    handshake.psk = PSK
    return handshake


def one(data: bytes) -> object:
    tape = Tape(data)
    pattern, suite = tape.pick(PATTERNS), tape.pick(SUITES)
    step = tape.byte() % LENGTH[pattern]
    writer, reader = end(True, pattern, suite), end(False, pattern, suite)
    for _ in range(step):
        reader.read_message(writer.write_message(b""))
        writer, reader = reader, writer
    return tape.pick((honest, changed, forged, strange))(tape, writer, reader)


def honest(tape: Tape, writer: Handshake, reader: Handshake) -> object:
    """Any payload arrives, and the ciphers of both ends meet."""
    while True:
        payload = tape.chunk()
        assert reader.read_message(writer.write_message(payload)) == payload
        if writer.finished:
            break
        writer, reader = reader, writer
    assert reader.finished and writer.handshake_hash == reader.handshake_hash
    (send, receive), (answer, hear) = writer.split(), reader.split()
    assert hear.decrypt(send.encrypt(b"there")) == b"there"
    assert receive.decrypt(answer.encrypt(b"back")) == b"back"
    return writer.remote_static


def changed(tape: Tape, writer: Handshake, reader: Handshake) -> object:
    """A real message, changed on the way."""
    message = writer.write_message(tape.chunk())
    altered = bytearray(message)
    altered[int.from_bytes((tape.byte(), tape.byte()), "big") % len(altered)] ^= tape.byte()
    altered = altered[: len(altered) - tape.byte()] + tape.chunk()
    if altered == message:
        reader.read_message(message)
        return message
    refused(reader, bytes(altered), certain=True)
    return None


def strange(tape: Tape, writer: Handshake, reader: Handshake) -> object:
    """No real message at all."""
    refused(reader, tape.rest(), certain=True)
    return None


def forged(tape: Tape, writer: Handshake, reader: Handshake) -> object:
    """A real message but for the keys that it shows."""
    working = cast(Any, writer._working)
    for name in ("e", "s"):
        if choice := tape.byte():
            public = LOW_ORDER[choice % len(LOW_ORDER)] if choice < 128 else tape.chunk().ljust(32, b"\0")[:32]
            working.local[name] = Forged(public)
    message = writer.write_message(tape.chunk())
    refused(reader, message, certain=False)
    return message


def refused(reader: Handshake, message: bytes, *, certain: bool) -> None:
    """It is refused with a `DecodeError`, and the handshake is over; if it is not `certain`, it may be read too."""
    try:
        reader.read_message(message)
    except DecodeError:
        assert not reader.finished
        for call in (lambda: reader.read_message(message), lambda: reader.write_message(b""), reader.split):
            try:
                call()
            except LocalProtocolError:
                continue
            raise AssertionError("a handshake goes on after its end") from None
        return
    assert not certain, "a message that nobody with our keys wrote was read"


def seeds() -> Iterator[bytes]:
    for number, pattern in enumerate(PATTERNS):
        for suite in range(len(SUITES)):
            for step in range(LENGTH[pattern]):
                yield tape(number, suite, step, 0, b'{"binarize":false,"encodings":[]}', b"", b"")
                yield tape(number, suite, step, 1, b"payload", 0, 0, 0, 0)
                yield tape(number, suite, step, 1, b"payload", 0, 40, 1, 0)
                yield tape(number, suite, step, 1, b"payload", 0, 0, 0, 1, b"")
                yield tape(number, suite, step, 3) + bytes(range(112))
                for point in range(1, 1 + len(LOW_ORDER)):
                    yield tape(number, suite, step, 2, point, 0, b"")
                    yield tape(number, suite, step, 2, 0, point, b"")
                yield tape(number, suite, step, 2, 200, b"any ephemeral key", 200, b"any static key", b"payload")
