"""Two ends of a link on a simulated wire, for tests: bytes are cut as asked, time stands still until told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from attrs import Factory, define

from thalovant_proto.carrier import Frame
from thalovant_proto.links.base import FrameReceived, Link, LinkEvent

ClientT = TypeVar("ClientT", bound=Link)
HubT = TypeVar("HubT", bound=Link)


def pieces(data: bytes, cut: int | Iterable[int] | None) -> Iterator[bytes]:
    """`data` whole (None), in pieces of `cut` bytes, or in pieces of the sizes given and then the rest."""
    if isinstance(cut, int):
        yield from (data[i : i + cut] for i in range(0, len(data), cut))
        return
    for size in cut or ():
        yield data[:size]
        data = data[size:]
    yield data


def receive(link: Link, data: bytes, now: float = 0.0, *, cut: int | Iterable[int] | None = None) -> list[LinkEvent]:
    """All events that `data` makes, cut as asked."""
    return [event for piece in pieces(data, cut) for event in link.receive_data(piece, now)]


def frames(events: Iterable[LinkEvent]) -> list[Frame]:
    """The hub frames among `events`."""
    return [event.frame for event in events if isinstance(event, FrameReceived)]


@define
class Pair(Generic[ClientT, HubT]):
    """A client's and a hub's link, joined. `drive` moves bytes until both are quiet."""

    client: ClientT
    hub: HubT
    cut: int | None = None
    now: float = 0.0
    client_heard: list[LinkEvent] = Factory(list)
    hub_heard: list[LinkEvent] = Factory(list)

    def open(self) -> Pair[ClientT, HubT]:
        """Connect the wire."""
        self.client_heard += self.client.socket_opened(self.now)
        self.hub_heard += self.hub.socket_opened(self.now)
        return self.drive()

    def drive(self) -> Pair[ClientT, HubT]:
        """Move bytes, both ways, until nothing is left to move."""
        while (up := self.client.data_to_send()) or (down := self.hub.data_to_send()):
            if up:
                self.hub_heard += receive(self.hub, up, self.now, cut=self.cut)
            else:
                self.client_heard += receive(self.client, down, self.now, cut=self.cut)
        return self
