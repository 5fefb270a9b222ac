"""An environment of their own for all tests of where identities come from."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No variable of the machine, and a home of our own."""
    for name in list(os.environ):
        if name.startswith(("THALOVANT_", "KUBERNETES_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch
