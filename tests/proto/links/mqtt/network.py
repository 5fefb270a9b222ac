"""A broker between the client and the hub of a `World`: both are its clients, and lose it each on their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.proto.links.mqtt.broker import Broker, Connection
from tests.proto.links.networks import Machine, Network, Wire
from thalovant.hub.listeners.mqtt import BrokerEvent, BrokerSession
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.client.stack import ClientLink, Dial, Run
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.links.mqtt.gateway import MqttHubGateway, MqttPeerLink, PeerArrived, PeerEnded, PeerInput
from thalovant_proto.links.mqtt.limits import DEFAULT_MQTT_LIMITS, MqttLimits
from thalovant_proto.links.mqtt.packets import Connect
from thalovant_proto.links.mqtt.topics import OFFLINE, ONLINE
from thalovant_proto.trust import Trust

if TYPE_CHECKING:
    pass

PREFIX = "hive"
CLIENT_ID = "client-of-the-tests"
_BY_NUMBER = b"0123456789"


class BrokerSocket:
    """The client's connection to the broker."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def finished(self) -> bool:
        return self.connection.gone and not self.connection.out

    def receive_data(self, data: bytes, now: float) -> None:
        self.connection.receive(data)

    def data_to_send(self) -> bytes:
        data, self.connection.out = self.connection.out, b""
        return data

    def eof(self, now: float, reason: str = "") -> None:
        self.connection.drop()


class MqttNetwork(Network):
    """The broker, and the hub's gateway with a wire of its own to it. `options` are those of the client's link."""

    def __init__(
        self, *, legacy_prefix: str | None = None, limits: MqttLimits = DEFAULT_MQTT_LIMITS, **options: Any
    ) -> None:
        self.broker = Broker()
        self._options = {"limits": limits, **options}
        self._limits = limits
        self._legacy_prefix = legacy_prefix
        self._known: list[Connection] = []  # the client's, and half-open ones
        self._peers: dict[MqttPeerLink, HubPeer] = {}
        self._wire = Wire()  # between broker and hub
        self._hub: Connection | None = None
        self._start()

    def link(self, config: ClientConfig, known: Trust) -> ClientLink:
        options = {"topic_prefix": PREFIX, "remembered_layout": known.mqtt_layout, **self._options}
        return MqttClientLink(
            "mqtt://127.0.0.1", access_key=config.access_key, client_id=CLIENT_ID, secure=True, **options
        )

    def accept(self, link: ClientLink) -> BrokerSocket:
        self.broker.now = self.world.now
        self._known = [connection for connection in self._known if not connection.gone]
        self._known.append(Connection(self.broker))
        return BrokerSocket(self._known[-1])

    def move(self) -> bool:
        """The hub's driver: obey the gateway, move its bytes."""
        now = self.broker.now = self.world.now
        moved = self._obey(now)
        data = self._gateway.data_to_send()
        self._wire.carry(data, self._give_broker, self._break)
        if (hub := self._hub) is None:
            return moved or bool(data)
        out, hub.out = hub.out, b""
        self._wire.carry(out, self._give_hub, self._break)
        if hub.gone and self._hub is hub and not self._wire.dead:
            self._break()
            return True
        return moved or bool(data or out)

    @property
    def machines(self) -> Iterable[Machine]:
        return (*self._connections, self._gateway)

    def restart(self) -> None:
        self._peers.clear()
        self._forsake()
        self._start()

    @property
    def mishaps(self) -> Mapping[str, Callable[[int], None]]:
        return {
            "the hub loses the broker": lambda number: self._break(),
            "the hub will lose the broker": lambda number: self._wire.breaks(number),
            "the hub will lose the broker silently": lambda number: self._wire.breaks(number, silently=True),
            "the hub forgets its clients": self._forget,
            "the broker starts anew": self._restart_broker,
            "the broker drops messages of QoS 0": self._lose_messages,
            "the broker repeats messages": self._repeat_messages,
            "the broker acknowledges nothing": self._keep_silent,
            "the broker answers no ping": self._freeze,
            "the broker repeats what is not acknowledged": self._repeat,
            "another program takes the client id": self._take_over,
            "another program says that the client is online": lambda number: self._say(ONLINE, retain=number % 2 == 0),
            "an old message says that the client is offline": lambda number: self._say(OFFLINE, retain=number % 2 == 0),
            "somebody else writes to the hub": self._disturb_hub,
            "somebody else writes to the client": self._disturb_client,
        }

    def calm(self) -> None:
        self._wire.breaks(None)
        self.broker.loses = self.broker.repeats = 0
        self.broker.acknowledges = self.broker.answers_pings = True

    # --- below

    @property
    def _connections(self) -> list[Connection]:
        return self._known if self._hub is None else [*self._known, self._hub]

    def _start(self) -> None:
        self._gateway = BrokerSession(
            self._make_gateway, on_event=self._hear, on_drained=lambda: None, entropy=lambda size: bytes(size)
        )

    def _make_gateway(self) -> MqttHubGateway:
        return MqttHubGateway(
            "mqtt://127.0.0.1",
            client_id="hub",
            topic_prefix=PREFIX,
            legacy_prefix=self._legacy_prefix,
            secure=True,
            limits=self._limits,
        )

    def _obey(self, now: float) -> bool:
        match self._gateway.step():
            case Dial():
                self._forsake()
                if not self.world.hub.listening:
                    refused = DialFailed(phase="connect", fault=DialFault.REFUSED, message="broker port 1883: refused")
                    self._gateway.dial_failed(refused, now)
                    return True
                self._wire.dead = False
                self._hub = Connection(self.broker)
                self._gateway.socket_opened(now)
                return True
            case Run():
                return False
        if self._hub is None:
            return False
        self._break()
        return True

    def _give_broker(self, piece: bytes) -> None:
        if self._hub is not None:
            self._hub.receive(piece)

    def _give_hub(self, piece: bytes) -> None:
        if self._hub is not None:
            self._gateway.receive_data(piece, self.world.now)

    def _break(self) -> None:
        """The hub's socket ends, for both, unless the network swallows that too."""
        if self._hub is not None:
            self._gateway.eof(self.world.now)
        self._forsake()

    def _forsake(self) -> None:
        hub, self._hub = self._hub, None
        if hub is not None and self._wire.dead:
            self._known.append(hub)
        elif hub is not None:
            hub.drop()

    def _hear(self, event: BrokerEvent, now: float) -> None:
        match event:
            case PeerArrived(link=link):
                self._peers = {known: peer for known, peer in self._peers.items() if not peer.finished}
                self._peers[link] = self.world.join(link)
            case PeerInput(link=link, data=data):
                self._peers[link].receive_data(data, now)
            case PeerEnded(link=link):
                self._peers[link].eof(now)
        self.world.serve()

    # --- what goes wrong

    def _forget(self, number: int) -> None:
        for peer in self._peers.values():
            peer.eof(self.world.now)

    def _restart_broker(self, number: int) -> None:
        """It dies, and nobody's will is published. What it retained may be lost, and what it was about to write."""
        if number % 2:
            self.broker.retained.clear()
        for connection in (*self._connections, *self.broker.connections):
            connection.gone = True
            if number % 3:
                connection.out = b""
        self.broker.connections.clear()

    def _lose_messages(self, number: int) -> None:
        self.broker.loses = number % 4 + 1

    def _repeat_messages(self, number: int) -> None:
        self.broker.repeats = number % 8 + 1

    def _keep_silent(self, number: int) -> None:
        self.broker.acknowledges = not self.broker.acknowledges

    def _freeze(self, number: int) -> None:
        self.broker.answers_pings = not self.broker.answers_pings

    def _repeat(self, number: int) -> None:
        for connection in self.broker.connections:
            connection.repeat()

    def _take_over(self, number: int) -> None:
        other = Connection(self.broker)
        other.receive(Connect(client_id=CLIENT_ID).encode())
        if number % 2:
            other.drop()

    def _say(self, word: bytes, *, retain: bool) -> None:
        for topic in self._topics("status"):
            self.broker.publish(topic, word, retain=retain)

    def _disturb_hub(self, number: int) -> None:
        for topic in self._topics("in", "c2s"):
            self.broker.publish(topic, _BY_NUMBER[: number % len(_BY_NUMBER)])

    def _disturb_client(self, number: int) -> None:
        for topic in self._topics("out", "s2c"):
            self.broker.publish(topic, _BY_NUMBER[: number % len(_BY_NUMBER)], retain=number % 2 == 0)

    def _topics(self, *levels: str) -> list[str]:
        """Those of the client that have one of these levels and were ever used."""
        used = dict.fromkeys(topic for topic, *_ in self.broker.log)
        return [topic for topic in used if not set(levels).isdisjoint(topic.split("/")) and "master" not in topic]
