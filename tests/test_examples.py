"""The examples, run as a user runs them: each a process of its own, against a hub on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import thalovant.testing
from thalovant.testing import LocalHub

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    """A hub with the demonstration's skills."""
    with thalovant.testing.hub() as running:
        yield running


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    argv = [sys.executable, EXAMPLES / script, *arguments]
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=60, check=False)


LOOPS = pytest.mark.parametrize("script", ["on_asyncio.py", "on_blocking.py", "on_trio.py", "on_twisted.py"])


@LOOPS
def test_embedding_asks_on_every_loop(hub: LocalHub, tmp_path: Path, script: str) -> None:
    """The same stack on four event loops over all transports: first contact, then pinned, then what is chosen."""
    file = tmp_path / "identity.json"
    hub.add_client(script.removesuffix(".py").replace("_", "-")).save(file)

    for protocol in (["wss"], ["wss"], ["https"], ["mqtt"], []):
        done = run(script, file, "Say hello.", *protocol)

        assert (protocol, done.returncode, done.stdout, done.stderr) == (protocol, 0, "Hello!\n", "")


@LOOPS
def test_embedding_trusts_nobody_by_itself(hub: LocalHub, tmp_path: Path, script: str) -> None:
    """A hub whose certificate nobody vouches for is told no secret, and the program ends with the reason."""
    file = tmp_path / "identity.json"
    replace(hub.identity(), ca_file=None).save(file)

    done = run(script, file, "Say hello.", "mqtt")

    assert (done.returncode, done.stdout) == (1, "")
    assert "an authority unknown here" in done.stderr


def test_demo_holds_its_conversation() -> None:
    """What `make demo` runs: every question has an answer, in every generation."""
    done = run("demo.py")

    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("v3", "v1", "v0", "favorite color is blue"))
