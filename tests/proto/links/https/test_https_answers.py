"""What answers mean to the client's end of the HTTPS link: a hub's, a gateway's, and those that no hub gives."""

from __future__ import annotations

import json
import tracemalloc
import zlib

import pytest

from thalovant_proto.carrier import CloseKind
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.limits import MIB
from thalovant_proto.links.base import LinkOpened
from thalovant_proto.links.https.stream import DEFAULT_HTTPS_LIMITS

from .https_world import (
    AUTHORIZATION,
    KEY,
    NOT_CONNECTED,
    PORTAL,
    ByHand,
    at,
    by_hand,
    chunked,
    closed,
    frames,
    make_link,
    polled,
    response,
    sending,
    text,
)

# --- what answers mean


MISSING = {"error": "Missing authorization"}


@pytest.mark.parametrize(
    ("stage", "status", "body", "kind"),
    [
        # real-hubs.md §7, row by row: legacy, then noise
        ("connect", 500, {"error": "Connection failed"}, CloseKind.REFUSED),
        ("connect", 403, {"error": "Invalid authorization"}, CloseKind.REFUSED),
        ("connect", 400, MISSING, CloseKind.REFUSED),
        ("get_messages", 400, MISSING, CloseKind.LOST),
        ("get_messages", 200, NOT_CONNECTED, CloseKind.FORGOTTEN),
        ("get_binary_messages", 200, NOT_CONNECTED, CloseKind.FORGOTTEN),
        ("send_message", 200, NOT_CONNECTED, CloseKind.FORGOTTEN),
        ("send_message", 409, NOT_CONNECTED, CloseKind.FORGOTTEN),
        ("send_message", 409, {"error": "No Noise session; reconnect and handshake"}, CloseKind.FORGOTTEN),
        ("send_message", 400, {"error": "Missing message"}, CloseKind.LOST),
        ("send_message", 500, {"error": "Message sending failed"}, CloseKind.LOST),
        # and what gateways, other hubs and time may add
        ("disconnect", 403, {"error": "Invalid authorization"}, CloseKind.REFUSED),
        ("disconnect", 401, b"", CloseKind.REFUSED),
        ("disconnect", 404, b"", CloseKind.LOST),
        ("connect", 200, {"error": "database is down"}, CloseKind.LOST),
        ("connect", 500, b"<html>", CloseKind.LOST),
        ("connect", 400, {}, CloseKind.LOST),
        ("connect", 409, NOT_CONNECTED, CloseKind.FORGOTTEN),
        ("get_messages", 403, {"error": "revoked"}, CloseKind.REFUSED),
        ("get_messages", 500, {"error": "oops"}, CloseKind.LOST),
        ("get_messages", 200, {"error": "oops"}, CloseKind.LOST),
        ("send_message", 200, {"error": "oops"}, CloseKind.LOST),
        ("send_message", 413, b"", CloseKind.LOST),
        ("send_message", 403, {"error": "BROADCAST is not allowed"}, CloseKind.REFUSED),
        ("get_messages", 204, b"", CloseKind.LOST),
    ],
)
def test_what_an_answer_means(stage, status, body, kind):
    """Every row of the hubs' table of errors: the kind of close, its code and the hub's words."""
    hand = at(stage)

    last = closed(hand.answer(status, body))

    assert (last.kind, last.code) == (kind, status)
    said = body.get("error") if isinstance(body, dict) else None
    assert last.reason == (said or f"HTTP {status} to {'GET' if stage.startswith('get') else 'POST'} /{stage}")
    assert (last.error is not None) == (kind is CloseKind.LOST)
    assert not hand.link.wants_socket
    assert hand.link.next_timeout is None


@pytest.mark.parametrize(("status", "body"), [(200, NOT_CONNECTED), (409, NOT_CONNECTED), (500, {"error": "x"})])
def test_a_first_goodbye_may_fail(status, body):
    """`/disconnect` before `/connect` only clears what may be there; what it says is of no interest."""
    hand = by_hand().pump()

    assert hand.answer(status, body) == []

    assert hand.requests == ["disconnect", "connect"]


@pytest.mark.parametrize(
    ("status", "body", "unsent"),
    [
        (409, NOT_CONNECTED, (7, 8)),  # the hub did not look at it
        (200, NOT_CONNECTED, (7, 8)),
        (500, {"error": "Message sending failed"}, (8,)),  # it may have
        (403, {"error": "Refused"}, (8,)),  # it has
        (502, b"", (8,)),
        (413, b"", (8,)),  # it has not, and never will: to send it again would go in circles
    ],
)
def test_which_frames_count_as_unsent(status, body, unsent):
    """The very POST that a hub without a session refused has not been read; of others nobody knows."""
    hand = sending(text("x"))
    hand.link.send(text("y"), hand.now, token=8)
    hand.link.send(text("z"), hand.now)

    last = closed(hand.answer(status, body))

    assert last.unsent == unsent


@pytest.mark.parametrize(
    ("status", "header", "after"),
    [
        (503, "7", 7.0),
        (502, "0", 0.0),
        (429, "86400", 60.0),
        (503, "9" * 400, 60.0),
        (503, None, None),
        (502, None, None),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", None),  # and nobody says what time it is
        (503, "-5", None),
        (503, "1.5", None),
    ],
)
@pytest.mark.parametrize("stage", ["disconnect", "connect", "get_messages", "send_message"])
def test_a_gateway_says_when_to_come_back(stage, status, header, after):
    """429, 502 and 503 lose the link, with a typed error and with Retry-After, bounded, for whoever dials again."""
    hand = at(stage)
    headers = [] if header is None else [("Retry-After", header)]

    last = closed(hand.answer(status, b"<html>Bad gateway", headers, content_type="text/html"))

    assert (last.kind, last.code, last.retry_after, last.unsent) == (CloseKind.LOST, status, after, ())
    assert isinstance(last.error, RemoteProtocolError)
    assert last.error.code == "http_status"


@pytest.mark.parametrize(
    ("until", "after"),
    [
        ("Sun, 06 Nov 1994 08:49:49 GMT", 12.0),
        ("Sunday, 06-Nov-94 08:49:49 GMT", 12.0),
        ("Sun Nov  6 08:49:49 1994", 12.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", 60.0),
        ("Fri, 31 Dec 1993 23:59:59 GMT", 0.0),
        ("Sun, 06 Nev 1994 08:49:49 GMT", None),
        ("tomorrow", None),
    ],
)
def test_a_gateway_may_name_the_hour(until, after):
    """`Retry-After` as a date counts from the answer's own `Date`: whose clock is right does not matter."""
    headers = [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Retry-After", until)]

    assert closed(at("connect").answer(503, b"", headers)).retry_after == after


STATUS_HINTS = {
    404: "path", 405: "path", 407: "proxy", 413: "large", 429: "wait", 500: "log", 502: "running", 503: "later",
    504: "running", 400: "endpoint", 418: "endpoint", 204: "endpoint", 304: "endpoint", 599: "log",
}  # fmt: skip


@pytest.mark.parametrize("status", STATUS_HINTS)
def test_every_status_comes_with_a_next_step(status):
    """404 is what a hub behind a prefix says to an endpoint without it, 502 what a proxy says to a hub that is down."""
    head = f"HTTP/1.1 {status} Whatever\r\n".encode()
    body = b"" if status in (204, 304) else b"Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"

    last = closed(at("disconnect" if status != 500 else "get_messages").reply(head + (body or b"\r\n")))

    assert (last.error.code, last.code) == ("http_status", status)
    assert STATUS_HINTS[status] in last.error.hint


@pytest.mark.parametrize("nothing", [None, False, 0, "", [], {}])
def test_an_error_of_nothing_is_none(nothing):
    """Some servers always have the field."""
    hand = at("connect")

    assert [type(event) for event in hand.answer(body={"status": "Connected", "error": nothing})] == [LinkOpened]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("no\r\nwords\x00 \u2028 of  ours", "no words of ours"),
        (f"key {KEY} is bad", "key … is bad"),
        (f"GET /connect?authorization={AUTHORIZATION}", "GET /connect?authorization=…"),
        (f"KEY {KEY.upper()} of a long-lost-friend-of-mine-called", "KEY … of a …"),
        ("x " * 500, ("x " * 60).strip()),
        (["list"], "['list']"),
    ],
)
def test_a_hubs_words_are_quoted_with_care(said, reason):
    """One short printable line, without anything that could be a key."""
    last = closed(at("connect").answer(500, {"error": said}))

    assert last.reason == reason


@pytest.mark.parametrize("place", [0, 4070, 4080, 4090])
@pytest.mark.parametrize(
    "spelling",
    ["kä+/ 1", "KÄ+/ 1", "k%C3%A4%2B%2F%201", "k%c3%a4%2b%2f%201", "YS8xOmvDpCsvIDE=", "YS8xOmvDpCsvIDE%3d"],
)
def test_short_secrets_are_not_quoted_either(spelling, place):
    """The key and the `authorization` made of it, whole or cut, however a hub spells them."""
    hand = ByHand(make_link(key="kä+/ 1", agent="a/1"))
    hand.pump().answer(body={"error": "Already Disconnected"})

    reason = closed(hand.answer(500, {"error": "\x00" * place + spelling * 9})).reason

    assert set(reason) == {"…"} if not place else reason in ("", "…", "HTTP 500 to POST /connect")


def test_no_secret_shows():
    """Neither the key nor what is made of it is in any repr, whatever state the link is in."""
    hand = by_hand().idle()
    hand.link.send(text("secret payload"), hand.now)
    shown = repr(hand.link) + repr(vars(hand.link)["_queue"]) + repr(vars(hand.link)["_request"])
    hand.pump()
    shown += repr(hand.link) + repr({name: value for name, value in vars(hand.link).items() if name != "_out"})

    last = closed(hand.reply(response(body=b"<" + KEY.encode())))

    for text_ in (shown, repr(last), str(last.error)):
        assert KEY not in text_
        assert AUTHORIZATION not in text_
        assert "payload" not in text_


# --- what a hub never says


def huge(size: int) -> bytes:
    return b'{"messages":["' + b"x" * size + b'"]}'


BOMB = zlib.compress(b"0" * 50 * MIB)

BAD_ANSWERS = {
    "captive portal": (response(body=PORTAL, content_type="text/html"), "http_content_type"),
    "portal without a type": (response(body=PORTAL, content_type=None), "http_bad_body"),
    "text for JSON": (response(content_type="text/plain"), "http_content_type"),
    "a redirect": (response(302, headers=[("Location", "https://elsewhere.example/")]), "http_redirect"),
    "a permanent redirect": (response(308, headers=[("Location", "https://elsewhere.example/")]), "http_redirect"),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", "http_status"),
    "a gzip bomb": (response(body=BOMB, headers=[("Content-Encoding", "gzip")]), "http_encoding"),
    "gzip, honestly": (response(headers=[("Content-Encoding", "GZIP, identity")]), "http_encoding"),
    "a header without a name": (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}", "http_header"),
    "a header that goes on before it began": (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n{}", "http_header"),
    "a compressed transfer": (response(headers=[("Transfer-Encoding", "gzip")]), "http_malformed"),
    "10 MB of JSON": (response(body=huge(10_000_000)), "http_body_too_large"),
    "10 MB of JSON in chunks": (chunked(*[b"x" * MIB] * 10), "http_body_too_large"),
    "10 MB announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", "http_body_too_large"),
    "more than anybody has": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "http_body_too_large",
    ),
    "many tiny chunks": (chunked(*[b"x"] * 20_000), "http_too_many_chunks"),
    "a chunk of no size": (chunked() + b"zz\r\n", "http_malformed"),
    "a chunk that does not end": (chunked() + b"3\r\nabcde", "http_malformed"),
    "many tiny values": (response(body=b'{"messages":[' + b"1," * 40_000 + b"1]}"), "http_bad_body"),
    "many tiny texts": (response(body=b'{"messages":[' + b'"a",' * 40_000 + b'"a"]}'), "http_bad_body"),
    "many empty texts": (response(body=b'""' * 4_000_000), "http_bad_body"),
    "deep JSON": (response(body=b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "http_bad_body"),
    "half of JSON": (response(body=b'{"messages":["a"'), "http_bad_body"),
    "a string that never ends": (response(body=b'{"messages":["a\\"'), "http_bad_body"),
    "JSON that is no object": (response(body=[1]), "http_bad_body"),
    "no body": (response(body=b""), "http_bad_body"),
    "JSON in UTF-16": (response(body='{"messages":[]}'.encode("utf-16")), "http_bad_body"),
    "half a surrogate pair": (response(body=b'{"messages":["\\ud800"]}'), "http_bad_body"),
    "no list": (response(body={"status": "messages retrieved"}), "http_bad_body"),
    "another queue": (response(body={"b64_messages": []}), "http_bad_body"),
    "a list of numbers": (response(body={"messages": [1]}), "http_bad_body"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", "http_malformed"),
    "a length less than nothing": (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", "http_malformed"),
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "http_malformed",
    ),
    "chunks of HTTP/1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "http_malformed"),
    "chunks that run together": (chunked() + b"1\r\n{XX1\r\n}\r\n0\r\n\r\n", "http_malformed"),
    "HTTP/2 in HTTP/1.1": (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "http_malformed"),
    "frames of HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "http_malformed"),
    "a status of five digits": (b"HTTP/1.1 20000 OK\r\n\r\n", "http_malformed"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "http_malformed"),
    "TLS on a plain port": (b"\x15\x03\x01\x00\x02\x02\x46", "http_malformed"),
    "another upgrade": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "http_malformed"),
    "a header without end": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "http_head_too_large"),
    "a large head": (response(headers=[("X", "x" * 20_000)]), "http_head_too_large"),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "http_head_too_large"),
    "endless information": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100_000, "http_head_too_large"),
    "endless trailers": (chunked(b"{}") + b"0\r\n" + b"X: y\r\n" * 100_000, "http_head_too_large"),
    "an endless extension": (chunked() + b"1;" + b"x" * 100_000, "http_head_too_large"),
}


@pytest.mark.parametrize("cut", [None, 9973])
@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_ends_the_link_with_its_name(name, cut):
    """A typed error, memory within bounds, and what was queued is reported as never sent."""
    data, code = BAD_ANSWERS[name]
    hand = by_hand().open()
    hand.link.send(text("queued"), hand.now, token=3)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    events = []
    for start in range(0, len(data), cut or len(data)):
        events += hand.raw(data[start : start + (cut or len(data))])
        if events:
            break
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()

    last = closed(events)
    assert last.kind is CloseKind.LOST
    assert isinstance(last.error, RemoteProtocolError)
    assert last.error.code == code
    assert last.error.hint
    assert last.unsent == (3,)
    assert peak <= 4 * DEFAULT_HTTPS_LIMITS.response + len(data)
    assert not hand.link.wants_socket
    assert hand.link.data_to_send() == b""


@pytest.mark.parametrize(
    ("stage", "bad"),
    [
        ("get_messages", {"messages": ["a", None, "b"]}),
        *(
            ("get_binary_messages", {"b64_messages": ["YQ==", bad, "YQ=="]})
            for bad in ("####", "YQ", "-_-_", "YQ==YQ==", "Y Q==", "ü")
        ),
    ],
)
def test_frames_before_a_bad_one_are_not_lost(stage, bad):
    """What came before is delivered, then the fault is told. Base64 is strict: no blanks, no other alphabet."""
    events = at(stage).answer(body=bad)

    assert [frame.data for frame in frames(events)] == [b"a"]
    assert closed(events).kind is CloseKind.LOST
    assert closed(events).error.code == "http_bad_body"


@pytest.mark.parametrize(
    "data",
    [
        response(body=polled("x"), content_type=None),
        response(body=polled("x"), content_type="Application/JSON"),
        response(body=polled("x"), headers=[("Content-Encoding", "identity")]),
        b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\nContent-Length: 18\r\n\r\n" + b'{"messages":["x"]}',
        b"HTTP/1.1 200\r\nContent-Length: 18\r\n\r\n" + b'{"messages":["x"]}',
        chunked(json.dumps(polled("x")).encode()) + b"0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + response(body=polled("x")),
        response(body=b'{"messages":["x"],"other":{"deeper":[1]}}'),
    ],
)
def test_unusual_but_right_answers_are_read(data):
    """What HTTP and JSON allow and a hub or a proxy might do."""
    hand = by_hand().open()

    assert [frame.data for frame in frames(hand.raw(data))] == [b"x"]


def test_a_large_answer_is_read():
    """A frame five times as large as a request may be."""
    (frame,) = frames(by_hand().open().answer(body=polled("x" * 5 * MIB)))

    assert len(frame.data) == 5 * MIB
