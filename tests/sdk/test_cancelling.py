"""Cancelling at every await of every call: nothing is left, nothing is half done, the client works afterwards."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from thalovant import AsyncThalovantClient, ThalovantConnectionError

from .lab import Lab, States, run, silent_listener

Call = Callable[[AsyncThalovantClient], Coroutine[Any, Any, object]]


@types.coroutine
def _cancelled_at(call: Coroutine[Any, Any, object], number: int) -> Generator[Any, Any, bool]:
    """Await a call, and cancel it as it suspends for the `number`th time; whether it did not come to that."""
    task = asyncio.current_task()
    assert task is not None
    waits = call.__await__()
    try:
        waited = next(waits)
        for _ in range(number):
            try:
                answer = yield waited
            except BaseException as error:
                waited = waits.throw(error)
            else:
                waited = waits.send(answer)
    except StopIteration:
        return True
    task.cancel()  # takes effect at this very await
    try:
        yield waited
    except asyncio.CancelledError as cancelled:
        try:
            waited = waits.throw(cancelled)
            while True:  # what it awaits while it leaves
                waited = waits.send((yield waited))
        except asyncio.CancelledError:
            task.uncancel()
            return False
        except StopIteration:
            pass
    raise AssertionError("the cancellation was lost")


async def _collect(client: AsyncThalovantClient) -> list[str]:
    return [event.text async for event in client.stream("say a and b")]


async def _listen(client: AsyncThalovantClient) -> list[int]:
    await client.send_utterance("count to 2")
    return [event.data["number"] async for event in client.listen("test.tick", max_events=2)]


async def _wait(client: AsyncThalovantClient) -> str:
    await client.send_utterance("hi")
    return (await client.wait_for_event("speak")).text


async def _enter(client: AsyncThalovantClient) -> None:
    async with client:
        await client.ask("inside")


CALLS: dict[str, Call] = {
    "connect": lambda client: client.connect(),
    "ask": lambda client: client.ask("hi"),
    "stream": _collect,
    "emit": lambda client: client.emit("test.note"),
    "wait_for_event": _wait,
    "listen": _listen,
    "healthcheck": lambda client: client.healthcheck(),
    "async with": _enter,
}


@pytest.mark.parametrize("connected", [False, True], ids=["first", "connected"])
@pytest.mark.parametrize("name", CALLS)
def test_cancelled_call(v3: Lab, name: str, connected: bool) -> None:
    """Whichever await a call is cancelled at, the next call finds everything in order."""

    async def cancels(number: int) -> bool:
        client = v3.async_client()
        if connected:
            await client.connect()
        finished = await _cancelled_at(CALLS[name](client), number)
        assert (await client.ask("still here")).text == "You said: still here"
        await client.close()
        return finished

    number = 0
    while not run(cancels(number)):
        number += 1
        assert number < 30, "the call never ends"
    assert number > 0 or connected  # there is something to wait for


@pytest.mark.parametrize("asked", [False, True], ids=["idle", "while asking"])
def test_cancelled_close(each: Lab, asked: bool) -> None:
    """A close that is cancelled has closed all the same, only without waiting for the hub."""

    async def cancels(number: int) -> bool:
        client = each.async_client()
        states = States(client)
        await client.ask("hi")
        call = asyncio.create_task(client.ask("hang for close")) if asked else None
        await asyncio.sleep(0)
        finished = await _cancelled_at(client.close(), number)
        assert states.names[-1] == "closed"
        if call is not None:
            with pytest.raises(ThalovantConnectionError, match="closed"):
                await call
        states.end()
        assert (await client.ask("still here")).text == "You said: still here"
        await client.close(timeout=0)
        return finished

    number = 0
    while not run(cancels(number)):
        number += 1
        assert number < 10, "the close never ends"
    assert number > 0


async def test_cancelled_while_dialing(v3: Lab) -> None:
    """A host that says nothing is left at once, by cancellation and by the end of the block."""
    with silent_listener() as port:
        from dataclasses import replace

        identity = v3.identity()
        endpoints = replace(identity.data_plane_endpoints, wss=f"wss://127.0.0.1:{port}")
        client = AsyncThalovantClient(replace(identity, data_plane_endpoints=endpoints), noise_state_dir=v3.state_dir())
        entering = asyncio.create_task(_enter(client))
        states = States(client)
        await states.reach("connecting")
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await client.close(timeout=0)
        assert states.names[-1] == "closed"


async def test_timeout_around_a_call(each: Lab) -> None:
    """`asyncio.timeout` around an ask is as good as its own: the answer that comes later is nobody's."""
    async with each.talking() as client:
        await client.ask("hi")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.ask("two steps late")
        await client.emit("test.go", {"gate": "late"})
        assert (await client.ask("hi")).text == "You said: hi"


async def test_task_group(v3: Lab) -> None:
    """One ask that fails ends the others of its group, and leaves the client as it was."""
    async with v3.talking() as client:
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(client.ask("hang in a group"))
                group.create_task(client.ask("fail because of you"))
        assert (await client.ask("hi")).text == "You said: hi"
