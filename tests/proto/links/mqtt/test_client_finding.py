"""The client's link finds its hub: every layout, the remembered one first, echoes of the last session survived."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proto.links.mqtt.client_world import DIGEST, HELLO, OFFER, PREFIX, SEALED, World, in_out, legacy
from thalovant_proto.carrier import CloseKind, FrameType
from thalovant_proto.errors import CredentialsRefused
from thalovant_proto.links.base import Accepted, FrameReceived
from thalovant_proto.links.mqtt.client import WAKE_UP
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Disconnect, Publish, Subscribe
from thalovant_proto.links.mqtt.topics import Topics


@pytest.mark.parametrize("cut", [None, 1, 3])
def test_the_hub_is_woken_and_heard(cut: int | None) -> None:
    """Subscribed before the first publish; open with the hub's hello, which is the first frame."""
    world = World(hub=in_out(), cut=cut).dial()

    (opened,) = world.opened()
    assert world.events[0] is opened
    assert world.frames() == [HELLO, OFFER]
    assert world.link.layout == "prefix"
    carrier = opened.carrier
    assert (
        carrier.text_up,
        carrier.typed,
        carrier.rehello,
        carrier.secure,
        carrier.receipts,
    ) == (True, False, True, True, True)
    subscribe, *calls = world.connection.heard[:3]
    assert isinstance(subscribe, Subscribe)
    assert all(isinstance(call, Publish) and call.payload == WAKE_UP and not call.retain for call in calls)
    assert all(one.frame.type is FrameType.UNTYPED for one in world.events if isinstance(one, FrameReceived))


@pytest.mark.parametrize(
    ("options", "hub", "layout", "text_up"),
    [
        ({}, in_out(), "prefix", True),
        ({}, legacy(), "c2s", False),
        ({"topic_prefix": "p"}, in_out(), "prefix/key", True),
        ({"topic_prefix": "p"}, in_out("p"), "prefix", True),
        ({"topic_prefix": "p"}, legacy(), "c2s", False),
        ({"topic_prefix": "p", "hub_id": "hub"}, legacy("p/hub"), "hub/c2s", False),
        ({"topic_prefix": "p", "hash_topics": True}, legacy("p", DIGEST), "c2s", False),
        ({"topics": in_out("own")}, in_out("own"), "explicit", True),
        ({"topics": legacy("own", "way")}, legacy("own", "way"), "explicit", False),
    ],
)
def test_every_layout_is_found(options: dict[str, Any], hub: Topics, layout: str, text_up: bool) -> None:
    """Whatever the identity says and the hub uses, they meet; the layout that answers wins and can be remembered."""
    world = World(hub=hub, **options).dial()

    assert world.frames() == [HELLO, OFFER]
    assert world.link.layout == layout
    assert world.opened()[0].carrier.text_up is text_up
    world.send()
    assert world.broker.said(hub.up)[-1] == SEALED


def test_other_layouts_are_not_heard_once_one_has_answered() -> None:
    """The first wins: what comes on another is another hub's, or nobody's."""
    world = World().dial().answer(in_out(), HELLO)

    world.answer(legacy(), HELLO).answer(in_out(), OFFER)

    assert world.frames() == [HELLO, OFFER]
    world.publish("p/status/key0", b"offline")
    assert world.link.wants_socket


def test_a_remembered_layout_is_tried_alone_first() -> None:
    """It alone is subscribed to and woken, and has the will; the hub that answers there hears nothing elsewhere."""
    world = World(hub=legacy(), remembered_layout="c2s").dial()

    assert world.link.layout == "c2s"
    assert world.broker.said("p/key0/in") == []
    assert world.connection.connect.will.topic == "p/status/key0"


def test_a_remembered_layout_that_is_silent_is_not_the_last_word() -> None:
    """A hub that was upgraded is found all the same, a little later."""
    world = World(hub=in_out(), remembered_layout="c2s").dial()
    assert not world.opened()

    world.pass_time(4)

    assert world.link.layout == "prefix"
    assert world.frames() == [HELLO, OFFER]


@pytest.mark.parametrize(
    ("remembered", "readable"),
    [
        ("c2s", lambda name: name.startswith(PREFIX)),  # a SUBACK of 0x80 for it brings the others at once
        ("?", lambda name: True),  # a name from another version is no reason to fail
        (None, lambda name: "status" not in name),  # the way down is enough
    ],
)
def test_what_is_not_granted_or_not_known_is_done_without(remembered: str | None, readable: Any) -> None:
    """The hub is found at once on another layout, and without presence."""
    world = World(hub=in_out(), remembered_layout=remembered)
    world.broker.may_read = lambda connection, name: readable(name)

    assert world.dial().frames() == [HELLO, OFFER]
    assert world.link.layout == "prefix"


def test_others_that_are_refused_leave_the_remembered_one() -> None:
    """While one layout is granted there is hope."""
    world = World(remembered_layout="c2s")
    world.broker.may_read = lambda connection, name: name.startswith("p/s")
    world.dial().pass_time(3.5)

    assert world.answer(legacy()).frames() == [HELLO, OFFER]


@pytest.mark.parametrize("queue", [1000, 50])
def test_a_window_of_one_is_enough_for_all_layouts(queue: int) -> None:
    """Each is called as the broker makes room; if not all can wait for that, those that can."""
    world = World(hub=legacy(), limits=MqttLimits(window=1, queue=queue))

    world.dial()

    assert world.frames() == ([HELLO, OFFER] if queue == 1000 else [])
    assert world.broker.said("p/key0/in")[0][:1] == b"{"


def test_layouts_that_are_granted_while_echoes_come_are_called_after_them() -> None:
    """An `offline` silences every layout until it is over."""
    world = World(hub=in_out(), remembered_layout="c2s").dial().pass_time(2.9)
    world.broker.publish("p/status/key0", b"offline")
    world.run().pass_time(0.2)
    assert world.broker.said("p/key0/in") == []

    world.pass_time(0.2)

    assert world.frames() == [HELLO, OFFER]


def test_an_answer_while_the_others_are_being_tried_wins() -> None:
    """The SUBACK of the others comes too late to matter."""
    world = World(remembered_layout="c2s").dial()
    world.now += 3
    world.take(world.link.handle_timeout(world.now))
    world.broker.publish("p/s2c/key0", HELLO)

    world.run()

    assert world.link.layout == "c2s"
    assert world.broker.said("p/key0/in") == []


def test_a_refused_layout_is_not_written_to() -> None:
    """0x80 for one layout is no error while another is granted, and nothing is published where we may not listen.

    For every one it is the end, typed, with its code, and with a clean goodbye.
    """
    world, refused = World(hub=legacy()), World()
    world.broker.may_read = lambda connection, name: "/key0/" not in name
    refused.broker.may_read = lambda connection, name: False

    assert world.dial().link.layout == "c2s"
    assert world.broker.said("p/key0/in") == []
    end = refused.dial().end
    assert (end.kind, end.code, end.error.code) == (CloseKind.REFUSED, 0x80, "mqtt_topics_refused")
    assert isinstance(end.error, CredentialsRefused)
    assert isinstance(refused.connection.heard[-1], Disconnect)


def test_without_a_status_topic_there_is_no_presence() -> None:
    """Explicit topics may have none: no will, no announcement, no goodbye but DISCONNECT."""
    world = World(hub=Topics(up="u", down="d"), topics=Topics(up="u", down="d")).dial()
    assert world.frames() == [HELLO, OFFER]
    assert world.connection.connect.will is None

    world.link.announce(world.now)
    world.run().link.close(world.now)
    world.run()

    assert {topic for topic, _, _, _ in world.broker.log} == {"u", "d"}


def test_a_silent_hub_is_called_again_and_again() -> None:
    """A hub that comes up later, or an unknown access key: the calls go on, and the deadline is the owner's."""
    world = World().dial()
    assert len(world.broker.said("p/key0/in")) == 1

    world.pass_time(2.5)
    assert len(world.broker.said("p/key0/in")) == 3
    world.hub = in_out()
    world.hub_reads = len(world.broker.log)
    world.pass_time(2)

    assert world.frames() == [HELLO, OFFER]


def test_half_a_handshake_that_a_hub_still_holds_is_reset() -> None:
    """A hub with a session for our key that never got anywhere answers no wake-up: we say `offline`, and call anew."""
    world = World(hub=in_out())
    world.hub_session = True

    world.dial().pass_time(5)

    assert world.frames() == [HELLO, OFFER]
    assert b"offline" in world.broker.said("p/key0/status")


def test_the_echo_of_an_end_does_not_end_the_new_session() -> None:
    """`offline` from our last session makes real hubs drop the next: its hello is not heard, and the hub is called
    again when the echoes have stopped."""
    world = World(hub=in_out()).dial()
    world.link.close(world.now)  # `offline` and DISCONNECT are written, but the hub has not read them yet
    world.connection.receive(world.link.data_to_send())

    world.dial()

    # The hub read our `offline` only now, after the new call: it dropped the new session with its own echo.
    assert not world.opened()
    assert not world.hub_session
    world.pass_time(1)
    assert world.frames() == [HELLO, OFFER]
    assert world.hub_session


@pytest.mark.parametrize("presence", [b"online", b"offline"])
def test_what_is_retained_is_history(presence: bytes) -> None:
    """What was true before we came is not about us; whoever retains on the way down is not the hub of now."""
    world = World()
    world.broker.publish("p/key0/status", presence, retain=True)
    world.broker.publish("p/key0/out", HELLO, retain=True)
    assert not world.dial().opened()

    world.answer(in_out())
    world.connection.deliver("p/key0/out", b"old", 0, retain=True)
    world.run()

    assert world.frames() == [HELLO, OFFER]


@pytest.mark.parametrize("leftover", [SEALED, b"", b'{"ciphertext": "00"}', b"{", b' "hello"', OFFER])
def test_only_a_hello_opens(leftover: bytes) -> None:
    """What the hub still says to the session before is no answer."""
    world = World().dial().answer(in_out(), leftover)
    assert not world.opened()

    assert world.answer(in_out()).frames() == [HELLO, OFFER]


def test_the_broker_may_grant_less() -> None:
    """QoS 0 where 1 was asked is fine [MQTT-3.8.4-6]; receipts are about the way up."""
    world = World(hub=in_out(), qos=0).dial().send(token=1)

    assert not world.opened()[0].carrier.receipts
    assert world.broker.log[-1] == (in_out().up, SEALED, 0, False)
    assert not any(isinstance(event, Accepted) for event in world.events)
