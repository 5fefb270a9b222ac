"""Noise for v3: the handshakes `XXpsk2` and `KKpsk0` in both suites and both roles, and the ciphers they end in.

Follows the Noise Protocol Framework, revision 34, whose terms it uses, on the primitives of `cryptography`. The client
is the initiator, the hub the responder (wire.md §5.1). How sealed messages are framed is `noise_transport`.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ..errors import DecodeError, LocalProtocolError
from ..jsontext import canonical
from ..secret import KEY_SIZE, Secret

MAX_MESSAGE: Final = 65_535  # of every Noise message, handshake or transport, in bytes (Noise §3)
TAG_SIZE: Final = 16  # what a seal adds, in bytes

_LAST_NONCE: Final = 2**64 - 1  # reserved (wire.md §5.5)


class Pattern(enum.Enum):
    """A handshake pattern: it says which static keys are known beforehand. The value is the name on the wire."""

    XX = "XXpsk2"  # first contact: nobody; both keys travel
    KK = "KKpsk0"  # both keys are pinned


class Suite(enum.Enum):
    """The primitives. The value is the name on the wire."""

    CHACHAPOLY = "25519_ChaChaPoly_SHA256"
    AESGCM = "25519_AESGCM_SHA256"


class Unauthentic(DecodeError):
    """The message was not sealed with our key at this place of the stream. Nothing has changed by trying."""


def protocol_name(pattern: Pattern, suite: Suite) -> bytes:
    """The name that both sides hash first, ASCII (wire.md §5.1)."""
    return f"Noise_{pattern.value}_{suite.value}".encode()


def prologue(hello: Mapping[str, Any], offer: Mapping[str, Any], pattern: Pattern, suite: Suite) -> bytes:
    """The tie between a handshake and the hub's two clear frames: their payloads, and the choice (wire.md §5.3).

    The client passes the payloads as it parsed them, unknown fields included, the hub as it sent them.
    """
    return canonical(hello) + canonical(offer) + protocol_name(pattern, suite)


def public_key(private: Secret[bytes]) -> bytes:
    """The X25519 public key of a private one, 32 bytes each. Raises `LocalProtocolError` for any other size."""
    return _private_key(private, "private key").public_key().public_bytes_raw()


class _OneOfAKind:
    """For what counts nonces: a second copy would seal other text under the same nonce, so there is none.

    A fork makes copies that no code here can see. After one, at most one of the two processes may go on with an
    object like this; whoever forks drops it in the other.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled: nonces would repeat")


class CipherState(_OneOfAKind):
    """One key, one direction, nonces counted from 0 without gaps (Noise §5.1, wire.md §5.5). There is no rekey."""

    __slots__ = ("_nonce", "_open", "_pack", "_seal")

    def __init__(self, key: Secret[bytes], suite: Suite, *, nonce: int = 0) -> None:
        """`key` has 32 bytes. `nonce` is where its counter stands: 0 unless the key was used before."""
        kind, layout = _CIPHERS[suite]
        aead = kind(key.reveal())
        self._seal, self._open, self._pack = aead.encrypt, aead.decrypt, layout.pack
        self._nonce = nonce

    @property
    def nonce(self) -> int:
        """The counter of the next message."""
        return self._nonce

    def encrypt(self, plaintext: bytes, associated: bytes | None = None) -> bytes:
        """Seal; the result is 16 bytes longer. Raises `LocalProtocolError` when all nonces are used."""
        nonce = self._nonce
        if nonce >= _LAST_NONCE:
            raise LocalProtocolError("all nonces of this key are used: a new session is needed")
        self._nonce = nonce + 1  # first, so that whatever happens below no nonce is used twice
        return self._seal(self._pack(nonce), plaintext, associated)

    def decrypt(self, ciphertext: bytes, associated: bytes | None = None) -> bytes:
        """Open. Raises `Unauthentic` and stays where it is for anything but the peer's next message."""
        if self._nonce >= _LAST_NONCE:
            raise Unauthentic("all nonces of this key are used")
        try:
            plaintext = self._open(self._pack(self._nonce), ciphertext, associated)
        except InvalidTag:
            raise Unauthentic(f"does not authenticate as number {self._nonce} of its stream") from None
        self._nonce += 1
        return plaintext


class Handshake(_OneOfAKind):
    """One handshake, one role: `write_message` and `read_message` in turn until `finished`, then `split`.

    `psk`, 32 bytes, may be set until the message that needs it: the second of XX, the first of KK. Being called out of
    turn, or without the PSK, changes nothing; a message that cannot be read ends the handshake. However it ends, the
    private keys, the PSK and what was derived on the way are dropped then.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        pattern: Pattern,
        suite: Suite,
        prologue: bytes,
        static: Secret[bytes],
        ephemeral: Secret[bytes],
        remote_static: bytes | None = None,
    ) -> None:
        """`static` and `ephemeral` are our private keys, the latter 32 random bytes, new for each handshake.

        `remote_static` is the peer's pinned public key in KK, and None in XX. Raises `LocalProtocolError` if a key has
        not 32 bytes, or the pinned one is of low order.
        """
        if (remote_static is not None) is not (pattern is Pattern.KK):
            raise LocalProtocolError("the peer's static key is known beforehand in KK, and only there")
        self.psk: Secret[bytes] | None = None
        self._initiator = initiator
        self._messages = _MESSAGES[pattern]
        self._step = 0
        self._remote_static = remote_static
        #: The static key that the peer has shown, whether or not its message could be read to the end.
        self.claimed_static: bytes | None = None
        self._hash: bytes | None = None
        self._ciphers: tuple[CipherState, CipherState] | None = None
        working = _Working(
            _SymmetricState(protocol_name(pattern, suite), suite),
            local={"s": _private_key(static, "static key"), "e": _private_key(ephemeral, "ephemeral key")},
        )
        self._working: _Working | None = working
        working.symmetric.mix_hash(prologue)
        if remote_static is not None:
            try:
                working.remote["s"] = _peer_key(remote_static, "the pinned key")
            except DecodeError as error:
                raise LocalProtocolError(str(error)) from None
            ours = working.local["s"].public_key().public_bytes_raw()
            for known in (ours, remote_static) if initiator else (remote_static, ours):
                working.symmetric.mix_hash(known)

    @property
    def finished(self) -> bool:
        """Whether the last message was written or read.

        The peer is proven by the first message that opens under the ciphers, not before: a replayed first message of
        KK brings a responder this far, too.
        """
        return self._hash is not None

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that are unique to this session. Raises `LocalProtocolError` before it is finished."""
        if self._hash is None:
            raise LocalProtocolError("the handshake is not finished")
        return self._hash

    @property
    def remote_static(self) -> bytes:
        """The peer's static public key, 32 bytes. Raises `LocalProtocolError` while it is unknown."""
        if self._remote_static is None:
            raise LocalProtocolError("the peer's static key is not known")
        return self._remote_static

    def write_message(self, payload: bytes) -> bytes:
        """The next message. Raises `LocalProtocolError` if it is not our turn, the PSK is missing or it is too long."""
        working, tokens = self._due(writing=True)
        size = _smallest(tokens) + len(payload)
        if size > MAX_MESSAGE:
            raise LocalProtocolError(f"a Noise message of {size} bytes is over {MAX_MESSAGE}")
        symmetric, message = working.symmetric, b""
        for token in tokens:
            match token:
                case "e":
                    public = working.local["e"].public_key().public_bytes_raw()
                    symmetric.mix_ephemeral(public)
                    message += public
                case "s":
                    message += symmetric.encrypt_and_hash(working.local["s"].public_key().public_bytes_raw())
                case _:
                    self._mix(working, token)
        message += symmetric.encrypt_and_hash(payload)
        self._advance(working)
        return message

    def read_message(self, message: bytes) -> bytes:
        """The payload of the peer's next message.

        Nobody has proven anything with the first message of XX: its key follows from public data (wire.md §5.1).

        Raises `DecodeError` (`Unauthentic` if it was sealed under other keys, PSK, prologue or order), after which
        the handshake is dead, and `LocalProtocolError` if it is not the peer's turn or the PSK is missing.
        """
        working, tokens = self._due(writing=False)
        try:
            return self._read(working, tokens, message)
        except DecodeError as error:
            self._forget()
            self._remote_static = None
            raise type(error)(f"message {self._step + 1} of the handshake: {error}") from None

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers to send and to receive with, handed out once. Raises `LocalProtocolError` otherwise."""
        if self._ciphers is None:
            raise LocalProtocolError("the handshake is not finished, or was split before")
        ciphers, self._ciphers = self._ciphers, None
        return ciphers

    def _due(self, *, writing: bool) -> tuple[_Working, tuple[str, ...]]:
        if self._working is None:
            raise LocalProtocolError("the handshake is over")
        if writing is not (self._initiator is (self._step % 2 == 0)):
            raise LocalProtocolError(f"message {self._step + 1} of the handshake is {'theirs' if writing else 'ours'}")
        tokens = self._messages[self._step]
        if "psk" in tokens:
            if self.psk is None or len(self.psk.reveal()) != KEY_SIZE:
                raise LocalProtocolError(f"message {self._step + 1} of the handshake needs a PSK of {KEY_SIZE} bytes")
            self._working.psk = self.psk.reveal()
        return self._working, tokens

    def _read(self, working: _Working, tokens: tuple[str, ...], message: bytes) -> bytes:
        if not _smallest(tokens) <= len(message) <= MAX_MESSAGE:
            raise DecodeError(f"{len(message)} bytes, not {_smallest(tokens)} to {MAX_MESSAGE}")
        symmetric = working.symmetric
        for token in tokens:
            size = _SIZES.get(token, 0)
            field, message = message[:size], message[size:]
            match token:
                case "e":
                    working.remote["e"] = _peer_key(field, "its ephemeral key")
                    symmetric.mix_ephemeral(field)
                case "s":
                    self._remote_static = self.claimed_static = symmetric.decrypt_and_hash(field)
                    working.remote["s"] = _peer_key(self._remote_static, "its static key")
                case _:
                    self._mix(working, token)
        payload = symmetric.decrypt_and_hash(message)
        self._advance(working)
        return payload

    def _mix(self, working: _Working, token: str) -> None:
        """`psk`, or a Diffie-Hellman: its letters name the initiator's key, then the responder's."""
        match token:
            case "psk":
                working.symmetric.mix_key_and_hash(working.psk)
            case _:
                ours, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
                working.symmetric.mix_key(working.local[ours].exchange(working.remote[theirs]))

    def _advance(self, working: _Working) -> None:
        self._step += 1
        if self._step == len(self._messages):
            self._hash = working.symmetric.hash
            first, second = working.symmetric.split()
            self._ciphers = (first, second) if self._initiator else (second, first)
            self._forget()

    def _forget(self) -> None:
        self._working = self.psk = None


class _Working:
    """The secrets of a handshake under way, dropped at its end. Keys are named as in the patterns: `s`, `e`."""

    __slots__ = ("local", "psk", "remote", "symmetric")

    def __init__(self, symmetric: _SymmetricState, *, local: dict[str, X25519PrivateKey]) -> None:
        self.symmetric = symmetric
        self.local = local
        self.remote: dict[str, X25519PublicKey] = {}
        self.psk = b""


class _SymmetricState:
    """The chaining key, the transcript hash and the key of the moment (Noise §5.2).

    Both patterns mix a key before they seal anything, so sealing never happens without one.
    """

    __slots__ = ("_chaining", "_cipher", "_suite", "hash")

    _cipher: CipherState

    def __init__(self, name: bytes, suite: Suite) -> None:
        # A name that fits is padded, not hashed: the AESGCM names are exactly 32 bytes long, the others 36.
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self._chaining = self.hash
        self._suite = suite

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        self._chaining, key = _hkdf(self._chaining, secret, 2)
        self._cipher = CipherState(Secret(key), self._suite)

    def mix_key_and_hash(self, secret: bytes) -> None:
        self._chaining, mixed, key = _hkdf(self._chaining, secret, 3)
        self.mix_hash(mixed)
        self._cipher = CipherState(Secret(key), self._suite)

    def mix_ephemeral(self, public: bytes) -> None:
        self.mix_hash(public)
        self.mix_key(public)  # in handshakes with a PSK (Noise §9.2)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = self._cipher.decrypt(ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """The initiator's key to send with, then the responder's."""
        first, second = _hkdf(self._chaining, b"", 2)
        return CipherState(Secret(first), self._suite), CipherState(Secret(second), self._suite)


def _hkdf(chaining: bytes, material: bytes, outputs: int) -> list[bytes]:
    """HKDF as Noise §4.3 has it: `outputs` times 32 bytes."""
    secret = hmac.digest(chaining, material, "sha256")
    keys = [b""]
    for number in range(1, outputs + 1):
        keys.append(hmac.digest(secret, keys[-1] + bytes((number,)), "sha256"))
    return keys[1:]


def _private_key(secret: Secret[bytes], name: str) -> X25519PrivateKey:
    raw = secret.reveal()
    if len(raw) != KEY_SIZE:
        raise LocalProtocolError(f"the {name} has {len(raw)} bytes, not {KEY_SIZE}")
    return X25519PrivateKey.from_private_bytes(raw)


def _peer_key(raw: bytes, name: str) -> X25519PublicKey:
    """A public key that is safe to use: not one of the few of low order, whose product with any private key is zero.

    Any private key tells, so one without a secret does; refused here, no later exchange can come out as zero.
    """
    if len(raw) != KEY_SIZE:
        raise DecodeError(f"{name} has {len(raw)} bytes, not {KEY_SIZE}")
    key = X25519PublicKey.from_public_bytes(raw)
    try:
        _ANY_KEY.exchange(key)
    except ValueError:
        raise DecodeError(f"{name} is of low order") from None
    return key


_ANY_KEY: Final = X25519PrivateKey.from_private_bytes(bytes(KEY_SIZE))

# The tokens of each message, in order (wire.md §5.1). Messages alternate; the initiator writes the first.
_MESSAGES: Final[Mapping[Pattern, tuple[tuple[str, ...], ...]]] = {
    Pattern.XX: (("e",), ("e", "ee", "s", "es", "psk"), ("s", "se")),
    Pattern.KK: (("psk", "e", "es", "ss"), ("e", "ee", "se")),
}
_SIZES: Final[Mapping[str, int]] = {"e": KEY_SIZE, "s": KEY_SIZE + TAG_SIZE}


def _smallest(tokens: tuple[str, ...]) -> int:
    """The size of a message with these tokens and an empty payload."""
    return sum(_SIZES.get(token, 0) for token in tokens) + TAG_SIZE


# The AEAD, and its nonce: four zero bytes and the counter, whose order of bytes differs (wire.md §5.5).
_CIPHERS: Final[Mapping[Suite, tuple[type[ChaCha20Poly1305] | type[AESGCM], Struct]]] = {
    Suite.CHACHAPOLY: (ChaCha20Poly1305, Struct("<4xQ")),
    Suite.AESGCM: (AESGCM, Struct(">4xQ")),
}
