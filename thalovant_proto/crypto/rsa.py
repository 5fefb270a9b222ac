"""RSA as the hubs use it: keys in PEM, OAEP with SHA-1, PSS with SHA-256, and the RSA variant of the v1 handshake.

The handshake variant is here as a codec only (wire.md §2.2): no stable client can complete it and no newer hub takes
it. Padding and new keys draw on the random numbers of `cryptography`, which takes none from outside. Slow to import:
import it where it is used.
"""

from __future__ import annotations

import binascii
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

from ..errors import DecodeError
from ..secret import Secret

# The keys of peers have 2048 bits. Smaller is broken; larger than 8192 costs a verifier seconds.
_MIN_BITS: Final = 2048
_MAX_BITS: Final = 8192
_MAX_PEM: Final = 16 * 1024  # characters; a private key of 8192 bits has 6.4 thousand

# SHA-1 here is the protocol's. OAEP does not depend on collisions.
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


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


def load_public(pem: str) -> RSAPublicKey:
    """The key of a peer's `pubkey`. Raises `DecodeError`."""
    _check_length(len(pem))
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise DecodeError("not a public key in PEM") from None
    if not isinstance(key, RSAPublicKey):
        raise DecodeError("public key is not RSA")
    _check_size(key.key_size)
    return key


def _check_length(length: int) -> None:
    if length > _MAX_PEM:
        raise DecodeError(f"PEM of {length} characters is over the limit of {_MAX_PEM}")


def _check_size(bits: int) -> None:
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise DecodeError(f"RSA key of {bits} bits, allowed are {_MIN_BITS} to {_MAX_BITS}")


def encrypt(plaintext: bytes, recipient: RSAPublicKey) -> bytes:
    """OAEP, at most 214 bytes for a key of 2048 bits. The result is as long as the modulus."""
    return recipient.encrypt(plaintext, _OAEP)


def decrypt(ciphertext: bytes, recipient: RSAPrivateKey) -> bytes:
    """The plaintext that `encrypt` was given. Raises `DecodeError`."""
    try:
        return recipient.decrypt(ciphertext, _OAEP)
    except ValueError:
        raise DecodeError("RSA ciphertext does not open under our key") from None


def sign(data: bytes, sender: RSAPrivateKey) -> bytes:
    """A PSS signature, as long as the modulus."""
    return sender.sign(data, _PSS, hashes.SHA256())


def verify(signature: bytes, data: bytes, sender: RSAPublicKey) -> None:
    """Raises `DecodeError` unless `sender` signed `data`."""
    try:
        sender.verify(signature, data, _PSS, hashes.SHA256())
    except InvalidSignature:
        raise DecodeError("signature is not that of the sender's key") from None


def seal_secret(secret: Secret[bytes], *, sender: RSAPrivateKey, recipient: RSAPublicKey) -> str:
    """The handshake's envelope: hex of signature and ciphertext of a 32-byte session key."""
    ciphertext = encrypt(secret.reveal(), recipient)
    return (sign(ciphertext, sender) + ciphertext).hex()


def open_secret(envelope: str, *, sender: RSAPublicKey, recipient: RSAPrivateKey) -> Secret[bytes]:
    """The session key inside an envelope that `sender` signed. Raises `DecodeError`."""
    try:
        data = binascii.unhexlify(envelope)
    except ValueError:
        raise DecodeError("RSA envelope is not hex") from None
    size = (sender.key_size + 7) // 8
    signature, ciphertext = data[:size], data[size:]
    verify(signature, ciphertext, sender)
    return Secret(decrypt(ciphertext, recipient))
