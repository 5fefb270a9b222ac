"""Messages that pass the gatekeeper of the embedded broker, in both directions, and how many of them."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.hub.broker.world import Device, HubSide, World, older, topic
from thalovant.hub.broker.accounts import HUB_NAME
from thalovant.hub.broker.connection import UNACKNOWLEDGED, UNANSWERED, UNRELEASED
from thalovant.hub.broker.gatekeeper import ON_THE_WAY
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_length
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connack,
    Disconnect,
    Packet,
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
    Will,
)

# --- what may pass ---------------------------------------------------------------------------------------------------


def test_what_is_the_clients_own_reaches_the_hub():
    """Its messages in both layouts, its presence and its will, each acknowledged at once; the broker is not needed."""
    world = World()
    will = Will(topic=topic(world.ada, "status"), payload=b"offline", qos=1)
    hub, device = HubSide(world), world.inside(world.ada, will=will)
    sent = [
        Publish(topic=topic(world.ada, "in"), payload=b"{}", qos=1, packet_id=1),
        Publish(topic=topic(world.ada, "status"), payload=b"online", qos=1, retain=True, packet_id=2),
        Publish(topic=older(world.ada, "c2s"), payload=b"\x82"),
        Publish(topic=older(world.ada, "status"), payload=b"online"),
    ]

    answers = device.sends(*sent)
    device.connection.eof(world.now)

    assert answers == [Puback(1), Puback(2)]
    assert hub.wakes
    assert hub.received() == [Publish(topic=one.topic, payload=one.payload) for one in (*sent, will)]
    assert world.published == []


def test_who_says_goodbye_leaves_no_will():
    """DISCONNECT makes it void [MQTT-3.14.4-3]."""
    world = World()
    hub = HubSide(world)
    device = world.inside(world.ada, will=Will(topic=topic(world.ada, "status"), payload=b"offline"))
    end = device.end

    device.sends(Disconnect())

    assert device.connection.finished
    assert end.ended
    assert hub.received() == []


def test_the_hub_reaches_those_that_subscribed():
    """At once, also before the SUBACK, at the lower QoS of the two; the hub has its PUBACK whatever clients do."""
    world = World()
    hub = HubSide(world)
    devices = [world.inside(world.ada, "") for _ in range(3)]
    bob = world.inside(world.bob)
    out, status = topic(world.ada, "out"), topic(world.ada, "status")
    for device, filters in zip(devices, (((out, 1),), ((out, 0), (status, 1)), ((status, 1),)), strict=True):
        device.sends(Subscribe(packet_id=9, filters=filters))
    bob.sends(Subscribe(packet_id=9, filters=((topic(world.bob, "out"), 1),)))

    answers = hub.sends(
        Publish(topic=out, payload=b"1", qos=1, packet_id=1),
        Publish(topic=out, payload=b"2"),
        Publish(topic=status, payload=b"offline", qos=1, retain=True, packet_id=2),
        Publish(topic=topic(world.ada, "nowhere"), payload=b"3", qos=1, packet_id=3),
        Pingreq(),
    )

    echo = Publish(topic=status, payload=b"offline")  # it listens to presence itself
    assert answers == [Puback(1), Puback(2), echo, Puback(3), Pingresp()]
    first, second = Publish(topic=out, payload=b"1"), Publish(topic=out, payload=b"2")
    assert devices[0].received() == [evolve(first, qos=1, packet_id=1), second]
    assert devices[1].received() == [first, second, evolve(echo, qos=1, packet_id=1)]
    assert devices[2].received() == [evolve(echo, qos=1, packet_id=1)]
    assert bob.received() == []
    assert world.published == []
    assert all(device.driver.wakes for device in devices)


def test_the_broker_carries_what_connections_of_one_account_say_to_each_other():
    """Only where one of them listens; the hub hears it from the gatekeeper, once."""
    world = World()
    hub = HubSide(world)
    speaker, listener = world.inside(world.ada, "1"), world.inside(world.ada, "2")
    status = topic(world.ada, "status")
    online = Publish(topic=status, payload=b"online", qos=1, packet_id=1)
    speaker.sends(online)
    listener.sends(Subscribe(packet_id=1, filters=((status, 1),)))

    assert speaker.sends(online) == [Puback(1)]

    assert hub.received() == [Publish(topic=status, payload=b"online")] * 2
    assert world.published == [(status, b"online")]
    assert speaker.passed == []


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("name", ["in", "out", "status", "hub", "own out", "system", "older", "hub's name"])
def test_what_is_anothers_does_not_pass(name, qos):
    """Dropped, and acknowledged as the standard wants it: nobody learns what there is."""
    world = World()
    hub = HubSide(world)
    device = world.inside(world.ada)
    topics = {
        "hub": f"hivemind/{HUB_NAME}/status",
        "own out": topic(world.ada, "out"),
        "system": "$SYS/broker/clients",
        "older": older(world.bob, "c2s"),
        "hub's name": f"hivemind/{HUB_NAME}/in",
    }
    where = topics.get(name) or topic(world.bob, name)
    packet_id = 5 if qos else None

    answers = device.sends(Publish(topic=where, payload=b"x", qos=qos, packet_id=packet_id))

    assert answers == ([Puback(5)] if qos else [])
    assert hub.received() == []
    assert (device.passed, world.published) == ([], [])
    assert not device.connection.finished


@pytest.mark.parametrize("name", ["#", "hivemind/#", "hivemind/+/out", "+/+/+", "$SYS/#", "bob", "own in", "wild own"])
def test_nobody_listens_to_others(name):
    """Neither by name nor by wildcard; the broker is not asked, and the answer is 0x80."""
    world = World()
    device = world.inside(world.ada)
    own = world.ada.access_key.reveal()
    special = {"bob": topic(world.bob, "out"), "own in": topic(world.ada, "in"), "wild own": f"hivemind/{own}/+"}

    answers = device.sends(Subscribe(packet_id=3, filters=((special.get(name, name), 1),)))

    assert answers == [Suback(packet_id=3, codes=(SUBSCRIPTION_REFUSED,))]
    assert device.passed == []


def test_of_several_filters_the_own_ones_are_granted():
    """In the order of the request, at QoS 1 at most; the broker sees the allowed ones only."""
    world = World()
    device = world.inside(world.ada)
    out, status, other = topic(world.ada, "out"), topic(world.ada, "status"), topic(world.bob, "out")

    device.sends(Subscribe(packet_id=9, filters=((other, 1), (out, 2), ("#", 0), (status, 0))))
    answers = device.broker_sends(Suback(packet_id=9, codes=(1, 0)))

    assert device.passed == [Subscribe(packet_id=9, filters=((out, 1), (status, 0)))]
    assert answers == [Suback(packet_id=9, codes=(SUBSCRIPTION_REFUSED, 1, SUBSCRIPTION_REFUSED, 0))]


def test_only_what_was_subscribed_to_is_written():
    """What a client no longer wants, or never did, or was refused, stops here, whoever it is from."""
    world = World()
    hub, device = HubSide(world), world.inside(world.ada)
    out, status = topic(world.ada, "out"), topic(world.ada, "status")
    fromhub, frombroker = Publish(topic=out, payload=b"x"), Publish(topic=status, payload=b"online")

    def written() -> list[Packet]:
        hub.sends(fromhub)
        return device.broker_sends(frombroker)

    assert written() == []
    device.sends(Subscribe(packet_id=1, filters=((out, 1), (status, 1))))
    assert written() == [fromhub, evolve(frombroker, qos=1, packet_id=1)]
    assert device.broker_sends(Suback(packet_id=1, codes=(1, SUBSCRIPTION_REFUSED))) == [
        Suback(packet_id=1, codes=(1, SUBSCRIPTION_REFUSED))
    ]
    assert written() == [fromhub]
    device.sends(Unsubscribe(packet_id=2, filters=(out, "unknown")))
    assert written() == []
    assert device.broker_sends(Unsuback(2)) == [Unsuback(2)]


def test_pings_are_answered_by_the_gatekeeper():
    """The broker need not know."""
    world = World()
    device = world.inside(world.ada)

    assert device.sends(Pingreq(), Pingreq()) == [Pingresp(), Pingresp()]
    assert device.passed == []


@pytest.mark.parametrize(
    "breach",
    [
        lambda world: world.credentials(world.ada),
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
    """The connection ends, and the broker learns that its client is gone."""
    world = World()
    device = world.inside(world.ada)
    end = device.end

    device.sends(breach(world))

    assert device.connection.finished
    assert end.ended


def test_who_misses_its_own_keepalive_is_out():
    """One and a half of it, as the standard says."""
    world = World()
    device = world.inside(world.ada, keepalive=10)
    end = device.end
    assert device.connection.next_timeout == world.now + 15

    device.connection.handle_timeout(world.now + 15)

    assert device.connection.finished
    assert end.ended


def test_packets_of_one_piece_pass_in_pieces():
    """However the bytes are cut, the broker gets the same."""
    world = World()
    whole, cut = Device(world), Device(world)
    data = (
        world.credentials(world.ada, "").encode()
        + Subscribe(packet_id=1, filters=((topic(world.ada, "out"), 1), ("#", 1))).encode()
        + Publish(topic=topic(world.ada, "in"), payload=b"x" * 300, qos=1, packet_id=2).encode()
    )

    hub = HubSide(world)
    whole.sends(data)
    whole.broker_sends(Connack())
    heard = hub.received()
    for byte in data:
        cut.connection.receive_data(bytes((byte,)), world.now)
    cut.broker_sends(Connack())

    assert whole.passed == cut.passed
    assert len(whole.passed) == 1
    assert heard == hub.received()
    assert len(heard) == 1


# --- what is bounded -------------------------------------------------------------------------------------------------


def test_who_sends_faster_than_the_hub_reads_is_held_back():
    """At a quarter of a MiB on the way nothing more is read, over all connections of the account; others go on."""
    world = World()
    hub = HubSide(world)
    ada, also_ada, bob = world.inside(world.ada, "1"), world.inside(world.ada, "2"), world.inside(world.bob)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x" * (ON_THE_WAY // 2), qos=1, packet_id=1)

    def answered() -> list[int]:
        return [len(device.received()) for device in (ada, also_ada, bob)]

    for device in (ada, also_ada):
        device.connection.receive_data(message.encode() * 3, world.now)
    bob.connection.receive_data(Publish(topic=topic(world.bob, "in"), payload=b"x", qos=1, packet_id=1).encode(), 0)

    assert answered() == [2, 1, 1]  # a bound is seen behind the message that crosses it
    assert len(hub.received()) == 4
    assert sum(answered()) == 2  # both have sent another one
    assert len(hub.received()) == 2
    assert sum(answered()) == 1
    assert ada.driver.holds[2:4] == [True, False]  # the first pair is that of CONNACK
    assert ada.connection.next_timeout is not None


@pytest.mark.parametrize("release", ["arrives", "unsubscribed", "gone"])
def test_who_sends_faster_than_the_broker_passes_on_is_held_back(release):
    """What waits in the broker for another connection counts until that has it, or never will."""
    world = World()
    speaker, listener = world.inside(world.ada, "1"), world.inside(world.ada, "2")
    status = topic(world.ada, "status")
    listener.sends(Subscribe(packet_id=1, filters=((status, 1),)))
    listener.broker_sends(Suback(packet_id=1, codes=(1,)))
    message = Publish(topic=status, payload=b"x" * ON_THE_WAY)

    speaker.sends(message, message)
    assert len(world.published) == 1
    if release == "arrives":
        listener.broker_sends(message)
    elif release == "gone":
        listener.connection.eof(world.now)
    else:
        listener.sends(Unsubscribe(packet_id=2, filters=(status,)))
        listener.broker_sends(Unsuback(2))

    assert len(world.published) == (2 if release == "arrives" else 1)  # or nobody listens any more
    assert speaker.sends(Pingreq()) == ([] if release == "arrives" else [Pingresp()])


def test_time_does_not_pass_for_who_is_held_back():
    """It may have sent its ping; nobody has read it."""
    world = World()
    hub = HubSide(world)
    device = world.inside(world.ada, keepalive=10)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x" * ON_THE_WAY)
    device.sends(message, Pingreq())

    assert device.connection.next_timeout is None
    device.connection.handle_timeout(world.now + 1000)
    assert not device.connection.finished
    world.now += 1000
    hub.received()

    assert device.received() == [Pingresp()]


@pytest.mark.parametrize("how", ["goodbye", "another session"])
def test_a_hub_that_goes_lets_everybody_go_on(how):
    """What is on the way never arrives then."""
    world = World()
    hub, device = HubSide(world), world.inside(world.ada)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x" * ON_THE_WAY, qos=1, packet_id=1)
    assert device.sends(message, message) == [Puback(1)]

    if how == "goodbye":
        hub.sends(Disconnect())
        assert device.received() == [Puback(1)]
        assert device.sends(message, message) == [Puback(1)] * 2  # nobody counts while there is no hub
    else:
        HubSide(world)
        assert device.received() == [Puback(1)]


def test_unanswered_subscriptions_hold_a_client_back():
    """Sixteen at a time."""
    world = World()
    device = world.inside(world.ada)
    out = topic(world.ada, "out")

    device.sends(*(Subscribe(packet_id=n, filters=((out, 1),)) for n in range(1, UNANSWERED + 3)))
    held = len(device.passed)
    device.broker_sends(Suback(packet_id=1, codes=(1,)))

    assert held == UNANSWERED
    assert len(device.passed) == UNANSWERED + 1


@pytest.mark.parametrize("teller", ["hub", "broker"])
def test_who_does_not_read_is_cut_off(teller):
    """Beyond the settings' bound, at once and without goodbye. How much waits is known of the one that reads."""
    world = World(unsent=10_000, unsent_pause=5000)
    hub, device, other = HubSide(world), world.inside(world.ada, "1"), world.inside(world.ada, "2")
    end, owner = device.end, world.ada.access_key.reveal()
    level = "out" if teller == "hub" else "status"
    message = Publish(topic=topic(world.ada, level), payload=b"x" * 4000)
    for one in (device, other):
        one.sends(Subscribe(packet_id=1, filters=((message.topic, 1),)))
    assert world.gatekeeper.unsent(owner) == 0

    waiting = []
    for _ in range(3):
        if teller == "hub":
            hub.sends(message)
        else:
            device.connection.receive_from_broker(message.encode())
            other.connection.receive_from_broker(message.encode())
        waiting.append(world.gatekeeper.unsent(owner) // 4000)
        other.received()

    assert waiting == [1, 1, 1]
    assert device.driver.aborted
    assert device.connection.finished
    assert end.ended
    assert not other.driver.aborted
    assert hub.drained == 0
    other.connection.receive_from_broker(message.encode() * 2)
    other.received()
    assert hub.drained == 1


@pytest.mark.parametrize("kind", ["ping", "refused", "dropped"])
def test_who_does_not_read_its_answers_is_cut_off(kind):
    """Two bytes in are two bytes out, and who only writes could fill the memory with them."""
    world = World(unsent=1000)
    device = world.inside(world.ada)
    packet = {
        "ping": Pingreq(),
        "refused": Subscribe(packet_id=1, filters=(("#", 1),)),
        "dropped": Publish(topic=topic(world.bob, "in"), payload=b"", qos=1, packet_id=1),
    }[kind]

    device.connection.receive_data(packet.encode() * 2000, world.now)

    assert device.driver.aborted
    assert device.connection.finished
    assert len(device.connection.data_to_send()) < 1100


def test_who_acknowledges_nothing_is_cut_off():
    """It would be sent everything again, if brokers did that."""
    world = World()
    hub, device = HubSide(world), world.inside(world.ada)
    out = topic(world.ada, "out")
    device.sends(Subscribe(packet_id=1, filters=((out, 1),)))

    for packet_id in range(1, UNACKNOWLEDGED + 1):
        hub.sends(Publish(topic=out, payload=b"x", qos=1, packet_id=packet_id))
        device.received()
    assert not device.driver.aborted
    hub.sends(Publish(topic=out, payload=b"x", qos=1, packet_id=UNACKNOWLEDGED + 1))

    assert device.driver.aborted


def test_messages_over_the_frame_limit_end_the_connection():
    """At their first bytes."""
    world = World(mqtt=MqttLimits(frame=1000))
    device = world.inside(world.ada)

    device.sends(b"\x30" + encode_length(1000 + 70_000))

    assert device.connection.finished
