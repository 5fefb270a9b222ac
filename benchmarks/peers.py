"""Where the published clients are that we are measured against: environments that the interoperability tests share.

They are made when they are missing, which needs the network; without it, figures are printed without a peer.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

BUS_OLD, BUS, SDK = "bus-0.4.4", "bus-1.2.12", "sdk-0.9.7"
#: What the table calls them.
NAMES = {BUS_OLD: "hivemind-bus-client 0.4.4", BUS: "hivemind-bus-client 1.2.12a1", SDK: "thalovant 0.9.7"}


@functools.cache
def interpreters() -> dict[str, Path]:
    """The interpreter of each peer's environment, by name; empty if they cannot be had."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.interop.foreign.venvs"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if made.returncode:
        print("The published clients cannot be installed: no peers in this run.", file=sys.stderr)
        return {}
    return {name: Path(python) for name, python in (line.split(" ", 1) for line in made.stdout.splitlines())}


def trusting(ca_file: str, home: str) -> dict[str, str]:
    """The environment variables of a client that trusts a CA and keeps its state in a folder."""
    bundles = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE")
    return {"HOME": home, "XDG_CONFIG_HOME": f"{home}/.config", **dict.fromkeys(bundles, ca_file)}


def cache() -> Path:
    """Where the interoperability tests keep what is expensive to install."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thalovant-interop"


@functools.cache
def mqtt_clients() -> Path | None:
    """The interpreter of an environment with paho-mqtt and aiomqtt; None if it cannot be had."""
    script = (
        "import pathlib, sys; from tests.interop.rig.installing import venv;"
        "print(venv(pathlib.Path(sys.argv[1]), ['paho-mqtt>=2', 'aiomqtt>=2']))"
    )
    argv = [sys.executable, "-c", script, str(cache() / "clients" / "mqtt")]
    made = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode:
        print("The MQTT clients cannot be installed: no peers in this run.", file=sys.stderr)
        return None
    return Path(made.stdout.strip())
