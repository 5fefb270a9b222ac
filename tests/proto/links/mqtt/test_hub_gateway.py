"""The hub's gateway itself: presence, refusals, and every way to end."""

from __future__ import annotations

import pytest

from tests.proto.links.mqtt.broker import Broker, Connection
from tests.proto.links.mqtt.hub_world import HELLO, SEALED, World, ended
from thalovant_proto.carrier import CloseKind, Frame, FrameType, Target
from thalovant_proto.errors import CredentialsRefused
from thalovant_proto.links.base import Link, LinkClosed
from thalovant_proto.links.mqtt.gateway import (
    EchoMissed,
    GatewayClosed,
    GatewayReady,
    MqttHubGateway,
    PeerInput,
    RivalSeen,
)
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import ConnectCode, Disconnect
from thalovant_proto.secret import Secret


def test_the_hub_is_online_and_goes_offline() -> None:
    """Presence in every layout, retained; the will stands for a hub that crashes."""
    world = World(hub_name="kitchen", legacy_prefix="old")
    assert [b"online"] == world.broker.said("p/kitchen/status") == world.broker.said("old/status/hub")
    connect = world.connection.connect
    assert (connect.will.topic, connect.will.payload, connect.will.retain) == ("p/kitchen/status", b"offline", True)
    world.client("alice")

    world.take(world.gateway.close(world.now))
    assert world.gateway.wants_socket
    world.run()

    assert b"offline" == world.broker.said("p/kitchen/status")[-1] == world.broker.said("old/status/hub")[-1]
    assert isinstance(world.connection.heard[-1], Disconnect)
    assert world.end.kind is CloseKind.CLOSED
    assert ended(world.peers[0]).kind is CloseKind.LOST
    assert not world.gateway.wants_socket
    assert world.gateway.close(world.now) == []
    assert world.gateway.next_timeout is None


def test_another_hub_under_the_same_name_is_seen() -> None:
    """Whose `online` is not our own coming back; what was retained is history, and its end is none of our business."""
    world = World(legacy_prefix="old")
    world.publish("p/master/status", b"offline")
    assert world.events == [GatewayReady()]

    world.broker.publish("p/master/status", b"online")
    world.publish("old/status/hub", b"online")

    assert world.events == [GatewayReady(), RivalSeen(), RivalSeen()]


def test_a_client_of_an_earlier_gateway_is_dismissed() -> None:
    """In both layouts; it begins anew at once, and what comes back of our own word does not end that."""
    world = World(legacy_prefix="old")
    client = world.client("alice", prefix="p/alice")
    client.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run().connection.drop()
    world.start()

    world.gateway.dismiss(Secret("alice"), world.now)
    world.run()

    assert [b"offline"] == world.broker.said("p/alice/status") == world.broker.said("old/status/alice")
    assert isinstance(world.clients["alice"][2][-1], LinkClosed)
    world.client("alice", prefix="p/alice")
    assert world.frames("alice")[0] == HELLO
    assert world.gateway.peers == 1


@pytest.mark.parametrize("passed", [True, False])
def test_a_broker_that_keeps_our_own_words_from_us_is_doubted(passed: bool) -> None:
    """Many brokers grant every subscription and drop what their access list forbids; who is there must hear itself."""
    world = World(limits=MqttLimits(answer_time=10, keepalive=0))
    world.broker.passes_on = lambda topic: passed
    world.start()
    assert world.events == [GatewayReady()]

    world.pass_time(20)

    assert world.events[1:] == ([] if passed else [EchoMissed()])
    assert world.gateway.wants_socket
    assert world.gateway.next_timeout is None


def test_a_lost_broker_ends_every_link() -> None:
    """Frames may be lost, so no session survives; a new gateway begins anew."""
    world = World()
    world.client("alice")
    world.client("bob")
    world.connection.drop()

    world.take(world.gateway.eof(world.now))

    assert (world.end.kind, world.end.error) == (CloseKind.LOST, None)
    assert [ended(peer).kind for peer in world.peers] == [CloseKind.LOST] * 2
    assert world.gateway.eof(world.now) == []
    world.peers[0].link.close(world.now)
    world.start()
    assert world.events == [GatewayReady()]


@pytest.mark.parametrize("code", [ConnectCode.NOT_AUTHORIZED, ConnectCode.UNAVAILABLE, 0x80])
def test_a_broker_may_refuse_the_hub(code: int) -> None:
    """The code says whether another try can help. One SUBACK of 0x80 is the end: half a hub is silence to some."""
    world = World()
    if code == 0x80:
        world.broker.may_read = lambda connection, name: "status" not in name
    else:
        world.broker.authenticate = lambda connect: ConnectCode(code)
    world.start()

    passes = code == ConnectCode.UNAVAILABLE
    assert (world.end.kind, world.end.code) == (CloseKind.LOST if passes else CloseKind.REFUSED, code)
    assert isinstance(world.end.error, CredentialsRefused) is not passes
    assert code != 0x80 or isinstance(world.connection.heard[-1], Disconnect)


@pytest.mark.parametrize("acknowledges", [False, True])
def test_closing_waits_for_room_but_not_for_ever(acknowledges: bool) -> None:
    """What is queued goes first, and no longer is waited; a broker that takes nothing gets the will."""
    world = World(limits=MqttLimits(window=1, keepalive=0))
    world.client("alice")
    world.broker.acknowledges = acknowledges
    for _ in range(3):
        world.peers[0].link.send(Frame(SEALED, FrameType.BINARY), world.now)
    assert world.gateway.close(world.now) == world.gateway.close(world.now) == []
    world.broker.publish("p/alice/in", b"unheard")

    world.run()
    assert isinstance(world.events[-1], GatewayClosed) is acknowledges
    world.pass_time(2)

    assert world.end.kind is CloseKind.CLOSED
    assert b"unheard" not in world.peers[0].frames()
    assert (world.broker.said("p/alice/out").count(SEALED) == 3) is acknowledges
    assert isinstance(world.connection.heard[-1], Disconnect) is acknowledges


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
            assert list(gateway.receive_data(connection.out, 1.0)) == []
        (closed,) = gateway.close(1.0)
        assert isinstance(closed, GatewayClosed)
        connection.receive(gateway.data_to_send())
        assert not connection.faults


def test_what_a_peer_link_is_not() -> None:
    """It has no bytes, no time, no pace: those are the gateway's. `eof` is a driver that gives a client up."""
    world = World()
    world.client("alice")
    link: Link = world.peers[0].link
    link.pace(True, world.now)

    assert world.gateway.target == Target(host="broker", port=1883, tls=False)
    assert (link.data_to_send(), link.next_timeout, link.handle_timeout(world.now)) == (b"", None, [])
    assert world.peers[0].link.unsent == world.gateway.unsent == 0
    (closed,) = link.eof(world.now)
    assert (closed.kind, world.gateway.peers) == (CloseKind.LOST, 0)


def test_access_keys_are_in_no_repr() -> None:
    """Events and links are logged; topics and payloads are not."""
    world = World()
    world.client("planted")
    world.publish("p/planted/in", b"planted")

    assert any(isinstance(event, PeerInput) for event in world.events)
    assert "planted" not in repr((world.events, world.peers[0].events))
