"""What passes the front door of the embedded broker, in both directions, and how much of it."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.hub.broker.doorstep import Guest, World, older, topic
from thalovant.hub.broker.accounts import HUB_NAME
from thalovant.hub.broker.gatekeeper import ON_THE_WAY, UNACKNOWLEDGED, UNANSWERED, UNRELEASED
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_length
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connack,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)

# --- what may pass ---------------------------------------------------------------------------------------------------


def test_what_is_the_clients_own_passes_as_it_came():
    """Its messages in both layouts, its presence, and its goodbye; what is to be retained is for the door to keep."""
    world = World()
    guest = world.inside(world.ada)
    sent = [
        Publish(topic=topic(world.ada, "in"), payload=b"{}", qos=1, packet_id=1),
        Publish(topic=topic(world.ada, "status"), payload=b"online", qos=1, retain=True, packet_id=2),
        Publish(topic=older(world.ada, "c2s"), payload=b"\x82"),
        Publish(topic=older(world.ada, "status"), payload=b"online"),
        Disconnect(),
    ]
    room = guest.room

    guest.says(*sent)

    assert room.heard[1:] == [evolve(one, retain=False) if isinstance(one, Publish) else one for one in sent]
    assert room.left
    assert guest.visitor.finished


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("name", ["in", "out", "status", "hub", "own out", "system", "older", "hub's name"])
def test_what_is_anothers_does_not_pass(name, qos):
    """Dropped, and acknowledged as the standard wants it: nobody learns what there is."""
    world = World()
    guest = world.inside(world.ada)
    topics = {
        "hub": f"hivemind/{HUB_NAME}/status",
        "own out": topic(world.ada, "out"),
        "system": "$SYS/broker/clients",
        "older": older(world.bob, "c2s"),
        "hub's name": f"hivemind/{HUB_NAME}/in",
    }
    where = topics.get(name) or topic(world.bob, name)
    packet_id = 5 if qos else None

    answers = guest.says(Publish(topic=where, payload=b"x", qos=qos, packet_id=packet_id))

    assert answers == ([Puback(5)] if qos else [])
    assert guest.passed == []
    assert not guest.visitor.finished


@pytest.mark.parametrize("name", ["#", "hivemind/#", "hivemind/+/out", "+/+/+", "$SYS/#", "bob", "own in", "wild own"])
def test_nobody_listens_to_others(name):
    """Neither by name nor by wildcard; the broker is not asked, and the answer is 0x80."""
    world = World()
    guest = world.inside(world.ada)
    own = world.ada.access_key.reveal()
    special = {"bob": topic(world.bob, "out"), "own in": topic(world.ada, "in"), "wild own": f"hivemind/{own}/+"}

    answers = guest.says(Subscribe(packet_id=3, filters=((special.get(name, name), 1),)))

    assert answers == [Suback(packet_id=3, codes=(SUBSCRIPTION_REFUSED,))]
    assert guest.passed == []


def test_of_several_filters_the_own_ones_are_granted():
    """In the order of the request, at QoS 1 at most; the broker sees the allowed ones only."""
    world = World()
    guest = world.inside(world.ada)
    out, status, other = topic(world.ada, "out"), topic(world.ada, "status"), topic(world.bob, "out")

    guest.says(Subscribe(packet_id=9, filters=((other, 1), (out, 2), ("#", 0), (status, 0))))
    answers = guest.told(Suback(packet_id=9, codes=(1, 0)))

    assert guest.passed == [Subscribe(packet_id=9, filters=((out, 1), (status, 0)))]
    assert answers == [Suback(packet_id=9, codes=(SUBSCRIPTION_REFUSED, 1, SUBSCRIPTION_REFUSED, 0))]


def test_only_what_was_subscribed_to_is_told():
    """What a client no longer wants, or never did, stops here, acknowledged in the client's place."""
    world = World()
    guest = world.inside(world.ada)
    out, other = topic(world.ada, "out"), topic(world.bob, "status")

    before = guest.told(
        Publish(topic=other, payload=b"online", retain=True),
        Publish(topic=other, payload=b"online", qos=1, retain=True, packet_id=1),
        Publish(topic=out, payload=b"x"),
    )
    guest.says(Subscribe(packet_id=1, filters=((out, 1),)))
    told = guest.told(Publish(topic=out, payload=b"x", qos=1, packet_id=2), Suback(packet_id=1, codes=(1,)))
    guest.says(Unsubscribe(packet_id=2, filters=(out,)))
    after = guest.told(Unsuback(2), Publish(topic=out, payload=b"y"))

    assert before == []
    assert told == [Publish(topic=out, payload=b"x", qos=1, packet_id=2), Suback(packet_id=1, codes=(1,))]
    assert after == [Unsuback(2)]
    assert Puback(1) in guest.passed


def test_the_broker_need_not_wait_for_anybody():
    """Each message is acknowledged to it at once, and once, whatever the client does about it and when."""
    world = World()
    guest = world.inside(world.ada)
    out = topic(world.ada, "out")
    guest.says(Subscribe(packet_id=1, filters=((out, 1),)))
    guest.told(Suback(packet_id=1, codes=(1,)), Publish(topic=out, payload=b"x", qos=1, packet_id=7))
    assert guest.passed[1:] == [Puback(7)]

    guest.says(Puback(7), Puback(7), Puback(8))

    assert guest.passed[1:] == [Puback(7)]
    assert not guest.visitor.finished


def test_pings_are_answered_at_the_door():
    """The broker need not know."""
    world = World()
    guest = world.inside(world.ada)

    assert guest.says(Pingreq(), Pingreq()) == [Pingresp(), Pingresp()]
    assert guest.passed == []


@pytest.mark.parametrize(
    "breach",
    [
        lambda world: world.connect(world.ada),
        lambda world: b"".join(
            Publish(topic=topic(world.ada, "in"), payload=b"", qos=qos, packet_id=1).encode() for qos in (2, 1)
        ),
        lambda world: b"".join(
            Publish(topic=topic(world.ada, "in"), payload=b"", qos=2, packet_id=n).encode()
            for n in range(1, UNRELEASED + 2)
        ),
        lambda world: Pubrec(1),
        lambda world: Pubcomp(1),
        lambda world: Connack(),
        lambda world: b"\x30" + encode_length(MAX_REMAINING),
        lambda world: b"\x30\x03\x00\x09a",
        lambda world: b"\xf0\x00",
        lambda world: b"\x36\x05\x00\x01a\x00\x01",
        lambda world: Publish(topic="/" * 20, payload=b""),
        lambda world: Subscribe(packet_id=1, filters=(("a", 1),) * 65),
        lambda world: b"".join(
            Subscribe(packet_id=1, filters=((topic(world.ada, "out"), 1),)).encode() for _ in range(2)
        ),
        lambda world: b"".join(Unsubscribe(packet_id=1, filters=("a",)).encode() for _ in range(2)),
    ],
    ids=[
        "a second CONNECT", "an id of QoS 2 in use", "much of QoS 2", "PUBREC", "PUBCOMP", "a server's packet",
        "268 435 455 bytes", "a cut field", "type 15", "QoS 3", "many levels", "many filters", "an id in use",
        "an id in use to unsubscribe",
    ],
)  # fmt: skip
def test_who_breaks_the_protocol_is_out(breach):
    """The connection ends, and the broker learns that its client has left, so that it publishes the will."""
    world = World()
    guest = world.inside(world.ada)
    room = guest.room

    guest.says(breach(world))

    assert guest.visitor.finished
    assert room.left
    assert len(world.door) == 0


def test_who_misses_its_own_keepalive_is_out():
    """One and a half of it, as the standard says."""
    world = World()
    guest = world.inside(world.ada, keepalive=10)
    room = guest.room
    assert guest.visitor.next_timeout == world.now + 15

    guest.visitor.handle_timeout(world.now + 15)

    assert guest.visitor.finished
    assert room.left


def test_packets_of_one_piece_pass_in_pieces():
    """However the bytes are cut, the broker gets the same."""
    world = World()
    whole, cut = Guest(world), Guest(world)
    data = (
        world.connect(world.ada, "").encode()
        + Subscribe(packet_id=1, filters=((topic(world.ada, "out"), 1), ("#", 1))).encode()
        + Publish(topic=topic(world.ada, "in"), payload=b"x" * 300, qos=1, packet_id=2).encode()
    )

    whole.says(data)
    for byte in data:
        cut.says(bytes((byte,)))

    assert whole.passed == cut.passed
    assert len(whole.passed) == 2


# --- what is bounded -------------------------------------------------------------------------------------------------


def test_who_sends_faster_than_the_hub_hears_is_held_back():
    """At a quarter of a MiB on the way nothing more is read, over all connections of the account; others go on."""
    world = World()
    hub = world.hub()
    ada, also_ada, bob = world.inside(world.ada, "1"), world.inside(world.ada, "2"), world.inside(world.bob)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x" * (ON_THE_WAY // 2))

    ada.says(message, message, message, message)
    also_ada.says(Pingreq(), message)
    bob.says(Publish(topic=topic(world.bob, "in"), payload=b"x"))
    held = [len(one.passed) for one in (ada, also_ada, bob)]
    hub.told(message)
    resumed = [len(one.passed) for one in (ada, also_ada, bob)]
    for _ in range(4):
        hub.told(message)

    assert held == [2, 0, 1]
    assert resumed == [3, 0, 1]  # at the bound again
    assert [len(one.passed) for one in (ada, also_ada, bob)] == [4, 1, 1]
    assert ada.wire.holds[:4] == [True, False, True, False]
    assert ada.visitor.next_timeout is not None


def test_time_does_not_pass_for_who_is_held_back():
    """It may have sent its ping; nobody has read it."""
    world = World()
    hub = world.hub()
    guest = world.inside(world.ada, keepalive=10)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x" * ON_THE_WAY)
    guest.says(message, Pingreq())

    assert guest.visitor.next_timeout is None
    guest.visitor.handle_timeout(world.now + 1000)
    assert not guest.visitor.finished
    world.now += 1000
    hub.told(message)

    assert guest.answers() == [Pingresp()]


def test_a_hub_that_goes_lets_everybody_go_on():
    """What is on the way never arrives then."""
    world = World()
    hub = world.hub()
    guest = world.inside(world.ada)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x" * ON_THE_WAY)
    guest.says(message, message)
    assert len(guest.passed) == 1

    hub.visitor.eof(world.now)
    guest.says(message)

    assert len(guest.passed) == 3  # nobody counts while there is no hub


def test_unanswered_subscriptions_hold_a_client_back():
    """Sixteen at a time."""
    world = World()
    guest = world.inside(world.ada)
    out = topic(world.ada, "out")

    guest.says(*(Subscribe(packet_id=n, filters=((out, 1),)) for n in range(1, UNANSWERED + 3)))
    held = len(guest.passed)
    guest.told(Suback(packet_id=1, codes=(1,)))

    assert held == UNANSWERED
    assert len(guest.passed) == UNANSWERED + 1


def test_who_does_not_read_is_cut_off():
    """Beyond the settings' bound, at once and without goodbye; the hub is not: others' flows bound what it gets."""
    world = World(unread=10_000)
    hub, guest = world.hub(), world.inside(world.ada)
    room = guest.room
    out = topic(world.ada, "out")
    guest.says(Subscribe(packet_id=1, filters=((out, 1),)))

    for _ in range(3):
        guest.visitor.said(Publish(topic=out, payload=b"x" * 4000).encode())
        hub.visitor.said(Publish(topic=topic(world.ada, "in"), payload=b"x" * 4000).encode())

    assert guest.wire.aborted
    assert guest.visitor.finished
    assert room.left
    assert not hub.wire.aborted


@pytest.mark.parametrize("kind", ["ping", "refused", "dropped"])
def test_who_does_not_read_its_answers_is_cut_off(kind):
    """Two bytes in are two bytes out, and who only writes could fill the memory with them."""
    world = World(unread=1000)
    guest = world.inside(world.ada)
    packet = {
        "ping": Pingreq(),
        "refused": Subscribe(packet_id=1, filters=(("#", 1),)),
        "dropped": Publish(topic=topic(world.bob, "in"), payload=b"", qos=1, packet_id=1),
    }[kind]

    guest.visitor.receive_data(packet.encode() * 2000, world.now)

    assert guest.wire.aborted
    assert guest.visitor.finished
    assert len(guest.visitor.data_to_send()) < 1100


def test_who_acknowledges_nothing_is_cut_off():
    """It would be sent everything again, if brokers did that."""
    world = World()
    guest = world.inside(world.ada)
    out = topic(world.ada, "out")
    guest.says(Subscribe(packet_id=1, filters=((out, 1),)))

    for packet_id in range(1, UNACKNOWLEDGED + 1):
        guest.told(Publish(topic=out, payload=b"x", qos=1, packet_id=packet_id))
    assert not guest.wire.aborted
    guest.told(Publish(topic=out, payload=b"x", qos=1, packet_id=UNACKNOWLEDGED + 1))

    assert guest.wire.aborted


def test_messages_over_the_frame_limit_end_the_connection():
    """At their first bytes."""
    world = World(mqtt=MqttLimits(frame=1000))
    guest = world.inside(world.ada)

    guest.says(b"\x30" + encode_length(1000 + 70_000))

    assert guest.visitor.finished
