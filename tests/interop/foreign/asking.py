"""Asks a hub with a client that somebody else wrote: one process per question, its state in a folder of the test."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import frozen

from .rust_program import ask_program
from .venvs import TRIES, ClientName, PythonClient, interpreters

Protocol = Literal["wss", "https", "mqtt"]

HERE = Path(__file__).parent
# An old client needs up to 20 s on MQTT, waiting in its own network thread for its own acknowledgements.
PATIENCE = 30.0


@frozen
class Answer:
    """What a client made of it: all speech in order, and whether it saw the utterance handled."""

    ok: bool
    replies: list[str]
    error: str | None  # the client's own words


@frozen
class ForeignClients:
    """Every published client; those for Python are installed, those for Rust are when one is asked with first."""

    pythons: Mapping[PythonClient, Path]

    @classmethod
    def installed(cls) -> "ForeignClients":
        """Install what is missing of those for Python.

        Raises:
            RigError: one cannot be installed.
        """
        return cls(interpreters())

    def ask(
        self,
        client: ClientName,
        identity: Path,
        protocol: Protocol,
        text: str,
        *,
        ca: Path,
        home: Path,
        patience: float = PATIENCE,
    ) -> Answer:
        """Ask `text` at the endpoint that the identity file names for `protocol`.

        Args:
            client: which of them.
            identity: mode 600; an endpoint of `ws://` or `http://` is asked without TLS by the bus clients and Rust.
            protocol: the bus clients have no MQTT.
            text: the utterance.
            ca: the CA file that the client has to trust for this.
            home: where it keeps keys and pins. The same folder again is the same device; a new one is a new device,
                which a Noise hub refuses until it is told to `unpin`.
            patience: seconds that the client gives itself for connecting, and again for the answer.

        A client whose own races lose a session now and then is asked again by the same device (`TRIES`).

        Raises:
            RigError: the client is one for Rust, and cannot be made.
        """
        arguments = [*self._driver(client), identity, protocol, text, ca, f"{patience:g}"]
        for _ in range(TRIES.get(client, 1)):
            answer = self._ask_once(arguments, ca, home, 3 * patience)
            if answer.ok:
                break
        return answer

    def provision(
        self, client: PythonClient, url: str, protocol: Protocol, text: str, *, ca: Path, home: Path
    ) -> Answer:
        """Sign in to a control plane, make an identity, wait until it is admitted, connect, and ask `text`."""
        driver = (self.pythons[client], HERE / "provision_sdk.py")
        return self._ask_once([*driver, url, protocol, text, ca, f"{PATIENCE:g}"], ca, home, 3 * PATIENCE)

    def _driver(self, client: ClientName) -> tuple[object, ...]:
        match client:
            case "rust-0.15.0":
                return ask_program(), "newer"
            case "rust-0.2.25":
                return ask_program(), "older"
        return self.pythons[client], HERE / f"ask_{client.partition('-')[0]}.py"

    def _ask_once(self, arguments: list[object], ca: Path, home: Path, deadline: float) -> Answer:
        places = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
        places |= {"XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
        for place in places.values():
            (home / place).mkdir(parents=True, exist_ok=True, mode=0o700)
        own = {name: str(home / place) for name, place in places.items()} | {"SSL_CERT_FILE": str(ca)}
        with (home / "log").open("ab") as log:
            done = subprocess.run(
                list(map(str, arguments)),
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=deadline,
                check=False,
            )
        return Answer(**json.loads(done.stdout))
