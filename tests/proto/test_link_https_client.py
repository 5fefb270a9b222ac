"""The client's end of the HTTPS link, against a hub played by h11 and the test, and whatever else may answer."""

from __future__ import annotations

import json
import re
import tracemalloc
import zlib
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from thalovant_proto.errors import LocalProtocolError, RemoteProtocolError
from thalovant_proto.limits import MIB
from thalovant_proto.links.base import (
    Accepted,
    Carrier,
    CloseKind,
    Frame,
    FrameReceived,
    FrameType,
    LinkClosed,
    LinkOpened,
    Target,
)
from thalovant_proto.links.https import DEFAULT_HTTPS_LIMITS
from thalovant_proto.links.https_client import HttpsClientLink
from thalovant_proto.secret import Secret

from .https_world import (
    AGENT,
    AUTHORIZATION,
    KEY,
    ByHand,
    accepted,
    binary,
    closed,
    frames,
    make_link,
    polled,
    polled_binary,
    response,
    text,
)
from .vectors import load

NOT_CONNECTED = {"error": "Client is not connected"}


def by_hand(url: str = "https://hub.example", **limits: Any) -> ByHand:
    return ByHand(make_link(url, limits=evolve(DEFAULT_HTTPS_LIMITS, **limits)))


def sending(frame: Frame, *, token: int | None = 7) -> ByHand:
    """A link whose POST of `frame` is out."""
    hand = by_hand().idle()
    hand.link.send(frame, hand.now, token=token)
    hand.pump()
    assert hand.asked is not None
    assert hand.asked.path == "/send_message"
    return hand


# --- what is asked


def test_a_session_begins_with_a_goodbye():
    """`/disconnect`, `/connect`, the text queue: a hub with a stale session would stay silent otherwise."""
    hand = by_hand().pump()

    hand.answer(body={"status": "Disconnected"})
    opened = hand.answer(body={"status": "Connected"})
    found = hand.answer(body=polled("hello", "offer"))

    assert hand.requests == ["disconnect", "connect", "get_messages"]
    assert opened == [
        LinkOpened(carrier=Carrier(legacy_binary_up=False, rehello=True, secure=True, receipts=True)),
    ]
    assert [(frame.data, frame.type) for frame in frames(found)] == [
        (b"hello", FrameType.TEXT),
        (b"offer", FrameType.TEXT),
    ]
    assert hand.dials == 1


@pytest.mark.parametrize("secure", [True, False])
def test_the_carrier_says_whether_the_socket_is_trusted(secure):
    """`secure` is what the caller knows about TLS, handed on."""
    hand = ByHand(HttpsClientLink("http://127.0.0.1:1", access_key=Secret(KEY), user_agent=AGENT, secure=secure)).open()

    opened = hand.events[0]

    assert isinstance(opened, LinkOpened)
    assert opened.carrier.secure is secure


def test_every_request_shows_the_access_key_in_the_query():
    """`authorization` is base64 of agent and key, on GET and POST alike (real-hubs.md §7)."""
    hand = by_hand().pump()

    shown = []
    for _ in range(3):
        assert hand.asked is not None
        shown.append((hand.asked.method, hand.asked.query))
        hand.answer(body={"status": "Connected", "messages": []})

    assert shown == [(method, {"authorization": AUTHORIZATION}) for method in ("POST", "POST", "GET")]


@pytest.mark.parametrize(
    ("url", "target", "path", "query"),
    [
        ("https://hub.example", Target(host="hub.example", port=443, tls=True), "/disconnect", {}),
        ("https://hub.example/", Target(host="hub.example", port=443, tls=True), "/disconnect", {}),
        ("https://hub.example:8443/public/", Target(host="hub.example", port=8443, tls=True), "/public/disconnect", {}),
        (
            "http://[::1]:5679/hive/mind?x=1&authorization=b2xk",
            Target(host="::1", port=5679, tls=False),
            "/hive/mind/disconnect",
            {"x": "1"},
        ),
    ],
)
def test_the_endpoint_keeps_its_prefix_and_its_query(url, target, path, query):
    """Path and parameters of the endpoint stay, but for an `authorization` that is replaced (sdk.md row 152)."""
    hand = by_hand(url).pump()

    assert hand.link.target == target
    assert hand.asked is not None
    assert hand.asked.path == path
    assert hand.asked.query == {**query, "authorization": AUTHORIZATION}


def test_headers_ask_for_plain_json_only():
    """No compression is asked for: a body is never inflated here. The host names a port that is not the default."""
    hand = by_hand("https://hub.example:8443").pump()

    assert hand.asked is not None
    assert hand.asked.headers == {
        "host": "hub.example:8443",
        "user-agent": AGENT,
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": "0",
    }


@pytest.mark.parametrize(
    ("url", "key", "agent"),
    [
        ("wss://hub.example", KEY, AGENT),
        (f"https://{KEY}@hub.example", KEY, AGENT),
        (f"https:///?authorization={KEY}", KEY, AGENT),
        ("https://hub.example", "", AGENT),
        ("https://hub.example", KEY, "with:colon"),
        ("https://hub.example", KEY, " "),
    ],
)
def test_what_cannot_work_is_refused_at_once(url, key, agent):
    """A bad URL, key or agent is the caller's mistake, and the message repeats none of them."""
    with pytest.raises(ValueError, match=r".") as refused:
        make_link(url, key=key, agent=agent)

    assert KEY not in str(refused.value)


def test_a_text_frame_is_a_form_field():
    """`message=<text>`, any Unicode, any sign that means something in forms."""
    hand = sending(text('{"a": "ü+&=% \\n☃"}'))

    assert hand.asked is not None
    assert hand.asked.form == {"message": '{"a": "ü+&=% \\n☃"}'.encode().decode("utf-8")}
    assert hand.asked.headers["content-type"] == "application/x-www-form-urlencoded"


def test_a_binary_frame_is_base64_with_a_flag():
    """`message=<standard base64>&binary=1`: `+` and `/` survive the form."""
    hand = sending(binary(b"\xfb\xef\xbe\xff\xff"))

    assert hand.asked is not None
    assert hand.asked.form == {"message": "++++//8=", "binary": "1"}


def test_frames_leave_in_order_one_at_a_time_and_before_polls():
    """Each POST waits for the answer to the one before; polls come when nothing is left to send."""
    hand = by_hand().idle()
    for token, frame in enumerate([text("a"), binary(b"b"), text("c")]):
        hand.link.send(frame, hand.now, token=token)
    hand.link.send(text("d"), hand.now)
    hand.pump()

    sent, events = [], []
    for _ in range(4):
        assert hand.asked is not None
        sent.append(hand.asked.form["message"])
        events += hand.answer(body={"status": "message sent"})
    hand.wait()

    assert sent == ["a", "Yg==", "c", "d"]
    assert events == [Accepted(token=0), Accepted(token=1), Accepted(token=2)]
    assert hand.requests[-1] == "get_binary_messages"


def test_buffered_is_accepted_too():
    """A hub calls a chunk of a longer message `buffered` (wire.md §7.1)."""
    hand = sending(binary(b"chunk"))

    assert hand.answer(body={"status": "buffered"}) == [Accepted(token=7)]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame(b"x", FrameType.UNTYPED), "text and binary"),
        (text(""), "empty"),
        (binary(b"x" * MIB), "over the limit"),
        (binary(b"x" * 2 * MIB), "over the limit"),
        (text("{" * (MIB // 3)), "over the limit"),
    ],
)
def test_a_frame_that_no_hub_takes_is_refused_before_it_is_queued(frame, why):
    """Limits count what goes over the wire: base64, and three bytes for a brace."""
    hand = by_hand().idle()

    with pytest.raises(LocalProtocolError, match=why):
        hand.link.send(frame, hand.now, token=1)

    assert closed(hand.take(hand.link.close(hand.now)) or leave(hand)).unsent == ()


def leave(hand: ByHand) -> list[Any]:
    """Through the goodbye of a link that has nothing to send."""
    hand.pump()
    return hand.answer(body={"status": "Disconnected"})


def test_what_waits_to_be_sent_is_bounded():
    """The queue has a limit; a refused frame changes nothing, and room comes back when frames leave."""
    hand = by_hand(send_queue=40).open()  # a poll is out, so frames wait
    hand.link.send(text("0123456789"), hand.now, token=1)  # 18 bytes as a form
    hand.link.send(text("0123456789"), hand.now, token=2)

    with pytest.raises(LocalProtocolError, match="wait to be sent"):
        hand.link.send(text("0123456789"), hand.now, token=3)
    hand.answer(body=polled())
    hand.link.send(text("0123456789"), hand.now, token=4)

    assert closed(hand.eof()).unsent == (2, 4)


def test_nothing_is_sent_before_the_session_is_open_or_after():
    """A frame before `/connect` is answered, or after the end, is a bug of the caller."""
    hand = by_hand().pump()
    with pytest.raises(LocalProtocolError, match="CLEARING"):
        hand.link.send(text("x"), hand.now)
    hand.answer()
    with pytest.raises(LocalProtocolError, match="CONNECTING"):
        hand.link.send(text("x"), hand.now)
    hand.answer()
    hand.link.close(hand.now)
    with pytest.raises(LocalProtocolError, match="LEAVING"):
        hand.link.send(text("x"), hand.now)
    hand.answer(body=polled())
    hand.answer()
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        hand.link.send(text("x"), hand.now)


# --- polling


def pauses(hand: ByHand, polls: int) -> Iterator[float]:
    """How long the link waits before each of its next polls; all come back empty."""
    for _ in range(polls):
        if hand.asked is None:
            yield round(hand.wait(), 6)
        assert hand.asked is not None
        hand.answer(body=polled() | polled_binary())


def test_somebody_who_waits_is_served_soon():
    """4 ms, half as long again with each empty poll, 100 ms at most (DESIGN §3)."""
    hand = by_hand().idle()
    hand.link.pace(True, hand.now)

    waits = list(pauses(hand, 16))

    expected = [min(0.004 * 1.5**n, 0.1) for n in range(len(waits))]
    assert waits == [pytest.approx(pause, abs=1e-5) for pause in expected]
    assert waits[-1] == 0.1


def test_nobody_waits_long_for_what_comes_unasked():
    """Without anybody waiting the pause grows on to 2 s, and stays there."""
    hand = by_hand().idle()

    waits = list(pauses(hand, 30))

    assert waits[0] == 0.004
    assert sorted(waits) == waits
    assert waits[-1] == 2.0


@pytest.mark.parametrize("noise", [True, False])
def test_an_idle_client_asks_once_a_second_at_most(noise):
    """After 10 s of idleness any minute has at most 60 requests, over both queues."""
    hand = by_hand().idle()
    if noise:
        hand.link.send(binary(b"sealed hello"), hand.now)
        hand.pump().answer()
    began, times = hand.now, []

    while hand.now < began + 600:
        if hand.asked is None:
            hand.wait()
        times.append(hand.now)
        hand.answer(body=polled() | polled_binary())

    calm = [time for time in times if time >= began + 10]
    worst = max(sum(start <= time < start + 60 for time in calm) for start in calm)
    assert worst <= 60
    assert worst >= 20
    assert {"get_messages", "get_binary_messages"} <= set(hand.requests)


def test_eagerness_shortens_a_long_pause():
    """An idle client that somebody waits for polls within 4 ms; saying so again changes nothing."""
    hand = by_hand().idle()
    list(pauses(hand, 30))

    hand.settle().link.pace(True, hand.now)
    first = hand.wait()
    hand.settle().link.pace(True, hand.now)
    second = hand.wait()

    assert first == pytest.approx(0.004)
    assert second == pytest.approx(0.006)


def test_idleness_begins_slowly():
    """When nobody waits any more, the pause goes on growing from where it was."""
    hand = by_hand().idle()
    hand.link.pace(True, hand.now)
    list(pauses(hand, 20))

    hand.link.pace(False, hand.now)
    waits = list(pauses(hand, 6))

    assert waits[:4] == [pytest.approx(0.1), pytest.approx(0.15), pytest.approx(0.225), pytest.approx(0.3375)]


@pytest.mark.parametrize("eager", [True, False])
def test_a_frame_heard_or_sent_quickens_the_polls(eager):
    """What arrives or leaves is rarely alone: the next poll comes 4 ms later."""
    hand = by_hand().idle()
    hand.link.pace(eager, hand.now)
    list(pauses(hand, 31))
    hand.settle().wait()

    hand.answer(body=polled("news") | polled_binary(b"news"))
    after_hearing = hand.settle().wait()
    list(pauses(hand.settle(), 31))
    hand.settle().link.send(text("ask"), hand.now)
    hand.pump().answer()
    after_sending = hand.wait()

    assert after_hearing == pytest.approx(0.004)
    assert after_sending == pytest.approx(0.004)


def test_while_shaking_hands_the_text_queue_is_polled():
    """Before a binary frame has left, three of four polls are for text; the fourth is followed by one for binary."""
    hand = by_hand().idle()
    hand.link.send(text('{"msg_type":"shake"}'), hand.now)
    hand.pump().answer()

    list(pauses(hand, 10))

    assert hand.requests[2:] == [
        "get_messages",
        "send_message",
        *("get_messages" for _ in range(3)),
        "get_binary_messages",
        *("get_messages" for _ in range(3)),
        "get_binary_messages",
        *("get_messages" for _ in range(2)),
    ]


def test_the_second_queue_is_polled_without_a_pause():
    """Looking into both queues costs a request, not time."""
    hand = by_hand().idle()
    list(pauses(hand, 2))
    hand.wait()

    hand.answer(body=polled())

    assert hand.asked is not None
    assert hand.asked.path == "/get_binary_messages"


def test_after_a_binary_frame_the_binary_queue_is_polled():
    """v3: the sealed hello is the first binary frame, and all that follows is binary; text is looked for at times."""
    hand = by_hand().idle()
    hand.link.send(binary(b"sealed hello"), hand.now)
    hand.pump().answer()
    before = len(hand.requests)

    list(pauses(hand, 8))

    binary_queue, text_queue = "get_binary_messages", "get_messages"
    assert hand.requests[before:] == [*[binary_queue] * 4, text_queue, *[binary_queue] * 3, text_queue]


def test_the_handshakes_last_message_does_not_wait_for_the_other_queue():
    """The turn to the binary queue is at once, also in the middle of a look into both."""
    hand = by_hand().idle()
    list(pauses(hand, 2))
    hand.wait()  # the fourth poll is out: the binary queue would be next, then text
    hand.link.send(binary(b"sealed hello"), hand.now)
    hand.answer(body=polled())
    hand.answer(body={"status": "message sent"})

    list(pauses(hand, 3))

    after = hand.requests[hand.requests.index("send_message") + 1 :]
    assert after == [*["get_binary_messages"] * 3, "get_messages"]


def test_binary_frames_are_given_as_bytes():
    """`b64_messages` hold standard base64 (wire.md §7.1)."""
    hand = sending(binary(b"x"))
    hand.answer()
    hand.wait()

    events = hand.answer(body=polled_binary(b"\xfb\xef\xbe\xff\xff", b""))

    assert [(frame.data, frame.type) for frame in frames(events)] == [
        (b"\xfb\xef\xbe\xff\xff", FrameType.BINARY),
        (b"", FrameType.BINARY),
    ]


def test_a_steady_sender_hears_its_answers():
    """Frames go before polls, but a poll that is overdue by a second goes before frames."""
    hand = by_hand().idle()
    since = len(hand.requests)

    for _ in range(100):  # a microphone on a slow network: a frame is always waiting
        hand.link.send(text("audio"), hand.now)
        hand.link.send(text("audio"), hand.now)
        hand.pump()
        hand.now += 0.1
        hand.answer(body=polled() if hand.requests[-1] == "get_messages" else polled_binary())

    asked = hand.requests[since:]
    assert 5 <= len(asked) - asked.count("send_message") <= 20


# --- cookies


def test_cookies_come_back():
    """The replica cookie of a hub, and a load balancer's, are sent with every later request (real-hubs.md §7)."""
    hand = by_hand().pump()
    hand.answer(headers=[("Set-Cookie", "lb=a1; Path=/; Secure"), ("Set-Cookie", "hivemind_http_replica=old")])

    hand.answer(headers=[("Set-Cookie", "hivemind_http_replica=vm; HttpOnly; Path=/; SameSite=Lax")])

    assert hand.asked is not None
    assert hand.asked.headers["cookie"] == "lb=a1; hivemind_http_replica=vm"


@pytest.mark.parametrize(
    "header", ["novalue", "=x", "bad name=x", "a=b\x80c", "n=" + "x" * 5000, ";a=b", "a=b c", 'a="quoted" text']
)
def test_what_is_no_cookie_is_not_sent_back(header):
    """Malformed and oversized cookies are left out; nothing else suffers."""
    hand = by_hand().pump()

    hand.reply(response().replace(b"\r\n\r\n", b"\r\nSet-Cookie: " + header.encode("latin-1") + b"\r\n\r\n", 1))

    assert hand.asked is not None
    assert "cookie" not in hand.asked.headers


def test_cookies_are_bounded():
    """No more than eight are kept, but one that is kept may change."""
    hand = by_hand().pump()
    hand.answer(headers=[("Set-Cookie", f"c{n}=1") for n in range(50)])

    hand.answer(headers=[("Set-Cookie", "c0=2"), ("Set-Cookie", "c40=2")])

    assert hand.asked is not None
    assert hand.asked.headers["cookie"] == "c0=2; " + "; ".join(f"c{n}=1" for n in range(1, 8))


# --- what answers mean


def at(stage: str) -> ByHand:
    """A link whose request of that name is out."""
    if stage == "send_message":
        return sending(text("x"))
    hand = by_hand().pump()
    if stage != "disconnect":
        hand.answer()
    if stage in ("get_messages", "get_binary_messages"):
        hand.answer()
        if stage == "get_binary_messages":
            hand.link.send(binary(b"x"), hand.now)
            hand.answer(body=polled())
            hand.answer()
            hand.wait()
    assert hand.requests[-1] == stage
    return hand


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
    """The very POST that a hub without a session refused has not been read; of others nobody knows (DESIGN §5)."""
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
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", None),
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


def test_a_wrong_path_comes_with_a_hint():
    """404 is what a hub behind a prefix says to an endpoint without it."""
    last = closed(at("disconnect").answer(404, b"<html>404: Not Found", content_type="text/html"))

    assert last.error is not None
    assert "path" in last.error.hint


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("no\r\nwords\x00 \u2028 of  ours", "no words of ours"),
        (f"key {KEY} is bad", "key … is bad"),
        (f"GET /connect?authorization={AUTHORIZATION}", "GET /connect?…"),
        ("x " * 500, ("x " * 60).strip()),
        (["list"], "['list']"),
    ],
)
def test_a_hubs_words_are_quoted_with_care(said, reason):
    """One short printable line, without anything that could be a key (QUALITY S2)."""
    last = closed(at("connect").answer(500, {"error": said}))

    assert last.reason == reason


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


def chunked(*chunks: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def huge(size: int) -> bytes:
    return b'{"messages":["' + b"x" * size + b'"]}'


PORTAL = b"<!DOCTYPE html><html><body>Welcome to the airport"
BOMB = zlib.compress(b"0" * 50 * MIB)

BAD_ANSWERS = {
    "captive portal": (response(body=PORTAL, content_type="text/html"), "http_content_type"),
    "portal without a type": (response(body=PORTAL, content_type=None), "http_bad_body"),
    "text for JSON": (response(content_type="text/plain"), "http_content_type"),
    "a redirect": (response(302, headers=[("Location", "https://elsewhere.example/")]), "http_redirect"),
    "a permanent redirect": (response(308, headers=[("Location", "https://elsewhere.example/")]), "http_redirect"),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", "http_redirect"),
    "a gzip bomb": (response(body=BOMB, headers=[("Content-Encoding", "gzip")]), "http_encoding"),
    "gzip, honestly": (response(headers=[("Content-Encoding", "GZIP, identity")]), "http_encoding"),
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
    assert last.unsent == (3,)
    assert peak <= 4 * DEFAULT_HTTPS_LIMITS.response + len(data)
    assert not hand.link.wants_socket
    assert hand.link.data_to_send() == b""


def test_a_binary_poll_must_hold_base64():
    """Strict base64: no blanks, no other alphabet, no half quantum."""
    for bad in ("####", "YQ", "-_-_", "YQ==YQ==", "Y Q==", "ü"):
        hand = at("get_binary_messages")

        last = closed(hand.answer(body={"b64_messages": ["YQ==", bad]}))

        assert last.error is not None
        assert last.error.code == "http_bad_body"
        assert [frame.data for frame in frames(hand.events)][-1] == b"a"


def test_frames_before_a_bad_one_are_not_lost():
    """A poll that goes bad in the middle still delivers what came before, then says so."""
    hand = by_hand().open()

    events = hand.answer(body={"messages": ["one", "two", None, "four"]})

    assert [frame.data for frame in frames(events)] == [b"one", b"two"]
    assert closed(events).kind is CloseKind.LOST


@pytest.mark.parametrize(
    "data",
    [
        response(body=polled("x"), content_type=None),
        response(body=polled("x"), content_type="Application/JSON"),
        response(body=polled("x"), headers=[("Content-Encoding", "identity")]),
        chunked(json.dumps(polled("x")).encode()) + b"0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + response(body=polled("x")),
        response(body=b'{"messages":["x"],"other":{"deeper":[1]}}'),
    ],
)
def test_unusual_but_right_answers_are_read(data):
    """What HTTP and JSON allow and a hub or a proxy might do."""
    hand = by_hand().open()

    assert [frame.data for frame in frames(hand.raw(data))] == [b"x"]


# --- sockets come and go


def test_a_socket_closed_between_requests_is_no_event():
    """Keep-alive may end at any time; a socket is wanted again when there is something to ask."""
    hand = by_hand().idle()

    assert hand.eof() == []
    assert not hand.link.wants_socket
    hand.wait()

    assert hand.dials == 2
    assert hand.asked is not None
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
        hand.asked = None
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
    hand.asked = None
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
    assert last.error is not None
    assert last.error.code == "http_truncated"


def test_a_poll_that_crossed_with_a_close_is_asked_again():
    """On a socket that has served before, no answer at all to a poll means that the peer was closing it."""
    hand = by_hand().idle()
    hand.wait()

    assert hand.eof() == []
    hand.pump()

    assert hand.dials == 2
    assert hand.requests[-2:] == ["get_messages", "get_messages"]


def test_a_poll_is_not_asked_again_for_ever():
    """On a fresh socket the same silence is a hub that is gone."""
    hand = by_hand().idle()
    hand.wait()
    hand.eof()
    hand.pump()

    last = closed(hand.eof())

    assert (last.kind, last.code, last.error) == (CloseKind.LOST, None, None)


@pytest.mark.parametrize("heard", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_frame_without_an_answer_is_never_sent_again(heard):
    """Nobody can tell whether the hub read it: it is not among `unsent`, the ones behind it are (DESIGN §5)."""
    hand = sending(text("do it once"))
    hand.link.send(text("later"), hand.now, token=8)
    hand.raw(heard)

    last = closed(hand.eof())

    assert last.kind is CloseKind.LOST
    assert last.unsent == (8,)
    assert accepted(hand.events) == []


def test_a_frame_that_never_left_is_unsent():
    """A request that the driver had not taken when the socket ended is as if it had never been made."""
    hand = by_hand().idle()
    hand.link.send(text("x"), hand.now, token=1)  # in the link's hands, not drained

    assert hand.eof() == []
    hand.pump()
    assert hand.asked is not None
    sent = hand.asked.form["message"]
    assert hand.answer() == [Accepted(token=1)]

    assert sent == "x"
    assert hand.dials == 2


def test_a_poll_that_never_left_is_made_again():
    """The same for a poll."""
    hand = by_hand().idle()
    assert hand.link.next_timeout is not None
    hand.now = hand.link.next_timeout
    hand.link.handle_timeout(hand.now)

    assert hand.eof() == []
    hand.pump()

    assert hand.requests[-1] == "get_messages"
    assert hand.dials == 2


def test_a_new_socket_takes_over_what_has_not_left():
    """A driver may replace a socket: the request that was not drained goes to the new one."""
    hand = by_hand().idle()
    hand.link.send(text("x"), hand.now, token=1)

    hand.take(hand.link.socket_opened(hand.now))
    hand.pump()

    assert hand.asked is not None
    assert hand.asked.form == {"message": "x"}


@pytest.mark.parametrize("stage", ["disconnect", "connect", "send_message"])
def test_silence_while_something_is_at_stake_is_lost(stage):
    """Only polls are asked again."""
    hand = at(stage)

    assert closed(hand.eof()).kind is CloseKind.LOST


def test_a_fresh_socket_that_ends_before_anything_left_is_lost():
    """A port that accepts and hangs up must not be dialed in a circle."""
    hand = by_hand()
    hand.take(hand.link.socket_opened(hand.now))

    assert closed(hand.take(hand.link.eof(hand.now))).kind is CloseKind.LOST


def test_a_dial_that_fails_ends_the_link():
    """A driver that cannot get the wanted socket says `eof`; what is queued never left."""
    hand = by_hand().idle()
    hand.eof()
    hand.link.send(text("x"), hand.now, token=5)

    last = closed(hand.take(hand.link.eof(hand.now)))

    assert (last.kind, last.unsent) == (CloseKind.LOST, (5,))


def test_an_end_that_nobody_waits_for_is_no_event():
    """`eof` with no socket and no wish for one changes nothing."""
    hand = by_hand().idle()
    hand.eof()

    assert hand.link.eof(hand.now) == []
    hand.wait()

    assert hand.requests[-1] == "get_messages"


@pytest.mark.parametrize("undrained", [False, True])
def test_words_that_nobody_asked_for_cost_the_socket_only(undrained):
    """A server's 408 on an idle socket, or an answer before the question, is no answer to what is asked next."""
    hand = by_hand().idle()
    if undrained:
        hand.link.send(text("x"), hand.now, token=1)

    assert hand.raw(response(408, b"")) == []
    assert not hand.link.wants_socket
    hand.pump().until_asked()

    assert hand.dials == 2
    assert hand.requests[-1] == ("send_message" if undrained else "get_messages")


def test_words_behind_an_answer_cost_the_socket_only():
    """An answer with something after it is believed; the socket is not."""
    hand = by_hand().open()
    hand.asked = None

    events = hand.raw(response(body=polled("x")) + b"HTTP/1.1 200 OK\r\n\r\n")

    assert [frame.data for frame in frames(events)] == [b"x"]
    assert not hand.link.wants_socket
    assert hand.pump().until_asked().dials == 2


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
    assert hand.link.next_timeout == began + 10

    hand.now += 9.9
    assert hand.raw(b"HTTP/1.1 200 OK\r\n") == []
    assert hand.link.handle_timeout(hand.now) == []
    assert hand.link.next_timeout == began + 10
    hand.now += 0.1
    last = closed(hand.link.handle_timeout(hand.now))

    assert (last.kind, last.unsent) == (CloseKind.LOST, ())
    assert last.error is not None
    assert last.error.code == "http_timeout"
    assert stage in str(last.error)


def test_no_timer_runs_without_a_socket_at_first():
    """Before the first socket is up there is nothing to wait for but the dial, which is the driver's."""
    link = make_link()

    assert link.wants_socket
    assert link.next_timeout is None
    assert link.handle_timeout(5.0) == []


def test_a_poll_that_waits_for_a_socket_has_no_timer():
    """While the driver dials, its own deadline rules."""
    hand = by_hand().idle()
    hand.eof()
    due = hand.link.next_timeout
    assert due is not None

    hand.link.handle_timeout(due)

    assert hand.link.wants_socket
    assert hand.link.next_timeout is None
    assert hand.link.handle_timeout(due + 1) == []
    assert hand.link.wants_socket


def test_a_timer_that_fires_early_changes_nothing():
    """Neither the pause nor a deadline is touched."""
    hand = by_hand().idle()
    due = hand.link.next_timeout
    assert due is not None

    assert hand.link.handle_timeout(due - 0.001) == []

    assert hand.link.next_timeout == due
    assert hand.link.data_to_send() == b""


# --- the goodbye


def test_a_goodbye_comes_after_what_is_queued():
    """Frames first, then `/disconnect`, then the end; no more polls."""
    hand = by_hand().idle()
    hand.link.send(text("a"), hand.now, token=1)
    hand.link.send(text("b"), hand.now, token=2)

    assert hand.link.close(hand.now) == []
    assert hand.link.close(hand.now) == []
    hand.pump()
    events = [*hand.answer(), *hand.answer(), *hand.answer(body={"status": "Disconnected"})]

    assert hand.requests[-3:] == ["send_message", "send_message", "disconnect"]
    assert events == [Accepted(token=1), Accepted(token=2), LinkClosed(kind=CloseKind.CLOSED)]
    assert hand.link.close(hand.now) == []


def test_frames_of_the_last_poll_are_not_lost():
    """A poll that was out when the link was closed still delivers."""
    hand = by_hand().open()

    hand.link.close(hand.now)
    events = hand.answer(body=polled("last words"))

    assert [frame.data for frame in frames(events)] == [b"last words"]
    assert hand.requests[-1] == "disconnect"


@pytest.mark.parametrize("answers", [0, 1])
def test_a_link_that_was_never_connected_closes_at_once(answers):
    """Before `/connect` has left there is nothing to say goodbye to."""
    hand = by_hand()
    if answers:
        hand.pump()

    last = closed(hand.link.close(hand.now))

    assert last.kind is CloseKind.CLOSED
    assert hand.link.data_to_send() == b""


def test_a_link_between_its_first_requests_closes_at_once():
    """The same where the socket ended after the first `/disconnect`."""
    hand = by_hand().pump()
    hand.asked = None
    hand.raw(response(headers=[("Connection", "close")]))

    assert closed(hand.link.close(hand.now)).kind is CloseKind.CLOSED


def test_a_link_that_is_connecting_says_goodbye_all_the_same():
    """The hub may hold a session once it has read `/connect`."""
    hand = by_hand().pump()
    hand.answer()

    assert hand.link.close(hand.now) == []
    assert hand.answer(body={"status": "Connected"}) == []
    last = closed(hand.answer(body={"status": "Disconnected"}))

    assert hand.requests == ["disconnect", "connect", "disconnect"]
    assert last.kind is CloseKind.CLOSED


def test_a_goodbye_dials_if_it_must():
    """With no socket at hand one is wanted for `/disconnect`; if there is none, that is the end."""
    hand = by_hand().idle()
    hand.eof()

    hand.link.close(hand.now)
    assert hand.link.wants_socket
    last = closed(hand.link.eof(hand.now))

    assert last.kind is CloseKind.CLOSED


def test_a_goodbye_has_a_deadline():
    """A hub that does not answer holds nobody up for more than 5 s; what has not left is reported."""
    hand = by_hand().open()
    hand.link.send(text("x"), hand.now, token=1)
    hand.link.close(hand.now)
    assert hand.link.next_timeout == hand.now + 5

    hand.now += 5
    last = closed(hand.link.handle_timeout(hand.now))

    assert (last.kind, last.unsent) == (CloseKind.CLOSED, (1,))


@pytest.mark.parametrize("trouble", ["silence", "409", "page", "dribble"])
def test_trouble_during_a_goodbye_is_still_a_goodbye(trouble):
    """We closed, so `CLOSED` it is, and the frames tell what became of them."""
    hand = sending(text("x"))
    hand.link.close(hand.now)

    match trouble:
        case "silence":
            events = hand.eof()
        case "409":
            events = hand.answer(409, NOT_CONNECTED)
        case "page":
            events = hand.answer(body=PORTAL, content_type="text/html")
        case _:
            hand.raw(b"HTTP/1.1 200")
            events = hand.eof()

    last = closed(events)
    assert last.kind is CloseKind.CLOSED
    assert last.unsent == ((7,) if trouble == "409" else ())


def test_after_the_end_nothing_is_done():
    """A closed link ignores input, asks for nothing and has nothing to send."""
    hand = by_hand().idle()
    hand.wait()
    closed(hand.answer(409))

    link, now = hand.link, hand.now
    assert link.socket_opened(now) == []
    assert link.receive_data(response(), now) == []
    assert link.eof(now) == []
    assert link.handle_timeout(now + 100) == []
    link.pace(True, now)
    assert link.data_to_send() == b""
    assert not link.wants_socket
    assert link.next_timeout is None


# --- properties


def exchange(cut: int | None) -> tuple[list[Any], list[bytes]]:
    """A session of some variety against recorded answers; events with frames opened up, and all requests."""
    link = make_link()
    answers = [
        response(body={"error": "Already Disconnected"}, headers=[("Connection", "close")]),
        response(body={"status": "Connected"}, headers=[("Set-Cookie", "hivemind_http_replica=vm; Path=/")]),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + response(body=polled("hello", "offer")),
        response(body={"status": "message sent"}),
        chunked(b'{"messages":["msg', b'2"]}') + b"0\r\nTrailer: x\r\n\r\n",
        response(body={"status": "buffered"}),
        response(body=polled_binary(b"sealed", b"more")),
        response(409, NOT_CONNECTED),
    ]
    script = {3: text("msg1"), 5: binary(b"hello"), 7: binary(b"lost")}
    events: list[Any] = []
    requests = []
    now, connected = 50.0, False
    for number, answer in enumerate(answers):
        if number in script:
            link.send(script[number], now, token=number)
        while True:
            if connected and not link.wants_socket:
                connected = False
                events += link.eof(now)
            if not connected and link.wants_socket:
                connected = True
                events += link.socket_opened(now)
            if request := link.data_to_send():
                break
            assert link.next_timeout is not None
            now = max(now, link.next_timeout)
            events += link.handle_timeout(now)
        requests.append(request)
        size = cut or len(answer)
        for start in range(0, len(answer), size):
            events += link.receive_data(answer[start : start + size], now)
    return [
        (event.frame.data, event.frame.type) if isinstance(event, FrameReceived) else event for event in events
    ], requests


@given(st.integers(min_value=1, max_value=400))
@settings(max_examples=30, deadline=None)
def test_any_cut_gives_the_same_session(cut):
    """Events and requests do not depend on how the bytes of answers are cut (QUALITY C1)."""
    assert exchange(cut) == exchange(None)


def test_the_session_of_that_property_is_what_it_should_be():
    """What the property compares is not nothing."""
    events, requests = exchange(1)

    assert events == [
        LinkOpened(carrier=Carrier(legacy_binary_up=False, rehello=True, secure=True, receipts=True)),
        (b"hello", FrameType.TEXT),
        (b"offer", FrameType.TEXT),
        Accepted(token=3),
        (b"msg2", FrameType.TEXT),
        Accepted(token=5),
        (b"sealed", FrameType.BINARY),
        (b"more", FrameType.BINARY),
        LinkClosed(kind=CloseKind.FORGOTTEN, code=409, reason="Client is not connected", unsent=(7,)),
    ]
    assert [re.split(rb"[ ?]", request)[1] for request in requests] == [
        b"/disconnect",
        b"/connect",
        b"/get_messages",
        b"/send_message",
        b"/get_messages",
        b"/send_message",
        b"/get_binary_messages",
        b"/send_message",
    ]


@given(st.sampled_from(["disconnect", "connect", "get_messages", "get_binary_messages", "send_message"]), st.data())
@settings(max_examples=150, deadline=None)
def test_garbage_is_the_peers_fault(stage, data):
    """Whatever arrives, nothing is raised; the link goes on or ends with one last event."""
    hand = at(stage)
    pieces = data.draw(
        st.lists(
            st.one_of(
                st.binary(max_size=80),
                st.sampled_from(
                    [
                        b"HTTP/1.1 200 OK\r\n",
                        b"Content-Length: 3\r\n",
                        b"Transfer-Encoding: chunked\r\n",
                        b"\r\n",
                        b"0\r\n\r\n",
                        b"3\r\n{ }\r\n",
                        response(body=polled("x")),
                        b"HTTP/1.1 000 x\r\n\r\n",
                        b"HTTP/9.9 999 x\r\n\r\n",
                        b'{"error":',
                    ]
                ),
            ),
            max_size=8,
        )
    )

    events = []
    for piece in pieces:
        events += hand.link.receive_data(piece, hand.now)
        hand.link.data_to_send()
    events += hand.link.eof(hand.now)

    assert [isinstance(event, LinkClosed) for event in events][:-1] == [False] * (len(events) - 1)


# --- a recorded session with a real hub


def test_the_capture_of_a_real_hub_is_reproduced():
    """A session with hivemind-core 5.3: the same requests, made of what went in, and its frames come out."""
    capture = load("capture_http_next")["exchanges"]
    hand = ByHand(make_link(key="testkey123", agent="VecHTTP")).pump()
    hand.answer(body={"error": "Already Disconnected"})
    heard: list[bytes] = []

    for recorded in capture:
        path = recorded["path"].strip("/")
        if recorded["method"] == "POST" and path == "send_message":
            form = recorded["form"]
            data = form["message"].encode()
            hand.link.send(binary(b64decode(data)) if "binary" in form else text(data), hand.now)
            hand.pump()
        elif path == "disconnect":
            hand.link.close(hand.now)
            hand.pump()
        while hand.asked is None or not hand.asked.path.endswith(path):
            if hand.asked is None:
                hand.wait()
            else:
                hand.answer(body=polled() | polled_binary())
        assert hand.asked.method == recorded["method"]
        assert hand.asked.query == recorded["params"]
        assert hand.asked.form == (recorded["form"] or {})
        headers = [("Set-Cookie", recorded["set_cookie"])] if recorded["set_cookie"] else []
        events = hand.answer(recorded["status"], recorded["response"], [*recorded["headers"].items(), *headers])
        heard += [frame.data for frame in frames(events)]

    texts = [message.encode() for each in capture for message in each["response"].get("messages", [])]
    sealed = [m for each in capture for m in each["response"].get("b64_messages", [])]
    assert heard == texts + [b64decode(message) for message in sealed]
    assert len(heard) == 4
    assert closed(hand.events).kind is CloseKind.CLOSED
