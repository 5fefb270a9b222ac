"""The hub's half of every handshake. What both halves share is in `handshake.py`."""

from __future__ import annotations

import hmac
from functools import partial
from typing import Any

from attrs import evolve, field, frozen
from attrs.validators import optional

from .. import events as e
from ..codec.channel import LegacyChannel, NoiseChannel
from ..codec.legacy_policy import LEGACY_POLICY, OFFERED_ENCODINGS
from ..crypto.encodings import Encoding
from ..crypto.kdf import Kdf, psk_salt
from ..crypto.legacy import Cipher, LegacyCipher, crypto_key
from ..crypto.noise import Handshake, Pattern, Suite, prologue
from ..crypto.noise_transport import NoiseTransport
from ..entropy import Entropy
from ..errors import CredentialsRefused, DecodeError, DowngradeRefused, RemoteProtocolError
from ..jsontext import loads
from ..limits import HANDSHAKE_FRAME, Limits
from ..secret import Secret
from ..trust import key_sized
from . import password as hsub
from .client import CIPHER_NAMED, CIPHERS, ENCODING_NAMED, SUITES, Answer, Derivation, Step


def _usable(instance: object, attribute: Any, value: Secret[str]) -> None:
    crypto_key(value.reveal())


@frozen(kw_only=True)
class HubSide:
    """The hub's contribution to the connection of one client: its own identity, and the client's registered secrets.

    `generation` is the client's: it gets that handshake offered and no other. `peer` is the hub's name for the
    connection, `pubkey` the hub's RSA public key as PEM. `psk` is the client's cached Noise PSK, `pinned` its static
    key, None before first contact; both have 32 bytes, as has `static_key`.

    Raises `ValueError` for keys that cannot be used.
    """

    node_id: str
    pubkey: str = ""
    static_key: Secret[bytes] = field(validator=key_sized)
    peer: str
    generation: e.Generation = e.Generation.NOISE
    password: Secret[str] | None = None
    crypto_key: Secret[str] | None = field(default=None, validator=optional(_usable))
    psk: Secret[bytes] | None = field(default=None, validator=optional(key_sized))
    pinned: bytes | None = field(default=None, validator=optional(key_sized))
    binarize: bool = False
    # Off: a proof of the password is taken, but a client with another secret is not asked for it at first.
    offers_password: bool = True

    def hello(self) -> e.HubHello:
        """The hub's first frame."""
        return e.HubHello(payload={"pubkey": self.pubkey, "peer": self.peer, "node_id": self.node_id})

    def offer(self) -> e.Offer:
        """The hub's second frame: the one handshake of this client's generation (wire.md §1.3)."""
        encodings = [encoding.value for encoding in OFFERED_ENCODINGS]
        ciphers = [Cipher.CHACHA20_POLY1305.value, Cipher.AES_GCM.value]
        common: e.Json = {"binarize": self.binarize, "encodings": encodings, "ciphers": ciphers}
        if self.generation is e.Generation.NOISE:
            patterns = [Pattern.KK.value, Pattern.XX.value] if self.pinned else [Pattern.XX.value]
            noise = {"patterns": patterns, "suites": [suite.value for suite in SUITES]}
            return e.Offer(payload={"max_protocol_version": 3, **common, "noise": noise})
        preshared = self.generation is e.Generation.PRESHARED
        return e.Offer(
            payload={
                "handshake": not preshared,
                "min_protocol_version": 0 if preshared else 1,
                "max_protocol_version": 1,
                "preshared_key": preshared,
                "password": self.password is not None and self.offers_password,
                "crypto_required": True,
                **common,
            }
        )


class HubHandshake:
    """The hub: answers a client's Noise messages or password proof."""

    def __init__(self, side: HubSide, *, entropy: Entropy, limits: Limits) -> None:
        self._side = side
        self._entropy = entropy
        self._limits = limits
        self._hello, self._offer = side.hello(), side.offer()
        self._iv: bytes | None = None  # of every answer to a password proof, once there was one
        self._answer: Answer = self._begin

    def opening(self) -> tuple[e.HubHello, e.Offer]:
        """The two frames that the hub says first."""
        return self._hello, self._offer

    def opening_again(self) -> tuple[e.ClearEvent, ...]:
        """The opening for a v0 client that stays silent; other clients need no second one, or fail by it.

        Those that cannot go by their key alone learn that the password does as well.
        """
        if not LEGACY_POLICY[self._side.generation].greets_twice:
            return ()
        return self._hello, evolve(self._side, offers_password=True).offer()

    def preshared(self) -> LegacyChannel | None:
        """The channel of a v0 client: it needs no handshake."""
        side = self._side
        if side.generation is not e.Generation.PRESHARED or side.crypto_key is None:
            return None
        key = crypto_key(side.crypto_key.reveal())
        return self._legacy(e.Generation.PRESHARED, key, Cipher.AES_GCM, Encoding.HEX, binarize=side.binarize)

    def receive(self, event: e.ClearEvent) -> Step:
        """The answer to the handshake event of the client that is due."""
        return self._answer(event)

    def _begin(self, event: e.ClearHello | e.Xx1 | e.Kk1 | e.Proof) -> Step:
        match event:
            case e.Xx1():
                return self._answer_noise(Pattern.XX, event.suite, event.message)
            case e.Kk1():
                return self._answer_noise(Pattern.KK, event.suite, event.message)
            case e.Proof():
                return self._answer_proof(event)
            case _:
                return Step()  # a client's hello in clear wakes us; it answers nothing

    # v3

    def _answer_noise(self, pattern: Pattern, suite_name: str, message: bytes) -> Step:
        side = self._side
        offered = self._offer.payload.get("noise", {})
        if pattern.value not in offered.get("patterns", ()) or suite_name not in offered.get("suites", ()):
            raise RemoteProtocolError(f"{pattern.value} with this suite was not offered")
        suite = Suite(suite_name)
        handshake = Handshake(
            initiator=False,
            pattern=pattern,
            suite=suite,
            prologue=prologue(self._hello.payload, self._offer.payload, pattern, suite),
            static=side.static_key,
            remote_static=side.pinned if pattern is Pattern.KK else None,
            ephemeral=Secret(self._entropy(32)),
        )
        responder = _Responder(side, handshake, pattern=pattern, limits=self._limits)
        self._answer = responder.finish
        if side.psk is not None:
            return responder.answer(message, side.psk)
        if side.password is None:
            raise CredentialsRefused("this client has no password at the hub")
        secret, salt = Secret(side.password.as_bytes()), psk_salt(side.node_id)
        then = partial(responder.answer_derived, message)
        return Step(derive=Derivation(kdf=Kdf.ARGON2ID, secret=secret, salt=salt, then=then))

    # v1

    def _answer_proof(self, proof: e.Proof) -> Step:
        side = self._side
        if side.generation is e.Generation.NOISE:
            raise DowngradeRefused("this node requires the v3 Noise handshake")
        if side.password is None:
            raise CredentialsRefused("a password proof was not offered to this client")
        if not hsub.verify(side.password, proof.envelope):
            raise CredentialsRefused("password handshake verification failed")
        # The same for each proof of a connection: a client that answers an offer twice makes a key of its newer IV and
        # what it heard first (real-hubs.md §9 d), and that is then the key of the newer proof.
        iv = self._iv = self._iv or self._entropy(hsub.IV_SIZE)
        salt = hsub.salt(iv, hsub.envelope_iv(proof.envelope))
        encoding = _first(proof.encodings, Encoding.HEX.value, [encoding.value for encoding in OFFERED_ENCODINGS])
        cipher = _first(proof.ciphers, Cipher.AES_GCM.value, [cipher.value for cipher in CIPHERS])
        if encoding is None or cipher is None:
            raise RemoteProtocolError("the client takes no encoding or no cipher that was offered")

        def derived(key: Secret[bytes]) -> Step:
            channel = self._legacy(
                e.Generation.PASSWORD, key, CIPHER_NAMED[cipher], ENCODING_NAMED[encoding], binarize=proof.binarize
            )
            return Step(
                say=(answer,),
                channel=channel,
                completed=e.HandshakeCompleted(generation=e.Generation.PASSWORD, node_id=side.node_id),
            )

        # The answer waits for the key: whatever the client seals then finds us able to open it.
        answer = e.ProofAnswer(envelope=hsub.envelope(side.password, iv), encoding=encoding, cipher=cipher)
        secret = Secret(side.password.as_bytes())
        return Step(derive=Derivation(kdf=Kdf.PBKDF2, secret=secret, salt=salt, then=derived))

    def _legacy(
        self, generation: e.Generation, key: Secret[bytes], cipher: Cipher, encoding: Encoding, *, binarize: bool
    ) -> LegacyChannel:
        return LegacyChannel(
            LegacyCipher(key, cipher, encoding),
            generation=generation,
            text=True,
            binary=True,
            binarize=binarize,
            entropy=self._entropy,
            limits=self._limits,
            in_kind=LEGACY_POLICY[generation].answered_in_kind,
        )


class _Responder:
    """v3 as a hub: the answer to the first Noise message, and in XX what follows the third."""

    def __init__(self, side: HubSide, handshake: Handshake, *, pattern: Pattern, limits: Limits) -> None:
        self._side = side
        self._handshake = handshake
        self._pattern = pattern
        self._limits = limits
        self._binarize = False
        self._derived: Secret[bytes] | None = None

    def answer(self, message: bytes, psk: Secret[bytes]) -> Step:
        """The hub's message, under a PSK that was known."""
        self._handshake.psk = psk
        wishes = self._wishes(self._read(message))
        # Unauthenticated until the handshake is over (security.md §14): echoed and kept, acted on by the session only.
        self._binarize = wishes.get("binarize") is True
        encodings = wishes.get("encodings")
        first = encodings[0] if isinstance(encodings, list) and encodings else None
        encoding = first if isinstance(first, str) and first in ENCODING_NAMED else Encoding.HEX.value
        say = (e.Noise2(message=self._handshake.write_message(b'{"encoding": "%s"}' % encoding.encode())),)
        return self._keys(say) if self._handshake.finished else Step(say=say)

    def answer_derived(self, message: bytes, psk: Secret[bytes]) -> Step:
        """The hub's message, under a PSK that is worth remembering."""
        self._derived = psk
        return self.answer(message, psk)

    def finish(self, third: e.Noise3) -> Step:
        """The keys, after the client's last message."""
        self._read(third.message)
        return self._keys(())

    def _keys(self, say: tuple[e.ClearEvent, ...]) -> Step:
        pinned, key = self._side.pinned, self._handshake.remote_static
        if pinned is not None and not hmac.compare_digest(pinned, key):
            raise CredentialsRefused("client Noise static key contradicts the pinned key", code="client_key_rejected")
        send, receive = self._handshake.split()
        transport = NoiseTransport(send, receive, limits=self._limits)
        return Step(
            say=say,
            channel=NoiseChannel(transport, binarize=self._binarize),
            completed=e.HandshakeCompleted(
                generation=e.Generation.NOISE,
                node_id=self._side.node_id,
                pattern=self._pattern.value,
                peer_static=key,
                psk=self._derived,
            ),
        )

    def _wishes(self, payload: bytes) -> e.Json:
        try:
            found = loads(payload, max_size=HANDSHAKE_FRAME, max_depth=4)
        except DecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def _read(self, message: bytes) -> bytes:
        try:
            return self._handshake.read_message(message)
        except DecodeError:
            # One text for every cause: which check failed is nobody's business but ours.
            raise CredentialsRefused("handshake failure") from None


def _first(wanted: tuple[str, ...], default: str, offered: list[str]) -> str | None:
    # The client's first choice that is offered; a missing or empty list means the old default (wire.md §2.1).
    return next((name for name in wanted or (default,) if name in offered), None)
