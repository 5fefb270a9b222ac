"""The envelope, read and written: every message type, as JSON and as WIRE-1, sealed and in clear."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec import wire1
from thalovant_proto.codec.envelope import (
    clear_frame,
    encode,
    envelope_of,
    looks_like_text,
    message_from,
    parse_clear,
    parse_sealed,
)
from thalovant_proto.crypto.noise_transport import Body, BodyKind
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.limits import JSON_DEPTH, JSON_TEXT
from thalovant_proto.state import Role

KEYS = {"msg_type", "payload", "metadata", "route", "node", "target_site_id", "target_pubkey", "source_peer"}
OBJECTS = [
    e.ClientHello, e.SealedHandshake, e.SharedBus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade, e.Ping,
    e.Rendezvous, e.ThirdParty, e.Intercom,
]  # fmt: skip
WITHOUT_CODE = (e.ThirdParty, e.Intercom)
PAYLOAD = {"plain": 1, "deep": {"er": ["ü", None, 1.5]}}
MESSAGES = [*(kind(payload=PAYLOAD) for kind in OBJECTS), e.Bus(type="any.thing", data=PAYLOAD, context=PAYLOAD)]
ROUTED: dict[str, Any] = {
    "metadata": {"query_id": "q", "other": [1]},
    "route": [{"source": "a", "targets": ["b"]}],
    "node": "n",
    "target_site_id": "kitchen",
    "target_pubkey": "-----BEGIN",
    "source_peer": "p",
}
every_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.msg_type)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)


def body(value: object) -> Body:
    """A JSON body as a peer might seal it."""
    return Body(BodyKind.JSON, json.dumps(value).encode())


def read(value: object) -> e.Message:
    return parse_sealed(body(value))


def written(message: e.Message, **how: bool) -> Body:
    return encode(message, **({"text": True, "binarize": False, "compress": False} | how))


def clear(value: object) -> Frame:
    """A clear text frame."""
    return Frame(value if isinstance(value, bytes) else json.dumps(value).encode(), FrameType.TEXT)


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
    routed = type(message)(**ROUTED, **_content(message))
    found = written(routed)

    assert found.kind is BodyKind.JSON
    assert set(json.loads(found.data)) == KEYS
    assert routed == read(envelope_of(message) | ROUTED)
    assert routed == parse_sealed(found)


@every_message
@pytest.mark.parametrize("beside", [{}, *({key: value} for key, value in ROUTED.items()), {"node": ""}], ids=str)
def test_the_text_is_that_of_the_object(message, beside):
    """However the text is put together: what stands alone and what nests in a mesh message are the same."""
    message = type(message)(**beside, **_content(message))

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
    message = type(message)(metadata={"query_id": "q"}, **_content(message))

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


# --- in clear

OPENING = {"pubkey": "", "node_id": "n", "new": {"a": [1]}}
OFFER = {"max_protocol_version": 3, "noise": {"patterns": ["XXpsk2"], "suites": []}, "new": 1}
CLEAR: list[tuple[e.ClearEvent, Role, str, dict[str, Any]]] = [
    (e.HubHello(payload=OPENING), Role.HUB, "hello", OPENING),
    (e.ClearHello(payload=OPENING), Role.CLIENT, "hello", OPENING),
    (e.Offer(payload=OFFER), Role.HUB, "shake", OFFER),
    (
        e.Xx1(suite="s", message=b"\x01\xab"),
        Role.CLIENT,
        "shake",
        {"noise": {"pattern": "XXpsk2", "suite": "s", "msg": "01ab"}},
    ),
    (
        e.Kk1(suite="s", message=b"\x01"),
        Role.CLIENT,
        "shake",
        {"noise": {"pattern": "KKpsk0", "suite": "s", "msg": "01"}},
    ),
    (e.Noise2(message=b"\x02"), Role.HUB, "shake", {"noise": {"msg": "02"}}),
    (e.Noise3(message=b"\x03"), Role.CLIENT, "shake", {"noise": {"msg": "03"}}),
    (
        e.Proof(envelope="ab", encodings=("JSON-B64",), ciphers=("AES-GCM",), binarize=True),
        Role.CLIENT,
        "shake",
        {"binarize": True, "encodings": ["JSON-B64"], "ciphers": ["AES-GCM"], "envelope": "ab"},
    ),
    (
        e.ProofAnswer(envelope="ab", encoding="JSON-B64", cipher="CHACHA20-POLY1305"),
        Role.HUB,
        "shake",
        {"envelope": "ab", "encoding": "JSON-B64", "cipher": "CHACHA20-POLY1305"},
    ),
]
every_clear = pytest.mark.parametrize(
    ("event", "sender", "msg_type", "payload"), CLEAR, ids=[type(event).__name__ for event, *_ in CLEAR]
)


@every_clear
def test_a_clear_event_is_json_text_with_all_eight_keys(event, sender, msg_type, payload):
    """The handshake, as both sides write it (wire.md §1.2 to §1.6, §2.1, §5.4).

    Noise messages of real clients come with two keys or four, old peers say `handshake`.
    """
    frame = clear_frame(event, text=True)

    assert frame.type is FrameType.TEXT
    assert json.loads(frame.data) == {"msg_type": msg_type, "payload": payload} | {
        "metadata": {}, "route": [], "node": None, "target_site_id": None, "target_pubkey": None, "source_peer": None,
    }  # fmt: skip
    name = "handshake" if msg_type == "shake" else msg_type
    assert parse_clear(clear({"msg_type": name, "payload": payload}), sender) == event


@every_clear
@pytest.mark.parametrize("text", [True, False], ids=["text", "bits"])
@pytest.mark.parametrize("typed", [True, False], ids=["typed", "untyped"])
def test_a_clear_event_round_trips(event, sender, msg_type, payload, text, typed):
    """In either form, whether the carrier says which it is or not."""
    frame = clear_frame(event, text=text)

    assert frame.type is (FrameType.TEXT if text else FrameType.BINARY)
    assert parse_clear(frame if typed else Frame(frame.data, FrameType.UNTYPED), sender) == event


def test_missing_choices_have_the_old_defaults():
    """What a proof and its answer leave out (wire.md §2.1)."""
    frame = clear({"msg_type": "shake", "payload": {"envelope": "ab"}})

    assert parse_clear(frame, Role.CLIENT) == e.Proof(envelope="ab")
    assert parse_clear(frame, Role.HUB) == e.ProofAnswer(envelope="ab", encoding="JSON-HEX", cipher="AES-GCM")


def shake(**payload: object) -> dict[str, object]:
    return {"msg_type": "shake", "payload": payload}


def noise(**fields: object) -> dict[str, object]:
    return shake(noise=fields)


CLIENTS_MALFORMED: dict[str, tuple[object, str]] = {
    "no object": ([], "object"),
    "hello without payload": ({"msg_type": "hello"}, "payload"),
    "handshake without payload": ({"msg_type": "shake"}, "payload"),
    "handshake by its other name without payload": ({"msg_type": "handshake"}, "payload"),
    "an RSA handshake": (shake(pubkey="-----BEGIN"), "RSA"),
    "noise that is no object": (shake(noise=["XXpsk2"]), "noise"),
    "noise without msg": (noise(pattern="XXpsk2", suite="s"), "msg"),
    "msg that is no text": (noise(msg=1), "msg"),
    "empty msg": (noise(msg=""), "msg"),
    "msg of an odd length": (noise(msg="abc"), "msg"),
    "msg with spaces": (noise(msg="ab cd"), "msg"),
    "msg with other digits": (noise(msg="٠٠"), "msg"),
    "msg that is no hex": (noise(msg="zz"), "msg"),
    "msg that is too long": (noise(msg="a" * 131_072), "msg"),
    "a pattern that nobody offers": (noise(msg="ab", pattern="NNpsk0", suite="s"), "pattern"),
    "a pattern that is no text": (noise(msg="ab", pattern=[], suite="s"), "pattern"),
    "a suite that is no text": (noise(msg="ab", pattern="XXpsk2", suite=1), "suite"),
    "envelope that is no text": (shake(envelope=1), "envelope"),
    "encodings that are no list": (shake(envelope="ab", encodings="JSON-HEX"), "encodings"),
    "encodings that are no texts": (shake(envelope="ab", encodings=[1]), "encodings"),
    "ciphers without end": (shake(envelope="ab", ciphers=["AES-GCM"] * 33), "ciphers"),
}
HUBS_MALFORMED: dict[str, tuple[object, str]] = {
    "envelope that is no text": (shake(envelope=[]), "envelope"),
    "encoding that is no text": (shake(envelope="ab", encoding=None), "encoding"),
    "cipher that is no text": (shake(envelope="ab", cipher=3), "cipher"),
    "msg that is no hex": (noise(msg="zz"), "msg"),
}


@pytest.mark.parametrize(
    ("sender", "value", "named"),
    [
        pytest.param(sender, value, named, id=f"{sender.value}: {name}")
        for sender, rows in ((Role.CLIENT, CLIENTS_MALFORMED), (Role.HUB, HUBS_MALFORMED))
        for name, (value, named) in rows.items()
    ],
)
def test_malformed_handshakes_are_refused_by_field(sender, value, named):
    """The error names the field, and nothing of what it held."""
    with pytest.raises(DecodeError, match=rf"\b{named}\b"):
        parse_clear(clear(value), sender)


@pytest.mark.parametrize("sender", Role, ids=lambda role: role.value)
@pytest.mark.parametrize("message", [*MESSAGES[2:], e.Binary(payload=b"a")], ids=lambda message: message.msg_type)
@pytest.mark.parametrize("binarize", [False, True], ids=["text", "bits"])
def test_nothing_but_the_handshake_comes_in_clear(sender, message, binarize):
    """Neither as text nor as a bit frame (security.md §1)."""
    found = written(message, binarize=binarize)
    kind = FrameType.TEXT if found.kind is BodyKind.JSON else FrameType.BINARY

    with pytest.raises(DecodeError, match="clear"):
        parse_clear(Frame(found.data, kind), sender)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": 1}', True),
        (b" \r\n\t[1]", True),
        (b"", False),
        (b"   ", False),
        (b"\x82\x02{}", False),
        (b" " * 64 + b"{", False),
        ("ö".encode(), False),
    ],
    ids=["object", "list", "nothing", "spaces", "bits", "spaces without end", "a letter"],
)
def test_an_untyped_frame_is_text_by_its_first_byte(data, text):
    """A brace or a bracket, after little white space; where the carrier says it, that counts."""
    assert looks_like_text(Frame(data, FrameType.UNTYPED)) is text
    assert looks_like_text(Frame(data, FrameType.TEXT))
    assert not looks_like_text(Frame(data, FrameType.BINARY))


@given(st.binary(max_size=64), st.sampled_from(FrameType), st.sampled_from(Role))
def test_garbage_in_clear_is_a_decode_error(data, kind, sender):
    """And nothing else."""
    with pytest.raises(DecodeError):
        parse_clear(Frame(data, kind), sender)


@given(objects, st.sampled_from(["hello", "shake", "handshake", "bus", "query"]), st.sampled_from(Role))
def test_any_payload_is_read_or_refused(payload, msg_type, sender):
    """Every field may hold anything."""
    for value in ({"msg_type": msg_type, "payload": payload}, {"msg_type": msg_type, **payload}):
        for parse in (lambda v: read(v), lambda v: parse_clear(clear(v), sender)):
            try:
                assert isinstance(parse(value), e.Event)
            except DecodeError as error:
                assert str(error)


def _content(message: e.Message) -> dict[str, Any]:
    """The arguments that make up a message beside the fields of its envelope."""
    if isinstance(message, e.Bus):
        return {"type": message.type, "data": message.data, "context": message.context}
    return {"payload": message.payload}
