"""A gateway, a broker in memory, and clients of ours, on the clock of the test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.proto.links.mqtt.broker import BrokerWorld, Connection
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.links.base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.links.mqtt.gateway import (
    GatewayClosed,
    GatewayEvent,
    MqttHubGateway,
    MqttPeerLink,
    PeerArrived,
    PeerEnded,
    PeerInput,
)
from thalovant_proto.secret import Secret

HELLO = b'{"msg_type": "hello", "payload": {"node_id": "n"}}'
SEALED = b"\x01sealed"


class Peer:
    """What stands for a `HubPeer`: it says hello when its link opens, and keeps what it hears."""

    def __init__(self, link: MqttPeerLink, known: bool) -> None:
        self.link = link
        self.known = known
        self.events: list[LinkEvent] = []

    def receive(self, data: bytes, now: float) -> None:
        """One message."""
        for event in self.link.receive_data(data, now):
            self.events.append(event)
            if isinstance(event, LinkOpened):
                if self.known:
                    self.link.send(Frame(HELLO, FrameType.TEXT), now)
                else:
                    self.events += self.link.close(now, code=1008, reason="invalid api key")
                    break

    def frames(self) -> list[bytes]:
        """The frames that were delivered."""
        return [event.frame.data for event in self.events if isinstance(event, FrameReceived)]


class World(BrokerWorld):
    """A broker, one gateway, and clients by access key; `unknown` access keys are not the hub's."""

    def __init__(self, *, cut: int | None = None, **options: Any) -> None:
        super().__init__(cut)
        self.options = {"client_id": "hub", "topic_prefix": "p", "secure": True, **options}
        self.unknown: set[str] = set()
        self.clients: dict[str, tuple[MqttClientLink, Connection, list[LinkEvent]]] = {}
        self.start()

    def start(self) -> None:
        """A new gateway and its socket."""
        self.gateway = self.link = MqttHubGateway("mqtt://broker", **self.options)
        self.connection = Connection(self.broker)
        self.events: list[GatewayEvent] = []
        self.peers: list[Peer] = []
        assert self.gateway.socket_opened(self.now) == []
        self.run()

    def client(self, key: str, *, prefix: str = "p", dial: bool = True, **options: Any) -> MqttClientLink:
        """A client of ours."""
        link = MqttClientLink(
            "mqtt://broker",
            access_key=Secret(key),
            client_id=f"client-{key}",
            topic_prefix=prefix,
            secure=True,
            **options,
        )
        self.clients[key] = (link, Connection(self.broker), link.socket_opened(self.now))
        return self.run().clients[key][0]

    def frames(self, key: str) -> list[bytes]:
        """What a client heard."""
        return [event.frame.data for event in self.clients[key][2] if isinstance(event, FrameReceived)]

    def take(self, events: Iterable[GatewayEvent]) -> None:
        """Do what a driver does."""
        for event in events:
            self.events.append(event)
            match event:
                case PeerArrived(link=link):
                    self.peers.append(Peer(link, link._client not in self.unknown))
                    assert link.socket_opened(self.now) == []
                case PeerInput(link=link, data=data):
                    self.peer(link).receive(data, self.now)
                case PeerEnded(link=link):
                    self.peer(link).events += link.eof(self.now)

    def peer(self, link: MqttPeerLink) -> Peer:
        """Who has this link."""
        return next(peer for peer in self.peers if peer.link is link)

    def run(self) -> World:
        """Move bytes until nothing moves."""
        moved = True
        while moved:
            moved = False
            for link, connection, events in [*self.clients.values()]:
                if data := link.data_to_send():
                    moved = True
                    connection.receive(data)
                if connection.out:
                    moved = True
                    data, connection.out = connection.out, b""
                    events += link.receive_data(data, self.now)
            if data := self.gateway.data_to_send():
                moved = True
                self.connection.receive(data)
            if self.connection.out:
                moved = True
                self.feed()
        assert not self.connection.faults
        return self

    @property
    def end(self) -> GatewayClosed:
        """How the gateway ended."""
        assert isinstance(self.events[-1], GatewayClosed)
        return self.events[-1]


def ended(peer: Peer) -> LinkClosed:
    """How a client's link ended, which is its last event."""
    assert isinstance(peer.events[-1], LinkClosed)
    assert sum(isinstance(event, LinkClosed) for event in peer.events) == 1
    return peer.events[-1]
