"""`LocalControlPlane`: the API of a hub on a port of its own."""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from thalovant_proto.links.https.server import HttpsServerConnection, Reply
from thalovant_proto.links.https.stream import HttpMessage

from ...protocols import is_loopback
from ..errors import HubSetupError
from ..hub import Hub
from ..listeners.all import ANY_HOST
from ..listeners.base import Binding, RequestConnection, RequestListener
from ..listeners.https import Requests
from ..storage.records import Records
from . import openapi, signin  # noqa: F401 - their routes
from .accounts import add_account, hashed
from .clients import hold
from .http import Problem
from .resources import add_hub
from .routing import PRIVATE, PUBLIC, Parts, serve

DEFAULT_PORT: Final = 8089
#: The accounts of a demonstration. The others are how pages show the first, whose server hides addresses.
DEMO_EMAILS: Final = ("you@example.com", "[email protected]", "[email\N{NO-BREAK SPACE}protected]")
_DEMO: Final = "demo"
_TITLE: Final = "Joke Garden"


class LocalControlPlane:
    """The REST API of a running hub's clients. Use it as `async with LocalControlPlane(hub) as plane`.

    It listens at `port` (0: any free one) of `host`, without TLS on loopback, with the hub's elsewhere. With `demo` it
    has a public hub `joke-garden` and an account that anybody on this machine may use; else what earlier runs left of
    those is shut. A new client is admitted after `admission_delay` seconds; devices that sign in may ask each
    `poll_interval` seconds.

    Raises `HubSetupError` for a port that is taken, or an address that cannot be.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        port: int = DEFAULT_PORT,
        host: str = "127.0.0.1",
        demo: bool = False,
        admission_delay: float = 0.0,
        poll_interval: float = 5.0,
        clock: Callable[[], datetime.datetime] | None = None,
    ) -> None:
        self._hub = hub
        self._port = port
        self._host = host
        self._demo = demo
        self._delays = admission_delay, poll_interval
        self._clock = clock or hub.clock
        self._listener: _Listener | None = None
        self._parts: Parts | None = None

    async def start(self) -> None:
        """Begin to listen."""
        running, loopback = self._hub.running, is_loopback(self._host)
        if self._demo and not loopback:
            raise HubSetupError("The accounts of the demonstration are for this machine only", setting="api_host")
        if not loopback and running.context is None:
            raise HubSetupError("The API needs TLS on other addresses than this machine's", setting="api_host")
        context = None if loopback else running.context
        binding = Binding(
            host=self._host, port=self._port, setting="api_port", context=context, admission=running.listeners.admission
        )
        parts = self._parts = Parts(
            hub=self._hub,
            registry=running.dispatcher.registry,
            records=Records(running.state, self._clock),
            clock=self._clock,
            form_key=os.urandom(32),
            admission_delay=self._delays[0],
            poll_interval=self._delays[1],
        )
        await _prepare(parts, demo=self._demo)
        self._listener = _Listener(parts, binding)
        await self._listener.start()
        host = running.listeners.addresses.public_host if self._host in ANY_HOST else self._host
        host = f"[{host}]" if ":" in host else host
        parts.url = f"http{'' if loopback else 's'}://{host}:{self._listener.port}"
        running.dispatcher.registry.admits = parts.admits

    async def close(self) -> None:
        """Stop to listen. Harmless if repeated."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close(self._hub.settings.goodbye_time)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """What clients call the API: the value of `THALOVANT_API_URL`."""
        return self._up.url

    @property
    def accounts(self) -> int:
        """The number of accounts."""
        return self._up.records.count("kind = 'account'")

    @property
    def _up(self) -> Parts:
        if self._parts is None:
            raise RuntimeError("the control plane is not running: start it first")
        return self._parts


async def _prepare(parts: Parts, *, demo: bool) -> None:
    """Have the accounts of a demonstration, or nobody in them; and keep out the clients whose time has not come."""
    records = parts.records
    password = await hashed("password") if demo else None
    with parts.writing():
        records.remove("kind IN ('login', 'token') AND owner = ?", _DEMO)
        if password is not None:
            add_account(records, DEMO_EMAILS, password, _DEMO, demo=True)
            if records.get("hub", "hub-id") is None:
                spec = {"version": "1", "catalog": {"title": _TITLE}}
                said = "A demonstration on this machine: anybody here can use it."
                about = {"name": _TITLE, "slug": "joke-garden", "spec": spec, "description": said, "demo": True}
                add_hub(records, _DEMO, about, id="hub-id")
        for hub in records.select("kind = 'hub' AND owner = ?", _DEMO):
            records.change(hub, {"public": demo}, parent=PUBLIC if demo else PRIVATE)
    for client in records.select("kind = 'client'"):
        hold(parts, client)


class _Listener(RequestListener):
    """Accepts requests to the API. `start` it once."""

    def __init__(self, parts: Parts, binding: Binding) -> None:
        super().__init__(self._make_peer, binding)
        self._parts = parts
        self._requests: dict[RequestConnection, Requests] = {}
        self._tasks: set[asyncio.Task[Reply]] = set()

    async def close(self, grace: float) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        for requests in tuple(self._requests.values()):
            requests.leave()
        await super().close(grace)

    def on_gone(self, connection: RequestConnection) -> None:
        self._requests.pop(connection, None)

    def deliver(self) -> None:
        """Nothing: what a request leads to has happened when its answer is there."""

    def _make_peer(self, connection: RequestConnection) -> Requests:
        def handle(message: HttpMessage, http: HttpsServerConnection, now: float) -> Callable[[], Reply | None]:
            return self._handle(message, connection)

        http = HttpsServerConnection(
            handle,
            connection.address.host,
            limits=self._parts.hub.settings.https,
            now=asyncio.get_running_loop().time(),
            refusal=lambda status, error: Problem(status, error).reply,
        )
        requests = self._requests[connection] = Requests(self, connection, http)
        return requests

    def _handle(self, message: HttpMessage, connection: RequestConnection) -> Callable[[], Reply | None]:
        found = serve(self._parts, message, partial(self.admission.proven, connection))
        if isinstance(found, Reply):
            return lambda: found
        task = asyncio.ensure_future(found)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: connection.wake())
        return lambda: task.result() if task.done() else None
