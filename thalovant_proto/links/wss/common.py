"""Parts that both ends of a WSS link share: frames, sizes, pings, close codes and the bytes left to send.

One link is one WebSocket on one socket. wsproto does the framing; it knows no size and no time, so both are ours. The
ends differ in the upgrade only: `wss_client` asks for it, `wss_server` grants it.
"""

from __future__ import annotations

import abc
import enum
import re
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from attrs import field, frozen
from attrs.validators import gt
from wsproto.connection import ConnectionType
from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    LOCAL_ONLY_CLOSE_REASONS,
    CloseReason,
    Frame as WsFrame,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
    RsvBits,
)
from wsproto.handshake import H11Handshake

from ...carrier import Carrier, CloseKind, Credentials, Frame, FrameType
from ...errors import LocalProtocolError, RemoteProtocolError
from ...limits import DEFAULT_LIMITS, KIB
from ..base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from ..strangers import looks_like


@frozen(kw_only=True)
class WssLimits:
    """Limits of one WebSocket. Sizes in bytes, times in seconds."""

    # One message, in however many frames it comes; also the most that we send as one.
    message: int = field(default=DEFAULT_LIMITS.frame, validator=gt(0))
    # Silence after which we ask for a sign of life; proxies commonly drop what is idle for 60 s.
    ping_interval: float = field(default=20.0, validator=gt(0))

    @property
    def ping_timeout(self) -> float:
        """How long that sign may take: a dead peer is noticed within two intervals."""
        return 0.75 * self.ping_interval


DEFAULT_WSS_LIMITS: Final = WssLimits()

# Frames of one message: peers do not fragment, or by some KiB; each costs 10 µs, so a flood of them 0.2 s.
_FRAGMENTS: Final = 16 * KIB
# The upgrade's request or response up to its blank line: as much as common servers and proxies take.
_HEAD: Final = 16 * KIB
# Pongs waiting to be drained, 8 KiB of them; then only the latest pings are answered (RFC 6455 §5.5.3 allows it).
_PENDING_PONGS: Final = 64
# From the open socket to the upgraded link: two round trips on a bad mobile network.
_UPGRADE_TIME: Final = 10.0
# The peer may take so long to answer our close.
_CLOSE_TIME: Final = 2.0

# wsproto copies what it is fed and holds what it cannot use yet: never feed it more than this at once.
_SLICE: Final = 64 * KIB

_BLANK_LINE: Final = re.compile(rb"\n\r?\n")  # as h11 ends a head
_TLS_RECORDS: Final = (0x15, 0x16)  # how a TLS alert and a TLS hello begin

_SENDABLE_CODES: Final = frozenset(CloseReason) - frozenset(LOCAL_ONLY_CLOSE_REASONS)
# A peer that closes with one of these meant us; all others tell of trouble that may pass (wire.md §5.7).
_REFUSALS: Final = frozenset({1000, 1005, 1008})

_Bytes = bytes | bytearray  # what wsproto makes, joined once when it leaves

_NO_RSV: Final = RsvBits(False, False, False)
# wsproto calls this malformed before the size law sees it; to us it is one more size that is too big
_LENGTH_OF_64_BITS: Final = "8-byte payload length with non-zero MSB"


class _State(enum.Enum):
    UPGRADING = enum.auto()  # HTTP, from the start
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close is queued or out; the peer owes its own
    CLOSED = enum.auto()


class _SizeLaw(Extension):
    """Refuses a message by what its frame headers declare, before any of the payload is held.

    An extension is how wsproto shows headers in time. This one is never offered to the peer and changes nothing.
    """

    name = "size-law"

    def __init__(self, limits: WssLimits) -> None:
        self._limits = limits
        self._held = 0  # bytes of this message in earlier frames
        self._fragments = 0  # the number of those
        self._frame = 0  # bytes of this frame
        self._control = False

    def enabled(self) -> bool:
        return True

    offer = Extension.enabled  # False: there is nothing to negotiate

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        # Comes again for the same frame if the bytes are cut inside its masking key, so nothing is summed up here.
        self._control = opcode.iscontrol()
        self._frame = payload_length
        if self._control:
            return _NO_RSV
        if self._held + payload_length > self._limits.message or self._fragments >= _FRAGMENTS:
            return CloseReason.MESSAGE_TOO_BIG
        return _NO_RSV

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> None:
        if self._control:
            return
        self._held = 0 if fin else self._held + self._frame
        self._fragments = 0 if fin else self._fragments + 1


class WssLink(abc.ABC):
    """One end of a WebSocket that carries hub frames. See `Link` for the contract.

    `LinkClosed.code` is a WebSocket close code, or an HTTP status if it never became a WebSocket.
    """

    _role: ClassVar[ConnectionType]
    _unanswered: str = ""  # the next step where the peer ended the socket without a word

    def __init__(self, *, limits: WssLimits, secure: bool) -> None:
        self._limits = limits
        self._carrier = Carrier(secure=secure)
        self._state = _State.UPGRADING
        self._deadline: float | None = None  # of whatever this state waits for
        self._pinged = False  # our ping is out and nothing has come since
        self._parting = (0, "")  # code and reason of our own close

        self._handshake = H11Handshake(self._role)
        self._head = bytearray()
        client = self._role is ConnectionType.CLIENT
        self._ws = FrameProtocol(client, [_SizeLaw(limits)])
        # A client's frames are made as a hub's are, without a mask, and masked afterwards: wsproto would draw the mask
        # from the operating system, and the bytes would not follow from `entropy`.
        self._framer = FrameProtocol(False, []) if client else self._ws
        self._message = bytearray()  # the parts of an unfinished message

        # What is left to send, in this order.
        self._urgent: list[_Bytes] = []  # the upgrade, our pings
        self._pongs: list[_Bytes] = []
        self._frames: list[_Bytes] = []
        self.unsent: int = 0  # bytes of the frames above, as they were given to `send`
        self.on_taken: Callable[[], None] | None = None  # called when they were handed out
        self._goodbye: _Bytes = b""
        self._tokens: list[int] = []  # of the frames above

    @property
    def wants_socket(self) -> bool:
        """True from the start until the link has closed and its goodbye is drained."""
        return self._state is not _State.CLOSED or bool(self._urgent or self._pongs or self._goodbye)

    @property
    def next_timeout(self) -> float | None:
        """The time at which the upgrade, a ping, its answer or the peer's close is due; None without a socket."""
        return self._deadline

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """Start the upgrade and its deadline. Once per link."""
        self._deadline = now + _UPGRADE_TIME
        return []

    def receive_data(self, data: bytes, now: float) -> Iterator[LinkEvent]:
        """Bytes from the socket, cut in any way. Raises nothing; what follows the end of the link is ignored."""
        if self._state is _State.UPGRADING:
            return self._receive_head(data, now)
        if data and self._state is _State.OPEN:
            self._pinged = False
            self._deadline = now + self._limits.ping_interval
        return self._receive_frames(data)

    def eof(self, now: float) -> list[LinkEvent]:
        """The socket ended: nothing more can leave."""
        self._hush()
        match self._state:
            case _State.UPGRADING:
                hint = "" if self._head else self._unanswered
                return [self._end(CloseKind.LOST, reason="the socket ended before the upgrade", hint=hint)]
            case _State.OPEN:
                reason = "the socket ended without a close frame"
                return [self._end(CloseKind.LOST, code=CloseReason.ABNORMAL_CLOSURE, reason=reason)]
            case _State.CLOSING:
                return [self._end_as_asked()]
        return []

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        """Ask a silent peer for a sign of life; give up on the upgrade, on that sign, or on an answer to our close."""
        if self._deadline is None or now < self._deadline:
            return []
        if self._state is _State.OPEN and not self._pinged:
            self._pinged = True
            self._deadline = now + self._limits.ping_timeout
            self._urgent.append(self._finish(self._framer.ping()))
            return []
        self._hush()
        match self._state:
            case _State.UPGRADING:
                return [self._end(CloseKind.LOST, reason=f"no upgrade within {_UPGRADE_TIME:g} s")]
            case _State.CLOSING:
                return [self._end_as_asked()]
        reason = f"ping timeout: nothing came within {self._limits.ping_timeout:g} s"
        return [self._end(CloseKind.LOST, code=CloseReason.ABNORMAL_CLOSURE, reason=reason)]

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        """Queue a frame, `TEXT` or `BINARY`. Raises `LocalProtocolError` if that is not legal now."""
        if self._state is not _State.OPEN:
            raise LocalProtocolError(f"a frame cannot be sent while the WebSocket is {self._state.name}")
        if len(frame.data) > self._limits.message:
            raise LocalProtocolError(f"a frame of {len(frame.data)} bytes is over the limit of {self._limits.message}")
        if frame.type is FrameType.BINARY:
            self._frames.append(self._finish(self._framer.send_data(frame.data)))
        elif frame.type is FrameType.TEXT:
            try:
                text = frame.data.decode()
            except UnicodeDecodeError:
                raise LocalProtocolError("a TEXT frame must be UTF-8") from None
            self._frames.append(self._finish(self._framer.send_data(text)))
        else:
            raise LocalProtocolError("a frame on a WebSocket must be TEXT or BINARY")
        self.unsent += len(frame.data)
        if token is not None:
            self._tokens.append(token)

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now. What it has handed out counts as sent."""
        data = b"".join((*self._urgent, *self._pongs, *self._frames, self._goodbye))
        if data:
            self._urgent.clear()
            self._pongs.clear()
            self._frames.clear()
            self._tokens.clear()
            self._goodbye = b""
            if self.unsent:
                self.unsent = 0
                if self.on_taken is not None:
                    self.on_taken()
        return data

    def pace(self, eager: bool, now: float) -> None:
        """Ignored: a WebSocket does not poll."""
        return

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        """Close after what is queued; `reason` is cut to 123 bytes. Twice is as good as once.

        Raises `LocalProtocolError` if `code` may not travel in a close frame (RFC 6455 §7.4).
        """
        if code not in _SENDABLE_CODES and not 3000 <= code <= 4999:
            raise LocalProtocolError(f"{code} is not a WebSocket close code that can be sent")
        if self._state is _State.UPGRADING:
            self._hush()
            return [self._end(CloseKind.CLOSED, code=code, reason=reason)]
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            self._deadline = now + _CLOSE_TIME
            self._parting = (code, reason)
            self._goodbye = self._close_frame(code, reason)
        return []

    # The upgrade: each end has its own.

    @abc.abstractmethod
    def _upgrade(self, head: bytes, now: float) -> list[LinkEvent]:
        """Act on the peer's whole head: `_open` the link or end it."""

    @abc.abstractmethod
    def _bad_head(self, what: str, *, status: int, hint: str = "") -> LinkClosed:
        """End the link for what the peer sent in place of an upgrade; `status` is what HTTP calls it."""

    @abc.abstractmethod
    def _is_http(self, head: bytearray) -> bool:
        """Whether `head`, one byte or more, may still become what an HTTP peer says."""

    def _receive_head(self, data: bytes, now: float) -> Iterator[LinkEvent]:
        """Collect the head and act on it once it is whole, so that nothing depends on how it was cut."""
        seen = max(0, len(self._head) - 2)
        self._head += data
        if self._head and not self._is_http(self._head):
            first = self._head[0]
            hint = "It speaks TLS, we speak plain text: check the scheme and the port." if first in _TLS_RECORDS else ""
            yield self._bad_head(f"something that is not HTTP{looks_like(first, but='HTTP')}", status=400, hint=hint)
            return
        end = _BLANK_LINE.search(self._head, seen, _HEAD)
        if end is None:
            if len(self._head) >= _HEAD:
                yield self._bad_head(f"a head over the limit of {_HEAD} bytes", status=431)
            return
        head, rest = bytes(self._head[: end.end()]), bytes(self._head[end.end() :])
        self._head.clear()
        yield from self._upgrade(head, now)
        yield from self._receive_frames(rest)

    def _open(self, now: float, credentials: Credentials | None = None) -> LinkOpened:
        self._state = _State.OPEN
        self._deadline = now + self._limits.ping_interval
        del self._handshake  # it holds the request, and that the access key
        return LinkOpened(carrier=self._carrier, credentials=credentials)

    # The frames

    def _receive_frames(self, data: bytes) -> Iterator[LinkEvent]:
        for start in range(0, len(data), _SLICE):
            if self._state is _State.CLOSED:
                return
            self._ws.receive_bytes(data[start : start + _SLICE])
            yield from self._next_events()

    def _next_events(self) -> Iterator[LinkEvent]:
        try:
            for frame in self._ws.received_frames():
                if (event := self._receive_frame(frame)) is not None:
                    yield event
                if self._state is _State.CLOSED:
                    return
        except ParseFailed as fault:
            yield self._fail(fault)

    def _receive_frame(self, frame: WsFrame) -> LinkEvent | None:
        """Act on one frame, or on as much of it as has come: wsproto hands out a large one in parts."""
        payload = frame.payload
        if isinstance(payload, tuple):  # a close frame, no other
            return self._end_as_told(*payload)
        if self._state is not _State.OPEN:
            return None  # after our close nothing counts but the peer's
        data = payload.encode() if isinstance(payload, str) else payload
        if frame.opcode is Opcode.PING:
            self._pongs.append(self._finish(self._framer.pong(data)))
            del self._pongs[:-_PENDING_PONGS]
            return None
        if frame.opcode is Opcode.PONG:
            return None  # a sign of life like any other byte
        if self._message or not frame.message_finished:
            self._message += data
            if not frame.message_finished:
                return None
            data = bytes(self._message)
            self._message.clear()
        kind = FrameType.TEXT if frame.opcode is Opcode.TEXT else FrameType.BINARY
        return FrameReceived(frame=Frame(data, kind))

    # The end

    def _fail(self, fault: ParseFailed) -> LinkClosed:
        """The peer broke RFC 6455 or went over a limit. Nothing said depends on how the bytes were cut."""
        code, what = fault.code, f"a frame that breaks RFC 6455 ({fault})"
        if code is CloseReason.MESSAGE_TOO_BIG or str(fault) == _LENGTH_OF_64_BITS:
            code = CloseReason.MESSAGE_TOO_BIG
            what = f"a message over the limit of {self._limits.message} bytes or {_FRAGMENTS} frames"
        elif code is CloseReason.INVALID_FRAME_PAYLOAD_DATA:
            what = "text that is not UTF-8"
        if self._state is _State.CLOSING:
            return self._end_as_asked()
        self._goodbye = self._close_frame(code, what)
        return self._end_by_fault(code, what)

    def _end_by_fault(self, code: int | None, what: str, *, hint: str = "") -> LinkClosed:
        error = RemoteProtocolError(f"the WebSocket peer sent {what} while {self._state.name}", hint=hint)
        return self._end(CloseKind.LOST, code=code, reason=what, error=error)

    def _end_as_told(self, code: int, reason: str) -> LinkClosed:
        if self._state is _State.CLOSING:
            return self._end_as_asked()
        self._goodbye = self._close_frame(code)
        kind = CloseKind.REFUSED if code in _REFUSALS else CloseKind.LOST
        return self._end(kind, code=code, reason=self._shown(reason))

    def _shown(self, words: str) -> str:
        """The peer's words, which will be seen on terminals and in logs."""
        return "".join(c if c.isprintable() else " " for c in words)

    def _end_as_asked(self) -> LinkClosed:
        code, reason = self._parting
        return self._end(CloseKind.CLOSED, code=code, reason=reason)

    def _close_frame(self, code: int, reason: str = "") -> _Bytes:
        # a reason may quote JSON, and with it half of a surrogate pair
        return self._finish(self._framer.close(code, reason.encode("utf-8", "replace").decode()))

    def _finish(self, frame: bytearray) -> _Bytes:
        """A frame as it travels from this end; `frame` has no mask."""
        return frame

    def _hush(self) -> None:
        """Say nothing more: the socket is gone, or nobody reads it."""
        self._urgent.clear()
        self._pongs.clear()
        self._goodbye = b""

    def _end(
        self,
        kind: CloseKind,
        *,
        code: int | None = None,
        reason: str = "",
        error: RemoteProtocolError | None = None,
        hint: str = "",
        retry_after: float | None = None,
    ) -> LinkClosed:
        """Nothing but what we owe the peer leaves after this: frames still here are reported as never sent."""
        unsent = tuple(self._tokens)
        self._state = _State.CLOSED
        self._deadline = None
        self._head.clear()
        self._message.clear()
        self._frames.clear()
        self._tokens.clear()
        self.unsent = 0
        code = None if code is None else int(code)
        return LinkClosed(
            kind=kind, code=code, reason=reason, error=error, hint=hint, unsent=unsent, retry_after=retry_after
        )
