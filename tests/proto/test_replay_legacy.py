"""Recorded legacy sessions and sealed frames through `HubConnection`, in both roles.

What is compared, and how exactly, is said in `test_replay`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec.envelope import clear_frame
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.crypto.kdf import derive
from thalovant_proto.crypto.legacy import Cipher, LegacyCipher
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.handshake import password as hsub
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

from .pair import CRYPTO_KEY, PASSWORD, WSS, client_side, hub_side, legacy_channel
from .puppet import Stage
from .recordings import recorded, said, same_json, scripted, secret
from .vectors import load

V0, V1 = Generation.PRESHARED, Generation.PASSWORD

# --- v1: capture_ws_legacy.json

LEGACY = load("capture_ws_legacy")


def connections() -> list[list[dict[str, Any]]]:
    """The frames of each recorded connection: the second session holds those of two clients, one after the other."""
    found = []
    for session in LEGACY["sessions"]:
        frames = session["frames"]
        proofs = [n for n, each in enumerate(frames) if each["dir"] == "client->hub" and '"envelope"' in each["data"]]
        found += [frames[:2] + frames[start:end] for start, end in zip(proofs, [*proofs[1:], len(frames)], strict=True)]
    return found


every_connection = pytest.mark.parametrize("frames", connections(), ids=["first", "reconnected", "second"])


@every_connection
def test_a_hub_lives_through_a_recorded_legacy_connection(frames):
    """The answer is the recorded one, the key too, every sealed frame opens; what comes in clear then ends it."""
    entries = [recorded(each) for each in frames]
    answer = entries[3].envelope["payload"]
    hub = HubConnection(
        hub_side(V1, password=Secret(LEGACY["password"])),
        WSS,
        entropy=scripted(hsub.envelope_iv(answer["envelope"])),
        now=0.0,
    )
    said(hub)
    events = hub.receive(entries[2].frame, 0.0)
    (effect,) = hub.effects()
    key = derive(effect)
    assert key == secret(frames[3]["derived_key_hex"])

    events += hub.effect_done(effect.id, key, 0.0)

    (written,) = said(hub)
    assert json.loads(written.data)["payload"] == answer
    for each in entries[4:]:
        if each.sender is Role.HUB:
            continue
        events = hub.receive(each.frame, 0.0)
        if each.message is None:
            assert isinstance(events[-1].error, RemoteProtocolError)
            break
        assert events[-1] == each.message
        assert hub.proven


@every_connection
def test_a_client_proves_itself_as_the_recorded_one(frames):
    """The same proof, the same verdict on the hub's; only its encoding is not one that we name."""
    entries = [recorded(each) for each in frames]
    proof, answer = (each.envelope["payload"] for each in entries[2:4])
    choices = {"encoding": "JSON-HEX", "cipher": answer["cipher"]}
    for change, word in (({}, "did not offer"), (choices, None)):
        client = HubConnection(
            client_side(password=Secret(LEGACY["password"])),
            WSS,
            entropy=scripted(hsub.envelope_iv(proof["envelope"]), bytes(16)),
            now=0.0,
        )
        for each in entries[:2]:
            client.receive(each.frame, 0.0)
        assert json.loads(said(client)[0].data)["payload"]["envelope"] == proof["envelope"]

        events = client.receive(clear_frame(e.ProofAnswer(**(answer | change)), text=True), 0.0)

        if word is not None:
            assert word in str(events[-1].error)
        else:
            (effect,) = client.effects()
            assert derive(effect) == secret(frames[3]["derived_key_hex"])


@every_connection
def test_a_client_reads_a_recorded_legacy_connection(frames):
    """What the hub sealed opens as what it was, the uncompressed bit frame that real clients choke on included."""
    answer = recorded(frames[3]).envelope["payload"]
    cipher = LegacyCipher(
        secret(frames[3]["derived_key_hex"]), Cipher(answer["cipher"]), Encoding(answer["encoding"])
    )  # fmt: skip
    client = legacy_channel(cipher, V1)

    for each in (recorded(each) for each in frames[4:]):
        if each.sender is Role.HUB:
            assert client.open(each.frame, 0.0) == each.message


# --- v0 and v1: legacy_encrypted_frames.json

SEALED = [
    pytest.param(case, name, id=f"{case['cipher']}-{len(case['key']) // 2}-{name}")
    for case in load("legacy_encrypted_frames")["cases"]
    for name in case["json_frames"]
    if name != "JSON-Z85P"  # which nobody is offered
]


def spoken(case: dict[str, Any]) -> tuple[e.Event, bytes]:
    """What a sealed frame of the vectors says."""
    plaintext = case["plaintext_utf8"].encode()
    payload = json.loads(plaintext)["payload"]
    return e.Speak(text="olá ☕", data=payload["data"], context=payload["context"]), plaintext


@pytest.mark.parametrize(("case", "name"), SEALED)
def test_a_hub_reads_and_writes_every_cipher_and_encoding(case, name):
    """Over the v1 handshake that chooses them, under the vector's key."""
    message, plaintext = spoken(case)
    iv, nonce = bytes(8), bytes.fromhex(case["nonce"])
    hub = HubConnection(hub_side(V1), WSS, entropy=scripted(b"hub's iv", nonce[::-1]), now=0.0)
    proof = e.Proof(envelope=hsub.envelope(PASSWORD, iv), encodings=(name,), ciphers=(case["cipher"],))
    said(hub)
    hub.receive(clear_frame(proof, text=True), 0.0)
    (effect,) = hub.effects()
    hub.effect_done(effect.id, secret(case["key"]), 0.0)
    said(hub)

    events = hub.receive(Frame(case["json_frames"][name]["frame"].encode(), FrameType.TEXT), 0.0)
    assert events == [e.Proven(), message]

    hub.send(message, 0.0)
    (written,) = said(hub)
    opened, text = LegacyCipher(secret(case["key"]), Cipher(case["cipher"]), Encoding(name)).open_text(
        json.loads(written.data)
    )
    assert opened == nonce[::-1]
    assert same_json(plaintext, text)


@pytest.mark.parametrize(("case", "name"), [each for each in SEALED if each.values[1] in ("JSON-B64", "JSON-HEX")])
def test_a_client_reads_what_it_names(case, name):
    """The two encodings that it asks for, in both ciphers; where the tag is left out, too (WebCrypto)."""
    for frame in (case["json_frames"][name]["frame"], case["webcrypto_no_tag_hex_frame"]):
        stage = Stage(Role.CLIENT, V1, hold=True).until(State.PROVING)
        answer = e.ProofAnswer(
            envelope=hsub.envelope(PASSWORD, b"hub's iv"),
            encoding="JSON-HEX" if frame == case["webcrypto_no_tag_hex_frame"] else name,
            cipher=case["cipher"],
        )
        stage.say(answer)
        stage.end.effect_done(stage.pending[0].id, secret(case["key"]), 0.0)

        assert stage.end.receive(Frame(frame.encode(), FrameType.TEXT), 0.0) == [spoken(case)[0]]


@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_a_preshared_session_reads_the_vectors_of_its_key(role):
    """AES with 16 bytes and HEX, which is all that v0 has."""
    case = load("legacy_encrypted_frames")["cases"][0]
    assert case["key"] == CRYPTO_KEY.as_bytes().hex()
    stage = Stage(role, V0).until(State.READY if role is Role.CLIENT else State.OFFERED)

    events = stage.deliver(Frame(case["json_frames"]["JSON-HEX"]["frame"].encode(), FrameType.TEXT))

    assert events == [e.Proven(), spoken(case)[0]]
