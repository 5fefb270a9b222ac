"""A frame that opens under the keys and holds no message: a client skips it, a hub closes."""

from __future__ import annotations

from typing import Any

import pytest

from thalovant_proto import events as e
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.limits import Limits
from thalovant_proto.state import Role

from .pair import MQTT, Pair

NONSENSE: dict[str, Any] = {
    "data that is a list": e.Bus(type="x", data=[1]),  # type: ignore[arg-type]
    "a payload that is a text": e.Propagate(payload="x"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("generation", Generation)
def test_a_client_goes_on(generation: Generation, message: e.Message) -> None:
    """It is told of each, and what follows arrives."""
    pair = Pair(generation).drive()

    pair.send(Role.HUB, message).send(Role.HUB, message).send(Role.HUB, e.Speak(text="hello")).drive()

    *_, first, second, speech = pair.heard_by_client
    assert first == second == e.Skipped(reason=first.reason)  # type: ignore[attr-defined]
    assert isinstance(speech, e.Speak)


def test_it_proves_a_hub_and_shows_that_it_is_there() -> None:
    """As any frame under the keys does."""
    pair = Pair(Generation.NOISE, carrier=MQTT, limits=Limits(slowest=1 << 60)).drive()
    assert not pair.client.proven

    pair.send(Role.HUB, NONSENSE["data that is a list"]).drive()
    assert pair.client.proven

    pair.send(Role.HUB, e.Rendezvous()).drive().wait(100).drive()
    assert pair.client.next_timeout == pair.now + 20
    pair.send(Role.HUB, NONSENSE["data that is a list"]).drive()
    assert pair.client.next_timeout != pair.now + 20


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("generation", Generation)
def test_a_hub_does_not(generation: Generation, message: e.Message) -> None:
    """As real hubs: the client is closed for it."""
    pair = Pair(generation).drive()

    pair.send(Role.CLIENT, message).drive()

    closed = pair.heard_by_hub[-1]
    assert isinstance(closed, e.Closed)
    assert isinstance(closed.error, RemoteProtocolError)
