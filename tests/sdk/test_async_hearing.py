"""`AsyncThalovantClient` against a hub in this process: subscriptions, waiting, listening, raw bytes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    EventField,
    SpeakEvent,
    ThalovantConnectionError,
    ThalovantEvent,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)
from thalovant.subscriptions import HANDLER_BUFFER, HANDLER_BYTES
from thalovant_proto import events as wire

from .lab import Lab, States, logged


async def _tick(client: AsyncThalovantClient, count: int) -> None:
    """Have the hub send that many `test.tick`s, numbered; they have arrived when this returns."""
    assert (await client.ask(f"count to {count}")).text == "done"


async def _tick_unasked(client: AsyncThalovantClient, count: int) -> None:
    """The same, sent without waiting: nobody has taken them when this returns, and they are kept."""
    await client.send_utterance(f"count to {count}")
    assert (await client.wait_for_event("speak")).text == "done"


def _numbers(events: list[ThalovantEvent]) -> list[int]:
    return [event.data["number"] for event in events]


# --- on ---


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_handler_hears_in_order(each: Lab, kind: str) -> None:
    """Functions and coroutine functions get each event once, one at a time."""
    heard: list[ThalovantEvent] = []
    busy, all_heard = asyncio.Lock(), asyncio.Event()

    def at_once(event: ThalovantEvent) -> None:
        heard.append(event)
        if len(heard) == 20:
            all_heard.set()

    async def slowly(event: ThalovantEvent) -> None:
        assert not busy.locked()
        async with busy:
            await asyncio.sleep(0)
        at_once(event)

    async with each.talking() as client:
        subscription = client.on("test.tick", slowly if kind == "coroutine" else at_once)
        assert subscription.event_name == "test.tick"
        await _tick(client, 20)
        await all_heard.wait()
        assert _numbers(heard) == list(range(20))
        assert subscription.dropped == 0


async def test_reply_to_an_event(v3: Lab) -> None:
    """It has the context that the hub sent, whatever readers did to the one that they saw."""
    seen: asyncio.Future[ThalovantEvent] = asyncio.Future()
    async with v3.talking() as client:
        client.on("test.tick", lambda event: event.context["session"].clear())
        client.on("test.tick", seen.set_result)
        await _tick(client, 1)
        event = await seen
        event.context.clear()
        await client.reply(event, "test.note", {"reply": 1}, {"extra": "x"})
        heard = await asyncio.to_thread(v3.hub.wait_for, "test.note", predicate=lambda one: "reply" in one.data)
    came = event.raw.context
    assert (heard.data, heard.context["extra"]) == ({"reply": 1}, "x")
    assert heard.request_id == came["request_id"]
    assert heard.session_id == came["session"]["session_id"]


async def test_close_of_a_subscription(v3: Lab) -> None:
    """After `close`, or after the block, nothing is heard; closing again is harmless; others go on."""
    first: list[ThalovantEvent] = []
    second: list[ThalovantEvent] = []
    async with v3.talking() as client:
        client.on("test.tick", second.append)
        with client.on("test.tick", first.append) as subscription:
            await _tick(client, 1)
        subscription.close()
        subscription.unsubscribe()
        await _tick(client, 1)
    assert (len(first), len(second)) == (1, 2)


async def test_handler_that_closes_its_subscription(v3: Lab) -> None:
    """What had already come is not handled any more; the handler itself runs to its end."""
    heard: list[int] = []
    all_there, handled = asyncio.Event(), asyncio.Event()

    async def once(event: ThalovantEvent) -> None:
        await all_there.wait()
        subscription.close()
        await asyncio.sleep(0)
        heard.append(event.data["number"])
        handled.set()

    async with v3.talking() as client:
        subscription = client.on("test.tick", once)
        await _tick(client, 5)
        all_there.set()
        await handled.wait()
        await _tick(client, 1)
        assert heard == [0]


async def test_function_that_closes_its_subscription(v3: Lab) -> None:
    """The same for a function, which is called as the event comes."""
    heard: list[int] = []

    def once(event: ThalovantEvent) -> None:
        heard.append(event.data["number"])
        subscription.close()

    async with v3.talking() as client:
        subscription = client.on("test.tick", once)
        await _tick(client, 5)
        assert heard == [0]


async def test_close_cancels_a_coroutine_that_handles(v3: Lab) -> None:
    """Whoever closes a subscription does not wait for its handler."""
    ended: list[str] = []
    started = asyncio.Event()

    async def handles(event: ThalovantEvent) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with v3.talking() as client:
        subscription = client.on("test.tick", handles)
        await _tick(client, 1)
        await started.wait()
        subscription.close()
    assert ended == ["cancelled"]


async def test_handler_that_raises(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, once for each event, and the next event is handled."""

    def fails(event: ThalovantEvent) -> None:
        raise ZeroDivisionError(event.data["number"])

    async with v3.talking() as client:
        client.on("test.tick", fails)
        await _tick(client, 2)

    assert [record.message for record in logged(caplog)] == ["A handler of 'test.tick' raised"] * 2
    assert [str(record.exc_info[1]) for record in logged(caplog) if record.exc_info] == ["0", "1"]


async def test_handler_that_asks(each: Lab) -> None:
    """A handler may use the client, as agents do."""
    async with each.talking() as client:
        answered: asyncio.Queue[str] = asyncio.Queue()

        async def answers(event: ThalovantEvent) -> None:
            answered.put_nowait((await client.ask(f"tick {event.data['number']}")).text)

        client.on("test.tick", answers)
        await _tick(client, 2)
        assert [await answered.get() for _ in range(2)] == ["You said: tick 0", "You said: tick 1"]


async def test_slow_handler_loses_the_oldest(v3: Lab) -> None:
    """While a handler hangs, the newest events are kept, the others counted; asks go on."""
    heard: list[int] = []
    extra = 100
    hangs = asyncio.Event()

    async def handles(event: ThalovantEvent) -> None:
        await hangs.wait()
        heard.append(event.data["number"])

    async with v3.talking() as client:
        subscription = client.on("test.tick", handles)
        await _tick(client, 1 + HANDLER_BUFFER + extra)
        assert subscription.dropped == extra
        hangs.set()
        await client.ask("Are we done?")
    assert heard == [0, *range(1 + extra, 1 + extra + HANDLER_BUFFER)]


FILTERS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"request_id": "R-mine"}, True),
    ({"request_id": "R-other"}, False),
    ({"context": {"request_id": "R-mine"}}, True),
    ({"context": {"request_id": "R-other"}}, False),
    ({"session_id": "S-other", "request_id": "R-mine"}, True),  # where both name a request, that alone decides
    ({"predicate": lambda event: event.text == "You said: filter"}, True),
    ({"predicate": lambda event: event.text == "else"}, False),
    ({"request_id": "R-other", "predicate": lambda event: True}, False),
]


@pytest.mark.parametrize(("filters", "fits"), FILTERS)
async def test_filters(each: Lab, filters: dict[str, Any], fits: bool) -> None:
    """`on`, `listen` and `wait_for_event` take what fits the ids, then the predicate."""
    async with each.talking() as client:
        heard: list[ThalovantEvent] = []
        client.on("speak", heard.append, **filters)
        await client.ask("filter", request_id="R-mine")
        assert bool(heard) is fits


async def test_filter_by_session(each: Lab) -> None:
    """A conversation hears its own; a hub with one session for each connection cannot tell them apart."""
    async with each.talking() as client:
        heard: dict[str, list[str]] = {"S-1": [], "S-2": []}
        for session, texts in heard.items():
            client.on("speak", lambda event, texts=texts: texts.append(event.text), session_id=session)  # type: ignore[misc]
        await client.ask("one", session_id="S-1")
        if each.generation == 3:
            assert heard == {"S-1": ["You said: one"], "S-2": []}
        else:
            assert heard["S-1"] == ["You said: one"]


async def test_predicate_that_raises(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and means no; the connection does not notice."""
    async with v3.talking() as client:
        heard: list[ThalovantEvent] = []
        client.on("test.tick", heard.append, predicate=lambda event: 1 / event.data["number"] > 0)
        await _tick(client, 3)
        assert _numbers(heard) == [1, 2]

    assert [record.message for record in logged(caplog)] == ["A predicate for 'test.tick' raised"]


async def test_on_says_when_it_cannot_connect(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for the connection that `on` makes: the log has to say it."""
    client = AsyncThalovantClient(v3.identity(), noise_state_dir=__file__)
    client.on("speak", lambda event: None)
    client.on_binary(lambda binary: None)
    while not logged(caplog):
        await asyncio.sleep(0.001)
    await client.close()

    (record,) = logged(caplog)
    assert (record.levelno, record.message.startswith("Could not connect in the background")) == (logging.WARNING, True)


async def test_close_ends_connecting_in_the_background(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A client that is closed at once does not come up later, and there is nothing to complain about."""
    client = v3.async_client()
    client.on("speak", lambda event: None)
    await client.close()
    assert (await client.connection_info()).phase == "idle"

    assert logged(caplog) == []


# --- wait_for_event and listen ---


async def test_send_then_wait(each: Lab) -> None:
    """What the hub answered before we waited is not lost, and is given once, in order."""
    async with each.talking() as client:
        await _tick_unasked(client, 3)
        found = [await client.wait_for_event("test.tick") for _ in range(2)]
        found += [event async for event in client.listen("test.tick", max_events=1)]
        assert _numbers(found) == [0, 1, 2]
        with pytest.raises(ThalovantTimeoutError, match=r"Hub did not emit 'test\.tick' within 0s\."):
            await client.wait_for_event("test.tick", timeout=0)
        assert [event async for event in client.listen("test.tick", timeout=0)] == []


async def test_wait_takes_one_event(v3: Lab) -> None:
    """The one after it is there for whoever comes next."""
    async with v3.talking() as client:
        waiting = asyncio.create_task(client.wait_for_event("test.tick"))
        await asyncio.sleep(0)
        await _tick_unasked(client, 3)
        rest = [event async for event in client.listen("test.tick", max_events=2)]
        assert _numbers([await waiting, *rest]) == [0, 1, 2]


async def test_wait_with_a_predicate(v3: Lab) -> None:
    """Events that do not fit are left for others."""
    async with v3.talking() as client:
        await _tick_unasked(client, 3)
        found = await client.wait_for_event("test.tick", predicate=lambda event: event.data["number"] == 1)
        rest = [event async for event in client.listen("test.tick", max_events=2)]
        assert _numbers([found, *rest]) == [1, 0, 2]


async def test_what_ask_has_heard_is_not_kept(v3: Lab) -> None:
    """The reply is not heard a second time."""
    async with v3.talking() as client:
        await client.ask("hi")
        assert [event async for event in client.listen("speak", timeout=0.01)] == []


async def test_listen_while_others_listen(v3: Lab) -> None:
    """Every listener gets every event."""
    async with v3.talking() as client:

        async def three() -> list[int]:
            return _numbers([event async for event in client.listen("test.tick", max_events=3)])

        both = [asyncio.create_task(three()) for _ in range(2)]
        await asyncio.sleep(0)
        await _tick(client, 3)
        assert [await one for one in both] == [[0, 1, 2]] * 2


async def test_listen_for_nothing(v3: Lab) -> None:
    """With no events wanted it ends without connecting."""
    client = v3.async_client()
    assert [event async for event in client.listen("speak", max_events=0)] == []
    assert (await client.connection_info()).phase == "idle"


async def test_listen_ends_at_its_timeout(v3: Lab) -> None:
    """However many events came before; the time counts from the start, not from the last event."""
    async with v3.talking() as client:
        await _tick_unasked(client, 2)
        assert _numbers([event async for event in client.listen("test.tick", timeout=0.02)]) == [0, 1]


async def test_slow_consumer_of_listen(v3: Lab) -> None:
    """It gets what was kept, then an error that says what to do: it counts on having all."""
    async with v3.talking() as client:
        events = client.listen("test.tick", max_buffered_events=3)
        await client.send_utterance("count to 1")
        heard = [await anext(events)]
        await _tick(client, 5)
        with pytest.raises(ThalovantRuntimeError, match="Event buffer overflow") as caught:
            async for event in events:
                heard.append(event)
        assert _numbers(heard) == [0, 0, 1, 2]
        assert (caught.value.name, "max_buffered_events" in caught.value.hint) == ("overflow", True)


async def test_session_that_ends_while_waiting(own: Lab) -> None:
    """Who waits for events is told the reason why none will come."""
    async with own.talking(auto_reconnect=False) as client:
        await client.connect()
        calls = [
            asyncio.create_task(client.wait_for_event("nothing")),
            asyncio.create_task(anext(client.listen("nothing"))),
        ]
        await asyncio.sleep(0)
        await asyncio.to_thread(own.hub.disconnect, "shared")
        for call in calls:
            with pytest.raises(ThalovantConnectionError, match="lost") as caught:
                await call
            assert caught.value.name == "lost"


async def test_what_is_no_message(each: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Costs nobody anything: the connection stays, and what follows is heard. The first one is a warning."""
    heard: list[Any] = []
    nonsense: tuple[Any, ...] = (
        wire.Bus(type="test.odd", data=[1]),  # type: ignore[arg-type]
        wire.Bus(type="test.odd", context="x"),  # type: ignore[arg-type]
        wire.Bus(type="test.odd", data={"utterances": 5, "session": []}, context={"session": 5, "request_id": {}}),
        wire.Propagate(payload="text"),  # type: ignore[arg-type]
        wire.Propagate(payload={"msg_type": 5, "payload": {"type": [], "data": 5}}),
        wire.Binary(bin_type=3, metadata=[1]),  # type: ignore[arg-type]
        wire.Binary(bin_type=15, metadata={"file_name": {}, "utterance": 5}),
    )
    async with each.talking() as client:
        client.on("test.odd", heard.append)
        client.on_hive("propagate", heard.append)
        client.on_binary(heard.append)
        await client.connect()
        states = States(client)
        for _ in range(100):
            for message in nonsense:
                each.hub.send_to("shared", message)
        assert (await client.ask("say heard")).text == "heard"
        assert (states.names, len(heard)) == (["ready"], 400)

    told = [record.levelno for record in logged(caplog) if "what is no message" in record.message]
    assert told.count(logging.WARNING) == 1


# --- classes of events, and what is expected ---


class Tick(ThalovantEvent, event="test.tick"):
    number: EventField[int] = EventField(int, -1)


async def test_hearing_by_class(v3: Lab) -> None:
    """Everything that takes a name takes a class, whose objects come; predicates get them too."""
    async with v3.talking() as client:
        heard: list[Tick] = []
        with client.on(Tick, heard.append, predicate=lambda event: event.number > 0) as subscription:
            assert subscription.event_name == "test.tick"
            await _tick(client, 3)
        await _tick_unasked(client, 3)
        waited = await client.wait_for_event(Tick, predicate=lambda event: event.number == 1)
        listened = [event async for event in client.listen(Tick, max_events=2)]
        assert [event.number for event in (*heard, waited, *listened)] == [1, 2, 1, 0, 2]
        for wrong in ("", None, 5, ThalovantEvent, int):
            with pytest.raises(ValueError, match="the name of an event must be text, or a class"):
                client.expect(wrong)  # type: ignore[arg-type]


async def test_expect(each: Lab) -> None:
    """It hears from the beginning of the block on, also what others take; nothing from before, nothing afterwards."""
    async with each.talking() as client:
        await _tick_unasked(client, 1)
        conversation, others = client.conversation(), []
        client.on("test.tick", others.append)
        async with client.expect(Tick) as expected, conversation.expect("speak") as spoken:
            await _tick(client, 2)
            await conversation.ask("hi")
            assert [(await expected.wait()).number, (await expected.wait(timeout=1)).number] == [0, 1]
            assert (await spoken.wait()).text == "You said: hi" if each.generation == 3 else "done"
            with pytest.raises(ThalovantTimeoutError, match=r"Hub did not emit 'test\.tick' within 0s\."):
                await expected.wait(0)
        await _tick(client, 1)
        with pytest.raises(ThalovantRuntimeError, match="inside of the block") as caught:
            await expected.wait()
        with pytest.raises(ThalovantRuntimeError, match="inside of the block"):
            await client.expect(Tick).wait()
        assert (len(others), caught.value.name) == (3, "not_expected")


async def test_session_that_ends_while_expecting(own: Lab) -> None:
    """The reason why nothing will come is told."""
    async with own.talking(auto_reconnect=False) as client:
        await client.connect()
        async with client.expect("nothing") as expected:
            await asyncio.to_thread(own.hub.disconnect, "shared")
            with pytest.raises(ThalovantConnectionError, match="lost"):
                await expected.wait()


def test_expect_in_threads(v3: Lab) -> None:
    """The synchronous twin, of a client and of a conversation."""
    with v3.client() as client, client.conversation() as conversation:
        for one in (client, conversation):
            with one.expect(SpeakEvent, predicate=lambda event: event.utterance != "") as expected:
                one.send_utterance("count to 0")
                assert expected.wait(timeout=5).text == "done"
        assert conversation.listen(SpeakEvent, max_events=0) is not None


# --- raw bytes ---


async def test_binary_from_the_hub(each: Lab) -> None:
    """Kind, bytes and metadata, in order; after `close` nothing more."""
    async with each.talking(reply_settle_seconds=0.01) as client:
        heard: list[tuple[str, bytes, object]] = []

        async def handles(binary: Any) -> None:
            heard.append((binary.kind, binary.data, binary.metadata.get("name")))

        with client.on_binary(handles) as subscription:
            await client.ask("send 3 bytes")
            await client.ask("send 0 bytes")
        await client.ask("send 1 bytes")
        assert heard == [("tts_audio", b"\5\5\5", "five"), ("tts_audio", b"", "five")]
        assert (subscription.event_name, subscription.dropped) == ("binary", 0)


async def test_slow_handler_of_bytes(v3: Lab) -> None:
    """The bytes that wait are bounded, whatever their number."""
    size = HANDLER_BYTES // 4
    async with v3.talking(reply_settle_seconds=0.01) as client:
        hangs, heard = asyncio.Event(), []

        async def handles(binary: Any) -> None:
            await hangs.wait()
            heard.append(len(binary.data))

        subscription = client.on_binary(handles)
        for _ in range(7):  # one is being handled, four wait
            await client.ask(f"send {size} bytes")
        assert subscription.dropped == 2
        hangs.set()
        await client.ask("Are we done?")
        assert heard == [size] * 5
