"""A client for HTTP/1.1 on asyncio: h11 over the dialer and the TLS of the data plane, for REST calls.

It follows no redirect, unpacks nothing, keeps no cookies and holds no answer larger than its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from typing import Final, NamedTuple, cast

import h11
from attrs import field, frozen
from attrs.validators import gt

from thalovant_proto.carrier import Target
from thalovant_proto.limits import MIB
from thalovant_proto.links.endpoint import Endpoint, parse_endpoint
from thalovant_proto.links.https.stream import HttpFault as StreamFault, HttpMessage, HttpStream

from ._asyncio import adopt, dial
from ._endpoint import begin_tls
from .dialer import DEFAULT_TIMEOUTS, ContextSource, DialError, Resolver, Timeouts, address_of, resolve


@frozen(kw_only=True)
class HttpLimits:
    """Limits of one `AsyncHttpClient`. Sizes in bytes, times in seconds."""

    # Of an answer.
    body: int = field(default=8 * MIB, validator=gt(0))
    # Requests at a time, each on a socket of its own; more of them wait.
    requests: int = field(default=16, validator=gt(0))
    # Sockets to one origin that are kept for its next request, and for how long: less than servers keep theirs.
    idle: int = field(default=4, validator=gt(0))
    idle_time: float = field(default=4.0, validator=gt(0))


DEFAULT_HTTP_LIMITS: Final = HttpLimits()


class HttpAnswer(NamedTuple):
    """An answer, whatever its status. Names of headers are in lower case; a name may come more than once."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class HttpFault(Exception):
    """A request that got no answer, or none that can be used. The message is one line and quotes no peer.

    `code` names the fault: http_timeout, http_closed (no byte of an answer came), http_truncated, http_tls,
    http_malformed, http_header, http_head_too_large, http_body_too_large, http_too_many_chunks or http_encoding. The
    server may have done what it was asked. `hint` is the next step.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code: str = code
        self.hint: str = _HINTS.get(code, _STRANGE)


_AGAIN: Final = "try again; if that goes on, look into the log of the server and of a proxy before it"
_STRANGE: Final = "check scheme, host and port of the URL: something else may answer in the server's place"
_HINTS: Final = {
    "http_timeout": "check the network, or allow more time",
    "http_closed": _AGAIN,
    "http_truncated": _AGAIN,
    "http_tls": _AGAIN,
    "http_encoding": "a proxy before the server must leave answers as they are",
}

#: Requests that may be sent again when their answer got lost (RFC 9110 §9.2.2), also with an `Idempotency-Key`.
_REPEATABLE: Final = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
_OWN: Final = frozenset(("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"))


class AsyncHttpClient:
    """Sends requests, on one event loop; close it with `aclose`.

    `context` is for https: a TLS context, a function that makes one, called in a thread, or None for the default one.
    """

    def __init__(
        self,
        context: ContextSource = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        limits: HttpLimits = DEFAULT_HTTP_LIMITS,
        resolver: Resolver = resolve,
    ) -> None:
        self._context = context
        self._timeouts = timeouts
        self._limits = limits
        self._resolver = resolver
        self._room = asyncio.Semaphore(limits.requests)
        self._idle: dict[Target, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._requests: dict[asyncio.Timeout, asyncio.Future[None]] = {}
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float = 30.0,
    ) -> HttpAnswer:
        """Send a request and return the answer to it, a redirect like any other, within `timeout` seconds in all.

        Raises `DialError` where there was no connection, so that the server saw no request; `HttpFault` for what
        happened on one; `ValueError` for a URL, method or header that cannot be sent, without quoting it.

        Example:
            >>> status, headers, body = await client.request("GET", "https://api.example/v1/hubs")
        """
        endpoint = parse_endpoint(url, name="HTTP", plain="http", tls="https")
        request = _request(method, endpoint, headers, body)
        repeatable = method in _REPEATABLE or any(name == b"idempotency-key" for name, _ in request.headers)
        events = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
        scope, over = asyncio.timeout(timeout), asyncio.get_running_loop().create_future()
        where = address_of(endpoint.target)
        self._check_open(where)
        try:
            async with scope:
                self._requests[scope] = over
                async with self._room:
                    message = await self._exchange(endpoint.target, events, repeatable=repeatable)
        except TimeoutError:
            self._check_open(where)
            raise HttpFault(f"{where} did not answer within {timeout:g} s", code="http_timeout") from None
        finally:
            self._requests.pop(scope, None)
            over.set_result(None)
        if message.body and message.header(b"content-encoding").lower() not in (b"", b"identity"):
            raise _answered(where, "a compressed body, which was not asked for", "http_encoding")
        found = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.head.headers)
        return HttpAnswer(cast(h11.Response, message.head).status_code, found, message.body)

    async def aclose(self) -> None:
        """End all requests and connections. Returns when nothing is left; harmless if repeated."""
        self._closed = True
        for scope in self._requests:
            if not scope.expired():
                scope.reschedule(0)
        for connection in self._open:
            connection.end()
        while leaving := [*self._requests.values(), *(connection.gone for connection in self._open)]:
            await asyncio.wait(leaving)

    def _check_open(self, where: str) -> None:
        if self._closed:
            raise HttpFault(f"no answer from {where}: this HTTP client is closed", code="http_closed")

    async def _exchange(self, target: Target, events: list[h11.Event], *, repeatable: bool) -> HttpMessage:
        """Send over a connection that was kept, once, if the request may be repeated when that has ended; or a new one.

        Others never go there: whether a server read them before it closed, nobody could tell.
        """
        kept = self._idle.get(target) if repeatable else None
        if kept:
            try:
                return await self._send(kept.pop(), events)
            except HttpFault as fault:
                if fault.code != "http_closed":
                    raise
        return await self._send(await self._connect(target), events)

    async def _send(self, connection: _Connection, events: list[h11.Event]) -> HttpMessage:
        try:
            message = await connection.exchange(events)
        except BaseException:
            connection.end()
            raise
        kept = self._idle.setdefault(connection.target, [])
        if connection.rest(self._limits.idle_time if len(kept) < self._limits.idle else 0.0):
            kept.append(connection)
        return message

    async def _connect(self, target: Target) -> _Connection:
        """A new connection, TLS included."""
        sock, context = await dial(target, tls=self._context, resolver=self._resolver, timeouts=self._timeouts)
        loop = asyncio.get_running_loop()
        connection = _Connection(loop, target, context, self._limits.body, self._forget)
        await adopt(loop, connection, sock)
        self._open.add(connection)
        try:
            async with asyncio.timeout(self._timeouts.tls):
                await connection.ready
        except BaseException as error:
            connection.end()
            if isinstance(error, TimeoutError) and connection.tls is not None:
                raise DialError(connection.tls.overdue().failure) from None
            raise
        return connection

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        kept = self._idle.get(connection.target, [])
        if connection in kept:
            kept.remove(connection)
        if not kept:
            self._idle.pop(connection.target, None)


class _Connection(asyncio.Protocol):
    """One socket, with TLS or without, and one exchange at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        context: SSLContext | None,
        limit: int,
        forget: Callable[[_Connection], None],
    ) -> None:
        self.target = target
        self.tls = begin_tls(target, context)
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._where = address_of(target)
        self._stream = HttpStream(h11.CLIENT, body=limit)
        self._forget = forget
        self._answer: asyncio.Future[HttpMessage] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    async def exchange(self, events: list[h11.Event]) -> HttpMessage:
        """Send a request and wait for the answer. Raises `HttpFault`; then, and if cancelled, it is to `end`."""
        if self._timer is not None:
            self._timer.cancel()
        self._answer = self._loop.create_future()
        data = self._stream.send(*events)
        if self.tls is not None:
            self.tls.send(data)
            data = self.tls.data_to_send()
        self._transport.write(data)
        return await self._answer

    def rest(self, time: float) -> bool:
        """Wait for another exchange, for `time` seconds. Ends at once, and returns False, where there can be none."""
        stream = self._stream
        if not time or not stream.reusable or stream.received_ahead or self._transport.is_closing():
            self.end()
            return False
        stream.next_cycle()
        self._timer = self._loop.call_later(time, self.end)
        return True

    def end(self) -> None:
        """Close the socket."""
        if self.tls is not None and not self._transport.is_closing():
            self.tls.close()
            self._transport.write(self.tls.data_to_send())
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.tls is None:
            self.ready.set_result(None)
        else:
            self._transport.write(self.tls.data_to_send())

    def data_received(self, data: bytes) -> None:
        if (tls := self.tls) is not None:
            data = tls.receive(data)
            self._transport.write(tls.data_to_send())
            if tls.ready and not self.ready.done():
                self.ready.set_result(None)
        if data:
            self._stream.receive(data)
            self._read()
        if tls is not None and (tls.closed or tls.fault is not None):
            self._ended(cleanly=True)

    def eof_received(self) -> None:
        self._ended(cleanly=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(cleanly=False)
        if self._timer is not None:
            self._timer.cancel()
        self._forget(self)
        self.gone.set_result(None)

    def _read(self) -> None:
        """Look for the answer in what came. What comes without a request makes the connection useless."""
        if self._answer is None or self._answer.done():
            self.end()
            return
        try:
            if (message := self._stream.next_message()) is not None:
                self._answer.set_result(message)
        except StreamFault as fault:
            self._fail(_answered(self._where, str(fault), fault.code))

    def _ended(self, *, cleanly: bool) -> None:
        """Nothing more comes."""
        tls = self.tls
        left = None if tls is None else tls.eof()  # None after a goodbye; without one, anybody may have cut the answer
        if not self.ready.done():
            if left is not None:
                self.ready.set_exception(DialError(left.failure))
        elif self._answer is not None and not self._answer.done():
            if tls is not None and tls.fault is not None:
                self._fail(HttpFault(tls.fault.message, code="http_tls"))
            if not self._stream.reading:
                self._fail(HttpFault(f"{self._where} closed the connection without an answer", code="http_closed"))
            if cleanly and left is None:
                self._stream.receive_eof()
                self._read()
            self._fail(_answered(self._where, "a message that ends before its end", "http_truncated"))
        self.end()

    def _fail(self, fault: HttpFault) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(fault)


def _request(
    method: str, endpoint: Endpoint, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes
) -> h11.Request:
    pairs = [("Host", endpoint.host_header), ("Accept-Encoding", "identity")]
    if body or method in ("POST", "PUT", "PATCH"):
        pairs.append(("Content-Length", str(len(body))))
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if name.lower() in _OWN:
            raise ValueError(f"The header {name} is the HTTP client's own: leave it out.")
        pairs.append((name, value))
    target = f"{endpoint.path}?{endpoint.query}" if endpoint.query else endpoint.path
    try:
        if method == "CONNECT":
            raise ValueError
        return h11.Request(method=method, target=target, headers=pairs)
    except (h11.LocalProtocolError, ValueError):  # whose words may quote a secret
        raise ValueError("The method or a header of the request is none that HTTP can carry.") from None


def _answered(where: str, what: str, code: str) -> HttpFault:
    return HttpFault(f"{where} answered with {what}", code=code)
