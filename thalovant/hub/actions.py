"""The vocabulary of the router: peers, requests, and the actions that it decides on."""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import define, field, frozen

from thalovant_proto import events as e
from thalovant_proto.codec.envelope import envelope_of

from .storage.clients import Client

#: What the hub calls itself: in its own events, in what its skills say, and to its skills (real-hubs.md §3).
CORE: Final = "hivemind-core"
HIVE: Final = "hive"
AGENT: Final = "hivemind"


@define(eq=False)
class RoutedPeer:
    """A proven connection of a client.

    `id` is what others call it. `session_id`, `session` and `site_id` are those of its hello.
    """

    id: str
    client: Client
    session_id: str
    session: e.Json = field(factory=dict, repr=False)
    site_id: str | None = None


@frozen(kw_only=True)
class Request:
    """A bus message for the skills or handlers, and what its answers look like on the wire.

    `context` is the message's own with the hub's word on who sent it. `query` is set if it came inside a `query` or
    `cascade`.
    """

    peer: RoutedPeer
    bus: e.Bus
    context: e.Json = field(repr=False)
    session_id: str
    reply_context: e.Json = field(repr=False)
    query: Query | None = None

    def speech(self, data: e.Json) -> e.Message:
        """Something that the hub says."""
        if self.query is None:
            return e.Bus(type=e.SPEAK, data=data, context=self.reply_context)
        return self.query.frame(e.Bus(type=e.SPEAK, data=data, context={"query_id": self.query.id}))

    def event(self, type: str, data: e.Json) -> e.Message:
        """Any other event for the asker; a query has no frame for it, so it travels by itself."""
        return e.Bus(type=type, data=data, context=self.reply_context)

    def handled(self) -> tuple[e.Message, ...]:
        """The end of the answer."""
        if self.query is None:
            return (e.Bus(type=e.UTTERANCE_HANDLED, context=self.reply_context),)
        return (self.query.frame(e.Bus(type=e.QUERY_COMPLETE)),)

    def failed(self, reason: str, *, spoke: bool, code: str) -> tuple[e.Message, ...]:
        """The end of an answer that did not come about, or not whole if it `spoke` before.

        `code` tells programs what failed; "" if there was nothing that could.
        """
        if self.query is not None:
            return self.handled() if spoke else self.query.unanswered()
        data = {"utterances": self.bus.data.get("utterances", []), "reason": reason, **({"code": code} if code else {})}
        return (e.Bus(type=e.INTENT_FAILURE, data=data, context=self.reply_context), *self.handled())


@frozen(kw_only=True)
class Query:
    """A question as `query` or `cascade`: every piece of its answer is a frame of the same kind (wire.md §1.7).

    `alone`: nobody else was asked.
    """

    kind: type[e.Query | e.Cascade]
    id: str
    peer_id: str
    originator: str
    responder: str
    alone: bool

    def frame(self, bus: e.Bus) -> e.Message:
        """The frame around a piece of the answer."""
        metadata = {
            "query_id": self.id,
            "originator_peer": self.originator,
            "responder_peer": self.responder,
            "is_response": True,
        }
        route = [{"source": self.peer_id, "targets": [self.peer_id]}]
        return self.kind(payload=envelope_of(bus), metadata=metadata, route=route)

    def unanswered(self) -> tuple[e.Message, ...]:
        """Nobody here knows; silence if somebody else may."""
        if not self.alone:
            return ()
        return (self.frame(e.Bus(type=e.QUERY_TIMEOUT, data={"query_id": self.id, "error": "no_answer"})),)


@frozen
class Say:
    """Send `event` to `peer`."""

    peer: RoutedPeer
    event: e.Message


@frozen
class Kick:
    """Close the connection of `peer`."""

    peer: RoutedPeer
    code: int
    reason: str


@frozen
class Hear:
    """Hand a bus message to whoever answers it."""

    request: Request


@frozen
class HearBinary:
    """Hand raw bytes to whoever takes that kind."""

    peer: RoutedPeer
    event: e.Binary


@frozen
class Learn:
    """Remember a client's RSA key (PEM)."""

    peer: RoutedPeer
    pubkey: str


Action: TypeAlias = Say | Kick | Hear | HearBinary | Learn
