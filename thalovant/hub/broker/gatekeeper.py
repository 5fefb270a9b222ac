"""Gatekeeper of the embedded MQTT broker: sign-in, and what each connection may send and receive. Pure.

    socket bytes ⇄ MqttConnection ⇄ Router ⇄ HubEnd ⇄ bytes of the hub's session
                         ⇅             ⇓
                     BrokerEnd ⇄ Broker, which carries messages between the connections of one account

The broker behind it keeps the sessions and their subscriptions. It sees no user names, passwords, client ids and wills,
and no topics but those of the account. Its sessions are clean and it retains nothing: the router does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, Protocol

from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_topic_name
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import (
    MAX_ID,
    SUBSCRIPTION_REFUSED,
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
    publish_head,
)
from thalovant_proto.links.mqtt.server_session import (
    ClientClosed,
    ConnectReceived,
    PacketReceived,
    ServerEvent,
    ServerSession,
)
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD

from ..listeners.base import NoOutcomes
from ..settings import Settings
from .accounts import Account
from .routing import Backpressure, Router

#: Connections of one account at a time. For a hub two are one too many: the rest are those that broke unseen.
CONNECTIONS: Final = 16
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

    def connect(self, connection: MqttConnection, connect: Connect) -> BrokerEnd:
        """Begin a session for a client that signed in, with its CONNECT as the broker may see it."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Pass a message to the sessions that subscribed to its topic, at QoS 0."""


class Wire(Protocol):
    """The driver of one connection's socket."""

    def wake(self) -> None:
        """Do what the connection wants, soon: something may have happened outside its own turn."""

    def hold(self, hold: bool) -> None:
        """Read nothing more from the client, until told otherwise."""

    def abort(self) -> None:
        """End at once."""

    def proven(self) -> None:
        """Count it no longer among those that have proven nothing: it signed in."""


class Gatekeeper:
    """All connections of a broker.

    `authenticate` returns the account of a CONNECT if it shows the right password.
    """

    def __init__(
        self, authenticate: Callable[[Connect], Account | None], broker: Broker, *, settings: Settings
    ) -> None:
        self.authenticate = authenticate
        self.settings = settings
        self.router: Router = Router(broker.publish)
        self._broker = broker
        self._present: dict[tuple[str, str], MqttConnection] = {}  # by owner and client id
        self._accounts: dict[str, Backpressure] = {}  # by owner
        self._client_ids = count(1)

    def unsent(self, owner: str) -> int:
        """The number of bytes that an account has to read: on the one of its connections that reads best."""
        account = self._accounts.get(owner)
        connections = account.connections if account is not None else ()
        return min((one.unsent for one in connections if one.subscribed), default=0)

    def admit(self, connection: MqttConnection, account: Account, connect: Connect) -> tuple[Backpressure, BrokerEnd]:
        """Let a connection in; one of the same account and client id has to go [MQTT-3.1.4-2]."""
        place = account.owner, connect.client_id
        if (displaced := self._present.get(place)) is not None:
            displaced.close()
        if connect.client_id:
            self._present[place] = connection
        state = self._accounts.setdefault(account.owner, Backpressure(account))
        if len(state.connections) >= CONNECTIONS:
            next(iter(state.connections)).close()
        state.connections[connection] = place
        # A session that outlives the connection would be of no use to anybody.
        disguised = Connect(client_id=f"connection-{next(self._client_ids)}", clean_session=True, keepalive=0)
        return state, self._broker.connect(connection, disguised)

    def forget(self, connection: MqttConnection, account: Backpressure | None) -> None:
        """Drop a connection that is gone. Harmless if repeated."""
        if account is None or connection not in account.connections:
            return
        self.router.unsubscribe(connection, tuple(connection.subscribed))
        place = account.connections.pop(connection)
        if self._present.get(place) is connection:
            del self._present[place]
        if not account.connections:
            del self._accounts[account.account.owner]


class MqttConnection(NoOutcomes):
    """One connection, as listeners drive it. The broker calls `receive_from_broker` and `broker_ended`."""

    def __init__(self, gatekeeper: Gatekeeper, wire: Wire, now: float) -> None:
        limits = gatekeeper.settings.mqtt
        self.broker_end: BrokerEnd | None = None  # as long as it is signed in
        self.subscribed: dict[str, int] = {}  # topics, and the QoS of each
        self.finished: bool = False
        self._gatekeeper = gatekeeper
        self._router = gatekeeper.router
        self._wire = wire
        self._session = ServerSession(now=now, packet_limit=limits.frame + TOPIC_HEAD, limits=limits)
        self._broker_packets = Framer(MAX_REMAINING)
        self._account: Backpressure | None = None  # once it is signed in
        self._connected = False  # CONNACK is out
        self._will: Will | None = None
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
            self._router.drained()
        return data

    # --- the gatekeeper

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return len(self._out)

    def deliver(self, message: Publish | Will, qos: int) -> None:
        """Write a message for the client, and cut it off if it reads none."""
        self._write_message(message, qos)
        self._check_reader()
        self._wire.wake()

    def expect(self, size: int) -> None:
        """Count bytes that the broker was given for this connection."""
        if self._account is not None:
            self._expected += size
            self._account.sent(size)

    def resume(self) -> None:
        """Read on, unless something still holds the client back."""
        if self._held and not self._blocked:
            self._held = False
            self._wire.hold(False)
            self.receive_data(b"", self._now)
            self._wire.wake()

    def close(self) -> None:
        """End the connection."""
        self._end()
        self._wire.wake()

    # --- the broker

    def receive_from_broker(self, data: bytes) -> None:
        """Packets of the broker for the client."""
        if self.finished:
            return
        self._broker_packets.feed(data)
        while (raw := self._broker_packets.next_packet()) is not None:
            match decode(raw.first, raw.body):
                case Publish(topic=topic, payload=payload) as message:
                    self._release(len(topic) + len(payload))
                    # What the client has just unsubscribed from may still be on its way.
                    if (qos := self.subscribed.get(topic)) is not None:
                        self._write_message(message, qos)
                case Connack():
                    self._connected = True
                    self._out += raw.wire
                case Suback(packet_id=packet_id, codes=codes):
                    self._answer(packet_id, codes)
                case Unsuback(packet_id=packet_id):
                    del self._unanswered[packet_id]
                    self._release(self._expected)  # some of it was dropped with the subscription
                    self._out += raw.wire
        self._check_reader()
        self.resume()
        self._wire.wake()

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
                self._wire.hold(True)
                break

    def _handle_connect(self, connect: Connect) -> None:
        account = self._gatekeeper.authenticate(connect)
        if account is None:
            self._refuse(ConnectCode.CREDENTIALS)
        elif connect.will is not None and not account.may_publish(connect.will.topic):
            self._refuse(ConnectCode.NOT_AUTHORIZED)
        else:
            self._session.accept(self._now)
            self._wire.proven()
            self._account, self.broker_end = self._gatekeeper.admit(self, account, connect)
            self._will = connect.will

    def _refuse(self, code: ConnectCode) -> None:
        self._session.refuse(code)
        self._out += self._session.data_to_send()
        self._end()

    def _handle_packet(self, packet: Packet, wire: bytes, account: Backpressure, broker: BrokerEnd) -> None:
        match packet:
            case Publish(qos=0 | 1, packet_id=packet_id) if packet_id not in self._unreleased:
                self._publish(packet, account)
                if packet_id is not None:
                    self._out += Puback(packet_id).encode()
            case Publish(qos=2, packet_id=int(packet_id)) if packet_id in self._unreleased:
                self._out += Pubrec(packet_id).encode()  # it came once [MQTT-4.3.3-2]
            case Publish(qos=2, packet_id=int(packet_id)) if len(self._unreleased) < UNRELEASED:
                self._unreleased.add(packet_id)
                self._publish(packet, account)
                self._out += Pubrec(packet_id).encode()
            case Pubrel(packet_id=packet_id):
                self._unreleased.discard(packet_id)
                self._out += Pubcomp(packet_id).encode()
            case Subscribe(packet_id=packet_id) if packet_id not in self._unanswered:
                self._subscribe(packet, account.account, broker)
            case Unsubscribe(packet_id=packet_id, filters=filters) if packet_id not in self._unanswered:
                self._unanswered[packet_id] = ()
                self._router.unsubscribe(self, filters)
                broker.receive_data(wire)
            case Puback(packet_id=packet_id):
                self._unacknowledged.discard(packet_id)
            case Pingreq():
                self._out += Pingresp().encode()
            case Disconnect():
                self._will = None  # [MQTT-3.14.4-3]
            case _:  # a packet id that is in use [MQTT-2.3.1-2], or an answer to what was never sent
                self._end()

    def _publish(self, message: Publish, account: Backpressure) -> None:
        """Pass on what is the account's. The rest is acknowledged as if it had been published [MQTT-3.3.5-2]."""
        if account.account.may_publish(message.topic):
            self._router.publish(message, account)

    def _subscribe(self, packet: Subscribe, account: Account, broker: BrokerEnd) -> None:
        """Subscribe to those filters that are the account's. It counts at once, for an answer may come at once too."""
        allowed = tuple((name, min(qos, 1)) if account.may_subscribe(name) else None for name, qos in packet.filters)
        self._unanswered[packet.packet_id] = allowed
        granted = tuple(pair for pair in allowed if pair is not None)
        for name, qos in granted:
            self._router.subscribe(self, name, qos)
        if granted:
            broker.receive_data(Subscribe(packet_id=packet.packet_id, filters=granted).encode())
        else:
            self._answer(packet.packet_id, ())

    def _answer(self, packet_id: int, codes: tuple[int, ...]) -> None:
        """Write the SUBACK for all filters, from the broker's codes for those it has seen, then what is retained."""
        answered = iter(codes)
        asked = self._unanswered.pop(packet_id)
        merged = tuple(SUBSCRIPTION_REFUSED if pair is None else next(answered) for pair in asked)
        self._out += Suback(packet_id=packet_id, codes=merged).encode()
        for pair, code in zip(asked, merged, strict=True):
            if pair is None:
                continue
            if code == SUBSCRIPTION_REFUSED:
                self._router.unsubscribe(self, (pair[0],))
            elif (message := self._router.retained(pair[0])) is not None:
                self._write_message(message, min(code, message.qos), retain=True)  # [MQTT-3.3.1-8]

    def _write_message(self, message: Publish | Will, qos: int, *, retain: bool = False) -> None:
        packet_id = self._free_id() if qos else None
        name = encode_topic_name(message.topic)
        self._out += publish_head(name, len(message.payload), qos, retain, packet_id)
        self._out += message.payload

    def _free_id(self) -> int:
        while True:  # a client that leaves more than `UNACKNOWLEDGED` in use is cut off
            self._last_id = self._last_id % MAX_ID + 1
            if self._last_id not in self._unacknowledged:
                self._unacknowledged.add(self._last_id)
                return self._last_id

    def _check_reader(self) -> None:
        """Cut off a client that does not read what it is sent, answers to its own packets among it."""
        if len(self._out) <= self._gatekeeper.settings.unsent and len(self._unacknowledged) <= UNACKNOWLEDGED:
            return
        if not self.finished:
            self._end()
            self._wire.abort()

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
            self._router.publish(will, self._account)
        broker, self.broker_end = self.broker_end, None
        if broker is not None:
            broker.feed_eof()
