"""One try at having a session with the hub: a link, the connection over it, and how far they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from attrs import define, field

from .. import events as e
from ..carrier import Target
from ..connection import HubConnection
from ..failures import Progress
from ..links.base import Link, LinkClosed, LinkEvent


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


@define(eq=False)
class Attempt:
    """One link, from the first dial to its end."""

    link: ClientLink
    serial: int
    connected: bool = False  # the driver's socket is up
    opening_until: float | None = None
    connection: HubConnection | None = None
    receipts: bool = False
    handed: list[int] = field(factory=list)  # tokens in the link's buffer
    greeted: bool = False
    completed: e.HandshakeCompleted | None = None
    sealed_at: float | None = None
    farewell: bool = False  # the link has its goodbye; waiting for its end

    def progress(self, now: float) -> Progress:
        """The progress of the attempt."""
        connection, done = self.connection, self.completed
        return Progress(
            greeted=self.greeted,
            completed=done is not None,
            proven=connection is not None and connection.proven,
            generation=None if done is None else done.generation,
            pattern=connection.pattern if connection is not None else None,
            sealed_for=None if self.sealed_at is None else now - self.sealed_at,
            node_id=connection.node_id if connection is not None else None,
        )

    def abandon(self, now: float, *, code: int, reason: str) -> tuple[bytes, tuple[int, ...]]:
        """End the link from our side: what is left to write, goodbye included, and the tokens that never left."""
        link = self.link
        events = link.close(now, code=code, reason=reason)
        goodbye = link.data_to_send() if self.connected else b""
        return goodbye, unsent_of([*events, *link.eof(now)])


def unsent_of(events: Iterable[LinkEvent]) -> tuple[int, ...]:
    """The tokens that a link names as it ends; of messages that it had not let go."""
    return next((event.unsent for event in events if isinstance(event, LinkClosed)), ())
