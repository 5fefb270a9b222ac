"""`thalovant hub --broker`: our hub behind Debian's mosquitto, with TLS, passwords and an access list."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
import trustme

from thalovant import ThalovantClient, ThalovantIdentity

from .conftest import unavailable
from .foreign.asking import ForeignClients
from .foreign.venvs import ClientName
from .rigs import SCRIPTS

PATIENCE = 30.0
HUB = "hub"

# What a client may do follows from its user name, so that one list fits all.
ACCESS = """\
user hub
topic readwrite hivemind/#

pattern write hivemind/%u/in
pattern read hivemind/%u/out
pattern readwrite hivemind/%u/status
"""


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The program, installed if it can be."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        loader = SourceFileLoader("rig_up", str(SCRIPTS / "up"))
        spec = importlib.util.spec_from_loader("rig_up", loader)
        assert spec is not None
        rig_up = importlib.util.module_from_spec(spec)
        loader.exec_module(rig_up)
        return str(rig_up.broker_binary())
    except (SystemExit, subprocess.CalledProcessError) as error:
        unavailable(RuntimeError(str(error)))
    finally:
        sys.path.remove(str(SCRIPTS))


class Broker:
    """A mosquitto of the test's own, on one TLS port of this machine."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = int(server.getsockname()[1])
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        self.hub_password = secrets.token_urlsafe(16)
        self.allow()

    @property
    def url(self) -> str:
        """Where it is, and who the hub is there."""
        return f"mqtts://{HUB}:{self.hub_password}@localhost:{self.port}"

    def allow(self, *identities: ThalovantIdentity) -> None:
        """Let the hub and these clients in, from its next start on."""
        users = {HUB: self.hub_password}
        users |= {one.mqtt.username: one.mqtt.password for one in identities if one.mqtt is not None}
        passwords = self._folder / "passwords"
        passwords.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        tool = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
        subprocess.run([tool, "-U", str(passwords)], check=True)
        (self._folder / "access").write_text(ACCESS)
        settings = [
            "per_listener_settings false",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {self._folder / 'access'}",
            "persistence false",
            *([] if os.geteuid() else ["user root"]),
            f"listener {self.port} 127.0.0.1",
            f"certfile {self._folder / 'cert.pem'}",
            f"keyfile {self._folder / 'key.pem'}",
        ]
        (self._folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")

    def start(self) -> None:
        """Start it; whoever dials before it listens has to dial again."""
        with (self._folder / "log").open("ab") as log:
            command = [self._program, "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signum)
            process.wait(PATIENCE)


@pytest.fixture
def broker(mosquitto: str, tmp_path: Path) -> Iterator[Broker]:
    """A broker that nobody has started yet; ended with the test."""
    broker = Broker(mosquitto, tmp_path / "broker")
    yield broker
    broker.stop(signal.SIGKILL)


def command(broker: Broker, *arguments: str) -> list[str]:
    """The hub's command line for this broker."""
    ports = ("--wss-port", "0", "--https-port", "0")
    return [
        sys.executable, "-m", "thalovant", "hub", "--ephemeral", *ports,
        "--broker", broker.url, "--broker-ca", str(broker.ca), *arguments,
    ]  # fmt: skip


@contextlib.contextmanager
def serving(broker: Broker, folder: Path, generation: int = 3) -> Iterator[ThalovantIdentity]:
    """The hub as a process of its own, and the identity of its client, which the broker knows from now on."""
    argv = command(broker, "--json", "--generation", str(generation), "--write", str(folder))
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
            assert readable, "the hub says nothing"
            ready = json.loads(process.stdout.readline())
            assert f"mqtts://localhost:{broker.port}" == ready["endpoints"]["mqtt"]
            identity = ThalovantIdentity.from_file(folder / "_identity.json")
            broker.allow(identity)
            yield identity
        finally:
            process.terminate()
            process.wait(PATIENCE)


def through(identity: ThalovantIdentity, folder: Path) -> ThalovantClient:
    """Our own client, over the broker."""
    return ThalovantClient(identity, protocol="mqtt", noise_state_dir=folder / "hivemind", retry="idempotent")


@pytest.mark.parametrize("generation", [3, 1, 0])
def test_our_client_is_served(broker: Broker, tmp_path: Path, generation: int) -> None:
    """In every generation, by a hub that was there before its broker."""
    folder = tmp_path / "client"
    with serving(broker, folder, generation) as identity:
        broker.start()
        with contextlib.closing(through(identity, folder)) as client:
            assert client.ask("hello there", timeout=PATIENCE).text == "You said: hello there"
            assert client.ask("and again", timeout=PATIENCE).text == "You said: and again"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_broker_that_comes_back_is_used_again(broker: Broker, tmp_path: Path, signum: signal.Signals) -> None:
    """By hub and client, without anybody's help."""
    folder = tmp_path / "client"
    with serving(broker, folder) as identity:
        broker.start()
        with contextlib.closing(through(identity, folder)) as client:
            assert client.ask("one", timeout=PATIENCE).text == "You said: one"
            broker.stop(signum)
            broker.start()
            assert client.ask("two", timeout=PATIENCE).text == "You said: two"


@pytest.mark.parametrize(("client", "generation"), [("sdk-0.9.7", 3), ("sdk-0.4.29", 1)])
def test_clients_on_paho_are_served(
    broker: Broker, foreign: ForeignClients, tmp_path: Path, client: ClientName, generation: int
) -> None:
    """Published SDKs, whose MQTT is paho's."""
    folder = tmp_path / "client"
    with serving(broker, folder, generation) as identity:
        broker.start()
        with contextlib.closing(through(identity, folder)) as ours:
            ours.ask("is the hub there?", timeout=PATIENCE)
            static = folder / "hivemind"
        device = tmp_path / "device"
        (device / "config").mkdir(parents=True)
        shutil.copytree(static, device / "config" / "hivemind")
        answer = foreign.ask(
            client, folder / "_identity.json", "mqtt", "hello", ca=Path(str(identity.ca_file)), home=device
        )

    assert (True, ["You said: hello"]) == (answer.ok, answer.replies), answer.error


def test_a_broker_that_refuses_the_hub_is_named(broker: Broker, tmp_path: Path) -> None:
    """One line, exit code 2, and no password in it."""
    broker.start()
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", broker.port)):
            pass
    broker.hub_password = "planted-wrong-password"

    done = subprocess.run(command(broker), capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert "--broker" in done.stderr
    assert "planted" not in done.stderr
