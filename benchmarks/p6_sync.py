"""P6: what a call of the synchronous client takes longer than the same call of the asynchronous one.

    python benchmarks/p6_sync.py

Both ask the same hub over WSS, in turns: the difference is what the loop thread behind `ThalovantClient` adds. Medians
of asks that follow each other, of the round in which that was lowest.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

import measuring
from children import running_hub
from measuring import Figure, Weather, median
from p1_ask import Ours

from thalovant import ThalovantClient


def sync_asks(client: ThalovantClient, count: int) -> list[float]:
    """Seconds for each of `count` asks."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        client.ask("hello")
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds, count = (8, 30) if arguments.quick else (60, 30)
    weather = Weather()
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub())
        sync = exits.enter_context(ThalovantClient.from_identity_file(hub.ask("identity", name="sync"), protocol="wss"))
        asynchronous = Ours(hub, "wss", exits)
        runs = {"sync": partial(sync_asks, sync, count), "async": partial(asynchronous.ask, count)}
        taken = measuring.in_turns(rounds, runs)
    middles = {name: [median(times) * 1e3 for times in each] for name, each in taken.items()}
    both = measuring.best_round(middles["sync"], middles["async"])
    figures = [
        Figure(id="P6", what="sync ask, best round", unit="ms", peer="async ask", most_share=1.2, **both),
        Figure(id="P6", what="…longer by", ours=both["ours"] - both["theirs"], unit="ms", most=0.3),
        Figure(id="P6", what="sync ask, median round", ours=median(middles["sync"]), unit="ms", peer="async ask",
               theirs=median(middles["async"])),
    ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
