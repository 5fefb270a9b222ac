"""One client's session at a hub over HTTPS: a link that outlives sockets. `https_server` feeds it requests."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from ... import jsontext
from ...carrier import Carrier, CloseKind, Credentials, Frame, FrameType
from ...errors import LocalProtocolError
from ...limits import MIB
from ..base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from .stream import HttpsLimits, Resource

# The bytes that JSON puts around the frames of a response.
_ENVELOPE: Final = 256
# Frames that a hub keeps for a client that does not poll, and that it holds of one that sends faster than it is served.
# Real hubs drop frames beyond 256, however small; here it is bytes that count, for an app may well say a thousand small
# things between two polls.
_QUEUE_FRAMES: Final = 4096
# Bytes of frames that were received and are not processed yet.
_RECEIVED_BYTES: Final = 16 * MIB
# A session ends this long after the last poll (wire.md §7.1: real hubs drop the queue then).
_SESSION_TIME: Final = 300.0


@frozen
class _Waiting:
    """A frame for the client, as it stands in the response's JSON."""

    text: bytes = field(repr=False)
    token: int | None


@frozen
class HttpsSessionEnd:
    """The end of a session. `code` is a WebSocket close code where its owner closed it, else None."""

    kind: CloseKind
    code: int | None
    reason: str


class HttpsSession:
    """The hub's end of one client's session. See `Link` for the contract; made by `HttpsServerHub` only.

    It never wants a socket: requests reach it by any `HttpsServerConnection`. What they brought is given out by
    `receive_data(b"", now)`, or `handle_timeout`, for which `next_timeout` is then due at once. Frames sent wait until
    the client polls. A lost frame cannot be recovered, so the session ends when too many wait, or when the client does
    not poll for five minutes. So do `/disconnect` and a new `/connect` of the same client. Frames sent until the
    owner has heard of the end are among `unsent`.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        address: str,
        limits: HttpsLimits,
        secure: bool,
        now: float,
        on_ready: Callable[[HttpsSession], None],
        on_proof: Callable[[HttpsSession, float], None],
        on_end: Callable[[HttpsSession], None],
    ) -> None:
        self.credentials = credentials
        self.address = address  # that it was opened from
        self.proven: bool = False
        self.ending: HttpsSessionEnd | None = None
        self.cookie_returned = False  # from then on it is required
        #: Called when the client has taken frames: there may be room for more.
        self.on_taken: Callable[[], None] | None = None
        self._limits = limits
        self._on_ready = on_ready
        self._on_proof = on_proof
        self._on_end = on_end
        self._polled_at = now
        self._over = False  # `LinkClosed` was given out
        self._events: list[LinkEvent] = []
        self._ready_at: float | None = None
        self._received_frames = self._received_bytes = 0
        self._queues: dict[Resource, deque[_Waiting]] = {Resource.TEXT: deque(), Resource.BINARY: deque()}
        self._queued_bytes = 0
        self._late: list[int] = []  # tokens sent after the end, before the owner knows
        self._tell(LinkOpened(carrier=Carrier(secure=secure), credentials=credentials), now)

    # --- what its owner asks, as of any link

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client's polls, as they stand in responses."""
        return self._queued_bytes

    @property
    def wants_socket(self) -> bool:
        """Never: sockets belong to connections."""
        return False

    @property
    def next_timeout(self) -> float | None:
        """At once if there are events, else when the client has not polled for too long."""
        if self._over:
            return None
        return self._ready_at if self._ready_at is not None else self._polled_at + _SESSION_TIME

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """Nothing: sockets belong to connections."""
        return []

    def receive_data(self, data: bytes, now: float) -> list[LinkEvent]:
        """Report what requests have brought; `data` is not used."""
        return self._give_out()

    def eof(self, now: float) -> list[LinkEvent]:
        """Nothing: sockets belong to connections."""
        return []

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        """Report what requests have brought, or end the session of a client that no longer polls."""
        if self.ending is None and now >= self._polled_at + _SESSION_TIME:
            self.end(CloseKind.LOST, "the client does not poll", now)
        return self._give_out()

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        """Keep a frame for the client's next poll. Raises `LocalProtocolError` if the link is over, or for a frame
        that does not fit into a response, is not UTF-8 text, or is untyped."""
        if self._over:
            raise LocalProtocolError("the HTTPS session is over")
        queue, text = self._as_json(frame)
        if len(text) > self._limits.response - _ENVELOPE:
            raise LocalProtocolError(f"a frame of {len(text)} bytes does not fit into {self._limits.response}")
        waiting = _Waiting(text, token)
        if self.ending is not None:
            self._late += _tokens(waiting)
            return
        self._queues[queue].append(waiting)
        self._queued_bytes += len(text)
        frames = sum(map(len, self._queues.values()))
        if frames > _QUEUE_FRAMES or self._queued_bytes > self._limits.queue_bytes:
            self.end(CloseKind.LOST, "the client leaves too much unread", now)

    def data_to_send(self) -> bytes:
        """Nothing: connections answer."""
        return b""

    def pace(self, eager: bool, now: float) -> None:
        """No effect: the client polls."""

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        """End the session. The client learns it from the answer to its next request; what it has not polled is lost."""
        if self.ending is None:
            self._finish(HttpsSessionEnd(CloseKind.CLOSED, code, reason))
        return self._give_out()

    def prove(self, now: float) -> None:
        """The client has shown that it knows more than an access key: its place is its own."""
        self.proven = True
        self._on_proof(self, now)

    # --- what requests do

    def receive(self, frame: Frame, now: float) -> bool:
        """A frame came. False if the owner is behind and it was not taken."""
        full = self._received_frames >= _QUEUE_FRAMES
        if full or self._received_bytes + len(frame.data) > _RECEIVED_BYTES:
            return False
        self._received_frames += 1
        self._received_bytes += len(frame.data)
        self._tell(FrameReceived(frame=frame), now)
        return True

    def polled(self, now: float) -> None:
        """The client asked for its frames."""
        self._polled_at = now

    def take_frames(self, *, binary: bool) -> list[bytes]:
        """Frames of one type for one response, as JSON strings, in order; the rest waits for the next poll."""
        taken: list[bytes] = []
        size, waiting = 0, self._queues[Resource.BINARY if binary else Resource.TEXT]
        while waiting and (not taken or size + len(waiting[0].text) <= self._limits.response // 2):
            taken.append(waiting.popleft().text)
            size += len(taken[-1])
        self._queued_bytes -= size
        if taken and self.on_taken is not None:
            self.on_taken()
        return taken

    def end(self, kind: CloseKind, reason: str, now: float) -> None:
        """The session is over; its owner is told."""
        self._finish(HttpsSessionEnd(kind, None, reason))
        self._make_ready(now)

    # --- inside

    def _tell(self, event: LinkEvent, now: float) -> None:
        self._events.append(event)
        self._make_ready(now)

    def _make_ready(self, now: float) -> None:
        if self._ready_at is None:
            self._ready_at = now
        self._on_ready(self)

    def _give_out(self) -> list[LinkEvent]:
        events, self._events = self._events, []
        self._ready_at = None
        self._received_frames = self._received_bytes = 0
        if self.ending is not None and not self._over:
            self._over = True
            unsent = [token for queue in self._queues.values() for waiting in queue for token in _tokens(waiting)]
            events.append(
                LinkClosed(
                    kind=self.ending.kind,
                    code=self.ending.code,
                    reason=self.ending.reason,
                    unsent=tuple(unsent + self._late),
                )
            )
            self._queues.clear()
        return events

    def _finish(self, ending: HttpsSessionEnd) -> None:
        self.ending = ending
        self._on_end(self)

    def _as_json(self, frame: Frame) -> tuple[Resource, bytes]:
        match frame.type:
            case FrameType.TEXT:
                try:
                    return Resource.TEXT, jsontext.dumps(frame.data.decode())
                except UnicodeDecodeError:
                    raise LocalProtocolError("a text frame is not UTF-8") from None
            case FrameType.BINARY:
                return Resource.BINARY, b'"%b"' % base64.b64encode(frame.data)
        raise LocalProtocolError("an HTTPS link takes text and binary frames")


def _tokens(waiting: _Waiting) -> list[int]:
    return [] if waiting.token is None else [waiting.token]
