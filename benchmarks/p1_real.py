"""P1 at real hubs: how long until the hub's first word, and what `ask` adds to the hub's own `handled`.

    python benchmarks/p1_real.py

Starts the hubs of `tests/interop/rig` (installed at the first run) with an agent that answers at once. Until the first
word most of the time is the hub's and the agent's; what `ask` adds is ours alone. Beside it, in turns, the published
SDK, whose whole `ask` is compared with ours.

Asks that follow each other without a pause have 40 ms in them in which two programs on the hub's side wait for each
other: Nagle's algorithm against a delayed acknowledgement. So they are measured after a pause, too, as people make one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import peers
from children import Child
from measuring import Figure, Weather, median

from thalovant import AsyncThalovantClient

RIG = peers.ROOT / "tests" / "interop" / "rig"
HUBS = {"noise": "hivemind-core 5.3.10a1, v3", "legacy": "hivemind-core 4.0.0, v1"}
HANDLED = "ovos.utterance.handled"
PAUSE = 0.1  # seconds, after which nobody waits for an acknowledgement any more


@contextmanager
def rig() -> Iterator[dict[str, Any]]:
    """The hubs, running: what `rig.json` says of them."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"RIG_HOME": folder, "RIG_VENVS": str(peers.cache() / "hubs")}

        def run(command: str, *options: str) -> None:
            argv = [sys.executable, str(RIG / command), *options]
            done = subprocess.run(argv, env={**os.environ, **places}, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"the rig's {command} failed: {done.stderr[-1000:]}")

        try:
            run("up", "--no-tap", "--hub", ",".join(HUBS))
            yield json.loads(Path(folder, "rig.json").read_text())
        finally:
            run("down")


class Ours:
    """Our client, on a loop of its own."""

    def __init__(self, identity: str, ca: str, folder: str) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncThalovantClient.from_identity_file(
            identity, protocol="wss", ca_file=ca, noise_state_dir=folder
        )
        # By the pause before each ask:
        self.first: dict[float, list[float]] = {0: [], PAUSE: []}  # seconds until the first word
        self.added: dict[float, list[float]] = {0: [], PAUSE: []}  # from the hub's `handled` to the end of `ask`
        self.whole: dict[float, list[float]] = {0: [], PAUSE: []}
        self._spoken = self._handled = 0.0
        self._runner.run(self._start())

    async def _start(self) -> None:
        await self._client.connect()
        self._client.on(HANDLED, lambda _: setattr(self, "_handled", time.perf_counter()))
        self._client.on("speak", lambda _: setattr(self, "_spoken", time.perf_counter()))

    def ask(self, count: int, pause: float = 0) -> None:
        """Ask so often, with a pause before each, and take the times."""
        self._runner.run(self._ask(count, pause))

    async def _ask(self, count: int, pause: float) -> None:
        for number in range(count):
            if pause:
                await asyncio.sleep(pause)
            started = time.perf_counter()
            reply = await self._client.ask(f"hello {number}")
            ended = time.perf_counter()
            await asyncio.sleep(0)  # handlers run beside the ask: let them note what came with it
            assert reply.text == f"echo: hello {number}", reply
            self.whole[pause].append(ended - started)
            self.first[pause].append(self._spoken - started)
            self.added[pause].append(ended - self._handled)

    def close(self) -> None:
        """Say goodbye."""
        self._runner.run(self._client.close())
        self._runner.close()


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds, count = (2, 20) if arguments.quick else (6, 60)
    python = peers.interpreters().get(peers.SDK)
    figures = []
    with ExitStack() as exits:
        running = exits.enter_context(rig())
        weather = Weather()
        for name, title in HUBS.items():
            clients = running["hubs"][name]["clients"]
            folder = exits.enter_context(tempfile.TemporaryDirectory())
            ours = Ours(clients["ok"]["identity"], running["ca"], folder)
            exits.callback(ours.close)
            theirs: list[float] = []
            peer: Callable[[], list[float]] | None = None
            if python is not None and name == "noise":  # the published SDK speaks nothing older
                home = exits.enter_context(tempfile.TemporaryDirectory())
                child = exits.enter_context(
                    Child("child_sdk.py", home, python=python, **peers.trusting(running["ca"], home))
                )
                child.ask("connect", identity=clients["second"]["identity"])
                peer = partial(child.ask, "ask", count=5, answer="echo: hello")
            for _ in range(rounds):
                ours.ask(count)
                ours.ask(count // 2, PAUSE)
                theirs += peer() if peer else []
            for pause, when in ((0, ""), (PAUSE, " after a pause")):
                figures += [
                    Figure(id="P1", what=f"{title}: to the first word{when}, median",
                           ours=median(ours.first[pause]) * 1e3, unit="ms", most=10),
                    Figure(id="P1", what=f"{title}: what ask{when} adds to handled, median",
                           ours=median(ours.added[pause]) * 1e3, unit="ms", most=5),
                    Figure(id="P1", what=f"{title}: ask{when}, median", ours=median(ours.whole[pause]) * 1e3,
                           unit="ms", peer=peers.NAMES[peers.SDK] if theirs else "",
                           theirs=median(theirs) * 1e3 if theirs else None),
                ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
