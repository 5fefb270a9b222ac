"""The text encodings of sealed frames: every text decodes or is a DecodeError, every byte string survives."""

import sys

import atheris

with atheris.instrument_imports(include=["thalovant_proto"]):
    from thalovant_proto.encodings import Encoding
    from thalovant_proto.errors import DecodeError

ENCODINGS = list(Encoding)


def one(data: bytes) -> None:
    encoding = ENCODINGS[data[0] % len(ENCODINGS)] if data else ENCODINGS[0]
    body = data[1:]
    assert encoding.decode(encoding.encode(body)) == body
    try:
        decoded = encoding.decode(body.decode("utf-8", "replace"))
    except DecodeError:
        return
    assert encoding.decode(encoding.encode(decoded)) == decoded


atheris.Setup(sys.argv, one)
atheris.Fuzz()
