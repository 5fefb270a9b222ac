"""Both ends of the handshakes in `noise_v3.json`, for the tests that need a pair of them."""

from __future__ import annotations

from typing import Any

import pytest

from thalovant_proto.crypto.noise import Handshake, Pattern, Suite
from thalovant_proto.secret import Secret

from ..vectors import load

VECTORS: list[dict[str, Any]] = load("noise_v3")["vectors"]
ROLES = ("initiator", "responder")

every_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])


def secret(hexadecimal: str) -> Secret[bytes]:
    return Secret(bytes.fromhex(hexadecimal))


def handshake(vector: dict[str, Any], role: str, **changes: Any) -> Handshake:
    """One end of the vector's handshake, with its PSK; `changes` replace arguments, or the PSK."""
    pattern = Pattern(vector["pattern"])
    psk = changes.pop("psk", secret(vector["psk"]))
    peer = ROLES[role == "initiator"]
    arguments = {
        "initiator": role == "initiator",
        "pattern": pattern,
        "suite": Suite(vector["suite"]),
        "prologue": bytes.fromhex(vector["prologue"]),
        "static": secret(vector[f"{role}_static_private"]),
        "ephemeral": secret(vector[f"{role}_ephemeral_private"]),
        "remote_static": bytes.fromhex(vector[f"{peer}_static_public"]) if pattern is Pattern.KK else None,
    }
    made = Handshake(**(arguments | changes))
    made.psk = psk
    return made


def script(vector: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The messages of the vector's handshake, in order: payload, and what travels."""
    steps = [(vector[f"message_{n}_payload_utf8"], vector[f"message_{n}"]) for n in (1, 2, 3)]
    return [(payload.encode(), bytes.fromhex(message)) for payload, message in steps if message is not None]


def at_step(vector: dict[str, Any], role: str, step: int, **changes: Any) -> Handshake:
    """That end when message `step` (from 0) is next, brought there by the vector's own messages."""
    end = handshake(vector, role, **changes)
    for number, (payload, message) in enumerate(script(vector)[:step]):
        if role == ROLES[number % 2]:
            end.write_message(payload)
        else:
            end.read_message(message)
    return end


def reader(vector: dict[str, Any], step: int, **changes: Any) -> Handshake:
    """The end that has to read message `step` (from 0) now."""
    return at_step(vector, ROLES[1 - step % 2], step, **changes)


def finished_pair(vector: dict[str, Any]) -> tuple[Handshake, Handshake]:
    """Initiator and responder after all messages."""
    initiator, responder = handshake(vector, "initiator"), handshake(vector, "responder")
    writer, other = initiator, responder
    for payload, _ in script(vector):
        other.read_message(writer.write_message(payload))
        writer, other = other, writer
    return initiator, responder
