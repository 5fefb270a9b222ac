"""The front door of the embedded broker, without a broker or a socket: who comes in, and what may pass."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from attrs import evolve

from thalovant.hub.accounts import HUB_NAME, Accounts
from thalovant.hub.door import ON_THE_WAY, RETAINED, UNACKNOWLEDGED, UNANSWERED, UNRELEASED, Door, Room, Visitor
from thalovant.hub.registry import Client, Registry
from thalovant.hub.settings import Settings
from thalovant.hub.state import State
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_length
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from thalovant_proto.secret import Secret

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


def packets(data: bytes) -> list[Packet]:
    """Bytes as packets."""
    framer, found = Framer(MAX_REMAINING), []
    framer.feed(data)
    while (raw := framer.next_packet()) is not None:
        found.append(decode(raw.first, raw.body))
    return found


class FakeRoom:
    """The broker's end: notes what it hears."""

    def __init__(self, visitor: Visitor, before: Room | None) -> None:
        self.visitor = visitor
        self.before = before
        self.data = b""
        self.left = False

    def hear(self, data: bytes) -> None:
        assert not self.left
        self.data += data

    def leave(self) -> None:
        self.left = True

    @property
    def heard(self) -> list[Packet]:
        """All that passed the door, CONNECT first."""
        return packets(self.data)


class FakeWire:
    """The socket's side: notes what is asked of it."""

    def __init__(self) -> None:
        self.wakes = 0
        self.holds: list[bool] = []
        self.aborted = False

    def wake(self) -> None:
        self.wakes += 1

    def hold(self, hold: bool) -> None:
        self.holds.append(hold)

    def abort(self) -> None:
        self.aborted = True


class Guest:
    """A connection at the door, with the test on both of its sides."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wire = FakeWire()
        self.visitor = world.door.visitor(self.wire, world.now)

    def says(self, *sent: Packet | bytes) -> list[Packet]:
        """The client sends packets, or bytes; gives what it is answered."""
        data = b"".join(one if isinstance(one, bytes) else one.encode() for one in sent)
        self.visitor.receive_data(data, self.world.now)
        return self.answers()

    def answers(self) -> list[Packet]:
        """What was said to the client since the last time."""
        return packets(self.visitor.data_to_send())

    def told(self, *sent: Packet) -> list[Packet]:
        """The broker sends packets; gives what the client is told of them."""
        self.visitor.said(b"".join(one.encode() for one in sent))
        return self.answers()

    @property
    def room(self) -> FakeRoom:
        """The broker's end."""
        room = self.visitor.room
        assert isinstance(room, FakeRoom)
        return room

    @property
    def passed(self) -> list[Packet]:
        """What reached the broker behind CONNECT."""
        return self.room.heard[1:]


class World:
    """A door, its accounts, and everybody who was let in."""

    def __init__(self, **settings: Any) -> None:
        self.now = 100.0
        state = State.open(None, now=NOW)
        self.registry = Registry(state)
        self.accounts = Accounts(self.registry, Secret(b"k" * 32))
        self.rooms: list[FakeRoom] = []
        self.door = Door(self.accounts.authenticate, self._enter, settings=Settings(**settings))
        self.ada = self.registry.add("ada")
        self.bob = self.registry.add("bob")

    def _enter(self, visitor: Visitor, connect: Connect, before: Room | None) -> FakeRoom:
        room = FakeRoom(visitor, before)
        room.hear(connect.encode())
        self.rooms.append(room)
        return room

    def connect(self, client: Client, client_id: str = "app", **changes: Any) -> Connect:
        """The CONNECT of a client."""
        username, password = self.accounts.credentials(client)
        fields = {"client_id": client_id, "username": username, "password": Secret(password.as_bytes()), **changes}
        return Connect(**fields)

    def inside(self, client: Client, client_id: str = "app", **changes: Any) -> Guest:
        """A client whose broker has accepted it."""
        guest = Guest(self)
        assert [] == guest.says(self.connect(client, client_id, **changes))
        assert [Connack()] == guest.told(Connack())
        return guest

    def hub(self) -> Guest:
        """The hub itself, which listens."""
        username, password = self.accounts.hub_credentials()
        guest = Guest(self)
        guest.says(Connect(client_id="hub", username=username, password=Secret(password.as_bytes())))
        filters = tuple((name, 1) for layout in self.accounts.layouts for name in (layout.up, layout.status))
        guest.says(Subscribe(packet_id=1, filters=filters))
        guest.told(Connack(), Suback(packet_id=1, codes=(1,) * len(filters)))
        return guest


def topic(client: Client, level: str) -> str:
    """A topic of a client, in the newer layout."""
    return f"hivemind/{client.access_key.reveal()}/{level}"


def older(client: Client, level: str) -> str:
    """A topic of a client, in the older layout."""
    return f"hivemind/{HUB_NAME}/{level}/{client.access_key.reveal()}"


# --- who comes in ----------------------------------------------------------------------------------------------------


def test_the_broker_sees_no_secret_and_keeps_nothing():
    """Its CONNECT has an id of ours, no user, no password, no keepalive, a clean session, and a will it can publish."""
    world = World()
    will = Will(topic=topic(world.ada, "status"), payload=b"offline", qos=2, retain=True)

    guest = world.inside(world.ada, "mine", clean_session=False, keepalive=7, will=will)
    other = world.inside(world.ada, "")

    disguised = evolve(will, qos=1, retain=False)
    assert [Connect(client_id="visitor-1", keepalive=0, will=disguised)] == guest.room.heard
    assert [Connect(client_id="visitor-2", keepalive=0)] == other.room.heard
    assert len(world.door) == 2


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
    guest = Guest(world)

    answers = guest.says(evolve(world.connect(world.ada), **wrong), Pingreq())

    assert [Connack(code=ConnectCode.CREDENTIALS)] == answers
    assert guest.visitor.finished
    assert [] == world.rooms


def test_a_removed_client_stays_outside():
    """Its password is the right one still, and opens nothing."""
    world = World()
    connect = world.connect(world.ada)
    world.registry.remove("ada")
    guest = Guest(world)

    assert [Connack(code=ConnectCode.CREDENTIALS)] == guest.says(connect)


@pytest.mark.parametrize("level", ["in", "out", "status"])
def test_a_will_on_anothers_topic_is_refused(level):
    """CONNACK 5: amqtt would publish it for anybody."""
    world = World()
    will = Will(topic=topic(world.bob, level), payload=b"offline")
    guest = Guest(world)

    assert [Connack(code=ConnectCode.NOT_AUTHORIZED)] == guest.says(world.connect(world.ada, will=will))
    assert guest.visitor.finished
    assert [] == world.rooms


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
    guest = Guest(world)

    assert [] == guest.says(first)
    assert guest.visitor.finished


def test_another_version_is_told_so():
    """CONNACK 1, as the standard wants it."""
    world = World()
    guest = Guest(world)

    assert [Connack(code=ConnectCode.VERSION)] == guest.says(b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00")


def test_who_says_nothing_is_shown_out():
    """After 10 s, to the second."""
    world = World()
    guest = Guest(world)
    due = guest.visitor.next_timeout
    assert due == world.now + 10

    guest.visitor.handle_timeout(due - 0.001)
    assert not guest.visitor.finished
    guest.visitor.handle_timeout(due)

    assert guest.visitor.finished
    assert guest.visitor.next_timeout is None


def test_a_flood_of_silent_connections_leaves_room_for_clients():
    """As many wait as the settings say; a newcomer has to go, until the oldest has had its time."""
    world = World(unproven=3, unproven_grace=5.0)
    silent = [Guest(world) for _ in range(3)]

    early = Guest(world)
    assert early.visitor.finished
    world.now += 5
    late = Guest(world)

    assert [True, False, False] == [one.visitor.finished for one in silent]
    assert [] == late.says(world.connect(world.ada))
    assert not late.visitor.finished
    assert not Guest(world).visitor.finished  # a client that is in takes no place of those who wait


# --- whose place it is -----------------------------------------------------------------------------------------------


def test_a_second_connection_of_the_same_client_id_takes_over():
    """The first one ends before the broker hears of the second, so that its will comes first [MQTT-3.1.4-2]."""
    world = World()
    first = world.inside(world.ada, "app")
    room = first.room

    second = world.inside(world.ada, "app")

    assert room.left
    assert first.visitor.finished
    assert first.wire.wakes
    assert second.room.before is room
    assert len(world.door) == 1


def test_nobody_takes_the_place_of_another_identity():
    """A client id belongs to who uses it: the same one of somebody else is another."""
    world = World()
    ada = world.inside(world.ada, "app")

    bob = world.inside(world.bob, "app")

    assert not ada.room.left
    assert bob.room.before is None
    assert len(world.door) == 2


def test_clients_without_an_id_do_not_meet():
    """Each has one of its own."""
    world = World()
    first, second = world.inside(world.ada, ""), world.inside(world.ada, "")

    assert not first.visitor.finished
    assert not second.visitor.finished


def test_an_end_that_comes_late_does_not_end_the_successor():
    """The first connection may be gone after the second has begun, and its place is not its own any more."""
    world = World()
    first = world.inside(world.ada)
    second = world.inside(world.ada)

    first.visitor.eof(world.now)
    third = world.inside(world.ada)

    assert second.visitor.finished
    assert not third.visitor.finished


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

    assert [evolve(one, retain=False) if isinstance(one, Publish) else one for one in sent] == room.heard[1:]
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

    assert ([Puback(5)] if qos else []) == answers
    assert [] == guest.passed
    assert not guest.visitor.finished


@pytest.mark.parametrize("name", ["#", "hivemind/#", "hivemind/+/out", "+/+/+", "$SYS/#", "bob", "own in", "wild own"])
def test_nobody_listens_to_others(name):
    """Neither by name nor by wildcard; the broker is not asked, and the answer is 0x80."""
    world = World()
    guest = world.inside(world.ada)
    own = world.ada.access_key.reveal()
    special = {"bob": topic(world.bob, "out"), "own in": topic(world.ada, "in"), "wild own": f"hivemind/{own}/+"}

    answers = guest.says(Subscribe(packet_id=3, filters=((special.get(name, name), 1),)))

    assert [Suback(packet_id=3, codes=(SUBSCRIPTION_REFUSED,))] == answers
    assert [] == guest.passed


def test_of_several_filters_the_own_ones_are_granted():
    """In the order of the request, at QoS 1 at most; the broker sees the allowed ones only."""
    world = World()
    guest = world.inside(world.ada)
    out, status, other = topic(world.ada, "out"), topic(world.ada, "status"), topic(world.bob, "out")

    guest.says(Subscribe(packet_id=9, filters=((other, 1), (out, 2), ("#", 0), (status, 0))))
    answers = guest.told(Suback(packet_id=9, codes=(1, 0)))

    assert [Subscribe(packet_id=9, filters=((out, 1), (status, 0)))] == guest.passed
    assert [Suback(packet_id=9, codes=(SUBSCRIPTION_REFUSED, 1, SUBSCRIPTION_REFUSED, 0))] == answers


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

    assert [] == before
    assert [Publish(topic=out, payload=b"x", qos=1, packet_id=2), Suback(packet_id=1, codes=(1,))] == told
    assert [Unsuback(2)] == after
    assert Puback(1) in guest.passed


def test_only_what_was_given_is_acknowledged_to_the_broker():
    """An acknowledgement of nothing would cost the broker a task and a line in its log."""
    world = World()
    guest = world.inside(world.ada)
    out = topic(world.ada, "out")
    guest.says(Subscribe(packet_id=1, filters=((out, 1),)))
    guest.told(Suback(packet_id=1, codes=(1,)), Publish(topic=out, payload=b"x", qos=1, packet_id=7))

    guest.says(Puback(7), Puback(7), Puback(8))

    assert [Puback(7)] == guest.passed[1:]


def test_qos_2_comes_once():
    """The broker takes it as QoS 1, once; the rest of its flow is the door's [MQTT-4.3.3-2]."""
    world = World()
    guest = world.inside(world.ada)
    message = Publish(topic=topic(world.ada, "in"), payload=b"x", qos=2, packet_id=7)

    assert [] == guest.says(message, evolve(message, dup=True))
    assert [evolve(message, qos=1)] == guest.passed
    assert [Pubrec(7)] == guest.told(Puback(7))
    assert [Pubrec(7), Pubcomp(7), Pubcomp(7)] == guest.says(evolve(message, dup=True), Pubrel(7), Pubrel(7))
    assert [evolve(message, qos=1)] == guest.passed
    guest.says(evolve(message, payload=b"the id is free again"))
    assert len(guest.passed) == 2


def test_qos_2_of_anothers_is_received_too():
    """As if it had been published: nobody learns what there is."""
    world = World()
    guest = world.inside(world.ada)

    answers = guest.says(Publish(topic=topic(world.bob, "in"), payload=b"x", qos=2, packet_id=7), Pubrel(7))

    assert [Pubrec(7), Pubcomp(7)] == answers
    assert [] == guest.passed


# --- what is kept ----------------------------------------------------------------------------------------------------


def listening(world: World, *names: str, qos: int = 1) -> list[Packet]:
    """What a newcomer of ada's is told when it subscribes to these topics, SUBACK first."""
    guest = world.inside(world.ada, "")
    guest.says(Subscribe(packet_id=1, filters=tuple((name, qos) for name in names)))
    return guest.told(Suback(packet_id=1, codes=(qos,) * len(names)))


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("wanted", [0, 1])
def test_presence_is_kept_for_who_comes_later(wanted, qos):
    """The last word on each topic, retained, at the lower QoS of the two [MQTT-3.8.4-6]; and until it is taken back."""
    world = World()
    status, out = topic(world.ada, "status"), topic(world.ada, "out")
    speaker = world.inside(world.ada)
    for packet_id, word in enumerate((b"online", b"busy"), start=1):
        speaker.says(Publish(topic=status, payload=word, qos=qos, retain=True, packet_id=packet_id if qos else None))
    speaker.says(Publish(topic=status, payload=b"passing by"))

    suback, kept = listening(world, out, status, qos=wanted)
    speaker.says(Publish(topic=status, payload=b"", retain=True))

    assert Suback(packet_id=1, codes=(wanted, wanted)) == suback
    assert isinstance(kept, Publish)
    assert (status, b"busy", min(qos, wanted), True) == (kept.topic, kept.payload, kept.qos, kept.retain)
    assert [Suback(packet_id=1, codes=(1,))] == listening(world, status)


def test_what_is_kept_is_acknowledged_to_the_door():
    """Its packet ids are none of the broker's, and each is free again with its PUBACK."""
    world = World()
    guest = world.inside(world.ada)
    status = topic(world.ada, "status")
    guest.says(Publish(topic=status, payload=b"online", qos=1, packet_id=1, retain=True))

    guest.says(Subscribe(packet_id=3, filters=((status, 1), (status, 1))))
    _, first, second = guest.told(Suback(packet_id=3, codes=(1, 1)))
    guest.says(Puback(65_535), Subscribe(packet_id=4, filters=((status, 1),)))
    _, third = guest.told(Suback(packet_id=4, codes=(1,)))

    assert [65_535, 65_534, 65_535] == [one.packet_id for one in (first, second, third) if isinstance(one, Publish)]
    assert not any(isinstance(packet, Puback) for packet in guest.passed)


def test_a_will_is_kept_unless_it_is_void():
    """Of who goes without goodbye, if it is to be retained."""
    world = World()
    status = topic(world.ada, "status")
    will = Will(topic=status, payload=b"offline", retain=True)
    for goodbye, ends, kept in ((True, will, 0), (False, evolve(will, retain=False), 0), (False, will, 1)):
        guest = world.inside(world.ada, will=ends)
        if goodbye:
            guest.says(Disconnect())
        guest.visitor.eof(world.now)

        assert kept == len(listening(world, status)) - 1


def test_what_nobody_could_want_is_not_kept():
    """What only the hub hears, what is more than a word, and what was refused at the door or by the broker."""
    world = World()
    guest = world.inside(world.ada)
    inbox, status = topic(world.ada, "in"), topic(world.ada, "status")
    guest.says(
        Publish(topic=inbox, payload=b"x", retain=True),
        Publish(topic=topic(world.bob, "status"), payload=b"offline", retain=True),
        Publish(topic=status, payload=b"x" * (RETAINED + 1), retain=True),
    )
    hub = world.hub()
    assert [] == hub.answers()
    assert 1 == len(listening(world, status))

    guest.says(Publish(topic=status, payload=b"x" * RETAINED, retain=True))
    assert 2 == len(listening(world, status))
    guest.says(Subscribe(packet_id=1, filters=((status, 1),)))
    assert [Suback(packet_id=1, codes=(SUBSCRIPTION_REFUSED,))] == guest.told(
        Suback(packet_id=1, codes=(SUBSCRIPTION_REFUSED,))
    )


def test_what_the_hub_says_of_a_client_is_kept():
    """It says `offline` for those that it throws out."""
    world = World()
    status = topic(world.ada, "status")
    world.hub().says(Publish(topic=status, payload=b"offline", qos=1, retain=True, packet_id=1))

    _, kept = listening(world, status)

    assert isinstance(kept, Publish)
    assert (b"offline", True) == (kept.payload, kept.retain)


def test_pings_are_answered_at_the_door():
    """The broker need not know."""
    world = World()
    guest = world.inside(world.ada)

    assert [Pingresp(), Pingresp()] == guest.says(Pingreq(), Pingreq())
    assert [] == guest.passed


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

    assert [2, 0, 1] == held
    assert [3, 0, 1] == resumed  # at the bound again
    assert [4, 1, 1] == [len(one.passed) for one in (ada, also_ada, bob)]
    assert [True, False, True, False] == ada.wire.holds[:4]
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

    assert [Pingresp()] == guest.answers()


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

    assert UNANSWERED == held
    assert UNANSWERED + 1 == len(guest.passed)


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


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_the_broker_may_end_it():
    """Then the socket ends too, and the room is not told what it said itself."""
    world = World()
    guest = world.inside(world.ada)
    room = guest.room

    guest.visitor.ended()
    guest.visitor.ended()

    assert guest.visitor.finished
    assert not room.left
    assert guest.wire.wakes
    assert [] == guest.told(Publish(topic="a", payload=b"x"))


def test_nothing_is_said_to_the_room_of_who_has_left():
    """Its last bytes may still come in."""
    world = World()
    guest = world.inside(world.ada)
    room = guest.room
    guest.visitor.close()
    heard = room.data

    guest.says(Publish(topic=topic(world.ada, "in"), payload=b"x"))

    assert heard == room.data
    assert room.left


# --- accounts --------------------------------------------------------------------------------------------------------


def test_credentials_stay_the_same_and_are_each_clients_own():
    """They follow from the access key and the hub's key, so they survive a restart, and another hub has others."""
    world = World()
    again = Accounts(world.registry, Secret(b"k" * 32))
    elsewhere = Accounts(world.registry, Secret(b"l" * 32))

    _, password = world.accounts.credentials(world.ada)

    assert password == again.credentials(world.ada)[1]
    assert password != elsewhere.credentials(world.ada)[1]
    assert password != world.accounts.credentials(world.bob)[1]
    assert password != world.accounts.hub_credentials()[1]
    assert len(password.reveal()) == 43


def test_accounts_show_no_key():
    """Topics hold the access key."""
    world = World()
    account = world.accounts.authenticate(world.connect(world.ada))

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
