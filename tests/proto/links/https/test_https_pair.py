"""Both ends of the HTTPS link against each other: any cut, sockets that come and go, hubs that forget, idle hours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.examples import examples
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.limits import MIB
from thalovant_proto.links.base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from thalovant_proto.links.https.cookies import Cookies
from thalovant_proto.links.https.server import HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession
from thalovant_proto.links.https.stream import HttpsLimits

from .https_world import Client, World, accepted, binary, closed, entropy, frames, text

HELLO, OFFER = text('{"msg_type":"hello"}'), text('{"msg_type":"shake"}')


def greet(world: World, session: HttpsSession, event: LinkEvent) -> None:
    """An owner that says hello and offer, as hubs do."""
    if isinstance(event, LinkOpened):
        session.send(HELLO, world.now)
        session.send(OFFER, world.now)


def echo(world: World, session: HttpsSession, event: LinkEvent) -> None:
    """One that also gives every frame back as it came."""
    greet(world, session, event)
    if isinstance(event, FrameReceived):
        session.send(event.frame, world.now)


def both(frames_: list[Frame]) -> list[tuple[bytes, FrameType]]:
    return [(frame.data, frame.type) for frame in frames_]


def ready(owner: Any = echo, **more: Any) -> tuple[World, Client]:
    """A world with one client that has had its hello and offer."""
    world = World(owner, **more)
    client = world.client()
    world.run(5, lambda: len(client.frames) == 2)
    assert both(client.frames) == both([HELLO, OFFER])
    client.events.clear()
    return world, client


@pytest.mark.parametrize("cut", [None, 1, 3, 100])
def test_a_session_from_hello_to_goodbye(cut):
    """Frames of both kinds, both ways, in order, receipts, and the end told to both sides, however bytes are cut."""
    world, client = ready(cut=cut)
    up = [text("shake"), binary(b"sealed hello\x00\xff"), binary(bytes(range(256))), text("ü☃ &=+%")]

    for token, frame in enumerate(up):
        client.link.send(frame, world.now, token=token)
    world.run(5, lambda: len(client.frames) == 4)
    client.link.close(world.now)
    world.run(5)

    assert accepted(client.events) == [0, 1, 2, 3]
    assert sorted(both(client.frames), key=repr) == sorted(both(up), key=repr)
    assert [frame.data for frame in client.frames if frame.type is FrameType.BINARY] == [up[1].data, up[2].data]
    assert closed(client.events).kind is CloseKind.CLOSED
    assert [event.kind for event in world.heard if isinstance(event, LinkClosed)] == [CloseKind.REFUSED]
    assert len(world.hub) == 0


def test_an_answer_takes_milliseconds():
    """Somebody waits: what the hub says at once is heard at the next poll, 4 ms later."""
    world, client = ready()
    world.run(10)
    began = world.now

    client.link.send(text("ask"), world.now)
    world.run(1, lambda: bool(client.frames))

    assert world.now - began == pytest.approx(0.004, abs=1e-6)


def test_large_messages_pass():
    """Nearly as large as a request may be up, five times that down, and many at once."""
    world, client = ready(greet)
    large_up = binary(bytes(range(256)) * 2600)
    large_down = [binary(b"\xfe" * (5 * MIB)), text("x" * (5 * MIB)), *(binary(b"%02d" % n) for n in range(200))]

    client.link.send(large_up, world.now)
    for frame in large_down:
        world.sessions[0].send(frame, world.now)
    world.run(5)

    assert both(frames(world.heard)) == both([large_up])
    assert both([frame for frame in client.frames if frame.type is FrameType.BINARY]) == both(
        [frame for frame in large_down if frame.type is FrameType.BINARY]
    )
    assert both([frame for frame in client.frames if frame.type is FrameType.TEXT]) == both([large_down[1]])


@pytest.mark.untraced
@given(st.data())
@examples(25)
def test_nothing_is_lost_or_doubled_while_sockets_come_and_go(data):
    """Whatever is sent when, by whom, with sockets ending between requests: each queue arrives whole and in order."""
    world, client = ready(greet, cut=data.draw(st.sampled_from([None, 13, 50])))
    up: list[Frame] = []
    down: list[Frame] = []
    for number in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["up", "up binary", "down", "down binary", "drop", "wait", "eager", "idle"])):
            case "up":
                up.append(text(f"u{number}"))
                client.link.send(up[-1], world.now, token=number)
            case "up binary":
                up.append(binary(b"u%d" % number))
                client.link.send(up[-1], world.now, token=number)
            case "down":
                down.append(text(f"d{number}"))
                world.sessions[0].send(down[-1], world.now)
            case "down binary":
                down.append(binary(b"d%d" % number))
                world.sessions[0].send(down[-1], world.now)
            case "drop":
                client.drop()
            case "wait":
                world.run(data.draw(st.sampled_from([0.0, 0.003, 0.1, 4.0])))
            case pace:
                client.link.pace(pace == "eager", world.now)
    client.link.pace(True, world.now)
    world.run(1)

    assert both(frames(world.heard)) == both(up)
    for kind in (FrameType.TEXT, FrameType.BINARY):
        assert [f.data for f in client.frames if f.type is kind] == [f.data for f in down if f.type is kind]
    assert len(accepted(client.events)) == len(up)
    assert world.sessions[0].ending is None


def test_an_idle_client_is_cheap_and_stays_connected():
    """Half an hour of silence: one session, at most 60 requests in any minute after the first 10 s, and still heard."""
    world, client = ready()
    client.link.pace(False, world.now)
    began = world.now

    world.run(1800)
    calm = [time for time, _ in client.requests if time >= began + 10]
    world.sessions[0].send(text("good morning"), world.now)
    world.run(2.1)

    assert max(sum(start <= time < start + 60 for time in calm) for start in calm[::10]) <= 60
    assert [frame.data for frame in client.frames] == [b"good morning"]
    assert len(world.sessions) == 1
    assert client.dials == 1


def test_a_hub_that_forgot_says_so_at_the_next_poll():
    """A hub that was started again knows nobody: `FORGOTTEN`, and the new link gets a new hello."""
    world, client = ready()

    world.hub = HttpsServerHub(entropy=entropy(), limits=world.limits, secure=True)
    client.drop()
    world.run(5)

    assert closed(client.events).kind is CloseKind.FORGOTTEN
    again = world.client()
    world.run(5, lambda: len(again.frames) == 2)
    assert both(again.frames) == both([HELLO, OFFER])


def test_the_frame_that_finds_the_hub_forgetful_is_unsent():
    """The very POST that got 409, and those behind it, have not been read by anybody."""
    world, client = ready()

    world.hub = HttpsServerHub(entropy=entropy(), limits=world.limits, secure=True)
    client.drop()
    client.link.send(text("first"), world.now, token=1)
    client.link.send(text("second"), world.now, token=2)
    world.run(5)

    last = closed(client.events)
    assert (last.kind, last.code, last.unsent) == (CloseKind.FORGOTTEN, 409, (1, 2))


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [(1008, CloseKind.REFUSED, 403), (4003, CloseKind.REFUSED, 403), (1011, CloseKind.LOST, 500)],
)
def test_a_client_that_is_refused_for_a_frame_learns_it(code, kind, status):
    """The owner's close is the answer to the POST that led to it."""

    def strict(world: World, session: HttpsSession, event: LinkEvent) -> None:
        greet(world, session, event)
        if isinstance(event, FrameReceived):
            session.close(world.now, code=code, reason="this will not do")

    world, client = ready(strict)

    client.link.send(text("x"), world.now, token=1)
    world.run(5)

    last = closed(client.events)
    assert (last.kind, last.code, last.unsent) == (kind, status, ())
    assert last.reason == ("this will not do" if status == 403 else "Message sending failed")


def test_an_unknown_access_key_is_refused():
    """1008 to the opening becomes 403 to `/connect`."""

    def stranger(world: World, session: HttpsSession, event: LinkEvent) -> None:
        session.close(world.now, code=1008, reason="invalid api key")

    world = World(stranger)
    client = world.client()
    world.run(5)

    last = closed(client.events)
    assert (last.kind, last.code, last.reason) == (CloseKind.REFUSED, 403, "Invalid authorization")
    assert not client.opened


def test_an_owner_that_closes_later_is_noticed_by_a_poll():
    """A close that no request led to: the session is not known any more."""
    world, client = ready()

    world.sessions[0].close(world.now, code=1008)
    world.run(5)

    assert closed(client.events).kind is CloseKind.FORGOTTEN


def test_a_client_that_crashed_comes_back_at_once():
    """Its old session, whose cookie died with it, stays behind for 300 s and does not hinder the new one."""
    world, client = ready()
    world.clients.remove(client)  # it never says goodbye

    again = world.client()
    world.run(1, lambda: len(again.frames) == 2)
    again.link.pace(False, world.now)
    world.run(310)

    assert both(again.frames) == both([HELLO, OFFER])
    assert [event.kind for event in world.heard if isinstance(event, LinkClosed)] == [CloseKind.LOST]
    assert len(world.hub) == 1


def test_a_link_that_died_leaves_nothing_behind():
    """The next one shows its cookies, so that the hub sees whose session it is to end."""
    world, jar = World(echo), Cookies()
    died = world.client(cookies=jar)
    world.run(5, lambda: len(died.frames) == 2)
    world.clients.remove(died)  # it never says goodbye

    again = world.client(cookies=jar, address="198.51.100.9")
    world.run(5, lambda: len(again.frames) == 2)

    assert both(again.frames) == both([HELLO, OFFER])
    assert [event.kind for event in world.heard if isinstance(event, LinkClosed)] == [CloseKind.REFUSED]
    assert len(world.hub) == 1


def test_two_programs_with_one_identity_live_side_by_side():
    """Real hubs let them displace each other; here each has its session, its queues and its goodbye."""
    world, one = ready()
    two = world.client()
    world.run(5, lambda: len(two.frames) == 2)
    two.events.clear()

    one.link.send(text("from one"), world.now)
    two.link.send(text("from two"), world.now)
    world.run(1)
    one.link.close(world.now)
    two.link.send(text("still here"), world.now)
    world.run(1)

    assert [frame.data for frame in one.frames] == [b"from one"]
    assert [frame.data for frame in two.frames] == [b"from two", b"still here"]


def test_a_lost_response_leaves_a_gap_and_no_more():
    """Frames that left the hub's queue and never came: the link polls on, and the keys above show the gap."""
    world, client = ready(greet)
    world.run(1)
    session = world.sessions[0]
    session.send(binary(b"frame 1"), world.now)
    session.send(text("frame 2"), world.now)
    while not (request := client.link.data_to_send()):
        world.now = client.link.next_timeout or world.now
        client.events += client.link.handle_timeout(world.now)
    assert client.connection is not None
    client.connection.receive_data(request, world.now)
    assert b"frame 2" in client.connection.data_to_send()  # and it goes nowhere

    client.drop()
    session.send(text("frame 3"), world.now)
    world.run(5)

    assert [frame.data for frame in client.frames if frame.type is FrameType.TEXT] == [b"frame 3"]
    assert not any(isinstance(event, LinkClosed) for event in client.events)


def test_a_hub_that_is_frozen_is_noticed():
    """An answer that never comes ends the link after its 10 s."""
    world, client = ready()
    world.run(0.5)
    while not client.link.data_to_send():
        world.now = client.link.next_timeout or world.now
        client.events += client.link.handle_timeout(world.now)
    asked = world.now

    assert client.link.next_timeout == asked + 10
    last = closed(client.link.handle_timeout(asked + 10))

    assert last.kind is CloseKind.LOST


def test_a_client_that_leaves_too_much_unread_starts_over():
    """The hub ends the session rather than drop a frame of it; the client hears `FORGOTTEN` and connects anew."""
    world, client = ready(greet, limits=HttpsLimits(queue_bytes=120))

    for n in range(30):
        if world.sessions[0].ending is None:
            world.sessions[0].send(binary(b"%02d" % n), world.now, token=n)
    world.run(5)

    assert closed(client.events).kind is CloseKind.FORGOTTEN
    assert frames(client.events) == []
    ends = [event for event in world.heard if isinstance(event, LinkClosed)]
    assert [(end.kind, len(end.unsent)) for end in ends] == [(CloseKind.LOST, 21)]


def test_the_same_inputs_give_the_same_session():
    """Time and entropy are arguments: two runs are alike to the last request."""
    runs = []
    for _ in range(2):
        world, client = ready()
        client.link.send(binary(b"x"), world.now, token=1)
        world.run(20)
        runs.append((client.requests, both(client.frames), world.now))

    assert runs[0] == runs[1]
