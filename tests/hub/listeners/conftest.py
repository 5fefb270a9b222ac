"""A hub for all tests of a module, and a client of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

import thalovant.testing
from thalovant.testing import LocalHub

_numbers = count(1)


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    """A hub for all tests that do no harm to it."""
    with thalovant.testing.hub() as running:
        yield running


@pytest.fixture
def name() -> str:
    """A client of the test's own."""
    return f"device-{next(_numbers)}"
