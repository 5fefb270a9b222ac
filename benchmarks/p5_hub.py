"""P5: what our hub carries: 200 clients with TLS, as fast as they can and at a fixed rate; and what an ask costs it
when ever more clients are connected.

    python benchmarks/p5_hub.py [--out FOLDER] [growth | throughput]

Hub and load are two processes. Closed loop: each client asks again once it has its answer, in turns with an earlier
state of hub and load, taken from git. Open loop: asks are due a thousand times a second whatever comes back, and each
is timed from when it was due. The cost is processor time of the hub per ask, of ten clients that ask while the others
are silent; drawn as text, and as SVG in a folder.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path

import measuring
from children import ROOT, Child, allow_files, checkout, running_hub
from measuring import Figure, Weather, median, percentile
from plots import bars, svg

#: What the hub's throughput is held against.
EARLIER = "56494ae"
CLIENTS = 200
ACTIVE = 10


def throughput(quick: bool) -> list[Figure]:
    """Closed loop, beside an earlier state; then open loop."""
    count, seconds, rounds = (10, 1.0, 2) if quick else (60, 3.0, 5)
    with ExitStack() as exits:
        earlier = exits.enter_context(checkout(EARLIER))
        both = {name: _busy(root, exits) for name, root in (("ours", ROOT), ("theirs", earlier)) if root is not None}
        load = both["ours"][1]
        runs = {name: partial(_closed_loop, *pair, CLIENTS, count) for name, pair in both.items()}
        loops = measuring.in_turns(rounds, runs)
        open_loops = [load.ask("open_loop", rate=1_000, seconds=seconds) for _ in range(rounds)]
    rates = {name: [rate for rate, _ in each] for name, each in loops.items()}
    costs = {name: min(cost for _, cost in each) for name, each in loops.items()}
    theirs = rates.get("theirs")
    peer = f"commit {EARLIER}" if theirs else ""
    tails = [percentile(taken, 99) * 1e3 for taken in open_loops]
    return [
        Figure(id="P5", what="closed loop, 200 clients, TLS, best round", ours=max(rates["ours"]), unit="asks/s",
               peer=peer, theirs=max(theirs) if theirs else None, least_speedup=1.5),
        Figure(id="P5", what="closed loop, median round", ours=median(rates["ours"]), unit="asks/s",
               peer=peer, theirs=median(theirs) if theirs else None),
        Figure(id="P5", what="hub's cost of an ask in it", ours=costs["ours"], unit="µs",
               peer=peer, theirs=costs.get("theirs")),
        Figure(id="P5", what="1,000 asks/s offered, p99, best round", ours=min(tails), unit="ms", most=5),
        Figure(id="P5", what="1,000 asks/s offered, p99, median round", ours=median(tails), unit="ms"),
        Figure(id="P5", what="1,000 asks/s offered, median", ours=median(chain.from_iterable(open_loops)) * 1e3,
               unit="ms"),
    ]  # fmt: skip


def _busy(root: Path, exits: ExitStack) -> tuple[Child, Child]:
    """A hub, and a load with all its clients."""
    hub, load = _hub_and_load(root, exits)
    load.ask("connect", count=CLIENTS)
    load.ask("closed_loop", active=CLIENTS, count=5)
    return hub, load


def _hub_and_load(root: Path, exits: ExitStack) -> tuple[Child, Child]:
    hub = exits.enter_context(running_hub(root=root))
    return hub, exits.enter_context(Child("child_load.py", hub.ask("identity", name="load"), root=root))


def _closed_loop(hub: Child, load: Child, active: int, count: int) -> tuple[float, float]:
    """Asks a second, and µs of the hub's processor for each."""
    before = hub.ask("spent")
    rate = load.ask("closed_loop", active=active, count=count)[0]
    return rate, 1e6 * (hub.ask("spent") - before) / (active * count)


def growth(quick: bool) -> dict[int, float]:
    """By the number of connected clients: µs of the hub's processor for an ask.

    A second hub, with ten clients, is measured in turns with the one that grows. What it needs more at one step than
    at another is the weather, and left out. Means, since what the hub does from time to time counts too.
    """
    steps = (10, 100) if quick else (10, 100, 400, 1_000)
    count, rounds = (20, 2) if quick else (50, 20)
    shares, small_costs = {}, []
    with ExitStack() as exits:
        pairs = {name: _hub_and_load(ROOT, exits) for name in ("small", "large")}
        for _, load in pairs.values():
            load.ask("connect", count=ACTIVE)
        runs = {name: partial(_closed_loop, *pair, ACTIVE, count) for name, pair in pairs.items()}
        measuring.in_turns(1, runs)
        connected = ACTIVE
        for clients in steps:
            pairs["large"][1].ask("connect", count=clients - connected)
            connected = clients
            taken = measuring.in_turns(rounds, runs)
            small, large = (sum(cost for _, cost in taken[name]) / rounds for name in ("small", "large"))
            small_costs.append(small)
            shares[clients] = large / small
    return {clients: share * min(small_costs) for clients, share in shares.items()}


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where the drawing goes (default: a new folder)")
    parser.add_argument("only", nargs="?", choices=("growth", "throughput"), help="(default: both)")
    arguments = parser.parse_args()
    allow_files(4096)
    weather = Weather()
    figures = throughput(arguments.quick) if arguments.only != "growth" else []
    if arguments.only != "throughput":
        figures.append(_drawn(growth(arguments.quick), arguments.out))
    measuring.show(figures, weather, arguments)


def _drawn(costs: dict[int, float], out: Path | None) -> Figure:
    least, most = min(costs), max(costs)
    title = "hub: µs of processor time per ask, by connected clients"
    print(bars(title, {f"{clients:,}": cost for clients, cost in costs.items()}))
    folder = out or Path(tempfile.mkdtemp(prefix="thalovant-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    drawing = folder / "p5_cost_by_clients.svg"
    drawing.write_text(svg(title, costs, x="connected clients", y="µs"))
    print(f"drawn in {drawing}\n")
    return Figure(id="P5", what=f"hub's cost of an ask, {most:,} clients connected", ours=costs[most], unit="µs",
                  peer=f"{least} clients", theirs=costs[least], most_share=1.1)  # fmt: skip


if __name__ == "__main__":
    main()
