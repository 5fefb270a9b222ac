"""Fixtures that run the `thalovant` command in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thalovant import cli

from .lab import Lab

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def values(v3: Lab) -> dict[str, Any]:
    """The shared client's identity, as its file has it."""
    return {key: value for key, value in v3.identity().as_dict(include_secrets=True).items() if value}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without an identity."""
    for name in os.environ:
        if name.startswith("THALOVANT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def run(bare: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command here: exit code, output, errors."""

    def runs(*argv: object) -> tuple[int, str, str]:
        code = cli.main([str(one) for one in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return runs


@pytest.fixture
def write(tmp_path: Path, values: dict[str, Any]) -> Callable[..., Path]:
    """Writes an identity file with other fields than the hub's; those that are None are left out."""

    def writes(mode: int = 0o600, **changes: Any) -> Path:
        changed = {key: value for key, value in {**values, **changes}.items() if value is not None}
        path = tmp_path / "identity.json"
        path.write_text(json.dumps(changed))
        path.chmod(mode)
        return path

    return writes


@pytest.fixture
def good(run: Run, write: Callable[..., Path], v3: Lab) -> Run:
    """Runs the command with the identity of the shared client."""
    file = write()
    return lambda *argv: run("-i", file, "--state-dir", v3.state_dir(), "--protocol", "wss", *argv)
