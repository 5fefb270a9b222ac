"""Keywords, names and modules that published programs use."""

from __future__ import annotations

import importlib
import inspect
import logging
import ssl
from dataclasses import replace
from typing import Any

import pytest

import thalovant
from thalovant import (
    AsyncThalovantClient,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantConversation,
    ThalovantDoctorCheck,
    ThalovantDoctorReport,
    ThalovantEvent,
    ThalovantHealth,
    ThalovantIdentity,
    ThalovantIdentityError,
    ThalovantReply,
    ThalovantTimeoutError,
)

from .lab import Lab
from .transports import IDENTITY

DEFAULTS = {
    "connect_timeout": 4.0,
    "handshake_timeout": 20.0,
    "send_timeout": 8.0,
    "reply_settle_seconds": 0.25,
    "auto_reconnect": True,
    "reconnect_attempts": 1,
    "protocol": None,
    "transport": None,
    "empty_reply_wait_seconds": 5.0,
    "noise_state_dir": None,
    "self_signed": False,
    "session": None,
}


@pytest.mark.parametrize("client", [ThalovantClient, AsyncThalovantClient])
def test_constructor(client: type[Any]) -> None:
    """Both take what the published ones take, by keyword and with the same defaults."""
    parameters = inspect.signature(client).parameters

    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in DEFAULTS)
    assert parameters["useragent"].default == f"ThalovantPythonSDK/{thalovant.__version__}"
    with pytest.raises(ValueError, match="empty_reply_wait_seconds must be a positive number"):
        client(IDENTITY, empty_reply_wait_seconds=-1)


@pytest.mark.parametrize("owner", [ThalovantClient, AsyncThalovantClient, ThalovantConversation])
@pytest.mark.parametrize("method", ["on", "listen", "wait_for_event"])
def test_event_name(owner: type[Any], method: str) -> None:
    """The first argument has the same name everywhere."""
    assert list(inspect.signature(getattr(owner, method)).parameters)[1] == "event_name"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("_version", "__version__"),
        ("cli", "ThalovantClient main"),
        ("client", "ThalovantClient DEFAULT_USERAGENT"),
        ("context", "build_client_context"),
        ("conversation", "ThalovantConversation AsyncThalovantConversation"),
        ("errors", "ThalovantError ThalovantAPIError"),
        ("events", "ThalovantEvent EventHandler EventPredicate EVENT_SPEAK EVENT_INTENT_UNMATCHED"),
        ("identity", "ThalovantIdentity MqttBrokerCredentials default_config_path"),
        ("models", "ThalovantReply ThalovantHealth ThalovantDoctorReport ThalovantDoctorCheck ThalovantConnectionInfo"),
        ("protocols", "HubProtocolSettings HubDataPlaneEndpoints SelectedHubEndpoint select_data_plane_endpoint"),
        ("rich", "ThalovantDisplayItem strip_ssml"),
        ("subscriptions", "ThalovantSubscription"),
        (
            "transport",
            "Transport HiveMindHTTPTransport HiveMindWSSTransport HiveMindMQTTTransport MqttTopicSet "
            "mqtt_topics_for_identity",
        ),
    ],
)
def test_modules(module: str, names: str) -> None:
    """Programs import these from the modules, and replace them there."""
    found = importlib.import_module(f"thalovant.{module}")
    assert [name for name in names.split() if not hasattr(found, name)] == []


class Stub:
    """A client of a test's own, with what published commands call."""

    made: list[tuple[Any, ...]]

    def __init__(self, *given: Any, **options: Any) -> None:
        self.made.append((given[0].access_key, *given[1:], options))

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def ask(self, text: str, *, timeout: float, lang: str, session_id: str | None) -> ThalovantReply:
        return ThalovantReply(f"{text} {timeout:g} {lang} {session_id}", handled=True)

    def healthcheck(self) -> ThalovantHealth:
        return ThalovantHealth(connected=True, handshake_complete=True, transport_alive=True)

    def doctor(self) -> ThalovantDoctorReport:
        return ThalovantDoctorReport({}, (ThalovantDoctorCheck("identity", ok=True, detail="well"),))

    def listen(self, event_name: str, **options: Any) -> list[ThalovantEvent]:
        return [ThalovantEvent(event_name, {"utterance": str(options)})]

    def emit(self, *event: Any) -> None: ...

    def send_utterance(self, text: str, **options: Any) -> None: ...


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ask hi", "hi 12 en-us None"),
        ("health", "ok\nconnected=True\nhandshake_complete=True\ntransport_alive=True"),
        ("doctor", "Thalovant doctor: ok\n- identity: ok - well"),
        ("listen speak --max-events 1", "{'timeout': None, 'max_events': 1, 'session_id': None}"),
        ("emit x --data {}", "sent"),
        ("utter x", "sent"),
    ],
)
def test_command_over_a_client_of_a_test(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever replaces `thalovant.cli.ThalovantClient` gets the identity, by position, and nothing else."""
    from thalovant import cli

    for name, value in (
        ("ACCESS_KEY", "AK"),
        ("PASSWORD", "PW"),
        ("SITE_ID", "s"),
        ("HUB_WSS_HOST", "wss://h.example"),
    ):
        monkeypatch.setenv(f"THALOVANT_{name}", value)
    monkeypatch.setattr(Stub, "made", [], raising=False)
    monkeypatch.setattr(cli, "ThalovantClient", Stub)

    assert cli.main(words.split()) == 0
    assert capsys.readouterr().out == f"{said}\n"
    assert Stub.made == [("AK", {})]


class Session:
    """An HTTP session of somebody else."""

    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_session_is_left_alone(v3: Lab) -> None:
    """A session that is handed in is accepted and never closed."""
    session = Session()
    async with AsyncThalovantClient(v3.identity(), noise_state_dir=v3.state_dir(), session=session) as client:
        assert (await client.ask("hi")).text == "You said: hi"
    assert not session.closed


async def test_wait_closed_within(v3: Lab) -> None:
    """A connection that does not end in time is an error."""
    async with v3.talking() as client:
        await client.connect()
        with pytest.raises(ThalovantTimeoutError, match=r"did not end within 0\.01s"):
            await client.wait_closed(0.01)
        await client.close()
        await client.wait_closed(timeout=5)
        await client.wait_closed()


def _connect(identity: ThalovantIdentity, **options: Any) -> None:
    with ThalovantClient(identity, **options):
        pass


@pytest.mark.parametrize("protocol", ["wss", "https"])
def test_self_signed(v3: Lab, protocol: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Any certificate will do, with one warning for each client, and for that client only."""
    unknown = replace(v3.identity(), ca_file=None)
    options: dict[str, Any] = {"protocol": protocol, "noise_state_dir": v3.state_dir(), "reconnect_attempts": 0}
    with (
        caplog.at_level(logging.WARNING, "thalovant.client"),
        pytest.warns(UserWarning, match="the certificate of the hub is not checked") as warned,
        ThalovantClient(unknown, self_signed=True, **options) as client,
    ):
        assert client.ask("hi").text == "You said: hi"
    assert ([one.filename for one in warned], len(caplog.records)) == ([__file__], 1)
    with pytest.raises(ThalovantConnectionError):
        _connect(unknown, **options)


def test_self_signed_weakens_nothing_else(labs: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Older handshakes stay refused over what was not verified, and so do plain endpoints."""
    old = labs(1)
    with pytest.warns(UserWarning), pytest.raises(ThalovantConnectionError, match="allow_legacy"):
        _connect(replace(old.identity(), ca_file=None), self_signed=True, reconnect_attempts=0)
    plain = replace(IDENTITY, default_master="http://192.0.2.1")
    with pytest.raises(ThalovantIdentityError, match="not encrypted"):
        ThalovantClient(plain, self_signed=True)
    with pytest.raises(ValueError, match="exclude each other"):
        ThalovantClient(IDENTITY, self_signed=True, ssl_context=ssl.create_default_context())
