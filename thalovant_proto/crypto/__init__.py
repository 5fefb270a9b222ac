"""Cryptography of all wire generations: Noise, legacy sealing, encodings, key derivation, RSA."""
