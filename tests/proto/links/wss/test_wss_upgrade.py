"""The upgrade of the WSS link: what a client asks, what a hub grants, and what either makes of anything else."""

from __future__ import annotations

import h11
import pytest

from thalovant_proto.carrier import Carrier, CloseKind, Credentials, Target
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.links.base import FrameReceived, LinkClosed, LinkOpened
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.common import WssLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

from ...vectors import load
from ..link_pair import Pair, frames, receive
from .ws_wire import (
    ACCEPT,
    CLOSE,
    REQUEST,
    SMALL,
    TEXT,
    both_ends,
    client_link,
    hub_link,
    in_order,
    raw_frame,
    read_frames,
    text,
)

CUTS = pytest.mark.parametrize("cut", [None, 1, 3])
SEEN = Credentials(access_key=Secret("key"), user_agent="Sdk/1")

HEAD = 16 * 1024  # bytes up to the blank line
OVER = f"a head over the limit of {HEAD} bytes"


def link_at(end: str) -> WssLink:
    """One end with its socket just open, what it has to say already said."""
    link = client_link(SMALL) if end == "client" else hub_link(SMALL)
    assert link.socket_opened(0.0) == []
    link.data_to_send()
    return link


def answers(link: WssLink) -> tuple[h11.Response | h11.InformationalResponse, bytes]:
    """The HTTP answer that leaves a hub's end, and the bytes after it."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x"), ("Upgrade", "websocket")]))
    reader.receive_data(link.data_to_send())
    answer = reader.next_event()
    assert isinstance(answer, (h11.Response, h11.InformationalResponse))
    return answer, reader.trailing_data[0]


@CUTS
def test_both_ends_open(cut):
    """One round trip; the hub learns the key, both learn what the carrier can do, and whether it is secure."""
    client = WssClientLink(
        "ws://127.0.0.1:5678", access_key=Secret("key"), user_agent="Sdk/1", entropy=in_order, secure=True
    )
    pair = Pair(client, WssServerLink(secure=False), cut=cut)

    assert client.wants_socket
    assert client.next_timeout is None
    pair.open()

    assert pair.client_heard == [LinkOpened(carrier=Carrier(secure=True))]
    assert pair.hub_heard == [LinkOpened(carrier=Carrier(secure=False), credentials=SEEN)]
    assert pair.client.next_timeout == pair.hub.next_timeout == 20.0


def test_the_request():
    """What goes over the wire first, byte for byte."""
    link = WssClientLink(
        "wss://hub.local:5678/?x=1", access_key=Secret("key"), user_agent="Sdk/1", entropy=in_order, secure=True
    )
    assert link.target == Target(host="hub.local", port=5678, tls=True)
    assert link.data_to_send() == b""

    link.socket_opened(5.0)
    request = link.data_to_send().replace(b"WebSocket\r\n", b"websocket\r\n")  # older releases of wsproto

    assert request == (
        b"GET /?x=1&authorization=U2RrLzE6a2V5 HTTP/1.1\r\nHost: hub.local:5678\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
        b"Sec-WebSocket-Version: 13\r\nUser-Agent: Sdk/1\r\n\r\n"
    )
    assert link.next_timeout == 15.0


@pytest.mark.parametrize(
    ("url", "agent", "key"),
    [
        ("https://hub.local", "Sdk/1", "PLANTED"),
        ("wss://PLANTED@hub.local", "Sdk/1", "PLANTED"),
        ("wss://" + "x" * 60 + ":5678", "Sdk/1", "PLANTED"),  # wsproto would take the port into the label
        ("wss://hub.local/PLANTED", "Sdk:1", "PLANTED"),
        ("wss://hub.local/PLANTED", "Sdk/1", ""),
    ],
)
def test_arguments_that_cannot_work(url, agent, key):
    """A ValueError before any dial, that shows none of them."""
    with pytest.raises(ValueError) as caught:
        WssClientLink(url, access_key=Secret(key), user_agent=agent, entropy=in_order, secure=True)

    assert "PLANTED" not in repr(caught.value)


def test_nothing_shows_the_key():
    """Neither the link nor what it reports."""
    pair = Pair(client_link(), hub_link()).open()
    value = "U2RrLzE6a2V5"

    shown = repr((pair.client, pair.hub, pair.client_heard, pair.hub_heard))

    assert value not in shown
    assert "'key'" not in shown


# --- the hub's end


@CUTS
def test_a_request_of_others(cut):
    """websocket-client's own request, with an Origin and an extension: granted, and neither mentioned."""
    link = link_at("hub")
    hello = raw_frame(TEXT, b"{}", mask=True)

    opened, *rest = receive(link, REQUEST + hello, cut=cut)
    answer, trailing = answers(link)

    assert opened == LinkOpened(carrier=Carrier(secure=True), credentials=SEEN)
    assert frames(rest) == [text("{}")]
    assert answer.status_code == 101
    assert {name: value.lower() for name, value in answer.headers} == {
        b"upgrade": b"websocket",
        b"connection": b"upgrade",
        b"sec-websocket-accept": ACCEPT.lower(),
    }
    assert trailing == b""


@pytest.mark.parametrize(
    "change",
    [
        (b"Connection: Upgrade", b"connection: keep-alive,upgrade"),
        (b"Upgrade: websocket", b"UPGRADE: WebSocket"),
        (b"Host: 127.0.0.1:5678", b"Host: [::1]:5678"),
        (b"Host: 127.0.0.1:5678", b"Host: my_hub"),
        (b"Host: 127.0.0.1:5678", b"Host:"),
        (b"GET /?", b"GET /public/hub?x=1&"),
        (b"Origin: http://127.0.0.1:5678\r\n", b""),
        (b"Origin: http://127.0.0.1:5678", b"Origin: null\r\nSec-WebSocket-Protocol: hive, mind\r\nX-Odd: \xff\xfe"),
        (b"Origin: http://127.0.0.1:5678", b"X-Folded: a\r\n b"),
        (b"\r\n", b"\n"),
    ],
)
def test_headers_in_other_words(change):
    """Other spellings of the same request, and what it has besides, make no difference."""
    link = link_at("hub")

    assert receive(link, REQUEST.replace(*change)) == [LinkOpened(carrier=Carrier(secure=True), credentials=SEEN)]
    assert answers(link)[0].status_code == 101


@CUTS
@pytest.mark.parametrize("target", [b"/", b"/?authorization=", b"/?authorization=!", b"/?authorization=bm8gY29sb24="])
def test_nothing_usable_shown(target, cut):
    """As real hubs do: the upgrade, then 1008; the link never opens, and frames sent along count for nothing."""
    vector = load("close_codes_ws_next")["close_probes"]
    (expected,) = vector["not base64"]
    assert vector["no colon"] == [expected]
    link = link_at("hub")
    request = REQUEST.replace(b"/?authorization=U2RrLzE6a2V5", target)

    assert receive(link, request + raw_frame(TEXT, b"{}", mask=True), cut=cut) == []
    answer, trailing = answers(link)
    goodbye = list(read_frames(trailing, from_client=False))
    closed = receive(link, raw_frame(CLOSE, b"\x03\xf0", mask=True), cut=cut)

    assert answer.status_code == 101
    assert goodbye == [(CLOSE, (1008, "invalid authorization"))]
    assert expected == ["CLOSE", str(closed[0].code), closed[0].reason]
    assert closed == [LinkClosed(kind=CloseKind.CLOSED, code=1008, reason="invalid authorization")]
    assert not link.wants_socket


def test_an_unknown_key():
    """The owner's verdict: the client sees a refusal with the words of real hubs."""
    (expected,) = load("close_codes_ws_next")["close_probes"]["unknown access key"]
    pair = Pair(client_link(), hub_link()).open()

    pair.hub.close(0.0, code=1008, reason="invalid api key")
    pair.drive()

    closed = pair.client_heard[-1]
    assert closed == LinkClosed(kind=CloseKind.REFUSED, code=1008, reason="invalid api key")
    assert expected == ["CLOSE", str(closed.code), closed.reason]


@CUTS
@pytest.mark.parametrize(
    ("request_bytes", "status", "what"),
    [
        (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", 426, "an HTTP request that is no WebSocket upgrade"),
        (b"HEAD / HTTP/1.1\r\nHost: hub\r\n\r\n", 426, "an HTTP request that is no WebSocket upgrade"),
        (b"GET / HTTP/1.0\r\n\r\n", 426, "an HTTP request that is no WebSocket upgrade"),
        (b"POST / HTTP/1.1\r\nHost: hub\r\nContent-Length: 3\r\n\r\nabc", 426, None),
        (REQUEST.replace(b"-Version: 13", b"-Version: 8"), 426, None),
        (REQUEST.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426, None),
        (REQUEST.replace(b"Connection: Upgrade", b"Connection: close"), 426, None),
        (REQUEST.replace(b"Sec-WebSocket-Key", b"X-Key"), 426, None),
        (REQUEST.replace(b"Host", b"X-Host"), 400, "a bad HTTP request"),
        (REQUEST.replace(b"Host: ", b"Host : "), 400, "a bad HTTP request"),
        (REQUEST.replace(b"127.0.0.1:5678\r\n", b"h\xff\r\n", 1), 400, "a bad HTTP header"),
        (REQUEST.replace(b"Connection: Upgrade", b"Connection: \xff"), 400, "a bad HTTP header"),
        (b"GET / HTTP/2.0\r\n\r\n", 426, None),
        (b"garbage\r\n\r\n", 400, "a bad HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "something that is not HTTP (it looks like TLS)"),
        (b"\r\n\r\n", 400, "something that is not HTTP"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD - 19), 431, OVER),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD - 22) + b"\r\n\r\n", 431, OVER),
    ],
)
def test_requests_that_are_no_upgrade(request_bytes, status, what, cut):
    """Browsers, health checks, scanners: a small HTTP answer that says how to talk to us, and the end."""
    link = link_at("hub")

    events = receive(link, request_bytes, cut=cut)
    answer, trailing = answers(link)

    (closed,) = events
    assert (closed.kind, closed.code) == (CloseKind.LOST, status)
    assert what in (None, closed.reason)
    assert str(closed.error) == f"the WebSocket peer sent {closed.reason} while UPGRADING"
    assert (answer.status_code, answer.reason != b"", trailing) == (status, True, b"")
    headers = dict(answer.headers)
    assert headers[b"upgrade"] == b"websocket"
    assert headers[b"connection"] == b"close, Upgrade"
    assert headers[b"sec-websocket-version"] == b"13"
    assert headers[b"content-length"] == b"0"
    assert not link.wants_socket
    assert receive(link, REQUEST) == []


def test_a_head_at_the_limit():
    """The limit counts the blank line."""
    link = link_at("hub")
    fill = b"X: " + b"x" * (HEAD - len(REQUEST) - len(b"X: \r\n"))

    (opened,) = receive(link, REQUEST[:-2] + fill + b"\r\n\r\n")

    assert isinstance(opened, LinkOpened)


def test_tls_on_a_plain_port_has_a_hint():
    """The commonest mistake behind bytes that are no HTTP, on either end."""
    (at_hub,) = receive(link_at("hub"), b"\x16\x03\x01")
    (at_client,) = receive(link_at("client"), b"\x15\x03\x01\x00\x02\x02\x46")
    (other,) = receive(link_at("client"), b"SSH-2.0-OpenSSH_9.6\r\n")

    assert (
        at_hub.error.hint
        == at_client.error.hint
        == ("It speaks TLS, we speak plain text: check the scheme and the port.")
    )
    assert other.error.hint == ""


@pytest.mark.parametrize(
    ("url", "heard", "hint"), [("ws://h", b"", "use wss://"), ("ws://h", b"HT", ""), ("wss://h", b"", "")]
)
def test_plain_text_that_is_not_answered_has_a_hint(url, heard, hint):
    """Most TLS ports just hang up on it."""
    link = client_link(url=url)
    link.socket_opened(0.0)

    (closed,) = [*receive(link, heard), *link.eof(1.0)]

    assert hint in closed.hint
    assert bool(hint) is bool(closed.hint)


# --- the client's end


NO_HUB = "something else answers in the hub's place: sign in to the network's portal, or check the endpoint"
ELSEWHERE = "open the endpoint in a browser; if it leads to the hub, use the URL where it ends"
ANOTHER = "check scheme, port and path of the hub's endpoint"
LOGS = "look into the log of the hub and of the proxy before it"


@pytest.mark.parametrize("status", [401, 403])
def test_http_refusals(status):
    """The edge of a hub refuses this client."""
    (closed,) = receive(link_at("client"), b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

    assert closed == LinkClosed(kind=CloseKind.REFUSED, code=status, reason=f"HTTP {status}: no WebSocket there")


@pytest.mark.parametrize(
    ("status", "why", "hint"),
    [
        (200, "no WebSocket there", NO_HUB),
        (204, "no WebSocket there", NO_HUB),
        (301, "redirects are not followed", ELSEWHERE),
        (307, "redirects are not followed", ELSEWHERE),
        (400, "no WebSocket there", ANOTHER),
        (404, "no WebSocket there", "check the path of the hub's endpoint"),
        (407, "no WebSocket there", "a proxy on the way wants a password: reach the hub without it"),
        (426, "no WebSocket there", ANOTHER),
        (408, "no WebSocket there", "check the endpoint"),
        (429, "no WebSocket there", "the hub, or the proxy before it, is asked too often: wait"),
        (500, "no WebSocket there", LOGS),
        (502, "no WebSocket there", "the proxy there does not reach the hub: is the hub running?"),
        (503, "no WebSocket there", "the hub, or the proxy before it, is busy or starting: try again later"),
    ],
)
@CUTS
def test_what_is_no_hub(status, why, hint, cut):
    """Portals, proxies and other services say nothing about the client. The body, however long, is never read."""
    link = link_at("client")
    answer = b"HTTP/1.1 %d No\r\nLocation: /\r\nContent-Length: 99999999999\r\n\r\n" % status

    (closed,) = receive(link, answer, cut=cut)

    assert (closed.kind, closed.code, closed.reason) == (CloseKind.LOST, status, f"HTTP {status}: {why}")
    assert str(closed.error) == f"the endpoint answered the WebSocket upgrade with HTTP {status}: {why}"
    assert (closed.error.code, closed.error.hint) == ("http_status", hint)
    assert receive(link, b"x" * 100_000) == []
    assert link.data_to_send() == b""
    assert not link.wants_socket
    assert link.next_timeout is None


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("86400", 60.0),
        ("9" * 500, 60.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("tomorrow", None),
    ],
)
def test_retry_after(wait, seconds):
    """An ingress that asks to be left alone is heard, for a minute at most; dates are compared with the answer's."""
    head = f"HTTP/1.1 503 Busy\r\nRetry-After: {wait}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    (closed,) = receive(link_at("client"), head.encode())

    assert (closed.kind, closed.retry_after) == (CloseKind.LOST, seconds)


def granted(link: WssClientLink, *changes: tuple[bytes, bytes]) -> bytes:
    """What a hub answers to `link`'s request, changed."""
    hub = hub_link()
    receive(hub, link.data_to_send())
    answer = hub.data_to_send().replace(b"WebSocket\r\n", b"websocket\r\n")  # older releases of wsproto
    for change in changes:
        assert change[0] in answer
        answer = answer.replace(*change)
    return answer


ACCEPTING = b"Connection: Upgrade"


@CUTS
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ((ACCEPTING, b"Connection: close"), "a 101 without its headers Upgrade and Connection"),
        ((b"Upgrade: websocket", b"Upgrade: h2c"), "a 101 without its headers Upgrade and Connection"),
        ((b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"), "an upgrade for another key than ours"),
        ((b"Sec-WebSocket-Accept", b"X-Accept"), "an upgrade for another key than ours"),
        ((ACCEPTING, ACCEPTING + b"\r\nSec-WebSocket-Protocol: PLANTED"), "a subprotocol that was not asked for"),
        (
            (ACCEPTING, ACCEPTING + b"\r\nSec-WebSocket-Extensions: x-deflate"),
            "an extension that was not asked for",
        ),
        ((ACCEPTING, b"Connection: \xff"), "a bad answer to the upgrade request"),
        ((b"HTTP/1.1 101", b"HTTP/1.1 1O1"), "a malformed start line"),
        ((b"HTTP/1.1 101", b"HTTP/1.1 099"), "a bad answer to the upgrade request"),
        ((ACCEPTING, b"Connection"), "a malformed header line"),
    ],
)
def test_bad_answers(change, what, cut):
    """A 101 that is not ours, or one that grants what we did not ask for; the error quotes none of it."""
    link = client_link()
    link.socket_opened(0.0)

    (closed,) = receive(link, granted(link, change), cut=cut)

    assert (closed.kind, closed.code) == (CloseKind.LOST, None)
    assert isinstance(closed.error, RemoteProtocolError)
    assert str(closed.error) == f"the WebSocket peer sent {what} while UPGRADING"
    assert link.data_to_send() == b""


@CUTS
def test_frames_right_behind_the_answer(cut):
    """A hub's hello often comes in the same segment."""
    link = client_link()
    link.socket_opened(0.0)
    data = granted(link) + raw_frame(TEXT, b"hello", mask=False) + raw_frame(CLOSE, mask=False)

    events = receive(link, data, cut=cut)

    assert events == [
        LinkOpened(carrier=Carrier(secure=True)),
        FrameReceived(frame=text("hello")),
        LinkClosed(kind=CloseKind.REFUSED, code=1005),
    ]


@CUTS
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"HTPP/1.1 101", "something that is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "something that is not HTTP (it looks like SSH)"),
        (b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 4000, OVER),
        (b"HTTP/1.1 nonsense\r\n\r\n", "a malformed start line"),
        # hubs send none before 101, and a proxy that does is not one for WebSockets
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP 103 in place of 101"),
    ],
)
def test_answers_of_other_protocols(data, what, cut):
    """Found out as early as possible, the same in any cut."""
    link = link_at("client")

    (closed,) = receive(link, data, cut=cut)

    assert closed.kind is CloseKind.LOST
    assert str(closed.error) == f"the WebSocket peer sent {what} while UPGRADING"


def test_an_answer_before_the_question():
    """A peer that answers what was not asked yet is no hub."""
    (closed,) = receive(client_link(), b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    assert isinstance(closed.error, RemoteProtocolError)


# --- both


@both_ends
def test_upgrade_deadline(end):
    """An upgrade that does not come costs 10 s, not more; a peer that trickles bytes gains nothing.

    A socket that ends first is lost, without a code: there was no WebSocket yet.
    """
    link, ended = link_at(end), link_at(end)
    assert link.next_timeout == 10.0
    receive(link, b"HTTP" if end == "client" else b"GET ", 9.0)
    assert link.next_timeout == 10.0

    assert link.handle_timeout(9.9) == []
    assert link.handle_timeout(10.0) == [LinkClosed(kind=CloseKind.LOST, reason="no upgrade within 10 s")]
    (end,) = ended.eof(1.0)
    assert (end.kind, end.code, end.reason) == (CloseKind.LOST, None, "the socket ended before the upgrade")
    assert link.next_timeout is None
    assert not link.wants_socket
    assert not ended.wants_socket


@both_ends
def test_close_during_the_upgrade(end):
    """There is nobody to say goodbye to: closed at once, and an unsent request stays unsent."""
    link = client_link() if end == "client" else hub_link()
    link.socket_opened(0.0)

    assert link.close(1.0) == [LinkClosed(kind=CloseKind.CLOSED, code=1000)]
    assert link.data_to_send() == b""
    assert not link.wants_socket
    assert receive(link, REQUEST, 1.0) == []
