"""The limits: few, sane by default, and never zero by mistake."""

from __future__ import annotations

import attrs
import pytest

from thalovant.hub import Settings
from thalovant_proto import HttpsLimits, Limits, MqttLimits, WssLimits

CLASSES = (Limits, WssLimits, HttpsLimits, MqttLimits)
NAMES = [(cls, field.name) for cls in CLASSES for field in attrs.fields(cls)]
MAY_BE_ZERO = (MqttLimits, "keepalive")  # no pings


@pytest.mark.parametrize(("cls", "name"), [each for each in NAMES if each != MAY_BE_ZERO])
def test_no_limit_is_below_what_makes_sense(cls, name):
    """Zero would mean none to one reader and nothing at all to the next."""
    with pytest.raises(ValueError, match=name):
        cls(**{name: 0})


def test_limits_are_few():
    """Those that a deployment turns, the hub's included; the others are constants beside the code that they bound."""
    of_hub = [field.name for field in attrs.fields(Settings) if field.type in ("int", "float")]

    assert len(NAMES) + len(of_hub) <= 30


def test_keys_last_for_more_than_one_frame():
    """A session that cannot say hello is none."""
    with pytest.raises(ValueError, match="legacy_frames"):
        Limits(legacy_frames=1)


@pytest.mark.parametrize("cls", CLASSES)
def test_limits_do_not_change(cls):
    """They are shared by all connections."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(cls(), attrs.fields(cls)[0].name, 1)
