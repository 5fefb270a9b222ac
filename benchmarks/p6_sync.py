"""P6: what a call of the synchronous client takes longer than the same call of the asynchronous one.

    python benchmarks/p6_sync.py

Both ask the same hub, in turns: the difference of the medians is what the loop thread behind `ThalovantClient` adds.
"""

from __future__ import annotations

import asyncio
import time

import measuring
from children import running_hub
from measuring import Figure, Weather, median

from thalovant import AsyncThalovantClient, ThalovantClient


def sync_asks(client: ThalovantClient, count: int) -> list[float]:
    """Seconds for each of `count` asks."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        client.ask("hello")
        taken.append(time.perf_counter() - started)
    return taken


async def async_asks(client: AsyncThalovantClient, count: int) -> list[float]:
    """Seconds for each of `count` asks."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        await client.ask("hello")
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds, count = (4, 50) if arguments.quick else (20, 100)
    weather = Weather()
    with running_hub() as hub, asyncio.Runner() as runner:
        sync = ThalovantClient.from_identity_file(hub.ask("identity", name="sync"))
        asynchronous = AsyncThalovantClient.from_identity_file(hub.ask("identity", name="async"))
        sync.connect()
        runner.run(asynchronous.connect())
        differences, blocking, awaited = [], [], []
        for _ in range(rounds):
            blocking.append(median(sync_asks(sync, count)))
            awaited.append(median(runner.run(async_asks(asynchronous, count))))
            differences.append(blocking[-1] - awaited[-1])
        sync.close()
        runner.run(asynchronous.close())
    figures = [
        Figure(id="P6", what="sync ask over async ask, median round", ours=median(differences) * 1e3, unit="ms",
               most=0.3),
        Figure(id="P6", what="sync ask, median", ours=median(blocking) * 1e3, unit="ms", peer="async ask",
               theirs=median(awaited) * 1e3),
    ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
