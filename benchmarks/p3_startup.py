"""P3: how long it takes until something happens: import, `--help`, and `thalovant ask` from process start to reply.

    python benchmarks/p3_startup.py

Every figure is of new processes, their bytecode on disk already, ours and the published SDK's in turns. Imports are
timed inside the interpreter, commands from outside. `ask` is the command against a hub of ours with TLS: pinned, when
client and hub know each other's keys; at first contact, when the client derives its key first (argon2id, 64 MiB).
"""

from __future__ import annotations

import os
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
from measuring import Figure, Weather, median

IMPORT = "import time; a = time.perf_counter(); {}; print(time.perf_counter() - a)"
PACKAGE, CLIENT = "import thalovant", "from thalovant import ThalovantClient"


def imported(python: Path, statement: str) -> float:
    """Seconds for a statement in a new interpreter, as that sees it."""
    ours = Path(sys.executable) == python
    argv = [str(python), *(() if ours else ("-E",)), "-c", IMPORT.format(statement)]
    return float(subprocess.run(argv, stdout=subprocess.PIPE, check=True, cwd=tempfile.gettempdir()).stdout)


def ran(*argv: str, said: str, **variables: str) -> float:
    """Seconds for a command that has to print something."""
    started = time.perf_counter()
    done = subprocess.run(argv, stdout=subprocess.PIPE, env={**os.environ, **variables}, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode or said not in done.stdout:
        raise SystemExit(f"{' '.join(argv)} failed with exit code {done.returncode}")
    return taken


def command(python: Path) -> str:
    """The `thalovant` command beside an interpreter."""
    found = shutil.which("thalovant", path=str(python.parent))
    if found is None:
        raise SystemExit(f"there is no thalovant command beside {python}: install the package")
    return found


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds = 3 if arguments.quick else 15
    ours, theirs = Path(sys.executable), peers.interpreters().get(peers.SDK)
    weather = Weather()
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub())
        pinned = hub.ask("identity", name="pinned")
        runs: dict[str, Callable[[], float]] = {
            "package": partial(imported, ours, PACKAGE),
            "client": partial(imported, ours, CLIENT),
            "help": partial(ran, command(ours), "--help", said="ask"),
            "ask": partial(ran, command(ours), "-i", pinned, "ask", "hello", said="You said: hello"),
            "first": partial(_first_contact, hub, command(ours), count()),
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
            }
        measuring.in_turns(1, runs)  # now the bytecode is there, and the published SDK has met the hub
        taken = measuring.in_turns(rounds, runs)
    best = {name: min(times) * 1e3 for name, times in taken.items()}
    middle = {name: median(times) * 1e3 for name, times in taken.items()}
    peer = peers.NAMES[peers.SDK] if theirs is not None else ""
    figures = [
        Figure(id="P3", what="import thalovant, best", ours=best["package"], unit="ms", most=60, most_share=0.4,
               peer=peer, theirs=best.get("their package")),
        Figure(id="P3", what="import thalovant, median", ours=middle["package"], unit="ms",
               peer=peer, theirs=middle.get("their package")),
        Figure(id="P3", what="…and the client class, best", ours=best["client"], unit="ms",
               peer=peer, theirs=best.get("their client")),
        Figure(id="P3", what="thalovant --help, best", ours=best["help"], unit="ms", most=120,
               peer=peer, theirs=best.get("their help")),
        Figure(id="P3", what="thalovant --help, median", ours=middle["help"], unit="ms",
               peer=peer, theirs=middle.get("their help")),
        Figure(id="P3", what="thalovant ask, pinned, best", ours=best["ask"], unit="ms", most=350,
               peer=peer, theirs=best.get("their ask")),
        Figure(id="P3", what="thalovant ask, pinned, median", ours=middle["ask"], unit="ms",
               peer=peer, theirs=middle.get("their ask")),
        Figure(id="P3", what="thalovant ask, first contact, best", ours=best["first"], unit="ms", most=700),
        Figure(id="P3", what="thalovant ask, first contact, median", ours=middle["first"], unit="ms"),
    ]  # fmt: skip
    measuring.show(figures, weather, arguments)


def _first_contact(hub: Child, program: str, numbers: count[int]) -> float:
    """Seconds for an ask of a client that has never seen the hub, and that the hub has never seen."""
    identity = hub.ask("identity", name=f"new-{next(numbers)}", pinned=False)
    return ran(program, "-i", identity, "ask", "hello", said="You said: hello")


if __name__ == "__main__":
    main()
