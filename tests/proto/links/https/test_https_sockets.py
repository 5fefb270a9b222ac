"""The client's end of the HTTPS link on sockets that come and go, in time and too late."""

from __future__ import annotations

import json

import pytest

from thalovant_proto.carrier import CloseKind
from thalovant_proto.limits import KIB
from thalovant_proto.links.base import Accepted

from .https_world import (
    at,
    binary,
    by_hand,
    chunked,
    closed,
    frames,
    polled,
    response,
    sending,
    text,
)

# --- sockets come and go


def test_a_socket_closed_between_requests_is_no_event():
    """Keep-alive may end at any time; a socket is wanted again when there is something to ask."""
    hand = by_hand().idle()

    assert hand.eof() == []
    assert not hand.link.wants_socket
    hand.wait()

    assert hand.dials == 2
    assert hand.asked.path == "/get_messages"


def test_a_frame_wants_a_socket_at_once():
    """With no socket at hand a frame to send asks for one, before any poll is due."""
    hand = by_hand().idle()
    hand.eof()

    hand.link.send(text("x"), hand.now, token=1)

    assert hand.link.wants_socket
    assert hand.pump().answer() == [Accepted(token=1)]


@pytest.mark.parametrize("version", ["1.1 with close", "1.0"])
def test_a_server_that_closes_after_each_answer_gets_a_socket_each_time(version):
    """`Connection: close` and HTTP/1.0: the link shows that it is done with a socket before it wants another."""
    hand = by_hand().pump()
    answers = [{"status": "Disconnected"}, {"status": "Connected"}, polled("hello")]

    for body in answers:
        data = response(body=body, headers=[("Connection", "close")] if version == "1.1 with close" else [])
        hand.out = None
        hand.raw(data if version == "1.1 with close" else data.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert not hand.link.wants_socket
        hand.pump().until_asked()

    assert [frame.data for frame in frames(hand.events)] == [b"hello"]
    assert hand.requests[:3] == ["disconnect", "connect", "get_messages"]
    assert hand.dials == 4


@pytest.mark.parametrize("first", ["timer", "eof", "both"])
def test_the_end_of_a_socket_that_was_given_up_is_expected(first):
    """Whether the driver's timer or the old socket's end comes first, the session goes on."""
    hand = by_hand().pump()
    hand.out = None
    hand.raw(response(headers=[("Connection", "close")]))

    events = []
    if first != "eof":
        events += hand.link.handle_timeout(hand.now)
    if first != "timer":
        events += hand.link.eof(hand.now)
    hand.connected = False
    hand.pump()

    assert events == []
    assert hand.requests == ["disconnect", "connect"]


def test_an_answer_without_length_ends_with_the_socket():
    """HTTP/1.0 style: the body is whole when the socket has ended, and the session goes on."""
    hand = by_hand().open()
    body = json.dumps(polled("a", "b")).encode()
    assert hand.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body) == []

    events = hand.eof()

    assert [frame.data for frame in frames(events)] == [b"a", b"b"]
    assert hand.link.next_timeout is not None


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
        chunked(b'{"messages":') + b"5\r\n[]",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
def test_an_answer_cut_short_is_lost_with_its_name(part):
    """Frames may have been in it, so the session ends; whoever sits above rebuilds it."""
    hand = by_hand().open()
    hand.raw(part)

    last = closed(hand.eof())

    assert last.kind is CloseKind.LOST
    assert last.error.code == "http_truncated"


def test_a_poll_that_crossed_with_a_close_is_asked_again():
    """On a socket that has served before, no answer to a poll means that the peer was closing it.

    On a fresh socket the same silence is a hub that is gone.
    """
    hand = by_hand().idle()
    hand.wait()

    assert hand.eof() == []
    hand.pump()

    assert hand.dials == 2
    assert hand.requests[-2:] == ["get_messages", "get_messages"]
    last = closed(hand.eof())
    assert (last.kind, last.code, last.error) == (CloseKind.LOST, None, None)


@pytest.mark.parametrize("heard", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_frame_without_an_answer_is_never_sent_again(heard):
    """Nobody can tell whether the hub read it: it is not among `unsent`, the ones behind it are."""
    hand = sending(text("do it once"))
    hand.link.send(text("later"), hand.now, token=8)
    hand.raw(heard)

    last = closed(hand.eof())

    assert last.kind is CloseKind.LOST
    assert last.unsent == (8,)
    assert not any(isinstance(event, Accepted) for event in hand.events)


@pytest.mark.parametrize("how", ["eof", "replaced"])
def test_a_frame_that_never_left_goes_to_the_next_socket(how):
    """A request that the driver had not taken when the socket ended, or was replaced, is as if it had not been made."""
    hand = by_hand().idle()
    hand.link.send(text("x"), hand.now, token=1)  # in the link's hands, not drained

    assert hand.eof() == [] if how == "eof" else hand.take(hand.link.socket_opened(hand.now)) == []
    hand.pump()

    assert hand.asked.form == {"message": "x"}
    assert hand.answer() == [Accepted(token=1)]
    assert hand.dials == (2 if how == "eof" else 1)


@pytest.mark.parametrize("due", [True, False])
def test_a_poll_that_never_left_is_made_again(due):
    """As if it had never been made. `eof` with no socket and no wish for one changes nothing either."""
    hand = by_hand().idle()
    if due:
        hand.now = hand.link.next_timeout
        hand.link.handle_timeout(hand.now)

    assert hand.eof() == []
    assert due or hand.link.eof(hand.now) == []
    hand.pump().until_asked()

    assert hand.requests[-1] == "get_messages"
    assert hand.dials == 2


@pytest.mark.parametrize("stage", ["disconnect", "connect", "send_message"])
def test_silence_while_something_is_at_stake_is_lost(stage):
    """Only polls are asked again."""
    hand = at(stage)

    assert closed(hand.eof()).kind is CloseKind.LOST


@pytest.mark.parametrize("fresh", [True, False])
def test_a_socket_that_is_wanted_and_not_had_ends_the_link(fresh):
    """A port that accepts and hangs up is not dialed in a circle; what is queued never left."""
    hand = by_hand() if fresh else by_hand().idle()
    if fresh:
        hand.take(hand.link.socket_opened(hand.now))
    else:
        hand.eof()
        hand.link.send(text("x"), hand.now, token=5)

    last = closed(hand.take(hand.link.eof(hand.now)))

    assert (last.kind, last.unsent) == (CloseKind.LOST, () if fresh else (5,))


@pytest.mark.parametrize("idle", [True, False])
@pytest.mark.parametrize("undrained", [False, True])
def test_words_that_nobody_asked_for_cost_the_socket_only(idle, undrained):
    """A server's 408 on an idle socket, or an answer before the question, is no answer to what is asked next.

    An answer with something after it is believed; the socket is not.
    """
    hand = by_hand().idle() if idle else by_hand().open()
    hand.out = None
    if undrained:
        hand.link.send(text("x"), hand.now, token=1)

    events = hand.raw(response(408, b"") if idle else response(body=polled("x")) + b"HTTP/1.1 200 OK\r\n\r\n")

    assert [frame.data for frame in frames(events)] == ([] if idle else [b"x"])
    assert not hand.link.wants_socket
    hand.pump().until_asked()
    assert hand.dials == 2
    assert hand.requests[-1] == ("send_message" if undrained else "get_messages")


def test_bytes_without_a_socket_or_without_content_are_ignored():
    """Neither an empty read nor a late one changes anything."""
    hand = by_hand()

    assert hand.link.receive_data(b"early", hand.now) == []
    hand.open()
    assert hand.link.receive_data(b"", hand.now) == []

    assert [frame.data for frame in frames(hand.answer(body=polled("x")))] == [b"x"]


# --- time


@pytest.mark.parametrize("stage", ["disconnect", "connect", "get_messages", "get_binary_messages", "send_message"])
def test_an_answer_has_a_deadline(stage):
    """A frozen hub is noticed after 10 s, however slowly it dribbles; an unanswered frame is not `unsent`."""
    hand = at(stage)
    began = hand.now
    assert hand.link.next_timeout == pytest.approx(began + 10, abs=0.01)

    hand.now += 9.9
    assert hand.raw(b"HTTP/1.1 200 OK\r\n") == []
    assert hand.link.handle_timeout(hand.now) == []
    assert hand.link.next_timeout == pytest.approx(began + 10, abs=0.01)
    hand.now += 0.11
    last = closed(hand.link.handle_timeout(hand.now))

    assert (last.kind, last.unsent) == (CloseKind.LOST, ())
    assert last.error.code == "http_timeout"
    assert stage in str(last.error)


def test_a_large_body_has_more_time():
    """On a slow network, up or down: so much as 32 KiB a second need, and no more for a drip."""
    up = sending(binary(b"x" * 96 * KIB), token=None)
    assert up.link.next_timeout >= up.now + 10 + 4

    down = at("get_messages")
    began = down.now
    down.now += 9
    assert down.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b" " * 64 * KIB) == []
    assert down.link.next_timeout == began + 10 + 2
    down.now += 2.9
    assert down.raw(b" " * 1024) == []
    assert down.link.next_timeout == pytest.approx(began + 12, abs=0.1)
    down.now += 0.2

    error = closed(down.link.handle_timeout(down.now)).error

    assert error.code == "http_timeout"


@pytest.mark.parametrize("first", [True, False])
def test_no_timer_runs_while_a_socket_is_wanted(first):
    """While the driver dials, its own deadline rules."""
    hand = by_hand() if first else by_hand().idle()
    if not first:
        hand.eof()
        hand.link.handle_timeout(hand.link.next_timeout)

    assert hand.link.wants_socket
    assert hand.link.next_timeout is None
    assert hand.link.handle_timeout(hand.now + 100) == []
    assert hand.link.wants_socket
