"""The names of hubs in lists of the control plane."""

from __future__ import annotations

import pytest

from thalovant import hub_display_name


@pytest.mark.parametrize(
    ("hub", "name"),
    [
        ({"spec": {"catalog": {"title": " The Barn "}}, "name": "b", "slug": "s"}, "The Barn"),
        ({"spec": {"catalog": {"title": " "}}, "name": "My barn", "slug": "my-barn"}, "My barn"),
        ({"name": "my-barn_two", "slug": "my-barn_two"}, "My Barn Two"),
        ({"slug": "barn"}, "Barn"),
        ({"name": "some-name"}, "some-name"),
        ({"spec": [], "name": None, "slug": 5}, "A Thalovant hub"),
        ({"name": "--", "slug": "--"}, "A Thalovant hub"),
        ({}, "A Thalovant hub"),
        (None, "A Thalovant hub"),
        ("text", "A Thalovant hub"),
    ],
)
def test_name(hub, name):
    """The best that is known, whatever the shape."""
    assert hub_display_name(hub) == name
