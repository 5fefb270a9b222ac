"""The client's link over a broker in memory: the hub is found on any layout, woken, heard, lost and left."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto import vectors
from tests.proto.mqtt.broker import Broker, Connection
from tests.proto.mqtt.test_framing import cuts, pieces
from thalovant_proto.errors import CredentialsRefused, LocalProtocolError
from thalovant_proto.links.base import (
    Accepted,
    CloseKind,
    Frame,
    FrameReceived,
    FrameType,
    Link,
    LinkClosed,
    LinkEvent,
    LinkOpened,
    Target,
)
from thalovant_proto.links.mqtt.broker import parse_broker
from thalovant_proto.links.mqtt.client_link import WAKE_UP, MqttClientLink
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Connect, ConnectCode, Disconnect, Puback, Publish, Subscribe, Unsuback
from thalovant_proto.links.mqtt.topics import Topics
from thalovant_proto.secret import Secret

HELLO = b'{"msg_type": "hello", "payload": {"node_id": "n"}}'
OFFER = b'{"msg_type": "shake", "payload": {}}'
SEALED = b"\x01sealed"
PREFIX = "p/key0"
DIGEST = hashlib.sha256(b"key0").hexdigest()[:16]


def frame(data: bytes, kind: FrameType = FrameType.BINARY) -> Frame:
    """A frame of the hub protocol."""
    return Frame(data, kind)


class World:
    """A broker, at most one client link at a time, and a hub that is played by the test through the broker.

    With `hub` given, the hub answers the first message on `<hub>/in` or `c2s` topic with hello and offer, and behaves
    as real hubs do: `offline` from the client ends its session, and is followed by the hub's own, which it takes for
    the client's once more.
    """

    def __init__(self, *, hub: Topics | None = None, cut: int | None = None, **options: Any) -> None:
        self.broker = Broker()
        self.now = 100.0
        self.cut = cut
        self.hub = hub
        self.hub_session = False
        self.hub_reads = 0  # how much of the broker's log the hub has seen
        self.options = options
        self.events: list[LinkEvent] = []

    def dial(self, **options: Any) -> World:
        """A new link and its socket."""
        merged: dict[str, Any] = {
            "access_key": Secret("key0"),
            "client_id": "c",
            "topic_prefix": PREFIX,
            "secure": True,
            **self.options,
            **options,
        }
        self.link = MqttClientLink("mqtt://broker", **merged)
        self.connection = Connection(self.broker)
        self.events = []
        self._take(self.link.socket_opened(self.now))
        return self.run()

    def run(self) -> World:
        """Move bytes until nothing moves; the hub is slower than the broker."""
        while True:
            if data := self.link.data_to_send():
                self.connection.receive(data)
            elif self.connection.out:
                self.feed()
            elif not self._hub_turn():
                break
        assert not self.connection.faults
        return self

    def feed(self) -> None:
        """What the broker has for the link, cut as the test wants it."""
        data, self.connection.out = self.connection.out, b""
        step = self.cut or len(data)
        for at in range(0, len(data), step):
            self._take(self.link.receive_data(data[at : at + step], self.now))

    def pass_time(self, seconds: float) -> World:
        """Let time pass from deadline to deadline, bytes moving at each."""
        end = self.now + seconds
        while (due := self.link.next_timeout) is not None and due <= end:
            self.now = max(self.now, due)
            self._take(self.link.handle_timeout(self.now))
            later = self.link.next_timeout
            assert later is None or later > self.now
            self.run()
        self.now = end
        return self

    def answer(self, layout: Topics, *payloads: bytes) -> World:
        """The hub says something."""
        for payload in payloads or (HELLO, OFFER):
            self.broker.publish(layout.down, payload)
        return self.run()

    def send(self, data: bytes = SEALED, **options: Any) -> World:
        """The connection sends a frame."""
        self.link.send(frame(data), self.now, **options)
        return self.run()

    def frames(self) -> list[bytes]:
        """The frames that were delivered."""
        return [event.frame.data for event in self.events if isinstance(event, FrameReceived)]

    def opened(self) -> list[LinkOpened]:
        """How the link opened."""
        return [event for event in self.events if isinstance(event, LinkOpened)]

    @property
    def end(self) -> LinkClosed:
        """How the link ended."""
        assert isinstance(self.events[-1], LinkClosed)
        assert 1 == sum(isinstance(event, LinkClosed) for event in self.events)
        return self.events[-1]

    def _take(self, events: list[LinkEvent]) -> None:
        self.events += events

    def _hub_turn(self) -> bool:
        if self.hub is None or self.hub_reads == len(self.broker.log):
            return False
        topic, payload, _, _ = self.broker.log[self.hub_reads]
        self.hub_reads += 1
        if topic == self.hub.up and not self.hub_session:
            self.hub_session = True
            self.broker.publish(self.hub.down, HELLO)
            self.broker.publish(self.hub.down, OFFER)
        elif topic == self.hub.status and payload == b"offline" and self.hub_session:
            self.hub_session = False
            self.broker.publish(topic, b"offline", retain=True)
        return True


def in_out(client: str = PREFIX) -> Topics:
    """The current layout."""
    return Topics(up=f"{client}/in", down=f"{client}/out", status=f"{client}/status")


def legacy(base: str = "p", client: str = "key0") -> Topics:
    """The older one."""
    return Topics(up=f"{base}/c2s/{client}", down=f"{base}/s2c/{client}", status=f"{base}/status/{client}")


# --- finding the hub --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [None, 1, 3])
def test_the_hub_is_woken_and_heard(cut: int | None) -> None:
    """Subscribed before the first publish; open with the hub's hello, which is the first frame."""
    world = World(hub=in_out(), cut=cut).dial()

    (opened,) = world.opened()
    assert world.events[0] is opened
    assert [HELLO, OFFER] == world.frames()
    assert "prefix" == world.link.layout
    carrier = opened.carrier
    assert (True, True, False, True, True, True) == (
        carrier.text_up,
        carrier.binary_up,
        carrier.typed,
        carrier.rehello,
        carrier.secure,
        carrier.receipts,
    )
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

    assert [HELLO, OFFER] == world.frames()
    assert layout == world.link.layout
    assert text_up is world.opened()[0].carrier.text_up
    world.send()
    assert SEALED == world.broker.said(hub.up)[-1]


def test_other_layouts_are_not_heard_once_one_has_answered() -> None:
    """The first wins: what comes on another is another hub's, or nobody's."""
    world = World().dial().answer(in_out(), HELLO)

    world.answer(legacy(), HELLO).answer(in_out(), OFFER)

    assert [HELLO, OFFER] == world.frames()
    world.broker.publish("p/status/key0", b"offline")
    world.run()
    assert world.link.wants_socket


def test_a_remembered_layout_is_tried_alone_first() -> None:
    """It alone is subscribed to and woken, and has the will; the hub that answers there hears nothing elsewhere."""
    world = World(hub=legacy(), remembered_layout="c2s").dial()

    assert "c2s" == world.link.layout
    assert [] == world.broker.said("p/key0/in")
    assert world.connection.connect is not None
    assert world.connection.connect.will is not None
    assert "p/status/key0" == world.connection.connect.will.topic


def test_a_remembered_layout_that_is_silent_is_not_the_last_word() -> None:
    """A hub that was upgraded is found all the same, a little later."""
    world = World(hub=in_out(), remembered_layout="c2s", limits=MqttLimits(alone_time=2)).dial()
    assert not world.opened()

    world.pass_time(2.1)

    assert "prefix" == world.link.layout
    assert [HELLO, OFFER] == world.frames()


def test_a_remembered_layout_that_is_refused_is_not_waited_for() -> None:
    """A SUBACK of 0x80 for it brings the others at once."""
    world = World(hub=in_out(), remembered_layout="c2s")
    world.broker.may_read = lambda connection, name: name.startswith(PREFIX)

    world.dial()

    assert "prefix" == world.link.layout


def test_others_that_are_refused_leave_the_remembered_one() -> None:
    """While one layout is granted there is hope."""
    world = World(remembered_layout="c2s", limits=MqttLimits(alone_time=2))
    world.broker.may_read = lambda connection, name: name.startswith("p/s")
    world.dial().pass_time(2.5)

    assert [HELLO, OFFER] == world.answer(legacy()).frames()


def test_layouts_that_are_granted_while_echoes_come_are_called_after_them() -> None:
    """An `offline` silences every layout until it is over."""
    world = World(hub=in_out(), remembered_layout="c2s", limits=MqttLimits(alone_time=0.1, settle_time=0.3)).dial()
    world.broker.publish("p/status/key0", b"offline")
    world.run().pass_time(0.2)
    assert [] == world.broker.said("p/key0/in")

    world.pass_time(0.2)

    assert [HELLO, OFFER] == world.frames()


def test_an_answer_while_the_others_are_being_tried_wins() -> None:
    """The SUBACK of the others comes too late to matter."""
    world = World(remembered_layout="c2s", limits=MqttLimits(alone_time=2)).dial()
    world.now += 2
    world._take(world.link.handle_timeout(world.now))
    world.broker.publish("p/s2c/key0", HELLO)

    world.run()

    assert "c2s" == world.link.layout
    assert [] == world.broker.said("p/key0/in")


def test_an_unknown_remembered_layout_is_ignored() -> None:
    """A name from another version is no reason to fail."""
    assert "prefix" == World(hub=in_out(), remembered_layout="?").dial().link.layout


def test_a_refused_layout_is_not_written_to() -> None:
    """0x80 for one layout is no error while another is granted, and nothing is published where we may not listen."""
    world = World(hub=legacy())
    world.broker.may_read = lambda connection, name: "/key0/" not in name

    world.dial()

    assert "c2s" == world.link.layout
    assert [] == world.broker.said("p/key0/in")


def test_all_layouts_refused_is_a_refusal() -> None:
    """SUBACK 0x80 for every one: the end, typed, with its code, and with a clean goodbye."""
    world = World()
    world.broker.may_read = lambda connection, name: False

    world.dial()

    assert (CloseKind.REFUSED, 0x80) == (world.end.kind, world.end.code)
    assert isinstance(world.end.error, CredentialsRefused)
    assert "mqtt_topics_refused" == world.end.error.code
    assert isinstance(world.connection.heard[-1], Disconnect)


def test_presence_may_be_refused() -> None:
    """A broker that lets us have the way down only is good enough."""
    world = World(hub=in_out())
    world.broker.may_read = lambda connection, name: "status" not in name

    assert [HELLO, OFFER] == world.dial().frames()


def test_without_a_status_topic_there_is_no_presence() -> None:
    """Explicit topics may have none: no will, no announcement, no goodbye but DISCONNECT."""
    world = World(hub=Topics(up="u", down="d"), topics=Topics(up="u", down="d")).dial()
    assert [HELLO, OFFER] == world.frames()
    assert world.connection.connect is not None
    assert world.connection.connect.will is None

    world.link.announce(world.now)
    world.run().link.close(world.now)
    world.run()

    assert {"u", "d"} == {topic for topic, _, _, _ in world.broker.log}


def test_a_silent_hub_is_called_again_and_again() -> None:
    """A hub that comes up later, or an unknown access key: the calls go on, and the deadline is the owner's."""
    world = World(limits=MqttLimits(wake_time=1)).dial()
    assert 1 == len(world.broker.said("p/key0/in"))

    world.pass_time(2.5)
    assert 3 == len(world.broker.said("p/key0/in"))
    world.hub = in_out()
    world.hub_reads = len(world.broker.log)
    world.pass_time(2)

    assert [HELLO, OFFER] == world.frames()


def test_half_a_handshake_that_a_hub_still_holds_is_reset() -> None:
    """A hub with a session for our key that never got anywhere answers no wake-up: we say `offline`, and call anew."""
    world = World(hub=in_out())
    world.hub_session = True

    world.dial().pass_time(5)

    assert [HELLO, OFFER] == world.frames()
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
    assert [HELLO, OFFER] == world.frames()
    assert world.hub_session


@pytest.mark.parametrize("message", [b"online", b"offline"])
def test_retained_presence_is_history(message: bytes) -> None:
    """What was true before we came is not about us."""
    world = World(hub=in_out())
    world.broker.publish("p/key0/status", message, retain=True)

    assert [HELLO, OFFER] == world.dial().frames()


def test_retained_frames_are_not_heard() -> None:
    """Nobody should retain on the way down; whoever did is not the hub of now."""
    world = World()
    world.broker.publish("p/key0/out", HELLO, retain=True)
    assert not world.dial().opened()

    world.answer(in_out())
    world.connection.deliver("p/key0/out", b"old", 0, retain=True)
    world.run()

    assert [HELLO, OFFER] == world.frames()


@pytest.mark.parametrize("leftover", [SEALED, b"", b'{"ciphertext": "00"}', b"{", b' "hello"', OFFER])
def test_only_a_hello_opens(leftover: bytes) -> None:
    """What the hub still says to the session before is no answer."""
    world = World().dial().answer(in_out(), leftover)
    assert not world.opened()

    assert [HELLO, OFFER] == world.answer(in_out()).frames()


def test_the_broker_may_grant_less() -> None:
    """QoS 0 where 1 was asked is fine [MQTT-3.8.4-6]; receipts are about the way up."""
    world = World(hub=in_out(), qos=0).dial().send(token=1)

    assert not world.opened()[0].carrier.receipts
    assert (in_out().up, SEALED, 0, False) == world.broker.log[-1]
    assert not any(isinstance(event, Accepted) for event in world.events)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_frames_have_receipts() -> None:
    """`Accepted` names the token once the broker has the frame."""
    world = World(hub=in_out()).dial().send(token=7)

    assert Accepted(token=7) == world.events[-1]
    assert (in_out().up, SEALED, 1, False) == world.broker.log[-1]


def test_frames_of_both_kinds_arrive_as_they_are() -> None:
    """MQTT does not tell text from binary: that is the connection's to find out."""
    world = World(hub=in_out()).dial().answer(in_out(), SEALED, b"{}", b"")

    assert [SEALED, b"{}", b""] == world.frames()[2:]


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


def test_sizes_grow_when_the_hub_has_answered() -> None:
    """Before the hello a frame may have 100 bytes; right behind it, in the same bytes, more."""
    limits = MqttLimits(handshake_frame=100, frame=1 << 20)
    world = World(limits=limits).dial().answer(in_out(), HELLO, bytes(200_000))
    assert 200_000 == len(world.frames()[1])

    world = World(limits=limits).dial().answer(in_out(), bytes(200_000))
    assert world.end.error is not None
    assert (CloseKind.LOST, "mqtt_packet_too_large") == (world.end.kind, world.end.error.code)


# --- presence ---------------------------------------------------------------------------------------------------------


def test_online_is_announced_once_and_our_own_echo_ignored() -> None:
    """Retained, QoS 1, when the stack says so; what comes back of it is ours."""
    world = World(hub=in_out()).dial().send()
    world.link.announce(world.now)
    world.link.announce(world.now)
    world.run()

    assert [("p/key0/status", b"online", 1, True)] == [entry for entry in world.broker.log if b"online" == entry[1]]
    assert world.link.wants_socket
    world.send()


def test_another_program_online_is_displacement() -> None:
    """A live `online` that is not ours: two programs with one access key. The other one's session is left alone."""
    world = World(hub=in_out()).dial().send()
    world.link.announce(world.now)
    world.run()
    world.broker.publish("p/key0/status", b"online", retain=True)
    world.run()

    assert CloseKind.DISPLACED is world.end.kind
    assert isinstance(world.connection.heard[-1], Disconnect)
    assert b"offline" not in world.broker.said("p/key0/status")


def test_a_live_offline_is_the_hubs_refusal() -> None:
    """After a frame of ours it is the only sign there is (wire.md §0.1); the will does not follow it."""
    world = World().dial().answer(in_out()).send()

    world.broker.publish("p/key0/status", b"offline", retain=True)
    world.run()

    assert (CloseKind.REFUSED, None) == (world.end.kind, world.end.error)
    assert "offline" in world.end.reason
    assert isinstance(world.connection.heard[-1], Disconnect)
    assert 1 == len(world.broker.said("p/key0/status"))
    assert not world.link.wants_socket


def test_an_offline_before_our_first_frame_refuses_nothing() -> None:
    """The hub could not have judged us yet: it forgot us, for whatever reason."""
    world = World(hub=in_out()).dial()
    world.broker.publish("p/key0/status", b"offline")
    world.run()

    assert CloseKind.FORGOTTEN is world.end.kind


def test_other_words_on_the_status_topic_mean_nothing() -> None:
    """There are two."""
    world = World(hub=in_out()).dial().send()
    world.broker.publish("p/key0/status", b"busy")
    world.run()

    assert world.link.wants_socket


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (ConnectCode.VERSION, CloseKind.REFUSED, "mqtt_version_refused"),
        (ConnectCode.IDENTIFIER, CloseKind.REFUSED, "mqtt_client_id_refused"),
        (ConnectCode.UNAVAILABLE, CloseKind.LOST, None),
        (ConnectCode.CREDENTIALS, CloseKind.REFUSED, "mqtt_credentials_refused"),
        (ConnectCode.NOT_AUTHORIZED, CloseKind.REFUSED, "mqtt_not_authorized"),
    ],
)
def test_connack_says_how_it_ends(code: ConnectCode, kind: CloseKind, word: str | None) -> None:
    """Refusals 1, 2, 4, 5 are final words, 3 is not; each with its code."""
    world = World()
    world.broker.authenticate = lambda connect: code

    end = world.dial().end

    assert (kind, code) == (end.kind, end.code)
    assert word == (end.error.code if end.error is not None else None)
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
    assert ("c", True, 30, "user") == (connect.client_id, connect.clean_session, connect.keepalive, connect.username)
    assert Secret("pässword".encode()) == connect.password
    assert connect.will is not None
    will = connect.will
    assert ("p/key0/status", b"offline", 1, True) == (will.topic, will.payload, will.qos, will.retain)


def test_close_says_offline_then_disconnect() -> None:
    """The hub learns it at once, and the will is void."""
    world = World(hub=in_out()).dial().send(token=1)
    world.send(token=2)

    assert [LinkClosed(kind=CloseKind.CLOSED)] == world.link.close(world.now)
    assert world.link.wants_socket  # until the goodbye is drained
    world.connection.receive(world.link.data_to_send())

    assert not world.link.wants_socket
    offline, goodbye = world.connection.heard[-2:]
    assert isinstance(offline, Publish)
    assert ("p/key0/status", b"offline", True) == (offline.topic, offline.payload, offline.retain)
    assert isinstance(goodbye, Disconnect)
    assert world.link.close(world.now) == []
    assert world.link.next_timeout is None


def test_close_before_the_hub_answered_frees_what_it_may_hold() -> None:
    """`offline` goes to every layout on which the hub was called."""
    world = World().dial()
    world.link.close(world.now)
    world.run()

    assert [b"offline"] == world.broker.said("p/key0/status") == world.broker.said("p/status/key0")


@pytest.mark.parametrize("dialed", [False, True])
def test_close_before_connack_says_no_more_than_it_must(dialed: bool) -> None:
    """Nothing before the socket is up; DISCONNECT after CONNECT."""
    link = MqttClientLink("mqtt://b", access_key=Secret("k"), client_id="c", topic_prefix="p", secure=True)
    if dialed:
        link.socket_opened(1.0)
    (end,) = link.close(1.0)

    assert LinkClosed(kind=CloseKind.CLOSED) == end
    assert link.data_to_send().endswith(b"\xe0\0" if dialed else b"")


def test_close_waits_for_room_but_not_for_ever() -> None:
    """What the window holds back is sent first; the link closes when the broker has taken enough of it."""
    world = World(hub=in_out(), limits=MqttLimits(window=2, close_time=2)).dial()
    world.broker.acknowledges = False
    for token in range(4):
        world.send(token=token)
    assert world.link.close(world.now) == []
    assert world.link.close(world.now) == []
    world.answer(in_out(), b"unheard")
    assert [HELLO, OFFER] == world.frames()

    for acknowledged in range(3):
        assert not isinstance(world.events[-1], LinkClosed)
        sealed = [one for one in world.connection.heard if isinstance(one, Publish) and one.payload == SEALED]
        world.connection.write(Puback(sealed[acknowledged].packet_id or 0))
        world.run()

    assert (CloseKind.CLOSED, ()) == (world.end.kind, world.end.unsent)
    assert 4 == world.broker.said("p/key0/in").count(SEALED)
    assert isinstance(world.connection.heard[-1], Disconnect)


def test_a_broker_without_room_gets_the_will_instead() -> None:
    """Time is up: what never left is reported, and without DISCONNECT the broker says `offline` for us."""
    world = World(hub=in_out(), limits=MqttLimits(window=2, close_time=2)).dial()
    world.broker.acknowledges = False
    for token in range(4):
        world.send(token=token)
    world.link.close(world.now)

    world.pass_time(2)
    world.connection.drop()

    assert (CloseKind.CLOSED, (2, 3)) == (world.end.kind, world.end.unsent)
    assert [b"offline"] == world.broker.said("p/key0/status")


def test_a_socket_that_ends_while_closing_was_closed_by_us() -> None:
    """Kind and tokens: nothing is lost silently."""
    world = World(hub=in_out(), limits=MqttLimits(window=1)).dial()
    world.broker.acknowledges = False
    for token in range(2):
        world.send(token=token)
    world.link.close(world.now)

    (end,) = world.link.eof(world.now)

    assert isinstance(end, LinkClosed)
    assert (CloseKind.CLOSED, (1,)) == (end.kind, end.unsent)
    assert world.link.eof(world.now) == []


def test_a_lost_socket_says_what_never_left() -> None:
    """Undrained frames are `unsent`; drained ones may have arrived."""
    world = World(hub=in_out()).dial().send(token=1)
    world.link.send(frame(SEALED), world.now, token=2)

    (end,) = world.link.eof(world.now)

    assert isinstance(end, LinkClosed)
    assert (CloseKind.LOST, (2,), None) == (end.kind, end.unsent, end.error)
    assert not world.link.wants_socket


def test_the_end_of_a_socket_says_where_it_ended() -> None:
    """Before CONNACK it may be the wrong port, after our first publish the broker's access list."""
    link = MqttClientLink("mqtt://b", access_key=Secret("k"), client_id="c", topic_prefix="p", secure=True)
    link.socket_opened(1.0)
    (end,) = link.eof(1.0)
    assert isinstance(end, LinkClosed)
    assert "port" in end.reason

    (end,) = World().dial().link.eof(1.0)
    assert isinstance(end, LinkClosed)
    assert "may this client use them" in end.reason


def test_a_broker_that_breaks_mqtt_is_named() -> None:
    """A violation ends the link with its error, as lost: another try may meet a better broker."""
    world = World(hub=in_out()).dial()
    world.connection.write(Unsuback(1))
    world.run()

    assert world.end.error is not None
    assert (CloseKind.LOST, "mqtt_protocol_error") == (world.end.kind, world.end.error.code)


def test_a_frozen_broker_is_noticed() -> None:
    """R3: no PINGRESP, no link."""
    world = World(hub=in_out(), limits=MqttLimits(keepalive=20, pingresp_time=5)).dial()
    world.pass_time(100)
    assert world.link.wants_socket
    world.broker.answers_pings = False

    world.pass_time(20 * 0.75 + 5)

    assert CloseKind.LOST is world.end.kind
    assert "PINGRESP" in world.end.reason
    assert world.link.next_timeout is None


def test_calling_early_changes_nothing() -> None:
    """`handle_timeout` before its time is harmless; `pace` is for other links."""
    world = World().dial()
    before = world.link.next_timeout
    world.link.pace(True, world.now)

    assert world.link.handle_timeout(world.now) == []
    assert before == world.link.next_timeout
    assert [] == world.broker.said("p/key0/status")


@given(st.binary(max_size=120), cuts, st.booleans())
def test_garbage_is_the_brokers_fault(data: bytes, cuts: list[int], opened: bool) -> None:
    """Whatever arrives, nothing is raised, and `LinkClosed` is the last event, once."""
    world = World(hub=in_out() if opened else None).dial()
    events: list[LinkEvent] = []

    for piece in pieces(data, cuts):
        events += world.link.receive_data(piece, world.now)

    assert all(not isinstance(event, LinkClosed) for event in events[:-1])


SAID = st.lists(
    st.tuples(
        st.sampled_from(["p/key0/out", "p/s2c/key0", "p/key0/status", "p/status/key0"]),
        st.sampled_from([HELLO, OFFER, SEALED, b"online", b"offline", b""]),
        st.booleans(),
    ),
    max_size=8,
)


@given(SAID, cuts)
def test_any_cut_gives_the_same_events_and_output(said: list[tuple[str, bytes, bool]], cuts: list[int]) -> None:
    """Whole, in pieces or byte by byte: same events, same bytes out."""
    world = World().dial()
    for topic, payload, retain in said:
        world.connection.deliver(topic, payload, 1, retain=retain)
    data = world.connection.out

    def run(parts: list[bytes]) -> tuple[list[LinkEvent], bytes]:
        fresh = World().dial()
        for part in parts:
            fresh._take(fresh.link.receive_data(part, fresh.now))
        return fresh.events, fresh.link.data_to_send()

    assert run([data]) == run(pieces(data, cuts)) == run([bytes((byte,)) for byte in data])


# --- where the broker is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "tls", "target"),
    [
        ("mqtt://Broker.Example", False, Target(host="broker.example", port=1883, tls=False)),
        ("mqtts://broker", False, Target(host="broker", port=8883, tls=True)),
        ("tcp://broker:1", False, Target(host="broker", port=1, tls=False)),
        ("ssl://broker/", False, Target(host="broker", port=8883, tls=True)),
        ("mqtt://broker", True, Target(host="broker", port=8883, tls=True)),
        (" MQTT://broker:9 ", True, Target(host="broker", port=9, tls=True)),
        ("broker:65535", False, Target(host="broker", port=65_535, tls=False)),
        ("mqtt://[::1]:5", False, Target(host="::1", port=5, tls=False)),
        ("mqtt://bücher.example", False, Target(host="xn--bcher-kva.example", port=1883, tls=False)),
    ],
)
def test_brokers_are_found(url: str, tls: bool, target: Target) -> None:
    """Schemes and default ports of the published SDKs; `tls` wins over the scheme."""
    assert target == parse_broker(url, tls=tls)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://broker",
        "mqtt://user:planted@broker",
        "mqtt://broker/planted",
        "mqtt://broker?planted",
        "mqtt://broker:0",
        "mqtt://broker:65536",
        "mqtt://",
        "mqtt://pla nted",
        f"mqtt://{'planted' * 10}.example",
    ],
)
def test_bad_urls_are_refused_without_being_shown(url: str) -> None:
    """A URL may hold a password."""
    with pytest.raises(ValueError) as caught:
        parse_broker(url)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"qos": 2},
        {"topic_prefix": "a/#"},
        {"username": "\0"},
        {"username": "u", "password": Secret("\udcff")},
        {"password": Secret("p")},
        {"client_id": "\0"},
    ],
)
def test_a_link_that_cannot_work_is_not_made(options: dict[str, Any]) -> None:
    """`ValueError` at once, not a refusal later."""
    with pytest.raises(ValueError):
        World(**options).dial()


def test_it_is_a_link() -> None:
    """The interface that the stack drives."""
    link: Link = World().dial().link

    assert link.wants_socket


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
            assert (one["topic"], data, one["qos"], one["retain"]) == world.broker.log[-1]
        else:
            world._take(world.link.close(world.now))
            world.run()
            assert (one["topic"], data) == world.broker.log[-1][:2]

    assert 4 == len(heard)
    assert heard == world.frames()
    assert CloseKind.CLOSED is world.end.kind
