"""Every limit of the core, in one object. Each is enforced before the memory is spent.

Sizes in bytes, times in seconds.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import gt

KIB: Final = 1024
MIB: Final = 1024 * KIB
#: Bytes a second that the slowest network carries: whatever travels has so much longer than the times for small things.
SLOWEST: Final = 32 * KIB


@frozen(kw_only=True)
class Limits:
    """Limits of one connection. The defaults are those of the real hubs where these have one."""

    # One frame of an open session as the carrier delivers it. Legacy hubs seal JSON as hex, which doubles it; the
    # listener of every real hub takes 10 MiB.
    frame: int = field(default=10 * MIB, validator=gt(0))
    # One frame before the keys exist: hello and offer are 2 kB, a Noise message at most 65 535 bytes as hex.
    handshake_frame: int = field(default=256 * KIB, validator=gt(0))
    # One JSON text after opening, and how deep it may nest (the parser recurses).
    json_text: int = field(default=4 * MIB, validator=gt(0))
    json_depth: int = field(default=64, validator=gt(0))
    # A chunked Noise message put together: the reassembly cap of the real hubs (wire.md §5.5).
    reassembly: int = field(default=32 * MIB, validator=gt(0))
    # What one zlib stream of a WIRE-1 frame may become.
    inflate: int = field(default=32 * MIB, validator=gt(0))
    # Frames that wait while a key is derived.
    parked_frames: int = field(default=4, validator=gt(0))
    parked_bytes: int = field(default=128 * KIB, validator=gt(0))
    # Keys of one connection that newer password proofs have replaced, but which open frames all the same.
    former_keys: int = field(default=3, validator=gt(0))
    # Frames sealed under one legacy key: every nonce of the session is remembered, so the session must end.
    legacy_frames: int = field(default=1 << 16, validator=gt(1))
    # From the open link to both sides holding keys; derivation included (argon2id is 0.15 s, 1 s on small devices).
    handshake_time: float = field(default=20.0, validator=gt(0))
    # How long a hub waits for a sign of a v0 client before it greets it once more. Old ones give up after 6 s; a client
    # whose answer is on its way for as long as this must not be taken for one that heard nothing.
    greeting_time: float = field(default=3.0, validator=gt(0))
    # How long a chunked message may stay open, and bytes a second on top of that.
    reassembly_time: float = field(default=60.0, validator=gt(0))
    slowest: int = field(default=SLOWEST, validator=gt(0))
    # How long a completed handshake may wait for its proof before the session counts as connected, unproven.
    proof_time: float = field(default=0.75, validator=gt(0))
    # From asking a silent hub whether it is there to its answer, where nothing else would show that it is gone.
    probe_time: float = field(default=20.0, validator=gt(0))


DEFAULT_LIMITS: Final = Limits()
