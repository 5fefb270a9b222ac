"""Decisions of a hub on the messages of its clients, without a socket, a task or a clock.

A message of a proven peer goes in, actions come out. Only peers that joined hear anything.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Final

from attrs import evolve

from thalovant_proto import events as e
from thalovant_proto.codec.envelope import message_from
from thalovant_proto.errors import DecodeError

from .._internal.file_names import received
from .actions import AGENT, CORE, HIVE, Action, Hear, HearBinary, Kick, Learn, Query, Request, RoutedPeer, Say
from .mesh import Mesh

UTTERANCES: Final = frozenset((e.UTTERANCE, "ovos.utterance.handle"))
#: What real hubs close with when a client starts what it may not (wire.md §1.6).
NOT_ALLOWED: Final = 4003

#: A fact that only the hub which received a message can know: never taken from a client (wire.md §1.6).
_NEVER_INBOUND: Final = "hivemind_verified_source_peer"
_PEM: Final = "-----BEGIN PUBLIC KEY-----"
_MAX_PEM: Final = 16 * 1024
_MAX_SESSION: Final = 16 * 1024


class Router:
    """Decides for one hub. `mesh.pubkey` is the hub's RSA public key; `new_id` makes ids for questions without one."""

    def __init__(self, mesh: Mesh, *, new_id: Callable[[], str] = lambda: str(uuid.uuid4())) -> None:
        self._mesh = mesh
        self._new_id = new_id
        self.peers: dict[str, RoutedPeer] = {}

    def join(self, peer: RoutedPeer) -> None:
        """The peer is proven: from now on it hears what is for it."""
        self.peers[peer.id] = peer

    def leave(self, peer: RoutedPeer) -> None:
        """The peer is gone. Harmless if repeated."""
        self.peers.pop(peer.id, None)

    def receive(self, peer: RoutedPeer, event: e.Event, now: float) -> list[Action]:
        """Decide about a message of a peer that joined; no action for events that ask for none."""
        match event:
            case e.Bus():
                return [self._hear(peer, event)]
            case e.Binary():
                return [self._hear_binary(peer, event)]
            case e.ClientHello():
                return self._greeted(peer, event)
            case e.Rendezvous():
                answer = {"status": "error", "reason": "not_a_rendezvous_node", "mailbox_node": self._mesh.pubkey}
                return [Say(peer, e.Rendezvous(payload=answer))]
            case e.Query() | e.Cascade():
                return self._question(peer, event, now)
            case e.Broadcast() | e.Propagate() | e.Escalate():
                return self._spread(peer, event, now)
            case e.Intercom():
                return self._relay(peer, event)
        return []  # shared_bus is for looking at; a ping means something inside propagate only

    # --- bus and binary ---

    def _hear(self, peer: RoutedPeer, bus: e.Bus) -> Action:
        return self._refused(peer, bus) or Hear(self._request(peer, bus))

    def _refused(self, peer: RoutedPeer, bus: e.Bus) -> Say | None:
        allowed = peer.client.allowed
        if bus.type not in allowed:
            data = {"msg_type": bus.type, "allowed": list(allowed)}
            return _denied(peer, bus.type, "acl_disallowed_type", f"{bus.type} not in allowed_types", data=data)
        if bus.type in UTTERANCES and not (isinstance(bus, e.Utterance) and bus.text.strip()):
            return _denied(peer, bus.type, "malformed_payload", "utterances must be a list that begins with a text")
        return None

    def _request(self, peer: RoutedPeer, bus: e.Bus, query: Query | None = None) -> Request:
        context = dict(bus.context)
        context.pop(_NEVER_INBOUND, None)
        session_id = bus.session_id or peer.session_id
        given = context.get("session")
        session = {**(given if isinstance(given, dict) else peer.session), "session_id": session_id}
        if peer.site_id and not session.get("site_id"):
            session["site_id"] = peer.site_id
        context["peer"] = peer.id
        context["session"] = session
        return Request(
            peer=peer,
            bus=bus,
            context={**context, "source": peer.id, "destination": AGENT},
            session_id=session_id,
            reply_context={**context, "source": HIVE, "destination": peer.id},
            query=query,
        )

    def _hear_binary(self, peer: RoutedPeer, event: e.Binary) -> Action:
        if not peer.client.allowed:
            reason = "binary needs a client with allowed_types"
            return _denied(peer, "binary", "acl_disallowed_type", reason, bin_type=event.bin_type)
        return HearBinary(peer, evolve(event, metadata=received(event.metadata)))

    # --- hello ---

    def _greeted(self, peer: RoutedPeer, hello: e.ClientHello) -> list[Action]:
        session = _session(hello)
        found = session.get("session_id")
        if isinstance(found, str) and found:
            peer.session_id = found
        peer.session = session
        peer.site_id = hello.site_id or peer.site_id
        pubkey = hello.payload.get("pubkey")
        if not isinstance(pubkey, str) or len(pubkey) > _MAX_PEM or not pubkey.strip().startswith(_PEM):
            return []
        return [Learn(peer, pubkey.strip())]

    # --- mesh ---

    def _question(self, peer: RoutedPeer, event: e.Query | e.Cascade, now: float) -> list[Action]:
        query_id = event.metadata.get("query_id")
        if not isinstance(query_id, str) or not query_id or len(query_id) > 256:
            query_id = self._new_id()
        if event.metadata.get("is_response") is True:
            return self._answered(peer, event, query_id, now)
        cascade = isinstance(event, e.Cascade)
        if not (peer.client.can_propagate if cascade else peer.client.can_escalate):
            return [_not_allowed(peer, event)]
        inner = _inner(event)
        if not isinstance(inner, e.Bus):
            return [_malformed(peer, event)]
        if (refused := self._refused(peer, inner)) is not None:
            return [refused]
        if not self._mesh.ask(query_id, peer, now):
            return [_denied(peer, event.msg_type, "policy_error", "query_id is another question's")]
        others = self._others(peer) if cascade else []
        originator = event.metadata.get("originator_peer")
        query = Query(
            kind=type(event),
            id=query_id,
            peer_id=peer.id,
            originator=originator if isinstance(originator, str) and originator else peer.id,
            responder=self._mesh.pubkey,
            alone=not others,
        )
        asked = Hear(self._request(peer, inner, query))
        if not isinstance(event, e.Cascade):
            return [asked]
        metadata = {**event.metadata, "query_id": query_id, "originator_peer": query.originator}
        return [asked, *self._mesh.forward(evolve(event, metadata=metadata), peer, others)]

    def _answered(self, peer: RoutedPeer, event: e.Query | e.Cascade, query_id: str, now: float) -> list[Action]:
        # Only who asked hears the answers, and nobody answers himself.
        asker = self.peers.get(self._mesh.asked_by(query_id, now) or "")
        if asker is None or asker is peer:
            return []
        return [Say(asker, evolve(event, source_peer=peer.id, node=None))]

    def _spread(self, peer: RoutedPeer, event: e.Broadcast | e.Propagate | e.Escalate, now: float) -> list[Action]:
        client = peer.client
        match event:
            case e.Broadcast():
                allowed = client.admin and client.can_broadcast
            case e.Propagate():
                allowed = client.can_propagate
            case _:
                allowed = client.can_escalate
        if not allowed:
            return [_not_allowed(peer, event)]
        inner = _inner(event)
        if inner is None:
            return [_malformed(peer, event)]
        if isinstance(inner, e.Ping) and isinstance(event, e.Propagate):
            return self._flood(peer, event, inner, now)
        actions: list[Action] = []
        if isinstance(inner, e.Intercom):
            actions += self._relay(peer, inner)
        elif isinstance(inner, e.Bus) and self._is_here(event, inner):
            actions.append(self._hear(peer, inner))
        if not isinstance(event, e.Escalate):  # there is nobody above
            actions += self._mesh.forward(event, peer, self._others(peer))
        return actions

    def _flood(self, peer: RoutedPeer, event: e.Propagate, ping: e.Ping, now: float) -> list[Action]:
        if not self._mesh.is_new_ping(ping, now):
            return []
        others = self._others(peer)
        return [*self._mesh.answer_ping(ping, peer, others, now), *self._mesh.forward(event, peer, others)]

    def _is_here(self, *envelopes: e.Message) -> bool:
        site = self._mesh.site_id
        return site is not None and any(envelope.target_site_id == site for envelope in envelopes)

    def _relay(self, peer: RoutedPeer, event: e.Intercom) -> list[Action]:
        target = (event.target_pubkey or "").strip()
        if not target:
            return []
        return [
            Say(other, evolve(event, source_peer=peer.id, node=None, route=[]))
            for other in self._others(peer)
            if other.client.pubkey == target
        ]

    def _others(self, peer: RoutedPeer) -> list[RoutedPeer]:
        return [other for other in self.peers.values() if other is not peer]


def unasked(peer: RoutedPeer, type: str, data: e.Json, *, session_id: str | None = None) -> e.Bus:
    """A bus message that the hub sends without being asked."""
    session = {**peer.session, "session_id": session_id or peer.session_id}
    context = {"source": HIVE, "destination": peer.id, "peer": peer.id, "session": session}
    return e.Bus(type=type, data=data, context=context)


def busy(peer: RoutedPeer, denied_type: str) -> Say:
    """The refusal of one request too many; another one later is welcome."""
    return _denied(peer, denied_type, "backend_unavailable", "too many requests of this client are being answered")


def _inner(event: e.PayloadMessage) -> e.Message | None:
    try:
        return message_from(event.payload)
    except DecodeError:
        return None


def _session(hello: e.ClientHello) -> e.Json:
    """The hello's session as an object: older clients write it as a JSON text, or as its id alone."""
    session = hello.payload.get("session")
    if isinstance(session, str) and len(session) <= _MAX_SESSION:
        try:
            parsed = json.loads(session)
        except (ValueError, RecursionError):
            return {"session_id": session}
        session = parsed if isinstance(parsed, dict) else {"session_id": session}
    return session if isinstance(session, dict) else {}


def _denied(
    peer: RoutedPeer, denied_type: str, code: str, reason: str, *, data: e.Json | None = None, **more: object
) -> Say:
    fields = {"denied_type": denied_type, "code": code, "reason": reason, "data": data or {}, **more}
    return Say(peer, e.Bus(type=e.POLICY_DENIED, data=fields, context={"source": CORE, "destination": peer.id}))


def _malformed(peer: RoutedPeer, event: e.Message) -> Say:
    return _denied(peer, event.msg_type, "malformed_payload", f"the payload of {event.msg_type} must be an envelope")


def _not_allowed(peer: RoutedPeer, event: e.Message) -> Kick:
    return Kick(peer, NOT_ALLOWED, f"{event.msg_type.upper()} is not allowed for this client")
