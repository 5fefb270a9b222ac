"""Protocols and endpoints: what is read, what is derived, and which one a client takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from thalovant import (
    DEFAULT_PROTOCOL_PREFERENCE,
    HubDataPlaneEndpoints,
    HubProtocolSettings,
    MqttBrokerCredentials,
    ThalovantIdentity,
    ThalovantUnsupportedProtocolError,
    select_data_plane_endpoint,
)
from thalovant._client.settings import choose_protocol, choose_protocols

BROKER = MqttBrokerCredentials("mqtts://b", "u", "p")


def identity(**fields) -> ThalovantIdentity:
    return ThalovantIdentity(**{"access_key": "a", "password": "p", "default_master": "", "site_id": "s"} | fields)


def test_preference():
    """WSS first, MQTT last, as the documents say."""
    assert DEFAULT_PROTOCOL_PREFERENCE == ("wss", "https", "mqtt")


@pytest.mark.parametrize(
    ("values", "wss", "http", "mqtt"),
    [
        ({}, True, False, False),
        (None, True, False, False),
        (
            {"protocols": {"wss": {"enabled": False}, "http": {"enabled": True}, "mqtt": {"enabled": True}}},
            False,
            True,
            True,
        ),
        ({"protocols": {"websocket": "no", "https": "yes", "mqtt": "on"}}, False, True, True),
        ({"protocols": {"http": 1, "wss": 0}}, False, True, False),
        ({"spec": {"protocols": {"http": True}}, "protocols": {"mqtt": True}}, True, True, False),
        ({"spec": {}, "protocols": {"http": True}}, True, True, False),
        ({"spec": {"protocols": {}}, "protocols": {"http": True}}, True, True, False),
        ({"network": {"http": {"enabled": True}}}, True, True, False),
        ({"spec": {"network": {"http": True}}}, True, True, False),
        ({"protocols": {"http": "maybe", "wss": None, "mqtt": {"on": True}}}, True, False, False),
        ({"protocols": ["http"]}, True, False, False),
    ],
)
def test_flags(values, wss, http, mqtt):
    """`spec.protocols`, else `protocols`, else `network`; booleans, words or {"enabled": …}; else the default."""
    settings = HubProtocolSettings.from_mapping(values)

    assert settings == HubProtocolSettings(wss=wss, http=http, mqtt=mqtt)
    assert HubProtocolSettings.from_mapping({"protocols": settings.as_dict()}) == settings


def test_flags_by_name():
    """HTTPS goes by "https" in Python and by "http" on the wire; other words are simply off."""
    settings = HubProtocolSettings(http=True)

    assert settings.https
    assert [settings.is_enabled(word) for word in ("wss", "https", "mqtt", "http", "x")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert settings.enabled_protocols() == ("wss", "https")
    assert settings.as_dict() == {"wss": {"enabled": True}, "http": {"enabled": True}, "mqtt": {"enabled": False}}


@pytest.mark.parametrize(
    ("values", "endpoints"),
    [
        (None, {}),
        ({"https": "https://x/", "wss": " wss://y "}, {"https": "https://x", "wss": "wss://y"}),
        (
            {"data_plane_endpoints": {"http": "http://a", "ws": "ws://b", "mqtts": "mqtts://c"}},
            {"https": "http://a", "wss": "ws://b", "mqtt": "mqtts://c"},
        ),
        ({"dataPlaneEndpoints": {"https": "https://x"}, "wss": "wss://not-here"}, {"https": "https://x"}),
        ({"endpoints": {}, "wss": "wss://t"}, {"wss": "wss://t"}),
        ({"https": "ftp://x", "wss": "wss://", "mqtt": "tcp://b"}, {}),
        ({"https": "https:///path", "wss": "wss://[bad", "mqtt": 5}, {}),
        ({"https": "host.example/x", "mqtt": "broker"}, {"https": "host.example/x", "mqtt": "broker"}),
        (
            {"mqtt": {"endpoint": "mqtts://b", "username": "U", "password": "P"}, "wss": {"url": "wss://x"}},
            {"mqtt": "mqtts://b"},
        ),
        ({"mqtt": {"broker_url": "mqtts://b"}}, {"mqtt": "mqtts://b"}),
        ({"http": "http://a", "https": ""}, {"https": "http://a"}),
    ],
)
def test_endpoints(values, endpoints):
    """Aliases, nested maps and credentials are understood; what is no hub's URL is not there."""
    found = HubDataPlaneEndpoints.from_mapping(values)

    assert found.as_dict() == endpoints
    assert found == HubDataPlaneEndpoints(**endpoints)


def test_endpoint_by_name():
    """Only the three protocols have endpoints."""
    found = HubDataPlaneEndpoints(https="https://x", mqtt="mqtts://m")

    assert [found.endpoint_for(word) for word in ("https", "wss", "mqtt", "http")] == [
        "https://x",
        None,
        "mqtts://m",
        None,
    ]


@pytest.mark.parametrize(
    ("hub", "endpoints"),
    [
        ({"domain": "jokes.example"}, {"wss": "wss://jokes.example"}),
        (
            {"domain": "jokes.example", "spec": {"protocols": {"http": True, "mqtt": True}}},
            {"wss": "wss://jokes.example", "https": "https://jokes.example"},
        ),
        (
            {
                "domain": "https://jokes.example/",
                "protocols": {"wss": False, "http": True},
                "endpoints": {"mqtt": "mqtts://m"},
            },
            {"https": "https://jokes.example", "mqtt": "mqtts://m"},
        ),
        ({"domain": "jokes.example", "endpoints": {"wss": "wss://else"}}, {"wss": "wss://else"}),
        ({"endpoints": {"wss": "wss://else"}}, {"wss": "wss://else"}),
        ({"domain": 5, "https": "https://a.field.of.the.hub"}, {}),
    ],
)
def test_endpoints_of_a_hub(hub, endpoints):
    """Given endpoints win, WSS and HTTPS follow from the domain where they are on, MQTT never does."""
    assert HubDataPlaneEndpoints.from_hub(hub) == HubDataPlaneEndpoints(**endpoints)


BASES = [
    # master, port, path, https endpoint, base
    ("https://h", 443, "", None, "https://h:443"),
    ("https://h", 5679, "/p", None, "https://h:5679/p"),
    ("https://h:9/base", 443, "/p", None, "https://h:9/base/p"),
    ("wss://h", 443, "", None, "https://h:443"),
    ("WSS://h/base", 443, "", None, "https://h:443/base"),
    ("ws://h", 5679, "", None, "http://h:5679"),
    ("WS://h", 5679, "", None, "http://h:5679"),
    ("h.example", 5679, "", None, "https://h.example:5679"),
    ("https://u:p@h", 1, "", None, "https://u:p@h:1"),
    ("", 443, "/unused", "https://hub.example/public", "https://hub.example:443/public"),
    ("", 5679, "", "https://hub.example/public", "https://hub.example/public"),
    ("", 5679, "", "http://127.0.0.1", "http://127.0.0.1:5679"),
    ("", 5679, "", "hub.example/x", "https://hub.example/x"),
    ("", 443, "", "https://hub.example:99/x?y=1#z", "https://hub.example:99/x"),
    ("", 443, "", "https://[::1]", "https://[::1]:443"),
    ("", 443, "", "https://[::1]:5/x", "https://[::1]:5/x"),
    ("", 443, "", "https://h:", "https://h:443"),
    ("", 443, "", "https://h:abc", "https://h:abc"),
    ("", 443, "", "wss://h/x", "https://h:443/x"),
    ("https://[bad", 443, "", None, "https://[bad"),
    ("[bad", 443, "", None, "https://[bad"),
]


@pytest.mark.parametrize(("master", "port", "path", "https", "base"), BASES)
def test_https_base(master, port, path, https, base):
    """Endpoint, else master and path; the port where it is known, but no hub's default on a public https URL."""
    ours = identity(
        default_master=master, default_port=port, default_path=path, data_plane_endpoints=HubDataPlaneEndpoints(https)
    )

    assert ours.endpoint_base() == base
    assert ours.endpoint_for("https") == base


@pytest.mark.parametrize(
    ("fields", "wss"),
    [
        ({"default_master": "https://h"}, None),
        ({"default_master": "wss://h/x"}, "wss://h/x"),
        ({"default_master": "WSS://h"}, "WSS://h"),
        ({"default_master": "ws://h"}, "ws://h"),
        ({"default_master": "wss://h", "data_plane_endpoints": HubDataPlaneEndpoints(wss="wss://e")}, "wss://e"),
        ({"default_master": "wss://h/x", "default_port": 443}, "wss://h/x"),
        ({"default_master": "ws://127.0.0.1", "default_port": 5678}, "ws://127.0.0.1:5678"),
        ({"default_master": "WS://127.0.0.1", "default_port": 5678}, "ws://127.0.0.1:5678"),
        ({"default_master": "wss://h/x?y=1", "default_port": 80}, "wss://h:80/x?y=1"),
        ({"default_master": "wss://h:1/x", "default_port": 5678}, "wss://h:1/x"),
        ({"default_master": "wss://[::1]", "default_port": 1}, "wss://[::1]:1"),
        ({"default_master": "wss://[bad", "default_port": 1}, "wss://[bad"),
    ],
)
def test_wss_endpoint(fields, wss):
    """Explicit verbatim, else a master that is one, with the port that the identity names for it."""
    assert identity(**fields).endpoint_for("wss") == wss


@pytest.mark.parametrize(
    ("fields", "mqtt"),
    [
        ({}, None),
        ({"mqtt": BROKER}, "mqtts://b"),
        ({"mqtt": BROKER, "data_plane_endpoints": HubDataPlaneEndpoints(mqtt="mqtts://e")}, "mqtts://e"),
    ],
)
def test_mqtt_endpoint(fields, mqtt):
    """Explicit, else the broker of the credentials."""
    assert identity(**fields).endpoint_for("mqtt") == mqtt


def test_other_protocols_have_no_endpoint():
    """An unknown word is no error, there just is no endpoint."""
    assert identity(default_master="https://h").endpoint_for("coap") is None


def test_selection_of_an_endpoint():
    """The first preferred one that is on and there."""
    endpoints = HubDataPlaneEndpoints(https="https://x", wss="wss://x")

    chosen = select_data_plane_endpoint(endpoints, HubProtocolSettings(http=True), ("mqtt", "https", "wss"))

    assert chosen is not None
    assert (chosen.protocol, chosen.endpoint) == ("https", "https://x")
    assert select_data_plane_endpoint(endpoints, HubProtocolSettings(wss=False)) is None
    assert select_data_plane_endpoint(endpoints, HubProtocolSettings(http=True), ()) is None


HTTPS = {"default_master": "https://h"}
WSS = {"default_master": "wss://h"}
BOTH = {"data_plane_endpoints": HubDataPlaneEndpoints(wss="wss://h", https="https://h")}


@pytest.mark.parametrize(
    ("fields", "flags", "chosen"),
    [
        (WSS, HubProtocolSettings(http=True), "wss"),
        (WSS | {"mqtt": BROKER}, HubProtocolSettings(wss=False, http=True, mqtt=True), "https"),
        (HTTPS, HubProtocolSettings(), "https"),
        (HTTPS | {"mqtt": BROKER}, HubProtocolSettings(mqtt=True), "mqtt"),
        (HTTPS | {"mqtt": BROKER}, HubProtocolSettings(), "https"),
        (HTTPS, HubProtocolSettings(wss=False, mqtt=True), "https"),
        ({"default_master": "mqtts://b", "mqtt": BROKER}, HubProtocolSettings(http=True, mqtt=True), "mqtt"),
    ],
)
def test_protocol_that_is_chosen(fields, flags, chosen):
    """WSS, HTTPS, MQTT, each if it is on and complete; HTTPS once more where nothing is on."""
    assert choose_protocol(identity(**fields, protocols=flags)) == chosen


def test_nothing_to_choose():
    """An identity that leads nowhere is refused before anything is dialed."""
    with pytest.raises(ThalovantUnsupportedProtocolError, match="usable WSS, HTTPS, or MQTT endpoint"):
        choose_protocol(identity(default_master="mqtts://b"))


def test_explicit_protocol_ignores_flags():
    """Who names a protocol gets it, if the identity has what it takes."""
    everything_off = HubProtocolSettings(wss=False)
    ours = identity(**WSS, mqtt=BROKER, protocols=everything_off)

    assert [choose_protocol(ours, protocol) for protocol in ("wss", "https", "mqtt")] == ["wss", "https", "mqtt"]


def test_protocols_to_fall_back_to():
    """What else is on and complete, in the order of preference, whichever was chosen."""
    ours = identity(**BOTH, mqtt=BROKER, protocols=HubProtocolSettings(http=True, mqtt=True))

    assert choose_protocols(ours, None, fallback=True) == ("wss", "https", "mqtt")
    assert choose_protocols(ours, "mqtt", fallback=True) == ("mqtt", "wss", "https")
    assert choose_protocols(identity(**BOTH), "https", fallback=True) == ("https", "wss")
    assert choose_protocols(identity(**BOTH), None, fallback=True) == ("wss",)
    assert choose_protocols(ours, "mqtt", fallback=False) == ("mqtt",)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("wss", "WSS is enabled, but the identity does not include a WSS endpoint."),
        ("mqtt", "MQTT is enabled, but the identity does not include MQTT broker credentials."),
        ("WSS", "Unsupported protocol: WSS"),
        ("", "Unsupported protocol: "),
    ],
)
def test_explicit_protocol_that_cannot_work(protocol, message):
    """The text names the mistake, the hint what to do."""
    with pytest.raises(ThalovantUnsupportedProtocolError) as caught:
        choose_protocol(identity(**HTTPS), protocol)

    assert str(caught.value) == message
    assert caught.value.hint


def test_rendering_hides_user_and_query():
    """URLs may hold credentials; what is shown does not, what is used does."""
    endpoints = HubDataPlaneEndpoints(wss="wss://user:pw@h/x?authorization=abc")
    chosen = select_data_plane_endpoint(endpoints, HubProtocolSettings())

    assert repr(endpoints) == "HubDataPlaneEndpoints(https=None, wss='wss://h/x?<redacted>', mqtt=None)"
    assert repr(chosen) == "SelectedHubEndpoint(protocol='wss', endpoint='wss://h/x?<redacted>')"
    assert endpoints.as_dict(include_secrets=True) == {"wss": "wss://user:pw@h/x?authorization=abc"}
    assert replace(endpoints) == endpoints
