"""The limits: one object, sane by default, and never zero by mistake."""

from __future__ import annotations

import attrs
import pytest

from thalovant_proto.limits import DEFAULT_LIMITS, MIB, Limits

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


def test_defaults_are_those_that_are_documented():
    """Sizes, parked frames, legacy keys, the wait for a proof."""
    limits = DEFAULT_LIMITS

    assert (limits.json_text, limits.reassembly, limits.inflate) == (4 * MIB, 32 * MIB, 32 * MIB)
    assert (
        limits.parked_frames, limits.parked_bytes, limits.legacy_frames, limits.proof_time,
    ) == (4, 128 * 1024, 1 << 16, 0.75)  # fmt: skip


def test_what_proves_nothing_costs_less():
    """A frame before the keys is smaller than one after."""
    assert DEFAULT_LIMITS.handshake_frame < DEFAULT_LIMITS.frame


def test_limits_do_not_change():
    """They are shared by all connections."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        DEFAULT_LIMITS.frame = 1  # type: ignore[misc]
