"""The whole client against a hub and a network that do anything: every ask and every message ends once, none twice."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from fuzz.conversation import MESSAGES, read_object, seal_with
from fuzz.harness import Tape, tape, timer_moves
from tests.proto.links.frame_link import FrameLinks
from tests.proto.links.networks import WssLinks
from tests.proto.world import Hub, World, config, echo, hub_side
from thalovant_proto import events as e
from thalovant_proto.client.stack import Run, Stop
from thalovant_proto.dial import DialFault
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import AskEnded, AskFailed, SendFailed, Sent, SessionState

LIMITS: Final = Limits(frame=32_768, reassembly=40_000)
GENERATIONS: Final = [0, 1, 3]
#: How many bytes arrive at a time. Fewer would cost much; the links' own targets have them.
CUTS: Final = [None, 150, 50, 400]
FAULTS: Final = list(DialFault)
OVER: Final = (SessionState.CLOSED, SessionState.FAILED, SessionState.DISPLACED, SessionState.IDLE)


class Do(enum.IntEnum):
    """What happens next."""

    OPEN = 0
    CLOSE = 1  # seconds
    ASK = 2  # seconds, chunk
    SEND = 3  # kind, chunk
    SUBSCRIBE = 4  # kept?, limit
    CANCEL = 5  # which of the asks and messages
    ADVANCE = 6  # tenths of a second
    LOSE = 7
    BREAK = 8  # how many bytes on, silently?
    SAY = 9  # chunk: the hub says a bus message with these fields
    SEALED = 10  # chunk: the hub seals these bytes under the keys
    RAW = 11  # chunk: bytes to the client
    LISTEN = 12  # listening?, which fault when not
    HOLD = 13  # derivations wait?
    DEAF = 14  # nothing arrives?


DOINGS: Final = list(Do)


class Life:
    """A world, and what the application was promised."""

    def __init__(self, tape: Tape) -> None:
        generation, flags, cut = tape.pick(GENERATIONS), tape.byte(), tape.pick(CUTS)
        self.wss = not flags & 1
        links: Any = WssLinks() if self.wss else FrameLinks(window=2)
        client = config(
            generation,
            limits=LIMITS,
            queue=4,
            idempotent=bool(flags & 2),
            binarize=bool(flags & 4),
            auto_reconnect=not flags & 8,
        )
        hub = Hub(hub_side(generation), drops=bool(flags & 16), proves=not flags & 32)
        if flags & 64:
            hub.answer = echo
        self.world = World(generation, hub=hub, client=client, links=links, cut=cut)
        self.asks: set[int] = set()
        self.messages: set[int] = set()
        self.cancelled: set[int] = set()
        self._ended: Counter[int] = Counter()
        self._sent: Counter[int] = Counter()
        self._read = 0

    def act(self, doing: Do, tape: Tape) -> None:
        """One step."""
        world = self.world
        stack = world.stack
        match doing:
            case Do.OPEN:
                stack.open(world.now)
            case Do.CLOSE:
                stack.close(world.now, timeout=float(tape.byte()))
            case Do.ASK:
                seconds, text = 1 + tape.byte(), tape.chunk().decode("utf-8", "replace")
                try:
                    self.asks.add(stack.ask(e.Utterance(text=text or "text"), world.now, timeout=float(seconds)))
                except LocalProtocolError:
                    return
            case Do.SEND:
                try:
                    self.messages.add(stack.send(tape.pick(MESSAGES)(tape.chunk()), world.now))
                except LocalProtocolError:
                    return
            case Do.SUBSCRIBE:
                stack.subscribe(None, world.now, kept=bool(tape.byte() & 1), limit=1 + tape.byte())
            case Do.CANCEL:
                if pending := sorted(self.asks | self.messages):
                    number = pending[tape.byte() % len(pending)]
                    stack.cancel(number)
                    self.cancelled.add(number)
            case Do.ADVANCE:
                world.advance(tape.byte() / 10)
            case _:
                self._network(doing, tape)
        world.drive()

    def _network(self, doing: Do, tape: Tape) -> None:
        world = self.world
        match doing:
            case Do.LOSE:
                world.lose()
            case Do.BREAK:
                world.wire.breaks(1 + tape.byte(), silently=bool(tape.byte() & 1))
            case Do.SAY:
                fields = read_object(tape.chunk())
                data, context, name = fields.get("data"), fields.get("context"), fields.get("type")
                world.hub.says(
                    e.Bus(
                        type=name if isinstance(name, str) and name else e.SPEAK,
                        data=data if isinstance(data, dict) else {},
                        context=context if isinstance(context, dict) else {},
                    ),
                    world.now,
                )
            case Do.SEALED:
                body = tape.chunk()
                if world.hub.peers:
                    seal_with(world.hub.peer, body, world.now)
            case Do.RAW:
                data = tape.chunk()
                if self.wss:  # the other link is a test's own
                    self._raw(data)
            case Do.LISTEN:
                world.hub.listening, world.hub.fault = bool(tape.byte() & 1), tape.pick(FAULTS)
            case Do.HOLD:
                world.held = bool(tape.byte() & 1)
            case Do.DEAF:
                world.hears = not tape.byte() & 1

    def _raw(self, data: bytes) -> None:
        stack, now = self.world.stack, self.world.now
        running = isinstance(stack.step(), Run)
        try:
            stack.receive_data(data, now)
        except LocalProtocolError:
            assert not running, "bytes are refused that may come"
        else:
            assert running, "bytes are taken from a socket that is not there"

    def check(self) -> None:
        """What was told since the last time."""
        told, self._read = self.world.outcomes[self._read :], len(self.world.outcomes)
        for outcome in told:
            match outcome:
                case AskEnded(ask=ask) | AskFailed(ask=ask):
                    self._ended[ask] += 1
                    assert self._ended[ask] == 1, "an ask ends twice"
                    assert ask in self.asks and ask not in self.cancelled, "an ask ends that nobody waits for"
                case SendFailed(token=token):
                    assert token in self.messages, "a message fails that nobody sent"
                    self._ended[token] += 1
                    assert self._ended[token] == 1, "a message fails twice"
                case Sent(token=token):
                    self._sent[token] += 1
                    assert token in self.messages | self.asks
        # What is due now is the driver's to bring: only after it must the timer have moved on.
        stack = self.world.stack
        if (due := stack.next_timeout) is not None and due <= self.world.now:
            stack.handle_timeout(self.world.now)
            timer_moves(stack, self.world.now)

    def end(self) -> None:
        """Whatever came before, a close that waits for nothing is the end, and leaves nothing open."""
        world = self.world
        world.held, world.hears = False, True
        world.stack.close(world.now, timeout=0)
        world.drive()
        self.check()
        assert world.stack.state in OVER, f"closed, and still {world.stack.state}"
        assert isinstance(world.stack.step(), Stop)
        assert world.stack.next_timeout is None
        open_asks = self.asks - self.cancelled - set(self._ended)
        assert not open_asks, f"{len(open_asks)} asks never end"
        lost = self.messages - self.cancelled - set(self._ended) - set(self._sent)
        assert not lost, f"{len(lost)} messages without an outcome"


def one(data: bytes) -> object:
    tape = Tape(data)
    life = Life(tape)
    for _ in tape.steps():
        life.act(tape.pick(DOINGS), tape)
        life.check()
    life.end()
    return life if life.world.hub.heard else None


def seeds() -> Iterator[bytes]:
    speak = b'{"type": "speak", "data": {"utterance": "hi"}}'
    handled = b'{"type": "ovos.utterance.handled"}'
    denied = b'{"type": "hive.policy.denied", "data": {"denied_type": "recognizer_loop:utterance"}}'
    unmatched = b'{"type": "complete_intent_failure"}'
    for generation in range(len(GENERATIONS)):
        for flags in (0, 1, 2, 4, 8, 16, 32, 64, 65, 66):
            start = tape(generation, flags, 0, Do.OPEN)
            yield start + tape(Do.ASK, 12, "hello", Do.SAY, speak, Do.ADVANCE, 10, Do.SAY, handled, Do.CLOSE, 2)
            yield start + tape(Do.ASK, 5, "hello", Do.LOSE, Do.ADVANCE, 200, Do.ASK, 3, "again", Do.ADVANCE, 60)
        start = tape(generation, 0, 1, Do.OPEN)
        for answer in (denied, unmatched, b'{"type": "speak", "context": {"request_id": "other"}}'):
            yield start + tape(Do.ASK, 12, "hello", Do.SAY, answer, Do.ADVANCE, 20, Do.SAY, speak, Do.ADVANCE, 250)
        yield tape(generation, 64, 0, Do.ASK, 1, "too early", Do.LISTEN, 0, 1, Do.OPEN, Do.ADVANCE, 50, Do.LISTEN, 1, 0)
        yield start + tape(Do.BREAK, 200, 1, Do.SEND, 1, "text", Do.ADVANCE, 255, Do.ADVANCE, 255, Do.ADVANCE, 255)
        yield tape(generation, 0, 0, Do.HOLD, 1, Do.OPEN, Do.SEND, 2, b"bytes", Do.LOSE, Do.HOLD, 0, Do.ADVANCE, 100)
        yield start + tape(Do.DEAF, 1, Do.ASK, 9, "anybody?", Do.ADVANCE, 255, Do.ADVANCE, 255, Do.DEAF, 0, Do.CLOSE, 8)
        yield start + tape(Do.SUBSCRIBE, 1, 2, Do.SEND, 0, b"{}", Do.SAY, speak, Do.SUBSCRIBE, 1, 2, Do.CANCEL, 0)
        marked = b"\0" if generation == 2 else b""
        yield start + tape(Do.SEALED, marked + b'{"msg_type": "bus", "payload": {"type": "speak"}}', Do.SEALED, b"\7")
        yield start + tape(Do.RAW, b"\x81\x02hi", Do.ADVANCE, 100, Do.OPEN, Do.CLOSE, 0, Do.OPEN)
    yield tape(2, 0, 0, Do.LISTEN, 0, 2, Do.OPEN, Do.RAW, b"HTTP/1.1 503 Busy\r\n\r\n", Do.ADVANCE, 200)
