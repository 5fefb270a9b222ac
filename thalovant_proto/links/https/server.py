"""The hub's end of the HTTPS polling link: sockets, requests, and whose session a request belongs to.

    hub = HttpsServerHub(entropy=…, secure=…)        one for each listener
    connection = hub.connection(address, now)        one for each accepted socket: receive_data, eof, data_to_send, …
    session = …                                      one for each client: an `HttpsSession`, a `Link`

A driver, after anything that went into a connection or a session: for each of `hub.ready()` make the session's owner
(a `HubPeer`, say) if it has none yet, and call `receive_data(b"", now)` of it; then write `data_to_send` of the
connection. In that order, since the answer to a request tells what its frame led to, and holds frames that it caused.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Final, cast

import h11
from attrs import field, frozen

from ... import jsontext
from ...carrier import CloseKind, Credentials, Frame, FrameType
from ...entropy import Entropy, checked
from ...errors import DecodeError
from ...limits import SLOWEST
from ...secret import Secret
from ..admission import AdmissionLimit
from ..endpoint import read_authorization
from .cookies import read_cookie
from .session import HttpsSession
from .stream import (
    DEFAULT_HTTPS_LIMITS,
    FORM_TYPE,
    FRAMES_FIELD,
    HEAD,
    JSON_TYPE,
    NOT_CONNECTED,
    SESSION_COOKIE,
    HttpFault,
    HttpMessage,
    HttpsLimits,
    HttpStream,
    Resource,
    decode_form,
)

_RESOURCES: Final = {f"/{resource.value}".encode(): resource for resource in Resource}
#: The part before the path in a request that was meant for a proxy (RFC 9112 §3.2.2).
_ORIGIN: Final = re.compile(rb"\Ahttps?://[^/?]*", re.IGNORECASE)
_COOKIE_BYTES: Final = 32
_TRUE: Final = (b"1", b"true", b"yes")
_BUSY_FOR: Final = 5  # seconds
_BUSY: Final = 1013  # as WebSocket close codes have it
_NOT_NOW: Final = (1001, 1012, _BUSY)  # it stops, it restarts, it is busy

# Each program with an access key has a session, and a crashed one leaves one. So many of a key may be proven, and so
# many from one address not yet.
_SESSIONS_PER_KEY: Final = 8
# A session idle for this long makes room for a newcomer with the same key, for every client polls more often; and one
# that has proven nothing for this long.
_STALE_TIME: Final = 10.0
# A socket may idle this long between requests, or take nothing of an answer.
_IDLE_TIME: Final = 75.0

_PHRASES: Final = {
    100: "Continue",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@frozen
class Reply:
    """An answer to a request."""

    status: int
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    media_type: str = JSON_TYPE


# An answer is worked out when it is asked for: what the request led to is in it. None is for one that takes longer.
_Owed = Callable[[], Reply | None]


@frozen
class _Caller:
    """The sender of a request, as far as it shows."""

    credentials: Credentials
    address: str
    cookie: bytes | None = field(repr=False)  # its digest

    @property
    def place(self) -> tuple[Secret[str], str, str]:
        """The identity of a client without a cookie."""
        return self.credentials.access_key, self.address, self.credentials.user_agent


class HttpsServerHub:
    """The sessions of one listener, and their owners.

    A session belongs to the client that got its cookie at `/connect`, which nobody else can guess. Until it has been
    returned once, the session also belongs to whoever shows the same access key, user agent and address: clients that
    keep no cookies exist (wire.md §0.1, security.md §5). Whoever only knows the access key can neither read nor end it.

    One access key may have several sessions, one for each program, and as many from each address that have proven
    nothing: whoever only knows the access key takes no place from those who know the secret too. A `/connect` of the
    same client begins its session anew, with a new hello, where real hubs stay silent. Any access key gets a session:
    whether it is known is for the owner to say by `close(now, code=1008)`, of which the client learns as 403.

    `entropy(n)` gives n random bytes. `secure`: the sockets are TLS or loopback.
    """

    def __init__(self, *, entropy: Entropy, limits: HttpsLimits = DEFAULT_HTTPS_LIMITS, secure: bool) -> None:
        self._entropy = checked(entropy)
        self._limits = limits
        self._secure = secure
        self._by_cookie: dict[bytes, HttpsSession] = {}
        self._by_place: dict[tuple[Secret[str], str, str], HttpsSession] = {}
        # By access key; and by that and the address, since whoever only knows the key proves nothing.
        places = {"total": limits.sessions, "per_source": _SESSIONS_PER_KEY}
        self._proven: AdmissionLimit[HttpsSession] = AdmissionLimit(**places, grace=_STALE_TIME)
        self._unproven: AdmissionLimit[HttpsSession] = AdmissionLimit(**places, grace=_STALE_TIME)
        self._ready: dict[HttpsSession, None] = {}

    def __len__(self) -> int:
        """The number of sessions that are alive."""
        return len(self._by_cookie)

    def connection(self, address: str, now: float) -> HttpsServerConnection:
        """The machine of an accepted socket whose peer is at `address` (without its port)."""
        return HttpsServerConnection(self._handle, address, limits=self._limits, now=now)

    def ready(self) -> list[HttpsSession]:
        """Sessions that have something for their owner, new ones among them, each once until it has more."""
        ready, self._ready = list(self._ready), {}
        return ready

    # --- one request

    def _handle(self, message: HttpMessage, connection: HttpsServerConnection, now: float) -> _Owed:
        request = cast(h11.Request, message.head)
        path, _, query = _ORIGIN.sub(b"", request.target).partition(b"?")
        resource = _RESOURCES.get(path)
        if resource is None:
            return _refusal(404, "Not found")
        if request.method != resource.method.encode():
            return _refusal(405, "Method not allowed", ("Allow", resource.method))
        if message.header(b"content-encoding").lower() not in (b"", b"identity"):
            return _refusal(415, "The body is compressed: send it as it is")
        try:
            fields = decode_form(query)
            if message.media_type == FORM_TYPE:
                fields |= decode_form(message.body)
        except DecodeError:
            return _refusal(400, "Too many fields")
        if not (authorization := fields.get("authorization")):
            return _refusal(400, "Missing authorization")
        credentials = read_authorization(f"?authorization={authorization.decode('latin-1')}")
        if credentials is None:
            return _refusal(403, "Invalid authorization")
        caller = _Caller(credentials, connection.address, _cookie_digest(message))
        session = connection.session = self._find(caller, now)
        match resource:
            case Resource.CONNECT:
                return self._connect(caller, session, now)
            case Resource.DISCONNECT:
                return _disconnect(session, now)
            case Resource.SEND if message.body and message.media_type != FORM_TYPE and "message" not in fields:
                return _refusal(415, f"The body is no form: send {FORM_TYPE}")
            case Resource.SEND:
                return _send(session, fields, now)
            case _:
                return _poll(session, resource, now)

    def _find(self, caller: _Caller, now: float) -> HttpsSession | None:
        if caller.cookie is None:
            session = self._by_place.get(caller.place)
            if session is None or session.cookie_returned:
                return None
        else:
            session = self._by_cookie.get(caller.cookie)
            if session is None or session.credentials.access_key != caller.credentials.access_key:
                return None
            session.cookie_returned = True
        self._proven.touch(session, now)
        return session

    def _connect(self, caller: _Caller, session: HttpsSession | None, now: float) -> _Owed:
        if session is not None:
            session.end(CloseKind.LOST, "the client connected anew", now)
        if not self._may_open(caller, now):
            return _refusal(503, "Too many sessions", ("Retry-After", str(_BUSY_FOR)))
        cookie = base64.urlsafe_b64encode(self._entropy(_COOKIE_BYTES)).rstrip(b"=")
        digest, place, key = _digest(cookie), caller.place, caller.credentials.access_key

        def forget(session: HttpsSession) -> None:
            del self._by_cookie[digest]
            if self._by_place.get(place) is session:
                del self._by_place[place]
            self._unproven.release(session)
            self._proven.release(session)

        opened = HttpsSession(
            caller.credentials,
            address=caller.address,
            limits=self._limits,
            secure=self._secure,
            now=now,
            on_ready=lambda session: self._ready.setdefault(session),
            on_proof=self._proved,
            on_end=forget,
        )
        self._by_cookie[digest] = self._by_place[place] = opened
        if (stale := self._unproven.admit(opened, (key, caller.address), now)) is not None:
            stale.end(CloseKind.DISPLACED, _TOO_MANY, now)

        def reply() -> Reply:
            if opened.ending is not None:
                return _after_end(opened, "Connection failed", "Invalid authorization")
            # Without `Secure`: cookie jars would keep it from a hub that is plain HTTP on loopback.
            set_cookie = f"{SESSION_COOKIE}={cookie.decode()}; HttpOnly; Path=/; SameSite=Lax"
            return _json(200, {"status": "Connected"}, ("Set-Cookie", set_cookie))

        return reply

    def _may_open(self, caller: _Caller, now: float) -> bool:
        key = caller.credentials.access_key
        full = len(self) >= self._limits.sessions or self._proven.refuses(
            key, now
        )  # once proven, it would find no place
        return not full and not self._unproven.refuses((key, caller.address), now)

    def _proved(self, session: HttpsSession, now: float) -> None:
        """A session takes its place among the proven ones of its key; the stalest may have to go for it."""
        if session.ending is not None:
            return
        key = session.credentials.access_key
        self._unproven.release(session)
        gone = self._proven.admit(session, key, now)
        if gone is session:
            self._proven.add(session, key, now)
        elif gone is not None:
            gone.end(CloseKind.DISPLACED, _TOO_MANY, now)


_TOO_MANY: Final = "too many sessions of one access key"


def _disconnect(session: HttpsSession | None, now: float) -> _Owed:
    if session is None:
        return _refusal(200, "Already Disconnected")
    session.end(CloseKind.REFUSED, "the client said goodbye", now)
    return lambda: _json(200, {"status": "Disconnected"})


def _send(session: HttpsSession | None, fields: dict[str, bytes], now: float) -> _Owed:
    message = fields.get("message")
    if not message:
        return _refusal(400, "Missing message")
    if session is None:
        return _refusal(409, NOT_CONNECTED)
    try:
        if fields.get("binary", b"").lower() in _TRUE:
            frame = Frame(base64.b64decode(message, validate=True), FrameType.BINARY)
        else:
            frame = Frame(message.decode().encode(), FrameType.TEXT)
    except ValueError:
        return _refusal(400, "Malformed message")
    if not session.receive(frame, now):
        return _refusal(503, "Too many messages", ("Retry-After", str(_BUSY_FOR)))

    def reply() -> Reply:
        if session.ending is not None:
            return _after_end(session, "Message sending failed", session.ending.reason)
        return _json(200, {"status": "message sent"})

    return reply


def _poll(session: HttpsSession | None, queue: Resource, now: float) -> _Owed:
    if session is None:
        return _refusal(200, NOT_CONNECTED)
    session.polled(now)

    def reply() -> Reply:
        if session.ending is not None:
            return _error(200, NOT_CONNECTED)
        frames = b",".join(session.take_frames(binary=queue is Resource.BINARY))
        return Reply(200, b'{"status":"messages retrieved","%b":[%b]}' % (FRAMES_FIELD[queue].encode(), frames))

    return reply


def _after_end(session: HttpsSession, failed: str, refused: str) -> Reply:
    """The answer to a request that ended its session.

    403 if the owner meant this client, 503 if it cannot serve anybody now, 500 if it broke.
    """
    code = None if session.ending is None else session.ending.code
    if code is not None and (code == 1008 or 4000 <= code <= 4999):
        return _error(403, refused or "Refused")
    if code in _NOT_NOW:  # never 500: clients take that, to `/connect`, for a refusal
        return _error(503, failed, *((("Retry-After", str(_BUSY_FOR)),) if code == _BUSY else ()))
    return _error(500, failed)


def _cookie_digest(message: HttpMessage) -> bytes | None:
    for pair in b";".join(message.headers(b"cookie")).split(b";"):
        cookie = read_cookie(pair)
        if cookie is not None and cookie[0] == SESSION_COOKIE:
            return _digest(cookie[1].encode())
    return None


def _digest(cookie: bytes) -> bytes:
    """The key under which a cookie is looked up, so that the time that takes tells nothing about it."""
    return hashlib.sha256(cookie).digest()


def _json(status: int, fields: dict[str, str], *headers: tuple[str, str]) -> Reply:
    return Reply(status, jsontext.dumps(fields), headers)


def _error(status: int, error: str, *headers: tuple[str, str]) -> Reply:
    return _json(status, {"error": error}, *headers)


def _refusal(status: int, error: str, *headers: tuple[str, str]) -> _Owed:
    return lambda: _error(status, error, *headers)


class HttpsServerConnection:
    """One accepted socket: requests in, answers out, one at a time. Made by `HttpsServerHub.connection`.

    Never raises for what the peer did. A request over a limit, or that is not HTTP, or takes too long, gets its status
    (431, 413, 400, 408) and the end of the socket; sessions do not notice.

    `handle` gives what works out the answer to a request: while that gives None, it is asked again with each
    `data_to_send`. `refusal` makes the answers that the connection gives by itself.
    """

    def __init__(
        self,
        handle: Callable[[HttpMessage, HttpsServerConnection, float], _Owed],
        address: str,
        *,
        limits: HttpsLimits,
        now: float,
        refusal: Callable[[int, str], Reply] = _error,
    ) -> None:
        self.address = address
        self._refusal = refusal
        self.session: HttpsSession | None = None  # that the latest request was about
        self._handle = handle
        self._limits = limits
        self._http = HttpStream(h11.SERVER, body=limits.request)
        self._now = now
        self._deadline = now + _IDLE_TIME
        self._began: float | None = None  # when the first byte of a request came whose last has not
        self._owed: _Owed | None = None
        self._last = False  # the socket ends after the answer that is owed
        self._prompt = False  # it is owed to a request that came with the one before
        self._out = b""
        self._finished = False

    @property
    def proven(self) -> bool:
        """Whether it serves a client that has shown more than an access key."""
        return self.session is not None and self.session.proven

    @property
    def finished(self) -> bool:
        """Whether the socket is to be closed once `data_to_send` is written."""
        return self._finished

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called; at once if `data_to_send` has more to give."""
        if self._finished:
            return None
        return self._now if self._prompt else self._deadline

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        self._now = now
        if self._finished or self._last:
            return
        self._http.receive(data)
        self._advance()
        if self._owed is not None and self._http.received_ahead > HEAD + self._limits.request:
            self._finish()  # sends on and on without waiting for an answer

    def eof(self, now: float) -> None:
        """The socket ended."""
        self._finish()

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        self._now = now
        self._prompt = False
        if self._finished or now < self._deadline:
            return
        if self._owed is None and self._began is not None:
            self._refuse(408, "The request took too long")
        else:
            self._finish()

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now: the answer to the request that is there."""
        data, self._out = self._out, b""
        if self._owed is None or (reply := self._owed()) is None:
            return data
        self._owed = None
        data += self._write(reply)
        if self._http.reusable and not self._last:
            self._http.next_cycle()
            self._began = None
            self._deadline = self._now + _IDLE_TIME + len(data) / SLOWEST
            self._advance()
            self._prompt = self._owed is not None
        else:
            self._finish()
        return data

    def _advance(self) -> None:
        """Read on, unless an answer is owed."""
        if self._owed is not None:
            return
        try:
            message = self._http.next_message()
        except HttpFault as fault:
            self._refuse(fault.status, f"The request is {fault}")
            return
        if message is not None:
            self._owe(self._handle(message, self, self._now))
            return
        if self._http.expects_continue:
            self._out += self._http.send(_informational(100))
        if self._http.reading:
            self._began = self._now if self._began is None else self._began
            self._deadline = self._began + self._limits.request_time + self._http.body_size / SLOWEST

    def _refuse(self, status: int, error: str) -> None:
        self._owe(lambda: self._refusal(status, error), last=True)

    def _owe(self, reply: _Owed, *, last: bool = False) -> None:
        self._owed = reply
        self._last = last
        # A driver asks for the answer at once, unless the socket takes no more bytes.
        self._deadline = self._now + _IDLE_TIME

    def _write(self, reply: Reply) -> bytes:
        headers = [("Cache-Control", "no-store"), *reply.headers]
        if reply.status != 204:
            headers.append(("Content-Type", f"{reply.media_type}; charset=UTF-8"))
            headers.append(("Content-Length", str(len(reply.body))))
        if self._last:
            headers.append(("Connection", "close"))
        head = h11.Response(status_code=reply.status, reason=_PHRASES.get(reply.status, "").encode(), headers=headers)
        body = () if self._http.bodiless or not reply.body else (h11.Data(data=reply.body),)
        return self._http.send(head, *body, h11.EndOfMessage())

    def _finish(self) -> None:
        self._finished = True
        self._owed = None


def _informational(status: int) -> h11.InformationalResponse:
    return h11.InformationalResponse(status_code=status, reason=_PHRASES[status].encode(), headers=[])
