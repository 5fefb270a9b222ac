"""What every link is: one hub session on the wire, whatever number of sockets that takes.

A link is pure: bytes and time in, events and bytes out. It never raises for what the peer did; its last event is
`LinkClosed`, after which it only offers its goodbye and ignores input.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Protocol

from attrs import field, frozen

from ..errors import RemoteProtocolError
from ..secret import Secret


class FrameType(enum.Enum):
    """What the carrier says about a frame's payload."""

    TEXT = enum.auto()
    BINARY = enum.auto()
    UNTYPED = enum.auto()  # MQTT: bytes are bytes


@frozen(slots=True)
class Frame:
    """One frame of the hub protocol, as the carrier delivers or takes it. `TEXT` data is UTF-8."""

    data: bytes = field(repr=False)
    type: FrameType


@frozen(kw_only=True)
class Carrier:
    """What a link can do, told to the connection when it opens."""

    text_up: bool = True  # the hub reads JSON text frames from clients here
    binary_up: bool = True  # the hub reads binary frames from clients here
    legacy_binary_up: bool = True  # the hub reads them in v0 and v1 sessions too (over HTTPS real hubs do not)
    typed: bool = True  # text and binary frames can be told apart
    rehello: bool = False  # a hub that lost the session says hello again in clear
    secure: bool = False  # verified TLS or loopback
    receipts: bool = False  # `Accepted` tells when the next hop took a frame
    idle: float | None = None  # a hub that heard nothing for so long is asked: it may be gone unseen, or forget us soon


class CloseKind(enum.Enum):
    """Why a link ended."""

    LOST = "lost"  # network trouble, or a peer that crashed or restarts
    REFUSED = "refused"  # the peer closed on purpose
    FORGOTTEN = "forgotten"  # the hub lost the session; the credentials may be fine
    DISPLACED = "displaced"  # another process with the same access key took over
    CLOSED = "closed"  # we closed it


@frozen(kw_only=True)
class LinkEvent:
    """Base of what a link reports."""


@frozen(kw_only=True)
class Credentials:
    """What a client showed the carrier, as the hub's side of a link reads it."""

    access_key: Secret[str]
    user_agent: str = ""


@frozen(kw_only=True)
class LinkOpened(LinkEvent):
    """Frames can travel. `credentials` only on the hub's side."""

    carrier: Carrier
    credentials: Credentials | None = None


@frozen(kw_only=True)
class FrameReceived(LinkEvent):
    """A whole frame of the hub protocol arrived."""

    frame: Frame


@frozen(kw_only=True)
class Accepted(LinkEvent):
    """The next hop took the frame that was sent with this token (HTTPS: the hub, MQTT: the broker; WSS: never)."""

    token: int


@frozen(kw_only=True)
class LinkClosed(LinkEvent):
    """The last event of a link.

    `code` is the carrier's own number (WebSocket close code, HTTP status, CONNACK return code), None if there is none.
    `unsent` are the tokens of frames that never left: never drained by `data_to_send`, or refused whole by the peer.
    `retry_after` is for how many seconds the peer asked to be left alone (bounded), None if it did not.
    """

    kind: CloseKind
    code: int | None = None
    reason: str = ""
    error: RemoteProtocolError | None = None
    unsent: tuple[int, ...] = ()
    retry_after: float | None = None


@frozen(kw_only=True)
class Target:
    """Where a driver dials for a link: TCP to `host:port`, TLS with `host` as server name if `tls`."""

    host: str
    port: int
    tls: bool


class Link(Protocol):
    """The interface that `ClientStack` and `HubPeer` drive."""

    @property
    def wants_socket(self) -> bool:
        """Whether the driver should hold an open socket now.

        False while one is open: the link is done with that socket, and a later True means another one.
        """

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called, in the driver's monotonic seconds."""

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """The driver's socket is up, TLS included."""

    def receive_data(self, data: bytes, now: float) -> Iterable[LinkEvent]:
        """Bytes from the socket. Never raises for what they hold.

        An event may be made when it is asked for, so that what the owner does about it counts for the next one: take
        all of them, or close the link.
        """

    def eof(self, now: float) -> list[LinkEvent]:
        """The socket ended, cleanly or not; or the one that the link wants could not be opened."""

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        """Time has passed. Harmless if early; afterwards `next_timeout` is None or later than `now`."""

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        """Queue a frame. Raises `LocalProtocolError` if the link is not open or the frame is over the limit."""

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now; the one way out."""

    def pace(self, eager: bool, now: float) -> None:
        """Whether somebody waits for an answer: polling links hurry, others ignore it."""

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        """Say goodbye. `LinkClosed` comes at once, or when the peer answered, the socket ended or time is up."""
