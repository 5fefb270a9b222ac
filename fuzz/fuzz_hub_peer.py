"""A hub's peer over WSS: bytes, WebSocket frames, and what a client that holds every key puts into sealed ones.

Two peers get the same, one of them in other pieces.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from fuzz.conversation import GENERATIONS, LIMITS, MESSAGES, PARKED, TYPES, seal
from fuzz.harness import Held, Tape, cut, tape, timer_moves, told
from fuzz.seeds import sealed_texts, wire1_frames
from tests.proto.links.wss.ws_wire import raw_frame
from tests.proto.pair import ACCESS_KEY, WSS, client_side, hub_side, quick, stream
from tests.proto.puppet import Puppet
from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials, Frame
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.errors import DecodeError, LocalProtocolError, ProtocolError, RemoteProtocolError
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import HubPeer, PeerClosed, PeerIdentified
from thalovant_proto.links.base import FrameReceived
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.common import WssLimits
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.outcomes import Outcome
from thalovant_proto.secret import Secret

WSS_LIMITS: Final = WssLimits(message=LIMITS.frame)
#: What the connection may hold, a message in frames, and the slice of 64 KiB that wsproto is fed.
HELD: Final = 2 * (LIMITS.reassembly + PARKED + LIMITS.frame) + 4 * WSS_LIMITS.message + 64 * 1024


class Do(enum.IntEnum):
    """What happens next."""

    UPGRADE = 0  # known?: the client shows its access key
    LAWFUL = 1  # the client says what is due
    SEALED = 2  # binary?, chunk: the client seals these bytes under the keys
    CLEAR = 3  # type, chunk: a frame of the hub protocol
    FRAME = 4  # opcode, chunk: a WebSocket frame
    RAW = 5  # chunk
    WAIT = 6  # tenths of a second
    TIMER = 7
    DERIVE = 8
    SEND = 9  # kind, chunk
    CLOSE = 10
    EOF = 11


DOINGS: Final = list(Do)


class End:
    """A peer and what its hub knows of it."""

    def __init__(self, side: HubSide, size: int) -> None:
        self.now = 0.0
        self.told: list[Outcome | e.Event] = []
        self.proven = False
        self._side = side
        self._size = size
        self._identified = False
        self._closed: PeerClosed | None = None
        self._derivations: list[DeriveKey] = []
        self.peer = HubPeer(
            WssServerLink(limits=WSS_LIMITS, secure=True), self._register, entropy=stream("hub"), now=0.0, limits=LIMITS
        )
        self.memory = Held(self.peer, HELD)

    @property
    def closed(self) -> bool:
        """Whether the last outcome was told."""
        return self._closed is not None

    def receive(self, data: bytes) -> None:
        for piece in cut(data, self._size):
            self.peer.receive_data(piece, self.now)
        self.memory.feed(len(data))

    def wait(self, seconds: float) -> None:
        due = self.peer.next_timeout
        if due is not None and due > self.now:
            self.peer.handle_timeout(self.now)
            assert self.peer.outcomes() == [], "a timeout that is called early makes no outcome"
            assert self.peer.next_timeout == due, "a timeout that is called early changes nothing"
        self.now += seconds
        self.peer.handle_timeout(self.now)
        timer_moves(self.peer, self.now)

    def send(self, message: e.Message) -> None:
        try:
            self.peer.send(message, self.now)
        except LocalProtocolError:
            return
        assert self.proven and self._closed is None

    def derive(self) -> None:
        for effect in self._derivations:
            self.peer.effect_done(effect.id, quick(effect), self.now)
        self._derivations.clear()

    def settle(self, *, hold: bool) -> None:
        """Take the outcomes, and answer derivations unless they are held."""
        self._derivations += self.peer.effects()
        if not hold:
            self.derive()
        for outcome in self.peer.outcomes():
            assert self._closed is None, "an outcome after the last one"
            self.told.append(outcome)
            match outcome:
                case PeerIdentified():
                    self._identified = True
                case PeerClosed(error=error):
                    assert error is None or isinstance(error, RemoteProtocolError), "the fault is the client's"
                    self._closed = outcome
                case e.Proven():
                    assert self._identified
                    self.proven = True
                case e.Message():
                    assert self.proven, "a message of a client that is not proven"
        assert self.peer.proven is (self.proven and self._closed is None)
        if self._closed is not None:
            assert self.peer.next_timeout is None or not self.peer.finished

    def _register(self, credentials: Credentials) -> HubSide | None:
        return self._side if credentials.access_key == ACCESS_KEY else None


class Client:
    """A real WebSocket, and behind it a puppet."""

    def __init__(self, flags: int) -> None:
        self.puppet = Puppet(client_side(pinned=bool(flags & 1), binarize=bool(flags & 4)), WSS, limits=LIMITS)
        self.keyed = False
        self._link: WssClientLink | None = None

    def upgrade(self, key: Secret[str]) -> bytes:
        if self._link is not None:
            return b""
        self._link = WssClientLink(
            "ws://127.0.0.1:5678", access_key=key, user_agent="Sdk/1", entropy=stream("link"), secure=True
        )
        self._link.socket_opened(0.0)
        return self._link.data_to_send()

    def say(self, *frames: Frame) -> bytes:
        """The bytes of these frames; none if there is no WebSocket."""
        if self._link is None:
            return b""
        try:
            for frame in frames:
                self._link.send(frame, 0.0)
        except LocalProtocolError:
            return b""
        return self._link.data_to_send()

    def lawful(self) -> bytes:
        if self._link is None or not self.puppet.due:
            return b""
        self.keyed = True
        return self.say(*self.puppet.frames(self.puppet.due.popleft()))

    def sealed(self, *, binary: bool, body: bytes) -> bytes:
        frames = seal(self.puppet, binary=binary, body=body)
        self.keyed |= bool(frames)
        return self.say(*frames)

    def hear(self, data: bytes) -> None:
        if self._link is None:
            return
        for event in self._link.receive_data(data, 0.0):
            if isinstance(event, FrameReceived):
                try:
                    self.puppet.hear(event.frame)
                except (DecodeError, ProtocolError):  # the fuzzer spoke in its name
                    continue


def one(data: bytes) -> object:
    tape = Tape(data)
    size, generation, flags = 1 + tape.byte() % 64, tape.pick(GENERATIONS), tape.byte()
    side = hub_side(generation, pinned=bool(flags & 1), binarize=bool(flags & 4))
    client = Client(flags)
    both = (End(side, 0), End(side, size))
    hold = bool(flags & 2)
    for _ in tape.steps():
        doing = tape.pick(DOINGS)
        hold &= doing is not Do.DERIVE
        act(doing, tape, client, both)
        for end in both:
            end.settle(hold=hold)
        whole, pieces = both
        assert told(whole.told) == told(pieces.told), "the outcomes depend on how the bytes were cut"
        assert whole.peer.next_timeout == pieces.peer.next_timeout, "the timer depends on how the bytes were cut"
        said, also = whole.peer.data_to_send(), pieces.peer.data_to_send()
        # Of two faults that came at once, of a frame and behind it of the WebSocket, the peer is told one or the other.
        assert said == also or whole.closed, "the answer depends on how the bytes were cut"
        assert client.keyed or not whole.proven, "a client without keys is proven"
        client.hear(said)
        for end in both:
            end.told.clear()
            end.memory.check()
    return both[0] if both[0].proven else None


def act(doing: Do, tape: Tape, client: Client, both: tuple[End, End]) -> None:
    """One step."""
    match doing:
        case Do.UPGRADE:
            received = client.upgrade(ACCESS_KEY if tape.byte() & 1 else Secret("nobody's key"))
        case Do.LAWFUL:
            received = client.lawful()
        case Do.SEALED:
            received = client.sealed(binary=bool(tape.byte()), body=tape.chunk())
        case Do.CLEAR:
            received = client.say(Frame(type=tape.pick(TYPES), data=tape.chunk()))
        case Do.FRAME:
            received = raw_frame(tape.byte() & 15, tape.chunk(), mask=True)
        case Do.RAW:
            received = tape.chunk()
        case _:
            quiet(doing, tape, both)
            return
    for end in both:
        end.receive(received)


def quiet(doing: Do, tape: Tape, both: tuple[End, End]) -> None:
    """One step that brings no bytes."""
    match doing:
        case Do.WAIT:
            seconds = tape.byte() / 10
            for end in both:
                end.wait(seconds)
        case Do.TIMER:
            for end in both:
                if (due := end.peer.next_timeout) is not None:
                    end.wait(max(0.0, due - end.now))
        case Do.DERIVE:
            for end in both:
                end.derive()
        case Do.SEND:
            message = tape.pick(MESSAGES)(tape.chunk())
            for end in both:
                end.send(message)
        case Do.CLOSE:
            for end in both:
                end.peer.close(end.now, code=1001, reason="bye")
        case Do.EOF:
            for end in both:
                end.peer.eof(end.now, "reset")


def seeds() -> Iterator[bytes]:
    speak = b'{"msg_type": "bus", "payload": {"type": "recognizer_loop:utterance", "data": {"utterances": ["hi"]}}}'
    for generation in range(len(GENERATIONS)):
        for flags in (0, 1, 2, 4):
            start = tape(1, generation, flags, Do.UPGRADE, 1, *[Do.LAWFUL] * 5)
            marked = b"\0" if GENERATIONS[generation] is e.Generation.NOISE else b""
            yield start + tape(Do.DERIVE, *[Do.LAWFUL] * 5, Do.SEALED, 0, marked + speak, Do.SEND, 1, "hello", Do.CLOSE)
            yield start + tape(Do.WAIT, 250, Do.TIMER, Do.TIMER, Do.TIMER)
        for text in sealed_texts():
            yield start + tape(Do.SEALED, 0, marked + text)
        for frame in wire1_frames():
            yield start + tape(Do.SEALED, 1, (marked and b"\1") + frame)
        yield start + tape(Do.CLEAR, 0, speak)
        yield start + tape(Do.FRAME, 8, b"\3\xe8bye", Do.EOF)
        yield start + tape(Do.FRAME, 9, b"ping", Do.FRAME, 1, b"\xff", Do.EOF)
    yield tape(1, 0, 0, Do.UPGRADE, 0, Do.LAWFUL, Do.TIMER)
    yield tape(1, 0, 0, Do.TIMER, Do.TIMER)
    yield tape(1, 0, 0, Do.RAW, b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", Do.EOF)
