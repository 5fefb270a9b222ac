"""MQTT packets: bytes are packets or a `DecodeError`, in any pieces; and a packet has one form only."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.harness import Tape, cut, tape
from tests.proto.links.mqtt.values import EXAMPLES
from thalovant_proto.errors import DecodeError
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.framing import Framer, RawPacket

LIMIT = 300


def read(data: bytes, size: int, *, cut_oversize: bool) -> tuple[list[RawPacket], str]:
    """The packets in these bytes, and what ended them if something did."""
    framer = Framer(LIMIT, cut_oversize=cut_oversize)
    found: list[RawPacket] = []
    for piece in cut(data, size):
        framer.feed(piece)
        try:
            while (raw := framer.next_packet()) is not None:
                found.append(raw)
        except DecodeError as fault:
            return found, str(fault)
        assert framer.buffered <= max(LIMIT, 1 << 16 if cut_oversize else 0) + len(piece) + 5
    return found, ""


def one(data: bytes) -> object:
    tape = Tape(data)
    flags, size = tape.byte(), 1 + tape.byte() % 64
    body = tape.rest()
    cut_oversize = bool(flags & 1)
    raws, fault = read(body, 0, cut_oversize=cut_oversize)
    assert (raws, fault) == read(body, size, cut_oversize=cut_oversize), "packets depend on how the bytes were cut"
    # Whole packets are the bytes that they came as. Those that were cut short have lost their end.
    if not any(raw.missing for raw in raws):
        assert body.startswith(b"".join(raw.wire for raw in raws))
    packets = []
    for raw in raws:
        try:
            packet = decode(raw.first, raw.body)
        except DecodeError:
            continue
        packets.append(packet)
        assert packet.encode() == raw.wire, "a packet has two forms"
    return packets or None


def seeds() -> Iterator[bytes]:
    for packet in EXAMPLES:
        for flags in (0, 1):
            yield tape(flags, 1) + packet.encode()
    yield tape(0, 3) + b"".join(packet.encode() for packet in EXAMPLES)
    yield tape(1, 3) + b"\x32\xac\x05\0\1t\0\1" + bytes(679) + b"\xc0\0"  # over the limit, then a ping
    yield tape(0, 1) + b"\x30\xff\xff\xff\x7f"  # the longest packet there is
    yield tape(0, 1) + b"\x30\x80\x00"  # a length that is longer than it need be
    yield tape(0, 1) + b"\x10\x0c\0\6MQIsdp\3\2\0\x3c"
