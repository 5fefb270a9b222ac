"""What a peer may not do on an open WSS link: sizes, broken rules, bad text, garbage."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest

from thalovant_proto.carrier import CloseKind
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.links.base import LinkEvent
from thalovant_proto.links.wss.common import WssLimits, WssLink

from ..link_pair import frames, receive
from .ws_wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    SMALL,
    TEXT,
    binary,
    both_ends,
    hostile,
    link_of,
    opened,
    said,
    text,
)


@both_ends
@pytest.mark.parametrize("length", [1001, 65536, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_frame_over_the_limit_is_refused_by_its_header(end, length):
    """The declared size is enough: 1009 before any of the payload, at the limit and at 2^63."""
    link = link_of(opened(SMALL), end)

    (closed,) = receive(link, hostile(end, BINARY, length=length), cut=1)

    assert (closed.kind, closed.code) == (CloseKind.LOST, 1009)
    assert isinstance(closed.error, RemoteProtocolError)
    what = "a message over the limit of 1000 bytes or 16384 frames"
    assert str(closed.error) == f"the WebSocket peer sent {what} while OPEN"
    assert said(link, end) == [(CLOSE, (1009, what))]


@both_ends
@pytest.mark.parametrize("cut", [None, 1, 7])
def test_the_limit_is_exact_for_fragments(end, cut):
    """Fragments may sum up to the limit, message after message, and not to one byte more."""
    link = link_of(opened(SMALL), end)
    fitting = hostile(end, TEXT, b"\xc3", fin=False) + hostile(end, CONTINUATION, b"\xbc" + b"x" * 998)
    over = hostile(end, BINARY, b"x" * 400, fin=False) + hostile(end, CONTINUATION, b"x" * 601, fin=False)

    assert frames(receive(link, fitting * 2, cut=cut)) == [text("ü" + "x" * 998)] * 2
    (closed,) = receive(link, over, cut=cut)
    assert closed.code == 1009


@both_ends
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_endless_fragments(end, payload):
    """A message of ever more fragments, empty ones too, ends in 1009 long before it costs much."""
    link = link_of(opened(), end)
    receive(link, hostile(end, BINARY, payload, fin=False))
    fragment = hostile(end, CONTINUATION, payload, fin=False)

    assert receive(link, fragment * (16 * 1024 - 1)) == []
    (closed,) = receive(link, fragment)

    assert closed.code == 1009


@both_ends
def test_fragments_are_counted_per_message(end):
    """Control frames in between and earlier messages do not count."""
    link = link_of(opened(SMALL), end)
    first = hostile(end, BINARY, b"x", fin=False)
    middle = (hostile(end, PING) + hostile(end, CONTINUATION, fin=False)) * (16 * 1024 - 2)
    message = first + middle + hostile(end, CONTINUATION, b"x")

    assert frames(receive(link, message * 2)) == [binary(b"xx")] * 2
    (closed,) = receive(link, first + middle + 2 * hostile(end, CONTINUATION, fin=False))
    assert closed.code == 1009


@both_ends
def test_small_fragments_hold_no_more_than_their_bytes(end):
    """Parts are put together as they come: a list of them would cost many times the limit."""
    limits = WssLimits(message=1 << 13)
    link = link_of(opened(limits), end)
    flood = hostile(end, BINARY, b"x", fin=False) + hostile(end, CONTINUATION, b"x", fin=False) * (limits.message - 1)

    events, held, _ = measured(link, [flood[start : start + 1024] for start in range(0, len(flood), 1024)])

    assert events == []
    assert held < 2 * limits.message


@both_ends
def test_a_message_at_the_limit_costs_no_more_than_twice(end):
    """What is held while 4 MiB arrive in 64 KiB reads, the message itself included."""
    limits = WssLimits(message=4 << 20)
    link = link_of(opened(limits), end)
    receive(link, hostile(end, BINARY, length=limits.message))

    events, _, peak = measured(link, (bytes(1 << 16) for _ in range(limits.message >> 16)))

    assert [len(frame.data) for frame in frames(events)] == [limits.message]
    assert peak < 2.2 * limits.message  # the bytes, once more as the event, and one slice


def measured(link: WssLink, reads: Iterable[bytes]) -> tuple[list[LinkEvent], int, int]:
    """What comes of these reads, and the memory that is held then, and at most."""
    tracemalloc.start()
    try:
        return [event for data in reads for event in receive(link, data)], *tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


RULES = {
    "opcode": {"opcode": 3},
    "control opcode": {"opcode": 11},
    "reserved bit": {"opcode": BINARY, "rsv": 4},
    "continuation of nothing": {"opcode": CONTINUATION},
    "fragmented ping": {"opcode": PING, "fin": False},
    "long ping": {"opcode": PING, "payload": b"x" * 126},
    "one byte of close code": {"opcode": CLOSE, "payload": b"\3"},
    **{
        f"close code {code}": {"opcode": CLOSE, "payload": code.to_bytes(2, "big")}
        for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 2999, 5000)
    },
}


@both_ends
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cut", [None, 1])
def test_a_broken_rule_ends_the_link_with_1002(end, rule, cut):
    """RFC 6455 broken: frames before it count, then one error that names state and rule, a goodbye, and silence."""
    link = link_of(opened(), end)

    events = receive(link, hostile(end, TEXT, b"before") + hostile(end, **RULES[rule]), cut=cut)

    assert frames(events) == [text("before")]
    closed = events[-1]
    assert (len(events), closed.kind, closed.code) == (2, CloseKind.LOST, 1002)
    assert isinstance(closed.error, RemoteProtocolError)
    assert "RFC 6455" in str(closed.error)
    assert str(closed.error).endswith("while OPEN")
    assert receive(link, hostile(end, TEXT, b"after")) == []
    assert link.wants_socket
    ((opcode, (code, reason)),) = said(link, end)
    assert (opcode, code, reason) == (CLOSE, 1002, closed.reason)
    assert not link.wants_socket


@both_ends
@pytest.mark.parametrize("cut", [None, 1])
def test_masks_and_the_order_of_fragments(end, cut):
    """A client must mask and a hub must not; only a continuation may follow an unfinished fragment."""
    for data in (
        hostile(end, TEXT, b"x", mask=end == "client"),
        hostile(end, TEXT, b"x", fin=False) + hostile(end, TEXT, b"y"),
    ):
        (closed,) = receive(link_of(opened(), end), data, cut=cut)

        assert closed.code == 1002


@both_ends
@pytest.mark.parametrize("cut", [None, 1])
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("payload", [b"abc\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_text_that_is_not_utf8(end, payload, fin, cut):
    """1007, as soon as it shows, even in an unfinished message; its content is not quoted."""
    link = link_of(opened(), end)

    (closed,) = receive(link, hostile(end, TEXT, payload, fin=fin), cut=cut)

    assert (closed.kind, closed.code) == (CloseKind.LOST, 1007)
    assert str(closed.error) == "the WebSocket peer sent text that is not UTF-8 while OPEN"


@both_ends
def test_text_that_ends_inside_a_character(end):
    """Legal so far in a fragment, not in a whole message; a close's reason is text too."""
    link, closing = link_of(opened(), end), link_of(opened(), end)

    assert receive(link, hostile(end, TEXT, b"\xc3", fin=False)) == []
    (closed,) = receive(link, hostile(end, CONTINUATION, b""))
    (other,) = receive(closing, hostile(end, CLOSE, b"\x03\xe8\xff"))

    assert closed.code == other.code == 1007
