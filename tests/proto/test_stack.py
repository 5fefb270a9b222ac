"""The client stack against a hub, both roles of the real machines, over the real WSS link, in memory."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.proto.world import CRYPTO_KEY, PIN, Hub, World, config, echo, hub_side, trust
from thalovant_proto import events as e
from thalovant_proto.dial import DialFault
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.failures import FailureKind
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import (
    AskEnded,
    AskFailed,
    AskFault,
    AskPiece,
    Connected,
    Delivered,
    SendFailed,
    Sent,
    SessionState,
    StateChanged,
    TrustChanged,
)
from thalovant_proto.secret import Secret

GENERATIONS = [0, 1, 3]


def ready(generation: int = 3, **options: object) -> World:
    """A world whose client is connected to an echoing hub."""
    world = World(generation, **options)  # type: ignore[arg-type]
    world.hub.answer = echo
    return world.open()


def states(world: World) -> list[SessionState]:
    """The states that the application was told, in order."""
    return [changed.state for changed in world.got(StateChanged)]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("cut", [None, 1, 3])
def test_ask_is_answered_however_the_bytes_are_cut(generation, cut):
    """The main job: open, ask, hear, close, in every generation."""
    world = ready(generation, cut=cut)

    ask = world.stack.ask(e.Utterance(text="turn on the lamp"), world.now)
    world.drive()

    (ended,) = world.got(AskEnded)
    assert (ask, True, None) == (ended.ask, ended.handled, ended.failure)
    assert ["echo: turn on the lamp"] == [piece.text for piece in ended.pieces]
    assert e.Generation(generation) is world.stack.generation
    world.stack.close(world.now)
    world.advance(3)
    assert SessionState.CLOSED is world.stack.state
    assert [SessionState.CONNECTING, SessionState.HANDSHAKE, SessionState.READY] == states(world)[:3]


def test_ask_before_the_connection_waits_for_it():
    """What is asked while dialing is sent when the session is up."""
    world = World()
    world.hub.answer = echo
    world.stack.open(world.now)

    world.stack.ask(e.Utterance(text="early"), world.now)
    world.drive()

    assert ["echo: early"] == [piece.text for piece in world.got(AskEnded)[0].pieces]


def test_nothing_can_be_sent_while_closed():
    """A closed session refuses; the message names the state."""
    world = World()

    with pytest.raises(LocalProtocolError, match="idle"):
        world.stack.send(e.Utterance(text="hi"), world.now)
    with pytest.raises(LocalProtocolError, match="open it first"):
        world.stack.ask(e.Utterance(text="hi"), world.now)


def test_first_contact_learns_and_the_second_uses_it():
    """XXpsk2 once, then KKpsk0 without a derivation; what was learnt came out as the trust."""
    first = ready()
    learnt = first.got(TrustChanged)[-1].trust
    assert 1 == first.derivations

    hub = Hub(evolve(first.hub.side, pinned=_static_of(first)), answer=echo)
    second = World(hub=hub, knows=learnt).open()

    assert (True, {PIN}) == (learnt.noise_seen, set(learnt.pins))
    (completed,) = second.got(e.HandshakeCompleted)
    assert ("KKpsk0", 0) == (completed.pattern, second.derivations)
    assert [] == second.got(TrustChanged)


def _static_of(world: World) -> bytes:
    keys = [event.peer_static for event in world.hub.heard if isinstance(event, e.HandshakeCompleted)]
    assert keys[0] is not None
    return keys[0]


def pinned_world(**hub_changes: object) -> World:
    """A client and a hub that met before."""
    first = ready()
    hub = Hub(evolve(first.hub.side, pinned=_static_of(first), **hub_changes), answer=echo)
    return World(hub=hub, knows=first.got(TrustChanged)[-1].trust)


def test_failed_kk_is_tried_once_with_xx():
    """A hub that lost our PSK's password refuses KK; the one retry shows both keys again and finds the reason."""
    world = pinned_world(password=Secret("another password entirely"))

    world.open()
    world.advance(5)

    assert FailureKind.WRONG_PASSWORD is world.stack.failure.kind
    assert 2 == world.dials
    assert SessionState.FAILED is world.stack.state


def test_changed_hub_key_stops_with_both_fingerprints():
    """S4: the pinned key is never replaced by itself."""
    world = pinned_world(static_key=Secret(b"\x07" * 32))

    world.open()
    world.advance(5)

    failure = world.stack.failure
    assert FailureKind.HUB_KEY_CHANGED is failure.kind and failure.final
    assert failure.cause.expected != failure.cause.received
    assert failure.cause.expected in failure.message and failure.cause.received in failure.message


def test_hub_that_pinned_another_client_key_is_a_verdict():
    """The handshake completes, the hub closes: the client key is rejected, not the network."""
    world = World(hub=Hub(hub_side(pinned=b"\x09" * 32)))

    world.open()

    assert FailureKind.CLIENT_KEY_REJECTED is world.stack.failure.kind
    assert SessionState.FAILED is world.stack.state


def test_hub_once_seen_with_noise_is_never_spoken_to_with_less():
    """S4: the offer without noise is refused, whatever the carrier."""
    world = World(1, knows=trust().with_noise_seen())

    world.open()

    assert FailureKind.DOWNGRADE is world.stack.failure.kind
    assert [] == world.got(e.HandshakeCompleted)


def test_unknown_access_key_is_refused():
    """The hub closes before it says hello: that is about the access key."""
    world = World(client=config(access_key=Secret("unknown")))

    world.open()

    assert FailureKind.REFUSED is world.stack.failure.kind
    assert "access key" in world.stack.failure.message
    assert 1 == world.dials


@pytest.mark.parametrize(("generation", "wrong"), [(1, "password"), (3, "password")])
def test_wrong_password(generation, wrong):
    """v1: the hub's check; v3: ours. Both stop and say so."""
    world = World(generation, client=config(generation, password=Secret("not the password")))

    world.open()

    assert world.stack.failure.kind in (FailureKind.WRONG_PASSWORD, FailureKind.REFUSED)
    assert "password" in world.stack.failure.message + world.stack.failure.hint


def test_wrong_crypto_key_is_noticed_the_second_time():
    """A v0 hub only hangs up; twice in a row at once after our first sealed frame is a verdict."""
    world = World(0, client=config(0, crypto_key=Secret(CRYPTO_KEY[::-1])))

    world.open()
    world.advance(2)

    assert FailureKind.WRONG_CRYPTO_KEY is world.stack.failure.kind
    assert 2 == world.dials


def test_missing_credentials_name_what_the_hub_wants():
    """No password for a v3 hub."""
    world = World(client=config(password=None))

    world.open()

    assert FailureKind.CREDENTIALS_MISSING is world.stack.failure.kind
    assert "password" in world.stack.failure.hint


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_first_connection_is_tried_as_often_as_told(attempts):
    """`attempts` more tries, then the reason."""
    world = World(client=config(attempts=attempts))
    world.hub.listening = False

    world.open()
    world.advance(60)

    assert 1 + attempts == world.dials
    assert (SessionState.FAILED, FailureKind.CONNECT) == (world.stack.state, world.stack.failure.kind)


def test_certificate_faults_are_not_tried_again():
    """Nobody's patience mends a certificate."""
    world = World()
    world.hub.listening, world.hub.fault = False, DialFault.CERTIFICATE_UNTRUSTED

    world.open()

    assert (1, True) == (world.dials, world.stack.failure.final)
    assert "ca_file" in world.stack.failure.hint


def test_open_again_after_failure():
    """A stopped session starts anew when it is opened."""
    world = World(client=config(attempts=0))
    world.hub.answer = echo
    world.hub.listening = False
    world.open()

    world.hub.listening = True
    world.open()

    assert SessionState.READY is world.stack.state
    assert world.stack.failure is None


def test_reconnects_at_once_and_keeps_subscriptions():
    """A lost link is dialed again without delay; who listens hears the next event."""
    world = ready()
    world.stack.subscribe("speak", world.now)

    world.lose()
    world.hub.says(e.Speak(text="welcome back"), world.now)
    world.drive()

    assert 2 == world.dials
    assert ["welcome back"] == [one.event.text for one in world.got(Delivered)]
    assert SessionState.WAITING in states(world)


def test_outage_is_waited_for_in_growing_steps():
    """Half a second at most while an outage is young, 30 s when it is old, never faster than the ladder."""
    world = ready()
    world.hub.listening = False
    world.lose()
    young = world.advance(10).dials
    old = world.advance(600).dials - young

    assert 20 <= young <= 60
    assert 20 <= old <= 60
    world.hub.listening = True
    world.advance(31)
    assert SessionState.READY is world.stack.state


def test_no_reconnect_where_it_is_not_wanted():
    """`auto_reconnect=False`: the loss of the link is the end."""
    world = ready(auto_reconnect=False)

    world.lose()

    assert (SessionState.FAILED, FailureKind.LOST) == (world.stack.state, world.stack.failure.kind)


def test_drained_utterance_is_not_sent_again():
    """Delivery unknown: the ask fails with the link, and the hub hears it at most once."""
    world = ready()
    world.hub.answer = lambda event: ()
    world.stack.ask(e.Utterance(text="open the door"), world.now)
    world.drive()

    world.lose()

    (failed,) = world.got(AskFailed)
    assert (AskFault.LINK, "unknown") == (failed.fault, failed.delivery)
    assert 1 == len([event for event in world.hub.heard if isinstance(event, e.Utterance)])


def test_utterance_in_our_buffer_is_sent_after_reconnect():
    """Delivery no: nothing left this side, so it goes out on the next link."""
    world = ready()
    world.hears = False
    world.stack.ask(e.Utterance(text="later"), world.now)
    world.drive()

    world.hears = True
    world.stack.eof(world.now, "reset")
    world._socket = None
    world.drive()

    assert ["echo: later"] == [piece.text for piece in world.got(AskEnded)[0].pieces]


def test_idempotent_asks_are_sent_again_with_the_same_request_id():
    """Opt-in: the second hub connection hears the same request id."""
    world = ready(idempotent=True)
    world.hub.answer = lambda event: ()
    world.stack.ask(e.Utterance(text="what time is it"), world.now)
    world.drive()

    world.hub.answer = echo
    world.lose()

    heard = [event.request_id for event in world.hub.heard if isinstance(event, e.Utterance)]
    assert 2 == len(heard) and 1 == len(set(heard))
    assert 1 == len(world.got(AskEnded))


def test_speech_that_was_heard_survives_the_link():
    """A partial reply is a reply, marked as not handled."""
    world = ready()
    world.hub.answer = lambda event: echo(event)[:1]
    world.stack.ask(e.Utterance(text="long story"), world.now)
    world.drive()

    world.lose()

    (ended,) = world.got(AskEnded)
    assert (False, 1) == (ended.handled, len(ended.pieces))


def test_close_sends_what_is_queued():
    """The last utterance leaves before the goodbye."""
    world = ready()

    world.stack.send(e.Utterance(text="good night"), world.now)
    world.stack.close(world.now)
    world.advance(3)

    assert ["good night"] == [event.text for event in world.hub.heard if isinstance(event, e.Utterance)]
    assert (SessionState.CLOSED, 1000) == (world.stack.state, world.hub.closed[-1].code)


def test_close_on_a_legacy_hub_reads_on_until_handled():
    """A hub of that generation loses its bus when a client leaves with replies pending."""
    world = ready(1)
    asked: list[e.Event] = []
    world.hub.answer = lambda event: asked.append(event) or ()
    world.stack.send(e.Utterance(text="slow"), world.now)
    world.drive()

    world.stack.close(world.now)
    world.advance(1)
    assert SessionState.CLOSING is world.stack.state
    (utterance,) = [event for event in asked if isinstance(event, e.Utterance)]
    world.hub.says(e.UtteranceHandled(context=utterance.context), world.now)
    world.advance(0.1)

    assert SessionState.CLOSED is world.stack.state


def test_close_on_a_legacy_hub_does_not_wait_for_ever():
    """Two seconds, then goodbye."""
    world = ready(1)
    world.hub.answer = lambda event: ()
    world.stack.send(e.Utterance(text="never"), world.now)
    world.drive()

    world.stack.close(world.now)
    world.advance(2.1)

    assert SessionState.CLOSED is world.stack.state


def test_close_at_once_waits_for_nothing():
    """`timeout=0`: the goodbye is written, the answer to it is not awaited."""
    world = ready()
    world.hub.answer = lambda event: ()
    world.stack.ask(e.Utterance(text="whatever"), world.now)
    world.drive()

    world.stack.close(world.now, timeout=0)
    world.drive()

    assert SessionState.CLOSED is world.stack.state
    assert AskFault.LINK is world.got(AskFailed)[0].fault
    assert FailureKind.CLOSED is world.got(AskFailed)[0].failure.kind


@pytest.mark.parametrize("when", ["idle", "dialing", "waiting"])
def test_close_without_a_connection(when):
    """Closing is the same wherever the session is; queued messages are told."""
    world = World()
    if when != "idle":
        world.hub.listening = when == "dialing"
        world.stack.open(world.now)
        world.stack.send(e.Utterance(text="lost"), world.now)
        if when == "waiting":
            world.drive()

    world.stack.close(world.now)
    world.drive()

    assert world.stack.state in (SessionState.IDLE, SessionState.CLOSED, SessionState.FAILED)
    assert (when != "idle") == bool(world.got(SendFailed))


def test_unproven_hub_counts_as_connected_after_a_moment():
    """A v0 hub that says nothing: connected after 750 ms, not proven."""
    world = World(0).open()
    assert [] == world.got(Connected)

    world.advance(0.75)

    assert [False] == [connected.proven for connected in world.got(Connected)]
    assert not world.stack.proven


def test_hub_that_never_speaks_is_a_timeout_not_a_verdict():
    """The handshake deadline names the state and is tried again."""
    world = World(client=config(attempts=0, limits=Limits(handshake_time=5)))
    world.held = True
    world.open()

    world.advance(10)

    assert FailureKind.HANDSHAKE_TIMEOUT is world.stack.failure.kind
    assert not world.stack.failure.final


def test_late_derivations_are_dropped():
    """The result of a derivation for a connection that is gone changes nothing."""
    world = World()
    world.held = True
    world.open()
    (effect,) = world.stack.effects()

    world.lose()
    world.stack.effect_done(effect.id, Secret(b"\0" * 32), world.now)
    world.held = False
    world.drive()

    assert SessionState.READY is world.stack.state


def test_legacy_keys_are_renewed_when_nobody_waits():
    """Every nonce of a legacy session is remembered, so it must end: quietly, between asks."""
    world = ready(1, limits=Limits(legacy_frames=20))

    for number in range(12):
        world.stack.ask(e.Utterance(text=str(number)), world.now)
        world.drive()

    assert [f"echo: {number}" for number in range(12)] == [one.pieces[0].text for one in world.got(AskEnded)]
    assert world.dials > 1
    assert [] == world.got(AskFailed)


def test_stream_of_pieces_comes_before_the_end():
    """Pieces are told one by one, in order."""
    world = ready()
    world.hub.answer = lambda event: [*echo(event)[:1], *echo(event)]

    world.stack.ask(e.Utterance(text="twice"), world.now)
    world.drive()

    kinds = [type(outcome) for outcome in world.outcomes if isinstance(outcome, AskPiece | AskEnded)]
    assert [AskPiece, AskPiece, AskEnded] == kinds


def test_sent_messages_are_told():
    """`Sent` names the token; over WSS nobody knows more."""
    world = ready()

    token = world.stack.send(e.Bus(type="status", data={"state": "ready"}), world.now)
    world.drive()

    assert [(token, "unknown")] == [(sent.token, sent.delivery) for sent in world.got(Sent)]


def test_message_that_cannot_be_framed_is_told():
    """Metadata too long for a binary frame: the one message fails, the session lives."""
    world = ready()

    token = world.stack.send(e.Binary(payload=b"x", metadata={"k": "v" * 300}), world.now)
    world.drive()

    assert [(token, "no")] == [(failed.token, failed.delivery) for failed in world.got(SendFailed)]
    assert world.stack.ready


def test_messages_carry_what_hubs_need():
    """Source, destination and session are filled in, what the caller gave wins."""
    world = ready()

    world.stack.send(e.Utterance(text="a", context={"source": "me", "session": {"lang": "pt"}}), world.now)
    world.drive()

    (heard,) = [event for event in world.hub.heard if isinstance(event, e.Utterance)]
    assert ("me", "HiveMind", "tests/1") == (
        heard.context["source"], heard.context["destination"], heard.context["platform"],
    )  # fmt: skip
    assert {"lang": "pt", "session_id": "session-of-the-client", "site_id": "site"} == heard.context["session"]


def test_queue_is_bounded():
    """Messages that wait for a connection have a limit; the caller is told at once."""
    world = World(client=config(queue=2))
    world.hub.listening = False
    world.stack.open(world.now)
    world.stack.send(e.Utterance(text="1"), world.now)
    world.stack.send(e.Utterance(text="2"), world.now)

    with pytest.raises(LocalProtocolError, match="2 messages"):
        world.stack.send(e.Utterance(text="3"), world.now)


def test_cancelled_ask_is_silent():
    """Nothing is told of an ask that was given up; how far it came is the answer."""
    world = ready()
    world.hub.answer = lambda event: ()
    ask = world.stack.ask(e.Utterance(text="never mind"), world.now)
    world.drive()

    assert "unknown" == world.stack.cancel(ask)
    world.advance(60)

    assert [] == world.got(AskFailed) + world.got(AskEnded)
    assert world.stack.cancel(ask) is None


def test_cancelled_before_it_left_is_not_sent():
    """A queued message that is given up never travels."""
    world = World()
    world.stack.open(world.now)
    token = world.stack.send(e.Utterance(text="oops"), world.now)

    assert "no" == world.stack.cancel(token)
    world.drive()

    assert [] == [event for event in world.hub.heard if isinstance(event, e.Utterance)]


def test_binary_travels_both_ways():
    """Raw bytes with their subtype and metadata."""
    world = ready()
    world.hub.answer = lambda event: (
        [e.Binary(bin_type=6, payload=event.payload, metadata=event.metadata)] if isinstance(event, e.Binary) else []
    )

    world.stack.send(e.Binary(bin_type=1, payload=bytes(range(256)), metadata={"sample_rate": 16000}), world.now)
    world.drive()

    (back,) = world.got(e.Binary)
    assert ("tts_audio", bytes(range(256)), {"sample_rate": 16000}) == (back.name, back.payload, back.metadata)
