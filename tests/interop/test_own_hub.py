"""Clients that others wrote, as black boxes against our own hub: each is answered in the generation it speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import thalovant.testing
from thalovant.hub import Turn
from thalovant.testing import LocalHub

from .foreign.asking import ForeignClients, Protocol
from .foreign.venvs import ClientName

#: Who speaks what over what: (client, generation of its registration, transport).
SPEAKERS: list[tuple[ClientName, int, Protocol]] = [
    ("bus-0.4.4", 1, "wss"),
    ("bus-0.4.4", 1, "https"),
    ("bus-0.4.4", 0, "wss"),
    ("bus-1.2.12", 3, "wss"),
    ("bus-1.2.12", 3, "https"),
    ("bus-1.2.12", 1, "wss"),
    ("bus-1.2.12", 1, "https"),
    ("sdk-0.4.29", 1, "wss"),
    ("sdk-0.9.7", 3, "wss"),
    ("sdk-0.9.7", 3, "https"),
    ("sdk-0.9.7", 3, "mqtt"),
]


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    """Our hub with one skill more: it says two things."""
    with thalovant.testing.hub() as running:

        @running.skill("say twice {words}")
        async def twice(turn: Turn) -> None:
            await turn.speak(f"1 {turn.slots['words']}")
            await turn.speak(f"2 {turn.slots['words']}")

        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A device of its own for every test."""
    return tmp_path / "device"


@pytest.mark.parametrize(("client", "generation", "protocol"), SPEAKERS)
def test_each_client_is_answered(
    hub: LocalHub,
    foreign: ForeignClients,
    home: Path,
    tmp_path: Path,
    client: ClientName,
    generation: int,
    protocol: Protocol,
) -> None:
    """One registered device asks, twice: first contact and the second time."""
    identity = hub.add_client(f"{client}-v{generation}-{protocol}".replace(".", "-"), generation=generation)
    file = tmp_path / "identity.json"
    identity.save(file)

    for _ in range(2):
        answer = foreign.ask(client, file, protocol, "say twice hello", ca=Path(str(identity.ca_file)), home=home)

        assert (answer.ok, answer.replies, answer.error) == (True, ["1 hello", "2 hello"], None)


@pytest.mark.parametrize(("client", "generation"), [("bus-1.2.12", 3), ("sdk-0.9.7", 3)])
def test_denied_utterances_are_told(
    hub: LocalHub, foreign: ForeignClients, home: Path, tmp_path: Path, client: ClientName, generation: int
) -> None:
    """Their refusal by policy is ours."""
    name = f"{client}-denied".replace(".", "-")
    identity = hub.add_client(name, generation=generation, allowed=["thalovant.client.status"])
    file = tmp_path / "identity.json"
    identity.save(file)

    answer = foreign.ask(client, file, "wss", "hello", ca=Path(str(identity.ca_file)), home=home)

    assert (answer.ok, answer.replies) == (False, [])
    assert "not in allowed_types" in str(answer.error) or "recognizer_loop:utterance" in str(answer.error)


@pytest.mark.parametrize(("client", "generation"), [("bus-0.4.4", 1), ("bus-1.2.12", 3), ("sdk-0.9.7", 3)])
def test_wrong_passwords_do_not_get_in(
    hub: LocalHub, foreign: ForeignClients, home: Path, tmp_path: Path, client: ClientName, generation: int
) -> None:
    """Nobody is heard who does not hold the password, and the next one is served."""
    name = f"{client}-wrong".replace(".", "-")
    identity = hub.add_client(name, generation=generation)
    file = tmp_path / "identity.json"
    identity.save(file)
    fields = json.loads(file.read_text())
    fields["password"] = "not the password of anybody"
    file.write_text(json.dumps(fields))

    answer = foreign.ask(client, file, "wss", "hello", ca=Path(str(identity.ca_file)), home=home, patience=6)

    assert (answer.ok, answer.replies) == (False, [])
    assert name not in hub.connected
