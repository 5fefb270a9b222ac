"""Runner of skills: each turn in a task of its own, functions that are not `async` in threads, all of it bounded.

Whatever a skill does wrong stays with the turn it was called for: its client is told that it failed, the log that it
was this skill, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from attrs import define, field

from thalovant_proto import events as e

from ..actions import HIVE, Request, RoutedPeer
from ..router import UTTERANCES, busy
from ..settings import Settings
from . import introspection
from .registry import Skill, SkillRegistry, words
from .speech import InvalidSkillResult, NoAnswer, SkillFailure
from .turn import SyncTurn, Turn
from .turn_state import Conversation, Outlet, TurnInfo, TurnState

log: logging.Logger = logging.getLogger("thalovant.hub")

# Skills that run for one client at a time.
_TURNS_PER_CLIENT: Final = 256
# Threads for each skill that is not `async`: one that hangs takes its own places only.
_THREADS_PER_SKILL: Final = 8


@define(eq=False)
class _Feed:
    """Raw bytes of one client that wait to be handled."""

    waiting: deque[tuple[Request, e.Binary]] = field(factory=deque)
    size: int = 0
    held: bool = False


class SkillRunner:
    """Runs the skills and handlers of a registry on the running loop. `outlet` is where their answers go."""

    def __init__(self, skills: SkillRegistry, outlet: Outlet, settings: Settings) -> None:
        self._skills = skills
        self._outlet = outlet
        self._settings = settings
        self._conversations: OrderedDict[tuple[int, str], Conversation] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: Counter[int] = Counter()  # by client id
        self._gates: dict[Skill, asyncio.Semaphore] = {}
        self._feeds: dict[str, _Feed] = {}  # by peer id
        self.stopping: bool = False  # it takes no more

    @property
    def turns(self) -> int:
        """The number of turns that are running."""
        return len(self._tasks)

    def on_request(self, request: Request) -> None:
        """A bus message came: start what answers it."""
        conversation = self._conversation(request.peer, request.session_id)
        for watch in self._skills.watchers:
            self._show(watch, TurnState(self._outlet, request, conversation))
        if request.bus.type not in UTTERANCES:
            self._handle(request, conversation)
            return
        if conversation.waiting is not None and not conversation.waiting.done():
            conversation.waiting.set_result(request)
            return
        core = TurnState(self._outlet, request, conversation)
        found = choose(self._skills.skills, core)
        if found is None:
            core.fail("no skill of this hub answers this", code="")
        else:
            core.mark(found.name, fallback=found.fallback)
            self._start(core, found)

    def on_binary(self, peer: RoutedPeer, event: e.Binary) -> None:
        """Raw bytes came: they are handled one message after the other, in the order in which a client sent them."""
        if not self._skills.handlers(event.bin_type):
            return
        context = {"source": peer.id, "peer": peer.id, "session": {**peer.session, "session_id": peer.session_id}}
        request = Request(
            peer=peer,
            bus=e.Bus(type=event.name, data=event.metadata),
            context=context,
            session_id=peer.session_id,
            reply_context={**context, "source": HIVE, "destination": peer.id},
        )
        feed = self._feeds.get(peer.id)
        if feed is None:
            feed = self._feeds[peer.id] = _Feed()
            task = asyncio.get_running_loop().create_task(self._handle_in_order(peer, feed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        feed.waiting.append((request, event))
        feed.size += len(event.payload)
        if feed.size > self._settings.unhandled and not feed.held:
            feed.held = True
            self._outlet.hold(peer, True)

    async def drain(self, grace: float) -> None:
        """Wait up to `grace` seconds for the turns that run, then end them."""
        self.stopping = True
        for conversation in self._conversations.values():
            if conversation.waiting is not None and not conversation.waiting.done():
                conversation.waiting.set_exception(NoAnswer("the hub is stopping"))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel("the hub is stopping")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)  # a skill may refuse to end; it dies with the loop

    # --- which function ---

    def _handle(self, request: Request, conversation: Conversation) -> None:
        handlers = self._skills.handlers(request.bus.type)
        for handler in handlers:
            core = TurnState(self._outlet, request, conversation)
            core.answered()
            self._start(core, handler)
        if not handlers and (told := introspection.answer(self._skills.skills, request.bus)) is not None:
            self._outlet.send(request.peer, request.event(*told))
        elif request.query is not None and not handlers:
            self._outlet.send(request.peer, *request.query.unanswered())

    def _show(self, watch: Callable[[TurnInfo], object], core: TurnState) -> None:
        try:
            watch(TurnInfo(core))
        except Exception:
            log.exception("A watcher of messages raised")

    def _conversation(self, peer: RoutedPeer, session_id: str) -> Conversation:
        # The id is the client's to choose; as a key it must stay small, and it counts for that client only.
        key = (peer.client.id, session_id[:256])
        conversation = self._conversations.get(key)
        if conversation is None:
            conversation = self._conversations[key] = Conversation()
            if len(self._conversations) > self._settings.conversations:
                _, oldest = self._conversations.popitem(last=False)
                if oldest.waiting is not None and not oldest.waiting.done():
                    oldest.waiting.set_exception(NoAnswer("the conversation was forgotten"))
        else:
            self._conversations.move_to_end(key)
        return conversation

    # --- running it ---

    def _start(self, core: TurnState, skill: Skill) -> None:
        client = core.request.peer.client
        if self.stopping or self._running[client.id] >= _TURNS_PER_CLIENT:
            self._outlet.send(core.request.peer, busy(core.request.peer, core.request.bus.type).event)
            return
        self._running[client.id] += 1
        self._perform(core, skill, client_id=client.id)

    def _perform(self, core: TurnState, skill: Skill, *, client_id: int | None = None) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        core.since = loop.time()
        task = loop.create_task(self._run(core, skill))
        timeout = self._settings.skill_timeout if skill.timeout is None else skill.timeout
        timer = loop.call_later(timeout, self._check_time, core, skill, task, timeout)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, timer, client_id))
        return task

    def _ended(self, timer: asyncio.TimerHandle, client_id: int | None, task: asyncio.Task[None]) -> None:
        timer.cancel()
        self._tasks.discard(task)
        if client_id is not None:
            self._running[client_id] -= 1
            if not self._running[client_id]:
                del self._running[client_id]

    async def _handle_in_order(self, peer: RoutedPeer, feed: _Feed) -> None:
        while feed.waiting:
            request, event = feed.waiting.popleft()
            conversation = self._conversation(peer, peer.session_id)
            for handler in self._skills.handlers(event.bin_type):
                core = TurnState(self._outlet, request, conversation, binary=event)
                core.answered()
                await core.over(self._perform(core, handler))
            feed.size -= len(event.payload)
            if feed.held and feed.size <= self._settings.unhandled // 2:
                feed.held = False
                self._outlet.hold(peer, False)
        del self._feeds[peer.id]

    def _check_time(self, core: TurnState, skill: Skill, task: asyncio.Task[None], timeout: float) -> None:
        if task.done():
            return
        loop = asyncio.get_running_loop()
        left = timeout if core.waiting else core.since + timeout - loop.time()
        if left > 0:
            loop.call_later(left, self._check_time, core, skill, task, timeout)
            return
        log.error("Skill %r did not answer within %g s", skill.name, timeout)
        core.fail(f"the skill {skill.name!r} did not answer in time")
        core.stop()
        task.cancel()

    async def _run(self, core: TurnState, skill: Skill) -> None:
        try:
            if skill.is_async:
                await _give(core, skill.function(Turn(core)))
            else:
                await _give(core, await self._in_thread(core, skill))
            core.end()
        except NoAnswer:
            log.info("Skill %r got no answer to its question", skill.name)
        except SkillFailure as failure:
            core.fail(str(failure))
        except InvalidSkillResult as nonsense:
            log.error("Skill %r %s", skill.name, nonsense)
            core.fail(f"the skill {skill.name!r} failed")
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                core.fail("the hub is stopping")  # unless the client was told that time is up
            else:
                log.exception("Skill %r raised", skill.name)
                core.fail(f"the skill {skill.name!r} failed")
        finally:
            core.stop()

    async def _in_thread(self, core: TurnState, skill: Skill) -> Any:
        gate = self._gates.setdefault(skill, asyncio.Semaphore(_THREADS_PER_SKILL))
        await gate.acquire()
        loop = asyncio.get_running_loop()
        result: Future[Any] = Future()
        result.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result.set_result(_call(core, skill, loop))
            except BaseException as error:
                result.set_exception(_harmless(error))
            try:
                loop.call_soon_threadsafe(gate.release)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        context = contextvars.copy_context()
        # A daemon: one that hangs must not hold up the end of the process. It keeps its place at the gate.
        threading.Thread(target=context.run, args=(work,), name=f"skill {skill.name}", daemon=True).start()
        return await asyncio.wrap_future(result)


def _call(core: TurnState, skill: Skill, loop: asyncio.AbstractEventLoop) -> Any:
    turn = SyncTurn(core, loop)
    result = skill.function(turn)
    if isinstance(result, Iterator):  # each step of a generator is the skill's code: it stays in this thread
        for item in result:
            turn.call(partial(_say, core, item))
        return None
    return result


def _harmless(error: BaseException) -> Exception:
    """An exception that may be raised on the loop: not one that means something to it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"the skill raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


async def _give(core: TurnState, result: Any) -> None:
    """Say a skill's result. Raises `InvalidSkillResult`."""
    if inspect.isawaitable(result):
        result = await result
    if result is None:
        return
    if isinstance(result, str | Mapping):
        core.say(result)
    elif isinstance(result, AsyncIterator):
        async for item in result:
            await _say(core, item)
    elif isinstance(result, Iterable):
        for item in result:
            await _say(core, item)
    else:
        raise InvalidSkillResult(
            f"gave {type(result).__name__} where a text, a mapping or an iterable of these must be"
        )


async def _say(core: TurnState, item: object) -> None:
    core.say(item)
    await core.drained()


# --- the choice of a skill ---


def choose(skills: Iterable[Skill], core: TurnState) -> Skill | None:
    """The skill that answers a turn, its slots put into the turn: the first that matches, fallbacks last.

    An exception in a `when` is logged and counts as no.
    """
    heard = words(core.text)
    for fallback in (False, True):
        for one in skills:
            if one.fallback is fallback and _takes(one, core, heard):
                return one
    return None


def _takes(one: Skill, core: TurnState, heard: str) -> bool:
    slots = one.match(core.text, heard) if one.phrases else None
    if slots is not None:
        core.slots = slots
        return True
    if one.when is None:
        return one.fallback and not one.phrases
    try:
        return bool(one.when(Turn(core)))
    except Exception:
        log.exception("The `when` of skill %r raised", one.name)
        return False
