"""Requests that a hub passes on to a home: they are answered within ten seconds, once, and in plain text."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from . import logs
from ._internal.options import function, seconds
from ._internal.portal import Handlers
from .events import HOME_REQUEST, HOME_RESPONSE, EventHandler, ThalovantEvent
from .rich import strip_ssml

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

__all__ = [
    "DEFAULT_HANDLER_TIMEOUT", "ERROR_CODES", "HOME_REQUEST", "HOME_REQUEST_TIMEOUT", "HOME_RESPONSE", "RESPONSE_TYPES",
    "HomeAnswer", "HomeClient", "HomeHandler", "HomeRequest", "RepliesToEvents", "answer_home_request",
    "answer_home_requests", "decode_references", "home_response", "plain_speech",
]  # fmt: skip

#: Seconds that a hub waits for an answer, from the arrival of the request on.
HOME_REQUEST_TIMEOUT: Final = 10.0
#: Seconds of these that a handler has, so that its answer still gets there.
DEFAULT_HANDLER_TIMEOUT: Final = 9.0
RESPONSE_TYPES: Final = ("action_done", "query_answer", "error")
ERROR_CODES: Final = (
    "no_intent_match", "no_valid_targets", "failed_to_handle", "unknown", "timeout", "agent_unavailable",
)  # fmt: skip

#: Requests that are answered at a time; a hub asks for one person, and the rest would come too late.
MAX_REQUESTS: Final = 64
_THREADS: Final = 4

_REFERENCE: Final = re.compile(r"&(?:#0*([0-9]{1,7})|#[xX]0*([0-9A-Fa-f]{1,6})|(amp|lt|gt|quot|apos|nbsp));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": "\xa0"}
_BLANKS: Final = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")  # Unicode White_Space


@dataclass(frozen=True)
class HomeRequest:
    """A request of the hub: what was said, in which language, and in which conversation. `event` is what brought it."""

    request_id: str
    utterance: str
    lang: str | None = None
    conversation_id: str | None = None
    event: ThalovantEvent | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_event(cls, event: ThalovantEvent) -> HomeRequest:
        """Read a `thalovant.home.request`. What is missing or no text is "" or None."""
        data = event.data
        return cls(
            request_id=_text(data, "request_id"),
            utterance=_text(data, "utterance"),
            lang=_text(data, "lang") or None,
            conversation_id=_text(data, "conversation_id") or None,
            event=event,
        )


@dataclass(frozen=True)
class HomeAnswer:
    """The answer of a handler. SSML and references in `speech` become plain text.

    `response_type` is one of `RESPONSE_TYPES`, with "error" `error_code` is one of `ERROR_CODES`. With
    `continue_conversation` the person may go on, in `conversation_id` or else that of the request.
    """

    speech: str = ""
    response_type: str = "action_done"
    error_code: str | None = None
    continue_conversation: bool = False
    conversation_id: str | None = None


HomeHandler: TypeAlias = Callable[
    [HomeRequest],
    "HomeAnswer | Mapping[str, Any] | str | Awaitable[HomeAnswer | Mapping[str, Any] | str]",
]
"""A function, coroutine or plain, that takes a request and gives its answer: whole, as a mapping, or speech alone."""


class RepliesToEvents(Protocol):
    """A client that can answer an event: an `AsyncThalovantClient`, or one that stands for it."""

    def reply(self, event: ThalovantEvent, msg_type: str, data: Mapping[str, Any], /) -> Awaitable[object]:
        """Send the answer; cancelled, it is taken back."""


class HomeClient(RepliesToEvents, Protocol):
    """A client that hears events as well."""

    def on(self, event_name: str, handler: EventHandler, /) -> Any:
        """Have the handler called; returns the subscription, or the function that ends it."""


def answer_home_requests(
    client: HomeClient, handler: HomeHandler, *, timeout: float = DEFAULT_HANDLER_TIMEOUT
) -> Callable[[], None]:
    """Answer the hub's requests by `handler`, which has `timeout` seconds for each; returns the way to end that.

    The handler may be a coroutine function, or a plain one, which runs in a thread. One that raises or is too slow is
    an error for the hub. Ending does not wait for handlers; what they say then is not sent any more.

    Example:
        >>> end = answer_home_requests(client, lambda request: HomeAnswer("The lamp is on."))
    """
    from asyncio import get_running_loop
    from contextvars import copy_context

    function(handler, "the handler of home requests")
    seconds(timeout)
    answering: set[asyncio.Task[None]] = set()

    here = copy_context()

    async def answer(event: ThalovantEvent, deadline: float) -> None:
        try:
            await _answer_by(client, event, handler, timeout, deadline)
        except Exception as error:  # of the connection, or a bug of a client that is not ours
            logs.handlers.warning("A home request could not be answered: %s", error)

    def arrived(event: ThalovantEvent) -> None:
        loop = get_running_loop()
        if len(answering) < MAX_REQUESTS:
            task = loop.create_task(answer(event, loop.time() + HOME_REQUEST_TIMEOUT), context=here.copy())
            answering.add(task)
            task.add_done_callback(answering.discard)

    subscription = client.on(HOME_REQUEST, arrived)

    def end() -> None:
        getattr(subscription, "close", subscription)()
        for task in tuple(answering):
            task.cancel()

    return end


async def answer_home_request(
    client: RepliesToEvents,
    event: ThalovantEvent,
    handler: HomeHandler,
    *,
    timeout: float = DEFAULT_HANDLER_TIMEOUT,
    hub_timeout: float = HOME_REQUEST_TIMEOUT,
) -> dict[str, Any] | None:
    """Answer one request; returns what was sent, None if it was too late for that.

    The handler has `timeout` seconds of the `hub_timeout` that begin now, the reply has what is left. Raises what
    `client.reply` raises in time.
    """
    from asyncio import get_running_loop

    function(handler, "the handler of home requests")
    deadline = get_running_loop().time() + seconds(hub_timeout)
    return await _answer_by(client, event, handler, seconds(timeout), deadline)


async def _answer_by(
    client: RepliesToEvents, event: ThalovantEvent, handler: HomeHandler, timeout: float, deadline: float
) -> dict[str, Any] | None:
    import asyncio

    now = asyncio.get_running_loop().time
    request = HomeRequest.from_event(event)
    response = home_response(request, await _handled(handler, request, min(timeout, deadline - now())))
    if now() >= deadline:
        return None
    try:
        async with asyncio.timeout_at(deadline):
            await client.reply(event, HOME_RESPONSE, response)
    except TimeoutError:
        return None
    return response


async def _handled(handler: HomeHandler, request: HomeRequest, timeout: float) -> Any:
    """What the handler gives, or the error that it comes to."""
    import asyncio

    task = asyncio.create_task(_call(handler, request))
    _calls.add(task)  # it may go on after this
    task.add_done_callback(_call_ended)
    try:
        await asyncio.wait((task,), timeout=timeout)
    finally:
        task.cancel()
    if not task.done():
        return _error("timeout")
    if not task.cancelled() and (error := task.exception()) is None:
        return task.result()
    logs.handlers.error("The handler of home requests raised", exc_info=None if task.cancelled() else error)
    return _error("failed_to_handle")


async def _call(handler: HomeHandler, request: HomeRequest) -> Any:
    from asyncio import CancelledError, wrap_future
    from contextvars import copy_context
    from inspect import isawaitable, iscoroutinefunction

    kinds = (handler, getattr(handler, "__call__", None))  # noqa: B004 - an object's own may be a coroutine function
    result: Any
    if any(map(iscoroutinefunction, kinds)):
        result = handler(request)
    elif len(_stuck) >= _THREADS:
        return _error("timeout")
    else:
        future: Future[Any] = _threads.submit(copy_context().run, _called, handler, request)
        try:
            result = await wrap_future(future)
        except CancelledError:
            if future.running():
                _stuck.add(future)
                future.add_done_callback(_stuck.discard)
            raise
    return await result if isawaitable(result) else result


def _called(handler: HomeHandler, request: HomeRequest) -> Any:
    try:
        return handler(request)
    except StopIteration as error:  # of a `next` in the handler: it may not leave a future
        raise RuntimeError("the handler raised StopIteration") from error


def _call_ended(task: asyncio.Task[Any]) -> None:
    _calls.discard(task)
    if not task.cancelled():
        task.exception()  # nobody waits for it any more


def home_response(request: HomeRequest, answer: HomeAnswer | Mapping[str, Any] | str) -> dict[str, Any]:
    """The payload of the response. An answer that is none, or is off the lists, is the error `unknown`."""
    match answer:
        case HomeAnswer():
            given = answer
        case Mapping():
            given = HomeAnswer(**{one.name: answer[one.name] for one in fields(HomeAnswer) if one.name in answer})
        case str():
            given = HomeAnswer(answer)
        case _:
            given = _error("unknown")
    kind, code = given.response_type, given.error_code
    said = isinstance(given.speech, str | None)
    if kind not in RESPONSE_TYPES or (kind == "error" and code not in ERROR_CODES) or not said:
        kind, code = "error", "unknown"
    speech = plain_speech(given.speech if said else "")
    response: dict[str, Any] = {"request_id": request.request_id, "speech": speech, "response_type": kind}
    if kind == "error":
        response["error_code"] = code
    response["continue_conversation"] = given.continue_conversation is True
    own = given.conversation_id if isinstance(given.conversation_id, str) else ""
    if conversation_id := own or request.conversation_id:
        response["conversation_id"] = conversation_id
    return response


def plain_speech(text: str | None) -> str:
    """Text to be spoken, without markup: SSML goes, references become letters, white space becomes single spaces.

    Takes time in proportion to the text, whatever is in it.

    Example:
        >>> plain_speech("<speak>21&nbsp;degrees <break/> now</speak>")
        '21 degrees now'
    """
    return _BLANKS.sub(" ", decode_references(strip_ssml(text or ""))).strip(" ")


def decode_references(text: str) -> str:
    """`&#233;`, `&#xE9;` and the five names of XML, with `&nbsp;`, as letters, once. Anything else stays."""
    return _REFERENCE.sub(_decoded, text)


def _decoded(found: re.Match[str]) -> str:
    if found[3]:
        return _NAMED[found[3]]
    number = int(found[1]) if found[1] else int(found[2], 16)
    return chr(number) if 0 < number <= 0x10FFFF and not 0xD800 <= number < 0xE000 else found[0]


def _error(code: str) -> HomeAnswer:
    return HomeAnswer(response_type="error", error_code=code)


def _text(data: Mapping[str, Any], key: str) -> str:
    found = data.get(key)
    return found if isinstance(found, str) else ""


_threads = Handlers("thalovant-home", threads=_THREADS)
_stuck: set[Future[Any]] = set()  # calls whose time is up, and that hold a thread
_calls: set[asyncio.Task[Any]] = set()
