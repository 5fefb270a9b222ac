"""Both ends of a WSS link against any bytes: what their two targets share."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Final

from fuzz.harness import Act, Driven, Held, Tape, Twins, tape
from tests.proto.links.wss.ws_wire import BINARY, CLOSE, CONTINUATION, PING, PONG, REQUEST, TEXT, raw_frame
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.common import WssLimits, WssLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

LIMITS: Final = WssLimits(message=5000)
# A message with what its buffer grows ahead, its copy, a few pongs, and the slice of 64 KiB that wsproto is fed.
HELD: Final = 4 * LIMITS.message + 64 * 1024

CLIENT, SERVER = "client", "server"


class Do(enum.IntEnum):
    """What happens next, besides `Act`."""

    UPGRADE = 8  # the peer's half of the upgrade
    FRAME = 9  # opcode, flags, chunk
    MANY = 10  # opcode, flags, count, length in units of 16: frames of zeros
    DECLARED = 11  # opcode, eight bytes of length, chunk: a frame that says it is longer or shorter


DOINGS: Final[list[Act | Do]] = [*Act, *Do]

FIN, MASK, RSV = 1, 2, 4  # flags, each of which turns over what is lawful


def sample(size: int) -> bytes:
    """Entropy of the client: the key of an upgrade is the one of RFC 6455 §1.3, which recorded answers answer."""
    return b"the sample nonce"[:size]


def make(end: str) -> Driven:
    """A new link."""
    link: WssLink
    if end == CLIENT:
        link = WssClientLink(
            "ws://127.0.0.1:5678/path",
            access_key=Secret("key"),
            user_agent="Sdk/1",
            entropy=sample,
            limits=LIMITS,
            secure=True,
        )
    else:
        link = WssServerLink(limits=LIMITS, secure=True)
    return Driven(link)


def upgrade(end: str) -> bytes:
    """What the peer of this end says to upgrade."""
    if end == SERVER:
        return REQUEST
    server = WssServerLink(secure=True)
    list(server.receive_data(make(CLIENT).turn(), 0.0))
    return server.data_to_send()


UPGRADES: Final[dict[str, bytes]] = {end: upgrade(end) for end in (CLIENT, SERVER)}


def play(end: str, data: bytes) -> object:
    """One input for one end. Gives the link if it opened."""
    tape = Tape(data)
    twins = Twins(lambda: make(end), 1 + tape.byte() % 64)
    twins.each(Driven.turn)
    memory = Held(twins.pieces.link, HELD)
    for _ in tape.steps():
        match doing := tape.pick(DOINGS):
            case Do.UPGRADE:
                bytes_in = UPGRADES[end]
            case Do.FRAME:
                bytes_in = _frame(end, tape.byte(), tape.byte(), tape.chunk())
            case Do.MANY:
                opcode, flags, count = tape.byte(), tape.byte(), tape.byte()
                bytes_in = _frame(end, opcode, flags, bytes(16 * tape.byte())) * (count % 64)
            case Do.DECLARED:
                opcode, length = tape.byte() & 15, int.from_bytes(bytes(tape.byte() for _ in range(8)), "big")
                bytes_in = raw_frame(opcode, tape.chunk(), mask=end == SERVER, length=length)
            case act:
                assert isinstance(act, Act)
                twins.act(act, tape)
                continue
        assert isinstance(doing, Do)
        twins.receive(bytes_in)
        memory.feed(len(bytes_in))
        memory.check()
    twins.each(Driven.turn)
    return twins.whole if twins.whole.opened else None


def _frame(end: str, opcode: int, flags: int, payload: bytes) -> bytes:
    mask = (end == SERVER) is not bool(flags & MASK)
    return raw_frame(opcode & 15, payload, fin=not flags & FIN, mask=mask, rsv=4 if flags & RSV else 0)


def scripts(end: str) -> Iterator[bytes]:
    """Seeds: an upgrade, every kind of frame, goodbyes of both sides, and the upgrade cut or changed."""
    start = tape(1, Do.UPGRADE)
    yield start + tape(Do.FRAME, TEXT, 0, '{"msg_type": "hello"}', Do.FRAME, BINARY, 0, bytes(300))
    yield start + tape(Do.FRAME, TEXT, FIN, "caf\u00e9", Do.FRAME, PING, 0, "?", Do.FRAME, CONTINUATION, 0, "\u2615")
    yield start + tape(Do.FRAME, TEXT, FIN, b"\xc3", Do.FRAME, CONTINUATION, 0, b"\xa9", Act.DRAIN)
    yield start + tape(Do.MANY, BINARY, FIN, 1, 100, Do.MANY, CONTINUATION, FIN, 50, 100)
    yield start + tape(Do.MANY, PING, 0, 60, 7, Act.DRAIN, Do.MANY, PONG, 0, 60, 7)
    yield start + tape(Act.SEND, 0, "text", Act.SEND, 1, b"bytes", Act.SEND, 2, b"untyped", Act.DRAIN, Act.SEND, 0, "x")
    yield start + tape(Act.WAIT, 20, Act.DRAIN, Do.FRAME, PONG, 0, b"", Act.TIMER, Act.TIMER, Act.TIMER)
    for code in (1000, 1001, 1005, 1008, 1015, 3000, 4001, 9999):
        reason = struct.pack("!H", code) + b"invalid api key"
        yield start + tape(Do.FRAME, CLOSE, 0, reason, Act.DRAIN)
        yield start + tape(
            Act.SEND, 1, b"x", Act.CLOSE, code >> 8, code & 255, "bye", Act.DRAIN, Do.FRAME, CLOSE, 0, b""
        )
    yield start + tape(Act.CLOSE, 3, 232, "bye", Act.DRAIN, Do.FRAME, TEXT, 0, "late", Act.WAIT, 3, Act.EOF)
    for length in (126, 1 << 16, 1 << 31, 1 << 62, 1 << 63):
        yield start + tape(Do.DECLARED, BINARY, *length.to_bytes(8, "big"), b"payload", Act.EOF)
    head = UPGRADES[end]
    yield tape(1, Act.RAW, head + raw_frame(TEXT, b"at once", mask=end == SERVER), Act.DRAIN)
    yield tape(1, Act.RAW, head[:60], Act.WAIT, 9, Act.TIMER, Act.DRAIN)
    yield tape(1, Act.RAW, b"\x15\x03\x01\x00\x02\x02\x46", Act.DRAIN)
    yield tape(1, Act.RAW, head.replace(b"\r\n", b"\r\nX: " + b"y" * 2000 + b"\r\n", 1), Act.DRAIN)
