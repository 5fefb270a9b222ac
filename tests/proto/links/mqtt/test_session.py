"""The client's session: who may say what when, and what arrives."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.session_wire import CONNECT, Wire, closed
from tests.proto.links.mqtt.values import cuts, pieces
from thalovant_proto.errors import CredentialsRefused, LocalProtocolError
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.packets import (
    MAX_ID,
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from thalovant_proto.links.mqtt.session import (
    Connected,
    MessageReceived,
    MqttSession,
    SessionClosed,
    SessionEvent,
    State,
    Subscribed,
)

# --- opening ----------------------------------------------------------------------------------------------------------


def test_connect_is_what_it_was_made_of() -> None:
    """CONNECT is the first packet out [MQTT-3.1.0-1], and nothing follows before CONNACK."""
    wire = Wire()
    wire.session.open(wire.now)

    assert wire.said() == [CONNECT]
    assert wire.hear(Connack()) == [Connected()]
    assert wire.session.state is State.READY


@pytest.mark.parametrize(
    ("code", "word", "error"),
    [
        (ConnectCode.VERSION, "mqtt_version_refused", Exception),
        (ConnectCode.IDENTIFIER, "mqtt_client_id_refused", Exception),
        (ConnectCode.CREDENTIALS, "mqtt_credentials_refused", CredentialsRefused),
        (ConnectCode.NOT_AUTHORIZED, "mqtt_not_authorized", CredentialsRefused),
    ],
)
def test_refusals_are_typed(code: ConnectCode, word: str, error: type) -> None:
    """CONNACK 1, 2, 4, 5: the end, with its code, an error that programs can tell apart, and what to do about it."""
    wire = Wire()
    wire.session.open(wire.now)

    end = closed(wire.hear(Connack(code=code)))

    assert end.code is code
    assert isinstance(end.error, error)
    assert end.error is not None
    assert end.error.code == word
    assert end.error.hint


def test_an_unavailable_broker_has_refused_nobody() -> None:
    """CONNACK 3 passes: the end, with its code but no error."""
    wire = Wire()
    wire.session.open(wire.now)

    end = closed(wire.hear(Connack(code=ConnectCode.UNAVAILABLE)))

    assert (end.code, end.error) == (ConnectCode.UNAVAILABLE, None)


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
    State.CONNECTING: {Connack},
    State.READY: {Publish, Puback, Suback, Pingresp},
}
SENT_BY_A_BROKER: list[Packet] = [
    *(packet for packet in values.EXAMPLES if not isinstance(packet, (Publish, Puback, Suback))),
    Publish(topic="down", payload=b"p"),
    Puback(2),
    Suback(packet_id=3, codes=(1,)),
]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("packet", SENT_BY_A_BROKER, ids=lambda packet: type(packet).__name__)
def test_every_state_knows_every_packet(state: State, packet: Packet) -> None:
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
        assert end.error is not None
        assert end.error.code == "mqtt_protocol_error"
        assert wire.session.state is State.CLOSED


VIOLATIONS: list[Any] = [
    (Puback(7), "MQTT-2.3.1-6"),
    (Suback(packet_id=7, codes=(1,)), "MQTT-3.8.4-2"),
    (Suback(packet_id=1, codes=(1,)), "MQTT-3.8.4-2"),  # answered already
    (Pingresp(), "§3.13"),
    (Publish(topic="elsewhere", payload=b""), "MQTT-3.3.2-3"),
    (Publish(topic="down", payload=b"", qos=2, packet_id=1), "MQTT-3.8.4-6"),
]


@pytest.mark.parametrize(("packet", "clause"), VIOLATIONS)
def test_answers_without_questions_end_the_session(packet: Packet, clause: str) -> None:
    """What nobody asked for is the broker's fault, and says so by clause."""
    end = closed(Wire().ready("down").hear(packet))

    assert clause in end.reason
    assert end.error is not None
    assert end.error.code == "mqtt_protocol_error"


@pytest.mark.parametrize(
    ("codes", "clause"), [((1,), "MQTT-3.8.4-5"), ((1, 1, 1), "MQTT-3.8.4-5"), ((2, 1), "MQTT-3.8.4-6")]
)
def test_a_suback_answers_what_was_asked(codes: tuple[int, ...], clause: str) -> None:
    """One code for each filter, and none that grants more than was asked for."""
    wire = Wire().ready()
    packet_id = wire.session.subscribe([("a", 1), ("b", 1)], wire.now)

    assert clause in closed(wire.hear(Suback(packet_id=packet_id, codes=codes))).reason


def test_a_connack_for_a_kept_session_is_a_violation() -> None:
    """MQTT-3.2.2-1: a clean session is never present."""
    wire = Wire()
    wire.session.open(wire.now)

    assert "MQTT-3.2.2-1" in closed(wire.hear(Connack(session_present=True))).reason


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
    good = Publish(topic="down", payload=b"first")

    events = peer.hear(good, wire, good)

    assert events[0] == MessageReceived(topic="down", payload=b"first", retain=False)
    end = closed(events[1:])
    assert end.error is not None
    assert end.error.code == word
    assert peer.session.data_to_send() == b""
    assert peer.hear(good) == []
    assert peer.session.next_timeout is None


@pytest.mark.parametrize("wire", [b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"SSH-2.0-x\r\n"])
def test_what_answers_connect_and_is_no_broker_is_told_so(wire: bytes) -> None:
    """Another service on that port, or TLS on a plain one: the fault has the hint that it is the wrong port."""
    peer = Wire()
    peer.session.open(peer.now)

    end = closed(peer.hear(wire))

    assert end.error is not None
    assert "port" in end.error.hint


@given(st.binary(max_size=200), cuts)
def test_garbage_is_the_brokers_fault(data: bytes, cuts: list[int]) -> None:
    """Whatever arrives, nothing is raised, however it is cut, and what is buffered stays under the limit."""
    peer = Wire(packet_limit=50).ready("down")
    events: list[SessionEvent] = []

    for piece in pieces(data, cuts):
        events += peer.hear(piece)
        assert peer.session.buffered <= 50 + 5 + len(piece)

    assert all(not isinstance(event, SessionClosed) for event in events[:-1])


# --- messages in ------------------------------------------------------------------------------------------------------


def test_messages_arrive_and_those_of_qos_1_are_acknowledged() -> None:
    """MQTT-3.3.4-1: PUBACK for QoS 1, nothing for QoS 0."""
    wire = Wire().ready("down")

    events = wire.hear(
        Publish(topic="down", payload=b"0"), Publish(topic="down", payload=b"1", qos=1, packet_id=9, retain=True)
    )

    assert events == [
        MessageReceived(topic="down", payload=b"0", retain=False),
        MessageReceived(topic="down", payload=b"1", retain=True),
    ]
    assert wire.said() == [Puback(9)]


def test_a_broker_that_reads_no_receipts_does_not_fill_the_memory() -> None:
    """There are 65 535 packet ids, so that as many PUBACKs can wait, of a broker that keeps to the rules."""
    wire = Wire().ready("down")
    message = Publish(topic="down", payload=b"", qos=1, packet_id=9).encode()

    wire.hear(message)
    assert wire.said() == [Puback(9)]  # it reads: there is room for all again
    wire.hear(message * MAX_ID)
    assert "MQTT-2.3.1-4" in closed(wire.hear(message)).reason


def test_messages_may_come_before_their_suback() -> None:
    """§3.8.4: the broker may start to send as soon as it has read the SUBSCRIBE."""
    wire = Wire().ready()
    packet_id = wire.session.subscribe([("down/+", 1)], wire.now)

    events = wire.hear(Publish(topic="down/x", payload=b"early"), Suback(packet_id=packet_id, codes=(1,)))

    assert events[0] == MessageReceived(topic="down/x", payload=b"early", retain=False)
    assert events[1] == Subscribed(packet_id=packet_id, granted=(1,))


def test_a_duplicate_is_acknowledged_and_not_given_on() -> None:
    """MQTT-3.3.1-1: sent again on the connection that had it, a message is acknowledged again and heard once."""
    wire = Wire().ready("down")
    message = Publish(topic="down", payload=b"m", qos=1, packet_id=9)
    wire.hear(message)

    assert wire.hear(evolve(message, dup=True)) == []
    assert wire.hear(evolve(message, dup=True)) == []
    assert wire.said() == [Puback(9), Puback(9), Puback(9)]


@pytest.mark.parametrize(
    "again",
    [
        Publish(topic="down", payload=b"m", qos=1, packet_id=9),  # no flag: a new message with equal bytes
        Publish(topic="down", payload=b"M", qos=1, packet_id=9, dup=True),
        Publish(topic="down2", payload=b"m", qos=1, packet_id=9, dup=True),
        Publish(topic="down", payload=b"m", qos=1, packet_id=8, dup=True),
    ],
)
def test_what_is_no_duplicate_is_heard(again: Publish) -> None:
    """MQTT-4.3.2-2: an acknowledged id is free for another message. Nothing is lost for looking like an old one."""
    wire = Wire().ready("down", "down2")
    wire.hear(Publish(topic="down", payload=b"m", qos=1, packet_id=9))

    assert len(wire.hear(again)) == 1


def test_only_so_many_messages_are_remembered() -> None:
    """Memory is bounded: the duplicate of a message that is long past is heard as a new one."""
    wire = Wire().ready("down")
    messages = [Publish(topic="down", payload=b"m", qos=1, packet_id=packet_id) for packet_id in range(1, 130)]
    wire.hear(*messages)

    heard = [len(wire.hear(evolve(message, dup=True))) for message in (messages[1], messages[-1], messages[0])]

    assert heard == [0, 0, 1]


def test_a_message_over_the_limit_costs_only_itself() -> None:
    """With `cut_oversize` it is acknowledged and reported without its payload, and the session lives."""
    wire = Wire(packet_limit=20, cut_oversize=True).ready("down")
    large = Publish(topic="down", payload=bytes(100), qos=1, packet_id=9)

    events = wire.hear(large, Publish(topic="down", payload=b"next"), evolve(large, dup=True))

    assert events == [
        MessageReceived(topic="down", payload=b"", retain=False, missing=100),
        MessageReceived(topic="down", payload=b"next", retain=False),
    ]
    assert wire.said() == [Puback(9), Puback(9)]


def test_what_the_owner_does_about_an_event_counts_for_the_next() -> None:
    """Events are made one by one: a limit raised after the first packet holds for the second in the same bytes."""
    wire = Wire(packet_limit=20).ready("down")
    assert wire.session.packet_limit == 20
    data = Publish(topic="down", payload=b"s").encode() + Publish(topic="down", payload=bytes(100)).encode()

    events = wire.session.receive_data(data, wire.now)

    next(events)
    wire.session.packet_limit = 1000
    assert next(events) == MessageReceived(topic="down", payload=bytes(100), retain=False)
    wire.session.disconnect(wire.now)
    assert list(events) == []


# --- any cut ----------------------------------------------------------------------------------------------------------

BROKER_SAYS = st.lists(
    st.one_of(
        st.builds(Publish, topic=st.sampled_from(["down", "other"]), payload=values.payloads),
        st.builds(
            Publish,
            topic=st.just("down"),
            payload=values.payloads,
            qos=st.just(1),
            packet_id=st.integers(1, 3),
            dup=st.booleans(),
        ),
        st.integers(1, 6).map(Puback),
        st.just(Suback(packet_id=1, codes=(1, 1))),
        st.just(Pingresp()),
        st.just(Unsuback(1)),
    ),
    max_size=10,
)


@given(BROKER_SAYS, cuts)
def test_any_cut_gives_the_same_events_and_the_same_output(packets: list[Packet], cuts: list[int]) -> None:
    """One byte at a time, in pieces or whole: same events, same bytes out."""
    data = Connack().encode() + b"".join(packet.encode() for packet in packets)

    def run(parts: list[bytes]) -> tuple[list[SessionEvent], bytes]:
        wire = Wire(limits={"window": 2})
        wire.session.open(wire.now)
        events: list[SessionEvent] = []
        for part in parts:
            for event in wire.session.receive_data(part, wire.now):
                events.append(event)
                if isinstance(event, Connected):
                    wire.session.subscribe([("down", 1), ("other", 1)], wire.now)
                    for token in range(4):
                        wire.publish(token=token)
        out = wire.session.data_to_send()
        return [evolve(e, error=None) if isinstance(e, SessionClosed) else e for e in events], out

    assert run([data]) == run(pieces(data, cuts)) == run([bytes((byte,)) for byte in data])


def test_a_declared_quarter_gigabyte_costs_nothing() -> None:
    """Remaining length 268 435 455: refused at its header, nothing held."""
    wire = Wire().ready("down")

    end = closed(wire.hear(b"\x30" + encode_length(268_435_455) + bytes(10_000)))

    assert end.error is not None
    assert end.error.code == "mqtt_packet_too_large"
    assert wire.session.buffered <= 10_005


def test_events_show_no_topics_and_no_payloads() -> None:
    """Topics hold the access key."""
    assert "planted" not in repr(MessageReceived(topic="planted", payload=b"planted", retain=False))


def test_a_broker_has_no_use_for_the_rest() -> None:
    """The packets that only a client sends, and those of QoS 2, are all in the table of what ends a session."""
    refused = {Connect, Subscribe, Unsubscribe, Unsuback, Pingreq, Disconnect, Pubrec, Pubrel, Pubcomp, Connack}

    assert {type(packet) for packet in values.EXAMPLES} - BROKER_MAY[State.READY] == refused
