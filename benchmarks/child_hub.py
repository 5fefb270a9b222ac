"""A hub in a process of its own, for the benchmarks: it answers at once, takes bytes, and says what it costs.

child_hub.py [--no-tls] [--all] [--broker URL CA] [--verbose] [--files N] FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import time
from pathlib import Path
from typing import Any

from children import resident, serve_on_loop

from thalovant.hub import Hub, Turn
from thalovant.hub.export import write_identity
from thalovant_proto.events import BinType

#: Bus messages by which a client has the hub do something here.
SEND = "benchmark.send"  # data: size and count of binary messages to send
EXPECT = "benchmark.expect"  # data: bytes; answered with ARRIVED, which says how many came, once that many have
SENT, ARRIVED = "benchmark.sent", "benchmark.arrived"
UTTERANCES = ("recognizer_loop:utterance", "ovos.utterance.handle")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-tls", action="store_true")
    parser.add_argument("--all", action="store_true", help="HTTPS and MQTT too; for the latter amqtt must be there")
    parser.add_argument("--broker", nargs=2, default=(None, None), help="an MQTT broker, and the CA to trust for it")
    parser.add_argument("--verbose", action="store_true", help="log as `thalovant hub -v`")
    parser.add_argument("--files", type=int, help="how many it may have open, as by `ulimit -n`")
    arguments = parser.parse_args()
    if arguments.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments.files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (arguments.files, arguments.files))
    folder, port = arguments.folder, 0 if arguments.all else None
    broker, authority = arguments.broker
    hub = Hub(
        tls=not arguments.no_tls,
        state=folder / "state",
        https_port=port,
        mqtt_port=port,
        broker=broker,
        broker_ca=authority,
    )
    expected = arrived = 0

    @hub.skill(fallback=True)
    async def answer(turn: Turn) -> str:
        return f"You said: {turn.text}"

    @hub.on(EXPECT)
    async def expect(turn: Turn) -> None:
        nonlocal expected, arrived
        expected, arrived = turn.data["bytes"], 0

    @hub.on_binary(BinType.RAW_AUDIO)
    async def count(turn: Turn) -> None:
        nonlocal arrived
        assert turn.binary is not None
        arrived += len(turn.binary.payload)
        if arrived >= expected:
            await turn.emit(ARRIVED, {"bytes": arrived})

    @hub.on(SEND)
    async def send(turn: Turn) -> None:
        payload = bytes(turn.data["size"])
        for _ in range(turn.data["count"]):
            await turn.send_binary(payload)
        await turn.emit(SENT)

    async def identity(*, name: str, generation: int = 3, pinned: bool = True) -> str:
        """The identity file of a client; `pinned`: client and hub know each other's keys."""
        given = hub.identity(name)
        if given is None:
            given = hub.add_client(name, generation=generation, allowed=(*UTTERANCES, SEND, EXPECT))
        place = folder / "clients" / name
        if pinned:
            return str((await write_identity(hub, name, place))["_identity.json"])
        place.mkdir(parents=True, mode=0o700)
        return str(given.save(place / "_identity.json"))

    async def spent() -> float:
        """Seconds of processor time since the start."""
        return time.process_time()

    async def memory() -> int:
        """Bytes."""
        return resident()

    async def endpoints() -> dict[str, Any]:
        """By protocol; and `ca_file`, the authority to trust."""
        return {**hub.endpoints, "ca_file": str(hub.ca_file)}

    async with hub:
        await serve_on_loop({call.__name__: call for call in (identity, spent, memory, endpoints)})


if __name__ == "__main__":
    asyncio.run(main())
