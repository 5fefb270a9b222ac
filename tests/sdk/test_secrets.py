"""No secret is in anything that is shown: every rendering of every value, and every error, in any encoding."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

import thalovant
from thalovant import (
    AsyncThalovantAgent,
    AsyncThalovantClient,
    HubDataPlaneEndpoints,
    MqttBrokerCredentials,
    ThalovantAgent,
    ThalovantClient,
    ThalovantError,
    ThalovantEvent,
    ThalovantIdentity,
    ThalovantReply,
    TrustStore,
    select_data_plane_endpoint,
)
from thalovant._client.settings import choose_protocol
from thalovant._internal.redact import redact_text, redact_url, redact_values

from .identities import write

PLANTED = {
    "access key": "AKfe0c1d+/planted=",
    "password": "PWa9:8b7c/planted?x",
    "crypto key": "CK-16-planted-ck",
    "broker user": "BUplanted-6f5e",
    "broker password": "BP%20planted&4d3c",
    "user in a URL": "UUplanted-user",
    "password in a URL": "UPplanted-pw",
    "authorization": "QAplanted-c2VjcmV0",
    "token in the metadata": "MTplanted-token",
    "key in the metadata": "MKplanted-apikey",
    "user token in a context": "CTplanted-context",
}
S = PLANTED
URL = f"//{S['user in a URL']}:{S['password in a URL']}@hub.example/x?authorization={S['authorization']}"
IDENTITY = {
    "access_key": S["access key"],
    "password": S["password"],
    "crypto_key": S["crypto key"],
    "site_id": "kitchen",
    "default_master": f"https:{URL}",
    "default_path": f"/p?authorization={S['authorization']}",
    "data_plane_endpoints": {"https": f"https:{URL}", "wss": f"wss:{URL}", "mqtt": f"mqtts:{URL}"},
    "mqtt": {"endpoint": f"mqtts:{URL}", "username": S["broker user"], "password": S["broker password"]},
    "metadata": {
        "room": "kitchen",
        "token": S["token in the metadata"],
        "deep": [{"my-api_key": S["key in the metadata"]}],
    },
}


def leaks(shown: str) -> list[str]:
    """Which of the planted secrets are in a text: plain, escaped, quoted, in base64 or in hex."""
    found = []
    for name, secret in PLANTED.items():
        raw = secret.encode()
        encodings = {
            secret,
            quote(secret),
            quote(secret, safe=""),
            json.dumps(secret)[1:-1],
            repr(secret)[1:-1],
            raw.hex(),
        }
        for shift in range(3):  # base64 of a text with the secret somewhere inside
            encodings.add(base64.b64encode(b"\0" * shift + raw)[4:-4].decode())
        if any(one in shown for one in encodings):
            found.append(name)
    return found


@pytest.fixture
def identity() -> ThalovantIdentity:
    return ThalovantIdentity.from_mapping(IDENTITY)


def test_the_search_finds_what_it_should(identity):
    """With secrets asked for, all of the identity's are there: the test would notice."""
    everything = json.dumps(identity.as_dict(include_secrets=True))

    assert set(leaks(everything)) == set(PLANTED) - {"user token in a context"}
    assert leaks(base64.b64encode(f"agent:{S['access key']}".encode()).decode()) == ["access key"]


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda value: f"{value}",
        lambda value: f"{value!r:>9}",
        lambda value: repr([value, {"key": value}]),
        lambda value: repr(copy.deepcopy(value)),
    ],
    ids=["repr", "str", "format", "format repr", "nested", "copy"],
)
def test_rendering(identity, show):
    """Identities, credentials, endpoints and selections show places, never credentials."""
    endpoints = identity.data_plane_endpoints
    selected = select_data_plane_endpoint(endpoints, identity.protocols)
    for value in (identity, replace(identity, site_id="x"), identity.mqtt, endpoints, selected):
        assert leaks(show(value)) == []
        assert "hub.example" in show(value)


def test_default_dicts(identity):
    """`as_dict()` without asking for secrets has none."""
    for value in (identity, identity.mqtt, identity.data_plane_endpoints):
        assert leaks(json.dumps(value.as_dict())) == []
        assert "hub.example" in json.dumps(value.as_dict())


def test_logging(identity, caplog):
    """Whoever logs an identity logs where the hub is."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("app").debug("using %s and %r", identity, identity.mqtt)

    assert leaks(caplog.text) == []
    assert "hub.example" in caplog.text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused(identity, protocol):
    """A pickle would carry everything to wherever it goes; the error says what to send instead."""
    for value in (identity, identity.mqtt, [identity]):
        with pytest.raises(TypeError, match=r"cannot be pickled.*identity file's path") as caught:
            pickle.dumps(value, protocol)
        assert leaks(str(caught.value)) == []


@pytest.mark.parametrize(
    "kind", [AsyncThalovantClient, ThalovantClient, AsyncThalovantAgent, ThalovantAgent], ids=lambda kind: kind.__name__
)
def test_pickling_a_client_is_refused(identity, kind):
    """The error names the class and says what to do instead; conversations are their client's."""
    client = kind(replace(identity, data_plane_endpoints=HubDataPlaneEndpoints(wss="wss://hub.example")))
    for value, name in ((client, kind.__name__), (client.conversation(), kind.__name__.replace("Agent", "Client"))):
        with pytest.raises(TypeError, match=rf"^{name} cannot be pickled.* {name}\.from_identity_file") as caught:
            pickle.dumps([value])
        assert leaks(str(caught.value)) == []
    with pytest.raises(TypeError, match="make one in each process"):
        copy.copy(client)


def _everything_of(error: BaseException) -> str:
    """All that a log or a crash reporter could find in an error."""
    shown = "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if frame.f_code.co_filename.startswith(str(Path(thalovant.__file__).parent)):
                shown += repr(frame.f_locals)  # as crash reporters show them
        shown += f"{seen!r} {vars(seen)} {seen.args} {getattr(seen, 'doc', '')} {getattr(seen, 'object', '')}"
        seen = seen.__cause__ or seen.__context__
    return shown


BROKEN = json.dumps(IDENTITY)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: ThalovantIdentity.from_file(write(path, BROKEN[:-1])),
        lambda path: ThalovantIdentity.from_file(write(path, BROKEN.encode() + b"\xff")),
        lambda path: ThalovantIdentity.from_file(write(path, f"[{BROKEN}]")),
        lambda path: ThalovantIdentity.from_file(write(path, BROKEN, 0o644)),
        lambda path: ThalovantIdentity.from_file(write(path, IDENTITY | {"default_master": None})),
        lambda path: ThalovantIdentity.from_file(write(path, IDENTITY | {"default_port": S["password"]})),
        lambda path: ThalovantIdentity.from_config(write(path, BROKEN[:-1])),
        lambda path: ThalovantIdentity.from_config(write(path, f"password: {S['password']}\n\tx: {BROKEN}")),
        lambda path: ThalovantIdentity.from_config(write(path, {"profiles": {"a": IDENTITY}}), profile="b"),
        lambda path: ThalovantIdentity.from_mapping(IDENTITY | {"port": 1, "default_port": S["password"]}),
        lambda path: ThalovantIdentity.from_mapping({key: IDENTITY[key] for key in IDENTITY if key != "site_id"}),
        lambda path: ThalovantIdentity.from_mapping(IDENTITY).save(write(path, "") / "id.json"),
        lambda path: choose_protocol(ThalovantIdentity.from_mapping(IDENTITY), "coap"),
        lambda path: MqttBrokerCredentials(f"mqtts://u:{S['password']}@b", "u", "p").port,
        lambda path: TrustStore(write(path, ""), ThalovantIdentity.from_mapping(IDENTITY)).load(),
    ],
)
def test_errors(read, tmp_path):
    """Not even the errors behind our errors have what the parser saw."""
    with pytest.raises(ThalovantError) as caught:
        read(tmp_path / "id.json")

    assert leaks(_everything_of(caught.value)) == []


def test_context_of_an_event():
    """A user's token in the context is not in the rendering of events and replies; the event itself has it."""
    event = ThalovantEvent("speak", {"utterance": "hi"}, {"auth": {"token": S["user token in a context"]}})
    reply = ThalovantReply.from_events([event])

    assert leaks(f"{event!r} {reply!r} {reply}") == []
    assert event.context["auth"]["token"] == S["user token in a context"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wss://u:p@h/x?a=b", "wss://h/x?<redacted>"),
        ("could not reach https://h/x?authorization=abc, sorry", "could not reach https://h/x?<redacted> sorry"),
        ("//u@h and //h", "//h and //h"),
        ("mail a@b.example? yes", "mail a@b.example? yes"),
        ("https://h/path@x", "https://h/path@x"),
    ],
)
def test_redaction_of_texts(text, shown):
    """User and query of every URL in a text."""
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://u:p@h:1/x?a=b'c d", "wss://h:1/x?<redacted>"),
        ("u:p@h/x", "h/x"),
        ("//u@h", "//h"),
        ("h.example:1/path@x", "h.example:1/path@x"),
        ("https://u:p/w?x#y@h/x?q", "https://h/x?<redacted>"),
        ("https://u:p@w:o@[::1]:5/x", "https://[::1]:5/x"),
        ("https://h", "https://h"),
        ("", ""),
    ],
)
def test_redaction_of_endpoints(url, shown):
    """With or without a scheme, and whatever characters the password has."""
    assert redact_url(url) == shown
    assert (
        repr(HubDataPlaneEndpoints(wss=url)) == f"HubDataPlaneEndpoints(https=None, wss={shown or None!r}, mqtt=None)"
    )
    assert f"default_master={shown!r}" in repr(ThalovantIdentity("a", "p", url, "s"))
    assert f"endpoint={shown!r}" in repr(MqttBrokerCredentials(url, "u", "p"))


@pytest.mark.parametrize(
    "key",
    ["password", "Passwd", "my_secret", "TOKEN", "credentials", "Authorization", "api-key", "access key", "cryptoKey"],
)
def test_redaction_by_key(key):
    """Keys are compared by their letters, so that every spelling is found, at any depth."""
    assert redact_values({"a": [{key: {"x": 1}}]}) == {"a": [{key: "<redacted>"}]}


def test_redaction_leaves_the_rest():
    """Names that only look similar, and values of any type, stay."""
    values = {"author": "a", "keyboard": 1, "pass": None, "list": [1, "token"]}

    assert redact_values(values) == values


def test_credentials_are_used_not_shown(identity):
    """Redaction is for showing: what connects has it all."""
    assert identity.endpoint_for("wss") == f"wss:{URL}"
    assert isinstance(identity.mqtt, MqttBrokerCredentials)
    assert identity.mqtt["password"] == S["broker password"]
