"""Clients that are made through the API are clients of the hub, on every transport."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thalovant.async_client import AsyncThalovantClient
from thalovant.errors import ThalovantConnectionError
from thalovant.identity import ThalovantIdentity
from thalovant.trust_store import TrustStore

from .lab import NEW_CLIENT, SPEC, Lab, running


def client_of(answer: dict[str, Any], folder: Path, **options: Any) -> AsyncThalovantClient:
    identity = ThalovantIdentity.from_mapping(answer["initial_identify"])
    return AsyncThalovantClient(identity, noise_state_dir=folder, auto_reconnect=False, **options)


@pytest.mark.parametrize("protocol", ["wss", "https", "mqtt"])
@pytest.mark.parametrize("old", [{}, {"cryptoKey": "c" * 43}], ids=["v3", "v1"])
async def test_its_identity_connects(tmp_path: Path, protocol: str, old: dict[str, str]) -> None:
    """Over TLS whose authority the identity names; a client that brings a pre-shared key proves its password."""
    async with running() as lab:
        body = {**NEW_CLIENT, "spec": {**SPEC, **old}}
        made = await lab.get("POST /v1/clients", body)
        assert made["initial_identify"]["access_key"] == SPEC["apiKey"]
        assert made["initial_identify"]["default_master"] == lab.hub.endpoints["wss"]
        async with client_of(made, tmp_path, protocol=protocol) as client:
            assert (await client.ask("Say hello.")).text == "Hello!"
            assert lab.hub.connected == ("kiosk",)


@pytest.mark.parametrize(
    ("agent", "noise"),
    [("ThalovantPythonSDK/1.0.0", True), ("ThalovantPythonSDK/0.9.7", True), ("ThalovantPythonSDK/0.4.29", False),
     ("kiosk", False)],
)  # fmt: skip
async def test_generation_of_a_client(tmp_path: Path, agent: str, noise: bool) -> None:
    """A pre-shared key beside the password is for hubs of old; who is known to speak v3 gets nothing less."""
    async with running() as lab:
        body = {**NEW_CLIENT, "spec": {**SPEC, "cryptoKey": "c" * 43}}
        made = await lab.get("POST /v1/clients", body, User_Agent=agent)
        async with client_of(made, tmp_path, protocol="wss") as client:
            assert (await client.ask("Say hello.")).text == "Hello!"
        pins = TrustStore(tmp_path, ThalovantIdentity.from_mapping(made["initial_identify"])).pins()
        assert bool(pins) is noise


async def test_clients_of_one_hub_only(lab: Lab) -> None:
    """What stands in the query is a name, and no pattern."""
    await lab.get("POST /v1/clients", NEW_CLIENT)
    found = [await lab.get(f"GET /v1/clients?hub_id={id}") for id in ("hub-id", "%25", "hub_id")]
    assert [len(page["data"]) for page in found] == [1, 0, 0]


async def test_secrets_are_told_once(lab: Lab) -> None:
    """The answer to its making has the identity; all others have references only."""
    body = {
        **NEW_CLIENT,
        "spec": {**SPEC, "connection_type": "web_chat", "room": "attic", "extra": {"token": "keep-out"}},
    }
    made = await lab.get("POST /v1/clients", body)
    known = await lab.get(f"GET /v1/clients/{made['id']}")
    assert known == {key: value for key, value in made.items() if key != "initial_identify"}
    assert set(made["initial_identify"]["mqtt"]) >= {"endpoint", "username", "password", "topic_prefix"}
    assert known["spec"] == {
        "version": "1", "siteId": "kiosk", "connection_type": "web_chat", "room": "attic",
        "extra": {"token": "<redacted>"}, "apiKeyRef": f"hub:clients/{made['id']}/apiKey",
        "passwordRef": f"hub:clients/{made['id']}/password",
    }  # fmt: skip
    assert await lab.get("GET /v1/clients?hub_id=hub-id") == {
        "data": [known], "meta": {"count": 1, "next": None}, "links": {"next": None}
    }  # fmt: skip
    assert (await lab.get("GET /v1/clients?hub_id=other"))["data"] == []
    assert "spec" not in (await lab.get("GET /v1/clients?include_spec=false"))["data"][0]
    assert not any(secret in json.dumps(known) for secret in (SPEC["apiKey"], SPEC["password"], "keep-out"))


async def test_secrets_are_made_where_none_are_sent(lab: Lab) -> None:
    """And a site is named after the client."""
    made = await lab.get("POST /v1/clients", {"hub_id": "joke-garden", "name": " Kiosk_One  A "})
    assert (made["name"], made["spec"]["siteId"], made["hub_id"]) == (" Kiosk_One  A ", "Kiosk-One-A", "hub-id")
    assert len(made["initial_identify"]["access_key"]) == 43
    again = await lab.get("POST /v1/clients", {"hub_id": "hub-id", "name": "Kiosk_One A"})
    assert lab.hub.clients == ("Kiosk_One A", f"Kiosk_One A-{again['id'][:8]}")


async def test_a_removed_client_is_gone(lab: Lab, tmp_path: Path) -> None:
    """It must be known as it is; its connection is closed, and nobody has its key."""
    made = await lab.get("POST /v1/clients", NEW_CLIENT)
    path = f"/v1/clients/{made['id']}"
    async with client_of(made, tmp_path) as client:
        await client.ask("Say hello.")
        assert (await lab.ask(f"DELETE {path}")).problem == (428, "precondition_required")
        assert (await lab.ask(f"DELETE {path}", If_Match="stale")).problem == (412, "etag_mismatch")
        assert lab.hub.clients == ("kiosk",)
        assert (await lab.ask(f"DELETE {path}", If_Match=f'"other", "{made["etag"]}"')).status == 204
        assert (lab.hub.clients, lab.hub.connected) == ((), ())
    assert (await lab.ask(f"GET {path}")).problem == (404, "not_found")
    with pytest.raises(ThalovantConnectionError):
        await client_of(made, tmp_path).connect()


@pytest.mark.plane(admission_delay=90.0)
async def test_a_client_is_admitted_when_its_operation_is_ready(lab: Lab, tmp_path: Path) -> None:
    """Until then it is as unknown as any; the operation says how far it is."""
    made = await lab.get("POST /v1/clients", NEW_CLIENT)
    link, seen = made["operation"]["links"]["self"], [made["operation"]["status"]]
    for protocol in ("wss", "mqtt"):
        with pytest.raises(ThalovantConnectionError):
            await client_of(made, tmp_path, protocol=protocol, connect_timeout=2).connect()
    for _ in range(3):
        lab.later(30)
        operation = await lab.get(f"GET {link}")
        seen.append(operation["status"])
    assert seen == ["requested", "committed", "applied", "ready"]
    assert operation["ready_at"] == operation["terminal_at"] == "2026-12-01T12:01:30Z"
    assert (operation["kind"], operation["aggregate_id"]) == ("client.sync", made["id"])
    async with client_of(made, tmp_path) as client:
        assert (await client.ask("Say hello.")).text == "Hello!"


async def test_a_client_that_is_not_active_stays_out(lab: Lab, tmp_path: Path) -> None:
    """For good."""
    made = await lab.get("POST /v1/clients", {**NEW_CLIENT, "active": False})
    lab.later(1e6)
    with pytest.raises(ThalovantConnectionError):
        await client_of(made, tmp_path).connect()


async def test_limits_of_accounts(lab: Lab) -> None:
    """A plan's clients, one Home Assistant for each hub, one owner, one holder of a key."""
    token = await lab.add_account("small@example.com", max_clients=2)
    linked = {"hub_id": "hub-id", "name": "Home", "spec": {"connection_type": "home_assistant"}}
    made = await lab.get("POST /v1/clients", linked, token=token)
    assert made["spec"]["connection_type"] == "home_assistant"
    answered = await lab.ask("POST /v1/clients", linked, token=token)
    assert answered.problem == (409, "home_assistant_already_linked")
    assert answered.body["client_id"] == made["id"]
    await lab.get("POST /v1/clients", NEW_CLIENT, token=token)
    answered = await lab.ask("POST /v1/clients", {"hub_id": "hub-id", "name": "third"}, token=token)
    assert answered.problem == (403, "plan_limit")
    assert {name: answered.body[name] for name in ("resource", "limit", "used")} == {
        "resource": "client", "limit": 2, "used": 2
    }  # fmt: skip
    assert (await lab.ask("POST /v1/clients", NEW_CLIENT)).problem == (409, "access_key_taken")
    assert (await lab.ask("POST /v1/clients", {**NEW_CLIENT, "owner_id": "x"})).problem == (403, "foreign_owner")
    assert lab.hub.clients == ("Home", "kiosk")
