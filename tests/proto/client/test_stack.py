"""The client stack against a hub, both roles of the real machines, over the real WSS link, in memory.

The main job, what is learnt and what travels. Drivers and the session's rules have files of their own.
"""

from __future__ import annotations

import pytest

from tests.proto.links.frame_link import FrameLinks
from tests.proto.links.networks import PIN
from tests.proto.world import Entropy, World, echo, met_before, ready, states
from thalovant_proto import events as e
from thalovant_proto.carrier import Carrier
from thalovant_proto.failures import FailureKind
from thalovant_proto.outcomes import (
    AskEnded,
    AskHandled,
    AskPiece,
    Connected,
    SendFailed,
    Sent,
    SessionState,
    StateChanged,
    TrustChanged,
)

GENERATIONS = [0, 1, 3]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("cut", [None, 1, 3])
def test_ask_is_answered_however_the_bytes_are_cut(generation, cut):
    """The main job: open, ask, hear, close, in every generation."""
    world = ready(generation, cut=cut)

    ask = world.ask(e.Utterance(text="turn on the lamp"))

    (ended,) = world.got(AskEnded)
    assert (ended.ask, ended.handled, ended.failure) == (ask, True, None)
    assert world.texts() == [["echo: turn on the lamp"]]
    assert world.stack.generation is e.Generation(generation)
    world.stack.close(world.now)
    world.advance(3)
    assert states(world) == [
        SessionState.CONNECTING,
        SessionState.HANDSHAKE,
        SessionState.READY,
        SessionState.CLOSING,
        SessionState.CLOSED,
    ]


def test_ask_before_the_connection_waits_for_it():
    """What is asked while dialing is sent when the session is up."""
    world = World()
    world.hub.answer = echo
    world.stack.open(world.now)

    world.ask(e.Utterance(text="early"))

    assert world.texts() == [["echo: early"]]


def test_what_is_said_first_happened_first():
    """Outcomes come in the order of their causes: the event, then what the session makes of it."""
    world = ready()

    world.ask(e.Utterance(text="hi"))

    kinds = [type(outcome) for outcome in world.outcomes]
    assert [
        kind for kind in kinds[kinds.index(e.HandshakeCompleted) :] if kind not in (e.Proven, TrustChanged, Connected)
    ][:3] == [e.HandshakeCompleted, StateChanged, e.Rendezvous]
    assert kinds.index(e.Proven) < kinds.index(TrustChanged) < kinds.index(Connected) < kinds.index(Sent)
    assert kinds[kinds.index(Sent) :] == [Sent, e.Speak, AskPiece, e.UtteranceHandled, AskHandled, AskEnded]


@pytest.mark.parametrize("pieces", [True, False])
def test_stream_of_pieces_comes_before_the_end(pieces):
    """Pieces are told one by one, in order, or with the end only; that has all of them."""
    world = ready()
    world.hub.answer = lambda event: [*echo(event)[:1], *echo(event)]

    world.ask(e.Utterance(text="twice"), pieces=pieces)

    told = [outcome for outcome in world.outcomes if isinstance(outcome, AskPiece | AskEnded)]
    assert [type(outcome) for outcome in told] == [AskPiece, AskPiece, AskEnded][0 if pieces else 2 :]
    assert len(told[-1].pieces) == 2


@pytest.mark.parametrize("wire_events", [True, False])
def test_what_is_said_is_told_once(wire_events):
    """As what was asked or subscribed to. A watcher of the wire has all events, others what nothing else tells."""
    world = World(wire_events=wire_events)
    others = [e.Binary(payload=b"x"), e.Query(payload={"a": 1})]
    world.hub.answer = lambda event: [*echo(event), *others] if isinstance(event, e.Utterance) else []
    world.open()
    world.stack.ask(e.Utterance(text="hi"), world.now)
    world.drive()

    kinds = [type(outcome) for outcome in world.outcomes if isinstance(outcome, e.Event)]

    always = [e.HandshakeCompleted, e.Proven, e.Binary, e.Query]
    assert [kind for kind in kinds if kind in always] == always
    assert (e.Speak in kinds, e.HubHello in kinds, e.UtteranceHandled in kinds) == (wire_events,) * 3


# --- what is learnt ---


def test_first_contact_learns_and_the_second_uses_it():
    """XXpsk2 once, then KKpsk0 without a derivation; what was learnt came out as the trust."""
    first = ready()
    learnt = first.got(TrustChanged)[-1].trust
    assert (first.derivations, first.stack.trust) == (1, learnt)

    second = met_before().open()

    assert (learnt.noise_seen, set(learnt.pins)) == (True, {PIN})
    (completed,) = second.got(e.HandshakeCompleted)
    assert (completed.pattern, second.derivations) == ("KKpsk0", 0)
    assert second.got(TrustChanged) == []


def test_nothing_is_learnt_before_the_proof():
    """A hub that never shows that it took us is not remembered."""
    world = World()
    world.hub.proves = False

    world.open().advance(5)

    assert world.got(TrustChanged) == []
    assert not world.stack.proven


@pytest.mark.parametrize("generation", [0, 3])
def test_unproven_hub_counts_as_connected_after_a_moment(generation):
    """A hub that says nothing: connected after 750 ms, not proven; told once, also if the proof comes later.

    With v1 the hub's password proof is the proof.
    """
    world = World(generation)
    world.hub.proves = False
    world.open()
    assert world.got(Connected) == []

    world.advance(0.75)

    assert [connected.proven for connected in world.got(Connected)] == [False]
    assert (world.stack.ready, world.stack.proven) == (True, False)
    world.send(e.Utterance(text="so?"))
    world.says(e.Speak(text="here I am"))
    assert world.stack.proven
    assert len(world.got(Connected)) == 1
    assert [connected.proven for connected in ready(1).got(Connected)] == [True]


def test_presence_is_shown_once_the_hub_is_proven():
    """MQTT: the layout on which the hub answered is remembered, and the client announced, not before."""
    world = World(links=FrameLinks())
    world.hub.proves = False
    world.open()
    (link,) = world.links.clients
    assert (link.announced, world.stack.trust.mqtt_layout) == ([], None)

    world.says(e.Speak(text="a proof as good as any"))

    assert link.announced == [world.now]
    assert world.got(TrustChanged)[-1].trust.mqtt_layout == "in_out"


def test_a_hub_that_ends_unseen_is_dialed_again():
    """MQTT: the broker lives on, so a hub that answers no longer is a lost link, and silence is not the last word."""
    world = World(links=FrameLinks(carrier=Carrier(rehello=True, secure=True, receipts=True, idle=100.0))).open()
    world.hub.proves = False  # nor does it answer anything else

    world.advance(119)
    assert len(world.links.clients) == 1
    world.advance(2)

    (waiting,) = [change for change in world.got(StateChanged) if change.state is SessionState.WAITING]
    assert (waiting.failure.kind, True) == (FailureKind.LOST, "no longer answers" in waiting.failure.message)
    assert len(world.links.clients) == 2


# --- what travels ---


@pytest.mark.parametrize(
    ("generation", "given", "sent"),
    [
        (3, {"lang": "pt"}, {"lang": "pt", "session_id": "session-of-the-client", "site_id": "site"}),
        # legacy hubs close on `default`, and on none
        *((1, given, None) for given in (None, "text", {}, {"session_id": ""}, {"session_id": "default"})),
    ],
)
def test_messages_carry_what_hubs_need(generation, given, sent):
    """Source, destination and session are filled in, what the caller gave wins."""
    world = ready(generation)

    world.send(e.Utterance(text="a", context={"source": "me", "session": given}))

    (heard,) = world.hub.utterances()
    routing = {name: heard.context[name] for name in ("source", "destination", "platform")}
    assert routing == {"source": "me", "destination": "HiveMind", "platform": "tests/1"}
    assert heard.session_id == "session-of-the-client"
    assert sent in (None, heard.context["session"])
    assert "request_id" not in heard.context


def test_binary_travels_both_ways():
    """Raw bytes with their subtype and metadata."""
    world = ready()
    world.hub.answer = lambda event: (
        [e.Binary(bin_type=6, payload=event.payload, metadata=event.metadata)] if isinstance(event, e.Binary) else []
    )

    world.send(e.Binary(bin_type=1, payload=bytes(range(256)), metadata={"sample_rate": 16000}))

    (back,) = world.got(e.Binary)
    assert (back.name, back.payload, back.metadata) == ("tts_audio", bytes(range(256)), {"sample_rate": 16000})


@pytest.mark.parametrize("generation", GENERATIONS)
def test_message_that_cannot_be_framed_is_told(generation):
    """Metadata too long for a binary frame, compressed too: the one message fails, the session lives."""
    world = ready(generation)

    token = world.stack.send(e.Binary(payload=b"x", metadata={"k": Entropy("noise")(600).hex()}), world.now)
    world.ask(e.Utterance(text="and now?"))

    failed = [(failed.token, failed.delivery, failed.failure.kind) for failed in world.got(SendFailed)]
    assert failed == [(token, "no", FailureKind.PROTOCOL)]
    assert world.texts() == [["echo: and now?"]]
    assert len(world.dials) == 1
