"""Identities of environment variables, and what goes wrong there."""

from __future__ import annotations

import pytest

from thalovant import ThalovantIdentity

from ..identities import refusal

SECRETS = {"ACCESS_KEY": "AK-1", "PASSWORD": "PW-1", "SITE_ID": "kitchen"}


def from_env(environment, variables, prefix="THALOVANT_") -> ThalovantIdentity:
    for name, value in variables.items():
        environment.setenv(prefix + name, value)
    return ThalovantIdentity.from_env() if prefix == "THALOVANT_" else ThalovantIdentity.from_env(prefix)


def test_environment(environment):
    """The documented block: the path is applied, the port too, and MQTT is complete."""
    identity = from_env(
        environment,
        SECRETS
        | {
            "CRYPTO_KEY": "CK-1",
            "CA_FILE": "/ca.crt",
            "HUB_HTTP_HOST": "https://hub.example",
            "HUB_HTTP_PORT": "443",
            "HUB_HTTP_PATH": "/public",
            "HUB_WSS_HOST": "wss://hub.example",
            "HUB_MQTT_HOST": "mqtts://mqtt.example:8883",
            "MQTT_USERNAME": "u",
            "MQTT_PASSWORD": "p",
            "MQTT_TOPIC_PREFIX": "hivemind/hub/client",
        },
    )

    assert (identity.access_key, identity.password, identity.crypto_key) == ("AK-1", "PW-1", "CK-1")
    assert identity.ca_file == "/ca.crt"
    assert identity.endpoint_for("https") == "https://hub.example:443/public"
    assert identity.endpoint_for("wss") == "wss://hub.example"
    assert identity.endpoint_for("mqtt") == "mqtts://mqtt.example:8883"
    assert (identity.mqtt.endpoint, identity.mqtt.topic_prefix) == ("mqtts://mqtt.example:8883", "hivemind/hub/client")
    assert identity.enabled_protocols() == ("wss",)
    assert identity.source_path is None


@pytest.mark.parametrize(
    ("variables", "https", "wss"),
    [
        ({"HUB_HTTPS_HOST": "https://h"}, "https://h", None),
        ({"HUB_WSS_HOST": "wss://h"}, "https://h:5679", "wss://h"),
        ({"HUB_HTTP_HOST": "https://h"}, "https://h", None),
        ({"HUB_HTTP_HOST": "https://h", "HUB_HTTP_PORT": "5679"}, "https://h:5679", None),
        ({"HUB_HTTP_HOST": "http://127.0.0.1", "HUB_HTTP_PORT": "1"}, "http://127.0.0.1:1", None),
        ({"HUB_HTTP_HOST": "https://h/has", "HUB_HTTP_PATH": "/other"}, "https://h/has", None),
        ({"HUB_HTTP_HOST": "https://h:9", "HUB_HTTP_PORT": "1", "HUB_HTTP_PATH": "p"}, "https://h:9/p", None),
        ({"HUB_HTTP_HOST": "https://[::1]", "HUB_HTTP_PORT": "1"}, "https://[::1]:1", None),
        ({"HUB_HTTP_HOST": "h.example", "HUB_HTTP_PORT": "1"}, "https://h.example:1", None),
        ({"DEFAULT_MASTER": "https://m", "DEFAULT_PORT": "1", "DEFAULT_PATH": "x"}, "https://m:1/x", None),
        ({"DEFAULT_MASTER": "wss://m"}, "https://m:5679", "wss://m"),
        (
            {"HUB_HTTP_HOST": "https://a", "HUB_HTTPS_HOST": "https://b", "HUB_WEBSOCKET_HOST": "wss://c"},
            "https://b",
            "wss://c",
        ),
    ],
)
def test_environment_endpoints(environment, variables, https, wss):
    """Any one of the hosts is enough; port and path belong to the HTTP host that has none."""
    identity = from_env(environment, SECRETS | variables)

    assert identity.endpoint_for("https") == https
    assert identity.endpoint_for("wss") == wss


def test_environment_with_another_prefix(environment):
    """Several identities in one environment."""
    identity = from_env(environment, SECRETS | {"HUB_WSS_HOST": "wss://h"}, prefix="LAMP_")

    assert identity.site_id == "kitchen"


def test_environment_mqtt(environment):
    """The older topics and the quality of service can be set as well."""
    identity = from_env(
        environment,
        SECRETS
        | {"HUB_HTTP_HOST": "https://h", "MQTT_ENDPOINT": "mqtts://b", "MQTT_USERNAME": "u", "MQTT_PASSWORD": "p"}
        | {"MQTT_QOS": "0", "MQTT_HUB_ID": "h", "MQTT_C2S_TOPIC": "c", "MQTT_S2C_TOPIC": "s"}
        | {"MQTT_STATUS_TOPIC": "t", "MQTT_HASH_TOPICS": "1"},
    )

    broker = identity.mqtt
    assert (broker.qos, broker.hub_id, broker.c2s_topic, broker.s2c_topic) == (0, "h", "c", "s")
    assert (broker.status_topic, broker.hash_topics) == ("t", True)
    assert identity.endpoint_for("mqtt") == "mqtts://b"


@pytest.mark.parametrize(
    ("without", "hint"),
    [
        ("ACCESS_KEY", "Set THALOVANT_ACCESS_KEY."),
        ("PASSWORD", "Set THALOVANT_PASSWORD."),
        ("SITE_ID", "Set THALOVANT_SITE_ID."),
        ("HUB_WSS_HOST", "Set THALOVANT_HUB_WSS_HOST, THALOVANT_HUB_HTTPS_HOST, THALOVANT_HUB_HTTP_HOST."),
    ],
)
def test_incomplete_environment(environment, without, hint):
    """The hint names the variable to set; an empty one is like none."""
    complete = SECRETS | {"HUB_WSS_HOST": "wss://h"}

    error = refusal(from_env, environment, complete | {without: " "})

    assert str(error).startswith("Missing required identity field: ")
    assert error.hint == hint


def test_wrong_port_in_the_environment(environment):
    """The variable is named, not its content."""
    error = refusal(from_env, environment, SECRETS | {"HUB_HTTP_HOST": "https://h", "HUB_HTTP_PORT": "no-number"})

    assert "THALOVANT_HUB_HTTP_PORT" in error.hint
    assert "no-number" not in f"{error} {error.hint}"
