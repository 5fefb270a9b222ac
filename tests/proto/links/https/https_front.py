"""The HTTPS hub under test, with a client that h11 and the test play, on sockets and a clock of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import h11
from attrs import define, evolve, field, frozen

from thalovant_proto.carrier import CloseKind
from thalovant_proto.links.base import LinkClosed, LinkEvent
from thalovant_proto.links.https.server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession
from thalovant_proto.links.https.stream import DEFAULT_HTTPS_LIMITS

from .https_world import AUTHORIZATION, entropy

HOME = "192.0.2.1"
ELSEWHERE = "198.51.100.9"


@frozen
class Answered:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def cookie(self) -> str:
        """What a client gives back of `Set-Cookie`."""
        return self.headers["set-cookie"].partition(";")[0]


@define
class Front:
    """A hub under test with its sockets, a clock, and everything its sessions have said."""

    hub: HttpsServerHub
    now: float = 500.0
    events: list[LinkEvent] = field(factory=list)
    sessions: list[HttpsSession] = field(factory=list)
    refuse: int | None = None  # the code with which every session closes on its next event

    def connection(self, address: str = HOME) -> HttpsServerConnection:
        return self.hub.connection(address, self.now)

    def serve(self) -> None:
        """What a driver owes the hub before it asks for answers."""
        for session in self.hub.ready():
            if session not in self.sessions:
                self.sessions.append(session)
            self.events += session.receive_data(b"", self.now)
            if self.refuse is not None:
                self.events += session.close(self.now, code=self.refuse, reason="go away")

    def exchange(self, data: bytes, *, address: str = HOME, connection: HttpsServerConnection | None = None) -> bytes:
        """Bytes in, all there is to say out."""
        connection = connection or self.connection(address)
        connection.receive_data(data, self.now)
        said = b""
        while True:
            self.serve()
            if piece := connection.data_to_send():
                said += piece
            elif connection.next_timeout == self.now:
                connection.handle_timeout(self.now)
            else:
                return said

    def call(
        self,
        name: str,
        *,
        form: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        cookie: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        method: str | None = None,
        address: str = HOME,
        connection: HttpsServerConnection | None = None,
    ) -> Answered:
        """One request of a client, on a socket of its own unless one is given."""
        method = method or ("GET" if name.startswith("get_") else "POST")
        query = {"authorization": AUTHORIZATION} if query is None else query
        body = urlencode(form or {}).encode()
        all_headers = [("Host", "hub"), *headers]
        if form is not None:
            all_headers += [
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Content-Length", str(len(body))),
            ]
        if cookie is not None:
            all_headers.append(("Cookie", cookie))
        client = h11.Connection(h11.CLIENT)
        target = f"/{name}?{urlencode(query)}" if query else f"/{name}"
        data = client.send(h11.Request(method=method, target=target, headers=all_headers)) or b""
        data += client.send(h11.Data(data=body)) or b"" if body else b""
        data += client.send(h11.EndOfMessage()) or b""
        client.receive_data(self.exchange(data, address=address, connection=connection))
        return read(client)

    def connect(self, **more: Any) -> str:
        """A session for a client; returns its cookie."""
        answer = self.call("connect", **more)
        assert (answer.status, answer.body) == (200, {"status": "Connected"})
        return answer.cookie

    @property
    def session(self) -> HttpsSession:
        """The latest session."""
        return self.sessions[-1]


def read(client: h11.Connection) -> Answered:
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    assert headers["content-type"] == "application/json; charset=UTF-8"
    assert headers["cache-control"] == "no-store"
    return Answered(response.status_code, json.loads(body) if body else None, headers)


def front(**limits: Any) -> Front:
    return Front(HttpsServerHub(entropy=entropy(), limits=evolve(DEFAULT_HTTPS_LIMITS, **limits), secure=True))


def connected(**limits: Any) -> tuple[Front, str]:
    """A hub with one session, and the cookie of that; nothing has happened yet but its opening."""
    hub = front(**limits)
    cookie = hub.connect()
    hub.events.clear()
    return hub, cookie


def closes(events: list[LinkEvent]) -> list[tuple[CloseKind, tuple[int, ...]]]:
    return [(event.kind, event.unsent) for event in events if isinstance(event, LinkClosed)]
