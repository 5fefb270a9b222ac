"""The client as one pure object: a link, a connection and a session, joined. What embedders and drivers use.

    step() -> dial / wait / run / stop;  receive_data, eof, handle_timeout in;  data_to_send, effects, outcomes out

A driver obeys `step` and moves bytes; it decides nothing. Call `step` again after everything that went in and after
every write. A call that is not legal now, and a time before the last one, change nothing: `LocalProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from .. import events as e
from ..carrier import CloseKind
from ..connection import HubConnection
from ..crypto.kdf import DeriveKey
from ..dial import DialFailed, DialFault
from ..entropy import BadEntropy, Entropy, checked, forward, soonest
from ..errors import LocalProtocolError
from ..failures import Failure, Progress, from_dial, from_fault
from ..linked import unknown_effect
from ..links.base import Accepted, LinkClosed, LinkEvent, LinkOpened
from ..outcomes import Delivery, Outcome, SessionState
from ..secret import Secret
from ..trust import Trust
from .attempt import CLOSED, RENEWED, Attempt, ClientLink, Ending, PresenceLink, unsendable, unsent_of
from .config import ClientConfig
from .routes import Route, Routes
from .session import HubSession
from .steps import DIAL_TIMEOUT, SEND_TIMEOUT, Dial, Run, Step, Stop, Wait
from .subscriptions import Filter

__all__ = ["DIAL_TIMEOUT", "SEND_TIMEOUT", "ClientLink", "ClientStack", "Dial", "Run", "Step", "Stop", "Wait"]


class ClientStack:
    """One hub session as a client.

    `route` is the way to the hub, `fallbacks` others to try, in this order, where that one does not lead there.
    `entropy(n)` gives n random bytes. `patient()` says whether a first connection that is not there after
    `config.attempts` tries is sought further. Times are monotonic seconds of the caller's clock. `outcomes` has every
    event of the connection with `wire_events`, else those only that nothing else tells of.
    """

    def __init__(
        self,
        config: ClientConfig,
        route: Route,
        *fallbacks: Route,
        trust: Trust,
        entropy: Entropy,
        patient: Callable[[], bool] | None = None,
        wire_events: bool = False,
    ) -> None:
        self._config = config
        self._routes = Routes(route, *fallbacks)
        self._entropy = checked(entropy)
        self._wire_events = wire_events
        self._outcomes: list[Outcome | e.Event] = []
        self._session = HubSession(
            config, self._routes, trust=trust, entropy=self._entropy, report=self._outcomes.append
        )
        if patient is not None:
            self._session.patient = patient
        self._attempt: Attempt | None = None
        self._socket = False  # the driver has one, and was not told to leave it
        self._goodbye = b""
        self._abrupt = False
        self._unsettled = False  # an event came that may let something travel, or end
        self._last_effect = 0
        self._serial = 0
        self._now = -inf

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
        return self._attempt is not None and self._attempt.proven

    @property
    def generation(self) -> e.Generation | None:
        """The wire generation of the connection, None before its keys."""
        return None if self._attempt is None else self._attempt.generation

    @property
    def failure(self) -> Failure | None:
        """The reason for which there is no connection, None if nothing is wrong."""
        return self._session.failure

    @property
    def exhausted(self) -> bool:
        """Whether the tries of the first connection are used up, and it is not there."""
        return self._session.exhausted

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

        While the session closes, this is for afterwards: it ends, then begins again. One that waits `exhausted` has all
        its tries again, from now on.
        """
        self._now = forward(self._now, now)
        self._abrupt = False
        self._session.open(now)
        self._settle(now)

    def close(self, now: float, *, timeout: float = SEND_TIMEOUT) -> None:
        """End the session. What is queued is sent first, for `timeout` seconds at most; 0 says goodbye at once.

        It ends at once, too, where there is no link and none is being made.
        """
        self._now = forward(self._now, now)
        self._abrupt = timeout <= 0
        self._session.close(now, timeout=timeout)
        self._settle(now)

    def send(self, message: e.Message, now: float) -> int:
        """Queue a message for the hub; returns its token, which `Sent` or `SendFailed` will name.

        Raises `LocalProtocolError` if the session is not open or the queue is full. A message that cannot be framed
        is a `SendFailed`.
        """
        self._now = forward(self._now, now)
        token = self._session.send(message, now)
        self._settle(now)
        return token

    def ask(
        self, message: e.Bus, now: float, *, timeout: float = 12.0, pieces: bool = True, query_id: str | None = None
    ) -> int:
        """Send an utterance and collect its answer: `AskPiece`s, then `AskEnded` or `AskFailed` name the returned id.

        Without `pieces` there is only the end, which has all of them. With `query_id` it travels as a query of that id,
        which hubs pass up their chain. Raises `LocalProtocolError` as `send`, and for an id that is in flight already.
        """
        self._now = forward(self._now, now)
        ask = self._session.ask(message, now, timeout=timeout, pieces=pieces, query_id=query_id)
        self._settle(now)
        return ask

    def cancel(self, token: int) -> Delivery | None:
        """Give up an ask or a message: how far it came (`no`: it will not travel), None if it is over or unknown."""
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
        one can be kept for somebody else. A `matches` that raises ends it too: `FilterFailed`. Subscriptions outlive
        links and sessions.
        """
        self._now = forward(self._now, now)
        return self._session.subscribe(name, now, matches=matches, kept=kept, limit=limit)

    def unsubscribe(self, id: int) -> None:
        """End a subscription; unknown ids are fine."""
        self._session.unsubscribe(id)

    # --- the driver ---

    def step(self) -> Step:
        """What to do about sockets now."""
        attempt = self._attempt
        if attempt is not None and attempt.run is not None and not self._goodbye:
            return attempt.run
        self._socket = False
        if self._goodbye:
            return Wait()  # the last bytes of a link that is over: a driver writes them and leaves, full socket or not
        if attempt is None:
            return Stop() if self._session.over else Wait()
        return Dial(attempt.link.target, attempt.serial) if attempt.link.wants_socket else Wait()

    def socket_opened(self, now: float) -> None:
        """The dialed socket is up, TLS included. Raises `LocalProtocolError` where `step` does not say `Dial`."""
        self._now = forward(self._now, now)
        attempt = self._attempt
        if attempt is None or attempt.run is not None or self._goodbye or not attempt.link.wants_socket:
            raise LocalProtocolError("a socket was opened that no dial waits for", code="not_dialed")
        attempt.run = Run(attempt.serial)
        attempt.dial_until = None
        if attempt.opening_until is None and attempt.connection is None:
            attempt.opening_until = now + self._config.limits.handshake_time
        self._socket = True
        self._receive(attempt, attempt.link.socket_opened(now), now)
        self._settle(now)

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        """There will be no socket for this dial. No effect where none is wanted any more."""
        self._now = forward(self._now, now)
        attempt = self._attempt
        if attempt is not None and attempt.run is None:
            self._dial_failed(attempt, failed, now)
        self._settle(now)

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket. Raises `LocalProtocolError` without one: none was opened, or `step` said to leave it.

        What comes before `step` says so, after the end of a link, is ignored.
        """
        self._now = forward(self._now, now)
        if not self._socket:
            raise LocalProtocolError("bytes came where no socket is open", code="no_socket")
        if (attempt := self._attempt) is not None and attempt.run is not None:
            self._receive(attempt, attempt.link.receive_data(data, now), now)
            self._settle(now)

    def eof(self, now: float, reason: str = "") -> None:
        """The socket has ended, cleanly or not; `reason` says how if it is known. No effect where there is none."""
        self._now = forward(self._now, now)
        self._goodbye = b""
        self._socket = False
        if (attempt := self._attempt) is not None and attempt.run is not None:
            self._unplug(attempt, now, reason)
        self._settle(now)

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now; the one way out. What it gave counts as sent."""
        data = b""
        while True:
            if self._goodbye:
                goodbye, self._goodbye = self._goodbye, b""
                return data + goodbye
            attempt = self._attempt
            if attempt is None or attempt.run is None:
                return data
            if self._session.queue.waiting and attempt.connection is not None and not attempt.farewell:
                self._flush(attempt, attempt.connection, self._now, queued=True)
                if self._attempt is not attempt:
                    continue
            if not (more := attempt.link.data_to_send()):
                return data
            data = data + more if data else more
            written, attempt.handed = attempt.handed, []
            for token in written:
                self._session.written(token, self._now, final=not attempt.receipts)
            if not written or (self._session.steady and not self._session.queue.waiting):
                return data
            self._settle(self._now)  # the link has room again, or has nothing left to wait for

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called, None for never."""
        attempt, due = self._attempt, self._session.next_timeout
        return due if attempt is None else soonest(due, attempt.dial_until, attempt.next_timeout)

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early; afterwards `next_timeout` is None or later than `now`."""
        self._now = forward(self._now, now)
        if (attempt := self._attempt) is not None:
            self._attempt_timeout(attempt, now)
        self._session.handle_timeout(now)
        self._settle(now)

    def effects(self) -> list[DeriveKey]:
        """Derivations to start off the loop, each once; `kdf.derive` computes them."""
        connection = None if self._attempt is None else self._attempt.connection
        return [] if connection is None or not connection.derivations else connection.effects()

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """The result of a derivation; results for a connection that is gone are dropped.

        Raises `LocalProtocolError` for an id that no derivation had.
        """
        self._now = forward(self._now, now)
        attempt = self._attempt
        if not 0 < id <= (self._last_effect if attempt is None else attempt.last_effect):
            raise unknown_effect(id)
        if attempt is not None and attempt.connection is not None:
            self._handle(attempt, attempt.connection.effect_done(id, key, now), now)
        self._settle(now)

    def outcomes(self) -> list[Outcome | e.Event]:
        """What the application should know, in order: `outcomes.py`, and events of the connection.

        Without `wire_events` those are `HandshakeCompleted`, `Proven`, and messages that are not of the bus.
        """
        outcomes = self._outcomes.copy()
        self._outcomes.clear()
        return outcomes

    # --- inside: what comes ---

    def _receive(self, attempt: Attempt, events: Iterable[LinkEvent], now: float, *, reason: str = "") -> None:
        for event in events:
            if isinstance(event, LinkClosed):
                self._link_closed(attempt, event, now, reason)
            else:
                self._handle(attempt, attempt.received(event, now), now)
            if self._attempt is not attempt:
                return  # the connection ended the attempt: what else the link had to say is void
            if self._unsettled:
                self._settle(now)  # before the next one, as if that came later

    def _handle(self, attempt: Attempt, events: Iterable[LinkEvent | e.Event], now: float) -> None:
        """Take what a link or its connection reports. Messages of the bus let nothing travel that could not before."""
        session = self._session
        for event in events:
            if self._wire_events and isinstance(event, e.Event):
                self._outcomes.append(event)
            if isinstance(event, e.Bus):
                session.heard(event, now)
                self._unsettled |= not session.steady
            else:
                self._unsettled = True
                self._handle_fact(attempt, event, now)

    def _handle_fact(self, attempt: Attempt, event: LinkEvent | e.Event, now: float) -> None:
        session = self._session
        match event:
            case LinkOpened():
                attempt.receipts = event.carrier.receipts
                attempt.opened(event, session.side(), now)
                session.link_opened()
            case Accepted(token=token):
                session.receipted(token)
            case e.Closed():
                self._leave(attempt, attempt.verdict_on_connection(event, now), now, event)
            case e.HubHello():
                attempt.greeted = True
            case e.HandshakeCompleted() | e.Proven() | e.Skipped() | e.Message():
                if not self._wire_events:
                    self._outcomes.append(event)
                if isinstance(event, e.HandshakeCompleted):
                    attempt.completed, attempt.sealed_at = event, now
                    session.handshake_completed(event, now)
                elif isinstance(event, e.Proven):
                    link = attempt.link
                    if isinstance(link, PresenceLink) and not attempt.farewell:
                        link.announce(now)
                        session.learn(lambda trust: trust.with_mqtt_layout(link.layout))
                    session.proved(now)
                elif isinstance(event, e.Query | e.Cascade):
                    session.heard_frame(event, now)

    def _attempt_timeout(self, attempt: Attempt, now: float) -> None:
        if attempt.dial_until is not None and now >= attempt.dial_until:
            message = f"the dial was not answered within {DIAL_TIMEOUT:g} s"
            self._dial_failed(attempt, DialFailed(phase="connect", fault=DialFault.TIMEOUT, message=message), now)
            return
        if (error := attempt.overdue("hub", now)) is not None:
            self._leave(attempt, from_fault(error), now)
            return
        self._receive(attempt, attempt.link.handle_timeout(now), now)
        if self._attempt is attempt and attempt.connection is not None:
            self._handle(attempt, attempt.connection.handle_timeout(now), now)

    # --- inside: rest ---

    def _settle(self, now: float) -> None:
        """Move what is queued, end what is over, begin what is due. The last thing that every call does."""
        self._unsettled = False
        session, attempt = self._session, self._attempt
        if attempt is not None:
            connection = attempt.connection
            # What is queued stays there until the socket takes it, so that it can be taken back; it makes a link dial.
            queued = attempt.run is None and bool(session.queue.waiting)
            if connection is not None and (connection.outgoing or queued) and not attempt.farewell:
                self._flush(attempt, connection, now, queued=queued)
            if self._attempt is attempt and not session.steady:
                self._leave_if_over(attempt, now)
            if self._attempt is attempt and attempt.run is not None and not attempt.link.wants_socket:
                self._unplug(attempt, now)  # the link is done with this socket; it may want another
        elif session.leaves():
            session.attempt_ended(Ending(failure=CLOSED), Progress(), now)
        if self._attempt is None and session.dials(now):
            self._begin()
        if (attempt := self._attempt) is not None:
            if attempt.run is None:
                attempt.await_dial(now + DIAL_TIMEOUT)
            if (eager := session.eager(now)) is not attempt.eager:
                attempt.eager = eager
                attempt.link.pace(eager, now)

    def _begin(self) -> None:
        link, limits = self._routes.present.make_link(self._session.trust), self._config.limits
        self._serial += 1
        self._attempt = Attempt(link, self._serial, entropy=self._entropy, limits=limits, last_effect=self._last_effect)
        self._session.attempt_started()

    def _flush(self, attempt: Attempt, connection: HubConnection, now: float, *, queued: bool) -> None:
        """Hand to the link what the connection owes the hub, then what is `queued`, as much as it may have."""
        session = self._session
        try:
            attempt.flush(connection, now)
            while queued and session.queue.waiting and not attempt.link.full:
                if (one := session.take(connection.used_up, now)) is None:
                    break
                try:
                    attempt.send(connection, one.message, now, one.token)
                except LocalProtocolError as error:
                    session.rejected(one.token, unsendable(error))
                    if attempt.broken or isinstance(error, BadEntropy):
                        raise
                else:
                    attempt.handed.append(one.token)
        except BadEntropy:
            raise
        except LocalProtocolError as error:
            self._leave(attempt, unsendable(error), now)

    def _leave_if_over(self, attempt: Attempt, now: float) -> None:
        connection = attempt.connection
        if self._session.leaves():
            if self._abrupt:
                self._leave(attempt, CLOSED, now)
            elif not attempt.farewell:
                attempt.farewell = True
                self._receive(attempt, attempt.link.close(now), now)
        elif connection is not None and self._session.wants_renewal(connection.used_up):
            self._leave(attempt, RENEWED, now)

    # --- inside: ends ---

    def _dial_failed(self, attempt: Attempt, failed: DialFailed, now: float) -> None:
        self._end(attempt, Ending(failure=from_dial(failed), unsent=unsent_of(attempt.link.eof(now))), now)

    def _unplug(self, attempt: Attempt, now: float, reason: str = "") -> None:
        attempt.run = None
        self._serial += 1
        attempt.serial = self._serial  # a link that outlives sockets dials anew
        self._receive(attempt, attempt.link.eof(now), now, reason=reason)

    def _link_closed(self, attempt: Attempt, closed: LinkClosed, now: float, reason: str) -> None:
        failure = attempt.verdict_on_link(closed, reason, now)
        if attempt.run is not None:
            self._say_goodbye(attempt, attempt.link.data_to_send(), now)
        ending = Ending(failure=failure, unsent=closed.unsent, by_peer=closed.kind, pause=closed.retry_after)
        self._end(attempt, ending, now)

    def _leave(self, attempt: Attempt, failure: Failure, now: float, closed: e.Closed | None = None) -> None:
        """End an attempt from our side, with whatever goodbye fits into one write."""
        code, reason = (1000, "") if closed is None else (closed.code or 1000, closed.reason)
        goodbye, unsent = attempt.abandon(now, code=code, reason=reason)
        if attempt.run is not None:
            self._say_goodbye(attempt, goodbye, now)
        by_peer = CloseKind.FORGOTTEN if closed is not None and closed.kind is CloseKind.FORGOTTEN else None
        self._end(attempt, Ending(failure=failure, unsent=unsent, by_peer=by_peer), now)

    def _say_goodbye(self, attempt: Attempt, goodbye: bytes, now: float) -> None:
        """The last bytes of a link. What it had in its buffer is among them, unless it says otherwise (`unsent`)."""
        self._goodbye = goodbye
        for token in attempt.handed:
            self._session.written(token, now, final=False)

    def _end(self, attempt: Attempt, ending: Ending, now: float) -> None:
        progress = attempt.progress(now)
        if attempt.connection is not None:
            attempt.connection.close()
        self._last_effect = attempt.last_effect
        self._attempt = None
        self._session.attempt_ended(ending, progress, now)
