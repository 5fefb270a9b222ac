"""README's asynchronous program, as it stands there, asks real hubs over WSS: v3 and v1."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .rigs import HubName, Rig

PROGRAM = re.findall(r"```python[^\n]*\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)[1]


@pytest.mark.parametrize("hub", ["noise", "legacy"])
def test_first_program_asks_a_real_hub(rig: Rig, hub: HubName, tmp_path: Path) -> None:
    """An identity file, a handful of lines, an answer; the hub's authority comes from the environment."""
    if hub != "legacy":
        rig.unpin(hub, "norelay")  # a rig that runs on holds the pins of earlier sessions
    shutil.copy2(rig.hubs[hub].identity("norelay"), tmp_path / "_identity.json")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "SSL_CERT_FILE": str(rig.ca)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "echo: Say hello.\n", "")
