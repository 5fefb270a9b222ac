"""The hub's own transports as objects, and the MQTT topics of an identity."""

from __future__ import annotations

from typing import Any

import pytest

from thalovant import (
    HiveMindMQTTTransport,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantIdentity,
    mqtt_topics_for_identity,
)
from thalovant.transport import HiveMindHTTPTransport, HiveMindWSSTransport

from .identities import PLAIN
from .lab import Lab

BROKER = {"endpoint": "mqtts://broker.example", "username": "u", "password": "p"}


@pytest.mark.parametrize("kind", [HiveMindWSSTransport, HiveMindHTTPTransport])
def test_hub_transports(v3: Lab, kind: Any) -> None:
    """A program that makes a transport and hands it in works as one that does not."""
    identity = v3.stranger()
    transport = kind(identity, noise_state_dir=v3.state_dir(identity.site_id))
    assert (transport.is_connected, transport.last_error) == (False, None)
    with ThalovantClient(identity, transport=transport) as client:
        assert transport.is_connected
        assert client.ask("say one and two").utterances == ("one", "two")
        assert client.query("hi").text == "You said: hi"
        assert client.healthcheck().ok
        assert client.doctor().ok
        heard = v3.heard("hi")[-1]
        assert heard.context["session"]["session_id"]
        v3.hub.disconnect(identity.site_id)
        assert client.ask("hi").text == "You said: hi"
    transport.disconnect()
    assert not transport.is_connected


@pytest.mark.parametrize(
    ("kind", "endpoints", "said"),
    [
        (HiveMindWSSTransport, {}, "The identity does not include a WSS endpoint."),
        (HiveMindWSSTransport, {"wss": "https://hub.example"}, "WSS endpoint must start with ws:// or wss://."),
        (HiveMindMQTTTransport, {}, "The identity does not include MQTT broker credentials."),
    ],
)
def test_hub_transports_without_an_endpoint(kind: Any, endpoints: dict[str, str], said: str) -> None:
    """They say so when they connect."""
    transport = kind(ThalovantIdentity.from_mapping({**PLAIN, "data_plane_endpoints": endpoints}))
    transport.disconnect()
    with pytest.raises(ThalovantConnectionError) as caught:
        transport.connect()
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ({"topic_prefix": " /hive/hub/AK-1/ "}, ("hive/hub/AK-1/in", "hive/hub/AK-1/out", "hive/hub/AK-1/status")),
        ({"topic_prefix": "h", "c2s_topic": "a", "s2c_topic": "b", "status_topic": "c"}, ("a", "b", "c")),
        ({"c2s_topic": "a", "s2c_topic": "b"}, ("a", "b", "")),
        (
            {"topic_prefix": "h/AK-1", "hash_topics": True},
            ("h/c2s/2e5b72522291f7a9", "h/s2c/2e5b72522291f7a9", "h/status/2e5b72522291f7a9"),
        ),
        ({}, "MQTT credentials must include topic_prefix."),
        ({"topic_prefix": "a/#"}, "MQTT topic_prefix contains characters that are not valid in an MQTT topic."),
        ({"topic_prefix": "a+b"}, "MQTT topic_prefix contains characters that are not valid in an MQTT topic."),
        (None, "The identity does not include MQTT broker credentials."),
    ],
)
def test_mqtt_topics(broker: dict[str, Any] | None, expected: Any) -> None:
    """Explicit topics win, then the present layout; a digest of the key is an option of older hubs."""
    identity = ThalovantIdentity.from_mapping({**PLAIN, "mqtt": None if broker is None else {**BROKER, **broker}})
    if isinstance(expected, str):
        with pytest.raises(ThalovantConnectionError) as caught:
            mqtt_topics_for_identity(identity)
        assert str(caught.value) == expected
    else:
        topics = mqtt_topics_for_identity(identity)
        assert topics == expected
        assert (topics.inbound, topics.outbound, topics.status) == expected
