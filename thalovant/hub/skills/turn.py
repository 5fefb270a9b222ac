"""The turns that skills are called with: what was said, and the means to answer, awaited or waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from ..._internal.binaries import binary
from ..._internal.options import seconds
from ..._internal.portal import blocking
from .speech import SkillFailure, speech
from .turn_state import TurnInfo, TurnState

T = TypeVar("T")

#: How long a follow-up question waits for its answer, in seconds.
FOLLOW_UP_TIME: Final = 60.0


class Turn(TurnInfo):
    """The turn of an `async` skill: what was said, and the means to answer before the skill returns."""

    async def speak(
        self,
        text: str = "",
        *,
        lang: str | None = None,
        table: Any = None,
        choices: Sequence[str | Mapping[str, Any]] | None = None,
        images: Sequence[str | Mapping[str, Any]] | None = None,
        attachments: Sequence[Mapping[str, Any]] | None = None,
        silent: bool = False,
    ) -> None:
        """Say something now; see `speech` for the media. Waits while the client is behind with reading."""
        self._core.say(
            speech(text, lang=lang, table=table, choices=choices, images=images, attachments=attachments, silent=silent)
        )
        await self._core.drained()

    async def ask(
        self,
        text: str,
        *,
        choices: Sequence[str | Mapping[str, Any]] | None = None,
        timeout: float = FOLLOW_UP_TIME,
    ) -> str:
        """Ask back, end this turn, and go on with the client's next one in this conversation: give its text.

        Raises `NoAnswer` after `timeout` seconds, or when another question of the hub took the answer.
        """
        seconds(timeout)
        self._core.say(speech(text, choices=choices, expect_response=True))
        self._core.end()
        await self._core.answer(timeout)
        return self.text

    async def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """Send the client an event of any type, in answer to this one."""
        self._core.send(self._core.request.event(type, dict(data or {})))
        await self._core.drained()

    async def send_binary(
        self, payload: bytes, kind: str | int = "tts_audio", *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Send the client raw bytes. Waits while the client is behind with reading."""
        self._core.send(binary("send_binary", payload, kind, metadata))
        await self._core.drained()


class SyncTurn(TurnInfo):
    """The turn of any other skill, in a thread: a `Turn` whose methods wait instead of being awaited."""

    speak: Final = blocking(Turn.speak)
    ask: Final = blocking(Turn.ask)
    emit: Final = blocking(Turn.emit)
    send_binary: Final = blocking(Turn.send_binary)

    def __init__(self, core: TurnState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(core)
        self._original = Turn(core)
        self._loop = loop

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the hub's loop and wait for its result."""
        if self._loop.is_closed():
            raise SkillFailure("the hub is gone: nothing more can be said")
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    def _here(self) -> SyncTurn:
        return self
