"""A client stack and a hub that it can dial, in memory: sockets that can be cut, a clock that moves when told.

Nothing here waits or draws a random number; slow derivation is a hash. Both roles are the real machines, over the real
WSS links or over the links of `frame_link.py`, which have what WSS has not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, evolve, field

from thalovant_proto import events as e
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.handshake_hub import HubSide
from thalovant_proto.kdf import DeriveKey
from thalovant_proto.limits import DEFAULT_LIMITS, Limits
from thalovant_proto.links.base import Credentials, Link
from thalovant_proto.links.wss_client import WssClientLink
from thalovant_proto.links.wss_server import WssServerLink
from thalovant_proto.outcomes import AskEnded, Outcome, SessionState, StateChanged
from thalovant_proto.peer import HubPeer, PeerClosed
from thalovant_proto.routes import Route
from thalovant_proto.secret import Secret
from thalovant_proto.session import ClientConfig
from thalovant_proto.stack import ClientLink, ClientStack, Dial, Run, Stop
from thalovant_proto.trust import Trust

ACCESS_KEY = "access-key-of-the-client"
PASSWORD = "password-of-the-client"
CRYPTO_KEY = "0123456789abcdef"
PIN = "ws://127.0.0.1:5678"


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


class WssLinks:
    """The two ends of a WSS link."""

    outlives_sockets = False

    def client(self, config: ClientConfig) -> ClientLink:
        """The client's end of a new link."""
        return WssClientLink(
            "ws://127.0.0.1:5678", access_key=config.access_key, user_agent=config.user_agent, secure=True
        )

    def hub(self) -> Link:
        """The hub's end."""
        return WssServerLink(secure=True)


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
    """One client, one hub, the sockets between them. `cut`: at most that many bytes arrive at a time."""

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
        **changes: Any,
    ) -> None:
        self.now = 1000.0
        self.cut = cut
        self.hub = hub or Hub(hub_side(generation))
        self.config = client or config(generation, **changes)
        self.links = links or WssLinks()
        self.hub_limits = hub_limits
        route = Route(name="WSS", pin_id=PIN, make_link=self._new_link)
        self.stack = ClientStack(self.config, route, trust=knows or trust(), entropy=Entropy("client"))
        self.outcomes: list[Outcome | e.Event] = []
        self.told_at: list[float] = []  # when each of these came
        self.dials: list[float] = []  # when
        self.written = bytearray()  # by the client, over all its sockets
        self.derivations = 0
        self.held = False  # derivations wait
        self.hears = True  # the network delivers
        self.breaks_after: int | None = None  # bytes that the network still delivers, in both directions together
        self.silently = False  # nobody is told when it breaks
        self._broken = False
        self._hub_entropy = Entropy("hub")
        self._serial: int | None = None
        self._link: ClientLink | None = None
        self._served: ClientLink | None = None  # the link whose other end is `_socket`
        self._socket: HubPeer | None = None

    # --- moving ---

    def drive(self) -> World:
        """Move everything that can move now."""
        while self._move():
            pass
        return self

    def open(self) -> World:
        """Open the client's session and move."""
        self.stack.open(self.now)
        return self.drive()

    def advance(self, seconds: float) -> World:
        """Let time pass, with every timer at its time."""
        end = self.now + seconds
        self.drive()
        while (when := self._next_timeout()) is not None and when <= end:
            self.now = max(self.now, when)
            self.stack.handle_timeout(self.now)
            after = self.stack.next_timeout
            assert after is None or after > self.now, "a timer that does not move is a busy loop"
            if self._socket is not None:
                self._socket.handle_timeout(self.now)
                after = self._socket.next_timeout
                assert after is None or after > self.now, "a timer that does not move is a busy loop"
            self.drive()
        self.now = max(self.now, end)
        return self

    def lose(self, reason: str = "reset") -> World:
        """The network drops the connection under both."""
        self._break(reason)
        return self.drive()

    def got(self, kind: type[Any]) -> list[Any]:
        """The outcomes of a class, in order."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, kind)]

    def when(self, kind: type[Any]) -> float:
        """The time at which the last outcome of a class was told."""
        return next(
            at for at, one in zip(self.told_at[::-1], self.outcomes[::-1], strict=True) if isinstance(one, kind)
        )

    def texts(self) -> list[list[str]]:
        """What was heard for each ask that has its reply."""
        return [[piece.data.get("utterance", "") for piece in ended.pieces] for ended in self.got(AskEnded)]

    # --- below ---

    def _next_timeout(self) -> float | None:
        times = [self.stack.next_timeout, None if self._socket is None else self._socket.next_timeout]
        return min((time for time in times if time is not None), default=None)

    def _move(self) -> bool:
        moved = self._obey()
        if self.hears:
            moved |= self._up()
        moved |= self._serve()
        if self.hears:
            moved |= self._down()
        if not self.held:
            moved |= self._derive()
        told = self.stack.outcomes()
        self.outcomes += told
        self.told_at += [self.now] * len(told)
        return moved or bool(told)

    def _obey(self) -> bool:
        match self.stack.step():
            case Dial(serial=serial) if serial != self._serial:
                self._hang_up()
                self._serial = serial
                self.dials.append(self.now)
                if self.hub.listening:
                    self._accept()
                    self.stack.socket_opened(self.now)
                else:
                    self.stack.dial_failed(
                        DialFailed(phase="connect", fault=self.hub.fault, message="hub port 5678: refused"), self.now
                    )
                return True
            case Run(serial=serial) if serial == self._serial:
                return False
            case Stop() | _ if self._socket is not None:
                self._hang_up()
                return True
        return False

    def _new_link(self, known: Trust) -> ClientLink:
        self._link = self.links.client(self.config)
        return self._link

    def _accept(self) -> None:
        self._broken = False
        if self._link is not self._served:  # else it is the same session on another socket
            self._served = self._link
            peer = HubPeer(
                self.links.hub(), self.hub.known, entropy=self._hub_entropy, now=self.now, limits=self.hub_limits
            )
            self.hub.peers.append(peer)
        self._socket = self.hub.peer

    def _hang_up(self) -> None:
        self._up()  # the last bytes leave with the socket
        socket, self._socket = self._socket, None
        if socket is not None and not self.links.outlives_sockets:
            socket.eof(self.now)

    def _up(self) -> bool:
        data = self.stack.data_to_send()
        self.written += data
        for piece in self._pieces(data):
            if self._socket is not None:
                self._socket.receive_data(piece, self.now)
        return bool(data)

    def _down(self) -> bool:
        socket = self._socket
        if socket is None:
            return False
        data = socket.data_to_send()
        for piece in self._pieces(data):
            if self._socket is socket:
                self.stack.receive_data(piece, self.now)
        if not data and socket.finished and self._socket is socket:
            self._socket = None
            self.stack.eof(self.now)
            return True
        return bool(data)

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        size = self.cut or max(len(data), 1)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            if self.breaks_after is not None:
                piece = piece[: self.breaks_after]
                self.breaks_after -= len(piece)
            if piece and not self._broken:
                yield piece
            if self.breaks_after == 0:
                self.breaks_after = None
                if self.silently:
                    self._broken = True
                else:
                    self._break("reset")

    def _break(self, reason: str) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            self.stack.eof(self.now, reason)
            socket.eof(self.now, reason)

    def _derive(self) -> bool:
        moved = False
        for effect in self.stack.effects():
            self.derivations += 1
            self.stack.effect_done(effect.id, stub_key(effect), self.now)
            moved = True
        for peer in self.hub.peers:
            for effect in peer.effects():
                peer.effect_done(effect.id, stub_key(effect), self.now)
                moved = True
        return moved

    def _serve(self) -> bool:
        moved = False
        for peer in self.hub.peers:
            for outcome in peer.outcomes():
                moved = True
                self.hub.outcomes.append(outcome)
                if isinstance(outcome, PeerClosed):
                    self.hub.closed.append(outcome)
                    if self.hub.drops and peer is self._socket:
                        self._break("reset")
                elif isinstance(outcome, e.Event):
                    self.hub.heard.append(outcome)
                    for message in (*self._proof(outcome), *self.hub.answer(outcome)):
                        if peer.proven:
                            peer.send(message, self.now)
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
