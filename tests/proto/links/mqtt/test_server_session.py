"""The front door's session: CONNECT before everything, a decision, then each packet as value and as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.test_packets import connect, text
from tests.proto.links.mqtt.values import cuts, pieces
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
    Will,
)
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

CONNECT = Connect(client_id="c", keepalive=10, will=Will(topic="w", payload=b"gone"), username="u")


class Door:
    """A front door with one client at it."""

    def __init__(self, *, packet_limit: int = 1000, **limits: Any) -> None:
        self.session = ServerSession(now=100.0, packet_limit=packet_limit, limits=MqttLimits(**limits))
        self.now = 100.0

    def hear(self, *packets: Packet | bytes) -> list[ServerEvent]:
        """What the door makes of these."""
        wire = b"".join(one if isinstance(one, bytes) else one.encode() for one in packets)
        return list(self.session.receive_data(wire, self.now))

    def opened(self, packet: Connect = CONNECT) -> Door:
        """The client is let in."""
        assert self.hear(packet) == [ConnectReceived(connect=packet, wire=packet.encode())]
        self.session.accept(self.now)
        return self


def fault(events: list[ServerEvent]) -> str:
    """The word of the fault that is the last event."""
    end = events[-1]
    assert isinstance(end, ClientClosed)
    assert not end.clean
    assert end.error is not None
    return end.error.code


def test_a_client_is_let_in_and_heard() -> None:
    """CONNECT as value and bytes; after `accept` every packet likewise, up to DISCONNECT."""
    door = Door().opened()
    packets: list[Packet] = [
        Publish(topic="t", payload=b"p", qos=2, packet_id=1),
        Pubrel(1),
        Subscribe(packet_id=2, filters=(("t", 2),)),
        Unsubscribe(packet_id=3, filters=("t",)),
        Pingreq(),
        Puback(4),
        Pubrec(5),
        Pubcomp(5),
        Disconnect(),
    ]

    events = door.hear(*packets, Pingreq())

    assert events[:-1] == [PacketReceived(packet=packet, wire=packet.encode()) for packet in packets]
    assert events[-1] == ClientClosed(reason="the client left", clean=True)
    assert door.session.state is ServerState.CLOSED
    assert door.session.data_to_send() == b""


@pytest.mark.parametrize("packet", values.EXAMPLES, ids=lambda packet: type(packet).__name__)
def test_the_first_packet_is_connect(packet: Packet) -> None:
    """MQTT-3.1.0-1: anything else, however legal later, ends the connection without an answer."""
    door = Door()

    events = door.hear(packet)

    if isinstance(packet, Connect):
        assert events == [ConnectReceived(connect=packet, wire=packet.encode())]
    else:
        assert fault(events) == "mqtt_protocol_error"
        assert door.session.data_to_send() == b""


@pytest.mark.parametrize("packet", values.EXAMPLES, ids=lambda packet: type(packet).__name__)
def test_only_packets_of_clients_are_heard(packet: Packet) -> None:
    """A second CONNECT [MQTT-3.1.0-2], or a packet that only a broker sends, ends the connection."""
    legal = (Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe, Unsubscribe, Pingreq, Disconnect)
    door = Door().opened()

    events = door.hear(packet)

    if isinstance(packet, legal):
        assert events[0] == PacketReceived(packet=packet, wire=packet.encode())
    else:
        assert fault(events) == "mqtt_protocol_error"


def test_what_follows_connect_waits_for_the_decision() -> None:
    """§3.1.4: clients need not wait for CONNACK; their packets are heard once they are let in, in order."""
    door = Door()
    early = Publish(topic="t", payload=b"early")

    assert len(door.hear(CONNECT, early)) == 1
    assert door.session.state is ServerState.DECIDING
    assert door.hear(Pingreq()) == []
    door.session.accept(door.now)
    assert [event.packet for event in door.hear() if isinstance(event, PacketReceived)] == [early, Pingreq()]


def test_a_decision_counts_for_the_rest_of_the_same_bytes() -> None:
    """Events are made one by one: whoever accepts at once hears what came with the CONNECT at once."""
    door = Door()
    events = door.session.receive_data(CONNECT.encode() + Pingreq().encode(), door.now)

    next(events)
    door.session.accept(door.now)
    assert list(events) == [PacketReceived(packet=Pingreq(), wire=b"\xc0\0")]


@pytest.mark.parametrize("code", [code for code in ConnectCode if code is not ConnectCode.ACCEPTED])
def test_a_refused_client_is_answered_and_not_heard(code: ConnectCode) -> None:
    """MQTT-3.2.2-5, MQTT-3.1.4-5: the code goes out, what was parked is never read."""
    door = Door()
    door.hear(CONNECT, Publish(topic="t", payload=b"early"))
    door.session.refuse(code)

    assert Connack(code=code).encode() == door.session.data_to_send()
    assert door.session.data_to_send() == b""
    assert door.hear(Pingreq()) == []
    assert door.session.eof(door.now) is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (connect(2, b"c", level=5), ConnectCode.VERSION),
        (connect(2, b"c", name=b"MQIsdp", level=3), ConnectCode.VERSION),
        (connect(0, b""), ConnectCode.IDENTIFIER),
    ],
)
def test_some_faults_are_answered(body: bytes, code: ConnectCode) -> None:
    """MQTT-3.1.2-2, MQTT-3.1.3-8: the standard names the answer."""
    door = Door()

    assert fault(door.hear(b"\x10" + encode_length(len(body)) + body)) == "mqtt_connect_refused"
    assert Connack(code=code).encode() == door.session.data_to_send()


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

    assert len(door.hear(Publish(topic="t", payload=bytes(197)))) == 1
    assert fault(door.hear(Publish(topic="t", payload=bytes(198)))) == "mqtt_packet_too_large"


def test_what_is_parked_is_bounded() -> None:
    """A client cannot fill memory while the door decides."""
    door = Door()
    door.hear(CONNECT)

    assert door.hear(bytes(64 * 1024)) == []
    assert fault(door.hear(b"\0")) == "mqtt_limit"
    assert door.session.buffered == 64 * 1024 + 1


DEEP = "a/" * 14 + "a"  # fifteen levels
CAPS: list[Any] = [
    (Publish(topic=f"{DEEP}/b", payload=b""), True),
    (Publish(topic=f"{DEEP}/b/c", payload=b""), False),
    (Subscribe(packet_id=1, filters=((f"{DEEP}/#", 1), *[("b", 1)] * 63)), True),
    (Subscribe(packet_id=1, filters=((f"{DEEP}/b/#", 1),)), False),
    (Subscribe(packet_id=1, filters=(("a", 1),) * 65), False),
    (Unsubscribe(packet_id=1, filters=(f"{DEEP}/+", *["b"] * 63)), True),
    (Unsubscribe(packet_id=1, filters=(f"{DEEP}/b/+",)), False),
    (Unsubscribe(packet_id=1, filters=("a",) * 65), False),
]


@pytest.mark.parametrize(("packet", "legal"), CAPS)
def test_topics_have_caps(packet: Packet, legal: bool) -> None:
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
        door.session.refuse(ConnectCode.VERSION)
    door.hear(CONNECT)
    with pytest.raises(LocalProtocolError, match="ACCEPTED"):
        door.session.refuse(ConnectCode.ACCEPTED)
    door.session.accept(door.now)
    with pytest.raises(LocalProtocolError, match="OPEN"):
        door.session.refuse(ConnectCode.VERSION)


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
    door.hear(Pingreq(), b"\x30")
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
    """Without DISCONNECT the will stands."""
    door = Door().opened()

    assert door.session.eof(door.now) == ClientClosed(reason="the client closed the connection")
    assert door.session.eof(door.now) is None


def test_the_door_may_close() -> None:
    """After `close` nothing is heard."""
    door = Door().opened()
    door.session.close()

    assert door.hear(Pingreq()) == []


@given(st.lists(values.packets, max_size=6), st.binary(max_size=30), cuts)
def test_any_cut_gives_the_same_events(packets: list[Packet], garbage: bytes, cuts: list[int]) -> None:
    """Whole, in pieces, or byte by byte; whatever comes, nothing is raised and the end is the last event."""
    data = CONNECT.encode() + b"".join(packet.encode() for packet in packets) + garbage

    def run(parts: list[bytes]) -> list[str]:
        door = Door()
        heard = []
        for part in parts:
            for event in door.session.receive_data(part, door.now):
                heard.append(repr((event, getattr(event, "wire", b""))))
                if isinstance(event, ConnectReceived):
                    door.session.accept(door.now)
        return heard

    whole = run([data])
    assert whole == run(pieces(data, cuts)) == run([bytes((byte,)) for byte in data])
    assert not any("ClientClosed" in event for event in whole[:-1])


def test_no_event_shows_what_a_packet_holds() -> None:
    """The bytes of a CONNECT hold the password, those of a PUBLISH the access key."""
    packet = Connect(client_id="c", username="planted", password=Secret(b"planted"))

    events = Door().hear(packet)

    assert text(b"planted") in packet.encode()
    assert "planted" not in repr(events)


def test_both_roles_agree() -> None:
    """What our client's session writes, the door's reads as it was meant, and refuses to the client's ears."""
    client = MqttSession(CONNECT, packet_limit=100)
    door = Door()
    client.open(0.0)
    assert door.hear(client.data_to_send()) == [ConnectReceived(connect=CONNECT, wire=CONNECT.encode())]
    door.session.refuse(ConnectCode.CREDENTIALS)
    list(client.receive_data(door.session.data_to_send(), 0.0))

    assert client.state is State.CLOSED
