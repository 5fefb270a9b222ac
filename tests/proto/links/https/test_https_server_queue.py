"""Frames that wait at the hub's end of the HTTPS link until their client polls."""

from __future__ import annotations

import pytest

from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.limits import MIB
from thalovant_proto.links.base import LinkClosed

from .https_front import closes, connected, front
from .https_world import AUTHORIZATION, NOT_CONNECTED, binary, frames, text


def test_too_many_unread_frames_end_the_session():
    """4096 frames wait; with the next one the session is over, for a gap could not be mended."""
    hub, cookie = connected()
    for n in range(4096):
        hub.session.send(text("x") if n % 2 else binary(b"x"), hub.now, token=n)
    assert closes(hub.session.receive_data(b"", hub.now)) == []

    for more in ({"token": 4096}, {"token": 4097}, {}):
        hub.session.send(text("one too many"), hub.now, **more)
    hub.serve()

    ((kind, unsent),) = closes(hub.events)
    assert (kind, sorted(unsent)) == (CloseKind.LOST, list(range(4098)))
    assert hub.call("get_messages", cookie=cookie).body == NOT_CONNECTED


def test_too_many_unread_bytes_end_the_session():
    """The same for 64 MiB, as they stand in JSON."""
    hub, _ = connected()
    for n in range(64):
        hub.session.send(binary(b"x" * (MIB * 3 // 4 - 8)), hub.now, token=n)
    assert hub.session.ending is None

    hub.session.send(binary(b"x" * 1000), hub.now, token=64)
    hub.serve()

    assert closes(hub.events) == [(CloseKind.LOST, tuple(range(65)))]


def test_what_was_polled_makes_room():
    """The bound is on what waits, not on what has ever been sent."""
    hub, cookie = connected()

    for _ in range(5):
        for n in range(250):
            hub.session.send(text(str(n)), hub.now)
        assert len(hub.call("get_messages", cookie=cookie).body["messages"]) == 250

    assert hub.session.ending is None


def test_the_owner_sees_what_waits_and_when_it_is_taken():
    """It can hold back while much is unread, and go on when a poll has taken some; an empty poll tells nothing."""
    hub, cookie = connected(response=300)
    hub.call("get_messages", cookie=cookie)
    seen: list[int] = []
    hub.session.on_taken = lambda: seen.append(hub.session.unsent)
    for letter in "abcdefg":
        hub.session.send(text(letter * 40), hub.now)
    assert hub.session.unsent == 7 * 42

    for _ in range(4):
        hub.call("get_messages", cookie=cookie)
    hub.call("get_binary_messages", cookie=cookie)

    assert seen == [4 * 42, 42, 0]


def test_a_poll_gives_what_fits_and_keeps_the_rest():
    """4 MiB at a time, in order; a single larger frame goes alone."""
    hub, cookie = connected(response=2000)
    sizes = [400, 400, 400, 1700, 10, 10]
    for size in sizes:
        hub.session.send(text("x" * size), hub.now)

    polls = [hub.call("get_messages", cookie=cookie).body["messages"] for _ in range(5)]

    assert [[len(message) for message in poll] for poll in polls] == [[400, 400], [400], [1700], [10, 10], []]


def test_what_no_client_could_read_is_not_taken():
    """Frames that do not fit into a response, are not text, or have no type are bugs of the owner."""
    hub, _ = connected()

    for frame, why in [
        (binary(b"x" * 8 * MIB), "does not fit"),
        (text(b"\xff"), "not UTF-8"),
        (Frame(b"x", FrameType.UNTYPED), "text and binary"),
    ]:
        with pytest.raises(LocalProtocolError, match=why):
            hub.session.send(frame, hub.now)

    assert hub.session.ending is None


def test_a_client_that_does_not_poll_is_lost():
    """300 s after the last poll; sending does not count (wire.md §7.1)."""
    hub, cookie = connected()
    hub.now += 200
    hub.call("get_binary_messages", cookie=cookie)
    hub.call("send_message", form={"message": "x"}, cookie=cookie)
    session, due = hub.session, hub.session.next_timeout
    assert due == hub.now + 300
    hub.now += 100
    hub.call("send_message", form={"message": "x"}, cookie=cookie)

    early = session.handle_timeout(due - 0.001)
    late = session.handle_timeout(due)

    assert early == []
    assert closes(late) == [(CloseKind.LOST, ())]
    assert session.next_timeout is None
    assert len(hub.hub) == 0


@pytest.mark.parametrize(("size", "fit"), [(1, 4096), (9 * MIB, 1)], ids=["frames", "bytes"])
def test_an_owner_that_is_behind_is_not_drowned(size, fit):
    """What nobody takes from the session is bounded; the client is told to wait, and its frame is not taken."""
    hub = front(request=10 * MIB)
    cookie = hub.connect()
    body = "message=" + "x" * size
    request = (
        f"POST /send_message?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    answers = []
    for _ in range(fit + 2):
        connection = hub.connection()
        connection.receive_data(request, hub.now)  # and `serve` is not called
        answers.append(connection.data_to_send())

    taken = hub.session.receive_data(b"", hub.now)

    assert [answer.split(b" ", 2)[1] for answer in answers] == [b"200"] * fit + [b"503"] * 2
    assert b"Retry-After: 5\r\n" in answers[-1]
    assert len(frames(taken)) == fit
    assert hub.call("send_message", form={"message": "x"}, cookie=cookie).status == 200


def test_a_session_is_a_link():
    """It never wants a socket, says at once when it has something, and closes at once."""
    hub = front()
    hub.exchange(f"POST /connect?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    session = hub.session

    assert not session.wants_socket
    assert session.socket_opened(hub.now) == session.eof(hub.now) == []
    assert session.data_to_send() == b""
    session.pace(True, hub.now)
    assert session.next_timeout == hub.now + 300
    session.send(text("x"), hub.now, token=1)
    ended = session.close(hub.now, code=1001, reason="bye")

    assert ended == [LinkClosed(kind=CloseKind.CLOSED, code=1001, reason="bye", unsent=(1,))]
    assert session.close(hub.now) == []
    assert session.next_timeout is None
    assert session.handle_timeout(hub.now + 1000) == []
    with pytest.raises(LocalProtocolError, match="over"):
        session.send(text("x"), hub.now)


def test_a_session_with_news_is_due_at_once():
    """A driver that only watches timers misses nothing either."""
    hub, cookie = connected()
    connection = hub.connection()
    connection.receive_data(
        b"POST /send_message?authorization=%b&message=x HTTP/1.1\r\nHost: x\r\nCookie: %b\r\n\r\n"
        % (AUTHORIZATION.encode(), cookie.encode()),
        hub.now,
    )
    session = hub.session

    assert session.next_timeout == hub.now
    assert [frame.data for frame in frames(session.handle_timeout(hub.now))] == [b"x"]
    assert session.next_timeout > hub.now
