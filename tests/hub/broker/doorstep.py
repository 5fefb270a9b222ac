"""The front door of a broker, with the test on both of its sides: who stands before it, and what the broker hears."""

from __future__ import annotations

import datetime
import weakref
from typing import Any

from thalovant.hub.broker.accounts import HUB_NAME, Accounts
from thalovant.hub.broker.gatekeeper import BrokerEnd, Gatekeeper, MqttConnection
from thalovant.hub.settings import Settings
from thalovant.hub.storage.clients import Client, Registry
from thalovant.hub.storage.sqlite import Store
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import (
    Connack,
    Connect,
    Packet,
    Suback,
    Subscribe,
)
from thalovant_proto.secret import Secret

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


def packets(data: bytes) -> list[Packet]:
    """Bytes as packets."""
    framer, found = Framer(MAX_REMAINING), []
    framer.feed(data)
    while (raw := framer.next_packet()) is not None:
        found.append(decode(raw.first, raw.body))
    return found


class FakeRoom:
    """The broker's end: notes what it hears."""

    def __init__(self, visitor: MqttConnection, before: BrokerEnd | None) -> None:
        self.visitor = visitor
        self.before = before
        self.data = b""
        self.left = False

    def hear(self, data: bytes) -> None:
        assert not self.left
        self.data += data

    def leave(self) -> None:
        self.left = True

    @property
    def heard(self) -> list[Packet]:
        """All that passed the door, CONNECT first."""
        return packets(self.data)


class FakeWire:
    """The socket's side: notes what is asked of it."""

    def __init__(self) -> None:
        self.wakes = 0
        self.holds: list[bool] = []
        self.aborted = False

    def wake(self) -> None:
        self.wakes += 1

    def hold(self, hold: bool) -> None:
        self.holds.append(hold)

    def abort(self) -> None:
        self.aborted = True


class Guest:
    """A connection at the door, with the test on both of its sides."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wire = FakeWire()
        self.visitor = world.door.visitor(self.wire, world.now)

    def says(self, *sent: Packet | bytes) -> list[Packet]:
        """The client sends packets, or bytes; gives what it is answered."""
        data = b"".join(one if isinstance(one, bytes) else one.encode() for one in sent)
        self.visitor.receive_data(data, self.world.now)
        return self.answers()

    def answers(self) -> list[Packet]:
        """What was said to the client since the last time."""
        return packets(self.visitor.data_to_send())

    def told(self, *sent: Packet) -> list[Packet]:
        """The broker sends packets; gives what the client is told of them."""
        self.visitor.said(b"".join(one.encode() for one in sent))
        return self.answers()

    @property
    def room(self) -> FakeRoom:
        """The broker's end."""
        room = self.visitor.room
        assert isinstance(room, FakeRoom)
        return room

    @property
    def passed(self) -> list[Packet]:
        """What reached the broker behind CONNECT."""
        return self.room.heard[1:]


class World:
    """A door, its accounts, and everybody who was let in."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        state = Store.open(None, now=NOW)
        weakref.finalize(self, state.close, now=NOW)
        self.registry = Registry(state)
        self.accounts = Accounts(self.registry, Secret(b"k" * 32))
        self.rooms: list[FakeRoom] = []
        self.door = Gatekeeper(self.accounts.authenticate, self._enter, settings=Settings(**settings))
        self.ada = self.registry.add("ada")
        self.bob = self.registry.add("bob")

    def _enter(self, visitor: MqttConnection, connect: Connect, before: BrokerEnd | None) -> FakeRoom:
        room = FakeRoom(visitor, before)
        room.hear(connect.encode())
        self.rooms.append(room)
        return room

    def connect(self, client: Client, client_id: str = "app", **changes: Any) -> Connect:
        """The CONNECT of a client."""
        username, password = self.accounts.credentials(client)
        fields = {"client_id": client_id, "username": username, "password": Secret(password.as_bytes()), **changes}
        return Connect(**fields)

    def inside(self, client: Client, client_id: str = "app", **changes: Any) -> Guest:
        """A client whose broker has accepted it."""
        guest = Guest(self)
        assert guest.says(self.connect(client, client_id, **changes)) == []
        assert guest.told(Connack()) == [Connack()]
        return guest

    def hub(self) -> Guest:
        """The hub itself, which listens."""
        username, password = self.accounts.hub_credentials()
        guest = Guest(self)
        guest.says(Connect(client_id="hub", username=username, password=Secret(password.as_bytes())))
        filters = tuple((name, 1) for layout in self.accounts.layouts for name in (layout.up, layout.status))
        guest.says(Subscribe(packet_id=1, filters=filters))
        guest.told(Connack(), Suback(packet_id=1, codes=(1,) * len(filters)))
        return guest


def topic(client: Client, level: str) -> str:
    """A topic of a client, in the newer layout."""
    return f"hivemind/{client.access_key.reveal()}/{level}"


def older(client: Client, level: str) -> str:
    """A topic of a client, in the older layout."""
    return f"hivemind/{HUB_NAME}/{level}/{client.access_key.reveal()}"
