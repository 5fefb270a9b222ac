"""A gatekeeper with the test on all its sides: clients, the hub, and the broker behind it."""

from __future__ import annotations

import datetime
import weakref
from typing import Any

from thalovant.hub.broker.accounts import HUB_NAME, Accounts
from thalovant.hub.broker.connection import MqttConnection
from thalovant.hub.broker.gatekeeper import Gatekeeper
from thalovant.hub.settings import Settings
from thalovant.hub.storage.clients import Client, Registry
from thalovant.hub.storage.sqlite import Store
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import Connack, Connect, Packet, Subscribe
from thalovant_proto.secret import Secret

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


def packets(data: bytes) -> list[Packet]:
    """Bytes as packets."""
    framer, found = Framer(MAX_REMAINING), []
    framer.feed(data)
    while (raw := framer.next_packet()) is not None:
        found.append(decode(raw.first, raw.body))
    return found


class FakeBrokerEnd:
    """The broker's end of one connection: notes what it receives."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    def receive_data(self, data: bytes) -> None:
        assert not self.ended
        self.data += data

    def feed_eof(self) -> None:
        self.ended = True

    @property
    def received(self) -> list[Packet]:
        """All that reached the broker."""
        return packets(self.data)


class FakeDriver:
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


class Device:
    """A connection of a client, with the test on both of its sides."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.driver = FakeDriver()
        self.connection = MqttConnection(world.gatekeeper, world, self.driver, world.now)

    def sends(self, *sent: Packet | bytes) -> list[Packet]:
        """The client sends packets, or bytes; returns what it is answered."""
        data = b"".join(one if isinstance(one, bytes) else one.encode() for one in sent)
        self.connection.receive_data(data, self.world.now)
        return self.received()

    def received(self) -> list[Packet]:
        """What was written for the client since the last time."""
        return packets(self.connection.data_to_send())

    def broker_sends(self, *sent: Packet) -> list[Packet]:
        """The broker sends packets; returns what the client gets of them."""
        self.connection.receive_from_broker(b"".join(one.encode() for one in sent))
        return self.received()

    @property
    def end(self) -> FakeBrokerEnd:
        """The broker's end."""
        assert isinstance(self.connection.broker_end, FakeBrokerEnd)
        return self.connection.broker_end

    @property
    def passed(self) -> list[Packet]:
        """All that reached the broker."""
        return self.end.received


class HubSide:
    """The hub's own session, which is ready."""

    def __init__(self, world: World) -> None:
        self.wakes = self.drained = 0
        self.end = world.gatekeeper.connect_hub(self._wake, self._drain)
        filters = tuple((name, 1) for layout in world.accounts.layouts for name in (layout.up, layout.status))
        self.sends(Connect(client_id="hub"), Subscribe(packet_id=1, filters=filters))

    def sends(self, *sent: Packet) -> list[Packet]:
        """The hub sends packets; returns what it is answered."""
        self.end.write(b"".join(one.encode() for one in sent))
        return self.received()

    def received(self) -> list[Packet]:
        """What was written for the hub since the last time."""
        return packets(self.end.data_to_send())

    def _wake(self) -> None:
        self.wakes += 1

    def _drain(self) -> None:
        self.drained += 1


class World:
    """A gatekeeper, its accounts, and the broker that it was given."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        state = Store.open(None, now=NOW)
        weakref.finalize(self, state.close, now=NOW)
        self.registry = Registry(state)
        self.accounts = Accounts(self.registry, Secret(b"k" * 32))
        self.ends: list[FakeBrokerEnd] = []
        self.published: list[tuple[str, bytes]] = []
        self.gatekeeper = Gatekeeper(self.accounts.authenticate, self._publish, settings=Settings(**settings))
        self.ada = self.registry.add("ada")
        self.bob = self.registry.add("bob")

    def connect(self, connection: MqttConnection) -> FakeBrokerEnd:
        """The broker begins a session."""
        self.ends.append(FakeBrokerEnd())
        return self.ends[-1]

    def _publish(self, topic: str, payload: bytes) -> None:
        self.published.append((topic, payload))

    def credentials(self, client: Client, client_id: str = "app", **changes: Any) -> Connect:
        """The CONNECT of a client."""
        username, password = self.accounts.credentials(client)
        fields = {"client_id": client_id, "username": username, "password": Secret(password.as_bytes()), **changes}
        return Connect(**fields)

    def inside(self, client: Client, client_id: str = "app", **changes: Any) -> Device:
        """A connection that the broker has accepted."""
        device = Device(self)
        assert device.sends(self.credentials(client, client_id, **changes)) == []
        assert device.broker_sends(Connack()) == [Connack()]
        return device


def topic(client: Client, level: str) -> str:
    """A topic of a client, in the newer layout."""
    return f"hivemind/{client.access_key.reveal()}/{level}"


def older(client: Client, level: str) -> str:
    """A topic of a client, in the older layout."""
    return f"hivemind/{HUB_NAME}/{level}/{client.access_key.reveal()}"
