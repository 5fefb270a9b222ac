"""Slow key derivation, as an effect: the core asks, whoever drives it computes, in a thread if it likes."""

from __future__ import annotations

import enum
import hashlib

from attrs import field, frozen

from ..secret import Secret


class Kdf(enum.Enum):
    """The two derivations of the wire."""

    ARGON2ID = "argon2id"  # v3: the PSK (wire.md §5.2)
    PBKDF2 = "pbkdf2"  # v1: the session key (wire.md §2.1)


@frozen(kw_only=True)
class DeriveKey:
    """An effect: derive 32 bytes from `secret` and `salt`, then call `effect_done(id, key, now)`.

    Equal (kdf, secret, salt) give equal keys: whoever owns many connections derives once for all of them.
    """

    id: int
    kdf: Kdf
    secret: Secret[bytes]
    salt: bytes = field(repr=False)


def derive(effect: DeriveKey) -> Secret[bytes]:
    """Compute the key: 32 bytes. Takes 0.05 to 1 s and, for argon2id, 64 MiB."""
    if effect.kdf is Kdf.PBKDF2:
        return Secret(hashlib.pbkdf2_hmac("sha256", effect.secret.reveal(), effect.salt, 100_000, 32))
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # slow to import, rarely needed

    kdf = Argon2id(salt=effect.salt, length=32, iterations=3, lanes=1, memory_cost=64 * 1024)
    return Secret(kdf.derive(effect.secret.reveal()))


def psk_salt(node_id: str) -> bytes:
    """The salt of a hub's PSK: SHA-256 of the node id exactly as received (wire.md §5.2)."""
    return hashlib.sha256(node_id.encode()).digest()
