"""The calls of the control plane: what each sends, pages, types of answers, sessions of the user's, and both planes."""

from __future__ import annotations

import asyncio
import base64
import gc
import inspect
import itertools
import threading
import tracemalloc

import pytest

import thalovant.control
from thalovant import (
    AsyncThalovantControlPlane,
    HubSkill,
    ThalovantAPIError,
    ThalovantControlPlane,
    ThalovantTimeoutError,
)
from thalovant.control import HubResource, endpoint_from_domain

from .control_lab import TOKEN, Api, Ask, Caller, Reply, requests_like, serving
from .lab import PATIENCE

ROW = {"skill": "s", "state": "installed", "version": "1", "changelog": None, "unknown": 1}
ACCEPTED = {"operation_id": "op-1", "skill": "s", "version": "1", "state": "installing", "hub_id": "h"}
RELEASE = {"channel": "stable", "reason": "r"}


def ended(status: str = "ready", **fields: object) -> dict[str, object]:
    return {"id": "op-1", "kind": "k", "aggregate_type": "hub", "status": status, **fields}


@pytest.mark.parametrize(
    ("call", "line", "body"),
    [
        (("list_public_hubs", {}), "GET /v1/public/hubs?limit=24", None),
        (("list_public_hubs", {"limit": 3, "cursor": "n"}), "GET /v1/public/hubs?limit=3&cursor=n", None),
        (("get_public_hub", "joke garden", {}), "GET /v1/public/hubs/joke%20garden", None),
        (("list_hubs", {"cursor": " "}), "GET /v1/hubs?limit=100", None),
        (("list_hubs", {"owner_id": "o"}), "GET /v1/hubs?limit=100&owner_id=o", None),
        (("get_hub", "a/../b", {}), "GET /v1/hubs/a%2F..%2Fb", None),
        (("get_hub", "..", {}), "GET /v1/hubs/%2E%2E", None),
        (("create_hub", {"name": "x"}, {}), "POST /v1/hubs", {"name": "x"}),
        (("update_hub", "h", {"name": "x"}, {"etag": "e"}), "PATCH /v1/hubs/h If-Match=e", {"name": "x"}),
        (("delete_hub", "h", {"etag": "e"}), "DELETE /v1/hubs/h If-Match=e", None),
        (("release_hub", "h", RELEASE), "POST /v1/hubs/h/release", RELEASE),
        (("set_hub_rating", "h", 4, {}), "PUT /v1/hubs/h/rating", {"rating": 4}),
        (("clear_hub_rating", "h", {}), "DELETE /v1/hubs/h/rating", None),
        (("get_hub_runtime_capabilities", "h", {}), "GET /v1/hubs/h/runtime-capabilities", None),
        (("list_hub_skill_history", "h", {}), "GET /v1/hubs/h/skills/history?limit=50", None),
        (("list_runtime_groups", {"owner_id": "o"}), "GET /v1/runtime-groups?owner_id=o", None),
        (("get_runtime_group", "g", {}), "GET /v1/runtime-groups/g", None),
        (("create_runtime_group", {"a": 1}, {}), "POST /v1/runtime-groups", {"a": 1}),
        (("update_runtime_group", "g", {"a": 1}, {}), "PATCH /v1/runtime-groups/g", {"a": 1}),
        (("delete_runtime_group", "g", {}), "DELETE /v1/runtime-groups/g", None),
        (("get_runtime_group_config", "g", {}), "GET /v1/runtime-groups/g/config", None),
        (("release_runtime_group", "g", {"images": {}}), "POST /v1/runtime-groups/g/release", {"images": {}}),
        (
            ("install_runtime_group_skill", "g", "s", {"version_pin": "1", "active": False}),
            "POST /v1/runtime-groups/g/skills",
            {"skill_id": "s", "source_type": "catalog", "active": False, "version_pin": "1"},
        ),
        (("uninstall_runtime_group_skill", "g", "s/x", {}), "DELETE /v1/runtime-groups/g/skills/s%2Fx", None),
        (("list_runtime_group_marketplace", "g", {}), "GET /v1/runtime-groups/g/marketplace", None),
        (
            ("list_runtime_group_inventory", "g", {"refresh": True}),
            "GET /v1/runtime-groups/g/inventory?refresh=true",
            None,
        ),
        (("list_marketplace_skills", {"force_refresh": True}), "GET /v1/marketplace/skills?force_refresh=true", None),
        (("list_clients", {"include_spec": False}), "GET /v1/clients?limit=100&include_spec=false", None),
        (("get_client", "c", {}), "GET /v1/clients/c", None),
        (("create_client", {"a": 1}, {}), "POST /v1/clients", {"a": 1}),
        (("get_profile", {}), "GET /v1/users/profile", None),
        (
            ("list_memory_items", {"query": "tea", "limit": 3, "offset": 0}),
            "GET /v1/memory?q=tea&limit=3&offset=0",
            None,
        ),
        (("get_memory_item", "m", {}), "GET /v1/memory/m", None),
        (("create_memory_item", {"hubId": "h", "aB": 1}, {}), "POST /v1/memory", {"hub_id": "h", "aB": 1}),
        (("update_memory_item", "m", {"expiresAt": None}, {}), "PATCH /v1/memory/m", {"expires_at": None}),
        (("delete_memory_item", "m", {}), "DELETE /v1/memory/m", None),
        (("get_memory_summary", {}), "GET /v1/memory/summary", None),
        (("get_analytics_overview", {"hour": 0, "intent": ""}), "GET /v1/analytics/overview?hour=0", None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_request(asking: Ask, call, line, body):
    """Method, path, query, body and headers of each call; what comes back is given as it is."""
    *arguments, options = call
    method = arguments.pop(0)
    api, plane = asking({"data": {"id": 1}, "more": [2]})

    result = plane(method, *arguments, **options)

    [sent] = api.sent
    assert (str(sent), sent.json) == (line, body)
    public = "public" in line
    assert sent.headers.get("authorization") == (None if public else f"Bearer {TOKEN}")
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["user-agent"] == thalovant.control.DEFAULT_CONTROL_USER_AGENT
    assert sent.headers.get("content-type") == (None if body is None else "application/json")
    assert ("idempotency-key" in sent.headers) == (method in ("create_hub", "create_client"))
    expected = {"get_profile": {"id": 1}}.get(method, {"data": {"id": 1}, "more": [2]})
    assert result == (None if method.startswith(("delete_", "uninstall_")) else expected)


def page(number: int, following: object, where: str = "meta") -> Reply:
    rows = [{"id": str(10 * number + each)} for each in range(10)]
    return Reply(200, {"data": rows, where: {"next": following}})


@pytest.mark.parametrize("method", ["iter_hubs", "iter_public_hubs", "iter_clients"])
def test_iterators(asking: Ask, method):
    """All pages, each asked for when its turn comes, by cursor, link or header."""
    linked = {"Link": '</v1/x?limit=10&cursor=c3>; rel="next", </v1/x>; rel="last"'}
    third = page(2, None)._replace(headers=linked)
    api, plane = asking(page(0, "c1"), page(1, "/v1/x?cursor=c2&limit=10", "links"), third, page(3, None))

    rows = plane(method, limit=10)

    assert [row.id for row in rows] == [str(number) for number in range(40)]
    assert [sent.path.partition("cursor=")[2] for sent in api.sent] == ["", "c1", "c2", "c3"]


@pytest.mark.parametrize("reply", [page(0, "same"), Reply(200, {"data": {}}), Reply(200, {"data": [5]})])
def test_pages_without_end_or_rows(asking: Ask, reply):
    """Are errors."""
    _, plane = asking(reply)

    with pytest.raises(ThalovantAPIError):
        plane("iter_hubs")


def test_ten_thousand_hubs_in_constant_memory():
    """Of which a page is held at a time."""
    numbers = itertools.count()

    class Session:
        def request(self, method, url, **options):
            number = next(numbers)
            rows = [{"id": str(number), "text": "x" * 1000} for _ in range(100)]
            return requests_like({"data": rows, "meta": {"next": str(number) if number < 99 else None}})

    plane = ThalovantControlPlane(access_token=TOKEN, session=Session())
    tracemalloc.start()
    try:
        count = sum(1 for _ in plane.iter_hubs())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 10_000
    assert most < 3_000_000


def test_resources():
    """Dicts with all that the API said, whose known fields are attributes of their type."""
    hub = HubResource({"id": "h", "name": 5, "new": [1]})

    assert (hub == {"id": "h", "name": 5, "new": [1]}, hub["new"], hub.id, hub.title) == (True, [1], "h", None)
    with pytest.raises(ThalovantAPIError, match=r"no str.*HubResource\.name"):
        hub.name
    with pytest.raises(AttributeError, match="new"):
        hub.new


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"hub_id": "h", "data": [ROW]}, None),
        ({"hub_id": "h", "data": "x"}, "listing shape"),
        ({"data": [ROW]}, "missing hub_id"),
        ({"hub_id": "h", "data": [ROW, 5]}, "row shape"),
        ({"hub_id": "h", "data": [{**ROW, "state": None}]}, "missing state"),
        ({"hub_id": "h", "data": [{**ROW, "state": "odd"}]}, r"HubSkill\.state"),
        ({"hub_id": "h", "data": [{**ROW, "active": "yes"}]}, r"no bool.*HubSkill\.active"),
    ],
)
def test_skills_of_a_hub(asking: Ask, body, text):
    """Whole, or an error that names what is wrong."""
    _, plane = asking(body)

    if text is None:
        assert plane("list_hub_skills", "h").data == [HubSkill("s", "installed", version="1")]
        return
    with pytest.raises(ThalovantAPIError, match=text):
        plane("list_hub_skills", "h")


@pytest.mark.parametrize(
    ("call", "line", "found", "state"),
    [
        (("install_hub_skill", {}), "POST /v1/hubs/h/skills", [], "installing"),
        (("install_hub_skill", {"wait": True}), "POST /v1/hubs/h/skills", [ended("applied"), ended()], "installed"),
        (("remove_hub_skill", {"wait": True}), "DELETE /v1/hubs/h/skills/s%2Fx", [ended()], "removed"),
        (("update_hub_skill", {"version": "2", "wait": True}), "PATCH /v1/hubs/h/skills/s%2Fx", [ended()], "installed"),
    ],
)
def test_changes_of_skills(asking: Ask, call, line, found, state):
    """What was taken on, or with `wait` what has come of it."""
    method, options = call
    accepted = {**ACCEPTED, "state": {"remove": "removing"}.get(method[:6], "installing"), "operation": {"odd": 1}}
    api, plane = asking(accepted, *found)

    change = plane(method, "h", "s/x", **options)

    assert (change.state, change.operation_id, change["skill"]) == (state, "op-1", "s")
    assert [*map(str, api.sent)] == [line, *["GET /v1/operations/op-1"] * len(found)]
    assert plane.pauses == [2.0] * (len(found) - 1)
    assert (change.operation is not None) == bool(found)


@pytest.mark.parametrize(
    ("replies", "kind", "text"),
    [
        ([{}], ThalovantAPIError, "missing operation_id"),
        ([ACCEPTED, ended("failed", error_code="E")], ThalovantAPIError, r"for s failed: E \(operation op-1\)"),
        ([ACCEPTED, ended("timed_out")], ThalovantAPIError, "failed: timed_out"),
        ([ACCEPTED, ended("applied")], ThalovantTimeoutError, r"Timed out after 5s .* \(s, operation op-1\)"),
    ],
)
def test_changes_of_skills_that_fail(asking: Ask, replies, kind, text):
    """In the operation's own words."""
    _, plane = asking(*replies)

    with pytest.raises(kind, match=text):
        plane("install_hub_skill", "h", "s", wait=True, timeout=5)


OLD = {"revision": "r1", "config": {"a": {"b": 0, "c": 2}, "list": [1, 2]}, "personas": {"p": 1}}
PUT = {"config": {"a": {"b": 1, "c": 2}, "list": [3]}, "expected_revision": "r1"}


def test_merging_a_configuration(asking: Ask):
    """Into what is there, on condition that it still is; read again where it is not."""
    api, plane = asking(OLD, Reply(412), {"revision": "r2", "config": {"z": 1}}, {"ok": 1})

    assert plane("update_runtime_group_config", "g", {"a": {"b": 1}, "list": [3]}) == {"ok": 1}
    assert [sent.json for sent in api.sent[1::2]] == [
        PUT,
        {"config": {"z": 1, "a": {"b": 1}, "list": [3]}, "expected_revision": "r2"},
    ]


@pytest.mark.parametrize(
    ("replies", "options", "requests", "fails"),
    [
        ([OLD, Reply(412), OLD, Reply(412), OLD, Reply(412)], {}, ["GET", "PUT"] * 3, "HTTP 412"),
        ([OLD, Reply(503)], {}, ["GET", "PUT"], "HTTP 503"),
        ([{"config": {}}], {}, ["GET"], "does not support safe configuration merges"),
        ([{"ok": 1}], {"merge": False, "personas": {"p": 2}}, ["PATCH"], None),
    ],
)
def test_writing_a_configuration(asking: Ask, replies, options, requests, fails):
    """Three times at most; without `merge` once, whatever is there."""
    api, plane = asking(*replies)

    if fails:
        with pytest.raises(ThalovantAPIError, match=fails):
            plane("update_runtime_group_config", "g", {"a": 1}, **options)
    else:
        plane("update_runtime_group_config", "g", {"a": 1}, **options)
        assert api.sent[0].json == {"config": {"a": 1}, "personas": {"p": 2}}
    assert [sent.method for sent in api.sent] == requests


# --- sessions of the user's

# --- both planes


def _parts(cls: type) -> dict[str, object]:
    names = {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}
    return {"close" if name == "aclose" else name: value for name, value in names.items()}


def test_both_planes_are_alike():
    """Names, parameters, words."""
    ours, theirs = _parts(AsyncThalovantControlPlane), _parts(ThalovantControlPlane)

    assert ours.keys() == theirs.keys()
    for name, original in ours.items():
        if callable(original):
            assert inspect.signature(original).parameters == inspect.signature(theirs[name]).parameters
            assert original.__doc__ == theirs[name].__doc__
            assert not inspect.iscoroutinefunction(theirs[name])


@pytest.mark.parametrize(
    ("given", "environment", "url"),
    [
        ((), {}, "https://api.thalovant.com/"),
        ((" ",), {}, "https://api.thalovant.com/"),
        ((), {"THALOVANT_API_URL": "http://127.0.0.1:8089"}, "http://127.0.0.1:8089/"),
        (("https://dash.thalovant.com/api/v1/",), {"THALOVANT_API_URL": "http://x"}, "https://dash.thalovant.com/api/"),
    ],
)
def test_address_and_token(monkeypatch, given, environment, url):
    """As an argument, else of the environment, else the usual one; all can be changed later."""
    monkeypatch.delenv("THALOVANT_API_URL", raising=False)
    for name, value in {"THALOVANT_API_TOKEN": "of-the-environment", **environment}.items():
        monkeypatch.setenv(name, value)

    for cls in (ThalovantControlPlane, AsyncThalovantControlPlane):
        plane = cls(*given)
        assert (plane.api_url, plane.access_token, plane.timeout, plane.session) == (
            url,
            "of-the-environment",
            10.0,
            None,
        )
        plane.access_token, plane.token_id = "another", "id"
        assert (plane.access_token, plane.token_id) == ("another", "id")
        assert cls(access_token="mine").access_token == "mine"
        assert "another" not in repr(plane)


def test_many_threads_share_a_plane():
    """Each gets its own answer."""
    found: list[str] = []
    with serving(Api({"id": "h"})) as api, ThalovantControlPlane(api.url, access_token=TOKEN) as plane:
        threads = [threading.Thread(target=lambda: found.append(plane.get_hub("h").id)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert (found, len(api.sent)) == (["h"] * 8, 8)


def test_a_plane_that_is_forgotten():
    """Takes its thread with it, and its sockets."""
    with serving(Api({"id": "h"})) as api:
        plane = ThalovantControlPlane(api.url, access_token=TOKEN)
        plane.get_hub("h")
        [thread] = [one for one in threading.enumerate() if one.name == "thalovant-control-plane"]

        del plane
        gc.collect()

        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_plane_on_one_loop_after_another():
    """Has a client of its own on each."""
    with serving(Api({"id": "h"})) as api:
        plane = AsyncThalovantControlPlane(api.url, access_token=TOKEN)

        async def ask() -> str:
            async with plane:
                return (await plane.get_hub("h")).id

        assert [asyncio.run(ask()) for _ in range(2)] == ["h", "h"]


def test_names_of_older_releases():
    """Are where they were."""
    assert thalovant.control.ThalovantAPIError is ThalovantAPIError
    assert endpoint_from_domain("https://jokes.thalovant.io/", "https") == "https://jokes.thalovant.io"
    assert (endpoint_from_domain("jokes.thalovant.io", "mqtt"), endpoint_from_domain(" ", "wss")) == ("", "")
    assert thalovant.control.json_dumps({"é": 1}) == '{"\\u00e9": 1}'
    assert base64.urlsafe_b64decode(Caller("sync", "https://x").account.secret() + "=")
