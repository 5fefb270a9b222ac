"""One connection of a client to the embedded MQTT broker: the packets that it may send and receive. Pure.

    socket bytes ⇄ MqttConnection ⇄ Gatekeeper ⇄ HubEnd ⇄ bytes of the hub's session
                         ⇅
                     BrokerEnd: a session in the broker, which sees SUBSCRIBE and UNSUBSCRIBE

The broker sees no user names, passwords, client ids and wills, and no topics but those of the account. Its sessions are
clean and it retains nothing: the gatekeeper does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from thalovant_proto.links.mqtt import packets
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_topic_name
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.server_session import (
    ClientClosed,
    ConnectReceived,
    PacketReceived,
    ServerEvent,
    ServerSession,
)
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD

from ..listeners.base import NoOutcomes
from .accounts import Account
from .gatekeeper import Backpressure, Gatekeeper

if TYPE_CHECKING:
    from ..connections import Driver

#: Subscriptions of one connection that the broker has not answered; with more, nothing is read from it.
UNANSWERED: Final = 16
#: Messages that a connection was given and has not acknowledged: the chunks of the two largest that hubs put together.
UNACKNOWLEDGED: Final = 2048
#: Messages of QoS 2 whose PUBREL is still to come, of one connection: more than clients send at a time.
UNRELEASED: Final = 64


class BrokerEnd(Protocol):
    """The broker's end of one connection."""

    def receive_data(self, data: bytes) -> None:
        """Packets of the client, whole."""

    def feed_eof(self) -> None:
        """The client is gone."""


class Broker(Protocol):
    """The broker behind the gatekeeper."""

    def connect(self, connection: MqttConnection) -> BrokerEnd:
        """Begin a session for a client that signed in."""


class MqttConnection(NoOutcomes):
    """One connection, as listeners drive it. The broker calls `receive_from_broker` and `broker_ended`."""

    def __init__(self, gatekeeper: Gatekeeper, broker: Broker, driver: Driver, now: float) -> None:
        limits = gatekeeper.settings.mqtt
        self.broker_end: BrokerEnd | None = None  # as long as it is signed in
        self.subscribed: dict[str, int] = {}  # topics, and the QoS of each
        self.finished: bool = False
        self._gatekeeper = gatekeeper
        self._broker = broker
        self._driver = driver
        self._session = ServerSession(now=now, packet_limit=limits.frame + TOPIC_HEAD, limits=limits)
        self._broker_packets = Framer(MAX_REMAINING)
        self._account: Backpressure | None = None  # once it is signed in
        self._connected = False  # CONNACK is out
        self._will: packets.Will | None = None
        self._expected = 0  # bytes that the broker is to bring
        self._unanswered: dict[int, tuple[tuple[str, int] | None, ...]] = {}  # packet id: filters, None where refused
        self._unacknowledged: set[int] = set()
        self._last_id = 0
        self._unreleased: set[int] = set()  # packet ids of QoS 2 whose PUBREL is to come
        self._out = bytearray()
        self._held = False
        self._now = now

    # --- the driver

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called."""
        return None if self._held else self._session.next_timeout

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        self._now = now
        events = self._session.receive_data(data, now)
        if not self._held:
            self._handle_events(events)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended."""
        self._end()

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        self._now = now
        if not self._held:
            self._handle_events(self._session.handle_timeout(now))

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        data = bytes(self._out)
        self._out.clear()
        if len(data) >= self._gatekeeper.settings.unsent_pause:
            self._gatekeeper.drained()
        return data

    # --- the gatekeeper

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return len(self._out)

    def deliver(self, message: packets.Publish | packets.Will, qos: int) -> None:
        """Write a message for the client, and cut it off if it reads none."""
        self._write_message(message, qos)
        self._check_reader()
        self._driver.wake()

    def expect(self, size: int) -> None:
        """Count bytes that the broker was given for this connection."""
        if self._account is not None:
            self._expected += size
            self._account.sent(size)

    def resume(self) -> None:
        """Read on, unless something still holds the client back."""
        if self._held and not self._blocked:
            self._held = False
            self._driver.hold(False)
            self.receive_data(b"", self._now)
            self._driver.wake()

    def close(self) -> None:
        """End the connection."""
        self._end()
        self._driver.wake()

    # --- the broker

    def receive_from_broker(self, data: bytes) -> None:
        """Packets of the broker for the client."""
        if self.finished:
            return
        self._broker_packets.feed(data)
        while (raw := self._broker_packets.next_packet()) is not None:
            match decode(raw.first, raw.body):
                case packets.Publish(topic=topic, payload=payload) as message:
                    self._release(len(topic) + len(payload))
                    # A message may still be on its way after its topic is unsubscribed from.
                    if (qos := self.subscribed.get(topic)) is not None:
                        self._write_message(message, qos)
                case packets.Connack():
                    self._connected = True
                    self._out += raw.wire
                case packets.Suback(packet_id=packet_id, codes=codes):
                    self._answer(packet_id, codes)
                case packets.Unsuback(packet_id=packet_id):
                    del self._unanswered[packet_id]
                    self._release(self._expected)  # some of it was dropped with the subscription
                    self._out += raw.wire
        self._check_reader()
        self.resume()
        self._driver.wake()

    def broker_ended(self) -> None:
        """The broker has ended the connection."""
        self.broker_end = None
        self.close()

    # --- inside

    def _handle_events(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            match event:
                case ConnectReceived(connect=connect):
                    self._handle_connect(connect)
                case PacketReceived(packet=packet, wire=wire):
                    if self._account is not None and self.broker_end is not None:
                        self._handle_packet(packet, wire, self._account, self.broker_end)
                case ClientClosed():
                    self._out += self._session.data_to_send()
                    self._end()
            self._check_reader()
            if self._blocked and not self.finished:
                self._held = True
                self._driver.hold(True)
                break

    def _handle_connect(self, connect: packets.Connect) -> None:
        account = self._gatekeeper.authenticate(connect)
        if account is None:
            self._refuse(packets.ConnectCode.CREDENTIALS)
        elif connect.will is not None and connect.will.topic not in account.publishes:
            self._refuse(packets.ConnectCode.NOT_AUTHORIZED)
        else:
            self._session.accept(self._now)
            self._will = connect.will
            self._account = self._gatekeeper.admit(self, account, connect.client_id)
            self.broker_end = self._broker.connect(self)

    def _refuse(self, code: packets.ConnectCode) -> None:
        self._session.refuse(code)
        self._out += self._session.data_to_send()
        self._end()

    def _handle_packet(self, packet: packets.Packet, wire: bytes, account: Backpressure, broker: BrokerEnd) -> None:
        match packet:
            case packets.Publish(qos=0 | 1, packet_id=packet_id) if packet_id not in self._unreleased:
                self._publish(packet, account)
                if packet_id is not None:
                    self._out += packets.Puback(packet_id).encode()
            case packets.Publish(qos=2, packet_id=int(packet_id)) if packet_id in self._unreleased:
                self._out += packets.Pubrec(packet_id).encode()  # it came once [MQTT-4.3.3-2]
            case packets.Publish(qos=2, packet_id=int(packet_id)) if len(self._unreleased) < UNRELEASED:
                self._unreleased.add(packet_id)
                self._publish(packet, account)
                self._out += packets.Pubrec(packet_id).encode()
            case packets.Pubrel(packet_id=packet_id):
                self._unreleased.discard(packet_id)
                self._out += packets.Pubcomp(packet_id).encode()
            case packets.Subscribe(packet_id=packet_id) if packet_id not in self._unanswered:
                self._subscribe(packet, account.account, broker)
            case packets.Unsubscribe(packet_id=packet_id, filters=filters) if packet_id not in self._unanswered:
                self._unanswered[packet_id] = ()
                self._gatekeeper.unsubscribe(self, filters)
                broker.receive_data(wire)
            case packets.Puback(packet_id=packet_id):
                self._unacknowledged.discard(packet_id)
            case packets.Pingreq():
                self._out += packets.Pingresp().encode()
            case packets.Disconnect():
                self._will = None  # [MQTT-3.14.4-3]
            case _:  # a packet id that is in use [MQTT-2.3.1-2], or an answer to what was never sent
                self._end()

    def _publish(self, message: packets.Publish, account: Backpressure) -> None:
        """Pass on what is the account's. The rest is acknowledged as if it had been published [MQTT-3.3.5-2]."""
        if message.topic in account.account.publishes:
            self._gatekeeper.publish(message, account)

    def _subscribe(self, packet: packets.Subscribe, account: Account, broker: BrokerEnd) -> None:
        """Subscribe to those filters that are the account's. It counts at once, for an answer may come at once too."""
        allowed = tuple((name, min(qos, 1)) if name in account.subscribes else None for name, qos in packet.filters)
        self._unanswered[packet.packet_id] = allowed
        granted = tuple(pair for pair in allowed if pair is not None)
        for name, qos in granted:
            self._gatekeeper.subscribe(self, name, qos)
        if granted:
            broker.receive_data(packets.Subscribe(packet_id=packet.packet_id, filters=granted).encode())
        else:
            self._answer(packet.packet_id, ())

    def _answer(self, packet_id: int, codes: tuple[int, ...]) -> None:
        """Write the SUBACK for all filters, from the broker's codes for those it has seen, then what is retained."""
        answered = iter(codes)
        asked = self._unanswered.pop(packet_id)
        merged = tuple(packets.SUBSCRIPTION_REFUSED if pair is None else next(answered) for pair in asked)
        self._out += packets.Suback(packet_id=packet_id, codes=merged).encode()
        for pair, code in zip(asked, merged, strict=True):
            if pair is None:
                continue
            if code == packets.SUBSCRIPTION_REFUSED:
                self._gatekeeper.unsubscribe(self, (pair[0],))
            elif (message := self._gatekeeper.retained(pair[0])) is not None:
                self._write_message(message, min(code, message.qos), retain=True)  # [MQTT-3.3.1-8]

    def _write_message(self, message: packets.Publish | packets.Will, qos: int, *, retain: bool = False) -> None:
        packet_id = self._free_id() if qos else None
        name = encode_topic_name(message.topic)
        self._out += packets.publish_head(name, len(message.payload), qos, retain, packet_id)
        self._out += message.payload

    def _free_id(self) -> int:
        while True:  # a client that leaves more than `UNACKNOWLEDGED` in use is cut off
            self._last_id = self._last_id % packets.MAX_ID + 1
            if self._last_id not in self._unacknowledged:
                self._unacknowledged.add(self._last_id)
                return self._last_id

    def _check_reader(self) -> None:
        """Cut off a client that does not read what it is sent, answers to its own packets among it."""
        if len(self._out) <= self._gatekeeper.settings.unsent and len(self._unacknowledged) <= UNACKNOWLEDGED:
            return
        if not self.finished:
            self._end()
            self._driver.abort()

    def _release(self, size: int) -> None:
        """Count bytes that the broker brought, or never will."""
        size = min(size, self._expected)
        self._expected -= size
        if self._account is not None and size:
            self._account.arrived(size)

    @property
    def _blocked(self) -> bool:
        account = self._account
        waits = not self._connected or len(self._unanswered) >= UNANSWERED
        return account is not None and (waits or account.full)

    def _end(self) -> None:
        self.finished = True
        self._session.close()
        self._gatekeeper.forget(self, self._account)
        self._release(self._expected)
        will, self._will = self._will, None
        if will is not None and self._account is not None:
            self._gatekeeper.publish(will, self._account)
        broker, self.broker_end = self.broker_end, None
        if broker is not None:
            broker.feed_eof()
