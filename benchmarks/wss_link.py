"""What frames on a WebSocket cost: our link, both ends, next to wsproto's own frame protocol.

    python benchmarks/wss_link.py

Each line sends and receives one message, without sockets; the figures are the best of several rounds, taken in turns
with wsproto, which knows no limits, deadlines or tokens. Then: what one idle end holds in memory.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable

from wsproto.frame_protocol import FrameProtocol

from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

SIZES = {300: 5_000, 65_000: 200, 1 << 20: 20}  # bytes of a message: messages of a round
READ = 256 * 1024  # what a driver takes from a socket at once
ROUNDS = 9
IDLE = 500


def pair() -> tuple[WssClientLink, WssServerLink]:
    """Both ends, open."""
    client = WssClientLink(
        "ws://127.0.0.1", access_key=Secret("key"), user_agent="bench", entropy=os.urandom, secure=True
    )
    hub = WssServerLink(secure=True)
    client.socket_opened(0.0)
    list(hub.receive_data(client.data_to_send(), 0.0))
    list(client.receive_data(hub.data_to_send(), 0.0))
    return client, hub


def ours(up: bool, kind: FrameType, size: int, count: int) -> Callable[[], None]:
    """Messages from one end to the other, `up` from the client to the hub."""
    sender, receiver = pair() if up else reversed(pair())
    frame = Frame(b"x" * size, kind)

    def run() -> None:
        heard = 0
        for _ in range(count):
            sender.send(frame, 0.0)
            data = sender.data_to_send()
            for start in range(0, len(data), READ):
                heard += len(list(receiver.receive_data(data[start : start + READ], 0.0)))
        assert heard == count

    return run


def bare(up: bool, kind: FrameType, size: int, count: int) -> Callable[[], None]:
    """The same through wsproto alone, its parts joined and encoded as a hub frame needs them."""
    sender, receiver = FrameProtocol(up, []), FrameProtocol(not up, [])
    payload = b"x" * size

    def run() -> None:
        heard = 0
        for _ in range(count):
            data = bytes(sender.send_data(payload if kind is FrameType.BINARY else payload.decode()))
            parts: list[bytes] = []
            for start in range(0, len(data), READ):
                receiver.receive_bytes(data[start : start + READ])
                for frame in receiver.received_frames():
                    part = frame.payload
                    assert not isinstance(part, tuple)
                    parts.append(part.encode() if isinstance(part, str) else part)
                    heard += frame.message_finished
            assert len(b"".join(parts)) == size
        assert heard == count

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


def idle(end: int) -> float:
    """Bytes that one open end holds."""
    tracemalloc.start()
    ends = [pair()[end] for _ in range(IDLE)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(ends)


def main() -> None:
    print(f"{'':14}{'bytes':>9}{'µs':>10}{'MB/s':>8}{'wsproto µs':>12}{'MB/s':>8}{'ratio':>7}")
    for up in (True, False):
        for kind in (FrameType.BINARY, FrameType.TEXT):
            for size, count in SIZES.items():
                runs = ours(up, kind, size, count), bare(up, kind, size, count)
                link, wsproto = (taken / count for taken in best(*runs))
                figures = f"{link * 1e6:10.1f}{size / link / 1e6:8.0f}{wsproto * 1e6:12.1f}{size / wsproto / 1e6:8.0f}"
                print(f"{'up' if up else 'down':6}{kind.name:8}{size:9}{figures}{link / wsproto:7.2f}")
    print(f"an idle end holds {idle(0):.0f} bytes as a client, {idle(1):.0f} as a hub")


if __name__ == "__main__":
    main()
