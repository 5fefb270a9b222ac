"""What sealed messages of v3 cost: `NoiseTransport` next to a hand-written loop of the same AEAD calls.

    python benchmarks/noise_transport.py

Each line seals and opens one message; the figures are the best of several rounds, taken in turns with the loop. The
loop counts nonces and has its plaintexts cut and marked beforehand; what it opens, it drops.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from struct import Struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from thalovant_proto.crypto.noise import CipherState, Suite
from thalovant_proto.crypto.noise_transport import CHUNK, BodyKind, NoiseTransport
from thalovant_proto.secret import Secret

KEY = Secret(b"k" * 32)
SIZES = {300: 5_000, 16 << 10: 1_000, 1 << 20: 30}  # bytes of a message: messages of a round
ROUNDS = 9
AEADS: dict[Suite, tuple[type[ChaCha20Poly1305] | type[AESGCM], Struct]] = {
    Suite.CHACHAPOLY: (ChaCha20Poly1305, Struct("<4xQ")),
    Suite.AESGCM: (AESGCM, Struct(">4xQ")),
}


def ours(suite: Suite, size: int, count: int) -> Callable[[], None]:
    """Messages from one end of a session to the other."""
    sender = NoiseTransport(CipherState(KEY, suite), CipherState(KEY, suite))
    receiver = NoiseTransport(CipherState(KEY, suite), CipherState(KEY, suite))
    data = bytes(size)

    def run() -> None:
        for _ in range(count):
            for frame in sender.seal(BodyKind.WIRE1, data):
                body = receiver.open(frame, 0.0)
            assert body is not None

    return run


def by_hand(suite: Suite, size: int, count: int) -> Callable[[], None]:
    """The same number of bytes through the same calls, and nothing around them."""
    kind, layout = AEADS[suite]
    aead, pack = kind(KEY.reveal()), layout.pack
    plaintexts = [b"\x01" + bytes(min(CHUNK, size - start)) for start in range(0, size, CHUNK)]
    counter = 0

    def run() -> None:
        nonlocal counter
        for _ in range(count):
            frames = []
            for number, plaintext in enumerate(plaintexts, counter):
                frames.append(aead.encrypt(pack(number), plaintext, None))
            for number, frame in enumerate(frames, counter):
                aead.decrypt(pack(number), frame, None)
            counter += len(plaintexts)

    return run


def best(*runs: Callable[[], None]) -> list[float]:
    """The shortest time of each, in seconds."""
    shortest = [float("inf")] * len(runs)
    for _ in range(ROUNDS):
        for number, run in enumerate(runs):
            started = time.perf_counter()
            run()
            shortest[number] = min(shortest[number], time.perf_counter() - started)
    return shortest


def main() -> None:
    print(f"{'suite':26}{'bytes':>9}{'µs':>10}{'MB/s':>8}{'by hand µs':>12}{'MB/s':>8}{'ratio':>7}")
    for suite in Suite:
        for size, count in SIZES.items():
            mine, hand = (taken / count for taken in best(ours(suite, size, count), by_hand(suite, size, count)))
            figures = f"{mine * 1e6:10.1f}{size / mine / 1e6:8.0f}{hand * 1e6:12.1f}{size / hand / 1e6:8.0f}"
            print(f"{suite.value:26}{size:9}{figures}{mine / hand:7.2f}")


if __name__ == "__main__":
    main()
