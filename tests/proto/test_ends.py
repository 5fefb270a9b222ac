"""What holds for both ends of every link, whatever bytes come: cuts make no difference, nothing is raised, little kept.

C1 and C3. That the composed client and hub are the same however bytes are cut is in `test_determinism.py`.
"""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.examples import examples
from tests.proto.ends import ENDS, KEPT

CUTS = st.lists(st.integers(0, 400), max_size=20) | st.sampled_from([[1] * 10_000, [7] * 10_000])


@pytest.mark.parametrize("name", ENDS)
@examples(60)
@given(data=st.data(), cuts=CUTS)
def test_any_cut_gives_the_same_events_and_output(name, data, cuts):
    """Lawful, unlawful or nonsense: one byte string and many pieces, and the end of the socket after them."""
    end = ENDS[name]
    sent = b"".join(data.draw(st.lists(st.sampled_from(end.says) | st.binary(max_size=40), max_size=10)))
    whole, pieces = end.make().hear(sent), end.make()

    rest = sent
    for size in cuts:
        pieces.hear(rest[:size])
        rest = rest[size:]
        if not rest:
            break
    pieces.hear(rest)

    assert whole.drain() == pieces.drain()
    assert whole.end().log == pieces.end().log


@pytest.mark.parametrize("name", ENDS)
@examples(25)
@given(said=st.data())
def test_calling_early_changes_nothing(name, said):
    """A timer that is not due makes no event, no byte and no other time; after one that was, the next lies ahead."""
    end = ENDS[name]
    target = end.make()
    timed = target.timed
    for data in said.draw(st.lists(st.sampled_from(end.says), max_size=6)):
        target.hear(data)
        target.drain()

    now = target.now
    for _ in range(4):
        due = timed.next_timeout
        if due is None or due > now:
            assert list(timed.handle_timeout(now if due is None else (now + due) / 2) or ()) == []
            assert not target.drain()
            assert timed.next_timeout == due
        now = now if due is None else max(now, due)
        timed.handle_timeout(now)
        target.drain()
        assert timed.next_timeout is None or timed.next_timeout > now


@pytest.mark.parametrize("name", ENDS)
@examples(25)
@given(
    said=st.data(),
    filler=st.sampled_from([b"x", b"\0", b"\xff", b"\r\n", b"a: b\r\n", b"1\r\na\r\n", b"a&", b'{"a":', b"\x30\x00"]),
    drained=st.booleans(),
)
def test_what_is_kept_is_bounded(name, said, filler, drained):
    """Some of what a peer says, then one thing without end, whether somebody fetches the answers or not."""
    end = ENDS[name]
    target = end.make()
    before = target.kept
    first = said.draw(st.lists(st.sampled_from(end.says), max_size=6))
    again = said.draw(st.sampled_from(end.says) | st.just(b""))

    for data in (*first, *[again + filler * (12_000 // len(filler))] * 40):
        target.hear(data)
        if drained:
            target.drain()
        target.log.clear()
        assert target.kept - before <= KEPT
