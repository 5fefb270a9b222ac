"""INTERCOM payloads: a message sealed for another node's RSA key and signed by the sender's (wire.md §2.4).

A signature says who wrote the ciphertext, not for whom or when, nor who sends it now: others can wrap it anew. So an
opened payload is never an authorisation, and what was opened once is refused. Slow to import, like `rsa`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import DecodeError
from . import rsa
from .encodings import Encoding

_KEY: Final = 32
_NONCE: Final = 16
_TAG: Final = 16


class ReplayCache:
    """Remembers the last `capacity` ciphertexts that were opened, by their SHA-256: 32 bytes and an entry each."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, ciphertext: bytes) -> bool:
        """Remember it, at the price of the oldest; False if it was known."""
        digest = hashlib.sha256(ciphertext).digest()
        if digest in self._digests:
            return False
        self._digests[digest] = None
        if len(self._digests) > self._capacity:
            self._digests.popitem(last=False)
        return True


def seal(
    plaintext: bytes, *, sender: RSAPrivateKey, recipient: RSAPublicKey, entropy: Callable[[int], bytes]
) -> dict[str, str]:
    """The payload of an `intercom` message: a serialised envelope under a fresh AES-256-GCM key, itself under RSA."""
    key, nonce = entropy(_KEY), entropy(_NONCE)
    sealed = AESGCM(key).encrypt(nonce, plaintext, None)
    ciphertext = sealed[:-_TAG]
    parts = {
        "encrypted_key": rsa.encrypt(key, recipient),
        "ciphertext": ciphertext,
        "tag": sealed[-_TAG:],
        "nonce": nonce,
        "signature": rsa.sign(ciphertext, sender),
    }
    return {name: Encoding.B64.encode(part) for name, part in parts.items()}


def unseal(payload: dict[str, Any], *, sender: RSAPublicKey, recipient: RSAPrivateKey, replays: ReplayCache) -> bytes:
    """The serialised envelope inside a payload that `sender`, a key pinned before, signed.

    Reads the older shape too, whose ciphertext is RSA throughout. Raises `DecodeError`, for a replay as well.
    """
    ciphertext = _part(payload, "ciphertext")
    rsa.verify(_part(payload, "signature"), ciphertext, sender)
    if "encrypted_key" in payload:
        plaintext = _open_hybrid(payload, ciphertext, recipient)
    else:
        plaintext = rsa.decrypt(ciphertext, recipient)
    if not replays.add(ciphertext):
        raise DecodeError("intercom payload was opened before")
    return plaintext


def _open_hybrid(payload: dict[str, Any], ciphertext: bytes, recipient: RSAPrivateKey) -> bytes:
    key = rsa.decrypt(_part(payload, "encrypted_key"), recipient)
    tag, nonce = _part(payload, "tag"), _part(payload, "nonce")
    if (len(key), len(tag), len(nonce)) != (_KEY, _TAG, _NONCE):
        raise DecodeError("intercom payload: key, tag or nonce of the wrong length")
    try:
        return AESGCM(key).decrypt(nonce, ciphertext + tag, None)
    except InvalidTag:
        raise DecodeError("intercom payload does not open under its key") from None


def _part(payload: dict[str, Any], name: str) -> bytes:
    text = payload.get(name)
    if not isinstance(text, str):
        raise DecodeError(f"intercom payload: {name} is not a text")
    return Encoding.B64.decode(text)
