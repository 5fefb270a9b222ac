"""Surroundings for tests of the hub, made on the loop of a test with the settings that it is marked with."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.hub import lab as labs
from tests.hub.skills import staging
from tests.hub.world import World


def _settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    mark = request.node.get_closest_marker("settings")
    return mark.kwargs if mark else {}


@pytest.fixture
def world(tmp_path: Path) -> AbstractAsyncContextManager[World]:
    """Hubs and clients on real sockets."""
    return World.opened(tmp_path)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[labs.Lab]:
    """A dispatcher and its clients, in memory."""
    return labs.opened(**_settings(request))


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[staging.Scene]:
    """A runner of skills without clients."""
    return staging.opened(**_settings(request))
