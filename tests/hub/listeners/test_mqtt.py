"""The hub over MQTT on real sockets: behind its own broker, and behind any other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import thalovant.testing
from tests.hub.listeners.strangers import PATIENCE, MqttStranger
from thalovant.client import ThalovantClient
from thalovant.errors import ThalovantHubRefusedError
from thalovant.hub import Hub, HubSetupError, Settings
from thalovant.hub.export import variables
from thalovant.hub.listeners.all import Broker
from thalovant.identity import ThalovantIdentity
from thalovant.testing import LocalHub
from thalovant_proto.events import BinType
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, encode_length
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
    SUBSCRIPTION_REFUSED,
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Will,
)
from thalovant_proto.secret import Secret


def client(hub: LocalHub, name: str, **options: Any) -> ThalovantClient:
    """A client that speaks MQTT."""
    return hub.client(name, protocol="mqtt", **options)


# --- our own client, behind the embedded broker ----------------------------------------------------------------------


@pytest.mark.parametrize("generation", [3, 1, 0])
def test_variables_say_all_of_the_broker(
    hub: LocalHub, name: str, generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program finds in its environment is what the identity holds, topics included."""
    identity = hub.add_client(name, generation=generation)
    for variable, value in variables(identity).items():
        monkeypatch.setenv(variable, value)

    assert identity.mqtt == ThalovantIdentity.from_env().mqtt


def test_a_wrong_password_of_the_broker_is_told(hub: LocalHub, name: str):
    """The gatekeeper says so, and the client does not try for ever."""
    identity = hub.identity(name)
    assert identity.mqtt is not None
    wrong = replace(identity, mqtt=replace(identity.mqtt, password="wrong"))

    device = ThalovantClient(wrong, protocol="mqtt", noise_state_dir=hub.state_dir(name))

    with contextlib.closing(device), pytest.raises(ThalovantHubRefusedError, match="user name or the password"):
        device.connect()


def test_raw_bytes_travel_up(hub: LocalHub, name: str):
    """Many chunks of one message, in order."""
    heard: list[bytes] = []

    @hub.on_binary(BinType.FILE)
    def listen(turn: Any) -> None:
        heard.append(turn.binary.payload)

    payload = bytes(range(256)) * 8192
    with client(hub, name) as device:
        device.connect()
        device.send_binary(payload, "file", metadata={"file_name": "x"})
        while not heard:
            device.ask("are you there?", timeout=PATIENCE)

    assert heard == [payload]


def test_messages_without_bytes_are_not_free():
    """What waits for a handler is bounded by number too: empty ones end the session like large ones."""
    begun, free = threading.Event(), threading.Event()
    with thalovant.testing.hub(settings=Settings(unsent=80_000)) as hub:

        @hub.on_binary(BinType.RAW_AUDIO)
        def listen(turn: Any) -> None:
            begun.set()
            free.wait(PATIENCE)

        with client(hub, "device") as device, MqttStranger(hub.identity("device")) as second:
            device.connect()
            for _ in range(3):
                device.send_binary(bytes(30_000), BinType.RAW_AUDIO)
            assert begun.wait(PATIENCE)
            assert second.connect() == Connack()
            second.say(Subscribe(packet_id=1, filters=((second.topic("status"), 0),)))
            second.say(*[Publish(topic=second.topic("in"), payload=b"")] * 1000)
            while not isinstance(packet := second.hear(), Publish) or packet.payload != b"offline":
                assert packet is not None
            free.set()


def test_nothing_secret_is_logged(name: str, caplog: pytest.LogCaptureFixture):
    """amqtt would log topics, which hold access keys, and whole packets."""
    with caplog.at_level(logging.DEBUG), thalovant.testing.hub() as hub:
        identity = hub.identity(name)
        with client(hub, name) as device:
            device.ask("hello")

    assert identity.mqtt is not None
    for secret in (identity.access_key, identity.password, identity.mqtt.password):
        assert secret not in caplog.text


def test_a_broker_that_fails_says_no_secret(
    hub: LocalHub, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """What went wrong and where is logged, and not the words of the error: a missing key there is a topic."""

    async def fails(*arguments: Any) -> None:
        raise KeyError("hivemind/planted/out")

    monkeypatch.setattr("amqtt.broker.Broker.external_connected", fails)
    with MqttStranger(hub.identity(name)) as device:
        assert device.connect() is None

    assert "KeyError" in caplog.text
    assert "in fails" in caplog.text
    assert "planted" not in caplog.text.replace('KeyError("hivemind/planted/out")', "")


# --- strangers at the embedded broker --------------------------------------------------------------------------------


def test_an_account_reaches_its_own_topics_only(hub: LocalHub, name: str):
    """Others' messages are not heard, their topics not written, their retained messages not given away."""
    with client(hub, f"{name}-ada") as ada, MqttStranger(hub.identity(f"{name}-bob")) as bob:
        ada.ask("hello")
        ada_in, ada_status = (
            f"hivemind/{hub.identity(f'{name}-ada').access_key}/{level}" for level in ("in", "status")
        )
        assert bob.connect() == Connack()

        bob.say(Subscribe(packet_id=1, filters=((ada_status, 1), ("#", 0), ("hivemind/+/out", 1))))
        assert bob.hear() == Suback(packet_id=1, codes=(SUBSCRIPTION_REFUSED,) * 3)
        for packet_id, (topic, payload) in enumerate([(ada_status, b"offline"), (ada_in, b"garbage")], start=2):
            bob.say(Publish(topic=topic, payload=payload, qos=1, retain=True, packet_id=packet_id))
            assert bob.hear() == Puback(packet_id)
        assert ada.ask("still here?").text == "You said: still here?"

        bob.say(Pingreq())
        assert bob.hear() == Pingresp()  # and nothing of what was said before


def test_nobody_takes_over_another_identity(hub: LocalHub, name: str):
    """The same client id is another one of somebody else; of the same identity it is the same."""
    with (
        MqttStranger(hub.identity(f"{name}-ada")) as ada,
        MqttStranger(hub.identity(f"{name}-ada")) as again,
        MqttStranger(hub.identity(f"{name}-bob")) as bob,
    ):
        assert ada.connect(client_id="app") == Connack()
        assert bob.connect(client_id="app") == Connack()
        ada.say(Pingreq())
        assert ada.hear() == Pingresp()

        assert again.connect(client_id="app") == Connack()
        assert ada.hear() is None
        bob.say(Pingreq())
        assert bob.hear() == Pingresp()


def test_a_will_on_anothers_topic_is_refused(hub: LocalHub, name: str):
    """So that nobody can end another's session by dying."""
    other = hub.identity(f"{name}-ada").access_key
    with MqttStranger(hub.identity(name)) as bob:
        answer = bob.connect(will=Will(topic=f"hivemind/{other}/status", payload=b"offline"))

    assert answer == Connack(code=ConnectCode.NOT_AUTHORIZED)


def test_a_will_comes_before_the_successor(hub: LocalHub, name: str):
    """Who takes over a client id finds what its predecessor left: that one's end is over when it is let in."""
    with MqttStranger(hub.identity(name)) as first, MqttStranger(hub.identity(name)) as second:
        will = Will(topic=first.topic("status"), payload=b"offline", qos=1, retain=True)
        assert first.connect(client_id="app", will=will) == Connack()
        assert second.connect(client_id="app") == Connack()

        second.say(Subscribe(packet_id=1, filters=((will.topic, 1),)))
        heard = [second.hear(), second.hear()]  # in either order, says MQTT §3.8.4
        assert Suback(packet_id=1, codes=(1,)) in heard
        told = [(one.topic, one.payload, one.retain) for one in heard if isinstance(one, Publish)]
        assert told == [(will.topic, b"offline", True)]


@pytest.mark.parametrize("leaves", [True, False], ids=["goodbye", "no goodbye"])
@pytest.mark.parametrize("qos", [0, 1])
def test_last_words_are_heard(hub: LocalHub, name: str, qos: int, leaves: bool):
    """What was said before the end is passed on, however fast the end follows: some of it is acknowledged already."""
    identity = hub.identity(name)
    with MqttStranger(identity) as listener, MqttStranger(identity) as speaker:
        assert listener.connect() == Connack()
        assert speaker.connect() == Connack()
        status = listener.topic("status")
        listener.say(Subscribe(packet_id=1, filters=((status, 1),)))
        assert listener.hear() == Suback(packet_id=1, codes=(1,))
        words = [Publish(topic=status, payload=b"%d" % n, qos=qos, packet_id=n if qos else None) for n in range(1, 9)]
        speaker.say(*words, *([Disconnect()] if leaves else []))
        if not leaves:
            if qos:
                assert [speaker.hear() for _ in words] == [Puback(n) for n in range(1, 9)]
            speaker.close()

        heard = [packet.payload for _ in words if isinstance(packet := listener.hear(), Publish)]

    assert heard == [word.payload for word in words]


def test_many_may_come_at_once(hub: LocalHub, name: str):
    """With presence of theirs retained at the broker, as after a restart of their network: all are let in, and stay."""
    identities = [hub.identity(f"{name}-{number}") for number in range(20)]
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            devices = [stack.enter_context(MqttStranger(identity)) for identity in identities]
            for device, identity in zip(devices, identities, strict=True):
                broker = identity.mqtt
                assert broker is not None
                status = device.topic("status")
                device.say(
                    Connect(client_id="", username=broker.username, password=Secret(broker.password.encode())),
                    Subscribe(packet_id=1, filters=((status, 1), (device.topic("out"), 1))),
                    Publish(topic=status, payload=b"online", qos=1, retain=True, packet_id=2),
                )
            for device in devices:
                heard = [device.hear()]
                assert heard[0] == Connack()
                while not {type(packet) for packet in heard} >= {Suback, Puback}:
                    packet = device.hear()
                    assert packet is not None
                    heard.append(packet)
                assert Suback(packet_id=1, codes=(1, 1)) in heard


@pytest.mark.parametrize(
    "data",
    [b"\x30" + encode_length(MAX_REMAINING), b"\x00\x00", b"\x30\x03\x00\x09a", b"\x10\x00"],
    ids=["268 435 455 bytes", "type 0", "a cut field", "a second CONNECT"],
)
def test_what_is_no_mqtt_ends_the_connection(hub: LocalHub, name: str, data: bytes):
    """At once, for this connection alone."""
    with MqttStranger(hub.identity(name)) as bad, MqttStranger(hub.identity(name)) as good:
        assert bad.connect() == Connack()
        assert good.connect() == Connack()
        bad.write(data)

        assert bad.hear() is None
        good.say(Pingreq())
        assert good.hear() == Pingresp()


def test_silence_before_connect_has_its_time():
    """Then the connection ends, and others come in as before."""
    settings = Settings(mqtt=MqttLimits(answer_time=0.2))
    with thalovant.testing.hub(settings=settings) as hub, MqttStranger(hub.identity()) as silent:
        assert silent.hear() is None
        with client(hub, "device") as device:
            assert device.ask("hello").text == "You said: hello"


def test_a_flood_of_connections_leaves_room_for_clients():
    """They have no time but that of a handshake; those that signed in are none of them."""
    with (
        thalovant.testing.hub(settings=Settings(unproven=4, unproven_grace=0.001)) as hub,
        contextlib.ExitStack() as stack,
    ):
        inside = []
        for _ in range(6):
            inside.append(stack.enter_context(MqttStranger(hub.identity())))
            assert inside[-1].connect() == Connack()
        for _ in range(8):
            stack.enter_context(MqttStranger(hub.identity()))
        with client(hub, "device") as device:
            assert device.ask("hello").text == "You said: hello"
        for one in inside:
            one.say(Pingreq())
            assert one.hear() == Pingresp()


def test_garbage_of_the_client_itself_harms_nobody(hub: LocalHub, name: str):
    """Bytes that are no frame end what they began; retained ones are from another time."""
    with MqttStranger(hub.identity(name)) as bob:
        bob.connect()
        for packet_id, payload in enumerate([b"garbage", b"\x82\xff", b"{", b""], start=1):
            bob.say(Publish(topic=bob.topic("in"), payload=payload, qos=1, retain=True, packet_id=packet_id))
            assert bob.hear() == Puback(packet_id)

    with client(hub, name) as device:
        assert device.ask("hello").text == "You said: hello"


# --- how it is told --------------------------------------------------------------------------------------------------


def test_where_a_broker_is_and_who_we_are(monkeypatch: pytest.MonkeyPatch):
    """User and password from the URL, with escapes, else from the environment; never shown."""
    broker = Broker.at("mqtts://us%40er:p%2F%3Aw@broker.example:8884")
    assert (broker.username, broker.password and broker.password.reveal()) == ("us@er", "p/:w")
    assert broker.url == "mqtts://broker.example:8884"
    assert "us@er" not in repr(broker)
    assert "p/:w" not in repr(broker)

    plain = Broker.at("mqtt://[::1]")
    assert (plain.url, plain.username, plain.password) == ("mqtt://[::1]:1883", None, None)
    assert plain.authorities() == b""

    monkeypatch.setenv("THALOVANT_BROKER_USERNAME", "from")
    monkeypatch.setenv("THALOVANT_BROKER_PASSWORD", "env")
    named = Broker.at("mqtts://broker.example")
    assert (named.username, named.password and named.password.reveal()) == ("from", "env")
    assert named.url == "mqtts://broker.example:8883"


@pytest.mark.parametrize(
    "url", ["mqtt://u:secret@broker.example", "mqtts://u:secret@", "http://u:secret@h", "mqtts://u:secret@h:0", ""]
)
def test_what_is_no_broker_is_said_without_its_password(url: str):
    """Passwords in clear over a network count among it."""
    with pytest.raises(HubSetupError) as caught:
        Hub(broker=url)

    assert caught.value.setting == "broker"
    assert "mqtts://" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_whom_clients_trust(tmp_path: Path):
    """The authorities that are named, else the system's; a file that holds none is refused at the start."""
    system = Broker.at("mqtts://broker.example").authorities()
    assert system.startswith(b"-----BEGIN CERTIFICATE-----") or not system
    wrong = tmp_path / "ca.pem"
    wrong.write_text("nothing")

    with pytest.raises(HubSetupError) as caught:
        Broker.at("mqtts://broker.example", ca_file=wrong).authorities()

    assert caught.value.setting == "broker_ca"


def test_without_the_extra_a_port_for_mqtt_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """And the hub for tests goes on with what there is."""
    monkeypatch.setitem(sys.modules, "amqtt", None)
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("amqtt.")]:
        monkeypatch.delitem(sys.modules, loaded)

    with pytest.raises(HubSetupError, match=r"pip install 'thalovant\[hub\]'"):
        asyncio.run(Hub(mqtt_port=0).start())
    with thalovant.testing.hub() as hub:
        assert hub.identity().enabled_protocols() == ("wss", "https")
        assert hub.identity().mqtt is None
