"""The WSS link, both ends: frames, sizes, pings, closing. The upgrade has its own tests."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from thalovant_proto.carrier import CloseKind
from thalovant_proto.secret import Secret

from ..link_pair import frames, receive
from .ws_wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    SMALL,
    TEXT,
    binary,
    both_ends,
    client_link,
    hostile,
    hub_link,
    link_of,
    opened,
    raw_frame,
    said,
    text,
)

# --- wsproto

CHECKED = ((1, 2), (1, 3))  # the first and the last series


def test_wsproto_is_one_that_was_checked():
    """The link uses what wsproto does not promise: its decoder, its masker, `_nonce` and the text of one fault."""
    found = version("wsproto")

    assert CHECKED[0] <= tuple(map(int, found.split(".")[:2])) <= CHECKED[1], (
        f"links/wss was not checked with wsproto {found}: if this folder's tests pass, widen CHECKED and the range in "
        "pyproject.toml; else see what has become of the names that links/wss imports and of H11Handshake._nonce"
    )


# --- frames


SIZES = (0, 1, 125, 126, 65535, 65536)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_of_a_client_follow_from_entropy(size):
    """Every frame is masked with four bytes of `entropy`, whatever its kind and length."""
    pair, payload = opened(), b"x" * size
    pair.client.send(text(payload.decode()), 0.0)
    pair.client.send(binary(payload), 0.0)
    assert pair.client.data_to_send() == raw_frame(TEXT, payload, mask=True) + raw_frame(BINARY, payload, mask=True)

    pair.client.handle_timeout(20.0)
    receive(pair.client, hostile("client", PING, payload[:125]), 20.0)
    pair.client.close(20.0, code=1001, reason="bye")

    assert pair.client.data_to_send() == (
        raw_frame(PING, mask=True)
        + raw_frame(PONG, payload[:125], mask=True)
        + raw_frame(CLOSE, b"\x03\xe9bye", mask=True)
    )


@pytest.mark.parametrize(("size", "cut"), [*((n, None) for n in SIZES), *((n, 1000) for n in SIZES), (1, 1), (126, 1)])
def test_frames_travel_both_ways(size, cut):
    """Text and binary of every length encoding arrive whole, in order, however the bytes are cut."""
    pair = opened(cut=cut)
    sent = [text("ü" * (size // 2)), binary(b"\xff" * size), text(""), binary(b"")]
    for frame in sent:
        pair.client.send(frame, 0.0)
        pair.hub.send(frame, 0.0)

    pair.drive()

    assert frames(pair.hub_heard) == sent
    assert frames(pair.client_heard) == sent


def test_many_small_frames_in_one_read():
    """A read may hold thousands of frames, over several slices of the input; all come out, in order."""
    pair = opened()
    sent = [binary(b"%d" % i) for i in range(20_000)]
    for frame in sent:
        pair.client.send(frame, 0.0)

    data = pair.client.data_to_send()

    assert len(data) > 128 * 1024
    assert frames(receive(pair.hub, data)) == sent


@both_ends
def test_fragments_make_one_message(end):
    """Fragments, empty ones and control frames in between: one message, its characters whole again."""
    link = link_of(opened(), end)
    data = (
        hostile(end, TEXT, b"\xc3", fin=False)
        + hostile(end, PING, b"?")
        + hostile(end, CONTINUATION, b"", fin=False)
        + hostile(end, CONTINUATION, b"\xbc!")
        + hostile(end, BINARY, b"", fin=False)
        + hostile(end, CONTINUATION, b"")
    )

    assert frames(receive(link, data)) == [text("ü!"), binary(b"")]
    assert said(link, end) == [(PONG, b"?")]


@pytest.mark.parametrize("cut", [None, 1])
def test_wsproto_as_the_client(cut):
    """A client on wsproto itself, which offers compression and fragments: served, without compression."""
    hub, client = hub_link(), WSConnection(ConnectionType.CLIENT)
    data = client.send(
        Request(host="hub.local", target="/?authorization=U2RrLzE6a2V5", extensions=[PerMessageDeflate()])
    )

    (opening,) = receive(hub, data, cut=cut)
    client.receive_data(hub.data_to_send())
    assert opening.credentials.access_key == Secret("key")
    assert list(client.events()) == [AcceptConnection()]

    data = client.send(TextMessage("hal", message_finished=False)) + client.send(TextMessage("lo"))
    assert frames(receive(hub, data + client.send(Ping(b"?")), cut=cut)) == [text("hallo")]
    hub.send(binary(b"x" * 70_000), 0.0)
    client.receive_data(hub.data_to_send())
    pong, *parts = client.events()
    assert pong == Pong(b"?")
    assert b"".join(part.data for part in parts) == b"x" * 70_000
    assert all(isinstance(part, BytesMessage) for part in parts)

    (closed,) = receive(hub, client.send(CloseConnection(code=1000, reason="done")), cut=cut)
    client.receive_data(hub.data_to_send())
    assert (closed.kind, closed.code, closed.reason) == (CloseKind.REFUSED, 1000, "done")
    assert list(client.events()) == [CloseConnection(code=1000, reason="")]


@pytest.mark.parametrize("cut", [None, 1])
def test_wsproto_as_the_hub(cut):
    """A hub on wsproto itself."""
    client, hub = client_link(), WSConnection(ConnectionType.SERVER)
    client.socket_opened(0.0)

    hub.receive_data(client.data_to_send())
    (request,) = hub.events()
    assert (request.target, request.host) == ("/?authorization=U2RrLzE6a2V5", "127.0.0.1:5678")
    assert not request.extensions
    assert not request.subprotocols
    assert not {b"origin", b"authorization", b"cookie"} & {name for name, _ in request.extra_headers}
    answers = hub.send(AcceptConnection()) + hub.send(TextMessage("hello")) + hub.send(Ping(b"?"))
    opening, *rest = receive(client, answers, cut=cut)
    assert opening.credentials is None
    assert frames(rest) == [text("hello")]

    client.send(text("hallo"), 0.0)
    hub.receive_data(client.data_to_send())
    assert list(hub.events()) == [Pong(b"?"), TextMessage("hallo")]

    client.close(0.0, code=1001, reason="leaving")
    hub.receive_data(client.data_to_send())
    (leaving,) = hub.events()
    assert leaving == CloseConnection(code=1001, reason="leaving")
    (closed,) = receive(client, hub.send(leaving.response()), cut=cut)
    assert (closed.kind, closed.code, closed.reason) == (CloseKind.CLOSED, 1001, "leaving")


# --- pings


@both_ends
@pytest.mark.parametrize("cut", [None, 1])
def test_pings_are_answered(end, cut):
    """Each with its payload, in order, and before the frames that wait."""
    link = link_of(opened(), end)
    link.send(text("waiting"), 0.0)

    assert receive(link, hostile(end, PING, b"1") + hostile(end, PING) + hostile(end, PONG, b"?"), cut=cut) == []

    assert said(link, end) == [(PONG, b"1"), (PONG, b""), (TEXT, "waiting")]


@both_ends
def test_a_ping_flood_is_answered_by_the_latest_pongs(end):
    """What waits to be drained is bounded; RFC 6455 §5.5.3 asks for the most recent pong only."""
    link = link_of(opened(SMALL), end)

    assert receive(link, b"".join(hostile(end, PING, b"%d" % i) for i in range(5000))) == []

    assert said(link, end) == [(PONG, b"%d" % i) for i in range(4936, 5000)]


@both_ends
def test_a_silent_peer_is_pinged_and_then_lost(end):
    """Silence for ping_interval makes a ping, silence for ping_timeout after it the end; there is nothing to hurry."""
    link = link_of(opened(), end)
    link.pace(True, 1.0)

    assert link.next_timeout == 20.0
    assert link.handle_timeout(19.9) == []
    assert link.data_to_send() == b""
    assert link.handle_timeout(20.0) == []
    assert said(link, end) == [(PING, b"")]
    assert link.next_timeout == 35.0
    assert link.handle_timeout(34.9) == []
    (closed,) = link.handle_timeout(35.0)

    assert (closed.kind, closed.code, closed.error) == (CloseKind.LOST, 1006, None)
    assert closed.reason == "ping timeout: nothing came within 15 s"
    assert link.next_timeout is None
    assert not link.wants_socket


@both_ends
@pytest.mark.parametrize("sign", [PONG, PING, BINARY])
def test_any_byte_is_a_sign_of_life(end, sign):
    """A pong, another frame or a part of one: all the same. An empty read is none."""
    link = link_of(opened(), end)
    link.handle_timeout(20.0)

    receive(link, b"", 20.5)
    assert link.next_timeout == 35.0
    receive(link, hostile(end, sign)[:1], 21.0)
    assert link.next_timeout == 41.0
    assert link.handle_timeout(41.0) == []
    assert link.next_timeout == 56.0


def test_ends_keep_each_other_alive():
    """Two idle ends: one ping and its answer per interval are enough for both, for ever."""
    pair = opened()

    for _ in range(100):
        pair.now = min(pair.client.next_timeout, pair.hub.next_timeout)
        assert pair.client.handle_timeout(pair.now) == pair.hub.handle_timeout(pair.now) == []
        assert pair.client.next_timeout > pair.now
        assert pair.hub.next_timeout > pair.now
        pair.drive()

    assert pair.now == 2000.0
    assert pair.client_heard == pair.hub_heard == []
