"""Another transport in place of the one that leads nowhere: only where the user allows it, with nothing given up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.lab import PATIENCE, Lab
from thalovant import (
    AsyncThalovantClient,
    HubDataPlaneEndpoints,
    HubProtocolSettings,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    ThalovantIdentityError,
)

NOWHERE = "ws://127.0.0.1:1"  # a port where nobody listens
EVERYTHING = HubProtocolSettings(wss=True, http=True, mqtt=True)


def without(lab: Lab, *protocols: str, **changes: Any) -> ThalovantIdentity:
    """The shared identity, with endpoints of these protocols that lead nowhere."""
    identity = lab.identity()
    endpoints = dict.fromkeys(protocols, NOWHERE)
    return replace(
        identity,
        data_plane_endpoints=replace(identity.data_plane_endpoints, **endpoints),
        protocols=EVERYTHING,
        **changes,
    )


def test_nothing_is_fallen_back_to_unasked(v3: Lab) -> None:
    """Who allows nothing gets the one transport, or its error."""
    client = ThalovantClient(without(v3, "wss"), noise_state_dir=v3.state_dir())
    with pytest.raises(ThalovantConnectionError):
        client.connect()
    client.close()

    assert client.protocol == "wss"


def test_https_in_place_of_wss(v3: Lab) -> None:
    """The answer comes over the other transport, and the client says over which."""
    with ThalovantClient(without(v3, "wss"), noise_state_dir=v3.state_dir(), fallback=True) as client:
        assert "hello" in client.ask("hello").text
        assert client.protocol == "https"


def test_mqtt_in_place_of_both(v3: Lab) -> None:
    """The last of three."""
    with ThalovantClient(without(v3, "wss", "https"), noise_state_dir=v3.state_dir(), fallback=True) as client:
        assert "hello" in client.ask("hello").text
        assert client.protocol == "mqtt"


def test_a_named_protocol_is_the_first(v3: Lab) -> None:
    """And the others follow in their order."""
    with ThalovantClient(
        without(v3, "https"), noise_state_dir=v3.state_dir(), protocol="https", fallback=True
    ) as client:
        assert client.protocol == "wss"


async def test_subscriptions_and_messages_move_along(v3: Lab) -> None:
    """What was subscribed and sent before there was a connection works on whichever came."""
    identity = without(v3, "wss")
    async with asyncio.timeout(PATIENCE):
        client = AsyncThalovantClient(identity, noise_state_dir=v3.state_dir(), fallback=True)
        heard: asyncio.Queue[str] = asyncio.Queue()
        client.on("speak", lambda event: heard.put_nowait(event.text))
        await client.send_utterance("hello")
        assert "hello" in await heard.get()
        assert client.protocol == "https"
        await client.close()


def test_the_error_names_all_that_was_tried(v3: Lab, tmp_path: Path) -> None:
    """One line, one hint, each transport with its own cause."""
    identity = replace(
        v3.identity(),
        data_plane_endpoints=HubDataPlaneEndpoints(wss=NOWHERE, https="http://127.0.0.1:1"),
        protocols=HubProtocolSettings(wss=True, http=True),
    )
    client = ThalovantClient(identity, noise_state_dir=tmp_path / "state", fallback=True)
    with pytest.raises(ThalovantConnectionError) as caught:
        client.connect()
    client.close()

    message = str(caught.value)
    assert message.startswith("Over WSS: ") and "; over HTTPS: " in message and "\n" not in message
    assert (caught.value.name, caught.value.retryable) == ("hub_down", True)
    assert caught.value.hint


def test_a_refusal_is_not_fallen_back_from(v3: Lab, tmp_path: Path) -> None:
    """The hub would say the same over each; trying on would only make noise there."""
    identity = replace(v3.identity(), password="not the password of this client", protocols=EVERYTHING)
    client = ThalovantClient(identity, noise_state_dir=tmp_path / "state", fallback=True)
    with pytest.raises(ThalovantHubRefusedError) as refused:
        client.connect()
    client.close()

    assert (refused.value.name, client.protocol) == ("wrong_password", "wss")


def test_a_plain_endpoint_is_no_fallback(v3: Lab) -> None:
    """Encryption is not given up for a connection: such an identity is refused before anything is dialed."""
    identity = without(v3, "wss")
    plain = replace(identity.data_plane_endpoints, wss="wss://hub.example", https="http://hub.example")
    with pytest.raises(ThalovantIdentityError) as refused:
        ThalovantClient(replace(identity, data_plane_endpoints=plain), fallback=True)

    assert refused.value.name == "insecure_endpoint"
