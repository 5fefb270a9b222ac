"""An identity and folders for all tests of trust."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalovant import ThalovantIdentity

from ..identities import FULL


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """A home of our own, where nothing is."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def identity() -> ThalovantIdentity:
    return ThalovantIdentity.from_mapping(FULL)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "trust"
