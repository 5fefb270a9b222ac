"""Limits of a connection, enforced before the memory is spent: those that can be chosen, and those that are fixed.

Sizes in bytes, times in seconds.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import gt

KIB: Final = 1024
MIB: Final = 1024 * KIB
#: Bytes a second of the slowest network that the defaults are for.
SLOWEST: Final = 32 * KIB
#: One frame before the keys exist: hello and offer are 2 kB, a Noise message at most 65 535 bytes as hex.
HANDSHAKE_FRAME: Final = 256 * KIB
#: One JSON text after opening and unpacking, and how deep it may nest (the parser recurses).
JSON_TEXT: Final = 4 * MIB
JSON_DEPTH: Final = 64


@frozen(kw_only=True)
class Limits:
    """The cost that a connection may have. The defaults are those of the real hubs where these have one."""

    # One frame of an open session as the carrier delivers it. Legacy hubs seal JSON as hex, which doubles it; the
    # listener of every real hub takes 10 MiB.
    frame: int = field(default=10 * MIB, validator=gt(0))
    # A chunked Noise message put together: the reassembly cap of the real hubs (wire.md §5.5).
    reassembly: int = field(default=32 * MIB, validator=gt(0))
    # Frames sealed under one legacy key: every nonce of the session is remembered, so the session must end.
    legacy_frames: int = field(default=1 << 16, validator=gt(1))
    # Bytes a second of the slowest network: whatever travels has so much longer than the times for small things.
    slowest: int = field(default=SLOWEST, validator=gt(0))
    # From the open link to both sides holding keys; derivation included (argon2id is 0.15 s, 1 s on small devices).
    handshake_time: float = field(default=20.0, validator=gt(0))


DEFAULT_LIMITS: Final = Limits()
