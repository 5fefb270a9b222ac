"""The outbox by itself: order, window, and what it tells of whom. Its part in a session is in test_session_delivery."""

from __future__ import annotations

import pytest

from thalovant_proto import events as e
from thalovant_proto.client.send_queue import WINDOW, Outgoing, SendQueue
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.failures import Failure, FailureKind
from thalovant_proto.outcomes import Outcome, SendFailed, Sent

GONE = Failure(kind=FailureKind.LOST, message="gone")


def outbox(count: int, *, ask: bool = False, taken: int = 0) -> tuple[SendQueue, list[Outcome]]:
    """An outbox with messages 1 to `count`, so many of them with the link."""
    told: list[Outcome] = []
    box = SendQueue(told.append, limit=count + 2)
    for token in range(1, count + 1):
        box.put(Outgoing(token=token, message=e.Bus(type="status"), ask=ask))
    for _ in range(taken):
        box.next_message()
    return box, told


def rest(box: SendQueue) -> list[int]:
    """What is still queued, in order."""
    found = []
    while (one := box.next_message()) is not None:
        found.append(one.token)
    return found


def test_what_was_given_up_is_told_of_nowhere():
    """The link still has it: what it says of it later is for nobody."""
    box, told = outbox(3, taken=3)
    assert [box.withdraw(token) for token in (1, 2, 3)] == ["unknown"] * 3
    assert box.withdraw(1) is None

    box.written(1, final=True)
    box.receipted(2)
    box.rejected(3, GONE)

    assert (told, box.held) == ([], 0)


def test_window():
    """The link gets so many at a time, and the next one when it has said something final.

    Flushed is when nothing is queued or in the link's buffer; what waits for a receipt has left.
    """
    box, _ = outbox(WINDOW + 2)
    assert rest(box) == list(range(1, WINDOW + 1))

    box.written(1, final=True)
    box.written(2, final=False)
    box.receipted(3)

    assert rest(box) == [WINDOW + 1, WINDOW + 2]
    assert (box.held, box.queued) == (WINDOW, 0)

    box, _ = outbox(1)
    flushed = [box.flushed]
    box.next_message()
    flushed.append(box.flushed)
    box.written(1, final=False)
    assert [*flushed, box.flushed] == [False, False, True]


def test_reclaimed_messages_keep_their_order():
    """What never left comes back in front of what was queued meanwhile; the rest is failed as unknown."""
    box, told = outbox(5, taken=4)
    for token in (1, 2, 3):
        box.written(token, final=False)

    assert box.reclaim({2}, GONE) == [2, 4]

    assert rest(box) == [2, 4, 5]
    assert told == [
        SendFailed(token=1, delivery="unknown", failure=GONE),
        SendFailed(token=3, delivery="unknown", failure=GONE),
    ]


def test_messages_of_asks_fail_silently():
    """An ask has an end of its own; that it left is told."""
    box, told = outbox(4, ask=True, taken=3)
    box.written(1, final=True)
    box.rejected(2, GONE)
    box.written(3, final=False)
    box.reclaim((), GONE)
    box.fail(GONE)

    assert told == [Sent(token=1, delivery="unknown")]
    assert (box.queued, box.held) == (0, 0)


def test_limit_is_for_new_messages():
    """What comes back from a link is never refused."""
    box, _ = outbox(2, taken=2)
    for token in range(3, 7):
        box.put(Outgoing(token=token, message=e.Bus(type="status")))
    with pytest.raises(LocalProtocolError, match="4 messages"):
        box.put(Outgoing(token=7, message=e.Bus(type="status")))

    box.reclaim((), GONE)

    assert box.queued == 6
    box.keep(lambda one: one.token % 2 == 0)
    assert rest(box) == [2, 4, 6]
