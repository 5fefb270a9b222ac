"""README's programs, as they stand there, against a hub on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import thalovant.testing

README = Path(__file__).parent.parent / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("generation", [3, 1, 0])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: text.split()[1])
def test_programs_run_as_written(program: str, generation: int, tmp_path: Path) -> None:
    """With the identity file of a hub of each generation; the last program brings its own hub."""
    with thalovant.testing.hub(generation=generation) as hub:
        hub.identity().save(tmp_path / "identity.json")

        done = run(program, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Hello!" in done.stdout or "asyncio" not in program


def test_there_are_programs() -> None:
    """The patterns above still find what they are for."""
    assert len(PROGRAMS) == 3
    assert max(len(program.strip().splitlines()) for program in PROGRAMS) <= 13
