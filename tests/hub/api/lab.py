"""A hub with its control plane on free ports of this machine, at a time that tests set, and a bare HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from attrs import define, frozen

from thalovant.hub import Hub
from thalovant.hub.api import LocalControlPlane
from thalovant.hub.api.accounts import add_account, hashed
from thalovant.hub.demo import SKILLS
from thalovant.hub.storage.records import Records

EMAIL, PASSWORD = "you@example.com", "password"
SPEC = {"version": "1", "apiKey": "k" * 43, "password": "p" * 43, "siteId": "kiosk"}
NEW_CLIENT = {"hub_id": "hub-id", "name": "kiosk", "spec": SPEC}


@frozen
class Answered:
    """An answer; `body` is its JSON, or its text."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def problem(self) -> tuple[int, Any]:
        """Status and code of a refusal."""
        detail = self.body["detail"]
        assert self.headers["content-type"].startswith("application/problem+json")
        return self.status, detail["code"] if isinstance(detail, dict) else self.body.get("code")


@define
class Lab:
    """The hub, its control plane, the time, and who is signed in."""

    hub: Hub
    plane: LocalControlPlane
    now: datetime.datetime
    token: str | None = None

    async def ask(self, what: str, body: Any = None, *, token: str | None = "", **headers: str) -> Answered:
        """One request: `ask("GET /v1/hubs")`. A `body` of bytes or text goes as it is; `token=None` for no token."""
        return await asyncio.to_thread(self._ask, what, body, self.token if token == "" else token, headers)

    def _ask(self, what: str, body: Any, token: str | None, headers: dict[str, str]) -> Answered:
        method, _, path = what.partition(" ")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes | str) else json.dumps(body)
        connection = http.client.HTTPConnection(urlsplit(self.plane.url).netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            data, found = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        text = data.decode()
        return Answered(
            answer.status, json.loads(text) if text and "json" in found.get("content-type", "") else text, found
        )

    async def get(self, what: str, body: Any = None, **options: Any) -> Any:
        """The body of an answer that is no refusal."""
        answered = await self.ask(what, body, **options)
        assert answered.status < 300, answered
        return answered.body

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD, **more: str) -> str:
        """A token of an account, which requests have from now on."""
        found = await self.get("POST /v1/auth/token", {"email": email, "password": password, **more}, token=None)
        self.token = found["access_token"]
        return self.token

    async def add_account(self, email: str, **terms: Any) -> str:
        """Another account, and a token of its."""
        records = Records(self.hub.running.state, lambda: self.now)
        add_account(records, [email], await hashed(PASSWORD), **terms)
        mine, token = self.token, await self.sign_in(email)
        self.token = mine
        return token

    async def post_form(self, path: str, fields: Mapping[str, str], *, cookie: str) -> Answered:
        """A form that a browser sends."""
        kind = "application/x-www-form-urlencoded"
        return await self.ask(f"POST {path}", urlencode(fields), token=None, Content_Type=kind, Cookie=cookie)

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += datetime.timedelta(seconds=seconds)


@contextlib.asynccontextmanager
async def running(state: Path | None = None, *, signed_in: bool = True, **options: Any) -> AsyncIterator[Lab]:
    """The hub, with the accounts of the demonstration unless `demo=False`; `options` are those of the control plane."""
    start = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
    box: list[Lab] = []
    options = {"port": 0, "demo": True, "clock": lambda: box[0].now if box else start, **options}
    async with (
        Hub(skills=SKILLS, https_port=0, mqtt_port=0, state=state) as hub,
        LocalControlPlane(hub, **options) as plane,
    ):
        box.append(Lab(hub, plane, start))
        if signed_in and options["demo"]:
            await box[0].sign_in()
        yield box[0]
