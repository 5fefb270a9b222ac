"""The client's half of every handshake, and what both halves share.

A handshake object lives from the hub's hello to the keys, holds the secrets of the exchange and goes away with them.
It answers each event with a `Step`; `connection.py` carries steps out. For what its peer did it raises
`RemoteProtocolError`s and `DecodeError`s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from .. import events as e
from ..carrier import Carrier
from ..codec.channel import Channel, LegacyChannel, NoiseChannel
from ..crypto.encodings import Encoding
from ..crypto.kdf import Kdf, psk_salt
from ..crypto.legacy import Cipher, LegacyCipher, crypto_key
from ..crypto.noise import Handshake, Pattern, Suite, prologue
from ..crypto.noise_transport import NoiseTransport
from ..entropy import Entropy
from ..errors import (
    CredentialsMissing,
    CredentialsRefused,
    DecodeError,
    DowngradeRefused,
    PeerKeyChanged,
    RemoteProtocolError,
)
from ..jsontext import canonical
from ..limits import Limits
from ..secret import Secret
from ..trust import Trust, fingerprint
from . import password as hsub

#: The encodings that every hub takes; the others are home-made (real-hubs.md §10). Shortest first.
ENCODINGS: Final = (Encoding.B64, Encoding.HEX)
#: Both ciphers of the wire; AES is the faster one wherever there is a Python for it.
CIPHERS: Final = (Cipher.AES_GCM, Cipher.CHACHA20_POLY1305)
#: ChaChaPoly is the suite that every v3 peer must have (wire.md §5.1).
SUITES: Final = (Suite.CHACHAPOLY, Suite.AESGCM)
ENCODING_NAMED: Final = {encoding.value: encoding for encoding in Encoding}
CIPHER_NAMED: Final = {cipher.value: cipher for cipher in Cipher}
#: The code of the error for a hub whose answer in KK does not authenticate: one XX shows what is wrong.
KK_UNREADABLE: Final = "kk_unreadable"


@frozen(kw_only=True)
class Derivation:
    """A key to derive before the handshake can go on, and how it goes on."""

    kdf: Kdf
    secret: Secret[bytes]
    salt: bytes = field(repr=False)
    then: Callable[[Secret[bytes]], Step] = field(repr=False)


@frozen(kw_only=True)
class Step:
    """The next step of a handshake, in this order: say these in clear, derive that, take the keys, seal these.

    `completed` comes with the keys. `proves`: the peer has proven itself by the event that this step answers.
    """

    say: tuple[e.ClearEvent, ...] = ()
    derive: Derivation | None = None
    channel: Channel | None = None
    completed: e.HandshakeCompleted | None = None
    seal: tuple[e.Message, ...] = ()
    proves: bool = False


#: The handler of the event that is due; the table in `state.py` has made sure that it is of that kind.
Answer: TypeAlias = Callable[[Any], Step]


@frozen(kw_only=True)
class ClientSide:
    """The client's contribution to a connection.

    `pin_id` names the hub in `trust.pins`. `crypto_key` is the text of the identity. `session` and `site_id` go into
    the sealed hello. `allow_legacy` takes v0 and v1 over carriers that are not `secure`; it never overrides a hub that
    was seen with v3. `allow_kk` is off for the one retry after a failed `KKpsk0`.
    """

    access_key: Secret[str]
    password: Secret[str] | None = None
    crypto_key: Secret[str] | None = None
    trust: Trust
    pin_id: str
    session: e.Json = field(factory=dict)
    site_id: str = ""
    pubkey: str = ""
    binarize: bool = False
    allow_legacy: bool = False
    allow_kk: bool = True

    def hello(self) -> e.ClientHello:
        """The client's first sealed message."""
        return e.ClientHello(payload={"pubkey": self.pubkey, "session": self.session, "site_id": self.site_id})


class ClientHandshake:
    """The client: answers the hub's hello and offer, then its second Noise message or its password proof."""

    def __init__(self, side: ClientSide, carrier: Carrier, *, entropy: Entropy, limits: Limits) -> None:
        self._side = side
        self._carrier = carrier
        self._entropy = entropy
        self._limits = limits
        self._hello: e.Json = {}
        self._answer: Answer = self._hear_hello

    def receive(self, event: e.ClearEvent) -> Step:
        """The answer to the handshake event of the hub that is due."""
        return self._answer(event)

    def _hear_hello(self, hello: e.HubHello) -> Step:
        self._hello = hello.payload
        self._answer = self._choose
        return Step()

    def _choose(self, offered: e.Offer) -> Step:
        offer, side = offered.payload, self._side
        if isinstance(noise := offer.get("noise"), dict):
            return self._begin_noise(offer, noise)
        self._refuse_downgrade()
        by_password = offer.get("password") is True or offer.get("handshake") is True
        preshared = offer.get("preshared_key") is True
        if not (by_password or preshared):
            raise RemoteProtocolError("the hub offers no handshake that we know")
        # Where the hub reads bit frames only, a client with a crypto key must use it (real-hubs.md §5.2).
        if preshared and side.crypto_key and not (by_password and side.password and self._carrier.text_up):
            return self._use_preshared(side.crypto_key)
        if by_password and side.password:
            return self._prove(offer, side.password)
        wanted = "password" if by_password else "crypto_key"
        raise CredentialsMissing(
            f"the hub asks for a handshake by {wanted}, and the identity has no {wanted}",
            hint=f"add the {wanted} that the hub holds for this client to the identity",
        )

    def _refuse_downgrade(self) -> None:
        if self._side.trust.noise_seen:
            raise DowngradeRefused(
                "the hub offers no Noise handshake (v3), but was seen with it before",
                hint="somebody may be in between; if the hub really went back, forget its pins",
            )
        if not (self._carrier.secure or self._side.allow_legacy):
            raise DowngradeRefused(
                "the hub offers only a legacy handshake, over a connection without verified TLS",
                hint="use wss:// or https://, or pass allow_legacy=True",
            )

    # v3

    def _begin_noise(self, offer: e.Json, noise: e.Json) -> Step:
        side = self._side
        pattern, suite = self._shared_noise(noise)
        node_id = self._hello.get("node_id")
        if not isinstance(node_id, str) or not node_id:
            raise RemoteProtocolError("node_id is missing in the hub's hello")
        if not side.password:
            raise CredentialsMissing(
                "the hub asks for a Noise handshake, and the identity has no password",
                hint="add the password that the hub holds for this client to the identity",
            )
        handshake = Handshake(
            initiator=True,
            pattern=pattern,
            suite=suite,
            prologue=prologue(self._hello, offer, pattern, suite),
            static=side.trust.static_key,
            remote_static=side.trust.pins[side.pin_id] if pattern is Pattern.KK else None,
            ephemeral=Secret(self._entropy(32)),
        )
        initiator = _Initiator(side, handshake, pattern=pattern, suite=suite, node_id=node_id, limits=self._limits)
        self._answer = initiator.finish
        known = side.trust.psk_for(side.access_key, node_id, side.password)
        if known is not None:
            return initiator.start(known)
        secret, salt = Secret(side.password.as_bytes()), psk_salt(node_id)
        return Step(derive=Derivation(kdf=Kdf.ARGON2ID, secret=secret, salt=salt, then=initiator.start_derived))

    def _shared_noise(self, noise: e.Json) -> tuple[Pattern, Suite]:
        side, patterns = self._side, noise.get("patterns")
        suite = next((suite for suite in SUITES if _lists(noise.get("suites"), suite.value)), None)
        pattern = None
        if side.allow_kk and side.pin_id in side.trust.pins and _lists(patterns, Pattern.KK.value):
            pattern = Pattern.KK
        elif _lists(patterns, Pattern.XX.value):
            pattern = Pattern.XX
        if pattern is None or suite is None:
            raise RemoteProtocolError("the hub offers Noise without a pattern and suite that we share")
        return pattern, suite

    # v1

    def _prove(self, offer: e.Json, password: Secret[str]) -> Step:
        encodings = _shared(offer.get("encodings"), [encoding.value for encoding in ENCODINGS])
        ciphers = _shared(offer.get("ciphers"), [cipher.value for cipher in CIPHERS])
        if not encodings or not ciphers:
            raise RemoteProtocolError("the hub offers no encoding or no cipher that we share")
        iv = self._entropy(hsub.IV_SIZE)
        proof = e.Proof(
            envelope=hsub.envelope(password, iv), encodings=encodings, ciphers=ciphers, binarize=self._side.binarize
        )
        self._answer = partial(self._check_proof, password, iv, proof)
        return Step(say=(proof,))

    def _check_proof(self, password: Secret[str], iv: bytes, ours: e.Proof, theirs: e.ProofAnswer) -> Step:
        salt = hsub.salt(iv, hsub.envelope_iv(theirs.envelope))
        if not hsub.verify(password, theirs.envelope):
            raise CredentialsRefused(
                "the hub does not prove the same password: ours is not the hub's",
                code="wrong_password",
                hint="check the identity's password, or create a new client identity",
            )
        if theirs.encoding not in ours.encodings or theirs.cipher not in ours.ciphers:
            raise RemoteProtocolError("the hub chose an encoding or a cipher that we did not offer")
        cipher, encoding = CIPHER_NAMED[theirs.cipher], ENCODING_NAMED[theirs.encoding]

        def derived(key: Secret[bytes]) -> Step:
            return self._keyed(e.Generation.PASSWORD, LegacyCipher(key, cipher, encoding), proves=True)

        secret = Secret(password.as_bytes())
        return Step(derive=Derivation(kdf=Kdf.PBKDF2, secret=secret, salt=salt, then=derived))

    # v0

    def _use_preshared(self, text: Secret[str]) -> Step:
        try:
            key = crypto_key(text.reveal())
        except ValueError as error:
            raise CredentialsMissing(
                f"the identity has no usable crypto_key: {error}",
                hint="add the crypto_key that the hub holds for this client to the identity",
            ) from None
        return self._keyed(e.Generation.PRESHARED, LegacyCipher(key, Cipher.AES_GCM, Encoding.HEX), proves=False)

    def _keyed(self, generation: e.Generation, cipher: LegacyCipher, *, proves: bool) -> Step:
        node_id = self._hello.get("node_id")
        channel = LegacyChannel(
            cipher,
            generation=generation,
            text=self._carrier.text_up,
            binary=self._carrier.legacy_binary_up,
            binarize=self._side.binarize,
            entropy=self._entropy,
            limits=self._limits,
        )
        completed = e.HandshakeCompleted(generation=generation, node_id=node_id if isinstance(node_id, str) else "")
        return Step(channel=channel, completed=completed, seal=(self._side.hello(),), proves=proves)


class _Initiator:
    """v3 as a client: the first Noise message, and what follows the second."""

    def __init__(
        self, side: ClientSide, handshake: Handshake, *, pattern: Pattern, suite: Suite, node_id: str, limits: Limits
    ) -> None:
        self._side = side
        self._handshake = handshake
        self._pattern = pattern
        self._suite = suite
        self._node_id = node_id
        self._limits = limits
        self._derived: Secret[bytes] | None = None

    def start(self, psk: Secret[bytes]) -> Step:
        """The first message, under a PSK that was known."""
        self._handshake.psk = psk
        message = self._handshake.write_message(canonical({"binarize": self._side.binarize, "encodings": []}))
        first = e.Xx1 if self._pattern is Pattern.XX else e.Kk1
        return Step(say=(first(suite=self._suite.value, message=message),))

    def start_derived(self, psk: Secret[bytes]) -> Step:
        """The first message, under a PSK that is worth remembering."""
        self._derived = psk
        return self.start(psk)

    def finish(self, answer: e.Noise2) -> Step:
        """The hub's message: the third, in XX, and the keys."""
        handshake = self._handshake
        try:
            handshake.read_message(answer.message)  # its payload says nothing (real-hubs.md §6)
        except DecodeError:
            self._compare_pin(handshake.claimed_static)  # another key is the verdict, whatever else is wrong
            raise self._unreadable() from None
        say = () if handshake.finished else (e.Noise3(message=handshake.write_message(b"")),)
        key = handshake.remote_static
        self._compare_pin(key)
        send, receive = handshake.split()
        transport = NoiseTransport(send, receive, limits=self._limits)
        return Step(
            say=say,
            channel=NoiseChannel(transport, binarize=self._side.binarize),
            completed=e.HandshakeCompleted(
                generation=e.Generation.NOISE,
                node_id=self._node_id,
                pattern=self._pattern.value,
                peer_static=key,
                psk=self._derived,
            ),
            # Every v3 hub answers a rendezvous under the keys: the proof that it did not throw us out.
            seal=(self._side.hello(), e.Rendezvous()),
        )

    def _unreadable(self) -> RemoteProtocolError:
        if self._pattern is Pattern.KK:
            why = "the hub's answer to a pinned handshake does not authenticate"
            return RemoteProtocolError(why, code=KK_UNREADABLE)
        return CredentialsRefused(
            "the hub's answer does not authenticate: the password is not the hub's",
            code="wrong_password",
            hint="check the identity's password, or create a new client identity",
        )

    def _compare_pin(self, key: bytes | None) -> None:
        pinned = self._side.trust.pins.get(self._side.pin_id)
        if key is not None and pinned is not None and pinned != key:
            raise PeerKeyChanged(
                f"the hub's key changed: pinned {fingerprint(pinned)}, now {fingerprint(key)}",
                expected=fingerprint(pinned),
                received=fingerprint(key),
                hint="if the hub was really replaced, forget the pinned key; otherwise somebody is in between",
            )


def _lists(names: Any, name: str) -> bool:
    return isinstance(names, list) and name in names


def _shared(theirs: Any, ours: Sequence[str]) -> tuple[str, ...]:
    # An offer without the list leaves the choice to the client.
    return tuple(name for name in ours if not isinstance(theirs, list) or name in theirs)
