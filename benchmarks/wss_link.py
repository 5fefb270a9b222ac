"""What frames on a WebSocket cost: our link, both ends, next to wsproto's own frame protocol.

    python benchmarks/wss_link.py

Each line sends and receives one message, without sockets; the figures are the best of several rounds, taken in turns
with wsproto, which knows no limits, deadlines or tokens. Then: what one idle end holds in memory.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from functools import partial

import measuring
from measuring import Figure, Weather
from wsproto.frame_protocol import FrameProtocol

from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

SIZES = {300: 2_000, 65_000: 100, 1 << 20: 10}  # bytes of a message: messages of a round
READ = 256 * 1024  # what a driver takes from a socket at once
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


def ours(up: bool, kind: FrameType, size: int) -> Callable[[], None]:
    """A message from one end to the other, `up` from the client to the hub."""
    sender, receiver = pair() if up else reversed(pair())
    frame = Frame(b"x" * size, kind)

    def work() -> None:
        heard = 0
        sender.send(frame, 0.0)
        data = sender.data_to_send()
        for start in range(0, len(data), READ):
            heard += len(list(receiver.receive_data(data[start : start + READ], 0.0)))
        assert heard == 1

    return work


def bare(up: bool, kind: FrameType, size: int) -> Callable[[], None]:
    """The same through wsproto alone, its parts joined and encoded as a hub frame needs them."""
    sender, receiver = FrameProtocol(up, []), FrameProtocol(not up, [])
    payload = b"x" * size

    def work() -> None:
        data = bytes(sender.send_data(payload if kind is FrameType.BINARY else payload.decode()))
        parts: list[bytes] = []
        for start in range(0, len(data), READ):
            receiver.receive_bytes(data[start : start + READ])
            for frame in receiver.received_frames():
                part = frame.payload
                assert not isinstance(part, tuple)
                parts.append(part.encode() if isinstance(part, str) else part)
        assert len(b"".join(parts)) == size

    return work


def idle(end: int) -> float:
    """Bytes that one open end holds."""
    tracemalloc.start()
    ends = [pair()[end] for _ in range(IDLE)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(ends)


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    measuring.settle_allocator()
    weather, figures = Weather(), []
    for up in (True, False):
        for kind in (FrameType.BINARY, FrameType.TEXT):
            for size, count in SIZES.items():
                both = {"ours": ours(up, kind, size), "theirs": bare(up, kind, size)}
                runs = {name: partial(measuring.timed, work, count) for name, work in both.items()}
                times = measuring.best(3 if arguments.quick else 20, runs)
                what = f"{kind.name.lower()} {'up' if up else 'down'}, {size:,} B"
                figures.append(Figure(id="WSS", what=what, unit="µs", peer="wsproto", **times))
    for end, name in enumerate(("a client", "a hub")):
        figures.append(Figure(id="WSS", what=f"an idle end of {name}", ours=round(idle(end)), unit="B"))
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
