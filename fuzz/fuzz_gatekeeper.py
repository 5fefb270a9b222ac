"""The gatekeeper of the embedded broker: any bytes and packets of a client, a broker and a hub that send messages."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator
from typing import Final

from fuzz.harness import Tape, cut, tape
from fuzz.mqtt import CONNECT, LIMITS, OTHER, PUBACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, packet
from thalovant.hub.broker.accounts import Account, Accounts
from thalovant.hub.broker.connection import MqttConnection
from thalovant.hub.broker.gatekeeper import CONNECTIONS, RETAINED, Gatekeeper
from thalovant.hub.settings import Settings
from thalovant.hub.storage.clients import Registry
from thalovant.hub.storage.sqlite import Store
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import (
    Connack,
    Connect,
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
SETTINGS: Final = Settings(unsent=3000, mqtt=LIMITS)
#: What may be asked of the broker, and what the client may be told.
ASKED: Final = (Subscribe, Unsubscribe)
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
    MESSAGE = 4  # topic, QoS, chunk: the broker passes something on, or with a QoS the hub says something
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


class End:
    """The broker's end of one connection."""

    def __init__(self) -> None:
        self.received: list[Packet] = []
        self.questions: list[Packet | None] = [None]  # None: CONNECT
        self.ended = False

    def receive_data(self, data: bytes) -> None:
        assert not self.ended, "the broker is asked for a client that is gone"
        for found in packets(data):
            assert isinstance(found, ASKED)
            match found:
                case Subscribe(filters=filters):
                    assert all(name in ACCOUNT.subscribes and qos < 2 for name, qos in filters)
            self.received.append(found)
            self.questions.append(found)

    def feed_eof(self) -> None:
        self.ended = True

    def answer(self) -> bytes:
        """To the oldest packet that wants one."""
        if not self.questions:
            return b""
        match self.questions.pop(0):
            case Subscribe(packet_id=number, filters=filters):
                return Suback(packet_id=number, codes=tuple(qos for _, qos in filters)).encode()
            case Unsubscribe(packet_id=number):
                return Unsuback(number).encode()
        return Connack().encode()


class Threshold:
    """A gatekeeper, the newest connection of its only account, and the hub."""

    def __init__(self, size: int) -> None:
        self.now = 100.0
        self.held = self.aborted = False
        self.written: list[Packet] = []
        self.heard: list[Packet] = []
        self.ends: list[End] = []
        self._connections: list[MqttConnection] = []
        self._size = size
        self._gatekeeper = Gatekeeper(self.authenticate, self.publish, settings=SETTINGS)
        self._hub = self._gatekeeper.connect_hub(self.wake, self.wake)
        self._hub.write(Subscribe(packet_id=1, filters=((f"{BASE}/+/in", 1), (f"{BASE}/+/status", 1))).encode())
        self._hub.data_to_send()
        self.begin()

    def authenticate(self, connect: Connect) -> Account | None:
        return ACCOUNT if connect.username else None

    def connect(self, connection: MqttConnection) -> End:
        self.ends.append(End())
        return self.ends[-1]

    def publish(self, topic: str, payload: bytes) -> None:
        assert topic in ACCOUNT.publishes and topic in ACCOUNT.subscribes

    def wake(self) -> None:
        pass

    def hold(self, hold: bool) -> None:
        self.held = hold

    def abort(self) -> None:
        self.aborted = True

    def begin(self) -> None:
        self.held = self.aborted = False
        self.connection = MqttConnection(self._gatekeeper, self, self, self.now)
        self._connections.append(self.connection)

    @property
    def end(self) -> End | None:
        return self.connection.broker_end if isinstance(self.connection.broker_end, End) else None

    def receive(self, data: bytes) -> None:
        for piece in cut(data, self._size):
            if not (self.connection.finished or self.held):  # a driver reads no more
                self.connection.receive_data(piece, self.now)

    def answer(self) -> None:
        if self.end is not None and (data := self.end.answer()):
            self.connection.receive_from_broker(data)

    def message(self, topic: str, qos: int, payload: bytes) -> None:
        if qos:
            self._hub.write(Publish(topic=topic, payload=payload, qos=1, packet_id=1).encode())
        elif self.end is not None:
            self.connection.receive_from_broker(Publish(topic=topic, payload=payload).encode())

    def drain(self) -> None:
        data = self.connection.data_to_send()
        assert len(data) <= SETTINGS.unsent + LIMITS.frame + 2 * TOPIC_HEAD
        for found in packets(data):
            assert isinstance(found, TOLD)
            if isinstance(found, Publish):
                assert found.topic in ACCOUNT.subscribes and (not found.retain or len(found.payload) <= RETAINED)
            self.written.append(found)
        for found in packets(self._hub.data_to_send()):
            assert isinstance(found, Publish | Puback)
            self.heard.append(found)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.connection.handle_timeout(self.now)

    def check(self) -> None:
        assert sum(one.broker_end is not None for one in self._connections) <= CONNECTIONS
        if self.connection.finished:
            assert self.connection.broker_end is None and self.connection.next_timeout is None


def one(data: bytes) -> object:
    reader = Tape(data)
    size = 1 + reader.byte() % 64
    both = (Threshold(0), Threshold(size))
    last = b""
    for _ in reader.steps():
        last = act(reader, both, last)
        whole, pieces = both
        for gate in both:
            gate.check()
        # How much is read before a client is held back or cut off depends on how its bytes come; nothing else does.
        if not any(gate.held or gate.aborted for gate in both):
            assert [end.received for end in whole.ends] == [end.received for end in pieces.ends]
            assert whole.connection.finished == pieces.connection.finished
            assert whole.heard == pieces.heard
        else:
            break
    for gate in both:
        gate.drain()
    return both[0] if both[0].ends else None


def act(reader: Tape, both: tuple[Threshold, Threshold], last: bytes) -> bytes:
    """One step for both; gives what to repeat."""
    match reader.pick(DOINGS):
        case Do.RAW | Do.PACKET | Do.AGAIN as doing:
            if doing is Do.AGAIN:
                data = last * (reader.byte() % 32)
            else:
                data = last = reader.chunk() if doing is Do.RAW else packet(reader, TOPICS)
            for gate in both:
                gate.receive(data)
        case Do.ANSWER:
            for gate in both:
                gate.answer()
        case Do.MESSAGE:
            topic, qos, payload = reader.pick(TOPICS[:6]), reader.byte() % 2, reader.chunk()[: LIMITS.frame]
            for gate in both:
                gate.message(topic, qos, payload)
        case Do.DRAIN:
            for gate in both:
                gate.drain()
        case Do.WAIT:
            seconds = float(reader.byte())
            for gate in both:
                gate.wait(seconds)
        case Do.NEXT:
            for gate in both:
                gate.drain()
                gate.begin()
        case Do.EOF:
            for gate in both:
                gate.connection.eof(gate.now)
        case Do.ENDED:
            for gate in both:
                gate.connection.broker_ended()
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
