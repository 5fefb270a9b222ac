"""P4: what a ready and idle connection holds: a thousand clients in one process with TLS, and ten thousand on a hub,
without TLS and with it.

    python benchmarks/p4_memory.py

Resident memory, shared pages included; hub and clients are processes of their own. What the first hundred connections
brought with them (code, the first growth of the heap) is not counted, the rest is divided among the others. Clients
share one identity, as the devices of one installation may. Linux only.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

import measuring
import peers
from children import Child, allow_files, resident, running_hub
from measuring import Figure, Weather

FIRST = 100
PROCESSES = 2  # for the clients of the hub


def clients(count: int, peer_count: int) -> list[Figure]:
    """Clients in one process, over TLS."""
    with running_hub() as hub:
        with Child("child_clients.py", hub.ask("identity", name="ours")) as ours:
            ours.ask("connect", count=FIRST)
            before = ours.ask("memory"), hub.ask("memory")
            ours.ask("connect", count=count - FIRST)
            held, hubs = ours.ask("memory") - before[0], hub.ask("memory") - before[1]
        figures = [
            Figure(id="P4", what=f"a client of {count:,} in one process, TLS", ours=held / (count - FIRST) / 1e3,
                   unit="kB", most=60),
            Figure(id="P4", what="its connection at the hub, TLS", ours=hubs / (count - FIRST) / 1e3, unit="kB"),
        ]  # fmt: skip
        for name, script in ((peers.SDK, "child_sdk.py"), (peers.BUS, "child_bus_client.py")):
            if (python := peers.interpreters().get(name)) is None:
                continue
            with tempfile.TemporaryDirectory() as home:
                own = peers.trusting(hub.ask("endpoints")["ca_file"], home)
                with Child(script, home, python=python, **own) as peer:
                    identity = hub.ask("identity", name=name, pinned=False)
                    for _ in range(peer_count // 5):
                        peer.ask("connect", identity=identity)
                    then = resident(peer.pid)
                    for _ in range(peer_count):
                        peer.ask("connect", identity=identity)
                    theirs = (resident(peer.pid) - then) / peer_count / 1e3
            figures.append(Figure(id="P4", what="a client in one process, TLS", ours=figures[0].ours, unit="kB",
                                  peer=f"{peers.NAMES[name]}, of {peer_count}", theirs=theirs))  # fmt: skip
    return figures


def idle_hub(count: int, *flags: str, what: str, most: float) -> Figure:
    """Idle connections on the hub."""
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub(*flags))
        identity = hub.ask("identity", name="idle")
        crowd = [exits.enter_context(Child("child_clients.py", identity)) for _ in range(PROCESSES)]
        crowd[0].ask("connect", count=FIRST)
        before = hub.ask("memory")
        shares = [count // PROCESSES] * PROCESSES
        shares[0] -= FIRST
        for child, share in zip(crowd, shares, strict=True):
            child.ask("connect", count=share)
        held = hub.ask("memory") - before
        ready = sum(child.ask("ready") for child in crowd)
    assert ready == count, f"only {ready} of {count} clients are connected in the end"
    each = held / (count - FIRST) / 1e3
    return Figure(id="P4", what=f"a connection of {count:,} at the hub, {what}", ours=each, unit="kB", most=most)


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    parser.add_argument("--connections", type=int, metavar="N", help="at the hub (default: 10 000)")
    arguments = parser.parse_args()
    few, many, theirs = (300, 1_000, 20) if arguments.quick else (1_000, 10_000, 100)
    many = arguments.connections or many
    allow_files(many + 500)
    weather = Weather()
    figures = clients(few, theirs)
    figures += [idle_hub(many, "--no-tls", what="no TLS", most=14), idle_hub(many, what="TLS", most=24)]
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
