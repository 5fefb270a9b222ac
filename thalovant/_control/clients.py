"""Flows that make and delete clients of a hub, identity included, and change what cannot be changed blindly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import ThalovantAPIError, ThalovantUnsupportedConnectionTypeError, shortened
from ..identity import ThalovantIdentity
from ..protocols import HubDataPlaneEndpoints, HubProtocol, HubProtocolSettings, select_data_plane_endpoint
from ..resources import BootstrapIdentityResult, ClientResource, HubResource, OperationResource, kind_of
from .account import Account, missing, part
from .flows import Flow, Request

MERGES = 3  # attempts to change a configuration that somebody else changes too
_KEYS = ("access_key", "key", "api_key", "apiKey")


def identity(
    account: Account, hub: str | Mapping[str, Any], body: dict[str, Any], site_id: str | None,
    preferred_protocols: Iterable[HubProtocol], idempotency_key: str | None, connection_type: str | None,
) -> Flow[BootstrapIdentityResult]:  # fmt: skip
    """A client with secrets made here, and its identity."""
    if not isinstance(hub, Mapping):
        hub = yield from account.call(Request(method="GET", path=f"v1/hubs/{part(hub)}"))
    hub_id = missing(hub, "id")
    secrets = {"apiKey": account.secret(), "password": account.secret(), "cryptoKey": account.secret()}
    site = site_id if site_id is not None and site_id.strip() else body["name"]
    site = re.sub(r"\s+", "-", site.strip().replace("_", "-")) or f"thalovant-client-{account.entropy(4).hex()}"
    spec = {"version": "1", **body.get("spec", {}), **secrets, "siteId": site}
    if connection_type is not None:
        spec["connection_type"] = connection_type
    headers, body = account.key(idempotency_key), {"hub_id": hub_id, **body, "spec": spec}
    try:
        client = yield from account.call(Request(method="POST", path="v1/clients", json=body, headers=headers))
    except ThalovantAPIError as error:
        if connection_type is not None and error.status_code == 422 and _names_the_type(error):
            details = {"code": error.code, "detail": error.detail, "problem": error.problem}
            raise _unsupported(str(error), status_code=422, **details) from None
        raise
    made = ClientResource(client)
    if connection_type is not None and (kind := kind_of(made)) != connection_type:
        yield from _undone(account, made, connection_type, kind)
    operation = client.get("operation")
    return BootstrapIdentityResult(
        identity=_identity(hub, client, secrets, site),
        hub=HubResource(hub),
        client=made,
        endpoint=select_data_plane_endpoint(
            HubDataPlaneEndpoints.from_hub(hub), HubProtocolSettings.from_mapping(hub), preferred_protocols
        ),
        operation=OperationResource.from_dict(operation) if isinstance(operation, Mapping) else None,
    )


def _undone(account: Account, made: ClientResource, wanted: str, kind: str | None) -> Flow[None]:
    """Delete a client of another kind than was asked for, and say so."""
    left, etag = "", made.get("etag")
    try:
        yield from delete(account, missing(made, "id"), etag if isinstance(etag, str) and etag else None)
    except ThalovantAPIError:
        left = f" Deleting the connection it made instead ({made.get('id')}) failed; remove it in the dashboard."
    answered = shortened(kind or "no type")
    raise _unsupported(f"The Thalovant API did not make a {wanted!r} connection (it answered {answered!r}).{left}")


def _unsupported(message: str, **details: Any) -> ThalovantUnsupportedConnectionTypeError:
    return ThalovantUnsupportedConnectionTypeError(message, **details)


def _names_the_type(error: ThalovantAPIError) -> bool:
    """Whether a refusal is about the kind of connection, and does not only repeat it."""
    problem = error.problem or {}
    entries = [entry for key in ("errors", "detail") if isinstance(found := problem.get(key), list) for entry in found]
    told = [error.code, error.detail]
    for entry in entries:
        if isinstance(entry, Mapping):
            loc = entry.get("loc")
            told += [*loc] if isinstance(loc, list) else [loc]
            told.append(entry.get("msg"))
    return any(isinstance(text, str) and "connection_type" in text for text in told)


def _identity(
    hub: Mapping[str, Any], client: Mapping[str, Any], secrets: Mapping[str, str], site: str
) -> ThalovantIdentity:
    endpoints, protocols = HubDataPlaneEndpoints.from_hub(hub), HubProtocolSettings.from_mapping(hub)
    initial = client.get("initial_identify")
    given = {key: value for key, value in initial.items() if value is not None} if isinstance(initial, Mapping) else {}
    ours: dict[str, Any] = {"password": secrets["password"], "site_id": site, "default_port": 443, "default_path": ""}
    if not any(given.get(key) for key in _KEYS):
        ours["access_key"] = secrets["apiKey"]
    if not given:
        ours["crypto_key"] = secrets["cryptoKey"]
    if not any(given.get(key) for key in ("default_master", "defaultMaster", "host")):
        ours["default_master"] = _master(hub, endpoints, protocols)
    where = {"data_plane_endpoints": endpoints.as_dict(include_secrets=True), "protocols": protocols.as_dict()}
    return ThalovantIdentity.from_mapping({**ours, **given, **where})


def _master(hub: Mapping[str, Any], endpoints: HubDataPlaneEndpoints, protocols: HubProtocolSettings) -> str:
    domain = hub.get("domain")
    host = re.sub(r"^\w+://", "", domain.strip()).rstrip("/") if isinstance(domain, str) else ""
    selected = select_data_plane_endpoint(endpoints, protocols)
    for url in (endpoints.https, host and f"https://{host}", selected and selected.endpoint):
        if url:
            parts = urlsplit(url if "://" in url else f"https://{url}")
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    raise ThalovantAPIError("Hub resource does not expose a usable data-plane endpoint.")


def delete(account: Account, client_id: str, etag: str | None) -> Flow[None]:
    """Delete a client, whoever changed it meanwhile; one that is not there is deleted."""
    path = f"v1/clients/{part(client_id)}"
    try:
        for last in (False, True):
            if etag is None:
                etag = missing((yield from account.call(Request(method="GET", path=path))), "etag")
            try:
                yield from account.call(Request(method="DELETE", path=path, headers={"If-Match": etag}))
                return
            except ThalovantAPIError as error:
                if error.status_code != 412 or last:
                    raise
                etag = None
    except ThalovantAPIError as error:
        if error.status_code != 404:
            raise


def merged_config(
    account: Account, path: str, config: Mapping[str, Any], personas: Mapping[str, Any] | None
) -> Flow[dict[str, Any]]:
    """Change a configuration in place, on condition that it is still the one that was read."""
    for attempt in range(1, MERGES + 1):
        snapshot = yield from account.call(Request(method="GET", path=path))
        revision = snapshot.get("revision")
        if isinstance(revision, bool) or not isinstance(revision, str | int) or revision == "":
            raise ThalovantAPIError(
                "This API does not support safe configuration merges; upgrade the API before retrying.",
                hint="merge=False replaces it, whatever is there.",
            )
        body = {"config": _merged(snapshot.get("config"), config), "expected_revision": revision}
        if personas is not None:
            body["personas"] = dict(personas)
        try:
            return (yield from account.call(Request(method="PUT", path=path, json=body)))
        except ThalovantAPIError as error:
            if error.status_code != 412 or attempt == MERGES:
                raise
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover


def _merged(old: object, change: Mapping[str, Any]) -> dict[str, Any]:
    """Objects merge, anything else is replaced."""
    kept = dict(old) if isinstance(old, Mapping) else {}
    for key, value in change.items():
        kept[key] = _merged(kept.get(key), value) if isinstance(value, Mapping) else value
    return kept
