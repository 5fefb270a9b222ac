from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from .lab import Lab, running


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Lab]:
    """A demonstration's control plane; the mark `plane` says what it has other than by default."""
    mark = request.node.get_closest_marker("plane")
    return running(**(mark.kwargs if mark else {}))
