"""Sealed messages of v3: chunks put together within limits, whatever the peer that holds the keys puts into them.

A frame that is not the peer's next one changes nothing; one that is, but breaks the rules, is the end.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator

from fuzz.harness import Held, Tape, tape, timer_moves
from thalovant_proto.crypto.noise import CipherState, Suite, Unauthentic
from thalovant_proto.crypto.noise_transport import CHUNK, BodyKind, NoiseTransport
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.limits import Limits
from thalovant_proto.secret import Secret

LIMITS = Limits(reassembly=150_000)
# The buffer of what is put together grows by an eighth ahead; beside it one chunk.
HELD = 2 * LIMITS.reassembly
UP, DOWN = (Secret(hashlib.sha256(name).digest()) for name in (b"up", b"down"))
SUITES = list(Suite)
KINDS = list(BodyKind)


class Do(enum.IntEnum):
    """What happens next."""

    SAY = 0  # marker, chunk: a Noise message under the right key
    LONG = 1  # marker, length in units of 1000: as SAY, with so many bytes
    STRANGE = 2  # chunk: a frame of somebody else
    AGAIN = 3  # the last frame once more
    WAIT = 4  # seconds
    SEAL = 5  # kind, length in units of 1000: our own message, to the peer


DOINGS = list(Do)


def one(data: bytes) -> object:
    tape = Tape(data)
    suite = tape.pick(SUITES)
    ours = NoiseTransport(CipherState(DOWN, suite), CipherState(UP, suite), limits=LIMITS)
    theirs = NoiseTransport(CipherState(UP, suite), CipherState(DOWN, suite))
    peer = CipherState(UP, suite)
    memory = Held(ours, HELD)
    now, dead, last, heard = 0.0, False, b"", 0
    for _ in tape.steps():
        match tape.pick(DOINGS):
            case Do.SAY | Do.LONG as doing:
                number, some = tape.byte(), tape.byte()
                marker = bytes((number,)) if some else b""
                body = tape.chunk() if doing is Do.SAY else bytes(min(tape.byte() * 1000, CHUNK))
                last = peer.encrypt(marker + body)
                memory.feed(len(last))
                try:
                    found = ours.open(last, now)
                    assert not dead, "a session goes on after its end"
                    heard += found is not None
                    assert found is None or len(found.data) <= LIMITS.reassembly
                except Unauthentic:
                    raise AssertionError("the peer's next message does not open") from None
                except DecodeError:
                    dead = True
            case Do.STRANGE | Do.AGAIN as doing:
                frame = last if doing is Do.AGAIN else tape.chunk()
                try:
                    ours.open(frame, now)
                    raise AssertionError("a frame that is not the peer's next one opens")
                except DecodeError as error:
                    assert dead or isinstance(error, Unauthentic), "a stranger ends the session"
            case Do.WAIT:
                now += tape.byte() % 16
                try:
                    ours.handle_timeout(now)
                except DecodeError:
                    dead = True
                timer_moves(ours, now)
            case Do.SEAL:
                kind, size = tape.pick(KINDS), tape.byte() * 1000
                try:
                    frames = ours.seal(kind, bytes(size))
                except LocalProtocolError:
                    assert dead
                    continue
                bodies = [theirs.open(frame, now) for frame in frames]
                assert bodies[:-1] == [None] * (len(frames) - 1)
                whole = bodies[-1]
                assert whole is not None and (whole.kind, len(whole.data)) == (kind, size)
        if dead:
            assert ours.next_timeout is None
        memory.check()
    return heard or None


def seeds() -> Iterator[bytes]:
    for suite in range(len(SUITES)):
        yield tape(suite, Do.SAY, 0, 1, b'{"msg_type": "bus"}', Do.SAY, 1, 1, b"\x82\2{}{}")
        yield tape(suite, Do.SAY, 2, 1, b'{"a"', Do.SAY, 4, 1, b": ", Do.SAY, 5, 1, b"1}", Do.AGAIN)
        yield tape(suite, Do.LONG, 3, 1, 65, Do.LONG, 4, 1, 65, Do.LONG, 4, 1, 65, Do.LONG, 5, 1, 1)
        yield tape(suite, Do.SAY, 2, 1, b"x", Do.WAIT, 9, Do.WAIT, 9, Do.SEAL, 0, 1)
        yield tape(suite, Do.SAY, 0, 0, b"", Do.STRANGE, b"frame", Do.SEAL, 1, 200)
        yield tape(suite, Do.STRANGE, b"frame", Do.SEAL, 1, 200, Do.SAY, 1, 1, b"")
