"""What sealed messages of v3 cost: `NoiseTransport` next to a hand-written loop of the same AEAD calls.

    python benchmarks/noise_transport.py

Each line seals and opens one message; the figures are the best of several rounds, taken in turns with the loop. The
loop counts nonces and has its plaintexts cut and marked beforehand; what it opens, it drops.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct

import measuring
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from measuring import Figure, Weather

from thalovant_proto.crypto.noise import CipherState, Suite
from thalovant_proto.crypto.noise_transport import CHUNK, BodyKind, NoiseTransport
from thalovant_proto.secret import Secret

KEY = Secret(b"k" * 32)
SIZES = {300: 2_000, 16 << 10: 500, 1 << 20: 20}  # bytes of a message: messages of a round
AEADS: dict[Suite, tuple[type[ChaCha20Poly1305] | type[AESGCM], Struct]] = {
    Suite.CHACHAPOLY: (ChaCha20Poly1305, Struct("<4xQ")),
    Suite.AESGCM: (AESGCM, Struct(">4xQ")),
}


def ours(suite: Suite, size: int) -> Callable[[], None]:
    """A message from one end of a session to the other."""
    sender = NoiseTransport(CipherState(KEY, suite), CipherState(KEY, suite))
    receiver = NoiseTransport(CipherState(KEY, suite), CipherState(KEY, suite))
    data = bytes(size)

    def work() -> None:
        for frame in sender.seal(BodyKind.WIRE1, data):
            body = receiver.open(frame, 0.0)
        assert body is not None

    return work


def by_hand(suite: Suite, size: int) -> Callable[[], None]:
    """The same number of bytes through the same calls, and nothing around them."""
    kind, layout = AEADS[suite]
    aead, pack = kind(KEY.reveal()), layout.pack
    plaintexts = [b"\x01" + bytes(min(CHUNK, size - start)) for start in range(0, size, CHUNK)]
    counter = 0

    def work() -> None:
        nonlocal counter
        frames = []
        for number, plaintext in enumerate(plaintexts, counter):
            frames.append(aead.encrypt(pack(number), plaintext, None))
        for number, frame in enumerate(frames, counter):
            aead.decrypt(pack(number), frame, None)
        counter += len(plaintexts)

    return work


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    measuring.settle_allocator()
    weather, figures = Weather(), []
    for suite in Suite:
        for size, count in SIZES.items():
            both = {"ours": ours(suite, size), "theirs": by_hand(suite, size)}
            runs = {name: partial(measuring.timed, work, count) for name, work in both.items()}
            times = measuring.best(3 if arguments.quick else 20, runs)
            figures.append(Figure(id="Noise", what=f"{suite.value}, {size:,} B", unit="µs", peer="by hand", **times))
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
