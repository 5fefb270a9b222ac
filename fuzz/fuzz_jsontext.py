"""JSON texts: bounded, strict, and what was read can be written and read again."""

import sys

import atheris

with atheris.instrument_imports(include=["thalovant_proto"]):
    from thalovant_proto import jsontext
    from thalovant_proto.errors import DecodeError

SIZE, DEPTH = 4096, 16


def one(data: bytes) -> None:
    try:
        value = jsontext.loads(data, max_size=SIZE, max_depth=DEPTH)
    except DecodeError:
        return
    # A number may be spelled longer than it came (1e300), never by more than this factor.
    for written in (jsontext.dumps(value), jsontext.canonical(value)):
        assert jsontext.loads(written, max_size=310 * SIZE, max_depth=DEPTH) == value


atheris.Setup(sys.argv, one)
atheris.Fuzz()
