"""QoS 2 and retained messages at the gatekeeper of the embedded broker, which sees to both in the broker's place."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.hub.broker.world import HubSide, World, topic
from thalovant.hub.broker.gatekeeper import RETAINED
from thalovant_proto.links.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Disconnect,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Will,
)


def test_qos_2_comes_once():
    """The hub has it once; the rest of its flow is between client and gatekeeper [MQTT-4.3.3-2]."""
    world = World()
    hub, device = HubSide(world), world.inside(world.ada)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x", qos=2, packet_id=7)
    arrives = Publish(topic=message.topic, payload=b"x")

    assert device.sends(message, evolve(message, dup=True)) == [Pubrec(7), Pubrec(7)]
    assert hub.received() == [arrives]
    assert device.sends(Pubrel(7), Pubrel(7)) == [Pubcomp(7), Pubcomp(7)]
    assert hub.received() == []
    assert device.sends(message) == [Pubrec(7)]  # the id is free again
    assert hub.received() == [arrives]


def test_qos_2_of_anothers_is_received_too():
    """As if it had been published: nobody learns what there is."""
    world = World()
    hub, device = HubSide(world), world.inside(world.ada)

    answers = device.sends(Publish(topic=topic(world.bob, "in"), payload=b"x", qos=2, packet_id=7), Pubrel(7))

    assert answers == [Pubrec(7), Pubcomp(7)]
    assert hub.received() == []


# --- what is kept ----------------------------------------------------------------------------------------------------


def listening(world: World, *names: str, qos: int = 1) -> list[Packet]:
    """What a newcomer of ada's is told when it subscribes to these topics, SUBACK first."""
    device = world.inside(world.ada, "")
    device.sends(Subscribe(packet_id=1, filters=tuple((name, qos) for name in names)))
    return device.broker_sends(Suback(packet_id=1, codes=(qos,) * len(names)))


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("wanted", [0, 1])
def test_presence_is_kept_for_who_comes_later(wanted, qos):
    """The last word on each topic, retained, at the lower QoS of the two [MQTT-3.8.4-6]; and until it is taken back."""
    world = World()
    status, out = topic(world.ada, "status"), topic(world.ada, "out")
    speaker = world.inside(world.ada)
    for packet_id, word in enumerate((b"online", b"busy"), start=1):
        speaker.sends(Publish(topic=status, payload=word, qos=qos, retain=True, packet_id=packet_id if qos else None))
    speaker.sends(Publish(topic=status, payload=b"passing by"))

    suback, kept = listening(world, out, status, qos=wanted)
    speaker.sends(Publish(topic=status, payload=b"", retain=True))

    assert suback == Suback(packet_id=1, codes=(wanted, wanted))
    assert isinstance(kept, Publish)
    assert (kept.topic, kept.payload, kept.qos, kept.retain) == (status, b"busy", min(qos, wanted), True)
    assert listening(world, status) == [Suback(packet_id=1, codes=(1,))]


def test_what_is_kept_is_acknowledged_to_the_gatekeeper():
    """Each has a packet id of its own, and the broker hears nothing of it."""
    world = World()
    device = world.inside(world.ada)
    status = topic(world.ada, "status")
    device.sends(Publish(topic=status, payload=b"online", qos=1, packet_id=1, retain=True))

    device.sends(Subscribe(packet_id=3, filters=((status, 1), (status, 1))))
    _, first, second = device.broker_sends(Suback(packet_id=3, codes=(1, 1)))
    device.sends(Puback(1), Subscribe(packet_id=4, filters=((status, 1),)))
    _, third = device.broker_sends(Suback(packet_id=4, codes=(1,)))

    assert [one.packet_id for one in (first, second, third) if isinstance(one, Publish)] == [1, 2, 3]
    assert not any(isinstance(packet, Puback) for packet in device.passed)


def test_a_will_is_kept_unless_it_is_void():
    """Of who goes without goodbye, if it is to be retained."""
    world = World()
    status = topic(world.ada, "status")
    will = Will(topic=status, payload=b"offline", retain=True)
    for goodbye, ends, kept in ((True, will, 0), (False, evolve(will, retain=False), 0), (False, will, 1)):
        device = world.inside(world.ada, will=ends)
        if goodbye:
            device.sends(Disconnect())
        device.connection.eof(world.now)

        assert kept == len(listening(world, status)) - 1


def test_what_nobody_could_want_is_not_kept():
    """What only the hub hears, what is more than a word, and what the gatekeeper or the broker refused."""
    world = World()
    device = world.inside(world.ada)
    inbox, status = topic(world.ada, "in"), topic(world.ada, "status")
    device.sends(
        Publish(topic=inbox, payload=b"x", retain=True),
        Publish(topic=topic(world.bob, "status"), payload=b"offline", retain=True),
        Publish(topic=status, payload=b"x" * (RETAINED + 1), retain=True),
    )
    assert HubSide(world).received() == []
    assert len(listening(world, status)) == 1

    device.sends(Publish(topic=status, payload=b"x" * RETAINED, retain=True))
    assert len(listening(world, status)) == 2
    device.sends(Subscribe(packet_id=1, filters=((status, 1),)))
    assert device.broker_sends(Suback(packet_id=1, codes=(SUBSCRIPTION_REFUSED,))) == [
        Suback(packet_id=1, codes=(SUBSCRIPTION_REFUSED,))
    ]


def test_what_the_hub_says_of_a_client_is_kept():
    """It says `offline` for those that it throws out."""
    world = World()
    status = topic(world.ada, "status")
    HubSide(world).sends(Publish(topic=status, payload=b"offline", qos=1, retain=True, packet_id=1))

    _, kept = listening(world, status)

    assert isinstance(kept, Publish)
    assert (kept.payload, kept.retain) == (b"offline", True)
