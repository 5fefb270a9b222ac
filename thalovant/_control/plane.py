"""Base of the asynchronous plane: how its methods send, and the calls to hubs and what belongs to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..errors import ThalovantAPIError
from ..resources import HubResource, HubSkillList, HubSkillOperation, Page, Resource
from .account import Account, given, part
from .answers import read
from .clients import merged_config
from .flows import Flow, Request
from .transports import Transport, run
from .waiting import skill_change

R = TypeVar("R")
ResourceT = TypeVar("ResourceT", bound=Resource)


class Plane:
    """What all calls share."""

    _account: Account
    _transport: Transport

    async def _run(self, flow: Flow[R]) -> R:
        return await run(flow, self._transport, self._account)

    async def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return await self._run(self._account.call(Request(method=method, path=path, **options)))

    async def _create(self, path: str, payload: Mapping[str, Any], key: str | None) -> dict[str, Any]:
        return await self._send("POST", path, json=dict(payload), headers=self._account.key(key))

    async def _page(self, path: str, auth: bool = True, **query: Any) -> Page:
        return await self._run(_page(self._account, Request(method="GET", path=path, query=given(**query), auth=auth)))

    async def _rows(
        self, kind: type[ResourceT], load: Callable[[str | None], Awaitable[Page]]
    ) -> AsyncIterator[ResourceT]:
        """The rows of all pages, of which one is held at a time."""
        cursor: str | None = None
        while True:
            page = await load(cursor)
            rows = page.get("data")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ThalovantAPIError(
                    "Thalovant API returned an unexpected response shape: data is no list of objects."
                )
            for row in rows:
                yield kind(row)
            if (following := page.next) is None:
                return
            if following == cursor:
                raise ThalovantAPIError("Thalovant API returned a page that is followed by itself.")
            cursor = following


def _page(account: Account, request: Request) -> Flow[Page]:
    answer = yield from account.attempted(request)
    page = Page(read(answer, account.secrets(request)))
    page._link = answer.header("link")
    return page


class Hubs(Plane):
    """Hubs, their skills and releases."""

    async def list_public_hubs(self, *, limit: int = 24, cursor: str | None = None) -> Page:
        """One page of the hubs that everybody may see; no sign-in is needed.

        Example:
            >>> [hub["slug"] for hub in api.list_public_hubs(limit=12)["data"]]
            ['joke-garden']
        """
        return await self._page("v1/public/hubs", auth=False, limit=limit, cursor=cursor)

    def iter_public_hubs(self, *, limit: int = 24) -> AsyncIterator[HubResource]:
        """All public hubs, page by page, `limit` in each."""
        return self._rows(HubResource, lambda cursor: self.list_public_hubs(limit=limit, cursor=cursor))

    async def get_public_hub(self, hub_ref: str) -> HubResource:
        """A public hub by its slug, public reference or id."""
        return HubResource(await self._send("GET", f"v1/public/hubs/{part(hub_ref)}", auth=False))

    async def list_hubs(self, *, limit: int = 100, cursor: str | None = None, owner_id: str | None = None) -> Page:
        """One page of the hubs that this account may see: `page["data"]`, and `page.next`, the cursor of the next."""
        return await self._page("v1/hubs", limit=limit, cursor=cursor, owner_id=owner_id)

    def iter_hubs(self, *, limit: int = 100, owner_id: str | None = None) -> AsyncIterator[HubResource]:
        """All hubs that this account may see, page by page, `limit` in each.

        Example:
            >>> for hub in api.iter_hubs():
            ...     print(hub.id, hub.name)
        """
        return self._rows(HubResource, lambda cursor: self.list_hubs(limit=limit, cursor=cursor, owner_id=owner_id))

    async def get_hub(self, hub_id: str) -> HubResource:
        """A hub by its id."""
        return HubResource(await self._send("GET", f"v1/hubs/{part(hub_id)}"))

    async def create_hub(self, payload: Mapping[str, Any], *, idempotency_key: str | None = None) -> HubResource:
        """Create a hub; `payload` needs a `name` and a `spec` with its `version`."""
        return HubResource(await self._create("v1/hubs", payload, idempotency_key))

    async def update_hub(self, hub_id: str, payload: Mapping[str, Any], *, etag: str) -> HubResource:
        """Change a hub, if it is still the one with that `etag`."""
        hub = await self._send("PATCH", f"v1/hubs/{part(hub_id)}", json=dict(payload), headers={"If-Match": etag})
        return HubResource(hub)

    async def delete_hub(self, hub_id: str, *, etag: str) -> None:
        """Delete a hub, if it is still the one with that `etag`."""
        await self._send("DELETE", f"v1/hubs/{part(hub_id)}", headers={"If-Match": etag})

    async def release_hub(
        self, hub_id: str, *, channel: str | None = None, mode: str | None = None, version: str | None = None,
        images: Mapping[str, str] | None = None, reason: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Roll out a release to a hub."""
        return await self._release(f"v1/hubs/{part(hub_id)}", channel, mode, version, images, reason)

    async def _release(self, path: str, *values: Any) -> dict[str, Any]:
        named = zip(("channel", "mode", "version", "images", "reason"), values, strict=True)
        return await self._send(
            "POST", f"{path}/release", json={key: value for key, value in named if value is not None}
        )

    async def set_hub_rating(self, hub_id: str, rating: int) -> dict[str, Any]:
        """Rate a hub."""
        return await self._send("PUT", f"v1/hubs/{part(hub_id)}/rating", json={"rating": rating})

    async def clear_hub_rating(self, hub_id: str) -> dict[str, Any]:
        """Take a rating back."""
        return await self._send("DELETE", f"v1/hubs/{part(hub_id)}/rating")

    async def get_hub_runtime_capabilities(self, hub_id: str) -> dict[str, Any]:
        """What a hub can do; `source` says whether it was asked just now (`ovos-runtime`)."""
        return await self._send("GET", f"v1/hubs/{part(hub_id)}/runtime-capabilities")

    async def list_hub_skills(self, hub_id: str) -> HubSkillList:
        """The skills of a hub. Raises `ThalovantAPIError` for rows that are malformed, and drops none."""
        return HubSkillList.from_dict(await self._send("GET", f"v1/hubs/{part(hub_id)}/skills"))

    async def install_hub_skill(
        self, hub_id: str, skill: str, *, version: str = "latest", wait: bool = False, timeout: float = 120.0
    ) -> HubSkillOperation:
        """Install a skill; with `wait` until it is there, `timeout` seconds at most."""
        body = {"skill": skill, "version": version}
        return await self._change(
            Request(method="POST", path=f"v1/hubs/{part(hub_id)}/skills", json=body), wait, timeout
        )

    async def update_hub_skill(
        self, hub_id: str, skill: str, *, version: str, wait: bool = False, timeout: float = 120.0
    ) -> HubSkillOperation:
        """Bring a skill to another version; with `wait` until it is there, `timeout` seconds at most."""
        path = f"v1/hubs/{part(hub_id)}/skills/{part(skill)}"
        return await self._change(Request(method="PATCH", path=path, json={"version": version}), wait, timeout)

    async def remove_hub_skill(
        self, hub_id: str, skill: str, *, wait: bool = False, timeout: float = 120.0
    ) -> HubSkillOperation:
        """Remove a skill; with `wait` until it is gone, `timeout` seconds at most."""
        path = f"v1/hubs/{part(hub_id)}/skills/{part(skill)}"
        return await self._change(Request(method="DELETE", path=path), wait, timeout)

    async def _change(self, request: Request, wait: bool, timeout: float) -> HubSkillOperation:
        accepted = HubSkillOperation.from_dict(await self._run(self._account.call(request)))
        if not wait:
            return accepted
        return await self._run(skill_change(self._account, accepted, timeout, self._transport.now()))

    async def list_hub_skill_history(self, hub_id: str, *, limit: int = 50) -> dict[str, Any]:
        """What was done to the skills of a hub, latest first."""
        return await self._send("GET", f"v1/hubs/{part(hub_id)}/skills/history", query={"limit": limit})


class Runtimes(Hubs):
    """Runtime groups, the marketplace, memory, analytics."""

    async def list_runtime_groups(self, *, owner_id: str | None = None) -> dict[str, Any]:
        """The runtime groups of this account."""
        return await self._send("GET", "v1/runtime-groups", query=given(owner_id=owner_id))

    async def get_runtime_group(self, runtime_group_id: str) -> dict[str, Any]:
        """A runtime group by its id."""
        return await self._send("GET", f"v1/runtime-groups/{part(runtime_group_id)}")

    async def create_runtime_group(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Create a runtime group."""
        return await self._send("POST", "v1/runtime-groups", json=dict(payload))

    async def update_runtime_group(self, runtime_group_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Change a runtime group."""
        return await self._send("PATCH", f"v1/runtime-groups/{part(runtime_group_id)}", json=dict(payload))

    async def delete_runtime_group(self, runtime_group_id: str) -> None:
        """Delete a runtime group."""
        await self._send("DELETE", f"v1/runtime-groups/{part(runtime_group_id)}")

    async def get_runtime_group_config(self, runtime_group_id: str) -> dict[str, Any]:
        """The configuration of a runtime group, with its `revision`."""
        return await self._send("GET", f"v1/runtime-groups/{part(runtime_group_id)}/config")

    async def update_runtime_group_config(
        self, runtime_group_id: str, config: Mapping[str, Any], *, personas: Mapping[str, Any] | None = None,
        merge: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Change a configuration: objects merge, lists are replaced; three tries if others change it meanwhile.

        Without `merge` it takes the place of what is there, whatever that is.
        """
        path = f"v1/runtime-groups/{part(runtime_group_id)}/config"
        if merge:
            return await self._run(merged_config(self._account, path, config, personas))
        body = {"config": dict(config), **({} if personas is None else {"personas": dict(personas)})}
        return await self._send("PATCH", path, json=body)

    async def release_runtime_group(
        self, runtime_group_id: str, *, channel: str | None = None, mode: str | None = None,
        version: str | None = None, images: Mapping[str, str] | None = None, reason: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Roll out a release to a runtime group."""
        path = f"v1/runtime-groups/{part(runtime_group_id)}"
        return await self._release(path, channel, mode, version, images, reason)

    async def install_runtime_group_skill(
        self, runtime_group_id: str, skill_id: str, *, marketplace_skill_id: str | None = None,
        source_type: str = "catalog", source_ref: str | None = None, version_pin: str | None = None,
        active: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Add a skill to a runtime group."""
        optional = given(marketplace_skill_id=marketplace_skill_id, source_ref=source_ref, version_pin=version_pin)
        body = {"skill_id": skill_id, "source_type": source_type, "active": active, **optional}
        return await self._send("POST", f"v1/runtime-groups/{part(runtime_group_id)}/skills", json=body)

    async def uninstall_runtime_group_skill(self, runtime_group_id: str, skill_id: str) -> None:
        """Take a skill from a runtime group."""
        await self._send("DELETE", f"v1/runtime-groups/{part(runtime_group_id)}/skills/{part(skill_id)}")

    async def list_runtime_group_marketplace(
        self, runtime_group_id: str, *, refresh_inventory: bool = False
    ) -> dict[str, Any]:
        """The skills that a runtime group can have."""
        path = f"v1/runtime-groups/{part(runtime_group_id)}/marketplace"
        return await self._send("GET", path, query=_flags(refresh_inventory=refresh_inventory))

    async def list_runtime_group_inventory(self, runtime_group_id: str, *, refresh: bool = False) -> dict[str, Any]:
        """The skills that a runtime group has."""
        path = f"v1/runtime-groups/{part(runtime_group_id)}/inventory"
        return await self._send("GET", path, query=_flags(refresh=refresh))

    async def list_marketplace_skills(
        self, *, owner_id: str | None = None, include_inactive: bool = False, force_refresh: bool = False
    ) -> dict[str, Any]:
        """The skills of the marketplace."""
        flags = _flags(include_inactive=include_inactive, force_refresh=force_refresh)
        return await self._send("GET", "v1/marketplace/skills", query={**given(owner_id=owner_id), **flags})

    async def list_memory_items(
        self, *, scope: str | None = None, kind: str | None = None, owner_id: str | None = None,
        hub_id: str | None = None, query: str | None = None, include_deleted: bool = False,
        include_expired: bool = False, limit: int | None = None, offset: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What hubs remember; `query` is searched for."""
        flags = _flags(include_deleted=include_deleted, include_expired=include_expired)
        told = given(scope=scope, kind=kind, owner_id=owner_id, hub_id=hub_id, q=query, limit=limit, offset=offset)
        return await self._send("GET", "v1/memory", query={**told, **flags})

    async def get_memory_item(self, memory_id: str) -> dict[str, Any]:
        """Something remembered, by its id."""
        return await self._send("GET", f"v1/memory/{part(memory_id)}")

    async def create_memory_item(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Remember something."""
        return await self._send("POST", "v1/memory", json=_spelled(payload))

    async def update_memory_item(self, memory_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Change what is remembered."""
        return await self._send("PATCH", f"v1/memory/{part(memory_id)}", json=_spelled(payload))

    async def delete_memory_item(self, memory_id: str) -> None:
        """Forget something."""
        await self._send("DELETE", f"v1/memory/{part(memory_id)}")

    async def get_memory_summary(self, *, owner_id: str | None = None) -> dict[str, Any]:
        """How much is remembered."""
        return await self._send("GET", "v1/memory/summary", query=given(owner_id=owner_id))

    async def get_analytics_overview(
        self, *, range: str | None = None, bucket: str | None = None, hub_id: str | None = None,
        client_id: str | None = None, country: str | None = None, message: str | None = None,
        utterance: str | None = None, intent: str | None = None, time_start: str | None = None,
        time_end: str | None = None, weekday: int | None = None, hour: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What was asked of hubs, counted."""
        query = given(**{name: value for name, value in locals().items() if name != "self"})
        return await self._send("GET", "v1/analytics/overview", query=query)


#: Fields of memory that the API spells with an underscore, and programs also in camel case.
_SPELLINGS = {"ownerId": "owner_id", "hubId": "hub_id", "expiresAt": "expires_at"}


def _spelled(payload: Mapping[str, Any]) -> dict[str, Any]:
    camel = {_SPELLINGS[key]: value for key, value in payload.items() if key in _SPELLINGS}
    return {**{key: value for key, value in payload.items() if key not in _SPELLINGS}, **camel}


def _flags(**values: bool) -> dict[str, str]:
    return {name: "true" for name, value in values.items() if value}
