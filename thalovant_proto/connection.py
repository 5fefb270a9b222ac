"""One hub connection over one open link: hello, offer, handshake, sealed messages. Frames in, events out; both roles.

`receive` never raises for what the peer did: a fault is the last event, `Closed`. Then the connection ignores input.
`send` raises `LocalProtocolError` where a message is not legal now.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from . import events as e
from .carrier import Carrier, CloseKind, Frame
from .codec.channel import Channel
from .codec.envelope import clear_frame, handshake_in, looks_like_text, parse_clear
from .codec.legacy_policy import FORMER_KEYS, GREETING_TIME, LEGACY_POLICY, same_greeting
from .crypto.kdf import DeriveKey
from .crypto.noise import Pattern, Unauthentic
from .entropy import BadEntropy, Entropy
from .errors import (
    DecodeError,
    HandshakeTimeout,
    LocalProtocolError,
    MalformedMessage,
    ProtocolError,
    RemoteProtocolError,
)
from .handshake.client import Answer, ClientHandshake, ClientSide, Derivation, Step
from .limits import DEFAULT_LIMITS, HANDSHAKE_FRAME, KIB, Limits
from .secret import Secret
from .state import Role, State, next_state

if TYPE_CHECKING:
    from .handshake.hub import HubSide

#: The close code for a peer that broke the protocol or failed to prove itself, as real hubs have it (wire.md §1.5).
POLICY_VIOLATION: Final = 1008
#: The close code where nobody is at fault, or nobody knows: peers try again.
GOING_AWAY: Final = 1001
#: The close code where we were given something that cannot be used.
INTERNAL_ERROR: Final = 1011

# Frames that wait while a key is derived.
_PARKED_FRAMES: Final = 4
# Frames that do not open, of a hub that has not proven itself under the new keys.
_UNOPENED_FRAMES: Final = 4
_PARKED_BYTES: Final = 128 * KIB
# From asking a silent hub whether it is there to its answer, where nothing else would show that it is gone.
_PROBE_TIME: Final = 20.0


class HubConnection:
    """The protocol of one connection. `side` decides the role: `ClientSide` or `HubSide`.

    A hub's connection has hello and offer to send from the start. Slow derivation leaves by `effects` and comes back
    by `effect_done`; meanwhile the state stands still and frames are parked, within limits.
    """

    def __init__(
        self,
        side: ClientSide | HubSide,
        carrier: Carrier,
        *,
        entropy: Entropy,
        now: float,
        limits: Limits = DEFAULT_LIMITS,
        last_effect: int = 0,
    ) -> None:
        self._carrier = carrier
        self._limits = limits
        self._state = State.IDLE
        self._channel: Channel | None = None
        self._former: deque[Channel] = deque(maxlen=FORMER_KEYS)  # replaced by password proofs
        self._proven = False
        self._unopened = 0  # frames of a hub that has proven nothing yet
        self._pattern: str | None = None
        self._claimed: e.ClearHello | None = None
        self._opening: dict[type[e.ClearEvent], e.HubHello | e.Offer] = {}
        self._derivation: Derivation | None = None
        self.last_effect: int = last_effect  # the id of the last derivation; they count on from there
        self.derivations: list[DeriveKey] = []  # what `effects` takes
        self._parked: deque[Frame] = deque()
        self._parked_bytes = 0
        #: How much of the keys' life is spent, 0 to 1; at 1 the connection closes and must be renewed.
        self.used_up: float = 0.0
        self.outgoing: list[tuple[Frame, int | None]] = []  # what `frames_to_send` takes
        self._timers = {"handshake": now + limits.handshake_time}  # and greeting, probe, answer
        self._hello: e.Message | None = None  # what a legacy hub is told to show that we are there
        self._answers = False  # the hub answers an empty rendezvous
        self._travels_until = now  # what we sent, on a slow line
        # Hello and offer to repeat once to a v0 client that stays silent (`greeting_time`).
        self._again: tuple[e.ClearEvent, ...] = ()
        # Handles the next handshake event. Replaced by `_refuse` when the handshake is over, which drops its secrets.
        self._answer: Answer
        if isinstance(side, ClientSide):
            self.role: Role = Role.CLIENT
            self._answer = ClientHandshake(side, carrier, entropy=entropy, limits=limits).receive
        else:
            from .handshake.hub import HubHandshake  # programs that are clients only do without it

            self.role = Role.HUB
            handshake = HubHandshake(side, entropy=entropy, limits=limits)
            self._answer = handshake.receive
            for event in handshake.opening():
                self._say(event)
            self._channel = handshake.preshared()
            self._again = handshake.opening_again()
            if self._again:
                self._timers["greeting"] = now + GREETING_TIME
        self._peer = self.role.peer

    # --- what it is now ---

    @property
    def state(self) -> State:
        """The state in the transition table."""
        return self._state

    @property
    def proven(self) -> bool:
        """Whether something of the peer has authenticated under the session keys."""
        return self._proven

    @property
    def generation(self) -> e.Generation | None:
        """The wire generation, None before the keys."""
        return None if self._channel is None else self._channel.generation

    @property
    def pattern(self) -> str | None:
        """The Noise pattern that the client began with, None for other handshakes."""
        return self._pattern

    @property
    def node_id(self) -> str | None:
        """The hub's own name for itself, as long as the session is unproven."""
        hello = self._opening.get(e.HubHello)
        found = hello.payload.get("node_id") if isinstance(hello, e.HubHello) else None
        return found if isinstance(found, str) else None

    # --- inputs ---

    def receive(self, frame: Frame, now: float) -> list[e.Event]:
        """Take a frame of the peer; the events it makes, `Closed` last if it was the end."""
        if self._state is State.CLOSED:
            return []
        if self._derivation is not None:
            return self._park(frame)
        events: list[e.Event] = []
        try:
            self._receive(frame, now, events)
        except _FAULTS as fault:
            events.append(self._fault(fault))
        return events

    def send(self, event: e.Message, now: float, *, token: int | None = None) -> None:
        """Seal and queue a message; `token` goes with its last frame. Raises `LocalProtocolError` if not legal now."""
        channel = self._channel
        if channel is None:
            raise LocalProtocolError(f"no message can be sent in state {self._state.name}")
        state = next_state(self._state, self.role, event.wire_kind)
        if state is None:
            raise LocalProtocolError(f"{type(event).__name__} means nothing to the peer")
        if self.used_up >= 1:
            raise LocalProtocolError("the keys of this session are used up: connect again")
        frames = channel.seal(event)
        self.used_up = channel.used_up
        if state is not self._state:
            self._enter(state)
        for frame in frames[:-1]:
            self.outgoing.append((frame, None))
        self.outgoing.append((frames[-1], token))
        if self.role is Role.CLIENT and self._carrier.idle is not None:
            size = sum(len(frame.data) for frame in frames)
            self._travels_until = max(self._travels_until, now) + size / self._limits.slowest
            self._timers["probe"] = self._travels_until + self._carrier.idle

    def frames_to_send(self) -> list[tuple[Frame, int | None]]:
        """Everything for the link, in order, each with its token."""
        out, self.outgoing = self.outgoing, []
        return out

    def effects(self) -> list[DeriveKey]:
        """Derivations to start, each once."""
        effects, self.derivations = self.derivations, []
        return effects

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> list[e.Event]:
        """The result of a derivation, then the parked frames. Results that nobody waits for are dropped."""
        derivation = self._derivation
        if derivation is None or id != self.last_effect or self._state is State.CLOSED:
            return []
        self._derivation = None

        events: list[e.Event] = []
        try:
            self._carry_out(derivation.then(key), now, events)
            while self._parked and self._derivation is None:
                frame = self._parked.popleft()
                self._parked_bytes -= len(frame.data)
                self._receive(frame, now, events)
        except _FAULTS as fault:
            events.append(self._fault(fault))
        return events

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called."""
        channel = None if self._channel is None else self._channel.next_timeout
        own = min(self._timers.values()) if self._timers else None
        return own if channel is None or (own is not None and own < channel) else channel

    def handle_timeout(self, now: float) -> list[e.Event]:
        """Time has passed. Harmless if early."""
        if self._rang("handshake", now):
            waited = HandshakeTimeout(
                f"the {self._peer.value} did not finish the handshake within {self._limits.handshake_time:g} s "
                f"(state {self._state.name})"
            )
            return [self._closed(waited)]
        if self._rang("answer", now):
            return [self._closed(None, kind=CloseKind.LOST, reason="the hub no longer answers")]
        try:
            self._tick(now)
        except _FAULTS as fault:
            return [self._fault(fault)]
        return []

    def close(self) -> None:
        """We are done with this connection: secrets go, input is ignored."""
        self._state = State.CLOSED
        self._timers.clear()
        self._again = ()
        self._answer = _refuse
        self._channel = self._derivation = None
        self._former.clear()
        self._parked.clear()
        self.derivations.clear()

    # --- time ---

    def _tick(self, now: float) -> None:
        if self._channel is not None:
            self._channel.handle_timeout(now)
        if self._rang("greeting", now):
            for event in self._again:
                self._say(event)
        if self._rang("probe", now):
            self._probe(now)

    def _rang(self, timer: str, now: float) -> bool:
        """Whether it is time for one of the timers, which is then over."""
        if self._timers.get(timer, now + 1) > now:
            return False
        del self._timers[timer]
        return True

    def _probe(self, now: float) -> None:
        """Show a silent hub that we are there, and see whether it is.

        A v3 hub answers an empty rendezvous. Older ones answer nothing that we could say unasked, but what lost our
        session says hello in clear to any frame.
        """
        if self.used_up >= 1:
            return
        if LEGACY_POLICY[self.generation].ignores_rendezvous and self._hello is not None:
            self.send(self._hello, now)
        else:
            self.send(e.Rendezvous(), now)
            if self._answers:
                self._timers["answer"] = self._travels_until + _PROBE_TIME

    # --- receiving ---

    def _receive(self, frame: Frame, now: float, events: list[e.Event]) -> None:
        channel, role = self._channel, self.role
        # A hub spends little on a client that has proven nothing.
        trusted = self._proven or (channel is not None and role is Role.CLIENT)
        limit = self._limits.frame if trusted else min(HANDSHAKE_FRAME, self._limits.frame)
        if len(frame.data) > limit:
            raise DecodeError(f"a frame of {len(frame.data)} bytes is over {limit}")
        if channel is None:
            self._heard(parse_clear(frame, self._peer), now, events)
            return
        try:
            event = channel.open(frame, now)
        except MalformedMessage as malformed:
            if role is Role.HUB:
                raise
            event = None
            self._timers.pop("answer", None)
            if not self._proven:
                self._prove(events)
            events.append(e.Skipped(reason=str(malformed)))
        except Unauthentic as unopened:
            event = self._open_otherwise(frame, unopened, now, events)
        else:
            if self._former:
                self._former.clear()
            if event is None and role is Role.CLIENT and not self._proven:
                self._prove(events)  # by the first chunk of a message as by a whole one
        if isinstance(event, e.SealedHandshake) and role is Role.HUB and not self._proven:
            # A client that holds both secrets seals its password proof with the crypto key (bus-client 0.4).
            self._heard(handshake_in(event, self._peer), now, events)
        elif event is not None:
            self._opened(event, events)
        if channel is self._channel:
            self.used_up = channel.used_up
        if self.used_up >= 1:
            events.append(self._closed(None, reason="the keys of this session are used up"))

    def _open_otherwise(
        self, frame: Frame, unopened: Unauthentic, now: float, events: list[e.Event]
    ) -> e.Message | None:
        """The event in a frame that the newest key does not open; None for one in clear, which is handled.

        A former key may open it, too. Raises `unopened` for anything else.
        """
        for former in self._former:
            with suppress(Unauthentic):
                event = former.open(frame, now)
                if LEGACY_POLICY[former.generation].former_key_opens_all or isinstance(event, e.SealedHandshake):
                    return event
        # Only the keys tell a sealed frame from a clear one: what does not open may be a handshake event yet.
        try:
            clear = parse_clear(frame, self._peer)
        except DecodeError:
            # Noise of a hub that has proven nothing yet is no reason not to hear how it goes on: it may refuse us.
            self._unopened += 1
            young = self.role is Role.CLIENT and not self._proven and self.generation is e.Generation.NOISE
            if not young or self._unopened > _UNOPENED_FRAMES or looks_like_text(frame):
                raise unopened from None
            return None
        self._heard(clear, now, events)
        return None

    def _heard(self, clear: e.ClearEvent, now: float, events: list[e.Event]) -> None:
        if isinstance(clear, e.HubHello | e.Offer):
            if self._starts_over(clear, events):
                return
            self._opening[type(clear)] = clear
        self._follow(clear)
        step = self._answer(clear)
        events.append(clear)
        if isinstance(clear, e.ClearHello):
            self._claimed = clear
        self._carry_out(step, now, events)

    def _starts_over(self, clear: e.HubHello | e.Offer, events: list[e.Event]) -> bool:
        """Whether a hub's opening comes again: the same is dropped, another is a new session or a violation.

        Once there are keys it may only come on carriers that have it; elsewhere the table refuses it.
        """
        first, keyed, rehello = self._opening.get(type(clear)), self._channel is not None, self._carrier.rehello
        if first is not None and LEGACY_POLICY[self.generation].greets_twice and same_greeting(clear, first):
            return True
        if (keyed and not rehello) or (first is None and not keyed):
            return False
        if clear == first:
            return True
        if not rehello:
            raise RemoteProtocolError(f"the hub changed its {type(clear).__name__} in state {self._state.name}")
        events.append(self._closed(None, kind=CloseKind.FORGOTTEN, reason="the hub starts over"))
        return True

    def _opened(self, event: e.Message, events: list[e.Event]) -> None:
        told = self._follow(event)
        if isinstance(event, e.Rendezvous):
            self._answers = True
        if "answer" in self._timers:
            del self._timers["answer"]
        if not self._proven:
            self._prove(events)
            claimed, self._claimed = self._claimed, None
            if claimed and LEGACY_POLICY[self.generation].speaks_clear and not isinstance(event, e.ClientHello):
                events.append(e.ClientHello(payload=claimed.payload))
        if told:
            events.append(event)

    def _follow(self, event: e.Event) -> bool:
        """Go where the table leads after an event of the peer; whether it is to be told, and not ignored."""
        try:
            state = next_state(self._state, self._peer, event.wire_kind)
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from None
        if state is not None and state is not self._state:
            self._enter(state)
        return state is not None

    def _enter(self, state: State) -> None:
        self._state = state
        self._pattern = _PATTERNS.get(state, self._pattern)
        if state is not State.GREETED and state is not State.OFFERED:
            self._timers.pop("greeting", None)  # the client has said something
        if state is State.READY:
            self._timers.pop("handshake", None)
            self._answer = _refuse

    def _prove(self, events: list[e.Event]) -> None:
        self._proven = True
        self._opening.clear()
        events.append(e.Proven())

    # --- the handshake's steps ---

    def _carry_out(self, step: Step, now: float, events: list[e.Event]) -> None:
        for clear in step.say:
            self._say(clear)
        if (derivation := step.derive) is not None:
            self._derivation = derivation
            self.last_effect += 1
            self.derivations.append(
                DeriveKey(id=self.last_effect, kdf=derivation.kdf, secret=derivation.secret, salt=derivation.salt)
            )
        if step.channel is not None:
            if self._channel is not None:
                self._former.append(self._channel)
            self._channel = step.channel
            self.used_up = 0.0
            if not LEGACY_POLICY[step.channel.generation].speaks_clear:
                self._answer = _refuse
        if step.completed is not None:
            events.append(step.completed)
        for message in step.seal:
            self._hello = self._hello or message
            self.send(message, now)
        if step.proves:
            self._prove(events)

    def _say(self, event: e.ClearEvent) -> None:
        state = next_state(self._state, self.role, type(event))
        if state is not None and state is not self._state:  # else it is said once more
            self._enter(state)
        text = self._carrier.text_up or self.role is Role.HUB
        self.outgoing.append((clear_frame(event, text=text), None))

    # --- faults ---

    def _fault(self, fault: ProtocolError | DecodeError) -> e.Closed:
        """The last event, for what was raised while input was taken."""
        if isinstance(fault, BadEntropy):
            self.close()
            raise fault
        if isinstance(fault, DecodeError):
            fault = RemoteProtocolError(f"{fault} (state {self._state.name})")
        return self._closed(fault)  # a `LocalProtocolError`: what we were given to send or to compare cannot be used

    def _park(self, frame: Frame) -> list[e.Event]:
        self._parked_bytes += len(frame.data)
        self._parked.append(frame)
        if len(self._parked) > _PARKED_FRAMES or self._parked_bytes > _PARKED_BYTES:
            return [self._closed(RemoteProtocolError("too many frames came while a key was derived"))]
        return []

    def _closed(self, error: ProtocolError | None, *, kind: CloseKind = CloseKind.CLOSED, reason: str = "") -> e.Closed:
        self.close()
        code, told = _goodbye(error)
        return e.Closed(kind=kind, error=error, code=code, reason=reason or told)


def _goodbye(error: ProtocolError | None) -> tuple[int, str]:
    """Close code and reason for the peer: the kind of its fault, no detail. Only 1008 is a verdict to real clients."""
    match error:
        case HandshakeTimeout():
            return GOING_AWAY, "handshake timeout"
        case RemoteProtocolError():
            return POLICY_VIOLATION, _TOLD.get(error.code, "invalid message")
        case LocalProtocolError():
            return INTERNAL_ERROR, "internal error"
        case _:
            return GOING_AWAY, ""


_FAULTS: Final = (RemoteProtocolError, DecodeError, LocalProtocolError)
#: Constant texts, as real hubs have them: which check failed is nobody's business.
_TOLD: Final = {
    "credentials_refused": "handshake failure",
    "client_key_rejected": "client Noise static key contradicts the pinned key",
    "downgrade_refused": "this node requires the v3 Noise handshake",
}
_PATTERNS: Final = {State.XX_SENT: Pattern.XX.value, State.KK_SENT: Pattern.KK.value}


def _refuse(event: e.ClearEvent) -> Step:
    """The answer to a handshake event when none may come any more."""
    raise RemoteProtocolError(f"{type(event).__name__} came in clear where only sealed frames may")
