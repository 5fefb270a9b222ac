"""The interface of links. A link is one hub session on the wire, whatever number of sockets that takes.

A link is pure: bytes and time in, events and bytes out. It never raises for what the peer did; its last event is
`LinkClosed`, after which it only offers its goodbye and ignores input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import frozen

from ..carrier import Carrier, CloseKind, Credentials, Frame
from ..errors import RemoteProtocolError


@frozen(kw_only=True)
class LinkEvent:
    """Base of what a link reports."""


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
    `hint` is the next step where no `error` has it: the link knows more than the kind says.
    `retry_after` is for how many seconds the peer asked to be left alone (bounded), None if it did not.
    """

    kind: CloseKind
    code: int | None = None
    reason: str = ""
    error: RemoteProtocolError | None = None
    hint: str = ""
    unsent: tuple[int, ...] = ()
    retry_after: float | None = None


class Link(Protocol):
    """The interface that `ClientStack` and `HubPeer` drive."""

    @property
    def wants_socket(self) -> bool:
        """Whether the driver should hold an open socket now.

        False while one is open: the link is done with that socket, and a later True means another one.
        """

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called, in the driver's monotonic seconds."""

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


class HubLink(Link, Protocol):
    """The hub's end of a link."""

    #: Called when fewer bytes wait than before.
    on_taken: Callable[[], None] | None

    @property
    def unsent(self) -> int:
        """The bytes of frames that wait for the client, or for what takes them to it."""
