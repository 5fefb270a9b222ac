"""WIRE-1, the binary form of hub messages ("binarize", and every `bin`): wire.md §4.

From the most significant bit: zeros to fill whole bytes, 1, versioned?, [version: 8], type: 5, compressed?,
length of metadata: 8, metadata, [bin type: 4, only for `bin`], payload. Hence a frame is aligned, or a `bin` frame
with four zero bits in front, and the payload starts on a byte boundary in both.
"""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

from .. import jsontext
from ..errors import DecodeError, LocalProtocolError
from ..limits import JSON_DEPTH, JSON_TEXT

#: Message types that have a code. `intercom` has none and travels as text; 11 is reserved, the rest unassigned.
CODES: Final = MappingProxyType(
    {
        "shake": 0,
        "bus": 1,
        "shared_bus": 2,
        "broadcast": 3,
        "propagate": 4,
        "escalate": 5,
        "hello": 6,
        "query": 7,
        "cascade": 8,
        "ping": 9,
        "rendezvous": 10,
        "bin": 12,
    }
)
_TYPES: Final = {code: msg_type for msg_type, code in CODES.items()}
_BIN: Final = CODES["bin"]
_MAX_METADATA: Final = 255
_MAX_VERSION: Final = 1


@frozen(kw_only=True)
class Wire1Frame:
    """A decoded frame. A `bin` has bytes as `payload` and their kind as `bin_type` (0 to 15, known or not); others have
    a JSON object and 0.
    """

    msg_type: str
    metadata: dict[str, Any] = field(repr=False)
    payload: dict[str, Any] | bytes = field(repr=False)
    bin_type: int = 0


def encode(
    msg_type: str, payload: bytes, metadata: bytes = b"{}", *, compress: bool = False, bin_type: int = 0
) -> bytes:
    """A frame, unversioned as all senders write it. `payload` is JSON, or raw for `bin`; `metadata` is JSON.

    `compress` packs metadata and JSON payload, each a zlib stream, and never a raw payload. Stable peers read every
    frame as compressed (wire.md §4.2): towards them it must be set, towards others it need not.

    Raises `LocalProtocolError` for a type without a code and for metadata over 255 bytes, both of which text can carry,
    and for a `bin_type` over 15.
    """
    code = CODES.get(msg_type)
    if code is None:
        raise LocalProtocolError(
            f"message type {msg_type!r} has no binary form", code="no_binary_form", hint="send it as a JSON text frame"
        )
    if not 0 <= bin_type <= 15:
        raise LocalProtocolError(f"bin_type {bin_type} is not in 0 to 15")
    if compress:
        metadata = zlib.compress(metadata)
        if code != _BIN:
            payload = zlib.compress(payload)
    if len(metadata) > _MAX_METADATA:
        raise LocalProtocolError(
            f"metadata of {len(metadata)} bytes is over the limit of {_MAX_METADATA} of a binary frame",
            code="metadata_too_large",
            hint="shorten the metadata" if code == _BIN else "send it as a JSON text frame",
        )
    head = bytes((0x80 | code << 1 | compress, len(metadata))) + metadata
    if code == _BIN:
        bits = int.from_bytes(head, "big") << 4 | bin_type
        head = bits.to_bytes(len(head) + 1, "big")
    return head + payload


def decode(frame: bytes) -> Wire1Frame:
    """The content of a frame. Metadata that is missing or not an object counts as `{}`, as on real hubs.

    Zero bytes in front are more padding. Raises `DecodeError` and nothing else. What zlib unpacks is a JSON text, and
    bounded like one.
    """
    frame = frame.lstrip(b"\0")
    if not frame:
        raise DecodeError("binary frame without a start bit")
    shifted = frame[0] < 0x10
    if not (frame[0] & 0x80 or frame[0] & 0xF8 == 0x08):
        raise DecodeError("binary frame whose padding is neither none nor four bits")
    versioned = frame[0] & (0x04 if shifted else 0x40)
    size = 3 if versioned else 2
    if len(frame) < size + shifted:
        raise DecodeError("binary frame ends inside its header")
    header = int.from_bytes(frame[: size + shifted], "big") >> 4 * shifted
    if versioned and header >> 14 & 0xFF > _MAX_VERSION:
        raise DecodeError(f"binary frame of version {header >> 14 & 0xFF}, supported is {_MAX_VERSION}")
    msg_type = _TYPES.get(header >> 9 & 0x1F)
    if msg_type is None:
        raise DecodeError(f"binary frame of unassigned type {header >> 9 & 0x1F}")
    if shifted != (msg_type == "bin"):
        raise DecodeError(f"binary frame of type {msg_type!r} whose payload is not whole bytes")
    compressed = header >> 8 & 1
    length = header & 0xFF
    end = size + length + shifted
    if len(frame) < end:
        raise DecodeError(f"binary frame ends inside its metadata of {length} bytes")
    bin_type = 0
    if shifted:
        window = int.from_bytes(frame[size:end], "big")
        bin_type = window & 0x0F
        metadata = (window >> 4 & (1 << 8 * length) - 1).to_bytes(length, "big")
    else:
        metadata = frame[size:end]
    return Wire1Frame(
        msg_type=msg_type,
        metadata=_metadata(metadata, compressed),
        payload=frame[end:] if shifted else _payload(frame[end:], compressed),
        bin_type=bin_type,
    )


def _metadata(data: bytes, compressed: int) -> dict[str, Any]:
    value = _json(data, compressed) if data else {}
    return value if isinstance(value, dict) else {}


def _payload(data: bytes, compressed: int) -> dict[str, Any]:
    value = _json(data, compressed)
    if not isinstance(value, dict):
        raise DecodeError("binary frame whose payload is not a JSON object")
    return value


def _json(data: bytes, compressed: int) -> Any:
    if compressed:
        data = _inflate(data)
    return jsontext.loads(data, max_size=JSON_TEXT, max_depth=JSON_DEPTH)


def _inflate(data: bytes) -> bytes:
    """One complete zlib stream, nothing after it, of at most `JSON_TEXT` bytes; no more than that is ever unpacked."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, JSON_TEXT + 1)
    except zlib.error:
        raise DecodeError("binary frame with a broken zlib stream") from None
    if len(inflated) > JSON_TEXT:
        raise DecodeError(f"zlib stream inflates to more than the limit of {JSON_TEXT} bytes")
    if not stream.eof or stream.unused_data:
        raise DecodeError("binary frame whose zlib stream is cut or followed by more")
    return inflated
