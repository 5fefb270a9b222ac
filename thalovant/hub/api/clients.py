"""Clients of the API, each a client of this hub: its identity connects over every transport that the hub has.

What a change still has to go through is an operation. Here that is time, and the clock says how far it is.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from typing import Any, Final

from ..._internal.redact import redact_values
from ..storage.clients import MAX_NAME
from ..storage.records import Record, stamp
from .http import Problem
from .models import CLIENT
from .routing import Call, Parts, route

_LINKED: Final = "home_assistant"
_SECRETS: Final = ("apiKey", "password", "cryptoKey")
#: Releases of the SDK since 0.5. Ours sends a pre-shared key along, for hubs of old.
_SPEAKS_NOISE: Final = re.compile(r"ThalovantPythonSDK/(?!0\.[0-4]\.)")
#: The states that an operation passes, each for the same part of its time.
_STATES: Final = ("requested", "committed", "applied", "ready")


def slug_of(name: str) -> str:
    """A name as it stands in an address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")


def begin(call: Call, kind: str, id: str, what: str, **details: Any) -> dict[str, Any]:
    """Begin an operation on something of a kind."""
    about = {"aggregate_type": kind, "aggregate_id": id, "details": details}
    body = {"kind": f"{kind}.{what}", **about, "began": call.parts.now, "delay": call.parts.admission_delay}
    return operation_json(call.parts, call.records.add("operation", body, owner=call.user, parent=id))


def operation_json(parts: Parts, record: Record) -> dict[str, Any]:
    """An operation as it is now."""
    body, last = dict(record.body), len(_STATES) - 1
    began, delay = body.pop("began"), body.pop("delay")
    reached = last if delay <= 0 else max(0, min(last, int((parts.now - began) / delay * last)))
    passed = [datetime.datetime.fromtimestamp(began + delay * step / last, datetime.UTC) for step in range(last + 1)]
    times = [stamp(time) if step <= reached else None for step, time in enumerate(passed)]
    return {
        "id": record.id, **body, "status": _STATES[reached], "git_commit_sha": None, "error_code": None,
        "error_message": None, "created_at": record.created, "updated_at": times[reached], "committed_at": times[1],
        "applied_at": times[2], "ready_at": times[3], "terminal_at": times[3],
        "links": {"self": f"/v1/operations/{record.id}"},
    }  # fmt: skip


@route("GET /v1/operations/{}")
def get_operation(call: Call, operation_id: str) -> dict[str, Any]:
    """How far an operation is."""
    return operation_json(call.parts, call.own("operation", operation_id))


def client_json(parts: Parts, record: Record) -> dict[str, Any]:
    """A client as its owner sees it."""
    shown = record.shown(is_locked=False)
    del shown["client_name"]
    return {**shown, "operation": operation_json(parts, parts.records["operation", shown.pop("operation_id")])}


@route("POST /v1/clients", scope="clients:write", body=CLIENT, status=201)
def create_client(call: Call, body: Any) -> dict[str, Any]:
    """Make a client of a hub. Its identity, secrets included, is only in this answer."""
    hub, parts, id = call.seen_hub(body.hub_id), call.parts, str(uuid.uuid4())
    _check_limits(call, body, hub)
    wanted = " ".join(body.name.replace("::", ":").split())[:MAX_NAME].strip()
    name = wanted if wanted not in parts.hub.clients else f"{wanted[: MAX_NAME - 9]}-{id[:8]}"
    site_id = body.spec.siteId or re.sub(r"[\s_]+", "-", body.name.strip())
    # Those that make a pre-shared key know no Noise, unless they are known to; they prove their password.
    generation = 1 if body.spec.cryptoKey and not _SPEAKS_NOISE.match(call.header("user-agent")) else 3
    key, password = body.spec.apiKey, body.spec.password
    try:
        identity = parts.hub.add_client(name, generation=generation, site_id=site_id, access_key=key, password=password)
    except ValueError:
        raise Problem(409, "Another client has this access key: make another one", code="access_key_taken") from None
    given = {key: value for key, value in call.json().get("spec", {}).items() if key not in _SECRETS}
    references = {f"{key}Ref": f"hub:clients/{id}/{key}" for key in _SECRETS[: 3 if body.spec.cryptoKey else 2]}
    kept = {
        "hub_id": hub.id, "name": body.name, "slug": slug_of(body.name), "active": body.active, "client_name": name,
        "spec": {**redact_values(given), "version": body.spec.version, "siteId": site_id, **references},
        "operation_id": begin(call, "client", id, "sync", reason="create")["id"],
    }  # fmt: skip
    made = call.records.add("client", kept, id=id, owner=call.user, parent=hub.id)
    hold(parts, made)
    master = parts.hub.endpoints["wss"]
    values = {**identity.as_dict(include_secrets=True), "default_master": master, "default_port": _port(master)}
    told = {key: value for key, value in values.items() if value is not None}
    return {**client_json(parts, made), "initial_identify": told}


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def hold(parts: Parts, client: Record) -> None:
    """Keep a client out of the hub until its operation is ready, or for good if it is not active."""
    operation = parts.records["operation", client.body["operation_id"]].body
    until = operation["began"] + operation["delay"] if client.body["active"] else math.inf
    if until > parts.now:
        parts.held[client.body["client_name"]] = until


def _check_limits(call: Call, body: Any, hub: Record) -> None:
    if body.owner_id not in (None, call.user):
        raise Problem(403, "Clients are made for one's own account", code="foreign_owner")
    mine = call.records.select("kind = 'client' AND owner = ?", call.user)
    most = call.account.body.get("max_clients")
    if most is not None and len(mine) >= most:
        told = {"code": "plan_limit", "resource": "client", "limit": most, "used": len(mine)}
        raise Problem(403, f"This plan has {most} clients, and all are taken.", **told)
    linked = [one.id for one in mine if one.parent == hub.id and one.body["spec"].get("connection_type") == _LINKED]
    if body.spec.connection_type == _LINKED and linked:
        told = {"code": "home_assistant_already_linked", "client_id": linked[0]}
        raise Problem(409, "This hub is linked to Home Assistant already", **told)


@route("GET /v1/clients", scope="clients:read")
def list_clients(call: Call) -> dict[str, Any]:
    """The clients of an account."""
    where, values = "kind = 'client' AND owner = ?", [call.mine]
    if hub := call.query.get("hub_id"):
        where, values = f"{where} AND parent = ?", [*values, hub]
    page = call.listed(lambda one: client_json(call.parts, one), where, *values)
    if call.query.get("include_spec") == "false":
        page["data"] = [{key: value for key, value in one.items() if key != "spec"} for one in page["data"]]
    return page


@route("GET /v1/clients/{}", scope="clients:read")
def get_client(call: Call, client_id: str) -> dict[str, Any]:
    """One client."""
    return client_json(call.parts, call.own("client", client_id))


@route("DELETE /v1/clients/{}", scope="clients:write", status=204)
def delete_client(call: Call, client_id: str) -> None:
    """Remove a client, and close its connections."""
    client = call.own("client", client_id)
    call.check_etag(client)
    drop_clients(call.parts, "seq = ?", client.seq)


def drop_clients(parts: Parts, where: str, *values: object) -> None:
    """Remove clients from the API and from the hub."""
    for client in parts.records.select(where, *values):
        parts.records.remove("seq = ?", client.seq)
        parts.hub.remove_client(client.body["client_name"])
        parts.held.pop(client.body["client_name"], None)
