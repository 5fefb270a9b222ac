"""The sockets at the hub's end of the HTTPS link: requests in any pieces, at any pace, and what is no request."""

from __future__ import annotations

import json

import pytest

from thalovant_proto.limits import KIB, MIB

from .https_front import connected, front
from .https_world import AUTHORIZATION, binary, frames, text

# --- sockets


def test_a_socket_serves_many_requests():
    """Keep-alive, as every client of the family uses it."""
    hub, cookie = connected()
    connection = hub.connection()

    statuses = [hub.call("get_messages", cookie=cookie, connection=connection).status for _ in range(5)]

    assert statuses == [200] * 5
    assert not connection.finished


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /nope HTTP/1.0\r\n\r\n",
    ],
)
def test_a_socket_ends_when_the_client_says_so(request_):
    """`Connection: close` and HTTP/1.0: answered, then closed."""
    hub = front()
    connection = hub.connection()

    said = hub.exchange(request_, connection=connection)

    assert said.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"connection: close\r\n" in said.lower()
    assert connection.finished
    assert connection.next_timeout is None


def test_requests_in_one_go_are_answered_in_turn():
    """Pipelining: each answer knows what its own request led to."""
    hub, cookie = connected()
    connection = hub.connection()
    send = (
        f"POST /send_message?authorization={AUTHORIZATION}&message={{}} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
    )

    said = hub.exchange((send.format("a") + send.format("b") + send.format("c")).encode(), connection=connection)

    assert said.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert [frame.data for frame in frames(hub.events)] == [b"a", b"b", b"c"]


def test_the_second_request_waits_for_the_answer_to_the_first():
    """What comes while an answer is owed is read afterwards, and the timer says that there is more."""
    hub, cookie = connected()
    connection = hub.connection()
    poll = f"GET /get_messages?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode()

    connection.receive_data(poll, hub.now)
    connection.receive_data(poll, hub.now)
    assert connection.next_timeout == hub.now + 75
    hub.session.send(text("first"), hub.now)
    first = connection.data_to_send()
    assert connection.next_timeout == hub.now
    hub.session.send(text("second"), hub.now)
    connection.handle_timeout(hub.now)
    assert connection.next_timeout == hub.now + 75
    second = connection.data_to_send()

    assert b'["first"]' in first
    assert b'["second"]' in second
    assert connection.next_timeout == pytest.approx(hub.now + 75, abs=0.01)


def test_a_socket_that_never_listens_is_closed():
    """More than a request's worth behind an unanswered one is not held."""
    hub = front()
    connection = hub.connection()
    connection.receive_data(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", hub.now)

    for _ in range(20):
        connection.receive_data(b"x" * 100_000, hub.now)

    assert connection.finished
    assert connection.data_to_send() == b""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"NOT HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400),
        (b"POST /connect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        # two bodies, for two readers: what one takes for a body is a request to the other (RFC 9112 §6.1)
        (
            b"POST /connect HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /get_messages HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
        ),
        (b"POST /connect HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /connect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n", 400),
        (b"POST /connect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /connect HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"POST /connect HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nx", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000, 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000, 431),
        (b"POST /send_message HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST /send_message HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (
            b"POST /send_message HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"40000\r\n%b\r\n" % (b"x" * 0x40000) * 5,
            413,
        ),
        (
            b"POST /send_message HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
            400,
        ),
    ],
)
@pytest.mark.parametrize("cut", [None, 1000])
def test_a_bad_request_gets_its_status_and_the_end(data, status, cut):
    """JSON with an error, `Connection: close`, and nothing more is read."""
    hub = front()
    connection = hub.connection()

    said = b""
    for start in range(0, len(data), cut or len(data)):
        said += hub.exchange(data[start : start + (cut or len(data))], connection=connection)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nconnection: close" in head.lower()
    assert set(json.loads(body)) == {"error"}
    assert connection.finished
    assert hub.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", connection=connection) == b""


def test_a_megabyte_is_taken():
    """The limit is on the body, and exact."""
    hub, cookie = connected()
    room = MIB - len("message=")

    answer = hub.call("send_message", form={"message": "x" * room}, cookie=cookie)
    too_much = hub.call("send_message", form={"message": "x" * (room + 1)}, cookie=cookie)

    assert (answer.status, too_much.status) == (200, 413)
    assert [len(frame.data) for frame in frames(hub.events)] == [room]


def test_a_client_that_asks_first_is_told_to_go_on():
    """`Expect: 100-continue`, as curl sends it with larger bodies; once, and only if the body may come."""
    hub, cookie = connected()
    connection = hub.connection()
    head = (
        f"POST /send_message?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    )

    go_on = hub.exchange(head.format(9).encode(), connection=connection)
    nothing = hub.exchange(b"message", connection=connection)
    done = hub.exchange(b"=x", connection=connection)
    refused = hub.exchange(head.format(2 * MIB).encode())

    assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert nothing == b""
    assert done.startswith(b"HTTP/1.1 200 OK\r\n")
    assert refused.startswith(b"HTTP/1.1 413 ")


def test_a_slow_request_is_cut_off():
    """20 s from its first byte, however it dribbles."""
    hub = front()
    connection = hub.connection()
    hub.now += 50
    hub.exchange(b"POST /conn", connection=connection)
    began = hub.now
    hub.now += 15
    hub.exchange(b"ect HTTP/1.1\r\n", connection=connection)
    assert connection.next_timeout == began + 20

    connection.handle_timeout(began + 19.9)
    assert not connection.finished
    connection.handle_timeout(began + 20)
    said = connection.data_to_send()

    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert connection.finished


def test_a_slow_body_is_cut_off_too():
    """The same clock runs through the body, and stops only for what comes at 32 KiB a second."""
    hub = front()
    connection = hub.connection()
    head = b"POST /connect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    hub.exchange(head + b"x" * 32 * KIB, connection=connection)
    assert connection.next_timeout == hub.now + 21
    connection.receive_data(b"x" * 96 * KIB, hub.now + 20.9)
    assert connection.next_timeout == hub.now + 24

    connection.handle_timeout(hub.now + 24)

    assert connection.data_to_send().startswith(b"HTTP/1.1 408 ")


def test_an_idle_socket_is_closed_in_silence():
    """75 s without a request; there is nothing to answer."""
    hub = front()
    connection = hub.connection()
    hub.now += 10
    hub.exchange(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", connection=connection)
    assert connection.next_timeout == pytest.approx(hub.now + 75, abs=0.01)

    connection.handle_timeout(hub.now + 74.9)
    assert not connection.finished
    connection.handle_timeout(hub.now + 75.01)

    assert connection.finished
    assert connection.data_to_send() == b""


def test_a_timer_while_an_answer_is_owed_changes_nothing():
    """The driver's turn comes first."""
    hub = front()
    connection = hub.connection()
    connection.receive_data(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", hub.now)

    connection.handle_timeout(hub.now + 74)

    assert connection.data_to_send().startswith(b"HTTP/1.1 404 ")


def test_a_client_that_asks_on_and_reads_nothing_is_closed():
    """An answer that the socket does not take in 75 s is owed to nobody, however many requests wait behind it."""
    hub = front()
    connection = hub.connection()
    connection.receive_data(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", hub.now)
    connection.receive_data(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", hub.now + 20)
    assert connection.next_timeout == hub.now + 75

    connection.handle_timeout(hub.now + 75)

    assert connection.finished
    assert connection.data_to_send() == b""


def test_a_large_answer_has_more_time_to_be_read():
    """So much as 32 KiB a second need."""
    hub, cookie = connected()
    hub.session.send(binary(b"x" * 3 * MIB), hub.now)
    connection = hub.connection()
    request = f"GET /get_binary_messages?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"

    said = hub.exchange(request.encode(), connection=connection)

    assert len(said) > 4 * MIB
    assert connection.next_timeout == hub.now + 75 + len(said) / (32 * KIB)


def test_a_socket_that_ends_takes_its_answer_along():
    """`eof` with a request at hand: nobody is there to answer, and a poll's frames are not taken."""
    hub, cookie = connected()
    hub.session.send(text("kept"), hub.now)
    connection = hub.connection()
    connection.receive_data(
        f"GET /get_messages?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode(),
        hub.now,
    )

    connection.eof(hub.now)

    assert connection.finished
    assert connection.data_to_send() == b""
    assert hub.call("get_messages", cookie=cookie).body["messages"] == ["kept"]


def test_a_socket_says_whether_its_client_is_proven():
    """By its latest request: so that a driver can keep it, and let others go."""
    hub, cookie = connected()
    connection = hub.connection()
    before = connection.proven
    hub.call("get_messages", cookie=cookie, connection=connection)
    unproven = connection.proven

    hub.session.prove(hub.now)
    proven = connection.proven
    hub.call("get_messages", cookie="hivemind_http_replica=another", connection=connection)

    assert (before, unproven, proven, connection.proven) == (False, False, True, False)
