"""Randomness, which embedders hand in: `entropy(n)` gives n bytes that nobody can guess."""

from __future__ import annotations

from collections.abc import Callable

from .errors import LocalProtocolError

Entropy = Callable[[int], bytes]


class BadEntropy(LocalProtocolError):
    """The embedder's `entropy` gave something else than the bytes it was asked for. Raised by the call at hand."""


def checked(entropy: Entropy) -> Entropy:
    """`entropy`, whose every answer is held to the length that was asked for."""

    def exactly(size: int) -> bytes:
        data = entropy(size)
        if not isinstance(data, bytes) or len(data) != size:
            raise BadEntropy(f"entropy({size}) must give {size} bytes")
        return data

    return exactly
