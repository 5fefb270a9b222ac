"""The HTTP client: answers of every form, hostile servers, kept connections, deadlines and ends."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.io.pki import Pki
from tests.io.running import PATIENCE, Accepted, BlackHole, Server, assert_says_it_once, free_port
from thalovant_io.dialer import DialError, Timeouts
from thalovant_io.http_client import AsyncHttpClient, HttpAnswer, HttpFault, HttpLimits
from thalovant_proto.dial import DialFault

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "planted-secret"


def request_of(connection: Accepted) -> bytes:
    """One whole request, empty when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.sock.recv(1)):
            return b""
        data += more
    length = next((int(line[15:]) for line in data.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return data + connection.exactly(length)


def answers(*scripted: bytes, stay: bool = True, seen: list[bytes] | None = None) -> Callable[[Accepted], None]:
    """A script: answer one request after the other with these bytes, then stay until the client goes, or not."""

    def script(connection: Accepted) -> None:
        for answer in scripted:
            if not (request := request_of(connection)):
                return
            if seen is not None:
                seen.append(request)
            connection.sock.sendall(answer)
        if stay:
            connection.rest()

    return script


def run(work: Callable[[AsyncHttpClient], Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """Do `work` with a client; nothing may be left after `aclose`, nor be reported to the loop."""

    async def main() -> Any:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        client = AsyncHttpClient(*args, **options)
        try:
            async with asyncio.timeout(PATIENCE):
                return await work(client)
        finally:
            await client.aclose()
            assert (len(asyncio.all_tasks()), reported) == (1, [])

    return asyncio.run(main())


def get(server: Server, path: str = "/", method: str = "GET", **more: Any) -> Callable[..., Awaitable[HttpAnswer]]:
    """One request to a server."""
    scheme = "https" if server.target.tls else "http"
    return lambda client: client.request(method, f"{scheme}://{server.target.host}:{server.port}{path}", **more)


FORMS: dict[str, tuple[str, bytes, HttpAnswer]] = {
    "length": ("GET", OK, HttpAnswer(200, (("content-length", "2"),), b"ok")),
    "chunks": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Trailer: 1\r\n\r\n",
        HttpAnswer(200, (("transfer-encoding", "chunked"),), b"ok"),
    ),
    "to the end": ("GET", b"HTTP/1.0 200 OK\r\n\r\nok", HttpAnswer(200, (), b"ok")),
    "no content": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", HttpAnswer(204, (), b"")),
    "no content, and some": ("GET", b"HTTP/1.1 204 No Content\r\n\r\nHTTP", HttpAnswer(204, (), b"")),
    "head": (
        "HEAD",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
        HttpAnswer(200, (("content-length", "9999999999"),), b""),
    ),
    "a redirect": (
        "GET",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        HttpAnswer(302, (("location", "http://127.0.0.1:1/"), ("content-length", "0")), b""),
    ),
    "after hints": (
        "GET",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
        HttpAnswer(200, (("content-length", "2"),), b"ok"),
    ),
    "unpacked": (
        "GET",
        b"HTTP/1.1 500 N\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\n!",
        HttpAnswer(
            500,
            (("set-cookie", "a"), ("set-cookie", "b"), ("content-encoding", "identity"), ("content-length", "1")),
            b"!",
        ),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_answers_of_every_form(form: str, each_loop: str) -> None:
    """The answer as it is, whatever its status and however its body ends."""
    method, answer, expected = FORMS[form]
    with Server(answers(answer, stay=form != "to the end"), tolerant=True) as server:
        assert run(get(server, method=method)) == expected


def test_a_request_as_it_is_sent() -> None:
    """Host with its port, our length, the caller's headers; a path that is escaped, never cut."""
    seen: list[bytes] = []
    with Server(answers(OK, seen=seen)) as server:
        run(get(server, "/v1/a b?q=ä", "POST", headers={"X-One": "1"}, body=b"{}"))
        port = server.port
    assert seen == [
        f"POST /v1/a%20b?q=%C3%A4 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: identity\r\n"
        "Content-Length: 2\r\nX-One: 1\r\n\r\n{}".encode()
    ]


HOSTILE: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "http_closed", "closed the connection without an answer"),
    "garbage": (b"\x00\xff" * 40, "http_malformed", "answered with something that is not HTTP/1.1"),
    "SSH": (
        b"SSH-2.0-OpenSSH\r\n",
        "http_malformed",
        "answered with something that is not HTTP/1.1 (it looks like SSH)",
    ),
    "half a head": (b"HTTP/1.1 200 OK\r\nConte", "http_truncated", "answered with a message that ends before its end"),
    "half a body": (OK[:-1], "http_truncated", "answered with a message that ends before its end"),
    "half a chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        "http_truncated",
        "answered with a message that ends before its end",
    ),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "http_malformed",
        "answered with something that is not HTTP/1.1",
    ),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "http_malformed",
        "answered with something that is not HTTP/1.1",
    ),
    "a header with a NUL": (
        f"HTTP/1.1 200 OK\r\nX: {SECRET}\0\r\n\r\n".encode(),
        "http_header",
        "answered with a malformed header line",
    ),
    "headers without end": (
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        "http_head_too_large",
        "answered with a head over the limit of 16384 bytes",
    ),
    "hints without end": (
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100_000,
        "http_head_too_large",
        "answered with a head over the limit of 16384 bytes",
    ),
    "a long body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        "http_body_too_large",
        "answered with a body over the limit of 1000 bytes",
    ),
    "chunks without end": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2\r\nok\r\n" * 10_000,
        "http_body_too_large",
        "answered with a body over the limit of 1000 bytes",
    ),
    "a compressed body": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        "http_encoding",
        "answered with a compressed body, which was not asked for",
    ),
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "http_malformed",
        "answered with something that is not HTTP/1.1",
    ),
}


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name: str, tls: bool, pki: Pki) -> None:
    """Each is one typed fault on one line that quotes nothing, and the connection is not used again."""
    answer, code, words = HOSTILE[name]
    with Server(answers(answer, stay=False), tls=pki.server() if tls else None, tolerant=True) as server:
        with pytest.raises(HttpFault) as caught:
            run(get(server), pki.client(), limits=HttpLimits(body=1000))
        assert (caught.value.code, str(caught.value)) == (code, f"{server.target.host}:{server.port} {words}")
    assert caught.value.hint and caught.value.hint not in str(caught.value)


def test_an_answer_that_may_have_been_cut(pki: Pki) -> None:
    """Over TLS, a body without a length ends with a goodbye, or somebody may have cut it; nor does a reset end one."""

    def script(connection: Accepted) -> None:
        request_of(connection)
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nok")
        if server.target.tls:
            connection.sock.close()  # without a goodbye
        else:
            connection.reset()

    for context in (pki.server(), None):
        with Server(script, tls=context) as server, pytest.raises(HttpFault) as caught:
            run(get(server), pki.client())
        assert caught.value.code == "http_truncated"


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("GET", f"ftp://{SECRET}.example/", {}),
        ("GET", f"https://user:{SECRET}@api.example/", {}),
        ("GET", "https:///", {}),
        ("GET", "http://127.0.0.1:1/", {"Authorization": f"Bearer {SECRET}\r\nX: y"}),
        ("GET", "http://127.0.0.1:1/", {"Authorization": f"Bearer {SECRET}ä€"}),
        ("GET", "http://127.0.0.1:1/", {"Content-Length": "5"}),
        ("GET /", "http://127.0.0.1:1/", {}),
        ("CONNECT", "http://127.0.0.1:1/", {}),
    ],
)
def test_requests_that_cannot_be_sent(method: str, url: str, headers: dict[str, str]) -> None:
    """Found before anything is dialed, and quoted by no message."""
    with pytest.raises(ValueError, match=r"HTTP") as caught:
        run(lambda client: client.request(method, url, headers))
    assert SECRET not in str(caught.value)


def test_a_connection_is_kept(pki: Pki, each_loop: str) -> None:
    """Requests one after the other share one TLS connection; those at a time have one each, up to the limit."""
    ports: list[object] = []

    def script(connection: Accepted) -> None:
        ports.append(connection.sock.getpeername())
        answers(*[OK] * 9)(connection)

    async def work(client: AsyncHttpClient) -> None:
        for _ in range(3):
            await get(server)(client)
        assert len(ports) == 1
        await asyncio.gather(*(get(server)(client) for _ in range(6)))
        assert len(ports) == 2

    with Server(script, tls=pki.server()) as server:
        run(work, pki.client(), limits=HttpLimits(requests=2))


@pytest.mark.parametrize(
    ("method", "headers", "body"), [("GET", {}, b""), ("POST", {"Idempotency-Key": "k"}, b"{}"), ("POST", {}, b"{}")]
)
@pytest.mark.parametrize("tls", [False, True])
def test_a_kept_connection_that_ended(method: str, headers: dict[str, str], body: bytes, tls: bool, pki: Pki) -> None:
    """The server leaves while the connection is idle, or on the next request: that one is sent again, once."""
    seen: list[bytes] = []

    def script(connection: Accepted) -> None:
        answers(OK, stay=False)(connection)
        seen.append(request_of(connection))  # and no answer

    async def work(client: AsyncHttpClient) -> None:
        await get(server)(client)
        assert (await get(server, "/again", method, headers=headers, body=body)(client)).body == b"ok"

    with Server(script, tls=pki.server() if tls else None) as server:
        run(work, pki.client())
    repeatable = method == "GET" or bool(headers)
    assert [bool(request) for request in sorted(seen)] == [False, repeatable]


def test_no_second_try_on_a_new_connection() -> None:
    """Nor after the first byte of an answer: the server may have done it already."""
    seen: list[bytes] = []
    with Server(answers(OK, b"H", stay=False, seen=seen)) as server:

        async def work(client: AsyncHttpClient) -> None:
            await get(server)(client)
            await get(server)(client)

        with pytest.raises(HttpFault) as caught:
            run(work)
    assert (caught.value.code, len(seen)) == ("http_truncated", 2)


@pytest.mark.parametrize("limits", [HttpLimits(idle_time=1e-3), HttpLimits(idle=1)], ids=["time", "count"])
def test_idle_connections_are_dropped(limits: HttpLimits) -> None:
    """After their time, and where there are enough."""
    ended: queue.Queue[bool] = queue.Queue()

    def script(connection: Accepted) -> None:
        answers(OK)(connection)
        ended.put(True)

    async def work(client: AsyncHttpClient) -> None:
        await asyncio.gather(get(server)(client), get(server)(client))
        await asyncio.to_thread(ended.get, True, PATIENCE)

    with Server(script) as server:
        run(work, limits=limits)


def test_what_comes_unasked_ends_a_kept_connection() -> None:
    """An answer that nobody asked for is never taken for that to the next request."""
    seen: list[bytes] = []

    def script(connection: Accepted) -> None:
        answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", seen=seen)(connection)

    async def work(client: AsyncHttpClient) -> None:
        for _ in range(2):
            assert (await get(server)(client)).body == b"ok"

    with Server(script, tolerant=True) as server:
        run(work)
    assert len(seen) == 2


def silent(connection: Accepted) -> None:
    """A script: read, and say nothing."""
    connection.rest()


@pytest.mark.parametrize("how", ["deadline", "cancel", "close"])
@pytest.mark.parametrize("phase", ["connect", "tls", "answer", "queue"])
def test_requests_end_in_every_phase(phase: str, how: str, pki: Pki, each_loop: str) -> None:
    """By the deadline, a cancellation, or the client's end; each closes the socket."""

    async def work(client: AsyncHttpClient) -> None:
        url = f"{'https' if phase == 'tls' else 'http'}://127.0.0.1:{port}/"
        task = asyncio.ensure_future(client.request("GET", url, timeout=0.05 if how == "deadline" else PATIENCE))
        if how != "deadline":
            for _ in range(5):
                await asyncio.sleep(0)
            if how == "cancel":
                task.cancel()
            else:
                await client.aclose()
        with pytest.raises(asyncio.CancelledError if how == "cancel" else HttpFault) as caught:
            await task
        words = f"127.0.0.1:{port} did not answer within 0.05 s"
        closed = f"no answer from 127.0.0.1:{port}: this HTTP client is closed"
        assert str(caught.value) == {"deadline": words, "close": closed, "cancel": ""}[how]

    async def behind(client: AsyncHttpClient) -> None:
        first = asyncio.ensure_future(client.request("GET", f"http://127.0.0.1:{port}/", timeout=PATIENCE))
        await asyncio.sleep(0)
        await work(client)
        first.cancel()

    limits = HttpLimits(requests=1 if phase == "queue" else 2)
    with BlackHole() as hole, Server(silent, tolerant=True) as server:
        port = hole.port if phase == "connect" else server.port
        run(behind if phase == "queue" else work, pki.client(), limits=limits)


def test_a_closed_client_sends_nothing() -> None:
    """And closing it again is harmless."""

    async def work(client: AsyncHttpClient) -> None:
        await client.aclose()
        await client.request("GET", "http://127.0.0.1:1/")

    with pytest.raises(HttpFault, match=r"^no answer from 127.0.0.1:1: this HTTP client is closed$"):
        run(work)


@pytest.mark.parametrize(
    ("phase", "fault", "words"),
    [
        ("refused", DialFault.REFUSED, "127.0.0.1 (connection refused)"),
        ("untrusted", DialFault.CERTIFICATE_UNTRUSTED, "authority unknown here"),
        ("plain", DialFault.NOT_TLS, "plain text (HTTP?) instead of TLS"),
        ("silent", DialFault.TIMEOUT, "did not finish the TLS handshake in time"),
        ("gone", DialFault.TLS, "in the middle of the TLS handshake"),
    ],
)
def test_connections_that_do_not_come_up(phase: str, fault: DialFault, words: str, pki: Pki) -> None:
    """The faults of the data plane, in its words."""

    def script(connection: Accepted) -> None:
        if phase == "plain":
            connection.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        if phase == "silent":
            connection.rest()

    tls = pki.server() if phase == "untrusted" else None
    context = None if phase == "untrusted" else pki.client()
    with free_port() as free, Server(script, tls=tls, tolerant=True) as server:
        port = free if phase == "refused" else server.port
        with pytest.raises(DialError) as caught:
            run(
                lambda client: client.request("GET", f"https://localhost:{port}/"),
                context,
                timeouts=Timeouts(tls=0.05 if phase == "silent" else PATIENCE),
                resolver=lambda host, port: [(2, ("127.0.0.1", port))],
            )
    assert (caught.value.failure.fault, words in str(caught.value)) == (fault, True)
    assert_says_it_once(caught.value.failure)
