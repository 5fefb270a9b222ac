"""RSA keys in PEM, of which a hub shows the public half (wire.md §2.2). Nothing here seals or signs with them.

New keys draw on the random numbers of `cryptography`, which takes none from outside. Slow to import: import it where
it is used.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

from ..errors import DecodeError
from ..secret import Secret

# The keys of hubs have 2048 bits. Smaller is broken; larger than 8192 costs whoever uses it seconds.
_MIN_BITS: Final = 2048
_MAX_BITS: Final = 8192
_MAX_PEM: Final = 16 * 1024  # characters; a private key of 8192 bits has 6.4 thousand


def generate() -> RSAPrivateKey:
    """A new key of 2048 bits. Takes 0.05 to 1 s."""
    return generate_private_key(65537, _MIN_BITS)


def private_pem(key: RSAPrivateKey) -> Secret[bytes]:
    """The key as unencrypted PKCS#8 PEM."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return Secret(key.private_bytes(encoding, form, serialization.NoEncryption()))


def public_pem(key: RSAPrivateKey | RSAPublicKey) -> str:
    """The public half as it travels in `pubkey`: SubjectPublicKeyInfo PEM without a newline at the end."""
    public = key.public_key() if isinstance(key, RSAPrivateKey) else key
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode("ascii").rstrip("\n")


def load_private(pem: Secret[bytes]) -> RSAPrivateKey:
    """The key of an unencrypted PEM. Raises `DecodeError`."""
    _check_length(len(pem.reveal()))
    try:
        key = serialization.load_pem_private_key(pem.reveal(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DecodeError("not an unencrypted private key in PEM") from None
    if not isinstance(key, RSAPrivateKey):
        raise DecodeError("private key is not RSA")
    _check_size(key.key_size)
    return key


def _check_length(length: int) -> None:
    if length > _MAX_PEM:
        raise DecodeError(f"PEM of {length} characters is over the limit of {_MAX_PEM}")


def _check_size(bits: int) -> None:
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise DecodeError(f"RSA key of {bits} bits, allowed are {_MIN_BITS} to {_MAX_BITS}")
