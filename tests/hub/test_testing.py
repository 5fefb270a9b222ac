"""`thalovant.testing`: a stranger's program is tested against a real hub in three lines."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator

import pytest

import thalovant.testing
from thalovant import testing
from thalovant.async_client import AsyncThalovantClient
from thalovant.client import ThalovantClient
from thalovant.errors import ThalovantConnectionError, ThalovantPolicyDeniedError, ThalovantTimeoutError
from thalovant.events import ThalovantEvent
from thalovant.hub import SyncTurn, Turn
from thalovant.hub.demo import hello
from thalovant.testing import LocalHub
from thalovant_proto.events import BinType


def test_the_three_lines() -> None:
    """No account, no network, no files, no configuration: a hub, a client, an answer."""
    with thalovant.testing.hub() as hub:
        client = hub.client()
        assert client.ask("hi").text == "You said: hi"


@pytest.mark.parametrize("protocol", ["wss", "https", "mqtt"])
def test_a_plain_hub_for_programs_that_trust_nobody(protocol: str) -> None:
    """Every port does without TLS, on loopback, and the identity names nobody to trust."""
    with testing.hub(tls=False) as hub:
        assert hub.identity().ca_file is None
        assert str(hub.identity().endpoint_for(protocol)).startswith(("ws://", "http://", "mqtt://"))
        assert hub.client(protocol=protocol).ask("hi").text == "You said: hi"


# --- the example of the documentation: a program, a fixture, its tests ------------------------------------------------


class Doorbell:
    """A program under test: it tells the hub who is at the door, and says what the hub wants to be said."""

    def __init__(self, client: ThalovantClient) -> None:
        self._client = client

    def ring(self, name: str) -> str:
        """Somebody rings."""
        self._client.emit("thalovant.client.status", {"state": "ringing", "name": name})
        return self._client.ask(f"Who is {name}?").text


@pytest.fixture
def local_hub() -> Iterator[LocalHub]:
    """A hub of its own for each test."""
    with testing.hub(skills=()) as hub:
        yield hub


def test_the_doorbell_says_what_the_hub_answers(local_hub: LocalHub) -> None:
    """The test plays the hub's part: a skill that answers, and a look at what was heard."""

    @local_hub.skill("Who is {name}?")
    def who(turn: SyncTurn) -> str:
        return f"{turn.slots['name']} is a friend."

    said = Doorbell(local_hub.client()).ring("Ada")

    assert said == "Ada is a friend."
    assert local_hub.wait_for("thalovant.client.status").data["state"] == "ringing"
    assert local_hub.heard[-1].data["utterances"] == ["Who is Ada?"]


def test_the_doorbell_survives_a_hub_that_was_away(local_hub: LocalHub) -> None:
    """The bad days: the hub stops and comes back, with the same port, keys and clients."""
    local_hub.add_client("other")

    @local_hub.skill(fallback=True)
    async def nobody(turn: Turn) -> str:
        return "Nobody knows."

    bell = Doorbell(local_hub.client(auto_reconnect=False, connect_timeout=5))
    assert bell.ring("Eve") == "Nobody knows."

    local_hub.stop()
    with pytest.raises(ThalovantConnectionError):
        bell.ring("Eve")
    local_hub.start()

    assert bell.ring("Eve") == "Nobody knows."


# --- everything else --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalHub]:
    """A hub for the tests that leave nothing behind."""
    with testing.hub() as hub:
        yield hub


@pytest.mark.parametrize("generation", [1, 0])
def test_older_generations_can_be_tried(generation: int) -> None:
    """A program can be held against every hub that is out there."""
    with testing.hub(generation=generation) as hub:
        assert hub.client().ask("hi").text == "You said: hi"
        assert generation == 1 or hub.identity().crypto_key


def test_clients_are_told_apart(shared: LocalHub) -> None:
    """By name: each has its identity, made once; one that is added may be limited."""
    assert shared.identity("ada") == shared.identity("ada") != shared.identity("bob")
    shared.add_client("mute", allowed=["app.event"])
    with pytest.raises(ThalovantPolicyDeniedError):
        shared.client("mute").ask("hi")
    with pytest.raises(ValueError, match="has a client named 'mute' already"):
        shared.add_client("mute")
    assert "mute" in shared.connected


def test_a_test_may_bring_its_own_client(shared: LocalHub) -> None:
    """Programs that make their client themselves get the identity and a folder for its keys."""

    async def program() -> str:
        identity, folder = shared.identity("own"), shared.state_dir("own")
        async with AsyncThalovantClient(identity, noise_state_dir=folder) as client:
            return (await client.ask("hi")).text

    assert asyncio.run(program()) == "You said: hi"


def test_the_tests_skills_come_first(shared: LocalHub) -> None:
    """What a test defines is asked before the demonstration."""
    client = shared.client("first")
    assert client.ask("Say hello.").text == "Hello!"

    @shared.skill("Say hello")
    async def own(turn: Turn) -> str:
        return "Hello from the test!"

    assert client.ask("Say hello.").text == "Hello from the test!"
    assert hello.name == "hello"


def test_the_hub_speaks_by_itself(shared: LocalHub) -> None:
    """Speech and events that nobody asked for, to one client."""
    client = shared.client("listener")
    heard: queue.Queue[ThalovantEvent] = queue.Queue()
    with client.on("speak", heard.put), client.on("app.news", heard.put):
        client.connect()
        assert shared.speak_to("listener", "Dinner!") == 1
        assert shared.emit_to("listener", "app.news", {"n": 1}) == 1
        assert heard.get(timeout=20).text == "Dinner!"
        assert heard.get(timeout=20).data == {"n": 1}


def test_events_and_bytes_reach_the_test(shared: LocalHub) -> None:
    """Handlers of the test run beside those of the hub."""
    got = threading.Event()

    @shared.on("thalovant.client.status")
    async def status(turn: Turn) -> None:
        await turn.emit("app.seen", turn.data)

    @shared.on_binary(BinType.FILE)
    def file(turn: SyncTurn) -> None:
        assert turn.binary is not None
        if turn.binary.payload == b"content":
            got.set()

    client = shared.client("sender")
    client.emit("thalovant.client.status", {"state": "ready"})
    assert client.wait_for_event("app.seen").data == {"state": "ready"}
    client.send_binary(b"content", "file", metadata={"file_name": "../x"})
    assert got.wait(20)


def test_waiting_for_what_never_comes_ends(shared: LocalHub) -> None:
    """With an error that says what was waited for; what was heard before counts."""
    shared.client("talker").ask("one thing")

    assert shared.wait_for("recognizer_loop:utterance", predicate=lambda event: event.text == "one thing")
    with pytest.raises(ThalovantTimeoutError, match=r"The hub heard no 'app\.never' within 0\.01s"):
        shared.wait_for("app.never", timeout=0.01)


def test_connections_can_be_cut(shared: LocalHub) -> None:
    """With any close code; the client comes back by itself."""
    client = shared.client("cut")
    client.ask("before")
    assert shared.disconnect("cut", code=1012, reason="restarting") == 1
    again = shared.wait_for_connection("cut")

    assert again
    assert client.ask("after").text == "You said: after"


def test_a_closed_hub_leaves_nothing() -> None:
    """No thread, no file, no connection; clients that were made by it are closed."""
    before = set(threading.enumerate())
    with testing.hub() as hub:
        client = hub.client()
        client.ask("hi")
        folder = hub.state_dir()
        assert folder.is_dir()

    assert not folder.exists()
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(20)
    assert not any(thread.is_alive() for thread in left)
