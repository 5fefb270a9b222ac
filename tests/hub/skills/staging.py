"""A stage for tests of skills: a real event loop, and an outlet that writes down what is said. No network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from attrs import evolve

from tests.hub.routing import Hive, heard, utterance
from thalovant.hub.actions import HearBinary, RoutedPeer
from thalovant.hub.settings import DEFAULT_SETTINGS
from thalovant.hub.skills.registry import SkillRegistry, skill
from thalovant.hub.skills.runner import SkillRunner
from thalovant.hub.skills.turn import Turn
from thalovant_proto import events as e
from thalovant_proto.jsontext import dumps

PATIENCE = 20.0
HANDLED = "ovos.utterance.handled"


class Scene:
    """A stage, what it was told to do, and what it said."""

    def __init__(self, **settings: Any) -> None:
        self.hub: Any = None
        self.hive = Hive()
        self.skills = SkillRegistry()
        self.said: list[tuple[str, dict[str, Any], dict[str, Any]]] = []  # type, data, context
        self.frames: list[e.Message] = []
        self.held: list[bool] = []
        self.drains = 0
        self.behind: asyncio.Event | None = None  # unset: the client is behind with reading
        self.runner = SkillRunner(self.skills, self, evolve(DEFAULT_SETTINGS, **settings))

    # what a runner wants

    def send(self, peer: RoutedPeer, *events: e.Message, more: bool = False) -> None:
        for event in events:
            self.frames.append(event)
            if isinstance(event, e.Bus):
                dumps(event.data)
                self.said.append((event.type, event.data, event.context))

    def hold(self, peer: RoutedPeer, hold: bool) -> None:
        self.held.append(hold)

    async def drained(self, peer: RoutedPeer) -> None:
        self.drains += 1
        await asyncio.sleep(0)
        if self.behind is not None:
            await self.behind.wait()

    # what tests want

    def skill(self, *phrases: str, **options: Any) -> Callable[[Any], Any]:
        """Add a skill."""
        return lambda function: self.skills.add(skill(*phrases, **{"fallback": not phrases, **options})(function))

    def hub_on(self, type: str) -> Callable[[Any], Any]:
        """Add a handler."""
        return lambda function: self.skills.on(type, function)

    def hear(self, peer: RoutedPeer, text: str = "hello", **context: Any) -> None:
        """A client says something."""
        self.runner.on_request(heard(self.hive.say(peer, utterance(text, **context))).request)

    def hear_binary(self, peer: RoutedPeer, payload: bytes, kind: int = e.BinType.RAW_AUDIO) -> None:
        """A client sends bytes."""
        (action,) = self.hive.say(peer, e.Binary(bin_type=kind, payload=payload, metadata={"rate": 1}))
        assert isinstance(action, HearBinary)
        self.runner.on_binary(action.peer, action.event)

    async def end(self) -> None:
        """End what is going on."""
        await self.runner.drain(0)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let the loop run until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                await asyncio.sleep(0.001)

    async def ended(self, number: int = 1) -> None:
        """Wait until that many utterances are handled."""
        await self.until(lambda: [type for type, _, _ in self.said].count(e.UTTERANCE_HANDLED) >= number)

    @property
    def speech(self) -> list[str]:
        """The texts that were said."""
        return [data["utterance"] for type, data, _ in self.said if type == "speak"]

    @property
    def types(self) -> list[str]:
        """The types of what was said."""
        return [type for type, _, _ in self.said]


@contextlib.asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Scene]:
    """A scene for one test."""
    scene = Scene(**settings)
    yield scene
    await scene.end()


def say_ok(scene: Scene) -> None:
    """Add a skill that always works."""

    @scene.skill("ok")
    async def ok(turn: Turn) -> str:
        return "ok"
