"""A hub behind a broker may end unseen, or forget who is silent: where the carrier says so, it is asked."""

from __future__ import annotations

import pytest

from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind
from thalovant_proto.events import Generation
from thalovant_proto.limits import Limits
from thalovant_proto.state import Role

from .pair import LEGACY_MQTT, MQTT, WSS, Pair

V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE
LIMITS = Limits(slowest=1 << 60)


def at_rest(generation: Generation = V3, *, answers: bool = True, limits: Limits = LIMITS) -> Pair:
    """A session in which all has been said; `answers`: the hub answered the empty rendezvous that proves a v3 one."""
    pair = Pair(generation, carrier=LEGACY_MQTT if generation is V0 else MQTT, limits=limits).drive()
    pair.send(Role.HUB, e.Rendezvous() if answers else e.Speak(text="hello")).drive()
    return pair


def test_a_silent_session_is_asked_for_again_and_again():
    """After so long without a frame of ours, and for as long as the hub answers."""
    pair = at_rest()
    assert pair.client.next_timeout == 100.0

    for _ in range(3):
        assert not pair.wait(99).to_hub
        pair.wait(1).drive()
        assert pair.heard_by_hub[-1] == e.Rendezvous()
        assert pair.client.next_timeout == pair.now + 20
        pair.send(Role.HUB, e.Rendezvous()).drive()
        assert pair.client.next_timeout == pair.now + 100


def test_what_we_say_is_as_good_as_asking():
    """The hub knows that we are there, and would tell if it had forgotten us."""
    pair = at_rest()
    pair.now = 60.0
    pair.send(Role.CLIENT, e.Utterance(text="hello")).drive()

    assert pair.client.next_timeout == 160.0
    pair.wait(99.9)
    assert not pair.to_hub


def test_a_hub_that_answers_no_longer_is_lost():
    """It answered once, and whatever it says would do; from silence follows the end, without anybody's fault."""
    pair = at_rest().wait(100).drive().wait(19.9)
    assert not isinstance(pair.heard_by_client[-1], e.Closed)

    pair.wait(0.1)

    closed = pair.heard_by_client[-1]
    assert isinstance(closed, e.Closed)
    assert (closed.kind, closed.error, closed.reason) == (CloseKind.LOST, None, "the hub no longer answers")
    assert pair.client.next_timeout is None


def test_any_frame_is_an_answer():
    """A busy hub has better things to say. One that never answered is told that we are there all the same."""
    answering = at_rest().wait(100).drive().send(Role.HUB, e.Speak(text="by the way")).drive()
    silent = at_rest(answers=False).wait(100).drive()

    assert silent.heard_by_hub[-1] == e.Rendezvous()
    assert answering.client.next_timeout == silent.client.next_timeout == 200.0


@pytest.mark.parametrize("generation", [V1, V0])
def test_older_hubs_hear_the_hello_again(generation):
    """They know no rendezvous, and a hello may be repeated; no answer is due."""
    pair = at_rest(generation)
    first = next(event for event in pair.heard_by_hub if isinstance(event, e.ClientHello))

    pair.wait(100).drive()

    assert pair.heard_by_hub[-1] == first
    assert pair.client.next_timeout == 200.0


def test_keys_that_are_used_up_ask_for_nothing():
    """They are about to be renewed."""
    pair = Pair(V1, carrier=MQTT, limits=Limits(legacy_frames=2)).drive()
    assert pair.client.used_up < 1
    while pair.client.used_up < 1:
        pair.send(Role.CLIENT, e.Utterance(text="x"))
    pair.to_hub.clear()

    pair.wait(101)

    assert not pair.to_hub


def test_neither_hubs_nor_other_carriers_ask():
    """A hub hears of a client's end from the broker, and sockets have their own pings."""
    assert at_rest().hub.next_timeout is None
    assert Pair(V3, carrier=WSS).drive().client.next_timeout is None


def test_what_travels_slowly_is_waited_for():
    """A hub cannot answer what stands behind megabytes: the question and its deadline count from their arrival."""
    pair = at_rest(limits=Limits(slowest=1000))
    started = pair.now
    for _ in range(2):
        pair.send(Role.CLIENT, e.Utterance(text="x" * 200_000))

    asked = pair.client.next_timeout
    assert started + 100 + 400 < asked < started + 100 + 402
    pair.wait(asked - started)

    answered = pair.client.next_timeout
    assert asked + 20 < answered < asked + 22
