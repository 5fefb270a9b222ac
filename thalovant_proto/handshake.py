"""The client's half of every handshake, and what both halves share.

A handshake object lives from the hub's hello to the keys, holds the secrets of the exchange and goes away with them.
It answers each event with a `Step`; `connection.py` carries steps out. It raises `RemoteProtocolError`s for its peer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import field, frozen

from . import events as e
from . import password as hsub
from .channel import Channel, Entropy, LegacyChannel, NoiseChannel
from .encodings import Encoding
from .errors import (
    CredentialsMissing,
    CredentialsRefused,
    DecodeError,
    DowngradeRefused,
    PeerKeyChanged,
    RemoteProtocolError,
)
from .jsontext import canonical
from .kdf import Kdf, psk_salt
from .limits import Limits
from .links.base import Carrier
from .noise import Handshake, Pattern, Suite, prologue
from .noise_transport import NoiseTransport
from .sealing import Cipher, LegacyCipher, crypto_key
from .secret import Secret
from .trust import Trust, fingerprint

#: The encodings that every hub takes; the others are home-made (real-hubs.md §10). Shortest first.
ENCODINGS: Final = (Encoding.B64, Encoding.HEX)
#: Both ciphers of the wire; AES is the faster one wherever there is a Python for it.
CIPHERS: Final = (Cipher.AES_GCM, Cipher.CHACHA20_POLY1305)
#: ChaChaPoly is the suite that every v3 peer must have (wire.md §5.1).
SUITES: Final = (Suite.CHACHAPOLY, Suite.AESGCM)
ENCODING_NAMED: Final = {encoding.value: encoding for encoding in Encoding}
CIPHER_NAMED: Final = {cipher.value: cipher for cipher in Cipher}


@frozen(kw_only=True)
class Derivation:
    """A key to derive before the handshake can go on, and how it goes on."""

    kdf: Kdf
    secret: Secret[bytes]
    salt: bytes = field(repr=False)
    then: Callable[[Secret[bytes]], Step] = field(repr=False)


@frozen(kw_only=True)
class Step:
    """What to do next: say these, then derive that; or take the keys."""

    say: tuple[e.Event, ...] = ()
    derive: Derivation | None = None
    channel: Channel | None = None
    completed: e.HandshakeCompleted | None = None


@frozen(kw_only=True)
class ClientSide:
    """What a client brings to a connection.

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


class ClientHandshake:
    """The client: answers the hub's hello, offer, second Noise message or password proof."""

    def __init__(self, side: ClientSide, carrier: Carrier, *, entropy: Entropy, limits: Limits) -> None:
        self._side = side
        self._carrier = carrier
        self._entropy = entropy
        self._limits = limits
        self._hello: e.Json = {}
        self._noise: Handshake | None = None
        self._pattern = Pattern.XX
        self._iv = b""
        self._derived: Secret[bytes] | None = None
        self._offered: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def receive(self, event: e.Event) -> Step:
        """The answer to a handshake event of the hub."""
        match event:
            case e.HubHello(payload=payload):
                self._hello = payload
                return Step()
            case e.Offer(payload=payload):
                return self._choose(payload)
            case e.Noise2(message=message):
                return self._finish_noise(message)
            case _:
                assert isinstance(event, e.ProofAnswer)  # noqa: S101 - the table lets nothing else through
                return self._check_proof(event)

    def _choose(self, offer: e.Json) -> Step:
        if isinstance(noise := offer.get("noise"), dict):
            return self._start_noise(offer, noise)
        self._refuse_downgrade()
        side = self._side
        by_password = offer.get("password") is True or offer.get("handshake") is True
        preshared = offer.get("preshared_key") is True and side.crypto_key is not None
        # Where the hub reads bit frames only, a client with a crypto key must use it (real-hubs.md §5.2).
        if preshared and not (by_password and side.password and self._carrier.text_up):
            return self._use_preshared()
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

    def _start_noise(self, offer: e.Json, noise: e.Json) -> Step:
        side = self._side
        patterns, suites = noise.get("patterns"), noise.get("suites")
        suite = next((suite for suite in SUITES if _lists(suites, suite.value)), None)
        pinned = side.trust.pins.get(side.pin_id)
        if pinned and side.allow_kk and _lists(patterns, Pattern.KK.value):
            pattern = Pattern.KK
        elif _lists(patterns, Pattern.XX.value):
            pattern = Pattern.XX
        else:
            suite = None
        if suite is None:
            raise RemoteProtocolError("the hub offers Noise without a pattern and suite that we share")
        node_id = self._hello.get("node_id")
        if not isinstance(node_id, str) or not node_id:
            raise RemoteProtocolError("node_id is missing in the hub's hello")
        if not side.password:
            raise CredentialsMissing(
                "the hub asks for a Noise handshake, and the identity has no password",
                hint="add the password that the hub holds for this client to the identity",
            )
        self._pattern = pattern
        self._noise = Handshake(
            initiator=True,
            pattern=pattern,
            suite=suite,
            prologue=_prologue(self._hello, offer, pattern, suite),
            static=side.trust.static_key,
            remote_static=pinned if pattern is Pattern.KK else None,
            ephemeral=Secret(self._entropy(32)),
        )
        known = side.trust.psk_for(side.access_key, node_id, side.password)
        if known is not None:
            return self._first_message(known, pattern, suite)

        def derived(psk: Secret[bytes]) -> Step:
            self._derived = psk
            return self._first_message(psk, pattern, suite)

        secret = Secret(side.password.as_bytes())
        return Step(derive=Derivation(kdf=Kdf.ARGON2ID, secret=secret, salt=psk_salt(node_id), then=derived))

    def _first_message(self, psk: Secret[bytes], pattern: Pattern, suite: Suite) -> Step:
        assert self._noise is not None  # noqa: S101 - set where this step was planned
        self._noise.psk = psk
        message = self._noise.write_message(canonical({"binarize": self._side.binarize, "encodings": []}))
        first = e.Xx1 if pattern is Pattern.XX else e.Kk1
        return Step(say=(first(suite=suite.value, message=message),))

    def _finish_noise(self, message: bytes) -> Step:
        noise, side = self._noise, self._side
        assert noise is not None  # noqa: S101 - the table: only after a first message of ours
        try:
            noise.read_message(message)  # its payload says nothing (real-hubs.md §6)
        except DecodeError:
            if self._pattern is Pattern.KK:  # the hub could read ours, so it has the password
                raise RemoteProtocolError("the hub's answer to a pinned handshake does not authenticate") from None
            raise CredentialsRefused(
                "the hub's answer does not authenticate: the password is not the hub's",
                code="wrong_password",
                hint="check the identity's password, or create a new client identity",
            ) from None
        say: tuple[e.Event, ...] = ()
        if not noise.finished:
            say = (e.Noise3(message=noise.write_message(b"")),)
        key, pinned = noise.remote_static, side.trust.pins.get(side.pin_id)
        if pinned is not None and pinned != key:
            raise PeerKeyChanged(
                f"the hub's key changed: pinned {fingerprint(pinned)}, now {fingerprint(key)}",
                expected=fingerprint(pinned),
                received=fingerprint(key),
                hint="if the hub was really replaced, forget the pinned key; otherwise somebody is in between",
            )
        send, receive = noise.split()
        return Step(
            say=say,
            channel=NoiseChannel(
                NoiseTransport(send, receive, limits=self._limits), binarize=side.binarize, limits=self._limits
            ),
            completed=e.HandshakeCompleted(
                generation=e.Generation.NOISE,
                node_id=self._hello["node_id"],
                pattern=self._pattern.value,
                peer_static=key,
                psk=self._derived,
            ),
        )

    # v1

    def _prove(self, offer: e.Json, password: Secret[str]) -> Step:
        encodings = _shared(offer.get("encodings"), [encoding.value for encoding in ENCODINGS])
        ciphers = _shared(offer.get("ciphers"), [cipher.value for cipher in CIPHERS])
        if not encodings or not ciphers:
            raise RemoteProtocolError("the hub offers no encoding or no cipher that we share")
        self._iv = self._entropy(hsub.IV_SIZE)
        self._offered = (encodings, ciphers)
        return Step(
            say=(
                e.Proof(
                    envelope=hsub.envelope(password, self._iv),
                    encodings=encodings,
                    ciphers=ciphers,
                    binarize=self._side.binarize,
                ),
            )
        )

    def _check_proof(self, answer: e.ProofAnswer) -> Step:
        password = self._side.password
        assert password is not None  # noqa: S101 - the table: only after a proof of ours
        theirs = _proof_iv(answer.envelope, own=self._iv)
        if not hsub.verify(password, answer.envelope):
            raise CredentialsRefused(
                "the hub does not prove the same password: ours is not the hub's",
                code="wrong_password",
                hint="check the identity's password, or create a new client identity",
            )
        encodings, ciphers = self._offered
        if answer.encoding not in encodings or answer.cipher not in ciphers:
            raise RemoteProtocolError("the hub chose an encoding or a cipher that we did not offer")

        def derived(key: Secret[bytes]) -> Step:
            return self._keyed(e.Generation.PASSWORD, key, CIPHER_NAMED[answer.cipher], ENCODING_NAMED[answer.encoding])

        secret, salt = Secret(password.as_bytes()), hsub.salt(self._iv, theirs)
        return Step(derive=Derivation(kdf=Kdf.PBKDF2, secret=secret, salt=salt, then=derived))

    # v0

    def _use_preshared(self) -> Step:
        assert self._side.crypto_key is not None  # noqa: S101 - the caller's condition
        key = crypto_key(self._side.crypto_key.reveal())
        return self._keyed(e.Generation.PRESHARED, key, Cipher.AES_GCM, Encoding.HEX)

    def _keyed(self, generation: e.Generation, key: Secret[bytes], cipher: Cipher, encoding: Encoding) -> Step:
        node_id = self._hello.get("node_id")
        channel = LegacyChannel(
            LegacyCipher(key, cipher, encoding),
            generation=generation,
            text=self._carrier.text_up,
            binarize=self._side.binarize,
            entropy=self._entropy,
            limits=self._limits,
        )
        fact = e.HandshakeCompleted(generation=generation, node_id=node_id if isinstance(node_id, str) else "")
        return Step(channel=channel, completed=fact)


def _lists(names: Any, name: str) -> bool:
    return isinstance(names, list) and name in names


def _shared(theirs: Any, ours: Sequence[str]) -> tuple[str, ...]:
    # An offer without the list leaves the choice to the client.
    return tuple(name for name in ours if not isinstance(theirs, list) or name in theirs)


def _prologue(hello: e.Json, offer: e.Json, pattern: Pattern, suite: Suite) -> bytes:
    try:
        return prologue(hello, offer, pattern, suite)
    except ValueError:
        raise RemoteProtocolError("the hub's hello or offer has no canonical form") from None


def _proof_iv(envelope: str, *, own: bytes) -> bytes:
    try:
        theirs = hsub.envelope_iv(envelope)
    except DecodeError as error:
        raise RemoteProtocolError(f"the password proof is malformed: {error}") from None
    if theirs == own:
        raise RemoteProtocolError("the password proof reflects our own iv")
    return theirs
