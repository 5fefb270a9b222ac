"""P5: what our hub carries: 200 clients with TLS, as fast as they can and at a fixed rate; and what an ask costs it
when ever more clients are connected.

    python benchmarks/p5_hub.py [--out FOLDER]

Hub and load are two processes. Closed loop: each client asks again once it has its answer. Open loop: asks are due a
thousand times a second whatever comes back, and each is timed from when it was due. The cost is processor time of the
hub per ask, of ten clients that ask while the others are silent; drawn as text, and as SVG in a folder.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import measuring
from children import Child, allow_files, running_hub
from measuring import Figure, Weather, median, percentile
from plots import bars, svg

CLIENTS = 200
ACTIVE = 10


def throughput(quick: bool) -> list[Figure]:
    """Closed loop, then open loop."""
    count, seconds, rounds = (10, 1.0, 2) if quick else (60, 3.0, 5)
    with running_hub() as hub, Child("child_load.py", hub.ask("identity", name="load")) as load:
        load.ask("connect", count=CLIENTS)
        load.ask("closed_loop", active=CLIENTS, count=5)
        rates, costs, middles, tails = [], [], [], []
        for _ in range(rounds):
            before = hub.ask("spent")
            rates.append(load.ask("closed_loop", active=CLIENTS, count=count)[0])
            costs.append((hub.ask("spent") - before) / (CLIENTS * count))
            taken = load.ask("open_loop", rate=1_000, seconds=seconds)
            middles.append(median(taken) * 1e3)
            tails.append(percentile(taken, 99) * 1e3)
    return [
        Figure(id="P5", what="closed loop, 200 clients, TLS, best round", ours=max(rates), unit="asks/s", least=3_000),
        Figure(id="P5", what="closed loop, median round", ours=median(rates), unit="asks/s"),
        Figure(id="P5", what="what one core of the hub could carry", ours=1 / min(costs), unit="asks/s"),
        Figure(id="P5", what="1,000 asks/s offered, p99, median round", ours=median(tails), unit="ms", most=10),
        Figure(id="P5", what="1,000 asks/s offered, p99, best round", ours=min(tails), unit="ms"),
        Figure(id="P5", what="1,000 asks/s offered, median", ours=median(middles), unit="ms"),
    ]


def growth(quick: bool) -> dict[int, float]:
    """By the number of connected clients: µs of the hub's processor for an ask.

    A second hub, with ten clients, is measured in turns with the one that grows. What it needs more at one step than
    at another is the weather, and left out.
    """
    steps = (10, 50, 100) if quick else (10, 50, 100, 200, 400, 600, 800, 1000)
    count, rounds = (20, 2) if quick else (100, 6)
    shares, small_costs = {}, []
    with ExitStack() as exits:
        runs = {}
        for name in ("small", "large"):
            hub = exits.enter_context(running_hub())
            load = exits.enter_context(Child("child_load.py", hub.ask("identity", name="load")))
            load.ask("connect", count=ACTIVE)
            runs[name] = partial(_cost, hub, load, count)
        measuring.in_turns(1, runs)
        connected = ACTIVE
        for clients in steps:
            load.ask("connect", count=clients - connected)
            connected = clients
            taken = measuring.in_turns(rounds, runs)
            small_costs.append(min(taken["small"]))
            shares[clients] = min(taken["large"]) / small_costs[-1]
    return {clients: share * min(small_costs) for clients, share in shares.items()}


def _cost(hub: Child, load: Child, count: int) -> float:
    before = hub.ask("spent")
    load.ask("closed_loop", active=ACTIVE, count=count)
    return float(1e6 * (hub.ask("spent") - before) / (ACTIVE * count))


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where the drawing goes (default: a new folder)")
    arguments = parser.parse_args()
    allow_files(4096)
    weather = Weather()
    figures = throughput(arguments.quick)
    costs = growth(arguments.quick)
    least, most = min(costs), max(costs)
    figures.append(Figure(id="P5", what=f"hub's cost of an ask, {most} clients connected", ours=costs[most], unit="µs",
                          peer=f"{least} clients", theirs=costs[least], most_share=1.15))  # fmt: skip
    title = "hub: µs of processor time per ask, by connected clients"
    print(bars(title, {f"{clients:,}": cost for clients, cost in costs.items()}))
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="thalovant-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    drawing = folder / "p5_cost_by_clients.svg"
    drawing.write_text(svg(title, costs, x="connected clients", y="µs"))
    print(f"drawn in {drawing}\n")
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
