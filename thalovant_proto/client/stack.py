"""The client as one pure object: a link, a connection and a session, joined. What embedders and drivers use.

    step() -> dial / wait / run / stop;  receive_data, eof, handle_timeout in;  data_to_send, effects, outcomes out

A driver obeys `step` and moves bytes; it decides nothing. Call `step` again after everything that went in and after
every write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

from .. import events as e
from ..carrier import CloseKind, Target
from ..connection import HubConnection
from ..crypto.kdf import DeriveKey
from ..dial import DialFailed
from ..entropy import Entropy
from ..errors import HandshakeTimeout, LocalProtocolError
from ..failures import Failure, FailureKind, Progress, from_close, from_dial, from_fault
from ..handshake.client import ClientSide
from ..links.base import Accepted, FrameReceived, LinkClosed, LinkEvent, LinkOpened
from ..outcomes import Delivery, Outcome, SessionState
from ..secret import Secret
from ..trust import Trust
from .attempt import Attempt, ClientLink, PresenceLink, unsent_of
from .routes import Route, Routes
from .session import ClientConfig, HubSession, soonest
from .subscriptions import Filter

__all__ = ["SEND_TIMEOUT", "ClientLink", "ClientStack", "Dial", "Run", "Step", "Stop", "Wait"]

#: Seconds that queued messages may take to leave when a client closes.
SEND_TIMEOUT: Final = 8.0


@frozen
class Dial:
    """Open a socket to `target`, then report `socket_opened` or `dial_failed`. One dial for each `serial`."""

    target: Target
    serial: int


@frozen
class Run:
    """Keep the socket of this dial: read, write, wait for the timer."""

    serial: int


@frozen
class Wait:
    """Write what `data_to_send` returns, close the socket if there is one, then wait: for `next_timeout` or a call."""


@frozen
class Stop:
    """The session is over: write what is left, close, end. `open` begins again."""


Step = Dial | Run | Wait | Stop


class ClientStack:
    """One hub session as a client.

    `route` is the way to the hub, `fallbacks` others to try, in this order, where that one does not lead there.
    `entropy(n)` gives n random bytes. Times are monotonic seconds of the caller's clock.
    """

    def __init__(self, config: ClientConfig, route: Route, *fallbacks: Route, trust: Trust, entropy: Entropy) -> None:
        self._config = config
        self._routes = Routes(route, *fallbacks)
        self._entropy = entropy
        self._outcomes: list[Outcome | e.Event] = []
        self._session = HubSession(config, self._routes, trust=trust, entropy=entropy, tell=self._outcomes.append)
        self._attempt: Attempt | None = None
        self._goodbye = b""
        self._abrupt = False
        self._effects: dict[int, int] = {}  # our id of a derivation → the connection's
        self._last_effect = 0
        self._serial = 0
        self._now = 0.0

    # --- what it is now ---

    @property
    def state(self) -> SessionState:
        """For users."""
        return self._session.state

    @property
    def route(self) -> int:
        """The number of the way that is taken, 0 for the first; the next attempt's where there is none now."""
        return self._routes.at

    @property
    def ready(self) -> bool:
        """Whether messages can travel now."""
        return self._session.ready

    @property
    def proven(self) -> bool:
        """Whether the hub's acceptance of this connection is certain."""
        connection = None if self._attempt is None else self._attempt.connection
        return connection is not None and connection.proven

    @property
    def generation(self) -> e.Generation | None:
        """The wire generation of the connection, None before its keys."""
        connection = None if self._attempt is None else self._attempt.connection
        return None if connection is None else connection.generation

    @property
    def failure(self) -> Failure | None:
        """The reason for which there is no connection, None if nothing is wrong."""
        return self._session.failure

    @property
    def trust(self) -> Trust:
        """The trust as it is now."""
        return self._session.trust

    @property
    def dropped(self) -> int:
        """Kept events that were dropped for newer ones."""
        return self._session.dropped

    # --- the application ---

    def open(self, now: float) -> None:
        """Have a connection from now on; again after `Stop`. No effect while there is one or one is being made.

        While the session closes, this is for afterwards: it ends, then begins again.
        """
        self._abrupt = False
        self._session.open(now)
        self._turn(now)

    def close(self, now: float, *, timeout: float = SEND_TIMEOUT) -> None:
        """End the session. What is queued is sent first, for `timeout` seconds at most; 0 says goodbye at once.

        It ends at once, too, where there is no link and none is being made.
        """
        self._abrupt = timeout <= 0
        self._session.close(now, timeout=timeout)
        self._turn(now)

    def send(self, message: e.Message, now: float) -> int:
        """Queue a message for the hub; returns its token, which `Sent` or `SendFailed` will name.

        Raises `LocalProtocolError` if the session is not open or the queue is full. A message that cannot be framed
        is a `SendFailed`.
        """
        token = self._session.send(message, now)
        self._turn(now)
        return token

    def ask(self, message: e.Bus, now: float, *, timeout: float = 12.0) -> int:
        """Send an utterance and collect its answer: `AskPiece`s, then `AskEnded` or `AskFailed` name the returned id.

        Raises `LocalProtocolError` as `send`, and for a request id that is in flight already.
        """
        ask = self._session.ask(message, now, timeout=timeout)
        self._turn(now)
        return ask

    def cancel(self, token: int) -> Delivery | None:
        """Give up an ask or a message without an outcome; how far it came, None if it is over or unknown.

        `no` is certain: it will not travel.
        """
        return self._session.cancel(token)

    def subscribe(
        self,
        name: str | None,
        now: float,
        *,
        matches: Filter | None = None,
        kept: bool = False,
        limit: int | None = None,
    ) -> int:
        """Have bus events of a type (None: all) as `Delivered`; returns the id that they name.

        `kept`: those that were kept come first. It ends by itself after `limit` events (at least 1), so that the next
        one can be kept for somebody else. `matches` must not raise. Subscriptions outlive links and sessions.
        """
        return self._session.subscribe(name, now, matches=matches, kept=kept, limit=limit)

    def unsubscribe(self, id: int) -> None:
        """End a subscription; unknown ids are fine."""
        self._session.unsubscribe(id)

    # --- the driver ---

    def step(self) -> Step:
        """The order for the driver: what to do about sockets now."""
        attempt = self._attempt
        if self._goodbye:
            return Wait()  # the last bytes of a link that is over: a driver writes them and leaves, full socket or not
        if attempt is None:
            return Stop() if self._session.over else Wait()
        if attempt.connected:
            return Run(attempt.serial)
        if attempt.link.wants_socket:
            return Dial(attempt.link.target, attempt.serial)
        return Wait()

    def socket_opened(self, now: float) -> None:
        """The dialed socket is up, TLS included."""
        attempt = self._attempt
        if attempt is None or attempt.connected:
            return
        attempt.connected = True
        if attempt.opening_until is None and attempt.connection is None:
            attempt.opening_until = now + self._config.limits.handshake_time
        self._link_events(attempt, attempt.link.socket_opened(now), now)
        self._turn(now)

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        """There will be no socket for this dial."""
        attempt = self._attempt
        if attempt is not None and not attempt.connected:
            self._end(attempt, from_dial(failed), now, unsent=unsent_of(attempt.link.eof(now)))
        self._turn(now)

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        attempt = self._attempt
        if attempt is not None and attempt.connected:
            self._link_events(attempt, attempt.link.receive_data(data, now), now)
        self._turn(now)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket has ended, cleanly or not; `reason` says how if it is known."""
        attempt = self._attempt
        self._goodbye = b""
        if attempt is not None and attempt.connected:
            self._unplugged(attempt, now, reason)
        self._turn(now)

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now; the one way out. What it gave counts as sent."""
        parts = []
        while data := self._drain():
            parts.append(data)
        return b"".join(parts)

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called, None for never."""
        if (attempt := self._attempt) is None:
            return self._session.next_timeout
        connection = attempt.connection
        return soonest(
            self._session.next_timeout,
            attempt.opening_until,
            attempt.link.next_timeout,
            None if connection is None else connection.next_timeout,
        )

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early; afterwards `next_timeout` is None or later than `now`."""
        attempt = self._attempt
        if attempt is not None:
            if attempt.opening_until is not None and now >= attempt.opening_until:
                attempt.opening_until = None
                waited = self._config.limits.handshake_time
                error = HandshakeTimeout(f"the hub did not open the session within {waited:g} s")
                self._leave(attempt, from_fault(error), now, code=1000)
            else:
                self._link_events(attempt, attempt.link.handle_timeout(now), now)
        if (attempt := self._attempt) is not None and (connection := attempt.connection) is not None:
            self._events(attempt, connection.handle_timeout(now), now)
        self._session.handle_timeout(now)
        self._turn(now)

    def effects(self) -> list[DeriveKey]:
        """Derivations to start off the loop, each once; `kdf.derive` computes them."""
        connection = None if self._attempt is None else self._attempt.connection
        found = []
        for effect in () if connection is None else connection.effects():
            self._last_effect += 1
            self._effects[self._last_effect] = effect.id
            found.append(evolve(effect, id=self._last_effect))
        return found

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """The result of a derivation; results for a connection that is gone are dropped."""
        inner, attempt = self._effects.pop(id, None), self._attempt
        if inner is not None and attempt is not None and attempt.connection is not None:
            self._events(attempt, attempt.connection.effect_done(inner, key, now), now)
        self._turn(now)

    def outcomes(self) -> list[Outcome | e.Event]:
        """News for the application, in order: wire events, and the classes of `outcomes.py`."""
        outcomes = self._outcomes.copy()
        self._outcomes.clear()
        return outcomes

    # --- inside ---

    def _turn(self, now: float) -> None:
        """After every input: move what is queued, end what is over, begin what is due."""
        self._now = now
        session = self._session
        if (attempt := self._attempt) is not None:
            self._flush(attempt, now)
            if self._attempt is attempt:
                self._leave_if_over(attempt, now)
            if self._attempt is attempt and attempt.connected and not attempt.link.wants_socket:
                self._unplugged(attempt, now)  # the link is done with this socket; it may want another
        elif session.leaves():
            session.attempt_ended(_CLOSED, Progress(), now)
        if self._attempt is None and session.dials(now):
            self._serial += 1
            self._attempt = Attempt(self._routes.present.make_link(session.trust), self._serial)
            session.attempt_started()
        if self._attempt is not None:
            self._attempt.link.pace(session.eager(now), now)

    def _drain(self) -> bytes:
        if self._goodbye:
            data, self._goodbye = self._goodbye, b""
            return data
        attempt = self._attempt
        if attempt is None or not attempt.connected:
            return b""
        data = attempt.link.data_to_send()
        if data and attempt.handed:
            handed, attempt.handed = attempt.handed, []
            for token in handed:
                self._session.left(token, self._now, final=not attempt.receipts)
            self._turn(self._now)  # the link has room again, or has nothing left to wait for
        return data

    def _flush(self, attempt: Attempt, now: float) -> None:
        """Hand everything to the link that it may have: what the connection owes the hub, then what is queued."""
        connection, session = attempt.connection, self._session
        if connection is None or attempt.farewell or not self._hand_over(attempt, connection, now):
            return
        while not attempt.link.full and (one := session.take(connection.used_up)) is not None:
            try:
                connection.send(one.message, now, token=one.token)
            except LocalProtocolError as error:
                session.rejected(one.token, _unsendable(error))
            else:
                if not self._hand_over(attempt, connection, now):
                    return

    def _hand_over(self, attempt: Attempt, connection: HubConnection, now: float) -> bool:
        """Frames for the link; whether it goes on. One that is not taken ends a Noise session: its number is gone."""
        frames = connection.frames_to_send()
        for frame, token in frames:
            try:
                attempt.link.send(frame, now, token=token)
            except LocalProtocolError as error:
                failure, token = _unsendable(error), frames[-1][1]
                if token is not None:
                    self._session.rejected(token, failure)
                if token is None or connection.generation is e.Generation.NOISE:
                    self._leave(attempt, failure, now, code=1000)
                    return False
            else:
                if token is not None:
                    attempt.handed.append(token)
        return True

    def _leave_if_over(self, attempt: Attempt, now: float) -> None:
        connection = attempt.connection
        if self._session.leaves():
            if self._abrupt:
                self._leave(attempt, _CLOSED, now, code=1000)
            elif not attempt.farewell:
                attempt.farewell = True
                self._link_events(attempt, attempt.link.close(now), now)
        elif connection is not None and self._session.wants_renewal(connection.used_up):
            self._leave(attempt, _RENEWED, now, code=1000)

    def _unplugged(self, attempt: Attempt, now: float, reason: str = "") -> None:
        attempt.connected = False
        self._serial += 1
        attempt.serial = self._serial  # a link that outlives sockets dials anew
        self._link_events(attempt, attempt.link.eof(now), now, reason=reason)

    def _link_events(self, attempt: Attempt, events: Iterable[LinkEvent], now: float, *, reason: str = "") -> None:
        for event in events:
            if self._attempt is not attempt:
                return  # the connection ended the attempt: what else the link had to say is void
            match event:
                case FrameReceived(frame=frame):
                    if attempt.connection is not None:
                        self._events(attempt, attempt.connection.receive(frame, now), now)
                case LinkOpened(carrier=carrier):
                    attempt.opening_until = None
                    attempt.receipts = carrier.receipts
                    attempt.connection = HubConnection(
                        self._side(), carrier, entropy=self._entropy, now=now, limits=self._config.limits
                    )
                    self._session.link_opened()
                case Accepted(token=token):
                    self._session.receipted(token)
                case LinkClosed():
                    self._link_closed(attempt, event, now, reason)
            self._turn(now)  # before the next one, as if that came later

    def _link_closed(self, attempt: Attempt, closed: LinkClosed, now: float, reason: str) -> None:
        if attempt.farewell:
            failure = _CLOSED
        elif closed.error is not None:
            failure = from_fault(closed.error, closed.code)
        else:
            failure = from_close(closed.kind, closed.code, reason or closed.reason, attempt.progress(now))
        if attempt.connected:
            self._take_leave(attempt, attempt.link.data_to_send(), now)
        self._end(attempt, failure, now, unsent=closed.unsent, by_peer=closed.kind, pause=closed.retry_after)

    def _events(self, attempt: Attempt, events: Iterable[e.Event], now: float) -> None:
        for event in events:
            self._outcomes.append(event)
            match event:
                case e.Closed():
                    self._connection_closed(attempt, event, now)
                    return
                case e.HubHello():
                    attempt.greeted = True
                case e.HandshakeCompleted():
                    attempt.completed = event
                    attempt.sealed_at = now
                case e.Proven():
                    self._show_presence(attempt, now)
            self._session.heard(event, now)

    def _show_presence(self, attempt: Attempt, now: float) -> None:
        link = attempt.link
        if isinstance(link, PresenceLink) and not attempt.farewell:
            link.announce(now)
            self._session.learn(lambda trust: trust.with_mqtt_layout(link.layout))

    def _connection_closed(self, attempt: Attempt, closed: e.Closed, now: float) -> None:
        by_peer = None
        if closed.error is not None:
            failure = from_fault(closed.error)
        elif closed.kind in (CloseKind.FORGOTTEN, CloseKind.LOST):
            by_peer = CloseKind.FORGOTTEN if closed.kind is CloseKind.FORGOTTEN else None
            failure = from_close(closed.kind, None, closed.reason, attempt.progress(now))
        else:
            failure = _RENEWED
        self._leave(attempt, failure, now, code=closed.code or 1000, reason=closed.reason, by_peer=by_peer)

    def _leave(
        self,
        attempt: Attempt,
        failure: Failure,
        now: float,
        *,
        code: int,
        reason: str = "",
        by_peer: CloseKind | None = None,
    ) -> None:
        """End an attempt from our side, with whatever goodbye fits into one write."""
        goodbye, unsent = attempt.abandon(now, code=code, reason=reason)
        if attempt.connected:
            self._take_leave(attempt, goodbye, now)
        self._end(attempt, failure, now, unsent=unsent, by_peer=by_peer)

    def _take_leave(self, attempt: Attempt, goodbye: bytes, now: float) -> None:
        """The last bytes of a link. What it had in its buffer is among them, unless it says otherwise (`unsent`)."""
        self._goodbye = goodbye
        for token in attempt.handed:
            self._session.left(token, now, final=False)

    def _end(
        self,
        attempt: Attempt,
        failure: Failure,
        now: float,
        *,
        unsent: tuple[int, ...] = (),
        by_peer: CloseKind | None = None,
        pause: float | None = None,
    ) -> None:
        progress = attempt.progress(now)
        if attempt.connection is not None:
            attempt.connection.close()
        self._attempt = None
        self._effects.clear()
        self._session.attempt_ended(failure, progress, now, unsent=unsent, by_peer=by_peer, pause=pause)

    def _side(self) -> ClientSide:
        config, session = self._config, self._session
        return ClientSide(
            access_key=config.access_key,
            password=config.password,
            crypto_key=config.crypto_key,
            trust=session.trust,
            pin_id=self._routes.present.pin_id,
            session={"session_id": config.session_id, "site_id": config.site_id},
            site_id=config.site_id,
            binarize=config.binarize,
            allow_legacy=config.allow_legacy,
            allow_kk=session.allow_kk,
        )


def _unsendable(error: LocalProtocolError) -> Failure:
    return Failure(kind=FailureKind.PROTOCOL, message=str(error), cause=error)


_CLOSED: Final = Failure(kind=FailureKind.CLOSED, message="the session was closed")
_RENEWED: Final = Failure(kind=FailureKind.RENEWED, message="the keys of the session were used up")
