"""WIRE-1 frames: whatever the bits say, a frame or a `DecodeError`; and a frame that was read can be written again."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.seeds import wire1_frames
from thalovant_proto import jsontext
from thalovant_proto.codec import wire1
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.limits import JSON_DEPTH, JSON_TEXT


def one(data: bytes) -> object:
    try:
        frame = wire1.decode(data)
    except DecodeError:
        return None
    body = frame.payload if isinstance(frame.payload, bytes) else jsontext.dumps(frame.payload)
    metadata = jsontext.dumps(frame.metadata)
    for compress in (False, True):
        try:
            again = wire1.encode(frame.msg_type, body, metadata, bin_type=frame.bin_type, compress=compress)
        except LocalProtocolError as error:
            assert error.code == "metadata_too_large"  # it came in another spelling
            continue
        if frame.msg_type == "bin" or len(body) <= JSON_TEXT:  # a number may be longer in our spelling
            assert wire1.decode(again) == frame
            assert wire1.decode(b"\0\0" + again) == frame
    return frame


def seeds() -> Iterator[bytes]:
    yield from wire1_frames()
    yield wire1.encode(
        "bus", b'{"data": [%s]}' % b",".join([b"0"] * (JSON_TEXT // 2)), compress=True
    )  # over the limit, unpacked
    yield wire1.encode("bus", b'{"data": %s}' % (b"[" * JSON_DEPTH + b"]" * JSON_DEPTH), compress=True)  # too deep
