"""The storage under the control plane: what breaks it breaks no other thing, and what was answered is kept."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.examples import THOROUGHNESS
from thalovant.errors import ThalovantError
from thalovant.hub import Hub, HubSetupError
from thalovant.hub.api import LocalControlPlane
from thalovant.hub.storage.clients import Registry
from thalovant.hub.storage.records import Records
from thalovant.hub.storage.sqlite import SCHEMA, Store

from .lab import NEW_CLIENT, Lab, running


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def test_a_full_disk_is_a_problem_and_nothing_else(lab: Lab) -> None:
    """No client is half made; when there is room again, all goes on."""
    store = lab.hub.running.state
    (pages,) = store.execute("PRAGMA page_count")[0]
    store.execute(f"PRAGMA max_page_count = {pages}")
    made, answered = [], None
    for number in range(200):
        answered = await lab.ask("POST /v1/clients", {"hub_id": "hub-id", "name": f"{number} {'x' * 150}"})
        if answered.status != 201:
            break
        made.append(answered.body["id"])
    assert answered is not None
    assert answered.problem == (503, "storage_unavailable")
    assert len(lab.hub.clients) == len(made)
    store.execute("PRAGMA max_page_count = 100000")
    await lab.get("POST /v1/clients", NEW_CLIENT)
    assert len(lab.hub.clients) == len(made) + 1
    assert store.execute("SELECT count(*) FROM records WHERE kind = 'client'") == [(len(made) + 1,)]


async def test_a_broken_table_is_a_problem(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Of every call that needs it; its place is in the log only."""
    lab.hub.running.state.execute("DROP TABLE records")
    for what in ("GET /v1/public/hubs", "POST /v1/clients", "GET /v1/hubs"):
        answered = await lab.ask(what, NEW_CLIENT if "POST" in what else None)
        assert answered.problem == (503, "storage_unavailable")
        assert "records" not in answered.body["detail"]
    assert "no such table: records" in caplog.text
    assert (await lab.ask("GET /openapi.json")).status == 200


async def test_a_mistake_of_ours_is_a_problem(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends neither the hub nor the connection."""
    monkeypatch.delattr(Hub, "connected")
    assert (await lab.ask("GET /v1/analytics/overview")).problem == (500, "internal_error")
    assert "AttributeError" in caplog.text
    await lab.get("GET /v1/hubs")


async def test_all_comes_back(tmp_path: Path) -> None:
    """Accounts, tokens, hubs, clients and those that wait for admission; the demonstration only if asked for."""
    async with running(tmp_path, admission_delay=90) as lab:
        made = await lab.get("POST /v1/clients", NEW_CLIENT)
        mine = await lab.add_account("mine@example.com")
    async with running(tmp_path, demo=False) as lab:
        assert lab.plane.accounts == 2
        assert (await lab.ask("GET /v1/hubs", token=mine)).status == 200
        login = {"email": "you@example.com", "password": "password"}
        assert (await lab.ask("POST /v1/auth/token", login)).problem == (401, "invalid_credentials")
        assert (await lab.get("GET /v1/public/hubs"))["data"] == []
        client = next(iter(lab.hub.running.dispatcher.registry))
        assert lab.hub.running.dispatcher.registry.with_key(client.access_key) is None
        lab.later(90)
        assert lab.hub.running.dispatcher.registry.with_key(client.access_key) is client
    async with running(tmp_path) as lab:
        assert (await lab.get("GET /v1/clients"))["data"][0]["id"] == made["id"]


def test_an_older_state_is_taken_over(tmp_path: Path) -> None:
    """Its clients stay; the tables that it lacks are made."""
    Store.open(tmp_path, now=now()).close(now=now())
    store = Store.open(tmp_path, now=now())
    registry = Registry(store)
    registry.add("kiosk")
    store.execute("DROP TABLE records")
    store.execute("PRAGMA user_version = 1")
    store.close(now=now())
    store = Store.open(tmp_path, now=now())
    assert store.execute("PRAGMA user_version") == [(SCHEMA,)]
    assert [client.name for client in Registry(store)] == ["kiosk"]
    assert Records(store, now).count("1") == 0
    store.close(now=now())


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"host": "0.0.0.0", "demo": True}, "api_host"),
        ({"host": "203.0.113.1"}, "api_host"),
    ],
)
async def test_an_address_that_cannot_be(options: dict[str, object], setting: str) -> None:
    """A demonstration is for this machine; passwords do not travel in clear."""
    async with Hub(tls="demo" in options) as hub:
        with pytest.raises(HubSetupError) as caught:
            await LocalControlPlane(hub, port=0, **options).start()  # type: ignore[arg-type]
    assert caught.value.setting == setting


async def test_a_taken_port_is_named() -> None:
    """And left to whoever has it; a plane that does not run says so."""
    async with Hub() as hub, LocalControlPlane(hub, port=0) as first:
        second = LocalControlPlane(hub, port=urlsplit(first.url).port or 0)
        with pytest.raises(ThalovantError, match="is taken by another program"):
            await second.start()
        with pytest.raises(RuntimeError, match="is not running"):
            LocalControlPlane(hub).url
        await second.close()


def test_a_killed_hub_has_kept_all_that_it_answered(tmp_path: Path) -> None:
    """SIGKILL while clients are made: each is whole, in the API and at the hub, or not there at all."""
    command = [sys.executable, "-m", "thalovant", "hub", "--state", str(tmp_path), "--demo", "--json"]
    ports = [word for name in ("wss", "https", "api") for word in (f"--{name}-port", "0")]
    made: set[str] = set()
    for attempt in range(2 * THOROUGHNESS):
        with subprocess.Popen([*command, *ports, "--mqtt-port", "off"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = urlsplit(json.loads(process.stdout.readline())["api_url"])
            connection = http.client.HTTPConnection(url.netloc, timeout=30)
            json_type = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/auth/token", json.dumps(
                {"email": "you@example.com", "password": "password"}), json_type)  # fmt: skip
            token = json.loads(connection.getresponse().read())["access_token"]
            killer = threading.Timer(0.05 + 0.1 * attempt, os.kill, (process.pid, signal.SIGKILL))
            killer.start()
            try:
                while True:
                    body = json.dumps({"hub_id": "hub-id", "name": "kiosk"})
                    connection.request("POST", "/v1/clients", body, {**json_type, "Authorization": f"Bearer {token}"})
                    made.add(json.loads(connection.getresponse().read())["id"])
            except (OSError, http.client.HTTPException, ValueError):
                process.wait(30)
        store = Store.open(tmp_path, now=now())
        records, names = Records(store, now), {client.name for client in Registry(store)}
        clients = records.select("kind = 'client'")
        assert {client.id for client in clients} >= made
        assert {client.body["client_name"] for client in clients} == names - {"demo"}
        assert all(records.get("operation", client.body["operation_id"]) for client in clients)
        assert (records.count("kind = 'account'"), records.count("kind = 'login'")) == (1, 3)
        store.close(now=now())
    assert made
