"""P3: how long it takes until something happens: import, `--help`, and `thalovant ask` from process start to reply.

    python benchmarks/p3_startup.py

Every figure is of new processes, their bytecode on disk already, ours and the published SDK's in turns. Imports are
timed inside the interpreter, commands from outside. `ask` is the command against a hub of ours with
TLS: pinned, when client and hub know each other's keys; at first contact, when the client derives its key first
(argon2id, 64 MiB).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

import measuring
import peers
from children import Child, running_hub
from measuring import Figure, Weather

IMPORT = (
    "from time import perf_counter as wall, process_time as busy; then = wall(), busy(); {}; "
    "print(wall() - then[0], busy() - then[1])"
)
LOADED = "import sys; then = set(sys.modules); {}; print(len(set(sys.modules) - then))"
PACKAGE, CLIENT = "import thalovant", "from thalovant import ThalovantClient"
#: By run: what it is, and the part of the peer's time that it may take.
FIGURES = {
    "package": (PACKAGE, 0.2),
    "client": (CLIENT, 0.7),
    "help": ("thalovant --help", 0.5),
    "ask": ("thalovant ask, pinned", 0.5),
    "first": ("thalovant ask, first contact", 0.8),
}


def imported(python: Path, statement: str, program: str = IMPORT) -> list[float]:
    """Seconds, and those of processor time, for a statement in a new interpreter; or what another program prints."""
    ours = Path(sys.executable) == python
    argv = [str(python), *(() if ours else ("-E",)), "-c", program.format(statement)]
    printed = subprocess.run(argv, stdout=subprocess.PIPE, check=True, cwd=tempfile.gettempdir(), text=True).stdout
    return [float(value) for value in printed.split()]


def ran(*argv: str, said: str, **variables: str) -> list[float]:
    """Seconds, and those of processor time, for a command that has to print something."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, stdout=subprocess.PIPE, env={**os.environ, **variables}, text=True, check=False)
    elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = [elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime]
    if done.returncode or said not in done.stdout:
        raise SystemExit(f"{' '.join(argv)} failed with exit code {done.returncode}")
    return taken


def command(python: Path) -> str:
    """The `thalovant` command beside an interpreter."""
    found = shutil.which("thalovant", path=str(python.parent))
    if found is None:
        raise SystemExit(f"there is no thalovant command beside {python}: install the package")
    return found


def first_contact(hub: Child, program: str, option: str, numbers: count[int], **variables: str) -> list[float]:
    """As `ran`, for an ask of a client that has never seen the hub, and that the hub has never seen."""
    identity = hub.ask("identity", name=f"new{option}-{next(numbers)}", pinned=False)
    with tempfile.TemporaryDirectory() as home:
        variables |= {"HOME": home, "XDG_CONFIG_HOME": f"{home}/.config"}
        return ran(program, option, identity, "ask", "hello", said="hello", **variables)


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, only what pip installed would have its bytecode
    rounds = 3 if arguments.quick else 15
    ours, theirs = Path(sys.executable), peers.interpreters().get(peers.SDK)
    weather = Weather()
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub())
        pinned = hub.ask("identity", name="pinned")
        runs: dict[str, Callable[[], list[float]]] = {
            "package": partial(imported, ours, PACKAGE),
            "client": partial(imported, ours, CLIENT),
            "help": partial(ran, command(ours), "--help", said="ask"),
            "ask": partial(ran, command(ours), "-i", pinned, "ask", "hello", said="You said: hello"),
            "first": partial(first_contact, hub, command(ours), "-i", count()),
        }
        if theirs is not None:
            home = exits.enter_context(tempfile.TemporaryDirectory())
            own = {"PYTHONPATH": "", **peers.trusting(hub.ask("endpoints")["ca_file"], home)}
            file = hub.ask("identity", name="peer", pinned=False)
            runs |= {
                "their package": partial(imported, theirs, PACKAGE),
                "their client": partial(imported, theirs, CLIENT),
                "their help": partial(ran, command(theirs), "--help", said="ask", **own),
                "their ask": partial(ran, command(theirs), "--identity", file, "ask", "hello", said="hello", **own),
                "their first": partial(first_contact, hub, command(theirs), "--identity", count(), **own),
            }
        measuring.in_turns(1, runs)  # now the bytecode is there, and the published SDK has met the hub
        taken = measuring.in_turns(rounds, runs)
    best = {name: [min(times) * 1e3 for times in zip(*each, strict=True)] for name, each in taken.items()}
    peer = peers.NAMES[peers.SDK] if theirs is not None else ""
    loaded = [int(imported(python, CLIENT, LOADED)[0]) if python else None for python in (ours, theirs)]
    figures = [Figure(id="P3", what=f"{CLIENT}, modules", ours=loaded[0] or 0, unit="", peer=peer, theirs=loaded[1])]
    for name, (what, most) in FIGURES.items():
        other = best.get(f"their {name}", (None, None))
        figures += [
            Figure(id="P3", what=f"{what}, best", ours=best[name][0], unit="ms", peer=peer, theirs=other[0],
                   most_share=most),
            Figure(id="P3", what="…processor time, best", ours=best[name][1], unit="ms", peer=peer, theirs=other[1]),
        ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
