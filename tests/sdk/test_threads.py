"""One synchronous client, many threads: no wrong reply, no deadlock."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from thalovant import ThalovantClient, ThalovantError

from .lab import PATIENCE, Lab

pytestmark = pytest.mark.usefixtures("nothing_left")

THREADS = 32
ASKS = 20


def test_every_thread_gets_its_own_replies(v3: Lab) -> None:
    """32 threads, 20 asks each, one connection."""

    def asks(thread: int) -> list[str]:
        return [client.ask(f"{thread} asks {number}", timeout=PATIENCE).text for number in range(ASKS)]

    with v3.client() as client, ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(asks, range(THREADS)))

    assert found == [[f"You said: {thread} asks {number}" for number in range(ASKS)] for thread in range(THREADS)]


def test_first_calls_at_the_same_time(v3: Lab) -> None:
    """They share the connection that the first of them makes."""
    together = threading.Barrier(THREADS)
    client = v3.client()
    connecting: list[str] = []
    client.on_state(lambda state, error: connecting.append(state) if state == "connecting" else None)

    def asks(thread: int) -> str:
        together.wait(PATIENCE)
        return client.ask(f"first {thread}", timeout=PATIENCE).text

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(asks, range(THREADS)))
    client.close()

    assert found == [f"You said: first {thread}" for thread in range(THREADS)]
    assert connecting == ["connecting"]


def test_closing_while_others_ask(v3: Lab) -> None:
    """Each ask has its own answer or a typed error; none hangs, and no close fails."""
    client = v3.client()
    together = threading.Barrier(9)

    def asks(thread: int) -> set[str]:
        together.wait(PATIENCE)
        outcomes = set()
        for number in range(ASKS):
            try:
                reply = client.ask(f"{thread} races {number}", timeout=PATIENCE)
                assert reply.text == f"You said: {thread} races {number}"
                outcomes.add("answered")
            except ThalovantError as error:
                outcomes.add(error.name)
        return outcomes

    def closes() -> None:
        together.wait(PATIENCE)
        for _ in range(5):
            client.close()

    with ThreadPoolExecutor(9) as pool:
        asking = [pool.submit(asks, thread) for thread in range(8)]
        pool.submit(closes).result(PATIENCE)
        outcomes = set().union(*(one.result(PATIENCE) for one in asking))
    client.close()

    assert outcomes <= {"answered", "closed"}


def test_closed_by_many_threads(v3: Lab) -> None:
    """Whoever comes second finds it closed, or closing: no thread gets an error."""
    together = threading.Barrier(THREADS)

    def close(client: ThalovantClient) -> None:
        together.wait(PATIENCE)
        client.close()

    for _ in range(5):
        client = v3.client()
        client.connect()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(close, [client] * THREADS))
        assert not client.connected
