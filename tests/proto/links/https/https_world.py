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
from thalovant_proto.links.base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from thalovant_proto.links.https.client import HttpsClientLink
from thalovant_proto.links.https.cookies import Cookies
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
    out: Asked | None = None
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
        assert self.out is None, "one request at a time"
        self.server.receive_data(data)
        request = self.server.next_event()
        assert isinstance(request, h11.Request)
        body = b""
        while isinstance(event := self.server.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert self.server.trailing_data == (b"", False), "no pipelining"
        path, _, query = request.target.partition(b"?")
        self.out = Asked(
            request.method.decode(),
            path.decode(),
            {name: value.decode() for name, value in decode_form(query).items()},
            {name: value.decode() for name, value in decode_form(body).items()} if body else {},
            {name.decode(): value.decode() for name, value in request.headers},
            request.target.decode(),
        )
        self.requests.append(self.asked.path.rpartition("/")[2])

    @property
    def asked(self) -> Asked:
        """The request that is out."""
        assert self.out is not None, "nothing was asked"
        return self.out

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
        assert self.out is not None, "nothing was asked"
        self.out = None
        self.server = h11.Connection(h11.SERVER)
        events = self.raw(data)
        self.pump()
        return events

    def eof(self) -> list[LinkEvent]:
        self.connected = False
        self.out = None
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
        assert self.out is not None
        return self

    def settle(self) -> ByHand:
        """Answer polls with nothing, and all else with success, until nothing is out."""
        while self.out is not None:
            self.answer(body=polled() | polled_binary())
        return self

    def until_asked(self) -> ByHand:
        """Let time pass until a request is out."""
        while self.out is None:
            self.wait()
        return self

    def idle(self) -> ByHand:
        """Open, with nothing out: the first poll has been answered, with nothing in it."""
        self.open()
        self.answer(body=polled())
        assert self.out is None
        return self


def by_hand(url: str = "https://hub.example", *, base: HttpsLimits = DEFAULT_HTTPS_LIMITS, **limits: Any) -> ByHand:
    return ByHand(make_link(url, limits=evolve(base, **limits)))


def sending(frame: Frame, *, token: int | None = 7, base: HttpsLimits = DEFAULT_HTTPS_LIMITS) -> ByHand:
    """A link whose POST of `frame` is out."""
    hand = by_hand(base=base).idle()
    hand.link.send(frame, hand.now, token=token)
    hand.pump()
    assert hand.asked.path == "/send_message"
    return hand


def at(stage: str, base: HttpsLimits = DEFAULT_HTTPS_LIMITS) -> ByHand:
    """A link whose request of that name is out."""
    if stage == "send_message":
        return sending(text("x"), base=base)
    hand = by_hand(base=base).pump()
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


def entropy() -> Callable[[int], bytes]:
    """Bytes that differ with each call and are the same in each run."""
    numbers = count(1)
    return lambda n: next(numbers).to_bytes(n, "big")
