"""Which published clients are pointed at hubs, and an environment for each, made once per cache and requirements.

    python -m tests.interop.foreign.venvs          # make all of them now, but for what `rust_program` compiles

They are black boxes: each is driven by an `ask_*` beside this file through its documented API, in a process of its
own. What they can do was seen against the real hubs; the rest of the table is what fails there too:

| client      | legacy hub             | dual hub                  | noise hub        |
| ----------- | ---------------------- | ------------------------- | ---------------- |
| bus-0.4.4   | wss, https             | wss, https                | - (no Noise)     |
| bus-0.9.1   | wss, https             |                           | - (no Noise)     |
| bus-1.2.12  | wss, https             | wss, https                | wss, https       |
| sdk-0.4.7   | wss, mqtt in 16 s (b)  | wss (c)                   | - (no Noise)     |
| sdk-0.4.29  | - (a)                  | wss, mqtt in 18 s (b)     | - (no Noise)     |
| sdk-0.9.7   | - (Noise only)         | wss, https, mqtt          | wss, https, mqtt |

a. wss: its `authorization` ends in `%3D`, which a legacy hub refuses; https: as (b); mqtt: only the newer topics.
b. Not https: it answers the offer twice, the second key replaces the first, and every send is refused.
c. https: as (b); mqtt: only the older topics.

The table is of clients without a crypto key; where the dual hub has one registered, the two old SDKs fail there. Those
for Rust were not tried at the real hubs. What all of them can do at our own hub is the table of `test_own_hub`.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from ..rig.installing import venv
from ..rigs import RigError, cache

PythonClient = Literal["bus-0.4.4", "bus-0.9.1", "bus-1.2.12", "sdk-0.4.7", "sdk-0.4.29", "sdk-0.9.7"]
RustClient = Literal["rust-0.2.25", "rust-0.15.0"]
ClientName = PythonClient | RustClient

# Pinned is what a later release of it broke before, or what decides about the wire.
REQUIRES: dict[PythonClient, list[str]] = {
    # bitstring 5 dropped BitStream, which every client of this age imports
    "bus-0.4.4": ["hivemind-bus-client==0.4.4", "poorman-handshake==1.0.1", "ovos-bus-client==1.5.0", "bitstring<5"],
    "bus-0.9.1": ["hivemind-bus-client==0.9.1a1", "poorman-handshake==1.0.1", "ovos-bus-client==1.5.0", "bitstring<5"],
    "bus-1.2.12": ["hivemind-bus-client==1.2.12a1", "poorman-handshake==2.0.3a1", "ovos-bus-client==1.5.0"],
    "sdk-0.4.7": ["thalovant==0.4.7", "hivemind-bus-client==0.4.4", "poorman-handshake==1.0.1", "bitstring<5"],
    "sdk-0.4.29": ["thalovant==0.4.29", "hivemind-bus-client==0.4.4", "poorman-handshake==1.0.1", "bitstring<5"],
    "sdk-0.9.7": ["thalovant[mqtt]==0.9.7"],
}

# How often a device tries before it counts as not answered. The old SDKs open their socket before they listen: on a
# busy machine they miss the offer, send a second handshake, and the two destroy each other's session at real hubs. The
# old bus clients begin another handshake after 5 s, whether or not the first is over: at one poll a second it often is
# not, where they have to share a core.
TRIES: dict[ClientName, int] = {"sdk-0.4.7": 3, "sdk-0.4.29": 3, "bus-0.4.4": 3, "bus-0.9.1": 3}


def interpreters() -> dict[PythonClient, Path]:
    """The interpreter of each client's environment; makes those that are missing.

    Raises:
        RigError: one cannot be installed; holds the end of the installer's output.
    """
    try:
        with ThreadPoolExecutor() as pool:
            made = pool.map(lambda name: venv(cache() / "clients" / name, REQUIRES[name]), REQUIRES)
            return dict(zip(REQUIRES, made, strict=True))
    except SystemExit as refusal:  # the rig's way to end a command with a message
        raise RigError(str(refusal)) from None


if __name__ == "__main__":
    for name, python in interpreters().items():
        print(name, python)
