"""The client stack's contract with drivers and links: steps, goodbyes, timers, late results, frames that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.proto.links.frame_link import RECEIPTS, FrameLinks, record
from tests.proto.world import World, config, echo, ready, states
from thalovant_proto import events as e
from thalovant_proto.carrier import Carrier, CloseKind, Frame, FrameType
from thalovant_proto.client.stack import DIAL_TIMEOUT, ClientStack, Dial, Run, Stop, Wait
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.failures import FailureKind
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import (
    AskEnded,
    SendFailed,
    SessionState,
    StateChanged,
)
from thalovant_proto.secret import Secret

GENERATIONS = [0, 1, 3]


def test_steps_of_a_session():
    """Stop, Dial with a serial, Run with the same; after the end Stop, once the goodbye is written."""
    world = World()
    stack = world.stack
    assert (stack.step(), stack.next_timeout, stack.data_to_send()) == (Stop(), None, b"")

    stack.open(world.now)
    dial = stack.step()
    assert isinstance(dial, Dial)
    assert (dial.target.host, dial.target.port, dial.target.tls) == ("127.0.0.1", 5678, False)
    assert stack.step() == dial
    assert stack.data_to_send() == b""
    stack.socket_opened(world.now)
    assert stack.step() == Run(dial.serial)
    assert stack.data_to_send().startswith(b"GET /")
    world.now += 1
    stack.close(world.now, timeout=0)

    assert stack.step() == Stop()
    assert stack.state is SessionState.CLOSED


@pytest.mark.parametrize("alive", [True, False])
def test_goodbye_is_written_before_the_socket_goes(alive):
    """A stack that has ended waits until its last bytes are fetched: a driver writes them and leaves the socket.

    It does not run on: a socket that takes no more would hold the bytes back, and the next dial with them. The next
    socket does not begin with the goodbye of one that is dead.
    """
    world = ready()
    world.stack.close(world.now, timeout=0)
    assert world.stack.step() == Wait()

    if not alive:
        world.stack.eof(world.now)

    assert (world.stack.data_to_send() != b"") is alive
    assert (world.stack.step(), world.stack.data_to_send()) == (Stop(), b"")


def test_waiting_holds_no_socket():
    """Between attempts there is nothing to hold, and a time to wait for. A closed session refuses, and says so."""
    world, closed = ready(), World()
    world.hub.listening = False
    world.lose()

    assert world.stack.step() == Wait()
    assert world.stack.next_timeout > world.now
    with pytest.raises(LocalProtocolError, match="idle"):
        closed.stack.send(e.Utterance(text="hi"), closed.now)
    with pytest.raises(LocalProtocolError, match="the session is"):
        closed.stack.ask(e.Utterance(text="hi"), closed.now)


REFUSED = DialFailed(phase="connect", fault=DialFault.REFUSED, message="x")
KEY = Secret(b"\0" * 32)


def test_late_ends_change_nothing():
    """Drivers may be late: the end of a socket or a dial that nobody waits for is ignored, as are its last bytes."""
    world = World()
    stack = world.stack

    stack.eof(world.now)
    stack.dial_failed(REFUSED, world.now)
    world.open()
    stack.dial_failed(REFUSED, world.now)
    stack.close(world.now, timeout=0)
    stack.receive_data(b"\x81\x01x", world.now)
    world.drive()
    stack.eof(world.now)
    world.open()

    assert stack.state is SessionState.READY
    assert len(world.dials) == 2


def at(world: World, moment: str) -> None:
    """Bring a session to a moment."""
    if moment in ("dialed", "ready", "left"):
        world.stack.open(world.now)
    if moment in ("ready", "left"):
        world.drive()
    if moment == "left":
        world.stack.close(world.now, timeout=0)
        world.stack.step()


Call = Callable[[ClientStack, float], object]

#: Calls that are not legal, and when.
MISUSES: dict[str, tuple[Call, list[str]]] = {
    "bytes": (lambda stack, now: stack.receive_data(b"HTTP/1.1 101\r\n", now), ["new", "dialed", "left"]),
    "a socket": (lambda stack, now: stack.socket_opened(now), ["new", "ready", "left"]),
    "a key": (lambda stack, now: stack.effect_done(7, KEY, now), ["new", "dialed", "ready", "left"]),
    "a key without a number": (lambda stack, now: stack.effect_done(0, KEY, now), ["new", "ready"]),
}


@pytest.mark.parametrize(("misuse", "moment"), [(name, at) for name, (_, when) in MISUSES.items() for at in when])
def test_misuse_is_an_error_at_the_call(misuse, moment):
    """And changes nothing: the session goes on."""
    world = World()
    at(world, moment)
    before = (world.stack.step(), world.stack.state, world.stack.next_timeout)

    with pytest.raises(LocalProtocolError):
        MISUSES[misuse][0](world.stack, world.now)

    assert (world.stack.step(), world.stack.state, world.stack.next_timeout) == before
    assert world.drive().open().stack.state is SessionState.READY


#: Every call that is told the time.
TIMED: dict[str, Call] = {
    "open": lambda stack, now: stack.open(now),
    "close": lambda stack, now: stack.close(now),
    "send": lambda stack, now: stack.send(e.Bus(type="x"), now),
    "ask": lambda stack, now: stack.ask(e.Utterance(text="x"), now),
    "subscribe": lambda stack, now: stack.subscribe(None, now),
    "dial_failed": lambda stack, now: stack.dial_failed(REFUSED, now),
    "socket_opened": lambda stack, now: stack.socket_opened(now),
    "receive_data": lambda stack, now: stack.receive_data(b"x", now),
    "eof": lambda stack, now: stack.eof(now),
    "handle_timeout": lambda stack, now: stack.handle_timeout(now),
    "effect_done": lambda stack, now: stack.effect_done(1, KEY, now),
}


@pytest.mark.parametrize("call", TIMED)
@pytest.mark.parametrize("back", [0.001, 1e9, math.nan])
def test_clock_that_runs_back_is_an_error_at_the_call(call, back):
    """Whatever the call would have done: a timer that lives in two times fires never, or at once."""
    world = ready()

    with pytest.raises(LocalProtocolError) as caught:
        TIMED[call](world.stack, world.now - back)

    assert caught.value.code == "clock_ran_back"
    assert world.drive().stack.state is SessionState.READY


@pytest.mark.parametrize("given", [b"", b"x" * 31, "text"])
@pytest.mark.parametrize(
    ("generation", "use"),
    [
        *((generation, lambda world: world.open()) for generation in GENERATIONS),
        *((generation, lambda world: world.send(e.Bus(type="x"))) for generation in (0, 1)),
        (3, lambda world: world.stack.ask(e.Utterance(text="x"), world.now)),
    ],
    ids=["handshake 0", "handshake 1", "handshake 3", "seal 0", "seal 1", "ask"],
)
def test_entropy_of_another_length_is_an_error_at_the_call(generation, use, given, request):
    """In the handshake, where a message is sealed with it, and where an ask is named by it."""
    world = World(generation)
    if "handshake" not in request.node.name:
        world.open()
    world.entropy = lambda size: given

    with pytest.raises(LocalProtocolError) as caught:
        use(world)

    assert "entropy(" in str(caught.value)


def test_dial_without_an_answer_ends():
    """For drivers that have no deadline of their own. It counts as a failed one, and is tried again."""
    world = World(client=config(attempts=1))
    world.stack.open(world.now)
    first = world.stack.step()
    assert world.stack.next_timeout == world.now + DIAL_TIMEOUT

    world.stack.handle_timeout(world.now + DIAL_TIMEOUT - 0.1)
    assert world.stack.step() == first
    world.stack.handle_timeout(world.now + DIAL_TIMEOUT)

    assert world.stack.failure.kind is FailureKind.CONNECT
    assert world.stack.step() not in (first, Stop())
    world.stack.handle_timeout(world.now + 3 * DIAL_TIMEOUT)
    assert world.stack.step() == Stop()


def test_calling_early_changes_nothing():
    """`handle_timeout` before the time is harmless, however often."""
    world = ready()
    before = world.stack.next_timeout

    for _ in range(3):
        world.stack.handle_timeout(world.now)

    assert before == world.stack.next_timeout
    assert (world.stack.outcomes(), world.stack.data_to_send()) == ([], b"")


def test_late_derivations_are_dropped():
    """The result of a derivation for a connection that is gone changes nothing."""
    world = World()
    world.held = True
    world.open()
    (effect,) = world.stack.effects()
    assert world.stack.effects() == []

    world.lose()
    world.stack.effect_done(effect.id, KEY, world.now)
    world.stack.close(world.now, timeout=0)
    world.stack.effect_done(effect.id, KEY, world.now)
    world.held = False
    world.drive().open()

    assert world.stack.state is SessionState.READY


@pytest.mark.parametrize(
    ("mute", "state", "words"),
    [
        (False, SessionState.HANDSHAKE, "OFFERED"),  # the deadline names the state
        # a socket that leads nowhere: MQTT to a hub that does not know the access key is like that
        (True, SessionState.CONNECTING, "within 5 s"),
    ],
)
def test_hub_that_never_finishes_the_handshake_is_a_timeout(mute, state, words):
    """No verdict, and tried again."""
    world = World(client=config(attempts=0, limits=Limits(handshake_time=5)), links=FrameLinks(mute=mute))
    world.held = True
    world.open().advance(4.9)
    assert world.stack.state is state

    world.advance(0.2)

    assert (world.stack.failure.kind, world.stack.failure.final) == (FailureKind.HANDSHAKE_TIMEOUT, False)
    assert words in world.stack.failure.message
    assert not mute or "MQTT" in world.stack.failure.hint


def test_session_that_outlives_its_sockets():
    """HTTPS: the link lets a socket go, and dials another one when it wants to; the session notices nothing."""
    world = ready(links=FrameLinks(outlives_sockets=True))

    for number in range(3):
        world.links.hubs[-1].let_go()
        world.drive()
        world.ask(e.Utterance(text=str(number)))

    assert world.texts() == [["echo: 0"], ["echo: 1"], ["echo: 2"]]
    assert (len(world.dials), len(world.got(e.HandshakeCompleted))) == (4, 1)


def test_session_that_finds_no_other_socket_is_lost():
    """The link is told, and what it had not let go is sent on the next session."""
    world = ready(links=FrameLinks(outlives_sockets=True, window=1))
    world.links.hubs[-1].let_go()
    world.hub.listening = False
    world.ask(e.Utterance(text="a"))
    assert world.stack.failure.kind is FailureKind.CONNECT

    world.hub.listening = True
    world.advance(1)

    assert world.texts() == [["echo: a"]]


def test_pace_follows_those_who_wait():
    """A polling link hurries while somebody waits, and for a while after something was said."""
    world = ready(links=FrameLinks())
    (link,) = world.links.clients
    world.advance(0.8)
    assert link.paces[-1] is False

    world.stack.ask(e.Utterance(text="hurry"), world.now)
    assert link.paces[-1] is True
    world.drive().advance(9)
    world.stack.handle_timeout(world.now)
    assert link.paces[-1] is True
    world.advance(2)
    world.stack.handle_timeout(world.now)

    assert link.paces[-1] is False


@pytest.mark.parametrize(("generation", "largest", "dials"), [(3, 2000, 2), (1, 4000, 1)])
def test_frame_that_the_link_does_not_take_ends_a_noise_session(generation, largest, dials):
    """Its number is gone, so nothing fits after it; the others go out on the next session. A legacy one goes on."""
    world = ready(generation, links=FrameLinks(largest=largest))

    big = world.stack.send(e.Utterance(text="x" * 3000), world.now)
    world.ask(e.Utterance(text="small"))

    assert [(failed.token, failed.delivery) for failed in world.got(SendFailed)] == [(big, "no")]
    assert world.texts() == [["echo: small"]]
    assert len(world.dials) == dials


def test_handshake_that_the_link_does_not_take_is_a_failure():
    """Nothing can be said at all over such a link."""
    world = World(links=FrameLinks(largest=10))

    world.open()

    assert (world.stack.state, world.stack.failure.kind) == (SessionState.FAILED, FailureKind.PROTOCOL)


@pytest.mark.parametrize("by", ["link", "frame"])
def test_fault_of_an_attempt_says_what_it_was(by):
    """An error of the link is the failure, with the carrier's own number; a frame that nobody can have sealed, another.

    The next frame of the same read is not looked at.
    """
    world = World(links=FrameLinks()).open()
    if by == "link":
        world.links.hubs[-1].end(CloseKind.LOST, code=502, error="a proxy answered")
    else:
        for data in (b"nobody sealed this", b"nor this"):
            world.links.hubs[-1].send(Frame(data, FrameType.BINARY), world.now)

    world.drive()

    (fault,) = [changed.failure for changed in world.got(StateChanged) if changed.state is SessionState.WAITING]
    assert fault.kind is FailureKind.PROTOCOL
    assert by == "frame" or (fault.code, "a proxy answered" in fault.message) == (502, True)


def test_nothing_of_a_connection_counts_after_its_end():
    """A fault of the hub in the middle of a read: what the link still had to say is void."""
    world = ready()
    peer = world.hub.peer
    peer.send(e.Speak(text="before"), world.now)
    frames = peer.data_to_send()
    peer.send(e.Speak(text="lost on the way"), world.now)
    peer.data_to_send()
    peer.send(e.Speak(text="after"), world.now)
    peer.send(e.Speak(text="long after"), world.now)

    world.stack.receive_data(frames + peer.data_to_send(), world.now)
    world.drive()

    assert [speak.text for speak in world.got(e.Speak)] == ["before"]
    (closed,) = world.got(e.Closed)
    assert closed.error is not None
    assert len(world.dials) == 2


@pytest.mark.parametrize("carrier", [Carrier(secure=True), RECEIPTS, Carrier(typed=False, rehello=True, secure=True)])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_over_every_kind_of_carrier(generation, carrier):
    """What a link can and cannot do changes nothing of the main job."""
    world = ready(generation, links=FrameLinks(carrier=carrier, window=1))

    answers: list[Any] = [world.stack.ask(e.Utterance(text=str(number)), world.now) for number in range(5)]
    world.drive()

    assert [ended.ask for ended in world.got(AskEnded)] == answers


def test_session_may_rest_without_a_socket():
    """HTTPS between polls: no socket is wanted until there is something to say."""
    world = World(links=FrameLinks(outlives_sockets=True)).open()
    world.hub.answer = echo
    (link,) = world.links.clients
    link.rests = True
    world.stack.eof(world.now)
    world._socket = None
    assert world.stack.step() == Wait()

    world.stack.ask(e.Utterance(text="hi"), world.now)
    assert isinstance(world.stack.step(), Dial)
    world.drive()

    assert (world.texts(), len(world.dials)) == ([["echo: hi"]], 2)


def test_links_may_say_more_than_is_understood():
    """A frame before the link is open has no connection to go to; an unknown event is none of ours."""
    world = World(links=FrameLinks(mute=True)).open()
    world.stack.receive_data(record(b"T", b"{}") + record(b"Z"), world.now)

    assert states(world) == [SessionState.CONNECTING]
    assert world.got(e.Event) == []
