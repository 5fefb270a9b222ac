"""Clients that others wrote, as black boxes against our own hub: each is answered in the generation it speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

import thalovant.testing
from thalovant.hub import Turn
from thalovant.testing import LocalHub

from .conftest import unavailable
from .foreign.asking import Answer, ForeignClients, Protocol
from .foreign.rust_program import NoToolchain
from .foreign.venvs import ClientName
from .rigs import RigError


@frozen
class Speaker:
    """Who speaks what over what. A client that trusts only what was compiled into it is asked without TLS."""

    client: ClientName
    generation: int  # of its registration: 3 Noise, 1 password, 0 crypto key; it knows the password in any case
    protocol: Protocol
    tls: bool = True

    def __str__(self) -> str:
        plain = "" if self.tls else "-plain"
        return f"{self.client}-v{self.generation}-{self.protocol}{plain}".replace(".", "-")


SPEAKERS = [
    # The slowest first: over MQTT with a password, the old SDKs wait 16 s for their own acknowledgements; and the first
    # of those for Rust may have to be compiled.
    Speaker("sdk-0.4.7", 1, "mqtt"),
    Speaker("sdk-0.4.29", 1, "mqtt"),
    Speaker("rust-0.15.0", 3, "https"),
    Speaker("bus-0.4.4", 1, "wss"),
    Speaker("bus-0.4.4", 1, "https"),
    Speaker("bus-0.4.4", 0, "wss"),
    Speaker("bus-0.4.4", 0, "https"),
    Speaker("bus-0.9.1", 1, "wss"),
    Speaker("bus-0.9.1", 1, "https"),
    Speaker("bus-0.9.1", 0, "wss"),
    Speaker("bus-0.9.1", 0, "https"),
    Speaker("bus-1.2.12", 3, "wss"),
    Speaker("bus-1.2.12", 3, "https"),
    Speaker("bus-1.2.12", 1, "wss"),
    Speaker("bus-1.2.12", 1, "https"),
    Speaker("bus-1.2.12", 0, "wss"),
    Speaker("bus-1.2.12", 0, "https"),
    Speaker("sdk-0.4.7", 1, "wss"),
    Speaker("sdk-0.4.7", 1, "https"),
    Speaker("sdk-0.4.7", 0, "wss"),
    Speaker("sdk-0.4.7", 0, "https"),
    Speaker("sdk-0.4.7", 0, "mqtt"),
    Speaker("sdk-0.4.29", 1, "wss"),
    Speaker("sdk-0.4.29", 1, "https"),
    Speaker("sdk-0.4.29", 0, "wss"),
    Speaker("sdk-0.4.29", 0, "https"),
    Speaker("sdk-0.4.29", 0, "mqtt"),
    Speaker("sdk-0.9.7", 3, "wss"),
    Speaker("sdk-0.9.7", 3, "https"),
    Speaker("sdk-0.9.7", 3, "mqtt"),
    Speaker("rust-0.15.0", 3, "wss", tls=False),
    Speaker("rust-0.15.0", 3, "mqtt"),
    Speaker("rust-0.2.25", 0, "wss", tls=False),
    Speaker("rust-0.2.25", 0, "https", tls=False),
]
#: How many are asked at a time. They wait for themselves most of the while, but against their own clocks.
AT_A_TIME = 4

Conversations = Mapping[Speaker, Future[list[Answer]]]


def with_skill(hub: LocalHub) -> LocalHub:
    """The hub with one skill more: it says two things."""

    @hub.skill("say twice {words}")
    async def twice(turn: Turn) -> None:
        await turn.speak(f"1 {turn.slots['words']}")
        await turn.speak(f"2 {turn.slots['words']}")

    return hub


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    """Our hub."""
    with thalovant.testing.hub() as running:
        yield with_skill(running)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A device of its own for every test."""
    return tmp_path / "device"


@pytest.fixture(scope="module")
def conversations(
    request: pytest.FixtureRequest, hub: LocalHub, foreign: ForeignClients, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Conversations]:
    """What the hub has with each speaker whose test is to run: a registered device asks, twice."""
    chosen = [item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    speakers = [item.callspec.params["speaker"] for item in chosen if "speaker" in item.callspec.params]
    ca = Path(str(hub.identity().ca_file))
    with ExitStack() as stack:
        hubs = {True: hub, False: with_skill(stack.enter_context(thalovant.testing.hub(tls=False)))}
        pool = stack.enter_context(ThreadPoolExecutor(AT_A_TIME))
        stack.callback(pool.shutdown, cancel_futures=True)

        def converse(speaker: Speaker) -> list[Answer]:
            folder = tmp_path_factory.mktemp(str(speaker))
            identity = hubs[speaker.tls].add_client(str(speaker), generation=speaker.generation)
            file = identity.save(folder / "identity.json")
            return [
                foreign.ask(speaker.client, file, speaker.protocol, "say twice hello", ca=ca, home=folder / "device")
                for _ in range(2)
            ]

        yield {speaker: pool.submit(converse, speaker) for speaker in speakers}


@pytest.mark.parametrize("speaker", SPEAKERS, ids=str)
def test_each_client_is_answered(conversations: Conversations, speaker: Speaker) -> None:
    """At first contact and the second time: both speeches, in order."""
    try:
        answers = conversations[speaker].result()
    except NoToolchain as missing:
        pytest.skip(str(missing))
    except RigError as error:
        unavailable(error)

    assert [(one.ok, one.replies, one.error) for one in answers] == [(True, ["1 hello", "2 hello"], None)] * 2


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
