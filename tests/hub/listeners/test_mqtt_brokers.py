"""The hub over MQTT behind any other broker: found, lost, refused, shared."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.hub.broker.plain_broker import PlainBroker
from tests.hub.listeners.strangers import PATIENCE, MqttStranger
from tests.hub.world import World
from thalovant.async_client import AsyncThalovantClient
from thalovant.hub import Hub, HubSetupError, Settings
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Connack


class BrokerWorld(World):
    """A broker, hubs and clients of one test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.broker = PlainBroker()
        self._closers.append(self.broker.stop)

    async def hub(self, **options: Any) -> Hub:
        """A hub behind the broker."""
        return await super().hub(**{"broker": self.broker.url, **options})

    def device(self, hub: Hub, name: str, **options: Any) -> AsyncThalovantClient:
        """A client behind it."""
        identity = hub.identity(name) or hub.add_client(name, **options)
        return self.client(identity, protocol="mqtt", retry="idempotent")


@pytest.fixture
def world(tmp_path: Path) -> AbstractAsyncContextManager[BrokerWorld]:
    """A broker of the test's own."""
    return BrokerWorld.opened(tmp_path)


@pytest.mark.parametrize("generation", [3, 1, 0])
async def test_any_broker_will_do(world: BrokerWorld, generation: int):
    """The hub says that it is there, serves, and says goodbye."""
    await world.broker.start()
    hub = await world.hub()
    assert hub.endpoints["mqtt"] == world.broker.url
    client = world.device(hub, "device", generation=generation)
    assert (await client.ask("hello")).text == "You said: hello"
    await client.close()
    await hub.close()
    assert world.broker.broker.said("hivemind/hub/status") == [b"online", b"offline"]


async def test_a_broker_that_goes_comes_back(world: BrokerWorld, caplog: pytest.LogCaptureFixture):
    """Hub and client find it again by themselves; the log has one line for each."""
    with caplog.at_level(logging.WARNING, "thalovant.hub"):
        await world.broker.start()
        hub = await world.hub()
        client = world.device(hub, "device")
        assert (await client.ask("one")).text == "You said: one"
        await world.broker.stop()
        await world.broker.start()
        assert (await client.ask("two", timeout=PATIENCE)).text == "You said: two"

    said = [record.getMessage() for record in caplog.records if record.name == "thalovant.hub"]
    assert len(said) == 2
    assert said[0].startswith("No MQTT for now: ")
    assert said[1] == "The MQTT broker serves the hub"


async def test_who_only_listens_is_found_again(world: BrokerWorld):
    """A hub that was away has lost its sessions, and the broker has kept its clients: it tells them."""
    await world.broker.start()
    hub = await world.hub()
    client = world.device(hub, "device")
    assert (await client.ask("hello")).text == "You said: hello"
    world.broker.cut_off("thalovant-hub-")
    while hub.connected:
        await asyncio.sleep(0)
    await hub.wait_connected("device")
    hub.speak_to("device", "here I am")
    assert (await client.wait_for_event("speak", timeout=PATIENCE)).text == "here I am"


async def test_a_broker_that_is_not_there_yet_is_waited_for(world: BrokerWorld):
    """The hub starts without it, and serves the rest meanwhile."""
    await world.broker.start()
    await world.broker.stop()
    hub = await world.hub()
    await world.broker.start()
    assert (await world.device(hub, "device").ask("hello", timeout=PATIENCE)).text == "You said: hello"


async def test_a_broker_that_refuses_the_hub_keeps_it_from_starting(world: BrokerWorld):
    """With a message that names the option, and no secret; nothing is left running."""
    world.broker.only("hub", "right")
    await world.broker.start()
    with pytest.raises(HubSetupError, match="does not authorize") as caught:
        await world.hub(broker=world.broker.url.replace("//", "//hub:wrong@"))
    assert caught.value.setting == "broker"
    assert "wrong" not in str(caught.value)
    hub = await world.hub(broker=world.broker.url.replace("//", "//hub:right@"))
    assert hub.endpoints["mqtt"] == world.broker.url


async def test_a_broker_that_drops_what_it_granted_is_named(world: BrokerWorld, caplog: pytest.LogCaptureFixture):
    """As mosquitto does: no refusal, and silence. The log says where to look."""
    with caplog.at_level(logging.WARNING, "thalovant.hub"):
        world.broker.broker.passes_on = lambda topic: False
        await world.broker.start()
        await world.hub(settings=Settings(mqtt=MqttLimits(answer_time=0.1)))
        while "access list" not in caplog.text:
            await asyncio.sleep(0)


async def test_two_hubs_in_one_place_are_told(world: BrokerWorld, caplog: pytest.LogCaptureFixture):
    """The one that was there first says so; a client that only one of them knows is served."""
    with caplog.at_level(logging.WARNING, "thalovant.hub"):
        await world.broker.start()
        hub = await world.hub()
        await world.hub()
        assert (await world.device(hub, "device").ask("hello")).text == "You said: hello"

    said = {record.getMessage() for record in caplog.records}
    assert len([text for text in said if "Another hub" in text]) == 1


async def test_what_is_retained_is_from_another_time(world: BrokerWorld):
    """Garbage that the broker kept for the hub is not heard, and an old `offline` ends nobody's session."""
    await world.broker.start()
    hub = await world.hub()
    identity = hub.add_client("device")
    await hub.close()
    for level in ("in", "status"):
        world.broker.broker.retained[f"hivemind/{identity.access_key}/{level}"] = (b"offline", 1)
    await hub.start()
    client = world.device(hub, "device")
    assert (await client.ask("hello")).text == "You said: hello"


async def test_an_unknown_access_key_is_told_nothing(world: BrokerWorld):
    """Silence is what real hubs have for it (real-hubs.md §8)."""
    await world.broker.start()
    await world.hub()
    broker = world.broker.broker
    broker.publish("hivemind/nobody/in", b'{"msg_type":"hello","payload":{}}')
    world.broker._flush()
    broker.publish("hivemind/nobody/status", b"offline")
    world.broker._flush()
    await asyncio.sleep(0)
    assert broker.said("hivemind/nobody/out") == []


@pytest.mark.parametrize("embedded", [True, False])
async def test_a_hub_that_stops_leaves_nothing_unsaid(world: BrokerWorld, embedded: bool):
    """More messages than may be on their way at a time leave before its goodbye."""
    await world.broker.start()
    hub = await world.hub(**({"broker": None, "mqtt_port": 0} if embedded else {}))
    client = world.device(hub, "device")
    await client.ask("hello")
    heard: list[str] = []
    with client.on("speak", lambda event: heard.append(event.text)):
        for number in range(200):
            hub.speak_to("device", str(number))
        await hub.close()
        while len(heard) < 200:
            await asyncio.sleep(0)
    assert heard == [str(number) for number in range(200)]


async def test_a_session_that_fails_leaves_nothing(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch):
    """Its reader ends with it."""

    async def fails(*arguments: Any) -> None:
        raise KeyError

    hub = await world.hub(broker=None, mqtt_port=0)
    identity = hub.add_client("device")

    def readers() -> int:
        return sum("_reader_loop" in repr(task.get_coro()) for task in asyncio.all_tasks())

    assert readers() == 0  # the hub itself needs none
    monkeypatch.setattr("amqtt.broker.Broker._client_message_loop", fails)

    def visit() -> None:
        with MqttStranger(identity) as device:
            assert device.connect() == Connack()
            assert device.hear() is None

    await asyncio.to_thread(visit)
    while readers():
        await asyncio.sleep(0)
