"""Identities as values: what is read from mappings, what is written, and that the two agree."""

from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, strategies as st

from thalovant import (
    HubDataPlaneEndpoints,
    HubProtocolSettings,
    MqttBrokerCredentials,
    ThalovantIdentity,
    ThalovantIdentityError,
)

from .identities import FULL, PLAIN


def test_full_identity():
    """Every field of the documented shape, and what it leads to."""
    identity = ThalovantIdentity.from_mapping(FULL)

    assert (identity.access_key, identity.password, identity.crypto_key) == ("AK-1", "PW-1", "CK-1")
    assert (identity.default_master, identity.default_port, identity.default_path) == (
        "https://hub.example",
        443,
        "/voice",
    )
    assert identity.site_id == "kitchen"
    assert identity.enabled_protocols() == ("wss", "https")
    assert identity.supports_protocol("wss")
    assert not identity.supports_protocol("mqtt")
    assert identity.endpoint_for("wss") == "wss://hub.example/voice"
    assert identity.endpoint_for("https") == "https://hub.example:443/voice"
    assert identity.endpoint_for("mqtt") == "mqtts://broker.example:8883"
    assert identity.metadata == {"room": "kitchen", "api-token": "MT-1"}


@pytest.mark.parametrize(
    ("field", "aliases"),
    [
        ("access_key", ["access_key", "key", "api_key", "apiKey"]),
        ("default_master", ["default_master", "defaultMaster", "host", "hub_http_host", "hubHttpHost", "master"]),
        ("site_id", ["site_id", "siteId", "site", "client_id", "clientId"]),
        ("default_path", ["default_path", "defaultPath", "hub_http_path", "path", "uri_path"]),
        ("crypto_key", ["crypto_key", "cryptoKey"]),
        ("ca_file", ["ca_file", "caFile"]),
        ("noise_state_dir", ["noise_state_dir", "noiseStateDir"]),
    ],
)
def test_aliases(field, aliases):
    """Each spelling is read; the first that is present counts, even if it is empty."""
    others = {key: value for key, value in PLAIN.items() if key != field}
    for alias in aliases:
        assert getattr(ThalovantIdentity.from_mapping(others | {alias: "/x"}), field) == "/x"

    both = others | {aliases[0]: "/first", aliases[-1]: "/last"}
    assert getattr(ThalovantIdentity.from_mapping(both), field) == "/first"


@pytest.mark.parametrize("alias", ["default_port", "port", "hub_http_port"])
def test_port_aliases(alias):
    """The port has spellings too."""
    others = {key: value for key, value in PLAIN.items() if key != "default_port"}

    assert ThalovantIdentity.from_mapping(others | {alias: "8443"}).default_port == 8443


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("access_key", "access_key, key, api_key, apiKey"),
        ("password", "password"),
        ("default_master", "default_master, defaultMaster, host, hub_http_host, hubHttpHost, master"),
        ("site_id", "site_id, siteId, site, client_id, clientId"),
    ],
)
@pytest.mark.parametrize("value", ["absent", None, "", "  "])
def test_missing_field(field, names, value):
    """The error lists the spellings, the hint tells an absent field from an empty one."""
    values = {key: kept for key, kept in PLAIN.items() if key != field} | ({} if value == "absent" else {field: value})

    with pytest.raises(ThalovantIdentityError) as caught:
        ThalovantIdentity.from_mapping(values)

    assert str(caught.value) == f"Missing required identity field: {names}"
    assert caught.value.name == f"missing_{field}"
    assert caught.value.hint == (f"Add `{field}`." if value == "absent" else f"`{field}` is there, but empty.")


@pytest.mark.parametrize("values", [None, [], "text"])
def test_not_a_mapping(values):
    """Anything else than names and values is refused as such."""
    with pytest.raises(ThalovantIdentityError, match="must be a mapping"):
        ThalovantIdentity.from_mapping(values)


@pytest.mark.parametrize(
    ("given", "port"),
    [(443, 443), ("443", 443), (" 80 ", 80), (443.0, 443), (0, 5679), ("", 5679), (None, 5679), (" ", 5679)],
)
def test_port(given, port):
    """Numbers and digits; what is empty is the default of hubs."""
    assert ThalovantIdentity.from_mapping(PLAIN | {"default_port": given}).default_port == port


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("x", "an integer"),
        (443.7, "an integer"),
        (True, "an integer"),
        ([1], "an integer"),
        (70000, "from 1"),
        (-1, "from 1"),
    ],
)
def test_wrong_port(given, what):
    """The error names the field's spellings and never the value."""
    with pytest.raises(ThalovantIdentityError, match=f"must be {what}.*: default_port, port, hub_http_port"):
        ThalovantIdentity.from_mapping(PLAIN | {"default_port": given})


@pytest.mark.parametrize(
    ("given", "path"), [("a/b/", "/a/b"), ("//a//", "/a"), ("/", ""), ("", ""), (None, ""), (5, "/5"), (" /x ", "/x")]
)
def test_path(given, path):
    """One slash before, none behind."""
    assert ThalovantIdentity.from_mapping(PLAIN | {"default_path": given}).default_path == path


@pytest.mark.parametrize("master", ["https://[::1", "https://h:port", "wss://h:99999", "h:x"])
def test_master_that_is_no_url(master):
    """A typo in the hub's address is found when the identity is read, not when it is dialed."""
    with pytest.raises(ThalovantIdentityError, match="must be a URL: default_master, defaultMaster") as caught:
        ThalovantIdentity.from_mapping(PLAIN | {"default_master": master})

    assert "https://hub.example" in caught.value.hint
    assert caught.value.__context__ is None


def test_text_is_trimmed():
    """Values are text without space around; the master has no slash at its end."""
    identity = ThalovantIdentity.from_mapping(
        PLAIN | {"site_id": 5, "password": " p ", "default_master": "https://h/ "}
    )

    assert (identity.site_id, identity.password, identity.default_master) == ("5", "p", "https://h")


def test_metadata_is_a_mapping_or_nothing():
    """Metadata travels with every message; a list there is no metadata."""
    assert ThalovantIdentity.from_mapping(PLAIN | {"metadata": [1]}).metadata == {}


def test_default_dict():
    """Without secrets: where the hub is and what is known of it; flags only if they are not the default."""
    assert ThalovantIdentity.from_mapping(PLAIN).as_dict() == {
        "site_id": "kitchen",
        "default_master": "https://hub.example",
        "default_port": 443,
        "default_path": "/voice",
    }
    assert ThalovantIdentity.from_mapping(FULL).as_dict() == {
        "site_id": "kitchen",
        "default_master": "https://hub.example",
        "default_port": 443,
        "default_path": "/voice",
        "data_plane_endpoints": FULL["data_plane_endpoints"],
        "protocols": FULL["protocols"],
        "mqtt": {"endpoint": "mqtts://broker.example:8883", "tls": True},
        "metadata": {"room": "kitchen", "api-token": "<redacted>"},
    }


def test_dict_with_secrets():
    """Everything; the protocol flags survive."""
    assert ThalovantIdentity.from_mapping(FULL).as_dict(include_secrets=True) == FULL


WORD = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp", "Cc"]), min_size=1)


@given(
    st.builds(
        ThalovantIdentity,
        access_key=WORD,
        password=WORD,
        default_master=st.sampled_from(["https://h", "wss://h:1/x", "bare.example"]),
        site_id=WORD,
        default_port=st.integers(1, 65535),
        default_path=st.sampled_from(["", "/a", "/a/b"]),
        crypto_key=st.none() | WORD,
        data_plane_endpoints=st.builds(
            HubDataPlaneEndpoints,
            https=st.sampled_from([None, "https://e"]),
            wss=st.sampled_from([None, "wss://u:p@e?q=1"]),
        ),
        protocols=st.builds(HubProtocolSettings, st.booleans(), st.booleans(), st.booleans()),
        mqtt=st.none()
        | st.builds(
            MqttBrokerCredentials,
            endpoint=st.sampled_from(["mqtts://b", "mqtt://b:1"]),
            username=WORD,
            password=WORD,
            topic_prefix=st.none() | WORD,
            qos=st.integers(0, 1),
            tls=st.booleans(),
            hub_id=st.none() | WORD,
            status_topic=st.none() | WORD,
            hash_topics=st.booleans(),
        ),
        metadata=st.dictionaries(WORD, st.integers() | WORD, max_size=2),
        ca_file=st.none() | st.just("/ca.pem"),
    )
)
def test_what_is_written_is_read_back(identity):
    """An identity that goes through JSON with its secrets is the same, flags and all."""
    written = json.loads(json.dumps(identity.as_dict(include_secrets=True)))

    read = ThalovantIdentity.from_mapping(written)

    # Credentials without an endpoint map are an endpoint of their own.
    endpoints = replace(identity.data_plane_endpoints, mqtt=read.data_plane_endpoints.mqtt)
    assert read == replace(identity, data_plane_endpoints=endpoints)
    assert read.endpoint_for("mqtt") == identity.endpoint_for("mqtt")


def test_identity_is_a_value():
    """Frozen, equal by content, usable as a key, changed by `replace`; where it came from does not count."""
    identity = ThalovantIdentity.from_mapping(FULL)
    moved = replace(identity, source_path="/somewhere/else")

    with pytest.raises(FrozenInstanceError):
        identity.password = "x"
    assert identity == moved
    assert hash(identity) == hash(moved)
    assert replace(identity, default_port=1).endpoint_base() == "https://hub.example:1/voice"
    assert copy.copy(identity) is copy.deepcopy(identity) is identity


# --- broker credentials ---


def test_a_crypto_key_alone_will_do():
    """Real hubs have clients without a password: a pre-shared key is all that v0 needs."""
    identity = ThalovantIdentity.from_mapping(PLAIN | {"password": "", "crypto_key": "0123456789abcdef"})

    assert (identity.password, identity.crypto_key) == ("", "0123456789abcdef")


BROKER = {"endpoint": "mqtts://b", "username": "u", "password": "p"}


@pytest.mark.parametrize(
    "values",
    [None, {}, [], BROKER | {"password": " "}, BROKER | {"endpoint": None}, {"username": "u", "password": "p"}],
)
def test_incomplete_credentials_are_none(values):
    """Endpoint, user and password, or nothing."""
    assert MqttBrokerCredentials.from_mapping(values) is None


def test_credentials_in_other_spellings():
    """The API's spellings and the older topics."""
    found = MqttBrokerCredentials.from_mapping(
        {
            "brokerUrl": "mqtt://b",
            "broker_username": "u",
            "brokerPassword": "p",
            "topicPrefix": " a/b ",
            "qos": "0",
            "tls": "on",
            "hubId": "h",
            "c2sTopic": "c",
            "s2cTopic": "s",
            "statusTopic": "t",
            "hashTopics": "yes",
        }
    )

    assert found == MqttBrokerCredentials("mqtt://b", "u", "p", "a/b", 0, True, "h", "c", "s", "t", True)


@pytest.mark.parametrize(
    ("fields", "tls"),
    [
        ({}, True),
        ({"endpoint": "mqtt://b"}, False),
        ({"endpoint": "MQTTS://b"}, True),
        ({"tls": "0"}, False),
        ({"tls": "maybe"}, True),
        ({"tls": None}, True),
        ({"endpoint": "mqtt://b", "tls": True}, True),
    ],
)
def test_credentials_tls(fields, tls):
    """As told, else as the scheme says."""
    assert MqttBrokerCredentials.from_mapping(BROKER | fields).tls is tls


@pytest.mark.parametrize(("given", "qos"), [(0, 0), (1, 1), (2, 1), ("x", 1), (None, 1), (True, 1)])
def test_credentials_qos(given, qos):
    """0 or 1; the hub has no other."""
    assert MqttBrokerCredentials.from_mapping(BROKER | {"qos": given}).qos == qos


@pytest.mark.parametrize(
    ("endpoint", "tls", "host", "port"),
    [
        ("mqtts://b.example", True, "b.example", 8883),
        ("mqtts://b:1234/x", True, "b", 1234),
        ("mqtt://b", False, "b", 1883),
        ("mqtt://b", True, "b", 8883),
        ("ssl://b", False, "b", 8883),
        ("tcp://b", False, "b", 1883),
        ("b.example:99", True, "b.example", 99),
        ("mqtts://[::1]:7", True, "::1", 7),
        ("mqtts://u:p@b", True, "b", 8883),
        ("mqtts:///x", True, "", 8883),
    ],
)
def test_broker_address(endpoint, tls, host, port):
    """`identity.mqtt["host"]` and `["port"]` of the documents."""
    broker = MqttBrokerCredentials(endpoint, "u", "p", tls=tls)

    assert (broker["host"], broker["port"]) == (broker.host, broker.port) == (host, port)


def test_broker_address_with_a_wrong_port():
    """A typo in the endpoint is the identity's fault and says so."""
    with pytest.raises(ThalovantIdentityError, match="port in the MQTT endpoint"):
        MqttBrokerCredentials("mqtts://b:x", "u", "p").port


def test_credentials_by_subscript():
    """Every field can be had like a dict's; other names are a KeyError."""
    broker = MqttBrokerCredentials("mqtts://b", "u", "p")

    assert (broker["username"], broker["password"], broker["qos"]) == ("u", "p", 1)
    assert "host" in broker
    assert "as_dict" not in broker
    assert broker.get("nothing", 5) == 5
    assert broker.get("endpoint") == "mqtts://b"
    with pytest.raises(KeyError):
        broker["as_dict"]
