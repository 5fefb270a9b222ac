"""The hub's end of one client, as one pure object: a link, and the connection that the link's credentials earn.

Before a frame of the client has authenticated, nothing that it says is reported, and it is sent the handshake only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from attrs import frozen

from .. import events as e
from ..carrier import CloseKind, Credentials
from ..connection import GOING_AWAY, INTERNAL_ERROR, POLICY_VIOLATION, HubConnection
from ..crypto.kdf import DeriveKey
from ..entropy import Entropy, checked, forward
from ..errors import LocalProtocolError, ProtocolError
from ..handshake.hub import HubSide
from ..limits import DEFAULT_LIMITS, Limits
from ..linked import LinkedConnection, unknown_effect
from ..links.base import Link, LinkClosed, LinkEvent, LinkOpened
from ..outcomes import Outcome
from ..secret import Secret

#: The close reason for an access key that the hub does not know (wire.md §7.0).
UNKNOWN_KEY: Final = "invalid api key"


@frozen(kw_only=True)
class PeerIdentified(Outcome):
    """The client showed an access key that the hub knows. Proves nothing."""

    credentials: Credentials


@frozen(kw_only=True)
class PeerClosed(Outcome):
    """The last outcome: the link has ended, or is about to. `error` names whose fault it was, if anybody's.

    `cause` is what `register` raised: a bug of the hub's, worth a line in its log.
    """

    kind: CloseKind
    code: int | None = None
    reason: str = ""
    error: ProtocolError | None = None
    cause: Exception | None = None


class HubPeer:
    """One accepted connection of a hub; make it when the socket is up, TLS included.

    `register(credentials)` gives what the hub holds for that client, None for an access key that it does not know; it
    is asked once. Outcomes are `PeerIdentified`; once the client is proven `HandshakeCompleted`, `Proven` and what it
    says; `PeerClosed`.
    """

    def __init__(
        self,
        link: Link,
        register: Callable[[Credentials], HubSide | None],
        *,
        entropy: Entropy,
        now: float,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._linked = LinkedConnection(link, entropy=checked(entropy), limits=limits)
        self._linked.opening_until = now + limits.handshake_time
        self._register = register
        self._closed = False
        self._proven = False
        self._completed: e.HandshakeCompleted | None = None  # to be told with the proof
        self._outcomes: list[Outcome | e.Event] = []
        # The time is not held to the ones that follow: who makes a peer for bytes that came read the clock before.
        self._now = -inf
        self._receive(link.socket_opened(now), now)

    # --- what it is now ---

    @property
    def proven(self) -> bool:
        """Whether the client may be heard and spoken to, now."""
        return self._proven and not self._closed

    @property
    def generation(self) -> e.Generation | None:
        """The wire generation of the session, None before its keys."""
        return self._linked.generation

    @property
    def finished(self) -> bool:
        """Whether the socket is to be closed once `data_to_send` is written."""
        return self._closed and not self._linked.link.wants_socket

    # --- the hub ---

    def send(self, event: e.Message, now: float, *, token: int | None = None) -> None:
        """Send a message. Raises `LocalProtocolError` unless the client is proven, and for what cannot be framed."""
        self._now = forward(self._now, now)
        linked, connection = self._linked, self._linked.connection
        if connection is None or not self._proven or self._closed:
            raise LocalProtocolError("the client is not proven, or gone: nothing can be sent to it")
        try:
            linked.send(connection, event, now, token)
        except LocalProtocolError:
            if linked.broken:
                self.close(now, code=INTERNAL_ERROR)
            raise
        if connection.used_up >= 1:
            self.close(now, code=GOING_AWAY, reason="the keys of this session are used up")

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> None:
        """Say goodbye to the client."""
        self._now = forward(self._now, now)
        if not self._closed:
            self._shut(PeerClosed(kind=CloseKind.CLOSED, code=code, reason=reason), now)

    # --- the driver ---

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        self._now = forward(self._now, now)
        self._receive(self._linked.link.receive_data(data, now), now)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket has ended; `reason` says how if it is known."""
        self._now = forward(self._now, now)
        self._receive(self._linked.link.eof(now), now, reason=reason)

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        return self._linked.link.data_to_send()

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        return self._linked.next_timeout

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        self._now = forward(self._now, now)
        linked = self._linked
        if (error := linked.overdue("client", now)) is not None:
            self._shut(PeerClosed(kind=CloseKind.CLOSED, code=POLICY_VIOLATION, error=error), now)
        if (connection := linked.connection) is not None:
            self._handle(connection.handle_timeout(now), now)
            self._end_unless(self._answer(connection, now), now)
        self._receive(linked.link.handle_timeout(now), now)

    def effects(self) -> list[DeriveKey]:
        """Derivations to start off the loop, each once."""
        connection = self._linked.connection
        return [] if connection is None or not connection.derivations else connection.effects()

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """The result of a derivation; dropped if nobody waits for it any more.

        Raises `LocalProtocolError` for an id that no derivation had.
        """
        self._now = forward(self._now, now)
        connection = self._linked.connection
        if connection is None or not 0 < id <= connection.last_effect:
            raise unknown_effect(id)
        self._handle(connection.effect_done(id, key, now), now)
        self._end_unless(self._answer(connection, now), now)

    def outcomes(self) -> list[Outcome | e.Event]:
        """What the hub should know, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # --- inside ---

    def _receive(self, events: Iterable[LinkEvent], now: float, *, reason: str = "") -> None:
        answered = True
        for event in events:
            if isinstance(event, LinkClosed):
                self._end(
                    PeerClosed(kind=event.kind, code=event.code, reason=reason or event.reason, error=event.error)
                )
            else:
                self._handle(self._linked.received(event, now), now)
            # What this one is answered with is said whatever the next one is: a client that a hub has lost learns it
            # from the hello that comes before its frame is refused.
            if (connection := self._linked.connection) is not None and connection.outgoing:
                answered = self._answer(connection, now) and answered
        self._end_unless(answered, now)

    def _handle(self, events: Iterable[LinkEvent | e.Event], now: float) -> None:
        for event in events:
            match event:
                case e.Message():  # never before the proof
                    self._outcomes.append(event)
                case LinkOpened():
                    if not self._closed:
                        self._opened(event, now)
                case e.Closed():
                    self._shut(
                        PeerClosed(kind=event.kind, code=event.code, reason=event.reason, error=event.error), now
                    )
                case e.HandshakeCompleted():
                    self._completed = event
                case e.Proven():
                    self._proven = True
                    self._outcomes += [event] if self._completed is None else [self._completed, event]

    def _opened(self, opened: LinkOpened, now: float) -> None:
        self._linked.opening_until = None
        try:
            side = None if opened.credentials is None else self._register(opened.credentials)
        except Exception as error:
            self._shut(PeerClosed(kind=CloseKind.CLOSED, code=INTERNAL_ERROR, cause=error), now)
            return
        if side is None or opened.credentials is None:
            self._shut(PeerClosed(kind=CloseKind.CLOSED, code=POLICY_VIOLATION, reason=UNKNOWN_KEY), now)
            return
        self._outcomes.append(PeerIdentified(credentials=opened.credentials))
        self._linked.opened(opened, side, now)

    def _answer(self, connection: HubConnection, now: float) -> bool:
        """Say what the connection owes; whether the link takes it, which one that has ended does not."""
        if not self._closed:
            try:
                self._linked.flush(connection, now)
            except LocalProtocolError:
                return False
        return True

    def _end_unless(self, answered: bool, now: float) -> None:
        """A client that misses something of a handshake would wait for it; where the link has ended, it has said so."""
        if not answered:
            self.close(now, code=INTERNAL_ERROR)

    def _shut(self, closed: PeerClosed, now: float) -> None:
        self._end(closed)
        self._linked.link.close(now, code=closed.code or 1000, reason=closed.reason)

    def _end(self, closed: PeerClosed) -> None:
        if self._closed:
            return
        self._closed = True
        self._linked.opening_until = None
        if self._linked.connection is not None:
            self._linked.connection.close()
        self._outcomes.append(closed)
