"""The retry ladder: at once, then in growing, jittered steps; and the two loops that it must not go round in."""

from __future__ import annotations

from itertools import pairwise

import pytest

from thalovant_proto.client.backoff import (
    DISPLACED_WITHIN,
    FIRST_DELAY,
    FORGOTTEN_LIMIT,
    FORGOTTEN_WITHIN,
    OLD_CAP,
    STEADY,
    YOUNG,
    YOUNG_CAP,
    Redial,
)

FULL, HALF = b"\xff", b"\x00"


def ladder(redial: Redial, now: float, until: float) -> list[float]:
    """The pauses between attempts that all fail, from now until then."""
    times = [now]
    while times[-1] < until:
        times.append(redial.failed(times[-1]))
    return [later - earlier for earlier, later in pairwise(times)]


def test_steady_session_ends_an_outage():
    """A link that broke may only have broken, and what worked for a while starts over: at once."""
    redial = Redial(lambda size: FULL)
    assert redial.failed(5.0) == 5.0
    ladder(redial, 5.0, 10.0)
    redial.proven(11.0)

    assert redial.failed(11.0 + STEADY) == 11.0 + STEADY


def test_short_session_does_not_end_it():
    """A hub that throws us out at once is part of the outage; the next session is measured anew."""
    redial = Redial(lambda size: FULL)
    ladder(redial, 0.0, 2.0)
    redial.proven(3.0)
    first = redial.failed(3.0 + STEADY - 0.1)

    assert first - (3.0 + STEADY - 0.1) == pytest.approx(YOUNG_CAP)
    assert redial.failed(100.0) > 100.0


def test_ladder_of_an_outage():
    """Doubling from 50 ms; half a second at most for ten seconds; then on from there to thirty."""
    pauses = ladder(Redial(lambda size: FULL), 0.0, 200.0)

    assert pytest.approx(pauses[:6]) == [0, FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY, YOUNG_CAP]
    grown = pauses.index(pytest.approx(2 * YOUNG_CAP))
    assert YOUNG <= sum(pauses[:grown]) < YOUNG + YOUNG_CAP
    assert {round(pause, 6) for pause in pauses[5:grown]} == {YOUNG_CAP}
    assert pytest.approx(pauses[grown : grown + 7]) == [1, 2, 4, 8, 16, OLD_CAP, OLD_CAP]


def test_jitter_is_down_to_half():
    """Many clients of one hub do not come back in step."""
    full, half = (ladder(Redial(lambda size, byte=byte: byte), 0.0, 5.0) for byte in (FULL, HALF))

    assert [2 * pause for pause in half[:6]] == pytest.approx(full[:6])


def test_forgotten_is_dialed_thrice_a_minute():
    """At once, thrice; the fourth waits for the first to be a minute ago, and so on."""
    redial = Redial(lambda size: FULL)

    assert [redial.forgotten(7.0) for _ in range(FORGOTTEN_LIMIT)] == [7.0] * FORGOTTEN_LIMIT
    assert redial.forgotten(8.0) == 7.0 + FORGOTTEN_WITHIN
    assert redial.forgotten(9.0) == 7.0 + FORGOTTEN_WITHIN
    assert redial.forgotten(1000.0) == 1000.0


def test_any_minute_has_three_at_most():
    """Whenever a hub forgets."""
    redial, now, dials = Redial(lambda size: FULL), 0.0, []
    for number in range(50):
        now = redial.forgotten(now + number % 7)
        dials.append(now)

    assert all(
        later - earlier >= FORGOTTEN_WITHIN for earlier, later in zip(dials, dials[FORGOTTEN_LIMIT:], strict=False)
    )


def test_second_displacement_in_a_row():
    """Within thirty seconds of the one before."""
    redial = Redial(lambda size: FULL)

    assert [
        redial.displaced(now) for now in (0.0, DISPLACED_WITHIN + 1, 2 * DISPLACED_WITHIN + 1, 2 * DISPLACED_WITHIN + 2)
    ] == [False, False, True, True]
