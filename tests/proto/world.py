"""A client stack and a hub that it can dial, in memory: sockets that can be cut, a clock that moves when told.

Nothing here waits or draws a random number; slow derivation is a hash.
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
from thalovant_proto.links.base import Credentials
from thalovant_proto.links.wss_client import WssClientLink
from thalovant_proto.links.wss_server import WssServerLink
from thalovant_proto.outcomes import Outcome
from thalovant_proto.peer import HubPeer, PeerClosed
from thalovant_proto.secret import Secret
from thalovant_proto.session import ClientConfig
from thalovant_proto.stack import ClientStack, Dial, Run, Stop
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
        pin_id=PIN,
        session_id="session-of-the-client",
        site_id="site",
        user_agent="tests/1",
    )
    return evolve(made, **changes)


@define(eq=False)
class Hub:
    """What the client dials. `answer` is the application behind it: an event in, messages out."""

    side: HubSide
    answer: Callable[[e.Event], Iterable[e.Message]] = field(default=lambda event: ())
    listening: bool = True
    fault: DialFault = DialFault.REFUSED
    register: Callable[[Credentials], HubSide | None] | None = None
    heard: list[e.Event] = field(factory=list)
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
        if self.peers and self.peer.proven and not self.peer.finished:
            self.peer.send(message, now)


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
        **changes: Any,
    ) -> None:
        self.now = 1000.0
        self.cut = cut
        self.hub = hub or Hub(hub_side(generation))
        self.config = client or config(generation, **changes)
        self.trusts: list[Trust] = [knows or trust()]
        self.stack = ClientStack(self.config, self._link, trust=self.trusts[-1], entropy=Entropy("client"))
        self.outcomes: list[Outcome | e.Event] = []
        self.dials = 0
        self.derivations = 0
        self.held = False  # derivations wait
        self.hears = True  # the network delivers
        self._hub_entropy = Entropy("hub")
        self._serial: int | None = None
        self._socket: HubPeer | None = None

    def _link(self, known: Trust) -> WssClientLink:
        return WssClientLink(
            "ws://127.0.0.1:5678",
            access_key=self.config.access_key,
            user_agent=self.config.user_agent,
            secure=True,
        )

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
            self.drive()
        self.now = max(self.now, end)
        return self

    def lose(self, reason: str = "reset") -> World:
        """The network drops the connection under both."""
        socket, self._socket = self._socket, None
        if socket is not None:
            self.stack.eof(self.now, reason)
            socket.eof(self.now, reason)
        return self.drive()

    def lose_unseen(self) -> None:
        """The hub's process dies with what it had not read; the client learns of it with the next `drive`."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.eof(self.now, "died")
            self.stack.data_to_send()
            self.stack.eof(self.now, "reset")

    def got(self, kind: type[Any]) -> list[Any]:
        """The outcomes of a class, in order."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, kind)]

    def _next_timeout(self) -> float | None:
        times = [self.stack.next_timeout, None if self._socket is None else self._socket.next_timeout]
        return min((time for time in times if time is not None), default=None)

    def _move(self) -> bool:
        moved = self._obey()
        if self.hears:
            moved |= self._carry()
        if not self.held:
            for effect in self.stack.effects():
                self.derivations += 1
                self.stack.effect_done(effect.id, stub_key(effect), self.now)
                moved = True
            for peer in self.hub.peers:
                for effect in peer.effects():
                    peer.effect_done(effect.id, stub_key(effect), self.now)
                    moved = True
        for outcome in self.stack.outcomes():
            self.outcomes.append(outcome)
            moved = True
        return moved | self._serve()

    def _obey(self) -> bool:
        match self.stack.step():
            case Dial(serial=serial) if serial != self._serial:
                self._drop()
                self._serial = serial
                self.dials += 1
                if self.hub.listening:
                    self._socket = HubPeer(
                        WssServerLink(secure=True), self.hub.known, entropy=self._hub_entropy, now=self.now
                    )
                    self.hub.peers.append(self._socket)
                    self.stack.socket_opened(self.now)
                else:
                    self.stack.dial_failed(
                        DialFailed(phase="connect", fault=self.hub.fault, message="hub port 5678: refused"), self.now
                    )
                return True
            case Run(serial=serial) if serial == self._serial:
                return False
            case Stop() | _ if self._socket is not None:
                self._drop()
                return True
        return False

    def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.eof(self.now)

    def _carry(self) -> bool:
        moved = False
        if data := self.stack.data_to_send():
            moved = True
            for piece in self._pieces(data):
                if self._socket is not None:
                    self._socket.receive_data(piece, self.now)
        if self._socket is not None and (data := self._socket.data_to_send()):
            moved = True
            for piece in self._pieces(data):
                self.stack.receive_data(piece, self.now)
        elif self._socket is not None and self._socket.finished:
            self._socket = None
            self.stack.eof(self.now)
            moved = True
        return moved

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        size = self.cut or len(data)
        return (data[start : start + size] for start in range(0, len(data), size))

    def _serve(self) -> bool:
        moved = False
        for peer in self.hub.peers:
            for outcome in peer.outcomes():
                moved = True
                if isinstance(outcome, PeerClosed):
                    self.hub.closed.append(outcome)
                elif isinstance(outcome, e.Event):
                    self.hub.heard.append(outcome)
                    if isinstance(outcome, e.Rendezvous):  # every real hub answers: it is the proof of a v3 session
                        peer.send(e.Rendezvous(payload={"status": "error", "reason": "not_a_rendezvous_node"}), self.now)
                    for message in self.hub.answer(outcome):
                        if peer.proven and not peer.finished:
                            peer.send(message, self.now)
        return moved


def echo(event: e.Event) -> list[e.Message]:
    """A hub application that says everything back and is done."""
    if not isinstance(event, e.Utterance):
        return []
    return [e.Speak(text=f"echo: {event.text}", context=event.context), e.UtteranceHandled(context=event.context)]
