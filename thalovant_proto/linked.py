"""A link and the protocol over it, joined: what `ClientStack` and `HubPeer` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from . import events as e
from .codec.legacy_policy import LEGACY_POLICY
from .connection import HubConnection
from .entropy import Entropy, soonest
from .errors import HandshakeTimeout, LocalProtocolError
from .handshake.client import ClientSide
from .limits import Limits
from .links.base import FrameReceived, Link, LinkEvent, LinkOpened

if TYPE_CHECKING:
    from .handshake.hub import HubSide

LinkT = TypeVar("LinkT", bound=Link)


class LinkedConnection(Generic[LinkT]):
    """One link, and the connection over it from the moment it is open.

    Frames of the link become events of the connection (`received`), and what the connection has to say becomes frames
    of the link (`flush`). A link makes an event when it is asked for it: flush after each, so that the next one is
    judged by what was said to this one.
    """

    __slots__ = ("_entropy", "_last_effect", "_limits", "broken", "connection", "link", "opening_until")

    def __init__(self, link: LinkT, *, entropy: Entropy, limits: Limits, last_effect: int = 0) -> None:
        self._entropy = entropy
        self._limits = limits
        self._last_effect = last_effect  # ids go on from there, so that one belongs to one connection only
        self.link: LinkT = link
        self.connection: HubConnection | None = None
        self.opening_until: float | None = None  # when the link must be open
        self.broken: bool = False  # the link did not take a frame, and nothing fits behind the gap

    @property
    def proven(self) -> bool:
        """Whether something of the peer has authenticated under the session keys."""
        return self.connection is not None and self.connection.proven

    @property
    def generation(self) -> e.Generation | None:
        """The wire generation of the session, None before its keys."""
        return None if self.connection is None else self.connection.generation

    @property
    def last_effect(self) -> int:
        """The highest id of a derivation so far."""
        return self._last_effect if self.connection is None else self.connection.last_effect

    def opened(self, opened: LinkOpened, side: ClientSide | HubSide, now: float) -> None:
        """Begin the connection over the link, which has just opened."""
        self.opening_until = None
        self.connection = HubConnection(
            side, opened.carrier, entropy=self._entropy, now=now, limits=self._limits, last_effect=self._last_effect
        )

    def overdue(self, peer: str, now: float) -> HandshakeTimeout | None:
        """The fault of a link that has not opened in time, told once."""
        if self.opening_until is None or now < self.opening_until:
            return None
        self.opening_until = None
        return HandshakeTimeout(f"the {peer} did not open the link within {self._limits.handshake_time:g} s")

    def received(self, event: LinkEvent, now: float) -> Sequence[LinkEvent | e.Event]:
        """What an event of the link means: a frame what the connection makes of it, any other itself."""
        if not isinstance(event, FrameReceived):
            return (event,)
        return () if self.connection is None else self.connection.receive(event.frame, now)

    def flush(self, connection: HubConnection, now: float) -> None:
        """Hand the link what the connection has to say. Raises `LocalProtocolError` if it does not take a frame."""
        try:
            for frame, token in connection.frames_to_send():
                self.link.send(frame, now, token=token)
        except LocalProtocolError:
            self.broken = True
            raise

    def send(self, connection: HubConnection, message: e.Message, now: float, token: int | None) -> None:
        """Seal a message and hand it to the link. Raises `LocalProtocolError` for one that cannot be sent."""
        connection.send(message, now, token=token)
        try:
            frames, connection.outgoing = connection.outgoing, []
            for frame, last in frames:
                self.link.send(frame, now, token=last)
        except LocalProtocolError:
            self.broken = not LEGACY_POLICY[connection.generation].bears_loss
            raise

    @property
    def next_timeout(self) -> float | None:
        """When the link or the connection wants to be called, or the link must be open."""
        due, connection = self.link.next_timeout, self.connection
        if connection is not None:
            own = connection.next_timeout
            return own if due is None or (own is not None and own < due) else due
        return soonest(self.opening_until, due)


def unknown_effect(id: int) -> LocalProtocolError:
    """The error of a result that belongs to no derivation there ever was."""
    return LocalProtocolError(f"no derivation has the id {id!r}", code="unknown_effect")
