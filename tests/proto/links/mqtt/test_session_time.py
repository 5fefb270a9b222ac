"""The client's session on a simulated clock: deadlines and keepalive."""

from __future__ import annotations

from attrs import evolve

from tests.proto.links.mqtt.session_wire import CONNECT, Wire, closed
from thalovant_proto.limits import SLOWEST
from thalovant_proto.links.mqtt import packets as p


def test_connack_has_a_deadline() -> None:
    """A broker that accepts and stays silent is given up; without a keepalive (§3.1.2.10) there is no other timer."""
    wire = Wire(evolve(CONNECT, keepalive=0), limits={"answer_time": 5})
    wire.session.open(wire.now)

    assert wire.pass_time(4.9) == []
    end = closed(wire.pass_time(0.1))
    assert "CONNACK" in end.reason
    assert end.error is None
    assert Wire(evolve(CONNECT, keepalive=0)).ready().session.next_timeout is None


def test_each_suback_has_a_deadline() -> None:
    """An answer to one SUBSCRIBE gives the next its own time; a newer PUBACK does not excuse the oldest."""
    wire = Wire(limits={"answer_time": 5}).ready()
    first = wire.session.subscribe([("a", 1)], wire.now)
    wire.session.subscribe([("b", 1)], wire.now)
    wire.pass_time(4)
    wire.hear(p.Suback(packet_id=first, codes=(0,)))
    assert wire.pass_time(4.9) == []
    assert "SUBACK" in closed(wire.pass_time(0.1)).reason

    wire = Wire(limits={"keepalive": 0}).ready()
    wire.publish()
    wire.pass_time(28)
    wire.publish()
    wire.hear(p.Puback(wire.said()[1].packet_id))
    assert wire.pass_time(1.9) == []
    assert "PUBACK" in closed(wire.pass_time(0.2)).reason


def test_a_slow_line_has_its_time() -> None:
    """Megabytes take a while: PUBACK is due by what is on its way, so that a window of chunks may pass a thin line."""
    wire = Wire().ready()
    for _ in range(10):
        wire.publish(bytes(SLOWEST))
    sent = [packet.packet_id for packet in wire.said() if isinstance(packet, p.Publish)]

    for packet_id in sent[:9]:
        assert wire.pass_time(1) == []
        wire.hear(p.Puback(packet_id or 0))

    assert wire.pass_time(30.9) == []
    assert "PUBACK" in closed(wire.pass_time(0.2)).reason


def test_a_pingresp_may_come_behind_megabytes() -> None:
    """The broker reads PINGREQ behind what is on its way to it; once that is there, the deadline is the usual one."""
    wire = Wire(evolve(CONNECT, keepalive=20), limits={"answer_time": 5}).ready()
    wire.publish(bytes(30 * SLOWEST))
    wire.pass_time(44)
    published, *pings = wire.said()
    assert isinstance(published, p.Publish)
    assert pings

    assert wire.hear(p.Puback(published.packet_id or 0), *[p.Pingresp()] * len(pings)) != []
    wire.pass_time(2)
    assert wire.said() == [p.Pingreq()]
    assert "PINGRESP" in closed(wire.pass_time(5)).reason


def test_an_idle_session_pings_within_its_keepalive() -> None:
    """MQTT-3.1.2-23: no more than the keepalive between two packets of ours, for ever."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready()
    pings = 0
    last = wire.now

    for _ in range(2000):
        assert wire.pass_time(1) == []
        if packets := wire.said():
            assert packets == [p.Pingreq()]
            assert wire.now - last <= 60
            pings, last = pings + 1, wire.now
            assert wire.hear(p.Pingresp()) == []

    assert 2000 // 60 <= pings <= 2000 // 30


def test_a_session_that_only_sends_pings_too() -> None:
    """QoS 0 out is no sign of the broker's life: whoever never hears anything asks."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready()
    packets: list[p.Packet] = []

    while p.Pingreq() not in packets:
        wire.publish(qos=0)
        assert wire.pass_time(1) == []
        packets = wire.said()

    assert wire.now <= 100 + 60
    assert wire.hear(p.Pingresp()) == []


def test_a_frozen_broker_is_noticed() -> None:
    """No PINGRESP in its time, and nothing else: the session ends."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready()

    assert wire.pass_time(54.9) == []
    assert wire.said() == [p.Pingreq()]
    end = closed(wire.pass_time(0.2))
    assert "PINGRESP" in end.reason
    assert end.error is None


def test_a_busy_broker_is_given_time_for_its_pingresp() -> None:
    """PINGRESP queues behind what the broker is sending: while bytes come, it lives, and we keep our own promise."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready("down")
    wire.pass_time(46)
    asked = wire.said()
    large = p.Publish(topic="down", payload=bytes(100)).encode()

    for byte in large[:50]:
        wire.hear(bytes((byte,)))
        assert wire.pass_time(9) == []
        asked += wire.said()
    assert asked == [p.Pingreq()] * (1 + 50 * 9 // 45)
    wire.hear(large[50:], *[p.Pingresp()] * len(asked))
    assert wire.pass_time(30) == []
    assert "§3.13" in closed(wire.hear(p.Pingresp())).reason


def test_traffic_both_ways_needs_no_pings() -> None:
    """Whoever talks and hears is alive: the ping moves on."""
    wire = Wire(evolve(CONNECT, keepalive=60)).ready("down")

    for _ in range(20):
        assert wire.pass_time(30) == []
        wire.publish(qos=0)
        wire.hear(p.Publish(topic="down", payload=b""))
        assert p.Pingreq() not in wire.said()
