"""A client link, a broker in memory, and a hub that behaves like the real ones, on the clock of the test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from tests.proto.links.mqtt.broker import BrokerWorld, Connection
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.links.base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.links.mqtt.topics import Topics
from thalovant_proto.secret import Secret

HELLO = b'{"msg_type": "hello", "payload": {"node_id": "n"}}'
OFFER = b'{"msg_type": "shake", "payload": {}}'
SEALED = b"\x01sealed"
PREFIX = "p/key0"
DIGEST = hashlib.sha256(b"key0").hexdigest()[:16]


def frame(data: bytes, kind: FrameType = FrameType.BINARY) -> Frame:
    """A frame of the hub protocol."""
    return Frame(data, kind)


class World(BrokerWorld):
    """A broker, at most one client link at a time, and a hub that is played by the test through the broker.

    With `hub` given, the hub answers the first message on `<hub>/in` or `c2s` topic with hello and offer, and behaves
    as real hubs do: `offline` from the client ends its session, and is followed by the hub's own, which it takes for
    the client's once more.
    """

    def __init__(self, *, hub: Topics | None = None, cut: int | None = None, **options: Any) -> None:
        super().__init__(cut)
        self.hub = hub
        self.hub_session = False
        self.hub_reads = 0  # how much of the broker's log the hub has seen
        self.options = options
        self.events: list[LinkEvent] = []

    def dial(self, **options: Any) -> World:
        """A new link and its socket."""
        merged: dict[str, Any] = {
            "access_key": Secret("key0"),
            "client_id": "c",
            "topic_prefix": PREFIX,
            "secure": True,
            **self.options,
            **options,
        }
        self.link = MqttClientLink("mqtt://broker", **merged)
        self.connection = Connection(self.broker)
        self.events = []
        self.take(self.link.socket_opened(self.now))
        return self.run()

    def run(self) -> World:
        """Move bytes until nothing moves; the hub is slower than the broker."""
        while True:
            if data := self.link.data_to_send():
                self.connection.receive(data)
            elif self.connection.out:
                self.feed()
            elif not self._hub_turn():
                break
        assert not self.connection.faults
        return self

    def answer(self, layout: Topics, *payloads: bytes) -> World:
        """The hub says something."""
        for payload in payloads or (HELLO, OFFER):
            self.broker.publish(layout.down, payload)
        return self.run()

    def send(self, data: bytes = SEALED, **options: Any) -> World:
        """The connection sends a frame."""
        self.link.send(frame(data), self.now, **options)
        return self.run()

    def frames(self) -> list[bytes]:
        """The frames that were delivered."""
        return [event.frame.data for event in self.events if isinstance(event, FrameReceived)]

    def opened(self) -> list[LinkOpened]:
        """How the link opened."""
        return [event for event in self.events if isinstance(event, LinkOpened)]

    @property
    def end(self) -> LinkClosed:
        """How the link ended."""
        assert isinstance(self.events[-1], LinkClosed)
        assert sum(isinstance(event, LinkClosed) for event in self.events) == 1
        return self.events[-1]

    def take(self, events: Iterable[LinkEvent]) -> None:
        self.events += events

    def _hub_turn(self) -> bool:
        if self.hub is None or self.hub_reads == len(self.broker.log):
            return False
        topic, payload, _, _ = self.broker.log[self.hub_reads]
        self.hub_reads += 1
        if topic == self.hub.up and not self.hub_session:
            self.hub_session = True
            self.broker.publish(self.hub.down, HELLO)
            self.broker.publish(self.hub.down, OFFER)
        elif topic == self.hub.status and payload == b"offline" and self.hub_session:
            self.hub_session = False
            self.broker.publish(topic, b"offline", retain=True)
        return True


def in_out(client: str = PREFIX) -> Topics:
    """The current layout."""
    return Topics(up=f"{client}/in", down=f"{client}/out", status=f"{client}/status")


def legacy(base: str = "p", client: str = "key0") -> Topics:
    """The older one."""
    return Topics(up=f"{base}/c2s/{client}", down=f"{base}/s2c/{client}", status=f"{base}/status/{client}")
