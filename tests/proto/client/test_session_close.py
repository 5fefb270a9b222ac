"""How a session ends, begins again, and renews its keys in between."""

from __future__ import annotations

import pytest

from tests.proto.links.frame_link import FrameLinks
from tests.proto.world import World, config, ready, states, stub_key
from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind
from thalovant_proto.client.stack import Stop
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.failures import FailureKind
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import AskEnded, AskFailed, AskFault, SendFailed, Sent, SessionState, StateChanged

CLOSED, CLOSING, READY = SessionState.CLOSED, SessionState.CLOSING, SessionState.READY


def silent(generation: int = 3, **options: object) -> World:
    """A client that is connected to a hub which says nothing by itself."""
    world = ready(generation, **options)
    world.hub.answer = lambda event: ()
    return world


def texts(world: World) -> list[str]:
    """What the hub would have executed, in order."""
    return [utterance.text for utterance in world.hub.utterances()]


# --- the end ---


def test_close_sends_what_is_queued():
    """The last utterance leaves before the goodbye; nothing is waited for that is not due."""
    world = silent()

    token = world.stack.send(e.Utterance(text="good night"), world.now)
    world.close()

    assert (texts(world), [one.token for one in world.got(Sent)]) == (["good night"], [token])
    assert (world.stack.state, world.hub.closed[-1].code) == (CLOSED, 1000)
    assert states(world)[-2:] == [CLOSING, CLOSED]
    assert world.stack.failure is None


def test_close_while_connecting_sends_what_is_queued():
    """A connection is being made: it is waited for, if there is something to send."""
    world = World()
    world.stack.open(world.now)
    world.stack.send(e.Utterance(text="just this"), world.now)

    world.stack.close(world.now)
    assert world.stack.state is CLOSING
    world.drive()

    assert (texts(world), world.stack.state) == (["just this"], CLOSED)
    assert world.got(SendFailed) == []
    assert READY not in states(world)


@pytest.mark.parametrize("told", [{}, {"timeout": 0}], ids=["close", "close at once"])
@pytest.mark.parametrize("state", [SessionState.IDLE, SessionState.FAILED, SessionState.CONNECTING])
def test_close_of_what_is_over_or_has_nothing_to_send_is_at_once(state, told):
    """Closing twice, or never having opened, is fine; a failure stays the reason. Nobody needs the connection."""
    world = World(client=config(attempts=0))
    world.hub.listening = False
    if state is not SessionState.IDLE:
        world.stack.open(world.now)
    if state is SessionState.FAILED:
        world.drive()

    world.stack.close(world.now, **told)
    world.stack.close(world.now, timeout=0)

    assert (world.stack.state, world.stack.step()) == (CLOSED if state is SessionState.CONNECTING else state, Stop())
    assert world.stack.data_to_send() == b""


@pytest.mark.parametrize(("connected", "goodbye"), [(False, 0.0), (True, 2.0)])
def test_close_waits_no_longer_than_told(connected, goodbye):
    """A hub that does not answer, or a socket that takes nothing, gets the send timeout; the goodbye has its own."""
    world = silent() if connected else World()
    world.hears = False
    world.stack.open(world.now)
    token = world.stack.send(e.Utterance(text="x"), world.now)

    world.stack.close(world.now, timeout=3)
    world.advance(2.9)
    assert world.stack.state is CLOSING
    world.advance(0.2 + goodbye)

    assert world.stack.state is CLOSED
    assert [(one.token, one.delivery) for one in world.got(SendFailed)] == [(token, "no")]


@pytest.mark.parametrize("waiting", [False, True])
def test_close_without_a_link_tries_no_other(waiting):
    """There is none to send anything on, or it cannot be had: what is queued fails."""
    world = silent() if waiting else World(client=config(attempts=5))
    world.hub.listening = not waiting
    if waiting:
        world.lose()
    world.stack.open(world.now)
    dials = len(world.dials)
    world.stack.send(e.Utterance(text="x"), world.now)
    ask = world.stack.ask(e.Utterance(text="y"), world.now)

    world.stack.close(world.now)
    assert world.stack.state is (CLOSED if waiting else CLOSING)
    world.hub.listening = False
    world.drive()

    assert (world.stack.state, world.stack.next_timeout) == (CLOSED, None)
    assert len(world.dials) == (dials if waiting else 1)
    assert [one.delivery for one in world.got(SendFailed)] == ["no"]
    assert waiting or [one.failure.kind for one in world.got(SendFailed)] == [FailureKind.CONNECT]
    assert [(one.ask, one.fault, one.delivery) for one in world.got(AskFailed)] == [(ask, AskFault.LINK, "no")]


def test_close_at_once_waits_for_nothing():
    """`timeout=0`: the goodbye is written, the answer to it is not awaited."""
    world = silent()
    world.ask(e.Utterance(text="whatever"))

    world.stack.close(world.now, timeout=0)

    assert world.stack.state is CLOSED
    world.drive()
    (one,) = world.got(AskFailed)
    assert (one.fault, one.failure.kind) == (AskFault.LINK, FailureKind.CLOSED)
    assert world.hub.closed[-1].code == 1000


@pytest.mark.parametrize("first", ["flush", "goodbye"])
def test_second_close_may_be_at_once(first):
    """Whoever has lost patience says so again: neither what is queued nor the hub's goodbye is waited for."""
    world = silent()
    world.hears = False
    if first == "flush":
        world.stack.send(e.Utterance(text="x"), world.now)
    world.close()
    assert world.stack.state is CLOSING

    world.stack.close(world.now)
    assert world.stack.state is CLOSING
    world.stack.close(world.now, timeout=0)

    assert world.stack.state is CLOSED


def test_lost_link_ends_the_closing():
    """The goodbye is not worth another connection."""
    world = silent(1)
    world.ask(e.Utterance(text="x"))
    world.stack.close(world.now)
    assert world.stack.state is CLOSING

    world.lose()

    assert (world.stack.state, len(world.dials)) == (CLOSED, 1)


def test_nothing_can_be_sent_while_closing():
    """The queue is closed first."""
    world = silent(1)
    world.stack.send(e.Utterance(text="x"), world.now)
    world.stack.close(world.now)

    with pytest.raises(LocalProtocolError, match="closing"):
        world.stack.send(e.Utterance(text="y"), world.now)


def test_close_in_the_handshake_of_a_link_with_presence():
    """A proof that comes after the goodbye is not announced, and nothing more is said."""
    world = World(1, links=FrameLinks())
    world.held = True
    world.open()
    (effect,) = world.hub.peer.effects()
    world.hub.peer.effect_done(effect.id, stub_key(effect), world.now)
    world.drive()
    (effect,) = world.stack.effects()
    (link,) = world.links.clients
    link.lingers = True

    world.stack.close(world.now)
    world.stack.effect_done(effect.id, stub_key(effect), world.now)
    world.drive()

    assert (world.stack.state, link.announced, world.hub.heard) == (CLOSED, [], [])
    assert len(world.got(e.Proven)) == 1


# --- legacy hubs lose their bus when a client leaves with replies pending ---


@pytest.mark.parametrize("generation", [0, 1])
@pytest.mark.parametrize("context", [{}, {"request_id": "r"}])
def test_close_on_a_legacy_hub_reads_on_until_handled(generation, context):
    """What was asked is waited for, with or without a request id; another's *handled* does not count."""
    world = silent(generation)
    world.send(e.Utterance(text="slow", context=context))

    world.stack.close(world.now)
    world.advance(1)
    world.says(e.UtteranceHandled(context={"request_id": "another"}))
    assert world.stack.state is CLOSING
    world.says(e.UtteranceHandled(context=world.hub.utterances()[0].context))

    assert world.stack.state is CLOSED


@pytest.mark.parametrize(("told", "waits"), [({}, 2.0), ({"timeout": 0.5}, 0.5)])
def test_close_on_a_legacy_hub_does_not_wait_for_ever(told, waits):
    """Two seconds, or as the caller's timeout says, then goodbye."""
    world = silent(1)
    world.send(e.Utterance(text="never"))

    world.stack.close(world.now, **told)
    world.advance(waits - 0.1)
    assert world.stack.state is CLOSING
    world.advance(0.2)

    assert world.stack.state is CLOSED


@pytest.mark.parametrize("generation", [1, 3])
def test_close_on_a_hub_that_owes_nothing_is_at_once(generation):
    """Answered utterances, and messages that are none, are not waited for; a newer hub loses nothing in any case."""
    world = ready(1) if generation == 1 else silent()
    world.ask(e.Utterance(text="hi"))
    world.send(e.Bus(type="status"))

    world.close()

    assert world.stack.state is CLOSED


# --- beginning again ---


@pytest.mark.parametrize("last", ["open", "close"])
def test_open_while_closing_is_for_afterwards(last):
    """The close goes on to its end, then the session begins again, without a Stop in between; the last word counts."""
    world = silent(1)
    world.send(e.Utterance(text="slow"))
    world.stack.close(world.now)

    world.stack.open(world.now)
    if last == "close":
        world.stack.close(world.now)
    assert world.stack.state is CLOSING
    world.advance(3)

    again = [SessionState.CONNECTING, SessionState.HANDSHAKE, READY] if last == "open" else []
    states_ = [CLOSING, CLOSED, *again]
    assert states(world)[-len(states_) :] == states_
    assert len(world.dials) == (2 if last == "open" else 1)


def test_closed_session_can_be_opened_again():
    """Subscriptions and what was learnt are still there."""
    world = ready()
    subscription = world.stack.subscribe("speak", world.now)
    world.close()

    world.open()
    world.ask(e.Utterance(text="again"))

    assert world.texts() == [["echo: again"]]
    assert [one.subscription for one in world.outcomes if hasattr(one, "subscription")] == [subscription]


# --- renewal: every nonce of a legacy session is remembered, so it must end ---


@pytest.mark.parametrize("generation", [0, 1])
def test_legacy_keys_are_renewed_when_nobody_waits(generation):
    """Quietly, between asks; the reason is one that is no trouble."""
    world = ready(generation, limits=Limits(legacy_frames=20))

    for number in range(12):
        world.ask(e.Utterance(text=str(number)))

    assert world.texts() == [[f"echo: {number}"] for number in range(12)]
    assert (world.got(AskFailed), set(world.dials)) == ([], {world.now})
    waits = [changed.failure for changed in world.got(StateChanged) if changed.state is SessionState.WAITING]
    assert len(world.dials) == 1 + len(waits) > 2
    assert {(failure.kind, failure.final) for failure in waits} == {(FailureKind.RENEWED, False)}


def test_legacy_keys_are_not_renewed_under_an_ask():
    """Whoever waits is waited for; from the second mark on the next messages wait with them."""
    world = silent(1, limits=Limits(legacy_frames=20))
    world.stack.ask(e.Utterance(text="slow"), world.now)
    for number in range(30):
        world.stack.send(e.Bus(type="status", data={"number": number}), world.now)
    world.drive()
    assert len(world.dials) == 1

    world.hub.says(e.Speak(text="at last", context=world.hub.utterances()[0].context), world.now)
    world.drive().advance(2.1)

    assert world.texts() == [["at last"]]
    numbers = [
        event.data["number"]
        for event in world.hub.heard
        if isinstance(event, e.Bus) and event.data.get("number") is not None
    ]
    assert numbers == list(range(30))
    assert len(world.dials) > 1


def test_legacy_keys_that_are_spent_end_the_session():
    """A hub that talks without end under an ask: nothing can be opened any more, the ask gets what was heard."""
    world = silent(1, limits=Limits(legacy_frames=20))
    world.ask(e.Utterance(text="tell me everything"))

    for number in range(25):
        world.says(e.Speak(text=str(number)))

    (ended,) = world.got(AskEnded)
    assert 10 < len(ended.pieces) < 25
    assert (world.stack.state, len(world.dials)) == (READY, 2)


def test_unanswered_utterance_puts_the_renewal_off_but_not_for_ever():
    """A legacy hub that owes a *handled* would suffer; one that never gives it is left at the second mark."""
    world = silent(1, limits=Limits(legacy_frames=100))
    world.stack.send(e.Utterance(text="never handled"), world.now)
    for number in range(90):
        world.send(e.Bus(type="status", data={"number": number}))
    assert len(world.dials) == 1

    for number in range(10):
        world.send(e.Bus(type="status", data={"number": number}))

    assert len(world.dials) == 2
    assert len(world.got(Sent)) == 101


def test_v3_keys_are_never_renewed():
    """Their nonces are counted, and 64 bits wide."""
    world = ready(limits=Limits(legacy_frames=20))

    for number in range(30):
        world.ask(e.Utterance(text=str(number)))

    assert (len(world.dials), len(world.got(AskEnded))) == (1, 30)


def test_link_that_refuses_while_we_leave_is_closed():
    """After our goodbye it does not matter what the other side says."""
    world = World(links=FrameLinks()).open()
    world.links.hubs[-1].end(CloseKind.REFUSED, code=1008)

    world.close()

    assert (world.stack.state, world.stack.failure) == (CLOSED, None)
