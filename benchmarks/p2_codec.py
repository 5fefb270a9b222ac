"""P2: what a message costs between an event and its frame: encode, encrypt, frame, and all of it back.

    python benchmarks/p2_codec.py

`HubConnection`, both ends in one process, no socket; beside it a hand-written loop of the same primitives (orjson or
json, AESGCM or ChaCha20Poly1305), and hivemind-bus-client in an environment of its own. The best of several rounds,
taken in turns. Ours keeps the whole contract meanwhile: table, limits before parsing, JSON depth, nonces, typed events.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import by_hand
import measuring
import peers
from children import Child
from measuring import Figure, Weather

from thalovant_proto.carrier import Carrier
from thalovant_proto.codec import wire1
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.kdf import derive
from thalovant_proto.events import Binary, BinType, Event, Generation, Message, Speak
from thalovant_proto.handshake.client import ClientSide
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.limits import Limits
from thalovant_proto.secret import Secret
from thalovant_proto.state import State
from thalovant_proto.trust import Trust

#: Without the limit on frames of legacy sessions, which would end them in the middle of a round.
LIMITS = Limits(legacy_frames=1 << 40)
DATA = {"utterance": "The light in the kitchen is on now, and the door is locked.", "lang": "en-us"}
CONTEXT = {
    "source": "hive",
    "destination": "ThalovantPythonSDK/1.0.0::12::kitchen::0f5a4c3e-9a1b-4a53-8d5e-2a6f1c7b9e10",
    "session": {"session_id": "0f5a4c3e-9a1b-4a53-8d5e-2a6f1c7b9e10", "site_id": "kitchen", "lang": "en-us"},
    "request_id": "thalovant-request-9b2f6c1d4e8a4c1f8f3b6a5d7e9c0b1a",
}
SIZES = (320, 1_024, 4_096, 16_384, 65_536, 160_000)  # 20 ms to 10 s of audio


def pair(generation: Generation) -> tuple[HubConnection, HubConnection]:
    """A client's and a hub's connection, ready and proven."""
    carrier = Carrier(secure=True)
    preshared = generation is Generation.PRESHARED
    password = None if preshared else Secret("a password that nobody guesses")
    crypto_key = Secret("0123456789abcdef") if preshared else None
    client = HubConnection(
        ClientSide(
            access_key=Secret("an access key"),
            password=password,
            crypto_key=crypto_key,
            trust=Trust(static_key=Secret(os.urandom(32))),
            pin_id="wss://hub.example:443",
            session={"session_id": "benchmark"},
            site_id="kitchen",
        ),
        carrier,
        entropy=os.urandom,
        now=0.0,
        limits=LIMITS,
    )
    hub = HubConnection(
        HubSide(
            node_id="hub",
            static_key=Secret(os.urandom(32)),
            peer="client",
            generation=generation,
            password=password,
            crypto_key=crypto_key,
        ),
        carrier,
        entropy=os.urandom,
        now=0.0,
        limits=LIMITS,
    )
    while not (client.state is hub.state is State.READY and client.proven and hub.proven):
        for sender, receiver in ((hub, client), (client, hub)):
            for frame, _ in sender.frames_to_send():
                receiver.receive(frame, 0.0)
            for effect in sender.effects():
                sender.effect_done(effect.id, derive(effect), 0.0)
        if client.state is State.READY and not client.proven:
            hub.send(Speak(text="anything"), 0.0)  # a client believes the hub once a frame of its opens
    return client, hub


def ours(generation: Generation, message: Message, *, up: bool = False) -> Callable[[], None]:
    """One message from event to event."""
    sender, receiver = pair(generation) if up else reversed(pair(generation))

    def work() -> None:
        sender.send(message, 0.0)
        events: list[Event] = []
        for frame, _ in sender.frames_to_send():
            events = receiver.receive(frame, 0.0)
        assert type(events[-1]) is type(message)

    return work


def wire1_alone(size: int) -> Callable[[], None]:
    """A binary frame and back, without encryption."""
    payload = bytes(size)

    def work() -> None:
        frame = wire1.encode("bin", payload, compress=True, bin_type=BinType.RAW_AUDIO)
        assert len(wire1.decode(frame).payload) == size

    return work


def messages(rounds: int, bus: dict[str, Child]) -> list[Figure]:
    """Bus messages, in many short rounds: there is always one without an interruption."""
    count = 500
    message = by_hand.envelope("speak", DATA, CONTEXT)
    speak = Speak(text=DATA["utterance"], lang=DATA["lang"], context=CONTEXT)
    runs: dict[str, Callable[[], float]] = {
        "v3": partial(measuring.timed, ours(Generation.NOISE, speak), count),
        "v3 by hand": partial(measuring.timed, by_hand.v3(message), count),
        "v0": partial(measuring.timed, ours(Generation.PRESHARED, speak), count),
        "v0 by hand": partial(measuring.timed, by_hand.legacy(message), count),
    }
    for name, child in bus.items():
        given = {"data": DATA, "context": CONTEXT, "encoding": "JSON-HEX", "count": count // 5}
        runs[name] = partial(child.ask, "json_codec", **given)
    times = measuring.best(4 * rounds, runs)
    figures = [
        Figure(id="P2", what="bus message, v3", ours=times["v3"], unit="µs",
               peer="by hand", theirs=times["v3 by hand"], most_share=2.5),
        Figure(id="P2", what="bus message, v0 (encrypted JSON)", ours=times["v0"], unit="µs",
               peer="by hand", theirs=times["v0 by hand"], most_share=2.5),
    ]  # fmt: skip
    for name in bus:
        figures.append(Figure(id="P2", what="encrypted JSON", ours=times["v0"], unit="µs",
                              peer=peers.NAMES[name], theirs=times[name], least_speedup=5))  # fmt: skip
    return figures


def binary(rounds: int, bus: dict[str, Child]) -> list[Figure]:
    """Raw bytes, in the frames of legacy sessions and bare."""
    figures = []
    for size in SIZES:
        count = max(20, 4_000_000 // (size + 20_000))
        message = Binary(bin_type=BinType.RAW_AUDIO, payload=bytes(size))
        for sealed, work in ((True, ours(Generation.PRESHARED, message, up=True)), (False, wire1_alone(size))):
            runs: dict[str, Callable[[], float]] = {"ours": partial(measuring.timed, work, count)}
            for name, child in bus.items():
                given = {"size": size, "sealed": sealed, "compressed": True, "count": max(5, count // 5)}
                runs[name] = partial(child.ask, "binary_codec", **given)
            times = measuring.best(rounds, runs)
            what = f"binary frame, {size:,} B" + ("" if sealed else ", unencrypted")
            figures.append(Figure(id="P2", what=what, ours=times["ours"], unit="µs", peer=peers.NAMES[peers.BUS],
                                  theirs=times.get(peers.BUS), least_speedup=1))  # fmt: skip
            if size == 16_384:
                figures.append(Figure(id="P2", what=what, ours=times["ours"], unit="µs", least_speedup=10,
                                      peer=peers.NAMES[peers.BUS_OLD], theirs=times.get(peers.BUS_OLD)))  # fmt: skip
    return figures


def main() -> None:
    """The command."""
    arguments = measuring.options(__doc__).parse_args()
    rounds = 2 if arguments.quick else 9
    pythons = peers.interpreters()
    measuring.settle_allocator()
    weather = Weather()
    with ExitStack() as exits:
        bus = {
            name: exits.enter_context(Child("child_bus_client.py", python=pythons[name]))
            for name in (peers.BUS_OLD, peers.BUS)
            if name in pythons
        }
        figures = messages(rounds, bus) + binary(rounds, bus)
    print(f"JSON by {by_hand.LIBRARY}; best of {rounds} rounds")
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
