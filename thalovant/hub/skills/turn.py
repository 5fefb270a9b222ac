"""One turn of a conversation, as a skill sees it: what was said, by whom, and the means to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import define, field, frozen

from thalovant_proto import events as e

from ..actions import Request, RoutedPeer
from .registry import InvalidSkillResult, NoAnswer, Skill, SkillFailure, speech, spoken

if TYPE_CHECKING:
    from ..hub import Hub

T = TypeVar("T")

#: How long a follow-up question waits for its answer, in seconds.
FOLLOW_UP_TIME = 60.0


@frozen(kw_only=True)
class Input:
    """What the client sent in place of speech: a button (`action`) or an exact value (`code` or another kind)."""

    kind: str
    value: str
    title: str | None = None
    exact: bool = False


@define(eq=False)
class Conversation:
    """What lasts over the turns of one session of one client."""

    memory: dict[Any, Any] = field(factory=dict)
    waiting: asyncio.Future[Request] | None = None  # for the answer to a follow-up question


class Outlet(Protocol):
    """Where a turn's answers go."""

    hub: Hub

    def send(self, peer: RoutedPeer, *events: e.Message, more: bool = False) -> None:
        """Send to a peer; dropped if it is gone. With `more` to come at once, it leaves with that.

        Raises `ValueError` for what is no JSON.
        """

    def hold(self, peer: RoutedPeer, hold: bool) -> None:
        """Read nothing more from a peer, until told otherwise."""

    async def drained(self, peer: RoutedPeer) -> None:
        """Let everything leave, and wait while the peer is behind with reading."""


class TurnState:
    """A turn as the stage runs it: which request is open, and what was said about it."""

    def __init__(
        self, outlet: Outlet, request: Request, conversation: Conversation, *, binary: e.Binary | None = None
    ) -> None:
        self.outlet = outlet
        self.conversation = conversation
        self.binary = binary
        self.slots: Mapping[str, str] = {}
        self.waiting: bool = False  # for the client; the skill's time stands still
        self.since: float = 0.0  # the loop's time when the skill's own time began
        self._marks: dict[str, str] = {}
        self._over = False
        self._stopped: asyncio.Future[None] | None = None
        self.open(request)

    @property
    def turn(self) -> Turn:
        """What skills see of it."""
        return Turn(self)

    def open(self, request: Request) -> None:
        """From now on this is the request to answer."""
        self.request = request
        request.reply_context.update(self._marks)
        self._ended = False
        self._spoke = False
        bus = request.bus
        self.text: str = bus.text.strip() if isinstance(bus, e.Utterance) else ""
        lang = bus.data.get("lang")
        self.lang: str = lang if isinstance(lang, str) and lang else "en-us"

    def mark(self, skill: Skill) -> None:
        """Say on everything from now on which skill answers, as real hubs do."""
        pipeline = "thalovant-hub-fallback" if skill.fallback else "thalovant-hub-skills"
        self._marks = {"skill_id": skill.name, "pipeline_id": pipeline}
        self.request.reply_context.update(self._marks)

    def say(self, item: object) -> None:
        """Say one item of a skill's result. Raises `InvalidSkillResult`."""
        data = spoken(item)
        data.setdefault("lang", self.lang)
        self.send(self.request.speech(data))
        self._spoke = True

    def send(self, event: e.Message) -> None:
        """Send anything to the client; `drained` or the end lets it leave.

        Raises `InvalidSkillResult` for what cannot travel.
        """
        if self._over:
            raise SkillFailure("the turn is over: nothing more can be said")
        try:
            self.outlet.send(self.request.peer, event, more=True)
        except ValueError as error:
            raise InvalidSkillResult(f"gave something that cannot be sent: {error}") from None

    def answered(self) -> None:
        """Nobody waits for an end of this turn: none is said."""
        self._ended = True

    def end(self) -> None:
        """The answer is whole."""
        self._end(() if self._ended else self.request.handled())

    def fail(self, reason: str) -> None:
        """The answer will not come, or not whole."""
        self._end(() if self._ended else self.request.failed(reason, spoke=self._spoke))

    def _end(self, events: tuple[e.Message, ...]) -> None:
        self._ended = True
        self.outlet.send(self.request.peer, *events)

    def stop(self) -> None:
        """Whatever the skill still does, nothing of it is said any more."""
        self._over = True
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def over(self, task: asyncio.Task[None]) -> None:
        """Wait until the skill that `task` runs has ended, or was given up."""
        self._stopped = asyncio.get_running_loop().create_future()
        await asyncio.wait((task, self._stopped), return_when=asyncio.FIRST_COMPLETED)

    async def drained(self) -> None:
        """Wait while the client is behind with reading; others get their turn in any case."""
        await self.outlet.drained(self.request.peer)

    async def answer(self, within: float) -> None:
        """Wait for the client's next utterance in this conversation, and open it. Raises `NoAnswer`."""
        loop, conversation = asyncio.get_running_loop(), self.conversation
        if conversation.waiting is not None and not conversation.waiting.done():
            conversation.waiting.set_exception(NoAnswer("another question was asked"))
        future = conversation.waiting = loop.create_future()
        self.waiting = True
        try:
            async with asyncio.timeout(within):
                self.open(await future)
        except TimeoutError:
            raise NoAnswer(f"nobody answered within {within:g} s") from None
        finally:
            self.waiting, self.since = False, loop.time()
            if conversation.waiting is future:
                conversation.waiting = None


class TurnInfo:
    """What was said, by whom: what `Turn` and `SyncTurn` have in common."""

    def __init__(self, core: TurnState) -> None:
        self._core = core

    @property
    def hub(self) -> Hub:
        """The hub itself."""
        return self._core.outlet.hub

    @property
    def text(self) -> str:
        """What was said."""
        return self._core.text

    @property
    def lang(self) -> str:
        """The language tag of what was said."""
        return self._core.lang

    @property
    def slots(self) -> Mapping[str, str]:
        """What the `{slots}` of the phrase took."""
        return self._core.slots

    @property
    def client(self) -> str:
        """The name of the client."""
        return self._core.request.peer.client.name

    @property
    def peer(self) -> str:
        """The id of its connection."""
        return self._core.request.peer.id

    @property
    def session_id(self) -> str:
        """The id of the conversation, as the client knows it."""
        return self._core.request.session_id

    @property
    def request_id(self) -> str | None:
        """The client's id for this request."""
        return self._core.request.bus.request_id

    @property
    def type(self) -> str:
        """The type of the bus message."""
        return self._core.request.bus.type

    @property
    def data(self) -> Mapping[str, Any]:
        """The data of the bus message."""
        return self._core.request.bus.data

    @property
    def context(self) -> Mapping[str, Any]:
        """The context of the bus message; `source` and `peer` are the hub's word, the rest is the client's."""
        return self._core.request.context

    @property
    def memory(self) -> dict[Any, Any]:
        """Whatever skills want to remember in this conversation; gone when the hub stops."""
        return self._core.conversation.memory

    @property
    def binary(self) -> e.Binary | None:
        """The bytes that came, for handlers of these."""
        return self._core.binary

    @property
    def input(self) -> Input | None:
        """The button that was pressed or the code that was scanned, None for speech and text."""
        found = self.data.get("input") or self.context.get("input")
        if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
            return None
        title = found.get("title") or found.get("label")
        value = found.get("value") or found.get("payload")
        return Input(
            kind=found["kind"],
            value=value if isinstance(value, str) else self.text,
            title=title if isinstance(title, str) else None,
            exact=found.get("exact") is True,
        )


class Turn(TurnInfo):
    """What an `async` skill is called with: what was said, and the means to answer before the skill returns."""

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
        self._core.say(speech(text, choices=choices, expect_response=True))
        self._core.end()
        await self._core.answer(timeout)
        return self.text

    async def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """Send the client an event of any type, in answer to this one."""
        self._core.send(self._core.request.event(type, dict(data or {})))
        await self._core.drained()

    async def send_binary(
        self, payload: bytes, kind: int = e.BinType.TTS_AUDIO, *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Send the client raw bytes. Waits while the client is behind with reading."""
        self._core.send(e.Binary(bin_type=kind, payload=payload, metadata=dict(metadata or {})))
        await self._core.drained()


class SyncTurn(TurnInfo):
    """What other skills are called with, in a thread: a `Turn` whose methods wait instead of being awaited."""

    def __init__(self, core: TurnState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(core)
        self._turn = Turn(core)
        self._loop = loop

    def speak(
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
        """See `Turn.speak`."""
        media = {"table": table, "choices": choices, "images": images, "attachments": attachments}
        self.wait(self._turn.speak(text, lang=lang, silent=silent, **media))

    def ask(
        self,
        text: str,
        *,
        choices: Sequence[str | Mapping[str, Any]] | None = None,
        timeout: float = FOLLOW_UP_TIME,
    ) -> str:
        """See `Turn.ask`."""
        return self.wait(self._turn.ask(text, choices=choices, timeout=timeout))

    def emit(self, type: str, data: Mapping[str, Any] | None = None) -> None:
        """See `Turn.emit`."""
        self.wait(self._turn.emit(type, data))

    def send_binary(
        self, payload: bytes, kind: int = e.BinType.TTS_AUDIO, *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """See `Turn.send_binary`."""
        self.wait(self._turn.send_binary(payload, kind, metadata=metadata))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the hub's loop and wait for its result."""
        if self._loop.is_closed():
            work.close()
            raise SkillFailure("the hub is gone: nothing more can be said")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
