"""Many clients of ours in a process of their own, on one loop: idle, or asking as fast as they can or as they are told.

child_clients.py IDENTITY
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

from children import resident, serve_on_loop

from thalovant import AsyncThalovantClient, ThalovantIdentity

#: Handshakes at a time: a hub takes 128 from one address that have proven nothing.
AT_ONCE = 100


async def main() -> None:
    identity = ThalovantIdentity.from_file(sys.argv[1])
    clients: list[AsyncThalovantClient] = []

    async def ask(client: AsyncThalovantClient) -> None:
        reply = await client.ask("hello")
        assert reply.text == "You said: hello"

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

    async def closed_loop(*, active: int, count: int) -> list[float]:
        """Every one of `active` clients asks `count` times, the next thing once it has the answer: rate, and own time.

        The rate is in asks a second; the time is the processor's, of this process, in seconds for each ask.
        """

        async def some(client: AsyncThalovantClient) -> None:
            for _ in range(count):
                await ask(client)

        spent, started = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for client in clients[:active]:
                group.create_task(some(client))
        elapsed, spent = time.perf_counter() - started, time.process_time() - spent
        return [active * count / elapsed, spent / (active * count)]

    async def open_loop(*, rate: float, seconds: float) -> list[float]:
        """Ask `rate` times a second whatever comes back, each client in its turn: seconds from when it was due."""
        loop = asyncio.get_running_loop()
        taken: list[float] = []
        started = loop.time() + 0.05

        async def one(client: AsyncThalovantClient, due: float) -> None:
            await ask(client)
            taken.append(loop.time() - due)

        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(one(clients[number % len(clients)], due))
        return taken

    commands = connect, memory, closed_loop, open_loop
    try:
        await serve_on_loop({call.__name__: call for call in commands})
    finally:
        await asyncio.gather(*(client.close(0) for client in clients))


if __name__ == "__main__":
    asyncio.run(main())
