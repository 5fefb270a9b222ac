"""The hub's front door: any bytes and packets of a client, before and after the decision about its CONNECT."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final

from fuzz.harness import Held, Tape, cut, tape, timer_moves, told
from fuzz.mqtt import CONNECT, LIMITS, OTHER, PARKED, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, packet
from thalovant_proto.errors import LocalProtocolError, RemoteProtocolError
from thalovant_proto.links.mqtt.packets import Connack, Connect, ConnectCode
from thalovant_proto.links.mqtt.server_session import (
    ClientClosed,
    ConnectReceived,
    PacketReceived,
    ServerEvent,
    ServerSession,
    ServerState,
)
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD

TOPICS: Final = ["a/b", "a/+", "#", "a/b/c/d/e", "$SYS/x", "will", "bad#"]
PACKET_LIMIT: Final = LIMITS.frame + TOPIC_HEAD
HELD: Final = 4 * PACKET_LIMIT + 2 * PARKED
CODES: Final = list(ConnectCode)


class Do(enum.IntEnum):
    """What happens next."""

    RAW = 0  # chunk
    PACKET = 1
    AGAIN = 2  # count: the last bytes so often
    ACCEPT = 3
    REFUSE = 4  # code
    WAIT = 5  # seconds
    TIMER = 6
    EOF = 7
    CLOSE = 8


DOINGS: Final = list(Do)


class Gatekeeper:
    """A client's session and what its owner knows of it. With `eager`, CONNECT is accepted as soon as it is there."""

    def __init__(self, size: int, *, eager: bool) -> None:
        self.now = 100.0
        self.session = ServerSession(now=self.now, packet_limit=PACKET_LIMIT, limits=LIMITS)
        self.events: list[ServerEvent] = []
        self.opened = False
        self.memory = Held(self.session, HELD)
        self._size = size
        self._eager = eager
        self._asked = self._over = False

    def receive(self, data: bytes) -> None:
        for piece in cut(data, self._size):
            self._take(self.session.receive_data(piece, self.now))
        self.memory.feed(len(data))
        assert self.session.buffered <= PACKET_LIMIT + PARKED + len(data)

    def decide(self, code: ConnectCode) -> None:
        deciding = self.session.state is ServerState.DECIDING
        try:
            if code is ConnectCode.ACCEPTED:
                self.session.accept(self.now)
            else:
                self.session.refuse(code)
        except LocalProtocolError:
            assert not deciding
            return
        assert deciding and self._asked
        if code is ConnectCode.ACCEPTED:
            self.opened = True
            self._take(self.session.receive_data(b"", self.now))
        else:
            self._over = True
            assert self.session.data_to_send() == Connack(code=code).encode()

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

    def eof(self) -> None:
        closed = self.session.eof(self.now)
        assert (closed is None) == self._over
        self._take([] if closed is None else [closed])

    def close(self) -> None:
        self.session.close()
        self._over = True

    def _take(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            assert not self._over, "an event after the last one"
            self.events.append(event)
            match event:
                case ConnectReceived(connect=connect, wire=wire):
                    assert not self._asked, "CONNECT comes once"
                    assert connect.encode() == wire
                    self._asked = True
                    if self._eager:
                        self.session.accept(self.now)
                        self.opened = True
                case PacketReceived(packet=found, wire=wire):
                    assert self.opened, "a packet before the door is open"
                    assert found.encode() == wire and not isinstance(found, Connect)
                case ClientClosed(error=error, clean=clean):
                    assert error is None or isinstance(error, RemoteProtocolError)
                    assert not clean or error is None
                    self._over = True
        if self._over:
            assert self.session.state is ServerState.CLOSED
            assert self.session.next_timeout is None


def one(data: bytes) -> object:
    tape = Tape(data)
    size, eager = 1 + tape.byte() % 64, bool(tape.byte() & 1)
    both = (Gatekeeper(0, eager=eager), Gatekeeper(size, eager=eager))
    last = b""
    for _ in tape.steps():
        last = act(tape, both, last)
        whole, pieces = both
        assert told(whole.events) == told(pieces.events), "the events depend on how the bytes were cut"
        assert whole.session.data_to_send() == pieces.session.data_to_send()
        assert whole.session.next_timeout == pieces.session.next_timeout, "the timer depends on how the bytes were cut"
        for door in both:
            door.events.clear()
            door.memory.check()
    return both[0] if both[0].opened else None


def act(tape: Tape, both: tuple[Gatekeeper, Gatekeeper], last: bytes) -> bytes:
    """One step for both; gives what to repeat."""
    match tape.pick(DOINGS):
        case Do.RAW | Do.PACKET | Do.AGAIN as doing:
            if doing is Do.AGAIN:
                data = last * (tape.byte() % 32)
            else:
                data = last = tape.chunk() if doing is Do.RAW else packet(tape, TOPICS)
            for door in both:
                door.receive(data)
        case Do.ACCEPT:
            for door in both:
                door.decide(ConnectCode.ACCEPTED)
        case Do.REFUSE:
            code = tape.pick(CODES[1:])
            for door in both:
                door.decide(code)
        case Do.WAIT:
            seconds = float(tape.byte())
            for door in both:
                door.wait(seconds)
        case Do.TIMER:
            for door in both:
                door.to_the_timer()
        case Do.EOF:
            for door in both:
                door.eof()
        case Do.CLOSE:
            for door in both:
                door.close()
    return last


def seeds() -> Iterator[bytes]:
    connect = tape(Do.PACKET, CONNECT, 0b1101, 10, "client", b"gone")
    said = tape(
        Do.PACKET, PUBLISH, 0, 1, 1, b"payload", Do.PACKET, SUBSCRIBE, 2, 2, 0, 1, 1, 0, Do.PACKET, UNSUBSCRIBE, 3, 1, 0
    )
    for head in (tape(1, 0), tape(1, 1)):
        yield head + connect + tape(Do.ACCEPT) + said + tape(Do.PACKET, OTHER, 0, 129, Do.WAIT, 9)
        yield head + connect + said + tape(Do.ACCEPT, Do.PACKET, OTHER, 0, 130, Do.TIMER)
        yield head + connect + tape(Do.PACKET, PUBLISH, 0, 1, 1, bytes(400), Do.AGAIN, 31, Do.ACCEPT)
        yield head + connect + tape(Do.REFUSE, 3, Do.PACKET, PUBLISH, 0, 1, 1, b"late", Do.EOF)
        yield head + connect + tape(Do.ACCEPT) + connect
        yield head + connect + tape(Do.ACCEPT, Do.PACKET, SUBSCRIBE, 1, 6, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1)
        yield head + connect + tape(Do.ACCEPT, Do.PACKET, PUBLISH, 3, 1, 1, b"deep", Do.CLOSE, Do.EOF)
        yield head + tape(Do.PACKET, CONNECT, 2, 0, "", b"", Do.ACCEPT, Do.WAIT, 255)
        yield head + tape(Do.RAW, b"\x10\x0c\0\6MQIsdp\3\2\0\x3c", Do.EOF)
        yield head + tape(Do.RAW, b"\x10\x0c\0\4MQTT\4\0\0\x3c\0\0", Do.EOF)
        yield head + tape(Do.RAW, b"GET / HTTP/1.1\r\n", Do.EOF)
        yield head + tape(Do.TIMER)
