"""A short conversation with a hub on this machine, as a user would see it: every wire generation, every transport.

Run it with `make demo`. The hub is the real one, in this process, with TLS and an authority of its own; nothing leaves
the machine.
"""

from __future__ import annotations

import sys
import time

import thalovant.testing
from thalovant import ThalovantClient, ThalovantError

GENERATIONS = {3: "v3, Noise", 1: "v1, password", 0: "v0, pre-shared key"}
SAID = [
    "Say hello.",
    "Tell me a short clean joke.",
    "What can this hub do?",
    "Remember that my favorite color is blue.",
    "What color did I mention?",
]
COLUMN = 9  # where text begins


def main() -> int:
    """Hold the conversation; returns the exit code."""
    started = time.perf_counter()
    asked = 0
    for generation, name in GENERATIONS.items():
        before = time.perf_counter()
        with thalovant.testing.hub(generation=generation) as hub:
            print(f"\n══ a hub for {name}  (up in {seconds(before)})")
            identity = hub.identity()
            for protocol in identity.enabled_protocols():
                asked += talk(hub.client(protocol=protocol), str(identity.endpoint_for(protocol)))
    print(f"\n{asked} questions, {asked} answers, {seconds(started)} in all")
    return 0


def talk(client: ThalovantClient, endpoint: str) -> int:
    """One conversation over one transport; returns the number of questions."""
    before = time.perf_counter()
    client.connect()
    print(f"── {endpoint}  (connected in {seconds(before)})")
    for text in SAID:
        before = time.perf_counter()
        reply = client.ask(text, session_id="demo-conversation")
        print(f"{'you':<{COLUMN}}{text}")
        print(f"{'hub':<{COLUMN}}{reply.text}  ({seconds(before)})")
        if not reply.text:
            raise ThalovantError(f"the hub had no answer to {text!r}")
    client.close()
    return len(SAID)


def seconds(since: float) -> str:
    """How long ago something was."""
    passed = time.perf_counter() - since
    return f"{passed:.1f} s" if passed >= 1 else f"{passed * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
