"""Clients of hubs: made with their identity, of a kind, deleted, and waited for."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from thalovant import (
    CONNECTION_TYPE_HOME_ASSISTANT,
    AsyncThalovantClient,
    OperationResource,
    ThalovantAdmissionFailedError,
    ThalovantAdmissionTimeoutError,
    ThalovantAlreadyLinkedError,
    ThalovantAPIError,
    ThalovantAPIUnreachableError,
    ThalovantAuthError,
    ThalovantClient,
    ThalovantIdentity,
    ThalovantPlanError,
    ThalovantTimeoutError,
    ThalovantUnsupportedConnectionTypeError,
    ThalovantUnsupportedProtocolError,
)
from thalovant._control.transports import Transport

from .control_lab import PROBLEM, Ask, Reply
from .lab import Lab

HUB = {"id": "h1", "name": "Attic", "domain": "attic.hubs.example", "spec": {"protocols": {"wss": True, "http": True}}}
PATH = "/v1/operations/op-1"
SECRETS = ("hub-password-keep-out", "access-key-keep-out")


def operation(status: str = "requested", **fields: object) -> dict[str, object]:
    named = {"id": "op-1", "kind": "client.sync", "aggregate_type": "client", "aggregate_id": "c1"}
    times = {"created_at": "2026-09-27T10:00:00Z", "updated_at": "2026-09-27T10:00:00Z", "ready_at": None}
    return {**named, "status": status, "details": {"reason": "create"}, **times, "links": {"self": PATH}, **fields}


def client(kind: str | None = "home_assistant", **fields: object) -> dict[str, object]:
    initial = {
        "password": SECRETS[0],
        "access_key": SECRETS[1],
        "site_id": "attic",
        "default_port": 443,
        "default_master": "wss://attic.hubs.example",
    }
    spec = {"version": "1", "siteId": "attic", **({"connection_type": kind} if kind else {})}
    return {"id": "c1", "hub_id": "h1", "spec": spec, "etag": "e1", "initial_identify": initial, **fields}


def problem(status: int, **fields: object) -> Reply:
    return Reply(status, {"type": "about:blank", **fields}, kind=PROBLEM)


def created(plane, **options):
    return plane("create_client_identity", HUB, name="Home Assistant", **options)


def test_identity_of_the_answer(asking: Ask):
    """The API's credentials, the hub's endpoints; stored as JSON and read back by those who keep it."""
    mqtt = {"endpoint": "mqtts://broker.example:8883", "username": "u", "password": "p"}
    api, plane = asking(
        HUB, client(None, initial_identify={**client()["initial_identify"], "mqtt": mqtt}, operation=operation())
    )

    result = plane("create_client_identity", "h1", name="kiosk", owner_id="o", idempotency_key="key-1")

    assert [*map(str, api.sent)] == ["GET /v1/hubs/h1", "POST /v1/clients"]
    assert api.sent[1].headers["idempotency-key"] == "key-1"
    assert (result.identity.password, result.identity.access_key) == SECRETS
    assert result.identity.data_plane_endpoints.https == "https://attic.hubs.example"
    assert (result.client_id, result.connection_type, result.operation.id) == ("c1", None, "op-1")
    assert (result.selected_protocol, result.endpoint.endpoint) == ("wss", "wss://attic.hubs.example")
    stored = json.loads(json.dumps(result.identity.as_dict(include_secrets=True)))
    assert ThalovantIdentity.from_mapping(stored) == result.identity
    shown = json.dumps(result.as_dict()) + repr(result)
    assert not [secret for secret in SECRETS if secret in shown]
    assert result.as_dict(include_secrets=True)["client"] is result.client
    assert result.as_dict()["operation"] == result.operation.as_dict()


def test_identity_that_is_made_here(asking: Ask):
    """Where the API gives no credentials, those that were sent are used; the exact body."""
    api, plane = asking({"id": "c1"})

    result = plane(
        "create_client_identity", HUB, name=" Kiosk_One  A ", spec={"apiKey": "x", "version": "2", "more": 1}
    )

    spec = api.sent[0].json["spec"]
    secrets = [spec.pop(name) for name in ("apiKey", "password", "cryptoKey")]
    assert api.sent[0].json == {
        "hub_id": "h1",
        "name": " Kiosk_One  A ",
        "active": True,
        "spec": {"version": "2", "more": 1, "siteId": "Kiosk-One-A"},
    }
    assert [result.identity.access_key, result.identity.password, result.identity.crypto_key] == secrets
    assert {len(secret) for secret in secrets} == {43}
    assert len({*secrets}) == 3
    where = (result.identity.default_master, result.identity.default_port, result.identity.site_id)
    assert where == ("https://attic.hubs.example", 443, "Kiosk-One-A")


@pytest.mark.parametrize(
    ("hub", "master", "text"),
    [
        ({"id": "h", "data_plane_endpoints": {"https": "https://e.example:8443/p"}}, "https://e.example:8443", None),
        ({"id": "h", "endpoints": {"wss": "wss://w.example:1/p"}}, "wss://w.example:1", None),
        ({"id": "h"}, None, "Hub resource does not expose a usable data-plane endpoint."),
        ({"id": 5}, None, "Hub resource is missing id."),
    ],
)
def test_where_the_hub_is(asking: Ask, hub, master, text):
    """The master of an identity that is made here."""
    _, plane = asking({"id": "c1"})

    if text is None:
        assert plane("create_client_identity", hub, name="n").identity.default_master == master
    else:
        with pytest.raises(ThalovantAPIError, match=text):
            plane("create_client_identity", hub, name="n")


def test_site_of_a_blank_name(asking: Ask):
    """Is made up."""
    api, plane = asking({"id": "c1"})

    plane("create_client_identity", HUB, name="  ", site_id=" ")

    assert api.sent[0].json["spec"]["siteId"].startswith("thalovant-client-")


@pytest.mark.parametrize(
    ("protocol", "hub", "endpoint"),
    [
        (None, HUB, "wss://attic.hubs.example"),
        ("https", HUB, "https://attic.hubs.example:443"),
        ("mqtt", HUB, "This hub does not expose a MQTT endpoint for the SDK runtime."),
        ("mqtt", {**HUB, "spec": {"protocols": {"mqtt": True}}}, "MQTT is enabled, but the API did not return"),
        ("smoke", HUB, "Unsupported protocol: smoke"),
    ],
)
def test_protocol_that_is_required(asking: Ask, protocol, hub, endpoint):
    """Its endpoint, or why there is none."""
    _, plane = asking({"id": "c1"})
    result = plane("create_client_identity", hub, name="n")

    if "://" in endpoint:
        assert plane("require_runtime_protocol", result, protocol=protocol).endpoint == endpoint
    else:
        with pytest.raises(ThalovantUnsupportedProtocolError, match=endpoint):
            plane("require_runtime_protocol", result, protocol=protocol)


def test_connection_of_a_kind(asking: Ask):
    """The kind is in the spec, and the answer repeats it."""
    api, plane = asking(client(operation=operation()))

    result = created(plane, connection_type=CONNECTION_TYPE_HOME_ASSISTANT)

    assert [*map(str, api.sent)] == ["POST /v1/clients"]
    assert (api.sent[0].json["spec"]["connection_type"], api.sent[0].json["spec"]["version"]) == ("home_assistant", "1")
    assert (result.client_id, result.connection_type) == ("c1", "home_assistant")
    assert OperationResource.from_dict(operation()) == result.operation


@pytest.mark.parametrize(
    ("answer", "deleted", "text"),
    [
        (client(None), Reply(204), "it answered 'no type'"),
        (client("web_chat"), Reply(500), "it answered 'web_chat'.* remove it in the dashboard"),
    ],
)
def test_connection_of_another_kind(asking: Ask, answer, deleted, text):
    """It is deleted again."""
    api, plane = asking(answer, deleted)

    with pytest.raises(ThalovantUnsupportedConnectionTypeError, match=text) as caught:
        created(plane, connection_type="home_assistant")

    assert caught.value.status_code is None
    assert [*map(str, api.sent)] == ["POST /v1/clients", "DELETE /v1/clients/c1 If-Match=e1"]
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


NONE_OF = "spec.connection_type: home_assistant is none of web_chat, developer"
ELSEWHERE = {"loc": ["body", "name"], "msg": "too short", "input": {"connection_type": "home_assistant"}}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(422, detail=NONE_OF, code="schema_validation_failed"), ThalovantUnsupportedConnectionTypeError),
        (problem(422, code="unknown_connection_type"), ThalovantUnsupportedConnectionTypeError),
        (problem(422, errors=[{"loc": ["spec", "connection_type"]}]), ThalovantUnsupportedConnectionTypeError),
        (problem(422, detail=[{"loc": [], "msg": "connection_type?"}]), ThalovantUnsupportedConnectionTypeError),
        (problem(422, detail="Not valid", errors=[ELSEWHERE, 5]), ThalovantAPIError),
        (problem(402, detail="Pay."), ThalovantPlanError),
        (problem(403, code="plan_limit", detail="One."), ThalovantPlanError),
        (problem(403, detail="Insufficient scopes"), ThalovantAuthError),
        (problem(401, detail="Who?"), ThalovantAuthError),
        (problem(409, code="home_assistant_already_linked"), ThalovantAlreadyLinkedError),
        (problem(409, code="other"), ThalovantAPIError),
    ],
)
def test_connection_that_is_refused(asking: Ask, answer, kind):
    """Unsupported only where the kind is what is wrong; each keeps what the API said."""
    api, plane = asking(answer)

    with pytest.raises(ThalovantAPIError) as caught:
        created(plane, connection_type="home_assistant")

    said = answer.body
    detail = said.get("detail") if isinstance(said.get("detail"), str) else None
    assert type(caught.value) is kind
    assert (caught.value.status_code, caught.value.code, caught.value.detail) == (
        answer.status,
        said.get("code"),
        detail,
    )
    assert len(api.sent) == 1


GET, DELETE = "GET /v1/clients/c1", "DELETE /v1/clients/c1 If-Match="


@pytest.mark.parametrize(
    ("etag", "replies", "requests", "fails"),
    [
        ("e1", [Reply(204)], [DELETE + "e1"], False),
        (None, [client(etag="e2"), Reply(204)], [GET, DELETE + "e2"], False),
        ("e1", [problem(412), client(etag="e2"), Reply(204)], [DELETE + "e1", GET, DELETE + "e2"], False),
        ("e1", [problem(412), client(etag="e2"), problem(412)], [DELETE + "e1", GET, DELETE + "e2"], True),
        (None, [problem(404)], [GET], False),
        ("e1", [problem(404)], [DELETE + "e1"], False),
        ("e1", [problem(412), problem(404)], [DELETE + "e1", GET], False),
        (None, [client(etag=None)], [GET], True),
        ("e1", [problem(403)], [DELETE + "e1"], True),
    ],
)
def test_deleting(asking: Ask, etag, replies, requests, fails):
    """On condition of the etag, once more if it has changed; what is not there is deleted."""
    api, plane = asking(*replies)

    if fails:
        with pytest.raises(ThalovantAPIError):
            plane("delete_client", "c1", etag=etag)
    else:
        assert plane("delete_client", "c1", etag=etag) is None
    assert [*map(str, api.sent)] == requests


RESET = {"RateLimit-Reset": "9"}
LIMITED = {"detail": {"code": "token_rate_limited", "retry_after_seconds": 6}, "retry_after_seconds": 7}


@pytest.mark.parametrize(
    ("replies", "outcome", "pauses"),
    [
        ([operation(), operation("committed"), operation("applied"), operation("ready")], None, [5.0] * 3),
        ([operation("of another time"), operation("ready")], None, [5.0]),
        ([problem(404)], None, []),
        ([problem(503), Reply(500, "<p>"), operation("ready")], None, [5.0, 5.0]),
        ([Reply(429, LIMITED, {"Retry-After": "8"}), operation("ready")], None, [6.0]),
        ([Reply(429, {"retry_after_seconds": 7}, {"Retry-After": "8"}), operation("ready")], None, [7.0]),
        ([Reply(429, "slow", {"Retry-After": "8", **RESET}), operation("ready")], None, [8.0]),
        ([Reply(429, "slow", RESET), operation("ready")], None, [9.0]),
        ([Reply(429, "slow", {"Retry-After": "0"}), operation("ready")], None, [5.0]),
        ([Reply(429, "slow"), operation("ready")], None, [5.0]),
        ([Reply(429, "slow", {"Retry-After": "60"})], ThalovantAdmissionTimeoutError, []),
        ([operation()], ThalovantAdmissionTimeoutError, [5.0] * 10),
        (
            [operation(), operation("failed", error_code="push", error_message="No.")],
            ThalovantAdmissionFailedError,
            [5.0],
        ),
        ([operation("timed_out")], ThalovantAdmissionFailedError, []),
        ([problem(410, code="gone")], ThalovantAdmissionFailedError, []),
        ([problem(401)], ThalovantAuthError, []),
        ([problem(403, detail="Insufficient scopes")], ThalovantAuthError, []),
        ([problem(403, detail="No.")], ThalovantAPIError, []),
        ([Reply(302)], ThalovantAdmissionFailedError, []),
        ([Reply(200, "<p>")], ThalovantAPIError, []),
    ],
)
def test_admission(asking: Ask, replies, outcome, pauses):
    """Rides out what passes, for as long as it may, and asks no more often than it should."""
    api, plane = asking(*replies)

    if outcome is None:
        assert plane("wait_for_admission", operation(), timeout=50, poll_interval=5) is None
    else:
        with pytest.raises(Exception, match=r".") as caught:
            plane("wait_for_admission", operation(), timeout=50, poll_interval=5)
        assert type(caught.value) is outcome
    assert plane.pauses == pauses
    assert {str(sent) for sent in api.sent} == {f"GET {PATH}"}
    assert len(api.sent) == len(pauses) + (0 if pauses == [5.0] * 10 else 1)


def test_admission_that_failed(asking: Ask):
    """The operation's own word; the API's, where it refused to tell."""
    _, plane = asking(
        operation("failed", error_code="push", error_message="No."), problem(410, code="gone", detail="Gone.")
    )
    found = []

    for _ in range(2):
        with pytest.raises(ThalovantAdmissionFailedError) as caught:
            plane("wait_for_admission", "op-1")
        found.append((caught.value.error_code, caught.value.status_code, caught.value.code, caught.value.detail))

    assert found == [("push", None, "push", "No."), (None, 410, "gone", "Gone.")]


def test_admission_that_takes_too_long(asking: Ask):
    """It may come yet."""
    _, plane = asking(operation())

    with pytest.raises(ThalovantAdmissionTimeoutError) as caught:
        plane("wait_for_admission", operation(), timeout=5)
    assert str(caught.value) == "The hub did not admit the connection within 5s; it may still admit it later."
    with pytest.raises(ThalovantTimeoutError, match=r"^Operation op-1 did not finish within 5s\."):
        plane("wait_for_operation", operation(), timeout=5)


def test_answers_are_bounded_by_the_deadline(asking: Ask):
    """An API that takes its time does not hold the wait up."""
    api, plane = asking(operation())
    plane.transport.now = time.monotonic
    api.server.shutdown()

    with pytest.raises(ThalovantAdmissionTimeoutError):
        plane("wait_for_admission", operation(), timeout=0.2)


def test_admission_by_an_api_that_is_away(asking: Ask):
    """Is raised as it is, at once."""
    api, plane = asking(operation())
    api.server.socket.close()

    with pytest.raises(ThalovantAPIUnreachableError):
        plane("wait_for_admission", operation())

    assert plane.pauses == []


@pytest.mark.parametrize(
    ("awaited", "path"),
    [
        (None, None),
        ("op-1", PATH),
        ("a/b", "/v1/operations/a%2Fb"),
        (PATH, PATH),
        ({"id": "other", "links": {"self": "v1/operations/op-1"}}, PATH),
        ({"links": {"self": "{api}/v1/operations/op-1"}}, PATH),
        ({"links": {"self": "{api}/jobs/1?x=2"}}, "/jobs/1?x=2"),
        ({"id": "c1", "operation": operation()}, PATH),
        (OperationResource.from_dict(operation()), PATH),
        ({"links": {"self": "https://collector.example/v1/operations/op-1"}}, ThalovantAPIError),
        ({"links": {"self": "//collector.example/v1/operations/op-1"}}, ThalovantAPIError),
        ({"links": {"self": "http://127.0.0.1:9/v1/operations/op-1"}}, ThalovantAPIError),
        ({"links": {"self": "http://[/"}}, ThalovantAPIError),
        ("", ThalovantAdmissionFailedError),
    ],
)
def test_what_is_awaited(asking: Ask, awaited, path):
    """Operations, what holds one, their ids and links; never a link that leads elsewhere."""
    api, plane = asking(operation("ready"))
    if isinstance(awaited, dict):
        awaited = json.loads(
            json.dumps(awaited).replace("{api}", api.url).replace("{API}", api.url.upper().replace("HTTP", "http"))
        )

    if isinstance(path, type):
        with pytest.raises(path):
            plane("wait_for_admission", awaited)
    else:
        plane("wait_for_admission", awaited)
    assert [sent.path for sent in api.sent] == ([] if path is None or isinstance(path, type) else [path])


def test_api_below_a_path(asking: Ask):
    """Links of the API lead below its address too, as it may not know it."""
    api, plane = asking(operation("ready"), path="/api/v1")

    assert plane("wait_for_operation", operation()).status == "ready"
    assert plane("get_operation", "op-1")["status"] == "ready"
    assert [sent.path for sent in api.sent] == [f"/api{PATH}", f"/api{PATH}"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (operation("failed", error_message="No.", error_code="c"), "^Operation op-1 ended with status failed: No."),
        (operation("timed_out"), "^Operation op-1 ended with status timed_out: no detail"),
        (problem(404, detail="None"), "HTTP 404: None"),
    ],
)
def test_operation_that_failed(asking: Ask, found, text):
    """In its own words."""
    _, plane = asking(found)

    with pytest.raises(ThalovantAPIError, match=text):
        plane("wait_for_operation", "op-1")


@pytest.mark.parametrize("kind", [AsyncThalovantClient, ThalovantClient])
@pytest.mark.parametrize("admitted", [True, False])
def test_first_connection_of_a_new_client(asking: Ask, v3: Lab, tmp_path, monkeypatch, kind, admitted):
    """It waits until the hub takes it, once; for ninety seconds here, or as long as it may."""
    stored = v3.stranger().as_dict(include_secrets=True)
    hub = {"id": "h1", "protocols": stored["protocols"], "data_plane_endpoints": stored["data_plane_endpoints"]}
    made = client(None, initial_identify=stored, operation=operation())
    api, plane = asking(made, *[operation()] * 45, operation("ready" if admitted else "applied"))
    identity = plane("create_client_identity", hub, name="kiosk").identity
    talking = kind(identity, noise_state_dir=tmp_path)
    states, pauses = [], []

    async def pause(transport: Transport, seconds: float) -> None:
        states.append(talking.state)
        pauses.append(seconds)

    monkeypatch.setattr(Transport, "pause", pause)
    monkeypatch.setattr(Transport, "now", lambda transport: sum(pauses))

    async def connect_twice() -> str:
        async with talking:
            await talking.connect()
            return talking.state

    def connect() -> str:
        if kind is AsyncThalovantClient:
            return asyncio.run(connect_twice())
        with talking:
            return talking.state

    if admitted:
        assert connect() == "ready"
        assert (sum(pauses), len(api.sent)) == (90.0, 1 + 46)
    else:
        with pytest.raises(ThalovantAdmissionTimeoutError):
            connect()
        assert sum(pauses) == 120.0
    assert {*states} == {"admitting"}
