"""Where the fuzz targets set out: what the test vectors recorded of real peers, and inputs that were chosen by hand.

Seeds are made when they are needed, by each target's `seeds()`; only those chosen by hand are kept, in
`fuzz/seeds/<name>/`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.proto.vectors import load

HERE = Path(__file__).resolve().parent


def kept(name: str) -> Iterator[bytes]:
    """The seeds of a target that are kept."""
    for path in sorted((HERE / "seeds" / name).glob("*")):
        yield path.read_bytes()


def write(seeds: Iterable[bytes], folder: Path) -> int:
    """Write seeds where the fuzzer finds them, each under its digest; how many different ones there are."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = set()
    for seed in seeds:
        digests.add(digest := hashlib.sha256(seed).hexdigest()[:16])
        (folder / digest).write_bytes(seed)
    return len(digests)


def wire1_frames() -> Iterator[bytes]:
    """Binary frames of both generations of hubs, malformed ones among them."""
    for name in ("wire1_binary_legacy", "wire1_binary_next"):
        vectors = load(name)
        for case in (*vectors["cases"], *vectors["malformed"]):
            if "frame" in case:  # real encoders refuse some messages
                yield bytes.fromhex(case["frame"])


@functools.cache
def captured() -> tuple[dict[str, Any], ...]:
    """Frames of real sessions over WebSocket, both generations: `dir`, `opcode`, `data` and, if sealed, `plaintext`."""
    sessions = [session for name in ("capture_ws_legacy", "capture_ws_next") for session in load(name)["sessions"]]
    return tuple(frame for session in sessions for frame in session["frames"] if frame.get("data"))


def clear_texts(sender: str) -> Iterator[bytes]:
    """What `client` or `hub` said in clear: hello, offer, handshake messages."""
    for frame in captured():
        if frame["opcode"] == "text" and "plaintext" not in frame and frame["dir"].startswith(sender):
            yield frame["data"].encode()


def sealed_texts() -> Iterator[bytes]:
    """JSON envelopes that travelled sealed."""
    for frame in captured():
        if (text := frame.get("plaintext", "")) and not text.startswith("hex:"):
            yield text.encode()
