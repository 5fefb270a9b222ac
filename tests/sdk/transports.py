"""Transports that tests hand to a client in place of a hub, as programs of the published releases do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from thalovant import ThalovantClient, ThalovantIdentity

IDENTITY = ThalovantIdentity(access_key="AK", password="PW", default_master="https://hub.example", site_id="site")

Handler = Callable[[Any], Any]


def message(data: Any = None, context: Any = None, kind: str | None = None) -> Any:
    """What a transport calls back with."""
    return SimpleNamespace(data={} if data is None else data, context={} if context is None else context, msg_type=kind)


class Fake:
    """A transport that remembers what it is told, and answers an utterance before `emit_event` returns."""

    def __init__(self, *answers: tuple[str, dict[str, Any]], echo: bool = True) -> None:
        self.answers = answers or (("speak", {"utterance": "hello"}), ("ovos.utterance.handled", {}))
        self.echo = echo
        self.calls: list[str] = []
        self.sent: list[tuple[str, Any, Any]] = []
        self.handlers: dict[str, list[Handler]] = {}
        self.is_connected = False
        self.last_error: Any = None
        self.faults: dict[str, list[Exception]] = {}

    def connect(self) -> None:
        self._called("connect")
        self.is_connected = True

    def disconnect(self) -> None:
        self._called("disconnect")
        self.is_connected = False

    def on_mycroft(self, name: str, handler: Handler) -> None:
        self.handlers.setdefault(name, []).append(handler)

    def remove_mycroft(self, name: str, handler: Handler) -> None:
        self.handlers[name].remove(handler)

    def emit_event(self, event_type: str, data: Any = None, context: Any = None) -> None:
        self._called("emit_event")
        self.sent.append((event_type, data, context))
        if event_type == "recognizer_loop:utterance":
            for name, answer in self.answers:
                self.fire(name, answer, context if self.echo else {})

    def healthcheck(self) -> dict[str, bool]:
        return {"connected": self.is_connected, "handshake_complete": True, "transport_alive": True}

    def fire(self, name: str, data: Any = None, context: Any = None) -> None:
        """Say something to those who listen."""
        for handler in tuple(self.handlers.get(name, ())):
            handler(message(data, context))

    @property
    def subscribed(self) -> list[str]:
        """The names that somebody listens to."""
        return sorted(name for name, handlers in self.handlers.items() for _ in handlers)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if faults := self.faults.get(name):
            raise faults.pop(0)


@pytest.fixture
def fake() -> Fake:
    """A transport that answers."""
    return Fake()


def client_over(transport: Any, **options: Any) -> ThalovantClient:
    """A client over a transport of the test's."""
    return ThalovantClient(IDENTITY, transport=transport, **options)
