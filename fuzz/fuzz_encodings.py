"""The text encodings of sealed frames: bytes survive, and a text is what its encoder writes, or a `DecodeError`."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.harness import Tape
from tests.proto.vectors import load
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.errors import DecodeError

ENCODINGS = list(Encoding)


def one(data: bytes) -> object:
    tape = Tape(data)
    encoding = tape.pick(ENCODINGS)
    body = tape.rest()
    assert encoding.decode(encoding.encode(body)) == body
    # JSON texts hold any character, but no half of a surrogate pair.
    text = body.decode("utf-8", "replace")
    try:
        decoded = encoding.decode(text)
    except DecodeError:
        return None
    again = encoding.encode(decoded)
    assert again == (text.lower() if encoding is Encoding.HEX else text), "two texts for the same bytes"
    return decoded


def seeds() -> Iterator[bytes]:
    for case in load("encodings")["cases"]:
        for number, encoding in enumerate(ENCODINGS):
            yield bytes((number,)) + bytes.fromhex(case[encoding.value])
