"""Where the broker is, and links that cannot be made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proto.links.mqtt.client_world import World
from thalovant_proto.carrier import Target
from thalovant_proto.links.base import Link
from thalovant_proto.links.mqtt.connect import parse_broker
from thalovant_proto.secret import Secret


@pytest.mark.parametrize(
    ("url", "tls", "target"),
    [
        ("mqtt://Broker.Example", False, Target(host="broker.example", port=1883, tls=False)),
        ("mqtts://broker", False, Target(host="broker", port=8883, tls=True)),
        ("tcp://broker:1", False, Target(host="broker", port=1, tls=False)),
        ("ssl://broker/", False, Target(host="broker", port=8883, tls=True)),
        ("mqtt://broker", True, Target(host="broker", port=8883, tls=True)),
        (" MQTT://broker:9 ", True, Target(host="broker", port=9, tls=True)),
        ("broker:65535", False, Target(host="broker", port=65_535, tls=False)),
        ("mqtt://[::1]:5", False, Target(host="::1", port=5, tls=False)),
        ("mqtt://bücher.example", False, Target(host="xn--bcher-kva.example", port=1883, tls=False)),
    ],
)
def test_brokers_are_found(url: str, tls: bool, target: Target) -> None:
    """Schemes and default ports of the published SDKs; `tls` wins over the scheme."""
    assert parse_broker(url, tls=tls) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://broker",
        "mqtt://user:planted@broker",
        "mqtt://broker/planted",
        "mqtt://broker?planted",
        "mqtt://broker:0",
        "mqtt://broker:65536",
        "mqtt://",
        "mqtt://pla nted",
        f"mqtt://{'planted' * 10}.example",
    ],
)
def test_bad_urls_are_refused_without_being_shown(url: str) -> None:
    """A URL may hold a password."""
    with pytest.raises(ValueError) as caught:
        parse_broker(url)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"qos": 2},
        {"topic_prefix": "a/#"},
        {"username": "\0"},
        {"username": "u", "password": Secret("\udcff")},
        {"password": Secret("p")},
        {"client_id": "\0"},
    ],
)
def test_a_link_that_cannot_work_is_not_made(options: dict[str, Any]) -> None:
    """`ValueError` at once, not a refusal later. What is made is a link, which the stack drives."""
    link: Link = World().dial().link
    assert link.wants_socket
    with pytest.raises(ValueError):
        World(**options).dial()
