"""The examples, run as a user runs them: each a process of its own, against a hub on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import thalovant.testing
from tests.io.running import Server, free_port
from thalovant.testing import LocalHub

EXAMPLES = Path(__file__).parent.parent / "examples"


EXAMPLE = pytest.mark.parametrize("script", ["on_asyncio.py", "on_blocking.py", "on_trio.py", "on_twisted.py"])


@pytest.fixture(scope="module", params=[True, False], ids=["tls", "plain"])
def hub(request: pytest.FixtureRequest) -> Iterator[LocalHub]:
    """A hub with the demonstration's skills."""
    with thalovant.testing.hub(tls=request.param) as running:
        yield running


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    argv = [sys.executable, EXAMPLES / script, *arguments]
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=60, check=False)


def at(hub: LocalHub, port: int, folder: Path) -> Path:
    """The file of an identity whose hub is on another port."""
    file = folder / "identity.json"
    hub.identity().save(file)
    endpoint = urlsplit(str(hub.identity().endpoint_for("wss")))
    file.write_text(file.read_text().replace(f":{endpoint.port}", f":{port}"))
    return file


@EXAMPLE
def test_embedding_asks_on_every_loop(hub: LocalHub, tmp_path: Path, script: str) -> None:
    """The same stack on four event loops over all transports: first contact, then pinned, then what is chosen."""
    file = tmp_path / "identity.json"
    hub.add_client(script.removesuffix(".py").replace("_", "-")).save(file)

    for protocol in (["wss"], ["wss"], ["https"], ["mqtt"], []):
        done = run(script, file, "Say hello.", *protocol)

        assert (protocol, done.returncode, done.stdout, done.stderr) == (protocol, 0, "Hello!\n", "")


@EXAMPLE
def test_embedding_says_that_nobody_listens(hub: LocalHub, tmp_path: Path, script: str) -> None:
    """The program ends with the reason."""
    with free_port() as port:
        done = run(script, at(hub, port, tmp_path), "Say hello.", "wss")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf":{port}: .*\(connection refused\)", done.stderr), done.stderr


def test_embedding_gives_a_silent_server_up(hub: LocalHub, tmp_path: Path) -> None:
    """Whoever accepts and says nothing is left in time, in TLS by the dial's deadline; all examples wait at once."""
    secure = urlsplit(str(hub.identity().endpoint_for("wss"))).scheme == "wss"
    with Server(lambda connection: connection.rest() and None, tolerant=True) as server:
        file = at(hub, server.port, tmp_path)
        argv = [
            [sys.executable, str(path), str(file), "Say hello.", "wss"] for path in sorted(EXAMPLES.glob("on_*.py"))
        ]
        running = [subprocess.Popen(one, stdout=-1, stderr=-1, text=True) for one in argv]
        ends = [(one.communicate(timeout=60), one.returncode) for one in running]
    assert len(ends) == 4
    for (out, err), code in ends:
        assert (code, out) == (1, "")
        assert ("did not finish the TLS handshake in time" if secure else "no upgrade within") in err


@EXAMPLE
@pytest.mark.parametrize("hub", [True], ids=["tls"], indirect=True)
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
