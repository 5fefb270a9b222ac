"""Our own client over HTTPS and over MQTT, where a session is more than a connection: the same behaviour over both."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from typing import Any

import pytest

import thalovant.testing
from tests.hub.listeners.strangers import PATIENCE
from thalovant.client import ThalovantClient
from thalovant.errors import ThalovantPolicyDeniedError
from thalovant.hub import Settings, Turn
from thalovant.identity import ThalovantIdentity
from thalovant.protocols import HubProtocol
from thalovant.testing import LocalHub
from thalovant_proto.events import BinType

EACH = pytest.mark.parametrize("protocol", ["https", "mqtt"])


def older_layout(identity: ThalovantIdentity) -> ThalovantIdentity:
    """The identity with the topics of older SDKs, on which only bit frames travel up."""
    assert identity.mqtt is not None
    ways = {f"{way}_topic": f"hivemind/hub/{way}/{identity.access_key}" for way in ("c2s", "s2c", "status")}
    return replace(identity, mqtt=replace(identity.mqtt, topic_prefix=None, **ways))


@pytest.mark.parametrize(("protocol", "layout"), [("https", ""), ("mqtt", "newer"), ("mqtt", "older")])
@pytest.mark.parametrize("generation", [3, 1, 0])
def test_every_generation_converses(hub: LocalHub, name: str, protocol: HubProtocol, generation: int, layout: str):
    """In both layouts of topics, at first contact, on the same session, and when it comes again."""
    identity = hub.add_client(name, generation=generation)
    if layout == "older":
        identity = older_layout(identity)
    for _ in range(2):
        with ThalovantClient(identity, protocol=protocol, noise_state_dir=hub.state_dir(name)) as device:
            assert device.ask("hello there").text == "You said: hello there"
            assert device.ask("and again").text == "You said: and again"
            assert name in hub.connected


@EACH
def test_a_refusal_is_told(hub: LocalHub, name: str, protocol: HubProtocol):
    """By the bus message of the policy, as over every transport."""
    hub.add_client(name, allowed=["thalovant.client.status"])

    with hub.client(name, protocol=protocol) as device, pytest.raises(ThalovantPolicyDeniedError):
        device.ask("hello")


@EACH
def test_what_is_said_unasked_arrives(hub: LocalHub, name: str, protocol: HubProtocol):
    """At the client's next poll, or at once where nothing is polled."""
    with hub.client(name, protocol=protocol) as device:
        device.ask("hello")
        said: queue.Queue[str] = queue.Queue()
        with device.on("speak", lambda event: said.put(event.text)):
            assert hub.speak_to(name, "by the way") == 1

            assert said.get(timeout=PATIENCE) == "by the way"


@EACH
def test_long_answers_wait_for_the_client(protocol: HubProtocol):
    """A skill that says far more than may wait goes on as the client takes it, and nothing is lost."""
    text = "x" * 100_000
    little = {"mqtt": Settings(unsent=1_000_000, unsent_pause=200_000)}.get(protocol, Settings())
    with thalovant.testing.hub(settings=little) as hub:

        @hub.skill("say much")
        async def much(turn: Turn) -> None:
            for number in range(100):
                await turn.speak(f"{number} {text}")

        with hub.client("device", protocol=protocol) as device:
            pieces = device.ask("say much", timeout=PATIENCE).utterances

    assert list(pieces) == [f"{number} {text}" for number in range(100)]


@EACH
def test_a_hub_that_comes_back_is_found_again(protocol: HubProtocol):
    """It has forgotten the session; the client begins another (with the same port and passwords of the broker)."""
    with thalovant.testing.hub() as hub, hub.client("device", protocol=protocol, retry="idempotent") as device:
        assert device.ask("one").text == "You said: one"
        hub.stop()
        hub.start()

        assert device.ask("two", timeout=PATIENCE).text == "You said: two"


@EACH
def test_a_session_that_the_hub_closes_is_begun_anew(hub: LocalHub, name: str, protocol: HubProtocol):
    """The client learns of it at its next poll, or by `offline` on its status topic."""
    with hub.client(name, protocol=protocol, retry="idempotent") as device:  # what is on its way then is lost
        device.ask("one")
        assert hub.disconnect(name) == 1

        assert device.ask("two", timeout=PATIENCE).text == "You said: two"


@EACH
def test_who_is_held_back_is_heard_in_the_end(protocol: HubProtocol):
    """Raw bytes that nobody has handled yet wait, at the client or at the hub, and arrive whole and in order."""
    free, heard = threading.Event(), []
    with thalovant.testing.hub(settings=Settings(unsent={"https": 200_000, "mqtt": 400_000}[protocol])) as hub:

        @hub.on_binary(BinType.RAW_AUDIO)
        def listen(turn: Any) -> None:
            free.wait(PATIENCE)
            heard.append(bytes(turn.binary.payload))

        with hub.client("device", protocol=protocol) as device:
            device.connect()
            for number in range(6):
                device.send_binary(bytes((number,)) * 60_000, BinType.RAW_AUDIO)
            free.set()
            while len(heard) < 6:
                device.ask("still there?", timeout=PATIENCE)

    assert heard == [bytes((number,)) * 60_000 for number in range(6)]
