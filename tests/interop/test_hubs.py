"""Our client against three real hub generations, over every transport that they have: what is expected is a table.

A hub refuses in its own way: legacy is silent about a denied type and answers a wrong key by hanging up; dual and noise
say so. The table says which; the tests hold our client to it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from thalovant import (
    AsyncThalovantClient,
    ThalovantConnectionError,
    ThalovantHubKeyChangedError,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    ThalovantPolicyDeniedError,
    ThalovantTimeoutError,
    ThalovantUnansweredError,
)

from .rigs import ClientKind, Hub, HubName, Rig

DEADLINE = 20.0


DENIED = "hive.policy.denied"


@frozen(kw_only=True)
class Cell:
    """One hub over one transport, and what it does."""

    hub: HubName
    protocol: str
    generation: int
    denial: str | None  # the event that refuses a message type; None: silence, and utterances are never refused
    wrong_key: str  # name of the error for an unknown access key
    taken: str  # delivery of an utterance that was taken and never answered
    large_reply: int = 200_000  # characters of one speech that come through
    sends_binary: bool = True
    survives_refusals: bool = True

    def __str__(self) -> str:
        return f"{self.hub}-{self.protocol}"


def cells_of(protocol: str, *, wrong_key: str, taken: str) -> list[Cell]:
    """The three hubs over one transport, and where they differ."""
    common: dict[str, Any] = {"protocol": protocol, "wrong_key": wrong_key, "taken": taken}
    return [
        # No field for binary in its HTTP requests.
        Cell(hub="legacy", generation=1, denial=None, sends_binary=protocol != "https", **common),
        # It cannot chunk: a reply over one Noise message is lost. Its MQTT listener dies of a handshake that it aborts.
        Cell(
            hub="dual",
            generation=3,
            denial=DENIED,
            large_reply=60_000,
            survives_refusals=protocol != "mqtt",
            **common,
        ),
        Cell(hub="noise", generation=3, denial=DENIED, **common),
    ]


CELLS = [
    *cells_of("wss", wrong_key="refused", taken="unknown"),  # a WebSocket gives no receipts
    *cells_of("https", wrong_key="refused", taken="yes"),
    *cells_of("mqtt", wrong_key="handshake_timeout", taken="yes"),  # a hub is silent to an unknown key
]
PINNING = [cell for cell in CELLS if cell.generation == 3 and cell.survives_refusals]


@pytest.fixture(scope="session")
def states(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Callable[[HubName, ClientKind], Path]:
    """The state folder of each client: one for all transports, since a hub pins the first key that it sees."""
    root = tmp_path_factory.mktemp("states")

    def state(hub: HubName, kind: ClientKind) -> Path:
        folder = root / f"{hub}-{kind}"
        if not folder.exists():
            folder.mkdir(mode=0o700)
            if hub != "legacy":
                rig.unpin(hub, kind)  # a rig that runs on holds the pins of earlier sessions
        return folder

    return state


Dial = Callable[..., AsyncThalovantClient]


@pytest.fixture
def dial(rig: Rig, states: Callable[[HubName, ClientKind], Path]) -> Dial:
    """Makes a client for a cell of the table."""

    def made(
        cell: Cell, kind: ClientKind = "ok", *, identity: Path | None = None, **options: Any
    ) -> AsyncThalovantClient:
        file = identity or rig.hubs[cell.hub].identity(kind)
        options = {"noise_state_dir": states(cell.hub, kind), "ca_file": rig.ca, **options}
        return AsyncThalovantClient.from_identity_file(file, protocol=cell.protocol, **options)

    return made


def cells(table: list[Cell] = CELLS) -> pytest.MarkDecorator:
    """Runs a test for each cell of a table."""
    return pytest.mark.parametrize("cell", table, ids=str)


def run(work: Any) -> Any:
    """Run a coroutine to its end, within the deadline of these tests."""
    return asyncio.run(asyncio.wait_for(work, DEADLINE))


@cells()
async def test_ask_at_first_contact_and_pinned(dial: Dial, cell: Cell) -> None:
    """The main job, twice: the second time both keys are pinned where there are keys."""
    for text in ("hello", "hello again"):
        async with dial(cell) as client:
            reply = await client.ask(text)
            assert (reply.text, reply.handled, reply.ok) == (f"echo: {text}", True, True)
            info = await client.connection_info()
            assert (info.phase, info.last_error) == ("ready", None)


@cells()
async def test_several_speeches_are_one_reply_and_a_stream(dial: Dial, cell: Cell) -> None:
    """`ask` collects until handled; `stream` gives the same pieces one by one."""
    async with dial(cell) as client:
        assert (await client.ask("say 3 hi")).utterances == ("1 hi", "2 hi", "3 hi")
        assert [piece.text async for piece in client.stream("say 2 yo")] == ["1 yo", "2 yo"]


@cells()
async def test_silence_and_failure_are_told_apart(dial: Dial, cell: Cell) -> None:
    """A silent skill gives an empty reply, an utterance that no skill takes an error, no answer a timeout."""
    async with dial(cell) as client:
        silent = await client.ask("silent")
        assert (silent.text, silent.ok) == ("", True)
        with pytest.raises(ThalovantUnansweredError):
            await client.ask("unhandled")
        with pytest.raises(ThalovantTimeoutError) as timeout:
            await client.ask("never", timeout=1.0)
        assert cell.taken == timeout.value.delivery


@cells()
async def test_large_reply(dial: Dial, cell: Cell) -> None:
    """A long speech comes whole: in chunks on v3, as one sealed text before."""
    async with dial(cell) as client:
        assert len((await client.ask(f"big {cell.large_reply}")).text) == cell.large_reply


@cells()
async def test_concurrent_asks_get_their_own_replies(dial: Dial, cell: Cell) -> None:
    """Twenty at once on one connection, matched by request id."""
    async with dial(cell) as client:
        replies = await asyncio.gather(*(client.ask(f"number {number}") for number in range(20)))
        assert [reply.text for reply in replies] == [f"echo: number {number}" for number in range(20)]


@cells()
async def test_subscription_and_send_then_listen(dial: Dial, cell: Cell) -> None:
    """Events reach a handler, and whoever listens only after sending."""
    async with dial(cell) as client:
        await client.send_utterance("first")
        heard = [event.text async for event in client.listen("speak", timeout=8, max_events=1)]
        assert heard == ["echo: first"]
        await client.wait_for_event("ovos.utterance.handled", timeout=8)

        said: asyncio.Queue[str] = asyncio.Queue()
        with client.on("speak", lambda event: said.put_nowait(event.text)):
            await client.send_utterance("second")
            assert await said.get() == "echo: second"
        await client.emit("rig.ping", {"n": 1})
        pong = await client.wait_for_event("rig.pong", timeout=8)
        assert pong.data["data"] == {"n": 1}


@cells()
async def test_refused_message_type(dial: Dial, cell: Cell) -> None:
    """What the hub's policy does not allow: an event that says so, or silence. The connection stays."""
    async with dial(cell) as client:
        await client.emit("rig.forbidden")
        if cell.denial is None:
            with pytest.raises(ThalovantTimeoutError):
                await client.wait_for_event(DENIED, timeout=1)
        else:
            denied = await client.wait_for_event(cell.denial, timeout=8)
            assert denied.data["denied_type"] == "rig.forbidden"
        assert (await client.ask("still here")).text == "echo: still here"


@cells([cell for cell in CELLS if cell.denial])
async def test_refused_utterance(dial: Dial, cell: Cell) -> None:
    """A client that may not speak learns it at once, with what it may send."""
    async with dial(cell, "limited") as client:
        with pytest.raises(ThalovantPolicyDeniedError) as denied:
            await client.ask("hello")
        assert (denied.value.denied_type, denied.value.allowed) == ("recognizer_loop:utterance", ("rig.ping",))


@cells([cell for cell in CELLS if cell.sends_binary])
async def test_binary_frame_both_ways(dial: Dial, cell: Cell) -> None:
    """Audio goes up and comes back as the same bytes."""
    audio = bytes(range(256)) * 40
    async with dial(cell) as client:
        back: asyncio.Queue[Any] = asyncio.Queue()
        with client.on_binary(back.put_nowait):
            await client.send_binary(audio, "raw_audio", metadata={"sample_rate": 16000, "sample_width": 2})
            heard = await back.get()
        assert (heard.kind, heard.data, heard.metadata["handler"]) == ("tts_audio", audio, "microphone")


@cells()
async def test_unknown_access_key(
    dial: Dial, cell: Cell, rig: Rig, forked: Callable[..., Path], tmp_path: Path
) -> None:
    """Refused, or silence where the hub is silent: never taken for network trouble where the hub speaks."""
    identity = rig.hubs[cell.hub].identity()
    changes: dict[str, Any] = {"access_key": "0" * 32}
    if cell.hub != "legacy":  # there the prefix ends in the access key
        prefix = json.loads(identity.read_text())["mqtt"]["topic_prefix"].rpartition("/")[0]
        changes["mqtt"] = {"topic_prefix": f"{prefix}/{'0' * 32}"}
    wrong = forked(identity, **changes)
    client = dial(cell, identity=wrong, noise_state_dir=tmp_path / "state", handshake_timeout=3.0)
    with pytest.raises(ThalovantConnectionError) as refused:
        await client.connect()
    assert cell.wrong_key == refused.value.name
    assert isinstance(refused.value, ThalovantHubRefusedError) == (cell.wrong_key == "refused")
    assert refused.value.hint
    await client.close()


@cells()
async def test_wrong_password(dial: Dial, cell: Cell, rig: Rig, forked: Callable[..., Path], tmp_path: Path) -> None:
    """Every generation says that it is the password, with the next step."""
    wrong = forked(rig.hubs[cell.hub].identity(), password="not the password of this client")
    client = dial(cell, identity=wrong, noise_state_dir=tmp_path / "state")
    with pytest.raises(ThalovantHubRefusedError) as refused:
        await client.connect()
    assert refused.value.name == "wrong_password"
    assert not refused.value.retryable
    assert "not the password" not in str(refused.value)
    await client.close()


@cells([cell for cell in CELLS if cell.generation == 1])
async def test_crypto_key_right_and_wrong(
    dial: Dial, cell: Cell, rig: Rig, forked: Callable[..., Path], tmp_path: Path
) -> None:
    """v0: the right key is answered; a hub hangs up on the wrong one, and the second time that is a verdict.

    Over MQTT there is nothing to hang up: the hub is silent.
    """
    wrong = forked(rig.hubs[cell.hub].identity("pskonly"), crypto_key="fedcba9876543210")
    async with dial(cell, "pskonly") as client:
        assert (await client.ask("hello")).text == "echo: hello"
    client = dial(cell, identity=wrong, noise_state_dir=tmp_path / "state")
    try:
        if cell.protocol == "mqtt":
            with pytest.raises(ThalovantTimeoutError):
                await client.ask("hello", timeout=3)
        else:
            with pytest.raises(ThalovantHubRefusedError) as refused:
                await client.connect()
            assert refused.value.name == "wrong_crypto_key"
    finally:
        await client.close()


@cells(PINNING)
async def test_changed_hub_key(
    dial: Dial, cell: Cell, states: Callable[[HubName, ClientKind], Path], tmp_path: Path
) -> None:
    """A hub whose key is not the pinned one is not talked to; both fingerprints are shown."""
    state = states(cell.hub, "ok")
    async with dial(cell):
        pass
    pins = state / "_identity.json"
    before = pins.read_text()
    stored = json.loads(before)
    stored["pinned_noise_keys"] = dict.fromkeys(stored["pinned_noise_keys"], "11" * 32)
    pins.write_text(json.dumps(stored))
    try:
        client = dial(cell)
        with pytest.raises(ThalovantHubKeyChangedError) as changed:
            await client.connect()
        await client.close()
    finally:
        pins.write_text(before)
    assert changed.value.expected != changed.value.received
    assert changed.value.expected in str(changed.value) and changed.value.received in str(changed.value)
    async with dial(cell) as client:
        assert (await client.ask("pinned again")).text == "echo: pinned again"


@cells(PINNING)
async def test_another_client_key(dial: Dial, cell: Cell, tmp_path: Path) -> None:
    """The hub pinned our key: another state folder is refused, and the error says whose key it is about."""
    async with dial(cell):
        pass
    client = dial(cell, noise_state_dir=tmp_path / "another")
    with pytest.raises(ThalovantHubRefusedError) as refused:
        await client.connect()
    assert refused.value.name == "client_key_rejected"
    await client.close()


@cells()
def test_lost_and_restarted_hub(dial: Dial, cell: Cell, rig: Rig) -> None:
    """The hub is killed and comes back: the client is ready again by itself, its subscription alive.

    Over MQTT the broker stays, so the client learns of it from the hub's answer to the next frame, which is lost.
    """

    async def outlives() -> None:
        async with dial(cell) as client:
            changes: asyncio.Queue[str] = asyncio.Queue()
            client.on_state(lambda state, error: changes.put_nowait(state))
            assert await changes.get() == "ready"  # the present one is told first
            said: asyncio.Queue[str] = asyncio.Queue()
            client.on("speak", lambda event: said.put_nowait(event.text))
            await asyncio.to_thread(rig.restart, cell.hub)
            if cell.protocol == "mqtt":
                with pytest.raises(ThalovantConnectionError) as forgotten:
                    await client.ask("lost")
                assert forgotten.value.name == "forgotten"
            seen = [await changes.get()]
            while seen[-1] != "ready":
                seen.append(await changes.get())
            assert "waiting" in seen
            await client.send_utterance("back again")
            assert await said.get() == "echo: back again"

    asyncio.run(asyncio.wait_for(outlives(), 90))


def test_untrusted_certificate(rig: Rig, tmp_path: Path) -> None:
    """Without the CA the hub's certificate is refused, and the error says how to name the CA."""

    async def connects(hub: Hub) -> None:
        identity = ThalovantIdentity.from_file(hub.identity())
        client = AsyncThalovantClient(identity, protocol="wss", noise_state_dir=tmp_path)
        with pytest.raises(ThalovantConnectionError) as untrusted:
            await client.connect()
        assert (untrusted.value.name, untrusted.value.retryable) == ("tls", False)
        assert "ca_file" in untrusted.value.hint
        await client.close()

    run(connects(rig.hubs["noise"]))
