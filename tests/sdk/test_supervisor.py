"""What follows the end of a link: `LinkSupervisor` and its policy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from thalovant import (
    HubSessionPolicy,
)
from thalovant.session import LinkDecision, LinkSupervisor

R, F, UP, D = "refused", "failed", "up", "dropped"
LADDER = [10, 20, 40, 80, 120, 120, 120, 120, 120]
SUPERVISED: list[tuple[list[tuple[float, Any]], list[float | str]]] = [
    # seconds and outcomes; seconds to wait, or what else follows
    ([(at, F) for at in (0, 10, 30, 70, 150, 270)], [10, 20, 40, 80, 120, 120]),
    ([(0, F), (10, F), (30, UP), (90, D), (90, F)], [10, 20, "hold", 0, 10]),
    ([(at, R) for at in (0, 10, 30, 70, 150, 270, 390, 510, 630)], [*LADDER[:8], "refused"]),
    ([(0, R), (599.999, R), (600, R)], [10, 20, "refused"]),
    ([(5, R), (604.999, R)], [10, 20]),
    ([(0, R), (590, UP), (620, R)], [10, "hold", 10]),
    ([(0, R), (300, F), (600, R), (1199, R), (1200, R)], [10, 20, 40, 80, "refused"]),
    ([(0, F), (10, "key_changed")], [10, "key_changed"]),
    ([(0, R), (10, "client_key_rejected")], [10, "client_key_rejected"]),
    ([(0, UP), (1, D), (1, UP), (2, D)], ["hold", 0, "hold", 0]),
]


@pytest.mark.parametrize(("outcomes", "expected"), SUPERVISED)
def test_what_follows_an_outcome(outcomes: list[tuple[float, Any]], expected: list[float | str]) -> None:
    """The ladder, its end at a link that is up, and when it is given up."""
    supervisor = LinkSupervisor()

    decided = [supervisor.after(outcome, at) for at, outcome in outcomes]

    def decision(told: float | str) -> LinkDecision:
        if isinstance(told, str):
            return LinkDecision("hold") if told == "hold" else LinkDecision("give_up", reason=told)
        return LinkDecision("retry", told)

    assert decided == [decision(told) for told in expected]


def test_policy() -> None:
    """Its figures, its ladder, and what it refuses."""
    policy = HubSessionPolicy()
    assert policy == HubSessionPolicy(10.0, 120.0, 60.0, 5.0, 600.0)
    assert [policy.next_wait(wait) for wait in (0, 10, 50, 80, 120)] == [10, 20, 100, 120, 120]
    for field in vars(policy):
        for value in (0, -1, math.nan, math.inf, "1", True):
            with pytest.raises(ValueError, match=field):
                replace(policy, **{field: value})
    with pytest.raises(ValueError, match="ceiling"):
        HubSessionPolicy(retry_seconds=121)
    unknown: Any = "sideways"
    with pytest.raises(ValueError, match="sideways"):
        LinkSupervisor().after(unknown, 0)
