"""The client's end of an HTTPS link: any answers, in any pieces, on sockets that come and go."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Final

from fuzz.harness import Act, Driven, Held, Tape, Twins, tape
from tests.proto.links.https.https_world import polled, polled_binary, response
from tests.proto.vectors import load
from thalovant_proto.links.https.client import HttpsClientLink
from thalovant_proto.links.https.cookies import Cookies
from thalovant_proto.links.https.stream import HEAD, HttpsLimits
from thalovant_proto.secret import Secret

LIMITS: Final = HttpsLimits(request=4000, response=10_000, queue_bytes=20_000)
# Two heads and bodies: one that is read, one that waits behind it; and what we queue ourselves.
HELD: Final = 2 * (HEAD + LIMITS.response) + 2 * LIMITS.queue_bytes
KEY: Final = "0f3c9a72-planted-access-key"


class Do(enum.IntEnum):
    """What happens next, besides `Act`."""

    ANSWER = 8  # status, headers, chunk: a whole answer with this body
    OK = 9  # how: what a hub says that is content
    FRAMES = 10  # binary?, count, chunk: a poll that found so often this
    CHUNKED = 11  # count, chunk: a body in so many chunks of this


DOINGS: Final[list[Act | Do]] = [*Act, *Do]

STATUSES: Final = [200, 201, 204, 301, 400, 401, 403, 404, 405, 409, 413, 429, 500, 502, 503, 504, 101, 304, 999, 100]
HEADERS: Final = [
    [],
    [("Set-Cookie", "hivemind_http_replica=vm; HttpOnly; Path=/; SameSite=Lax")],
    [("Connection", "close")],
    [("Retry-After", "3")],
    [("Content-Encoding", "gzip")],
    [("Set-Cookie", "a=b"), ("Set-Cookie", "c=d"), ("Set-Cookie", "e=f; Secure"), ("Set-Cookie", "no cookie")],
    [("Set-Cookie", "a=b; Max-Age=5"), ("Set-Cookie", "c=; Expires=Thu, 01 Jan 1970 00:00:00 GMT")],
    [("Set-Cookie", "a=b; Domain=elsewhere.example"), ("Set-Cookie", "c=d; Path=/prefix/deeper")],
    [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Retry-After", "Sun, 06 Nov 1994 08:49:40 GMT")],
    [("Transfer-Encoding", "chunked")],
]
CONTENT: Final[list[dict[str, Any]]] = [
    {"status": "Connected"},
    {"error": "Already Disconnected"},
    {"error": "Client is not connected"},
    {"status": "message sent"},
    polled() | polled_binary(),
    {"error": f"no such key {KEY}"},
]


def make() -> Driven:
    link = HttpsClientLink(
        "https://hub.example/prefix",
        access_key=Secret(KEY),
        user_agent="Sdk/1",
        limits=LIMITS,
        cookies=Cookies(count=2, size=100),
        secure=True,
    )
    return Driven(link, secret=KEY)


def one(data: bytes) -> object:
    tape = Tape(data)
    twins = Twins(make, 1 + tape.byte() % 64)
    twins.each(Driven.turn)
    memory = Held(twins.pieces.link, HELD)
    for _ in tape.steps():
        match tape.pick(DOINGS):
            case Do.ANSWER:
                status, headers = tape.pick(STATUSES), tape.pick(HEADERS)
                body = tape.chunk()
                kind = "text/html" if body.startswith(b"<") else "application/json"
                received = response(status, body, headers, content_type=kind)
            case Do.OK:
                received = response(200, tape.pick(CONTENT), HEADERS[1])
            case Do.FRAMES:
                binary, count, frame = tape.byte() & 1, tape.byte() % 64, tape.chunk()
                some = polled_binary(*[frame] * count) if binary else polled(*[frame.decode("latin-1")] * count)
                received = response(200, some)
            case Do.CHUNKED:
                count, piece = tape.byte() % 64, tape.chunk()
                received = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                received += b"%x\r\n%b\r\n" % (len(piece), piece) * count + b"0\r\n\r\n"
            case act:
                assert isinstance(act, Act)
                twins.act(act, tape)
                continue
        twins.receive(received)
        memory.feed(len(received))
        memory.check()
        twins.each(Driven.turn)
    return twins.whole if twins.whole.opened else None


def seeds() -> Iterator[bytes]:
    start = tape(1, Do.OK, 1, Do.OK, 0)
    hello = '{"msg_type": "hello", "payload": {}}'
    yield start + tape(Do.FRAMES, 0, 2, hello, Act.TIMER, Act.DRAIN, Do.FRAMES, 0, 0, "", Act.TIMER, Act.DRAIN)
    yield start + tape(Do.OK, 4, Act.SEND, 0, hello, Act.DRAIN, Do.OK, 3, Act.SEND, 1, bytes(100), Act.DRAIN, Do.OK, 3)
    yield start + tape(
        Do.OK, 4, Act.SEND, 1, bytes(20), Act.DRAIN, Do.OK, 3, Act.TIMER, Act.DRAIN, Do.FRAMES, 1, 3, b"x"
    )
    sealed = tape(Do.OK, 4, Act.SEND, 1, bytes(20), Act.DRAIN)
    yield start + sealed + tape(Act.EOF, Act.DRAIN)
    yield start + tape(Act.EOF, Act.DRAIN, Do.OK, 4, Act.EOF, Act.TIMER, Act.DRAIN, Do.OK, 2)
    yield start + tape(Do.OK, 4, Act.SEND, 0, hello, Act.CLOSE, 3, 232, "", Act.DRAIN, Do.OK, 3, Act.DRAIN, Do.OK, 0)
    yield start + tape(Do.OK, 4, Act.PACE, 1, Act.TIMER, Act.DRAIN, Act.PACE, 0, Act.WAIT, 11, Act.DRAIN)
    yield start + tape(Do.FRAMES, 1, 60, bytes(200), Act.DRAIN)
    yield start + tape(Do.CHUNKED, 3, b'{"messages": [], "b64_messages": [], "n": "')
    yield start + tape(Do.CHUNKED, 40, b"{}")
    for status in range(len(STATUSES)):
        for headers in range(len(HEADERS)):
            yield start + tape(Do.ANSWER, status, headers, b"{}", Act.DRAIN)
        yield tape(1, Do.OK, 1, Do.ANSWER, status, 0, b'{"error": "Invalid authorization"}', Act.DRAIN)
        yield tape(1, Do.ANSWER, status, 0, f'{{"error": "no such key {KEY}"}}', Act.DRAIN)
    vectors = load("capture_http_next")
    for exchange in vectors["exchanges"]:
        yield start + tape(Act.RAW, response(exchange["status"], exchange["response"]), Act.DRAIN)
    for probe in vectors["error_probes"]:
        body = probe["body"] if isinstance(probe["body"], dict) else probe["body"].encode()
        yield start + tape(Act.RAW, response(probe["status"], body), Act.DRAIN)
    yield tape(1, Act.RAW, b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + response(200, CONTENT[1]), Act.DRAIN)
    yield tape(1, Act.RAW, b"SSH-2.0-OpenSSH_9.6\r\n", Act.DRAIN)
    yield tape(1, Act.RAW, b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n{}", Act.DRAIN)
    yield tape(1, Act.RAW, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2500, Act.DRAIN)
    yield start + tape(Act.RAW, response(200, polled()) + response(200, polled(hello)), Act.TIMER, Act.DRAIN)
