"""A client stack, a broker and a hub: what one end does meets what the other does."""

from __future__ import annotations

import pytest

from tests.proto.links.mqtt.network import MqttNetwork
from tests.proto.world import World, echo
from thalovant_proto import events as e
from thalovant_proto.failures import FailureKind
from thalovant_proto.outcomes import AskFailed, SendFailed, SessionState

GENERATIONS = [0, 1, 3]


def ready(generation: int = 3) -> World:
    """A client that has its session, over a broker, with a hub that echoes."""
    world = World(generation, links=MqttNetwork())
    world.hub.answer = echo
    return world.open()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_hub_that_lost_its_clients_says_so_to_the_next_frame(generation: int) -> None:
    """The broker stays, so nothing else tells the client: that ask fails at once, the next one has its reply."""
    world = ready(generation)
    world.stack.ask(e.Utterance(text="before"), world.now)
    world.drive().restart_hub()

    world.ask(e.Utterance(text="lost"))

    (failed,) = world.got(AskFailed)
    assert failed.failure.kind is FailureKind.FORGOTTEN
    assert world.when(AskFailed) == world.now
    world.stack.ask(e.Utterance(text="after"), world.now)
    world.advance(2)
    assert world.texts() == [["echo: before"], ["echo: after"]]


def test_a_goodbye_that_comes_with_the_proof() -> None:
    """In the same bytes: the link is over before the proof has been looked at, and nothing is announced."""
    world = World(links=MqttNetwork())
    world.hub.proves = False
    world.open()

    world.hub.peer.send(e.Rendezvous(payload={}), world.now)
    world.hub.peer.close(world.now, code=1001)
    world.advance(1)

    assert world.stack.state is SessionState.READY
    assert (len(world.got(e.Proven)), len(world.hub.peers)) == (1, 2)


def test_what_the_socket_never_took_has_not_travelled() -> None:
    """Nothing was written until the close was due: the goodbye goes, and what waited is told to have stayed here."""
    world = ready()
    world.hears = False
    token = world.stack.send(e.Utterance(text="at last"), world.now)

    world.stack.close(world.now, timeout=3)
    world.advance(4)

    assert world.stack.state is SessionState.CLOSED
    assert world.hub.utterances() == []
    assert [(failed.token, failed.delivery) for failed in world.got(SendFailed)] == [(token, "no")]
