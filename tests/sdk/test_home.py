"""Requests that a hub passes on to a home: what is answered, how long that may take, and how speech becomes plain."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from tests.hub.listeners.relay import Relay
from tests.loops import VirtualLoop
from thalovant import (
    HOME_REQUEST,
    HOME_RESPONSE,
    AsyncThalovantClient,
    HomeAnswer,
    HomeRequest,
    ThalovantEvent,
    answer_home_requests,
    home,
)
from thalovant.home import answer_home_request, decode_references, home_response, plain_speech

from .lab import ALLOWED, PATIENCE, Lab, States, run

# --- speech ---


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (None, ""),
        ("3 < 4 and 9 > 8", "3 < 4 and 9 > 8"),
        ("<speak>Good <break time='1s'/>morning, <b level=\"x\">you</b>.</speak>", "Good morning, you."),
        ('<audio src="a>b.wav">Dong</audio>', "Dong"),
        ("<?xml version='1.0'?><!-- aside > -->Well.", "Well."),
        ("more <b than", "more <b than"),
        ("a <i b='never> closed", "a <i b='never> closed"),
        ("<p>1</p>&lt;p>", "1<p>"),
        ("&#72;&#x6F;&#X21; &#8364;7", "Ho! €7"),
        ("&#00065;&#x000041;", "AA"),
        ("20&nbsp;&nbsp;degrees", "20 degrees"),
        ("&amp;lt; &quot;&apos;", "&lt; \"'"),
        ("&eacute; &copy; &AMP; &#99999999;", "&eacute; &copy; &AMP; &#99999999;"),
        ("&#0; &#xD800; &#57343; &#x110000; &#x10FFFF;", "&#0; &#xD800; &#57343; &#x110000; \U0010ffff"),
        ("&#66 &lt &; &#; &#x;", "&#66 &lt &; &#; &#x;"),
        (" a\t\n b\x85c\u3000d\u2028e\u1680f\u205f ", "a b c d e f"),
        ("\x1c\x1d\x1e\x1f\u200b\u180e", "\x1c\x1d\x1e\x1f\u200b\u180e"),
        ("&#32;x&#x2003;", "x"),
    ],
)
def test_plain_speech(text, plain):
    """Markup goes, then references become letters, then white space becomes single spaces."""
    assert plain_speech(text) == plain


@given(st.text(alphabet="<>/a b!-?'\"=&;#x3\t\x1c\u3000"))
@example("&amp;lt;")
def test_plain_speech_again(text):
    """What is plain stays as it is; only a reference that was written as text would be taken for one."""
    plain = plain_speech(text)

    assert plain_speech(plain) == plain or "<" in plain or "&" in plain
    assert "  " not in plain


@pytest.mark.parametrize("piece", ["&", "&#", "&#0", "&#1", "&#x0", "&amp", "< &", " ", "\u3000a", "='<a", "<a=' &#1"])
def test_plain_speech_takes_linear_time(piece):
    """A hostile text of many beginnings costs what its length costs: quadratic work would take hours here."""
    assert plain_speech(piece * 300_000 + ".").endswith(".")


def test_references_only():
    """Markup and white space are the business of others."""
    assert decode_references("<b> &gt;  ") == "<b> >  "


# --- what is answered ---

ASKED = {"request_id": "r", "utterance": "lamp on", "lang": "en-US"}
DONE = {"request_id": "r", "speech": "", "response_type": "action_done", "continue_conversation": False}
UNKNOWN = {**DONE, "response_type": "error", "error_code": "unknown"}
FAILED = {**DONE, "response_type": "error", "error_code": "failed_to_handle"}
LATE = {**DONE, "response_type": "error", "error_code": "timeout"}


class Client:
    """A client whose replies take `takes` seconds."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.replies: list[tuple[str, Any]] = []
        self.handlers: list[Any] = []

    async def reply(self, event: ThalovantEvent, msg_type: str, data: Any) -> None:
        await asyncio.sleep(self.takes)
        self.replies.append((msg_type, data))

    def on(self, event_name: str, handler: Any) -> Any:
        self.handlers.append(handler)
        return lambda: self.handlers.remove(handler)


def event(**data: Any) -> ThalovantEvent:
    return ThalovantEvent(HOME_REQUEST, {**ASKED, **data})


@pytest.mark.parametrize(
    ("data", "answer", "sent"),
    [
        ({}, HomeAnswer("It is on."), {**DONE, "speech": "It is on."}),
        ({}, "<speak>It is&nbsp;on.</speak>", {**DONE, "speech": "It is on."}),
        ({}, None, UNKNOWN),
        ({}, {"speech": None, "continue_conversation": 1}, DONE),
        (
            {"conversation_id": "c"},
            {"speech": "Still open.", "response_type": "query_answer", "continue_conversation": True, "more": 1},
            {
                **DONE,
                "speech": "Still open.",
                "response_type": "query_answer",
                "continue_conversation": True,
                "conversation_id": "c",
            },
        ),
        ({"conversation_id": "c"}, HomeAnswer(conversation_id="own"), {**DONE, "conversation_id": "own"}),
        (
            {},
            HomeAnswer("No.", response_type="error", error_code="no_intent_match"),
            {**FAILED, "speech": "No.", "error_code": "no_intent_match"},
        ),
        ({}, HomeAnswer(error_code="timeout"), DONE),
        ({}, HomeAnswer("Hm.", response_type="other"), {**UNKNOWN, "speech": "Hm."}),
        ({}, HomeAnswer("Hm.", response_type="error", error_code="other"), {**UNKNOWN, "speech": "Hm."}),
        ({}, HomeAnswer("Hm.", response_type="error"), {**UNKNOWN, "speech": "Hm."}),
        ({}, {"speech": 5, "response_type": ["x"], "conversation_id": 5}, UNKNOWN),
        ({}, 5, UNKNOWN),
        ({}, ValueError("in the handler"), FAILED),
        ({}, StopIteration(), FAILED),
        ({}, TimeoutError(), FAILED),
        ({}, asyncio.CancelledError(), FAILED),
        ({"request_id": None, "utterance": [], "lang": {}}, "x", {**DONE, "request_id": "", "speech": "x"}),
    ],
)
@pytest.mark.parametrize("kind", ["function", "coroutine", "awaitable"])
def test_answer(data, answer, sent, kind):
    """Whatever the handler is and gives, the hub has one response of the documented fields."""

    def plain(request: HomeRequest) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def slow(request: HomeRequest) -> Any:
        return plain(request)

    client = Client()
    handler = {"function": plain, "coroutine": slow, "awaitable": lambda request: slow(request)}[kind]

    assert run(answer_home_request(client, event(**data), handler)) == sent
    assert client.replies == [(HOME_RESPONSE, sent)]


def test_request():
    """All that a hub says of it; what is no text is as if it were missing."""
    asked = event(conversation_id="c")

    assert HomeRequest.from_event(asked) == HomeRequest("r", "lamp on", "en-US", "c")
    assert HomeRequest.from_event(asked).event is asked
    assert HomeRequest.from_event(ThalovantEvent(HOME_REQUEST)) == HomeRequest("", "")
    assert home_response(HomeRequest("", ""), "") == {**DONE, "request_id": ""}


# --- time ---


@pytest.mark.parametrize(
    ("handler_takes", "timeout", "reply_takes", "sent"),
    [
        (1, 3, 0.5, {**DONE, "speech": "on"}),
        (2.5, 3, 6, None),
        (3.5, 3, 0.5, LATE),
        (20, 1, 0.5, LATE),
        (20, 3, 1.5, None),
        (20, 9, 0, None),
        (3.9, 9, 0.05, {**DONE, "speech": "on"}),
    ],
)
@pytest.mark.parametrize("stubborn", [False, True])
def test_deadline(handler_takes, timeout, reply_takes, sent, stubborn):
    """Handler and reply share the hub's 4 s; afterwards nothing is sent, whether or not the handler gives up."""

    async def handler(request: HomeRequest) -> str:
        try:
            await asyncio.sleep(handler_takes)
        except asyncio.CancelledError:
            if not stubborn:
                raise
            await asyncio.sleep(handler_takes)
        return "on"

    client = Client(reply_takes)

    async def answered() -> tuple[Any, float]:
        found = await answer_home_request(client, event(), handler, timeout=timeout, hub_timeout=4)
        return found, asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        found, ended = runner.run(answered())

    assert (found, [data for _, data in client.replies]) == (sent, [] if sent is None else [sent])
    assert ended <= 4


def test_requests_are_answered_side_by_side():
    """Each has its ten seconds from its arrival; ending takes the handler away, and what it has begun."""

    async def handler(request: HomeRequest) -> str:
        await asyncio.sleep(8)
        return request.utterance

    async def ask() -> list[int]:
        client = Client()
        end = answer_home_requests(client, handler)
        for number in range(home.MAX_REQUESTS + 1):
            client.handlers[0](event(utterance=str(number)))
        await asyncio.sleep(8.5)
        client.handlers[0](event())
        await asyncio.sleep(1)
        end()
        await asyncio.sleep(20)
        assert client.handlers == []
        return sorted(int(data["speech"]) for _, data in client.replies)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(ask()) == list(range(home.MAX_REQUESTS))


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("9", ValueError)])
def test_mistakes(timeout, error):
    """They are told at the call."""

    async def begin(handler: Any, timeout: Any) -> None:
        answer_home_requests(Client(), handler, timeout=timeout)

    with pytest.raises(error):
        run(begin(print, timeout))
    with pytest.raises(TypeError, match="the handler of home requests must be a function"):
        run(begin("text", 9))


# --- threads ---

WHOSE = contextvars.ContextVar[str]("WHOSE")


async def test_plain_handler_has_a_thread() -> None:
    """A daemon thread that is not the loop's, with the variables of the caller."""
    seen: list[tuple[bool, bool, str]] = []

    def handler(request: HomeRequest) -> str:
        thread = threading.current_thread()
        seen.append((thread is threading.main_thread(), thread.daemon, WHOSE.get()))
        return "on"

    WHOSE.set("mine")
    client = Client()
    end = answer_home_requests(client, handler)
    contextvars.Context().run(client.handlers[0], event())
    while not client.replies:
        await asyncio.sleep(0.001)
    end()
    assert seen == [(False, True, "mine")]


async def test_four_stuck_handlers() -> None:
    """The next request is told at once that it takes too long; when one is free again it is handled."""
    gate, started = threading.Event(), threading.Semaphore(0)

    def stuck(request: HomeRequest) -> None:
        started.release()
        gate.wait(PATIENCE)

    client, loop = Client(), asyncio.get_running_loop()
    calls = [loop.create_task(answer_home_request(client, event(), stuck)) for _ in range(4)]
    for _ in calls:
        await asyncio.to_thread(started.acquire, timeout=PATIENCE)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert await answer_home_request(client, event(), lambda request: "on") == LATE
    gate.set()
    while await answer_home_request(client, event(), lambda request: "on") == LATE:
        await asyncio.sleep(0.001)
    assert client.replies[-1] == (HOME_RESPONSE, {**DONE, "speech": "on"})


# --- with a hub ---


async def test_hub_is_answered(v3: Lab) -> None:
    """The request comes by the hub and the response goes back in its session, one after the other."""
    identity = v3.identity("home", allowed=(*ALLOWED, HOME_RESPONSE))
    async with AsyncThalovantClient(identity, noise_state_dir=v3.state_dir("home")) as client:
        end = answer_home_requests(client, lambda request: f"{request.utterance}: done")
        for number in ("1", "2"):
            asked = {"request_id": number, "utterance": number}
            await asyncio.to_thread(v3.hub.emit_to, "home", HOME_REQUEST, asked, session_id="s")
            heard = await asyncio.to_thread(
                v3.hub.wait_for, HOME_RESPONSE, predicate=lambda one, number=number: one.data["request_id"] == number
            )
            assert heard.data["speech"] == f"{number}: done"
            assert heard.session_id == "s"
        end()


@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.parametrize(("protocol", "others"), [("wss", 12), ("https", 1), ("mqtt", 12)])
async def test_reply_behind_another_message(v3: Lab, protocol: str, others: int, in_time: bool) -> None:
    """At the end of its time it is taken back: never sent later, and the link is as it was."""
    identity = v3.identity("home", allowed=(*ALLOWED, HOME_RESPONSE))
    id = f"{protocol} {in_time}"
    options: dict[str, Any] = {"protocol": protocol, "noise_state_dir": v3.state_dir("home"), "send_timeout": PATIENCE}
    with Relay(identity, protocol=protocol) as relay:
        async with AsyncThalovantClient(relay.identity, **options) as client:
            states = States(client)
            relay.hold()
            loop = asyncio.get_running_loop()
            busy = [loop.create_task(client.send_binary(bytes(700_000), "file")) for _ in range(others)]

            async def handler(request: HomeRequest) -> str:
                if in_time:
                    relay.go_on()
                return "on"

            bound = PATIENCE if in_time else 0.2
            sent = await answer_home_request(client, event(request_id=id), handler, hub_timeout=bound)
            relay.go_on()
            await asyncio.gather(*busy)
            await client.emit("test.note", {"after": id})
            await asyncio.to_thread(v3.hub.wait_for, "test.note", predicate=lambda one: one.data.get("after") == id)
            assert states.names == ["ready"]
            assert (await client.connection_info()).last_error is None
    heard = [one.data for one in v3.hub.heard if one.name == HOME_RESPONSE and one.data["request_id"] == id]
    assert (sent, heard) == ((None, []) if not in_time else (heard[0], [{**DONE, "request_id": id, "speech": "on"}]))
