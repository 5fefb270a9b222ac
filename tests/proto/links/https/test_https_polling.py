"""When the client's end of the HTTPS link asks for frames, how often, and for which."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thalovant_proto.carrier import FrameType

from .https_world import (
    ByHand,
    binary,
    by_hand,
    closed,
    frames,
    polled,
    polled_binary,
    response,
    sending,
    text,
)


def pauses(hand: ByHand, polls: int) -> Iterator[float]:
    """How long the link waits before each of its next polls; all come back empty."""
    for _ in range(polls):
        if hand.out is None:
            yield round(hand.wait(), 6)
        hand.answer(body=polled() | polled_binary())


@pytest.mark.parametrize(("eager", "longest"), [(True, 0.1), (False, 2.0)])
def test_polls_grow_rarer(eager, longest):
    """1 ms, half as long again with each empty poll: 100 ms at most for somebody who waits, else 2 s."""
    hand = by_hand().idle()
    hand.link.pace(eager, hand.now)

    waits = list(pauses(hand, 31))

    assert waits[:8] == [pytest.approx(0.001 * 1.5**n, abs=1e-5) for n in range(8)]
    assert sorted(waits) == waits
    assert waits[-1] == longest


@pytest.mark.parametrize("noise", [True, False])
def test_an_idle_client_asks_once_a_second_at_most(noise):
    """After 10 s of idleness any minute has at most 60 requests, over both queues."""
    hand = by_hand().idle()
    if noise:
        hand.link.send(binary(b"sealed hello"), hand.now)
        hand.pump().answer()
    began, times = hand.now, []

    while hand.now < began + 600:
        if hand.out is None:
            hand.wait()
        times.append(hand.now)
        hand.answer(body=polled() | polled_binary())

    calm = [time for time in times if time >= began + 10]
    worst = max(sum(start <= time < start + 60 for time in calm) for start in calm)
    assert worst <= 60
    assert worst >= 20
    assert {"get_messages", "get_binary_messages"} <= set(hand.requests)


def test_the_pace_changes_with_who_waits():
    """Within 1 ms for somebody who waits, said twice or once; slowly, from where it was, when nobody waits any more."""
    hand = by_hand().idle()
    list(pauses(hand, 30))

    eager = []
    for _ in range(2):
        hand.settle().link.pace(True, hand.now)
        eager.append(hand.wait())
    list(pauses(hand.settle(), 20))
    hand.link.pace(False, hand.now)

    assert eager == [pytest.approx(0.001), pytest.approx(0.0015)]
    assert list(pauses(hand, 6))[:4] == [pytest.approx(pause) for pause in (0.1, 0.15, 0.225, 0.3375)]


@pytest.mark.parametrize(("eager", "pause"), [(True, 0), (False, 0.001)])
def test_a_frame_heard_or_sent_quickens_the_polls(eager, pause):
    """What arrives or leaves is rarely alone: the next poll comes 1 ms later, at once for somebody who waits."""
    hand = by_hand().idle()
    hand.link.pace(eager, hand.now)
    list(pauses(hand, 31))
    hand.settle().wait()

    hand.answer(body=polled("news") | polled_binary(b"news"))
    after = [hand.wait()]
    list(pauses(hand.settle(), 31))
    hand.settle().link.send(text("ask"), hand.now, token=1)
    hand.pump().answer()
    after.append(hand.wait())

    assert after == [pytest.approx(pause)] * 2


def test_a_frame_goes_before_a_poll_that_is_due_at_once():
    """Somebody who sends on with each receipt, or answers what came, does not wait for a poll first."""
    hand = by_hand().idle()
    hand.link.pace(True, hand.now)
    hand.until_asked()
    since = len(hand.requests)

    for body in (polled("question"), {"status": "message sent"}):
        hand.answer(body=body)
        hand.link.send(text("next"), hand.now, token=1)
        hand.pump()
    hand.answer()
    hand.wait()

    assert hand.requests[since:] == ["send_message", "send_message", "get_messages"]


def test_frames_in_one_queue_do_not_keep_those_in_the_other():
    """Polls that find something look into the other queue as well, if only with each sixteenth."""
    hand = by_hand().idle()
    hand.link.pace(True, hand.now)

    for _ in range(40):
        hand.until_asked().answer(body=polled("news") | {"b64_messages": []})

    asked = hand.requests[-40:]
    assert 2 <= asked.count("get_binary_messages") <= 3


def test_while_shaking_hands_the_text_queue_is_polled():
    """Before a binary frame has left, three of four polls are for text; the fourth is followed by one for binary.

    Looking into both queues costs a request, not time.
    """
    hand = by_hand().idle()
    hand.link.send(text('{"msg_type":"shake"}'), hand.now)
    hand.pump().answer()
    texts, both = ["get_messages"] * 3, "get_binary_messages"

    list(pauses(hand, 2))
    hand.wait()
    hand.answer(body=polled())
    assert hand.asked.path == "/get_binary_messages"
    list(pauses(hand, 7))

    assert hand.requests[2:] == ["get_messages", "send_message", *texts, both, *texts, both, *texts[:2]]


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


@pytest.mark.parametrize("given_up", [False, True])
def test_frames_are_dealt_with_before_what_is_none(given_up):
    """A poll of one frame and one thing else: the frame can be answered, or the link given up for it, before that."""
    hand = by_hand().open()
    events = iter(hand.link.receive_data(response(body={"messages": ["frame", 5]}), hand.now))
    assert frames([next(events)]) == [text("frame")]

    if given_up:
        hand.link.close(hand.now)
        hand.link.data_to_send()
        hand.link.eof(hand.now)
        assert list(events) == []
    else:
        hand.link.send(text("answer"), hand.now, token=1)
        last = closed(list(events))
        assert (last.error.code, last.unsent) == ("http_bad_body", (1,))


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
