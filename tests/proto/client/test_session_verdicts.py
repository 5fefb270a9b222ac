"""What an attempt that failed means, and what follows: a verdict, another pattern, another try, a pause."""

from __future__ import annotations

from itertools import pairwise

import pytest
from attrs import evolve

from tests.proto.links.frame_link import FrameLinks
from tests.proto.world import CRYPTO_KEY, Hub, World, config, hub_side, met_before, ready, states, trust
from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind, Credentials
from thalovant_proto.codec.envelope import clear_frame
from thalovant_proto.dial import DialFault
from thalovant_proto.failures import FailureKind
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import Connected, Delivered, SessionState, StateChanged
from thalovant_proto.secret import Secret

READY, WAITING, FAILED = SessionState.READY, SessionState.WAITING, SessionState.FAILED


def framed(generation: int = 3, **changes: object) -> World:
    """A client over a link that knows every kind of end."""
    return World(generation, links=FrameLinks(), client=config(generation, **changes)).open()


def ends(world: World, kind: CloseKind, **words: object) -> World:
    """The hub's end of the link says that it is over."""
    world.links.hubs[-1].end(kind, **words)
    return world.drive()


# --- pins and patterns ---


def test_failed_kk_is_tried_once_with_xx():
    """A hub that has another password now refuses KK; the one retry shows both keys again and finds the reason."""
    world = met_before(password=Secret("another password entirely"))
    psks = set(world.stack.trust.psks)

    world.open().advance(5)

    assert (world.stack.failure.kind, world.stack.state) == (FailureKind.WRONG_PASSWORD, FAILED)
    assert (len(world.dials), len(psks)) == (2, 1)
    assert world.stack.trust.psks == {}
    assert world.dials[0] == world.dials[1]


def patterns(world: World) -> list[str]:
    """The Noise patterns of the completed handshakes."""
    return [completed.pattern for completed in world.got(e.HandshakeCompleted)]


def test_kk_is_given_up_until_a_session_is_proven():
    """Trouble during the retry does not bring KK back; the proof of a session does."""
    world = met_before()
    good, pins = world.hub.side, world.stack.trust.pins
    calls: list[HubSide] = []

    def register(credentials: Credentials) -> HubSide:
        calls.append(evolve(good, pinned=b"\x08" * 32) if not calls else good)
        world.wire.breaks(1_000 if len(calls) == 2 else None)  # in the middle of the handshake
        return calls[-1]

    world.hub.register = register
    world.open()
    assert (len(calls), patterns(world), world.stack.trust.pins) == (3, ["XXpsk2"], pins)
    assert world.stack.proven

    world.advance(3).lose()

    assert patterns(world) == ["XXpsk2", "KKpsk0"]


@pytest.mark.parametrize("by", ["network", "timeout"])
def test_kk_is_not_given_up_for_trouble_that_is_not_the_hubs(by):
    """Only if the *peer* closed: a lost network, or a hub that is too slow, has not refused anything."""
    world = met_before(client=config(limits=Limits(handshake_time=5)))
    if by == "network":
        world.wire.breaks(1_300)  # the offer is there, the answer to it is not
    world.held = by == "timeout"

    world.open()
    assert (patterns(world) == []) is world.held
    world.advance(5.5)
    world.held = False
    world.drive()

    assert (len(world.dials), patterns(world)) == (2, ["KKpsk0"])


def test_changed_hub_key_stops_with_both_fingerprints():
    """S4: the pinned key is never replaced by itself."""
    world = met_before(static_key=Secret(b"\x07" * 32))

    world.open().advance(5)

    failure = world.stack.failure
    assert failure.kind is FailureKind.HUB_KEY_CHANGED and failure.final
    assert failure.cause.expected != failure.cause.received
    assert failure.cause.expected in failure.message and failure.cause.received in failure.message


# --- credentials ---


WRONG = Secret("not the password")
UNREADABLE = Secret(CRYPTO_KEY[::-1])
VERDICTS = {
    # the hub closes before it says hello
    "unknown access key": (lambda: World(client=config(access_key=WRONG)), FailureKind.REFUSED, "access key"),
    # v1: the hub's check; v3: ours
    "wrong password, v1": (lambda: World(1, client=config(1, password=WRONG)), FailureKind.REFUSED, "password"),
    "wrong password, v3": (lambda: World(client=config(password=WRONG)), FailureKind.WRONG_PASSWORD, "password"),
    "no password": (lambda: World(client=config(password=None)), FailureKind.CREDENTIALS_MISSING, "password"),
    # a close that is a refusal says at once what a hub that hangs up says the second time
    "wrong crypto key, in words": (
        lambda: World(0, client=config(0, crypto_key=UNREADABLE)), FailureKind.WRONG_CRYPTO_KEY, "",
    ),
    # the handshake completes, the hub closes: not the network
    "pinned another client key": (
        lambda: World(hub=Hub(hub_side(pinned=b"\x09" * 32))), FailureKind.CLIENT_KEY_REJECTED, "",
    ),
    # the offer without noise is refused, whatever the carrier
    "noise seen before": (lambda: World(1, knows=trust().with_noise_seen()), FailureKind.DOWNGRADE, ""),
    # nobody's patience mends a certificate
    "certificate": (
        lambda: World(hub=Hub(hub_side(), listening=False, fault=DialFault.CERTIFICATE_UNTRUSTED)),
        FailureKind.TLS,
        "ca_file",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "word"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts_are_not_tried_again(make, kind, word):
    """One dial, and words that name what is wrong."""
    world = make().open().advance(5)

    assert (world.stack.state, world.stack.failure.kind, world.stack.failure.final) == (FAILED, kind, True)
    assert word in world.stack.failure.message + world.stack.failure.hint
    assert (len(world.dials), world.got(Connected)) == (1, [])


def wrong_crypto_key(**changes: object) -> World:
    """A v0 client that the hub cannot read, and a legacy hub."""
    world = World(0, client=config(0, crypto_key=Secret(CRYPTO_KEY[::-1]), **changes))
    world.hub.drops = True
    return world


@pytest.mark.parametrize("attempts", [0, 1, 5])
def test_wrong_crypto_key_is_noticed_the_second_time(attempts):
    """A v0 hub only hangs up; twice in a row right after our first sealed frame is a verdict, whatever is allowed."""
    world = wrong_crypto_key(attempts=attempts)

    world.open().advance(2)

    assert (world.stack.state, world.stack.failure.kind) == (FAILED, FailureKind.WRONG_CRYPTO_KEY)
    assert len(world.dials) == 2


def test_something_in_between_is_no_row():
    """Twice in a row means in a row: a refused dial between two drops starts the count anew."""
    world = wrong_crypto_key(attempts=10)
    drops: list[Credentials] = []

    def register(credentials: Credentials) -> HubSide:
        drops.append(credentials)
        world.hub.listening = False  # the next dial is refused
        return world.hub.side

    world.hub.register = register
    for _ in range(3):
        world.hub.listening = True
        world.open().advance(0.6)

    assert (len(drops), world.stack.state) == (3, WAITING)


def test_v0_hub_that_was_quiet_for_long_and_goes_is_only_lost():
    """It proves nothing before it speaks; what ends later than a second is no verdict on the key."""
    world = framed(0)
    world.advance(30)

    for kind in (CloseKind.REFUSED, CloseKind.LOST, CloseKind.FORGOTTEN):
        ends(world, kind).advance(30)
        assert world.stack.state is READY

    kinds = [changed.failure.kind for changed in world.got(StateChanged) if changed.state is WAITING]
    assert kinds == [FailureKind.LOST, FailureKind.LOST, FailureKind.FORGOTTEN]


def test_refusal_of_a_proven_session_is_only_a_loss():
    """`refused` is a verdict while unproven; later the same close is trouble that passes."""
    world = framed()
    assert world.stack.proven

    ends(world, CloseKind.REFUSED, code=1008, reason="policy")

    assert world.stack.state is READY
    (waiting,) = [changed for changed in world.got(StateChanged) if changed.state is WAITING]
    assert (waiting.failure.kind, waiting.failure.code) == (FailureKind.LOST, 1008)


# --- trying again ---


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_first_connection_is_tried_as_often_as_told(attempts):
    """`attempts` more tries, then the reason."""
    world = World(client=config(attempts=attempts))
    world.hub.listening = False

    world.open().advance(60)

    assert len(world.dials) == 1 + attempts
    assert (world.stack.state, world.stack.failure.kind) == (FAILED, FailureKind.CONNECT)


def test_first_connection_is_waited_for():
    """`attempts=None`: as long as it takes."""
    world = World(client=config(attempts=None))
    world.hub.listening = False
    world.open().advance(3600)
    assert (world.stack.state, world.stack.exhausted) == (WAITING, False)

    world.hub.listening = True
    assert world.advance(31).stack.state is READY


def test_first_connection_is_sought_further_while_somebody_waits():
    """Beyond the tries, until nobody does; `open` has all tries again, at once."""
    waits = [True]
    world = World(client=config(attempts=1), patient=lambda: waits[0])
    world.hub.listening = False
    world.open().advance(600)
    assert (world.stack.state, world.stack.exhausted) == (WAITING, True)

    tries = len(world.dials)
    world.open()
    assert (len(world.dials), world.stack.state, world.stack.exhausted) == (tries + 2, WAITING, True)

    waits[0] = False
    assert world.advance(31).stack.state is FAILED


def test_refusal_ends_patience():
    """Nobody waits for what waiting cannot mend."""
    world = World(client=config(attempts=None, access_key=WRONG), patient=lambda: True).open()

    assert (world.stack.state, world.stack.failure.kind) == (FAILED, FailureKind.REFUSED)


def test_open_again_after_failure():
    """A stopped session starts anew when it is opened, and forgets why it stopped; twice is once."""
    world = World(client=config(attempts=0))
    world.hub.listening = False
    world.open()
    assert world.stack.failure.kind is FailureKind.CONNECT

    world.hub.listening = True
    world.stack.open(world.now)
    assert world.stack.failure is None
    world.drive().open()

    assert (len(world.dials), world.stack.state) == (2, READY)


def test_reconnects_at_once_and_keeps_subscriptions():
    """A lost link is dialed again without delay; who listens hears the next event."""
    world = ready()
    world.stack.subscribe("speak", world.now)

    world.lose()
    world.says(e.Speak(text="welcome back"))

    assert [world.now, world.now] == world.dials
    assert [one.event.text for one in world.got(Delivered)] == ["welcome back"]
    assert states(world)[-4:] == [WAITING, SessionState.CONNECTING, SessionState.HANDSHAKE, READY]


def test_outage_is_waited_for_in_growing_steps():
    """Half a second at most while an outage is young, 30 s when it is old, growing in between."""
    world = ready()
    world.hub.listening = False
    start = world.now
    world.lose().advance(600)

    pauses = [later - earlier for earlier, later in pairwise(world.dials[1:])]
    young = [pause for at, pause in zip(world.dials[1:], pauses, strict=False) if at - start < 9]
    old = pauses[-5:]
    assert max(young) <= 0.5 and len(young) > 15
    assert min(old) >= 15 and max(old) <= 30
    assert all(pause <= 4 * earlier for earlier, pause in pairwise(pauses))  # doubled, and jittered by half
    world.hub.listening = True
    world.advance(31)
    assert world.stack.state is READY


@pytest.mark.parametrize("call", ["ask", "send", "open"])
def test_caller_does_not_wait_for_the_ladder(call):
    """Whoever wants something now finds a hub that came back; many such callers dial it twice a second at most."""
    calls = {
        "ask": lambda: world.ask(e.Utterance(text="hi")),
        "send": lambda: world.send(e.Ping()),
        "open": lambda: world.open(),
    }
    world = ready()
    world.hub.listening = False
    world.lose().advance(300)
    tries = len(world.dials)
    for _ in range(5):
        calls[call]()
    assert len(world.dials) <= tries + 1

    world.hub.listening = True
    calls[call]()
    assert world.advance(0.5).stack.state is READY


@pytest.mark.parametrize(
    ("kind", "words", "rest"), [(CloseKind.LOST, {"retry_after": 20.0}, 20), (CloseKind.FORGOTTEN, {}, 60)]
)
def test_caller_does_not_disturb_a_hub_that_rests(kind, words, rest):
    """What the hub asked for, and what must not go round in circles, holds for callers too."""
    world = framed()
    start = world.now
    for _ in range(4 if kind is CloseKind.FORGOTTEN else 1):
        ends(world, kind, **words)
    tries = len(world.dials)

    world.advance(rest - 1)
    world.ask(e.Utterance(text="hi"))
    world.advance(0.5)

    assert (len(world.dials), world.now - start < rest) == (tries, True)
    assert world.advance(1).stack.state is READY


def test_hub_that_throws_us_out_at_once_is_not_dialed_in_a_circle():
    """Proven and gone, again and again: the pauses grow as if it had never worked."""
    world = framed()

    for _ in range(20):
        while world.stack.state is not READY:
            world.advance(0.05)
        ends(world, CloseKind.LOST, code=1011)

    assert world.now - world.dials[0] > 3


def test_no_reconnect_where_it_is_not_wanted():
    """`auto_reconnect=False`: the loss of the link is the end."""
    world = ready(auto_reconnect=False)

    world.lose("reset by peer")

    assert (world.stack.state, world.stack.failure.kind) == (FAILED, FailureKind.LOST)
    assert "reset by peer" in world.stack.failure.message


def test_peer_that_asks_to_be_left_alone_is():
    """Retry-After: no dial before."""
    world = framed()

    ends(world, CloseKind.LOST, code=503, retry_after=20.0)
    world.advance(19.9)
    assert len(world.dials) == 1
    world.advance(0.2)

    assert (len(world.dials), world.stack.state) == (2, READY)


# --- forgotten, displaced ---


def test_forgotten_is_dialed_again_three_times_a_minute():
    """A hub that keeps losing the session is not hammered: earlier frames may have run each time."""
    world = framed()
    start = world.now

    for _ in range(5):
        ends(world, CloseKind.FORGOTTEN, code=409)
        while world.stack.state is not READY:
            world.advance(1)

    redials = [at - start for at in world.dials[1:]]
    assert redials[:3] == [0, 0, 0]
    assert redials[3] >= 60 and len(redials) == 5
    assert all(late - early >= 60 for early, late in zip(redials, redials[3:], strict=False))


@pytest.mark.parametrize("keys", [True, False])
def test_forgotten_with_unproven_keys_is_a_refusal(keys):
    """A hub that takes the handshake and knows nothing of it afterwards does not want us; else this would loop.

    One that restarted in the middle of the handshake has said nothing about us.
    """
    world = World(links=FrameLinks())
    world.hub.proves, world.held = not keys, not keys
    world.open()
    world.held = False

    ends(world, CloseKind.FORGOTTEN, code=409)

    assert world.stack.state is (FAILED if keys else READY)
    assert not keys or world.stack.failure.kind is FailureKind.CLIENT_KEY_REJECTED


def test_hello_in_clear_is_a_hub_that_forgot():
    """On carriers with re-hello: the session ends and begins anew, nothing is sent again."""
    world = framed()
    world.ask(e.Utterance(text="once"))
    fresh = World(links=FrameLinks(), hub=Hub(hub_side(peer="agent::2::client::session"))).open()
    hello = next(event for event in fresh.got(e.HubHello))
    world.links.hubs[-1].send(clear_frame(hello, text=True), world.now)
    world.drive()

    (waiting,) = [changed for changed in world.got(StateChanged) if changed.state is WAITING]
    assert waiting.failure.kind is FailureKind.FORGOTTEN
    assert (len(world.dials), len(world.hub.utterances())) == (2, 1)
    assert world.got(e.Closed)[0].kind is CloseKind.FORGOTTEN


def test_displaced_once_is_tried_again_twice_is_the_end():
    """Two displacements within 30 s are another program with our key, until a user opens the session again."""
    world = framed()
    ends(world, CloseKind.DISPLACED)
    assert world.stack.state is READY
    world.advance(29)

    ends(world, CloseKind.DISPLACED)

    assert (world.stack.state, world.stack.failure.kind) == (SessionState.DISPLACED, FailureKind.DISPLACED)
    assert "identity of its own" in world.stack.failure.hint
    world.advance(3600)
    assert len(world.dials) == 2
    for _ in range(2):  # an open session counts from the beginning
        world.open()
        ends(world, CloseKind.DISPLACED)
        assert world.stack.state is READY
        ends(world, CloseKind.DISPLACED)
        assert world.stack.state is SessionState.DISPLACED


def test_link_that_closes_unasked_is_lost():
    """No carrier does it, but if one did there would be a pause between the dials."""
    world = framed()
    for _ in range(3):
        ends(world, CloseKind.CLOSED)

    assert (world.stack.state, world.stack.failure.kind) == (WAITING, FailureKind.CLOSED)
