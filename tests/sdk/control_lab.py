"""An API of the control plane that answers as a script says, over a real socket, and both planes to ask it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

from thalovant.control import AsyncThalovantControlPlane, ThalovantControlPlane

TOKEN = "token-one"
PROBLEM = "application/problem+json"


class Sent(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    json: Any

    def __str__(self) -> str:
        etag = self.headers.get("if-match")
        return f"{self.method} {self.path}" + (f" If-Match={etag}" if etag else "")


class Reply(NamedTuple):
    """An answer; `body` is JSON unless it is text."""

    status: int = 200
    body: Any = ""
    headers: Mapping[str, str] = MappingProxyType({})
    kind: str = "application/json"


class Api:
    """Gives the replies in order, the last again and again."""

    def __init__(self, *replies: Reply | Any) -> None:
        self.replies = [one if isinstance(one, Reply) else Reply(200, one) for one in replies]
        self.sent: list[Sent] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one write

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.sent.append(Sent(self.command, self.path, headers, json.loads(body) if body else None))
                reply = api.replies.pop(0) if len(api.replies) > 1 else api.replies[0]
                data = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": reply.kind, **reply.headers}.items():
                    self.send_header(name, value)
                if reply.status != 204 and "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if reply.status != 204:
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.block_on_close = False
        self.host, self.port = self.server.server_address[:2]
        self.url = f"http://{self.host}:{self.port}"


class Caller:
    """A plane of either kind, by the names of its methods. Its clock stands still, but for the pauses that it takes."""

    def __init__(self, kind: str, url: str, **options: Any) -> None:
        options = {"access_token": TOKEN, **options}
        self.runner = asyncio.Runner() if kind == "async" else None
        made = (AsyncThalovantControlPlane if self.runner else ThalovantControlPlane)(url, **options)
        self.plane: Any = made
        original = made if isinstance(made, AsyncThalovantControlPlane) else made._original
        self.account, self.transport = original._account, original._transport
        self.time = 1000.0
        self.pauses: list[float] = []
        self.transport.now = lambda: self.time
        self.transport.pause = self._pause

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        result = getattr(self.plane, method)(*args, **options)
        if self.runner is None or method == "require_runtime_protocol":
            return list(result) if method.startswith("iter_") else result
        return self.runner.run(_all(result) if method.startswith("iter_") else result)

    def close(self) -> None:
        if self.runner is None:
            self.plane.close()
        else:
            self.runner.run(self.plane.aclose())
            self.runner.close()


async def _all(rows: Any) -> list[Any]:
    return [row async for row in rows]


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    """The API, listening."""
    thread = threading.Thread(target=api.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield api
    finally:
        api.server.shutdown()
        thread.join()
        api.server.server_close()


Ask = Callable[..., tuple[Api, Caller]]


class requests_like:
    status_code = 200

    def __init__(self, body, text=""):
        self.body, self.text = body, text

    def json(self):
        return self.body
