"""Who is let in and heard: nothing but a handshake before a proof, and what a client may cost before and after."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from tests.hub.lab import RSA, Lab, MqttConnection
from tests.hub.routing import utterance, wrapped
from thalovant.hub.skills.registry import skill
from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.errors import CredentialsRefused
from thalovant_proto.secret import Secret

GENERATIONS = pytest.mark.parametrize("generation", [3, 1, 0])


def handshake_only(visitor: MqttConnection) -> bool:
    """Whether the hub has said nothing but hello, offer and what answers a handshake."""
    kinds = (e.HubHello, e.Offer, e.Noise2, e.ProofAnswer)
    return all(isinstance(event, kinds) for event in visitor.heard)


# --- nothing before the proof (security.md §1) -----------------------------------------------------------------------


@GENERATIONS
async def test_an_ask_is_answered(lab: Lab, generation: int) -> None:
    """The whole way, in each generation: handshake, hello, utterance, speech, handled."""
    lab.echo()
    visitor = lab.visit(lab.client(generation=generation)).shake_hands()
    assert visitor.joined
    visitor.say(utterance("hello", request_id="r1"))
    await lab.until(lambda: bool(visitor.bus("ovos.utterance.handled")))
    (speech,) = visitor.bus()
    assert speech.data["utterance"] == "You said: hello"
    assert (speech.request_id, speech.session_id) == ("r1", "session-1")
    assert visitor.connection.generation == generation


@GENERATIONS
@pytest.mark.parametrize("steps", range(4))
async def test_before_the_proof_a_peer_is_nobody(lab: Lab, generation: int, steps: int) -> None:
    """However far its handshake is: it is in no list, hears nothing of what goes to all, and nothing is sent to it."""
    quiet = lab.visit(lab.client("quiet", generation=generation))
    for _ in range(steps):
        if quiet.puppet.due and not isinstance(quiet.puppet.due[0], e.Message):
            quiet.say(quiet.puppet.due.popleft())
    loud = lab.visit(lab.client("loud")).shake_hands()
    assert lab.dispatcher.peers == [loud.connection.routed]

    for event in (
        e.Propagate(payload=wrapped(utterance("to all"))),
        e.Propagate(payload=wrapped(e.Ping(payload={"flood_id": "f", "peer": "p"}))),
        e.Cascade(payload=wrapped(utterance("who knows"))),
    ):
        loud.say(event)

    assert handshake_only(quiet)
    assert not quiet.joined
    assert quiet.closed is None


_CLEAR: list[Any] = [
    utterance("in clear"),
    e.Propagate(payload=wrapped(utterance("in clear"))),
    e.Rendezvous(),
    e.Binary(bin_type=1, payload=b"in clear"),
]


@GENERATIONS
@pytest.mark.parametrize("event", _CLEAR)
@pytest.mark.parametrize("steps", range(3))
async def test_what_comes_in_clear_is_never_heard(lab: Lab, generation: int, event: e.Event, steps: int) -> None:
    """A message without keys closes the connection, before, during and after a handshake (security.md §1)."""
    heard: list[str] = []
    lab.echo()
    lab.skills.watchers.append(lambda turn: heard.append(turn.text))
    visitor = lab.visit(lab.client(generation=generation))
    for _ in range(steps):
        if visitor.puppet.due:
            visitor.say(visitor.puppet.due.popleft())
    joined = visitor.joined
    visitor.say_in_clear(event)
    assert visitor.closed is not None
    assert visitor.closed[0] == 1008
    assert visitor.ended is not None
    assert joined or handshake_only(visitor)
    assert lab.dispatcher.peers == []
    assert lab.dispatcher.runner.turns == 0
    await lab.end()
    assert heard == []


@GENERATIONS
async def test_a_hello_in_clear_proves_nothing(lab: Lab, generation: int) -> None:
    """It opens no door and pins no key (security.md §1); with the keys, the session that it claimed is the client's."""
    client = lab.client(generation=generation)
    visitor = lab.visit(client)
    visitor.say_in_clear(e.ClientHello(payload={"session": {"session_id": "claimed"}, "pubkey": RSA}))
    found = lab.registry.with_key(client.access_key)
    assert found is not None
    assert found.pubkey is None
    assert lab.dispatcher.peers == []
    assert handshake_only(visitor)


@pytest.mark.parametrize(
    ("generation", "changes"),
    [
        (3, {"password": Secret("wrong")}),
        (1, {"password": Secret("wrong")}),
        (0, {"crypto_key": Secret("0123456789abcdef")}),
    ],
)
async def test_wrong_secrets_open_nothing(lab: Lab, generation: int, changes: dict[str, Any]) -> None:
    """Whoever knows the access key alone stays outside."""
    visitor = lab.visit(lab.client(generation=generation), **changes)
    with contextlib.suppress(CredentialsRefused):  # in XX the client finds out by itself
        visitor.shake_hands()
        assert visitor.closed is not None
    assert lab.dispatcher.peers == []


async def test_an_unknown_access_key_is_turned_away(lab: Lab) -> None:
    """In the words of real hubs, and before anything is said (wire.md §7.0)."""
    client = lab.client()
    lab.registry.remove(client.name)
    visitor = lab.visit(client)
    assert visitor.closed == (1008, "invalid api key")
    assert visitor.heard == []
    assert lab.dispatcher.connections.unproven == 0


@pytest.mark.parametrize("generation", [3, 1])
async def test_each_client_has_its_own_generation(lab: Lab, generation: int) -> None:
    """A client of one generation is offered nothing else, and gets no further with another handshake."""
    visitor = lab.visit(lab.client(generation=generation))
    offer = next(event for event in visitor.heard if isinstance(event, e.Offer))
    assert (generation == 3) is ("noise" in offer.payload)
    message = e.Proof(envelope="00" * 24) if generation == 3 else e.Xx1(suite="x", message=b"x")
    visitor.say(message)
    assert visitor.closed is not None
    assert visitor.closed[0] == 1008


async def test_tampered_frames_end_the_session(lab: Lab) -> None:
    """A sealed frame that was changed is the last of its connection; nothing of it is heard."""
    lab.echo()
    visitor = lab.visit(lab.client()).shake_hands()
    (frame,) = visitor.puppet.frames(utterance("hello"))
    visitor.send(Frame(frame.data[:-1] + bytes([frame.data[-1] ^ 1]), FrameType.BINARY))
    assert visitor.closed == (1008, "invalid message")
    assert lab.dispatcher.peers == []
    assert lab.dispatcher.runner.turns == 0


# --- names -----------------------------------------------------------------------------------------------------------


async def test_a_peer_is_named_by_agent_client_and_connection(lab: Lab) -> None:
    """`<user agent>::<client id>::<name>::<uuid>`, told in the hello and used in every answer (wire.md §1.2)."""
    client = lab.client()
    one, two = lab.visit(client, agent="app/1.0"), lab.visit(client, agent="app/1.0")
    ids = []
    for visitor in (one, two):
        hello = next(event for event in visitor.heard if isinstance(event, e.HubHello))
        visitor.shake_hands()
        assert visitor.connection.routed is not None
        assert hello.payload["peer"] == visitor.connection.routed.id
        ids.append(visitor.connection.routed.id)
    assert len(set(ids)) == 2
    assert [id.rpartition("::")[0] for id in ids] == ["app/1.0::1::kiosk"] * 2


async def test_an_agent_is_shortened(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What a client calls itself cannot fill logs or answers."""
    caplog.set_level(logging.INFO)
    visitor = lab.visit(lab.client(), agent="x" * 5000).shake_hands()
    assert visitor.connection.peer_id.startswith("x" * 64 + "::")
    await lab.end()
    assert "x" * 65 not in caplog.text


async def test_logs_hold_no_secret(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Of a whole visit, refusals included, at every level."""
    secrets: list[str] = []
    caplog.set_level(logging.DEBUG)
    lab.echo()
    for generation in (3, 1, 0):
        client = lab.client(f"kiosk{generation}", generation=generation)
        secrets.extend(s.reveal() for s in (client.access_key, client.password, client.crypto_key) if s)
        visitor = lab.visit(client).shake_hands()
        visitor.say(utterance("my words"))
        await lab.until(lambda v=visitor: bool(v.bus()))  # type: ignore[misc]
        visitor.say_in_clear(utterance("my words"))
    lab.registry.remove("kiosk3")
    lab.visit(client)
    await lab.end()
    assert len(secrets) == 7
    assert caplog.text
    assert not any(secret in caplog.text for secret in [*secrets, "my words"])


# --- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_handshake_has_its_time(lab: Lab) -> None:
    """Who does not finish is closed, and its place is free."""
    visitor = lab.visit(lab.client())
    assert lab.dispatcher.connections.unproven == 1
    lab.ahead = lab.dispatcher.settings.limits.handshake_time + 1
    visitor.tick()
    assert visitor.closed is not None
    assert lab.dispatcher.connections.unproven == 0


async def test_a_v0_client_that_lost_the_greeting_gets_another(lab: Lab) -> None:
    """Its key lets it in as ever, and it learns that its password would, too."""
    visitor = lab.visit(lab.client(generation=0))
    visitor.puppet.shakes = False
    lab.ahead = 3
    visitor.tick()
    kinds = [type(event) for event in visitor.heard]
    assert kinds == [e.HubHello, e.Offer] * 2
    offers = [event.payload["password"] for event in visitor.heard if isinstance(event, e.Offer)]
    assert offers == [False, True]
    assert visitor.shake_hands().joined


@pytest.mark.parametrize("generation", [3, 1, 0])
async def test_every_conversation_of_a_connection_has_its_own_memory(lab: Lab, generation: int) -> None:
    """Answers carry the session of the message, and what is remembered in one session is not known in another."""

    async def remember(turn: Any) -> str:
        turn.memory.setdefault("said", []).append(turn.text)
        return " and ".join(turn.memory["said"])

    lab.skills.add(skill(fallback=True)(remember))
    visitor = lab.visit(lab.client(generation=generation)).shake_hands()
    for text, session in (("red", "a"), ("blue", "b"), ("green", "a")):
        visitor.say(utterance(text, session={"session_id": session}))
    await lab.until(lambda: len(visitor.bus()) == 3)
    assert sorted((bus.session_id, bus.data["utterance"]) for bus in visitor.bus()) == [
        ("a", "red"), ("a", "red and green"), ("b", "blue"),
    ]  # fmt: skip


@pytest.mark.settings(unproven=2)
async def test_unproven_connections_are_bounded_in_all(lab: Lab) -> None:
    """Beyond the limit a newcomer is told to come later; the proven ones do not count."""
    client = lab.client()
    proven = [lab.visit(client).shake_hands() for _ in range(3)]
    waiting = [lab.visit(client, address=f"192.0.2.{n}") for n in range(3)]
    assert all(visitor.closed is None for visitor in waiting[:2])
    assert waiting[2].connection.finished  # it never became a WebSocket
    assert waiting[2].ended is not None
    assert (waiting[2].ended.kind, waiting[2].ended.code) == (CloseKind.CLOSED, 1013)
    assert waiting[2].heard == []
    waiting[0].hang_up()
    assert lab.visit(client).shake_hands().joined
    assert all(visitor.joined for visitor in proven)


@pytest.mark.settings(unproven_per_address=2)
async def test_unproven_connections_are_bounded_per_address(lab: Lab) -> None:
    """One address cannot take all places; this machine's own is many people behind one proxy."""
    client = lab.client()
    visitors = [lab.visit(client, address="192.0.2.1") for _ in range(3)]
    local = [lab.visit(client, address=address) for address in ("127.0.0.1", "::1") for _ in range(3)]
    assert [visitor.connection.finished for visitor in visitors] == [False, False, True]
    assert not any(visitor.connection.finished for visitor in local)
    visitors[0].shake_hands()  # proven: its place is free
    assert not lab.visit(client, address="192.0.2.1").connection.finished


@pytest.mark.settings(unproven=2, unproven_grace=1e-09)
async def test_a_full_house_gives_way_to_who_is_quick(lab: Lab) -> None:
    """One that had its time without a proof makes room: a client needs milliseconds."""
    client = lab.client()
    oldest, other = lab.visit(client), lab.visit(client)
    newcomer = lab.visit(client).shake_hands()
    assert newcomer.joined
    assert oldest.closed == (1013, "others are waiting")
    assert other.closed is None


@pytest.mark.settings(unsent=10000, unsent_pause=1000)
async def test_a_client_that_does_not_read_is_cut_off(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What waits for it is bounded; others are not held up by it."""
    lab.echo()
    deaf, well = lab.visit(lab.client("deaf")).shake_hands(), lab.visit(lab.client("well")).shake_hands()
    deaf.reads = False
    for number in range(12):
        well.say(e.Propagate(payload=wrapped(utterance("x" * 1000 + str(number)))))
    assert deaf.aborted
    assert lab.dispatcher.peers == [well.connection.routed]
    well.say(utterance("still here?"))
    await lab.until(lambda: bool(well.bus()))
    await lab.end()
    assert "does not read" in caplog.text


@pytest.mark.settings(unsent=10000)
async def test_one_message_may_be_larger_than_what_may_wait(lab: Lab) -> None:
    """It is not for the client to have read it before it was sent; the next one finds it waiting, and cuts off."""
    slow, well = lab.visit(lab.client("slow")).shake_hands(), lab.visit(lab.client("well")).shake_hands()
    slow.reads = False
    well.say(e.Propagate(payload=wrapped(utterance("x" * 20_000))))
    assert not slow.aborted
    well.say(e.Propagate(payload=wrapped(utterance("and on"))))
    assert slow.aborted


@pytest.mark.settings(unsent_pause=2000)
async def test_a_skill_waits_for_a_client_that_does_not_read(lab: Lab) -> None:
    """It says no more than fits, and goes on when there is room; it ends when the client is gone."""
    said: list[int] = []

    async def endless(turn: Any) -> None:
        for number in range(1000):
            said.append(number)
            await turn.speak("x" * 500)

    lab.skills.on("app.event", endless)
    visitor = lab.visit(lab.client(allowed=["app.event"])).shake_hands()
    visitor.reads = False
    visitor.say(e.Bus(type="app.event"))
    await lab.until(lambda: visitor.connection.unsent > 2_000)
    before = len(said)
    for _ in range(20):
        await asyncio.sleep(0)
    assert before == len(said)
    visitor.reads = True
    visitor.wake()
    await lab.until(lambda: lab.dispatcher.runner.turns == 0)
    assert 1000 == len(said) == len(visitor.bus())


@pytest.mark.settings(unsent_pause=2000)
async def test_a_skill_does_not_wait_for_a_client_that_is_gone(lab: Lab) -> None:
    """Its words go nowhere, and it may finish what it does."""

    async def endless(turn: Any) -> None:
        for _ in range(100):
            await turn.speak("x" * 500)

    lab.skills.on("app.event", endless)
    visitor = lab.visit(lab.client(allowed=["app.event"])).shake_hands()
    visitor.reads = False
    visitor.say(e.Bus(type="app.event"))
    await lab.until(lambda: visitor.connection.unsent > 2_000)
    visitor.hang_up()
    await lab.until(lambda: lab.dispatcher.runner.turns == 0)
    assert lab.dispatcher.peers == []


async def test_what_is_too_long_to_send_is_the_skills_fault(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told that the skill failed; its connection lives."""

    async def huge(turn: Any) -> str:
        return "x" * (5 << 20)

    lab.skills.add(skill("huge")(huge))
    visitor = lab.visit(lab.client()).shake_hands()
    visitor.say(utterance("huge"))
    await lab.until(lambda: bool(visitor.bus("ovos.utterance.handled")))
    assert [event.data["reason"] for event in visitor.bus(e.INTENT_FAILURE)] == ["the skill 'huge' failed"]
    await lab.end()
    assert "cannot be sent" in caplog.text


@pytest.mark.settings(unsent=2000)
async def test_bytes_that_nobody_takes_yet_hold_the_client(lab: Lab) -> None:
    """The connection's driver is told to read no more, and to go on later."""
    gate = asyncio.Event()

    async def slow(turn: Any) -> None:
        await gate.wait()

    lab.skills.on(e.BinType.RAW_AUDIO, slow)
    visitor = lab.visit(lab.client()).shake_hands()
    for _ in range(3):
        visitor.say(e.Binary(bin_type=e.BinType.RAW_AUDIO, payload=bytes(600)))
    assert visitor.holds == [True]
    gate.set()
    await lab.until(lambda: lab.dispatcher.runner.turns == 0)
    assert visitor.holds == [True, False]


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_goodbye_goes_to_everybody_and_nobody_new_is_let_in(lab: Lab) -> None:
    """1001, which tells clients to come back later."""
    client = lab.client()
    visitors = [lab.visit(client), lab.visit(client).shake_hands()]
    lab.dispatcher.goodbye()
    visitors.append(lab.visit(client))
    assert [visitor.closed for visitor in visitors[:2]] == [(1001, "the hub is stopping")] * 2
    assert visitors[2].connection.finished
    assert list(lab.dispatcher.connections) == []


async def test_kicks_close_one_connection(lab: Lab) -> None:
    """With the code and reason that the router decided on; the others of the client stay."""
    client = lab.client()
    one, other = lab.visit(client).shake_hands(), lab.visit(client).shake_hands()
    one.say(e.Broadcast(payload=wrapped(utterance())))
    assert one.closed == (4003, "BROADCAST is not allowed for this client")
    assert other.joined
    assert not one.joined
