"""The envelope, read and written: every message type, sealed as JSON and as WIRE-1."""

from __future__ import annotations

import functools
import json
import math

import pytest
from hypothesis import given

from thalovant_proto import events as e
from thalovant_proto.codec import wire1
from thalovant_proto.codec.envelope import encode, envelope_of, message_from, parse_sealed
from thalovant_proto.crypto.noise_transport import Body, BodyKind
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.limits import JSON_DEPTH, JSON_TEXT

from .envelopes import KEYS, OBJECTS, ROUTED, WITHOUT_CODE, content, every_message, objects, read, written

# --- sealed, as JSON


@every_message
def test_two_keys_are_enough(message):
    """Hubs accept a message with the first two of the eight, so do we (real-hubs.md §2)."""
    assert read({"msg_type": message.msg_type, "payload": message.payload}) == message


@every_message
def test_unknown_keys_of_the_envelope_are_ignored(message):
    """Beside the eight, and never passed on."""
    envelope = envelope_of(message) | {"target_peers": ["a"], "bin_type": 1, "new": {"a": 1}}

    assert read(envelope) == message
    assert set(envelope_of(read(envelope))) == KEYS


@every_message
def test_what_hops_write_is_kept(message):
    """Metadata, route, targets and the rest arrive as they were sent, all eight keys and no other (wire.md §1.6)."""
    routed = type(message)(**ROUTED, **content(message))
    found = written(routed)

    assert found.kind is BodyKind.JSON
    assert set(json.loads(found.data)) == KEYS
    assert routed == read(envelope_of(message) | ROUTED)
    assert routed == parse_sealed(found)


@every_message
@pytest.mark.parametrize("beside", [{}, *({key: value} for key, value in ROUTED.items()), {"node": ""}], ids=str)
def test_the_text_is_that_of_the_object(message, beside):
    """However the text is put together: what stands alone and what nests in a mesh message are the same."""
    message = type(message)(**beside, **content(message))

    assert json.loads(written(message).data) == envelope_of(message)


@every_message
def test_null_stands_for_absent(message):
    """Peers write null where they have nothing."""
    assert read(envelope_of(message) | dict.fromkeys(ROUTED)) == message


@given(payload=objects, metadata=objects, data=objects, context=objects)
def test_unknown_fields_inside_survive(payload, metadata, data, context):
    """Payload, data, context and metadata are the peer's: all that is in them comes and goes unchanged."""
    for message in (
        e.Query(payload=payload, metadata=metadata),
        e.Bus(type="t", data=data, context=context, metadata=metadata),
    ):
        again = parse_sealed(written(message))

        assert again == message
        assert written(message) == written(again)


@pytest.mark.parametrize(
    "payload",
    [{}, {"data": None, "context": None}, {"data": {}, "context": {}, "more": 1}],
    ids=["absent", "null", "one more"],
)
def test_a_bus_message_is_its_type_data_and_context(payload):
    """Absent or null is empty, as with real peers; nothing else of the payload has a meaning."""
    assert read({"msg_type": "bus", "payload": {"type": "a", **payload}}) == e.Bus(type="a")


@pytest.mark.parametrize("payload", [{}, {"payload": None}], ids=["absent", "null"])
def test_a_payload_may_be_left_out(payload):
    """Of all types but hello and handshake (wire.md §1.6), which are malformed then, whatever they are called."""
    for kind in OBJECTS[2:]:
        assert read({"msg_type": kind.msg_type, **payload}) == kind()
    for msg_type in ("hello", "shake", "handshake"):
        with pytest.raises(DecodeError, match="payload"):
            read({"msg_type": msg_type, **payload})


def test_handshake_is_another_word_for_shake():
    """Read, never written: official peers refuse it (wire.md §8.3)."""
    assert read({"msg_type": "handshake", "payload": {"a": 1}}) == e.SealedHandshake(payload={"a": 1})
    assert envelope_of(e.SealedHandshake())["msg_type"] == "shake"


MALFORMED: dict[str, tuple[object, str]] = {
    "no object": ([1], "object"),
    "text": ("a", "object"),
    "no msg_type": ({"payload": {}}, "msg_type"),
    "msg_type that is no text": ({"msg_type": 1, "payload": {}}, "msg_type"),
    "msg_type that cannot be hashed": ({"msg_type": [], "payload": {}}, "msg_type"),
    "unknown msg_type": ({"msg_type": "gossip", "payload": {}}, "msg_type"),
    "binary as JSON": ({"msg_type": "bin", "payload": {}}, "msg_type"),
    "payload that is a text": ({"msg_type": "query", "payload": "{}"}, "payload"),
    "payload that is a list": ({"msg_type": "bus", "payload": []}, "payload"),
    "bus without payload": ({"msg_type": "bus"}, "type"),
    "bus without type": ({"msg_type": "bus", "payload": {"data": {}}}, "type"),
    "bus with an empty type": ({"msg_type": "bus", "payload": {"type": ""}}, "type"),
    "bus with a type that is no text": ({"msg_type": "bus", "payload": {"type": 1}}, "type"),
    "data that is a list": ({"msg_type": "bus", "payload": {"type": "a", "data": []}}, "data"),
    "data that is false": ({"msg_type": "bus", "payload": {"type": "a", "data": False}}, "data"),
    "context that is a text": ({"msg_type": "bus", "payload": {"type": "a", "context": ""}}, "context"),
    "metadata that is a list": ({"msg_type": "ping", "metadata": []}, "metadata"),
    "route that is an object": ({"msg_type": "ping", "route": {}}, "route"),
    **{
        f"{name} that is no text": ({"msg_type": "ping", name: 1}, name)
        for name in ("node", "target_site_id", "target_pubkey", "source_peer")
    },
}


@pytest.mark.parametrize(("value", "named"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_envelopes_are_refused_by_field(value, named):
    """The error names the field, and nothing of what it held."""
    with pytest.raises(DecodeError, match=rf"\b{named}\b"):
        read(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"msg_type": NaN}'], ids=["nothing", "half", "no UTF-8", "NaN"])
def test_what_is_no_json_is_refused(data):
    """Whatever it is."""
    with pytest.raises(DecodeError):
        parse_sealed(Body(BodyKind.JSON, data))


def test_size_and_depth_are_bounded():
    """Both limits hold before anything is parsed."""
    with pytest.raises(DecodeError, match=f"{JSON_TEXT}"):
        read({"msg_type": "ping", "payload": {"a": "b" * JSON_TEXT}})
    with pytest.raises(DecodeError, match=f"{JSON_DEPTH}"):
        read({"msg_type": "ping", "payload": functools.reduce(lambda inner, _: {"a": inner}, range(JSON_DEPTH), {})})


@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize(
    "data",
    [{"a": "b" * JSON_TEXT}, functools.reduce(lambda inner, _: {"a": inner}, range(JSON_DEPTH), {})],
    ids=["long", "deep"],
)
def test_what_a_peer_would_refuse_is_not_written(data, binarize):
    """It would cost the session; the message alone fails, and says what to do."""
    with pytest.raises(LocalProtocolError, match=r"cannot be sent: JSON text .* the limit of") as caught:
        encode(e.Bus(type="x", data=data), text=True, binarize=binarize, compress=False)

    assert (caught.value.code, bool(caught.value.hint)) == ("too_large", True)


# --- nested in each other


@every_message
@pytest.mark.parametrize("outer", [e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade], ids=lambda k: k.msg_type)
def test_mesh_messages_nest(message, outer):
    """The payload of a mesh message is a whole envelope, which reads as the message that it is."""
    sent = outer(payload=envelope_of(message), metadata={"query_id": "q"})

    arrived = parse_sealed(written(sent))

    assert message_from(arrived.payload) == message


def test_a_view_nests_as_a_view():
    """What is spoken in an answer to a query is a `Speak`."""
    nested = e.Query(payload={"msg_type": "bus", "payload": {"type": "speak", "data": {"utterance": "42"}}})

    inner = message_from(nested.payload)

    assert inner == e.Speak(text="42", data={"utterance": "42"})


def test_a_flat_payload_is_no_nested_envelope():
    """A bus message without its envelope, as some peers send it, is refused by field."""
    with pytest.raises(DecodeError, match="msg_type"):
        message_from({"type": "speak", "data": {}, "context": {}})


@pytest.mark.parametrize("message", [e.Binary(payload=b"a"), e.Message()], ids=["binary", "no kind"])
def test_what_has_no_json_form_does_not_nest(message):
    """Raw bytes are no object."""
    with pytest.raises(LocalProtocolError, match="JSON"):
        envelope_of(message)


# --- sealed, as WIRE-1


@every_message
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_a_binarized_message_round_trips(message, compress):
    """Every type that has a code, with its metadata; those without stay JSON."""
    message = type(message)(metadata={"query_id": "q"}, **content(message))

    found = written(message, binarize=True, compress=compress)

    assert found.kind is (BodyKind.JSON if isinstance(message, WITHOUT_CODE) else BodyKind.WIRE1)
    assert message == parse_sealed(found)


@pytest.mark.parametrize(
    "fields",
    [*({name: ROUTED[name]} for name in sorted(ROUTED.keys() - {"metadata"})), {"metadata": {"query_id": "q" * 300}}],
    ids=lambda fields: next(iter(fields)),
)
def test_what_a_bit_frame_would_lose_goes_as_json(fields):
    """There is no room for the route, the target and the like (wire.md §4.2), nor for 256 bytes of metadata."""
    message = e.Propagate(payload={"a": 1}, **fields)

    found = written(message, binarize=True)

    assert found.kind is BodyKind.JSON
    assert parse_sealed(found) == message


def test_a_carrier_without_text_gets_bit_frames_whatever_is_lost():
    """An old hub behind MQTT reads nothing else (real-hubs.md §8); it has no use for a route either."""
    found = written(e.Query(payload={"a": 1}, **(ROUTED | {"metadata": {"b": 2}})), text=False)

    assert found.kind is BodyKind.WIRE1
    assert parse_sealed(found) == e.Query(payload={"a": 1}, metadata={"b": 2})


@pytest.mark.parametrize(
    "message", [e.Intercom(), e.Query(metadata={"a": "b" * 300})], ids=["no code", "long metadata"]
)
def test_what_no_bit_frame_can_carry_is_refused_without_text(message):
    """There is no other way, and the caller is told."""
    with pytest.raises(LocalProtocolError):
        written(message, text=False)


@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize("number", [*e.BinType, 15], ids=str)
def test_binaries_are_bit_frames_on_every_session(number, binarize):
    """Raw bytes, their kind and metadata; kinds without a name stay numbers."""
    sent = e.Binary(bin_type=number, payload=bytes(range(256)), metadata={"lang": "pt"})

    found = written(sent, binarize=binarize, compress=True)

    assert found.kind is BodyKind.WIRE1
    assert parse_sealed(found) == sent


def test_a_bit_frame_of_a_bus_message_is_checked_like_text():
    """The form of the frame does not loosen the rules of what is in it."""
    with pytest.raises(DecodeError, match="type"):
        parse_sealed(Body(BodyKind.WIRE1, wire1.encode("bus", b"{}")))


NOT_JSON = {
    "not a number": math.nan,
    "a set": {1},
    "half a surrogate pair": "\ud800",
    "bytes": b"a",
}


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("binarize", [False, True], ids=["text", "bits"])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: e.Bus(type="a", data={"b": value}),
        lambda value: e.Query(metadata={"b": value}),
        lambda value: e.Binary(payload=b"a", metadata={"b": value}),
    ],
    ids=["payload", "metadata", "binary"],
)
def test_what_json_cannot_carry_is_the_senders_fault(value, binarize, make):
    """A message that cannot be written is refused by `send`, with the error that it promises."""
    with pytest.raises(LocalProtocolError, match="JSON"):
        written(make(value), binarize=binarize)
