"""WebSocket links and raw frames for tests, legal and not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from wsproto.frame_protocol import FrameProtocol

from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.common import DEFAULT_WSS_LIMITS, WssLimits, WssLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

from ..link_pair import Pair

SMALL = WssLimits(message=1000)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# As websocket-client sends it, with an offer that must not be taken.
REQUEST = (
    b"GET /?authorization=U2RrLzE6a2V5 HTTP/1.1\r\nUpgrade: websocket\r\nHost: 127.0.0.1:5678\r\n"
    b"Origin: http://127.0.0.1:5678\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)
# The answer to that nonce (RFC 6455 §1.3).
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def in_order(size: int) -> bytes:
    """Entropy whose masks are those of `raw_frame`."""
    return bytes(range(1, size + 1))


def client_link(limits: WssLimits = DEFAULT_WSS_LIMITS, url: str = "ws://127.0.0.1:5678") -> WssClientLink:
    return WssClientLink(
        url, access_key=Secret("key"), user_agent="Sdk/1", entropy=in_order, limits=limits, secure=True
    )


def hub_link(limits: WssLimits = DEFAULT_WSS_LIMITS) -> WssServerLink:
    return WssServerLink(limits=limits, secure=True)


WssPair = Pair[WssClientLink, WssServerLink]


def opened(limits: WssLimits = DEFAULT_WSS_LIMITS, *, cut: int | None = None) -> WssPair:
    """Both ends open, their events so far forgotten."""
    pair = Pair(client_link(limits), hub_link(limits), cut=cut).open()
    pair.client_heard.clear()
    pair.hub_heard.clear()
    return pair


def raw_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool, length: int | None = None, rsv: int = 0
) -> bytes:
    """One frame as told, legal or not; `length` is declared in place of the payload's own. The mask is 1 2 3 4."""
    length = len(payload) if length is None else length
    first, flag = (fin << 7) | (rsv << 4) | opcode, mask << 7
    if length < 126:
        head = struct.pack("!BB", first, flag | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, length)
    else:
        head = struct.pack("!BBQ", first, flag | 127, length)
    if not mask:
        return head + payload
    return head + b"\1\2\3\4" + bytes(byte ^ (i % 4 + 1) for i, byte in enumerate(payload))


def read_frames(data: bytes, *, from_client: bool) -> Iterator[tuple[int, object]]:
    """(opcode, payload) of the frames in `data`; a close frame's payload is (code, reason)."""
    reader = FrameProtocol(client=not from_client, extensions=[])
    reader.receive_bytes(data)
    for frame in reader.received_frames():
        assert frame.message_finished
        yield int(frame.opcode), frame.payload


both_ends = pytest.mark.parametrize("end", ("client", "hub"))


def text(data: str) -> Frame:
    return Frame(data.encode(), FrameType.TEXT)


def binary(data: bytes) -> Frame:
    return Frame(data, FrameType.BINARY)


def link_of(pair: WssPair, end: str) -> WssLink:
    return pair.client if end == "client" else pair.hub


def hostile(end: str, opcode: int, payload: bytes = b"", *, mask: bool | None = None, **how: Any) -> bytes:
    """A frame as the peer of `end` would send it: masked if that peer is a client."""
    return raw_frame(opcode, payload, mask=end == "hub" if mask is None else mask, **how)


def said(link: WssLink, end: str) -> list[tuple[int, object]]:
    """The frames that leave `link` now."""
    return list(read_frames(link.data_to_send(), from_client=end == "client"))
