"""The hub's end of the HTTPS link: any bytes and requests on several sockets, sessions of several clients behind them.

Two hubs get the same, one of them in other pieces: they must answer alike.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from fuzz.harness import FRAME_TYPES, Driven, Held, Tape, cut, tape, timer_moves, told
from tests.proto.pair import stream
from thalovant_proto import jsontext
from thalovant_proto.carrier import Frame
from thalovant_proto.links.endpoint import authorization
from thalovant_proto.links.https.server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession
from thalovant_proto.links.https.stream import FORM_TYPE, HEAD, SESSION_COOKIE, HttpsLimits, Resource, encode_form
from thalovant_proto.secret import Secret

LIMITS: Final = HttpsLimits(request=4000, response=5000, queue_bytes=5000, sessions=4)
SOCKETS: Final = 3
# Of each socket a request and what waits behind it, of each session what came in and what is to go out.
HELD: Final = 2 * SOCKETS * 2 * (HEAD + LIMITS.request) + 2 * LIMITS.sessions * 2 * LIMITS.queue_bytes

RESOURCES: Final = list(Resource)
KEYS: Final = [authorization("Sdk/1", Secret(key)).encode() for key in ("key-of-one", "key-of-two")]
AUTHORIZATIONS: Final = [*KEYS, KEYS[0].replace(b"=", b"%3D"), b"", b"no base64!", b"bm8gY29sb24="]


class Do(enum.IntEnum):
    """What happens next. Sockets and sessions are named by a number, modulo how many there are."""

    REQUEST = 0  # socket, resource, authorization, cookie, flags, chunk: a whole request with this message
    RAW = 1  # socket, chunk
    EOF = 2  # socket
    WAIT = 3  # seconds
    SEND = 4  # session, type, chunk
    CLOSE = 5  # session, code
    CHUNKED = 6  # socket, count, chunk: a body in so many chunks of this
    MANY = 7  # socket, count, chunk: a message sent so often
    PROVE = 8  # session


DOINGS: Final = list(Do)

BINARY, WRONG_METHOD, KEEP_NONE, FORM_KEY, HALF = 1, 2, 4, 8, 16  # flags


class World:
    """A hub, its sockets, its sessions and what was said."""

    def __init__(self, size: int) -> None:
        self.now = 1000.0
        self.hub = HttpsServerHub(entropy=stream("hub"), limits=LIMITS, secure=True)
        self.sessions: dict[HttpsSession, Driven] = {}
        self.said: list[object] = []
        self.cookie = ""
        self.memory = Held(self.hub, HELD)
        self._size = size
        self._connections = [self._accept(number) for number in range(SOCKETS)]

    def receive(self, number: int, data: bytes) -> None:
        """Bytes on a socket."""
        for piece in cut(data, self._size):
            self._connections[number % SOCKETS].receive_data(piece, self.now)
        self.memory.feed(len(data))

    def request(self, number: int, resource: Resource, key: bytes, cookie: str, flags: int, message: bytes) -> None:
        """A whole request."""
        fields = {"message": message} | ({"binary": b"1"} if flags & BINARY else {})
        posted = resource.method == "POST"
        body = encode_form(fields) if posted and message else b""
        query = b"?authorization=" + key if key else b""
        if flags & FORM_KEY and posted:
            body, query = body + b"&authorization=" + key, b""
        head = [
            b"%b /%b%b HTTP/1.1"
            % (b"PUT" if flags & WRONG_METHOD else resource.method.encode(), resource.value.encode(), query),
            b"Host: hub.example",
        ]
        if posted:
            head += [b"Content-Length: %d" % len(body), b"Content-Type: " + FORM_TYPE.encode()]
        if cookie:
            head.append(b"Cookie: %b=%b" % (SESSION_COOKIE.encode(), cookie.encode()))
        if flags & KEEP_NONE:
            head.append(b"Connection: close")
        data = b"\r\n".join([*head, b"", b""]) + body
        self.receive(number, data[: len(data) // 2] if flags & HALF else data)

    def eof(self, number: int) -> None:
        """A socket ends; the client has another."""
        self._connections[number % SOCKETS].eof(self.now)
        self._connections[number % SOCKETS] = self._accept(number)

    def wait(self, seconds: float) -> None:
        """Time passes for all."""
        self.now += seconds
        for connection in self._connections:
            connection.handle_timeout(self.now)
            timer_moves(connection, self.now)
        for driven in self.sessions.values():
            driven.wait(self.now - driven.now)

    def session(self, number: int) -> Driven | None:
        """One of the sessions."""
        return list(self.sessions.values())[number % len(self.sessions)] if self.sessions else None

    def prove(self, number: int) -> None:
        """The client of one of the sessions has proven itself."""
        if self.sessions:
            list(self.sessions)[number % len(self.sessions)].prove(self.now)

    def pump(self) -> None:
        """The driver's duty: sessions first, then answers, until nothing moves."""
        moved = True
        while moved:
            moved = False
            for session in self.hub.ready():
                moved = True
                driven = self.sessions.setdefault(session, Driven(session, now=self.now))
                driven.now = self.now
                driven.receive(b"")
            for number, connection in enumerate(self._connections):
                if data := connection.data_to_send():
                    moved = True
                    self._answered(number, data)
                if connection.finished:
                    assert connection.next_timeout is None
                    self._connections[number] = self._accept(number)
        assert len(self.hub) <= LIMITS.sessions
        for driven in self.sessions.values():
            self.said += [told(event) for event in driven.events]
            driven.events.clear()
        self.sessions = {session: driven for session, driven in self.sessions.items() if driven.closed is None}
        self.memory.check()

    def _accept(self, number: int) -> HttpsServerConnection:
        return self.hub.connection(f"192.0.2.{number % SOCKETS}", self.now)

    def _answered(self, number: int, data: bytes) -> None:
        """Whatever was asked, an answer is whole and is JSON; the one to HEAD has no body."""
        # Whether this is worth saying depends on what has come by now, and on nothing else.
        data = data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not data:
            return
        self.said.append((number, data))
        head, end, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        lowered = {name.lower(): value for name, value in headers.items()}
        assert end and lines[0].startswith(b"HTTP/1.1 ") and lines[0].split()[1].isdigit()
        assert int(lowered[b"content-length"]) == len(body) or not body
        if body:
            assert isinstance(jsontext.loads(body, max_size=LIMITS.response, max_depth=4), dict)
        if cookie := lowered.get(b"set-cookie"):
            self.cookie = cookie.partition(b";")[0].partition(b"=")[2].decode()


def one(data: bytes) -> object:
    tape = Tape(data)
    worlds = (World(0), World(1 + tape.byte() % 64))
    opened = False
    for _ in tape.steps():
        act(tape, worlds)
        for world in worlds:
            world.pump()
        assert worlds[0].said == worlds[1].said, "the answers depend on how the bytes were cut"
        for world in worlds:
            world.said.clear()
        opened |= bool(worlds[0].sessions)
    return worlds[0] if opened else None


def act(tape: Tape, worlds: tuple[World, World]) -> None:
    """One step, in both worlds."""
    match tape.pick(DOINGS):
        case Do.REQUEST:
            number, resource, key = tape.byte(), tape.pick(RESOURCES), tape.pick(AUTHORIZATIONS)
            remembers, flags, message = tape.byte() & 1, tape.byte(), tape.chunk()
            for world in worlds:
                world.request(number, resource, key, world.cookie if remembers else "", flags, message)
        case Do.RAW:
            number, data = tape.byte(), tape.chunk()
            for world in worlds:
                world.receive(number, data)
        case Do.CHUNKED:
            number, count, piece = tape.byte(), tape.byte() % 32, tape.chunk()
            head = b"POST /send_message?authorization=%b HTTP/1.1\r\nHost: hub\r\n" % KEYS[0]
            head += b"Transfer-Encoding: chunked\r\nContent-Type: %b\r\n\r\n" % FORM_TYPE.encode()
            data = head + b"%x\r\n%b\r\n" % (len(piece), piece) * count + b"0\r\n\r\n"
            for world in worlds:
                world.receive(number, data)
        case Do.MANY:
            number, count, message = tape.byte(), tape.byte() % 64, tape.chunk()
            for world in worlds:
                for _ in range(count):
                    world.request(number, Resource.SEND, KEYS[0], "", 0, message)
        case Do.EOF:
            number = tape.byte()
            for world in worlds:
                world.eof(number)
        case Do.WAIT:
            seconds = float(tape.byte())
            for world in worlds:
                world.wait(seconds)
        case Do.SEND:
            number, frame = tape.byte(), Frame(type=tape.pick(FRAME_TYPES), data=tape.chunk())
            for world in worlds:
                if (driven := world.session(number)) is not None:
                    driven.send(frame)
        case Do.CLOSE:
            number, code = tape.byte(), tape.pick((1000, 1008, 1011, 4001))
            for world in worlds:
                if (driven := world.session(number)) is not None:
                    driven.close(code, "reason")
        case Do.PROVE:
            number = tape.byte()
            for world in worlds:
                world.prove(number)


def seeds() -> Iterator[bytes]:
    order = [Resource.CONNECT, Resource.DISCONNECT, Resource.SEND, Resource.TEXT, Resource.BINARY]
    connect, disconnect, send, text, binary = (RESOURCES.index(resource) for resource in order)
    hello = '{"msg_type": "hello", "payload": {}}'
    start = tape(1, Do.REQUEST, 0, connect, 0, 0, 0, "")
    yield start + tape(Do.SEND, 0, 0, hello, Do.REQUEST, 0, text, 0, 1, 0, "", Do.REQUEST, 0, send, 0, 1, 0, hello)
    yield start + tape(
        Do.SEND, 0, 1, bytes(100), Do.REQUEST, 1, binary, 0, 0, 0, "", Do.REQUEST, 2, send, 0, 0, 1, "AAEC"
    )
    yield start + tape(Do.REQUEST, 0, disconnect, 0, 1, 0, "", Do.REQUEST, 0, text, 0, 1, 0, "")
    yield start + tape(Do.REQUEST, 0, connect, 0, 1, 0, "", Do.REQUEST, 1, connect, 1, 0, 0, "", Do.WAIT, 101)
    yield start + tape(Do.CLOSE, 0, 1, Do.REQUEST, 0, send, 0, 1, 0, hello)
    fill, one_more = tape(Do.SEND, 0, 0, "x" * 900), tape(Do.SEND, 0, 0, "x")
    yield start + 3 * fill + tape(Do.REQUEST, 0, text, 0, 1, 0, "") + 6 * one_more
    yield start + tape(Do.MANY, 0, 10, hello, Do.MANY, 0, 63, "x" * 300, Do.EOF, 0)
    yield start + tape(Do.CHUNKED, 0, 3, b"message=a", Do.CHUNKED, 1, 20, b"a", Do.CHUNKED, 2, 9, b"a" * 800)
    crowd = b"".join(tape(Do.REQUEST, socket, connect, 0, 0, 0, "", Do.PROVE, socket) for socket in range(SOCKETS))
    yield tape(1) + crowd + tape(Do.WAIT, 11) + crowd
    for resource in range(len(RESOURCES)):
        for key in range(len(AUTHORIZATIONS)):
            for flags in (0, BINARY, WRONG_METHOD, KEEP_NONE, FORM_KEY, HALF):
                yield start + tape(Do.REQUEST, 0, resource, key, 1, flags, hello, Do.WAIT, 21, Do.WAIT, 76)
    for raw in (
        b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"HEAD /get_messages HTTP/1.1\r\nHost: hub\r\n\r\n" * 3,
        b"CONNECT hub:443 HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"GET /get_messages HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST /connect HTTP/1.1\r\nHost: hub\r\nContent-Length: 99999\r\n\r\n",
        b"POST /connect HTTP/1.1\r\nHost: hub\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        b"POST /connect?a=1&a=2&authorization=%3d+%zz HTTP/1.0\r\n\r\n",
        b"GET /get_messages?" + b"&".join([b"a=1"] * 40) + b" HTTP/1.1\r\nHost: hub\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: hub\r\nX: " + b"y" * 2500,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /connect HTTP/1.1\r\nHost: hub\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST http://hub/connect HTTP/1.1\r\nHost: hub\r\nContent-Encoding: gzip\r\n\r\n",
        b"POST /connect HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        yield tape(1, Do.RAW, 0, raw, Do.WAIT, 80)
