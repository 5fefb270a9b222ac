"""The envelope in clear, which carries nothing but the handshake, and what any payload may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec.envelope import clear_frame, looks_like_text, parse_clear
from thalovant_proto.crypto.noise_transport import BodyKind
from thalovant_proto.errors import DecodeError
from thalovant_proto.state import Role

from .envelopes import MESSAGES, clear, objects, read, written

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
