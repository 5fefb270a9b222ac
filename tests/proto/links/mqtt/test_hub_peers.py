"""A hub's clients behind its gateway, met by our own client links: both roles of MQTT."""

from __future__ import annotations

import pytest

from tests.proto.links.mqtt.hub_world import HELLO, SEALED, World, ended
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.links.base import FrameReceived, LinkClosed, LinkOpened
from thalovant_proto.links.mqtt.gateway import GatewayReady, PeerArrived
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Puback, Publish


@pytest.mark.parametrize("cut", [None, 1, 3])
def test_clients_and_hub_meet(cut: int | None) -> None:
    """Ready after SUBACK; a client's first message makes a link, which opens with it; frames go both ways."""
    world = World(cut=cut)
    assert world.events == [GatewayReady()]
    client = world.client("alice")

    client.send(Frame(SEALED, FrameType.BINARY), world.now, token=1)
    world.run()

    (peer,) = world.peers
    opened = peer.events[0]
    assert isinstance(opened, LinkOpened)
    assert opened.credentials.access_key.reveal() == "alice"
    carrier = opened.carrier
    assert (
        carrier.text_up,
        carrier.typed,
        carrier.rehello,
        carrier.secure,
    ) == (True, False, True, True)
    assert peer.frames()[-1] == SEALED
    assert world.frames("alice")[0] == HELLO
    assert all(event.frame.type is FrameType.UNTYPED for event in peer.events if isinstance(event, FrameReceived))
    peer.link.send(Frame(b"\x02answer", FrameType.BINARY), world.now)
    world.run()
    assert world.frames("alice")[-1] == b"\x02answer"
    assert world.broker.log[-1] == ("p/alice/out", b"\x02answer", 1, False)


def test_each_client_has_its_own_link() -> None:
    """Topics keep them apart, in both layouts at once."""
    world = World(legacy_prefix="old")
    alice, bob = world.client("alice"), world.client("bob", prefix="old")

    alice.send(Frame(b"a", FrameType.BINARY), world.now)
    bob.send(Frame(b"b", FrameType.BINARY), world.now)
    world.run()

    assert [alice.layout, bob.layout] == ["prefix/key", "c2s"]
    assert [peer.frames()[-1] for peer in world.peers] == [b"a", b"b"]
    carriers = [peer.events[0].carrier for peer in world.peers if isinstance(peer.events[0], LinkOpened)]
    assert [carrier.text_up for carrier in carriers] == [True, False]
    assert world.gateway.peers == 2


def test_an_unknown_access_key_hears_nothing() -> None:
    """No answer, no presence, no memory."""
    world = World()
    world.unknown = {"eve"}

    world.client("eve")

    assert [type(event) for event in world.peers[0].events] == [LinkOpened, LinkClosed]
    assert world.frames("eve") == []
    assert {topic for topic, _, _, _ in world.broker.log} == {"p/eve/in", "p/in", "p/master/status", "p/c2s/eve"}
    assert world.gateway.peers == 0


def test_a_client_that_is_turned_away_on_arrival_is_not_heard() -> None:
    """Whoever closes the link at once gets no message of it."""
    world = World()
    world.broker.publish("p/alice/in", b"knock")
    data, world.connection.out = world.connection.out, b""

    events = world.gateway.receive_data(data, world.now)
    arrived = next(events)

    assert isinstance(arrived, PeerArrived)
    arrived.link.close(world.now)
    assert list(events) == []


def test_a_live_offline_ends_a_client() -> None:
    """The client's word, or its will: the link is lost, and the next message makes another."""
    world = World()
    client = world.client("alice", prefix="p/alice")
    client.close(world.now)
    world.run()

    assert "offline" in ended(world.peers[0]).reason
    assert ended(world.peers[0]).kind is CloseKind.LOST
    assert world.broker.said("p/alice/status") == [b"offline"]  # the client's own: the hub adds none
    world.client("alice", prefix="p/alice")
    assert len(world.peers) == 2
    world.clients["alice"][1].drop()
    world.run()
    assert "offline" in ended(world.peers[1]).reason


def test_other_presence_means_nothing() -> None:
    """`online`, and anybody's `offline` that has no link. What is retained, on the way up too, is history."""
    world = World()
    world.client("alice")
    for client, word in (("alice", b"online"), ("bob", b"offline"), ("master", b"offline")):
        world.publish(f"p/{client}/status", word)
    assert world.gateway.peers == 1

    world.gateway.close(world.now)
    world.run()
    world.broker.publish("p/alice/in", b"{}", retain=True)
    world.broker.publish("p/alice/status", b"offline", retain=True)
    world.start()
    assert world.events == [GatewayReady()]


def test_closing_a_link_says_offline_and_is_not_taken_for_the_clients_word() -> None:
    """The one refusal that MQTT has. Our own echo does not end the session that the client begins meanwhile."""
    world = World()
    client = world.client("alice")
    client.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run()

    (closed,) = world.peers[0].link.close(world.now, code=1008, reason="no")
    assert isinstance(closed, LinkClosed)
    assert (closed.kind, closed.code, closed.reason) == (CloseKind.CLOSED, 1008, "no")
    world.broker.publish("p/alice/in", b"at once")  # the broker has it before our `offline`
    world.run()

    assert ("p/alice/status", b"offline", 1, True) in world.broker.log
    assert isinstance(world.clients["alice"][2][-1], LinkClosed)
    assert len(world.peers) == 2
    assert world.peers[1].link.wants_socket
    assert not world.peers[0].link.wants_socket
    assert world.peers[0].link.close(world.now) == []
    assert world.peers[0].link.eof(world.now) == []
    assert world.peers[0].link.receive_data(b"x", world.now) == []
    world.publish("p/alice/status", b"offline")
    assert "offline" in ended(world.peers[1]).reason


def test_two_echoes_are_two() -> None:
    """Each `offline` of ours comes back once, and once only it is ours."""
    world = World()
    for word in (b"1", b"2"):
        world.broker.publish("p/alice/in", word)
        data, world.connection.out = world.connection.out, b""
        world.take(world.gateway.receive_data(data, world.now))
        world.peers[-1].link.close(world.now)
    world.run()
    world.client("alice")

    assert world.broker.said("p/alice/status") == [b"offline", b"offline"]
    assert world.peers[2].link.wants_socket
    world.publish("p/alice/status", b"offline")
    assert not world.peers[2].link.wants_socket


def test_a_silent_client_is_forgotten() -> None:
    """After the idle time it is told so; whoever talks stays."""
    world = World(limits=MqttLimits(keepalive=0))
    world.client("alice")
    bob = world.client("bob")
    world.pass_time(200)
    bob.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run().pass_time(150)

    assert "300 s" in ended(world.peers[0]).reason
    assert world.peers[1].link.wants_socket
    assert isinstance(world.clients["alice"][2][-1], LinkClosed)
    assert world.broker.said("p/alice/status") == [b"offline"]
    world.pass_time(300)
    assert world.gateway.peers == 0


def test_clients_are_bounded() -> None:
    """Beyond the limit new ones get no answer, and room that is made can be used."""
    world = World(limits=MqttLimits(peers=1))
    world.client("alice")
    world.client("bob")
    assert (world.gateway.peers, world.frames("bob"), world.gateway.turned_away) == (1, [], 1)
    world.peers[0].link.close(world.now)

    world.client("bob")

    assert world.frames("bob") == [HELLO]


@pytest.mark.parametrize("linked", [False, True])
def test_a_frame_over_the_limit_ends_its_sender_only(linked: bool) -> None:
    """The gateway's connection belongs to all clients: a stranger's megabytes are thrown away."""
    world = World(limits=MqttLimits(frame=1000))
    world.client("alice")
    if linked:
        world.client("bob")
    world.publish("p/bob/in", bytes(200_000))

    assert world.peers[0].link.wants_socket
    assert [int(ended(peer).reason.split()[-2]) for peer in world.peers[1:]] == ([1000] if linked else [])
    assert world.broker.said("p/bob/status") == ([b"offline"] if linked else [])
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


def test_the_owner_sees_what_waits_for_the_broker() -> None:
    """What is beyond the window, topic and frame, until the broker has acknowledged what is before it."""
    world = World(limits=MqttLimits(window=1, keepalive=0))
    world.client("alice")
    world.broker.acknowledges = False
    link = world.peers[0].link
    assert world.gateway.unsent == 0

    for _ in range(3):
        link.send(Frame(bytes(100), FrameType.BINARY), world.now)
    size = 2 + len("p/alice/out") + 100
    assert world.gateway.unsent == 2 * size
    world.run()
    sent = world.connection.heard[-1]
    assert isinstance(sent, Publish)
    world.broker.acknowledges = True
    world.connection.write(Puback(sent.packet_id or 0))
    world.run()

    assert world.gateway.unsent == 0


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

    assert world.gateway.next_timeout == world.now
    world.take(world.gateway.handle_timeout(world.now))

    assert "could not be published" in ended(world.peers[0]).reason
    assert world.peers[1].link.wants_socket
    world.peers[1].link.send(Frame(bytes(50), FrameType.BINARY), world.now)
    world.peers[1].link.close(world.now)  # no room for its `offline`: it finds out when it speaks
    assert not world.gateway.peers
