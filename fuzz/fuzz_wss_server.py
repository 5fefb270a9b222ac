"""The hub's end of a WSS link: any bytes, in any pieces, from what should be a client."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.harness import Act, tape
from fuzz.websocket import SERVER, UPGRADES, play, scripts

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
    b"HEAD /health HTTP/1.0\r\n\r\n",
    b"POST /connect HTTP/1.1\r\nHost: hub\r\nContent-Length: 3\r\n\r\na=b",
    UPGRADES[SERVER].replace(b"?authorization=U2RrLzE6a2V5", b""),
    UPGRADES[SERVER].replace(b"U2RrLzE6a2V5", b"%FF"),
    UPGRADES[SERVER].replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"),
    UPGRADES[SERVER].replace(b"Host: 127.0.0.1:5678", b"Host: \xe9"),
]


def one(data: bytes) -> object:
    return play(SERVER, data)


def seeds() -> Iterator[bytes]:
    yield from scripts(SERVER)
    for request in REQUESTS:
        yield tape(1, Act.RAW, request, Act.DRAIN)
