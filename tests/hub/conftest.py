"""Surroundings for tests of the hub, made on the loop of a test with the settings that it is marked with."""

from __future__ import annotations

import os
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of a user of their own, for the command and for clients in this process."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in [name for name in os.environ if name.startswith("THALOVANT_")]:
        monkeypatch.delenv(name)
    return tmp_path
