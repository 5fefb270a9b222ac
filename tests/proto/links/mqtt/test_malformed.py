"""Every row of the malformed table at both ends: a typed fault, the last event; bounded; and nothing lost silently."""

from __future__ import annotations

import pytest

from tests.proto.links.mqtt.client_world import World, in_out
from tests.proto.links.mqtt.hub_world import World as HubWorld, ended
from tests.proto.links.mqtt.session_wire import Wire, closed
from tests.proto.links.mqtt.test_packets import MALFORMED, connect
from tests.proto.links.mqtt.test_server_session import CONNECT, Door
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.links.base import Accepted, LinkClosed
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.packets import Publish
from thalovant_proto.links.mqtt.server_session import ClientClosed, PacketReceived
from thalovant_proto.links.mqtt.session import State

# What §2.2.3 has beside the bodies of the table, and what is too large.
HEADERS = [
    (b"\x30\xff\xff\xff\xff\x01", "mqtt_malformed"),
    (b"\x30\x80\x80\x80\x80", "mqtt_malformed"),
    (b"\x30\x80\x00", "mqtt_malformed"),
    (b"\x30\xff\xff\xff\x7f", "mqtt_packet_too_large"),
    (b"\x90\xff\xff\xff\x7f", "mqtt_packet_too_large"),
    (b"\x82\xff\xff\xff\x7f", "mqtt_packet_too_large"),
    (b"\xc0\xff\xff\xff\x7f", "mqtt_malformed"),
]
WIRES = [
    *((bytes((first,)) + encode_length(len(body)) + body, "mqtt_malformed") for first, body, _ in MALFORMED),
    *HEADERS,
]
rows = pytest.mark.parametrize(("wire", "word"), WIRES)


@rows
def test_a_broker_may_send_none_of_it(wire: bytes, word: str) -> None:
    """Before CONNACK or behind it: the fault has its word, what never left is named, and nothing more is written."""
    opening = Wire()
    opening.session.open(opening.now)
    ready = Wire().ready("down")
    ready.publish(token=1)
    ready.said()
    ready.publish(token=2)

    for peer, unsent in ((opening, ()), (ready, (2,))):
        end = closed(peer.hear(wire + bytes(10_000)))

        assert (end.error.code, end.unsent, end.code) == (word, unsent, None)
        assert peer.session.state is State.CLOSED
        assert peer.session.data_to_send() == b""
        assert peer.session.buffered <= 10_000 + len(wire)


@rows
def test_a_client_may_send_none_of_it(wire: bytes, word: str) -> None:
    """Behind its CONNECT: the end, without an answer, and without a goodbye that would make its will void."""
    door = Door().opened()

    events = door.hear(Publish(topic="t", payload=b"before"), wire, bytes(10_000))

    before, end = events
    assert isinstance(before, PacketReceived)
    assert isinstance(end, ClientClosed)
    assert (end.error.code, end.clean) == (word, False)
    assert door.session.data_to_send() == b""
    assert door.hear(CONNECT) == []


@rows
def test_a_link_is_lost_by_it_with_what_was_said(wire: bytes, word: str) -> None:
    """Frames that the broker has are receipted, one that never left is named, and the link may be tried again."""
    world = World(hub=in_out()).dial().send(token=1)
    world.link.send(Frame(b"late", FrameType.BINARY), world.now, token=2)

    *_, end = world.link.receive_data(wire, world.now)

    assert Accepted(token=1) in world.events
    assert isinstance(end, LinkClosed)
    assert (end.kind, end.error.code, end.unsent) == (CloseKind.LOST, word, (2,))
    assert not world.link.wants_socket


@rows
def test_a_gateway_ends_its_links_for_it(wire: bytes, word: str) -> None:
    """Each client's link first, then the gateway, with the broker's fault. A message that is only too large is thrown
    away."""
    world = HubWorld()
    world.client("alice")

    world.take(world.gateway.receive_data(wire, world.now))

    if word == "mqtt_packet_too_large" and wire[0] == 0x30:
        assert world.gateway.wants_socket
        return
    assert (world.end.kind, world.end.error.code) == (CloseKind.LOST, word)
    assert ended(world.peers[0]).kind is CloseKind.LOST


@pytest.mark.parametrize("body", [connect(2, b"c", level=5), connect(0, b"")])
def test_a_connect_that_is_answered_at_first_is_not_later(body: bytes) -> None:
    """MQTT-3.1.0-2: a second CONNECT is a fault, whatever it asks for."""
    door = Door().opened()

    end = door.hear(b"\x10" + encode_length(len(body)) + body)[-1]

    assert isinstance(end, ClientClosed)
    assert end.error is not None
    assert door.session.data_to_send() == b""
