"""How a WSS link ends, what it says then, and what it may send until then."""

from __future__ import annotations

import base64

import pytest

from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.links.base import FrameReceived, LinkClosed
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

from ...vectors import load
from ..link_pair import receive
from .ws_wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    SMALL,
    TEXT,
    binary,
    both_ends,
    client_link,
    hostile,
    hub_link,
    in_order,
    link_of,
    opened,
    said,
    text,
)


@both_ends
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, CloseKind.REFUSED) for code in (1000, 1008)),
        *((code, CloseKind.LOST) for code in (1001, 1002, 1003, 1007, 1009, 1010, 1011, 1012, 1013, 3000, 4003, 4999)),
    ],
)
@pytest.mark.parametrize("cut", [None, 1])
def test_every_close_code(end, code, kind, cut):
    """A peer that closed on purpose refused us; one that went away or broke is lost. Its code is echoed."""
    link = link_of(opened(), end)

    (closed,) = receive(link, hostile(end, CLOSE, code.to_bytes(2, "big") + "für dich".encode()), cut=cut)

    assert closed == LinkClosed(kind=kind, code=code, reason="für dich")
    assert type(closed.code) is int
    assert said(link, end) == [(CLOSE, (code, ""))]
    assert not link.wants_socket


@both_ends
@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),  # how the older hubs refuse, echoed as empty as it came
        # what a peer says goes to people: no line breaks, no terminal codes
        (b"\x03\xf0so\r\nwhat\x1b[2J\x00\xe2\x80\xae?", 1008, "so  what [2J  ?"),
    ],
)
def test_what_a_close_frame_holds(end, payload, code, reason):
    """A code or none, and one printable line."""
    link = link_of(opened(), end)

    assert receive(link, hostile(end, CLOSE, payload)) == [LinkClosed(kind=CloseKind.REFUSED, code=code, reason=reason)]
    assert said(link, end) == [(CLOSE, (code, ""))]


def test_a_reason_shows_no_secret():
    """A hub may repeat what it was told, as some do in their logs; errors are shown to anybody."""
    key, agent = "planted-access-key", "tests/1"
    link = WssClientLink("ws://127.0.0.1", access_key=Secret(key), user_agent=agent, entropy=in_order, secure=True)
    hub = WssServerLink(secure=True)
    list(link.socket_opened(0.0))
    list(hub.receive_data(link.data_to_send(), 0.0))
    list(link.receive_data(hub.data_to_send(), 0.0))
    shown = base64.b64encode(f"{agent}:{key}".encode())

    reason = b"no: " + key.encode() + b" in " + shown
    (closed,) = receive(link, hostile("client", CLOSE, b"\x03\xf0" + reason))

    assert closed.reason == "no: … in …"


@pytest.mark.parametrize("probe", load("close_codes_ws_next")["close_probes"].items(), ids=lambda probe: probe[0])
def test_closes_of_a_real_hub(probe):
    """Every refusal that a current hub was seen to send reaches the client as one, with the hub's words."""
    _, ((_, code, reason),) = probe
    client = opened().client

    (closed,) = receive(client, hostile("client", CLOSE, int(code).to_bytes(2, "big") + reason.encode()))

    assert closed == LinkClosed(kind=CloseKind.REFUSED, code=int(code), reason=reason)


@both_ends
def test_a_lost_socket(end):
    """The end of the socket without a close frame is 1006, whatever was still to be said."""
    link = link_of(opened(), end)
    receive(link, hostile(end, PING))
    link.send(text("never left"), 0.0, token=7)

    assert link.eof(1.0) == [
        LinkClosed(kind=CloseKind.LOST, code=1006, reason="the socket ended without a close frame", unsent=(7,))
    ]
    assert link.data_to_send() == b""
    assert not link.wants_socket
    assert link.eof(1.0) == []


@both_ends
@pytest.mark.parametrize("cut", [None, 1])
def test_we_close_and_the_peer_answers(end, cut):
    """Frames before the close arrive, each end reports its own view, and the deadline goes away."""
    pair = opened(cut=cut)
    link = link_of(pair, end)
    link.send(text("last words"), 0.0, token=1)

    assert link.close(1.0, code=1008, reason="invalid api key") == []
    assert link.next_timeout == 3.0
    pair.drive()

    heard = {"client": pair.client_heard, "hub": pair.hub_heard}
    ((own,), peers) = heard[end], heard["hub" if end == "client" else "client"]
    assert own == LinkClosed(kind=CloseKind.CLOSED, code=1008, reason="invalid api key")
    assert peers == [
        FrameReceived(frame=text("last words")),
        LinkClosed(kind=CloseKind.REFUSED, code=1008, reason="invalid api key"),
    ]
    assert pair.client.next_timeout is pair.hub.next_timeout is None
    assert not pair.client.wants_socket
    assert not pair.hub.wants_socket


def test_both_close_at_once():
    """Each takes the other's close as the answer to its own."""
    pair = opened()
    pair.client.close(0.0, code=1001)
    pair.hub.close(0.0, code=1000, reason="bye")

    pair.drive()

    assert pair.client_heard == [LinkClosed(kind=CloseKind.CLOSED, code=1001)]
    assert pair.hub_heard == [LinkClosed(kind=CloseKind.CLOSED, code=1000, reason="bye")]


@both_ends
@pytest.mark.parametrize("drained", [True, False])
def test_a_peer_that_does_not_answer_our_close(end, drained):
    """After close_time it no longer matters: nothing is written to a socket that nobody reads; frames are reported."""
    link = link_of(opened(), end)
    link.send(binary(b"x"), 0.0, token=1)
    link.close(1.0)
    if drained:
        link.data_to_send()

    assert link.handle_timeout(2.9) == []
    assert link.wants_socket
    assert link.handle_timeout(3.0) == [LinkClosed(kind=CloseKind.CLOSED, code=1000, unsent=() if drained else (1,))]
    assert not link.wants_socket
    assert link.data_to_send() == b""


@both_ends
def test_the_socket_ends_while_we_close(end):
    """That is how many peers answer a close."""
    link = link_of(opened(), end)
    link.close(1.0, code=1001)

    assert link.eof(1.5) == [LinkClosed(kind=CloseKind.CLOSED, code=1001)]


@both_ends
def test_after_our_close_only_the_peers_close_counts(end):
    """Frames and pings are read and dropped, and broken rules are no news any more."""
    link = link_of(opened(SMALL), end)
    link.close(0.0)
    (goodbye,) = said(link, end)

    assert receive(link, hostile(end, TEXT, b"late") + hostile(end, PING), 0.5) == []
    assert link.data_to_send() == b""
    assert link.next_timeout == 2.0
    assert receive(link, hostile(end, BINARY, length=2**40), 0.5) == [LinkClosed(kind=CloseKind.CLOSED, code=1000)]
    assert goodbye == (CLOSE, (1000, ""))
    assert link.data_to_send() == b""


@both_ends
def test_close_twice(end):
    """The first one counts, and after the end nothing does."""
    link = link_of(opened(), end)

    assert link.close(0.0, code=1001, reason="first") == link.close(1.0, code=4000, reason="second") == []
    assert said(link, end) == [(CLOSE, (1001, "first"))]
    assert link.next_timeout == 2.0
    link.eof(1.0)
    assert link.close(2.0) == []
    assert not link.wants_socket


@both_ends
def test_reasons_fit_the_frame(end):
    """At most 123 bytes, cut between characters; what is no text becomes some."""
    link, odd = link_of(opened(), end), link_of(opened(), end)
    link.close(0.0, code=1008, reason="ü" * 100)
    odd.close(0.0, code=1008, reason="no \udc80 text")

    assert said(link, end) == [(CLOSE, (1008, "ü" * 61))]
    assert said(odd, end) == [(CLOSE, (1008, "no ? text"))]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1014, 1015, 2000, 2999, 5000, 70000])
def test_codes_that_may_not_be_sent(code):
    """Ours to know."""
    with pytest.raises(LocalProtocolError, match=f"{code} is not a WebSocket close code"):
        opened().client.close(0.0, code=code)


# --- sending


@both_ends
def test_unsent_are_the_frames_that_were_never_drained(end):
    """Drained is sent as far as we can know; the rest is reported, and does not leave after all."""
    link = link_of(opened(), end)
    link.send(text("1"), 0.0, token=1)
    taken: list[int] = []
    link.on_taken = lambda: taken.append(link.unsent)
    assert link.unsent > 0
    assert said(link, end) == [(TEXT, "1")]
    assert taken == [0]
    link.send(text("2"), 0.0, token=2)
    link.send(text("no token"), 0.0)
    link.send(text("3"), 0.0, token=3)

    (closed,) = receive(link, hostile(end, PING, b"?") + hostile(end, CLOSE, b"\x03\xe9"))

    assert closed == LinkClosed(kind=CloseKind.LOST, code=1001, unsent=(2, 3))
    assert said(link, end) == [(PONG, b"?"), (CLOSE, (1001, ""))]


@both_ends
@pytest.mark.parametrize("given_up", [False, True])
def test_a_frame_can_be_answered_before_the_close_that_came_with_it(end, given_up):
    """Events are made when they are asked for: the link is over when its end is told, or given up, not before."""
    link = link_of(opened(), end)
    events = iter(link.receive_data(hostile(end, TEXT, b"?") + hostile(end, CLOSE, b"\x03\xe9"), 0.0))

    assert next(events) == FrameReceived(frame=text("?"))
    link.send(text("!"), 0.0, token=1)
    if given_up:
        link.close(0.0)
        link.eof(0.0)

    assert list(events) == ([] if given_up else [LinkClosed(kind=CloseKind.LOST, code=1001, unsent=(1,))])


@both_ends
def test_the_close_leaves_though_the_peer_was_faster(end):
    """Our close was queued behind frames when the peer's came: the frames are unsent, the close is still owed."""
    link = link_of(opened(), end)
    link.send(text("1"), 0.0, token=1)
    link.close(0.0, code=4000)

    (closed,) = receive(link, hostile(end, CLOSE, b"\x03\xe9"))

    assert closed == LinkClosed(kind=CloseKind.CLOSED, code=4000, unsent=(1,))
    assert said(link, end) == [(CLOSE, (4000, ""))]


@both_ends
def test_what_may_not_be_sent(end):
    """Over the limit, not UTF-8, of no type: our own mistakes, raised, and the link goes on."""
    link = link_of(opened(SMALL), end)

    with pytest.raises(LocalProtocolError, match="1001 bytes is over the limit of 1000"):
        link.send(binary(b"x" * 1001), 0.0, token=1)
    with pytest.raises(LocalProtocolError, match="must be UTF-8"):
        link.send(Frame(b"\xff", FrameType.TEXT), 0.0, token=2)
    with pytest.raises(LocalProtocolError, match="must be TEXT or BINARY"):
        link.send(Frame(b"", FrameType.UNTYPED), 0.0, token=3)

    link.send(binary(b"x" * 1000), 0.0)
    assert said(link, end) == [(BINARY, b"x" * 1000)]
    assert link.eof(0.0)[0].unsent == ()


@both_ends
def test_sending_needs_an_open_link(end):
    """Not before, not while closing, not after."""
    closing, closed = link_of(opened(), end), link_of(opened(), end)
    closing.close(0.0)
    closed.eof(0.0)
    fresh = client_link() if end == "client" else hub_link()

    for link, state in ((fresh, "UPGRADING"), (closing, "CLOSING"), (closed, "CLOSED")):
        with pytest.raises(LocalProtocolError, match=f"while the WebSocket is {state}"):
            link.send(text("x"), 0.0)
