"""A link that can do what WSS cannot: receipts, a window, re-hello, sockets that it lets go, and every kind of end.

Both ends of a real `Link`, over a wire of records: a letter, a length of four bytes, a body. Not a mock: a stack or a
peer drives it as it drives any other, and the bytes may be cut anywhere.

    O access key | T text | B binary | U untyped | K receipt of one frame | X the end, as the hub words it | R let go
    Z an event that nobody knows
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field

from tests.proto.links.networks import Direct
from thalovant_proto.carrier import Carrier, CloseKind, Credentials, Frame, FrameType, Target
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.errors import LocalProtocolError, RemoteProtocolError
from thalovant_proto.links.base import Accepted, FrameReceived, LinkClosed, LinkEvent, LinkOpened
from thalovant_proto.secret import Secret
from thalovant_proto.trust import Trust

RECEIPTS = Carrier(rehello=True, secure=True, receipts=True)
_LETTERS = {FrameType.TEXT: b"T", FrameType.BINARY: b"B", FrameType.UNTYPED: b"U"}
_ENDS = (CloseKind.LOST, CloseKind.REFUSED, CloseKind.FORGOTTEN, CloseKind.DISPLACED)
_TYPES = {letter: kind for kind, letter in _LETTERS.items()}


def record(letter: bytes, body: bytes = b"") -> bytes:
    """One record on the wire."""
    return letter + len(body).to_bytes(4, "big") + body


@define(eq=False)
class FrameLink:
    """One end. `window` frames go into one `data_to_send`, and no more before they are receipted."""

    carrier: Carrier
    access_key: Secret[str] | None = None  # the client's end shows it
    window: int | None = None
    largest: int = 1 << 20
    receipting: bool = True  # the hub's end says K for each frame
    mute: bool = False  # the client's end never opens
    lingers: bool = False  # a close waits for the end of the socket
    rests: bool = False  # the client's end wants a socket only to say something
    announced: list[float] = field(factory=list)
    paces: list[bool] = field(factory=list)
    layout: str | None = "in_out"
    _open: bool = False
    _plugged: bool = False
    _closed: bool = False
    _released: bool = False
    _buffer: bytearray = field(factory=bytearray)
    _urgent: list[bytes] = field(factory=list)
    _queue: deque[tuple[bytes, int | None]] = field(factory=deque)
    _sent: deque[int | None] = field(factory=deque)  # out, not yet receipted

    @property
    def target(self) -> Target:
        return Target(host="hub.test", port=5678, tls=True)

    @property
    def full(self) -> bool:
        return False

    @property
    def wants_socket(self) -> bool:
        waits = bool(self._urgent or self._queue)
        if self.rests and self._open and not self._plugged and not self._closed:
            return waits
        return not self._released and (not self._closed or waits)

    @property
    def next_timeout(self) -> float | None:
        return None

    def socket_opened(self, now: float) -> list[LinkEvent]:
        self._plugged = True
        if self._open or self.mute or self.access_key is None:
            return []
        self._open = True
        self._urgent.append(record(b"O", self.access_key.as_bytes()))
        return [LinkOpened(carrier=self.carrier)]

    def receive_data(self, data: bytes, now: float) -> list[LinkEvent]:
        self._buffer += data
        events: list[LinkEvent] = []
        while not self._closed and len(self._buffer) >= 5:
            end = 5 + int.from_bytes(self._buffer[1:5], "big")
            if len(self._buffer) < end:
                break
            letter, body = bytes(self._buffer[:1]), bytes(self._buffer[5:end])
            del self._buffer[:end]
            events += self._take(letter, body)
        return events

    def eof(self, now: float) -> list[LinkEvent]:
        rests, self._plugged = self.rests and self._plugged, False
        if self._released or rests:
            self._released = False  # there may be another socket
            return []
        self._urgent.clear()  # nobody will read it
        return [] if self._closed else [self._end(CloseKind.LOST)]

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        return []

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        if not self._open or self._closed:
            raise LocalProtocolError("the link is not open")
        if len(frame.data) > self.largest:
            raise LocalProtocolError(f"a frame of {len(frame.data)} bytes is over {self.largest}")
        self._queue.append((record(_LETTERS[frame.type], frame.data), token))

    def data_to_send(self) -> bytes:
        out, self._urgent = self._urgent, []
        while self._queue and (self.window is None or len(self._sent) < self.window):
            data, token = self._queue.popleft()
            out.append(data)
            if self.carrier.receipts and self.access_key is not None:
                self._sent.append(token)
        return b"".join(out)

    def pace(self, eager: bool, now: float) -> None:
        self.paces.append(eager)

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        if self._closed:
            return []
        self._urgent = [self.data_to_send()]  # after what is queued, as far as the window lets it
        self.end(CloseKind.CLOSED if self.access_key else CloseKind.REFUSED, code=code, reason=reason)
        return [] if self.lingers else [self._end(CloseKind.CLOSED, code=code, reason=reason)]

    def announce(self, now: float) -> None:
        self.announced.append(now)

    # What tests have an end say.

    def end(self, kind: CloseKind, **words: Any) -> None:
        """Say that it is over: `code`, `reason`, `retry_after`, `error`."""
        self._urgent.append(record(b"X", json.dumps({"kind": kind.value, **words}).encode()))

    def let_go(self) -> None:
        """Have the client's end be done with this socket, not with the session."""
        self._urgent.append(record(b"R"))

    def _take(self, letter: bytes, body: bytes) -> list[LinkEvent]:
        if letter == b"O":
            self._open = True
            return [LinkOpened(carrier=self.carrier, credentials=Credentials(access_key=Secret(body.decode())))]
        if letter == b"K":
            token = self._sent.popleft()
            return [] if token is None else [Accepted(token=token)]
        if letter == b"Z":
            return [LinkEvent()]
        if letter == b"R":
            self._released = True
            return []
        if letter == b"X":
            words = json.loads(body)
            error = words.pop("error", None)
            kind = CloseKind(words.pop("kind"))
            return [self._end(kind, error=None if error is None else RemoteProtocolError(error), **words)]
        if self.carrier.receipts and self.receipting and self.access_key is None:
            self._urgent.append(record(b"K"))
        return [FrameReceived(frame=Frame(body, _TYPES[letter]))]

    def _end(self, kind: CloseKind, **words: Any) -> LinkClosed:
        unsent = tuple(token for _, token in self._queue if token is not None)
        self._closed = True
        self._queue.clear()
        return LinkClosed(kind=kind, unsent=unsent, **words)


@define(eq=False, slots=False)
class FrameLinks(Direct):
    """The ends of frame links for a world; the newest of each are at hand."""

    carrier: Carrier = RECEIPTS
    window: int | None = None
    largest: int = 1 << 20
    receipting: bool = True
    mute: bool = False
    outlives_sockets: bool = False  # a session goes on when the client comes back on another socket
    notices: bool = False  # nobody pings
    clients: list[FrameLink] = field(factory=list)
    hubs: list[FrameLink] = field(factory=list)

    def link(self, config: ClientConfig, known: Trust) -> FrameLink:
        link = FrameLink(self.carrier, access_key=config.access_key, window=self.window, largest=self.largest)
        link.mute = self.mute
        self.clients.append(link)
        return link

    def hub(self) -> FrameLink:
        self.hubs.append(FrameLink(self.carrier, receipting=self.receipting))
        return self.hubs[-1]

    @property
    def mishaps(self) -> Mapping[str, Callable[[int], None]]:
        """Every end that a hub may put to a session that it has."""
        return {f"end as {kind.value}": partial(self._say_end, kind) for kind in _ENDS}

    def _say_end(self, kind: CloseKind, number: int) -> None:
        if self.hubs:
            self.hubs[-1].end(kind)
