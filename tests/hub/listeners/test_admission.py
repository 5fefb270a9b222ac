"""A hub under a flood of connections that say nothing, with few file descriptors."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hub.listeners.relay import Relay
from thalovant.client import ThalovantClient
from thalovant.identity import ThalovantIdentity

from .strangers import PATIENCE

FILES = 256
SILENT = 330
#: `thalovant hub` with a low limit of open files, which it may raise to a small one.
HUB = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES // 2}, {FILES}))
from thalovant.cli import main
sys.exit(main(["hub", "--wss-port", "0", "--https-port", "0", "--mqtt-port", "0", "--ephemeral", *sys.argv[1:]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_flood_of_silent_connections_keeps_nobody_else_out(tmp_path: Path):
    """One address fills its own places only, on every listener; the log says so in a few lines."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", HUB, "--write", str(tmp_path)]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as hub,
        contextlib.ExitStack() as exits,
    ):
        exits.callback(hub.terminate)
        assert hub.stdout is not None
        assert hub.stdout.readline()
        identity = ThalovantIdentity.from_file(tmp_path / "_identity.json")
        for protocol in ("wss", "https", "mqtt"):
            place = urlsplit(str(identity.endpoint_for(protocol)))
            for _ in range(SILENT):
                address = (str(place.hostname), place.port or 0)
                exits.enter_context(socket.create_connection(address, PATIENCE, ("127.0.0.2", 0)))
            for _ in range(3):
                relay = exits.enter_context(Relay(identity, source="127.0.0.3", protocol=protocol))
                with ThalovantClient(
                    relay.identity, protocol=protocol, noise_state_dir=tmp_path / "hivemind"
                ) as client:
                    assert client.ask("Say hello.", timeout=PATIENCE).text == "Hello!"

    assert log.read_text().count("127.0.0.2") == 1
    assert log.stat().st_size < 4096
