"""The front door of the embedded MQTT broker: who comes in, and what reaches the broker. Pure, on the driver's clock.

    socket bytes ⇄ MqttConnection ⇄ packets that may pass ⇄ BrokerEnd (the broker's end of one connection)

The broker behind it is trusted with what it is given and with nothing else. It sees no user names, passwords and client
ids, and no topics but those of the account. Its sessions are clean, each client id there is ours and used once, and it
retains nothing: the door does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, Protocol

from attrs import evolve

from thalovant_proto.limits import KIB
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, topic_matches
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import (
    MAX_ID,
    SUBSCRIPTION_REFUSED,
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
from thalovant_proto.links.mqtt.server_session import (
    ClientClosed,
    ConnectReceived,
    PacketReceived,
    ServerEvent,
    ServerSession,
)
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD

from ..listeners.base import Quiet
from ..settings import Settings
from .accounts import Account

#: Connections of one account at a time. For a hub two are one too many: the rest are those that broke unseen.
CONNECTIONS: Final = 16
#: Bytes of one account that are on their way through the broker to the hub; more of it is not read.
ON_THE_WAY: Final = 256 * KIB
#: Subscriptions of one connection that the broker has not answered; more of it is not read.
UNANSWERED: Final = 16
#: Messages that a connection was given and has not acknowledged: the chunks of the two largest that hubs put together.
UNACKNOWLEDGED: Final = 2048
#: Messages of QoS 2 whose PUBREL is still to come, of one connection: more than clients send at a time.
UNRELEASED: Final = 64
#: Bytes of a message that is retained, at most. Presence is a word; a larger message travels, and is not kept.
RETAINED: Final = 4 * KIB


class BrokerEnd(Protocol):
    """The broker's end of one connection."""

    def hear(self, data: bytes) -> None:
        """Packets of the client, whole."""

    def leave(self) -> None:
        """The client is gone; unless it said DISCONNECT the broker publishes its will."""


class Wire(Protocol):
    """What moves a visitor's bytes."""

    def wake(self) -> None:
        """Do what the visitor wants, soon: something may have happened outside its own turn."""

    def hold(self, hold: bool) -> None:
        """Read nothing more from the client, until told otherwise."""

    def abort(self) -> None:
        """End at once."""


class Gatekeeper:
    """All connections of a broker.

    `authenticate` gives the account of a CONNECT if it shows the right password. `enter(visitor, connect, before)`
    makes the broker's end for a visitor that is in, from its CONNECT as the broker may see it, once the session of
    `before` is over.

    Connections that have shown nothing yet are few: when their places are taken, the oldest that had its time gives
    way to a newcomer.
    """

    def __init__(
        self,
        authenticate: Callable[[Connect], Account | None],
        enter: Callable[[MqttConnection, Connect, BrokerEnd | None], BrokerEnd],
        *,
        settings: Settings,
    ) -> None:
        self.authenticate = authenticate
        self.settings = settings
        self._enter = enter
        self._waiting: dict[MqttConnection, float] = {}  # since when; oldest first
        self._present: dict[tuple[str, str], MqttConnection] = {}  # by owner and client id
        self._flows: dict[str, Backpressure] = {}  # by owner
        self._hub: MqttConnection | None = None  # once it listens
        self._retained: dict[str, Publish | Will] = {}  # by topic
        self._ids = count(1)

    def __len__(self) -> int:
        """How many connections are in."""
        return sum(len(flow.visitors) for flow in self._flows.values())

    def visitor(self, wire: Wire, now: float) -> MqttConnection:
        """What drives a new connection."""
        visitor = MqttConnection(self, wire, now)
        if len(self._waiting) >= self.settings.unproven:
            oldest, since = next(iter(self._waiting.items()))
            (oldest if now - since >= self.settings.unproven_grace else visitor).close()
        if not visitor.finished:
            self._waiting[visitor] = now
        return visitor

    # --- for visitors

    def admit(self, visitor: MqttConnection, account: Account, connect: Connect) -> tuple[Backpressure, BrokerEnd]:
        """Let a visitor in; one of the same account and client id has to go [MQTT-3.1.4-2]."""
        self._waiting.pop(visitor, None)
        place, room = (account.owner, connect.client_id), None
        if (before := self._present.get(place)) is not None:
            room = before.room
            before.close()
        if connect.client_id:
            self._present[place] = visitor
        flow = self._flows.setdefault(account.owner, Backpressure(account))
        if len(flow.visitors) >= CONNECTIONS:
            next(iter(flow.visitors)).close()
        flow.visitors[visitor] = place
        return flow, self._enter(visitor, _disguised(connect, next(self._ids)), room)

    def forget(self, visitor: MqttConnection, flow: Backpressure | None) -> None:
        """A visitor is gone. Harmless if repeated."""
        self._waiting.pop(visitor, None)
        if flow is None or visitor not in flow.visitors:
            return
        place = flow.visitors.pop(visitor)
        if self._present.get(place) is visitor:
            del self._present[place]
        if not flow.visitors:
            del self._flows[flow.account.owner]
        if visitor is self._hub:
            self._hub = None
            for one in tuple(self._flows.values()):
                one.arrived(one.on_the_way)  # or nobody would ever say so

    def hub_listens(self, visitor: MqttConnection) -> None:
        """From now on what clients publish reaches the hub."""
        self._hub = visitor

    def retain(self, account: Account, message: Publish | Will) -> None:
        """Keep a message for those who subscribe later, in place of the one before; an empty one only ends that.

        Nobody but the hub hears what a client sends it, and the hub has no use for yesterday's: that is not kept.
        """
        self._retained.pop(message.topic, None)
        kept = account.is_hub or account.may_subscribe(message.topic)
        if kept and 0 < len(message.payload) <= RETAINED:
            self._retained[message.topic] = message

    def retained(self, topic: str) -> Publish | Will | None:
        """What is kept for a new subscriber to this topic. The filters of clients are names, so that one will do."""
        return self._retained.get(topic)

    def sent(self, flow: Backpressure, size: int) -> None:
        """A message goes into the broker."""
        if self._hub is not None and not flow.account.is_hub:
            flow.on_the_way += size

    def arrived(self, topic: str, size: int) -> None:
        """A message has reached the hub."""
        for level in topic.split("/"):
            if (flow := self._flows.get(level)) is not None:
                flow.arrived(size)


class Backpressure:
    """What one account has on its way to the hub, over all its connections."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.visitors: dict[MqttConnection, tuple[str, str]] = {}  # and the place of each
        self.on_the_way: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent for now."""
        return self.on_the_way >= ON_THE_WAY

    def arrived(self, size: int) -> None:
        """So much of it has come to its end."""
        was_full = self.full
        self.on_the_way = max(0, self.on_the_way - size)  # wills come to an end, and have not been counted
        if was_full and not self.full:
            for visitor in tuple(self.visitors):
                visitor.resume()


class MqttConnection(Quiet):
    """One connection, as listeners drive it. The broker's end calls `said` and `ended`."""

    def __init__(self, door: Gatekeeper, wire: Wire, now: float) -> None:
        limits = door.settings.mqtt
        self._door = door
        self._wire = wire
        self._session = ServerSession(now=now, packet_limit=limits.frame + TOPIC_HEAD, limits=limits)
        self._broker = Framer(MAX_REMAINING)
        self._flow: Backpressure | None = None  # once it is in
        self.room: BrokerEnd | None = None  # as long as it is in
        self._will: Will | None = None  # to be retained
        self._subscribed: set[str] = set()
        self._unanswered: dict[int, tuple[tuple[str, int] | None, ...]] = {}  # packet id: filters, None where refused
        self._unacknowledged: set[int] = set()
        self._own: set[int] = set()  # those of retained messages, from the top, where the broker's ids come last
        self._unreleased: dict[int, bool] = {}  # of QoS 2: whether PUBREC is out; PUBREL is to come
        self._out = bytearray()
        self._held = False
        self._now = now
        self.finished: bool = False

    # --- the driver

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        return None if self._held else self._session.next_timeout

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        self._now = now
        events = self._session.receive_data(data, now)
        if not self._held:
            self._take(events)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended."""
        self._leave()

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        self._now = now
        if not self._held:
            self._take(self._session.handle_timeout(now))

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # --- the door

    def resume(self) -> None:
        """There may be room on the way again."""
        if self._held and not self._blocked:
            self._held = False
            self._wire.hold(False)
            self.receive_data(b"", self._now)
            self._wire.wake()

    def close(self) -> None:
        """End the connection."""
        self._leave()
        self._wire.wake()

    # --- the broker

    def said(self, data: bytes) -> None:
        """Packets of the broker for the client."""
        if self._flow is None or self.finished:
            return
        self._broker.feed(data)
        while (raw := self._broker.next_packet()) is not None:
            answer = raw.wire
            match decode(raw.first, raw.body):
                case Publish(topic=topic, payload=payload, packet_id=packet_id):
                    if packet_id is not None and self.room is not None:
                        # In the client's place: amqtt holds on to all that came after what nobody acknowledges.
                        self.room.hear(Puback(packet_id).encode())
                    # What the client has just unsubscribed from may still be on its way.
                    if not any(topic_matches(own, topic) for own in self._subscribed):
                        continue
                    if packet_id is not None:
                        self._unacknowledged.add(packet_id)
                    if self._flow.account.is_hub:
                        self._door.arrived(topic, len(topic) + len(payload))
                case Suback(packet_id=packet_id, codes=codes):
                    answer = self._answer(packet_id, codes)
                    if self._flow.account.is_hub:
                        self._door.hub_listens(self)
                case Unsuback(packet_id=packet_id):
                    del self._unanswered[packet_id]
                case Puback(packet_id=packet_id):
                    answer = self._receipt(packet_id)
            self._say(answer)
        self._check_reader()
        self.resume()
        self._wire.wake()

    def ended(self) -> None:
        """The broker has ended the connection."""
        self.room = None
        self.close()

    # --- inside

    def _take(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            match event:
                case ConnectReceived(connect=connect):
                    self._connect(connect)
                case PacketReceived(packet=packet, wire=wire) if self._flow is not None and self.room is not None:
                    self._packet(packet, wire, self._flow, self.room)
                case ClientClosed():
                    self._say(self._session.data_to_send())
                    self._leave()
            self._check_reader()
            if self._blocked and not self.finished:
                self._held = True
                self._wire.hold(True)
                break

    def _connect(self, connect: Connect) -> None:
        account = self._door.authenticate(connect)
        if account is None:
            self._refuse(ConnectCode.CREDENTIALS)
        elif connect.will is not None and not account.may_publish(connect.will.topic):
            self._refuse(ConnectCode.NOT_AUTHORIZED)
        else:
            self._session.accept(self._now)
            self._flow, self.room = self._door.admit(self, account, connect)
            if connect.will is not None and connect.will.retain:
                self._will = connect.will

    def _refuse(self, code: ConnectCode) -> None:
        self._session.refuse(code)
        self._say(self._session.data_to_send())
        self._leave()

    def _packet(self, packet: Packet, wire: bytes, flow: Backpressure, room: BrokerEnd) -> None:
        match packet:
            case Publish(qos=0 | 1, packet_id=packet_id) if packet_id not in self._unreleased:
                self._publish(packet, wire, flow, room)
            case Publish(qos=2, packet_id=int(packet_id)) if packet_id in self._unreleased:
                if self._unreleased[packet_id]:
                    self._say(Pubrec(packet_id).encode())
            case Publish(qos=2, packet_id=int(packet_id)) if len(self._unreleased) < UNRELEASED:
                self._unreleased[packet_id] = False
                self._publish(packet, wire, flow, room)
            case Pubrel(packet_id=packet_id):
                self._unreleased.pop(packet_id, None)
                self._say(Pubcomp(packet_id).encode())
            case Subscribe(packet_id=packet_id) if packet_id not in self._unanswered:
                self._subscribe(packet, flow.account, room)
            case Unsubscribe(packet_id=packet_id, filters=filters) if packet_id not in self._unanswered:
                self._unanswered[packet_id] = ()
                self._subscribed.difference_update(filters)
                room.hear(wire)
            case Puback(packet_id=packet_id):
                self._own.discard(packet_id)
                self._unacknowledged.discard(packet_id)
            case Pingreq():
                self._say(Pingresp().encode())
            case Disconnect():
                self._will = None  # [MQTT-3.14.4-3]
                room.hear(wire)
            case _:  # a packet id that is in use [MQTT-2.3.1-2], or an answer to what was never said
                self._leave()

    def _publish(self, packet: Publish, wire: bytes, flow: Backpressure, room: BrokerEnd) -> None:
        """Pass on what is the account's. The broker takes QoS 2 for QoS 1: that it comes once is seen to here."""
        if not flow.account.may_publish(packet.topic):
            if packet.packet_id is not None:
                self._say(self._receipt(packet.packet_id))  # as if it had been published [MQTT-3.3.5-2]
            return
        self._door.sent(flow, len(packet.topic) + len(packet.payload))
        if packet.retain:
            self._door.retain(flow.account, packet)
        if packet.retain or packet.qos > 1:
            wire = evolve(packet, qos=min(packet.qos, 1), retain=False).encode()
        room.hear(wire)

    def _receipt(self, packet_id: int) -> bytes:
        """The broker's side has a message: PUBACK, or for QoS 2 PUBREC."""
        if packet_id not in self._unreleased:
            return Puback(packet_id).encode()
        self._unreleased[packet_id] = True
        return Pubrec(packet_id).encode()

    def _subscribe(self, packet: Subscribe, account: Account, room: BrokerEnd) -> None:
        """Ask the broker for those filters that are the account's."""
        allowed = tuple((name, min(qos, 1)) if account.may_subscribe(name) else None for name, qos in packet.filters)
        self._unanswered[packet.packet_id] = allowed
        granted = tuple(pair for pair in allowed if pair is not None)
        self._subscribed.update(name for name, _ in granted)
        if granted:
            room.hear(Subscribe(packet_id=packet.packet_id, filters=granted).encode())
        else:
            self._say(self._answer(packet.packet_id, ()))

    def _answer(self, packet_id: int, codes: tuple[int, ...]) -> bytes:
        """The SUBACK for all filters, made of the broker's codes for those it has seen; what is retained follows."""
        answered = iter(codes)
        asked = self._unanswered.pop(packet_id)
        merged = tuple(SUBSCRIPTION_REFUSED if pair is None else next(answered) for pair in asked)
        answer = Suback(packet_id=packet_id, codes=merged).encode()
        for pair, code in zip(asked, merged, strict=True):
            if pair is not None and code != SUBSCRIPTION_REFUSED and (message := self._door.retained(pair[0])):
                answer += self._reminder(message, min(code, message.qos))
        return answer

    def _reminder(self, message: Publish | Will, qos: int) -> bytes:
        """A retained message for a new subscriber [MQTT-3.3.1-8]."""
        packet_id = None
        if qos:
            taken = self._own | self._unacknowledged
            packet_id = next(free for free in range(MAX_ID, 0, -1) if free not in taken)
            self._own.add(packet_id)
        return Publish(topic=message.topic, payload=message.payload, qos=qos, retain=True, packet_id=packet_id).encode()

    def _check_reader(self) -> None:
        """Cut off who does not read what it is told, answers to its own packets among it."""
        unacknowledged = len(self._unacknowledged) + len(self._own)
        if len(self._out) <= self._door.settings.unread and unacknowledged <= UNACKNOWLEDGED:
            return
        # What the hub has not read is bounded by the flows of the others.
        if not self.finished and self._flow is not None and not self._flow.account.is_hub:
            self._leave()
            self._wire.abort()

    def _say(self, data: bytes) -> None:
        self._out += data

    @property
    def _blocked(self) -> bool:
        return len(self._unanswered) >= UNANSWERED or (self._flow is not None and self._flow.full)

    def _leave(self) -> None:
        self.finished = True
        self._session.close()
        if self._will is not None and self._flow is not None:
            self._door.retain(self._flow.account, self._will)
            self._will = None
        self._door.forget(self, self._flow)
        room, self.room = self.room, None
        if room is not None:
            room.leave()


def _disguised(connect: Connect, number: int) -> Connect:
    """A CONNECT as the broker may see it. A session that outlives the connection would be of no use to anybody."""
    will = connect.will and evolve(connect.will, qos=min(connect.will.qos, 1), retain=False)
    return Connect(client_id=f"visitor-{number}", clean_session=True, keepalive=0, will=will)
