"""What the fuzz targets found, each as the shortest input that showed it."""

from __future__ import annotations

import h11
import pytest

from tests.proto.links.https.https_world import entropy
from tests.proto.links.link_pair import pieces
from tests.proto.links.mqtt.client_world import World, in_out
from tests.proto.links.mqtt.session_wire import Wire, closed
from thalovant_proto.links.https.server import HttpsServerHub
from thalovant_proto.links.https.stream import HttpFault, HttpsLimits, HttpStream
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Puback

# --- the hub's end of the HTTPS link

HEAD = b"HEAD /get_messages HTTP/1.1\r\nHost: hub\r\n\r\n"
HEAD_WITH_BODY = b"HEAD / HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "seconds", "statuses"),
    [
        (HEAD + b"no HTTP\r\n\r\n", 0.0, [405, 400]),
        (HEAD_WITH_BODY % 5000, 0.0, [413]),
        (HEAD_WITH_BODY % 10 + b"half", 30.0, [408]),
        (HEAD + b"GET / HTTP/1.1\r\n", 30.0, [405, 408]),
    ],
    ids=["malformed after HEAD", "HEAD with too much", "HEAD that takes too long", "too slow after HEAD"],
)
def test_a_refusal_has_a_body_unless_it_answers_head(data, seconds, statuses):
    """What is refused before it is whole is answered as what it is, not as what came before it."""
    hub = HttpsServerHub(entropy=entropy(), limits=HttpsLimits(request=4000, request_time=20.0), secure=True)
    connection = hub.connection("192.0.2.1", 0.0)
    connection.receive_data(data, 0.0)
    said = connection.data_to_send()
    said += connection.data_to_send()

    connection.handle_timeout(seconds)
    said += connection.data_to_send()

    assert statuses == [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]
    assert connection.finished


@pytest.mark.parametrize("cut", [None, 1, 400])
@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"no HTTP\r\n\r\n" + bytes(6587), [400]),
        (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n" + b"x" * 4096, [404]),
        (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n" + b"x" * (4096 + 16 * 1024 + 1), []),
    ],
    ids=["behind what is refused", "as much as may wait", "more than may wait"],
)
def test_what_comes_before_the_answer_is_judged_however_it_is_cut(data, statuses, cut):
    """A refusal is given whatever follows it; a flood behind a request ends the socket, in one piece as in many."""
    limits = HttpsLimits(request=4096)
    hub = HttpsServerHub(entropy=entropy(), limits=limits, secure=True)
    connection = hub.connection("192.0.2.1", 0.0)

    for piece in pieces(data, cut):
        connection.receive_data(piece, 0.0)

    said = connection.data_to_send()
    assert statuses == [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


# --- MQTT


def test_a_receipt_for_what_has_not_left_is_the_brokers_fault():
    """One message is never both accepted and unsent: a broker cannot have what is still in our buffer."""
    wire = Wire().ready()
    wire.publish(token=1)

    events = wire.hear(Puback(1))

    assert closed(events).unsent == (1,)
    assert len(events) == 1


def test_a_goodbye_that_cannot_leave_wants_no_socket():
    """Who was to write it has lost the socket: another one is of no use."""
    world = World(hub=in_out()).dial()
    world.link.close(world.now)
    assert world.link.wants_socket

    world.link.eof(world.now)

    assert not world.link.wants_socket
    assert world.link.data_to_send() == b""


def test_a_broker_that_acknowledges_nothing_is_not_called_on_and_on():
    """Calls to a hub that does not answer never fill the queue: where there is no room, there is no call."""
    limits = MqttLimits(window=2, queue=100)
    world = World(limits=limits)
    world.broker.acknowledges = False
    world.dial()

    world.pass_time(25.0)

    assert world.events == []
    assert len(world.broker.log) == 2


def test_presence_that_finds_no_room_is_left_out():
    """The proof of a hub makes the link announce itself: that never fails, whatever waits to be sent."""
    limits = MqttLimits(window=2, queue=100)
    world = World(hub=in_out(), limits=limits).dial()
    world.broker.acknowledges = False
    for _ in range(3):
        world.send(bytes(80))

    world.link.announce(world.now)

    assert b"online" not in world.broker.said(str(in_out().status))


@pytest.mark.parametrize("garbage", [b"\x001HTTP/1ntent-Lengt]: 9\r\n\r\n", b"\r\n\r\n", b"HTTP/x\r\n\r\n"])
def test_a_start_line_that_is_none_has_one_name(garbage: bytes) -> None:
    """Behind an answer that is none yet: h11 judges a line that is not whole by other words."""

    def fault(*pieces: bytes) -> str:
        stream = HttpStream(h11.CLIENT, body=100)
        stream.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]), h11.EndOfMessage())
        for piece in pieces:
            stream.receive(piece)
            try:
                assert stream.next_message() is None
            except HttpFault as error:
                return str(error)
        return ""

    said = b"HTTP/1.1 100 Continue\r\n\r\n" + garbage
    assert {fault(said[:cut], said[cut:]) for cut in range(len(said))} == {"a malformed start line"}
