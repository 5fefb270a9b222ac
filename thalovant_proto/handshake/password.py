"""The v1 password handshake: the HSUB envelope and the salt of the session key (wire.md §2.1).

Each side sends 8 random bytes and a hash of them with the password. It proves the password to who knows it and lets
who does not guess offline, which is why v1 belongs inside TLS. The key itself is `kdf.Kdf.PBKDF2` over `salt`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from ..errors import DecodeError
from ..secret import Secret

IV_SIZE: Final = 8
_SENT: Final = 48  # hex characters that every peer sends: the IV and 16 of the 32 bytes of the hash
_ENVELOPE: Final = re.compile(r"[0-9a-fA-F]{48,80}")


def envelope(password: Secret[str], iv: bytes) -> str:
    """Our proof, 48 hex characters. `iv` is 8 random bytes, new for each handshake."""
    return _full(password, iv)[:_SENT]


def verify(password: Secret[str], text: str) -> bool:
    """Whether an envelope proves the same password; takes the same time if it does not.

    48 to 80 hex characters count, as with the real verifiers. Raises `DecodeError` if `text` is no envelope.
    """
    expected = _full(password, envelope_iv(text))
    return hmac.compare_digest(expected[: len(text)], text.lower())


def envelope_iv(text: str) -> bytes:
    """The 8 random bytes inside an envelope. Raises `DecodeError` if `text` is no envelope."""
    if _ENVELOPE.fullmatch(text) is None:
        raise DecodeError("password envelope is not 48 to 80 hex characters")
    return bytes.fromhex(text[: 2 * IV_SIZE])


def salt(own_iv: bytes, peer_iv: bytes) -> bytes:
    """The 8-byte salt of the session key, the same on both sides.

    Raises `DecodeError` if the peer sent our own IV back: the salt would be zero, whoever the peer is.
    """
    if own_iv == peer_iv:
        raise DecodeError("password envelope carries our own IV back")
    return bytes(ours ^ theirs for ours, theirs in zip(own_iv, peer_iv, strict=True))


def _full(password: Secret[str], iv: bytes) -> str:
    return (iv + hashlib.sha256(iv + password.as_bytes()).digest()).hex()
