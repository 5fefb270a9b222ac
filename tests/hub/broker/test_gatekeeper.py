"""Sign-in at the gatekeeper of the embedded broker, without a broker or a socket: who comes in, and how it ends."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.hub.broker.world import Device, HubSide, World, topic
from thalovant.hub.broker.accounts import HUB_NAME, Accounts
from thalovant.hub.broker.gatekeeper import CONNECTIONS
from thalovant_proto.events import Generation
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_length
from thalovant_proto.links.mqtt.packets import (
    Connack,
    ConnectCode,
    Pingreq,
    Puback,
    Publish,
    Will,
)
from thalovant_proto.secret import Secret

# --- who comes in ----------------------------------------------------------------------------------------------------


def test_the_broker_sees_nothing_of_a_sign_in():
    """It has a session for whoever is in; names, passwords, client ids and wills stay at the gatekeeper."""
    world = World()
    will = Will(topic=topic(world.ada, "status"), payload=b"offline", qos=2, retain=True)
    device = Device(world)
    assert world.ends == []

    device.sends(world.credentials(world.ada, "mine", clean_session=False, keepalive=7, will=will))

    assert [end.received for end in world.ends] == [[]]


def test_nothing_is_read_before_the_broker_has_accepted():
    """CONNACK comes first, whatever the client sends behind its CONNECT [MQTT-3.2.0-1]."""
    world = World()
    hub, device = HubSide(world), Device(world)
    hello = Publish(topic=topic(world.ada, "in"), payload=b"x", qos=1, packet_id=1)

    assert device.sends(world.credentials(world.ada), hello) == []
    assert hub.received() == []

    assert device.broker_sends(Connack()) == [Connack(), Puback(1)]
    assert hub.received() == [Publish(topic=hello.topic, payload=b"x")]
    assert device.driver.holds == [True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": Secret(b"wrong")},
        {"password": None},
        {"username": "nobody"},
        {"username": None, "password": None},
        {"username": HUB_NAME},
        {"username": ""},
    ],
    ids=["password", "no password", "name", "nothing", "the hub's name", "empty name"],
)
def test_who_does_not_show_its_password_stays_outside(wrong):
    """CONNACK 4 and the end, the same for a name that is known and one that is not; the broker hears nothing."""
    world = World()
    device = Device(world)

    answers = device.sends(evolve(world.credentials(world.ada), **wrong), Pingreq())

    assert answers == [Connack(code=ConnectCode.CREDENTIALS)]
    assert device.connection.finished
    assert world.ends == []


def test_nobody_signs_in_as_the_hub():
    """Its session needs no socket: the password that would go with its name opens nothing."""
    world = World()
    hub = evolve(world.ada, access_key=Secret(HUB_NAME))

    assert Device(world).sends(world.credentials(hub)) == [Connack(code=ConnectCode.CREDENTIALS)]


def test_a_removed_client_stays_outside():
    """Its password is the right one still, and opens nothing."""
    world = World()
    connect = world.credentials(world.ada)
    world.registry.remove("ada")
    device = Device(world)

    assert device.sends(connect) == [Connack(code=ConnectCode.CREDENTIALS)]


@pytest.mark.parametrize("level", ["in", "out", "status"])
def test_a_will_on_anothers_topic_is_refused(level):
    """CONNACK 5: amqtt would publish it for anybody."""
    world = World()
    will = Will(topic=topic(world.bob, level), payload=b"offline")
    device = Device(world)

    assert device.sends(world.credentials(world.ada, will=will)) == [Connack(code=ConnectCode.NOT_AUTHORIZED)]
    assert device.connection.finished
    assert world.ends == []


@pytest.mark.parametrize(
    "first",
    [
        Pingreq(),
        b"\x10\x84\x80\x01",  # a CONNECT of 16 388 bytes is to follow
        b"\x10" + encode_length(MAX_REMAINING),
        b"\x00\x00",
        b"GET / HTTP/1.1\r\n",
    ],
    ids=["another packet", "a large CONNECT", "the largest CONNECT", "garbage", "HTTP"],
)
def test_whatever_is_no_connect_ends_the_connection(first):
    """At its first bytes, and without an answer."""
    world = World()
    device = Device(world)

    assert device.sends(first) == []
    assert device.connection.finished


def test_another_version_is_told_so():
    """CONNACK 1, as the standard wants it."""
    world = World()
    device = Device(world)

    assert device.sends(b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00") == [Connack(code=ConnectCode.VERSION)]


def test_who_says_nothing_is_shown_out():
    """After 10 s, to the second."""
    world = World()
    device = Device(world)
    due = device.connection.next_timeout
    assert due == world.now + 10

    device.connection.handle_timeout(due - 0.001)
    assert not device.connection.finished
    device.connection.handle_timeout(due)

    assert device.connection.finished
    assert device.connection.next_timeout is None


# --- whose place it is -----------------------------------------------------------------------------------------------


def test_a_second_connection_of_the_same_client_id_takes_over():
    """The first one ends before the second begins, so that its will comes first [MQTT-3.1.4-2]."""
    world = World()
    hub = HubSide(world)
    first = world.inside(world.ada, "app", will=Will(topic=topic(world.ada, "status"), payload=b"offline"))
    end = first.end

    second = world.inside(world.ada, "app")
    second.sends(Publish(topic=topic(world.ada, "in"), payload=b"hello"))

    assert end.ended
    assert first.connection.finished
    assert first.driver.wakes
    assert not second.connection.finished
    assert [packet.payload for packet in hub.received() if isinstance(packet, Publish)] == [b"offline", b"hello"]


def test_nobody_takes_the_place_of_another_identity():
    """A client id belongs to who uses it: the same one of somebody else is another."""
    world = World()
    ada = world.inside(world.ada, "app")

    world.inside(world.bob, "app")

    assert not ada.end.ended


def test_clients_without_an_id_do_not_meet():
    """Each has one of its own."""
    world = World()
    first, second = world.inside(world.ada, ""), world.inside(world.ada, "")

    assert not first.connection.finished
    assert not second.connection.finished


def test_an_account_has_a_few_connections():
    """Beyond that the oldest makes place: it has most likely broken unseen. Others are not affected."""
    world = World()
    bob = world.inside(world.bob, "")
    devices = [world.inside(world.ada, f"app-{number}") for number in range(CONNECTIONS + 2)]

    assert [device.connection.finished for device in devices] == [True, True, *[False] * CONNECTIONS]
    assert not bob.connection.finished


def test_an_end_that_comes_late_does_not_end_the_successor():
    """The first connection may be gone after the second has begun, and its place is not its own any more."""
    world = World()
    first = world.inside(world.ada)
    second = world.inside(world.ada)

    first.connection.eof(world.now)
    third = world.inside(world.ada)

    assert second.connection.finished
    assert not third.connection.finished


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_the_broker_may_end_it():
    """Then the socket ends too, and the broker is not told what it said itself."""
    world = World()
    device = world.inside(world.ada)
    end = device.end

    device.connection.broker_ended()
    device.connection.broker_ended()

    assert device.connection.finished
    assert not end.ended
    assert device.driver.wakes
    assert device.broker_sends(Publish(topic="a", payload=b"x")) == []


def test_the_broker_hears_nothing_of_a_connection_that_is_over():
    """Its last bytes may still come in."""
    world = World()
    device = world.inside(world.ada)
    end = device.end
    device.connection.close()
    received = end.data

    device.sends(Publish(topic=topic(world.ada, "in"), payload=b"x"))

    assert end.data == received
    assert end.ended


# --- accounts --------------------------------------------------------------------------------------------------------


def test_credentials_stay_the_same_and_are_each_clients_own():
    """They follow from the access key and the hub's key, so they survive a restart, and another hub has others."""
    world = World()
    again = Accounts(world.registry, Secret(b"k" * 32))
    elsewhere = Accounts(world.registry, Secret(b"l" * 32))

    _, password = world.accounts.credentials(world.ada)

    assert again.credentials(world.ada)[1] == password
    assert password != elsewhere.credentials(world.ada)[1]
    assert password != world.accounts.credentials(world.bob)[1]
    assert len(password.reveal()) == 43


def test_accounts_show_no_key():
    """Topics hold the access key."""
    world = World()
    account = world.accounts.authenticate(world.credentials(world.ada))

    assert "ada" in repr(account)
    assert world.ada.access_key.reveal() not in repr(account)


def test_what_an_identity_says_of_the_broker():
    """Everything that a client needs, the prefix whole."""
    world = World()
    username, password = world.accounts.credentials(world.ada)

    assert world.accounts.block(world.ada, "mqtts://hub.test:8883") == {
        "endpoint": "mqtts://hub.test:8883",
        "username": username,
        "password": password.reveal(),
        "topic_prefix": f"hivemind/{world.ada.access_key.reveal()}",
        "tls": True,
    }
    assert not world.accounts.block(world.ada, "mqtt://127.0.0.1:1883")["tls"]


@pytest.mark.parametrize("generation", [Generation.PASSWORD, Generation.PRESHARED], ids=lambda g: g.name)
def test_identities_of_older_generations_name_their_topics(generation):
    """Old clients append other levels to a prefix than newer ones; topics that are named are taken as they are."""
    world = World()
    world.ada = evolve(world.ada, generation=generation)
    key = world.ada.access_key.reveal()

    block = world.accounts.block(world.ada, "mqtts://hub.test:8883")

    topics = {"c2s_topic": "in", "s2c_topic": "out", "status_topic": "status"}
    assert {name: f"hivemind/{key}/{level}" for name, level in topics.items()} == {name: block[name] for name in topics}
    account = world.accounts.authenticate(world.credentials(world.ada))
    assert {block["c2s_topic"], block["status_topic"]} <= set(account.publishes)
    assert block["s2c_topic"] in account.subscribes
