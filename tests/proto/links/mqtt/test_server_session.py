"""The front door's session: CONNECT before everything, a decision, then each packet as value and as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.test_packets import connect, text
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.server_session import (
    ClientClosed,
    ConnectReceived,
    PacketReceived,
    ServerEvent,
    ServerSession,
    ServerState,
)
from thalovant_proto.links.mqtt.session import MqttSession, State
from thalovant_proto.secret import Secret

CONNECT = p.Connect(client_id="c", keepalive=10, will=p.Will(topic="w", payload=b"gone"), username="u")


class Door:
    """A front door with one client at it."""

    def __init__(self, *, packet_limit: int = 1000, **limits: Any) -> None:
        self.session = ServerSession(now=100.0, packet_limit=packet_limit, limits=MqttLimits(**limits))
        self.now = 100.0

    def hear(self, *packets: p.Packet | bytes) -> list[ServerEvent]:
        """What the door makes of these."""
        wire = b"".join(one if isinstance(one, bytes) else one.encode() for one in packets)
        return list(self.session.receive_data(wire, self.now))

    def opened(self, packet: p.Connect = CONNECT) -> Door:
        """The client is let in."""
        assert self.hear(packet) == [ConnectReceived(connect=packet, wire=packet.encode())]
        self.session.accept(self.now)
        return self


def fault(events: list[ServerEvent]) -> str:
    """The word of the fault that is the last event."""
    end = events[-1]
    assert isinstance(end, ClientClosed)
    assert not end.clean
    return end.error.code


def test_a_client_is_let_in_and_heard() -> None:
    """CONNECT as value and bytes; after `accept` every packet likewise, up to DISCONNECT."""
    door = Door().opened()
    packets: list[p.Packet] = [
        p.Publish(topic="t", payload=b"p", qos=2, packet_id=1),
        p.Pubrel(1),
        p.Subscribe(packet_id=2, filters=(("t", 2),)),
        p.Unsubscribe(packet_id=3, filters=("t",)),
        p.Pingreq(),
        p.Puback(4),
        p.Pubrec(5),
        p.Pubcomp(5),
        p.Disconnect(),
    ]

    events = door.hear(*packets, p.Pingreq())

    assert events[:-1] == [PacketReceived(packet=packet, wire=packet.encode()) for packet in packets]
    assert events[-1] == ClientClosed(reason="the client left", clean=True)
    assert door.session.state is ServerState.CLOSED
    assert door.session.data_to_send() == b""


@pytest.mark.parametrize("packet", values.EXAMPLES, ids=lambda packet: type(packet).__name__)
def test_the_first_packet_is_connect_and_the_only_one(packet: p.Packet) -> None:
    """MQTT-3.1.0-1 and -2: nothing before it, no second one; what only a broker sends ends the connection."""
    first, later = Door(), Door().opened()
    brokers = (p.Connect, p.Connack, p.Suback, p.Unsuback, p.Pingresp)

    at_first, after = first.hear(packet), later.hear(packet)

    if isinstance(packet, p.Connect):
        assert at_first == [ConnectReceived(connect=packet, wire=packet.encode())]
    else:
        assert fault(at_first) == "mqtt_protocol_error"
        assert first.session.data_to_send() == b""
    if isinstance(packet, brokers):
        assert fault(after) == "mqtt_protocol_error"
    else:
        assert after[0] == PacketReceived(packet=packet, wire=packet.encode())


def test_what_follows_connect_waits_for_the_decision() -> None:
    """§3.1.4: clients need not wait for CONNACK; their packets are heard once they are let in, in order."""
    door = Door()
    early = p.Publish(topic="t", payload=b"early")

    assert len(door.hear(CONNECT, early)) == 1
    assert door.session.state is ServerState.DECIDING
    assert door.hear(p.Pingreq()) == []
    door.session.accept(door.now)
    assert [event.packet for event in door.hear() if isinstance(event, PacketReceived)] == [early, p.Pingreq()]


def test_a_decision_counts_for_the_rest_of_the_same_bytes() -> None:
    """Events are made one by one: whoever accepts at once hears what came with the CONNECT at once."""
    door = Door()
    events = door.session.receive_data(CONNECT.encode() + p.Pingreq().encode(), door.now)

    next(events)
    door.session.accept(door.now)
    assert list(events) == [PacketReceived(packet=p.Pingreq(), wire=b"\xc0\0")]


@pytest.mark.parametrize("code", [code for code in p.ConnectCode if code is not p.ConnectCode.ACCEPTED])
def test_a_refused_client_is_answered_and_not_heard(code: p.ConnectCode) -> None:
    """MQTT-3.2.2-5, MQTT-3.1.4-5: the code goes out, what was parked is never read."""
    door = Door()
    door.hear(CONNECT, p.Publish(topic="t", payload=b"early"))
    door.session.refuse(code)

    assert p.Connack(code=code).encode() == door.session.data_to_send()
    assert door.session.data_to_send() == b""
    assert door.hear(p.Pingreq()) == []
    assert door.session.eof(door.now) is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (connect(2, b"c", level=5), p.ConnectCode.VERSION),
        (connect(2, b"c", name=b"MQIsdp", level=3), p.ConnectCode.VERSION),
        (connect(0, b""), p.ConnectCode.IDENTIFIER),
    ],
)
def test_some_faults_are_answered(body: bytes, code: p.ConnectCode) -> None:
    """MQTT-3.1.2-2, MQTT-3.1.3-8: the standard names the answer."""
    door = Door()

    assert fault(door.hear(b"\x10" + encode_length(len(body)) + body)) == "mqtt_connect_refused"
    assert p.Connack(code=code).encode() == door.session.data_to_send()


@pytest.mark.parametrize(
    ("wire", "word"),
    [
        (b"\x10\x02\0\x05", "mqtt_malformed"),  # MQTT-3.1.4-1: no CONNACK
        (b"GET / HTTP/1.1\r\n", "mqtt_malformed"),
        (b"\x16\x03\x01\x02\x00", "mqtt_malformed"),  # TLS on the plain port
        (b"\x10" + encode_length(16 * 1024 + 1), "mqtt_packet_too_large"),
        (b"\x10\xff\xff\xff\x7f", "mqtt_packet_too_large"),
    ],
)
def test_other_faults_before_connect_get_no_answer(wire: bytes, word: str) -> None:
    """Whoever is not talking MQTT, or too much of it, is dropped in silence."""
    door = Door()

    assert fault(door.hear(wire)) == word
    assert door.session.data_to_send() == b""


def test_sizes_change_with_the_decision() -> None:
    """A CONNECT has a limit of its own; later packets have the other."""
    door = Door(packet_limit=200).opened()

    assert len(door.hear(p.Publish(topic="t", payload=bytes(197)))) == 1
    assert fault(door.hear(p.Publish(topic="t", payload=bytes(198)))) == "mqtt_packet_too_large"


def test_what_is_parked_is_bounded() -> None:
    """A client cannot fill memory while the door decides."""
    door = Door()
    door.hear(CONNECT)

    assert door.hear(bytes(64 * 1024)) == []
    assert fault(door.hear(b"\0")) == "mqtt_limit"
    assert door.session.buffered == 64 * 1024 + 1


DEEP = "a/" * 14 + "a"  # fifteen levels
CAPS: list[Any] = [
    (p.Publish(topic=f"{DEEP}/b", payload=b""), True),
    (p.Publish(topic=f"{DEEP}/b/c", payload=b""), False),
    (p.Subscribe(packet_id=1, filters=((f"{DEEP}/#", 1), *[("b", 1)] * 63)), True),
    (p.Subscribe(packet_id=1, filters=((f"{DEEP}/b/#", 1),)), False),
    (p.Subscribe(packet_id=1, filters=(("a", 1),) * 65), False),
    (p.Unsubscribe(packet_id=1, filters=(f"{DEEP}/+", *["b"] * 63)), True),
    (p.Unsubscribe(packet_id=1, filters=(f"{DEEP}/b/+",)), False),
    (p.Unsubscribe(packet_id=1, filters=("a",) * 65), False),
]


@pytest.mark.parametrize(("packet", "legal"), CAPS)
def test_topics_have_caps(packet: p.Packet, legal: bool) -> None:
    """Levels of a topic and filters of a packet are bounded: a broker walks a tree for each."""
    events = Door().opened().hear(packet)

    assert isinstance(events[-1], PacketReceived) is legal
    if not legal:
        assert fault(events) == "mqtt_limit"


def test_decisions_out_of_turn_are_our_own_fault() -> None:
    """`accept` and `refuse` answer a CONNECT, once; a refusal is no acceptance."""
    door = Door()
    with pytest.raises(LocalProtocolError, match="CONNECTING"):
        door.session.accept(0.0)
    with pytest.raises(LocalProtocolError, match="CONNECTING"):
        door.session.refuse(p.ConnectCode.VERSION)
    door.hear(CONNECT)
    with pytest.raises(LocalProtocolError, match="ACCEPTED"):
        door.session.refuse(p.ConnectCode.ACCEPTED)
    door.session.accept(door.now)
    with pytest.raises(LocalProtocolError, match="OPEN"):
        door.session.refuse(p.ConnectCode.VERSION)


def test_connect_has_a_deadline() -> None:
    """A socket that says nothing, or one byte at a time, is not held for ever."""
    door = Door(answer_time=5)
    assert door.session.next_timeout == 105.0
    door.hear(CONNECT.encode()[:-1])

    assert door.session.handle_timeout(104.9) == []
    (end,) = door.session.handle_timeout(105.0)
    assert isinstance(end, ClientClosed)
    assert "CONNECT" in end.reason
    assert door.session.next_timeout is None
    assert door.session.handle_timeout(200.0) == []


def test_silence_is_measured_by_the_clients_own_keepalive() -> None:
    """MQTT-3.1.2-24: one and a half intervals without a packet; a part of a packet is none."""
    door = Door().opened()
    door.now = 110.0
    door.hear(p.Pingreq(), b"\x30")
    assert door.session.next_timeout == 125.0

    assert door.session.handle_timeout(124.9) == []
    (end,) = door.session.handle_timeout(125.0)
    assert isinstance(end, ClientClosed)
    assert "keepalive" in end.reason
    assert not end.clean


def test_a_decision_takes_as_long_as_the_door_wants() -> None:
    """While the door decides, the time is the door's; without a keepalive it never runs."""
    door = Door()
    door.hear(evolve(CONNECT, keepalive=0))
    assert door.session.next_timeout is None
    door.session.accept(door.now)
    assert door.session.next_timeout is None


def test_a_socket_that_ends_is_no_clean_goodbye() -> None:
    """Without DISCONNECT the will stands. After `close` nothing is heard."""
    door, closed = Door().opened(), Door().opened()
    closed.session.close()

    assert door.session.eof(door.now) == ClientClosed(reason="the client closed the connection")
    assert door.session.eof(door.now) is None
    assert closed.hear(p.Pingreq()) == []


def test_no_event_shows_what_a_packet_holds() -> None:
    """The bytes of a CONNECT hold the password, those of a PUBLISH the access key."""
    packet = p.Connect(client_id="c", username="planted", password=Secret(b"planted"))

    events = Door().hear(packet)

    assert text(b"planted") in packet.encode()
    assert "planted" not in repr(events)


def test_both_roles_agree() -> None:
    """What our client's session writes, the door's reads as it was meant, and refuses to the client's ears."""
    client = MqttSession(CONNECT, packet_limit=100)
    door = Door()
    client.open(0.0)
    assert door.hear(client.data_to_send()) == [ConnectReceived(connect=CONNECT, wire=CONNECT.encode())]
    door.session.refuse(p.ConnectCode.CREDENTIALS)
    list(client.receive_data(door.session.data_to_send(), 0.0))

    assert client.state is State.CLOSED
