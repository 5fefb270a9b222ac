"""What the fuzz targets share: inputs taken apart, what every link promises, and how much memory a machine holds.

A target is a module `fuzz_<name>.py` with

- `one(data)`, which raises if an invariant is broken; what it returns is for the tests of the targets;
- `seeds()`, inputs from the test vectors and by hand from which the fuzzer sets out.

Nothing here knows atheris: `target.py` does, `tests/test_fuzz_targets.py` runs the same functions without it. Keys are
derived by a hash, random bytes come from a hash, time is a number: the same input does the same.
"""

from __future__ import annotations

import enum
import functools
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar

import attrs

from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.errors import LocalProtocolError, RemoteProtocolError
from thalovant_proto.links.base import Accepted, FrameReceived, Link, LinkClosed, LinkEvent, LinkOpened

T = TypeVar("T")

FRAME_TYPES: Final = list(FrameType)

#: What one input may do at most, so that a long one stays fast.
STEPS: Final = 64
#: After so many pieces at its start, and before two at its end, long data goes on in one.
PIECES: Final = 4


class Tape:
    """An input as a row of small decisions. At its end every number is 0 and every chunk empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def steps(self) -> Iterator[None]:
        """Go on until the tape ends, or for so many steps as one input may take."""
        for _ in range(STEPS):
            if not self:
                return
            yield

    def byte(self) -> int:
        """A number from 0 to 255."""
        return int.from_bytes(self._take(1), "big")

    def pick(self, options: Sequence[T]) -> T:
        """One of these."""
        return options[self.byte() % len(options)]

    def chunk(self) -> bytes:
        """Bytes, as many as the two before them say."""
        return self._take(int.from_bytes(self._take(2), "big"))

    def rest(self) -> bytes:
        """All that is left."""
        return self._take(len(self._data))

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, min(self._at + size, len(self._data))
        return self._data[start : self._at]


Item = int | bytes | str


def tape(*items: Item) -> bytes:
    """The input that a `Tape` reads as these: numbers and choices as a byte each, bytes and text as chunks."""
    parts = []
    for item in items:
        if isinstance(item, int):
            parts.append(bytes((item,)))
        else:
            data = item.encode() if isinstance(item, str) else item
            parts.append(len(data).to_bytes(2, "big") + data)
    return b"".join(parts)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of that size, long data with what is in the middle as one piece; 0 for whole."""
    if not size or not data:
        yield data
        return
    at = 0
    while at < len(data):
        left = len(data) - at
        piece = left - 2 * size if at >= PIECES * size and left > 2 * size else size
        yield data[at : at + piece]
        at += piece


def told(event: Any) -> Any:
    """An event as a value that equals what another machine told: faults by their words, machines by their class."""
    if isinstance(event, BaseException):
        return type(event), str(event)
    if isinstance(event, list | tuple):
        return [told(one) for one in event]
    if attrs.has(type(event)) and not isinstance(event, type):
        return type(event), [told(getattr(event, part.name)) for part in attrs.fields(type(event))]
    compares: Any = type(event).__eq__
    return event if isinstance(event, enum.Enum) or compares is not object.__eq__ else type(event)


def held(*roots: object) -> int:
    """Bytes of memory that can be reached from here, classes, modules and what functions share left out."""
    seen: set[int] = set()
    total, waiting = 0, list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        if isinstance(one, FunctionType):
            waiting += one.__closure__ or ()
        elif isinstance(one, MethodType):
            waiting.append(one.__self__)
        elif isinstance(one, functools.partial):
            waiting += (one.func, one.args, one.keywords)
        else:
            waiting += gc.get_referents(one)
    return total


_NEW: Final[dict[type, int]] = {}


class Held:
    """That a machine holds no more than `limit` bytes beyond what it held when it was new.

    Looking is slow, so it looks only once more than that has come in: `feed` counts.
    """

    def __init__(self, machine: object, limit: int) -> None:
        self._machine = machine
        self._limit = limit
        # Looked at once for each class: what differs between two new machines is small.
        self._new = _NEW.setdefault(type(machine), 0) or held(machine)
        _NEW[type(machine)] = self._new
        self._fed = 0

    def feed(self, size: int) -> None:
        """So many bytes came in."""
        self._fed += size

    def check(self) -> None:
        """Raises if the limit is broken."""
        if self._fed > self._limit:
            grown = held(self._machine) - self._new
            assert grown <= self._limit, f"{grown} bytes held, the limit is {self._limit}"


def timer_moves(machine: Any, now: float) -> None:
    """After `handle_timeout(now)` the next time is later, or there is none."""
    after = machine.next_timeout
    assert after is None or after > now, "a timer that does not move is a busy loop"


class Driven:
    """A link and its driver. Whatever is done, it holds the link to what `links/base.py` promises."""

    def __init__(self, link: Link, *, secret: str = "", now: float = 100.0) -> None:
        self.link = link
        self.now = now
        self.events: list[LinkEvent] = []
        self.socket = False
        self.opened = False
        self.closed: LinkClosed | None = None
        self.accepted: set[int] = set()
        self.frames = 0
        self._secret = secret
        self._sent = 0

    def turn(self) -> bytes:
        """Obey the link about sockets; what it has to write."""
        if self.socket and not self.link.wants_socket:
            self.socket = False
            self._take(self.link.eof(self.now))
        if not self.socket and self.link.wants_socket and self.closed is None:
            self.socket = True
            self._take(self.link.socket_opened(self.now))
        data = self.link.data_to_send() if self.socket else b""
        if self.closed is not None:
            assert self.link.next_timeout is None, "a link that has closed waits for nothing"
            assert not self.link.wants_socket, "a link that has closed, and is drained, wants no socket"
        return data

    def receive(self, data: bytes, size: int = 0) -> None:
        """Bytes from the socket, in pieces of `size`; 0 for whole."""
        for piece in cut(data, size):
            self._take(self.link.receive_data(piece, self.now))

    def eof(self) -> None:
        """The socket ends."""
        self.socket = False
        self._take(self.link.eof(self.now))

    def wait(self, seconds: float) -> None:
        """Time passes at once; before it does, the clock strikes too early."""
        due = self.link.next_timeout
        if due is not None and due > self.now:
            early = self.link.handle_timeout(self.now)
            assert early == [], "a timeout that is called early makes no event"
            assert self.link.next_timeout == due, "a timeout that is called early changes nothing"
        self.now += seconds
        self._take(self.link.handle_timeout(self.now))
        timer_moves(self.link, self.now)

    def to_the_timer(self) -> None:
        """Time passes to the next timer, if there is one."""
        if (due := self.link.next_timeout) is not None:
            self.wait(max(0.0, due - self.now))

    def send(self, frame: Frame) -> None:
        """Send a frame, if the link takes it."""
        try:
            self.link.send(frame, self.now, token=self._sent + 1)
        except LocalProtocolError:
            return
        assert self.opened, "a frame was taken before the link was open"
        assert self.closed is None, "a frame was taken after the link had closed"
        self._sent += 1

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; `code` may be one that no link can say."""
        try:
            self._take(self.link.close(self.now, code=code, reason=reason))
        except LocalProtocolError:
            return

    def _take(self, events: Iterable[LinkEvent]) -> None:
        for event in events:
            assert self.closed is None, "an event after the last one"
            self.events.append(event)
            match event:
                case LinkOpened():
                    assert not self.opened, "a link opens once"
                    self.opened = True
                case FrameReceived(frame=frame):
                    assert self.opened, "a frame before the link is open"
                    self.frames += 1
                    if frame.type is FrameType.TEXT:
                        frame.data.decode()
                case Accepted(token=token):
                    assert 0 < token <= self._sent, "a receipt for what was never sent"
                    assert token not in self.accepted, "a second receipt"
                    self.accepted.add(token)
                case LinkClosed():
                    self._check_end(event)
                    self.closed = event
                case _:
                    raise AssertionError(f"{type(event).__name__} is no event of a link")

    def _check_end(self, closed: LinkClosed) -> None:
        unsent = set(closed.unsent)
        assert len(unsent) == len(closed.unsent), "a frame is unsent twice"
        assert all(0 < token <= self._sent for token in unsent), "an unsent frame was never sent"
        assert not unsent & self.accepted, "a frame is accepted and unsent"
        assert closed.error is None or type(closed.error).__mro__.count(RemoteProtocolError), "a fault of the peer"
        if self._secret:
            for said in (closed.reason, str(closed.error), repr(closed)):
                assert self._secret not in said, "a secret in the words of an end"


class Act(enum.IntEnum):
    """What may happen to any link; the targets' own steps follow on."""

    DRAIN = 0  # the driver writes what there is, and obeys about sockets
    RAW = 1  # chunk: bytes from the socket
    EOF = 2
    WAIT = 3  # seconds
    TIMER = 4  # the time of the next timer comes
    SEND = 5  # type, chunk
    CLOSE = 6  # two bytes of a code, chunk of a reason
    PACE = 7  # eager?


class Twins:
    """Two links, treated alike but that one gets its bytes in other pieces: any cut must give the same events."""

    def __init__(self, make: Callable[[], Driven], size: int) -> None:
        self.whole, self.pieces = make(), make()
        self._size = size

    def each(self, act: Callable[[Driven], T]) -> T:
        """Do it with both, compare, and give the result of the first."""
        result = act(self.whole)
        act(self.pieces)
        self._compare()
        return result

    def receive(self, data: bytes) -> None:
        """Bytes for both, cut for one of them."""
        self.whole.receive(data)
        self.pieces.receive(data, self._size)
        self._compare()

    def act(self, act: Act, tape: Tape) -> None:
        """Do what may happen to any link."""
        match act:
            case Act.DRAIN:
                self.each(Driven.turn)
            case Act.RAW:
                self.receive(tape.chunk())
            case Act.EOF:
                self.each(Driven.eof)
            case Act.WAIT:
                seconds = float(tape.byte())
                self.each(lambda driven: driven.wait(seconds))
            case Act.TIMER:
                self.each(Driven.to_the_timer)
            case Act.SEND:
                frame = Frame(type=tape.pick(FRAME_TYPES), data=tape.chunk())
                self.each(lambda driven: driven.send(frame))
            case Act.CLOSE:
                code, reason = tape.byte() << 8 | tape.byte(), tape.chunk().decode("utf-8", "replace")
                self.each(lambda driven: driven.close(code, reason))
            case Act.PACE:
                eager = bool(tape.byte())
                self.each(lambda driven: driven.link.pace(eager, driven.now))

    def _compare(self) -> None:
        one, other = self.whole, self.pieces
        assert told(one.events) == told(other.events), "the events depend on how the bytes were cut"
        one.events.clear()
        other.events.clear()
        assert one.link.wants_socket == other.link.wants_socket, "the socket depends on how the bytes were cut"
        assert one.link.next_timeout == other.link.next_timeout, "the timer depends on how the bytes were cut"
