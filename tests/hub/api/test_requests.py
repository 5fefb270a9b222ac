"""What every request goes through: who asks, whether it may, and whether it can be read. Each refusal is a problem."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .lab import NEW_CLIENT, SPEC, Lab

TEXT = "must be printable text of at most 200 characters"
KINDS = "must be one of home_assistant, voice_satellite, web_chat, developer, embedded"
FOREIGN = "somebody@example.com"


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ("GET /v1/nothing", 404, "not_found"),
        ("GET /v1/hubs/%ff", 404, "not_found"),
        ("GET /v1/hubs/..%2F..%2Fetc%2Fpasswd", 404, "not_found"),
        ("GET /v1/hubs/hub-id%00", 404, "not_found"),
        ("GET /v1/hubs/%27%20OR%201=1", 404, "not_found"),
        ("DELETE /v1/users/profile", 405, None),
        ("GET /v1/hubs?limit=0", 422, "schema_validation_failed"),
        ("GET /v1/hubs?limit=%C2%B2", 422, "schema_validation_failed"),
        ("GET /v1/hubs?cursor=-1", 422, "schema_validation_failed"),
        ("GET /v1/hubs?cursor=" + "9" * 40, 422, "schema_validation_failed"),
        ("GET /v1/hubs?q=%ff", 400, None),
        ("GET /v1/hubs?" + "a=1&" * 100, 400, None),
        ("GET /v1/operations/none", 404, "not_found"),
        ("GET /v1/memory/none", 404, "not_found"),
        ("GET /v1/runtime-groups/none", 404, "not_found"),
        ("DELETE /v1/auth/api-tokens/none", 404, "not_found"),
        ("PATCH /v1/hubs/hub-id", 415, None),
    ],
)
async def test_an_address_that_leads_nowhere(lab: Lab, what: str, status: int, code: str | None) -> None:
    """Ids with slashes, NUL and SQL are ids of nothing."""
    answered = await lab.ask(what)
    assert answered.problem == (status, code)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed_json"),
        (b"\xff", {}, 400, "malformed_json"),
        (b"", {}, 400, "malformed_json"),
        (b"[" * 40 + b"]" * 40, {}, 400, "malformed_json"),
        (b'{"a":1e999}', {}, 400, "malformed_json"),
        (b"[]", {}, 422, "schema_validation_failed"),
        (b"[" + b"1," * 30_000 + b"1]", {}, 413, None),
        (b'{"a":"' + b"x" * (1 << 20) + b'"}', {}, 413, None),
        (b"{}", {"Content_Type": "text/plain"}, 415, None),
        (b"{}", {"Content_Encoding": "gzip"}, 415, None),
    ],
)
async def test_a_body_that_cannot_be_read(
    lab: Lab, body: bytes, headers: dict[str, str], status: int, code: str | None
) -> None:
    """Malformed, deep, of many values, too large, compressed, of another type."""
    assert (await lab.ask("POST /v1/clients", body, **headers)).problem == (status, code)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({"name": None}, {"name": TEXT}),
        ({"name": " "}, {"name": TEXT}),
        ({"name": "a\x1b[2J"}, {"name": TEXT}),
        ({"name": 3, "active": "yes"}, {"name": TEXT, "active": "must be true or false"}),
        ({"spec": []}, {"spec": "must be an object"}),
        ({"spec": {"apiKey": "short"}}, {"spec.apiKey": "must be 16 to 256 plain characters"}),
        ({"spec": {"siteId": ["keep-out"]}}, {"spec.siteId": TEXT}),
        ({"spec": {"connection_type": "keep-out"}}, {"spec.connection_type": KINDS}),
    ],
)
async def test_a_wrong_field_is_named_and_not_echoed(lab: Lab, change: dict[str, Any], faults: dict[str, str]) -> None:
    """With its path and the reason, all faults at once."""
    answered = await lab.ask("POST /v1/clients", {**NEW_CLIENT, **change})
    assert answered.problem == (422, "schema_validation_failed")
    found = {".".join(error["loc"][1:]): error["msg"] for error in answered.body["errors"]}
    assert found == faults
    assert answered.body["detail"] == "; ".join(f"{path}: {reason}" for path, reason in faults.items())
    assert "keep-out" not in json.dumps(answered.body)


async def test_what_is_missing_is_named(lab: Lab) -> None:
    """A field without which there is nothing to do."""
    answered = await lab.ask("POST /v1/clients", {})
    assert answered.body["detail"] == "hub_id: is missing; name: is missing"


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (None, {}),
        ("unknown", {}),
        ("", {"Authorization": "Basic eW91OnB3"}),
        (None, {"Authorization": "Bearer"}),
    ],
)
async def test_a_request_without_a_token_of_ours(lab: Lab, token: str | None, headers: dict[str, str]) -> None:
    """Whatever else is wrong with it."""
    answered = await lab.ask("GET /v1/clients/none", token=token if token != "" else None, **headers)
    assert answered.problem == (401, None)
    assert answered.headers["www-authenticate"] == "Bearer"


async def test_a_token_ends(lab: Lab) -> None:
    """After half a day for one that came of a password."""
    lab.later(12 * 3600 - 1)
    await lab.get("GET /v1/hubs")
    lab.later(1)
    assert (await lab.ask("GET /v1/hubs")).problem == (401, None)


async def test_scopes_come_before_plans(lab: Lab) -> None:
    """An account without a plan may sign in; with the wrong scope it hears of that first."""
    free = await lab.add_account("free@example.com", plan="free")
    assert (await lab.ask("GET /v1/hubs", token=free)).body["detail"] == "API access requires a paid plan."
    assert (await lab.ask("GET /v1/hubs", token=free)).problem == (402, None)
    await lab.get("GET /v1/users/profile", token=free)
    narrow = await lab.sign_in("free@example.com", scope="clients:read nonsense")
    answered = await lab.ask("GET /v1/hubs", token=narrow)
    assert (answered.problem, answered.body["detail"]) == ((403, None), "Insufficient scopes")


async def test_an_account_may_ask_so_often(lab: Lab) -> None:
    """Then it is told how long to wait, and after that served again."""
    token = await lab.add_account("busy@example.com", requests_per_minute=2)
    for _ in range(2):
        await lab.get("GET /v1/hubs", token=token)
    answered = await lab.ask("GET /v1/hubs", token=token)
    assert answered.problem == (429, "token_rate_limited")
    assert answered.headers["retry-after"] == str(answered.body["detail"]["retry_after_seconds"]) == "31"
    lab.later(31)
    await lab.get("GET /v1/hubs", token=token)


async def test_what_is_anothers_is_as_if_it_were_not(lab: Lab) -> None:
    """The same answer to every call, byte for byte, as for an id of nothing."""
    client = await lab.get("POST /v1/clients", NEW_CLIENT)
    hub = await lab.get("POST /v1/hubs", {"name": "Mine", "spec": {"version": "1"}})
    group = await lab.get("POST /v1/runtime-groups", {"name": "Mine"})
    item = await lab.get("POST /v1/memory", {"scope": "user", "kind": "fact"})
    other = await lab.add_account(FOREIGN)
    config = {"config": {}}
    for what, id, body in (
        ("GET /v1/clients/{}", client["id"], None),
        ("DELETE /v1/clients/{}", client["id"], None),
        ("GET /v1/operations/{}", client["operation"]["id"], None),
        ("GET /v1/hubs/{}", hub["id"], None),
        ("PATCH /v1/hubs/{}", hub["id"], {}),
        ("DELETE /v1/hubs/{}", hub["id"], None),
        ("GET /v1/hubs/{}/skills", hub["id"], None),
        ("POST /v1/hubs/{}/release", hub["id"], {}),
        ("PUT /v1/hubs/{}/rating", hub["id"], {"rating": 5}),
        ("GET /v1/public/hubs/{}", hub["id"], None),
        ("POST /v1/clients", hub["id"], {**NEW_CLIENT, "hub_id": hub["id"]}),
        ("GET /v1/runtime-groups/{}", group["id"], None),
        ("PATCH /v1/runtime-groups/{}/config", group["id"], config),
        ("DELETE /v1/runtime-groups/{}", group["id"], None),
        ("GET /v1/memory/{}", item["id"], None),
        ("DELETE /v1/memory/{}", item["id"], None),
    ):
        answered = await lab.ask(what.format(id), body, token=other, If_Match="*")
        none = body and {**body, **({"hub_id": "none"} if "hub_id" in body else {})}
        nothing = await lab.ask(what.format("none"), none, token=other, If_Match="*")
        assert answered.problem == (404, "not_found"), what
        assert (answered.body, answered.headers["content-length"]) == (nothing.body, nothing.headers["content-length"])
    for path in ("clients", "hubs", "runtime-groups", "memory"):
        assert (await lab.get(f"GET /v1/{path}", token=other))["data"] == []
        assert (await lab.get(f"GET /v1/{path}?owner_id=demo", token=other))["data"] == []


async def test_both_documented_bases_and_a_whole_url_lead_to_the_api(lab: Lab) -> None:
    """`https://dash.thalovant.com/api` and `https://api.thalovant.com`."""
    pages = [
        await lab.get(f"GET {base}/v1/public/hubs") for base in ("", "/api", lab.plane.url, f"{lab.plane.url}/api")
    ]
    assert pages[1:] == pages[:1] * 3
    assert (await lab.ask("HEAD /v1/public/hubs")).status == 200


async def test_pages_are_walked_with_cursors(lab: Lab) -> None:
    """Everything once, in order, with links that lead on; filters stay."""
    for number in range(5):
        await lab.get("POST /v1/hubs", {"name": f"Hub {number}", "spec": {"version": "1"}})
    path, names = "/v1/hubs?limit=2&owner_id=demo", []
    while path:
        page = await lab.get(f"GET {path}")
        names += [hub["name"] for hub in page["data"]]
        assert page["meta"]["count"] == len(page["data"])
        path = page["links"]["next"]
        assert (path is None) == (page["meta"]["next"] is None)
    assert names == ["Joke Garden", *(f"Hub {number}" for number in range(5))]


async def test_a_repeated_key_makes_nothing_new(lab: Lab) -> None:
    """The same answer, identity included; another body is refused; another account has keys of its own."""
    first = await lab.ask("POST /v1/clients", NEW_CLIENT, Idempotency_Key="one")
    again = await lab.ask("POST /v1/clients", NEW_CLIENT, Idempotency_Key="one")
    assert (again.status, again.body) == (first.status, first.body)
    other = {**NEW_CLIENT, "name": "other"}
    assert (await lab.ask("POST /v1/clients", other, Idempotency_Key="one")).problem == (409, "idempotency_key_reused")
    mine = {**NEW_CLIENT, "spec": {**SPEC, "apiKey": "o" * 43}}
    token = await lab.add_account(FOREIGN)
    assert (await lab.get("POST /v1/clients", mine, token=token, Idempotency_Key="one"))["id"] != first.body["id"]
    lab.later(25 * 3600)
    await lab.sign_in()
    assert (await lab.ask("POST /v1/clients", NEW_CLIENT, Idempotency_Key="one")).problem == (409, "access_key_taken")
    assert len((await lab.get("GET /v1/clients"))["data"]) == 1


async def test_the_description_names_every_call(lab: Lab) -> None:
    """OpenAPI 3.1, of the same models that refuse bodies."""
    found = await lab.get("GET /openapi.json", token=None)
    assert (found["openapi"], found["servers"]) == ("3.1.0", [{"url": lab.plane.url}])
    create = found["paths"]["/v1/clients"]["post"]
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["hub_id", "name"]
    assert schema["properties"]["active"] == {"type": "boolean"}
    assert schema["properties"]["spec"]["properties"]["apiKey"]["anyOf"][0]["pattern"] == "^([!-~]{16,256})$"
    assert (create["security"], set(create["responses"])) == ([{"token": []}], {"201", "default"})
    patch = found["paths"]["/v1/hubs/{id1}/skills/{id2}"]["patch"]
    assert [one["name"] for one in patch["parameters"]] == ["id1", "id2"]
    assert found["paths"]["/v1/auth/token"]["post"]["security"] == []
    assert sum(map(len, found["paths"].values())) == 54
