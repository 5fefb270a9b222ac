"""The two ways to seal a session: Noise (v3), and one legacy key for both directions (v0, v1). Events in, frames out.

A channel exists from the moment the keys do. `open` raises `Unauthentic` for a frame that is not the peer's next one
and changes nothing by it, and `DecodeError` for one that is, but breaks the rules.
"""

from __future__ import annotations

from typing import Protocol

from .. import events as e, jsontext
from ..carrier import Frame, FrameType
from ..crypto.legacy import LegacyCipher
from ..crypto.noise import Unauthentic
from ..crypto.noise_transport import Body, BodyKind, NoiseTransport
from ..entropy import Entropy
from ..errors import DecodeError, LocalProtocolError
from ..limits import Limits
from .envelope import encode, looks_like_text, parse_sealed


class Channel(Protocol):
    """The interface of both channels to `HubConnection`."""

    @property
    def generation(self) -> e.Generation:
        """The wire generation of the keys."""

    @property
    def used_up(self) -> float:
        """The spent share of the keys' life, 0 to 1; at 1 nothing more may be sealed or opened."""

    @property
    def next_timeout(self) -> float | None:
        """The time at which an unfinished message is given up."""

    def seal(self, event: e.Message) -> list[Frame]:
        """The frames of an event, to be sent in this order with no other between them."""

    def open(self, frame: Frame, now: float) -> e.Message | None:
        """The event that this frame completes, None while pieces are missing."""

    def handle_timeout(self, now: float) -> None:
        """Raises `DecodeError` if an unfinished message was given up."""


class NoiseChannel:
    """A v3 session."""

    __slots__ = ("_binarize", "_transport", "next_timeout")

    generation = e.Generation.NOISE
    used_up: float = 0.0  # nonces are 64 bits wide

    def __init__(self, transport: NoiseTransport, *, binarize: bool) -> None:
        self._transport = transport
        self._binarize = binarize
        self.next_timeout: float | None = None  # as the transport's

    def seal(self, event: e.Message) -> list[Frame]:
        # Never compressed: secrets and a peer's text in one stream would leak through its length (security.md §11).
        body = encode(event, text=True, binarize=self._binarize, compress=False)
        frames = self._transport.seal(body.kind, body.data)
        if len(frames) == 1:  # most messages; a comprehension is a call of its own
            return [Frame(frames[0], FrameType.BINARY)]
        return [Frame(frame, FrameType.BINARY) for frame in frames]

    def open(self, frame: Frame, now: float) -> e.Message | None:
        if frame.type is FrameType.TEXT:
            raise Unauthentic("a text frame came into a Noise session")
        body = self._transport.open(frame.data, now)
        self.next_timeout = self._transport.next_timeout
        return None if body is None else parse_sealed(body)

    def handle_timeout(self, now: float) -> None:
        self._transport.handle_timeout(now)


class LegacyChannel:
    """A v0 or v1 session: one key for both directions, random nonces, each of which counts once.

    Remembering every nonce, ours too, is what refuses replay and reflection within the session. `text` and `binary`
    say which frames the peer reads. Text frames get nonces as long as those of the peer's last one: some peers open no
    others. With `in_kind` a peer whose messages come as binary frames, where frames have no types, is answered by such.
    """

    __slots__ = (
        "_binarize", "_binary", "_cipher", "_entropy", "_in_kind", "_limits", "_nonce_size", "_nonces", "_text",
        "generation",
    )  # fmt: skip

    next_timeout: float | None = None

    def __init__(
        self,
        cipher: LegacyCipher,
        *,
        generation: e.Generation,
        text: bool,
        binary: bool,
        binarize: bool,
        entropy: Entropy,
        limits: Limits,
        in_kind: bool = False,
    ) -> None:
        self.generation: e.Generation = generation
        self._cipher = cipher
        self._text = text
        self._binary = binary
        self._binarize = binarize and binary
        self._in_kind = in_kind
        self._entropy = entropy
        self._limits = limits
        self._nonces: set[bytes] = set()
        self._nonce_size = cipher.nonce_size  # of text frames

    @property
    def used_up(self) -> float:
        return len(self._nonces) / self._limits.legacy_frames

    def seal(self, event: e.Message) -> list[Frame]:
        if isinstance(event, e.Binary) and not self._binary:
            raise LocalProtocolError(
                "a legacy hub takes no binary message over this carrier",
                code="no_binary_up",
                hint="use WSS or MQTT, or send the bytes as text in a bus message",
            )
        # Always compressed: a stable peer takes every binary frame for a compressed one (wire.md §4.2).
        body = encode(event, text=self._text, binarize=self._binarize, compress=True)
        nonce = self._entropy(self._nonce_size if body.kind is BodyKind.JSON else self._cipher.nonce_size)
        self._nonces.add(nonce)
        if body.kind is BodyKind.JSON:
            return [Frame(self._cipher.seal_text(body.data, nonce), FrameType.TEXT)]
        return [Frame(self._cipher.seal_binary(body.data, nonce), FrameType.BINARY)]

    def open(self, frame: Frame, now: float) -> e.Message | None:
        kind, nonce, data = self._unseal(frame)
        if nonce in self._nonces:
            raise DecodeError("a frame was replayed or reflected")
        self._nonces.add(nonce)
        if kind is BodyKind.JSON:
            self._nonce_size = len(nonce)
        event = parse_sealed(Body(kind, data))
        if self._in_kind and frame.type is FrameType.UNTYPED and not isinstance(event, e.Binary):
            self._binarize = kind is BodyKind.WIRE1
        return event

    def handle_timeout(self, now: float) -> None:
        """Nothing is ever unfinished: legacy frames are whole."""

    def _unseal(self, frame: Frame) -> tuple[BodyKind, bytes, bytes]:
        try:
            if looks_like_text(frame):
                try:
                    return BodyKind.JSON, *self._cipher.open_text(self._sealed_object(frame.data))
                except DecodeError:
                    # A random nonce may begin like JSON: where the carrier does not say what a frame is, the key does.
                    if frame.type is FrameType.TEXT:
                        raise
            return BodyKind.WIRE1, *self._cipher.open_binary(frame.data)
        except DecodeError as error:
            raise Unauthentic(str(error)) from None

    def _sealed_object(self, data: bytes) -> e.Json:
        # Three short keys with text: no deeper than one level, as long as a frame may be.
        found = jsontext.loads(data, max_size=self._limits.frame, max_depth=2)
        if not isinstance(found, dict) or "ciphertext" not in found:
            raise DecodeError("a clear frame came where only sealed ones may")
        return found
