"""The same seeds give the same session, and no cut of the bytes gives another one: C1 and the small sibling of C5."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proto.frame_link import FrameLinks
from tests.proto.world import World, WssLinks, config, echo
from thalovant_proto import events as e
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import AskEnded, AskFailed, SessionState

GENERATIONS = [0, 1, 3]


def day(generation: int, *, cut: int | None, wss: bool, seed: int = 0) -> World:
    """Some hours in the life of a client: asks, events, a long message, losses, an outage, a renewal, the end."""
    dice = random.Random(seed)
    links: Any = WssLinks() if wss else FrameLinks(window=3)
    client = config(generation, limits=Limits(legacy_frames=60), idempotent=bool(seed % 2))
    world = World(generation, cut=cut, client=client, links=links)
    world.hub.answer = echo
    world.open()
    world.stack.subscribe(e.SPEAK, world.now)
    for number in range(30):
        match dice.randrange(8):
            case 0:
                world.lose()
            case 1:
                world.hub.listening = not world.hub.listening
            case 2:
                world.hub.says(e.Speak(text=f"note {number}" * dice.choice([1, 20_000])), world.now)
            case 3:
                world.advance(dice.choice([0.1, 3.0, 50.0]))
            case 4:
                world.stack.send(e.Binary(payload=bytes(dice.choice([10, 100_000]))), world.now)
            case _:
                world.stack.ask(e.Utterance(text=f"q{number}"), world.now)
        world.drive()
    world.hub.listening = True
    world.advance(60)
    world.stack.close(world.now)
    return world.advance(10)


@pytest.mark.parametrize("wss", [True, False], ids=["wss", "frames"])
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_same_seeds_same_session(generation, wss, seed):
    """Outcomes, their times, what the hub heard. Where no random mask is on the bytes, these too."""
    first, second = (day(generation, cut=None, wss=wss, seed=seed) for _ in range(2))

    assert first.outcomes == second.outcomes
    assert first.told_at == second.told_at
    assert first.hub.outcomes == second.hub.outcomes
    assert wss or first.written == second.written
    assert SessionState.CLOSED is first.stack.state
    asks = [one.ask for one in first.outcomes if isinstance(one, AskEnded | AskFailed)]
    assert len(asks) == len(set(asks)) > 5


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(60, 5000), seed=st.integers(0, 3), generation=st.sampled_from(GENERATIONS), wss=st.booleans())
def test_any_cut_gives_the_same_session(cut, seed, generation, wss):
    """However the bytes of both directions are cut, the same outcomes come in the same order at the same times."""
    whole = day(generation, cut=None, wss=wss, seed=seed)

    pieces = day(generation, cut=cut, wss=wss, seed=seed)

    assert whole.outcomes == pieces.outcomes
    assert whole.told_at == pieces.told_at
    assert whole.hub.outcomes == pieces.hub.outcomes


@pytest.mark.parametrize("wss", [True, False], ids=["wss", "frames"])
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("cut", [1, 2, 7])
def test_single_bytes_give_the_same_session(generation, cut, wss):
    """The smallest pieces, for a session that is short: handshake, asks, events, a loss, the end."""

    def session(cut: int | None) -> World:
        world = World(generation, cut=cut, links=WssLinks() if wss else FrameLinks())
        world.hub.answer = echo
        world.open()
        for text in ("a", "b"):
            world.stack.ask(e.Utterance(text=text), world.now)
        world.drive()
        world.lose()
        world.stack.ask(e.Utterance(text="c"), world.now)
        world.drive()
        world.hub.says(e.Speak(text="unasked"), world.now)
        world.stack.close(world.now)
        return world.advance(5)

    whole, pieces = session(None), session(cut)

    assert whole.outcomes == pieces.outcomes
    assert whole.hub.outcomes == pieces.hub.outcomes
    assert [["echo: a"], ["echo: b"], ["echo: c"]] == pieces.texts()
    assert wss or whole.written == pieces.written
