"""Runners of flows, and what they send requests with: our own HTTP client, or a session of the user's.

One function runs a flow. Over `Blocking` none of its steps waits on an event loop, so that the synchronous plane runs
it to its end in the caller's thread.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from thalovant_proto import jsontext

from .._internal.portal import Portal
from ..errors import ThalovantAPIError, ThalovantAPIUnreachableError, ThalovantError
from .account import Account
from .answers import MAX_BODY
from .flows import Answer, Flow, Request, Wait

if TYPE_CHECKING:
    from thalovant_io.http_client import AsyncHttpClient

R = TypeVar("R")
T = TypeVar("T")
Raw = tuple[int, tuple[tuple[str, str], ...], bytes]

_LIBRARIES = frozenset(("aiohttp", "httpx", "httpcore", "requests", "urllib3"))


class Transport:
    """How a plane on an event loop sends and waits."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._client: AsyncHttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Seconds by a monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait, never shorter than that."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            await self.pause(left)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def apart(self, work: Callable[[], T]) -> T:
        """Run what may block."""
        return await asyncio.to_thread(work)

    async def exchange(self, request: Request) -> Raw:
        """Send a request that is prepared."""
        async with asyncio.timeout(request.timeout):
            return await (self.own(request) if self.session is None else self.through(request))

    async def own(self, request: Request) -> Raw:
        """Over our own client, which belongs to one loop."""
        from thalovant_io.http_client import AsyncHttpClient

        if self._client is None or self._loop is not asyncio.get_running_loop():
            self._client, self._loop = AsyncHttpClient(), asyncio.get_running_loop()
        url = request.path + (f"?{urlencode(request.query)}" if request.query else "")
        body = b"" if request.json is None else jsontext.dumps(request.json)
        answer = await self._client.request(request.method, url, request.headers, body, request.timeout or 0.0)
        return answer.status, answer.headers, answer.body

    async def through(self, request: Request) -> Raw:
        """Over a session, on the loop if it has such methods, else in a thread."""
        send = self.session.request
        options = _options(self.session, request)
        if not (hasattr(self.session, "__aenter__") or inspect.iscoroutinefunction(send)):
            return await asyncio.to_thread(lambda: _whole(send(request.method, request.path, **options)))
        sent = send(request.method, request.path, **options)
        if isinstance(sent, AbstractAsyncContextManager):
            async with sent as response:
                return await _read(response)
        return await _read(await sent if isinstance(sent, Awaitable) else sent)

    async def aclose(self) -> None:
        """Close our own client; a session is its owner's."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            await self._client.aclose()


class Here(Portal):
    """Runs coroutines that wait for nothing to their end, in the caller's thread."""

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of such a coroutine."""
        __tracebackhide__ = True
        try:
            work().send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        raise AssertionError("a step of a flow waited on an event loop")  # pragma: no cover

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a coroutine that needs the event loop, which comes with the first."""
        return super().call(work)

    def end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the last coroutine if there is a loop, and stop it."""
        if self.running:
            self.wait(last)
            self.stop()

    def drop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """The same without waiting, from any thread."""
        if (loop := self._loop) is not None:
            asyncio.run_coroutine_threadsafe(last(), loop).add_done_callback(lambda _: self.leave())


class Blocking(Transport):
    """How a plane in a thread sends and waits. Only our own client needs an event loop, that of `Here`."""

    def __init__(self, session: Any, portal: Here) -> None:
        super().__init__(session)
        self._portal = portal

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - in the caller's thread

    async def apart(self, work: Callable[[], T]) -> T:
        return work()

    async def exchange(self, request: Request) -> Raw:
        if self.session is None:
            return self._portal.wait(lambda: self.own(request))
        return _whole(self.session.request(request.method, request.path, **_options(self.session, request)))


async def run(flow: Flow[R], transport: Transport, account: Account) -> R:
    """The result of a flow. What it raises holds no frames, whose variables hold secrets."""
    __tracebackhide__ = True
    answer: Answer | None = None
    error: Exception | None = None
    while True:
        try:
            step = flow.send(answer) if error is None else flow.throw(error)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        except ThalovantError as problem:
            raised = problem.with_traceback(None)
            break
        answer = error = None
        try:
            if isinstance(step, Wait):
                await transport.sleep(step.seconds)
            else:
                status, headers, body = await transport.exchange(account.prepared(step))
                if len(body) > MAX_BODY:
                    raise ThalovantAPIError("Thalovant API returned an answer that is too large.", status_code=status)
                answer = Answer(status=status, headers=headers, body=body, at=transport.now(), date=time.time())
        except Exception as fault:
            error = _fault(fault)
    raise raised from None


def _fault(error: Exception) -> Exception:
    """What a flow is told. Whatever is no matter of the network is a mistake, and left as it is."""
    from thalovant_io.dialer import DialError
    from thalovant_io.http_client import HttpFault

    library = type(error).__module__.partition(".")[0] in _LIBRARIES
    if isinstance(error, DialError | HttpFault):
        code = getattr(error, "code", "")
        if code == "http_timeout":
            return TimeoutError()
        if code in ("http_body_too_large", "http_encoding"):
            return ThalovantAPIError(f"Thalovant API returned an unexpected response: {error}.")
        hint = error.failure.hint if isinstance(error, DialError) else error.hint
        return _unreachable(f"{error}: {hint}" if hint else str(error))
    if isinstance(error, ThalovantError):
        return error
    if isinstance(error, TimeoutError) or (library and "Timeout" in type(error).__name__):
        return TimeoutError()
    if isinstance(error, ValueError) and (library or not isinstance(error, UnicodeError)):
        return ThalovantAPIError("The request cannot be sent: it holds what a URL, a header or JSON cannot.")
    if isinstance(error, OSError) or library:
        return _unreachable(None)
    return error


def _unreachable(why: str | None) -> ThalovantAPIUnreachableError:
    return ThalovantAPIUnreachableError("Could not reach the Thalovant API.", hint=why)


# --- sessions --------------------------------------------------------------------------------------------------------


def has_credentials(session: Any) -> bool:
    """Whether a session sends credentials of its own."""
    headers = getattr(session, "headers", None)
    named = {str(name).lower() for name in headers} if isinstance(headers, Mapping) else set()
    return bool(getattr(session, "auth", None)) or bool(named & {"authorization", "cookie", "proxy-authorization"})


def _options(session: Any, request: Request) -> dict[str, Any]:
    """The keywords that a session's `request` takes, of requests, httpx, aiohttp and of what is like them."""
    library = type(session).__module__.partition(".")[0]
    accepted = inspect.signature(session.request).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in accepted.values())
    # Without an `auth` of its own, requests would look the host up in a netrc file and replace our header.
    auth = None if library != "requests" or session.auth else _unchanged
    of_httpx = "follow_redirects" in accepted
    optional = {"follow_redirects": False} if of_httpx else {"allow_redirects": False, "auth": auth}
    return {
        "json": request.json,
        "params": None if request.query is None else dict(request.query),
        "headers": dict(request.headers),
        **({} if library == "aiohttp" else {"timeout": request.timeout}),  # of another type there; time is kept here
        **{name: value for name, value in optional.items() if anything or name in accepted},
    }


def _unchanged(request: T) -> T:
    return request


async def _read(response: Any) -> Raw:
    """The answer of an asynchronous session. Not more of a body is read than is taken."""
    if hasattr(response, "status_code"):
        return _whole(response)
    content: Any = getattr(response, "content", None)
    if not hasattr(content, "iter_chunked"):
        return response.status, _headers(response), await response.read()
    body = bytearray()
    async for chunk in content.iter_chunked(65536):
        body += chunk
        if len(body) > MAX_BODY:
            break
    return response.status, _headers(response), bytes(body)


def _whole(response: Any) -> Raw:
    if inspect.isawaitable(response):
        getattr(response, "close", bool)()
        raise ThalovantAPIError("The session of a synchronous control plane cannot be an asynchronous one.")
    body = getattr(response, "content", None)
    if not isinstance(body, bytes):
        body = text.encode() if isinstance(text := getattr(response, "text", None), str) else b""
        with suppress(ValueError, AttributeError, TypeError):
            body = body if body.strip() else jsontext.dumps(response.json())
    return response.status_code, _headers(response), body


def _headers(response: Any) -> tuple[tuple[str, str], ...]:
    headers = getattr(response, "headers", None)
    return tuple((str(k).lower(), str(v)) for k, v in headers.items()) if isinstance(headers, Mapping) else ()
