"""The client's session, which outlives links: dialing, queueing, matching of answers, reports to users.

`HubSession` decides; it moves no bytes. `stack.py` joins it to a link and a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from typing import Final

from attrs import evolve

from .. import events as e
from ..carrier import CloseKind
from ..codec.legacy_policy import HOLD_AT, LEGACY_POLICY, LINGER, RENEW_AT, UNREAD_ATTEMPTS, LegacyPolicy
from ..crypto.noise import Pattern
from ..entropy import Entropy, soonest
from ..errors import LocalProtocolError, RemoteProtocolError
from ..failures import PROOF_TIME, Failure, FailureKind, Progress, ended_unread, wrong_crypto_key
from ..handshake.client import KK_UNREADABLE, ClientSide
from ..outcomes import Connected, Delivery, Outcome, SessionState, StateChanged, TrustChanged
from ..trust import Trust
from .asks import Ask, Asks
from .attempt import Ending
from .backoff import YOUNG_CAP, Redial
from .config import ClientConfig
from .message_context import message_context, new_request_id
from .routes import Routes
from .send_queue import Outgoing, SendQueue
from .subscriptions import Filter, Subscriptions

#: An ask waits at least so long for more: what a hub says in one breath arrives in pieces.
LEAST_SETTLE: Final = 0.01
#: A polling link hurries this long after the last thing that was sent or heard.
EAGER_FOR: Final = 10.0


class HubSession:
    """One client's session with one hub, across links. What users should know goes to `report`, in order.

    To be read from outside: `state`; `steady`, whether messages travel and nothing is about to end; `queue`, what waits
    for a link; `patient`, what tells whether a first connection that is not there after its tries is sought further.
    """

    def __init__(
        self, config: ClientConfig, routes: Routes, *, trust: Trust, entropy: Entropy, report: Callable[[Outcome], None]
    ) -> None:
        self.config = config
        self.patient: Callable[[], bool] = lambda: False
        self.routes = routes
        self.trust: Trust = trust
        self.allow_kk: bool = True
        self._entropy = entropy
        self._report = report
        self.state: SessionState = SessionState.IDLE
        self._policy: LegacyPolicy = LEGACY_POLICY[None]
        self.steady: bool = False
        self._failure: Failure | None = None
        self._redial = Redial(entropy)
        self._dial_at: float | None = None
        self._dialed_at = self._rests_until = -inf
        self._attempting = False
        self._attempts_left: float = 0
        self._ever_up = False
        self._ended_unread = 0  # attempts in a row that a hub seems to have ended because it could not read us
        self._unproven_until: float | None = None
        self._completed: e.HandshakeCompleted | None = None
        self._reopen = False
        self._flush_until: float | None = None
        self._linger_until: float | None = None
        self._last_id = 0
        self._active_until = 0.0
        # Utterances that a legacy hub owes a *handled*, by request id; no more than its keys can seal.
        self._unanswered: dict[str | None, None] = {}
        self.queue: SendQueue = SendQueue(report, limit=config.queue)
        self._asks = Asks(report, settle=max(config.settle, LEAST_SETTLE), empty_wait=config.empty_wait)
        self._subscriptions = Subscriptions(report)

    # --- what it is now ---

    @property
    def failure(self) -> Failure | None:
        """The reason for which the session waits or has ended, None if nothing is wrong."""
        return self._failure

    @property
    def ready(self) -> bool:
        """Whether messages can travel."""
        return self._completed is not None

    @property
    def exhausted(self) -> bool:
        """Whether the tries of the first connection are used up, and it is not there."""
        return self._attempts_left < 0 and not self._ever_up

    @property
    def dropped(self) -> int:
        """Kept events that were dropped for newer ones."""
        return self._subscriptions.dropped

    @property
    def over(self) -> bool:
        """Whether the session wants no link, now and later."""
        return self.state in _OVER

    def dials(self, now: float) -> bool:
        """Whether the next attempt is due."""
        return self._dial_at is not None and now >= self._dial_at

    def eager(self, now: float) -> bool:
        """Whether somebody waits for an answer, so that a polling link should hurry."""
        return self._completed is None or now < self._active_until or bool(self._asks)

    # --- what the application wants ---

    def open(self, now: float) -> None:
        """Have a connection from now on. No effect if that is already so; while closing, it begins after the end.

        A session that waits with its tries used up has them anew, the first one now.
        """
        if self.state is SessionState.CLOSING:
            self._reopen = True
        if self.state is SessionState.WAITING and self.exhausted:
            self._redial, self._attempts_left = Redial(self._entropy), self._attempts
        if self.state not in _OVER:
            self._hurry(now)
            return
        self._redial = Redial(self._entropy)
        self.routes.begin()
        self._failure = None
        self._attempts_left = self._attempts
        self._ever_up = False
        self._ended_unread = 0
        self._dial_at = now
        self._enter(SessionState.CONNECTING)

    def send(self, message: e.Message, now: float) -> int:
        """Queue a message; returns its token. Raises `LocalProtocolError` if closed or the queue is full."""
        token = self._put(self._routed(message) if isinstance(message, e.Bus) else message, now)
        self._subscriptions.expect(now)
        return token

    def ask(self, message: e.Bus, now: float, *, timeout: float, pieces: bool, query_id: str | None) -> int:
        """Queue an utterance and collect what answers it; returns the ask's id, which is also its token.

        A message without a request id gets one. With `query_id` it is a query. Raises `LocalProtocolError` as `send`
        does, and for a request id, or query id, that is in flight already.
        """
        request_id = message.request_id or new_request_id(self._entropy)
        if self._asks.known(request_id, query_id):
            hint = "give each ask a request id of its own, or none"
            raise LocalProtocolError("an ask with this request id is in flight", code="request_in_flight", hint=hint)
        ask = Ask(
            id=self._last_id + 1,
            message=self._routed(message, request_id),
            request_id=request_id,
            deadline=now + timeout,
            query_id=query_id,
            reports_pieces=pieces,
        )
        self._put(ask.frame, now, ask=True)
        self._asks.start(ask)
        return ask.id

    def cancel(self, token: int) -> Delivery | None:
        """Give up an ask or a message, without an outcome; how far it came, None if it is over or unknown.

        What a link holds already may still travel: then that is `unknown`.
        """
        ask = self._asks.cancel(token)
        withdrawn = self.queue.withdraw(token, of_ask=ask is not None)
        return withdrawn if ask is None else ask.delivery

    def subscribe(
        self,
        name: str | None,
        now: float,
        *,
        matches: Filter | None = None,
        kept: bool = False,
        limit: int | None = None,
    ) -> int:
        """Have bus events of a type (None: all) delivered; returns the subscription's id."""
        id = self._next_id()
        self._subscriptions.subscribe(id, name, now, matches=matches, kept=kept, limit=limit)
        return id

    def unsubscribe(self, id: int) -> None:
        """End a subscription."""
        self._subscriptions.unsubscribe(id)

    def close(self, now: float, *, timeout: float) -> None:
        """End the session. What is queued is sent first, for `timeout` at most, unless there is no link to send it on.

        0 ends at once, also what an earlier call began.
        """
        if self.state in _OVER:
            return
        self._reopen = False
        if timeout <= 0:
            self._flush_until = self._linger_until = None
        elif self.state is not SessionState.CLOSING:
            self._flush_until = now + timeout
            self._linger_until = now + min(timeout, LINGER)
        self._dial_at = None
        self._enter(SessionState.CLOSING)

    def leaves(self) -> bool:
        """Whether a closing session is done with its link: all is sent and answered that must be, or time is up."""
        if self.state is not SessionState.CLOSING:
            return False
        if self._flush_until is not None and self._attempting and not self.queue.flushed:
            return False
        return not self._unanswered or self._linger_until is None

    # --- what happens to links ---

    def side(self) -> ClientSide:
        """What a new connection needs to know of this client."""
        config = self.config
        return ClientSide(
            access_key=config.access_key,
            password=config.password,
            crypto_key=config.crypto_key,
            trust=self.trust,
            pin_id=self.routes.present.pin_id,
            session={"session_id": config.session_id, "site_id": config.site_id},
            site_id=config.site_id,
            binarize=config.binarize,
            allow_legacy=config.allow_legacy,
            allow_kk=self.allow_kk,
        )

    def attempt_started(self) -> None:
        """The stack has a link and wants a socket for it."""
        self._dialed_at, self._dial_at = self._dial_at or 0.0, None
        self._attempting = True
        self._enter(SessionState.CONNECTING)

    def link_opened(self) -> None:
        """Frames can travel; the handshake begins."""
        self._go_on(SessionState.HANDSHAKE)

    def take(self, used_up: float, now: float) -> Outgoing | None:
        """The next message for the connection, if one can travel under keys that are spent so far (0 to 1)."""
        if self._completed is None or used_up >= HOLD_AT or (one := self.queue.next_message()) is None:
            return None
        if one.ask:
            self._asks.sent(one.token)
        elif isinstance(one.message, e.Bus):
            self._asks.published(one.message, now)
        if self._policy.needs_linger and isinstance(one.message, e.Utterance):
            self._unanswered[one.message.request_id] = None
        return one

    def rejected(self, token: int, failure: Failure) -> None:
        """A message cannot be framed."""
        self.queue.rejected(token, failure)
        self._asks.unsent(token)
        self._asks.lose([token], failure)

    def written(self, token: int, now: float, *, final: bool) -> None:
        """A message was handed to the socket; `final` if the link will not say more about it."""
        self._active_until = now + EAGER_FOR
        self.queue.written(token, final=final)

    def receipted(self, token: int) -> None:
        """The next hop took a message."""
        self.queue.receipted(token)
        self._asks.receipted(token)

    def heard(self, event: e.Bus, now: float) -> None:
        """A message of the bus arrived."""
        self._active_until = now + EAGER_FOR
        own = self.config.session_id if self._policy.answers_by_hello else None
        if self._policy.needs_linger and isinstance(event, e.UtteranceHandled):
            self._answered(event.request_id)
        taken = self._asks.on_message(event, now, own_session=own)
        self._subscriptions.on_message(event, now, keep=not taken)

    def heard_frame(self, frame: e.Query | e.Cascade, now: float) -> None:
        """A piece of the answer to a query arrived, perhaps of one of ours."""
        self._asks.on_frame(frame, now)

    def handshake_completed(self, completed: e.HandshakeCompleted, now: float) -> None:
        """Both ends hold the keys: messages may travel."""
        self._completed = completed
        self._policy = LEGACY_POLICY[completed.generation]
        self._unproven_until = now + PROOF_TIME
        self._go_on(SessionState.READY)

    def attempt_ended(self, ending: Ending, progress: Progress, now: float) -> None:
        """The link is gone."""
        failure, by_peer = ending.failure, ending.by_peer
        had_keys, was_up = self.ready, self.ready and self._unproven_until is None
        self._completed = self._unproven_until = None
        self._policy = LEGACY_POLICY[None]
        self._attempting = False
        self._sort(ending.unsent, failure)
        if self.state is SessionState.CLOSING:
            self._stop(SessionState.CLOSED, failure)
            if self._reopen:
                self._reopen = False
                self.open(now)
            return
        if self._retries_with_xx(progress, ending):
            self._dial_at = now
            return
        self._ended_unread = self._ended_unread + 1 if ended_unread(progress, by_peer) else 0
        if self._ended_unread >= UNREAD_ATTEMPTS:
            failure = wrong_crypto_key()
        rests_until = now + (ending.pause or 0.0)
        verdict = failure if was_up else self.routes.failed(failure, rests_until=rests_until)
        if verdict is None:
            self._wait(now, failure)  # there is another way
        elif (end := self._ends(verdict, now, had_keys=had_keys)) is not None:
            self._stop(end, verdict)
        else:
            ladder, rests_until = self._next_dial(verdict.kind, now), max(rests_until, self.routes.rested())
            self._rests_until = max(ladder, rests_until) if verdict.kind is FailureKind.FORGOTTEN else rests_until
            self._wait(max(ladder, rests_until), verdict)

    def _hurry(self, now: float) -> None:
        """Dial for a caller, whatever the ladder says; but in no circle, and not before the hub wants to be asked."""
        if self.state is SessionState.WAITING and self._dial_at is not None:
            self._dial_at = min(self._dial_at, max(now, self._rests_until, self._dialed_at + YOUNG_CAP))

    def _wait(self, until: float, failure: Failure) -> None:
        self._failure = failure
        self._dial_at = until
        self._enter(SessionState.WAITING, failure)

    def _ends(self, failure: Failure, now: float, *, had_keys: bool) -> SessionState | None:
        """The state in which the session stops, None if it goes on."""
        if failure.kind is FailureKind.DISPLACED and self._redial.displaced(now):
            return SessionState.DISPLACED
        if failure.final:
            return SessionState.FAILED
        if self._ever_up:
            return None if self.config.auto_reconnect else SessionState.FAILED
        self._attempts_left -= 1
        # A v0 hub that hangs up on our first frame needs its second try, whatever the caller allows.
        goes_on = self._attempts_left >= 0 or (self._ended_unread == 1 and had_keys) or self.patient()
        return None if goes_on else SessionState.FAILED

    @property
    def _attempts(self) -> float:
        return inf if self.config.attempts is None else self.config.attempts

    def _next_dial(self, kind: FailureKind, now: float) -> float:
        match kind:
            case FailureKind.FORGOTTEN:
                return self._redial.forgotten(now)
            case FailureKind.RENEWED:
                return now
            case _:
                return self._redial.failed(now)

    # --- time ---

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called."""
        return soonest(
            self._dial_at, self._unproven_until, self._flush_until, self._linger_until, self._asks.next_timeout
        )

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        if self._unproven_until is not None and now >= self._unproven_until:
            self._up(proven=False)
        if self._flush_until is not None and now >= self._flush_until:
            self._flush_until = None
        if self._linger_until is not None and now >= self._linger_until:
            self._linger_until = None
        if self._asks.handle_timeout(now, failure=self._failure) and self.queue.queued:
            self._drop_unasked()  # they were told that nothing was sent

    def wants_renewal(self, used_up: float) -> bool:
        """Whether the keys should be renewed now: they are mostly spent (0 to 1) and nobody waits for an answer."""
        if used_up < RENEW_AT or self.queue.held or any(ask.waiting for ask in self._asks):
            return False
        return not self._unanswered or used_up >= HOLD_AT

    def learn(self, change: Callable[[Trust], Trust]) -> None:
        """Change the trust and tell, if it made a difference."""
        trust = change(self.trust)
        if trust != self.trust:
            self.trust = trust
            self._report(TrustChanged(trust=trust))

    # --- inside ---

    def _enter(self, state: SessionState, failure: Failure | None = None) -> None:
        if state is not self.state:
            self.state = state
            self.steady = state is SessionState.READY and not self._policy.keys_wear_out
            self._report(StateChanged(state=state, failure=failure))

    def _go_on(self, state: SessionState) -> None:
        if self.state is SessionState.CLOSING:
            return
        if state is SessionState.READY:
            self._failure = None
        self._enter(state)

    def _stop(self, state: SessionState, failure: Failure) -> None:
        self._dial_at = self._flush_until = self._linger_until = None
        self._failure = None if state is SessionState.CLOSED else failure
        self._asks.lose([ask.id for ask in self._asks], failure)
        self.queue.fail(failure)
        self._enter(state, failure)

    def _up(self, *, proven: bool) -> None:
        self._unproven_until = None
        self._ever_up = True
        self.routes.worked()
        self._report(Connected(proven=proven))

    def proved(self, now: float) -> None:
        """The hub has shown that it holds the keys."""
        self._redial.proven(now)
        self._ended_unread = 0
        self.allow_kk = True
        done = self._completed
        assert done is not None  # noqa: S101 - a proof needs keys
        if done.generation is e.Generation.NOISE and done.peer_static is not None:
            config, trust = self.config, self.trust
            pin_id = self.routes.present.pin_id
            if pin_id not in trust.pins:
                trust = trust.with_pin(pin_id, done.peer_static)
            if done.psk is not None and config.password is not None:
                trust = trust.with_psk(config.access_key, done.node_id, config.password, done.psk)
            self.learn(lambda _: trust if trust.noise_seen else trust.with_noise_seen())
        if self._unproven_until is not None:
            self._up(proven=True)

    def _retries_with_xx(self, progress: Progress, ending: Ending) -> bool:
        # KK failures cannot be told apart (real-hubs.md §6): once, both keys are shown again.
        if progress.pattern != Pattern.KK.value or progress.completed or not self.allow_kk:
            return False
        cause = ending.failure.cause
        unreadable = isinstance(cause, RemoteProtocolError) and cause.code == KK_UNREADABLE
        if not unreadable and ending.by_peer not in (CloseKind.REFUSED, CloseKind.FORGOTTEN):
            return False
        self.allow_kk = False
        self.learn(lambda trust: trust.without_psk(self.config.access_key, progress.node_id or ""))
        return True

    def _sort(self, unsent: Collection[int], failure: Failure) -> None:
        """Return what the link held to the queue, or lose it; send what waited for an answer once more, or lose it."""
        for token in self.queue.reclaim(unsent, failure):
            self._asks.unsent(token)
        self._unanswered.clear()
        retries = self.config.idempotent and self.state is not SessionState.CLOSING
        retried: list[Outgoing] = []
        for ask in self._asks:
            if ask.waiting and retries and not ask.events:
                self._asks.retry(ask)
                retried.append(Outgoing(token=ask.id, message=ask.frame, ask=True))
            elif ask.waiting:
                self._asks.lose([ask.id], failure)
        self.queue.requeue(retried)
        self._drop_unasked()

    def _drop_unasked(self) -> None:
        """Send nothing of asks that have ended: nobody waits for the answer, and nobody expects it to happen now."""
        self.queue.keep(lambda one: not one.ask or one.token in self._asks)

    def _answered(self, request_id: str | None) -> None:
        if request_id is None:
            self._unanswered.clear()
        else:
            self._unanswered.pop(request_id, None)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _put(self, message: e.Message, now: float, *, ask: bool = False) -> int:
        if self.state in _OVER or self.state is SessionState.CLOSING:
            why, code = f"nothing can be sent while the session is {self.state.value}", "not_open"
            raise LocalProtocolError(why, code=code, hint="open it anew, then send")
        token = self._next_id()
        self.queue.put(Outgoing(token=token, message=message, ask=ask))
        self._hurry(now)
        return token

    def _routed(self, message: e.Bus, request_id: str | None = None) -> e.Bus:
        """The message with the context that hubs need; the same one where it has that already."""
        context = message_context(message.context, self.config, request_id=request_id)
        return message if context == message.context else evolve(message, context=context)


_OVER: Final = frozenset((SessionState.IDLE, SessionState.CLOSED, SessionState.DISPLACED, SessionState.FAILED))
