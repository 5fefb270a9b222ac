"""Hubs, runtime groups, skills, memory and figures.

All hubs of the API are this one hub: each has its own name, owner and clients, and the same endpoints. What is
installed or released is a record; the skills that run are the hub's own.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from thalovant_proto import jsontext

from ..._internal.redact import redact_values
from ..storage.records import Record, Records
from . import models
from .clients import begin, drop_clients, operation_json, slug_of
from .http import Problem, missing
from .routing import PRIVATE, PUBLIC, Call, digest, route

_LATEST: Final = "1.0.0"
#: What a body does not decide.
_OURS: Final = ("id", "owner_id", "etag", "created_at", "updated_at", "deleted_at", "config", "personas", "public_ref")


def _kept(call: Call) -> dict[str, Any]:
    """What is kept of a body: more than its model knows, but no secrets."""
    given = {key: value for key, value in call.json().items() if key not in _OURS}
    kept: dict[str, Any] = redact_values(given)
    return kept


def collection(
    path: str,
    scope: str,
    kind: str,
    create: Callable[[Call], Record],
    change: type,
    show: Callable[[Call, Record], dict[str, Any]],
    find: Callable[[Call, str], Record],
    drop: Callable[[Call, Record], object],
    made_of: type,
) -> None:
    """Put the five calls of a kind of resource into the table; those of hubs want an etag."""

    def known(call: Call, id: str) -> Record:
        found = call.own(kind, id)
        if kind == "hub":
            call.check_etag(found)
        return found

    def changed(call: Call, id: str, body: Any) -> dict[str, Any]:
        new = {key: value for key, value in _kept(call).items() if key != "slug"}
        parent = None if "public" not in new else PUBLIC if new["public"] else PRIVATE
        return show(call, call.records.change(known(call, id), new, parent=parent))

    def listed(call: Call) -> dict[str, Any]:
        return call.listed(lambda one: show(call, one), "kind = ? AND owner = ?", kind, call.mine)

    if kind != "memory":
        route(f"GET {path}", scope=f"{scope}:read")(listed)
    route(f"POST {path}", scope=f"{scope}:write", body=made_of, status=201)(lambda call, body: show(call, create(call)))
    route(f"GET {path}/{{}}", scope=f"{scope}:read")(lambda call, id: show(call, find(call, id)))
    route(f"PATCH {path}/{{}}", scope=f"{scope}:write", body=change)(changed)
    route(f"DELETE {path}/{{}}", scope=f"{scope}:write", status=204)(lambda call, id: drop(call, known(call, id)))


# --- hubs


def add_hub(records: Records, owner: str, body: Mapping[str, Any], *, id: str | None = None) -> Record:
    """Keep a new hub. Raises `Problem` for a slug that is taken."""
    slug = body.get("slug") or slug_of(body["name"]) or secrets.token_hex(4)
    if records.get("hub", slug, by="ref") or records.get("hub", slug):
        raise Problem(409, "There is a hub with this slug already", code="slug_taken")
    own = {"slug": slug, "public_ref": slug, "public": bool(body.get("public"))}
    kept = {"title": body["name"], "description": "", "active": True, **body, **own}
    return records.add("hub", kept, id=id, owner=owner, parent=PUBLIC if own["public"] else PRIVATE, ref=slug)


def _hub_json(call: Call, hub: Record) -> dict[str, Any]:
    endpoints = dict(call.parts.hub.endpoints)
    on = {name: protocol in endpoints for name, protocol in (("wss", "wss"), ("http", "https"), ("mqtt", "mqtt"))}
    stars = [one.body["rating"] for one in call.records.select("kind = 'rating' AND parent = ?", hub.id)]
    return hub.shown(
        data_plane_endpoints=endpoints,
        protocols={name: {"enabled": flag} for name, flag in on.items()},
        **{f"{name}_enabled": flag for name, flag in on.items()},
        rating={"average": sum(stars) / len(stars) if stars else None, "count": len(stars)},
    )


def _public_json(call: Call, hub: Record) -> dict[str, Any]:
    return {key: value for key, value in _hub_json(call, hub).items() if key not in ("owner_id", "etag")}


def _drop_hub(call: Call, hub: Record) -> None:
    drop_clients(call.parts, "kind = 'client' AND parent = ?", hub.id)
    call.records.remove("parent = ? OR seq = ?", hub.id, hub.seq)


collection(
    "/v1/hubs", "hubs", "hub", lambda call: add_hub(call.records, call.user, _kept(call)), models.HUB_CHANGE, _hub_json,
    Call.seen_hub, _drop_hub, models.HUB,
)  # fmt: skip


@route("GET /v1/public/hubs", scope=None)
def list_public_hubs(call: Call) -> dict[str, Any]:
    """The public hubs."""
    return call.listed(lambda hub: _public_json(call, hub), "kind = 'hub' AND parent = ?", PUBLIC, limit=24)


@route("GET /v1/public/hubs/{}", scope=None)
def get_public_hub(call: Call, ref: str) -> dict[str, Any]:
    """A public hub, by slug or id."""
    found = call.records.get("hub", ref, by="ref") or call.records.get("hub", ref)
    if found is None or found.parent != PUBLIC:
        raise missing("hub")
    return _public_json(call, found)


@route("PUT /v1/hubs/{}/rating", scope="hubs:read", body=models.RATING)
@route("DELETE /v1/hubs/{}/rating", scope="hubs:read")
def rate(call: Call, hub_id: str, body: Any = None) -> dict[str, Any]:
    """Rate a hub, or take that back."""
    hub, stars = call.seen_hub(hub_id), body and body.rating
    call.records.remove("kind = 'rating' AND owner = ? AND parent = ?", call.user, hub.id)
    if stars:
        call.records.add("rating", {"rating": stars}, owner=call.user, parent=hub.id)
    return {"hub_id": hub.id, "rating": stars, "hub": _public_json(call, hub)}


@route("GET /v1/hubs/{}/runtime-capabilities", scope="hubs:read")
def capabilities(call: Call, hub_id: str) -> dict[str, Any]:
    """What a hub can do: the skills that it runs."""
    skills = [{"skill_id": one.name, "title": one.help, "fallback": one.fallback} for one in call.parts.hub.skills]
    told = {"hub_id": call.seen_hub(hub_id).id, "source": "ovos-runtime", "observed_at": call.parts.stamp()}
    return {**told, "skills": skills}


# --- runtime groups


def _group_json(call: Call, group: Record) -> dict[str, Any]:
    return {key: value for key, value in group.shown().items() if key not in ("config", "personas")}


collection(
    "/v1/runtime-groups", "hubs", "runtime_group",
    lambda call: call.records.add(
        "runtime_group", {**_kept(call), "config": {}, "personas": {}}, owner=call.user
    ),
    models.GROUP_CHANGE, _group_json, lambda call, id: call.own("runtime_group", id),
    lambda call, group: call.records.remove("parent = ? OR seq = ?", group.id, group.seq), models.GROUP,
)  # fmt: skip


@route("GET /v1/runtime-groups/{}/config", scope="hubs:read")
@route("PUT /v1/runtime-groups/{}/config", scope="hubs:write", body=models.GROUP_CONFIG)
@route("PATCH /v1/runtime-groups/{}/config", scope="hubs:write", body=models.GROUP_CONFIG)
def config(call: Call, group_id: str, body: Any = None) -> dict[str, Any]:
    """The configuration of a runtime group: as it is, replaced if it is still the expected one, or merged into."""
    group = call.own("runtime_group", group_id)
    if body is not None:
        if body.expected_revision not in (None, _config_json(group)["revision"]):
            raise Problem(412, "The configuration has changed: read it again", code="revision_mismatch")
        new = body.config if call.method == "PUT" else _merged(group.body["config"], body.config)
        personas = group.body["personas"] if body.personas is None else body.personas
        group = call.records.change(group, {"config": new, "personas": personas})
    return {"runtime_group_id": group.id, **_config_json(group)}


def _config_json(group: Record) -> dict[str, Any]:
    told = {name: group.body[name] for name in ("config", "personas")}
    return {**told, "revision": digest(jsontext.canonical(told).decode())}  # clients take nothing but SHA-256 for one


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


# --- skills, of hubs and of runtime groups


def _skill_json(call: Call, record: Record) -> dict[str, Any] | None:
    """A skill, None for one that has been removed by now."""
    body = record.body
    ready = operation_json(call.parts, call.records["operation", body["operation_id"]])["status"] == "ready"
    if body["doing"] == "removing" and ready:
        return None
    state = "removing" if body["doing"] == "removing" else "installed" if ready else "pending"
    there = body["version"] if ready else body["previous_version"]
    told = {key: value for key, value in body.items() if key not in ("doing", "operation_id")}
    versions = {"installed_version": there, "observed_version": there, "latest_version": _LATEST}
    return {**told, **versions, "state": state, "update_available": False, "last_transition_at": record.updated}


def _skills(call: Call, parent: Record) -> dict[str, Any]:
    found = [_skill_json(call, one) for one in call.records.select("kind = 'skill' AND parent = ?", parent.id)]
    return {f"{parent.kind}_id": parent.id, **_whole([one for one in found if one is not None])}


def _whole(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": data, "meta": {"count": len(data), "next": None}, "links": {"next": None}}


def _change_skill(call: Call, parent: Record, skill: str, doing: str, version: str | None = None, **more: Any) -> Any:
    ref = f"{parent.id}/{skill}"
    known = call.records.get("skill", ref, by="ref")
    known = known if known is not None and _skill_json(call, known) is not None else None
    wanted, before = _LATEST if version == "latest" else version, known and known.body["version"]
    if known is None and doing != "installing":
        raise missing("skill")
    if known is not None and doing != "removing" and before == wanted:
        raise Problem(409, "The skill has this version already", code="skill_version_already_installed")
    operation = begin(call, parent.kind, parent.id, "skill", skill=skill, action=doing, version=wanted)
    told = {"skill": skill, "version": wanted or before, "previous_version": before}
    kept = {"title": skill, "source_type": "catalog", "active": True, **(known.body if known else {}), **more, **told}
    call.records.remove("kind = 'skill' AND ref = ?", ref)
    kept |= {"doing": doing, "operation_id": operation["id"]}
    call.records.add("skill", kept, owner=call.user, parent=parent.id, ref=ref)
    call.records.add("skill_history", {**told, "action": doing}, owner=call.user, parent=parent.id)
    ids = {"hub_id": None, "runtime_group_id": None, f"{parent.kind}_id": parent.id}
    return {**told, **ids, "state": doing, "operation_id": operation["id"], "operation": operation}


def _skill_calls(path: str, kind: str, listing: str) -> None:
    """Put the calls that hubs and runtime groups share into the table."""

    def release(call: Call, id: str, body: Any) -> dict[str, Any]:
        parent = call.own(kind, id)
        return {f"{kind}_id": parent.id, "operation": begin(call, kind, parent.id, "release", **_kept(call))}

    def remove(call: Call, id: str, skill: str) -> Any:
        return _change_skill(call, call.own(kind, id), skill, "removing")

    route(f"GET {path}/{{}}/{listing}", scope="hubs:read")(lambda call, id: _skills(call, call.own(kind, id)))
    route(f"DELETE {path}/{{}}/skills/{{}}", scope="hubs:write", status=202)(remove)
    route(f"POST {path}/{{}}/release", scope="hubs:write", body=models.RELEASE, status=202)(release)


_skill_calls("/v1/hubs", "hub", "skills")
_skill_calls("/v1/runtime-groups", "runtime_group", "inventory")


@route("POST /v1/hubs/{}/skills", scope="hubs:write", body=models.HUB_SKILL, status=202)
def install_hub_skill(call: Call, hub_id: str, body: Any) -> Any:
    """Install a skill in a hub."""
    return _change_skill(call, call.own("hub", hub_id), body.skill, "installing", body.version)


@route("PATCH /v1/hubs/{}/skills/{}", scope="hubs:write", body=models.SKILL_VERSION, status=202)
def update_hub_skill(call: Call, hub_id: str, skill: str, body: Any) -> Any:
    """Take another version of a skill."""
    return _change_skill(call, call.own("hub", hub_id), skill, "updating", body.version)


@route("GET /v1/hubs/{}/skills/history", scope="hubs:read")
def list_history(call: Call, hub_id: str) -> dict[str, Any]:
    """What was done to the skills of a hub."""
    hub = call.own("hub", hub_id)
    return call.listed(Record.shown, "kind = 'skill_history' AND parent = ?", hub.id, limit=50)


@route("POST /v1/runtime-groups/{}/skills", scope="hubs:write", body=models.GROUP_SKILL, status=202)
def install_group_skill(call: Call, group_id: str, body: Any) -> Any:
    """Install a skill in a runtime group."""
    more = {key: value for key, value in _kept(call).items() if key != "skill_id"}
    group, version = call.own("runtime_group", group_id), body.version_pin or "latest"
    return _change_skill(call, group, body.skill_id, "installing", version, **more)


@route("GET /v1/marketplace/skills", scope="hubs:read")
@route("GET /v1/runtime-groups/{}/marketplace", scope="hubs:read")
def marketplace(call: Call, group_id: str | None = None) -> dict[str, Any]:
    """The catalogue: the skills that this hub runs; for a runtime group also whether it has them."""
    there = _skills(call, call.own("runtime_group", group_id))["data"] if group_id is not None else []
    installed, told = {one["skill"] for one in there}, {"source_type": "catalog", "latest_version": _LATEST}
    return _whole(
        [
            {"id": one.name, "skill_id": one.name, "title": one.name, "description": one.help, "active": True, **told}
            | ({} if group_id is None else {"installed": one.name in installed})
            for one in call.parts.hub.skills
        ]
    )


# --- memory and figures


@route("GET /v1/memory", scope="memory:read")
def list_memory(call: Call) -> dict[str, Any]:
    """What is remembered for an account."""
    query, words = call.query, call.query.get("query", "").casefold()
    limit, offset = call.number("limit", 100, 1000), call.number("offset", 0, 10**6, least=0)
    found = [
        one.shown()
        for one in call.records.select("kind = 'memory' AND owner = ?", call.mine)
        if (query.get("include_deleted") == "true" or "deleted_at" not in one.body)
        and (query.get("include_expired") == "true" or (one.body.get("expires_at") or "9") > call.parts.stamp())
        and all(one.body.get(name) == query[name] for name in ("scope", "kind", "hub_id") if query.get(name))
        and words in str(list(one.body.values())).casefold()
    ]
    data = found[offset : offset + limit]
    return {"data": data, "meta": {"count": len(data), "total": len(found), "limit": limit, "offset": offset}}


collection(
    "/v1/memory", "memory", "memory", lambda call: call.records.add("memory", _kept(call), owner=call.user),
    models.MEMORY_CHANGE, lambda call, item: item.shown(), lambda call, id: call.own("memory", id),
    lambda call, item: call.records.change(item, {"deleted_at": call.parts.stamp()}) and None, models.MEMORY,
)  # fmt: skip


@route("GET /v1/memory/summary", scope="memory:read")
def memory_summary(call: Call) -> dict[str, Any]:
    """How much is remembered."""
    kept = [one.body for one in call.records.select("kind = 'memory' AND owner = ?", call.mine)]
    there = [one for one in kept if "deleted_at" not in one]
    return {
        "total": len(there),
        **{f"by_{name}": Counter(str(one[name]) for one in there) for name in ("scope", "kind")},
    }


@route("GET /v1/analytics/overview", scope="analytics:read")
def analytics(call: Call) -> dict[str, Any]:
    """Figures of now; no history is kept here."""
    mine, connected = call.records.select("kind = 'client' AND owner = ?", call.user), call.parts.hub.connected
    hubs = call.records.count("kind = 'hub' AND owner = ?", call.user)
    totals = {"hubs": hubs, "clients": len(mine)}
    totals["connected_clients"] = sum(one.body["client_name"] in connected for one in mine)
    asked = {name: call.query.get(name) for name in ("range", "bucket", "hub_id", "client_id")}
    return {**asked, "generated_at": call.parts.stamp(), "totals": totals, "series": []}
