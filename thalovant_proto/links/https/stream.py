"""Parts that both ends of the HTTPS polling link share: resources, limits, forms, JSON bodies and HTTP messages.

h11 does HTTP/1.1; `HttpStream` adds the limits that it does not know and hands out whole messages, the same ones
however the bytes were cut.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import h11
from attrs import field, frozen
from attrs.validators import gt

from ... import jsontext
from ...errors import DecodeError
from ...limits import KIB, MIB
from ..strangers import fault_of_head, looks_like


class Resource(enum.Enum):
    """The whole API of a hub over HTTP (wire.md §7.1): the value is the last segment of the path."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"
    SEND = "send_message"
    TEXT = "get_messages"
    BINARY = "get_binary_messages"

    @property
    def method(self) -> str:
        """The one method that it takes."""
        return "GET" if self in (Resource.TEXT, Resource.BINARY) else "POST"


#: Which JSON field of a polled queue holds its frames.
FRAMES_FIELD: Final = {Resource.TEXT: "messages", Resource.BINARY: "b64_messages"}

#: The cookie of real hubs, and the only one that published SDKs return; ours carries the session in it.
SESSION_COOKIE: Final = "hivemind_http_replica"

#: The error of a hub that holds no session for a client, whatever the status.
NOT_CONNECTED: Final = "Client is not connected"

FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = "application/json"


@frozen(kw_only=True)
class HttpsLimits:
    """Limits of one hub session over HTTP, on either side. Sizes in bytes, times in seconds."""

    # Body of a request: what real hubs and common proxies take. With so much a client's link has enough to send.
    request: int = field(default=1 * MIB, validator=gt(0))
    # Body of a response: a whole outbox of a real hub, 256 frames, unless they are all full Noise chunks.
    response: int = field(default=8 * MIB, validator=gt(0))
    # What waits for the peer: one message of the full 32 MiB as base64.
    queue_bytes: int = field(default=64 * MIB, validator=gt(0))
    # Sessions of one hub.
    sessions: int = field(default=10_000, validator=gt(0))
    # From the first byte of a request to its last.
    request_time: float = field(default=20.0, validator=gt(0))


DEFAULT_HTTPS_LIMITS: Final = HttpsLimits()

#: Start line and headers; as much as common servers and proxies take.
HEAD: Final = 16 * KIB
# Pieces that a body may come in: proxies cut at 4 KiB or more, and each piece costs parsing.
_CHUNKS: Final = 16 * KIB


# --- forms


_KEPT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_QUOTED: Final = {byte: f"%{byte:02X}" for byte in range(256) if byte not in _KEPT}
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BYTES: Final = [bytes((byte,)) for byte in range(256)]
_FIELDS: Final = 32  # a hub knows three


def encode_form(fields: Mapping[str, bytes]) -> bytes:
    """`application/x-www-form-urlencoded`; the names are ours and plain."""
    return "&".join(f"{name}={escape(value)}" for name, value in fields.items()).encode()


def escape(value: bytes) -> str:
    """As it stands in a form or a query."""
    return value.decode("latin-1").translate(_QUOTED)


def decode_form(form: bytes) -> dict[str, bytes]:
    """The fields of a form or a query, decoded as leniently as everybody does. Of equal names the last wins.

    Raises `DecodeError` for more than 32 fields.
    """
    if form.count(b"&") >= _FIELDS:
        raise DecodeError(f"a form with more than {_FIELDS} fields")
    pairs = (pair.partition(b"=") for pair in form.split(b"&"))
    return {_unquote(name).decode("latin-1"): _unquote(value) for name, _, value in pairs}


def _unquote(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda escape: _BYTES[int(escape[1], 16)], text.replace(b"+", b" "))


# --- bodies


# Of one response: texts, and bytes between them. `{"status":…,"b64_messages":[…,…]}` of a full outbox has 256 and 600.
_TEXTS: Final = 32 * KIB
_BETWEEN_TEXTS: Final = 64 * KIB
_DEPTH: Final = 8


def decode_object(body: bytes, *, limit: int) -> dict[str, Any]:
    """The JSON object that a body holds.

    Refuses, before it parses, what would become much larger in memory than it is: a body of many tiny values. Raises
    `DecodeError`.
    """
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # what is left of `"` delimits texts
    if unescaped.count(b'"') > 2 * _TEXTS or sum(map(len, unescaped.split(b'"')[::2])) > _BETWEEN_TEXTS:
        raise DecodeError("a JSON body of too many values")
    value = jsontext.loads(body, max_size=limit, max_depth=_DEPTH)
    if not isinstance(value, dict):
        raise DecodeError("a JSON body that is not an object")
    return value


# --- messages


class HttpFault(DecodeError):
    """A message that is not HTTP/1.1, or over a limit. `code` names the fault, `status` is HTTP's word for it."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@frozen
class HttpMessage:
    """One whole request or response. Its parts may hold secrets."""

    head: h11.Request | h11.Response = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: bytes) -> bytes:
        """The value of a header by its lower-case name, empty if there is none; of several the first."""
        return next((value for key, value in self.head.headers if key == name), b"")

    def headers(self, name: bytes) -> list[bytes]:
        """All values of a header by its lower-case name."""
        return [value for key, value in self.head.headers if key == name]

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty if there is none."""
        return self.header(b"content-type").partition(b";")[0].strip().lower().decode("latin-1")


_STATUS_LINE: Final = b"HTTP/"


class HttpStream:
    """One socket's bytes as whole messages, one at a time: the next comes only after `next_cycle`.

    `body` is the most that the body of one of the peer's messages may have.
    """

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], *, body: int) -> None:
        self._http = h11.Connection(role, max_incomplete_event_size=HEAD)
        # h11 waits for a blank line before it judges; another protocol may never send one.
        self._opening = _STATUS_LINE if role is h11.CLIENT else b""
        self._limit = body
        self._waiting = bytearray()  # received and not yet given to h11
        self._ended = False  # the peer's side of the socket
        self._strange = False  # it does not begin as the peer's messages do
        # Of the message that is being read:
        self._head: h11.Request | h11.Response | None = None
        self._body = bytearray()
        self._chunks = 0
        self._fed = 0  # bytes given to h11 since it began
        self._bodiless = False

    def receive(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if (unseen := len(self._opening) - self._fed - len(self._waiting)) > 0:
            self._strange = self._strange or not self._opening[-unseen:].startswith(data[:unseen])
        self._waiting += data

    def receive_eof(self) -> None:
        """The socket ended."""
        self._ended = True

    @property
    def received_ahead(self) -> int:
        """The number of bytes that wait behind the message at hand."""
        return len(self._waiting) + len(self._http.trailing_data[0])

    @property
    def reading(self) -> bool:
        """Whether a byte of the peer's next message has come."""
        return self._fed + len(self._waiting) > 0

    @property
    def body_size(self) -> int:
        """The number of bytes of the body that have come, of the message that is being read."""
        return len(self._body)

    @property
    def expects_continue(self) -> bool:
        """Whether a client holds its body back until it gets a 100."""
        return self._http.they_are_waiting_for_100_continue

    @property
    def bodiless(self) -> bool:
        """Whether the answer must have no body: the request at hand is a HEAD, as far as it has come or was sent."""
        return self._bodiless

    @property
    def reusable(self) -> bool:
        """Whether both sides are done and another exchange may follow on this socket."""
        return self._http.our_state is self._http.their_state is h11.DONE

    def next_cycle(self) -> None:
        """Go on to the next exchange. Only if `reusable`."""
        self._http.start_next_cycle()
        self._bodiless = False

    def send(self, *events: h11.Event) -> bytes:
        """The bytes of one whole message of ours."""
        for event in events:
            self._note(event)
        return b"".join(self._http.send(event) or b"" for event in events)

    def next_message(self) -> HttpMessage | None:
        """The peer's message, once all of it is there. Raises `HttpFault`: the stream is of no use after that."""
        if self._strange:
            raise self._malformed(looks_like(self._waiting[0], but="HTTP") if not self._fed else "")
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise self._judge(error) from None
            match event:
                case h11.Request() | h11.Response():
                    self._note(event)
                    self._check_head(event)
                    self._head = event
                case h11.InformationalResponse():
                    self._check_size_of_head()
                case h11.Data():
                    self._check_body(event)
                case h11.EndOfMessage():
                    return self._finish_message()
                case _:  # NEED_DATA, PAUSED, ConnectionClosed
                    if event is not h11.NEED_DATA or not self._feed():
                        return None

    def _note(self, event: h11.Event) -> None:
        """Learn whether the answer to a request must be without a body."""
        if isinstance(event, h11.Request):
            self._bodiless = event.method == b"HEAD"

    def _finish_message(self) -> HttpMessage:
        message = HttpMessage(cast("h11.Request | h11.Response", self._head), bytes(self._body))
        self._head, self._body, self._chunks, self._fed = None, bytearray(), 0, len(self._http.trailing_data[0])
        return message

    def _feed(self) -> bool:
        """Give h11 some more; False if there is nothing to give.

        h11 measures only what it cannot use yet, so it never gets more than the limit at once, then byte by byte: a
        line or head that is too long is that however it was cut.
        """
        if self._waiting:
            size = max(1, HEAD - len(self._http.trailing_data[0]))
            data = bytes(self._waiting[:size])
            del self._waiting[:size]
            self._fed += len(data)
            self._http.receive_data(data)
            return True
        if self._ended and not self._http.trailing_data[1]:
            self._http.receive_data(b"")
            return True
        return False

    def _check_head(self, head: h11.Request | h11.Response) -> None:
        self._check_size_of_head()
        lengths = [int(value) for name, value in head.headers if name == b"content-length"]
        if any(name == b"transfer-encoding" for name, _ in head.headers) and (lengths or head.http_version < b"1.1"):
            raise self._malformed()  # two readers could see two bodies (RFC 9112 §6.1)
        if not head.http_version.startswith(b"1."):
            raise self._malformed()
        bodiless = self._bodiless and isinstance(head, h11.Response)  # it tells the length of what it leaves out
        if max(lengths, default=0) > self._limit and not bodiless:
            raise self._too_large()

    def _check_size_of_head(self) -> None:
        if self._fed - len(self._http.trailing_data[0]) > HEAD:
            raise self._too_long()

    def _check_body(self, data: h11.Data) -> None:
        self._body += data.data
        self._chunks += data.chunk_start
        if len(self._body) > self._limit:
            raise self._too_large()
        if self._chunks > _CHUNKS:
            raise self._fault(f"a body of more than {_CHUNKS} chunks", code="http_too_many_chunks", status=400)

    def _judge(self, error: h11.RemoteProtocolError) -> HttpFault:
        # h11's own words quote what came, and that may hold a key.
        if error.error_status_hint == 431:
            return self._too_long()
        if self._ended:
            return self._fault("a message that ends before its end", code="http_truncated", status=400)
        if (found := fault_of_head(error)) is not None:
            code = "http_header" if "header" in found[0] else "http_malformed"
            return self._fault(found[0], code=code, status=400)
        return self._malformed()

    def _malformed(self, like: str = "") -> HttpFault:
        return self._fault(f"something that is not HTTP/1.1{like}", code="http_malformed", status=400)

    def _too_long(self) -> HttpFault:
        return self._fault(f"a head over the limit of {HEAD} bytes", code="http_head_too_large", status=431)

    def _too_large(self) -> HttpFault:
        return self._fault(f"a body over the limit of {self._limit} bytes", code="http_body_too_large", status=413)

    def _fault(self, message: str, *, code: str, status: int) -> HttpFault:
        self._waiting.clear()
        self._body.clear()
        return HttpFault(message, code=code, status=status)
