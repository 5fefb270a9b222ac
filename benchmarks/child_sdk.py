"""A client of a published SDK, or of ours, in an environment of its own: the same public API in both.

child_sdk.py FOLDER: where it keeps keys and pins
"""

from __future__ import annotations

import sys
import time
from typing import Any

from children import serve

from thalovant import ThalovantClient

clients: list[Any] = []


def connect(*, identity: str, protocol: str = "wss") -> None:
    """One client more, ready."""
    client = ThalovantClient.from_identity_file(identity, noise_state_dir=sys.argv[1], protocol=protocol)
    client.connect()
    clients.append(client)


def ask(*, count: int, answer: str = "You said: hello") -> list[float]:
    """Seconds for each of `count` asks of "hello", one after the other."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        reply = clients[0].ask("hello")
        taken.append(time.perf_counter() - started)
        assert reply.text == answer, reply
    return taken


serve({"connect": connect, "ask": ask})
