"""One try at having a session with the hub: a link, the connection over it, and how far they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, runtime_checkable

from attrs import frozen

from .. import events as e
from ..carrier import CloseKind, Target
from ..entropy import Entropy
from ..errors import LocalProtocolError
from ..failures import Failure, FailureKind, Progress, from_close, from_fault
from ..limits import Limits
from ..linked import LinkedConnection
from ..links.base import Link, LinkClosed, LinkEvent
from .steps import Run


class ClientLink(Link, Protocol):
    """A link of the client's side: it knows where to dial."""

    @property
    def target(self) -> Target:
        """Host and port for the driver."""

    @property
    def full(self) -> bool:
        """Whether its send buffer is over its soft limit: hand it no more messages. `send` still accepts them."""


@runtime_checkable
class PresenceLink(Protocol):
    """A link that has to find the hub in one of several places, and says there that the client is present (MQTT)."""

    @property
    def layout(self) -> str | None:
        """The topic layout on which the hub answered, to be remembered."""

    def announce(self, now: float) -> None:
        """Say that the client is there; once the hub is proven."""


@frozen(kw_only=True)
class Ending:
    """How an attempt ended.

    `unsent` are the tokens of messages that never left, `by_peer` is how the peer closed (None if it did not), `pause`
    for how many seconds it asked to be left alone.
    """

    failure: Failure
    unsent: tuple[int, ...] = ()
    by_peer: CloseKind | None = None
    pause: float | None = None


class Attempt(LinkedConnection[ClientLink]):
    """One link, from the first dial to its end."""

    __slots__ = (
        "completed", "dial_until", "eager", "farewell", "greeted", "handed", "receipts", "run", "sealed_at", "serial",
    )  # fmt: skip

    def __init__(self, link: ClientLink, serial: int, *, entropy: Entropy, limits: Limits, last_effect: int) -> None:
        super().__init__(link, entropy=entropy, limits=limits, last_effect=last_effect)
        self.serial: int = serial
        self.run: Run | None = None  # while the driver's socket is up
        self.dial_until: float | None = None  # when it must be, while it is asked for
        self.receipts: bool = False
        self.handed: list[int] = []  # tokens in the link's buffer
        self.eager: bool | None = None  # what the link was told of its pace
        self.greeted: bool = False
        self.completed: e.HandshakeCompleted | None = None
        self.sealed_at: float | None = None
        self.farewell: bool = False  # the link has its goodbye; waiting for its end

    def progress(self, now: float) -> Progress:
        """The progress of the attempt."""
        connection, done = self.connection, self.completed
        return Progress(
            greeted=self.greeted,
            completed=done is not None,
            proven=self.proven,
            generation=None if done is None else done.generation,
            pattern=connection.pattern if connection is not None else None,
            sealed_for=None if self.sealed_at is None else now - self.sealed_at,
            node_id=connection.node_id if connection is not None else None,
        )

    def await_dial(self, until: float) -> None:
        """There is no socket: an answer is due by then, if one is asked for."""
        if not self.link.wants_socket:
            self.dial_until = None
        elif self.dial_until is None:
            self.dial_until = until

    def verdict_on_link(self, closed: LinkClosed, reason: str, now: float) -> Failure:
        """The failure that the end of the link is; `reason` is what the driver knows of it."""
        if self.farewell:
            return CLOSED
        if closed.error is not None:
            return from_fault(closed.error, closed.code)
        return from_close(closed.kind, closed.code, reason or closed.reason, self.progress(now), hint=closed.hint)

    def verdict_on_connection(self, closed: e.Closed, now: float) -> Failure:
        """The failure that the end of the connection is."""
        if closed.error is not None:
            return from_fault(closed.error)
        if closed.kind in (CloseKind.FORGOTTEN, CloseKind.LOST):
            return from_close(closed.kind, None, closed.reason, self.progress(now))
        return RENEWED

    def abandon(self, now: float, *, code: int, reason: str) -> tuple[bytes, tuple[int, ...]]:
        """End the link from our side: what is left to write, goodbye included, and the tokens that never left."""
        link = self.link
        events = link.close(now, code=code, reason=reason)
        goodbye = link.data_to_send() if self.run is not None else b""
        return goodbye, unsent_of([*events, *link.eof(now)])


def unsendable(error: LocalProtocolError) -> Failure:
    """The failure of a message that cannot be framed, or that the link does not take."""
    return Failure(kind=FailureKind.PROTOCOL, message=str(error), cause=error)


def unsent_of(events: Iterable[LinkEvent]) -> tuple[int, ...]:
    """The tokens that a link names as it ends; of messages that it had not let go."""
    return next((event.unsent for event in events if isinstance(event, LinkClosed)), ())


CLOSED: Final = Failure(kind=FailureKind.CLOSED, message="the session was closed")
RENEWED: Final = Failure(kind=FailureKind.RENEWED, message="the keys of the session were used up")
