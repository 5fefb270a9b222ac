"""Transports of the user's that fail: which calls go on, which are told, and what is sent again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from thalovant import (
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantHubRefusedError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)

from .lab import PATIENCE
from .transports import Fake, client_over

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_publish_is_tried_twice(fake: Fake) -> None:
    """What raised was not sent: it goes again after reconnecting, once."""
    with client_over(fake) as client:
        fake.faults["emit_event"] = [OSError("1")]
        assert client.ask("x").text == "hello"
        assert fake.calls == ["connect", "emit_event", "disconnect", "connect", "emit_event"]
        for call in (lambda: client.ask("x"), lambda: client.emit("x")):
            fake.faults["emit_event"] = [OSError("1"), OSError("2")]
            with pytest.raises(
                ThalovantConnectionError, match=r"^HiveMind transport failed after reconnect\."
            ) as caught:
                call()
            assert (str(caught.value.__cause__), caught.value.delivery) == ("2", "no")
        fake.faults["emit_event"], fake.faults["connect"] = [OSError("1")], [OSError("2"), OSError("3")]
        with pytest.raises(ThalovantConnectionError, match="failed after reconnect"):
            client.emit("x")
        assert client.ask("x").text == "hello"


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), ThalovantRuntimeError("x"), ThalovantConnectionError("x", delivery="unknown")],
    ids=lambda error: type(error).__name__,
)
def test_publish_that_must_not_be_tried_again(fake: Fake, error: Exception) -> None:
    """What the message is to blame for, and what may have left, is raised as it is."""
    with client_over(fake) as client:
        for call in (lambda: client.ask("x"), lambda: client.emit("x")):
            fake.faults["emit_event"] = [error]
            with pytest.raises(type(error), match=r"^x"):
                call()
    assert fake.calls == ["connect", "emit_event", "emit_event", "disconnect"]


@pytest.mark.parametrize(
    ("faults", "attempts", "expected"),
    [
        ([OSError("a")], 1, None),
        ([OSError("a"), OSError("b")], 1, "The transport could not connect: b"),
        ([ThalovantConnectionError("a")], 0, "a"),
        ([ThalovantHubRefusedError("no", retryable=False)], 3, "no"),
        ([OSError("a")] * 3, 3, None),
        ([OSError("a")] * 4, None, None),
    ],
)
def test_connect_is_tried_again(
    fake: Fake, faults: list[Exception], attempts: int | None, expected: str | None
) -> None:
    """As often as `reconnect_attempts` says; what cannot be mended by that ends it."""
    fake.faults["connect"] = faults
    client = client_over(fake, reconnect_attempts=attempts)
    if expected is None:
        assert client.ask("x").text == "hello"
    else:
        with pytest.raises(ThalovantConnectionError) as caught:
            client.ask("x")
        assert str(caught.value) == expected
        assert client.ask("x").text == "hello"
    client.close()


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.ask("x", timeout=PATIENCE),
        lambda client: client.wait_for_event("x", timeout=PATIENCE),
        lambda client: list(client.listen("x", timeout=PATIENCE)),
    ],
    ids=["ask", "wait_for_event", "listen"],
)
@pytest.mark.parametrize("auto_reconnect", [True, False])
def test_transport_that_dies(fake: Fake, wait: Callable[[ThalovantClient], Any], auto_reconnect: bool) -> None:
    """What waits ends with the transport's words; the next call connects again."""
    fake.answers = (("x", {}),)
    with client_over(fake, auto_reconnect=auto_reconnect) as client:
        subscribe, fake.last_error = fake.on_mycroft, "cut off at wss://u:p@hub"

        def last(name: str, handler: Any) -> None:
            subscribe(name, handler)
            fake.is_connected = False

        fake.on_mycroft = last  # type: ignore[method-assign]
        with pytest.raises(ThalovantConnectionError, match=r"^HiveMind transport stopped: cut off at wss://hub\b"):
            wait(client)
        fake.on_mycroft = subscribe  # type: ignore[method-assign]
        client.emit("y")
        assert fake.calls[-2:] == ["connect", "emit_event"]


def test_another_connection(fake: Fake) -> None:
    """A session token that changes is another connection, which has no answer."""
    fake.session_token = 1  # type: ignore[attr-defined]
    said = fake.emit_event

    def emit(*sent: Any) -> None:
        fake.answers = ()
        said(*sent)
        fake.session_token += 1  # type: ignore[attr-defined]

    fake.emit_event = emit  # type: ignore[method-assign]
    with client_over(fake) as client, pytest.raises(ThalovantConnectionError, match=r"^HiveMind transport stopped\."):
        client.ask("x", timeout=PATIENCE)


class Hanging(Fake):
    """One of its methods does not return until the test is over."""

    def __init__(self, where: str, over: threading.Event) -> None:
        super().__init__()
        self._where = (where, over)

    def _called(self, name: str) -> None:
        super()._called(name)
        if name == self._where[0]:
            self._where[1].wait(PATIENCE)


def test_transport_that_hangs() -> None:
    """Deadlines hold, and nothing is held up at the end."""
    over = threading.Event()
    try:
        client = client_over(fake := Hanging("connect", over))
        with pytest.raises(ThalovantConnectionError, match=r"^Hub connection did not complete within 0\.1s\."):
            client.connect(0.1)
        client.close()
        assert fake.calls == ["connect", "disconnect"]
        client = client_over(fake := Hanging("emit_event", over), send_timeout=0.1)
        with pytest.raises(ThalovantTimeoutError, match=r"within 0\.1s"):
            client.ask("x", timeout=0.1)
        with pytest.raises(ThalovantTimeoutError, match="was not sent"):
            client.emit("x")
        client.close()
        assert fake.calls == ["connect", "emit_event", "emit_event", "disconnect"]
        client = client_over(Hanging("disconnect", over))
        client.connect()
        client.close()
    finally:
        over.set()


def test_client_that_is_forgotten(fake: Fake) -> None:
    """The transport is disconnected all the same."""
    gone, left = threading.Event(), fake.disconnect
    fake.disconnect = lambda: (left(), gone.set())  # type: ignore[method-assign, func-returns-value, assignment, return-value]
    client = client_over(fake)
    client.connect()
    with pytest.warns(ResourceWarning):
        del client
        gc.collect()
    assert gone.wait(PATIENCE)


@pytest.mark.parametrize("given", ["wss", Fake, object(), 7])
def test_what_is_no_transport(given: Any) -> None:
    """One error, at once, that says what to do."""
    with pytest.raises(TypeError, match=r"transport must be an object with connect\(\).*protocol="):
        client_over(given)


class Mute:
    """A transport that can only send."""

    def connect(self) -> None: ...

    def emit_event(self, *sent: Any) -> None: ...


def test_transport_that_lacks_methods() -> None:
    """The call that needs one says so; the others work."""
    with client_over(Mute()) as client:
        client.emit("x")
        client.send_utterance("x")
        assert client.healthcheck().ok
        for call in (lambda: client.ask("x"), lambda: client.wait_for_event("x"), lambda: client.on("x", print)):
            with pytest.raises(ThalovantRuntimeError, match=r"^The transport has no method on_mycroft\(\)\."):
                call()
        with pytest.raises(ThalovantRuntimeError, match=r"^This transport does not support HiveMind query frames\."):
            client.query("x")
        with pytest.raises(ThalovantRuntimeError, match="send_binary"):
            client.send_binary(b"x")


@pytest.mark.parametrize(("options", "said"), [({"auto_reconnect": False}, "1"), ({"reconnect_attempts": 0}, "failed")])
def test_publish_without_reconnecting(fake: Fake, options: dict[str, Any], said: str) -> None:
    """Whoever wants no reconnect has no second try."""
    with client_over(fake, **options) as client:
        fake.faults["emit_event"] = [ThalovantConnectionError("1")]
        with pytest.raises(ThalovantConnectionError, match=said):
            client.emit("x")
    assert fake.calls == ["connect", "emit_event", "disconnect"]
