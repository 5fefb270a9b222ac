"""The client's link once the hub was found: frames, presence, and every way to end."""

from __future__ import annotations

import pytest

from tests.proto import vectors
from tests.proto.links.mqtt.client_world import HELLO, OFFER, SEALED, World, frame, in_out, legacy
from thalovant_proto.carrier import CloseKind, FrameType
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.links.base import Accepted, LinkClosed
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Connect, ConnectCode, Disconnect, Puback, Publish
from thalovant_proto.secret import Secret

# --- frames -----------------------------------------------------------------------------------------------------------


def test_frames_have_receipts_and_arrive_as_they_are() -> None:
    """`Accepted` names the token once the broker has the frame. What is text is the connection's to find out."""
    world = World(hub=in_out()).dial().send(token=7)

    assert world.events[-1] == Accepted(token=7)
    assert world.broker.log[-1] == (in_out().up, SEALED, 1, False)
    assert world.answer(in_out(), SEALED, b"{}", b"").frames()[2:] == [SEALED, b"{}", b""]


def test_sends_out_of_turn_are_our_own_fault() -> None:
    """Before the hub answered, after the end, over the limit, text to a hub that reads none."""
    world = World(limits=MqttLimits(frame=10)).dial()
    with pytest.raises(LocalProtocolError, match="WAKING"):
        world.send()
    with pytest.raises(LocalProtocolError, match="WAKING"):
        world.link.announce(world.now)
    world.answer(legacy())
    world.send(b"0123456789")
    with pytest.raises(LocalProtocolError, match="10 bytes"):
        world.send(b"0123456789a")
    with pytest.raises(LocalProtocolError, match="bit frames"):
        world.link.send(frame(b"{}", FrameType.TEXT), world.now)
    world.link.close(world.now)
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        world.send()
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        world.link.announce(world.now)


def test_the_link_says_when_it_has_enough() -> None:
    """When the window is full: what the broker has not acknowledged holds up what comes behind it."""
    world = World(hub=in_out(), limits=MqttLimits(window=2)).dial()
    world.broker.acknowledges = False
    full = []
    for _ in range(2):
        world.send(b"0123456789")
        full.append(world.link.full)

    assert full == [False, True]


def test_sizes_grow_when_the_hub_has_answered() -> None:
    """Before the hello a frame may have 256 KiB; right behind it, in the same bytes, more."""
    world = World().dial().answer(in_out(), HELLO, bytes(400_000))
    assert len(world.frames()[1]) == 400_000

    world = World().dial().answer(in_out(), bytes(400_000))
    assert (world.end.kind, world.end.error.code) == (CloseKind.LOST, "mqtt_packet_too_large")


# --- presence ---------------------------------------------------------------------------------------------------------


def test_online_is_announced_once_and_our_own_echo_ignored() -> None:
    """Retained, QoS 1, when the stack says so; what comes back of it is ours."""
    world = World(hub=in_out()).dial().send()
    world.link.announce(world.now)
    world.link.announce(world.now)
    world.run()

    assert [entry for entry in world.broker.log if entry[1] == b"online"] == [("p/key0/status", b"online", 1, True)]
    assert world.link.wants_socket
    world.send()


def test_another_program_online_is_displacement() -> None:
    """A live `online` that is not ours: two programs with one access key. The other one's session is left alone."""
    world = World(hub=in_out()).dial().send()
    world.link.announce(world.now)
    world.run()
    world.publish("p/key0/status", b"online", retain=True)

    assert world.end.kind is CloseKind.DISPLACED
    assert isinstance(world.connection.heard[-1], Disconnect)
    assert b"offline" not in world.broker.said("p/key0/status")


def test_a_live_offline_is_the_hubs_refusal() -> None:
    """After a frame of ours it is the only sign there is (wire.md §0.1); the will does not follow it."""
    world = World().dial().answer(in_out()).send()

    world.publish("p/key0/status", b"offline", retain=True)

    assert (world.end.kind, world.end.error) == (CloseKind.REFUSED, None)
    assert "offline" in world.end.reason
    assert isinstance(world.connection.heard[-1], Disconnect)
    assert len(world.broker.said("p/key0/status")) == 1
    assert not world.link.wants_socket


def test_an_offline_before_our_first_frame_refuses_nothing() -> None:
    """The hub could not have judged us yet: it forgot us, for whatever reason. Other words mean nothing."""
    world = World(hub=in_out()).dial()
    world.publish("p/key0/status", b"busy")
    assert world.link.wants_socket

    world.publish("p/key0/status", b"offline")

    assert world.end.kind is CloseKind.FORGOTTEN


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [code for code in ConnectCode if code is not ConnectCode.ACCEPTED])
def test_connack_says_how_it_ends(code: ConnectCode) -> None:
    """Refusals 1, 2, 4, 5 are final words, 3 is not; each with its code and the session's error."""
    world = World()
    world.broker.authenticate = lambda connect: code

    end = world.dial().end

    passes = code is ConnectCode.UNAVAILABLE
    assert (end.kind, end.code) == (CloseKind.LOST if passes else CloseKind.REFUSED, code)
    assert (end.error is None) == passes
    assert not world.link.wants_socket


def test_credentials_travel_and_nothing_shows_them() -> None:
    """User name and password as given, the will on the newest layout, a clean session with our keepalive."""
    seen: list[Connect] = []
    world = World(hub=in_out(), username="user", password=Secret("pässword"), limits=MqttLimits(keepalive=30))

    def authenticate(connect: Connect) -> ConnectCode:
        seen.append(connect)
        return ConnectCode.ACCEPTED

    world.broker.authenticate = authenticate
    world.dial()

    (connect,) = seen
    assert (connect.client_id, connect.clean_session, connect.keepalive, connect.username) == ("c", True, 30, "user")
    assert Secret("pässword".encode()) == connect.password
    assert connect.will is not None
    will = connect.will
    assert (will.topic, will.payload, will.qos, will.retain) == ("p/key0/status", b"offline", 1, True)


def test_close_says_offline_then_disconnect() -> None:
    """The hub learns it at once, and the will is void."""
    world = World(hub=in_out()).dial().send(token=1)
    world.send(token=2)

    assert world.link.close(world.now) == [LinkClosed(kind=CloseKind.CLOSED)]
    assert world.link.wants_socket  # until the goodbye is drained
    world.connection.receive(world.link.data_to_send())

    assert not world.link.wants_socket
    offline, goodbye = world.connection.heard[-2:]
    assert isinstance(offline, Publish)
    assert (offline.topic, offline.payload, offline.retain) == ("p/key0/status", b"offline", True)
    assert isinstance(goodbye, Disconnect)
    assert world.link.close(world.now) == []
    assert world.link.next_timeout is None


def test_close_before_the_hub_answered_frees_what_it_may_hold() -> None:
    """`offline` goes to every layout on which the hub was called."""
    world = World().dial()
    world.link.close(world.now)
    world.run()

    assert [b"offline"] == world.broker.said("p/key0/status") == world.broker.said("p/status/key0")


@pytest.mark.parametrize("word", [b"online", b"offline"])
def test_frames_that_had_not_left_do_not_follow_a_session_that_is_over(word: bytes) -> None:
    """They are reported as never sent, and will travel once, on the next link: not with this one's goodbye too."""
    world = World(hub=in_out()).dial().send(token=1)
    world.link.send(frame(b"late"), world.now, token=2)

    world.broker.publish("p/key0/status", word)
    world.feed()
    world.run()

    assert world.end.unsent == (2,)
    assert [said for said in world.broker.said("p/key0/in") if said[:1] != b"{"] == [SEALED]
    assert isinstance(world.connection.heard[-1], Disconnect)


@pytest.mark.parametrize("dialed", [False, True])
def test_close_before_connack_says_no_more_than_it_must(dialed: bool) -> None:
    """Nothing before the socket is up; DISCONNECT after CONNECT."""
    link = MqttClientLink("mqtt://b", access_key=Secret("k"), client_id="c", topic_prefix="p", secure=True)
    if dialed:
        link.socket_opened(1.0)
    (end,) = link.close(1.0)

    assert end == LinkClosed(kind=CloseKind.CLOSED)
    assert link.data_to_send().endswith(b"\xe0\0" if dialed else b"")


def held_back(*, window: int) -> World:
    """A link with two frames more than the broker has room for, which is being closed."""
    world = World(hub=in_out(), limits=MqttLimits(window=window)).dial()
    world.broker.acknowledges = False
    for token in range(window + 2):
        world.send(token=token)
    assert world.link.close(world.now) == []
    return world


def test_close_waits_for_room_but_not_for_ever() -> None:
    """What the window holds back is sent first; the link closes when the broker has taken enough of it."""
    world = held_back(window=2)
    assert world.link.close(world.now) == []
    world.answer(in_out(), b"unheard")
    assert world.frames() == [HELLO, OFFER]

    for acknowledged in range(3):
        assert not isinstance(world.events[-1], LinkClosed)
        sealed = [one for one in world.connection.heard if isinstance(one, Publish) and one.payload == SEALED]
        world.connection.write(Puback(sealed[acknowledged].packet_id or 0))
        world.run()

    assert (world.end.kind, world.end.unsent) == (CloseKind.CLOSED, ())
    assert world.broker.said("p/key0/in").count(SEALED) == 4
    assert isinstance(world.connection.heard[-1], Disconnect)


def test_a_broker_without_room_gets_the_will_instead() -> None:
    """Time is up: what never left is reported, and without DISCONNECT the broker says `offline` for us."""
    world = held_back(window=2).pass_time(2)
    world.connection.drop()

    assert (world.end.kind, world.end.unsent) == (CloseKind.CLOSED, (2, 3))
    assert world.broker.said("p/key0/status") == [b"offline"]


def test_a_socket_that_ends_while_closing_was_closed_by_us() -> None:
    """Kind and tokens: nothing is lost silently."""
    world = held_back(window=1)

    (end,) = world.link.eof(world.now)

    assert (end.kind, end.unsent) == (CloseKind.CLOSED, (1, 2))
    assert world.link.eof(world.now) == []


def test_a_lost_socket_says_what_never_left() -> None:
    """Undrained frames are `unsent`; drained ones may have arrived."""
    world = World(hub=in_out()).dial().send(token=1)
    world.link.send(frame(SEALED), world.now, token=2)

    (end,) = world.link.eof(world.now)

    assert isinstance(end, LinkClosed)
    assert (end.kind, end.unsent, end.error) == (CloseKind.LOST, (2,), None)
    assert not world.link.wants_socket


def test_the_end_of_a_socket_says_where_it_ended() -> None:
    """Before CONNACK it may be the wrong port or want TLS, after our first publish the broker's access list."""
    for url, hint in (("mqtt://b", "mqtts://"), ("mqtts://b", "MQTT port")):
        link = MqttClientLink(url, access_key=Secret("k"), client_id="c", topic_prefix="p", secure=True)
        link.socket_opened(1.0)
        (end,) = link.eof(1.0)
        assert isinstance(end, LinkClosed)
        assert "before it answered" in end.reason
        assert hint in end.hint

    (end,) = World().dial().link.eof(1.0)
    assert isinstance(end, LinkClosed)
    assert "access list" in end.hint


def test_a_frozen_broker_is_noticed() -> None:
    """R3: no PINGRESP, no link."""
    world = World(hub=in_out(), limits=MqttLimits(keepalive=20, answer_time=5)).dial()
    world.pass_time(100)
    assert world.link.wants_socket
    world.broker.answers_pings = False

    world.pass_time(20 * 0.75 + 5)

    assert world.end.kind is CloseKind.LOST
    assert "PINGRESP" in world.end.reason
    assert world.link.next_timeout is None


# --- replay -----------------------------------------------------------------------------------------------------------


def test_the_captured_session_is_the_same_over_our_link() -> None:
    """The official hub plugin's session with the official client, frame by frame: topics, QoS and order are ours."""
    capture = vectors.load("capture_mqtt_next")["frames"]
    world = World(access_key=Secret("testkey123"), topic_prefix="hivemind/testkey123").dial()
    told = [one for one in capture if one["topic"].startswith("hivemind/testkey123/")]
    assert told[0]["topic"] == world.broker.log[0][0] == "hivemind/testkey123/in"
    heard = []

    for one in told[1:]:
        kind = one["payload_kind"]
        data = bytes.fromhex(one["payload_prefix"]) if kind == "noise" else one["payload_prefix"].encode()
        if one["dir"] == "hub->broker":
            world.broker.publish(one["topic"], data, one["qos"], one["retain"])
            heard += [data] if one["topic"].endswith("/out") else []
            world.run()
        elif one["topic"].endswith("/in"):
            world.send(data)
            assert world.broker.log[-1] == (one["topic"], data, one["qos"], one["retain"])
        else:
            world.take(world.link.close(world.now))
            world.run()
            assert world.broker.log[-1][:2] == (one["topic"], data)

    assert len(heard) == 4
    assert world.frames() == heard
    assert world.end.kind is CloseKind.CLOSED
