"""The client's end of the HTTPS link, against a hub played by h11 and the test, and whatever else may answer."""

from __future__ import annotations

from base64 import b64decode

import pytest

from thalovant_proto.carrier import Carrier, CloseKind, Frame, FrameType, Target
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.limits import MIB
from thalovant_proto.links.base import Accepted, LinkClosed, LinkOpened
from thalovant_proto.links.https.client import HttpsClientLink
from thalovant_proto.secret import Secret

from ...vectors import load
from .https_world import (
    AGENT,
    AUTHORIZATION,
    KEY,
    NOT_CONNECTED,
    PORTAL,
    ByHand,
    binary,
    by_hand,
    closed,
    frames,
    make_link,
    polled,
    polled_binary,
    response,
    sending,
    text,
)

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
    """Path and parameters of the endpoint stay, but for an `authorization` that is replaced."""
    hand = by_hand(url).pump()

    assert hand.link.target == target
    assert hand.asked.path == path
    assert hand.asked.query == {**query, "authorization": AUTHORIZATION}


def test_headers_ask_for_plain_json_only():
    """No compression is asked for: a body is never inflated here. The host names a port that is not the default."""
    hand = by_hand("https://hub.example:8443").pump()

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


@pytest.mark.parametrize(
    ("frame", "form"),
    [
        (text('{"a": "ü+&=% \\n☃"}'), {"message": '{"a": "ü+&=% \\n☃"}'}),
        (binary(b"\xfb\xef\xbe\xff\xff"), {"message": "++++//8=", "binary": "1"}),
    ],
)
@pytest.mark.parametrize("status", ["message sent", "buffered"])
def test_a_frame_is_a_form(frame, form, status):
    """Text as it is, bytes as standard base64 with a flag; a chunk of a longer message is `buffered` (wire.md §7.1)."""
    hand = sending(frame)

    assert hand.asked.form == form
    assert hand.asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert hand.answer(body={"status": status}) == [Accepted(token=7)]


def test_frames_leave_in_order_one_at_a_time_and_before_polls():
    """Each POST waits for the answer to the one before; polls come when nothing is left to send."""
    hand = by_hand().idle()
    for token, frame in enumerate([text("a"), binary(b"b"), text("c")]):
        hand.link.send(frame, hand.now, token=token)
    hand.link.send(text("d"), hand.now)
    hand.pump()

    sent, events = [], []
    for _ in range(4):
        sent.append(hand.asked.form["message"])
        events += hand.answer(body={"status": "message sent"})
    hand.wait()

    assert sent == ["a", "Yg==", "c", "d"]
    assert events == [Accepted(token=0), Accepted(token=1), Accepted(token=2)]
    assert hand.requests[-1] == "get_binary_messages"


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

    hand.link.close(hand.now)
    assert closed(hand.pump().answer()).unsent == ()


def test_what_waits_to_be_sent_is_bounded():
    """The queue has a limit; a refused frame changes nothing, and room comes back when frames leave."""
    hand = by_hand(queue_bytes=40).open()  # a poll is out, so frames wait
    hand.link.send(text("0123456789"), hand.now, token=1)  # 18 bytes as a form
    hand.link.send(text("0123456789"), hand.now, token=2)

    with pytest.raises(LocalProtocolError, match="wait to be sent"):
        hand.link.send(text("0123456789"), hand.now, token=3)
    hand.answer(body=polled())
    hand.link.send(text("0123456789"), hand.now, token=4)

    assert closed(hand.eof()).unsent == (2, 4)


def test_the_link_says_when_it_has_enough():
    """While a request is out, whatever it is: what comes behind it can be taken back as long as the link has it not."""
    hand = by_hand().idle()
    full = [hand.link.full]
    hand.link.send(text("x"), hand.now)
    full.append(hand.pump().link.full)
    hand.answer(body={"status": "message sent"})
    full.append(hand.link.full)
    hand.wait()  # for the next poll
    full.append(hand.link.full)

    assert full == [False, True, False, True]


def test_nothing_is_sent_before_the_session_is_open_or_after():
    """A frame before `/connect` is answered, or after the end, is a bug of the caller."""
    hand = by_hand().pump()

    for state in ("CLEARING", "CONNECTING", "LEAVING", "LEAVING", "CLOSED"):
        if state == "LEAVING":
            hand.link.close(hand.now)
        with pytest.raises(LocalProtocolError, match=state):
            hand.link.send(text("x"), hand.now)
        if state != "CLOSED":
            hand.answer(body=polled())


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


@pytest.mark.parametrize("reached", ["nothing", "the first request", "its answer"])
def test_a_link_that_was_never_connected_closes_at_once(reached):
    """Before `/connect` has left there is nothing to say goodbye to."""
    hand = by_hand()
    if reached != "nothing":
        hand.pump()
    if reached == "its answer":
        hand.out = None
        hand.raw(response(headers=[("Connection", "close")]))

    assert closed(hand.link.close(hand.now)).kind is CloseKind.CLOSED
    assert hand.link.data_to_send() == b""


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

    assert closed(hand.link.eof(hand.now)).kind is CloseKind.CLOSED


def test_a_goodbye_has_a_deadline():
    """A hub that does not answer holds nobody up for more than 5 s; what has not left is reported."""
    hand = by_hand().open()
    hand.link.send(text("x"), hand.now, token=1)
    hand.link.close(hand.now)
    assert hand.link.next_timeout == hand.now + 5

    last = closed(hand.link.handle_timeout(hand.now + 5))

    assert (last.kind, last.unsent) == (CloseKind.CLOSED, (1,))


@pytest.mark.parametrize(
    ("heard", "unsent"),
    [
        (b"", ()),
        (b"HTTP/1.1 200", ()),
        (response(409, NOT_CONNECTED), (7,)),
        (response(body=PORTAL, content_type="text/html"), ()),
    ],
    ids=["silence", "dribble", "409", "page"],
)
def test_trouble_during_a_goodbye_is_still_a_goodbye(heard, unsent):
    """We closed, so `CLOSED` it is, and the frames tell what became of them."""
    hand = sending(text("x"))
    hand.link.close(hand.now)

    last = closed(hand.raw(heard) or hand.eof())

    assert (last.kind, last.unsent) == (CloseKind.CLOSED, unsent)


@pytest.mark.parametrize(("url", "hint"), [("http://hub.example", "use https://"), ("https://hub.example", "")])
def test_plain_text_that_is_not_answered_has_a_hint(url, hint):
    """Most TLS ports just hang up on it."""
    hand = by_hand(url)
    hand.pump()

    last = closed(hand.eof())

    assert hint in last.hint
    assert bool(hint) is bool(last.hint)


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
        while hand.out is None or not hand.asked.path.endswith(path):
            if hand.out is None:
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
    assert texts + [b64decode(message) for message in sealed] == heard
    assert len(heard) == 4
    assert closed(hand.events).kind is CloseKind.CLOSED
