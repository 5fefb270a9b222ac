"""P2: what a whole ask costs without sockets: `ClientStack`, `HubPeer` and WSS in one process, v3.

    python benchmarks/p2_stack.py [--by | --tree]

The client asks, the hub answers with a speech and its end, and the client has its answer. Beside it, in turns, a
hand-written loop of the same primitives over the same three messages: JSON, AEAD and WebSocket framing, and back. Ours
keeps the whole contract meanwhile: table, limits, timers, correlation, typed events. The number of Python calls is that
of one ask in steady state, and exact; `--by` shows what is called most, `--tree` every call.
"""

from __future__ import annotations

import os
from functools import partial

import by_hand
import calls
import measuring
from calls import Calls
from measuring import Figure, Weather

from thalovant_proto import (
    AskEnded,
    Bus,
    ClientConfig,
    ClientStack,
    Event,
    HubPeer,
    HubSide,
    Outcome,
    Rendezvous,
    Route,
    Secret,
    Speak,
    Trust,
    Utterance,
    UtteranceHandled,
    WssClientLink,
    WssServerLink,
    derive,
)

KEY, PASSWORD = Secret("an access key"), Secret("a password that nobody guesses")
SPEECH = "The light in the kitchen is on now, and the door is locked."


class Pair:
    """A client and a hub, ready and proven, and a clock that advances by a millisecond with each ask."""

    def __init__(self) -> None:
        self.now = 0.0
        self.up, self.down = b"", b""  # all bytes of the last ask
        self.said: list[Bus] = []  # by the hub
        side = HubSide(node_id="hub", static_key=Secret(os.urandom(32)), peer="client", password=PASSWORD)
        config = ClientConfig(access_key=KEY, password=PASSWORD, session_id="0f5a4c3e-9a1b-4a53-8d5e-2a6f1c7b9e10")
        route = Route(name="WSS", pin_id="wss://hub.example:443", make_link=_link)
        trust = Trust(static_key=Secret(os.urandom(32)))
        self.stack = ClientStack(config, route, trust=trust, entropy=os.urandom)
        self.peer = HubPeer(WssServerLink(secure=True), lambda _: side, entropy=os.urandom, now=0.0)
        self.stack.open(0.0)
        self.stack.socket_opened(0.0)
        while not self.stack.proven:
            self._move()
            for machine in (self.stack, self.peer):
                for effect in machine.effects():
                    machine.effect_done(effect.id, derive(effect), 0.0)
        for _ in range(50):
            self.ask()

    def ask(self) -> None:
        """Ask, and have the answer."""
        self.now += 0.001
        self.up, self.down = b"", b""
        self.stack.ask(Utterance(text="turn on the light in the kitchen"), self.now)
        outcomes = self._move()
        assert any(isinstance(outcome, AskEnded) for outcome in outcomes), outcomes

    def _move(self) -> list[Outcome | Event]:
        """What the drivers of both do until nothing is left to do; gives what the client is told."""
        stack, peer, now = self.stack, self.peer, self.now
        told: list[Outcome | Event] = []
        while True:
            stack.step()
            up = stack.data_to_send()
            if up:
                self.up += up
                peer.receive_data(up, now)
                for heard in peer.outcomes():
                    self._answer(heard)
            down = peer.data_to_send()
            if down:
                self.down += down
                stack.receive_data(down, now)
            told += stack.outcomes()
            for machine in (stack, peer):
                if (due := machine.next_timeout) is not None and now >= due:
                    machine.handle_timeout(now)
            if not up and not down:
                return told

    def _answer(self, heard: Outcome | Event) -> None:
        if isinstance(heard, Utterance):
            end = UtteranceHandled(context=heard.context)
            self.said = [heard, Speak(text=SPEECH, lang=heard.lang, context=heard.context), end]
            self.peer.send(self.said[1], self.now)
            self.peer.send(self.said[2], self.now)
        elif isinstance(heard, Rendezvous):
            self.peer.send(Rendezvous(), self.now)


def _link(trust: Trust) -> WssClientLink:
    return WssClientLink("wss://hub.example", access_key=KEY, user_agent="benchmark", entropy=os.urandom, secure=True)


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    calls.add_options(parser)
    arguments = parser.parse_args()
    rounds = 5 if arguments.quick else 40
    weather = Weather()
    pair = Pair()
    messages = [by_hand.envelope(bus.type, dict(bus.data), dict(bus.context)) for bus in pair.said]
    loop, up, down = by_hand.v3_over_websocket(messages[:1], messages[1:])
    assert (up, down) == (len(pair.up), len(pair.down)), "the hand-written loop has other messages"
    times = measuring.best(
        rounds, {"ours": partial(measuring.timed, pair.ask, 100), "by hand": partial(measuring.timed, loop, 800)}
    )
    with Calls() as made:
        pair.ask()
    print(f"an ask has {up} bytes up, {down} down; JSON by {by_hand.LIBRARY}; best of {rounds} rounds")
    calls.show(made, arguments)
    figures = [
        Figure(id="P2", what="ask, client + hub + WSS in memory", ours=times["ours"], unit="µs",
               peer="by hand", theirs=times["by hand"], most_share=11),
        Figure(id="P2", what="…its Python calls", ours=len(made), unit="calls"),
    ]  # fmt: skip
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
