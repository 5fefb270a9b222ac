"""Peers and a router for tests of decisions: no socket, no loop, no clock."""

from __future__ import annotations

from typing import Any

from thalovant.hub.actions import Action, Hear, Kick, RoutedPeer, Say
from thalovant.hub.mesh import Mesh
from thalovant.hub.router import Router
from thalovant.hub.storage.clients import DEFAULT_ALLOWED, Client
from thalovant_proto import events as e
from thalovant_proto.codec.envelope import envelope_of

PUBKEY = "-----BEGIN PUBLIC KEY-----\nhub\n-----END PUBLIC KEY-----"
WALL = 1_700_000_000.0
ALLOWED = (*DEFAULT_ALLOWED, "app.event")


class Hive:
    """A router and its peers."""

    def __init__(self, *, site_id: str | None = None) -> None:
        self.router = Router(Mesh(PUBKEY, wall_clock=lambda: WALL, site_id=site_id), new_id=lambda: "minted")
        self.now = 100.0
        self._ids = iter(range(1, 1000))

    def peer(
        self, name: str = "kiosk", *, generation: int = 3, session: dict[str, Any] | None = None, **fields: Any
    ) -> RoutedPeer:
        """A proven peer of a client that is allowed what `fields` of it say."""
        number = next(self._ids)
        known = e.Generation(generation)
        client = Client(id=number, name=name, site_id="shop", generation=known, **{"allowed": ALLOWED, **fields})
        own = {"session_id": f"own-{number}", **(session or {})}
        peer = RoutedPeer(
            id=f"agent::{number}::{name}::uuid",
            client=client,
            session_id=own["session_id"],
            session=own,
            site_id="shop",
        )
        self.router.join(peer)
        return peer

    def say(self, peer: RoutedPeer, event: e.Message) -> list[Action]:
        """What becomes of a message."""
        return self.router.receive(peer, event, self.now)


def heard(actions: list[Action]) -> Hear:
    """The one action, which hands a request to the skills."""
    assert [type(action) for action in actions] == [Hear]
    assert isinstance(actions[0], Hear)
    return actions[0]


def said(actions: list[Action]) -> e.Message:
    """The event of the one action, which is said to somebody."""
    assert [type(action) for action in actions] == [Say]
    assert isinstance(actions[0], Say)
    return actions[0].event


def kicked(actions: list[Action]) -> tuple[int, str]:
    """Code and reason of the one action, which closes a connection."""
    assert [type(action) for action in actions] == [Kick]
    assert isinstance(actions[0], Kick)
    return actions[0].code, actions[0].reason


def denied(actions: list[Action]) -> dict[str, Any]:
    """The data of the one action, which is a refusal."""
    event = said(actions)
    assert isinstance(event, e.Bus)
    assert event.type == e.POLICY_DENIED
    return event.data


def utterance(text: str = "hello", **context: Any) -> e.Bus:
    """What a client says."""
    return e.bus(type=e.UTTERANCE, data={"utterances": [text], "lang": "en-us"}, context=context)


def wrapped(event: e.Message) -> dict[str, Any]:
    """An event as the payload of a mesh message."""
    return envelope_of(event)
