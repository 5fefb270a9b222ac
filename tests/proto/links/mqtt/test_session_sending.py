"""The client's session: receipts, the window, packet ids, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.session_wire import CONNECT, Wire
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.session import (
    Published,
    State,
)

# --- messages out -----------------------------------------------------------------------------------------------------


def test_a_receipt_comes_with_the_puback() -> None:
    """QoS 1 is `Published` once the broker has it, with its token; QoS 0 never is."""
    wire = Wire().ready()
    wire.publish(b"a", token=1)
    wire.publish(b"b", token=2, qos=0)
    wire.publish(b"c")
    first, second, third = wire.said()

    assert tuple(packet.qos for packet in (first, second, third) if isinstance(packet, p.Publish)) == (1, 0, 1)
    assert isinstance(first, p.Publish)
    assert isinstance(third, p.Publish)
    assert wire.hear(p.Puback(first.packet_id or 0)) == [Published(token=1)]
    assert wire.hear(p.Puback(third.packet_id or 0)) == [Published(token=None)]


@given(st.lists(st.tuples(values.payloads, st.sampled_from([0, 1])), max_size=12), st.integers(1, 4), st.data())
def test_the_window_keeps_the_order_and_loses_nothing(
    messages: list[tuple[bytes, int]], window: int, data: st.DataObject
) -> None:
    """However the broker acknowledges, messages leave in order, at most a window of QoS 1 at a time, and each receipt
    comes once."""
    wire = Wire(limits={"window": window}).ready()
    for token, (payload, qos) in enumerate(messages):
        wire.publish(payload, qos=qos, token=token)
    sent: list[p.Publish] = []
    open_ids: list[int] = []
    receipts: list[int | None] = []
    while True:
        for packet in wire.said():
            assert isinstance(packet, p.Publish)
            sent.append(packet)
            open_ids += [] if packet.packet_id is None else [packet.packet_id]
        assert len(open_ids) == len(set(open_ids)) <= window
        if not open_ids:
            break
        acknowledged = data.draw(st.sampled_from(open_ids))
        open_ids.remove(acknowledged)
        receipts += [event.token for event in wire.hear(p.Puback(acknowledged)) if isinstance(event, Published)]

    assert messages == [(packet.payload, packet.qos) for packet in sent]
    assert {token for token, (_, qos) in enumerate(messages) if qos} == set(receipts)
    assert len(receipts) == len(set(receipts))
    assert wire.session.has_room


def test_packet_ids_are_never_shared() -> None:
    """MQTT-2.3.1-2: after 65 535 ids the first free one is next, past those of messages and subscriptions."""
    wire = Wire(limits={"window": 4096}).ready()
    wire.publish()  # 1
    wire.session.subscribe([("a", 1)], wire.now)  # 2
    for last in range(3 + 4094, p.MAX_ID, 4094):
        for _ in range(4094):
            wire.publish()
        wire.hear(*(p.Puback(number) for number in range(last - 4094, last)))

    wire.session.data_to_send()
    for _ in range(p.MAX_ID - last + 2):
        wire.publish()

    assert [packet.packet_id for packet in wire.said()] == [*range(last, p.MAX_ID + 1), 3]


def test_what_waits_for_the_window_is_bounded() -> None:
    """A broker that acknowledges nothing fills a queue, not the memory: the owner hears of it."""
    wire = Wire(limits={"window": 1, "queue": 100}).ready()
    wire.publish(bytes(1000))
    wire.publish(bytes(96))  # and 4 of topic

    with pytest.raises(LocalProtocolError) as caught:
        wire.publish(b"")
    assert caught.value.code == "mqtt_queue_full"
    (first,) = wire.said()
    assert isinstance(first, p.Publish)
    wire.hear(p.Puback(first.packet_id or 0))
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

    assert (end.unsent, end.error, end.code) == ((2, 3), None, None)
    assert wire.session.data_to_send() == b""
    assert wire.session.eof(wire.now) is None


def test_disconnect_comes_behind_what_is_queued() -> None:
    """MQTT-3.14.4-2: DISCONNECT is the last packet; what the window held back is reported."""
    wire = Wire(limits={"window": 1}).ready()
    wire.publish(token=1)
    wire.publish(token=2)

    assert wire.session.disconnect(wire.now) == (2,)
    published, goodbye = wire.said()
    assert isinstance(published, p.Publish)
    assert goodbye == p.Disconnect()
    assert wire.session.disconnect(wire.now) == ()
    assert wire.said() == []
    assert wire.session.next_timeout is None


def test_disconnect_may_precede_connack_or_be_left_out() -> None:
    """§3.1.4: the will of a connection that is given up must not be published; MQTT-3.14.4-3 is what `will` avoids."""
    wire, willing = Wire(), Wire().ready()
    wire.session.open(wire.now)
    wire.session.disconnect(wire.now)
    willing.session.disconnect(willing.now, will=True)

    assert wire.said() == [CONNECT, p.Disconnect()]
    assert willing.said() == []
