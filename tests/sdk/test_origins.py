"""Nearer addresses of a hub, and its host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thalovant import (
    OriginPreference,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantIdentity,
    hub_hostname,
    preferred_origin,
    testing,
)

from .lab import PATIENCE, Lab


def test_a_nearer_address(tmp_path: Path) -> None:
    """It is tried first; where it does not lead to the hub, the name does, and it is left alone for a while."""
    with testing.hub(tls=False) as hub:
        identity, now = hub.identity(), [0.0]
        elsewhere = _at(identity, "hub.invalid")

        def build(identity: ThalovantIdentity = identity) -> ThalovantClient:
            return ThalovantClient(identity, noise_state_dir=tmp_path, allow_insecure=True, protocol="wss")

        with preferred_origin("HUB.invalid", "127.0.0.1"), build(elsewhere) as client:
            assert client.ask("hi").text == "You said: hi"
        with pytest.raises(ThalovantConnectionError), build(elsewhere):
            pass
        with preferred_origin("127.0.0.1", "127.255.0.1"), build() as client:
            assert client.connected

        near = OriginPreference("127.0.0.1")
        with near.connect(lambda: build(elsewhere), host="hub.invalid", connect_timeout=PATIENCE) as client:
            assert (client.connected, near.cooling_down) == (True, False)
        far = OriginPreference("127.255.0.1", clock=lambda: now[0])
        for now[0], cooling in ((0.0, False), (299.9, True), (300.0, False)):
            assert far.cooling_down is cooling
            with far.connect(build, host="127.0.0.1", connect_timeout=PATIENCE) as client:
                assert (client.connected, far.cooling_down) == (True, True)
        near.close()
        with pytest.raises(ThalovantConnectionError):
            near.connect(lambda: build(elsewhere), host="hub.invalid", connect_timeout=PATIENCE)


def _at(identity: ThalovantIdentity, host: str) -> ThalovantIdentity:
    endpoints = identity.data_plane_endpoints
    assert endpoints.wss is not None
    url = endpoints.wss.replace(hub_hostname(endpoints.wss), host)
    return replace(identity, data_plane_endpoints=replace(endpoints, wss=url))


def test_a_nearer_address_has_to_be_the_hub(v3: Lab, tmp_path: Path) -> None:
    """Its certificate is checked for the public name."""
    elsewhere = _at(v3.identity(), "hub.invalid")
    with (
        preferred_origin("hub.invalid", "127.0.0.1"),
        pytest.raises(ThalovantConnectionError, match="another host name"),
        ThalovantClient(elsewhere, noise_state_dir=tmp_path, protocol="wss"),
    ):
        pass


@pytest.mark.parametrize(
    ("master", "host"),
    [
        ("wss://hub.example:443/public", "hub.example"),
        ("https://user:secret@hub.example", "hub.example"),
        ("hub.example", "hub.example"),
        (" hub.example:5678 ", "hub.example"),
        ("hub.example/path", "hub.example"),
        ("wss://[2001:db8::1]:443", "2001:db8::1"),
        ("[::1]:5678", "::1"),
        ("::1", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("wss://[::1", ""),
        ("wss://", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_hub_hostname(master: str | None, host: str) -> None:
    """Of an address or bare."""
    assert hub_hostname(master) == host
