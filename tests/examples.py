"""How many examples a property is tried with: `THOROUGHNESS=20` in the environment makes it twenty times as many."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

THOROUGHNESS = int(os.environ.get("THOROUGHNESS", 1))


def examples(count: int, **others: Any) -> settings:
    """Settings of a property that is too dear, or too cheap, for the hundred examples of all others."""
    return settings(max_examples=count * THOROUGHNESS, **others)
