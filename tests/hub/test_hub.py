"""The whole hub on this machine: real sockets, verified TLS, and the product's own client."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.hub.world import PATIENCE, World
from thalovant._internal.secret_files import locked
from thalovant.async_client import AsyncThalovantClient
from thalovant.errors import (
    ThalovantConnectionError,
    ThalovantHubRefusedError,
    ThalovantPolicyDeniedError,
    ThalovantRuntimeError,
)
from thalovant.hub import Hub, HubSetupError, Turn
from thalovant.hub.demo import SKILLS
from thalovant.hub.export import prepare_trust, write_identity
from thalovant.identity import ThalovantIdentity
from thalovant.trust_store import LOCK_FILE
from thalovant_proto.events import BinType

# --- asking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [3, 1, 0])
async def test_a_client_of_each_generation_is_answered(world: World, generation: int) -> None:
    """Over verified TLS, with nothing but the identity; twice, since the second contact is another handshake."""
    hub = await world.hub()
    identity = hub.add_client("kiosk", generation=generation)
    for _ in range(2):
        client = world.client(identity)
        reply = await client.ask("hello there", request_id="r1")
        assert (reply.text, reply.ok, reply.request_id) == ("You said: hello there", True, "r1")
        assert hub.connected == ("kiosk",)
        await client.close()
        await world.until(lambda: hub.connected == ())


async def test_the_oldest_generation_is_warned_of(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It can be replayed from one connection to the next."""
    (await world.hub()).add_client("kiosk", generation=0)
    (warning,) = caplog.messages
    assert warning.startswith("Client 'kiosk' speaks generation 0")


async def test_many_clients_get_their_own_answers(world: World) -> None:
    """Thirty connections of three generations, ten asks each at the same time: none is lost or mixed up."""
    hub = await world.hub()
    clients = []
    for generation in (3, 1, 0):
        identity = hub.add_client(f"kiosk{generation}", generation=generation)
        clients += [(f"{generation}.{n}", world.client(identity)) for n in range(10)]

    async def asking(name: str, client: AsyncThalovantClient) -> None:
        for n in range(10):
            assert (await client.ask(f"{name} {n}")).text == f"You said: {name} {n}"

    await asyncio.gather(*(asking(name, client) for name, client in clients))


async def test_what_is_not_allowed_is_denied_and_the_client_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a typed error with what is allowed, its next ask is answered, and the hub's log says so too."""
    caplog.set_level(logging.INFO, "thalovant.hub")
    hub = await world.hub()
    identity = hub.add_client("mute", allowed=["app.event"])
    client = world.client(identity)
    with pytest.raises(ThalovantPolicyDeniedError) as caught:
        await client.ask("hello")
    assert (caught.value.denied_type, caught.value.code) == ("recognizer_loop:utterance", "acl_disallowed_type")
    assert "denied" in repr(await _event(client, "hive.policy.denied", "other.event\n" + "x" * 2000))
    said = [record.getMessage() for record in caplog.records if "denied" in record.getMessage()]
    assert [text.partition(" is denied ")[2] for text in said] == [
        "'recognizer_loop:utterance': acl_disallowed_type",
        f"'other.event {'x' * 188}...': acl_disallowed_type",
    ]


async def _event(client: AsyncThalovantClient, name: str, event_type: str) -> Any:
    await client.emit(event_type)
    return await client.wait_for_event(name)


async def test_a_broken_skill_is_its_askers_business(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Raising and hanging skills fail at their own client; another client is answered meanwhile."""
    import threading

    stop = threading.Event()
    try:
        hub = await world.hub()

        @hub.skill("raise")
        async def broken(turn: Turn) -> None:
            raise RuntimeError("oops")

        @hub.skill("hang", timeout=0.2)
        def hanging(turn: Any) -> None:
            stop.wait(PATIENCE)

        identity = hub.add_client("kiosk")
        unlucky, lucky = world.client(identity), world.client(identity)
        asked = [asyncio.create_task(unlucky.ask(text)) for text in ("raise", "hang")]
        assert (await lucky.ask("fine")).text == "You said: fine"
        failures = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(failure) for failure in failures] == [ThalovantRuntimeError] * 2
        assert [str(failure).rstrip(".")[:1].upper() + str(failure).rstrip(".")[1:] for failure in failures] == [
            "The skill 'broken' failed",
            "The skill 'hanging' did not answer in time",
        ]
    finally:
        stop.set()
    assert caplog.messages == ["Skill 'broken' raised", "Skill 'hanging' did not answer within 0.2 s"]


async def test_bytes_come_and_go(world: World) -> None:
    """Audio to the hub and back, a mebibyte at a time, in order."""
    hub = await world.hub()

    @hub.on_binary(BinType.RAW_AUDIO)
    async def audio(turn: Turn) -> None:
        assert turn.binary is not None
        await turn.send_binary(turn.binary.payload, metadata=turn.binary.metadata)

    client = world.client(hub.add_client("kiosk"))
    got: list[tuple[bytes, int, Any]] = []
    with client.on_binary(lambda event: got.append((event.data[:1], len(event.data), event.metadata))):
        for n in range(8):
            await client.send_binary(bytes([n]) * (1 << 20), metadata={"n": n})
        await world.until(lambda: len(got) == 8)
    assert [(bytes([n]), 1 << 20, {"n": n}) for n in range(8)] == got


# --- unasked ---------------------------------------------------------------------------------------------------------


async def test_the_hub_speaks_first(world: World) -> None:
    """To all connections of a client, in a session if one is named, and to everybody; nobody else hears it."""
    hub = await world.hub()
    heard: list[tuple[str, str, str, str | None]] = []
    sessions: dict[str, Any] = {}
    subscriptions: list[Any] = []
    for name in ("ada", "bob"):
        client = world.client(hub.add_client(name))

        def hear(event: Any, name: str = name) -> None:
            heard.append((name, event.name, event.text, event.session_id))

        sessions[name] = (await client.ask("hi")).events[0].session_id
        subscriptions += [client.on("speak", hear), client.on("app.news", hear)]

    assert hub.speak_to("ada", "Dinner!") == 1
    assert hub.speak_to("ada", {"text": "Dinner!", "lang": "de-de"}, session_id="s") == 1
    assert hub.speak_to("nobody", "Dinner!") == 0
    assert hub.emit_to("bob", "app.news", {"text": "for bob"}) == 1
    assert hub.broadcast("app.news", {"text": "for all"}) == 2
    await world.until(lambda: len(heard) == 5)
    for subscription in subscriptions:
        subscription.close()

    assert set(heard) == {
        ("ada", "speak", "Dinner!", sessions["ada"]),
        ("ada", "speak", "Dinner!", "s"),
        ("bob", "app.news", "for bob", sessions["bob"]),
        ("ada", "app.news", "for all", sessions["ada"]),
        ("bob", "app.news", "for all", sessions["bob"]),
    }


async def test_what_is_no_json_is_the_callers_mistake(world: World) -> None:
    """It is raised where it was made, and the connection lives."""
    hub = await world.hub()
    client = world.client(hub.add_client("kiosk"))
    await client.connect()
    with pytest.raises(ValueError, match="not a JSON value"):
        hub.emit_to("kiosk", "app.news", {"x": object()})
    assert (await client.ask("hi")).text == "You said: hi"


async def test_the_hub_knows_what_clients_say_of_themselves(world: World) -> None:
    """`thalovant.client.status` is allowed by default, and kept by client."""
    hub = await world.hub()
    client = world.client(hub.add_client("kiosk"))
    await client.emit("thalovant.client.status", {"state": "ready"})
    await world.until(lambda: bool(hub.client_status))
    assert hub.client_status == {"kiosk": {"state": "ready"}}
    assert "ready" in (await client.ask("What is the status?")).text


# --- clients come and go ---------------------------------------------------------------------------------------------


async def test_a_removed_client_is_out(world: World) -> None:
    """Its connections are closed, and its credentials are worth nothing any more."""
    hub = await world.hub()
    identity = hub.add_client("kiosk")
    assert hub.clients == ("kiosk",)
    client = world.client(identity, auto_reconnect=False)
    await client.connect()
    assert hub.remove_client("kiosk")
    assert not hub.remove_client("kiosk")
    assert (hub.clients, hub.identity("kiosk")) == ((), None)
    await world.until(lambda: hub.connected == ())
    with pytest.raises(ThalovantHubRefusedError):
        await world.client(identity).connect()


async def test_a_disconnected_client_comes_back_by_itself(world: World) -> None:
    """As after any trouble with the network."""
    hub = await world.hub()
    client = world.client(hub.add_client("kiosk"))
    await client.connect()
    assert hub.disconnect("kiosk") == 1
    assert hub.connected == ()
    await world.until(lambda: hub.connected == ("kiosk",))
    assert (await client.ask("again")).text == "You said: again"
    assert hub.disconnect("nobody") == 0


async def test_a_client_that_lost_its_keys_needs_the_operator(world: World, tmp_path: Path) -> None:
    """Another key is refused until the first one is forgotten."""
    hub = await world.hub()
    identity = hub.add_client("kiosk")
    await world.client(identity).connect()
    with pytest.raises(ThalovantHubRefusedError):
        await world.client(identity, noise_state_dir=tmp_path / "new").ask("hi")
    assert hub.forget_keys("kiosk")
    assert not hub.forget_keys("nobody")
    assert (await world.client(identity, noise_state_dir=tmp_path / "new").ask("hi")).text == "You said: hi"


# --- the hub comes and goes ------------------------------------------------------------------------------------------


async def test_a_restarted_hub_is_the_same(world: World, tmp_path: Path) -> None:
    """Same port, keys, certificates and clients: one that was connected goes on, with its subscriptions."""
    hub = await world.hub(state=tmp_path / "hub")
    identity = hub.add_client("kiosk")
    client = world.client(identity)
    assert (await client.ask("one")).text == "You said: one"
    known = hub.node_id, hub.endpoints, hub.ca_file.read_bytes()

    await hub.close()
    await hub.start()

    assert (hub.node_id, hub.endpoints, hub.ca_file.read_bytes()) == known
    assert hub.identity("kiosk") == identity
    assert (await client.ask("two")).text == "You said: two"
    await hub.close()
    other = await world.hub(state=tmp_path / "hub")
    assert known[0] == other.node_id
    assert other.clients == ("kiosk",)


async def test_without_a_state_nothing_is_left(world: World) -> None:
    """The authority's file is gone with the hub, and another start is another hub."""
    hub = await world.hub()
    hub.add_client("kiosk")
    ca_file, node_id = hub.ca_file, hub.node_id
    assert ca_file.is_file()
    await hub.close()
    assert not ca_file.exists()
    await hub.start()
    assert (hub.clients, hub.node_id != node_id) == ((), True)


async def test_closing_waits_for_answers(world: World) -> None:
    """What a skill is about to say is heard; then the client learns that the hub is gone."""
    hub = await world.hub()
    gate, began = asyncio.Event(), asyncio.Event()

    @hub.skill("slow")
    async def slow(turn: Turn) -> str:
        began.set()
        await gate.wait()
        return "done"

    client = world.client(hub.add_client("kiosk"), auto_reconnect=False)
    asked = asyncio.create_task(client.ask("slow"))
    await began.wait()
    closing = asyncio.create_task(hub.close())
    await asyncio.sleep(0)
    gate.set()
    assert (await asked).text == "done"
    await closing
    await hub.close()
    with pytest.raises(ThalovantConnectionError):
        await client.ask("more")


async def test_a_port_that_is_taken_is_named(world: World, tmp_path: Path) -> None:
    """With the setting to change; the state is free for another hub afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HubSetupError, match=f"^Port {port} on 127.0.0.1 is taken") as caught:
            await world.hub(wss_port=port, state=tmp_path / "hub")
    assert caught.value.setting == "wss_port"
    await world.hub(state=tmp_path / "hub")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_a_host_that_is_elsewhere_is_named(world: World, host: str) -> None:
    """With the setting to change."""
    with pytest.raises(HubSetupError, match=f"{host} is no address of this machine") as caught:
        await world.hub(host=host)
    assert caught.value.setting == "host"


async def test_a_state_in_use_is_named(world: World, tmp_path: Path) -> None:
    """Two hubs on one folder would be one hub with two minds."""
    await world.hub(state=tmp_path / "hub")
    with pytest.raises(HubSetupError, match="is in use by another hub") as caught:
        await world.hub(state=tmp_path / "hub")
    assert caught.value.setting == "state"


async def test_a_hub_must_run_to_be_asked(world: World) -> None:
    """Ports and keys are known after the start; starting twice is a mistake. Skills can be added before."""
    hub = Hub()
    hub.add_skill(SKILLS[0])
    assert hub.skills == SKILLS[:1]
    for call in (lambda: hub.add_client("kiosk"), lambda: hub.endpoints, lambda: hub.broadcast("x")):
        with pytest.raises(RuntimeError, match="start it first"):
            call()
    async with hub:
        with pytest.raises(RuntimeError, match="is running already"):
            await hub.start()
    await hub.drain()


# --- where it is -----------------------------------------------------------------------------------------------------


async def test_an_identity_says_where_the_hub_is(world: World) -> None:
    """Endpoint, flags and authority; and nothing that the hub does not have."""
    hub = await world.hub()
    identity = hub.add_client("kiosk", site_id="shop")
    url = hub.endpoints["wss"]
    assert url.startswith("wss://127.0.0.1:")
    assert (
        identity.endpoint_for("wss"),
        identity.endpoint_for("mqtt"),
        identity.enabled_protocols(),
    ) == (url, None, ("wss",))
    assert (identity.site_id, identity.ca_file, identity.crypto_key) == ("shop", str(hub.ca_file), None)
    assert hub.add_client("old", generation=0).crypto_key
    with pytest.raises(ThalovantConnectionError, match="authority unknown"):
        await world.client(ThalovantIdentity.from_mapping({**_secrets(identity), "ca_file": None})).connect()


def _secrets(identity: ThalovantIdentity) -> dict[str, Any]:
    return identity.as_dict(include_secrets=True)


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"public_host": "localhost"}, "wss://localhost:"),
        ({"host": "0.0.0.0"}, "wss://localhost:"),
        ({"host": "::1"}, "wss://[::1]:"),
        ({"tls": False}, "ws://127.0.0.1:"),
    ],
)
async def test_clients_dial_what_they_are_told(world: World, options: dict[str, Any], start: str) -> None:
    """Other names, all addresses, IPv6, and without TLS: what the identity says works."""
    try:
        hub = await world.hub(**options)
    except HubSetupError:
        assert options.get("host") == "::1"
        pytest.skip("no IPv6 here")
    identity = hub.add_client("kiosk")
    assert hub.endpoints["wss"].startswith(start)
    assert bool(identity.ca_file) is (options.get("tls") is None)
    assert (await world.client(identity).ask("hi")).text == "You said: hi"


async def test_a_certificate_is_renewed_while_the_hub_runs(world: World, tmp_path: Path) -> None:
    """In good time, with the same authority; who is connected stays, who comes is shown the new one."""
    now = [datetime.datetime.now(datetime.UTC) - 369 * DAY]
    hub = await world.hub(clock=lambda: now[0])
    identity = hub.add_client("kiosk")
    client = world.client(identity)
    await client.connect()
    first = await _shown(hub)
    now[0] += 369 * DAY
    hub.renew()
    second = await _shown(hub)
    assert first != second
    assert (
        (await client.ask("a")).text,
        (await world.client(identity).ask("b")).text,
    ) == ("You said: a", "You said: b")


async def test_a_renewed_authority_is_published_beside_others(world: World, tmp_path: Path) -> None:
    """After ten years there is another one; what else clients must trust stays in the file."""
    now = [datetime.datetime.now(datetime.UTC)]
    hub = await world.hub(state=tmp_path / "hub", clock=lambda: now[0])
    first = hub.ca_file.read_bytes()
    hub.ca_file.write_bytes(first + b"# another authority\n")
    now[0] += 3630 * DAY
    hub.renew()
    second = hub.ca_file.read_bytes()
    assert second.endswith(b"# another authority\n")
    assert first not in second
    assert second.count(b"BEGIN CERTIFICATE") == 1


DAY = datetime.timedelta(days=1)


async def _shown(hub: Hub) -> bytes:
    """The certificate that a new client sees, whatever it thinks of it."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = int(hub.endpoints["wss"].rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return found


async def test_who_speaks_no_tls_harms_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Plain text, garbage and silence at the port: closed, noted at debug level, and others are served."""
    caplog.set_level(logging.INFO)
    hub = await world.hub()
    port = int(hub.endpoints["wss"].rpartition(":")[2])
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        if data:
            await reader.read()
        writer.close()
    client = world.client(hub.add_client("kiosk"))
    assert (await client.ask("hi")).text == "You said: hi"
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_an_authority_that_cannot_be_published_is_named(world: World, tmp_path: Path) -> None:
    """Something else is in its place; the state is free for another try."""
    (tmp_path / "hub" / "ca.pem").mkdir(parents=True)
    with pytest.raises(HubSetupError, match="cannot be written"):
        await world.hub(state=tmp_path / "hub")
    (tmp_path / "hub" / "ca.pem").rmdir()
    await world.hub(state=tmp_path / "hub")


async def test_identities_are_written_for_clients_that_there_are(world: World, tmp_path: Path) -> None:
    """Another name is the caller's mistake, and a place that cannot be is named."""
    hub = await world.hub()
    for write in (write_identity, prepare_trust):
        with pytest.raises(ValueError, match="no client named 'nobody'"):
            await write(hub, "nobody", tmp_path / "out")
    hub.add_client("kiosk")
    (tmp_path / "file").write_text("")
    with pytest.raises(HubSetupError, match="cannot be written to") as caught:
        await write_identity(hub, "kiosk", tmp_path / "file" / "out")
    assert caught.value.setting == "write"
    assert not (tmp_path / "out").exists()


async def test_client_that_froze_while_it_saved_does_not_stop_a_hub(world: World, tmp_path: Path) -> None:
    """Whoever prepares a client's trust waits for the lock of its folder; the hub serves others meanwhile."""
    hub = await world.hub()
    hub.add_client("kiosk")
    with locked(tmp_path / LOCK_FILE):
        preparing = asyncio.create_task(prepare_trust(hub, "kiosk", tmp_path))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not preparing.done()
    await preparing


async def test_introduced_clients_and_hubs_know_each_other(world: World) -> None:
    """What first contact would bring, ahead of it: the client's key is pinned, in place of any other."""
    hub = await world.hub()
    hub.add_client("kiosk")
    hub.add_client("old", generation=1)
    one, two = await hub.introduce("kiosk", b"\1" * 32), await hub.introduce("kiosk", b"\2" * 32)
    assert one is not None
    assert one == two
    assert (len(one.public_key), one.node_id, len(one.psk.reveal())) == (32, hub.node_id, 32)
    assert [await hub.introduce(name, b"\1" * 32) for name in ("old", "nobody")] == [None, None]
    assert one.psk.reveal().hex() not in repr(one)
