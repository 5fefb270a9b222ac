"""A client's session with a broker: any bytes, valid packets out of turn, and our own sends between them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final

from fuzz.harness import Held, Tape, cut, tape, timer_moves, told
from fuzz.mqtt import CONNACK, HELD, LIMITS, OTHER, PINGRESP, PUBACK, PUBLISH, SUBACK, packet
from thalovant_proto.errors import LocalProtocolError, RemoteProtocolError
from thalovant_proto.links.mqtt.packets import Connect, Will
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
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD
from thalovant_proto.secret import Secret

CONNECT: Final = Connect(
    client_id="client", username="user", password=Secret(b"pass"), will=Will(topic="will", payload=b"gone")
)
TOPICS: Final = ["topic/one", "topic/two", "wild/card", "other", "$SYS/broker", "a" * 300]
FILTERS: Final = ["topic/one", "topic/two", "wild/+", "#", "bad/#/filter", ""]


class Do(enum.IntEnum):
    """What happens next."""

    RAW = 0  # chunk
    PACKET = 1  # a packet of the broker
    AGAIN = 2  # count: the last bytes so often
    WAIT = 3  # seconds
    TIMER = 4
    SUBSCRIBE = 5  # count, filters and their QoS
    PUBLISH = 6  # topic, flags, chunk
    DRAIN = 7
    EOF = 8
    DISCONNECT = 9  # will?


DOINGS: Final = list(Do)


class Broker:
    """A session and what its owner knows of it."""

    def __init__(self, size: int, *, cut_oversize: bool) -> None:
        self.session = MqttSession(
            CONNECT, packet_limit=LIMITS.frame + TOPIC_HEAD, limits=LIMITS, cut_oversize=cut_oversize
        )
        self.now = 100.0
        self.events: list[SessionEvent] = []
        self.connected = False
        self.closed = False
        self.memory = Held(self.session, HELD)
        self._size = size
        self._sent = 0
        self._known: set[int] = set()
        self.session.open(self.now)

    def receive(self, data: bytes) -> None:
        for piece in cut(data, self._size):
            self._take(self.session.receive_data(piece, self.now))
        self.memory.feed(len(data))

    def wait(self, seconds: float) -> None:
        due = self.session.next_timeout
        if due is not None and due > self.now:
            assert self.session.handle_timeout(self.now) == [], "a timeout that is called early makes no event"
            assert self.session.next_timeout == due, "a timeout that is called early changes nothing"
        self.now += seconds
        self._take(self.session.handle_timeout(self.now))
        timer_moves(self.session, self.now)

    def to_the_timer(self) -> None:
        if (due := self.session.next_timeout) is not None:
            self.wait(max(0.0, due - self.now))

    def subscribe(self, filters: list[tuple[str, int]]) -> None:
        try:
            self.session.subscribe(filters, self.now)
        except LocalProtocolError:
            return
        assert self.connected and not self.closed

    def publish(self, topic: str, flags: int, payload: bytes) -> None:
        try:
            self.session.publish(topic, payload, self.now, qos=flags & 3, retain=bool(flags & 4), token=self._sent + 1)
        except LocalProtocolError:
            return
        assert self.connected and not self.closed
        self._sent += 1

    def drain(self) -> None:
        assert self.session.has_data == bool(self.session.data_to_send())

    def eof(self) -> None:
        closed = self.session.eof(self.now)
        assert closed is not None or self.closed
        self._take([] if closed is None else [closed])

    def disconnect(self, will: bool) -> None:
        unsent = self.session.disconnect(self.now, will=will)
        assert all(0 < token <= self._sent and token not in self._known for token in unsent)
        self.closed = True

    def _take(self, events: Iterable[SessionEvent]) -> None:
        for event in events:
            assert not self.closed, "an event after the last one"
            self.events.append(event)
            match event:
                case Connected():
                    assert not self.connected
                    self.connected = True
                case MessageReceived(topic=topic):
                    assert self.connected and topic
                case Published(token=token):
                    assert token is None or token not in self._known, "a second receipt"
                    self._known |= {token} if token is not None else set()
                case Subscribed(granted=granted):
                    assert granted
                case SessionClosed(error=error, unsent=unsent):
                    assert error is None or isinstance(error, RemoteProtocolError)
                    assert len(set(unsent)) == len(unsent) and not self._known & set(unsent)
                    self.closed = True
        if self.closed:
            assert self.session.state is State.CLOSED
            assert self.session.next_timeout is None


def one(data: bytes) -> object:
    tape = Tape(data)
    size, oversize = 1 + tape.byte() % 64, bool(tape.byte() & 1)
    both = (Broker(0, cut_oversize=oversize), Broker(size, cut_oversize=oversize))
    last = b""
    for _ in tape.steps():
        last = act(tape, both, last)
        whole, pieces = both
        assert told(whole.events) == told(pieces.events), "the events depend on how the bytes were cut"
        assert whole.session.next_timeout == pieces.session.next_timeout, "the timer depends on how the bytes were cut"
        for end in both:
            end.events.clear()
            end.memory.check()
    return both[0] if both[0].connected else None


def act(tape: Tape, both: tuple[Broker, Broker], last: bytes) -> bytes:
    """One step for both; gives what to repeat."""
    match tape.pick(DOINGS):
        case Do.RAW | Do.PACKET | Do.AGAIN as doing:
            if doing is Do.AGAIN:
                data = last * (tape.byte() % 32)
            else:
                data = last = tape.chunk() if doing is Do.RAW else packet(tape, TOPICS)
            for end in both:
                end.receive(data)
        case Do.WAIT:
            seconds = float(tape.byte())
            for end in both:
                end.wait(seconds)
        case Do.TIMER:
            for end in both:
                end.to_the_timer()
        case Do.SUBSCRIBE:
            filters = [(tape.pick(FILTERS), tape.byte() % 3) for _ in range(tape.byte() % 4)]
            for end in both:
                end.subscribe(filters)
        case Do.PUBLISH:
            topic, flags, payload = tape.pick([*TOPICS, "no/+/name", ""]), tape.byte(), tape.chunk()
            for end in both:
                end.publish(topic, flags, payload)
        case Do.DRAIN:
            for end in both:
                end.drain()
        case Do.EOF:
            for end in both:
                end.eof()
        case Do.DISCONNECT:
            will = bool(tape.byte() & 1)
            for end in both:
                end.disconnect(will)
    return last


def seeds() -> Iterator[bytes]:
    start = tape(1, 0, Do.PACKET, CONNACK, 0, 0)
    listening = start + tape(Do.SUBSCRIBE, 2, 0, 1, 2, 1, Do.PACKET, SUBACK, 1, b"\1\1")
    yield listening + tape(
        Do.PACKET, PUBLISH, 0, 1, 9, b"payload", Do.AGAIN, 3, Do.PACKET, PUBLISH, 0, 9, 9, b"payload"
    )
    yield listening + tape(Do.PACKET, PUBLISH, 2, 4, 0, b"retained", Do.PACKET, PUBLISH, 3, 1, 1, b"not asked for")
    yield listening + tape(Do.PACKET, PUBLISH, 0, 2, 9, b"QoS 2")
    yield start + tape(Do.SUBSCRIBE, 1, 0, 0, Do.PACKET, SUBACK, 1, b"\x80", Do.PACKET, SUBACK, 1, b"\0")
    yield start + 6 * tape(Do.PUBLISH, 0, 1, b"x") + tape(Do.DRAIN, Do.PACKET, PUBACK, 1, Do.PACKET, PUBACK, 2, Do.EOF)
    yield start + tape(Do.PUBLISH, 0, 0, b"x" * 3000, Do.PUBLISH, 0, 1, b"x" * 5000, Do.DISCONNECT, 0, Do.DRAIN)
    yield start + tape(Do.TIMER, Do.DRAIN, Do.PACKET, PINGRESP, Do.WAIT, 100, Do.TIMER, Do.TIMER, Do.TIMER)
    yield start + tape(Do.PACKET, OTHER, 1, 0, Do.PACKET, PINGRESP)
    for code in range(6):
        yield tape(1, 0, Do.PACKET, CONNACK, code, 0, Do.DRAIN)
    yield tape(1, 1, Do.WAIT, 11)
    oversize = b"\x30\x90\xa7\x04\0\x09topic/one" + bytes(300)
    yield tape(1, 1, Do.PACKET, CONNACK, 0, 0, Do.SUBSCRIBE, 1, 0, 1, Do.RAW, oversize) + 20 * tape(Do.RAW, bytes(4000))
