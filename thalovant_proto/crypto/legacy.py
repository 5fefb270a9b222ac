"""Sealing of legacy sessions (v0 and v1): one key both ways, a random nonce per frame (wire.md §3).

Nothing here orders frames or notices a replay: who owns the session remembers the nonces, which is why opening
returns them.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ..errors import DecodeError
from ..secret import Secret
from .encodings import Encoding

_TAG: Final = 16
_AES_KEYS: Final = (16, 24, 32)
_CHACHA_KEYS: Final = (32,)


class Cipher(enum.Enum):
    """An AEAD. The value is its name on the wire; sizes are in bytes.

    `nonce_size` is what peers have as a rule, and always in binary frames; text frames may have any of `nonce_sizes`.
    """

    nonce_size: int
    nonce_sizes: tuple[int, ...]
    key_sizes: tuple[int, ...]

    def __new__(cls, name: str, nonce_sizes: tuple[int, ...], key_sizes: tuple[int, ...]) -> Cipher:
        member = object.__new__(cls)
        member._value_ = name
        member.nonce_size = nonce_sizes[0]
        member.nonce_sizes = nonce_sizes
        member.key_sizes = key_sizes
        return member

    CHACHA20_POLY1305 = "CHACHA20-POLY1305", (12,), _CHACHA_KEYS
    # 12 is what everyone else has, and the published SDKs of other languages.
    AES_GCM = "AES-GCM", (16, 12), _AES_KEYS


# Characters that JSON must escape, in the two encodings that have such: B91 writes quotes, Z85P begins with its raw
# padding.
_ESCAPES: Final = {Encoding.B91: {34: '\\"'}, Encoding.Z85P: {n: f"\\u000{n}" for n in range(4)}}


class LegacyCipher:
    """Seals and opens the frames of one legacy session. `nonce_size` is in bytes."""

    def __init__(self, key: Secret[bytes], cipher: Cipher, encoding: Encoding) -> None:
        """Raises `ValueError` if the cipher cannot take a key of that length."""
        size = len(key.reveal())
        if size not in cipher.key_sizes:
            raise ValueError(f"{cipher.value} takes a key of {cipher.key_sizes} bytes, not {size}")
        self._aead = (AESGCM if cipher is Cipher.AES_GCM else ChaCha20Poly1305)(key.reveal())
        self.nonce_size: int = cipher.nonce_size
        self._nonce_sizes = cipher.nonce_sizes
        self._encode = encoding.encode
        self._decode = encoding.decode
        self._escapes = _ESCAPES.get(encoding)

    def seal_text(self, plaintext: bytes, nonce: bytes) -> bytes:
        """The JSON text frame, byte for byte as the real peers write it. `nonce` must be new for this key."""
        sealed = self._aead.encrypt(nonce, plaintext, None)
        encode = self._encode
        ciphertext, tag, nonce_text = encode(sealed[:-_TAG]), encode(sealed[-_TAG:]), encode(nonce)
        if self._escapes is not None:
            ciphertext = ciphertext.translate(self._escapes)
            tag = tag.translate(self._escapes)
            nonce_text = nonce_text.translate(self._escapes)
        return f'{{"ciphertext": "{ciphertext}", "tag": "{tag}", "nonce": "{nonce_text}"}}'.encode("ascii")

    def open_text(self, frame: dict[str, Any]) -> tuple[bytes, bytes]:
        """Nonce and plaintext of a parsed JSON frame. Without a `tag` it is the end of the ciphertext (WebCrypto).

        Raises `DecodeError`, also for a frame that the key does not open.
        """
        sealed = self._field(frame, "ciphertext")
        if "tag" in frame:
            tag = self._field(frame, "tag")
            if len(tag) != _TAG:
                raise DecodeError(f"sealed frame: a tag of {len(tag)} bytes, not {_TAG}")
            sealed += tag
        return self._open(self._field(frame, "nonce"), sealed)

    def seal_binary(self, plaintext: bytes, nonce: bytes) -> bytes:
        """The binary frame: nonce, ciphertext, tag. `nonce` must be new for this key."""
        return nonce + self._aead.encrypt(nonce, plaintext, None)

    def open_binary(self, frame: bytes) -> tuple[bytes, bytes]:
        """Nonce and plaintext of a binary frame. Raises `DecodeError`, also if the key does not open it."""
        return self._open(frame[: self.nonce_size], frame[self.nonce_size :])

    def _field(self, frame: dict[str, Any], name: str) -> bytes:
        text = frame.get(name)
        if not isinstance(text, str):
            raise DecodeError(f"sealed frame: {name} is not a text")
        return self._decode(text)

    def _open(self, nonce: bytes, sealed: bytes) -> tuple[bytes, bytes]:
        if len(nonce) not in self._nonce_sizes:
            raise DecodeError(f"sealed frame: a nonce of {len(nonce)} bytes, not {self.nonce_size}")
        try:
            return nonce, self._aead.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise DecodeError("sealed frame does not open under the session key") from None


def crypto_key(text: str) -> Secret[bytes]:
    """The v0 key that a `crypto_key` text means: its UTF-8 bytes if they are 16, 24 or 32, else the first 16.

    White space around it does not count where it is in excess (wire.md §2.3). Raises `ValueError` for less than 16
    bytes, and for a text that is not Unicode.
    """
    for candidate in (text, text.strip()):
        try:
            key = candidate.encode()
        except UnicodeEncodeError:
            raise ValueError("crypto_key is not Unicode text") from None
        if len(key) in _AES_KEYS:
            return Secret(key)
    if len(key) < _AES_KEYS[0]:
        raise ValueError(f"crypto_key must have at least {_AES_KEYS[0]} bytes, not {len(key)}")
    return Secret(key[: _AES_KEYS[0]])
