"""What a connection may cost and for how long: parking, deadlines, frame sizes, worn keys, replays."""

from __future__ import annotations

import pytest

from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind, Frame, FrameType
from thalovant_proto.errors import HandshakeTimeout, LocalProtocolError, RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.limits import DEFAULT_LIMITS, SLOWEST, Limits
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

from .pair import CARRIERS, MQTT, WSS, Pair
from .puppet import Stage

V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE
both_roles = pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
both_legacy = pytest.mark.parametrize("generation", [V0, V1], ids=["v0", "v1"])
every_generation = pytest.mark.parametrize("generation", Generation, ids=["v0", "v1", "v3"])
every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)


def text(data: bytes) -> Frame:
    return Frame(data, FrameType.TEXT)


def waiting(role: Role, generation: Generation = V3, limits: Limits = DEFAULT_LIMITS) -> Stage:
    """An end that waits for a key."""
    stage = Stage(role, generation, hold=True, limits=limits)
    while not stage.pending:
        stage.say_due()
    return stage


def is_violation(events: list[e.Event], word: str) -> bool:
    """Whether they are the end, by the peer's fault, in words that say which."""
    (closed,) = events
    return isinstance(closed, e.Closed) and isinstance(closed.error, RemoteProtocolError) and word in str(closed.error)


# --- parking

DERIVING = [(Role.CLIENT, V3), (Role.HUB, V3), (Role.CLIENT, V1), (Role.HUB, V1)]
everyone_who_derives = pytest.mark.parametrize(
    ("role", "generation"), DERIVING, ids=[f"{role.value}-{generation.name}" for role, generation in DERIVING]
)


@everyone_who_derives
def test_while_a_key_is_derived_frames_wait(role, generation):
    """The state stands still and nothing is told; what waited is taken in order when the key is there, if in time."""
    stage, late = waiting(role, generation), waiting(role, generation)
    state = stage.end.state

    assert stage.deliver(*[text(b"first, not JSON")] * 4) == []
    assert stage.end.state is state
    *_, closed = stage.answer()
    (timeout,) = late.wait(20.0)

    assert isinstance(closed.error, RemoteProtocolError)
    assert "JSON" in str(closed.error) or "sealed" in str(closed.error)
    assert isinstance(timeout.error, HandshakeTimeout)
    assert late.answer() == []


@everyone_who_derives
@pytest.mark.parametrize(
    "sizes", [[1] * 5, [128 * 1024 + 1], [64 * 1024, 64 * 1024 + 1]], ids=["five", "one over 128 KiB", "two"]
)
def test_what_may_wait_is_bounded(role, generation, sizes):
    """In frames and in bytes; one more ends it."""
    stage = waiting(role, generation)

    events = stage.deliver(*(text(b"x" * size) for size in sizes))

    assert is_violation(events, "while a key was derived")
    assert stage.answer() == []


def test_what_has_waited_takes_no_room_any_more():
    """Derivation after derivation, each with one frame that waits."""
    stage = waiting(Role.HUB, V1)
    proof = stage.events[0] if stage.events else stage.puppet.due[0]
    stage.puppet.shakes = False
    for _ in range(5):
        assert stage.say(proof) == []
        assert not any(isinstance(event, e.Closed) for event in stage.answer())


def test_a_result_that_nobody_waits_for_is_dropped():
    """Of another derivation, of one that was answered, and after the end."""
    key = Secret(bytes(32))
    stage = waiting(Role.CLIENT)
    (effect,) = stage.pending

    assert stage.end.effect_done(effect.id + 1, key, 0.0) == []
    assert stage.end.frames_to_send() == []
    assert stage.end.effect_done(effect.id, key, 0.0) == []
    assert len(stage.end.frames_to_send()) == 1
    assert stage.end.effect_done(effect.id, key, 0.0) == []
    assert stage.end.frames_to_send() == []

    closed = waiting(Role.CLIENT)
    closed.end.close()
    assert closed.answer() == []
    assert closed.end.frames_to_send() == []


def test_each_derivation_is_asked_for_once():
    """And not at all once the connection is closed."""
    pair = Pair(derive=None)
    pair.client.receive(pair.to_client[0], 0.0)
    pair.client.receive(pair.to_client[1], 0.0)
    assert len(pair.client.effects()) == 1
    assert pair.client.effects() == []

    pair = Pair(derive=None)
    pair.client.receive(pair.to_client[0], 0.0)
    pair.client.receive(pair.to_client[1], 0.0)
    pair.client.close()
    assert pair.client.effects() == []


# --- time


@both_roles
@pytest.mark.parametrize("after", [0, 19.9], ids=["at once", "late"])
def test_a_handshake_has_its_time(role, after):
    """20 s from the open link, whatever arrives meanwhile; running out of it is no verdict on anybody."""
    stage = Stage(role)
    assert stage.end.next_timeout == 20.0
    assert stage.wait(after) == []
    stage.say_due()
    assert stage.end.next_timeout == 20.0

    (closed,) = stage.wait(20.0 - after)

    assert isinstance(closed.error, HandshakeTimeout)
    assert (closed.kind, closed.code, closed.reason) == (CloseKind.CLOSED, 1001, "handshake timeout")
    assert f"state {'GREETED' if role is Role.CLIENT else 'XX_ANSWERED'}" in str(closed.error)
    assert stage.end.next_timeout is None
    assert stage.wait(1000.0) == []


@every_generation
def test_a_client_has_no_deadline_once_it_has_keys(generation):
    """Whether the hub can read it is for the session to find out."""
    stage = Stage(Role.CLIENT, generation).until(State.READY)

    assert stage.end.next_timeout is None
    assert stage.wait(1e9) == []


@pytest.mark.parametrize("generation", [V1, V3], ids=["v1", "v3"])
def test_a_hub_waits_for_the_proof_and_then_for_nothing(generation):
    """A client that holds keys and says nothing costs a hub no longer than one that does not."""
    stage = Stage(Role.HUB, generation).until(State.KEYED)
    assert stage.end.next_timeout == 20.0

    assert stage.say_due()[0] == e.Proven()

    assert stage.end.next_timeout is None


@both_roles
def test_a_chunked_message_has_its_time(role):
    """60 s from its first chunk, and what a slow line needs for what has come; then the session ends."""
    stage = Stage(role).until(State.READY)
    first, *rest = stage.puppet.frames(e.Binary(payload=bytes(200_000)))
    stage.wait(5.0)

    assert stage.deliver(first) == [e.Proven()] * (role is Role.CLIENT)  # a chunk is as good as a message
    assert stage.end.next_timeout == 65.0 + 65_000 / SLOWEST
    assert stage.wait(61.9) + stage.deliver(rest[0]) == []
    assert stage.end.next_timeout == 65.0 + 130_000 / SLOWEST
    (closed,) = stage.wait(2.1)

    assert is_violation([closed], "chunked message")
    assert stage.end.next_timeout is None


def test_a_chunked_message_that_arrives_needs_no_time_any_more():
    """And the next one has its own."""
    stage = Stage(Role.HUB).until(State.READY)
    sent = e.Binary(payload=bytes(200_000))

    assert stage.deliver(*stage.puppet.frames(sent)) == [sent]
    assert stage.end.next_timeout is None


# --- sizes


@both_roles
def test_a_frame_of_the_handshake_is_small(role):
    """256 KiB before there are keys."""
    for size, word in ((256 * 1024, "JSON"), (256 * 1024 + 1, "over 262144")):
        assert is_violation(Stage(role).deliver(text(b"x" * size)), word)


@every_generation
def test_a_hub_takes_no_large_frame_before_the_client_is_proven(generation):
    """Keys alone are not worth 10 MiB: somebody may have replayed a first message."""
    stage = Stage(Role.HUB, generation).until(State.OFFERED if generation is V0 else State.KEYED)

    assert is_violation(stage.deliver(text(b"x" * (256 * 1024 + 1))), "over 262144")


@both_roles
@every_generation
def test_a_frame_of_a_session_is_bounded(role, generation):
    """10 MiB, as the listeners of the real hubs have it."""
    for size, word in ((300 * 1024, "sealed"), (10 * 1024 * 1024 + 1, "over 10485760")):
        stage = Stage(role, generation).until(State.READY)
        stage.say(e.Ping())
        events = stage.deliver(Frame(b"x" * size, FrameType.BINARY))
        assert is_violation(events, word if generation is not V3 or size > 10 * 1024 * 1024 else "over 65535")


def test_a_chunked_message_is_bounded():
    """The chunks that are kept, before they are."""
    stage = Stage(Role.HUB, limits=Limits(reassembly=100_000)).until(State.READY)

    assert is_violation(stage.deliver(*stage.puppet.frames(e.Binary(payload=bytes(100_001)))), "over 100000")


# --- worn keys


@both_legacy
@both_roles
def test_a_legacy_session_ends_when_its_key_is_worn(role, generation):
    """Every nonce is remembered, so there is an end to them; nobody is at fault."""
    stage = Stage(role, generation, limits=Limits(legacy_frames=10)).until(State.READY)
    begun = stage.end.used_up
    assert begun == 0.1  # the hello

    said = [event for _ in range(8) for event in stage.say(e.Ping())]
    assert pytest.approx(stage.end.used_up) == 0.9
    *_, closed = stage.say(e.Bus(type="the last"))

    assert [event for event in said if not isinstance(event, e.Proven)] == [e.Ping()] * 8
    assert (closed.kind, closed.error, closed.code) == (CloseKind.CLOSED, None, 1001)
    assert "used up" in closed.reason
    assert e.Bus(type="the last") in stage.events


@both_legacy
def test_a_worn_key_seals_nothing_more(generation):
    """Frames of ours count as the peer's do; the caller is told."""
    stage = Stage(Role.CLIENT, generation, limits=Limits(legacy_frames=10)).until(State.READY)
    for _ in range(9):
        stage.end.send(e.Ping(), 0.0)
    assert stage.end.used_up == 1.0
    stage.end.frames_to_send()

    with pytest.raises(LocalProtocolError, match="used up"):
        stage.end.send(e.Ping(), 0.0)
    assert stage.end.frames_to_send() == []


def test_a_v3_key_does_not_wear():
    """Its nonces are 64 bits wide; before there is a key nothing is worn either."""
    pair = Pair(limits=Limits(legacy_frames=2))
    assert pair.client.used_up == 0.0
    pair.drive().send(Role.CLIENT, *[e.Ping()] * 10).drive()

    assert 0.0 == pair.client.used_up == pair.hub.used_up


# --- replay and reflection


FORMS = [
    pytest.param(role, generation, carrier, sent, id=f"{role.value}-{generation.name}-{name}-{type(sent).__name__}")
    for role in Role
    for generation in Generation
    for name, carrier in CARRIERS.items()
    for sent in (e.Ping(), e.Binary(payload=b"abc"))
    # what such a client cannot send is not replayed either
    if type(sent) is e.Ping or role is Role.CLIENT or carrier.legacy_binary_up or generation is V3
]


@pytest.mark.parametrize(("role", "generation", "carrier", "sent"), FORMS)
@pytest.mark.parametrize("which", [0, -1])
def test_a_replayed_frame_ends_the_session(role, generation, carrier, sent, which):
    """Each frame counts once: the last one, an early one, in whichever form it came."""
    stage = Stage(role, generation, carrier=carrier).until(State.READY)
    frames = [frame for _ in range(3) for frame in stage.puppet.frames(sent)]
    assert len([event for event in stage.deliver(*frames) if event == sent]) == 3

    assert is_violation(stage.deliver(frames[which]), "replay" if generation is not V3 else "authenticate")


@every_generation
@every_carrier
@both_roles
def test_a_reflected_frame_ends_the_session(role, generation, carrier):
    """What we sealed ourselves is not the peer's, though in v0 and v1 it is under the same key (security.md §3)."""
    stage = Stage(role, generation, carrier=carrier).until(State.READY)
    stage.say(e.Ping())
    stage.end.send(e.Bus(type="any.thing"), 0.0)
    ((frame, _),) = stage.end.frames_to_send()
    if not carrier.typed:
        frame = Frame(frame.data, FrameType.UNTYPED)

    assert is_violation(stage.deliver(frame), "reflected" if generation is not V3 else "authenticate")


@pytest.mark.parametrize("carrier", [WSS, MQTT], ids=["wss", "mqtt"])
@both_roles
def test_v3_frames_come_in_order(role, carrier):
    """One that is missing ends the session: what follows cannot be told from a forgery."""
    stage = Stage(role, carrier=carrier).until(State.READY)
    stage.say(e.Ping())
    _, second = (*stage.puppet.frames(e.Ping()), *stage.puppet.frames(e.Ping()))

    assert is_violation(stage.deliver(second), "authenticate")
