"""Links that are kept: what is decided, sessions on asyncio and for threads, and nearer addresses of a hub."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.loops import VirtualLoop
from thalovant import (
    HOME_REQUEST,
    HOME_RESPONSE,
    AsyncHubSession,
    AsyncThalovantClient,
    HomeAnswer,
    HubSession,
    HubSessionPolicy,
    ThalovantClient,
    ThalovantClientKeyRejectedError,
    ThalovantConnectionError,
    ThalovantDisplacedError,
    ThalovantHubKeyChangedError,
    ThalovantHubRefusedError,
    ThalovantPolicyDeniedError,
    ThalovantTimeoutError,
    TrustStore,
    answer_home_requests,
)
from thalovant.session import alive
from thalovant.trust_store import pin_id

from .lab import PATIENCE, Lab, logged, run

# --- attempts of a session, in time that takes none ---


class Attempts:
    """The connect function of a program: it fails as told, each time later than the last."""

    def __init__(self, *ends: Exception) -> None:
        self.ends = list(ends)
        self.times: list[float] = []

    async def __call__(self) -> Any:
        self.times.append(asyncio.get_running_loop().time())
        raise self.ends[min(len(self.times), len(self.ends)) - 1]


FAILED, REFUSED = ThalovantConnectionError("down"), ThalovantHubRefusedError("no")
CHANGED, REJECTED = ThalovantHubKeyChangedError("other"), ThalovantClientKeyRejectedError("ours", key_folder="/k")
GRACE = [0, 10, 30, 70, 150, 270, 390, 510, 630]


@pytest.mark.parametrize(
    ("ends", "times"),
    [
        ([REFUSED], GRACE),
        ([OSError("network"), FAILED, REFUSED], [0, 10, *(at + 30 for at in [0, 40, 120, 240, 360, 480, 600])]),
        ([FAILED, FAILED, CHANGED], [0, 10, 30]),
        ([REFUSED, REJECTED], [0, 10]),
        ([TypeError("a mistake")], [0]),
    ],
)
def test_run_goes_by_the_ladder(ends: list[Exception], times: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Attempts at the times of the policy; when it gives up it raises the last error. Nothing is told above DEBUG."""
    caplog.set_level(logging.DEBUG)
    attempts = Attempts(*ends)

    async def keep() -> None:
        with pytest.raises(type(ends[-1])) as caught:
            await AsyncHubSession(attempts, clock=asyncio.get_running_loop().time).run()
        assert caught.value is ends[-1]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(keep())
    assert attempts.times == pytest.approx(times)
    records = [record for record in logged(caplog) if record.name == "thalovant.link"]
    assert {record.levelno for record in logged(caplog)} == {logging.DEBUG}
    assert len(records) == len(times)


def test_close_ends_whatever_goes_on() -> None:
    """A wait, an attempt that hangs, and what comes after: a closed session stays closed."""

    async def hangs() -> Any:
        await asyncio.Event().wait()

    async def keep(connect: Any) -> None:
        session = AsyncHubSession(connect)
        keeping, connecting = asyncio.create_task(session.run()), asyncio.create_task(session.connect())
        await asyncio.sleep(1)
        await session.close()
        await session.close()
        assert await keeping is None
        with pytest.raises(ThalovantConnectionError):
            await connecting
        await session.run()
        with pytest.raises(ThalovantConnectionError, match="closed"):
            await session.connect()

    for connect in (hangs, Attempts(FAILED)):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(keep(connect))


class Duck:
    """A client of another make: no `state`, and perhaps no `on_state`."""

    def __init__(self, ends: str) -> None:
        self.phase, self.closed, self.handlers = "ready", False, dict[str, Any]()
        loop = asyncio.get_running_loop()
        if ends == "unseen":
            loop.call_later(30, setattr, self, "phase", "error")
        else:
            self.on_state = lambda changed: loop.call_later(30, changed, "failed", _displaced(ends))

    def connection_info(self) -> Any:
        return self

    def on(self, name: str, handler: Any) -> Callable[[], None]:
        if name == "refused":
            raise ValueError(name)
        self.handlers[name] = handler
        return lambda: self.handlers.pop(name)

    async def close(self) -> None:
        self.closed, self.phase = True, "closed"


def _displaced(ends: str) -> ThalovantConnectionError | None:
    return ThalovantDisplacedError("taken over") if ends == "displaced" else None


@pytest.mark.parametrize(("ends", "waits"), [("lost", 30), ("unseen", 60.75), ("displaced", 40)])
def test_links_of_other_clients(ends: str, waits: float) -> None:
    """A loss is heard of, or found by a probe; the next attempt is at once, except after who would only come back."""
    made: list[Duck] = []
    times: list[float] = []

    async def connect() -> Any:
        times.append(asyncio.get_running_loop().time())
        made.append(Duck(ends))
        return made[-1]

    async def keep() -> None:
        session = AsyncHubSession(connect)
        end = session.on("speak", print)
        keeping = asyncio.create_task(session.run())
        await asyncio.sleep(1)
        with pytest.raises(ValueError, match="refused"):
            session.on("refused", print)
        await asyncio.sleep(2 * waits + 1)
        assert [duck.closed for duck in made] == [True, True, False]
        assert list(made[-1].handlers) == ["speak"]
        end()
        assert not made[-1].handlers
        await session.close()
        await keeping
        assert made[-1].closed

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(keep())
    assert times == pytest.approx([0, waits, 2 * waits])


# --- sessions on asyncio ---


class Session:
    """The session of an identity, with what it told."""

    def __init__(self, lab: Lab, name: str = "shared", **options: Any) -> None:
        options = {"noise_state_dir": lab.state_dir(name), **options}
        self.session = AsyncHubSession.for_identity(lab.identity(name), **options)
        self.changes: list[bool] = []
        self._news = asyncio.Condition()
        self.session.on_state_change(self._hear)

    async def _hear(self, up: bool) -> None:
        async with self._news:
            self.changes.append(up)
            self._news.notify_all()

    async def reach(self, *changes: bool) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self.changes == list(changes))


@pytest.mark.parametrize("protocol", ["wss", "https", "mqtt"])
async def test_a_link_is_kept(own: Lab, protocol: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Made without a connection, listened to before and after; a hub that cuts, and the end. Nothing is shouted."""
    caplog.set_level(logging.DEBUG)
    given, heard = object(), asyncio.Queue[str]()
    kept = Session(own, session=given, protocol=protocol)
    session = kept.session
    end = session.on("test.hello", lambda event: heard.put_nowait(event.data["text"]))
    assert (session.connected, session.held, session.client) == (False, False, None)
    await session.connect()
    assert (session.connected, session.held, type(session.client)) == (True, True, AsyncThalovantClient)
    first = session.client
    keeping = asyncio.create_task(session.run())  # keeps the one that is there
    session.on("test.hello", lambda event: heard.put_nowait(event.data["text"].upper()))
    await _tell(own, "one")
    assert [await heard.get(), await heard.get()] == ["one", "ONE"]
    await asyncio.to_thread(own.hub.disconnect, "shared", code=1001)
    await kept.reach(True, False, True)
    assert session.client is not first
    end()
    await _tell(own, "two")
    assert await heard.get() == "TWO"
    assert (await session.ask("hi")).text == "You said: hi"
    await session.emit("test.note", {"number": 1})
    assert (await own.wait_for("test.note")).data == {"number": 1}
    await session.close()
    await keeping
    await kept.reach(True, False, True, False)
    assert (session.connected, session.client) == (False, None)
    with pytest.raises(ThalovantConnectionError, match="no link") as caught:
        await session.ask("hi")
    assert caught.value.delivery == "no"
    assert [record for record in logged(caplog) if record.levelno > logging.DEBUG] == []


async def _tell(lab: Lab, text: str) -> None:
    await asyncio.to_thread(lab.hub.emit_to, "shared", "test.hello", {"text": text})


async def test_home_requests(own: Lab) -> None:
    """They are answered on whichever client the session holds."""
    own.identity("home", allowed=[HOME_RESPONSE])
    session = Session(own, "home", settle_seconds=0).session
    end = answer_home_requests(session, lambda request: HomeAnswer(request.utterance.upper()))
    await session.connect()
    asked = {"request_id": "1", "utterance": "lamp on"}
    await asyncio.to_thread(own.hub.emit_to, "home", HOME_REQUEST, asked)
    assert (await own.wait_for(HOME_RESPONSE)).data["speech"] == "LAMP ON"
    end()
    await session.close()


async def test_hub_that_was_down(own: Lab) -> None:
    """The ladder of the session leads back to it."""
    kept = Session(own, policy=HubSessionPolicy(retry_seconds=0.01, retry_ceiling_seconds=0.05), settle_seconds=0)
    await asyncio.to_thread(own.hub.stop)
    keeping = asyncio.create_task(kept.session.run())
    await asyncio.to_thread(own.hub.start)
    await kept.reach(True)
    await kept.session.close()
    await keeping


async def test_close_before_anything(v3: Lab) -> None:
    """Nothing to end; so it is with one that is still connecting."""
    kept = Session(v3)
    await kept.session.close()
    kept = Session(v3)
    keeping = asyncio.create_task(kept.session.run())
    await asyncio.sleep(0)
    await kept.session.close()
    await keeping
    assert kept.changes == []


async def test_a_link_that_ends_at_once_was_never_up(own: Lab) -> None:
    """Within the settle window a close after the hub spoke is a failed attempt, and nobody is told of a link."""
    kept, heard = Session(own, settle_seconds=PATIENCE), asyncio.Queue[str]()
    kept.session.on("test.hello", lambda event: heard.put_nowait(event.data["text"]))
    connecting = asyncio.create_task(kept.session.connect())
    assert await asyncio.to_thread(own.hub.wait_for_connection, "shared")
    await _tell(own, "early")
    assert await heard.get() == "early"
    await asyncio.to_thread(own.hub.disconnect, "shared", code=1008)
    with pytest.raises(ThalovantConnectionError) as caught:
        await connecting
    assert (type(caught.value), kept.changes) == (ThalovantConnectionError, [])
    await kept.session.close()


async def test_refused_for_longer_than_the_grace(v3: Lab, tmp_path: Path) -> None:
    """A wrong password is retried as long as the policy says, since a hub may not know the client yet."""
    policy = HubSessionPolicy(0.01, 0.01, refusal_grace_seconds=0.02)
    wrong = replace(v3.stranger(), password="PW-no")
    session = AsyncHubSession.for_identity(wrong, policy=policy, noise_state_dir=tmp_path)
    with pytest.raises(ThalovantHubRefusedError):
        await session.run()
    assert not session.held
    await session.close()


@pytest.mark.parametrize("kind", [ThalovantHubKeyChangedError, ThalovantClientKeyRejectedError])
async def test_what_nobody_mends_by_waiting(v3: Lab, tmp_path: Path, kind: type[Exception]) -> None:
    """Another key on either side ends `run` at the first attempt."""
    identity = v3.stranger()
    if kind is ThalovantHubKeyChangedError:
        trust = TrustStore(tmp_path, identity)
        trust.store(trust.load().with_pin(pin_id(identity, "wss"), b"\1" * 32))
    else:
        async with AsyncThalovantClient(identity, noise_state_dir=tmp_path / "first") as client:
            await client.ask("hi")
    session = AsyncHubSession.for_identity(identity, noise_state_dir=tmp_path)
    with pytest.raises(kind):
        await session.run()
    await session.close()


async def test_callbacks(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """One that raises is logged and disturbs nobody; one that has ended hears nothing."""
    kept = Session(v3)
    session, heard = kept.session, list[bool]()

    async def raises(up: bool) -> None:
        raise RuntimeError("of the program")

    session.on_state_change(raises)
    session.on_state_change(heard.append)
    session.on_state_change(heard.append)()
    with pytest.raises(TypeError, match="must be a function"):
        session.on_state_change("up")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a function"):
        session.on("speak", None)  # type: ignore[arg-type]
    await session.connect()
    await session.close()
    await kept.reach(True, False)
    assert heard == [True, False]
    assert [str(record.exc_info[1]) for record in logged(caplog) if record.exc_info] == ["of the program"] * 2


async def test_clients_of_the_program(own: Lab) -> None:
    """`connect` gives any client; one that reconnects by itself is given up when its link ends."""
    made: list[AsyncThalovantClient] = []

    async def connect() -> AsyncThalovantClient:
        made.append(own.async_client())
        await made[-1].connect()
        return made[-1]

    session, changes = AsyncHubSession(connect, settle_seconds=0), asyncio.Queue[bool]()
    session.on_state_change(changes.put_nowait)
    keeping = asyncio.create_task(session.run())
    assert await changes.get()
    await asyncio.to_thread(own.hub.disconnect, "shared", code=1011)
    assert [await changes.get(), await changes.get()] == [False, True]
    assert [client.state for client in made] == ["closed", "ready"]
    await session.close()
    await keeping
    assert [alive(client) for client in made] == [False, False]


def test_mistakes_are_told_when_a_session_is_made(v3: Lab) -> None:
    """Outside of any loop, too."""
    with pytest.raises(TypeError):
        AsyncHubSession.for_identity(v3.identity(), no_such_option=1)
    with pytest.raises(TypeError, match="ThalovantIdentity"):
        AsyncHubSession.for_identity("_identity.json")  # type: ignore[arg-type]
    session = AsyncHubSession.for_identity(v3.identity(), noise_state_dir=v3.state_dir())
    run(session.close())


# --- sessions for threads ---


@pytest.fixture
def clients() -> list[ThalovantClient]:
    """Those of `threaded`."""
    return []


@pytest.fixture
def threaded(own: Lab, clients: list[ThalovantClient]) -> Iterator[Callable[..., HubSession]]:
    """Makes sessions of the shared client, which are closed in the end."""
    made: list[HubSession] = []

    def make(**options: Any) -> HubSession:
        name = options.pop("name", "shared")
        identity, folder = own.identity(name), own.state_dir(name)

        def connect() -> ThalovantClient:
            client = ThalovantClient(identity, noise_state_dir=folder, auto_reconnect=False)
            try:
                client.connect()
            except BaseException:
                client.close()
                raise
            clients.append(client)
            return client

        made.append(HubSession(connect, **options))
        return made[-1]

    yield make
    for session in made:
        session.close()


def test_calls_of_threads(own: Lab, threaded: Callable[..., HubSession]) -> None:
    """The first call connects; a hub that denies keeps the client, a time-out replaces it; subscriptions go along."""
    own.identity("denied", allowed=["test.note"])
    session, denied, heard = threaded(warm=False), threaded(warm=False, name="denied"), queue.SimpleQueue[str]()
    end = session.on("test.hello", lambda event: heard.put(event.data["text"]))
    assert (session.held, session.probe_delay) == (False, 5.0)
    assert session.ask("hi").text == "You said: hi"
    assert (session.held, session.probe_delay) == (True, 60.0)
    with pytest.raises(ThalovantPolicyDeniedError):
        denied.ask("hi")
    assert denied.held
    with pytest.raises(ThalovantTimeoutError):
        session.ask("hang", timeout=0.05)
    assert not session.held
    assert len(own.heard("hang")) == 1
    session.emit("test.note")
    own.hub.emit_to("shared", "test.hello", {"text": "again"})
    assert heard.get(timeout=PATIENCE) == "again"
    end()
    session.close()
    session.close()
    assert not session.probe()
    with pytest.raises(ThalovantConnectionError, match="closed"):
        session.ask("hi")


def test_waits_of_threads(own: Lab, threaded: Callable[..., HubSession], clients: list[ThalovantClient]) -> None:
    """A probe connects when the wait is over, a call at once."""
    now = [100.0]
    session = threaded(warm=False, clock=lambda: now[0])
    own.hub.stop()
    assert not session.probe()
    assert (session.retry_at, session.retry_wait) == (110.0, 10.0)
    with pytest.raises(ThalovantConnectionError):
        session.ask("hi")
    assert (session.retry_at, session.retry_wait) == (120.0, 20.0)
    own.hub.start()
    now[0] = 119.9
    assert not session.probe()
    now[0] = 120.0
    assert session.probe()
    assert (session.retry_at, session.retry_wait) == (0.0, 0.0)
    own.hub.stop()
    clients[0].wait_closed()
    own.hub.start()
    assert session.ask("hi").text == "You said: hi"


def test_a_warm_session(own: Lab, threaded: Callable[..., HubSession], clients: list[ThalovantClient]) -> None:
    """It connects by itself, and again when the hub or a call ended the link."""
    session, heard = threaded(), queue.SimpleQueue[str]()
    session.on("test.hello", lambda event: heard.put(event.name))
    assert own.hub.wait_for_connection("shared", timeout=PATIENCE)
    assert session.ask("hi").text == "You said: hi"
    own.hub.disconnect("shared", code=1001)
    clients[0].wait_closed()
    assert own.hub.wait_for_connection("shared", timeout=PATIENCE)
    assert session.ask("hi").text == "You said: hi"  # waits for who connects
    own.hub.emit_to("shared", "test.hello", {})
    assert heard.get(timeout=PATIENCE) == "test.hello"
    with pytest.raises(ThalovantTimeoutError):
        session.ask("hang", timeout=0.05)
    assert own.hub.wait_for_connection("shared")
    assert session.ask("hi").text == "You said: hi"
