"""WIRE-1 frames: whatever the bits say, a frame or a DecodeError; and a frame that was read can be written again."""

import sys

import atheris

with atheris.instrument_imports(include=["thalovant_proto"]):
    from thalovant_proto import jsontext, wire1
    from thalovant_proto.errors import DecodeError, LocalProtocolError
    from thalovant_proto.limits import Limits

# Small, so that bombs of a few bytes already reach them.
LIMITS = Limits(json_text=4096, json_depth=16, inflate=16384)


def one(data: bytes) -> None:
    try:
        frame = wire1.decode(data, LIMITS)
    except DecodeError:
        return
    body = frame.payload if isinstance(frame.payload, bytes) else jsontext.dumps(frame.payload)
    try:
        again = wire1.encode(frame.msg_type, body, jsontext.dumps(frame.metadata), bin_type=frame.bin_type)
    except LocalProtocolError:  # metadata that came compressed may be too long without
        return
    if len(body) <= LIMITS.json_text or frame.msg_type == "bin":
        assert wire1.decode(again, LIMITS) == frame


atheris.Setup(sys.argv, one)
atheris.Fuzz()
