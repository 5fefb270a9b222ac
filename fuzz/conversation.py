"""A hub connection opposite a puppet that holds all keys and is moved by the fuzzer: what both roles' targets share."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

from attrs import field, frozen

from fuzz.harness import Held, Tape, tape, timer_moves
from fuzz.seeds import clear_texts, sealed_texts, wire1_frames
from tests.proto.pair import (
    CARRIERS,
    CLIENT_STATIC,
    CRYPTO_KEY,
    HUB_STATIC,
    PASSWORD,
    carried,
    client_side,
    hub_side,
    quick,
    stream,
)
from tests.proto.puppet import Puppet
from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.codec.channel import LegacyChannel, NoiseChannel
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.kdf import DeriveKey, Kdf, psk_salt
from thalovant_proto.crypto.noise import Handshake, Pattern, Suite, prologue, public_key
from thalovant_proto.crypto.noise_transport import NoiseTransport
from thalovant_proto.errors import DecodeError, LocalProtocolError, ProtocolError, RemoteProtocolError
from thalovant_proto.handshake.client import ClientSide
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.jsontext import loads
from thalovant_proto.limits import KIB, Limits
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

# Small, so that a few steps already reach them.
LIMITS: Final = Limits(
    frame=32_768,
    reassembly=40_000,
    legacy_frames=40,
)
PARKED: Final = 128 * KIB  # frames that wait while a key is derived
# Twice what may wait: chunks, parked frames, and the handshake's own memory of hello and offer.
HELD: Final = 2 * (LIMITS.reassembly + PARKED + LIMITS.frame)
SECRETS: Final = (PASSWORD.reveal(), CRYPTO_KEY.reveal(), CLIENT_STATIC.reveal().hex(), HUB_STATIC.reveal().hex())

GENERATIONS: Final = list(e.Generation)
NAMES: Final = list(CARRIERS)
TYPES: Final = [FrameType.TEXT, FrameType.BINARY]
PATTERNS: Final = list(Pattern)
SUITES: Final = list(Suite)


class Do(enum.IntEnum):
    """What happens next."""

    LAWFUL = 0  # the puppet says what is due
    SEALED = 1  # binary?, chunk: the puppet seals these bytes; of Noise messages the marker is the first
    CLEAR = 2  # type, chunk: a frame
    FIRST = 3  # pattern, suite, chunk: a client's first Noise message with this payload
    AGAIN = 4  # the last frame once more
    WAIT = 5  # tenths of a second
    DERIVE = 6  # the derivations that wait come back
    SEND = 7  # kind, chunk: our own message
    MANY = 8  # binary?, count, padding in units of 256, chunk: as SEALED, so often and so long
    CLOSE = 9


DOINGS: Final = list(Do)


@frozen(kw_only=True)
class TalkativeHub(HubSide):
    """A hub whose hello and offer have more fields than ours."""

    extra: e.Json = field(factory=dict)

    def hello(self) -> e.HubHello:
        return e.HubHello(payload=self.extra | super().hello().payload)

    def offer(self) -> e.Offer:
        return e.Offer(payload=self.extra | super().offer().payload)


def read_object(data: bytes, *, depth: int = 8) -> e.Json:
    """The JSON object in fuzzed bytes, an empty one if they are none."""
    try:
        found = loads(data, max_size=4096, max_depth=depth)
    except DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def seal(end: Puppet | HubConnection, *, binary: bool, body: bytes) -> list[Frame]:
    """A frame under the keys of that end, if it has any, whatever the body holds."""
    match end.channel if isinstance(end, Puppet) else end._channel:
        case NoiseChannel() as noise:
            cipher = noise._transport._send
            return [] if cipher is None else [Frame(cipher.encrypt(body), FrameType.BINARY)]
        case LegacyChannel() as legacy:
            nonce = legacy._entropy(legacy._cipher.nonce_size)
            if binary:
                return [Frame(legacy._cipher.seal_binary(body, nonce), FrameType.BINARY)]
            return [Frame(legacy._cipher.seal_text(body, nonce), FrameType.TEXT)]
    return []


#: What an application may say, made of fuzzed bytes.
MESSAGES: Final[list[Callable[[bytes], e.Message]]] = [
    lambda data: e.Bus(type="type", data=read_object(data)),
    lambda data: e.Utterance(text=data.decode("utf-8", "replace") or "text"),
    lambda data: e.Binary(payload=data, bin_type=e.BinType.FILE),
    lambda data: e.Binary(payload=data, metadata=read_object(data)),
    lambda data: e.ClientHello(payload=read_object(data)),
    lambda data: e.Propagate(payload=read_object(data), target_site_id=data.decode("latin-1")),
    lambda data: e.Intercom(payload=read_object(data)),
    lambda data: e.SealedHandshake(payload=read_object(data)),
    lambda data: e.Rendezvous(metadata=read_object(data)),
]


class Conversation:
    """The real end, in this role, and what it has said so far. `play` does what the tape says."""

    def __init__(self, role: Role, tape: Tape) -> None:
        self.role = role
        self.carrier = CARRIERS[tape.pick(NAMES)]
        self.closed: e.Closed | None = None
        self.heard: list[e.Event] = []
        self.proven = False
        self._tape = tape
        generation, flags = tape.pick(GENERATIONS), tape.byte()
        pinned, self._hold, binarize, known = (bool(flags & 1 << bit) for bit in range(4))
        extra = read_object(tape.chunk())
        plain = hub_side(generation, pinned=pinned, binarize=binarize)
        self.psk = _psk(plain.node_id)
        self.hub = TalkativeHub(
            node_id=plain.node_id,
            static_key=plain.static_key,
            peer=plain.peer,
            generation=generation,
            password=plain.password,
            crypto_key=plain.crypto_key,
            psk=self.psk if known else None,
            pinned=plain.pinned,
            binarize=binarize,
            extra=extra,
        )
        client = client_side(pinned=pinned, binarize=binarize)
        sides: dict[Role, ClientSide | HubSide] = {Role.CLIENT: client, Role.HUB: self.hub}
        self.now = 0.0
        self.end = HubConnection(sides[role], self.carrier, entropy=stream("end"), now=0.0, limits=LIMITS)
        self.puppet = Puppet(sides[role.peer], self.carrier, limits=LIMITS)
        self._memory = Held(self.end, HELD)
        self._last: Frame | None = None
        self._initiator: Handshake | None = None
        self._keyed = False  # something that takes the keys had a part in this
        # Nothing but what is due has been said. Fields that promise v3 where there is none are a lie, not an extra.
        self._lawful = "noise" not in extra or generation is e.Generation.NOISE
        self._settle()

    def play(self) -> Conversation:
        """Do what the tape says, then see whether a lawful peer got what it wants."""
        for _ in self._tape.steps():
            doing = self._tape.pick(DOINGS)
            self._lawful &= doing in (Do.LAWFUL, Do.DERIVE, Do.SEND)
            self._act(doing)
            self._memory.check()
        if self._lawful and not self.puppet.due and not self._hold:
            assert self.end.state is State.READY, f"a lawful peer got no further than {self.end.state.name}"
        return self

    def _act(self, doing: Do) -> None:
        tape = self._tape
        match doing:
            case Do.LAWFUL:
                if self.puppet.due:
                    self._keyed = True
                    self._deliver(*self.puppet.frames(self.puppet.due.popleft()))
            case Do.SEALED:
                self._deliver(*self._sealed(binary=bool(tape.byte()), body=tape.chunk()))
            case Do.MANY:
                binary, count, padding = bool(tape.byte()), tape.byte() % 64, b" " * (tape.byte() * 256)
                body = tape.chunk() + padding
                for _ in range(count):
                    self._deliver(*self._sealed(binary=binary, body=body))
            case Do.CLEAR:
                self._deliver(carried(Frame(type=tape.pick(TYPES), data=tape.chunk()), self.carrier))
            case Do.FIRST:
                self._shake(tape.pick(PATTERNS), tape.pick(SUITES), tape.chunk())
            case Do.AGAIN:
                if self._last is not None:
                    self._deliver(self._last)
            case Do.WAIT:
                self._wait(tape.byte() / 10)
            case Do.DERIVE:
                self._hold = False
                self._settle()
            case Do.SEND:
                self._send(tape.pick(MESSAGES)(tape.chunk()))
            case Do.CLOSE:
                self.end.close()
                self.closed = e.Closed(kind=CloseKind.CLOSED)
                self._settle()

    def _sealed(self, *, binary: bool, body: bytes) -> list[Frame]:
        frames = [carried(frame, self.carrier) for frame in seal(self.puppet, binary=binary, body=body)]
        self._keyed |= bool(frames)
        return frames

    def _shake(self, pattern: Pattern, suite: Suite, payload: bytes) -> None:
        """Begin a handshake as a client with all secrets does, but for the payload."""
        hello, offer = self.hub.hello().payload, self.hub.offer().payload
        self._keyed = True
        self._initiator = Handshake(
            initiator=True,
            pattern=pattern,
            suite=suite,
            prologue=prologue(hello, offer, pattern, suite),
            static=CLIENT_STATIC,
            ephemeral=Secret(stream("forger")(32)),
            remote_static=public_key(HUB_STATIC) if pattern is Pattern.KK else None,
        )
        self._initiator.psk = self.psk
        message = self._initiator.write_message(payload)
        first = e.Xx1 if pattern is Pattern.XX else e.Kk1
        self._deliver(*self.puppet.frames(first(suite=suite.value, message=message)))

    def _deliver(self, *frames: Frame) -> None:
        for frame in frames:
            self._last = frame
            self._memory.feed(len(frame.data))
            self._hear(self.end.receive(frame, self.now))
            self._settle()

    def _wait(self, seconds: float) -> None:
        if (due := self.end.next_timeout) is not None and due > self.now:
            assert self.end.handle_timeout(self.now) == [], "a timeout that is called early makes no event"
            assert self.end.next_timeout == due, "a timeout that is called early changes nothing"
        self.now += seconds
        self._hear(self.end.handle_timeout(self.now))
        timer_moves(self.end, self.now)
        self._settle()

    def _send(self, message: e.Message) -> None:
        try:
            self.end.send(message, self.now)
        except LocalProtocolError:
            return
        assert self.closed is None, "a message was taken after the end"
        self._settle()

    def _settle(self) -> None:
        """Answer derivations, unless they are held, and hand on what the real end says."""
        while not self._hold and (effects := self.end.effects()):
            for effect in effects:
                self._hear(self.end.effect_done(effect.id, quick(effect), self.now))
        for frame, _ in self.end.frames_to_send():
            self._check_frame(frame)
            try:
                self._answer(self.puppet.hear(carried(frame, self.carrier)))
            except (DecodeError, ProtocolError):  # it was talked into another handshake than the puppet's
                self._lawful = False

    def _answer(self, event: e.Event | None) -> None:
        """Finish the handshake that the forger began."""
        if not isinstance(event, e.Noise2) or self._initiator is None:
            return
        initiator, self._initiator = self._initiator, None
        initiator.read_message(event.message)
        third = None if initiator.finished else initiator.write_message(b"")
        send, receive = initiator.split()
        self.puppet.channel = NoiseChannel(NoiseTransport(send, receive), binarize=False)
        if third is not None:
            self._deliver(*self.puppet.frames(e.Noise3(message=third)))

    def _hear(self, events: Iterable[e.Event]) -> None:
        for event in events:
            assert self.closed is None, "an event after the last one"
            self.heard.append(event)
            match event:
                case e.Closed():
                    self.closed = event
                    self._check_end(event)
                case e.Proven():
                    assert not self.proven, "a peer is proven once"
                    assert self._keyed, "a peer without keys is proven"
                    self.proven = True
                case e.Message():
                    assert self.proven, "a message of a peer that is not proven"
                    repr(event)
        if self.closed is not None:
            assert self.end.state is State.CLOSED
            assert self.end.next_timeout is None

    def _check_end(self, closed: e.Closed) -> None:
        assert closed.error is None or isinstance(closed.error, RemoteProtocolError), "the fault is the peer's"
        said = f"{closed!r} {closed.error}"
        assert not any(secret in said for secret in SECRETS), "a secret in the words of an end"

    def _check_frame(self, frame: Frame) -> None:
        if self.role is Role.CLIENT:
            legacy = self.end.generation in (e.Generation.PRESHARED, e.Generation.PASSWORD)
            assert frame.type is not FrameType.TEXT or self.carrier.text_up
            assert frame.type is not FrameType.BINARY or self.carrier.legacy_binary_up or not legacy


def _psk(node_id: str) -> Secret[bytes]:
    salt, secret = psk_salt(node_id), Secret(PASSWORD.as_bytes())
    return quick(DeriveKey(id=0, kdf=Kdf.ARGON2ID, secret=secret, salt=salt))


def conversations(role: Role) -> Iterator[bytes]:
    """Seeds: every generation over every carrier, to the end of the handshake and beyond, and what real peers said."""
    lawful = [Do.LAWFUL] * 5
    for carrier in range(len(NAMES)):
        for generation in range(len(GENERATIONS)):
            for flags in (0b0000, 0b0001, 0b0110, 0b1000):
                yield tape(carrier, generation, flags, b"", *lawful, Do.DERIVE, *lawful, Do.SEND, 1, "hello")
    speak = b'{"msg_type": "bus", "payload": {"type": "speak", "data": {"utterance": "hi"}, "context": {}}}'
    extra = b'{"noise_v9": {"a": [1.5, null, "\xc3\xa9"]}, "number": 12345678901234567890, "password": true}'
    for generation in range(len(GENERATIONS)):
        start = tape(0, generation, 0, b"", *lawful)
        yield tape(0, generation, 0, extra) + tape(*lawful)
        for text in (speak, *sealed_texts()):
            yield start + tape(Do.SEALED, 0, b"\0" + text if generation == 2 else text, Do.AGAIN)
        for frame in wire1_frames():
            yield start + tape(Do.SEALED, 1, b"\1" + frame if generation == 2 else frame)
        yield start + tape(Do.MANY, 0, 50, 8, b"\2" + speak)
        yield start + tape(Do.SEALED, 0, b"\2" + speak, Do.MANY, 0, 20, 32, b"\4", Do.SEALED, 0, b"\5", Do.WAIT, 255)
        yield start + tape(Do.MANY, 0, 45, 0, speak, Do.SEND, 2, b"bytes", Do.CLOSE, Do.LAWFUL)
        for kind in range(len(MESSAGES)):
            yield start + tape(Do.SEND, kind, b'{"a": [1, {"b": null}]}')
        yield tape(0, generation, 2, b"", *lawful, *[Do.AGAIN] * 6, Do.DERIVE, Do.WAIT, 250)
        for text in (*clear_texts("hub"), *clear_texts("client")):
            yield tape(0, generation, 0, b"", Do.CLEAR, 0, text, *lawful)
    for pattern in range(len(PATTERNS)):
        for suite in range(len(SUITES)):
            for payload in (b'{"binarize": true, "encodings": ["JSON-B91"]}', b"[1]", b""):
                first = tape(Do.FIRST, pattern, suite, payload, Do.SEALED, 0, b"\0" + speak)
                yield tape(0, GENERATIONS.index(e.Generation.NOISE), 1, b"") + first


def seal_with(peer: HubPeer, body: bytes, now: float) -> None:
    """Have a hub's peer send these bytes under its keys, if it has any, whatever they hold."""
    linked = peer._linked
    frames = seal(linked.connection, binary=False, body=body) if linked.connection is not None else []
    with suppress(LocalProtocolError):  # the link may be over
        for frame in frames:
            linked.link.send(frame, now)
