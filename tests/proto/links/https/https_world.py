"""The HTTPS link under test: a client with a hub of h11 and script, and a world of real ends with a made-up clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import h11
from attrs import define, evolve, field, frozen

from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.links.base import Accepted, FrameReceived, LinkClosed, LinkEvent, LinkOpened
from thalovant_proto.links.https.client import HttpsClientLink
from thalovant_proto.links.https.cookies import Cookies
from thalovant_proto.links.https.server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession
from thalovant_proto.links.https.stream import DEFAULT_HTTPS_LIMITS, HttpsLimits, decode_form
from thalovant_proto.secret import Secret

KEY = "0f3c9a72-planted-access-key"
AGENT = "unit-test/1"
#: base64 of "unit-test/1:0f3c9a72-planted-access-key", worked out by another program
AUTHORIZATION = "dW5pdC10ZXN0LzE6MGYzYzlhNzItcGxhbnRlZC1hY2Nlc3Mta2V5"
PORTAL = b"<!DOCTYPE html><html><body>Welcome to the airport"
NOT_CONNECTED = {"error": "Client is not connected"}


def text(data: bytes | str) -> Frame:
    return Frame(data.encode() if isinstance(data, str) else data, FrameType.TEXT)


def binary(data: bytes) -> Frame:
    return Frame(data, FrameType.BINARY)


def make_link(
    url: str = "https://hub.example",
    *,
    limits: HttpsLimits = DEFAULT_HTTPS_LIMITS,
    key: str = KEY,
    agent: str = AGENT,
    cookies: Cookies | None = None,
) -> HttpsClientLink:
    return HttpsClientLink(url, access_key=Secret(key), user_agent=agent, limits=limits, cookies=cookies, secure=True)


def frames(events: Iterable[LinkEvent]) -> list[Frame]:
    return [event.frame for event in events if isinstance(event, FrameReceived)]


def closed(events: list[LinkEvent]) -> LinkClosed:
    """The last event, which must be the only end."""
    assert [event for event in events if isinstance(event, LinkClosed)] == events[-1:]
    last = events[-1]
    assert isinstance(last, LinkClosed)
    return last


def accepted(events: Iterable[LinkEvent]) -> list[int]:
    return [event.token for event in events if isinstance(event, Accepted)]


@frozen
class Asked:
    """A request, taken apart by h11."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    target: str


def response(
    status: int = 200,
    body: object = None,
    headers: Iterable[tuple[str, str]] = (),
    *,
    content_type: str | None = "application/json; charset=UTF-8",
) -> bytes:
    """A response as bytes, written without h11. `body`: bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {"status": "ok"}).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(data)}"]
    lines += [f"Content-Type: {content_type}"] if content_type is not None else []
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


def chunked(*chunks: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def polled(*found: str) -> dict[str, Any]:
    """The body of a poll of the text queue."""
    return {"status": "messages retrieved", "messages": list(found)}


def polled_binary(*found: bytes) -> dict[str, Any]:
    """The body of a poll of the binary queue."""
    return {"status": "messages retrieved", "b64_messages": [base64.b64encode(data).decode() for data in found]}


@define
class ByHand:
    """A client link and its hub, played by the test: `asked` is the request that is out, `answer` its response."""

    link: HttpsClientLink
    now: float = 100.0
    events: list[LinkEvent] = field(factory=list)
    asked: Asked | None = None
    requests: list[str] = field(factory=list)
    dials: int = 0
    connected: bool = False
    server: h11.Connection = field(factory=lambda: h11.Connection(h11.SERVER))

    def pump(self) -> ByHand:
        """Do what a driver does until nothing more can happen without an answer or time."""
        if self.connected and not self.link.wants_socket:
            self.connected = False
        if not self.connected and self.link.wants_socket:
            self.connected = True
            self.dials += 1
            self.server = h11.Connection(h11.SERVER)
            self.take(self.link.socket_opened(self.now))
        if data := self.link.data_to_send():
            self.read(data)
        return self

    def read(self, data: bytes) -> None:
        assert self.asked is None, "one request at a time"
        self.server.receive_data(data)
        request = self.server.next_event()
        assert isinstance(request, h11.Request)
        body = b""
        while isinstance(event := self.server.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert self.server.trailing_data == (b"", False), "no pipelining"
        path, _, query = request.target.partition(b"?")
        self.asked = Asked(
            request.method.decode(),
            path.decode(),
            {name: value.decode() for name, value in decode_form(query).items()},
            {name: value.decode() for name, value in decode_form(body).items()} if body else {},
            {name.decode(): value.decode() for name, value in request.headers},
            request.target.decode(),
        )
        self.requests.append(self.asked.path.rpartition("/")[2])

    def take(self, events: Iterable[LinkEvent]) -> list[LinkEvent]:
        taken = list(events)
        self.events += taken
        return taken

    def raw(self, data: bytes) -> list[LinkEvent]:
        """Bytes from the hub, whatever they are."""
        return self.take(self.link.receive_data(data, self.now))

    def answer(
        self,
        status: int = 200,
        body: object = None,
        headers: Iterable[tuple[str, str]] = (),
        *,
        content_type: str | None = "application/json; charset=UTF-8",
    ) -> list[LinkEvent]:
        """Answer the request that is out."""
        return self.reply(response(status, body, headers, content_type=content_type))

    def reply(self, data: bytes) -> list[LinkEvent]:
        """Answer the request that is out by these bytes; the server forgets it, as after a real exchange."""
        assert self.asked is not None, "nothing was asked"
        self.asked = None
        self.server = h11.Connection(h11.SERVER)
        events = self.raw(data)
        self.pump()
        return events

    def eof(self) -> list[LinkEvent]:
        self.connected = False
        self.asked = None
        return self.take(self.link.eof(self.now))

    def wait(self) -> float:
        """Let time pass to the next timer; returns how long that was."""
        due = self.link.next_timeout
        assert due is not None
        passed, self.now = max(0.0, due - self.now), max(due, self.now)
        self.take(self.link.handle_timeout(self.now))
        after = self.link.next_timeout
        assert after is None or after > self.now
        self.pump()
        return passed

    def open(self) -> ByHand:
        """Through `/disconnect` and `/connect` to the first poll, which is out then."""
        self.pump()
        self.answer(body={"error": "Already Disconnected"})
        self.answer(body={"status": "Connected"})
        assert [type(event) for event in self.events] == [LinkOpened]
        assert self.asked is not None
        return self

    def settle(self) -> ByHand:
        """Answer polls with nothing, and all else with success, until nothing is out."""
        while self.asked is not None:
            self.answer(body=polled() | polled_binary())
        return self

    def until_asked(self) -> ByHand:
        """Let time pass until a request is out."""
        while self.asked is None:
            self.wait()
        return self

    def idle(self) -> ByHand:
        """Open, with nothing out: the first poll has been answered, with nothing in it."""
        self.open()
        self.answer(body=polled())
        assert self.asked is None
        return self


def by_hand(url: str = "https://hub.example", **limits: Any) -> ByHand:
    return ByHand(make_link(url, limits=evolve(DEFAULT_HTTPS_LIMITS, **limits)))


def sending(frame: Frame, *, token: int | None = 7) -> ByHand:
    """A link whose POST of `frame` is out."""
    hand = by_hand().idle()
    hand.link.send(frame, hand.now, token=token)
    hand.pump()
    assert hand.asked is not None
    assert hand.asked.path == "/send_message"
    return hand


def at(stage: str) -> ByHand:
    """A link whose request of that name is out."""
    if stage == "send_message":
        return sending(text("x"))
    hand = by_hand().pump()
    if stage != "disconnect":
        hand.answer()
    if stage in ("get_messages", "get_binary_messages"):
        hand.answer()
        if stage == "get_binary_messages":
            hand.link.send(binary(b"x"), hand.now)
            hand.answer(body=polled())
            hand.answer()
            hand.wait()
    assert hand.requests[-1] == stage
    return hand


Owner = Callable[["World", HttpsSession, LinkEvent], None]


def entropy() -> Callable[[int], bytes]:
    """Bytes that differ with each call and are the same in each run."""
    numbers = count(1)
    return lambda n: next(numbers).to_bytes(n, "big")


@define
class World:
    """Real ends, sockets between them, a clock. `owner` is told every event of every session of the hub."""

    owner: Owner = field(default=lambda world, session, event: None)
    cut: int | None = None
    limits: HttpsLimits = DEFAULT_HTTPS_LIMITS
    now: float = 1000.0
    hub: HttpsServerHub = field(init=False)
    heard: list[LinkEvent] = field(factory=list)  # by owners
    sessions: list[HttpsSession] = field(factory=list)
    clients: list[Client] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.hub = HttpsServerHub(entropy=entropy(), limits=self.limits, secure=True)

    def client(
        self,
        *,
        key: str = KEY,
        agent: str = AGENT,
        address: str = "192.0.2.1",
        cookies: Cookies | None = None,
        eager: bool = True,
    ) -> Client:
        link = make_link(limits=self.limits, key=key, agent=agent, cookies=cookies)
        link.pace(eager, self.now)
        self.clients.append(Client(self, link, address))
        return self.clients[-1]

    def pieces(self, data: bytes) -> list[bytes]:
        size = self.cut or len(data) or 1
        return [data[start : start + size] for start in range(0, len(data), size)]

    def serve(self) -> None:
        """The driver's duty to the hub: sessions first."""
        for session in self.hub.ready():
            if session not in self.sessions:
                self.sessions.append(session)
            self.tell(session, session.receive_data(b"", self.now))

    def tell(self, session: HttpsSession, events: list[LinkEvent]) -> None:
        for event in events:
            self.heard.append(event)
            self.owner(self, session, event)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> World:
        """Let the clients and the hub have their way for so long, or until something is so."""
        end = self.now + seconds
        while not until():
            moved = False
            for client in self.clients:
                moved = client.turn() or moved
            if moved:
                continue
            due = [client.link.next_timeout for client in self.clients]
            due += [session.next_timeout for session in self.sessions]
            soonest = min((time for time in due if time is not None), default=None)
            if soonest is None or soonest > end:
                self.now = end
                break
            self.now = max(self.now, soonest)
            for client in self.clients:
                client.events += client.link.handle_timeout(self.now)
            for session in self.sessions:
                self.tell(session, session.handle_timeout(self.now))
        return self


@define(eq=False)
class Client:
    """A real client link, its driver, and its socket to the hub."""

    world: World
    link: HttpsClientLink
    address: str
    events: list[LinkEvent] = field(factory=list)
    connection: HttpsServerConnection | None = None
    requests: list[tuple[float, str]] = field(factory=list)
    dials: int = 0

    def turn(self) -> bool:
        """Obey the link, move bytes both ways; False if there was nothing to move."""
        world, link = self.world, self.link
        if self.connection is not None and (self.connection.finished or not link.wants_socket):
            self.connection.eof(world.now)
            self.connection = None
            self.events += link.eof(world.now)
        if self.connection is None:
            if not link.wants_socket:
                return False
            self.dials += 1
            self.connection = world.hub.connection(self.address, world.now)
            self.events += link.socket_opened(world.now)
        up = link.data_to_send()
        if up:
            self.requests.append((world.now, up.split(b" ", 2)[1].partition(b"?")[0].decode()))
        for piece in world.pieces(up):
            self.connection.receive_data(piece, world.now)
        world.serve()
        down = self.connection.data_to_send()
        for piece in world.pieces(down):
            self.events += link.receive_data(piece, world.now)
        return bool(up or down)

    def drop(self) -> None:
        """The socket ends between two requests."""
        if self.connection is not None:
            self.connection.eof(self.world.now)
            self.connection = None
            self.events += self.link.eof(self.world.now)

    @property
    def opened(self) -> bool:
        return any(isinstance(event, LinkOpened) for event in self.events)

    @property
    def frames(self) -> list[Frame]:
        return frames(self.events)
