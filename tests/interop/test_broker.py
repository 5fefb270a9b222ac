"""`thalovant hub --broker`: our hub behind Debian's mosquitto, with TLS, passwords and an access list."""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thalovant import ThalovantClient, ThalovantIdentity

from .brokers import PATIENCE, Broker
from .foreign.asking import ForeignClients
from .foreign.venvs import ClientName


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
            assert ready["endpoints"]["mqtt"] == f"mqtts://localhost:{broker.port}"
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

    assert (answer.ok, answer.replies) == (True, ["You said: hello"]), answer.error


def test_a_broker_that_refuses_the_hub_is_named(broker: Broker, tmp_path: Path) -> None:
    """One line, exit code 2, and no password in it."""
    broker.start()
    broker.hub_password = "planted-wrong-password"

    done = subprocess.run(command(broker), capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "--broker" in done.stderr
    assert "planted" not in done.stderr
