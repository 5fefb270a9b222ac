"""A server's socket with another service behind it: answers that take their time, and refusals in its words."""

from __future__ import annotations

import pytest

from thalovant_proto.links.https.server import HttpsServerConnection, Reply
from thalovant_proto.links.https.stream import DEFAULT_HTTPS_LIMITS

REQUEST = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"


def connection(replies: list[Reply | None]) -> HttpsServerConnection:
    """A socket whose requests are answered by the next of `replies`, once that is not None."""
    return HttpsServerConnection(
        lambda message, connection, now: lambda: replies.pop(0),
        "127.0.0.1",
        limits=DEFAULT_HTTPS_LIMITS,
        now=0.0,
        refusal=lambda status, error: Reply(status, b"no", media_type="text/plain"),
    )


def test_an_answer_may_come_later() -> None:
    """The socket stays, and a second request waits behind the first."""
    socket = connection([None, None, Reply(299, b"a", (("X", "1"),)), Reply(200, b"b")])
    socket.receive_data(REQUEST * 2, 1.0)
    assert (socket.data_to_send(), socket.data_to_send()) == (b"", b"")
    assert socket.data_to_send() == (
        b"HTTP/1.1 299 \r\ncache-control: no-store\r\nx: 1\r\ncontent-type: application/json; charset=UTF-8\r\n"
        b"content-length: 1\r\n\r\na"
    ).replace(b"\r\ncache-control", b"\r\nCache-Control").replace(b"\r\nx:", b"\r\nX:").replace(
        b"\r\ncontent-type", b"\r\nContent-Type").replace(b"\r\ncontent-length", b"\r\nContent-Length")  # fmt: skip
    assert socket.data_to_send().endswith(b"\r\n\r\nb")
    assert not socket.finished


def test_an_answer_that_never_comes_ends_the_socket() -> None:
    """After the time that a socket may rest."""
    socket = connection([None])
    socket.receive_data(REQUEST, 1.0)
    assert socket.data_to_send() == b""
    socket.handle_timeout(socket.next_timeout or 0.0)
    assert socket.finished


def test_no_content_has_no_length() -> None:
    """RFC 9110 §8.6."""
    socket = connection([Reply(204, b""), Reply(200, b"next")])
    socket.receive_data(REQUEST, 1.0)
    assert socket.data_to_send() == b"HTTP/1.1 204 \r\nCache-Control: no-store\r\n\r\n"
    socket.receive_data(REQUEST, 2.0)
    assert socket.data_to_send().endswith(b"next")


@pytest.mark.parametrize(
    ("data", "status"), [(b"nonsense\r\n\r\n", 400), (REQUEST[:-2] + b"Content-Length: 9999999\r\n\r\n", 413)]
)
def test_refusals_are_the_services(data: bytes, status: int) -> None:
    """In its own form."""
    socket = connection([])
    socket.receive_data(data, 1.0)
    sent = socket.data_to_send()
    assert sent.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: text/plain; charset=UTF-8" in sent
    assert sent.endswith(b"\r\n\r\nno")
