"""The one way to the test vectors: `load("encodings")` reads `tests/vectors/encodings.json`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "vectors"


@functools.cache
def _text(name: str) -> str:
    return (_FOLDER / f"{name}.json").read_text("utf-8")


def load(name: str) -> dict[str, Any]:
    """The vector file `name` (without .json), parsed anew for each caller, who may change it."""
    vectors: dict[str, Any] = json.loads(_text(name))
    return vectors
