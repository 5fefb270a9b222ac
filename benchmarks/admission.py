"""Admission: what strangers who say nothing take from a hub with TLS, and whether an honest client still gets through.

    python benchmarks/admission.py [wss] [https] [mqtt]

The hub may have 1,024 files open, as by `ulimit -n 1024`. From one address of loopback come 1,300 connections that stay
silent, and are dialed again when the hub closes them. Beside them a client at another address tries ten times, each
time anew, to connect and to have an answer within five seconds. Then, at a hub without that limit: what a silent
connection holds in memory, with few from each of many addresses. Linux only.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import measuring
from children import Child, allow_files, resident, running_hub
from measuring import Figure, Weather

from thalovant import AsyncThalovantClient, ThalovantError

FILES, SILENT = 1_024, 1_300
CROWD, HONEST = "127.0.0.2", "127.0.0.3"
#: Seconds that a try may take, and that the crowd is there at least.
DEADLINE, AT_LEAST = 5.0, 20.0
#: Where the crowd comes from whose memory is measured, and how many connections each of them has.
MANY, EACH = [f"127.1.{number}.1" for number in range(1, 251)], 4


async def got_through(identity: str, protocol: str) -> bool:
    """Whether a new client has an answer in time."""
    try:
        async with asyncio.timeout(DEADLINE):
            async with AsyncThalovantClient.from_identity_file(identity, protocol=protocol) as client:
                return (await client.ask("hello", timeout=DEADLINE)).text == "You said: hello"
    except (ThalovantError, TimeoutError):
        return False


def siege(protocol: str, tries: int, at_least: float) -> list[Figure]:
    """The honest client's tries, and what the hub logs meanwhile."""
    with ExitStack() as exits:
        log: TextIO = exits.enter_context(tempfile.TemporaryFile("w+"))
        hub = exits.enter_context(running_hub("--all", "--verbose", "--files", str(FILES), journal=log))
        crowd = exits.enter_context(Child("child_crowd.py"))
        port = _port(hub, protocol)
        identity = _at(hub.ask("identity", name="honest"), protocol, crowd.ask("relay", port=port, source=HONEST))
        if not asyncio.run(got_through(identity, protocol)):
            raise SystemExit(f"no answer over {protocol} without a crowd")
        before, started = log.seek(0, 2), time.monotonic()
        crowd.ask("crowd", port=port, count=SILENT, sources=[CROWD])
        time.sleep(3)
        successes = sum(asyncio.run(got_through(identity, protocol)) for _ in range(tries))
        time.sleep(max(0.0, started + at_least - time.monotonic()))
        logged = log.seek(0, 2) - before
    what = f"{protocol}, beside {SILENT:,} silent"
    return [
        Figure(
            id="admission", what=f"{what}: tries of {tries} that got through", ours=successes, unit="tries", least=tries
        ),
        Figure(id="admission", what=f"{what}: log", ours=logged / 1024, unit="KiB", most=256),
    ]


def memory(protocol: str) -> Figure:
    """What a silent connection holds."""
    with ExitStack() as exits:
        hub = exits.enter_context(running_hub("--all"))
        crowd = exits.enter_context(Child("child_crowd.py"))
        port = _port(hub, protocol)
        crowd.ask("crowd", port=port, count=50, sources=MANY)
        time.sleep(1)
        before = resident(hub.pid), crowd.ask("held")
        crowd.ask("crowd", port=port, count=len(MANY) * EACH, sources=MANY)
        time.sleep(2)
        count = crowd.ask("held") - before[1]
        held = resident(hub.pid) - before[0]
    return Figure(id="admission", what=f"{protocol}, a silent connection of {count:,}", ours=held / count / 1024,
                  unit="KiB", most=16)  # fmt: skip


def _port(hub: Child, protocol: str) -> int:
    return urlsplit(hub.ask("endpoints")[protocol]).port or 0


def _at(identity: str, protocol: str, port: int) -> str:
    """The identity file, with another port for a protocol."""
    values = json.loads(Path(identity).read_text())
    endpoint = urlsplit(values["data_plane_endpoints"][protocol])
    values["data_plane_endpoints"][protocol] = endpoint._replace(netloc=f"{endpoint.hostname}:{port}").geturl()
    Path(identity).write_text(json.dumps(values))
    return identity


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL", help="wss, https or mqtt (default: all)")
    arguments = parser.parse_args()
    tries, at_least = (3, 5.0) if arguments.quick else (10, AT_LEAST)
    allow_files(4_096)
    weather = Weather()
    figures = []
    for protocol in arguments.protocols or ("wss", "https", "mqtt"):
        figures += [*siege(protocol, tries, at_least), memory(protocol)]
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
