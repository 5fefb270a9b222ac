"""The ciphers of v3: nonces that are exact, and never used twice."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from thalovant_proto.crypto.noise import CipherState, Suite, Unauthentic
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.secret import Secret

from .noise_pairs import VECTORS, handshake

every_suite = pytest.mark.parametrize("suite", Suite)


@pytest.mark.parametrize(
    ("suite", "aead", "order"), [(Suite.CHACHAPOLY, ChaCha20Poly1305, "little"), (Suite.AESGCM, AESGCM, "big")]
)
def test_nonces_are_a_counter_in_the_order_of_the_suite(suite, aead, order):
    """Four zero bytes, then the counter: little-endian for ChaChaPoly, big-endian for AESGCM (wire.md §5.5)."""
    cipher, by_hand = CipherState(Secret(b"k" * 32), suite), aead(b"k" * 32)

    for counter in range(300):  # past one byte, where the orders differ most
        assert cipher.nonce == counter
        expected = by_hand.encrypt(bytes(4) + counter.to_bytes(8, order), b"text", b"with")
        assert cipher.encrypt(b"text", b"with") == expected


@every_suite
def test_a_failed_decryption_does_not_advance(suite):
    """On a carrier without types a frame may be something else: trying must cost nothing."""
    sender, receiver = (CipherState(Secret(b"k" * 32), suite) for _ in range(2))
    first, second = sender.encrypt(b"first"), sender.encrypt(b"second")
    for wrong in (b"", b"x", bytes(16), second, first[:-1], first + b"\0"):
        with pytest.raises(Unauthentic, match="number 0"):
            receiver.decrypt(wrong)
    with pytest.raises(Unauthentic):
        receiver.decrypt(first, b"associated")

    assert receiver.nonce == 0
    assert receiver.decrypt(first) == b"first"
    with pytest.raises(Unauthentic, match="number 1"):
        receiver.decrypt(first)
    assert receiver.decrypt(second) == b"second"


@every_suite
def test_the_last_nonce_is_never_used(suite):
    """2^64-1 is reserved: the message before it is the last, in both directions."""
    sender, receiver = (CipherState(Secret(b"k" * 32), suite, nonce=2**64 - 2) for _ in range(2))

    assert receiver.decrypt(sender.encrypt(b"last")) == b"last"
    with pytest.raises(LocalProtocolError, match="nonces"):
        sender.encrypt(b"one more")
    with pytest.raises(Unauthentic, match="nonces"):
        receiver.decrypt(bytes(32))
    assert 2**64 - 1 == sender.nonce == receiver.nonce


@every_suite
def test_a_seal_that_fails_still_spends_its_nonce(suite):
    """A nonce is never used twice, whatever went wrong."""
    cipher = CipherState(Secret(b"k" * 32), suite)
    with pytest.raises(TypeError):
        cipher.encrypt("text, not bytes")

    assert cipher.nonce == 1


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_counts_nonces_cannot_be_copied(clone):
    """A copy would seal other text under the same key and nonce."""
    for thing in (CipherState(Secret(b"k" * 32), Suite.CHACHAPOLY), handshake(VECTORS[0], "initiator")):
        with pytest.raises(TypeError, match="nonces would repeat"):
            clone(thing)
