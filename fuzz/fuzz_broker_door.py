"""The front door of the embedded broker: any bytes and packets of a client, and a broker that passes things on."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator
from typing import Final

from fuzz.harness import Tape, cut, tape
from fuzz.mqtt import CONNECT, LIMITS, OTHER, PUBACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, packet
from thalovant.hub.broker.accounts import Account, Accounts
from thalovant.hub.broker.gatekeeper import CONNECTIONS, RETAINED, BrokerEnd, Gatekeeper, MqttConnection
from thalovant.hub.settings import Settings
from thalovant.hub.storage.clients import Registry
from thalovant.hub.storage.sqlite import Store
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD
from thalovant_proto.secret import Secret

KEY: Final = "0123456789abcdef"
BASE: Final = "hivemind"
TOPICS: Final = [
    f"{BASE}/{KEY}/in",
    f"{BASE}/{KEY}/out",
    f"{BASE}/{KEY}/status",
    f"{BASE}/hub/c2s/{KEY}",
    f"{BASE}/hub/status/{KEY}",
    f"{BASE}/fedcba9876543210/in",
    f"{BASE}/+/in",
    "#",
    "$share/g/a",
]
IN, OUT, STATUS = range(3)
SETTINGS: Final = Settings(unread=3000, mqtt=LIMITS)
#: What may be asked of the broker, and what the client may be told.
ASKED: Final = (Connect, Publish, Subscribe, Unsubscribe, Puback, Disconnect)
TOLD: Final = (Connack, Puback, Pubrec, Pubcomp, Suback, Unsuback, Pingresp, Publish)


def _account() -> Account:
    state = Store.open(None, now=datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
    registry = Registry(state)
    accounts = Accounts(registry, Secret(bytes(32)))
    client = registry.add("client")
    name, password = accounts.credentials(client)
    found = accounts.authenticate(Connect(client_id="", username=name, password=Secret(password.as_bytes())))
    state.close(now=datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
    assert found is not None
    own = client.access_key.reveal()
    publishes, subscribes = (
        tuple(topic.replace(own, KEY) for topic in topics) for topics in (found.publishes, found.subscribes)
    )
    return Account(name="client", owner=KEY, publishes=publishes, subscribes=subscribes)


ACCOUNT: Final = _account()


class Do(enum.IntEnum):
    """What happens next."""

    RAW = 0  # chunk
    PACKET = 1
    AGAIN = 2  # count: the last bytes so often
    ANSWER = 3  # the broker answers the oldest question
    MESSAGE = 4  # topic, QoS, chunk: the broker passes something on
    DRAIN = 5
    WAIT = 6  # seconds
    NEXT = 7  # another connection of the account
    EOF = 8
    ENDED = 9  # by the broker


DOINGS: Final = list(Do)


def packets(data: bytes) -> list[Packet]:
    """Bytes as packets, which they must be, to the last one."""
    framer, found = Framer(MAX_REMAINING), []
    framer.feed(data)
    while (raw := framer.next_packet()) is not None:
        found.append(decode(raw.first, raw.body))
    assert framer.buffered == 0
    return found


class Inside:
    """The broker's end of one connection."""

    def __init__(self) -> None:
        self.heard: list[Packet] = []
        self.questions: list[Packet] = []
        self.left = False
        self._numbers = 0

    def hear(self, data: bytes) -> None:
        assert not self.left, "something is said for a client that has left"
        for found in packets(data):
            assert isinstance(found, ASKED)
            match found:
                case Connect():
                    assert not self.heard and found.clean_session and not found.keepalive
                    assert found.username is None and found.password is None
                    assert found.will is None or not found.will.retain
                case Publish(topic=topic, qos=qos, retain=retain):
                    assert topic in ACCOUNT.publishes and qos < 2 and not retain
                case Subscribe(filters=filters):
                    assert all(name in ACCOUNT.subscribes and qos < 2 for name, qos in filters)
            self.heard.append(found)
            if isinstance(found, Connect | Subscribe | Unsubscribe) or (isinstance(found, Publish) and found.qos):
                self.questions.append(found)

    def leave(self) -> None:
        self.left = True

    def answer(self) -> bytes:
        """To the oldest packet that wants one."""
        if not self.questions:
            return b""
        match self.questions.pop(0):
            case Subscribe(packet_id=number, filters=filters):
                return Suback(packet_id=number, codes=tuple(qos for _, qos in filters)).encode()
            case Unsubscribe(packet_id=number):
                return Unsuback(number).encode()
            case Publish(packet_id=int(number)):
                return Puback(number).encode()
        return Connack().encode()

    def message(self, topic: str, qos: int, payload: bytes) -> bytes:
        """A message for the client, with the broker's next number."""
        self._numbers = self._numbers % 60_000 + 1
        return Publish(topic=topic, payload=payload, qos=qos, packet_id=self._numbers if qos else None).encode()


class Threshold:
    """A door, and the newest connection of its only account."""

    def __init__(self, size: int) -> None:
        self.now = 100.0
        self.held = self.aborted = False
        self.told: list[Packet] = []
        self.rooms: list[Inside] = []
        self._size = size
        self._door = Gatekeeper(lambda connect: ACCOUNT if connect.username else None, self._enter, settings=SETTINGS)
        self.begin()

    def _enter(self, visitor: MqttConnection, connect: Connect, before: BrokerEnd | None) -> BrokerEnd:
        assert not isinstance(before, Inside) or before.left, "two sessions under one client id"
        self.rooms.append(Inside())
        self.rooms[-1].hear(connect.encode())
        return self.rooms[-1]

    def wake(self) -> None:
        pass

    def hold(self, hold: bool) -> None:
        self.held = hold

    def abort(self) -> None:
        self.aborted = True

    def begin(self) -> None:
        self.held = self.aborted = False
        self.visitor = self._door.visitor(self, self.now)

    @property
    def room(self) -> Inside | None:
        return self.visitor.room if isinstance(self.visitor.room, Inside) else None

    def receive(self, data: bytes) -> None:
        for piece in cut(data, self._size):
            if not (self.visitor.finished or self.held):  # a driver reads no more
                self.visitor.receive_data(piece, self.now)

    def said(self, data: bytes) -> None:
        if data:
            self.visitor.said(data)

    def drain(self) -> None:
        data = self.visitor.data_to_send()
        assert len(data) <= SETTINGS.unread + LIMITS.frame + 2 * TOPIC_HEAD
        for found in packets(data):
            assert isinstance(found, TOLD)
            if isinstance(found, Publish):
                assert found.topic in ACCOUNT.subscribes and (not found.retain or len(found.payload) <= RETAINED)
            self.told.append(found)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.visitor.handle_timeout(self.now)

    def check(self) -> None:
        assert len(self._door) <= CONNECTIONS
        if self.visitor.finished:
            assert self.visitor.room is None and self.visitor.next_timeout is None


def one(data: bytes) -> object:
    reader = Tape(data)
    size = 1 + reader.byte() % 64
    both = (Threshold(0), Threshold(size))
    last = b""
    for _ in reader.steps():
        last = act(reader, both, last)
        whole, pieces = both
        for door in both:
            door.check()
        # How much is read before a client is held back or cut off depends on how its bytes come; nothing else does.
        if not any(door.held or door.aborted for door in both):
            assert [room.heard for room in whole.rooms] == [room.heard for room in pieces.rooms]
            assert whole.visitor.finished == pieces.visitor.finished
        else:
            break
    for door in both:
        door.drain()
    return both[0] if both[0].rooms else None


def act(reader: Tape, both: tuple[Threshold, Threshold], last: bytes) -> bytes:
    """One step for both; gives what to repeat."""
    match reader.pick(DOINGS):
        case Do.RAW | Do.PACKET | Do.AGAIN as doing:
            if doing is Do.AGAIN:
                data = last * (reader.byte() % 32)
            else:
                data = last = reader.chunk() if doing is Do.RAW else packet(reader, TOPICS)
            for door in both:
                door.receive(data)
        case Do.ANSWER:
            for door in both:
                door.said(b"" if door.room is None else door.room.answer())
        case Do.MESSAGE:
            topic, qos, payload = reader.pick(TOPICS[:6]), reader.byte() % 2, reader.chunk()[: LIMITS.frame]
            for door in both:
                door.said(b"" if door.room is None else door.room.message(topic, qos, payload))
        case Do.DRAIN:
            for door in both:
                door.drain()
        case Do.WAIT:
            seconds = float(reader.byte())
            for door in both:
                door.wait(seconds)
        case Do.NEXT:
            for door in both:
                door.drain()
                door.begin()
        case Do.EOF:
            for door in both:
                door.visitor.eof(door.now)
        case Do.ENDED:
            for door in both:
                door.visitor.ended()
    return last


def seeds() -> Iterator[bytes]:
    enter = tape(Do.PACKET, CONNECT, 0b1100, 10, "client", Do.ANSWER)
    listen = tape(Do.PACKET, SUBSCRIBE, 1, 3, OUT, 1, STATUS, 2, 7, 0, Do.ANSWER)
    say = b"".join(tape(Do.PACKET, PUBLISH, IN, qos, qos, b"payload") for qos in range(3))
    for size in (0, 2):
        start = tape(size) + enter
        yield start + listen + say + 3 * tape(Do.ANSWER) + tape(Do.PACKET, OTHER, 2, 1, Do.DRAIN)  # PUBREL
        yield start + listen + tape(Do.MESSAGE, OUT, 1, b"x", Do.PACKET, PUBACK, 1, Do.MESSAGE, IN, 0, b"y", Do.DRAIN)
        retain = tape(Do.PACKET, PUBLISH, STATUS, 5, 9, b"online", Do.ANSWER)
        yield start + retain + listen + tape(Do.NEXT) + enter + listen + tape(Do.DRAIN, Do.PACKET, PUBACK, 255)
        yield start + listen + tape(Do.PACKET, UNSUBSCRIBE, 2, 1, OUT, Do.MESSAGE, OUT, 1, b"late", Do.ANSWER, Do.EOF)
        yield start + tape(Do.PACKET, OTHER, 0, 128, Do.AGAIN, 31, Do.DRAIN, Do.PACKET, OTHER, 0, 129)  # pings, goodbye
        yield start + tape(Do.NEXT) + enter + tape(Do.ENDED, Do.WAIT, 255)
        yield start + tape(Do.PACKET, PUBLISH, 5, 1, 1, b"another's", Do.PACKET, SUBSCRIBE, 1, 1, 6, 1, Do.DRAIN)
        yield tape(size, Do.PACKET, CONNECT, 0, 0, "nobody", Do.DRAIN)
        yield tape(size, Do.RAW, b"GET / HTTP/1.1\r\n", Do.DRAIN)
