"""The same seeds give the same session, and no cut of the bytes gives another one: C1 and the small sibling of C5."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from attrs import asdict
from hypothesis import given, strategies as st

from tests.examples import examples
from tests.proto.links.frame_link import FrameLinks
from tests.proto.links.https.https_network import HttpsNetwork
from tests.proto.links.mqtt.network import MqttNetwork
from tests.proto.links.networks import Network, WssLinks
from tests.proto.world import World, config, echo
from thalovant_proto import events as e
from thalovant_proto.errors import ProtocolError
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import AskEnded, AskFailed, SessionState

pytestmark = pytest.mark.untraced
GENERATIONS = [0, 1, 3]
OVER = (SessionState.FAILED, SessionState.DISPLACED)
NETWORKS: dict[str, Callable[[], Network]] = {
    "wss": lambda: WssLinks(),
    "frames": lambda: FrameLinks(window=3),
    "https": HttpsNetwork,
    "mqtt": MqttNetwork,
}


def day(generation: int, *, cut: int | None, network: str, seed: int = 0) -> World:
    """Some hours in the life of a client: asks, events, long messages, renewals, and all that goes wrong."""
    dice = random.Random(seed)
    client = config(generation, limits=Limits(legacy_frames=60), idempotent=bool(seed % 2))
    world = World(generation, cut=cut, client=client, links=NETWORKS[network]())
    world.hub.answer = echo
    world.open().advance(1)
    world.stack.subscribe(e.SPEAK, world.now)
    for number in range(40):
        world.stack.open(world.now)  # if it has given up
        _something_happens(world, dice, number)
        world.drive()
    world.hub.listening = world.hears = True
    world.held = False
    world.links.calm()
    world.stack.open(world.now)
    world.advance(60)
    world.stack.close(world.now)
    return world.advance(10)


def _something_happens(world: World, dice: random.Random, number: int) -> None:
    mishaps = world.links.mishaps
    closing = world.stack.state is SessionState.CLOSING
    match dice.randrange(20):
        case 0:
            world.lose()
        case 1:
            world.hub.listening = not world.hub.listening
        case 2:
            note = e.Speak(text=f"note {number}" * dice.choice([1, 20_000]), context={"request_id": f"note-{number}"})
            world.hub.says(note, world.now)
        case 3:
            world.advance(dice.choice([0.1, 3.0, 50.0]))
        case 4:
            world.wire.breaks(dice.randrange(1, 3000), silently=world.links.notices and dice.random() < 0.5)
        case 5 if world.hub.peers:
            world.hub.peer.close(world.now, code=dice.choice([1001, 1008]))
        case 6:
            world.restart_hub()
        case 7 | 8 if mishaps:
            mishaps[dice.choice(sorted(mishaps))](dice.randrange(1, 1500))
        case 9:
            world.hears = not world.hears
        case 10:
            world.held = not world.held
        case 11 if dice.random() < 0.3:
            world.stack.close(world.now, timeout=dice.choice([0.0, 3.0]))
        case 12 | 13 if not closing:
            world.stack.send(e.Binary(payload=bytes(dice.choice([10, 100_000]))), world.now)
        case _ if not closing:
            world.stack.ask(e.Utterance(text=f"q{number}"), world.now)


def plain(outcomes: list[Any]) -> list[Any]:
    """To be compared: exceptions, of which no two are equal, as their words."""
    return [asdict(one, value_serializer=_words) | {"kind": type(one).__name__} for one in outcomes]


def _words(instance: Any, attribute: Any, value: Any) -> Any:
    return str(value) if isinstance(value, ProtocolError) else value


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_same_seeds_same_session(generation, network, seed):
    """Outcomes, their times, what the hub heard, and every byte."""
    first, second = (day(generation, cut=None, network=network, seed=seed) for _ in range(2))

    assert plain(first.outcomes) == plain(second.outcomes)
    assert first.told_at == second.told_at
    assert plain(first.hub.outcomes) == plain(second.hub.outcomes)
    assert first.written == second.written
    assert first.stack.state in (SessionState.CLOSED, *OVER)
    asks = [one.ask for one in first.outcomes if isinstance(one, AskEnded | AskFailed)]
    assert len(asks) == len(set(asks)) > 5


@examples(30)
@given(
    cut=st.integers(60, 5000),
    seed=st.integers(0, 10**6),
    generation=st.sampled_from(GENERATIONS),
    network=st.sampled_from(sorted(NETWORKS)),
)
def test_any_cut_gives_the_same_session(cut, seed, generation, network):
    """However the bytes of both directions are cut, the same outcomes come in the same order at the same times."""
    whole = day(generation, cut=None, network=network, seed=seed)

    pieces = day(generation, cut=cut, network=network, seed=seed)

    assert plain(whole.outcomes) == plain(pieces.outcomes)
    assert whole.told_at == pieces.told_at
    assert plain(whole.hub.outcomes) == plain(pieces.hub.outcomes)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("cut", [1, 2, 7])
def test_single_bytes_give_the_same_session(generation, cut, network):
    """The smallest pieces, for a session that is short: handshake, asks, events, a loss, the end."""

    def session(cut: int | None) -> World:
        world = World(generation, cut=cut, links=NETWORKS[network]())
        world.hub.answer = echo
        world.open().advance(1)
        for text in ("a", "b"):
            world.stack.ask(e.Utterance(text=text), world.now)
        world.advance(1).lose()
        world.stack.ask(e.Utterance(text="c"), world.now)
        world.advance(1)
        world.hub.says(e.Speak(text="unasked"), world.now)
        world.stack.close(world.now)
        return world.advance(5)

    whole, pieces = session(None), session(cut)

    assert plain(whole.outcomes) == plain(pieces.outcomes)
    assert plain(whole.hub.outcomes) == plain(pieces.hub.outcomes)
    assert pieces.texts() == [["echo: a"], ["echo: b"], ["echo: c"]]
    assert whole.written == pieces.written
