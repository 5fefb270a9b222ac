"""The client's end of the HTTPS polling link: one hub session as a row of requests, one at a time, on any sockets.

`/disconnect`, `/connect`, then sends and polls until the goodbye. The first `/disconnect` is always needed: hubs that
still hold a session for this access key answer `/connect` and then stay silent (wire.md §7.1).

The access key travels in the query of every request. A form field would do for POST on every hub generation, and keep
it out of access logs, but a GET has no form, so the logs have it anyway, and the query is what gateways know.
"""

from __future__ import annotations

import base64
import enum
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

import h11
from attrs import evolve, field, frozen

from ...carrier import Carrier, CloseKind, Frame, FrameType, Target
from ...errors import DecodeError, LocalProtocolError, RemoteProtocolError
from ...limits import SLOWEST
from ...secret import Secret
from ..base import Accepted, FrameReceived, LinkClosed, LinkEvent, LinkOpened
from ..endpoint import NO_HEADERS, TRY_TLS, authorization, more_headers, parse_endpoint, portable_agent
from .answer import Answer, hint, judge, quote, read_answer, read_frames
from .cookies import Cookies
from .polling import PollSchedule
from .stream import (
    DEFAULT_HTTPS_LIMITS,
    FORM_TYPE,
    FRAMES_FIELD,
    JSON_TYPE,
    HttpFault,
    HttpMessage,
    HttpsLimits,
    HttpStream,
    Resource,
    encode_form,
)

# An answer may take so long, the whole of it. Real hubs answer at once.
_RESPONSE_TIME: Final = 10.0
# A closing client may take so long to send what is queued and say goodbye.
_CLOSE_TIME: Final = 5.0
# A poll that is overdue by this goes before frames to send, or a steady sender would never hear anything.
_POLL_OVERDUE: Final = 1.0


class _Phase(enum.Enum):
    CLEARING = enum.auto()  # what the hub still holds for this access key
    CONNECTING = enum.auto()
    OPEN = enum.auto()
    LEAVING = enum.auto()  # sends what is queued, then says goodbye
    CLOSED = enum.auto()


@frozen
class _Queued:
    """A frame as the body of its POST."""

    body: bytes = field(repr=False)
    token: int | None


@frozen
class _Request:
    """The one request that is under way."""

    resource: Resource
    http: HttpStream
    deadline: float  # of an answer without a body
    queued: _Queued | None  # of SEND


class HttpsClientLink:
    """One session with the hub at `url` (`http[s]://host[:port][/prefix]`). See `Link` for the contract.

    Polling (`pace`): after anything that was sent or heard the next poll comes 1 ms later, at once while somebody
    waits, and each one that finds nothing makes the pause half as long again, up to 100 ms while somebody waits, 2 s
    while nobody does. Frames to send go first. The generation is the connection's business, so the queue is chosen by
    what is sent: until a binary frame leaves (the sealed hello of v3) the text queue is polled, from then on the binary
    one, and every fourth time the other as well; every sixteenth while polls find frames.

    How it ends: `FORGOTTEN` if the hub does not know the session; the frame of that very POST is among `unsent`.
    `REFUSED` for 401 and 403, and for 400 and 500 to `/connect`, as hubs of different generations call an unknown
    access key. All else is `LOST`, with an `error` where an answer came that a hub should not give; its `code` is one
    of `http_malformed`, `http_truncated`, `http_head_too_large`, `http_body_too_large`, `http_too_many_chunks`,
    `http_timeout`, `http_redirect`, `http_encoding`, `http_content_type`, `http_bad_body`, `http_status`, `hub_error`.

    A poll whose answer never began, on a socket that has served before, is asked again: the peer was closing it. If
    it had read the poll after all, its frames are gone, which v3 notices as a failed decryption (v0 and v1 as an
    answer that never comes). A frame whose POST was not answered is never sent again, and not `unsent`: nobody can
    tell.

    `cookies` are the jar of all links of one client; each has its own if there is none. `headers` are added to every
    request, for a gateway before the hub.

    Raises `ValueError` for a URL, user agent or access key that cannot work; the message holds none of them.
    """

    def __init__(
        self,
        url: str,
        *,
        access_key: Secret[str],
        user_agent: str,
        limits: HttpsLimits = DEFAULT_HTTPS_LIMITS,
        cookies: Cookies | None = None,
        headers: Mapping[str, Secret[str]] = NO_HEADERS,
        secure: bool,
    ) -> None:
        endpoint = parse_endpoint(url, name="HTTPS", plain="http", tls="https")
        prefix = endpoint.path.rstrip("/")
        self.target: Target = endpoint.target
        self._targets = {
            resource: Secret(evolve(endpoint, path=f"{prefix}/{resource.value}").request_target(user_agent, access_key))
            for resource in Resource
        }
        # That a hub may repeat.
        self._secrets: tuple[Secret[str], ...] = (
            *(access_key, Secret(authorization(user_agent, access_key))),
            *headers.values(),
        )
        self._headers = [
            ("Host", endpoint.host_header),
            ("User-Agent", portable_agent(user_agent)),
            ("Accept", JSON_TYPE),
            ("Accept-Encoding", "identity"),  # nothing is ever inflated here
            *more_headers(headers),
        ]
        self._limits = limits
        self._secure = secure
        self._cookies = Cookies() if cookies is None else cookies
        self._folder = prefix

        self._phase = _Phase.CLEARING
        self._leave_by: float | None = None
        self._queue: deque[_Queued] = deque()
        self._queue_bytes = 0

        # The socket, if there is one, and the request on it.
        self._http: HttpStream | None = None
        self._released_at: float | None = None  # when we were done with the last socket, until the driver knows
        self._eof_owed = False  # that socket may still end
        self._served = False  # a response has come on this socket
        self._request: _Request | None = None
        self._out = b""  # the request, until it is drained
        self._heard = False  # a byte of its response has come

        self._polls = PollSchedule()
        self._due = False  # a poll only waits for a socket

    # --- what a driver asks

    @property
    def wants_socket(self) -> bool:
        """Whether to hold a socket: while one serves, and when there is something to ask."""
        if self._phase is _Phase.CLOSED or self._released_at is not None:
            return False
        return self._http is not None or self._phase is not _Phase.OPEN or bool(self._queue) or self._due

    @property
    def full(self) -> bool:
        """Whether a request is under way: what comes behind it could not be taken back any more."""
        return self._request is not None or bool(self._queue)

    @property
    def next_timeout(self) -> float | None:
        """The response's deadline while a request is under way, else the next poll; never later than the goodbye."""
        if self._phase is _Phase.CLOSED:
            return None
        timers = [] if self._leave_by is None else [self._leave_by]
        if self._released_at is not None:
            timers.append(self._released_at)
        elif self._request is not None:
            timers.append(self._deadline(self._request))
        elif self._phase is _Phase.OPEN and not self._due:
            timers.append(self._polls.due_at)
        return min(timers, default=None)

    def data_to_send(self) -> bytes:
        """The request that is under way, once."""
        data, self._out = self._out, b""
        return data

    # --- sockets

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """A socket is up; what waits goes out on it."""
        if self._phase is not _Phase.CLOSED:
            self._recall()
            self._http = HttpStream(h11.CLIENT, body=self._limits.response)
            self._released_at = None
            self._eof_owed = self._served = False
            self._proceed(now)
        return []

    def receive_data(self, data: bytes, now: float) -> Iterable[LinkEvent]:
        """Bytes of a response. Those that nobody asked for end the socket, not the session."""
        if self._http is None or not data:
            return []
        if self._request is None or self._out:
            self._release(now)
            return []
        self._heard = True
        self._http.receive(data)
        return self._read(self._request, now)

    def eof(self, now: float) -> list[LinkEvent]:
        """The socket ended: harmless between requests. With none at hand: the one that is wanted cannot be had."""
        http, self._http = self._http, None
        if http is None:
            if self._eof_owed or not self.wants_socket:
                self._eof_owed = False
                self._released_at = None
                return []
            return [self._end(CloseKind.LOST, reason="the hub's endpoint could not be reached")]
        self._recall()
        request = self._request
        if request is not None and self._heard:
            http.receive_eof()
            return list(self._read(request, now))
        if self._served and (request is None or request.resource in FRAMES_FIELD):
            self._due = self._due or request is not None  # the poll crossed with the peer closing an idle socket
            self._request = None
            return []
        hint = "" if self.target.tls or self._served else TRY_TLS.format("https")
        return [self._end(CloseKind.LOST, reason="the connection ended before the hub answered", hint=hint)]

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        """Poll, or give up on an answer."""
        if self._phase is _Phase.CLOSED:
            return []
        if self._leave_by is not None and now >= self._leave_by:
            return [self._end(CloseKind.CLOSED, reason="the goodbye took too long")]
        if self._request is not None and now >= self._deadline(self._request):
            return [self._fail(self._request, "no answer in time", code="http_timeout")]
        self._released_at = None
        self._due = self._phase is _Phase.OPEN and self._request is None and now >= self._polls.due_at
        self._proceed(now)
        return []

    # --- frames

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        """Queue a frame as one POST. Raises `LocalProtocolError` if the link is not open or a limit is reached."""
        if self._phase is not _Phase.OPEN:
            raise LocalProtocolError(f"the HTTPS link is {self._phase.name}")
        body = self._as_form(frame)
        if self._queue_bytes + len(body) > self._limits.queue_bytes:
            raise LocalProtocolError(f"more than {self._limits.queue_bytes} bytes wait to be sent")
        if frame.type is FrameType.BINARY:
            self._polls.speak_binary()
        self._queue.append(_Queued(body, token))
        self._queue_bytes += len(body)
        self._proceed(now)

    def _as_form(self, frame: Frame) -> bytes:
        if frame.type is FrameType.UNTYPED:
            raise LocalProtocolError("an HTTPS link takes text and binary frames")
        if not frame.data:
            raise LocalProtocolError("hubs take no empty frame over HTTPS")
        size = len(frame.data)
        if size <= self._limits.request:  # it will not get smaller
            if frame.type is FrameType.TEXT:
                body = encode_form({"message": frame.data})
            else:
                body = encode_form({"message": base64.b64encode(frame.data), "binary": b"1"})
            if (size := len(body)) <= self._limits.request:
                return body
        raise LocalProtocolError(f"a request of {size} bytes is over the limit of {self._limits.request}")

    def pace(self, eager: bool, now: float) -> None:
        """Whether somebody waits for an answer. Says the same again: nothing changes."""
        if eager and not self._polls.eager:
            self._polls.hurry(now)
        self._polls.eager = eager

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        """Send what is queued, then `/disconnect`; `LinkClosed` comes after that, or when time is up.

        HTTP has no words for `code` and `reason`. A link that has not come to `/connect` closes at once.
        """
        if self._phase in (_Phase.LEAVING, _Phase.CLOSED):
            return []
        if self._phase is _Phase.CLEARING or (self._phase is _Phase.CONNECTING and self._request is None):
            return [self._end(CloseKind.CLOSED)]
        self._phase = _Phase.LEAVING
        self._leave_by = now + _CLOSE_TIME
        self._due = False
        self._proceed(now)
        return []

    # --- requests

    def _proceed(self, now: float) -> None:
        """Begin the next request, if there is a socket without one."""
        if self._http is None or self._request is not None or (resource := self._next(now)) is None:
            return
        queued = self._queue.popleft() if resource is Resource.SEND else None
        body = b"" if queued is None else queued.body
        self._queue_bytes -= len(body)
        headers = list(self._headers)
        if cookies := self._cookies.header(now):
            headers.append(("Cookie", cookies))
        if resource.method == "POST":
            headers.append(("Content-Length", str(len(body))))
        if body:
            headers.append(("Content-Type", FORM_TYPE))
        head = h11.Request(method=resource.method, target=self._targets[resource].reveal(), headers=headers)
        self._out = self._http.send(head, h11.Data(data=body), h11.EndOfMessage())
        deadline = now + _RESPONSE_TIME + len(body) / SLOWEST
        self._request = _Request(resource, self._http, deadline, queued)
        self._heard = False
        self._due = False

    def _next(self, now: float) -> Resource | None:
        if self._phase is _Phase.CLEARING:
            return Resource.DISCONNECT
        if self._phase is _Phase.CONNECTING:
            return Resource.CONNECT
        if self._phase is _Phase.LEAVING:
            return Resource.SEND if self._queue else Resource.DISCONNECT
        overdue = now - self._polls.due_at
        if self._queue and overdue < _POLL_OVERDUE:
            return Resource.SEND
        if overdue < 0:
            return None
        return self._polls.queue

    def _deadline(self, request: _Request) -> float:
        """The time at which its answer is given up: later for a large one that comes."""
        return request.deadline + request.http.body_size / SLOWEST

    def _recall(self) -> None:
        """Take back a request that never left: it is as if it had not begun."""
        if not self._out or self._request is None:
            return
        self._out = b""
        if (queued := self._request.queued) is not None:
            self._queue.appendleft(queued)
            self._queue_bytes += len(queued.body)
        self._due = self._request.resource in FRAMES_FIELD
        self._request = None

    def _release(self, now: float) -> None:
        """Be done with the socket. The driver sees `wants_socket` False before it may become True again."""
        self._recall()
        self._http = None
        self._released_at = now
        self._eof_owed = True

    # --- responses

    def _read(self, request: _Request, now: float) -> Iterable[LinkEvent]:
        http = request.http
        try:
            message = http.next_message()
        except HttpFault as fault:
            return [self._fail(request, str(fault), code=fault.code)]
        if message is None:
            return []
        self._request = None
        self._served = True
        if self._http is not None:
            if http.reusable and not http.received_ahead:
                http.next_cycle()
            else:
                self._release(now)
        events = self._act(request, message, now)
        # What the application says to a receipt or a frame goes before the poll, which `next_timeout` then asks for.
        if not events or self._queue or self._phase is not _Phase.OPEN or request.resource is Resource.CONNECT:
            self._proceed(now)
        return events

    def _act(self, request: _Request, message: HttpMessage, now: float) -> Iterable[LinkEvent]:
        try:
            answer = read_answer(message, self._limits)
        except HttpFault as fault:
            return [self._fail(request, str(fault), code=fault.code, status=fault.status)]
        if answer.fields:  # else it was not the hub: a gateway's page
            self._keep_cookies(message, now)
        if (kind := judge(request.resource, answer, clearing=self._phase is _Phase.CLEARING)) is not None:
            return [self._end_by_answer(kind, request, answer)]
        match request.resource:
            case Resource.DISCONNECT if self._phase is _Phase.CLEARING:
                self._phase = _Phase.CONNECTING
            case Resource.DISCONNECT:
                return [self._end(CloseKind.CLOSED)]
            case Resource.CONNECT if self._phase is _Phase.CONNECTING:
                self._phase = _Phase.OPEN
                self._polls.start(now)
                carrier = Carrier(legacy_binary_up=False, rehello=True, secure=self._secure, receipts=True)
                return [LinkOpened(carrier=carrier)]
            case Resource.SEND:
                self._polls.hurry(now)
                if request.queued is not None and request.queued.token is not None:
                    return [Accepted(token=request.queued.token)]
            case Resource.TEXT | Resource.BINARY:
                return self._take_frames(request, answer, now)
        return []

    def _take_frames(self, request: _Request, answer: Answer, now: float) -> Iterable[LinkEvent]:
        """The frames of a poll, and the end where one is none: not before those that came before it are dealt with."""
        frames: list[Frame] = []
        broken = None
        try:
            frames.extend(read_frames(request.resource, answer))
        except DecodeError as fault:
            broken = str(fault)
        self._polls.polled(now, found=bool(frames))
        if not frames and broken is None:
            return []
        received = (FrameReceived(frame=frame) for frame in frames)
        return received if broken is None else chain(received, self._fail_later(request, broken, answer.status))

    def _fail_later(self, request: _Request, what: str, status: int) -> Iterator[LinkEvent]:
        if self._phase is not _Phase.CLOSED:
            yield self._fail(request, what, code="http_bad_body", status=status)

    def _keep_cookies(self, message: HttpMessage, now: float) -> None:
        """Give back what the hub sets: behind a load balancer the session lives on one replica."""
        encrypted = self.target.tls or self._secure
        for header in message.headers(b"set-cookie"):
            self._cookies.take(
                header,
                host=self.target.host,
                folder=self._folder,
                encrypted=encrypted,
                date=message.header(b"date"),
                now=now,
            )

    # --- the end

    def _end_by_answer(self, kind: CloseKind, request: _Request, answer: Answer) -> LinkClosed:
        said = quote(answer.error, self._secrets)
        what = f"HTTP {answer.status} to {request.resource.method} /{request.resource.value}"
        error = None
        if kind is CloseKind.LOST:
            code = "hub_error" if answer.status == 200 else "http_status"
            words = f"{what}: {said}" if said else what
            error = RemoteProtocolError(words, code=code, hint=hint(code, answer.status))
        # A hub that does not know the session has not looked at the frame.
        refused = request.queued if kind is CloseKind.FORGOTTEN else None
        return self._end(
            kind, status=answer.status, reason=said or what, error=error, refused=refused, after=answer.retry_after
        )

    def _fail(self, request: _Request, what: str, *, code: str, status: int | None = None) -> LinkClosed:
        """End the link: what came, or did not, is not what a hub says."""
        asked = f"{request.resource.method} /{request.resource.value}"
        words = f"{asked} got {what} (state {self._phase.name})"
        error = RemoteProtocolError(words, code=code, hint=hint(code, status))
        return self._end(CloseKind.LOST, status=status, reason=what, error=error)

    def _end(
        self,
        kind: CloseKind,
        *,
        status: int | None = None,
        reason: str = "",
        error: RemoteProtocolError | None = None,
        hint: str = "",
        refused: _Queued | None = None,
        after: float | None = None,
    ) -> LinkClosed:
        """The last event. A link that was asked to close has closed, whatever it took."""
        self._recall()
        unsent = [refused, *self._queue] if refused is not None else list(self._queue)
        if self._phase is _Phase.LEAVING:
            kind = CloseKind.CLOSED
        self._phase = _Phase.CLOSED
        self._http = self._request = None
        self._queue.clear()
        self._targets.clear()
        self._secrets = ()
        return LinkClosed(
            kind=kind,
            code=status,
            reason=reason,
            error=error,
            hint=hint,
            unsent=tuple(queued.token for queued in unsent if queued.token is not None),
            retry_after=after,
        )
