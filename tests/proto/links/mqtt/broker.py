"""A small broker in memory, so that both roles of our MQTT meet: pure, on the test's clock, strict in all it reads.

It is a front door of ours (`ServerSession`) with the least behind it that makes a broker: subscriptions, retained
messages, wills, takeover by client id, and an access list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Self

from attrs import evolve

from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.fields import topic_matches
from thalovant_proto.links.mqtt.server_session import (
    ClientClosed,
    ConnectReceived,
    PacketReceived,
    ServerEvent,
    ServerSession,
)


class Connection:
    """One client of the broker. `faults` are the protocol faults it was caught at."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.session = ServerSession(now=broker.now, packet_limit=1 << 24)
        self.connect: p.Connect | None = None
        self.filters: dict[str, int] = {}
        self.ids = count(1)
        self.unacknowledged: dict[int, p.Publish] = {}
        self.out = b""
        self.heard: list[p.Packet] = []
        self.gone = False
        self.faults: list[Exception] = []

    def write(self, packet: p.Packet) -> None:
        """To the client."""
        self.out += packet.encode()

    def receive(self, data: bytes) -> None:
        """From the client."""
        for event in self.session.receive_data(data, self.broker.now):
            if not self.gone:
                self._event(event)

    @property
    def next_timeout(self) -> float | None:
        """When the client is due with CONNECT, or with any packet at all."""
        return None if self.gone else self.session.next_timeout

    def handle_timeout(self, now: float) -> None:
        """Time has passed: a client that says nothing is dropped."""
        for event in self.session.handle_timeout(now):
            self._event(event)

    def drop(self) -> None:
        """The socket ends without a word: the will is published [MQTT-3.1.2-8]."""
        if not self.gone:
            self.gone = True
            if self in self.broker.connections:
                self.broker.connections.remove(self)
            if self.connect is not None and self.connect.will is not None:
                self.broker.publish_will(self.connect.will)

    def _event(self, event: ServerEvent) -> None:
        match event:
            case ConnectReceived(connect=connect):
                code = self.broker.authenticate(connect)
                if code is not p.ConnectCode.ACCEPTED:
                    self.session.refuse(code)
                    self.out += self.session.data_to_send()
                    self.gone = True
                    return
                for other in list(self.broker.connections):
                    if other.connect is not None and other.connect.client_id == connect.client_id:
                        other.drop()  # [MQTT-3.1.4-2]
                self.connect = connect
                self.broker.connections.append(self)
                self.session.accept(self.broker.now)
                self.write(p.Connack())
            case PacketReceived(packet=packet):
                self.heard.append(packet)
                self._packet(packet)
            case ClientClosed(clean=clean, error=error):
                self.out += self.session.data_to_send()
                if error is not None:
                    self.faults.append(error)
                if clean and self.connect is not None:
                    self.connect = None
                self.drop()

    def _packet(self, packet: p.Packet) -> None:
        match packet:
            case p.Pingreq():
                if self.broker.answers_pings:
                    self.write(p.Pingresp())
            case p.Subscribe(packet_id=packet_id, filters=filters):
                codes = [qos if self.broker.may_read(self, name) else p.SUBSCRIPTION_REFUSED for name, qos in filters]
                self.write(p.Suback(packet_id=packet_id, codes=tuple(codes)))
                for (name, _), code in zip(filters, codes, strict=True):
                    if code != p.SUBSCRIPTION_REFUSED:
                        self.filters[name] = code
                        for topic, (payload, qos) in list(self.broker.retained.items()):
                            if topic_matches(name, topic):
                                self.deliver(topic, payload, min(qos, code), retain=True)
            case p.Puback(packet_id=acknowledged):
                self.unacknowledged.pop(acknowledged, None)
            case p.Publish(topic=topic, payload=payload, qos=qos, retain=retain, packet_id=packet_id):
                if qos and packet_id is not None and self.broker.acknowledges:
                    self.write(p.Puback(packet_id))
                self.broker.publish(topic, payload, qos, retain)

    def deliver(self, topic: str, payload: bytes, qos: int, *, retain: bool = False) -> None:
        """A message to this client."""
        if not qos:
            if self.broker.loses:
                self.broker.loses -= 1
            else:
                self.write(p.Publish(topic=topic, payload=payload, retain=retain))
            return
        packet_id = next(self.ids)
        self.unacknowledged[packet_id] = p.Publish(
            topic=topic, payload=payload, qos=qos, retain=retain, packet_id=packet_id
        )
        self.write(self.unacknowledged[packet_id])
        if self.broker.repeats:
            self.broker.repeats -= 1
            self.repeat()

    def repeat(self) -> None:
        """Send again what the client has not acknowledged, as brokers do that lose patience."""
        for packet in self.unacknowledged.values():
            self.write(evolve(packet, dup=True))


class Broker:
    """The broker. `log` is every message published: topic, payload, QoS, retain."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.retained: dict[str, tuple[bytes, int]] = {}
        self.log: list[tuple[str, bytes, int, bool]] = []
        self.now = 0.0
        self.loses = 0  # messages of QoS 0, to any client
        self.repeats = 0  # how many times it loses patience as soon as it has sent something
        self.answers_pings = True
        self.acknowledges = True
        self.authenticate: Callable[[p.Connect], p.ConnectCode] = lambda connect: p.ConnectCode.ACCEPTED
        self.may_read: Callable[[Connection, str], bool] = lambda connection, topic_filter: True
        self.passes_on: Callable[[str], bool] = lambda topic: True  # what is granted, and dropped all the same

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """To every subscriber; live ones get it without the retain flag [MQTT-3.3.1-9]."""
        self.log.append((topic, payload, qos, retain))
        if retain:
            self.retained[topic] = (payload, qos)
        for connection in list(self.connections):
            granted = [level for name, level in connection.filters.items() if topic_matches(name, topic)]
            if granted and self.passes_on(topic):
                connection.deliver(topic, payload, min(qos, max(granted)))

    def publish_will(self, will: p.Will) -> None:
        """A client has gone without DISCONNECT."""
        self.publish(will.topic, will.payload, will.qos, will.retain)

    def said(self, topic: str) -> list[bytes]:
        """Every payload published on a topic, in order."""
        return [payload for name, payload, _, _ in self.log if name == topic]


class BrokerWorld:
    """A broker with one end of ours at it, `link`, on the clock of the test; bytes to it are cut as asked."""

    link: Any
    connection: Connection

    def __init__(self, cut: int | None) -> None:
        self.broker = Broker()
        self.now = 100.0
        self.cut = cut

    def run(self) -> Self:
        """Move bytes until nothing moves."""
        raise NotImplementedError

    def take(self, events: Iterable[Any]) -> None:
        """Do with events what a driver does."""
        raise NotImplementedError

    def feed(self) -> None:
        """What the broker has for the end, cut as the test wants it."""
        data, self.connection.out = self.connection.out, b""
        step = self.cut or len(data)
        for at in range(0, len(data), step):
            self.take(self.link.receive_data(data[at : at + step], self.now))

    def publish(self, topic: str, payload: bytes, **options: Any) -> Self:
        """Somebody says something, and it moves."""
        self.broker.publish(topic, payload, **options)
        return self.run()

    def pass_time(self, seconds: float) -> Self:
        """Let time pass from deadline to deadline, bytes moving at each."""
        end = self.now + seconds
        while (due := self.link.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            self.take(self.link.handle_timeout(self.now))
            later = self.link.next_timeout
            assert later is None or later > self.now
            self.run()
        self.now = end
        return self
