"""Mistakes that users make in Python programs: each is one short error that names the mistake and the way out.

What hubs refuse has its own table in `test_failures.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from thalovant import (
    AsyncThalovantClient,
    HubDataPlaneEndpoints,
    HubProtocol,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantError,
    ThalovantIdentity,
)

from .lab import Lab, free_port

SECRETS = ("AK-mistake-1f2e", "PW-mistake-3d4c")
NAN = float("nan")

Sync = Callable[[ThalovantClient], object]
Async = Callable[[AsyncThalovantClient], Coroutine[Any, Any, object]]
Kind = type[BaseException]


def _identity(**changes: Any) -> ThalovantIdentity:
    """An identity of a hub that is not there."""
    values = {
        "access_key": SECRETS[0],
        "password": SECRETS[1],
        "site_id": "den",
        "default_master": f"wss://127.0.0.1:{free_port()}",
    }
    return ThalovantIdentity.from_mapping({**values, **changes})


def mended(error: BaseException, says: str, fix: str) -> None:
    """The error names the mistake and the way out, shortly, each once, and no secret."""
    hint = getattr(error, "hint", "") or "".join(getattr(error, "__notes__", ()))
    whole = "".join(traceback.format_exception(error))
    assert says in str(error)
    assert fix in f"{error} {hint}"
    assert len(f"{error}\n{hint}".splitlines()) <= 3
    assert not hint or (hint not in str(error) and whole.count(hint) == 1)
    assert hint or not isinstance(error, ThalovantError)
    assert not [secret for secret in SECRETS if secret in whole]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "thalovant" in Path(frame.filename).parts]
    assert len(frames) <= 12


async def _hears(event: object) -> None: ...


def _yields(event: object) -> Iterator[object]:
    yield event


async def _pieces(event: object) -> AsyncIterator[object]:
    yield event


class _Calls:
    async def __call__(self, event: object) -> None: ...


async def _enter(context: Any) -> None:
    async with context:
        raise AssertionError


def _with(context: Any) -> None:
    with context:
        raise AssertionError


CALLS: dict[str, tuple[Sync, Kind, str, str]] = {
    # what, the call on a synchronous client, the error, what it says, the way out
    **{
        f"{what} of {given!r}": (call, ValueError, f"timeout must be a number of seconds, 0 or more, not {given!r}", "")
        for given in (-1, NAN, "5", True, -float("inf"))
        for what, call in {
            "connect": lambda c, t=given: c.connect(t),
            "connect_with_info": lambda c, t=given: c.connect_with_info(t),
            "close": lambda c, t=given: c.close(t),
            "ask": lambda c, t=given: c.ask("hi", timeout=t),
            "stream": lambda c, t=given: next(c.stream("hi", timeout=t)),
            "query": lambda c, t=given: c.query("hi", timeout=t),
            "wait_for_event": lambda c, t=given: c.wait_for_event("speak", timeout=t),
            "listen": lambda c, t=given: next(c.listen("speak", timeout=t)),
            "ask of a conversation": lambda c, t=given: c.conversation().ask("hi", timeout=t),
        }.items()
    },
    "ask without a timeout": (lambda c: c.ask("hi", timeout=None), ValueError, "timeout", "not None"),  # type: ignore[arg-type]
    "no text": (lambda c: c.ask(" "), ValueError, "ask()", "non-empty text"),
    "text that is none": (lambda c: c.ask(None), ValueError, "ask()", "non-empty text"),  # type: ignore[arg-type]
    "context that is none": (lambda c: c.ask("hi", context="x"), TypeError, "context", "mapping"),  # type: ignore[arg-type]
    "emit of text": (lambda c: c.emit("a.b", "x"), TypeError, "data of emit()", "mapping"),  # type: ignore[arg-type]
    "emit of a list": (lambda c: c.emit("a.b", [1]), TypeError, "not list", "mapping"),  # type: ignore[arg-type]
    "emit in a context": (lambda c: c.emit("a.b", {}, "x"), TypeError, "context", "mapping"),  # type: ignore[arg-type]
    "emit of no type": (lambda c: c.emit(""), ValueError, "emit()", "non-empty event type"),
    "emit in a conversation": (
        lambda c: c.conversation().emit("a.b", "x"),  # type: ignore[arg-type]
        TypeError,
        "data of emit()",
        "mapping",
    ),
    "conversation in text": (lambda c: c.conversation(context="x"), TypeError, "context", "mapping"),  # type: ignore[arg-type]
    "bytes that are text": (lambda c: c.send_binary("x"), TypeError, "not str", "emit()"),  # type: ignore[arg-type]
    "bytes that are a number": (lambda c: c.send_binary(5), TypeError, "not int", "bytes"),  # type: ignore[arg-type]
    "bytes of no kind": (lambda c: c.send_binary(b"", "mp3"), ValueError, "'mp3'", "raw_audio"),
    "no event name": (lambda c: c.on("", print), ValueError, "name of an event", "''"),
    "handler first": (lambda c: c.on(print, "speak"), TypeError, "not str", "function"),  # type: ignore[arg-type]
    "waiting for nothing": (lambda c: c.wait_for_event(None), ValueError, "name of an event", "text"),  # type: ignore[arg-type]
    "handler that was called": (lambda c: c.on("speak", print()), TypeError, "NoneType", "without ()"),  # type: ignore[func-returns-value, arg-type]
    "coroutine as handler": (lambda c: c.on("speak", _hears), TypeError, "coroutine", "AsyncThalovantClient"),
    "object as handler": (lambda c: c.on("speak", _Calls()), TypeError, "coroutine", "AsyncThalovantClient"),
    "coroutine in a conversation": (lambda c: c.conversation().on("speak", _hears), TypeError, "coroutine", "Async"),
    "generator as handler": (lambda c: c.on("speak", _yields), TypeError, "`yield`", "return"),
    "coroutine for bytes": (lambda c: c.on_binary(_hears), TypeError, "coroutine", "AsyncThalovantClient"),
    "nothing for bytes": (lambda c: c.on_binary(None), TypeError, "NoneType", "without ()"),  # type: ignore[arg-type]
    "coroutine for states": (lambda c: c.on_state(_hears), TypeError, "coroutine", "plain function"),  # type: ignore[arg-type]
    "nothing for states": (lambda c: c.on_state(None), TypeError, "NoneType", "without ()"),  # type: ignore[arg-type]
    "predicate that is none": (lambda c: c.on("speak", print, predicate=1), TypeError, "predicate", "function"),  # type: ignore[arg-type]
    "coroutine as predicate": (
        lambda c: c.wait_for_event("speak", predicate=_hears),  # type: ignore[arg-type]
        TypeError,
        "predicate",
        "plain function",
    ),
    "no room to listen": (
        lambda c: next(c.listen("speak", max_buffered_events=0)),
        ValueError,
        "buffered",
        "1 or more",
    ),
    "async with": (lambda c: asyncio.run(_enter(c)), TypeError, "`with`", "AsyncThalovantClient"),
    "async with a conversation": (lambda c: asyncio.run(_enter(c.conversation())), TypeError, "`with`", "Async"),
}


@pytest.mark.parametrize(("call", "kind", "says", "fix"), [pytest.param(*case, id=id) for id, case in CALLS.items()])
def test_calls(tmp_path: Path, nothing_left: None, call: Sync, kind: Kind, says: str, fix: str) -> None:
    """Found at the call, without a hub."""
    client = ThalovantClient(_identity(), noise_state_dir=tmp_path, connect_timeout=0.1, reconnect_attempts=0)
    try:
        with pytest.raises(kind) as caught:
            call(client)
    finally:
        client.close(0)
    mended(caught.value, says, fix)


async def _on(client: AsyncThalovantClient, handler: Any) -> None:
    client.on("speak", handler)


async def _on_state(client: AsyncThalovantClient, handler: Any) -> None:
    client.on_state(handler)


async def _entered(client: AsyncThalovantClient) -> None:
    _with(client)


async def _conversation_entered(client: AsyncThalovantClient) -> None:
    _with(client.conversation())


ASYNC_CALLS: dict[str, tuple[Async, Kind, str, str]] = {
    "timeout": (lambda c: c.ask("hi", timeout=-1), ValueError, "timeout", "0 or more"),
    "closing": (lambda c: c.close(NAN), ValueError, "timeout", "0 or more"),
    "handler": (lambda c: _on(c, None), TypeError, "handler of 'speak'", "without ()"),
    "generator": (lambda c: _on(c, _pieces), TypeError, "`yield`", "await"),
    "states": (lambda c: _on_state(c, _hears), TypeError, "coroutine", "plain function"),
    "with": (_entered, TypeError, "`async with`", "its twin is ThalovantClient"),
    "with a conversation": (_conversation_entered, TypeError, "`async with`", "its twin is ThalovantConversation"),
}


@pytest.mark.parametrize(
    ("call", "kind", "says", "fix"), [pytest.param(*case, id=id) for id, case in ASYNC_CALLS.items()]
)
async def test_asynchronous_calls(tmp_path: Path, call: Async, kind: Kind, says: str, fix: str) -> None:
    """The same on the asynchronous client, where a coroutine function is a handler like any other."""
    client = AsyncThalovantClient(_identity(), noise_state_dir=tmp_path)
    with pytest.raises(kind) as caught:
        await call(client)
    mended(caught.value, says, fix)
    await client.close(0)


def test_no_loop(tmp_path: Path) -> None:
    """An asynchronous client outside a coroutine."""
    with pytest.raises(ThalovantError) as caught:
        AsyncThalovantClient(_identity(), noise_state_dir=tmp_path).on("speak", print)
    mended(caught.value, "no running event loop", "ThalovantClient")


MADE: dict[str, tuple[Callable[[], object], Kind, str, str]] = {
    # what, how the client is made, the error, what it says, the way out
    "of a path": (lambda: ThalovantClient("id.json"), TypeError, "not str", "ThalovantClient.from_identity_file(path)"),  # type: ignore[call-arg, arg-type]
    "of a Path": (
        lambda: AsyncThalovantClient(Path("x")),
        TypeError,
        "ThalovantIdentity",
        "AsyncThalovantClient.from_",
    ),  # type: ignore[arg-type]
    "of a dict": (lambda: ThalovantClient({}), TypeError, "not dict", "ThalovantIdentity.from_mapping(values)"),  # type: ignore[call-arg, arg-type]
    "of nothing": (lambda: ThalovantClient(), TypeError, "NoneType", "ThalovantClient.from_env()"),  # type: ignore[call-arg]
    "upper case": (lambda: ThalovantClient(_identity(), protocol="WSS"), ThalovantError, "WSS", "lower case"),
    "plain scheme": (lambda: ThalovantClient(_identity(), protocol="ws"), ThalovantError, "ws", '"wss"'),
    "no broker": (lambda: ThalovantClient(_identity(), protocol="mqtt"), ThalovantError, "MQTT", "create a fresh"),
    "retry": (lambda: ThalovantClient(_identity(), retry="always"), ValueError, "'always'", '"idempotent"'),
    "useragent": (lambda: ThalovantClient(_identity(), useragent="a:b"), ValueError, "user agent", "colon"),
    "attempts": (lambda: ThalovantClient(_identity(), reconnect_attempts=-1), ValueError, "reconnect_attempts", "0 or"),
    "patience": (lambda: ThalovantClient(_identity(), connect_timeout=0), ValueError, "connect_timeout", "positive"),
    "unknown option": (lambda: ThalovantClient(_identity(), verify=False), TypeError, "verify", "unexpected"),
    "plain endpoint": (
        lambda: ThalovantClient(_identity(default_master="ws://hub.example")),
        ThalovantError,
        "not encrypted",
        "allow_insecure=True",
    ),
    "no file": (lambda: ThalovantClient.from_identity_file("no-such.json"), ThalovantError, "no-such.json", ""),
    "no environment": (lambda: ThalovantClient.from_env(), ThalovantError, "access_key", "THALOVANT_ACCESS_KEY"),
    "no master": (lambda: _identity(default_master=""), ThalovantError, "default_master", "empty"),
    "port": (lambda: _identity(default_port="70000"), ThalovantError, "default_port", "65535"),
}


@pytest.mark.parametrize(("make", "kind", "says", "fix"), [pytest.param(*case, id=id) for id, case in MADE.items()])
def test_making(monkeypatch: pytest.MonkeyPatch, make: Callable[[], object], kind: Kind, says: str, fix: str) -> None:
    """Found when the client is made."""
    for name in [name for name in os.environ if name.startswith("THALOVANT_")]:
        monkeypatch.delenv(name)
    with pytest.raises(kind) as caught:
        make()
    mended(caught.value, says, fix)


@contextlib.contextmanager
def _answering(answer: bytes) -> Iterator[int]:
    """A port that says the same to everybody, whatever they said, and hangs up."""

    def serve() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(1)
                sock.recv(65536)
                sock.sendall(answer)
                while sock.recv(65536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def _http(status: str, *headers: str, body: str = "") -> bytes:
    lines = (f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}", *headers)
    return ("\r\n".join((*lines, "", body))).encode()


SSH, PAGE = b"SSH-2.0-OpenSSH_9.6\r\n", _http("200 OK", "Content-Type: text/html", body="<html>Sign in</html>")
NO_COLON, HUGE = _http("101 Switching Protocols", "no colon here"), _http("200 OK", *["X-Filler: x"] * 3000)
ENDLESS = _http("200 OK").replace(b"Length: 0", b"Length: 99999999")
TLS_HUB = b""  # a real one
PORTS: dict[str, tuple[HubProtocol, str, bytes, str, str]] = {
    # what, protocol, the scheme that the identity has, what the port says, what the error says, the way out
    "ws on a TLS port": ("wss", "ws", TLS_HUB, "before the upgrade", "use wss://"),
    "http on a TLS port": ("https", "http", TLS_HUB, "before the hub answered", "use https://"),
    "mqtt on a TLS port": ("mqtt", "mqtt", TLS_HUB, "before it answered CONNECT", "use mqtts://"),
    "wss on a plain port": ("wss", "wss", PAGE, "plain text (HTTP?) instead of TLS", "use ws://"),
    "https on a plain port": ("https", "https", PAGE, "plain text (HTTP?) instead of TLS", "http://"),
    "mqtts on a plain port": ("mqtt", "mqtts", SSH, "instead of TLS", "mqtt://"),
    "WSS of SSH": ("wss", "ws", SSH, "looks like SSH", "endpoint is a hub's"),
    "HTTPS of SSH": ("https", "http", SSH, "looks like SSH", "port"),
    "MQTT of SSH": ("mqtt", "mqtt", SSH, "looks like SSH", "MQTT port"),
    "WSS of MQTT": ("wss", "ws", b"\x20\x02\0\0", "looks like MQTT", "endpoint is a hub's"),
    "MQTT of HTTP": ("mqtt", "mqtt", PAGE, "looks like HTTP", "MQTT port"),
    "WSS of a page": ("wss", "ws", PAGE, "HTTP 200: no WebSocket there", "portal"),
    "HTTPS of a page": ("https", "http", PAGE, "a page, not JSON", "portal"),
    "a path that is not there": ("wss", "ws", _http("404 Not Found"), "HTTP 404", "path"),
    "a redirect": ("https", "http", _http("301 Moved", "Location: https://elsewhere"), "redirect", "where it ends"),
    "a proxy without a hub": ("https", "http", _http("502 Bad Gateway"), "HTTP 502", "is the hub running"),
    "WSS of a broken proxy": ("wss", "ws", NO_COLON, "malformed header line", "settings of the proxy"),
    "HTTPS of a broken proxy": ("https", "http", NO_COLON, "malformed header line", "settings of the proxy"),
    "a head too large for WSS": ("wss", "ws", HUGE, "a head over the limit of", "endpoint is a hub's"),
    "a head too large for HTTPS": ("https", "http", HUGE, "a head over the limit of", "check the endpoint"),
    "an answer too large": ("https", "http", ENDLESS, "a body over the limit of", "check the endpoint"),
    "a broker of MQTT 5": ("mqtt", "mqtt", b"\x20\x02\0\x86", "return code is reserved", "MQTT 3.1.1"),
    "a broker of another version": ("mqtt", "mqtt", b"\x20\x02\0\1", "does not speak MQTT 3.1.1", "switched on"),
    "a client id": ("mqtt", "mqtt", b"\x20\x02\0\2", "refused the client id", "choose their ids"),
    "a broker at rest": ("mqtt", "mqtt", b"\x20\x02\0\3", "unavailable", "broker's log"),
    "a broker's password": ("mqtt", "mqtt", b"\x20\x02\0\4", "user name or the password", "access list"),
    "a broker's access list": ("mqtt", "mqtt", b"\x20\x02\0\5", "not authorize this client", "access list"),
}


@pytest.mark.parametrize(
    ("protocol", "scheme", "answer", "says", "fix"), [pytest.param(*case, id=id) for id, case in PORTS.items()]
)
def test_wrong_ports(
    v3: Lab, tmp_path: Path, protocol: HubProtocol, scheme: str, answer: bytes, says: str, fix: str
) -> None:
    """What answers there is no hub, or no hub in this scheme: the error says what it is."""
    identity = replace(v3.identity(), access_key=SECRETS[0], password=SECRETS[1])
    broker = identity.mqtt
    assert broker is not None
    with contextlib.nullcontext() if answer is TLS_HUB else _answering(answer) as port:
        port = port or urlsplit(identity.endpoint_for(protocol) or "").port
        url = f"{scheme}://127.0.0.1:{port}"
        at = HubDataPlaneEndpoints(**({} if protocol == "mqtt" else {protocol: url}))
        mqtt = replace(broker, endpoint=url, tls=scheme == "mqtts")
        moved = replace(identity, data_plane_endpoints=at, mqtt=mqtt)
        client = ThalovantClient(moved, protocol=protocol, noise_state_dir=tmp_path, reconnect_attempts=0)
        with pytest.raises(ThalovantConnectionError) as caught:
            client.connect()
        client.close(0)
    mended(caught.value, says, fix)
