"""Recorded sessions as scripts: who said what, and their ends, rebuilt from the keys in the vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec.channel import NoiseChannel
from thalovant_proto.codec.envelope import parse_sealed
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.kdf import derive
from thalovant_proto.crypto.noise import Handshake, Pattern, Suite, prologue
from thalovant_proto.crypto.noise_transport import Body, BodyKind, NoiseTransport
from thalovant_proto.events import Event, HubHello, Message, Offer
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role

Json = dict[str, Any]


@frozen
class Recorded:
    """One recorded frame: who sent it, and the message in it if it was sealed and could be read."""

    sender: Role
    frame: Frame
    message: Message | None = None

    @property
    def envelope(self) -> Json:
        """A clear frame's envelope."""
        found: Json = json.loads(self.frame.data)
        return found


def recorded(entry: Json) -> Recorded:
    """A frame of `capture_ws_*.json`."""
    sender = Role.CLIENT if entry["dir"] == "client->hub" else Role.HUB
    text = entry["opcode"] == "text"
    data = entry["data"].encode() if text else bytes.fromhex(entry["data"])
    message, plaintext = None, entry.get("plaintext")
    if plaintext is not None:
        binary = plaintext.startswith("hex:")
        body = Body(BodyKind.WIRE1, bytes.fromhex(plaintext[4:])) if binary else Body(BodyKind.JSON, plaintext.encode())
        message = parse_sealed(body)
    return Recorded(sender, Frame(data, FrameType.TEXT if text else FrameType.BINARY), message)


@frozen(kw_only=True)
class RecordedHub(HubSide):
    """A hub that says the opening that was recorded."""

    said_hello: Json = field(repr=False)
    said_offer: Json = field(repr=False)

    def hello(self) -> HubHello:
        return HubHello(payload=self.said_hello)

    def offer(self) -> Offer:
        return Offer(payload=self.said_offer)


def noise_end(
    *,
    initiator: bool,
    frames: list[Recorded],
    static: Secret[bytes],
    ephemeral: Secret[bytes],
    psk: Secret[bytes],
    peer_static: bytes,
) -> Handshake:
    """One end of a recorded v3 session, before its first message."""
    hello, offer, first = (each.envelope["payload"] for each in frames[:3])
    pattern, suite = Pattern(first["noise"]["pattern"]), Suite(first["noise"]["suite"])
    end = Handshake(
        initiator=initiator,
        pattern=pattern,
        suite=suite,
        prologue=prologue(hello, offer, pattern, suite),
        static=static,
        ephemeral=ephemeral,
        remote_static=peer_static if pattern is Pattern.KK else None,
    )
    end.psk = psk
    return end


def channel(end: Handshake) -> NoiseChannel:
    """The channel of a finished handshake."""
    send, receive = end.split()
    return NoiseChannel(NoiseTransport(send, receive), binarize=False)


def scripted(*pieces: bytes) -> Callable[[int], bytes]:
    """Entropy that gives these pieces, in this order, and nothing else."""
    left = list(pieces)

    def entropy(size: int) -> bytes:
        piece = left.pop(0)
        assert len(piece) == size
        return piece

    return entropy


def heard(connection: HubConnection, frame: Frame) -> list[Event]:
    """What a connection makes of a frame, derivations done in earnest."""
    events = connection.receive(frame, 0.0)
    for effect in connection.effects():
        events += connection.effect_done(effect.id, derive(effect), 0.0)
    return events


def said(connection: HubConnection) -> list[Frame]:
    """What it has to say now."""
    return [frame for frame, _ in connection.frames_to_send()]


def secret(hexadecimal: str) -> Secret[bytes]:
    """A key as the vectors write it."""
    return Secret(bytes.fromhex(hexadecimal))


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts say the same."""
    return bool(json.loads(one) == json.loads(other))
