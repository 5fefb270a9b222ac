"""`AsyncThalovantClient` against a hub in this process: its connection, from the first dial to the last goodbye."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    HubProtocol,
    ThalovantConnectionError,
    ThalovantHealth,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)
from thalovant_proto.client.stack import ClientStack

from .lab import PATIENCE, Lab, States, free_port, run, silent_listener

# --- the connection ---


async def test_connect_says_how_it_came_about(each: Lab) -> None:
    """`connect_with_info` gives the phase and times that follow each other."""
    async with each.async_client() as client:
        info = await client.connect_with_info()
        assert (info.phase, info.last_error) == ("ready", None)
        assert info.transport_open_ms is not None
        assert info.socket_open_ms is not None
        assert info.connect_ms is not None
        assert info.handshake_ms is not None
        assert 0 < info.transport_open_ms < info.socket_open_ms < info.connect_ms
        assert info.handshake_ms < info.connect_ms
        assert info.started_at is not None
        assert info.connected_at is not None
        assert info.started_at < info.connected_at
        assert info.started_at.endswith("Z")


@pytest.mark.parametrize("protocol", ["wss", "https", "mqtt"])
async def test_client_and_hub_run_on_every_loop(
    each_loop: str, own: Lab, protocol: HubProtocol, caplog: pytest.LogCaptureFixture
) -> None:
    """Over every transport: questions, a hub that cuts, a client that comes back, much at once, and the end."""
    assert (type(asyncio.get_running_loop()).__module__ == "uvloop") is (each_loop == "uvloop")
    async with own.async_client(protocol=protocol) as client:
        assert (await client.ask("hi", timeout=PATIENCE)).text == "You said: hi"
        states = States(client)
        own.hub.disconnect("shared", code=1001)
        await states.reach("ready", times=2)
        assert (await client.ask("x" * 200_000, timeout=PATIENCE)).text == "You said: " + "x" * 200_000
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_states_in_order(each: Lab) -> None:
    """A life without trouble, as `on_state` tells it, the present state first; after `end` it tells nothing."""
    client = each.async_client()
    states = States(client)
    assert (states.names, client.state, client.connected) == (["idle"], "idle", False)
    await client.connect()
    await client.connect()  # changes nothing
    assert (client.state, client.connected) == ("ready", True)
    assert states.names[1:] == ["connecting", "handshake", "ready"]
    late = States(client)
    await client.close()
    assert states.names[4:] == ["closing", "closed"]
    assert late.names == ["ready", "closing", "closed"]
    assert [error for _, error in (*states.seen, *late.seen)] == [None] * 9
    states.end()
    await client.connect()
    await client.close()
    assert (len(states.seen), client.state, client.connected) == (6, "closed", False)


async def test_present_state_comes_with_its_reason(v3: Lab) -> None:
    """Whoever asks late is told why there is no connection, too."""
    client = _elsewhere(v3, f"wss://127.0.0.1:{free_port()}")
    with pytest.raises(ThalovantConnectionError):
        await client.connect()
    ((state, error),) = States(client).seen
    assert (state, client.state, isinstance(error, ThalovantConnectionError)) == ("failed", "failed", True)
    await client.close()


async def test_info_without_a_connection(v3: Lab) -> None:
    """Before the first connection and after the last there is information too, and nobody dials for it."""
    client = v3.async_client()
    assert _phase(await client.connection_info()) == ("idle", None, None)
    async with client:
        pass
    phase, connect_ms, last_error = _phase(await client.connection_info())
    assert (phase, last_error) == ("closed", None)
    assert connect_ms is not None


def _phase(info: Any) -> tuple[str, float | None, str | None]:
    return info.phase, info.connect_ms, info.last_error


async def test_close_and_use_again(each: Lab) -> None:
    """`close` and `disconnect` are idempotent, and the client connects again when something is asked of it."""
    client = each.async_client()
    await client.close()  # nothing to close
    for text in ("first", "second"):
        assert (await client.ask(text)).text == f"You said: {text}"
        await client.disconnect()
        await client.close()


async def test_reconnects_by_itself(each: Lab) -> None:
    """A connection that the hub ends comes back; subscriptions are alive, and the states say what happened."""
    async with AsyncThalovantClient(identity := each.stranger()) as client:
        states = States(client)
        heard: asyncio.Queue[str] = asyncio.Queue()
        client.on("test.hello", lambda event: heard.put_nowait(event.data["text"]))
        await asyncio.to_thread(each.hub.disconnect, identity.site_id)
        lost = await states.reach("waiting")
        assert isinstance(lost, ThalovantConnectionError)
        assert (lost.name, lost.retryable) == ("lost", True)
        await states.reach("ready")
        await client.connect()
        await asyncio.to_thread(each.hub.emit_to, identity.site_id, "test.hello", {"text": "still there"})
        assert await heard.get() == "still there"
        assert (await client.connection_info()).last_error is None


async def test_hub_restarts(own: Lab) -> None:
    """What is asked while the hub is down is answered once it is back, and was sent once."""
    async with own.async_client() as client:
        states = States(client)
        await asyncio.to_thread(own.hub.stop)
        await states.reach("waiting")
        asked = asyncio.create_task(client.ask("Are you back?"))
        await asyncio.to_thread(own.hub.start)
        assert (await asked).text == "You said: Are you back?"
        assert len(own.heard("Are you back?")) == 1


@pytest.mark.parametrize("before", [False, True], ids=["never connected", "connected before"])
async def test_hub_that_is_down_is_an_error_that_says_so(own: Lab, before: bool) -> None:
    """Connected before or not, each call tells what is wrong, and that nothing was sent; later it works."""
    client = own.async_client(send_timeout=0.5)
    if before:
        await client.connect()
        states = States(client)
    await asyncio.to_thread(own.hub.stop)
    if before:
        await states.reach("waiting", times=2)
    for call in (
        lambda: client.connect(0.5),
        lambda: client.ask("hi", timeout=0.5),
        lambda: client.emit("test.note"),
        lambda: client.wait_for_event("speak", timeout=0.5),
    ):
        with pytest.raises(ThalovantConnectionError) as caught:
            await call()
        assert type(caught.value) is ThalovantConnectionError
        assert (caught.value.name, caught.value.retryable) == ("hub_down", True)
        assert caught.value.delivery in (None, "no")
        assert "check host and port" in caught.value.hint.lower()
    await asyncio.to_thread(own.hub.start)
    assert (await client.ask("hi")).text == "You said: hi"
    await client.close()


async def test_without_reconnecting(own: Lab) -> None:
    """With `auto_reconnect` off a lost connection is the end, until the next call."""
    client = own.async_client(auto_reconnect=False)
    await client.connect()
    states = States(client)
    await asyncio.to_thread(own.hub.disconnect, "shared")
    await states.reach("failed")
    await client.wait_closed()
    assert (await client.connection_info()).phase == "error"
    assert (await client.ask("hi")).text == "You said: hi"
    await client.close()


async def test_connect_gives_up_in_time(v3: Lab) -> None:
    """A host that takes connections and says nothing ends `connect` at its timeout, with the reason so far."""
    with silent_listener() as port:
        client = _elsewhere(v3, f"wss://127.0.0.1:{port}")
        with pytest.raises(ThalovantConnectionError, match=r"did not complete within 0\.05s\.") as caught:
            await client.connect(timeout=0.05)
        assert (caught.value.name, caught.value.retryable) == ("connect_timeout", True)
        assert "endpoint" in caught.value.hint
        await client.close(timeout=0)


async def test_calls_give_up_in_time(v3: Lab) -> None:
    """The same for what needs a connection: nothing was sent, and that is certain."""
    with silent_listener() as port:
        client = _elsewhere(v3, f"wss://127.0.0.1:{port}", send_timeout=0.05)
        calls = (
            client.ask("hi", timeout=0.05),
            client.emit("test.note"),
            client.wait_for_event("speak", timeout=0.05),
        )
        for call, delivery in zip(calls, ("no", "no", None), strict=True):
            with pytest.raises(ThalovantTimeoutError, match=r"within 0\.05s") as caught:
                await call
            assert (caught.value.delivery, caught.value.retryable) == (delivery, True)
        assert [event async for event in client.listen("speak", timeout=0.05)] == []
        await client.close(timeout=0)


def _elsewhere(lab: Lab, url: str, **options: Any) -> AsyncThalovantClient:
    from dataclasses import replace

    identity = lab.identity()
    moved = replace(identity, default_master=url, data_plane_endpoints=replace(identity.data_plane_endpoints, wss=url))
    return AsyncThalovantClient(moved, noise_state_dir=lab.state_dir(), **options)


def test_tries_are_counted(v3: Lab) -> None:
    """`reconnect_attempts` is the number of tries after the first one."""

    async def tries(attempts: int) -> int:
        client = _elsewhere(v3, f"wss://127.0.0.1:{free_port()}", reconnect_attempts=attempts)
        states = States(client)
        with pytest.raises(ThalovantConnectionError):
            await client.connect()
        return states.names.count("connecting")

    assert [run(tries(attempts)) for attempts in (0, 2)] == [1, 3]


async def test_health(each: Lab) -> None:
    """`healthcheck` connects, and says that all is well."""
    client = each.async_client()
    health = await client.healthcheck()
    assert health.ok
    assert health == ThalovantHealth(True, True, True, None, await client.connection_info())
    await client.close()


async def test_health_of_nobody(v3: Lab) -> None:
    """Where there is no hub, `healthcheck` raises what `connect` raises."""
    with pytest.raises(ThalovantConnectionError, match="refused"):
        await _elsewhere(v3, f"wss://127.0.0.1:{free_port()}").healthcheck()


async def test_two_clients_of_one_identity(each: Lab) -> None:
    """Each has its own answers, at the same time."""
    async with each.talking() as one, each.talking() as two:
        replies = await asyncio.gather(*(client.ask(text) for client, text in ((one, "1"), (two, "2"))))
        assert [reply.text for reply in replies] == ["You said: 1", "You said: 2"]


async def test_wait_closed(own: Lab) -> None:
    """It ends with the session, whoever ended it; without a session at once."""
    client = own.async_client()
    await client.wait_closed()
    await client.connect()
    waiting = asyncio.create_task(client.wait_closed())
    await client.close()
    await waiting


# --- what must not happen ---


async def test_bug_in_the_machines_is_told(own: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that fails ends calls with an error instead of leaving them waiting; the next call has a new one."""

    def fails(self: ClientStack, data: bytes, now: float) -> None:
        raise ZeroDivisionError("a bug")

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    client = own.async_client()
    heard: asyncio.Queue[str] = asyncio.Queue()
    client.on("test.hello", lambda event: heard.put_nowait(event.data["text"]))
    await client.connect()
    with monkeypatch.context() as patched:
        patched.setattr(ClientStack, "receive_data", fails)
        with pytest.raises(ThalovantConnectionError, match="bug in thalovant: ZeroDivisionError") as caught:
            await client.ask("hi")
        assert (
            caught.value.name,
            caught.value.delivery,
            caught.value.retryable,
        ) == ("internal", "unknown", False)
    assert [str(context["exception"]) for context in reported] == ["a bug"]
    await client.connect()
    await asyncio.to_thread(own.hub.emit_to, "shared", "test.hello", {"text": "new"})
    assert await heard.get() == "new"
    await client.close()


async def test_close_while_others_wait(each: Lab) -> None:
    """Every call that waits is told that the session was closed; none hangs, none opens it again."""
    client = each.async_client()
    states = States(client)
    calls = [
        asyncio.create_task(client.connect()),
        asyncio.create_task(client.ask("hang on")),
        asyncio.create_task(client.wait_for_event("nothing")),
        asyncio.create_task(anext(client.listen("nothing"))),
    ]
    await each.wait_for("recognizer_loop:utterance", text="hang on")
    await client.close(timeout=0)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(error, "name", None) for error in ended[1:]] == ["closed"] * 3
    assert ended[0] is None or getattr(ended[0], "name", None) == "closed"
    assert states.names[-1] == "closed"


async def test_close_before_the_first_dial(v3: Lab) -> None:
    """A call that was about to connect does not connect after the close."""
    client = v3.async_client()
    states = States(client)
    asked = asyncio.create_task(client.ask("too late"))
    await asyncio.sleep(0)  # it reads its keys now, in a thread
    await client.close()
    with pytest.raises(ThalovantConnectionError, match="closed") as caught:
        await asked
    assert caught.value.delivery == "no"
    assert states.names == ["idle"]


def test_wrong_loop(v3: Lab) -> None:
    """A client at work on one loop says so on another; once it is closed it works there."""
    client = v3.async_client()

    async def elsewhere() -> None:
        with pytest.raises(ThalovantRuntimeError, match="another event loop"):
            await client.ask("hi")

    async def here() -> None:
        await client.connect()
        await asyncio.to_thread(run, elsewhere())
        await client.close()

    async def again() -> None:
        async with client:
            assert (await client.ask("hi")).text == "You said: hi"

    run(here())
    run(again())
