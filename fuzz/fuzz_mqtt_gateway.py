"""The hub's end of MQTT: a broker that says anything, and clients behind it that come, speak and go."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final

from fuzz.harness import FRAME_TYPES, Driven, Held, Tape, cut, tape, timer_moves, told
from fuzz.mqtt import CONNACK, HELD, LIMITS, PUBACK, PUBLISH, SUBACK, packet
from thalovant_proto.carrier import Frame
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.links.mqtt.gateway import (
    EchoMissed,
    GatewayClosed,
    GatewayEvent,
    GatewayReady,
    MqttHubGateway,
    MqttPeerLink,
    PeerArrived,
    PeerEnded,
    PeerInput,
    RivalSeen,
)

KEYS: Final = ["one", "two", "three", "four", "five"]
TOPICS: Final = [
    *(f"p/{key}/in" for key in KEYS),
    *(f"p/{key}/status" for key in KEYS),
    "l/c2s/one",
    "l/status/one",
    "p/hub/status",
    "l/status/hub",
    "p//in",
    "elsewhere",
]
STATUS: Final = len(KEYS)  # where the status topics begin


class Do(enum.IntEnum):
    """What happens next."""

    RAW = 0  # chunk
    PACKET = 1
    AGAIN = 2  # count: the last bytes so often
    WAIT = 3  # seconds
    TIMER = 4
    SEND = 5  # peer, type, chunk
    CLOSE_PEER = 6  # peer
    DRAIN = 7
    EOF = 8
    CLOSE = 9


DOINGS: Final = list(Do)


class World:
    """A gateway, its links, and its driver."""

    def __init__(self, size: int) -> None:
        self.now = 100.0
        self.gateway = MqttHubGateway(
            "mqtt://broker",
            client_id="hub",
            topic_prefix="p",
            legacy_prefix="l",
            hub_name="hub",
            secure=True,
            limits=LIMITS,
        )
        self.said: list[object] = []
        self.peers: list[Driven] = []
        self.arrived = False
        self.closed = False
        self.memory = Held(self.gateway, HELD)
        self._size = size
        self._socket = True
        self._of_link: dict[MqttPeerLink, Driven] = {}
        self._take(self.gateway.socket_opened(self.now))

    def receive(self, data: bytes) -> None:
        for piece in cut(data, self._size):
            self._take(self.gateway.receive_data(piece, self.now))
        self.memory.feed(len(data))

    def wait(self, seconds: float) -> None:
        due = self.gateway.next_timeout
        if due is not None and due > self.now:
            assert self.gateway.handle_timeout(self.now) == [], "a timeout that is called early makes no event"
            assert self.gateway.next_timeout == due, "a timeout that is called early changes nothing"
        self.now += seconds
        self._take(self.gateway.handle_timeout(self.now))
        timer_moves(self.gateway, self.now)

    def to_the_timer(self) -> None:
        if (due := self.gateway.next_timeout) is not None:
            self.wait(max(0.0, due - self.now))

    def peer(self, number: int) -> Driven | None:
        alive = [driven for driven in self.peers if driven.closed is None]
        if not alive:
            return None
        driven = alive[number % len(alive)]
        driven.now = self.now
        return driven

    def send(self, number: int, frame: Frame) -> None:
        if (driven := self.peer(number)) is not None:
            driven.send(frame)

    def close_peer(self, number: int) -> None:
        if (driven := self.peer(number)) is not None:
            driven.close()

    def drain(self) -> None:
        if self._socket:
            self.said.append(self.gateway.data_to_send())
        if self.closed:
            assert not self.gateway.wants_socket, "a gateway that has closed, and is drained, wants no socket"

    def eof(self) -> None:
        self._socket = False
        self._take(self.gateway.eof(self.now))

    def close(self) -> None:
        self._take(self.gateway.close(self.now))

    def settle(self) -> None:
        """What both worlds must agree on, in order."""
        for driven in self.peers:
            self.said += [told(event) for event in driven.events]
            driven.events.clear()
        self.peers = [driven for driven in self.peers if driven.closed is None]
        assert self.gateway.peers <= LIMITS.peers
        assert len(self.peers) >= self.gateway.peers
        self.memory.check()

    def _take(self, events: Iterable[GatewayEvent]) -> None:
        for event in events:
            assert not self.closed, "an event after the last one"
            self.said.append(told(event))
            match event:
                case PeerArrived(link=link):
                    self.arrived = True
                    assert link not in self._of_link
                    driven = self._of_link[link] = Driven(link, now=self.now)
                    driven.turn()
                    self.peers.append(driven)
                case PeerInput(link=link, data=data):
                    self._of_link[link].now = self.now
                    self._of_link[link].receive(data)
                case PeerEnded(link=link):
                    driven = self._of_link.pop(link)
                    driven.eof()
                    assert driven.closed is not None
                case GatewayClosed(error=error):
                    assert error is None or isinstance(error, RemoteProtocolError)
                    assert all(driven.closed is not None for driven in self.peers), "a link outlives its gateway"
                    self.closed = True
                case _:
                    assert isinstance(event, GatewayReady | RivalSeen | EchoMissed)
        if self.closed:
            assert self.gateway.next_timeout is None
            assert self.gateway.peers == 0


def one(data: bytes) -> object:
    tape = Tape(data)
    both = (World(0), World(1 + tape.byte() % 64))
    last = b""
    for _ in tape.steps():
        last = act(tape, both, last)
        for world in both:
            world.settle()
        whole, pieces = both
        assert whole.said == pieces.said, "the events depend on how the bytes were cut"
        assert whole.gateway.next_timeout == pieces.gateway.next_timeout, "the timer depends on how the bytes were cut"
        for world in both:
            world.said.clear()
    return both[0] if both[0].arrived else None


def act(tape: Tape, both: tuple[World, World], last: bytes) -> bytes:
    """One step in both worlds; gives what to repeat."""
    match tape.pick(DOINGS):
        case Do.RAW | Do.PACKET | Do.AGAIN as doing:
            if doing is Do.AGAIN:
                data = last * (tape.byte() % 32)
            else:
                data = last = tape.chunk() if doing is Do.RAW else packet(tape, TOPICS)
            for world in both:
                world.receive(data)
        case Do.WAIT:
            seconds = float(2 * tape.byte())
            for world in both:
                world.wait(seconds)
        case Do.TIMER:
            for world in both:
                world.to_the_timer()
        case Do.SEND:
            number, frame = tape.byte(), Frame(type=tape.pick(FRAME_TYPES), data=tape.chunk())
            for world in both:
                world.send(number, frame)
        case Do.CLOSE_PEER:
            number = tape.byte()
            for world in both:
                world.close_peer(number)
        case Do.DRAIN:
            for world in both:
                world.drain()
        case Do.EOF:
            for world in both:
                world.eof()
        case Do.CLOSE:
            for world in both:
                world.close()
    return last


def seeds() -> Iterator[bytes]:
    ready = tape(1, Do.PACKET, CONNACK, 0, 0, Do.DRAIN, Do.PACKET, SUBACK, 1, b"\1\1\1\1", Do.DRAIN)
    frame = b'{"msg_type": "hello", "payload": {}}'
    arrived = ready + b"".join(tape(Do.PACKET, PUBLISH, key, 1, 1 + key, frame) for key in range(2))
    acked = b"".join(tape(Do.PACKET, PUBACK, number) for number in range(2, 8))
    yield arrived + tape(Do.SEND, 0, 0, frame, Do.SEND, 1, 1, b"sealed", Do.DRAIN) + acked
    yield arrived + tape(Do.SEND, 0, 0, frame, Do.CLOSE_PEER, 0, Do.DRAIN) + acked
    yield arrived + tape(Do.SEND, 0, 0, frame, Do.PACKET, PUBLISH, STATUS, 1, 9, b"offline", Do.DRAIN)
    yield arrived + tape(
        Do.SEND, 0, 0, frame, Do.CLOSE_PEER, 0, Do.PACKET, PUBLISH, STATUS, 1, 9, b"offline", Do.AGAIN, 2
    )
    yield arrived + b"".join(tape(Do.PACKET, PUBLISH, key, 1, 9 + key, frame) for key in range(5))
    yield arrived + tape(Do.WAIT, 150, Do.TIMER, Do.TIMER, Do.DRAIN)
    yield arrived + 12 * tape(Do.SEND, 0, 1, bytes(900)) + tape(Do.CLOSE, Do.WAIT, 2, Do.DRAIN)
    yield arrived + tape(Do.CLOSE, Do.DRAIN, Do.EOF)
    yield arrived + tape(Do.EOF)
    yield arrived + tape(Do.PACKET, PUBLISH, 10, 0, 0, b"\1bits", Do.PACKET, PUBLISH, 11, 0, 0, b"offline")
    online = tape(Do.PACKET, PUBLISH, 12, 1, 9, b"online", Do.PACKET, PUBLISH, 13, 1, 8, b"online")
    yield ready + online + online + tape(Do.TIMER)
    yield ready + online[:12] + tape(Do.TIMER, Do.TIMER)
    oversize = b"\x30\xf0\xad\x04\0\x08p/one/in" + bytes(300)
    yield arrived + tape(Do.RAW, oversize) + 20 * tape(Do.RAW, bytes(4000))
    yield tape(1, Do.PACKET, CONNACK, 0, 0, Do.PACKET, SUBACK, 1, b"\1\x80\1\1", Do.DRAIN)
    for code in range(6):
        yield tape(1, Do.PACKET, CONNACK, code, 0, Do.DRAIN)
