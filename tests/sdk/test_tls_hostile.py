"""Hostile TLS servers as users meet them: by the public client, over every transport; and endpoints without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.io.hostile import HOSTILE, tls
from tests.io.pki import Pki
from tests.io.running import Server
from thalovant import (
    AsyncThalovantClient,
    HubProtocol,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantIdentity,
    ThalovantIdentityError,
)

from .test_failures import PLANTED, leaks

PROTOCOLS: tuple[HubProtocol, ...] = ("wss", "https", "mqtt")
SCHEMES = {"wss": "wss", "https": "https", "mqtt": "mqtts"}

over_all = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority that the clients of the tests trust."""
    return Pki(tmp_path_factory.mktemp("pki"))


def identity(endpoint: str, protocol: HubProtocol, **fields: Any) -> ThalovantIdentity:
    """An identity with secrets that are easily found again, and nothing but this endpoint."""
    broker = {"username": PLANTED["user"], "password": PLANTED["secret"], "topic_prefix": "hivemind/hub", "tls": False}
    return ThalovantIdentity.from_mapping(
        {
            "access_key": PLANTED["access_key"],
            "password": PLANTED["password"],
            "crypto_key": PLANTED["crypto_key"],
            "site_id": "test",
            "default_master": endpoint,
            "data_plane_endpoints": {protocol: endpoint},
            "mqtt": {**broker, "endpoint": endpoint} if protocol == "mqtt" else None,
            **fields,
        }
    )


def refused(ours: ThalovantIdentity, protocol: HubProtocol, state: Path, **options: Any) -> ThalovantConnectionError:
    """Connect, and give the error."""

    async def fails() -> ThalovantConnectionError:
        client = AsyncThalovantClient(ours, protocol=protocol, noise_state_dir=state, reconnect_attempts=0, **options)
        async with contextlib.AsyncExitStack() as exits:
            exits.push_async_callback(client.close, 0)
            with pytest.raises(ThalovantConnectionError) as caught:
                await client.connect()
        return caught.value

    return asyncio.run(fails())


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What users may see; with the log at DEBUG, it holds no secret at the end."""
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        yield texts
    assert leaks("\n".join([*texts, caplog.text])) == []


@over_all
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_servers_are_refused(
    name: str, protocol: HubProtocol, pki: Pki, tmp_path: Path, shown: list[str]
) -> None:
    """With the cause in one line and what to do in another; whether to try again is right; and nothing secret."""
    hostile = HOSTILE[name]
    patience = 0.3 if "silent" in name else 15.0
    with Server(hostile.make(pki), tolerant=True) as server:
        endpoint = f"{SCHEMES[protocol]}://{hostile.host}:{server.port}"
        ours = identity(endpoint, protocol, ca_file=pki.ca_file)
        error = refused(ours, protocol, tmp_path, connect_timeout=patience)
    shown += ["".join(traceback.format_exception(error)), repr(vars(error))]

    assert type(error) is ThalovantConnectionError
    assert (error.name, error.retryable) == ("tls", not hostile.fault.final)
    assert hostile.words in str(error)
    assert f"{hostile.host}:{server.port}" in str(error).lower()
    assert 1 == len(str(error).splitlines()) == len(error.hint.splitlines())


@over_all
def test_a_client_certificate_that_is_missed_late_is_named(
    protocol: HubProtocol, pki: Pki, tmp_path: Path, shown: list[str]
) -> None:
    """With TLS 1.3 the server says so when the handshake is done: the connection is lost, for that reason."""
    context = pki.server()
    context.verify_mode = ssl.CERT_REQUIRED
    with Server(tls(lambda _: context)(pki), tolerant=True) as server:
        ours = identity(f"{SCHEMES[protocol]}://localhost:{server.port}", protocol, ca_file=pki.ca_file)
        error = refused(ours, protocol, tmp_path)
    shown.append("".join(traceback.format_exception(error)))

    assert "wants a client certificate" in str(error)
    assert error.hint


HOSTS = (
    "hub.example",
    "192.0.2.1:5678",
    "[2001:db8::1]:1",
    "0.0.0.0",
    "localhost.hub.example",
    "127.0.0.1.hub.example",
)
HERE = ("localhost", "LOCALHOST.:5678", "127.0.0.1:5678", "127.8.8.8", "[::1]:1")
PLAIN: dict[HubProtocol, tuple[str, ...]] = {
    "wss": ("ws://", "WS://", "\xa0ws://"),
    "https": ("http://", "HTTP://", " http://"),
    "mqtt": ("mqtt://", "tcp://", "MQTT://", "\xa0mqtt://", ""),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("protocol", "scheme"), [(one, scheme) for one in PROTOCOLS for scheme in PLAIN[one]])
def test_endpoints_without_tls_are_refused(protocol: HubProtocol, scheme: str, host: str, shown: list[str]) -> None:
    """Off this machine, however they are written; when the client is made, unless it is allowed."""
    ours = identity(f"{scheme}{host}", protocol)
    with pytest.raises(ThalovantIdentityError, match="not encrypted and not on this machine") as caught:
        ThalovantClient(ours, protocol=protocol)
    shown.append("".join(traceback.format_exception(caught.value)))

    assert (caught.value.name, caught.value.retryable) == ("insecure_endpoint", False)
    assert f"{SCHEMES[protocol]}://" in caught.value.hint
    assert "allow_insecure=True" in caught.value.hint
    assert ThalovantClient(ours, protocol=protocol, allow_insecure=True).protocol == protocol


@pytest.mark.parametrize("host", HERE)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_endpoints_without_tls_are_fine_on_this_machine(protocol: HubProtocol, host: str) -> None:
    """Nobody else can listen there."""
    assert ThalovantClient(identity(f"{PLAIN[protocol][0]}{host}", protocol), protocol=protocol).protocol == protocol


@over_all
@pytest.mark.parametrize("options", [{}, {"allow_insecure": True}])
def test_a_plain_hub_behind_a_name_that_says_tls(
    protocol: HubProtocol, options: dict[str, bool], pki: Pki, tmp_path: Path
) -> None:
    """`allow_insecure` is for what is written plain: an endpoint with TLS is never spoken to without it."""
    with Server(HOSTILE["plain HTTP"].make(pki), tolerant=True) as server:
        ours = identity(f"{SCHEMES[protocol]}://localhost:{server.port}", protocol, ca_file=pki.ca_file)
        error = refused(ours, protocol, tmp_path, **options)

    assert "plain text (HTTP?) instead of TLS" in str(error)
