"""Which generation a client speaks with which hub: the offer decides, within what carrier and trust allow."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from thalovant_proto import events as e
from thalovant_proto.carrier import Carrier
from thalovant_proto.codec.envelope import clear_frame, parse_clear
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.errors import (
    CredentialsMissing,
    DecodeError,
    DowngradeRefused,
    ProtocolError,
    RemoteProtocolError,
)
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role
from thalovant_proto.trust import Trust

from .pair import CLIENT_STATIC, CRYPTO_KEY, HUB_STATIC, NODE_ID, PASSWORD, PIN_ID, client_side, quick, stream

LISTS: dict[str, Any] = {
    "encodings": ["JSON-B64", "JSON-HEX"],
    "ciphers": ["CHACHA20-POLY1305", "AES-GCM"],
    "binarize": False,
}
NOISE = {"patterns": ["KKpsk0", "XXpsk2"], "suites": ["25519_ChaChaPoly_SHA256", "25519_AESGCM_SHA256"]}
# What the three real hubs offer, and what somebody in between makes of it (real-hubs.md §2).
LEGACY = {"handshake": True, "min_protocol_version": 1, "max_protocol_version": 1, "preshared_key": False,
          "password": True, "crypto_required": True, **LISTS}  # fmt: skip
LEGACY_KEY = LEGACY | {"handshake": False, "min_protocol_version": 0, "preshared_key": True}
KEY_ONLY = LEGACY_KEY | {"password": False}
DUAL = LEGACY | {"min_protocol_version": 2, "max_protocol_version": 3, "noise": NOISE}
NOISE_ONLY = {"max_protocol_version": 3, **LISTS, "noise": NOISE}
STRIPPED = {name: value for name, value in DUAL.items() if name != "noise"}

TLS, PLAIN = Carrier(secure=True), Carrier(secure=False)
BITS, PLAIN_BITS = Carrier(text_up=False, typed=False, secure=True), Carrier(text_up=False, typed=False)
STATIC = Trust(static_key=CLIENT_STATIC)
PINNED = STATIC.with_pin(PIN_ID, public_key(HUB_STATIC))
SEEN = STATIC.with_noise_seen()
BOTH = {"password": PASSWORD, "crypto_key": CRYPTO_KEY}
ONLY_PASSWORD = {"password": PASSWORD, "crypto_key": None}
ONLY_KEY = {"password": None, "crypto_key": CRYPTO_KEY}
NEITHER = {"password": None, "crypto_key": None}

Xx1, Kk1, Proof, Sealed = e.Xx1, e.Kk1, e.Proof, e.ClientHello
Missing, Downgrade = CredentialsMissing, DowngradeRefused


@frozen
class Case:
    offer: dict[str, Any]
    carrier: Carrier
    secrets: dict[str, Secret[str] | None]
    expected: type[e.Event] | type[ProtocolError]
    trust: Trust = STATIC
    allow_legacy: bool = False


CASES = {
    # the offer decides
    "noise hub": Case(NOISE_ONLY, TLS, BOTH, Xx1),
    "noise hub, pinned": Case(NOISE_ONLY, TLS, BOTH, Kk1, PINNED),
    "dual hub": Case(DUAL, TLS, BOTH, Xx1),
    "dual hub, pinned": Case(DUAL, TLS, ONLY_PASSWORD, Kk1, PINNED),
    "legacy hub": Case(LEGACY, TLS, BOTH, Proof),
    "legacy hub with a key": Case(LEGACY_KEY, TLS, BOTH, Proof),
    "legacy hub with a key, password unknown": Case(LEGACY_KEY, TLS, ONLY_KEY, Sealed),
    "legacy hub with a key, key unknown": Case(LEGACY_KEY, TLS, ONLY_PASSWORD, Proof),
    "key only": Case(KEY_ONLY, TLS, BOTH, Sealed),
    "a handshake, whatever it is": Case(LEGACY | {"password": False}, TLS, BOTH, Proof),
    # where the hub reads bit frames only, a key it has must be used (real-hubs.md §5.2)
    "bit frames": Case(LEGACY, BITS, BOTH, Proof),
    "bit frames, with a key": Case(LEGACY_KEY, BITS, BOTH, Sealed),
    "bit frames, key unknown": Case(LEGACY_KEY, BITS, ONLY_PASSWORD, Proof),
    # less than v3 only where nobody can listen, or where the caller said so
    "legacy hub, plain": Case(LEGACY, PLAIN, BOTH, Downgrade),
    "key only, plain": Case(KEY_ONLY, PLAIN, BOTH, Downgrade),
    "bit frames, plain": Case(LEGACY_KEY, PLAIN_BITS, BOTH, Downgrade),
    "legacy hub, plain, allowed": Case(LEGACY, PLAIN, BOTH, Proof, allow_legacy=True),
    "key only, plain, allowed": Case(KEY_ONLY, PLAIN, BOTH, Sealed, allow_legacy=True),
    "noise hub, plain": Case(NOISE_ONLY, PLAIN, BOTH, Xx1),
    "noise stripped, plain": Case(STRIPPED, PLAIN, BOTH, Downgrade),
    # never less than v3 where it was seen (security.md §4)
    "seen with v3": Case(DUAL, TLS, BOTH, Xx1, SEEN),
    "seen with v3, noise stripped": Case(STRIPPED, TLS, BOTH, Downgrade, SEEN),
    "seen with v3, noise stripped, allowed": Case(STRIPPED, TLS, BOTH, Downgrade, SEEN, allow_legacy=True),
    "seen with v3, key only": Case(KEY_ONLY, TLS, BOTH, Downgrade, SEEN, allow_legacy=True),
    "seen with v3, noise made odd": Case(STRIPPED | {"noise": True}, TLS, BOTH, Downgrade, SEEN),
    "seen with v3, nothing offered": Case({}, TLS, BOTH, Downgrade, SEEN),
    # what the identity lacks
    "noise hub, no password": Case(NOISE_ONLY, TLS, ONLY_KEY, Missing),
    "noise hub, pinned, no password": Case(NOISE_ONLY, TLS, ONLY_KEY, Missing, PINNED),
    "dual hub, no password": Case(DUAL, TLS, ONLY_KEY, Missing),
    "legacy hub, no password": Case(LEGACY, TLS, ONLY_KEY, Missing),
    "legacy hub with a key, nothing known": Case(LEGACY_KEY, TLS, NEITHER, Missing),
    "key only, no key": Case(KEY_ONLY, TLS, ONLY_PASSWORD, Missing),
    "empty password": Case(LEGACY, TLS, {"password": Secret(""), "crypto_key": None}, Missing),
    # what is no offer
    "nothing offered": Case({}, TLS, BOTH, RemoteProtocolError),
    "all refused": Case(KEY_ONLY | {"preshared_key": False}, TLS, BOTH, RemoteProtocolError),
    "odd flags": Case(
        {"password": "yes", "handshake": 1, "preshared_key": "true"}, TLS, BOTH, RemoteProtocolError,
    ),
}  # fmt: skip


def outcome(case: Case) -> type[e.Event] | type[ProtocolError]:
    """What a client does first with that offer, or why it does nothing."""
    side = client_side(trust=case.trust, allow_legacy=case.allow_legacy, **case.secrets)
    client = HubConnection(side, case.carrier, entropy=stream("client"), now=0.0)
    events = []
    for opening in (e.HubHello(payload={"node_id": NODE_ID, "pubkey": "", "peer": "p"}), e.Offer(payload=case.offer)):
        events += client.receive(clear_frame(opening, text=True), 0.0)
    for effect in client.effects():
        events += client.effect_done(effect.id, quick(effect), 0.0)
    if isinstance(closed := events[-1], e.Closed):
        assert closed.error is not None
        assert client.frames_to_send() == []
        return type(closed.error)
    ((frame, _),) = client.frames_to_send()
    try:
        return type(parse_clear(frame, Role.CLIENT))
    except DecodeError:
        assert client.generation is e.Generation.PRESHARED
        return e.ClientHello


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_client_does_with_an_offer(case):
    """One handshake begun, or an error that says what is wrong, and not a byte sent."""
    assert outcome(case) is case.expected


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("seen with v3, noise stripped", ["v3", "before"]),
        ("legacy hub, plain", ["legacy", "TLS"]),
        ("noise hub, no password", ["Noise", "password"]),
        ("legacy hub, no password", ["password"]),
        ("key only, no key", ["crypto_key"]),
    ],
)
def test_the_error_says_what_is_wrong_and_what_to_do(case, words):
    """In words for people; the hint is the next step."""
    side = client_side(
        trust=CASES[case].trust, allow_legacy=CASES[case].allow_legacy, **CASES[case].secrets
    )  # fmt: skip
    client = HubConnection(side, CASES[case].carrier, entropy=stream("client"), now=0.0)
    client.receive(clear_frame(e.HubHello(payload={"node_id": NODE_ID}), text=True), 0.0)

    (closed,) = client.receive(clear_frame(e.Offer(payload=CASES[case].offer), text=True), 0.0)

    assert all(word in str(closed.error) for word in words)
    assert closed.error.hint


@pytest.mark.parametrize("hello", [{}, {"node_id": 5}, {"node_id": NODE_ID}], ids=["none", "odd", "text"])
def test_a_legacy_hub_need_not_have_a_node_id(hello):
    """Only v3 depends on it."""
    client = HubConnection(client_side(), TLS, entropy=stream("client"), now=0.0)
    client.receive(clear_frame(e.HubHello(payload=hello), text=True), 0.0)

    *_, completed = client.receive(clear_frame(e.Offer(payload=KEY_ONLY), text=True), 0.0)

    expected = hello["node_id"] if isinstance(hello.get("node_id"), str) else ""
    assert completed.node_id == expected
