"""The limits: one object, sane by default, and never zero by mistake."""

from __future__ import annotations

import attrs
import pytest

from thalovant_proto.limits import DEFAULT_LIMITS, Limits

NAMES = [field.name for field in attrs.fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
def test_no_limit_is_below_what_makes_sense(name):
    """Zero would mean none to one reader and nothing at all to the next."""
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


def test_keys_last_for_more_than_one_frame():
    """A session that cannot say hello is none."""
    with pytest.raises(ValueError, match="legacy_frames"):
        Limits(legacy_frames=1)


def test_limits_do_not_change():
    """They are shared by all connections."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        DEFAULT_LIMITS.frame = 1  # type: ignore[misc]
