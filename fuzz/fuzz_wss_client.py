"""The client's end of a WSS link: any bytes, in any pieces, from what should be a hub."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.harness import Act, tape
from fuzz.websocket import CLIENT, play, scripts

REFUSALS = [
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 5\r\n\r\nsorry",
    b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
    b"220 mail.example ESMTP\r\n",
]


def one(data: bytes) -> object:
    return play(CLIENT, data)


def seeds() -> Iterator[bytes]:
    yield from scripts(CLIENT)
    for answer in REFUSALS:
        yield tape(1, Act.RAW, answer, Act.DRAIN)
