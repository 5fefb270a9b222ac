"""A client stack and a hub that it can dial, in memory: sockets that can be cut, a clock that moves when told.

Nothing here waits or draws a random number; slow derivation is a hash. Both roles are the real machines. What is
between is the network's business: if nothing else is said the real WSS links (`networks.py`), else the links of
`frame_link.py`, which have what WSS has not, HTTPS (`https_network.py`) or MQTT (`mqtt/network.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any

from attrs import define, evolve, field

from tests.proto.links.networks import Machine, Socket, Wire, WssLinks
from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.client.stack import ClientStack, Dial, Run, Stop
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import HubPeer, PeerClosed
from thalovant_proto.limits import DEFAULT_LIMITS, Limits
from thalovant_proto.links.base import Link
from thalovant_proto.outcomes import AskEnded, Outcome, SessionState, StateChanged
from thalovant_proto.secret import Secret
from thalovant_proto.trust import Trust

ACCESS_KEY = "access-key-of-the-client"
PASSWORD = "password-of-the-client"
CRYPTO_KEY = "0123456789abcdef"
#: More than ever happens at one time.
AT_ONCE = 10_000


class Entropy:
    """Bytes that look random and are the same in every run."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed}:{self._count}".encode()).digest(size)


def stub_key(effect: DeriveKey) -> Secret[bytes]:
    """A derivation that costs nothing: equal inputs give equal keys."""
    return Secret(hashlib.sha256(effect.kdf.value.encode() + effect.secret.reveal() + effect.salt).digest())


def trust(seed: str = "client") -> Trust:
    """A client that has met no hub."""
    return Trust(static_key=Secret(hashlib.sha256(seed.encode()).digest()))


def hub_side(generation: int = 3, **changes: Any) -> HubSide:
    """What the hub of these tests holds for the client of these tests."""
    side = HubSide(
        node_id="hub-of-the-tests",
        static_key=Secret(hashlib.sha256(b"hub").digest()),
        peer="agent::1::client::session",
        generation=e.Generation(generation),
        password=Secret(PASSWORD) if generation else None,
        crypto_key=None if generation else Secret(CRYPTO_KEY),
    )
    return evolve(side, **changes)


def config(generation: int = 3, **changes: Any) -> ClientConfig:
    """The client of these tests."""
    made = ClientConfig(
        access_key=Secret(ACCESS_KEY),
        password=Secret(PASSWORD) if generation else None,
        crypto_key=None if generation else Secret(CRYPTO_KEY),
        session_id="session-of-the-client",
        site_id="site",
        user_agent="tests/1",
    )
    return evolve(made, **changes)


@define(eq=False)
class Hub:
    """What the client dials. `answer` is the application behind it: an event in, messages out.

    `drops`: as legacy hubs do, it hangs up where ours says goodbye. `proves`: it answers the client's rendezvous.
    """

    side: HubSide
    answer: Callable[[e.Event], Iterable[e.Message]] = field(default=lambda event: ())
    listening: bool = True
    fault: DialFault = DialFault.REFUSED
    drops: bool = False
    proves: bool = True
    register: Callable[[Credentials], HubSide | None] | None = None
    heard: list[e.Event] = field(factory=list)
    outcomes: list[Outcome | e.Event] = field(factory=list)
    closed: list[PeerClosed] = field(factory=list)
    peers: list[HubPeer] = field(factory=list)
    live: list[HubPeer] = field(factory=list)  # those that are not finished

    @property
    def peer(self) -> HubPeer:
        """The newest connection."""
        return self.peers[-1]

    def known(self, credentials: Credentials) -> HubSide | None:
        """What the hub holds for an access key."""
        if self.register is not None:
            return self.register(credentials)
        return self.side if credentials.access_key == Secret(ACCESS_KEY) else None

    def says(self, message: e.Message, now: float) -> None:
        """Say something unasked, if the client may hear it."""
        if self.peers and self.peer.proven:
            self.peer.send(message, now)

    def utterances(self) -> list[e.Utterance]:
        """What the hub would have executed, in order."""
        return [event for event in self.heard if isinstance(event, e.Utterance)]


class World:
    """One client, one hub, the network between them. `cut`: at most that many bytes arrive at a time."""

    def __init__(
        self,
        generation: int = 3,
        *,
        cut: int | None = None,
        hub: Hub | None = None,
        client: ClientConfig | None = None,
        knows: Trust | None = None,
        links: Any = None,
        hub_limits: Limits = DEFAULT_LIMITS,
        wire_events: bool = True,
        patient: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> None:
        self.now = 1000.0
        self.wire = Wire(cut)
        self.hub = hub or Hub(hub_side(generation))
        self.config = client or config(generation, **changes)
        self.links = links or WssLinks()
        self.links.world = self
        self.hub_limits = hub_limits
        self.stack = ClientStack(
            self.config,
            *self.links.routes(),
            trust=knows or trust(),
            entropy=lambda size: self.entropy(size),
            patient=patient,
            wire_events=wire_events,
        )
        self.outcomes: list[Outcome | e.Event] = []
        self.told_at: list[float] = []  # when each of these came
        self.dials: list[float] = []  # when
        self.written = bytearray()  # by the client, over all its sockets
        self.derivations = 0
        self.held = False  # derivations wait
        self.hears = True  # the network delivers
        self.entropy: Callable[[int], bytes] = Entropy("client")
        self.hub_entropy: Callable[[int], bytes] = Entropy("hub")
        self._serial: int | None = None
        self._socket: Socket | None = None
        self._adrift: list[Socket] = []  # their ends do not know that nobody is at the other

    # --- moving ---

    def drive(self) -> World:
        """Move everything that can move now."""
        for _ in range(AT_ONCE):
            if not self._move():
                return self
        raise AssertionError("all go round in circles, at one time")

    def open(self) -> World:
        """Open the client's session and move."""
        self.stack.open(self.now)
        return self.drive()

    def ask(self, message: e.Bus, **options: Any) -> int:
        """Have the client ask, and move."""
        return self._then(self.stack.ask(message, self.now, **options))

    def send(self, message: e.Message) -> int:
        """Have the client send, and move."""
        return self._then(self.stack.send(message, self.now))

    def close(self, **options: Any) -> World:
        """Have the client close its session, and move."""
        self.stack.close(self.now, **options)
        return self.drive()

    def says(self, message: e.Message) -> World:
        """Have the hub say something, and move."""
        self.hub.says(message, self.now)
        return self.drive()

    def advance(self, seconds: float, until: Callable[[], bool] = lambda: False) -> World:
        """Let time pass, with every timer at its time, for so long or until something is so."""
        end = self.now + seconds
        self.drive()
        while not until():
            machines: list[Machine] = [self.stack, *self.hub.live, *self.links.machines]
            when = min((due for each in machines if (due := each.next_timeout) is not None), default=end + 1)
            if when > end:
                self.now = max(self.now, end)
                break
            self.now = max(self.now, when)
            for machine in machines:
                machine.handle_timeout(self.now)
                after = machine.next_timeout
                assert after is None or after > self.now, "a timer that does not move is a busy loop"
            self.drive()
        return self

    def lose(self, reason: str = "reset") -> World:
        """The network drops the connection under both."""
        self.break_off(reason)
        return self.drive()

    def restart_hub(self) -> World:
        """The hub dies without a word to anybody, and is there again."""
        self.hub.peers.clear()
        self.hub.live.clear()
        self.links.restart()
        return self.drive()

    def got(self, kind: type[Any] | UnionType) -> list[Any]:
        """The outcomes of a class or several, in order."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, kind)]

    def when(self, kind: type[Any]) -> float:
        """The time at which the last outcome of a class was told."""
        return next(
            at for at, one in zip(self.told_at[::-1], self.outcomes[::-1], strict=True) if isinstance(one, kind)
        )

    def texts(self) -> list[list[str]]:
        """What was heard for each ask that has its reply."""
        return [[piece.data.get("utterance", "") for piece in ended.pieces] for ended in self.got(AskEnded)]

    # --- for the network ---

    def join(self, link: Link) -> HubPeer:
        """A link has come up at the hub: what it gets there."""
        peer = HubPeer(link, self.hub.known, entropy=self.hub_entropy, now=self.now, limits=self.hub_limits)
        self.hub.peers.append(peer)
        self.hub.live.append(peer)
        return peer

    def serve(self) -> bool:
        """Let the hub act on what its peers report."""
        moved = False
        for peer in tuple(self.hub.live):
            for outcome in peer.outcomes():
                moved = True
                self.hub.outcomes.append(outcome)
                if isinstance(outcome, PeerClosed):
                    self.hub.closed.append(outcome)
                    if self.hub.drops and peer is self._socket:
                        self.break_off("reset")
                elif isinstance(outcome, e.Event):
                    self.hub.heard.append(outcome)
                    for message in (*self._proof(outcome), *self.hub.answer(outcome)):
                        if peer.proven:
                            peer.send(message, self.now)
            if peer.finished and peer in self.hub.live:
                self.hub.live.remove(peer)
        return moved

    def break_off(self, reason: str = "reset") -> None:
        """The client's socket ends, for both."""
        socket, self._socket = self._socket, None
        if socket is not None:
            self.stack.eof(self.now, reason)
            self._forsake(socket, reason)

    # --- below ---

    def _then(self, token: int) -> int:
        self.drive()
        return token

    def _move(self) -> bool:
        moved = self._obey()
        if self.hears:
            moved |= self._up()
        moved |= self.links.move()
        moved |= self.serve()
        if self.hears:
            moved |= self._down()
        if not self.held:
            moved |= self._derive()
        self._drift()
        told = self.stack.outcomes()
        self.outcomes += told
        self.told_at += [self.now] * len(told)
        return moved or bool(told)

    def _obey(self) -> bool:
        match self.stack.step():
            case Dial(target=target, serial=serial) if serial != self._serial:
                self._hang_up()
                self._serial = serial
                self.dials.append(self.now)
                if (fault := self.links.fault(target)) is None:
                    self.wire.dead = False
                    self._socket = self.links.accept(self.links.newest)
                    self.stack.socket_opened(self.now)
                else:
                    phase = "tls" if fault.final else "connect"
                    message = f"port {target.port}: {fault.value}"
                    self.stack.dial_failed(DialFailed(phase=phase, fault=fault, message=message), self.now)
                return True
            case Run(serial=serial) if serial == self._serial:
                return False
            case Stop() | _ if self._socket is not None:
                self._hang_up()
                return True
        return False

    def _hang_up(self) -> None:
        self._up()  # the last bytes leave with the socket
        socket, self._socket = self._socket, None
        if socket is not None and not self.links.outlives_sockets:
            self._forsake(socket)

    def _forsake(self, socket: Socket, reason: str = "") -> None:
        """The client's end of a socket is gone: the other end learns of it, unless the network swallows that too."""
        if self.wire.dead:
            self._adrift.append(socket)
        else:
            socket.eof(self.now, reason)

    def _drift(self) -> None:
        for socket in self._adrift:
            socket.data_to_send()  # and nobody gets it
            if socket.finished:
                self._adrift = [each for each in self._adrift if each is not socket]
                socket.eof(self.now)

    def _up(self) -> bool:
        data = self.stack.data_to_send()
        self.written += data

        def give(piece: bytes) -> None:
            if self._socket is not None:
                self._socket.receive_data(piece, self.now)

        self.wire.carry(data, give, self.break_off)
        return bool(data)

    def _down(self) -> bool:
        socket = self._socket
        if socket is None:
            return False
        data = socket.data_to_send()

        def give(piece: bytes) -> None:
            if self._socket is socket:
                self.stack.receive_data(piece, self.now)

        self.wire.carry(data, give, self.break_off)
        if not data and socket.finished and self._socket is socket and not self.wire.dead:
            self._socket = None
            self.stack.eof(self.now)
            return True
        return bool(data)

    def _derive(self) -> bool:
        moved = False
        for effect in self.stack.effects():
            self.derivations += 1
            self.stack.effect_done(effect.id, stub_key(effect), self.now)
            moved = True
        for peer in self.hub.live:
            for effect in peer.effects():
                peer.effect_done(effect.id, stub_key(effect), self.now)
                moved = True
        return moved

    def _proof(self, event: e.Event) -> Iterable[e.Message]:
        """Every real hub of v3 answers a rendezvous, and so proves itself."""
        if isinstance(event, e.Rendezvous) and self.hub.proves:
            yield e.Rendezvous(payload={"status": "error", "reason": "not_a_rendezvous_node"})


def echo(event: e.Event) -> list[e.Message]:
    """A hub application that says everything back and is done."""
    if not isinstance(event, e.Utterance):
        return []
    return [e.Speak(text=f"echo: {event.text}", context=event.context), e.UtteranceHandled(context=event.context)]


def ready(generation: int = 3, **options: Any) -> World:
    """A world whose client is connected to an echoing hub."""
    world = World(generation, **options)
    world.hub.answer = echo
    return world.open()


def met_before(*, client: ClientConfig | None = None, **hub_changes: Any) -> World:
    """A client and a hub that pinned each other's keys; the hub may have changed since."""
    first = ready()
    (completed,) = [event for event in first.hub.heard if isinstance(event, e.HandshakeCompleted)]
    side = evolve(first.hub.side, **{"pinned": completed.peer_static, **hub_changes})
    return World(hub=Hub(side, answer=echo), client=client, knows=first.stack.trust)


def states(world: World) -> list[SessionState]:
    """The states that the application was told, in order."""
    return [changed.state for changed in world.got(StateChanged)]
