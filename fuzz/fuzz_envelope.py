"""Envelopes, sealed and clear, of both senders: an event or a `DecodeError`; and an event that was read survives."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from fuzz.harness import Tape, tape
from fuzz.seeds import clear_texts, sealed_texts, wire1_frames
from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec import envelope
from thalovant_proto.crypto.noise_transport import Body, BodyKind
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.state import Role

BODIES = list(BodyKind)
ROLES = list(Role)
TYPES = list(FrameType)


def one(data: bytes) -> object:
    tape = Tape(data)
    return tape.pick((sealed, clear))(tape)


def sealed(tape: Tape) -> object:
    """A body that opened under the session keys."""
    kind = tape.pick(BODIES)
    try:
        event = envelope.parse_sealed(Body(kind, tape.rest()))
    except DecodeError:
        return None
    look(event)
    for text in (True, False):
        for binarize in (True, False):
            try:
                body = envelope.encode(event, text=text, binarize=binarize, compress=not text)
            except LocalProtocolError as error:
                assert error.code in ("metadata_too_large", "no_binary_form"), "what came as JSON is JSON"
                continue
            again = envelope.parse_sealed(body)
            # A binary frame where nothing else is taken has no room for a route and the like.
            assert again == (event if text else without_route(event))
    if not isinstance(event, e.Binary):
        nested = envelope.message_from(envelope.envelope_of(event))
        assert nested == event
    return event


def without_route(event: e.Message) -> e.Message:
    """The event as it comes through a binary frame."""
    return evolve(event, route=[], node=None, target_site_id=None, target_pubkey=None, source_peer=None)


def look(event: e.Message) -> None:
    """Ask an event all that it can be asked."""
    match event:
        case e.Bus():
            assert isinstance(event.session_id, str | None)
            assert isinstance(event.request_id, str | None)
        case e.ClientHello():
            assert isinstance(event.site_id, str | None)
        case e.Binary():
            assert event.name


def clear(tape: Tape) -> object:
    """A frame before the keys."""
    sender, kind = tape.pick(ROLES), tape.pick(TYPES)
    try:
        event = envelope.parse_clear(Frame(tape.rest(), kind), sender)
    except DecodeError:
        return None
    for text in (True, False):
        assert envelope.parse_clear(envelope.clear_frame(event, text=text), sender) == event
    return event


def seeds() -> Iterator[bytes]:
    for text in sealed_texts():
        yield tape(0, BODIES.index(BodyKind.JSON)) + text
    for frame in wire1_frames():
        yield tape(0, BODIES.index(BodyKind.WIRE1)) + frame
        yield tape(1, 0, TYPES.index(FrameType.BINARY)) + frame
    for role in Role:
        for text in clear_texts(role.value):
            yield tape(1, ROLES.index(role), TYPES.index(FrameType.TEXT)) + text
            yield tape(1, ROLES.index(role), TYPES.index(FrameType.UNTYPED)) + text
