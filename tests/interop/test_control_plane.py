"""The control planes of the published SDKs, as black boxes against the one of our own hub, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .foreign.asking import ForeignClients, Protocol
from .foreign.venvs import PythonClient

COMMAND = [sys.executable, "-m", "thalovant", "hub", "--ephemeral", "--demo", "--json"]


@contextmanager
def demonstration(*options: str) -> Iterator[dict[str, Any]]:
    """What the ready line of `thalovant hub --demo` says."""
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("client", "protocol"),
    [
        (client, protocol)
        for client in ("sdk-0.4.7", "sdk-0.4.29", "sdk-0.9.7")
        for protocol in ("wss", "https", "mqtt")
    ],
)
def test_each_sdk_makes_an_identity_and_asks(
    foreign: ForeignClients, tmp_path: Path, client: PythonClient, protocol: Protocol
) -> None:
    """Discover, sign in, create, wait for admission, connect, ask; the newest does all the rest that it can too."""
    with demonstration("--admission-delay", "1" if client == "sdk-0.9.7" else "0") as ready:
        ca = Path(ready["ca_file"])
        answer = foreign.provision(client, ready["api_url"], protocol, "Say hello.", ca=ca, home=tmp_path)

    assert (answer.ok, answer.replies, answer.error) == (True, ["Hello!"], None)
