"""Many clients of ours in a process of their own, on one loop, ready and idle.

child_clients.py IDENTITY
"""

from __future__ import annotations

import asyncio
import gc
import sys

from children import resident, serve_on_loop

from thalovant import AsyncThalovantClient, ThalovantIdentity

#: Handshakes at a time: a hub takes 128 from one address that have proven nothing.
AT_ONCE = 100


async def main() -> None:
    identity = ThalovantIdentity.from_file(sys.argv[1])
    clients: list[AsyncThalovantClient] = []

    async def connect(*, count: int) -> None:
        """So many more, ready."""
        for start in range(0, count, AT_ONCE):
            more = [AsyncThalovantClient(identity, protocol="wss") for _ in range(min(AT_ONCE, count - start))]
            async with asyncio.TaskGroup() as group:
                for client in more:
                    group.create_task(client.connect())
            clients.extend(more)

    async def memory() -> int:
        """Bytes."""
        gc.collect()
        return resident()

    async def ready() -> int:
        """How many are connected."""
        return sum([(await client.connection_info()).phase == "ready" for client in clients])

    commands = connect, memory, ready
    try:
        await serve_on_loop({call.__name__: call for call in commands})
    finally:
        await asyncio.gather(*(client.close(0) for client in clients))


if __name__ == "__main__":
    asyncio.run(main())
