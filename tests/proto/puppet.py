"""A connection under test, and a peer that holds every key and obeys no table.

`Puppet` shakes hands as far as a test lets it, and says whatever it is told, in clear or sealed. `Stage` puts a real
`HubConnection` opposite one and brings it into a state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from thalovant_proto.carrier import Carrier, Frame, FrameType
from thalovant_proto.codec.channel import Channel
from thalovant_proto.codec.envelope import clear_frame, encode, parse_clear
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.crypto.noise import Unauthentic
from thalovant_proto.crypto.noise_transport import BodyKind
from thalovant_proto.events import ClearEvent, Event, Generation, Message
from thalovant_proto.handshake.client import ClientHandshake, ClientSide, Step
from thalovant_proto.handshake.hub import HubHandshake, HubSide
from thalovant_proto.limits import DEFAULT_LIMITS, Limits
from thalovant_proto.state import Role, State

from .pair import WSS, carried, client_side, hub_side, quick, stream


class Puppet:
    """One end. `due` is what a lawful one would say next; `heard` is what the other end said.

    With `shakes` off it only listens: the test holds proofs and keys itself.
    """

    def __init__(self, side: ClientSide | HubSide, carrier: Carrier = WSS, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.carrier = carrier
        self.channel: Channel | None = None
        self.due: deque[Event] = deque()
        self.heard: list[Event] = []
        self.shakes = True
        entropy = stream("puppet")
        if isinstance(side, ClientSide):
            self.role = Role.CLIENT
            self._answer: Callable[[ClearEvent], Step] = ClientHandshake(
                side, carrier, entropy=entropy, limits=limits
            ).receive
        else:
            self.role = Role.HUB
            handshake = HubHandshake(side, entropy=entropy, limits=limits)
            self._answer = handshake.receive
            self.due.extend(handshake.opening())
            self.channel = handshake.preshared()

    def frames(self, event: Event) -> list[Frame]:
        """An event as it travels: messages sealed, everything else in clear."""
        if isinstance(event, Message):
            assert self.channel is not None
            found = self.channel.seal(event)
        else:
            found = [clear_frame(event, text=self.carrier.text_up or self.role is Role.HUB)]
        return [carried(frame, self.carrier) for frame in found]

    def in_clear(self, event: Event) -> Frame:
        """Any event as a clear frame, also what must never be one."""
        if not isinstance(event, Message):
            return self.frames(event)[0]
        body = encode(event, text=True, binarize=False, compress=False)
        kind = FrameType.TEXT if body.kind is BodyKind.JSON else FrameType.BINARY
        return carried(Frame(body.data, kind), self.carrier)

    def hear(self, frame: Frame) -> Event | None:
        """Take a frame of the other end, and get ready for what it asks for."""
        event: Event | None
        try:
            event = self._heard_clear(frame) if self.channel is None else self.channel.open(frame, 0.0)
        except Unauthentic:
            event = self._heard_clear(frame)
        if event is not None:
            self.heard.append(event)
        return event

    def _heard_clear(self, frame: Frame) -> Event:
        event = parse_clear(frame, self.role.peer)
        if not self.shakes:
            return event
        step = self._answer(event)
        while step.derive is not None:
            step = step.derive.then(quick(step.derive))
        self.due.extend((*step.say, *step.seal))
        self.channel = step.channel
        return event


class Stage:
    """A real end, `role`, against a puppet. `events` is all that the real one reported.

    With `hold` derivations of the real one wait in `pending` until `answer`. `client` and `hub` name what differs from
    `pair.client_side` and `pair.hub_side`.
    """

    def __init__(
        self,
        role: Role,
        generation: Generation = Generation.NOISE,
        *,
        pinned: bool = False,
        carrier: Carrier = WSS,
        hold: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        client: dict[str, Any] | None = None,
        hub: dict[str, Any] | None = None,
    ) -> None:
        sides: dict[Role, ClientSide | HubSide] = {
            Role.CLIENT: client_side(pinned=pinned, **(client or {})),
            Role.HUB: hub_side(generation, pinned=pinned, **(hub or {})),
        }
        self.role = role
        self.now = 0.0
        self.end = HubConnection(sides[role], carrier, entropy=stream(role.value), now=self.now, limits=limits)
        self.puppet = Puppet(sides[role.peer], carrier)
        self.events: list[Event] = []
        self.pending: list[DeriveKey] = []
        self._hold = hold
        self._settle()

    def until(self, state: State) -> Stage:
        """Let the puppet say what is due until the real end is in that state."""
        while self.end.state is not state:
            self.say_due()
        return self

    def say_due(self) -> list[Event]:
        """Let the puppet say the next thing that is due. Returns what the real end makes of it."""
        return self.say(self.puppet.due.popleft())

    def say(self, event: Event) -> list[Event]:
        """Have the puppet say that. Returns what the real end makes of it."""
        return self.deliver(*self.puppet.frames(event))

    def deliver(self, *frames: Frame) -> list[Event]:
        """Hand frames to the real end. Returns what it makes of them."""
        made: list[Event] = []
        for frame in frames:
            made += self.end.receive(frame, self.now)
            made += self._settle()
        self.events += made
        return made

    def answer(self) -> list[Event]:
        """Answer the derivations that wait now. Returns what the real end makes of them."""
        pending, self.pending = self.pending, []
        made = [event for effect in pending for event in self.end.effect_done(effect.id, quick(effect), self.now)]
        made += self._settle()
        self.events += made
        return made

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass for the real end."""
        self.now += seconds
        made = self.end.handle_timeout(self.now)
        self.events += made
        return made

    def _settle(self) -> list[Event]:
        made: list[Event] = []
        while effects := self.end.effects():
            if self._hold:
                self.pending += effects
            else:
                made += [event for one in effects for event in self.end.effect_done(one.id, quick(one), self.now)]
        for frame, _ in self.end.frames_to_send():
            self.puppet.hear(carried(frame, self.puppet.carrier))
        return made
