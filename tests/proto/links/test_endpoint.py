"""Endpoint URLs, and the `authorization` that clients write and hubs read."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from thalovant_proto.carrier import Credentials, Target
from thalovant_proto.links.endpoint import (
    Endpoint,
    authorization,
    more_headers,
    parse_endpoint,
    portable_agent,
    read_authorization,
)
from thalovant_proto.secret import Secret

from ..vectors import load

KEY = Secret("0123456789abcdef")


def wss(url: str) -> Endpoint:
    return parse_endpoint(url, name="WSS", plain="ws", tls="wss")


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "host_header"),
    [
        ("wss://hub.local", "hub.local", 443, True, "hub.local"),
        ("ws://hub.local", "hub.local", 80, False, "hub.local"),
        ("wss://hub.local:5678/", "hub.local", 5678, True, "hub.local:5678"),
        ("ws://hub.local:443", "hub.local", 443, False, "hub.local:443"),
        ("wss://hub.local:", "hub.local", 443, True, "hub.local"),
        ("  WSS://Hub.Local/x\n", "hub.local", 443, True, "hub.local"),
        ("ws://127.0.0.1:80", "127.0.0.1", 80, False, "127.0.0.1"),
        ("ws://[::1]:5678/?x=1", "::1", 5678, False, "[::1]:5678"),
        ("wss://[fe80::1]", "fe80::1", 443, True, "[fe80::1]"),
        ("wss://bücher.example", "xn--bcher-kva.example", 443, True, "xn--bcher-kva.example"),
        ("wss://my_hub?x=1", "my_hub", 443, True, "my_hub"),
    ],
)
def test_target_of_a_url(url, host, port, tls, host_header):
    """Scheme, host and port become where to dial and what to call it."""
    endpoint = wss(url)

    assert endpoint.target == Target(host=host, port=port, tls=tls)
    assert endpoint.host_header == host_header


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "WSS endpoint must start with ws:// or wss://."),
        ("hub.local:5678", "WSS endpoint must start with ws:// or wss://."),
        ("https://hub.local/?authorization=PLANTED", "WSS endpoint must start with ws:// or wss://."),
        ("wss:/hub.local", "WSS endpoint must start with ws:// or wss://."),
        ("wss://me:PLANTED@hub.local", "WSS endpoint must not hold a user name or password."),
        ("wss://", "WSS endpoint must name a host and, at most, a port."),
        ("wss://:5678", "WSS endpoint must name a host and, at most, a port."),
        ("wss://hub.local:PLANTED", "WSS endpoint must name a host and, at most, a port."),
        ("wss://hub.local:1:2", "WSS endpoint must name a host and, at most, a port."),
        ("wss://[::1", "WSS endpoint must name a host and, at most, a port."),
        ("wss://hub local", "WSS endpoint must name a host and, at most, a port."),
        ("wss://hub.local:0", "WSS endpoint's port must be from 1 to 65535."),
        ("wss://hub.local:65536", "WSS endpoint's port must be from 1 to 65535."),
        ("wss://hub..local/?authorization=PLANTED", "WSS endpoint's host is not a valid name."),
    ],
)
def test_bad_url(url, message):
    """A URL that cannot work is named by what is wrong with it, and never shown."""
    with pytest.raises(ValueError) as caught:
        wss(url)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("wss://hub.local", "/?authorization="),
        ("wss://hub.local/", "/?authorization="),
        ("wss://hub.local/?", "/?authorization="),
        ("wss://hub.local/#top", "/?authorization="),
        ("wss://hub.local/?authorization=dWE6a2V5", "/?authorization="),
        ("wss://hub.local/?AUTHORIZATION=dWE6a2V5&authorization", "/?authorization="),
        ("wss://hub.local/hivemind/public?x=1&authorization=dWE6a2V5&y", "/hivemind/public?x=1&y&authorization="),
        ("wss://hub.local/a b/ü?q=\x7f", "/a%20b/%C3%BC?q=%7F&authorization="),
    ],
)
def test_request_target(url, target):
    """Path and query are kept, another authorization is replaced, ours comes last; alone it stands at `/?`."""
    endpoint = wss(url)

    value = authorization("Sdk/1", KEY)

    assert endpoint.request_target("Sdk/1", KEY) == target + value


def test_the_form_we_send_is_accepted_by_both_hub_generations():
    """Of the forms that were tried on real hubs, ours is of none that either refused."""
    legacy = load("probes_ws_legacy")["probes"]
    current = load("probes_ws_legacy")["next_hub_same_probes"]
    target = wss("ws://hub.local:5678").request_target("Sdk/1.0 (a>b?c~d)", Secret("key>of?all~kinds"))
    path, _, value = target.partition("?authorization=")

    assert path == "/"  # the older one splits the raw target there
    assert legacy["authorization padded base64, raw"] == current["padded raw"] == "accepted"
    assert value.endswith("=")
    assert legacy["extra query parameter after authorization"] != "accepted"
    assert "&" not in value
    assert legacy["authorization padded base64, percent-encoded"] != "accepted"
    assert "%" not in value
    assert current["raw '+'"] != "accepted"
    assert "+" not in value
    assert legacy["user agent containing ':'"] != "accepted"
    assert base64.b64decode(value, validate=True).count(b":") == 1


@given(st.text(), st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7D), min_size=1))
def test_what_a_client_writes_a_hub_reads(agent, key):
    """Any access key arrives as it is, whatever the user agent, in a value that needs no escaping."""
    agent = "Sdk" + agent.replace(":", "")

    value = authorization(agent, Secret(key))
    seen = read_authorization(f"/?authorization={value}")

    assert seen.access_key == Secret(key)
    assert seen.user_agent.rstrip("_") == portable_agent(agent).rstrip("_")
    assert "+" not in value


@pytest.mark.parametrize("key", ["~", "a~", "ab~", "?>~", "aa>aa?", "~" * 12, "schlüssel"])
@pytest.mark.parametrize("agent", ["Sdk", "Sdk1", "Sdk12"])
def test_keys_that_make_awkward_base64(agent, key):
    """Where one position of the key makes a `+` or `/`, another is taken; where all do, the `+` is escaped."""
    value = authorization(agent, Secret(key))

    assert "+" not in value
    assert ("/" in value or "%" in value) == (key in ("?>~", "~" * 12))
    assert read_authorization(f"/?authorization={value}").access_key == Secret(key)


def test_a_key_that_is_no_text_does_not_leak():
    """Half a surrogate pair cannot be encoded; the codec's error would show the key."""
    value = authorization("Sdk", Secret("PLANTED\udc80"))

    assert read_authorization(f"/?authorization={value}").access_key == Secret("PLANTED?")


@pytest.mark.parametrize(
    ("agent", "key", "words"),
    [
        *((agent, KEY, "must not be empty and must not contain a colon") for agent in ("", "  ", "Sdk:1")),
        ("Sdk", Secret(""), "access key is empty"),
    ],
)
def test_bad_user_agent_or_key(agent, key, words):
    """An empty user agent is refused by hubs, a colon moves the split, a key there must be."""
    with pytest.raises(ValueError, match=words):
        authorization(agent, key)


def test_portable_agent():
    """What a header or a hub cannot take becomes `_`."""
    assert portable_agent(" Häuschen/1 (a>b?c~d\r\n\x00)\t") == "H_uschen/1 (a_b_c_d___)"


PADDED = base64.b64encode(b"Sdk/1:key~").decode()  # ends in "=="
PLUS = base64.b64encode(b"Sdk/12:k~>").decode()
assert PADDED.endswith("==")
assert "+" in PLUS


@pytest.mark.parametrize(
    ("target", "agent", "key"),
    [
        (f"/?authorization={PADDED}", "Sdk/1", "key~"),
        (f"/?authorization={quote(PADDED)}", "Sdk/1", "key~"),
        (f"/?authorization={PADDED.rstrip('=')}", "Sdk/1", "key~"),
        (f"/?authorization={PADDED.rstrip('=')}=", "Sdk/1", "key~"),
        (f"/hivemind/public?authorization={PADDED}", "Sdk/1", "key~"),
        (f"?authorization={PADDED}", "Sdk/1", "key~"),
        (f"/?x=1&authorization={PADDED}&y=%zz", "Sdk/1", "key~"),
        (f"/?authorization={PADDED}&authorization=other", "Sdk/1", "key~"),
        # a `+` may come raw (older clients), escaped (newer ones) or as the space that some proxy made of it
        *((f"/?authorization={PLUS.replace('+', plus)}", "Sdk/12", "k~>") for plus in ("+", "%2B", "%2b", "%20")),
        # a user agent with a colon cannot be told from a key with one: what follows the first is the key
        (f"/?authorization={base64.b64encode(b'Sdk:1:key').decode()}", "Sdk", "1:key"),
    ],
)
def test_forms_that_hubs_read(target, agent, key):
    """Raw or escaped, padded or not, on any path, among other parameters; the first one counts."""
    assert read_authorization(target) == Credentials(access_key=Secret(key), user_agent=agent)


def _query(token: bytes) -> str:
    return f"/?authorization={base64.b64encode(token).decode()}"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "/?",
        "/?authorization",
        "/?authorization=",
        "/?authorization=====",
        "/?authorization=%%%",
        "/?authorization=no!base64",
        "/?authorization=%FF%FE",
        "/?authorization=A",
        "/authorization=U2RrOmtleQ==",
        _query(b"no colon"),
        _query(b":key"),
        _query(b"agent:"),
        _query(b"\xff:\xfe"),
    ],
)
def test_nothing_usable(target):
    """What no hub could use is None, never an exception."""
    assert read_authorization(target) is None


@given(st.text())
def test_any_target_is_read(target):
    """Whatever stands in the query, nothing is raised."""
    seen = read_authorization(f"/?authorization={target}")

    assert seen is None or (seen.access_key and seen.user_agent)


def test_other_transports_name_themselves_and_nothing_shows_the_key():
    """The same parser serves HTTPS, in its own words. An endpoint's query may hold a key; its repr must not."""
    with pytest.raises(ValueError, match=r"HTTPS endpoint must start with http:// or https://\."):
        parse_endpoint("wss://hub.local", name="HTTPS", plain="http", tls="https")
    assert "PLANTED" not in repr(wss("wss://hub.local/PLANTED?authorization=PLANTED"))


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("X-Gate", "open sesame", None),
        ("Authorization", "Bearer x", None),
        ("X Gate", "x", "token"),
        ("", "x", "token"),
        ("HOST", "x", "link's own"),
        ("Sec-WebSocket-Key", "x", "link's own"),
        ("X-Gate", "secret\r\nX-B: 1", "printable ASCII"),
        ("X-Gate", " secret", "printable ASCII"),
        ("X-Gate", "", "printable ASCII"),
    ],
)
def test_headers_of_an_application(name, value, fault):
    """Names and values that fit into a request, and none that would change how it is read; no value is told."""
    headers = {name: Secret(value)}
    if fault is None:
        assert more_headers(headers) == [(name, value)]
        return
    with pytest.raises(ValueError, match=fault) as caught:
        more_headers(headers)
    assert "secret" not in str(caught.value)
