"""The state of one turn of a conversation, and the view of it that all skills share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen

from thalovant_proto import events as e

from ..actions import Request, RoutedPeer
from .speech import InvalidSkillResult, NoAnswer, SkillFailure, spoken


@frozen(kw_only=True)
class Input:
    """Input in place of speech: a button (`action`) or an exact value (`code` or another kind)."""

    kind: str
    value: str
    title: str | None = None
    exact: bool = False


@define(eq=False)
class Conversation:
    """The memory of one session of one client, over all its turns."""

    memory: dict[Any, Any] = field(factory=dict)
    waiting: asyncio.Future[Request] | None = None  # for the answer to a follow-up question


class HubView(Protocol):
    """The hub as skills see it: see `Hub`."""

    @property
    def skills(self) -> Sequence[NamedSkill]:
        """Its skills, in the order in which they are tried."""

    @property
    def clients(self) -> tuple[str, ...]:
        """The names of all registered clients."""

    @property
    def connected(self) -> tuple[str, ...]:
        """The names of the clients that are connected and proven, each once."""

    @property
    def client_status(self) -> Mapping[str, Mapping[str, Any]]:
        """The last status that each client reported, by name."""

    def speak_to(self, client: str, text: str | Mapping[str, Any], *, session_id: str | None = None) -> int:
        """Say something on all connections of a client; gives their number."""

    def emit_to(
        self, client: str, type: str, data: Mapping[str, Any] | None = None, *, session_id: str | None = None
    ) -> int:
        """Send an event on all connections of a client; gives their number."""

    def broadcast(self, type: str, data: Mapping[str, Any] | None = None) -> int:
        """Send an event to everybody who is connected; gives the number."""

    def disconnect(self, name: str, *, code: int = 1001, reason: str = "") -> int:
        """Close the connections of a client, which may come back; gives their number."""


class NamedSkill(Protocol):
    """A skill as others see it."""

    name: str
    help: str
    fallback: bool


class Outlet(Protocol):
    """The way of a turn's answers to its client."""

    hub: HubView

    def send(self, peer: RoutedPeer, *events: e.Message, more: bool = False) -> None:
        """Send to a peer; dropped if it is gone. With `more` to come at once, it leaves with that.

        Raises `ValueError` for what is no JSON.
        """

    def hold(self, peer: RoutedPeer, hold: bool) -> None:
        """Read nothing more from a peer, until told otherwise."""

    async def drained(self, peer: RoutedPeer) -> None:
        """Let everything leave, and wait while the peer is behind with reading."""


class TurnState:
    """A turn as the runner works on it: the request that is open, and what was said about it."""

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

    def open(self, request: Request) -> None:
        """Make this the request to answer."""
        self.request = request
        request.reply_context.update(self._marks)
        self._ended = False
        self._spoke = False
        bus = request.bus
        self.text: str = bus.text.strip() if isinstance(bus, e.Utterance) else ""
        lang = bus.data.get("lang")
        self.lang: str = lang if isinstance(lang, str) and lang else "en-us"

    def mark(self, skill_id: str, *, fallback: bool) -> None:
        """Say on everything from now on which skill answers, as real hubs do."""
        pipeline = "thalovant-hub-fallback" if fallback else "thalovant-hub-skills"
        self._marks = {"skill_id": skill_id, "pipeline_id": pipeline}
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
        """Mark the turn as ended: a message of this type has no end-of-turn event."""
        self._ended = True

    def end(self, events: tuple[e.Message, ...] | None = None) -> None:
        """End the answer: it is whole, or `events` say what became of it."""
        if self._ended:
            events = ()
        elif events is None:
            events = self.request.handled()
        self._ended = True
        self.outlet.send(self.request.peer, *events)

    def fail(self, reason: str, *, code: str = "skill_failed") -> None:
        """End the answer: it will not come, or not whole."""
        self.end(self.request.failed(reason, spoke=self._spoke, code=code))

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
    """The reading side of a turn, the same in `Turn` and `SyncTurn`: what was said, by whom."""

    def __init__(self, core: TurnState) -> None:
        self._core = core

    @property
    def hub(self) -> HubView:
        """The hub itself."""
        return self._core.outlet.hub

    @property
    def text(self) -> str:
        """The text that was said."""
        return self._core.text

    @property
    def lang(self) -> str:
        """The language tag of what was said."""
        return self._core.lang

    @property
    def slots(self) -> Mapping[str, str]:
        """The words that the `{slots}` of the phrase took."""
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
