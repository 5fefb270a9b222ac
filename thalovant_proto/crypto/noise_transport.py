"""The messages of a v3 session: bodies cut into Noise messages, sealed, and put together again (wire.md §5.5).

A Noise message holds one marker byte and up to 65 000 bytes of a body; the carrier keeps messages apart.
"""

from __future__ import annotations

import enum
from typing import Final

from attrs import field, frozen

from ..errors import DecodeError, LocalProtocolError
from ..limits import DEFAULT_LIMITS, MIB, Limits
from .noise import MAX_MESSAGE, CipherState, Unauthentic

CHUNK: Final = 65_000  # bytes of a body in one message: what every peer sends, and the most any has to take
MAX_BODY: Final = 32 * MIB  # no peer puts more together
# A chunked message may stay open so long, and for as long as its bytes take on the slowest network.
_REASSEMBLY_TIME: Final = 60.0


class BodyKind(enum.IntEnum):
    """The format of a body. The value is the marker of one that is whole."""

    JSON = 0x00  # one JSON envelope, UTF-8
    WIRE1 = 0x01  # one WIRE-1 frame


@frozen(slots=True)
class Body:
    """One whole message of the peer."""

    kind: BodyKind
    data: bytes = field(repr=False)


class NoiseTransport:
    """Both directions of one session, on the two ciphers of a finished handshake.

    `Unauthentic` from `open` changes nothing: where frames carry no type the caller may take the frame for something
    else. Any other fault is the end, of both directions: the keys are dropped.
    """

    __slots__ = ("_chunked", "_limits", "_receive", "_send", "next_timeout")

    def __init__(self, send: CipherState, receive: CipherState, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._send: CipherState | None = send
        self._receive: CipherState | None = receive
        self._limits = limits
        self._chunked: _Chunked | None = None
        #: The time at which the open chunked message must be complete, in the caller's monotonic seconds.
        self.next_timeout: float | None = None

    def seal(self, kind: BodyKind, body: bytes) -> list[bytes]:
        """The frames to send, in this order, with no other frame of this session between them.

        Raises `LocalProtocolError` if the body is over 32 MiB, the nonces are used up or the session has failed.
        """
        if self._send is None:
            raise LocalProtocolError("the session has failed: nothing can be sealed")
        size = len(body)
        if size <= CHUNK:
            return [self._send.encrypt(_WHOLE[kind] + body)]
        if size > MAX_BODY:
            raise LocalProtocolError(f"a message of {size} bytes is over {MAX_BODY}")
        frames, view, marker = [], memoryview(body), _FIRST[kind]
        for start in range(0, size, CHUNK):
            if start + CHUNK >= size:
                marker = _LAST
            frames.append(self._send.encrypt(b"".join((marker, view[start : start + CHUNK]))))
            marker = _MORE
        return frames

    def open(self, frame: bytes, now: float) -> Body | None:
        """The message that this frame completes; None while chunks of it are missing.

        Raises `Unauthentic` if the frame is not the peer's next one (tampered with, replayed, out of order, too long,
        no Noise at all), and `DecodeError` if it is, but breaks the rules.
        """
        if self._receive is None:
            raise DecodeError("the session has failed: nothing can be opened")
        if len(frame) > MAX_MESSAGE:
            raise Unauthentic(f"a frame of {len(frame)} bytes is over {MAX_MESSAGE}")
        plaintext = self._receive.decrypt(frame)
        if not plaintext:
            raise self._failed("a Noise message has no marker")
        marker = plaintext[0]
        if marker < 2 and self._chunked is None:
            return Body(_KINDS[marker], plaintext[1:])
        return self._put_together(marker, memoryview(plaintext)[1:], now)

    def handle_timeout(self, now: float) -> None:
        """Raises `DecodeError` if a chunked message was not complete in time. Harmless if early."""
        if self._chunked is not None and now >= self._chunked.deadline:
            waited = _REASSEMBLY_TIME + len(self._chunked.data) / self._limits.slowest
            raise self._failed(f"a chunked message was not complete after {waited:g} s")

    def _put_together(self, marker: int, chunk: memoryview, now: float) -> Body | None:
        chunked = self._chunked
        if marker > _LAST[0]:
            raise self._failed(f"marker {marker:#04x} of a Noise message is unknown")
        if (marker < _MORE[0]) is (chunked is not None):
            raise self._failed(f"marker {marker:#04x} with {'a' if chunked else 'no'} chunked message open")
        if chunked is None:
            chunked = self._chunked = _Chunked(_KINDS[marker & 1], now + _REASSEMBLY_TIME)
        if len(chunked.data) + len(chunk) > self._limits.reassembly:
            raise self._failed(f"a chunked message is over {self._limits.reassembly} bytes")
        chunked.data += chunk
        chunked.deadline += len(chunk) / self._limits.slowest
        self.next_timeout = chunked.deadline
        if marker != _LAST[0]:
            return None
        self._chunked = self.next_timeout = None
        return Body(chunked.kind, bytes(chunked.data))

    def _failed(self, reason: str) -> DecodeError:
        self._send = self._receive = self._chunked = self.next_timeout = None
        return DecodeError(reason)


class _Chunked:
    """A message of which chunks are missing. One buffer, so that tiny chunks cost no more than large ones."""

    __slots__ = ("data", "deadline", "kind")

    def __init__(self, kind: BodyKind, deadline: float) -> None:
        self.kind = kind
        self.data = bytearray()
        self.deadline = deadline


_KINDS: Final = (BodyKind.JSON, BodyKind.WIRE1)
_WHOLE: Final = (b"\x00", b"\x01")  # by kind, as are the first markers
_FIRST: Final = (b"\x02", b"\x03")
_MORE: Final = b"\x04"
_LAST: Final = b"\x05"
