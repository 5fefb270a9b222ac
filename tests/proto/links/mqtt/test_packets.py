"""Packets: bytes and values are one to one, illegal ones cannot be built or read, and none shows its secrets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.proto.links.mqtt import values
from thalovant_proto.errors import DecodeError
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.decoding import ConnectRefusal, decode
from thalovant_proto.links.mqtt.fields import (
    encode_length,
    encode_topic_filter,
    encode_topic_name,
    topic_matches,
)
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.secret import Secret


def read(wire: bytes) -> p.Packet:
    """The one packet that these bytes are."""
    framer = Framer(1 << 20)
    framer.feed(wire)
    raw = framer.next_packet()
    assert framer.next_packet() is None
    assert framer.buffered == 0
    return decode(raw.first, raw.body)


@given(values.packets)
def test_every_packet_survives_its_bytes(packet: p.Packet) -> None:
    """Encoding and decoding are each other's inverse, for all fourteen types."""
    assert read(packet.encode()) == packet


@given(st.binary(max_size=40), st.integers(0, 255))
def test_what_decodes_encodes_to_the_same_bytes(body: bytes, first: int) -> None:
    """There is one form for every packet; anything else is a `DecodeError`, whatever the bytes."""
    try:
        packet = decode(first, body)
    except DecodeError:
        return
    assert packet.encode() == bytes((first,)) + encode_length(len(body)) + body


@given(values.packets, st.data())
def test_a_changed_or_shortened_packet_is_read_or_refused(packet: p.Packet, data: st.DataObject) -> None:
    """One wrong byte, or an early end, gives another packet or a `DecodeError`, never anything else."""
    wire = bytearray(packet.encode())
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    head = 1 + len(encode_length(len(wire)))
    for body in (wire[head:], packet.encode()[data.draw(st.integers(2, len(wire))) :]):
        try:
            decode(wire[0], bytes(body))
        except DecodeError:
            pass


TEXT_FAULTS = [
    (b"\xed\xa0\x80", "MQTT-1.5.3-1"),  # a surrogate
    (b"\xc0\xaf", "MQTT-1.5.3-1"),  # an overlong "/"
    (b"\xff", "MQTT-1.5.3-1"),
    (b"a\x00b", "MQTT-1.5.3-2"),
]


def text(data: bytes) -> bytes:
    """Bytes after their length."""
    return len(data).to_bytes(2, "big") + data


def connect(flags: int, *fields: bytes, name: bytes = b"MQTT", level: int = 4) -> bytes:
    """The body of a CONNECT."""
    return text(name) + bytes((level, flags)) + b"\x00\x3c" + b"".join(map(text, fields))


MALFORMED: list[Any] = [
    # §2.2: the first byte
    *((first, b"", "table 2.1") for first in (0x00, 0x0F, 0xF0)),
    *((first, b"\0\1", "MQTT-2.2.2-2") for first in (0x11, 0x21, 0x41, 0x54, 0x60, 0x63, 0x7F, 0x80, 0x83, 0x91)),
    *((first, b"\0\1", "MQTT-2.2.2-2") for first in (0xA0, 0xB8, 0xC1, 0xD4, 0xEF)),  # E: MQTT-3.14.1-1
    *((first, text(b"t") + b"\0\1", "MQTT-3.3.1-4") for first in (0x36, 0x37, 0x3E, 0x3F)),
    *((first, text(b"t"), "MQTT-3.3.1-2") for first in (0x38, 0x39)),
    # §2.3.1: packet ids
    *((first, b"\0\0", "MQTT-2.3.1-1") for first in (0x40, 0x50, 0x62, 0x70, 0xB0)),
    (0x32, text(b"t") + b"\0\0", "MQTT-2.3.1-1"),
    (0x34, text(b"t") + b"\0\0", "MQTT-2.3.1-1"),
    (0x82, b"\0\0" + text(b"t") + b"\1", "MQTT-2.3.1-1"),
    (0x90, b"\0\0\1", "MQTT-2.3.1-1"),
    (0xA2, b"\0\0" + text(b"t"), "MQTT-2.3.1-1"),
    # sizes that cannot be
    *((first, b"\0", "§3") for first in (0x20, 0x40, 0x50, 0x62, 0x70, 0xB0, 0xC0, 0xD0, 0xE0)),
    *((first, b"\0\1\0", "§3") for first in (0x20, 0x40, 0x50, 0x62, 0x70, 0xB0, 0xC0, 0xD0, 0xE0)),
    # §3.1: CONNECT
    (0x10, connect(2, b"c", name=b"HTTP"), "MQTT-3.1.2-1"),
    (0x10, connect(3, b"c"), "MQTT-3.1.2-3"),
    (0x10, connect(2), "ends inside a field"),  # MQTT-3.1.3-3: no client id
    (0x10, connect(2, b"c")[:-1], "ends inside a field"),
    (0x10, connect(2, b"c")[:5], "ends inside a field"),
    (0x10, b"", "ends inside a field"),
    (0x10, connect(2 | 4, b"c"), "ends inside a field"),  # MQTT-3.1.2-9: no will topic
    (0x10, connect(2 | 4, b"c", b"w"), "ends inside a field"),  # MQTT-3.1.2-9: no will message
    (0x10, connect(2, b"c", b"w", b"m"), "after its last field"),  # MQTT-3.1.2-11
    (0x10, connect(2 | 8, b"c"), "MQTT-3.1.2-13"),
    (0x10, connect(2 | 16, b"c"), "MQTT-3.1.2-13"),
    (0x10, connect(2 | 32, b"c"), "-15"),
    (0x10, connect(2 | 4 | 24, b"c", b"w", b"m"), "MQTT-3.1.2-14"),
    (0x10, connect(2, b"c", b"u"), "after its last field"),  # MQTT-3.1.2-18, -20
    (0x10, connect(2 | 128, b"c"), "ends inside a field"),  # MQTT-3.1.2-19
    (0x10, connect(2 | 192, b"c", b"u"), "ends inside a field"),  # MQTT-3.1.2-21
    (0x10, connect(2 | 64, b"c", b"p"), "MQTT-3.1.2-22"),
    (0x10, connect(2 | 4, b"c", b"", b"m"), "MQTT-4.7.3-1"),
    (0x10, connect(2 | 4, b"c", b"w/+", b"m"), "MQTT-3.3.2-2"),
    *((0x10, connect(2, bad), clause) for bad, clause in TEXT_FAULTS),  # MQTT-3.1.3-4
    *((0x10, connect(2 | 4, b"c", bad, b"m"), clause) for bad, clause in TEXT_FAULTS),  # MQTT-3.1.3-10
    *((0x10, connect(2 | 128, b"c", bad), clause) for bad, clause in TEXT_FAULTS),  # MQTT-3.1.3-11
    # §3.2: CONNACK
    (0x20, b"\2\0", "§3.2.2.1"),
    (0x20, b"\0\6", "table 3.1"),
    (0x20, b"\0\xff", "table 3.1"),
    (0x20, b"\1\5", "MQTT-3.2.2-4"),
    # §3.3: PUBLISH
    (0x30, b"", "ends inside a field"),
    (0x30, b"\0", "ends inside a field"),
    (0x30, b"\0\2t", "ends inside a field"),
    (0x32, text(b"t"), "ends inside a field"),
    (0x32, text(b"t") + b"\0", "ends inside a field"),
    (0x30, text(b""), "MQTT-4.7.3-1"),
    (0x30, text(b"a/+/b"), "MQTT-3.3.2-2"),
    (0x30, text(b"a/#"), "MQTT-3.3.2-2"),
    *((0x30, text(bad), clause) for bad, clause in TEXT_FAULTS),  # MQTT-3.3.2-1
    # §3.8: SUBSCRIBE
    (0x82, b"\0\1", "MQTT-3.8.3-3"),
    (0x82, b"\0", "ends inside a field"),
    (0x82, b"\0\1" + text(b"t"), "ends inside a field"),
    *((0x82, b"\0\1" + text(b"t") + bytes((option,)), "MQTT-3-8.3-4") for option in (3, 4, 0x80, 0xFF)),
    (0x82, b"\0\1" + text(b"") + b"\1", "MQTT-4.7.3-1"),
    *((0x82, b"\0\1" + text(bad) + b"\1", clause) for bad, clause in TEXT_FAULTS),  # MQTT-3.8.3-1
    *((0x82, b"\0\1" + text(bad) + b"\1", "MQTT-4.7.1-2") for bad in (b"#/a", b"a#", b"a/#b", b"a/#/b", b"##")),
    *((0x82, b"\0\1" + text(bad) + b"\1", "MQTT-4.7.1-3") for bad in (b"a+", b"+a/b", b"a/b+", b"++", b"+a/#")),
    # §3.9: SUBACK
    (0x90, b"\0\1", "MQTT-3.8.4-5"),
    (0x90, b"\0", "ends inside a field"),
    *((0x90, b"\0\1" + bytes((code,)), "MQTT-3.9.3-2") for code in (3, 0x7F, 0x81, 0xFF)),
    # §3.10: UNSUBSCRIBE
    (0xA2, b"\0\1", "MQTT-3.10.3-2"),
    (0xA2, b"\0\1\0\2t", "ends inside a field"),
    (0xA2, b"\0\1" + text(b"a/#/b"), "MQTT-4.7.1-2"),
    *((0xA2, b"\0\1" + text(bad), clause) for bad, clause in TEXT_FAULTS),  # MQTT-3.10.3-1
]


@pytest.mark.parametrize(("first", "body", "clause"), MALFORMED)
def test_malformed_packets_are_refused_by_clause(first: int, body: bytes, clause: str) -> None:
    """Every MUST of 3.1.1 that bytes alone can break: the fault says which it was."""
    with pytest.raises(DecodeError) as caught:
        decode(first, body)
    assert clause in str(caught.value)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (connect(2, b"c", level=3), p.ConnectCode.VERSION),
        (connect(2, b"c", level=5), p.ConnectCode.VERSION),
        (connect(2, b"c", name=b"MQIsdp", level=3), p.ConnectCode.VERSION),
        (text(b"MQTT") + b"\5", p.ConnectCode.VERSION),  # another version may end anywhere
        (connect(0, b""), p.ConnectCode.IDENTIFIER),  # MQTT-3.1.3-8
    ],
)
def test_some_connects_are_refused_with_a_code(body: bytes, code: p.ConnectCode) -> None:
    """MQTT-3.1.2-2, MQTT-3.1.3-8: the standard wants a CONNACK in answer, so the fault carries its code."""
    with pytest.raises(ConnectRefusal) as caught:
        decode(0x10, body)
    assert caught.value.code is code


ILLEGAL: list[Any] = [
    (lambda: p.Will(topic="a", payload=b"", qos=3), "MQTT-3.1.2-14"),
    (lambda: p.Will(topic="", payload=b""), "MQTT-4.7.3-1"),
    (lambda: p.Will(topic="a", payload=bytes(65_536)), "65535 bytes"),
    (lambda: p.Connect(client_id="a\0"), "MQTT-1.5.3-2"),
    (lambda: p.Connect(client_id="\udcff"), "MQTT-1.5.3-1"),
    (lambda: p.Connect(client_id="ä" * 32_768), "65535 bytes"),
    (lambda: p.Connect(client_id="", clean_session=False), "MQTT-3.1.3-7"),
    (lambda: p.Connect(client_id="c", keepalive=-1), "§3.1.2.10"),
    (lambda: p.Connect(client_id="c", keepalive=65_536), "§3.1.2.10"),
    (lambda: p.Connect(client_id="c", password=Secret(b"p")), "MQTT-3.1.2-22"),
    (lambda: p.Connect(client_id="c", username="\0"), "MQTT-1.5.3-2"),
    (lambda: p.Connect(client_id="c", username="u", password=Secret(bytes(65_536))), "65535 bytes"),
    (lambda: p.Connack(session_present=True, code=p.ConnectCode.VERSION), "MQTT-3.2.2-4"),
    (lambda: p.Publish(topic="t", payload=b"", packet_id=1), "MQTT-2.3.1-5"),
    (lambda: p.Publish(topic="t", payload=b"", dup=True), "MQTT-3.3.1-2"),
    (lambda: p.Publish(topic="t", payload=b"", qos=1), "MQTT-2.3.1-1"),
    (lambda: p.Publish(topic="t", payload=b"", qos=3, packet_id=1), "MQTT-3.3.1-4"),
    (lambda: p.Publish(topic="t/#", payload=b""), "MQTT-3.3.2-2"),
    (lambda: p.Puback(0), "MQTT-2.3.1-1"),
    (lambda: p.Puback(65_536), "MQTT-2.3.1-1"),
    (lambda: p.Subscribe(packet_id=1, filters=()), "MQTT-3.8.3-3"),
    (lambda: p.Subscribe(packet_id=1, filters=(("t", 3),)), "MQTT-3-8.3-4"),
    (lambda: p.Subscribe(packet_id=1, filters=(("", 1),)), "MQTT-4.7.3-1"),
    (lambda: p.Suback(packet_id=1, codes=(3,)), "MQTT-3.9.3-2"),
    (lambda: p.Unsubscribe(packet_id=1, filters=()), "MQTT-3.10.3-2"),
]


@pytest.mark.parametrize(("build", "clause"), ILLEGAL)
def test_illegal_packets_cannot_be_built(build: Any, clause: str) -> None:
    """The other way round: what may not be on the wire has no value either."""
    with pytest.raises(ValueError) as caught:
        build()
    assert clause in str(caught.value)


def test_the_remaining_length_has_its_four_ranges() -> None:
    """Table 2.4, at every border."""
    borders = {0: 1, 127: 1, 128: 2, 16_383: 2, 16_384: 3, 2_097_151: 3, 2_097_152: 4, 268_435_455: 4}

    assert list(borders.values()) == [len(encode_length(size)) for size in borders]
    with pytest.raises(ValueError, match="268435455"):
        encode_length(268_435_456)


def test_what_stands_at_the_borders_is_legal() -> None:
    """MQTT-4.7.3-3: 65 535 bytes; MQTT-1.5.3-3: U+FEFF is kept; MQTT-3.1.3-6, -7: a clean session needs no id."""
    longest, marked = p.Publish(topic="t" * 65_535, payload=b""), p.Publish(topic="\ufefft\ufeff", payload=b"")

    assert read(longest.encode()) == longest
    assert read(marked.encode()) == marked
    assert text(b"\xef\xbb\xbft\xef\xbb\xbf") in marked.encode()
    assert decode(0x10, connect(2, b"")) == p.Connect(client_id="", keepalive=60)


def test_no_packet_shows_topics_names_or_payloads() -> None:
    """Topics hold the access key and payloads the traffic: neither is in a `repr`."""
    secret = "planted"
    packets: list[p.Packet] = [
        p.Connect(
            client_id="c",
            will=p.Will(topic=secret, payload=secret.encode()),
            username=secret,
            password=Secret(secret.encode()),
        ),
        p.Publish(topic=secret, payload=secret.encode()),
        p.Subscribe(packet_id=1, filters=((secret, 1),)),
        p.Unsubscribe(packet_id=1, filters=(secret,)),
    ]

    assert secret not in repr(packets)


# --- topics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        # the standard's own examples, §4.7.1
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "sport/tennis", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("+/tennis/#", "sport/tennis", True),
        # MQTT-4.7.2-1
        ("#", "$SYS/broker", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        # MQTT-4.7.3-4: no normalisation, and case counts
        ("ACCOUNTS", "Accounts", False),
        ("caf\u00e9", "cafe\u0301", False),
        ("/finance", "finance", False),
        ("sport/tennis/#", "sport", False),
    ],
)
def test_filters_match_as_the_standard_says(topic_filter: str, topic: str, matches: bool) -> None:
    """§4.7, example by example."""
    assert topic_matches(topic_filter, topic) is matches


@given(values.names)
def test_a_topic_matches_itself_and_its_generalisations(topic: str) -> None:
    """A topic is its own filter; `+` in place of any level but a first `$…`, and `#` below any, cover it."""
    levels = topic.split("/")

    assert topic_matches(topic, topic)
    assert topic_matches(f"{topic}/#", topic)
    for at, level in enumerate(levels):
        general = "/".join([*levels[:at], "+", *levels[at + 1 :]])
        assert topic_matches(general, topic) is not (at == 0 and level.startswith("$"))


@given(st.text(max_size=8))
def test_a_filter_without_wildcards_is_a_name_and_back(topic: str) -> None:
    """Names are exactly the filters without wildcards, and both encode alike."""
    try:
        name = encode_topic_name(topic)
    except ValueError:
        if "+" not in topic and "#" not in topic:
            with pytest.raises(ValueError):
                encode_topic_filter(topic)
        return
    assert name == encode_topic_filter(topic)
