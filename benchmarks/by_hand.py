"""Hand-written loops of the primitives that our codec uses, with nothing around them: JSON, AEAD, WebSocket framing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from struct import Struct
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305


def _json() -> tuple[str, Callable[[object], bytes], Callable[[bytes], Any]]:
    """The JSON library that ours uses here too: its name, and how it writes and reads."""
    try:
        import orjson
    except ImportError:
        return "json", lambda value: json.dumps(value, separators=(",", ":")).encode(), json.loads
    return "orjson", orjson.dumps, orjson.loads


LIBRARY, dumps, loads = _json()


def envelope(type: str, data: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """A bus message as it travels."""
    return {
        "msg_type": "bus",
        "payload": {"type": type, "data": data, "context": context},
        "metadata": {},
        "route": [],
        "node": None,
        "target_site_id": None,
        "target_pubkey": None,
        "source_peer": None,
    }


def v3(message: dict[str, Any]) -> Callable[[], None]:
    """The frame of a v3 session, and back."""
    aead, pack, number = ChaCha20Poly1305(os.urandom(32)), Struct("<4xQ").pack, 0

    def work() -> None:
        nonlocal number
        nonce = pack(number)
        number += 1
        frame = aead.encrypt(nonce, b"\0" + dumps(message), None)
        assert loads(aead.decrypt(nonce, frame, None)[1:])["payload"]["data"]

    return work


def legacy(message: dict[str, Any]) -> Callable[[], None]:
    """The text frame of a v0 session, and back."""
    aead = AESGCM(os.urandom(16))

    def work() -> None:
        nonce = os.urandom(16)
        sealed = aead.encrypt(nonce, dumps(message), None)
        frame = dumps({"ciphertext": sealed[:-16].hex(), "tag": sealed[-16:].hex(), "nonce": nonce.hex()})
        parts = loads(frame)
        whole = bytes.fromhex(parts["ciphertext"]) + bytes.fromhex(parts["tag"])
        assert loads(aead.decrypt(bytes.fromhex(parts["nonce"]), whole, None))["payload"]["data"]

    return work


def v3_over_websocket(up: list[dict[str, Any]], down: list[dict[str, Any]]) -> tuple[Callable[[], None], int, int]:
    """Messages of a v3 session in WebSocket frames to the hub and back, read at the other end; bytes up and down."""
    aead, pack, number = ChaCha20Poly1305(os.urandom(32)), Struct("<4xQ").pack, 0
    short, head = Struct("!BB").pack, Struct("!BBH")

    def write(message: dict[str, Any], masked: bool) -> bytes:
        nonlocal number
        payload = aead.encrypt(pack(number), b"\0" + dumps(message), None)
        number += 1
        size = len(payload)
        start = short(0x82, masked << 7 | size) if size < 126 else head.pack(0x82, masked << 7 | 126, size)
        if not masked:
            return start + payload
        mask = os.urandom(4)
        return start + mask + _mask(payload, mask)

    def read(data: bytes, masked: bool) -> None:
        at, done = 0, number - len(up if masked else down)
        while at < len(data):
            size, at = data[at + 1] & 127, at + 2
            if size == 126:
                size, at = int.from_bytes(data[at : at + 2]), at + 2
            if masked:
                mask, at = data[at : at + 4], at + 4
            payload, at = data[at : at + size], at + size
            plain = aead.decrypt(pack(done), _mask(payload, mask) if masked else payload, None)
            done += 1
            assert loads(plain[1:])["payload"]["data"] is not None

    def work() -> None:
        read(b"".join([write(message, True) for message in up]), True)
        read(b"".join([write(message, False) for message in down]), False)

    sizes = [sum(len(write(message, masked)) for message in some) for some, masked in ((up, True), (down, False))]
    return work, *sizes


def _mask(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(size)
