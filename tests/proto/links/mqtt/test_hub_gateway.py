"""The hub's gateway itself: presence, refusals, and every way to end."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.proto.links.mqtt.broker import Broker, Connection
from tests.proto.links.mqtt.hub_world import HELLO, SEALED, World, ended
from tests.proto.links.mqtt.values import cuts, pieces
from thalovant_proto.carrier import CloseKind, Frame, FrameType, Target
from thalovant_proto.errors import CredentialsRefused
from thalovant_proto.links.base import Link, LinkClosed
from thalovant_proto.links.mqtt.gateway import (
    EchoMissed,
    GatewayClosed,
    GatewayEvent,
    GatewayReady,
    MqttHubGateway,
    PeerInput,
    RivalSeen,
)
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import ConnectCode, Disconnect, Publish, Unsuback
from thalovant_proto.secret import Secret


def test_the_hub_is_online_and_goes_offline() -> None:
    """Presence in every layout, retained; the will stands for a hub that crashes."""
    world = World(hub_name="kitchen", legacy_prefix="old")
    assert [b"online"] == world.broker.said("p/kitchen/status") == world.broker.said("old/status/hub")
    connect = world.connection.connect
    assert connect is not None
    assert connect.will is not None
    assert (connect.will.topic, connect.will.payload, connect.will.retain) == ("p/kitchen/status", b"offline", True)
    world.client("alice")

    for event in world.gateway.close(world.now):
        world.take(event)
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
    world.broker.publish("p/master/status", b"offline")
    world.run()
    assert world.events == [GatewayReady()]

    world.broker.publish("p/master/status", b"online")
    world.broker.publish("old/status/hub", b"online")
    world.run()

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

    for event in world.gateway.eof(world.now):
        world.take(event)

    assert (world.end.kind, world.end.error) == (CloseKind.LOST, None)
    assert [ended(peer).kind for peer in world.peers] == [CloseKind.LOST] * 2
    assert world.gateway.eof(world.now) == []
    world.peers[0].link.close(world.now)
    world.start()
    assert world.events == [GatewayReady()]


def test_a_link_given_up_says_so() -> None:
    """`eof` without `PeerEnded` is a driver that gives a client up."""
    world = World()
    world.client("alice")
    (closed,) = world.peers[0].link.eof(world.now)

    assert isinstance(closed, LinkClosed)
    assert (closed.kind, world.gateway.peers) == (CloseKind.LOST, 0)


@pytest.mark.parametrize("code", [ConnectCode.NOT_AUTHORIZED, ConnectCode.UNAVAILABLE])
def test_a_broker_may_refuse_the_hub(code: ConnectCode) -> None:
    """The code says whether another try can help."""
    world = World()
    world.broker.authenticate = lambda connect: code
    world.start()

    assert world.end.code is code
    assert world.end.kind is (CloseKind.LOST if code is ConnectCode.UNAVAILABLE else CloseKind.REFUSED)


def test_a_hub_without_its_topics_is_no_hub() -> None:
    """One SUBACK of 0x80 is the end: half a hub would be silence to some clients."""
    world = World()
    world.broker.may_read = lambda connection, name: "status" not in name
    world.start()

    assert (world.end.kind, world.end.code) == (CloseKind.REFUSED, 0x80)
    assert isinstance(world.end.error, CredentialsRefused)
    assert isinstance(world.connection.heard[-1], Disconnect)


def test_a_broker_that_breaks_mqtt_ends_the_gateway() -> None:
    """With its error, after every link."""
    world = World()
    world.client("alice")
    world.connection.write(Unsuback(1))
    world.run()

    assert world.end.error is not None
    assert world.end.error.code == "mqtt_protocol_error"
    assert isinstance(ended(world.peers[0]), LinkClosed)


def test_closing_waits_for_room_but_not_for_ever() -> None:
    """What is queued goes first; a broker that takes nothing gets the will."""
    world = World(limits=MqttLimits(window=1, keepalive=0))
    world.client("alice")
    world.broker.acknowledges = False
    for _ in range(2):
        world.peers[0].link.send(Frame(SEALED, FrameType.BINARY), world.now)
    world.run()
    assert world.gateway.close(world.now) == []
    assert world.gateway.close(world.now) == []

    world.pass_time(2)

    assert world.end.kind is CloseKind.CLOSED
    assert not any(isinstance(packet, Disconnect) for packet in world.connection.heard)


def test_closing_happens_as_soon_as_there_is_room() -> None:
    """The broker's acknowledgements are waited for, and no longer."""
    world = World(limits=MqttLimits(window=1, keepalive=0))
    world.client("alice")
    for _ in range(3):
        world.peers[0].link.send(Frame(SEALED, FrameType.BINARY), world.now)
    assert world.gateway.close(world.now) == []
    world.broker.publish("p/alice/in", b"unheard")

    world.run()

    assert world.end.kind is CloseKind.CLOSED
    assert b"unheard" not in world.peers[0].frames()
    assert world.broker.said("p/alice/out").count(SEALED) == 3
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
            assert list(gateway.receive_data(connection.out, 1.0)) == []
        (closed,) = gateway.close(1.0)
        assert isinstance(closed, GatewayClosed)
        connection.receive(gateway.data_to_send())
        assert not connection.faults


def test_a_gateway_says_where_to_dial() -> None:
    """As a client's link does."""
    assert World().gateway.target == Target(host="broker", port=1883, tls=False)


def test_what_a_peer_link_is_not() -> None:
    """It has no bytes, no time, no pace: those are the gateway's."""
    world = World()
    world.client("alice")
    link: Link = world.peers[0].link
    link.pace(True, world.now)

    assert (link.data_to_send(), link.next_timeout, link.handle_timeout(world.now)) == (b"", None, [])


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
