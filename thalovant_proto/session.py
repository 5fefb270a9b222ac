"""What outlives links: when to dial, what is queued, whose answer it is, what users are told.

`HubSession` decides; it moves no bytes. `stack.py` joins it to a link and a connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, evolve, frozen

from . import events as e
from .asks import Ask, Asks
from .channel import Entropy
from .errors import LocalProtocolError
from .failures import Failure, FailureKind, Progress, unread, wrong_crypto_key
from .inbox import Filter, Inbox
from .limits import DEFAULT_LIMITS, Limits
from .links.base import CloseKind
from .outcomes import Connected, Delivery, Outcome, SendFailed, Sent, SessionState, StateChanged, TrustChanged
from .redial import Redial
from .secret import Secret
from .trust import Trust

#: A polling link hurries this long after the last thing that was sent or heard.
EAGER_FOR: Final = 10.0
#: On a legacy hub a close waits this long for answers that are due (a hub of that generation loses its bus else).
LINGER: Final = 2.0
#: Keys that are spent this far are renewed as soon as nobody waits for an answer.
RENEW_AT: Final = 0.75


@frozen(kw_only=True)
class ClientConfig:
    """Who a client is and how it behaves. Times in seconds.

    `pin_id` names the hub in the trust. `session_id` and `site_id` go into the hello and into every message that has
    none. `settle`: how long an ask waits for more where the hub may have more. `attempts`: tries after the first
    failed one, before a session was ever up. `idempotent`: an ask whose link died is sent again under the same request
    id instead of failing. `queue`: messages that wait for a connection, at most.
    """

    access_key: Secret[str]
    password: Secret[str] | None = None
    crypto_key: Secret[str] | None = None
    pin_id: str
    session_id: str
    site_id: str = ""
    user_agent: str = "thalovant"
    binarize: bool = False
    allow_legacy: bool = False
    settle: float = 0.25
    attempts: int = 1
    auto_reconnect: bool = True
    idempotent: bool = False
    queue: int = 256
    limits: Limits = DEFAULT_LIMITS


@define(kw_only=True, eq=False)
class _Outgoing:
    token: int
    message: e.Message
    delivery: Delivery = "no"


class HubSession:
    """One client's session with one hub, across links."""

    def __init__(self, config: ClientConfig, *, trust: Trust, entropy: Entropy) -> None:
        self.config = config
        self.trust = trust
        self.allow_kk = True
        self._entropy = entropy
        self._state = SessionState.IDLE
        self._failure: Failure | None = None
        self._redial = Redial(entropy)
        self._dial_at: float | None = None
        self._attempts_left = 0
        self._ever_up = False
        self._unread = 0
        self._unproven_until: float | None = None
        self._completed: e.HandshakeCompleted | None = None
        self._queue: deque[_Outgoing] = deque()
        self._flying: dict[int, _Outgoing] = {}
        self._unanswered: set[str] = set()
        self._last_token = 0
        self._active_until = 0.0
        self._flush_until: float | None = None
        self._linger_until: float | None = None
        self._asks = Asks(settle=config.settle)
        self._inbox = Inbox()
        self._outcomes: list[Outcome] = []

    # --- what it is now ---

    @property
    def state(self) -> SessionState:
        """For users."""
        return self._state

    @property
    def failure(self) -> Failure | None:
        """Why the session waits or has ended, None if nothing is wrong."""
        return self._failure

    @property
    def ready(self) -> bool:
        """Whether messages can travel."""
        return self._completed is not None

    @property
    def dropped(self) -> int:
        """Kept events that were dropped for newer ones."""
        return self._inbox.dropped

    @property
    def over(self) -> bool:
        """Whether the session wants no link, now and later."""
        return self._state in _OVER

    def dials(self, now: float) -> bool:
        """Whether the next attempt is due."""
        return self._dial_at is not None and now >= self._dial_at

    def eager(self, now: float) -> bool:
        """Whether somebody waits for an answer, so that a polling link should hurry."""
        return not self.ready or len(self._asks) > 0 or now < self._active_until

    # --- what the application wants ---

    def open(self, now: float) -> None:
        """Have a connection from now on. No effect if that is already so."""
        if self._state not in _OVER:
            return
        self._redial = Redial(self._entropy)
        self._attempts_left = self.config.attempts
        self._ever_up = False
        self._unread = 0
        self._dial_at = now
        self._enter(SessionState.CONNECTING)

    def send(self, message: e.Message, now: float) -> int:
        """Queue a message; returns its token. Raises `LocalProtocolError` if closed or the queue is full."""
        if self._state in _OVER or self._state is SessionState.CLOSING:
            raise LocalProtocolError(f"nothing can be sent while the session is {self._state.value}: open it first")
        if len(self._queue) >= self.config.queue:
            raise LocalProtocolError(f"{self.config.queue} messages already wait for a connection")
        if isinstance(message, e.Bus):
            message = self._routed(message)
        self._last_token += 1
        self._queue.append(_Outgoing(token=self._last_token, message=message))
        self._inbox.expect(now)
        return self._last_token

    def ask(self, message: e.Bus, now: float, *, timeout: float) -> int:
        """Queue an utterance and collect what answers it; returns the ask's id.

        A message without a request id gets one. Raises `LocalProtocolError` as `send` does, and for a request id that
        is in flight already.
        """
        if message.request_id is None:
            request_id = f"thalovant-request-{self._entropy(16).hex()}"
            message = evolve(message, context={**message.context, "request_id": request_id})
        request_id = str(message.request_id)
        if self._asks.known(request_id):
            raise LocalProtocolError("an ask with this request id is in flight")
        token = self.send(message, now)
        routed = self._queue[-1].message
        assert isinstance(routed, e.Bus)  # noqa: S101 - just queued
        self._asks.start(Ask(id=token, message=routed, request_id=request_id, deadline=now + timeout))
        return token

    def cancel(self, token: int) -> Delivery | None:
        """Give up an ask or a queued message, without an outcome; how far it came, None if unknown."""
        ask = self._asks.cancel(token)
        for waiting in self._queue:
            if waiting.token == token:
                self._queue.remove(waiting)
                return "no"
        flying = self._flying.get(token)
        if ask is not None:
            return ask.delivery
        return None if flying is None else flying.delivery

    def subscribe(self, name: str | None, now: float, *, matches: Filter | None = None, kept: bool = False) -> int:
        """Have bus events of a type (None: all) delivered; returns the subscription's id."""
        self._last_token += 1
        self._inbox.subscribe(self._last_token, name, now, matches=matches, kept=kept)
        return self._last_token

    def unsubscribe(self, id: int) -> None:
        """End a subscription."""
        self._inbox.unsubscribe(id)

    def close(self, now: float, *, timeout: float) -> None:
        """End the session: what is queued is sent first, for `timeout` at most; 0 ends at once."""
        if self._state in _OVER or self._state is SessionState.CLOSING:
            return
        if timeout > 0 and self.ready:
            self._flush_until = now + timeout
            if self._legacy:
                self._linger_until = now + min(timeout, LINGER)
        self._dial_at = None
        self._enter(SessionState.CLOSING)

    def leaves(self) -> bool:
        """Whether a closing session is done with its link: all is sent and answered that must be, or time is up."""
        if self._state is not SessionState.CLOSING:
            return False
        if not self.ready:
            return True
        flushed = not self._queue and all(one.delivery != "no" for one in self._flying.values())
        return (flushed or self._flush_until is None) and (not self._unanswered or self._linger_until is None)

    # --- what happens to links ---

    def attempt_started(self) -> None:
        """The stack has a link and wants a socket for it."""
        self._dial_at = None
        self._enter(SessionState.CONNECTING)

    def link_opened(self) -> None:
        """Frames can travel; the handshake begins."""
        if self._state is not SessionState.CLOSING:
            self._enter(SessionState.HANDSHAKE)

    def take(self) -> list[tuple[int, e.Message]]:
        """The queued messages, if they can travel, for the connection."""
        if not self.ready or not self._queue:
            return []
        taken = [(waiting.token, waiting.message) for waiting in self._queue]
        self._flying.update((waiting.token, waiting) for waiting in self._queue)
        self._queue.clear()
        return taken

    def rejected(self, token: int, failure: Failure) -> None:
        """A message could not be sealed."""
        self._flying.pop(token, None)
        self._asks.lose([token], failure)
        self._outcomes.append(SendFailed(token=token, delivery="no", failure=failure))

    def left(self, token: int, now: float, *, final: bool) -> None:
        """A message was handed to the socket; `final` if the link will not say more about it."""
        flying = self._flying.get(token)
        if flying is None:
            return
        flying.delivery = "unknown"
        self._asks.sent(token, "unknown")
        self._note_sent(flying.message, now)
        if final:
            del self._flying[token]
            self._outcomes.append(Sent(token=token, delivery="unknown"))

    def receipted(self, token: int) -> None:
        """The next hop took a message."""
        if self._flying.pop(token, None) is not None:
            self._outcomes.append(Sent(token=token, delivery="yes"))

    def heard(self, event: e.Event, now: float) -> None:
        """An event of the connection, `Closed` excepted."""
        match event:
            case e.HandshakeCompleted():
                self._completed = event
                self._unproven_until = now + self.config.limits.proof_time
                if self._state is not SessionState.CLOSING:
                    self._enter(SessionState.READY)
            case e.Proven():
                self._proved()
            case e.Bus():
                self._active_until = max(self._active_until, now + EAGER_FOR)
                if isinstance(event, e.UtteranceHandled):
                    self._answered(event.request_id)
                own = self.config.session_id if self._legacy else None
                taken = self._asks.hear(event, now, own_session=own)
                self._inbox.hear(event, now, keep=not taken)

    def attempt_ended(
        self,
        failure: Failure,
        progress: Progress,
        now: float,
        *,
        unsent: Iterable[int] = (),
        by_peer: CloseKind | None = None,
    ) -> None:
        """The link is gone. `unsent` tokens never left; `by_peer` is how the peer closed, None if it did not."""
        was_ready, self._completed, self._unproven_until = self.ready, None, None
        self._requeue(set(unsent), failure)
        if self._state is SessionState.CLOSING:
            self._stop(SessionState.CLOSED, failure)
            return
        if self._retries_with_xx(progress, by_peer):
            self._dial_at = now
            return
        if unread(failure, progress):
            self._unread += 1
            if self._unread >= 2:
                failure = wrong_crypto_key()
        self._next_attempt(failure, progress, now, was_ready=was_ready)

    def _next_attempt(self, failure: Failure, progress: Progress, now: float, *, was_ready: bool) -> None:
        self._failure = failure
        if failure.kind is FailureKind.DISPLACED and self._redial.displaced(now):
            self._stop(SessionState.DISPLACED, failure)
            return
        if failure.final:
            self._stop(SessionState.FAILED, failure)
            return
        if not self._ever_up:
            # A v0 hub that hangs up on our first frame needs its second try, whatever the caller allows.
            if self._attempts_left <= 0 and not (self._unread == 1 and was_ready):
                self._stop(SessionState.FAILED, failure)
                return
            self._attempts_left -= 1
        elif not self.config.auto_reconnect:
            self._stop(SessionState.FAILED, failure)
            return
        if failure.kind is FailureKind.FORGOTTEN:
            self._dial_at = self._redial.forgotten(now)
        elif failure.kind is FailureKind.CLOSED:
            self._dial_at = now  # we renewed the keys
        else:
            self._dial_at = self._redial.failed(now)
        self._enter(SessionState.WAITING)

    # --- time ---

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        times = (
            self._dial_at,
            self._unproven_until,
            self._flush_until,
            self._linger_until,
            self._asks.next_timeout,
        )
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        if self._unproven_until is not None and now >= self._unproven_until:
            self._up(proven=False)
        if self._flush_until is not None and now >= self._flush_until:
            self._flush_until = None
        if self._linger_until is not None and now >= self._linger_until:
            self._linger_until = None
        self._asks.handle_timeout(now, failure=self._failure)

    def wants_renewal(self, used_up: float) -> bool:
        """Whether the keys should be renewed now: they are mostly spent and nobody waits for an answer."""
        return used_up >= RENEW_AT and not self._asks.in_flight() and not self._queue and not self._flying

    def outcomes(self) -> list[Outcome]:
        """What happened since the last call, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return [*outcomes, *self._asks.outcomes(), *self._inbox.outcomes()]

    # --- inside ---

    @property
    def _legacy(self) -> bool:
        return self._completed is not None and self._completed.generation is not e.Generation.NOISE

    def _enter(self, state: SessionState, failure: Failure | None = None) -> None:
        if state is SessionState.READY:
            self._failure = None
        if state is not self._state:
            self._state = state
            self._outcomes.append(StateChanged(state=state, failure=failure or self._failure))

    def _stop(self, state: SessionState, failure: Failure) -> None:
        self._dial_at = self._flush_until = self._linger_until = None
        self._failure = None if state is SessionState.CLOSED else failure
        self._asks.lose_all(failure)
        for waiting in (*self._queue, *self._flying.values()):
            self._outcomes.append(SendFailed(token=waiting.token, delivery=waiting.delivery, failure=failure))
        self._queue.clear()
        self._flying.clear()
        self._unanswered.clear()
        self._enter(state, failure)

    def _up(self, *, proven: bool) -> None:
        self._unproven_until = None
        self._ever_up = True
        self._outcomes.append(Connected(proven=proven))

    def _proved(self) -> None:
        self._redial.proven()
        self._unread = 0
        self.allow_kk = True
        done = self._completed
        assert done is not None  # noqa: S101 - a proof needs keys
        if done.generation is e.Generation.NOISE and done.peer_static is not None:
            config, trust = self.config, self.trust
            if config.pin_id not in trust.pins:
                trust = trust.with_pin(config.pin_id, done.peer_static)
            if done.psk is not None and config.password is not None:
                trust = trust.with_psk(config.access_key, done.node_id, config.password, done.psk)
            self.learn(lambda _: trust if trust.noise_seen else trust.with_noise_seen())
        if self._unproven_until is not None:
            self._up(proven=True)

    def learn(self, change: Callable[[Trust], Trust]) -> None:
        """Change the trust and tell, if it made a difference."""
        trust = change(self.trust)
        if trust != self.trust:
            self.trust = trust
            self._outcomes.append(TrustChanged(trust=trust))

    def _retries_with_xx(self, progress: Progress, by_peer: CloseKind | None) -> bool:
        # KK failures cannot be told apart (real-hubs.md §6): once, both keys are shown again.
        if progress.pattern != "KKpsk0" or progress.proven or not self.allow_kk:
            return False
        if by_peer not in (CloseKind.REFUSED, CloseKind.FORGOTTEN):
            return False
        self.allow_kk = False
        if (node_id := progress.node_id) is not None:
            self.learn(lambda trust: trust.without_psk(self.config.access_key, node_id))
        return True

    def _requeue(self, unsent: set[int], failure: Failure) -> None:
        """Sort what was flying when the link died: back to the queue, or lost."""
        again: list[_Outgoing] = []
        lost: list[_Outgoing] = []
        for flying in self._flying.values():
            came_back = flying.token in unsent or flying.delivery == "no"
            (again if came_back else lost).append(flying)
        self._flying.clear()
        self._unanswered.clear()
        for flying in again:
            flying.delivery = "no"
            self._asks.sent(flying.token, "no")
        self._queue.extendleft(reversed(again))
        for flying in lost:
            self._outcomes.append(SendFailed(token=flying.token, delivery="unknown", failure=failure))
        gone = [ask for ask in self._asks.in_flight() if ask.delivery != "no"]
        if self.config.idempotent and self._state is not SessionState.CLOSING:
            self._queue.extend(_Outgoing(token=ask.id, message=ask.message) for ask in gone if not ask.pieces)
            gone = [ask for ask in gone if ask.pieces]
        self._asks.lose([ask.id for ask in gone], failure)

    def _note_sent(self, message: e.Message, now: float) -> None:
        self._active_until = now + EAGER_FOR
        if isinstance(message, e.Utterance) and message.request_id is not None:
            self._unanswered.add(message.request_id)

    def _answered(self, request_id: str | None) -> None:
        if request_id is None:
            self._unanswered.clear()
        else:
            self._unanswered.discard(request_id)

    def _routed(self, message: e.Bus) -> e.Bus:
        """The message with what hubs need on every one (real-hubs.md §3): source, destination and the session."""
        config, context = self.config, message.context
        session = context.get("session")
        session = dict(session) if isinstance(session, dict) else {}
        if session.get("session_id") in (None, "", "default"):
            session["session_id"] = config.session_id
        session.setdefault("site_id", config.site_id)
        agent = {"source": config.user_agent, "platform": config.user_agent, "destination": "HiveMind"}
        return evolve(message, context={**agent, **context, "session": session})


_OVER: Final = frozenset((SessionState.IDLE, SessionState.CLOSED, SessionState.DISPLACED, SessionState.FAILED))
