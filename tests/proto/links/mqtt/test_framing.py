"""The framer: any cut gives the same packets, and no declared size costs memory before it is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.values import cuts, pieces
from thalovant_proto.errors import DecodeError
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.framing import Framer, PacketTooLarge, RawPacket
from thalovant_proto.links.mqtt.packets import Packet, Pingresp, Puback, Publish

LIMIT = 1 << 16


def drain(framer: Framer) -> list[RawPacket]:
    """All packets that are complete."""
    packets = []
    while (raw := framer.next_packet()) is not None:
        packets.append(raw)
    return packets


@given(st.lists(values.packets, max_size=6), cuts)
def test_any_cut_gives_the_same_packets(packets: list[Packet], cuts: list[int]) -> None:
    """However the bytes come, the packets are those that were written, byte for byte."""
    framer = Framer(LIMIT)
    raw = []

    for piece in pieces(b"".join(packet.encode() for packet in packets), cuts):
        framer.feed(piece)
        raw += drain(framer)

    assert [packet.encode() for packet in packets] == [one.wire for one in raw]
    assert framer.buffered == 0


@given(st.lists(values.packets, min_size=1, max_size=6), cuts)
def test_packets_may_be_fetched_late(packets: list[Packet], cuts: list[int]) -> None:
    """Feeding does not wait for fetching: what is buffered comes out whole and in order."""
    framer = Framer(LIMIT)

    for piece in pieces(b"".join(packet.encode() for packet in packets), cuts):
        framer.feed(piece)

    assert [one.wire for one in drain(framer)] == [packet.encode() for packet in packets]


@given(st.binary(max_size=80), cuts)
def test_garbage_ends_at_the_same_place_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    """Bytes that are no packets fail with the same words and after the same packets, whole or in pieces."""

    def outcome(parts: list[bytes]) -> tuple[list[RawPacket], str]:
        framer, raw = Framer(60), []
        for part in parts:
            framer.feed(part)
            try:
                while (one := framer.next_packet()) is not None:
                    raw.append(one)
            except DecodeError as fault:
                return raw, str(fault)
        return raw, ""

    assert outcome([data]) == outcome(pieces(data, cuts)) == outcome([bytes((byte,)) for byte in data])


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([bytes((byte,)) for byte in range(256) if byte >> 4 in (0, 15)], r"table 2\.1"),
        ([b"G"], r"MQTT-2\.2\.2-2"),  # an HTTP client's first byte would be a PUBACK with flags, which there is not
        # §2.2.3: the fourth byte cannot ask for a fifth
        ([b"\x30\xff\xff\xff\xff", b"\x30\x80\x80\x80\x80\x01", b"\x30\x80\x80\x80\x80"], "four bytes"),
        # table 2.4 gives each value one length
        ([b"\x30\x80\0", b"\x30\xff\0", b"\x30\x80\x80\0", b"\x30\x81\x80\x80\0"], "longer than it need be"),
        # a PUBACK of a megabyte is not awaited
        ([bytes((first,)) + encode_length(1 << 20) for first in b"\x20\x40\x50\x62\x70\xb0\xc0\xd0\xe0"], "fixed size"),
    ],
)
def test_what_no_packet_begins_with_is_refused_at_once(headers: list[bytes], words: str) -> None:
    """Reserved types, bad flags, bad lengths: nothing more is awaited from such a peer."""
    for header in headers:
        framer = Framer(1 << 24)
        framer.feed(header)

        with pytest.raises(DecodeError, match=words):
            framer.next_packet()


@pytest.mark.parametrize("size", [101, 16_384, 268_435_455])
@pytest.mark.parametrize(("first", "cut"), [(b"\x30", False), (b"\x90", False), (b"\x90", True)])
def test_a_size_over_the_limit_is_refused_with_its_header(size: int, first: bytes, cut: bool) -> None:
    """Before the first byte of the body, so nothing is held for it. Only messages are cut, an oversize SUBACK never."""
    framer = Framer(100, cut_oversize=cut)
    framer.feed(first + encode_length(size))

    with pytest.raises(PacketTooLarge, match="100 bytes"):
        framer.next_packet()
    assert framer.buffered <= 5


def test_the_limit_itself_is_accepted_and_may_change_between_packets() -> None:
    """What the owner decides after one packet counts for the next, though its bytes are here already."""
    small, large = Publish(topic="t", payload=bytes(97)), Publish(topic="t", payload=bytes(98))
    framer = Framer(100)
    framer.feed(small.encode() + large.encode())

    assert framer.next_packet() is not None
    framer.limit = 101
    assert framer.next_packet() is not None


# --- oversize messages that only cost their sender --------------------------------------------------------------------


@given(st.lists(st.tuples(values.names, st.integers(0, 400), st.sampled_from([0, 1, 2])), min_size=1, max_size=4), cuts)
def test_oversize_messages_are_cut_to_their_head(messages: list[tuple[str, int, int]], cuts: list[int]) -> None:
    """With `cut_oversize` topic and packet id survive, the payload is thrown away, and the next packet is found."""
    wire, expected = b"", []
    for topic, size, level in messages:
        packet = Publish(topic=topic, payload=bytes(size), qos=level, packet_id=7 if level else None)
        head = len(topic.encode()).to_bytes(2, "big") + topic.encode() + (b"\0\7" if level else b"")
        missing = size if len(head) + size > 100 else 0
        expected += [RawPacket(0x30 | level << 1, head + bytes(size - missing), missing), RawPacket(0x40, b"\0\x09")]
        wire += packet.encode() + Puback(9).encode()
    framer, raw = Framer(100, cut_oversize=True), []

    for piece in pieces(wire, cuts):
        framer.feed(piece)
        raw += drain(framer)
        assert framer.buffered <= 100 + 5

    assert raw == expected


def test_a_cut_message_is_never_held() -> None:
    """A quarter of a gigabyte passes through a few bytes of memory."""
    framer = Framer(100, cut_oversize=True)
    framer.feed(b"\x32" + encode_length(268_435_455) + b"\0\1t")
    assert framer.next_packet() is None

    framer.feed(b"\0\7" + bytes(1000))
    assert framer.next_packet() == RawPacket(0x32, b"\0\1t\0\7", 268_435_450)
    for _ in range(20):
        framer.feed(bytes(1 << 20))
        assert framer.next_packet() is None
        assert framer.buffered == 0


def test_a_cut_message_whose_topic_does_not_fit_is_malformed() -> None:
    """A topic longer than its packet is a fault, found as soon as its length is there."""
    framer = Framer(100, cut_oversize=True)
    framer.feed(b"\x30" + encode_length(101) + b"\0")
    assert framer.next_packet() is None

    framer.feed(b"\xff")
    with pytest.raises(DecodeError, match="inside a field"):
        framer.next_packet()


def test_what_waits_is_counted() -> None:
    """`buffered` is what an unfinished packet holds."""
    framer = Framer(LIMIT)
    framer.feed(Pingresp().encode() + b"\x30\x0a\0\1")
    assert framer.next_packet() is not None
    assert framer.next_packet() is None

    assert framer.buffered == 4
