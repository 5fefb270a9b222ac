"""P1: how long an `ask` takes, over loopback with TLS, from a client in this process to a hub in another.

    python benchmarks/p1_ask.py [wss] [https] [mqtt]       # with a name: of these only, without published clients

The hub answers at once, so all of it is the SDK, the hub's own code, TLS and the kernel. Medians of asks that follow
each other, of the round in which that was lowest; and processor time, which busy neighbours disturb less. Beside it, in
turns: a bare TCP exchange of as many bytes between two processes, each an asyncio protocol, awaited as an ask is, which
is what the machine and two event loops take today; the published SDK and hivemind-bus-client at the same hub; and for
the embedded broker mosquitto, with one ask and with 200 at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import measuring
import peers
from broker import mosquitto, program
from children import Child, running_hub
from measuring import Figure, Weather, median, percentile

from thalovant import AsyncThalovantClient

MOSQUITTO, STOCK, EMBEDDED = "mqtt", "mqtt, stock mosquitto", "mqtt, embedded broker"
#: Times of the bare exchange that an ask may take, by transport; the stock mosquitto holds packets back by itself.
TARGETS = {"wss": 6, "https": 40, MOSQUITTO: 10, STOCK: None, EMBEDDED: 15}
AT_ONCE = 200

#: Who else asks: name, script, over what, and how often a round (None: a tenth as often as ours over WSS).
PEERS: list[tuple[str, str, str, int | None]] = [
    (peers.SDK, "child_sdk.py", "wss", 1),
    (peers.SDK, "child_sdk.py", "https", 1),
    (peers.SDK, "child_sdk.py", "mqtt", 1),
    (peers.BUS, "child_bus_client.py", "wss", None),
]


class Ours:
    """Our client, connected, on a loop of its own."""

    def __init__(self, hub: Child, protocol: str, exits: ExitStack) -> None:
        self._runner = exits.enter_context(asyncio.Runner())
        identity = hub.ask("identity", name=f"ours-{protocol}")
        self._client = AsyncThalovantClient.from_identity_file(identity, protocol=protocol)
        self._runner.run(self._client.connect())
        exits.callback(lambda: self._runner.run(self._client.close()))
        self._port = urlsplit(hub.ask("endpoints")[protocol]).port or 0

    def measure_traffic(self, echo: Child) -> None:
        """Make bare exchanges possible, of as many bytes as one ask has."""
        self.ask(5)
        before = _traffic(self._port)
        self.ask(10)
        after = _traffic(self._port)
        self.up, self.down = (round((now - then) / 10) for now, then in zip(after, before, strict=True))
        self._exchange = self._runner.run(_dialed(echo.ask("port", up=self.up, down=self.down), self.up, self.down))

    def ask(self, count: int) -> list[float]:
        """Seconds for each of `count` asks, one after the other."""
        return self._runner.run(self._ask(count))

    def ask_at_once(self, count: int) -> list[float]:
        """Seconds for `count` asks together."""
        started = time.perf_counter()
        self._runner.run(self._gather(count))
        return [time.perf_counter() - started]

    def exchange(self, count: int) -> list[float]:
        """Seconds for each of `count` bare exchanges."""
        return self._runner.run(self._exchange.run(count))

    async def _ask(self, count: int) -> list[float]:
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            reply = await self._client.ask("hello")
            taken.append(time.perf_counter() - started)
            assert reply.text == "You said: hello"
        return taken

    async def _gather(self, count: int) -> None:
        replies = await asyncio.gather(*(self._client.ask("hello", timeout=60) for _ in range(count)))
        assert {reply.text for reply in replies} == {"You said: hello"}


class Exchange(asyncio.Protocol):
    """The client's end of a bare exchange."""

    def __init__(self, up: int, down: int) -> None:
        self._question, self._down = bytes(up), down
        self._had = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._had += len(data)
        if self._had >= self._down:
            self._had -= self._down
            self._answered.set_result(None)

    async def run(self, count: int) -> list[float]:
        """Seconds for each of `count`."""
        taken, loop = [], asyncio.get_running_loop()
        for _ in range(count):
            started = time.perf_counter()
            self._answered: asyncio.Future[None] = loop.create_future()
            self._transport.write(self._question)
            await self._answered
            taken.append(time.perf_counter() - started)
        return taken


def _protocol(way: str) -> str:
    return way.partition(",")[0]


async def _dialed(port: int, up: int, down: int) -> Exchange:
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(partial(Exchange, up, down), "127.0.0.1", port))[1]


def _traffic(port: int) -> tuple[int, int]:
    """Bytes that this process has sent to a port and had from it, as the kernel counts them."""
    sent = received = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            path = Path(f"/proc/self/fd/{name}").readlink()
        except FileNotFoundError:  # that of the listing
            continue
        if not str(path).startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(int(name))) as sock:
            try:
                there = sock.family == socket.AF_INET and sock.getpeername()[1] == port
            except OSError:
                continue
            if there:
                information = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
                acknowledged, had = struct.unpack_from("=QQ", information, 120)  # <linux/tcp.h>
                sent, received = sent + acknowledged, received + had
    return sent, received


def _metered(run: Callable[[], list[float]], other: Child, costs: list[float]) -> list[float]:
    """Run it, and note what each took in µs of the processors of this process and the other."""
    before = time.process_time() + other.ask("spent")
    taken = run()
    costs.append((time.process_time() + other.ask("spent") - before) / len(taken) * 1e6)
    return taken


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL", help="wss, https or mqtt (default: all)")
    arguments = parser.parse_args()
    protocols = arguments.protocols or ["wss", "https", "mqtt"]
    rounds, count = (5, 50) if arguments.quick else (40, 50)
    pythons = {} if arguments.protocols else peers.interpreters()
    weather = Weather()
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub("--all"))
        hubs = {way: hub for way in ("wss", "https", EMBEDDED) if _protocol(way) in protocols}
        if "mqtt" in protocols and program() is not None:
            for way in (STOCK, MOSQUITTO):
                port, authority = exits.enter_context(mosquitto(tls=True, stock=way == STOCK))
                place = f"mqtts://127.0.0.1:{port}"
                hubs[way] = exits.enter_context(running_hub("--broker", place, str(authority)))
        echo = exits.enter_context(Child("child_echo.py"))
        runs: dict[str, Callable[[], list[float]]] = {}
        costs: defaultdict[str, list[float]] = defaultdict(list)
        ours = {way: Ours(its_hub, _protocol(way), exits) for way, its_hub in hubs.items()}
        for way, client in ours.items():
            client.measure_traffic(echo)
            asks = partial(client.ask, count if way == "wss" else count // 3)
            runs[way] = partial(_metered, asks, hubs[way], costs[way])
            bare = partial(client.exchange, 4 * count)
            runs[f"{way}: exchange"] = partial(_metered, bare, echo, costs[f"{way}: exchange"])
        for way in (MOSQUITTO, EMBEDDED):
            if way in ours:
                runs[f"{way}: at once"] = partial(ours[way].ask_at_once, AT_ONCE)
        ca_file = hub.ask("endpoints")["ca_file"]
        for name, script, way, asks in PEERS:
            if name not in pythons or way not in hubs:
                continue
            home = exits.enter_context(tempfile.TemporaryDirectory())
            trusted = authority if way == "mqtt" else ca_file
            peer = exits.enter_context(Child(script, home, python=pythons[name], **peers.trusting(trusted, home)))
            identity = hubs[way].ask("identity", name=f"{name}-{way}", pinned=False)
            peer.ask("connect", identity=identity, **({} if name == peers.BUS else {"protocol": way}))
            runs[f"{name} {way}"] = partial(peer.ask, "ask", count=asks or count // 10)
        taken = measuring.in_turns(rounds, runs)
    middles = {name: [median(times) * 1e3 for times in each] for name, each in taken.items()}
    tails = {name: percentile(chain.from_iterable(each), 99) * 1e3 for name, each in taken.items()}
    figures = []
    for way in (name for name in TARGETS if name in taken):
        size = f"TCP, {ours[way].up} + {ours[way].down} B"
        bare = f"{way}: exchange"
        figures.append(Figure(id="P1", what=f"ask, {way}, best round", unit="ms", most_share=TARGETS[way], peer=size,
                              **measuring.best_round(middles[way], middles[bare])))  # fmt: skip
        figures.append(Figure(id="P1", what="…processor time, client and hub, best round", unit="µs", peer="both ends",
                              **measuring.best_round(costs[way], costs[bare])))  # fmt: skip
        figures.append(Figure(id="P1", what=f"ask, {way}, p99", ours=tails[way], unit="ms", peer=size,
                              theirs=tails[bare]))  # fmt: skip
    if MOSQUITTO in taken:
        for what, suffix, most in (("ask", "", 1.5), (f"{AT_ONCE} asks at once", ": at once", 2)):
            both = measuring.best_round(middles[EMBEDDED + suffix], middles[MOSQUITTO + suffix])
            figures.append(Figure(id="P1", what=f"{what}, embedded broker, best round", unit="ms", most_share=most,
                                  peer="mosquitto", **both))  # fmt: skip
    figures += [
        Figure(id="P1", what=f"ask, {way}, best round", unit="ms", peer=peers.NAMES[name],
               **measuring.best_round(middles[way], middles[f"{name} {way}"]))
        for name, _, way, _ in PEERS if f"{name} {way}" in middles
    ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
