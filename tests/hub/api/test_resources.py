"""Hubs, ratings, runtime groups, skills, memory and figures."""

from __future__ import annotations

from typing import Any

import pytest

from .lab import NEW_CLIENT, Lab

HUB = {"name": "My Hub", "spec": {"version": "1", "note": "kept", "password": "keep-out"}}


async def made(lab: Lab, what: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    found = await lab.get(f"POST /v1/{what}", body)
    return found, f"/v1/{what}/{found['id']}"


async def test_the_hub_of_the_demonstration(lab: Lab) -> None:
    """As the documents' programs find it, signed in or not."""
    for what in ("/v1/hubs/hub-id", "/v1/public/hubs/joke-garden", "/v1/public/hubs/hub-id"):
        hub = await lab.get(f"GET {what}")
        assert (hub["id"], hub["slug"], hub["public_ref"], hub["title"]) == (
            "hub-id", "joke-garden", "joke-garden", "Joke Garden"
        )  # fmt: skip
        assert hub["data_plane_endpoints"] == lab.hub.endpoints
        assert hub["protocols"] == {name: {"enabled": True} for name in ("wss", "http", "mqtt")}
        assert hub["demo"] is True
    page = await lab.get("GET /v1/public/hubs?limit=12", token=None)
    assert ([hub["id"] for hub in page["data"]], page["meta"]) == (["hub-id"], {"count": 1, "next": None})


async def test_a_hub_is_changed_by_who_knows_it(lab: Lab) -> None:
    """Its etag is in the body; secrets are not kept; a slug is taken once; its clients go with it."""
    hub, path = await made(lab, "hubs", HUB)
    assert (hub["slug"], hub["spec"]) == ("my-hub", {"version": "1", "note": "kept", "password": "<redacted>"})
    assert (await lab.ask("POST /v1/hubs", HUB)).problem == (409, "slug_taken")
    assert (await lab.ask(f"GET /v1/public{path.removeprefix('/v1')}")).status == 404
    assert (await lab.ask(f"PATCH {path}", {"public": True})).problem == (428, "precondition_required")
    new = await lab.ask(f"PATCH {path}", {"public": True, "title": "Ours", "slug": "other"}, If_Match=hub["etag"])
    assert (new.body["public"], new.body["title"], new.body["slug"]) == (True, "Ours", "my-hub")
    assert new.headers["etag"] == f'"{new.body["etag"]}"'
    assert (await lab.ask(f"PATCH {path}", {"title": "x"}, If_Match=hub["etag"])).problem == (412, "etag_mismatch")
    assert (await lab.get("GET /v1/public/hubs/my-hub", token=None))["title"] == "Ours"
    await lab.get("POST /v1/clients", {**NEW_CLIENT, "hub_id": "my-hub"})
    assert lab.hub.clients == ("kiosk",)
    assert (await lab.ask(f"DELETE {path}", If_Match=new.body["etag"])).status == 204
    assert (lab.hub.clients, (await lab.get("GET /v1/clients"))["data"]) == ((), [])


async def test_ratings(lab: Lab) -> None:
    """One of each account, of hubs that it may see."""
    other = await lab.add_account("other@example.com")
    for token, stars in ((lab.token, 5), (other, 1), (other, 2)):
        found = await lab.get("PUT /v1/hubs/hub-id/rating", {"rating": stars}, token=token)
    assert (found["rating"], found["hub"]["rating"]) == (2, {"average": 3.5, "count": 2})
    found = await lab.get("DELETE /v1/hubs/hub-id/rating", token=other)
    assert (found["rating"], found["hub"]["rating"]) == (None, {"average": 5.0, "count": 1})
    for wrong in (0, 6, True, "5", 2.0):
        assert (await lab.ask("PUT /v1/hubs/hub-id/rating", {"rating": wrong})).status == 422


@pytest.mark.parametrize("kind", ["hubs", "runtime-groups"])
async def test_releases_are_operations(lab: Lab, kind: str) -> None:
    """Nothing else happens here."""
    _, path = await made(lab, kind, HUB)
    answered = await lab.ask(f"POST {path}/release", {"channel": "stable", "reason": "new"})
    assert (answered.status, answered.body["operation"]["status"]) == (202, "ready")
    assert answered.body["operation"]["details"] == {"channel": "stable", "reason": "new"}


async def test_what_a_hub_can_do(lab: Lab) -> None:
    """The skills that it runs, live; the same are the catalogue."""
    found = await lab.get("GET /v1/hubs/hub-id/runtime-capabilities")
    names = [skill.name for skill in lab.hub.skills]
    assert (found["source"], [skill["skill_id"] for skill in found["skills"]]) == ("ovos-runtime", names)
    assert [one["skill_id"] for one in (await lab.get("GET /v1/marketplace/skills"))["data"]] == names


@pytest.mark.plane(admission_delay=30.0)
async def test_skills_of_a_hub(lab: Lab) -> None:
    """Installed, updated and removed as their operations go on; the history stays."""
    _, path = await made(lab, "hubs", HUB)

    async def states() -> list[tuple[str, str, str | None]]:
        page = await lab.get(f"GET {path}/skills")
        return [(one["state"], one["version"], one["installed_version"]) for one in page["data"]]

    answered = await lab.ask(f"POST {path}/skills", {"skill": "weather"})
    assert answered.status == 202
    assert {**answered.body, "operation": None, "operation_id": None, "hub_id": None} == {
        "skill": "weather", "version": "1.0.0", "previous_version": None, "state": "installing", "hub_id": None,
        "runtime_group_id": None, "operation_id": None, "operation": None,
    }  # fmt: skip
    assert await states() == [("pending", "1.0.0", None)]
    lab.later(30)
    assert await states() == [("installed", "1.0.0", "1.0.0")]
    assert (await lab.get(f"GET /v1/operations/{answered.body['operation_id']}"))["status"] == "ready"
    same = await lab.ask(f"POST {path}/skills", {"skill": "weather", "version": "1.0.0"})
    assert same.problem == (409, "skill_version_already_installed")
    updated = await lab.get(f"PATCH {path}/skills/weather", {"version": "2.0.0"})
    assert (updated["state"], updated["previous_version"]) == ("updating", "1.0.0")
    lab.later(30)
    assert await states() == [("installed", "2.0.0", "2.0.0")]
    assert (await lab.get(f"DELETE {path}/skills/weather"))["state"] == "removing"
    assert await states() == [("removing", "2.0.0", "2.0.0")]
    lab.later(30)
    assert await states() == []
    assert (await lab.ask(f"DELETE {path}/skills/weather")).problem == (404, "not_found")
    history = (await lab.get(f"GET {path}/skills/history"))["data"]
    assert [one["action"] for one in history] == ["installing", "updating", "removing"]


async def test_runtime_groups(lab: Lab) -> None:
    """Made, changed, merged into, replaced if nobody else was first, and removed with their skills."""
    group, path = await made(lab, "runtime-groups", {"name": "Kitchen"})
    assert (await lab.ask("POST /v1/runtime-groups", {})).body["detail"] == "name: is missing"
    assert (await lab.get(f"PATCH {path}", {"description": "Warm"}))["description"] == "Warm"
    assert [one["id"] for one in (await lab.get("GET /v1/runtime-groups"))["data"]] == [group["id"]]
    first = await lab.get(f"GET {path}/config")
    assert (first["config"], first["personas"], len(first["revision"])) == ({}, {}, 64)
    merged: dict[str, Any] = {}
    for change, personas in (({"a": {"b": [1], "c": 1}}, {"x": 1}), ({"a": {"b": [2]}, "d": None}, None)):
        merged = await lab.get(f"PATCH {path}/config", {"config": change, "personas": personas})
    assert (merged["config"], merged["personas"]) == ({"a": {"b": [2], "c": 1}, "d": None}, {"x": 1})
    stale = await lab.ask(f"PUT {path}/config", {"config": {}, "expected_revision": first["revision"]})
    assert stale.problem == (412, "revision_mismatch")
    replaced = await lab.get(f"PUT {path}/config", {"config": {"e": 1}, "expected_revision": merged["revision"]})
    assert (replaced["config"], replaced["personas"]) == ({"e": 1}, {"x": 1})
    skill = lab.hub.skills[0].name
    await lab.get(f"POST {path}/skills", {"skill_id": skill, "version_pin": "0.9", "source_ref": "main"})
    (installed,) = (await lab.get(f"GET {path}/inventory?refresh=true"))["data"]
    assert (installed["skill"], installed["version"], installed["source_ref"]) == (skill, "0.9", "main")
    offered = (await lab.get(f"GET {path}/marketplace"))["data"]
    assert [one["skill_id"] for one in offered if one["installed"]] == [skill]
    await lab.get(f"DELETE {path}/skills/{skill}")
    assert (await lab.get(f"GET {path}/inventory"))["data"] == []
    assert (await lab.ask(f"DELETE {path}")).status == 204
    assert (await lab.ask(f"GET {path}/config")).status == 404


async def test_memory(lab: Lab) -> None:
    """Kept, found, counted, changed, forgotten; what has ended or was deleted is shown to who asks for it."""
    fact, path = await made(lab, "memory", {"scope": "user", "kind": "fact", "content": "Blue is best"})
    await lab.get(
        "POST /v1/memory", {"scope": "hub", "kind": "note", "hub_id": "h", "expires_at": "2026-12-01T13:00:00Z"}
    )
    assert (await lab.ask("POST /v1/memory", {"kind": "x"})).body["detail"] == "scope: is missing"

    async def kinds(query: str = "") -> list[str]:
        return [one["kind"] for one in (await lab.get(f"GET /v1/memory?{query}"))["data"]]

    assert await lab.get(f"GET {path}") == fact
    assert await kinds() == ["fact", "note"]
    assert await kinds("scope=user&query=BLUE") == ["fact"]
    assert await kinds("hub_id=h&kind=note") == ["note"]
    assert await kinds("limit=1&offset=1") == ["note"]
    assert await lab.get("GET /v1/memory/summary") == {
        "total": 2, "by_scope": {"user": 1, "hub": 1}, "by_kind": {"fact": 1, "note": 1}
    }  # fmt: skip
    assert (await lab.get(f"PATCH {path}", {"content": "Red is best"}))["content"] == "Red is best"
    assert (await lab.ask(f"DELETE {path}")).status == 204
    lab.later(3600)
    assert await kinds() == []
    assert await kinds("include_deleted=true") == ["fact"]
    assert await kinds("include_expired=true") == ["note"]


async def test_figures(lab: Lab) -> None:
    """What there is now."""
    await lab.get("POST /v1/clients", NEW_CLIENT)
    found = await lab.get("GET /v1/analytics/overview?range=7d&bucket=day")
    assert (found["range"], found["totals"]) == ("7d", {"hubs": 1, "clients": 1, "connected_clients": 0})
