"""A hub for tests of programs that use `thalovant`: in this process, on this machine, gone when the test is over.

with thalovant.testing.hub() as hub:
    client = hub.client()
    assert client.ask("hi").text == "You said: hi"
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from ._internal.options import seconds
from ._internal.portal import Portal, running, shaped
from .client import ThalovantClient
from .errors import ThalovantTimeoutError
from .events import ThalovantEvent
from .hub import Hub, Settings, Skill
from .hub.broker import amqtt as broker
from .hub.demo import SKILLS
from .hub.skills.registry import SkillFunction
from .hub.skills.turn_state import TurnInfo
from .identity import ThalovantIdentity

#: The client that `LocalHub.client` makes if not told otherwise.
CLIENT = "test-client"


@contextmanager
def hub(
    *, generation: int = 3, skills: Iterable[Skill] = SKILLS, settings: Settings | None = None, tls: bool = True
) -> Iterator[LocalHub]:
    """A hub that listens on free ports of 127.0.0.1, with TLS, until the block ends: for WSS, HTTPS and, where the
    extra `hub` is installed, MQTT.

    `generation` is what its clients speak unless they are added with another: 3, 1 or 0. `skills` answer what the
    test's own skills do not; by default those of the demonstration, which repeat what they do not know. Without `tls`
    its ports are plain, for programs that cannot be told whom to trust.
    """
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="thalovant-test-")))
        local = LocalHub(folder, generation=generation, skills=skills, settings=settings or Settings(), tls=tls)
        exits.callback(local.close)
        local.start()
        yield local


class LocalHub:
    """A running hub, usable from any thread. Made by `hub`.

    `identity` and `client` give what a program needs to reach it; `skill`, `on` and `on_binary` say how it answers;
    `heard` and `wait_for` show what reached it; `stop`, `start` and `disconnect` are for the bad days.
    """

    def __init__(
        self, folder: Path, *, generation: int, skills: Iterable[Skill], settings: Settings, tls: bool
    ) -> None:
        self._folder = folder
        self._generation = generation
        self._portal = Portal("thalovant-test-hub")
        self._clients: list[ThalovantClient] = []
        self._heard: list[ThalovantEvent] = []
        self._news = threading.Condition()
        mqtt_port = 0 if broker.installed() else None
        self._hub = Hub(
            skills=skills, https_port=0, mqtt_port=mqtt_port, state=folder / "hub", settings=settings, tls=tls
        )
        self._hub.watch(self._hear)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._hub!r}>"

    # --- life ---

    def start(self) -> None:
        """Listen again after `stop`: same ports, same keys, same clients."""
        self._portal.call(self._hub.start)

    def stop(self) -> None:
        """Say goodbye to all clients and stop to listen, as a hub that goes down for maintenance."""
        self._portal.call(self._hub.close)

    def close(self) -> None:
        """Close the clients that it made, and the hub."""
        for client in self._clients:
            client.close(timeout=0)
        self.stop()
        self._portal.stop()

    def disconnect(self, name: str = CLIENT, *, code: int = 1001, reason: str = "") -> int:
        """Close a client's connections with a WebSocket close code; gives their number."""
        return self._portal.run(lambda: self._hub.disconnect(name, code=code, reason=reason))

    # --- clients ---

    def add_client(self, name: str, **options: Any) -> ThalovantIdentity:
        """Register a client; `options` are those of `Hub.add_client`. Raises `ValueError` if the name is taken."""
        given = {"generation": self._generation, **options}
        return self._portal.run(lambda: self._hub.add_client(name, **given))

    def identity(self, name: str = CLIENT) -> ThalovantIdentity:
        """The identity of a client, which is registered if it is not yet."""
        return self._portal.run(lambda: self._hub.identity(name)) or self.add_client(name)

    def state_dir(self, name: str = CLIENT) -> Path:
        """A folder for the keys of a client that a test makes itself: its `noise_state_dir`."""
        return self._folder / "clients" / name

    def client(self, name: str = CLIENT, **options: Any) -> ThalovantClient:
        """A client that connects when it is used, closed with the hub; `options` are those of `ThalovantClient`."""
        client = ThalovantClient(self.identity(name), **{"noise_state_dir": self.state_dir(name), **options})
        self._clients.append(client)
        return client

    @property
    def connected(self) -> tuple[str, ...]:
        """The names of the clients that are connected and proven."""
        return self._portal.run(lambda: self._hub.connected)

    def wait_for_connection(self, name: str = CLIENT, *, timeout: float = 5.0) -> bool:
        """Wait until a client is connected and proven, at most `timeout` seconds; whether it is."""

        seconds(timeout)

        async def connected() -> bool:
            try:
                async with asyncio.timeout(timeout):
                    await self._hub.wait_connected(name)
            except TimeoutError:
                return False
            return True

        return self._portal.call(connected)

    # --- how it answers ---

    @shaped(Hub.skill)
    def skill(self, *phrases: str, **options: Any) -> Callable[[SkillFunction], Skill]:
        return self._hub.skill(*phrases, **options)

    def on(self, type: str) -> Callable[[SkillFunction], SkillFunction]:
        """Call a function for each bus message of a type. See `Hub.on`."""
        return self._hub.on(type)

    def on_binary(self, kind: str | int) -> Callable[[SkillFunction], SkillFunction]:
        """Call a function for raw bytes of a kind. See `Hub.on_binary`."""
        return self._hub.on_binary(kind)

    speak_to: Final = running(Hub.speak_to)
    emit_to: Final = running(Hub.emit_to)
    send_binary_to: Final = running(Hub.send_binary_to)
    send_to: Final = running(Hub.send_to)

    # --- what it heard ---

    @property
    def heard(self) -> tuple[ThalovantEvent, ...]:
        """All bus messages that reached it, in order; `context["source"]` says from whom."""
        with self._news:
            return tuple(self._heard)

    def wait_for(
        self, name: str, *, timeout: float = 5.0, predicate: Callable[[ThalovantEvent], bool] = lambda event: True
    ) -> ThalovantEvent:
        """The first bus message of that type, heard already or within `timeout` seconds.

        Raises `ThalovantTimeoutError`.
        """

        def found() -> ThalovantEvent | None:
            return next((event for event in self._heard if event.name == name and predicate(event)), None)

        with self._news:
            event = self._news.wait_for(found, seconds(timeout))
        if event is None:
            raise ThalovantTimeoutError(f"The hub heard no {name!r} within {timeout:g}s.")
        return event

    @property
    def _original(self) -> Hub:
        return self._hub

    def _here(self) -> Portal:
        return self._portal

    def _hear(self, turn: TurnInfo) -> None:
        with self._news:
            self._heard.append(ThalovantEvent(name=turn.type, data=dict(turn.data), context=dict(turn.context)))
            self._news.notify_all()
