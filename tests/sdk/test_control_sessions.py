"""Control planes over HTTP sessions of the user's."""

from __future__ import annotations

import asyncio
import inspect

import aiohttp
import httpx
import pytest
import requests

from thalovant import (
    AsyncThalovantControlPlane,
    ThalovantAPIError,
    ThalovantAPIUnreachableError,
    ThalovantClient,
    ThalovantControlPlane,
    ThalovantIdentity,
)

from .control_lab import TOKEN, Api, Reply, requests_like, serving
from .lab import Lab


class Narrow:
    """A session as tests of old programs have it: no more keywords than these."""

    def request(self, method, url, json=None, params=None, headers=None, timeout=None):
        self.sent = (method, url, json, params, timeout)
        return requests_like({"id": "h"})


def test_session_with_few_keywords():
    """Gets those that it takes; an answer may have nothing but `json()`."""
    session = Narrow()

    hub = ThalovantControlPlane(access_token=TOKEN, session=session).get_hub("h")

    assert (hub, session.sent) == ({"id": "h"}, ("GET", "https://api.thalovant.com/v1/hubs/h", None, None, 10.0))


async def _through_aiohttp(url: str) -> list[object]:
    async with (
        aiohttp.ClientSession() as session,
        AsyncThalovantControlPlane(url, access_token=TOKEN, session=session) as api,
    ):
        found = [await api.list_hubs(owner_id="o"), await api.create_client({"a": 1})]
        await api.aclose()
        return [*found, session.closed]


async def _through_httpx(url: str) -> list[object]:
    async with httpx.AsyncClient(follow_redirects=True) as session:
        api = AsyncThalovantControlPlane(url, access_token=TOKEN, session=session)
        return [await api.list_hubs(owner_id="o"), await api.create_client({"a": 1}), session.is_closed]


async def _through_a_thread(url: str) -> list[object]:
    with requests.Session() as session:
        api = AsyncThalovantControlPlane(url, access_token=TOKEN, session=session)
        return [await api.list_hubs(owner_id="o"), await api.create_client({"a": 1}), False]


def _through_requests(url: str) -> list[object]:
    with requests.Session() as session, ThalovantControlPlane(url, access_token=TOKEN, session=session) as api:
        return [api.list_hubs(owner_id="o"), api.create_client({"a": 1}), False]


def _through_httpx_client(url: str) -> list[object]:
    with (
        httpx.Client(follow_redirects=True) as session,
        ThalovantControlPlane(url, access_token=TOKEN, session=session) as api,
    ):
        found = [api.list_hubs(owner_id="o"), api.create_client({"a": 1})]
        api.close()
        return [*found, session.is_closed]


@pytest.mark.parametrize(
    "through", [_through_aiohttp, _through_httpx, _through_a_thread, _through_requests, _through_httpx_client]
)
def test_session(through, tmp_path, monkeypatch):
    """Sends the same, with our token whatever a netrc file says, and stays open."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(Api({"id": "x"})) as api:
        found = asyncio.run(through(api.url)) if inspect.iscoroutinefunction(through) else through(api.url)

    assert found == [{"id": "x"}, {"id": "x"}, False]
    assert [*map(str, api.sent)] == ["GET /v1/hubs?limit=100&owner_id=o", "POST /v1/clients"]
    assert {sent.headers["authorization"] for sent in api.sent} == {f"Bearer {TOKEN}"}
    assert api.sent[1].json == {"a": 1}


@pytest.mark.parametrize("kind", ["aiohttp", "httpx", "requests"])
@pytest.mark.parametrize("reply", [Reply(302, "", {"location": "/elsewhere"}), None])
def test_session_that_fails(kind, reply):
    """No redirect is followed, nothing is repeated, and what a library raises is an error of ours."""

    async def ask(url: str) -> None:
        if kind == "requests":
            with requests.Session() as session:
                ThalovantControlPlane(url, access_token=TOKEN, session=session).get_hub("h")
        async with aiohttp.ClientSession() if kind == "aiohttp" else httpx.AsyncClient() as session:
            await AsyncThalovantControlPlane(url, access_token=TOKEN, session=session).get_hub("h")

    with serving(Api(reply or Reply())) as api:
        if reply is None:
            api.server.socket.close()
        with pytest.raises(ThalovantAPIError) as caught:
            asyncio.run(ask(api.url))

    assert type(caught.value) is (ThalovantAPIError if reply else ThalovantAPIUnreachableError)
    assert len(api.sent) == (1 if reply else 0)


async def _made_through(kind: str, url: str, hub: dict[str, object]) -> ThalovantIdentity:
    async with aiohttp.ClientSession() if kind == "aiohttp" else httpx.AsyncClient() as session:
        api = AsyncThalovantControlPlane(url, access_token=TOKEN, session=session)
        return (await api.create_client_identity(hub, name="kiosk")).identity


@pytest.mark.parametrize("kind", ["aiohttp", "httpx", "httpx.Client"])
def test_session_that_is_closed_before_the_first_connection(kind, v3: Lab, tmp_path):
    """Does not matter to the client that was made through it, which waits until its hub takes it all the same."""
    stored = v3.stranger().as_dict(include_secrets=True)
    hub = {"id": "h1", "protocols": stored["protocols"], "data_plane_endpoints": stored["data_plane_endpoints"]}
    operation = {"id": "op-1", "kind": "client.sync", "aggregate_type": "client", "links": {}, "status": "requested"}
    made = {"id": "c1", "hub_id": "h1", "spec": {}, "initial_identify": stored, "operation": operation}
    with serving(Api(made, {**operation, "status": "ready"})) as api:
        if kind == "httpx.Client":
            with httpx.Client() as session:
                plane = ThalovantControlPlane(api.url, access_token=TOKEN, session=session)
                identity = plane.create_client_identity(hub, name="kiosk").identity
        else:
            identity = asyncio.run(_made_through(kind, api.url, hub))

        with ThalovantClient(identity, noise_state_dir=tmp_path) as client:
            assert client.state == "ready"

    assert [*map(str, api.sent)] == ["POST /v1/clients", "GET /v1/operations/op-1"]


@pytest.mark.parametrize("given", [{"auth": ("u", "p")}, {"headers": {"Authorization": "x"}}])
def test_session_with_credentials(given):
    """Keeps them from the open network, in public calls too."""
    session = requests.Session()
    for name, value in given.items():
        setattr(session, name, value)

    with pytest.raises(ThalovantAPIError, match="require HTTPS"):
        ThalovantControlPlane("http://hub.example", session=session).list_public_hubs()


def test_asynchronous_session_in_the_synchronous_plane():
    """Is a mistake that is named."""

    class Session:
        async def request(self, method, url, **options):
            await asyncio.sleep(0)

    with pytest.raises(ThalovantAPIError, match="cannot be an asynchronous one"):
        ThalovantControlPlane(access_token=TOKEN, session=Session()).get_hub("h")


def test_answer_that_is_too_large():
    """Is not kept."""
    answer = requests_like(None)
    answer.content = b"x" * (8 * 2**20 + 1)
    session = Narrow()
    session.request = lambda method, url, **options: answer

    with pytest.raises(ThalovantAPIError, match="too large"):
        ThalovantControlPlane(access_token=TOKEN, session=session).get_hub("h")
