"""A session and the packets on both its sides, on the clock of the test."""

from __future__ import annotations

from typing import Any

from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.session import (
    Connected,
    MqttSession,
    SessionClosed,
    SessionEvent,
    Subscribed,
)
from thalovant_proto.secret import Secret

CONNECT = p.Connect(client_id="c", username="u", password=Secret(b"p"), will=p.Will(topic="w", payload=b"gone"))


def all_packets(wire: bytes) -> list[p.Packet]:
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

    def __init__(self, connect: p.Connect = CONNECT, *, packet_limit: int = 1000, **options: Any) -> None:
        limits = MqttLimits(**options.pop("limits", {}))
        self.session = MqttSession(connect, packet_limit=packet_limit, limits=limits, **options)
        self.now = 100.0

    def hear(self, *packets: p.Packet | bytes) -> list[SessionEvent]:
        """What the session makes of these."""
        wire = b"".join(one if isinstance(one, bytes) else one.encode() for one in packets)
        return list(self.session.receive_data(wire, self.now))

    def said(self) -> list[p.Packet]:
        """What the session wrote since."""
        return all_packets(self.session.data_to_send())

    def ready(self, *topics: str) -> Wire:
        """Through CONNECT, and SUBSCRIBE if there are topics."""
        self.session.open(self.now)
        assert self.hear(p.Connack()) == [Connected()]
        if topics:
            packet_id = self.session.subscribe([(topic, 1) for topic in topics], self.now)
            granted = (1,) * len(topics)
            assert self.hear(p.Suback(packet_id=packet_id, codes=granted)) == [
                Subscribed(packet_id=packet_id, granted=granted)
            ]
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
