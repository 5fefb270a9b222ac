"""What type checkers know of handlers and events: checked by `.ci/verify-types`, never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

from thalovant import (
    AsyncThalovantAgent,
    AsyncThalovantClient,
    SpeakEvent,
    ThalovantAgent,
    ThalovantClient,
    ThalovantEvent,
    ThalovantSubscription,
)


async def awaited(client: AsyncThalovantClient, agent: AsyncThalovantAgent) -> None:
    client.on("speak", lambda event: event.text)
    client.on(SpeakEvent, lambda event: event.meta, predicate=lambda event: event.expect_response)
    assert_type(await client.wait_for_event("speak"), ThalovantEvent)
    assert_type(await client.conversation().wait_for_event(SpeakEvent), SpeakEvent)
    async for heard in client.listen(SpeakEvent):
        assert_type(heard.utterance, str)
    async with client.expect(SpeakEvent) as expected:
        assert_type(await expected.wait(), SpeakEvent)

    @agent.on(SpeakEvent)
    async def handle(event: SpeakEvent) -> bool:
        return event.expect_response

    assert_type(await handle(SpeakEvent("speak")), bool)
    agent.on_speak(handle)
    agent.on("speak", lambda event: event.text)


def called(client: ThalovantClient, agent: ThalovantAgent) -> None:
    assert_type(client.on(SpeakEvent, lambda event: event.meta), ThalovantSubscription)
    assert_type(client.wait_for_event("speak", timeout=5), ThalovantEvent)
    assert_type(client.conversation().wait_for_event(SpeakEvent), SpeakEvent)
    for heard in client.listen("speak", predicate=lambda event: bool(event.text)):
        assert_type(heard, ThalovantEvent)
    with client.conversation().expect(SpeakEvent) as expected:
        assert_type(expected.wait(timeout=5), SpeakEvent)

    @agent.on("speak")
    def handle(event: ThalovantEvent) -> str:
        return event.text

    assert_type(handle, Callable[[ThalovantEvent], str])
