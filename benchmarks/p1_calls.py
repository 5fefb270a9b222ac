"""P1: how many Python calls one `ask` takes in our packages, over WSS with TLS and v3, client and hub on one loop.

    python benchmarks/p1_calls.py [--by | --tree]

Steady state: the handshake is over, and some asks too. The number is exact, however busy the machine is: it is that of
the ask which was disturbed least, by timers for example. It is divided by what the event loop called: the ask until it
waits, the bytes at the hub, the skill's task, the bytes at the client, and the ask's end.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import calls
import measuring
from calls import Calls
from measuring import Figure, Weather

from thalovant import AsyncThalovantClient
from thalovant.hub import Hub, Turn
from thalovant.hub.export import write_identity

SENDS, HEARS, ANSWERS, RECEIVES, REPLY = PHASES = (
    "the client sends", "the hub receives", "the skill answers", "the client receives", "the ask ends"
)  # fmt: skip


async def counted(asks: int) -> list[tuple[Calls, dict[str, int]]]:
    """The calls of each ask, and their number by phase."""
    at_skill = 0
    current = Calls()

    async def answer(turn: Turn) -> str:
        nonlocal at_skill
        at_skill = len(current)
        return f"You said: {turn.text}"

    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with Hub(state=Path(folder, "hub")) as hub:
            hub.skill(fallback=True)(answer)
            hub.add_client("one")
            identity = (await write_identity(hub, "one", Path(folder, "client")))["_identity.json"]
            async with AsyncThalovantClient.from_identity_file(identity, protocol="wss") as client:
                for _ in range(20):
                    await client.ask("hello")
                for _ in range(asks):
                    with Calls() as current:
                        await client.ask("hello")
                    found.append((current, by_phase(current, at_skill)))
    return found


def by_phase(made: Calls, at_skill: int) -> dict[str, int]:
    """Calls in each phase. A skill that is called with the bytes at the hub, and not in a task, has no phase."""
    counts, phase, seen = dict.fromkeys(PHASES, 0), SENDS, 0
    ask = made.roots[0][0]
    for name, count in made.roots:
        if name.endswith((".data_received", ".buffer_updated")):
            phase = HEARS if phase == SENDS else RECEIVES
        elif seen <= at_skill < seen + count:
            phase = ANSWERS
        elif name == ask and phase == RECEIVES:
            phase = REPLY
        counts[phase] += count
        seen += count
    return counts


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    calls.add_options(parser)
    arguments = parser.parse_args()
    weather = Weather()
    made, phases = min(asyncio.run(counted(5 if arguments.quick else 25)), key=lambda one: len(one[0]))
    calls.show(made, arguments)
    figures = [Figure(id="P1", what="calls of one ask, WSS + TLS, both ends", ours=len(made), unit="calls", most=400)]
    figures += [Figure(id="P1", what=f"…{phase}", ours=count, unit="calls") for phase, count in phases.items()]
    figures.append(Figure(id="P1", what="…open at once, at most", ours=made.depth, unit="calls"))
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
