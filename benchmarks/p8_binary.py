"""P8: raw bytes to a hub and from it: 1 MiB messages, v3, TLS, two processes; and whether memory stays flat.

    python benchmarks/p8_binary.py

Up, the time is from the first `send_binary` to the hub's word that its handler has had the last byte; down, from the
request to the client's handler. Memory is what both processes hold more at the end than after the first quarter.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack

import measuring
import peers
from children import Child, resident, running_hub
from measuring import Figure, Weather, median

from thalovant import AsyncThalovantClient

SIZE = 1 << 20
SEND, SENT, EXPECT, ARRIVED = (f"benchmark.{word}" for word in ("send", "sent", "expect", "arrived"))


async def up(client: AsyncThalovantClient, count: int) -> float:
    """MB/s to the hub."""
    payload = bytes(SIZE)
    started = time.perf_counter()
    await client.emit(EXPECT, {"bytes": count * SIZE})
    for _ in range(count):
        await client.send_binary(payload)
    arrived = await client.wait_for_event(ARRIVED, timeout=120)
    assert arrived.data["bytes"] == count * SIZE
    return count * SIZE / (time.perf_counter() - started) / 1e6


async def down(client: AsyncThalovantClient, count: int) -> float:
    """MB/s from the hub."""
    done, got = asyncio.Event(), 0

    def heard(binary: object) -> None:
        nonlocal got
        got += 1
        if got == count:
            done.set()

    with client.on_binary(heard):
        started = time.perf_counter()
        await client.emit(SEND, {"size": SIZE, "count": count})
        await asyncio.wait_for(done.wait(), 120)
        return count * SIZE / (time.perf_counter() - started) / 1e6


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds, count = (4, 32) if arguments.quick else (8, 128)
    pythons = peers.interpreters()
    weather = Weather()
    figures = []
    with ExitStack() as exits:
        hub, runner = exits.enter_context(running_hub()), exits.enter_context(asyncio.Runner())
        client = AsyncThalovantClient.from_identity_file(hub.ask("identity", name="ours"))
        runner.run(client.connect())
        exits.callback(lambda: runner.run(client.close()))
        peer = None
        if peers.BUS in pythons:
            home = exits.enter_context(tempfile.TemporaryDirectory())
            own = peers.trusting(hub.ask("endpoints")["ca_file"], home)
            peer = exits.enter_context(Child("child_bus_client.py", home, python=pythons[peers.BUS], **own))
            peer.ask("connect", identity=hub.ask("identity", name="peer", pinned=False))
        for name, run in (("up", up), ("down", down)):
            rates, theirs, held = [], [], (0, 0)
            for number in range(rounds):
                rates.append(runner.run(run(client, count)))
                if peer is not None and name == "up":
                    theirs.append(peer.ask("binary_up", size=SIZE, count=count // 4))
                if number == rounds // 4 - 1:
                    held = resident(), hub.ask("memory")
            grown = resident() - held[0], hub.ask("memory") - held[1]
            figures += [
                Figure(id="P8", what=f"{name}, best round", ours=max(rates), unit="MB/s", least=50,
                       peer=peers.NAMES[peers.BUS] if theirs else "", theirs=max(theirs, default=None)),
                Figure(id="P8", what=f"{name}, median round", ours=median(rates), unit="MB/s",
                       peer=peers.NAMES[peers.BUS] if theirs else "", theirs=median(theirs) if theirs else None),
                Figure(id="P8", what=f"{name}, client's growth over {rounds * 3 // 4 * count} MiB",
                       ours=grown[0] / 1e6, unit="MB", most=8),
                Figure(id="P8", what=f"{name}, hub's growth", ours=grown[1] / 1e6, unit="MB", most=8),
            ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
