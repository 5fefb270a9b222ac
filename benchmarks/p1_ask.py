"""P1: how long an `ask` takes, over loopback with TLS, from a client in this process to a hub in another.

    python benchmarks/p1_ask.py

The hub answers at once, so all of it is the SDK, the hub's own code, TLS and the kernel. Medians of asks that follow
each other. Beside it, in turns: the published SDK and hivemind-bus-client at the same hub, and a bare TCP echo between
the same two processes, which is what the machine itself takes today.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import measuring
import peers
from broker import mosquitto, program
from children import Child, running_hub
from measuring import Figure, Weather, median, percentile

from thalovant import AsyncThalovantClient

TARGETS = {"wss": 1.5, "https": 25.0, "mqtt": 3.0, "mqtt, stock mosquitto": 3.0, "mqtt, embedded broker": None}  # ms

#: Who else asks: name, script, over what, and how often a round (None: half as often as ours over WSS).
PEERS: list[tuple[str, str, str, int | None]] = [
    (peers.SDK, "child_sdk.py", "wss", 5),
    (peers.SDK, "child_sdk.py", "https", 5),
    (peers.SDK, "child_sdk.py", "mqtt", 5),
    (peers.BUS, "child_bus_client.py", "wss", None),
]


class Ours:
    """Our client, on a loop of its own."""

    def __init__(self, identity: str, protocol: str) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncThalovantClient.from_identity_file(identity, protocol=protocol)
        self._runner.run(self._client.connect())

    def ask(self, count: int) -> list[float]:
        """Seconds for each of `count` asks."""
        return self._runner.run(self._ask(count))

    async def _ask(self, count: int) -> list[float]:
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            reply = await self._client.ask("hello")
            taken.append(time.perf_counter() - started)
            assert reply.text == "You said: hello"
        return taken

    def close(self) -> None:
        """Say goodbye."""
        self._runner.run(self._client.close())
        self._runner.close()


def echo(sock: socket.socket, count: int) -> list[float]:
    """Seconds for each of `count` round trips of as many bytes as an ask has."""
    data, taken = bytes(700), []
    for _ in range(count):
        started = time.perf_counter()
        sock.sendall(data)
        left = len(data)
        while left:
            left -= len(sock.recv(left))
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds, count = (2, 50) if arguments.quick else (8, 250)
    pythons = peers.interpreters()
    weather = Weather()
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub("--all"))
        hubs = {"wss": hub, "https": hub, "mqtt, embedded broker": hub}
        if program() is not None:
            for way in ("mqtt, stock mosquitto", "mqtt"):
                port, authority = exits.enter_context(mosquitto(tls=True, stock="stock" in way))
                place = f"mqtts://127.0.0.1:{port}"
                hubs[way] = exits.enter_context(running_hub("--broker", place, str(authority)))
        endpoints = hub.ask("endpoints")
        bare = exits.enter_context(socket.create_connection(("127.0.0.1", endpoints["echo"])))
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        runs: dict[str, Callable[[], list[float]]] = {"echo": lambda: echo(bare, count)}
        for way, its_hub in hubs.items():
            protocol = way.partition(",")[0]
            ours = Ours(its_hub.ask("identity", name=f"ours-{protocol}"), protocol)
            exits.callback(ours.close)
            asks = count if protocol == "wss" else count // 3
            runs[way] = partial(ours.ask, asks)
        for name, script, way, asks in PEERS:
            if name not in pythons or way not in hubs:
                continue
            home = exits.enter_context(tempfile.TemporaryDirectory())
            trusted = authority if way == "mqtt" else endpoints["ca_file"]
            peer = exits.enter_context(Child(script, home, python=pythons[name], **peers.trusting(trusted, home)))
            identity = hubs[way].ask("identity", name=f"{name}-{way}", pinned=False)
            peer.ask("connect", identity=identity, **({} if name == peers.BUS else {"protocol": way}))
            runs[f"{name} {way}"] = partial(peer.ask, "ask", count=asks or count // 2)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                taken[name] += run()
    middle = {name: median(times) * 1e3 for name, times in taken.items()}
    figures = []
    for way in (name for name in TARGETS if name in taken):
        figures.append(Figure(id="P1", what=f"ask, {way}, median", ours=middle[way], unit="ms", most=TARGETS[way],
                              peer="bare TCP echo", theirs=middle["echo"]))  # fmt: skip
        figures.append(Figure(id="P1", what=f"ask, {way}, p99", ours=percentile(taken[way], 99) * 1e3, unit="ms",
                              peer="bare TCP echo", theirs=percentile(taken["echo"], 99) * 1e3))  # fmt: skip
    figures += [
        Figure(id="P1", what=f"ask, {way}, median", ours=middle[way], unit="ms", peer=peers.NAMES[name],
               theirs=middle[f"{name} {way}"])
        for name, _, way, _ in PEERS if f"{name} {way}" in middle
    ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
