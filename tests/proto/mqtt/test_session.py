"""The client's session: who may say what when, receipts, the window, duplicates, keepalive; on a simulated clock."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.mqtt import values
from tests.proto.mqtt.test_framing import cuts, pieces
from tests.proto.mqtt.test_packets import read
from thalovant_proto.errors import CredentialsRefused, LocalProtocolError
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
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
    Will,
)
from thalovant_proto.links.mqtt.session import (
    Connected,
    MessageReceived,
    MqttSession,
    Published,
    SessionClosed,
    SessionEvent,
    State,
    Subscribed,
)
from thalovant_proto.secret import Secret

CONNECT = Connect(client_id="c", username="u", password=Secret(b"p"), will=Will(topic="w", payload=b"gone"))


def all_packets(wire: bytes) -> list[Packet]:
    """The packets that these bytes are."""
    framer = Framer(1 << 20)
    framer.feed(wire)
    packets = []
    while (raw := framer.next_packet()) is not None:
        packets.append(decode(raw.first, raw.body))
    assert framer.buffered == 0
    return packets


class Wire:
    """A session and the packets on both its sides; `now` moves only when a test says so."""

    def __init__(self, connect: Connect = CONNECT, *, packet_limit: int = 1000, **options: Any) -> None:
        limits = MqttLimits(**options.pop("limits", {}))
        self.session = MqttSession(connect, packet_limit=packet_limit, limits=limits, **options)
        self.now = 100.0

    def hear(self, *packets: Packet | bytes) -> list[SessionEvent]:
        """What the session makes of these."""
        wire = b"".join(one if isinstance(one, bytes) else one.encode() for one in packets)
        return list(self.session.receive_data(wire, self.now))

    def said(self) -> list[Packet]:
        """What the session wrote since."""
        return all_packets(self.session.data_to_send())

    def ready(self, *topics: str) -> Wire:
        """Through CONNECT, and SUBSCRIBE if there are topics."""
        self.session.open(self.now)
        assert [Connected()] == self.hear(Connack())
        if topics:
            packet_id = self.session.subscribe([(topic, 1) for topic in topics], self.now)
            granted = (1,) * len(topics)
            assert [Subscribed(packet_id=packet_id, granted=granted)] == self.hear(
                Suback(packet_id=packet_id, codes=granted)
            )
        self.said()
        return self

    def publish(self, payload: bytes = b"x", **options: Any) -> None:
        """Publish on a topic of ours."""
        self.session.publish("up", payload, self.now, **options)

    def pass_time(self, seconds: float) -> list[SessionEvent]:
        """Let time pass as a driver does, from deadline to deadline."""
        events: list[SessionEvent] = []
        end = self.now + seconds
        while (due := self.session.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            events += self.session.handle_timeout(self.now)
            later = self.session.next_timeout
            assert later is None or later > self.now
        self.now = end
        return events


def closed(events: list[SessionEvent]) -> SessionClosed:
    """The end of a session, which is the last event."""
    assert isinstance(events[-1], SessionClosed)
    return events[-1]


# --- opening ----------------------------------------------------------------------------------------------------------


def test_connect_is_what_it_was_made_of() -> None:
    """CONNECT is the first packet out [MQTT-3.1.0-1], and nothing follows before CONNACK."""
    wire = Wire()
    wire.session.open(wire.now)

    assert [CONNECT] == wire.said()
    assert [Connected()] == wire.hear(Connack())
    assert State.READY is wire.session.state


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
    """CONNACK 1, 2, 4, 5: the end, with its code and an error that programs can tell apart."""
    wire = Wire()
    wire.session.open(wire.now)

    end = closed(wire.hear(Connack(code=code)))

    assert code is end.code
    assert isinstance(end.error, error)
    assert end.error is not None
    assert word == end.error.code


def test_an_unavailable_broker_has_refused_nobody() -> None:
    """CONNACK 3 passes: the end, with its code but no error."""
    wire = Wire()
    wire.session.open(wire.now)

    end = closed(wire.hear(Connack(code=ConnectCode.UNAVAILABLE)))

    assert (ConnectCode.UNAVAILABLE, None) == (end.code, end.error)


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
        wire.pass_time(3.5)  # PINGREQ is out
    elif state is State.CLOSED:
        wire.ready().session.disconnect(wire.now)

    events = wire.hear(packet)

    if state not in BROKER_MAY:
        assert events == []
        assert state is wire.session.state
    elif type(packet) in BROKER_MAY[state]:
        assert not any(isinstance(event, SessionClosed) for event in events)
    else:
        end = closed(events)
        assert end.error is not None
        assert "mqtt_protocol_error" == end.error.code
        assert State.CLOSED is wire.session.state


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
    assert "mqtt_protocol_error" == end.error.code


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

    assert MessageReceived(topic="down", payload=b"first", retain=False) == events[0]
    end = closed(events[1:])
    assert end.error is not None
    assert word == end.error.code
    assert peer.session.data_to_send() == b""
    assert peer.hear(good) == []
    assert peer.session.next_timeout is None


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

    assert [
        MessageReceived(topic="down", payload=b"0", retain=False),
        MessageReceived(topic="down", payload=b"1", retain=True),
    ] == events
    assert [Puback(9)] == wire.said()


def test_messages_may_come_before_their_suback() -> None:
    """§3.8.4: the broker may start to send as soon as it has read the SUBSCRIBE."""
    wire = Wire().ready()
    packet_id = wire.session.subscribe([("down/+", 1)], wire.now)

    events = wire.hear(Publish(topic="down/x", payload=b"early"), Suback(packet_id=packet_id, codes=(1,)))

    assert MessageReceived(topic="down/x", payload=b"early", retain=False) == events[0]
    assert Subscribed(packet_id=packet_id, granted=(1,)) == events[1]


def test_a_duplicate_is_acknowledged_and_not_given_on() -> None:
    """MQTT-3.3.1-1: sent again on the connection that had it, a message is acknowledged again and heard once."""
    wire = Wire().ready("down")
    message = Publish(topic="down", payload=b"m", qos=1, packet_id=9)
    wire.hear(message)

    assert wire.hear(evolve(message, dup=True)) == []
    assert wire.hear(evolve(message, dup=True)) == []
    assert [Puback(9), Puback(9), Puback(9)] == wire.said()


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

    assert 1 == len(wire.hear(again))


def test_only_so_many_messages_are_remembered() -> None:
    """Memory is bounded: the duplicate of a message that is long past is heard as a new one."""
    wire = Wire(limits={"remembered": 2}).ready("down")
    messages = [Publish(topic="down", payload=b"m", qos=1, packet_id=packet_id) for packet_id in (1, 2, 3)]
    wire.hear(*messages)

    heard = [len(wire.hear(evolve(message, dup=True))) for message in (messages[1], messages[2], messages[0])]

    assert [0, 0, 1] == heard


def test_a_message_over_the_limit_costs_only_itself() -> None:
    """With `cut_oversize` it is acknowledged and reported without its payload, and the session lives."""
    wire = Wire(packet_limit=20, cut_oversize=True).ready("down")
    large = Publish(topic="down", payload=bytes(100), qos=1, packet_id=9)

    events = wire.hear(large, Publish(topic="down", payload=b"next"), evolve(large, dup=True))

    assert [
        MessageReceived(topic="down", payload=b"", retain=False, missing=100),
        MessageReceived(topic="down", payload=b"next", retain=False),
    ] == events
    assert [Puback(9), Puback(9)] == wire.said()


def test_what_the_owner_does_about_an_event_counts_for_the_next() -> None:
    """Events are made one by one: a limit raised after the first packet holds for the second in the same bytes."""
    wire = Wire(packet_limit=20).ready("down")
    assert 20 == wire.session.packet_limit
    data = Publish(topic="down", payload=b"s").encode() + Publish(topic="down", payload=bytes(100)).encode()

    events = wire.session.receive_data(data, wire.now)

    next(events)
    wire.session.packet_limit = 1000
    assert MessageReceived(topic="down", payload=bytes(100), retain=False) == next(events)
    wire.session.disconnect(wire.now)
    assert [] == list(events)


# --- messages out -----------------------------------------------------------------------------------------------------


def test_a_receipt_comes_with_the_puback() -> None:
    """QoS 1 is `Published` once the broker has it, with its token; QoS 0 never is."""
    wire = Wire().ready()
    wire.publish(b"a", token=1)
    wire.publish(b"b", token=2, qos=0)
    wire.publish(b"c")
    first, second, third = wire.said()

    assert (1, 0, 1) == tuple(packet.qos for packet in (first, second, third) if isinstance(packet, Publish))
    assert isinstance(first, Publish)
    assert isinstance(third, Publish)
    assert [Published(token=1)] == wire.hear(Puback(first.packet_id or 0))
    assert [Published(token=None)] == wire.hear(Puback(third.packet_id or 0))


@given(st.lists(st.tuples(values.payloads, st.sampled_from([0, 1])), max_size=12), st.integers(1, 4), st.data())
def test_the_window_keeps_the_order_and_loses_nothing(
    messages: list[tuple[bytes, int]], window: int, data: st.DataObject
) -> None:
    """However the broker acknowledges, messages leave in order, at most a window of QoS 1 at a time, and each receipt
    comes once."""
    wire = Wire(limits={"window": window}).ready()
    for token, (payload, qos) in enumerate(messages):
        wire.publish(payload, qos=qos, token=token)
    sent: list[Publish] = []
    open_ids: list[int] = []
    receipts: list[int | None] = []
    while True:
        for packet in wire.said():
            assert isinstance(packet, Publish)
            sent.append(packet)
            open_ids += [] if packet.packet_id is None else [packet.packet_id]
        assert len(open_ids) == len(set(open_ids)) <= window
        if not open_ids:
            break
        acknowledged = data.draw(st.sampled_from(open_ids))
        open_ids.remove(acknowledged)
        receipts += [event.token for event in wire.hear(Puback(acknowledged)) if isinstance(event, Published)]

    assert messages == [(packet.payload, packet.qos) for packet in sent]
    assert {token for token, (_, qos) in enumerate(messages) if qos} == set(receipts)
    assert len(receipts) == len(set(receipts))
    assert wire.session.has_room


def test_packet_ids_are_never_shared() -> None:
    """MQTT-2.3.1-2: after 65 535 ids the first free one is next, past those of messages and subscriptions."""
    wire = Wire().ready()
    wire.publish()  # 1
    wire.session.subscribe([("a", 1)], wire.now)  # 2
    wire.said()
    ids = []
    for _ in range(65_535):
        wire.publish()
        (packet,) = wire.said()
        assert isinstance(packet, Publish)
        assert packet.packet_id is not None
        ids.append(packet.packet_id)
        wire.hear(Puback(packet.packet_id))

    assert list(range(3, 65_536)) == ids[:65_533]
    assert [3, 4] == ids[65_533:]


def test_what_waits_for_the_window_is_bounded() -> None:
    """A broker that acknowledges nothing fills a queue, not the memory: the owner hears of it."""
    wire = Wire(limits={"window": 1, "queue": 100}).ready()
    wire.publish(bytes(1000))
    wire.publish(bytes(96))  # and 4 of topic

    with pytest.raises(LocalProtocolError) as caught:
        wire.publish(b"")
    assert "mqtt_queue_full" == caught.value.code
    (first,) = wire.said()
    assert isinstance(first, Publish)
    wire.hear(Puback(first.packet_id or 0))
    wire.publish(b"there is room again")


ILLEGAL_SENDS: list[Any] = [
    (lambda s: s.publish("a/+", b"", 0.0), "MQTT-3.3.2-2"),
    (lambda s: s.publish("", b"", 0.0), "MQTT-4.7.3-1"),
    (lambda s: s.publish("a\0", b"", 0.0), "MQTT-1.5.3-2"),
    (lambda s: s.publish("a", b"", 0.0, qos=2), "QoS 0 or 1"),
    (lambda s: s.subscribe([("a", 2)], 0.0), "QoS 0 or 1"),
    (lambda s: s.subscribe([], 0.0), "MQTT-3.8.3-3"),
    (lambda s: s.subscribe([("a#", 1)], 0.0), "MQTT-4.7.1-2"),
    (lambda s: s.publish("a", bytes(268_435_451), 0.0), "268435455"),
]


@pytest.mark.parametrize(("send", "words"), ILLEGAL_SENDS)
def test_illegal_sends_raise_and_send_nothing(send: Any, words: str) -> None:
    """Our own mistakes are raised, with the clause, before a byte is written."""
    wire = Wire().ready()

    with pytest.raises(LocalProtocolError, match=words):
        send(wire.session)
    assert wire.session.data_to_send() == b""
    assert not wire.session.has_data


@pytest.mark.parametrize("state", [State.IDLE, State.CONNECTING, State.CLOSED])
def test_nothing_is_sent_out_of_turn(state: State) -> None:
    """Publishing and subscribing wait for CONNACK, and end with the session."""
    wire = Wire()
    if state is State.CONNECTING:
        wire.session.open(wire.now)
    elif state is State.CLOSED:
        wire.session.disconnect(wire.now)

    with pytest.raises(LocalProtocolError, match=state.name):
        wire.publish()
    with pytest.raises(LocalProtocolError, match=state.name):
        wire.session.subscribe([("a", 1)], wire.now)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_lost_connection_says_what_never_left() -> None:
    """Tokens that were not drained, or waited for the window, are `unsent`; drained ones may have arrived."""
    wire = Wire(limits={"window": 2}).ready()
    wire.publish(token=1)
    wire.said()
    wire.publish(token=2)
    wire.publish(token=3)
    wire.publish()

    end = wire.session.eof(wire.now)

    assert end is not None
    assert ((2, 3), None, None) == (end.unsent, end.error, end.code)
    assert wire.session.data_to_send() == b""
    assert wire.session.eof(wire.now) is None


def test_disconnect_comes_behind_what_is_queued() -> None:
    """MQTT-3.14.4-2: DISCONNECT is the last packet; what the window held back is reported."""
    wire = Wire(limits={"window": 1}).ready()
    wire.publish(token=1)
    wire.publish(token=2)

    assert (2,) == wire.session.disconnect(wire.now)
    published, goodbye = wire.said()
    assert isinstance(published, Publish)
    assert Disconnect() == goodbye
    assert () == wire.session.disconnect(wire.now)
    assert wire.said() == []
    assert wire.session.next_timeout is None


def test_disconnect_may_precede_connack() -> None:
    """§3.1.4 allows packets right behind CONNECT: the will of a connection that is given up must not be published."""
    wire = Wire()
    wire.session.open(wire.now)
    wire.session.disconnect(wire.now)

    assert [CONNECT, Disconnect()] == wire.said()


def test_leaving_with_the_will_sends_no_disconnect() -> None:
    """MQTT-3.14.4-3 is what `will` avoids."""
    wire = Wire().ready()
    wire.session.disconnect(wire.now, will=True)

    assert wire.said() == []


# --- time -------------------------------------------------------------------------------------------------------------


def test_connack_has_a_deadline() -> None:
    """A broker that accepts and stays silent is given up."""
    wire = Wire(limits={"answer_time": 5})
    wire.session.open(wire.now)

    assert wire.pass_time(4.9) == []
    assert "CONNACK" in closed(wire.pass_time(0.1)).reason
    assert closed([SessionClosed(reason="")]).error is None


def test_each_suback_has_a_deadline() -> None:
    """An answer to one SUBSCRIBE gives the next its own time."""
    wire = Wire(limits={"answer_time": 5}).ready()
    first = wire.session.subscribe([("a", 1)], wire.now)
    wire.session.subscribe([("b", 1)], wire.now)
    wire.pass_time(4)
    wire.hear(Suback(packet_id=first, codes=(0,)))

    assert wire.pass_time(4.9) == []
    assert "SUBACK" in closed(wire.pass_time(0.1)).reason


def test_puback_has_a_deadline_counted_from_the_oldest() -> None:
    """Acknowledging newer messages does not excuse the oldest."""
    wire = Wire(limits={"puback_time": 5, "keepalive": 0}).ready()
    wire.publish()
    wire.pass_time(3)
    wire.publish()
    _, newer = wire.said()
    assert isinstance(newer, Publish)
    wire.hear(Puback(newer.packet_id or 0))

    assert wire.pass_time(1.9) == []
    assert "PUBACK" in closed(wire.pass_time(0.2)).reason


def test_an_idle_session_pings_within_its_keepalive() -> None:
    """MQTT-3.1.2-23: no more than the keepalive between two packets of ours, for ever."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready()
    pings = 0
    last = wire.now

    for _ in range(2000):
        assert wire.pass_time(1) == []
        if packets := wire.said():
            assert [Pingreq()] == packets
            assert wire.now - last <= 60
            pings, last = pings + 1, wire.now
            assert wire.hear(Pingresp()) == []

    assert 2000 // 60 <= pings <= 2000 // 30


def test_a_session_that_only_sends_pings_too() -> None:
    """QoS 0 out is no sign of the broker's life: whoever never hears anything asks."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready()
    packets: list[Packet] = []

    while Pingreq() not in packets:
        wire.publish(qos=0)
        assert wire.pass_time(1) == []
        packets = wire.said()

    assert wire.now <= 100 + 60
    assert wire.hear(Pingresp()) == []


def test_a_frozen_broker_is_noticed() -> None:
    """No PINGRESP in its time, and nothing else: the session ends."""
    wire = Wire(evolve(CONNECT, keepalive=60), limits={"pingresp_time": 10}).ready()

    assert wire.pass_time(54.9) == []
    assert [Pingreq()] == wire.said()
    end = closed(wire.pass_time(0.2))
    assert "PINGRESP" in end.reason
    assert end.error is None


def test_a_busy_broker_is_given_time_for_its_pingresp() -> None:
    """PINGRESP queues behind what the broker is sending: while bytes come, it lives, and we keep our own promise."""
    wire = Wire(evolve(CONNECT, keepalive=60), limits={"pingresp_time": 10}).ready("down")
    wire.pass_time(46)
    asked = wire.said()
    large = Publish(topic="down", payload=bytes(100)).encode()

    for byte in large[:50]:
        wire.hear(bytes((byte,)))
        assert wire.pass_time(9) == []
        asked += wire.said()
    assert [Pingreq()] * (1 + 50 * 9 // 45) == asked
    wire.hear(large[50:], *[Pingresp()] * len(asked))
    assert wire.pass_time(30) == []
    assert "§3.13" in closed(wire.hear(Pingresp())).reason


def test_traffic_both_ways_needs_no_pings() -> None:
    """Whoever talks and hears is alive: the ping moves on."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready("down")

    for _ in range(20):
        assert wire.pass_time(30) == []
        wire.publish(qos=0)
        wire.hear(Publish(topic="down", payload=b""))
        assert Pingreq() not in wire.said()


def test_no_keepalive_no_pings() -> None:
    """Keepalive 0 turns it off (§3.1.2.10)."""
    wire = Wire(evolve(CONNECT, keepalive=0)).ready()

    assert wire.session.next_timeout is None


def test_calling_early_changes_nothing() -> None:
    """`handle_timeout` before its time is harmless, in every state."""
    wire = Wire()
    assert wire.session.handle_timeout(wire.now) == []
    wire.ready("down")
    wire.publish()
    before = wire.session.next_timeout

    assert wire.session.handle_timeout(wire.now) == []
    assert before == wire.session.next_timeout


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
    assert "mqtt_packet_too_large" == end.error.code
    assert wire.session.buffered <= 10_005


def test_events_show_no_topics_and_no_payloads() -> None:
    """Topics hold the access key."""
    assert "planted" not in repr(MessageReceived(topic="planted", payload=b"planted", retain=False))


def test_a_broker_has_no_use_for_the_rest() -> None:
    """The packets that only a client sends, and those of QoS 2, are all in the table of what ends a session."""
    refused = {Connect, Subscribe, Unsubscribe, Unsuback, Pingreq, Disconnect, Pubrec, Pubrel, Pubcomp, Connack}

    assert {type(packet) for packet in values.EXAMPLES} - BROKER_MAY[State.READY] == refused
    assert read(Connack().encode()) == Connack()
