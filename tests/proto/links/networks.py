"""What may lie between the client and the hub of a `World`: who is at the other end of a socket, and how it breaks.

`World` dials, moves bytes and time, and knows no transport. A network makes the client's links and takes its sockets;
`mishaps` are what goes wrong on this transport and on no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from attrs import define

from tests.proto.pair import stream
from thalovant_proto.carrier import Target
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.client.routes import Route
from thalovant_proto.client.stack import ClientLink
from thalovant_proto.dial import DialFault
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.links.base import Link
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.trust import Trust

if TYPE_CHECKING:
    from tests.proto.world import World

PIN = "ws://127.0.0.1:5678"


@define(eq=False)
class Wire:
    """Carries bytes both ways, at most `cut` at a time, until it breaks."""

    cut: int | None = None
    after: int | None = None  # how many bytes it still carries, in both directions together
    silently: bool = False  # nobody is told when it breaks
    dead: bool = False  # it broke silently

    def breaks(self, after: int | None, *, silently: bool = False) -> None:
        """Break after so many bytes more, None for not."""
        self.after, self.silently = after, silently

    def carry(self, data: bytes, give: Callable[[bytes], None], on_break: Callable[[], None]) -> None:
        """Bytes for one end. After `on_break` there is nobody to `give` to."""
        size = self.cut or max(len(data), 1)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            if self.after is not None:
                piece = piece[: self.after]
                self.after -= len(piece)
            if piece and not self.dead:
                give(piece)
            if self.after == 0:
                self.after = None
                if self.silently:
                    self.dead = True
                else:
                    on_break()


class Machine(Protocol):
    """What has a timer."""

    @property
    def next_timeout(self) -> float | None: ...

    def handle_timeout(self, now: float) -> None: ...


class Socket(Protocol):
    """The far end of a socket that the client opened."""

    @property
    def finished(self) -> bool: ...

    def receive_data(self, data: bytes, now: float) -> None: ...

    def data_to_send(self) -> bytes: ...

    def eof(self, now: float, reason: str = "") -> None: ...


class Network:
    """What a `World` asks of it.

    `outlives_sockets`: nobody at the other end minds when the client hangs up. `notices`: that nothing arrives any more
    is found out, sooner or later. `machines` have timers, besides the client and the hub's peers.
    """

    world: World
    outlives_sockets: bool = False
    notices: bool = True
    machines: Iterable[Machine] = ()

    newest: ClientLink

    def routes(self) -> list[Route]:
        """The client's ways to the hub."""
        return [Route(name="WSS", pin_id=PIN, make_link=self._new_link)]

    def fault(self, target: Target) -> DialFault | None:
        """Why nobody can be dialed there."""
        return None if self.world.hub.listening else self.world.hub.fault

    def link(self, config: ClientConfig, known: Trust) -> ClientLink:
        """The client's end of a new link."""
        raise NotImplementedError

    def _new_link(self, known: Trust) -> ClientLink:
        self.newest = self.link(self.world.config, known)
        return self.newest

    def accept(self, link: ClientLink) -> Socket:
        """The client's link has a socket: its far end."""
        raise NotImplementedError

    def move(self) -> bool:
        """Bring to the hub's peers what came for them, and out what they say; whether there was anything."""
        return False

    def restart(self) -> None:
        """The hub died, and is there again; it has forgotten its peers already."""
        self.world.break_off()

    @property
    def mishaps(self) -> Mapping[str, Callable[[int], None]]:
        """What can go wrong, by name. The number is any: how many, how soon."""
        return {}

    def calm(self) -> None:
        """Nothing goes wrong from now on."""


class Direct(Network):
    """A socket leads to the hub, and is one peer there."""

    _served: ClientLink | None = None

    def hub(self) -> Link:
        """The hub's end of a link."""
        raise NotImplementedError

    def accept(self, link: ClientLink) -> HubPeer:
        if link is self._served:  # the same session on another socket
            return self.world.hub.peer
        self._served = link
        return self.world.join(self.hub())


class WssLinks(Direct):
    """WSS links, which ping."""

    def __init__(self) -> None:
        self._entropy = stream("WSS")

    def link(self, config: ClientConfig, known: Trust) -> ClientLink:
        return WssClientLink(
            "ws://127.0.0.1:5678",
            access_key=config.access_key,
            user_agent=config.user_agent,
            entropy=self._entropy,
            secure=True,
        )

    def hub(self) -> Link:
        return WssServerLink(secure=True)
