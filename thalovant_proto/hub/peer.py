"""The hub's end of one client, as one pure object: a link, and the connection that the link's credentials earn.

Before a frame of the client has authenticated, nothing that it says is reported, and it is sent the handshake only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen

from .. import events as e
from ..carrier import CloseKind, Credentials
from ..connection import GOING_AWAY, INTERNAL_ERROR, POLICY_VIOLATION, HubConnection
from ..crypto.kdf import DeriveKey
from ..entropy import Entropy
from ..errors import HandshakeTimeout, LocalProtocolError, ProtocolError
from ..handshake.hub import HubSide
from ..limits import DEFAULT_LIMITS, Limits
from ..links.base import FrameReceived, Link, LinkClosed, LinkEvent, LinkOpened
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
    """The last outcome: the link has ended, or is about to. `error` names whose fault it was, if anybody's."""

    kind: CloseKind
    code: int | None = None
    reason: str = ""
    error: ProtocolError | None = None


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
        self._link = link
        self._register = register
        self._entropy = entropy
        self._limits = limits
        self._connection: HubConnection | None = None
        self._opening_until: float | None = now + limits.handshake_time
        self._closed = False
        self._proven = False
        self._completed: e.HandshakeCompleted | None = None  # to be told with the proof
        self._outcomes: list[Outcome | e.Event] = []
        self._take(link.socket_opened(now), now)

    # --- what it is now ---

    @property
    def proven(self) -> bool:
        """Whether the client may be heard and spoken to, now."""
        return self._proven and not self._closed

    @property
    def generation(self) -> e.Generation | None:
        """The wire generation of the session, None before its keys."""
        return None if self._connection is None else self._connection.generation

    @property
    def finished(self) -> bool:
        """Whether the socket is to be closed once `data_to_send` is written."""
        return self._closed and not self._link.wants_socket

    # --- the hub ---

    def send(self, event: e.Message, now: float, *, token: int | None = None) -> None:
        """Send a message. Raises `LocalProtocolError` unless the client is proven, and for what cannot be framed."""
        connection = self._connection
        if connection is None or not self.proven:
            raise LocalProtocolError("the client is not proven, or gone: nothing can be sent to it")
        connection.send(event, now, token=token)
        try:
            self._flush(now)
        except LocalProtocolError:
            if connection.generation is e.Generation.NOISE:  # the number of that frame is gone: nothing fits after it
                self.close(now, code=INTERNAL_ERROR)
            raise
        if connection.used_up >= 1:
            self.close(now, code=GOING_AWAY, reason="the keys of this session are used up")

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> None:
        """Say goodbye to the client."""
        if not self._closed:
            self._shut(e.Closed(kind=CloseKind.CLOSED, code=code, reason=reason), now)

    # --- the driver ---

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        self._take(self._link.receive_data(data, now), now)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket has ended; `reason` says how if it is known."""
        self._take(self._link.eof(now), now, reason=reason)

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        return self._link.data_to_send()

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called."""
        times = [self._opening_until, self._link.next_timeout]
        if self._connection is not None:
            times.append(self._connection.next_timeout)
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        if self._opening_until is not None and now >= self._opening_until:
            self._opening_until = None
            error = HandshakeTimeout(f"the client did not open the link within {self._limits.handshake_time:g} s")
            self._shut(e.Closed(kind=CloseKind.CLOSED, code=POLICY_VIOLATION, error=error), now)
        if self._connection is not None:
            self._hear(self._connection.handle_timeout(now), now)
            self._end_unless(self._answers(now), now)
        self._take(self._link.handle_timeout(now), now)

    def effects(self) -> list[DeriveKey]:
        """Derivations to start off the loop, each once."""
        return [] if self._connection is None else self._connection.effects()

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """The result of a derivation; dropped if nobody waits for it."""
        if self._connection is not None:
            self._hear(self._connection.effect_done(id, key, now), now)
            self._end_unless(self._answers(now), now)

    def outcomes(self) -> list[Outcome | e.Event]:
        """News for the hub, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # --- inside ---

    def _take(self, events: Iterable[LinkEvent], now: float, *, reason: str = "") -> None:
        taken = True
        for event in events:
            match event:
                case FrameReceived(frame=frame):
                    if self._connection is not None:
                        self._hear(self._connection.receive(frame, now), now)
                case LinkOpened() if not self._closed:
                    self._opened(event, now)
                case LinkClosed():
                    self._end(
                        PeerClosed(kind=event.kind, code=event.code, reason=reason or event.reason, error=event.error)
                    )
            # What this one is answered with is said whatever the next one is: a client that a hub has lost learns it
            # from the hello that comes before its frame is refused.
            taken = self._answers(now) and taken
        self._end_unless(taken, now)

    def _opened(self, opened: LinkOpened, now: float) -> None:
        self._opening_until = None
        side = None if opened.credentials is None else self._register(opened.credentials)
        if side is None or opened.credentials is None:
            self._shut(e.Closed(kind=CloseKind.CLOSED, code=POLICY_VIOLATION, reason=UNKNOWN_KEY), now)
            return
        self._outcomes.append(PeerIdentified(credentials=opened.credentials))
        self._connection = HubConnection(side, opened.carrier, entropy=self._entropy, now=now, limits=self._limits)

    def _hear(self, events: Iterable[e.Event], now: float) -> None:
        for event in events:
            match event:
                case e.Closed():
                    self._shut(event, now)
                case e.HandshakeCompleted():
                    self._completed = event
                case e.Proven():
                    self._proven = True
                    self._outcomes += [event] if self._completed is None else [self._completed, event]
                case _ if self._proven:
                    self._outcomes.append(event)

    def _answers(self, now: float) -> bool:
        """Say what the connection owes; whether the link takes it, which one that has ended does not."""
        try:
            self._flush(now)
        except LocalProtocolError:
            return False
        return True

    def _end_unless(self, taken: bool, now: float) -> None:
        """A client that misses something of a handshake would wait for it; where the link has ended, it has said so."""
        if not taken:
            self.close(now, code=INTERNAL_ERROR)

    def _flush(self, now: float) -> None:
        if self._connection is None or self._closed:
            return
        for frame, token in self._connection.frames_to_send():
            self._link.send(frame, now, token=token)

    def _shut(self, closed: e.Closed, now: float) -> None:
        self._end(PeerClosed(kind=closed.kind, code=closed.code, reason=closed.reason, error=closed.error))
        self._link.close(now, code=closed.code or 1000, reason=closed.reason)

    def _end(self, closed: PeerClosed) -> None:
        if self._closed:
            return
        self._closed = True
        self._opening_until = None
        if self._connection is not None:
            self._connection.close()
        self._outcomes.append(closed)
