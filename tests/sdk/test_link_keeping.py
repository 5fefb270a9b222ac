"""One connect over each carrier: which handshakes the hub sees, and what the caller is told; and waiting for a hub."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from thalovant import (
    AsyncThalovantClient,
    ThalovantClient,
    ThalovantClientKeyRejectedError,
    ThalovantConnectionError,
    ThalovantError,
    ThalovantHubKeyChangedError,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    TrustStore,
)
from thalovant.trust_store import pin_id
from thalovant_proto import events as wire
from thalovant_proto.carrier import Credentials
from thalovant_proto.crypto.kdf import derive
from thalovant_proto.handshake.client import Step
from thalovant_proto.handshake.hub import HubHandshake, HubSide
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

from .lab import PATIENCE, Lab, States, free_port, logged, run

PROTOCOLS = ("wss", "https", "mqtt")
on_each = pytest.mark.parametrize("protocol", PROTOCOLS)
OTHER_KEY = b"\1" * 32


class Seen:
    """The first messages that hubs of this process see. With `garbles` the next answer to a KK is not authentic."""

    def __init__(self) -> None:
        self.patterns: list[str] = []
        self.garbles = False

    def answer(self, hub: HubHandshake, event: Any, real: Callable[[HubHandshake, Any], Step]) -> Step:
        if isinstance(event, wire.Xx1 | wire.Kk1):
            self.patterns.append("XX" if isinstance(event, wire.Xx1) else "KK")
        if isinstance(event, wire.Kk1) and self.garbles:
            self.garbles = False
            return Step(say=(wire.Noise2(message=bytes(48)),))
        return real(hub, event)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What hubs see from now on."""
    made, real = Seen(), HubHandshake.receive
    monkeypatch.setattr(HubHandshake, "receive", lambda self, event: made.answer(self, event, real))
    return made


def connect(identity: ThalovantIdentity, state: Path, protocol: Any) -> ThalovantError | None:
    """One connect; its error, if it has one."""

    async def connects() -> ThalovantError | None:
        client = AsyncThalovantClient(identity, noise_state_dir=state, protocol=protocol, reconnect_attempts=0)
        try:
            async with client:
                return None
        except ThalovantError as error:
            return error

    return run(connects())


def pin(identity: ThalovantIdentity, state: Path, protocol: Any, key: bytes) -> None:
    """Have the client believe that this is the hub's key."""
    store = TrustStore(state, identity)
    store.forget(pin_id(identity, protocol))
    store.store(store.load().with_pin(pin_id(identity, protocol), key))


def pinned_by(identity: ThalovantIdentity, state: Path, protocol: Any) -> bytes | None:
    """The hub's key as the client has it."""
    return TrustStore(state, identity).pins().get(pin_id(identity, protocol))


REFUSED, CHANGED, REJECTED = ThalovantHubRefusedError, ThalovantHubKeyChangedError, ThalovantClientKeyRejectedError
PASSWORD: dict[str, Any] = {"password": "PW-no"}
SITUATIONS: dict[str, tuple[bool, dict[str, Any], bytes | str | None, type[ThalovantError] | None, list[str]]] = {
    # whether both met before, what the identity has changed since, which pin (or other folder) the client has since
    "pinned": (True, {}, None, None, ["KK"]),
    "wrong password": (False, PASSWORD, None, REFUSED, ["XX"]),
    "password changed since": (True, PASSWORD, None, REFUSED, ["KK", "XX"]),
    "hub key changed": (True, {}, OTHER_KEY, CHANGED, ["KK", "XX"]),
    "hub key changed, KK not offered": (False, {}, OTHER_KEY, CHANGED, ["XX"]),
    "hub key and password changed": (True, PASSWORD, OTHER_KEY, CHANGED, ["KK", "XX"]),
    "client key changed": (True, {}, "fresh", REJECTED, ["XX"]),
    "client key changed, hub pinned": (True, {}, "with pin", REJECTED, ["KK", "XX"]),
}


@on_each
@pytest.mark.parametrize(("met", "changes", "then", "kind", "patterns"), SITUATIONS.values(), ids=SITUATIONS)
def test_one_connect(
    v3: Lab,
    tmp_path: Path,
    seen: Seen,
    protocol: str,
    met: bool,
    changes: dict[str, Any],
    then: bytes | str | None,
    kind: type[ThalovantError] | None,
    patterns: list[str],
) -> None:
    """A failed KK is followed by one XX at once, whose outcome is that of the connect; no pin is ever replaced."""
    identity, state = v3.stranger(), tmp_path / "state"
    if met:
        assert connect(identity, state, protocol) is None
        seen.patterns.clear()
    first = pinned_by(identity, state, protocol)
    if isinstance(then, str):
        state = tmp_path / then
    if then == "with pin":
        assert first is not None
        pin(identity, state, protocol, first)
    elif isinstance(then, bytes):
        pin(identity, state, protocol, then)
    before = pinned_by(identity, state, protocol)

    error = connect(replace(identity, **changes), state, protocol)

    assert (None if error is None else type(error), seen.patterns) == (kind, patterns)
    assert kind is not CHANGED or pinned_by(identity, state, protocol) == before == OTHER_KEY
    if isinstance(error, REJECTED):
        assert (error.key_folder, error.retryable) == (str(state), False)
        assert str(state) in str(error) and "Re-pair, or share the key folder" in str(error)


@on_each
def test_kk_answer_that_does_not_authenticate_heals(v3: Lab, tmp_path: Path, seen: Seen, protocol: str) -> None:
    """XX follows within the same connect, and the next connect has KK again."""
    identity = v3.stranger()
    assert connect(identity, tmp_path, protocol) is None
    seen.garbles = True

    assert [connect(identity, tmp_path, protocol) for _ in range(2)] == [None, None]
    assert seen.patterns == ["XX", "KK", "XX", "KK"]


def test_both_key_folders_of_a_rejected_client_are_named(v3: Lab, tmp_path: Path) -> None:
    """The one whose key was refused, and the likely other one: beside the identity's file."""
    identity = ThalovantIdentity.from_file(v3.stranger().save(tmp_path / "id.json"))
    with ThalovantClient(identity, protocol="wss"):
        pass

    error = connect(identity, tmp_path / "fresh", "wss")

    assert isinstance(error, REJECTED)
    assert (error.key_folder, error.other_key_folder) == (str(tmp_path / "fresh"), str(tmp_path / "hivemind"))
    assert error.other_key_folder in str(error)


# --- what a close says


class Puppet:
    """A hub on a plain port that knows one client, and ends each connection in its own way.

    `status`: the upgrade is answered so. Else a close with `code` follows the client's first message (`after` None), or
    its keys after as many seconds, which `proves` shows to the client before.
    """

    status: int | None = None
    code: int = 1000
    after: float | None = None
    proves = False
    pinned: bytes | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        values = {
            "access_key": "AK-1",
            "password": "PW-1",
            "site_id": "lab",
            "default_master": f"ws://127.0.0.1:{port}",
        }
        self.identity = ThalovantIdentity.from_mapping(values)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    def _known(self, credentials: Credentials) -> HubSide:
        key = Secret(b"\x05" * 32)
        return HubSide(node_id="hub", static_key=key, peer="p", password=Secret("PW-1"), pinned=self.pinned)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        with contextlib.closing(writer):
            if self.status is not None:
                writer.write(f"HTTP/1.1 {self.status} No\r\nContent-Length: 0\r\n\r\n".encode())
                return
            peer = HubPeer(WssServerLink(secure=True), self._known, entropy=os.urandom, now=now())
            while data := await reader.read(1 << 16):
                peer.receive_data(data, now())
                effects = peer.effects()
                if effects and self.after is None:
                    break
                for effect in effects:
                    peer.effect_done(effect.id, await asyncio.to_thread(derive, effect), now())
                if peer.proven:
                    if self.proves:
                        peer.send(wire.Ping(), now())
                    writer.write(peer.data_to_send())
                    done = next(one for one in peer.outcomes() if isinstance(one, wire.HandshakeCompleted))
                    self.pinned = done.peer_static
                    await asyncio.sleep(self.after or 0)
                    break
                writer.write(peer.data_to_send())
            payload = b"" if self.code == 1005 else self.code.to_bytes(2, "big")
            writer.write(bytes((0x88, len(payload))) + payload)
            await writer.drain()
            await reader.read()


@pytest.mark.parametrize(
    ("ways", "kinds"),
    [
        ({"status": 401}, [REFUSED]),
        ({"status": 403}, [REFUSED]),
        ({"status": 503}, [ThalovantConnectionError]),
        ({"code": 1005}, [REFUSED]),
        ({"code": 1008}, [REFUSED]),
        ({"code": 1013}, [ThalovantConnectionError]),
        ({"code": 1005, "after": 0.1}, [REJECTED]),
        ({"code": 1005, "after": 0.1, "proves": True}, [ThalovantConnectionError, ThalovantConnectionError]),
        ({"code": 1008, "after": 0.8}, [ThalovantConnectionError]),
    ],
    ids=str,
)
async def test_how_a_hub_turns_a_client_away(
    tmp_path: Path, ways: dict[str, Any], kinds: list[type[Exception]]
) -> None:
    """A refusal is told from a drop by status, code and time, and whether the hub has shown itself before."""
    async with Puppet() as hub:
        vars(hub).update(ways)
        for kind in kinds:
            assert type(await turned_away(hub, tmp_path)) is kind


async def test_close_right_after_kk_is_a_plain_refusal(tmp_path: Path) -> None:
    """Its key cannot be what the hub dislikes: it has just verified it."""
    async with Puppet() as hub:
        vars(hub).update(code=1001, after=0.0, proves=True)
        await turned_away(hub, tmp_path)
        vars(hub).update(code=1005, proves=False)
        assert type(await turned_away(hub, tmp_path)) is REFUSED


async def turned_away(hub: Puppet, state: Path) -> Exception | None:
    """What one connect comes to, or else the connection."""
    client = AsyncThalovantClient(hub.identity, noise_state_dir=state, reconnect_attempts=0, auto_reconnect=False)
    states = States(client)
    with contextlib.suppress(ThalovantError):
        await client.connect()
    error = await states.reach("failed")
    await client.close()
    return error


# --- a hub that is not there yet


def test_waits_as_long_as_it_takes(own: Lab) -> None:
    """`reconnect_attempts=None`: a connect without a time of its own ends when the hub is there."""

    async def waits() -> None:
        async with own.talking(reconnect_attempts=None) as client:
            await asyncio.to_thread(own.hub.stop)
            states = States(client)
            with pytest.raises(ThalovantConnectionError, match=r"within 0\.05s"):
                await client.connect(timeout=0.05)
            connecting = asyncio.create_task(client.connect())
            await states.reach("waiting", times=4)
            assert not connecting.done()
            await asyncio.to_thread(own.hub.start)
            await connecting

    run(waits())
    client = own.client(reconnect_attempts=None)
    own.hub.stop()
    states = States(client)
    subscription = client.on("test.hello", lambda event: None)
    states.wait("waiting", times=4)
    own.hub.start()
    client.connect()
    subscription.close()
    client.close()


@pytest.mark.parametrize("attempts", [0, 1, None])
async def test_handler_that_was_there_before_the_hub(
    own: Lab, caplog: pytest.LogCaptureFixture, attempts: int | None
) -> None:
    """It hears the hub once that is up; meanwhile calls end in their own time, and one warning tells of the outage."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with own.talking(reconnect_attempts=attempts) as client:
        await asyncio.to_thread(own.hub.stop)
        states = States(client)
        client.on("test.hello", lambda event: heard.put_nowait(event.data["text"]))
        client.on_binary(lambda binary: None)
        await states.reach("waiting", times=4)
        if attempts is not None:
            with pytest.raises(ThalovantConnectionError) as caught:
                await client.connect()
            assert caught.value.name == "hub_down"
        with pytest.raises(ThalovantConnectionError, match=r"within 0\.05s"):
            await client.ask("hi", timeout=0.05)

        await asyncio.to_thread(own.hub.start)
        await states.reach("ready")
        await asyncio.to_thread(own.hub.emit_to, "shared", "test.hello", {"text": "news"})
        assert await asyncio.wait_for(heard.get(), PATIENCE) == "news"

    assert "failed" not in states.names
    told = [record.getMessage().split(" 127")[0] for record in logged(caplog) if record.levelno >= logging.INFO]
    assert told[:1] == ["The connection to WSS"]
    assert [record.levelname for record in logged(caplog) if record.levelno > logging.INFO] == ["WARNING"]


async def test_nobody_waits_for_a_hub_that_refuses(v3: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What waiting cannot mend ends it, and is told once."""
    client = AsyncThalovantClient(replace(v3.identity(), access_key="AK-no"), noise_state_dir=tmp_path)
    states = States(client)
    client.on("speak", lambda event: None)

    error = await states.reach("failed")

    assert isinstance(error, ThalovantHubRefusedError)
    await client.close()
    assert [record.levelname for record in logged(caplog)] == ["WARNING"]


async def test_nobody_waits_without_reconnects_or_subscriptions(v3: Lab) -> None:
    """With `auto_reconnect=False`, or when the last subscription is closed, the tries are all there is."""
    place = f"wss://127.0.0.1:{free_port()}"
    endpoints = replace(v3.identity().data_plane_endpoints, wss=place)
    identity = replace(v3.identity(), data_plane_endpoints=endpoints)
    for reconnects in (False, True):
        client = AsyncThalovantClient(identity, noise_state_dir=v3.state_dir(), auto_reconnect=reconnects)
        states = States(client)
        subscription = client.on("speak", lambda event: None)
        if reconnects:
            await states.reach("waiting", times=3)
            subscription.close()
        await states.reach("failed")
        await client.close()
