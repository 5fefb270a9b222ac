"""The hub's gateway and its clients' links over a broker in memory, met by our own client links: both roles of MQTT."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.mqtt.broker import Broker, Connection
from tests.proto.mqtt.test_framing import cuts, pieces
from thalovant_proto.errors import CredentialsRefused, LocalProtocolError
from thalovant_proto.links.base import (
    CloseKind,
    Frame,
    FrameReceived,
    FrameType,
    Link,
    LinkClosed,
    LinkEvent,
    LinkOpened,
    Target,
)
from thalovant_proto.links.mqtt.client_link import MqttClientLink
from thalovant_proto.links.mqtt.hub_link import (
    GatewayClosed,
    GatewayEvent,
    GatewayReady,
    MqttHubGateway,
    MqttPeerLink,
    PeerArrived,
    PeerEnded,
    PeerInput,
)
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import ConnectCode, Disconnect, Publish, Unsuback
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


class World:
    """A broker, one gateway, and clients by access key; `unknown` access keys are not the hub's."""

    def __init__(self, *, cut: int | None = None, **options: Any) -> None:
        self.broker = Broker()
        self.now = 100.0
        self.cut = cut
        self.options = {"client_id": "hub", "topic_prefix": "p", "secure": True, **options}
        self.unknown: set[str] = set()
        self.clients: dict[str, tuple[MqttClientLink, Connection, list[LinkEvent]]] = {}
        self.start()

    def start(self) -> None:
        """A new gateway and its socket."""
        self.gateway = MqttHubGateway("mqtt://broker", **self.options)
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

    def take(self, event: GatewayEvent) -> None:
        """Do what a driver does."""
        self.events.append(event)
        match event:
            case PeerArrived(link=link):
                self.peers.append(Peer(link, link._client not in self.unknown))
                assert [] == link.socket_opened(self.now)
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
                data, self.connection.out = self.connection.out, b""
                step = self.cut or len(data)
                for at in range(0, len(data), step):
                    for event in self.gateway.receive_data(data[at : at + step], self.now):
                        self.take(event)
        assert not self.connection.faults
        return self

    def pass_time(self, seconds: float) -> World:
        """Let time pass for the gateway."""
        end = self.now + seconds
        while (due := self.gateway.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            for event in self.gateway.handle_timeout(self.now):
                self.take(event)
            later = self.gateway.next_timeout
            assert later is None or later > self.now
            self.run()
        self.now = end
        return self

    @property
    def end(self) -> GatewayClosed:
        """How the gateway ended."""
        assert isinstance(self.events[-1], GatewayClosed)
        return self.events[-1]


def ended(peer: Peer) -> LinkClosed:
    """How a client's link ended, which is its last event."""
    assert isinstance(peer.events[-1], LinkClosed)
    assert 1 == sum(isinstance(event, LinkClosed) for event in peer.events)
    return peer.events[-1]


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [None, 1, 3])
def test_clients_and_hub_meet(cut: int | None) -> None:
    """Ready after SUBACK; a client's first message makes a link, which opens with it; frames go both ways."""
    world = World(cut=cut)
    assert [GatewayReady()] == world.events
    client = world.client("alice")

    client.send(Frame(SEALED, FrameType.BINARY), world.now, token=1)
    world.run()

    (peer,) = world.peers
    opened = peer.events[0]
    assert isinstance(opened, LinkOpened)
    assert opened.credentials is not None
    assert "alice" == opened.credentials.access_key.reveal()
    carrier = opened.carrier
    assert (True, True, False, True, True) == (
        carrier.text_up,
        carrier.binary_up,
        carrier.typed,
        carrier.rehello,
        carrier.secure,
    )
    assert SEALED == peer.frames()[-1]
    assert HELLO == world.frames("alice")[0]
    assert all(event.frame.type is FrameType.UNTYPED for event in peer.events if isinstance(event, FrameReceived))
    peer.link.send(Frame(b"\x02answer", FrameType.BINARY), world.now)
    world.run()
    assert b"\x02answer" == world.frames("alice")[-1]
    assert ("p/alice/out", b"\x02answer", 1, False) == world.broker.log[-1]


def test_each_client_has_its_own_link() -> None:
    """Topics keep them apart, in both layouts at once."""
    world = World(legacy_prefix="old")
    alice, bob = world.client("alice"), world.client("bob", prefix="old")

    alice.send(Frame(b"a", FrameType.BINARY), world.now)
    bob.send(Frame(b"b", FrameType.BINARY), world.now)
    world.run()

    assert ["prefix/key", "c2s"] == [alice.layout, bob.layout]
    assert [b"a", b"b"] == [peer.frames()[-1] for peer in world.peers]
    carriers = [peer.events[0].carrier for peer in world.peers if isinstance(peer.events[0], LinkOpened)]
    assert [True, False] == [carrier.text_up for carrier in carriers]
    assert 2 == world.gateway.peers


def test_an_unknown_access_key_hears_nothing() -> None:
    """No answer, no presence, no memory."""
    world = World()
    world.unknown = {"eve"}

    world.client("eve")

    assert [LinkOpened, LinkClosed] == [type(event) for event in world.peers[0].events]
    assert [] == world.frames("eve")
    assert {"p/eve/in", "p/in", "p/master/status", "p/c2s/eve"} == {topic for topic, _, _, _ in world.broker.log}
    assert 0 == world.gateway.peers


def test_a_client_that_is_turned_away_on_arrival_is_not_heard() -> None:
    """Whoever closes the link at once gets no message of it."""
    world = World()
    world.broker.publish("p/alice/in", b"knock")
    data, world.connection.out = world.connection.out, b""

    events = world.gateway.receive_data(data, world.now)
    arrived = next(events)

    assert isinstance(arrived, PeerArrived)
    arrived.link.close(world.now)
    assert [] == list(events)


def test_retained_messages_are_history() -> None:
    """On the way up and on status topics alike."""
    world = World()
    world.gateway.close(world.now)
    world.run()
    world.broker.publish("p/alice/in", b"{}", retain=True)
    world.broker.publish("p/alice/status", b"offline", retain=True)

    world.start()

    assert [GatewayReady()] == world.events


def test_a_live_offline_ends_a_client() -> None:
    """The client's word, or its will: the link is lost, and the next message makes another."""
    world = World()
    client = world.client("alice", prefix="p/alice")
    client.close(world.now)
    world.run()

    assert "offline" in ended(world.peers[0]).reason
    assert CloseKind.LOST is ended(world.peers[0]).kind
    assert [b"offline"] == world.broker.said("p/alice/status")  # the client's own: the hub adds none
    world.client("alice", prefix="p/alice")
    assert 2 == len(world.peers)
    world.clients["alice"][1].drop()
    world.run()
    assert "offline" in ended(world.peers[1]).reason


def test_other_presence_means_nothing() -> None:
    """`online`, and anybody's `offline` that has no link."""
    world = World()
    world.client("alice")
    for client, word in (("alice", b"online"), ("bob", b"offline"), ("master", b"offline")):
        world.broker.publish(f"p/{client}/status", word)
    world.run()

    assert 1 == world.gateway.peers


def test_closing_a_link_says_offline_and_is_not_taken_for_the_clients_word() -> None:
    """The one refusal that MQTT has. Our own echo does not end the session that the client begins meanwhile."""
    world = World()
    client = world.client("alice")
    client.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run()

    (closed,) = world.peers[0].link.close(world.now, code=1008, reason="no")
    assert isinstance(closed, LinkClosed)
    assert (CloseKind.CLOSED, 1008, "no") == (closed.kind, closed.code, closed.reason)
    world.broker.publish("p/alice/in", b"at once")  # the broker has it before our `offline`
    world.run()

    assert ("p/alice/status", b"offline", 1, True) in world.broker.log
    assert isinstance(world.clients["alice"][2][-1], LinkClosed)
    assert 2 == len(world.peers)
    assert world.peers[1].link.wants_socket
    assert not world.peers[0].link.wants_socket
    assert [] == world.peers[0].link.close(world.now)
    assert [] == world.peers[0].link.eof(world.now)
    assert [] == world.peers[0].link.receive_data(b"x", world.now)
    world.broker.publish("p/alice/status", b"offline")
    world.run()
    assert "offline" in ended(world.peers[1]).reason


def test_two_echoes_are_two() -> None:
    """Each `offline` of ours comes back once, and once only it is ours."""
    world = World()
    for word in (b"1", b"2"):
        world.broker.publish("p/alice/in", word)
        data, world.connection.out = world.connection.out, b""
        for event in world.gateway.receive_data(data, world.now):
            world.take(event)
        world.peers[-1].link.close(world.now)
    world.run()
    world.client("alice")

    assert [b"offline", b"offline"] == world.broker.said("p/alice/status")
    assert world.peers[2].link.wants_socket
    world.broker.publish("p/alice/status", b"offline")
    world.run()
    assert not world.peers[2].link.wants_socket


def test_a_silent_client_is_forgotten() -> None:
    """After the idle time it is told so; whoever talks stays."""
    world = World(limits=MqttLimits(idle_time=300, keepalive=0))
    world.client("alice")
    bob = world.client("bob")
    world.pass_time(200)
    bob.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run().pass_time(150)

    assert "300 s" in ended(world.peers[0]).reason
    assert world.peers[1].link.wants_socket
    assert isinstance(world.clients["alice"][2][-1], LinkClosed)
    assert [b"offline"] == world.broker.said("p/alice/status")
    world.pass_time(300)
    assert 0 == world.gateway.peers


def test_clients_are_bounded() -> None:
    """Beyond the limit new ones get no answer, and room that is made can be used."""
    world = World(limits=MqttLimits(peers=1))
    world.client("alice")
    world.client("bob")
    assert (1, [], 1) == (world.gateway.peers, world.frames("bob"), world.gateway.turned_away)
    world.peers[0].link.close(world.now)

    world.client("bob")

    assert [HELLO] == world.frames("bob")


@pytest.mark.parametrize("linked", [False, True])
def test_a_frame_over_the_limit_ends_its_sender_only(linked: bool) -> None:
    """The gateway's connection belongs to all clients: a stranger's megabytes are thrown away."""
    world = World(limits=MqttLimits(frame=1000, handshake_frame=1000))
    world.client("alice")
    if linked:
        world.client("bob")
    world.broker.publish("p/bob/in", bytes(200_000))
    world.run()

    assert world.peers[0].link.wants_socket
    assert ([1000] if linked else []) == [int(ended(peer).reason.split()[-2]) for peer in world.peers[1:]]
    assert ([b"offline"] if linked else []) == world.broker.said("p/bob/status")
    assert world.gateway.buffered == 0


def test_frames_to_a_client_need_an_open_link_and_a_size() -> None:
    """Our own faults are raised."""
    world = World(limits=MqttLimits(frame=100))
    world.client("alice")
    link = world.peers[0].link
    link.send(Frame(bytes(100), FrameType.BINARY), world.now)
    with pytest.raises(LocalProtocolError, match="100 bytes"):
        link.send(Frame(bytes(101), FrameType.BINARY), world.now)
    link.close(world.now)
    with pytest.raises(LocalProtocolError, match="not open"):
        link.send(Frame(b"", FrameType.BINARY), world.now)


def test_a_broker_without_room_ends_the_link_that_needs_it() -> None:
    """A frame that cannot be queued is lost, and a Noise session survives no loss: the link ends, unraised."""
    world = World(limits=MqttLimits(window=1, queue=200, keepalive=0))
    world.client("alice")
    world.client("bob")
    world.broker.acknowledges = False
    link = world.peers[0].link
    for _ in range(3):
        link.send(Frame(bytes(120), FrameType.BINARY), world.now)
    link.send(Frame(b"dropped too", FrameType.BINARY), world.now)

    assert world.now == world.gateway.next_timeout
    for event in world.gateway.handle_timeout(world.now):
        world.take(event)

    assert "could not be published" in ended(world.peers[0]).reason
    assert world.peers[1].link.wants_socket
    world.peers[1].link.send(Frame(bytes(50), FrameType.BINARY), world.now)
    world.peers[1].link.close(world.now)  # no room for its `offline`: it finds out when it speaks
    assert not world.gateway.peers


# --- the gateway ------------------------------------------------------------------------------------------------------


def test_the_hub_is_online_and_goes_offline() -> None:
    """Presence in every layout, retained; the will stands for a hub that crashes."""
    world = World(hub_name="kitchen", legacy_prefix="old")
    assert [b"online"] == world.broker.said("p/kitchen/status") == world.broker.said("old/status/hub")
    connect = world.connection.connect
    assert connect is not None
    assert connect.will is not None
    assert ("p/kitchen/status", b"offline", True) == (connect.will.topic, connect.will.payload, connect.will.retain)
    world.client("alice")

    for event in world.gateway.close(world.now):
        world.take(event)
    assert world.gateway.wants_socket
    world.run()

    assert b"offline" == world.broker.said("p/kitchen/status")[-1] == world.broker.said("old/status/hub")[-1]
    assert isinstance(world.connection.heard[-1], Disconnect)
    assert CloseKind.CLOSED is world.end.kind
    assert CloseKind.LOST is ended(world.peers[0]).kind
    assert not world.gateway.wants_socket
    assert world.gateway.close(world.now) == []
    assert world.gateway.next_timeout is None


def test_a_lost_broker_ends_every_link() -> None:
    """Frames may be lost, so no session survives; a new gateway begins anew."""
    world = World()
    world.client("alice")
    world.client("bob")
    world.connection.drop()

    for event in world.gateway.eof(world.now):
        world.take(event)

    assert (CloseKind.LOST, None) == (world.end.kind, world.end.error)
    assert [CloseKind.LOST] * 2 == [ended(peer).kind for peer in world.peers]
    assert world.gateway.eof(world.now) == []
    world.peers[0].link.close(world.now)
    world.start()
    assert [GatewayReady()] == world.events


def test_a_link_given_up_says_so() -> None:
    """`eof` without `PeerEnded` is a driver that gives a client up."""
    world = World()
    world.client("alice")
    (closed,) = world.peers[0].link.eof(world.now)

    assert isinstance(closed, LinkClosed)
    assert (CloseKind.LOST, 0) == (closed.kind, world.gateway.peers)


@pytest.mark.parametrize("code", [ConnectCode.NOT_AUTHORIZED, ConnectCode.UNAVAILABLE])
def test_a_broker_may_refuse_the_hub(code: ConnectCode) -> None:
    """The code says whether another try can help."""
    world = World()
    world.broker.authenticate = lambda connect: code
    world.start()

    assert code is world.end.code
    assert (CloseKind.LOST if code is ConnectCode.UNAVAILABLE else CloseKind.REFUSED) is world.end.kind


def test_a_hub_without_its_topics_is_no_hub() -> None:
    """One SUBACK of 0x80 is the end: half a hub would be silence to some clients."""
    world = World()
    world.broker.may_read = lambda connection, name: "status" not in name
    world.start()

    assert (CloseKind.REFUSED, 0x80) == (world.end.kind, world.end.code)
    assert isinstance(world.end.error, CredentialsRefused)
    assert isinstance(world.connection.heard[-1], Disconnect)


def test_a_broker_that_breaks_mqtt_ends_the_gateway() -> None:
    """With its error, after every link."""
    world = World()
    world.client("alice")
    world.connection.write(Unsuback(1))
    world.run()

    assert world.end.error is not None
    assert "mqtt_protocol_error" == world.end.error.code
    assert isinstance(ended(world.peers[0]), LinkClosed)


def test_closing_waits_for_room_but_not_for_ever() -> None:
    """What is queued goes first; a broker that takes nothing gets the will."""
    world = World(limits=MqttLimits(window=1, close_time=2, keepalive=0))
    world.client("alice")
    world.broker.acknowledges = False
    for _ in range(2):
        world.peers[0].link.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run()
    assert world.gateway.close(world.now) == []
    assert world.gateway.close(world.now) == []

    world.pass_time(2)

    assert CloseKind.CLOSED is world.end.kind
    assert not any(isinstance(packet, Disconnect) for packet in world.connection.heard)


def test_closing_happens_as_soon_as_there_is_room() -> None:
    """The broker's acknowledgements are waited for, and no longer."""
    world = World(limits=MqttLimits(window=1, close_time=2, keepalive=0))
    world.client("alice")
    for _ in range(3):
        world.peers[0].link.send(Frame(SEALED, FrameType.BINARY), world.now)
    assert world.gateway.close(world.now) == []
    world.broker.publish("p/alice/in", b"unheard")

    world.run()

    assert CloseKind.CLOSED is world.end.kind
    assert b"unheard" not in world.peers[0].frames()
    assert 3 == world.broker.said("p/alice/out").count(SEALED)
    assert isinstance(world.connection.heard[-1], Disconnect)


def test_a_gateway_may_be_closed_at_any_time() -> None:
    """Before its socket, before CONNACK, and before SUBACK."""
    for steps in range(3):
        gateway = MqttHubGateway("mqtt://b", client_id="hub", secure=True)
        broker = Broker()
        connection = Connection(broker)
        if steps > 0:
            gateway.socket_opened(1.0)
        if steps > 1:
            connection.receive(gateway.data_to_send())
            assert [] == list(gateway.receive_data(connection.out, 1.0))
        (closed,) = gateway.close(1.0)
        assert isinstance(closed, GatewayClosed)
        connection.receive(gateway.data_to_send())
        assert not connection.faults


def test_a_gateway_says_where_to_dial() -> None:
    """As a client's link does."""
    assert Target(host="broker", port=1883, tls=False) == World().gateway.target


def test_what_a_peer_link_is_not() -> None:
    """It has no bytes, no time, no pace: those are the gateway's."""
    world = World()
    world.client("alice")
    link: Link = world.peers[0].link
    link.pace(True, world.now)

    assert (b"", None, []) == (link.data_to_send(), link.next_timeout, link.handle_timeout(world.now))


def test_calling_early_changes_nothing() -> None:
    """`handle_timeout` before its time is harmless."""
    world = World()
    world.client("alice")
    before = world.gateway.next_timeout

    assert world.gateway.handle_timeout(world.now) == []
    assert before == world.gateway.next_timeout


def test_access_keys_are_in_no_repr() -> None:
    """Events and links are logged; topics and payloads are not."""
    world = World()
    world.client("planted")
    world.broker.publish("p/planted/in", b"planted")
    world.run()

    assert any(isinstance(event, PeerInput) for event in world.events)
    assert "planted" not in repr((world.events, world.peers[0].events))


@given(st.binary(max_size=100), cuts)
def test_garbage_is_the_brokers_fault(data: bytes, cuts: list[int]) -> None:
    """Whatever arrives, nothing is raised, and `GatewayClosed` is the last event."""
    world = World()
    events: list[GatewayEvent] = []
    for piece in pieces(data, cuts):
        events += world.gateway.receive_data(piece, world.now)

    assert all(not isinstance(event, GatewayClosed) for event in events[:-1])


SAID = st.lists(
    st.tuples(
        st.sampled_from(["p/alice/in", "p/bob/in", "p/alice/status", "p/bob/status", "p/master/status", "p//in"]),
        st.sampled_from([b"x", b"online", b"offline", b"", bytes(100_000)]),
        st.booleans(),
    ),
    max_size=8,
)


@given(SAID, cuts)
def test_any_cut_gives_the_same_events_and_output(said: list[tuple[str, bytes, bool]], cuts: list[int]) -> None:
    """Whole, in pieces, or a few bytes at a time: same events, same bytes out, and memory stays bounded."""

    def run(step: int | None) -> tuple[list[str], bytes]:
        world = World(limits=MqttLimits(frame=1000))
        for topic, payload, retain in said:
            world.connection.write(Publish(topic=topic, payload=payload, retain=retain))
        data, world.connection.out = world.connection.out, b""
        parts = pieces(data, cuts) if step is None else [data[at : at + step] for at in range(0, len(data), step)]
        for part in parts:
            for event in world.gateway.receive_data(part, world.now):
                world.take(event)
            assert world.gateway.buffered <= 1000 + 70_000
        kinds = [type(event).__name__ for event in world.events]
        return kinds, world.gateway.data_to_send()

    assert run(1 << 30) == run(None) == run(997)
