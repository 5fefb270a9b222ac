"""The client's session: who may say what when, and what arrives."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.session_wire import CONNECT, Wire, closed
from thalovant_proto.errors import CredentialsRefused, LocalProtocolError
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.session import (
    Connected,
    MessageReceived,
    MqttSession,
    SessionClosed,
    State,
    Subscribed,
)

# --- opening ----------------------------------------------------------------------------------------------------------


def test_connect_is_what_it_was_made_of() -> None:
    """CONNECT is the first packet out [MQTT-3.1.0-1], and nothing follows before CONNACK."""
    wire = Wire()
    wire.session.open(wire.now)

    assert wire.said() == [CONNECT]
    assert wire.hear(p.Connack()) == [Connected()]
    assert wire.session.state is State.READY


@pytest.mark.parametrize(
    ("code", "word", "error"),
    [
        (p.ConnectCode.VERSION, "mqtt_version_refused", Exception),
        (p.ConnectCode.IDENTIFIER, "mqtt_client_id_refused", Exception),
        (p.ConnectCode.UNAVAILABLE, None, type(None)),
        (p.ConnectCode.CREDENTIALS, "mqtt_credentials_refused", CredentialsRefused),
        (p.ConnectCode.NOT_AUTHORIZED, "mqtt_not_authorized", CredentialsRefused),
    ],
)
def test_refusals_are_typed(code: p.ConnectCode, word: str | None, error: type) -> None:
    """CONNACK 1, 2, 4, 5: an error that programs can tell apart, and what to do about it; 3 passes, and has none."""
    wire = Wire()
    wire.session.open(wire.now)

    end = closed(wire.hear(p.Connack(code=code)))

    assert end.code is code
    assert isinstance(end.error, error)
    assert getattr(end.error, "code", None) == word
    assert end.error is None or end.error.hint


def test_sessions_are_clean() -> None:
    """A kept session would repeat messages after a reconnect, so there is none."""
    with pytest.raises(LocalProtocolError):
        MqttSession(evolve(CONNECT, clean_session=False), packet_limit=1)


def test_a_session_opens_once() -> None:
    """A second CONNECT would be a violation of ours [MQTT-3.1.0-2]."""
    wire = Wire().ready()

    with pytest.raises(LocalProtocolError):
        wire.session.open(wire.now)


# --- every state × packet ---------------------------------------------------------------------------------------------

BROKER_MAY: dict[State, set[type]] = {
    State.CONNECTING: {p.Connack},
    State.READY: {p.Publish, p.Puback, p.Suback, p.Pingresp},
}
SENT_BY_A_BROKER: list[p.Packet] = [
    *(packet for packet in values.EXAMPLES if not isinstance(packet, (p.Publish, p.Puback, p.Suback))),
    p.Publish(topic="down", payload=b"p"),
    p.Puback(2),
    p.Suback(packet_id=3, codes=(1,)),
]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("packet", SENT_BY_A_BROKER, ids=lambda packet: type(packet).__name__)
def test_every_state_knows_every_packet(state: State, packet: p.Packet) -> None:
    """A packet is legal in a state, or ends the session as the broker's fault; before and after it is not heard."""
    wire = Wire(evolve(CONNECT, keepalive=4))
    if state is State.CONNECTING:
        wire.session.open(wire.now)
    elif state is State.READY:
        wire.ready("down")  # packet id 1
        wire.publish(token=5)  # packet id 2
        wire.session.subscribe([("more", 1)], wire.now)  # packet id 3
        wire.pass_time(3.5)  # PINGREQ is due
        wire.said()
    elif state is State.CLOSED:
        wire.ready().session.disconnect(wire.now)

    events = wire.hear(packet)

    if state not in BROKER_MAY:
        assert events == []
        assert wire.session.state is state
    elif type(packet) in BROKER_MAY[state]:
        assert not any(isinstance(event, SessionClosed) for event in events)
    else:
        end = closed(events)
        assert end.error.code == "mqtt_protocol_error"
        assert wire.session.state is State.CLOSED


VIOLATIONS: list[Any] = [
    (p.Puback(7), "MQTT-2.3.1-6"),
    (p.Suback(packet_id=7, codes=(1,)), "MQTT-3.8.4-2"),
    (p.Suback(packet_id=1, codes=(1,)), "MQTT-3.8.4-2"),  # answered already
    (p.Pingresp(), "§3.13"),
    (p.Publish(topic="elsewhere", payload=b""), "MQTT-3.3.2-3"),
    (p.Publish(topic="down", payload=b"", qos=2, packet_id=1), "MQTT-3.8.4-6"),
]


@pytest.mark.parametrize(("packet", "clause"), VIOLATIONS)
def test_answers_without_questions_end_the_session(packet: p.Packet, clause: str) -> None:
    """What nobody asked for is the broker's fault, and says so by clause."""
    end = closed(Wire().ready("down").hear(packet))

    assert clause in end.reason
    assert end.error.code == "mqtt_protocol_error"


@pytest.mark.parametrize(
    ("codes", "clause"), [((1,), "MQTT-3.8.4-5"), ((1, 1, 1), "MQTT-3.8.4-5"), ((2, 1), "MQTT-3.8.4-6")]
)
def test_a_suback_answers_what_was_asked(codes: tuple[int, ...], clause: str) -> None:
    """One code for each filter, and none that grants more than was asked for. A clean session is never present."""
    wire = Wire().ready()
    packet_id = wire.session.subscribe([("a", 1), ("b", 1)], wire.now)
    assert clause in closed(wire.hear(p.Suback(packet_id=packet_id, codes=codes))).reason

    wire = Wire()
    wire.session.open(wire.now)
    assert "MQTT-3.2.2-1" in closed(wire.hear(p.Connack(session_present=True))).reason


MALFORMED = [
    (b"\x36\x05\0\1t\0\1", "mqtt_malformed"),  # QoS 3
    (b"\x32\x05\0\1t\0\0", "mqtt_malformed"),  # packet id 0
    (b"\x30\x03\0\1\0", "mqtt_malformed"),  # NUL in the topic
    (b"\xff", "mqtt_malformed"),
    (b"\x30\xff\xff\xff\x7f", "mqtt_packet_too_large"),  # 268 435 455 bytes
]


@pytest.mark.parametrize(("wire", "word"), MALFORMED)
def test_malformed_packets_end_the_session_after_what_came_before(wire: bytes, word: str) -> None:
    """The fault is the last event; nothing before it is lost, and nothing after it is heard."""
    peer = Wire().ready("down")
    good = p.Publish(topic="down", payload=b"first")

    events = peer.hear(good, wire, good)

    assert events[0] == MessageReceived(topic="down", payload=b"first", retain=False)
    end = closed(events[1:])
    assert end.error.code == word
    assert peer.session.data_to_send() == b""
    assert peer.hear(good) == []
    assert peer.session.next_timeout is None


@pytest.mark.parametrize(
    ("wire", "what", "hint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not MQTT answers (it looks like HTTP)", "port"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "not MQTT answers (it looks like TLS)", "port"),
        (b"SSH-2.0-x\r\n", "not MQTT answers (it looks like SSH)", "port"),
        (b"\xff", "something that is not MQTT answers", "port"),
        (b"\x20\x02\x00\x86", "return code", "another version"),  # as MQTT 5 says that a password is wrong
    ],
)
def test_what_answers_connect_and_is_no_broker_is_told_so(wire: bytes, what: str, hint: str) -> None:
    """Another service on that port, TLS on a plain one, another version: the fault says which, the hint what to do."""
    peer = Wire()
    peer.session.open(peer.now)

    end = closed(peer.hear(wire))

    assert what in str(end.error)
    assert hint in end.error.hint


# --- messages in ------------------------------------------------------------------------------------------------------


def test_messages_arrive_and_those_of_qos_1_are_acknowledged() -> None:
    """MQTT-3.3.4-1: PUBACK for QoS 1, nothing for QoS 0."""
    wire = Wire().ready("down")

    events = wire.hear(
        p.Publish(topic="down", payload=b"0"), p.Publish(topic="down", payload=b"1", qos=1, packet_id=9, retain=True)
    )

    assert events == [
        MessageReceived(topic="down", payload=b"0", retain=False),
        MessageReceived(topic="down", payload=b"1", retain=True),
    ]
    assert wire.said() == [p.Puback(9)]


def test_a_broker_that_reads_no_receipts_does_not_fill_the_memory() -> None:
    """There are 65 535 packet ids, so that as many PUBACKs can wait, of a broker that keeps to the rules."""
    wire = Wire().ready("down")
    message = p.Publish(topic="down", payload=b"", qos=1, packet_id=9).encode()

    wire.hear(message)
    assert wire.said() == [p.Puback(9)]  # it reads: there is room for all again
    wire.hear(message * p.MAX_ID)
    assert "MQTT-2.3.1-4" in closed(wire.hear(message)).reason


def test_messages_may_come_before_their_suback() -> None:
    """§3.8.4: the broker may start to send as soon as it has read the SUBSCRIBE."""
    wire = Wire().ready()
    packet_id = wire.session.subscribe([("down/+", 1)], wire.now)

    events = wire.hear(p.Publish(topic="down/x", payload=b"early"), p.Suback(packet_id=packet_id, codes=(1,)))

    assert events[0] == MessageReceived(topic="down/x", payload=b"early", retain=False)
    assert events[1] == Subscribed(packet_id=packet_id, granted=(1,))


def test_a_duplicate_is_acknowledged_and_not_given_on() -> None:
    """MQTT-3.3.1-1: sent again on the connection that had it, a message is acknowledged again and heard once."""
    wire = Wire().ready("down")
    message = p.Publish(topic="down", payload=b"m", qos=1, packet_id=9)
    wire.hear(message)

    assert wire.hear(evolve(message, dup=True)) == []
    assert wire.hear(evolve(message, dup=True)) == []
    assert wire.said() == [p.Puback(9), p.Puback(9), p.Puback(9)]


@pytest.mark.parametrize(
    "again",
    [
        p.Publish(topic="down", payload=b"m", qos=1, packet_id=9),  # no flag: a new message with equal bytes
        p.Publish(topic="down", payload=b"M", qos=1, packet_id=9, dup=True),
        p.Publish(topic="down2", payload=b"m", qos=1, packet_id=9, dup=True),
        p.Publish(topic="down", payload=b"m", qos=1, packet_id=8, dup=True),
    ],
)
def test_what_is_no_duplicate_is_heard(again: p.Publish) -> None:
    """MQTT-4.3.2-2: an acknowledged id is free for another message. Nothing is lost for looking like an old one."""
    wire = Wire().ready("down", "down2")
    wire.hear(p.Publish(topic="down", payload=b"m", qos=1, packet_id=9))

    assert len(wire.hear(again)) == 1


def test_only_so_many_messages_are_remembered() -> None:
    """Memory is bounded: the duplicate of a message that is long past is heard as a new one."""
    wire = Wire().ready("down")
    messages = [p.Publish(topic="down", payload=b"m", qos=1, packet_id=packet_id) for packet_id in range(1, 130)]
    wire.hear(*messages)

    heard = [len(wire.hear(evolve(message, dup=True))) for message in (messages[1], messages[-1], messages[0])]

    assert heard == [0, 0, 1]


def test_a_message_over_the_limit_costs_only_itself() -> None:
    """With `cut_oversize` it is acknowledged and reported without its payload, and the session lives."""
    wire = Wire(packet_limit=20, cut_oversize=True).ready("down")
    large = p.Publish(topic="down", payload=bytes(100), qos=1, packet_id=9)

    events = wire.hear(large, p.Publish(topic="down", payload=b"next"), evolve(large, dup=True))

    assert events == [
        MessageReceived(topic="down", payload=b"", retain=False, missing=100),
        MessageReceived(topic="down", payload=b"next", retain=False),
    ]
    assert wire.said() == [p.Puback(9), p.Puback(9)]


def test_what_the_owner_does_about_an_event_counts_for_the_next() -> None:
    """Events are made one by one: a limit raised after the first packet holds for the second in the same bytes."""
    wire = Wire(packet_limit=20).ready("down")
    assert wire.session.packet_limit == 20
    data = p.Publish(topic="down", payload=b"s").encode() + p.Publish(topic="down", payload=bytes(100)).encode()

    events = wire.session.receive_data(data, wire.now)

    next(events)
    wire.session.packet_limit = 1000
    assert next(events) == MessageReceived(topic="down", payload=bytes(100), retain=False)
    wire.session.disconnect(wire.now)
    assert list(events) == []


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_events_show_no_topics_and_no_payloads() -> None:
    """Topics hold the access key."""
    assert "planted" not in repr(MessageReceived(topic="planted", payload=b"planted", retain=False))


def test_a_broker_has_no_use_for_the_rest() -> None:
    """The packets that only a client sends, and those of QoS 2, are all in the table of what ends a session."""
    refused = {
        p.Connect,
        p.Subscribe,
        p.Unsubscribe,
        p.Unsuback,
        p.Pingreq,
        p.Disconnect,
        p.Pubrec,
        p.Pubrel,
        p.Pubcomp,
        p.Connack,
    }

    assert {type(packet) for packet in values.EXAMPLES} - BROKER_MAY[State.READY] == refused
