"""A model of client × hub × network: whatever happens in whatever order, every ask ends once, with its own reply. C4.

Hypothesis makes up the story; the machines of both roles are real, time and bytes are the test's. The story does not
know which transport it is on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from attrs import define, evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.proto.links.networks import Network
from tests.proto.world import ACCESS_KEY, Hub, World, config, hub_side
from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import AskEnded, AskFailed, AskPiece, Delivered, SendFailed, Sent, SessionState
from thalovant_proto.secret import Secret

IDLE, CONNECTING, HANDSHAKE, READY, WAITING, CLOSING, CLOSED, DISPLACED, FAILED = SessionState
LEGAL = {
    IDLE: {CONNECTING},
    CONNECTING: {HANDSHAKE, WAITING, CLOSING, DISPLACED, FAILED},
    HANDSHAKE: {CONNECTING, READY, WAITING, CLOSING, DISPLACED, FAILED},
    READY: {WAITING, CLOSING, DISPLACED, FAILED},
    WAITING: {CONNECTING, CLOSING, FAILED},
    CLOSING: {CLOSED},
    CLOSED: {CONNECTING},
    DISPLACED: {CONNECTING},
    FAILED: {CONNECTING},
}
SESSIONS = st.sampled_from([None, "one", "two"])
ANSWERS = st.sampled_from([e.SPEAK, e.SPEAK, e.UTTERANCE_HANDLED, e.INTENT_FAILURE, e.QUERY_TIMEOUT])
#: Of what comes with an utterance: some links of the tests have no room for the largest.
SIZES = st.sampled_from([0, 0, 300, 6000])
#: How long the world goes on after a step: not at all, as far as it gets at once, or for a few polls.
MOMENTS = st.sampled_from([None, 0.0, 0.05])
#: A client that nothing hinders has its session again within so many seconds (a hub that forgot it thrice is left
#: alone for a minute), and may lose it to what is still under way.
RECOVERY = 180.0
RELAPSES = 6


@define
class Asked:
    """What the model knows of an ask."""

    text: str
    deadline: float
    resolved: int = 0
    cancelled: bool = False
    answered: bool = False


class Story(RuleBasedStateMachine):
    """The model. An utterance is known by its text, and every answer says to which one it belongs."""

    generation: ClassVar[int]
    networks: ClassVar[Sequence[Callable[[], Network]]]

    @initialize(
        network=st.integers(0, 5),
        cut=st.sampled_from([None, 7]),
        idempotent=st.booleans(),
        reconnects=st.booleans(),
        frames=st.sampled_from([24, 1 << 16]),
        pins=st.booleans(),
        renames=st.booleans(),
    )
    def begin(
        self,
        network: int,
        cut: int | None,
        idempotent: bool,
        reconnects: bool,
        frames: int,
        pins: bool,
        renames: bool,
    ) -> None:
        self.idempotent, self.pins, self.renames = idempotent, pins, renames
        self.world = World(
            self.generation,
            links=self.networks[network % len(self.networks)](),
            hub=Hub(hub_side(self.generation), register=self._known),
            client=config(
                self.generation,
                idempotent=idempotent,
                auto_reconnect=reconnects,
                queue=8,
                limits=Limits(legacy_frames=frames),
            ),
            cut=cut,
        )
        self.asks: dict[int, Asked] = {}
        self.sends: dict[int, int] = {}
        self.subscriptions: dict[int, str | None] = {}
        self.number = self.seen = 0
        self.state = IDLE
        self.delivered: set[tuple[int, str]] = set()
        self.texts: dict[int, str] = {}  # of every message, by token
        self.never: set[str] = set()  # what the application was told will not be executed
        self.world.open().advance(0.05)

    # --- the application ---

    @rule(moment=MOMENTS)
    def open(self, moment: float | None) -> None:
        self.world.stack.open(self.world.now)
        self._go(moment)

    @rule(session=SESSIONS, own_id=st.booleans(), size=SIZES, timeout=st.sampled_from([0.5, 3.0, 12.0]), moment=MOMENTS)
    def ask(self, session: str | None, own_id: bool, size: int, timeout: float, moment: float | None) -> None:
        self._ask(self._utterance(session, own_id, size), timeout)
        self._go(moment)

    @rule(session=SESSIONS, size=SIZES, moment=MOMENTS)
    def send(self, session: str | None, size: int, moment: float | None) -> None:
        message = self._utterance(session, True, size)
        try:
            token = self.world.stack.send(message, self.world.now)
        except LocalProtocolError:
            return
        self.sends[token] = 0
        self.texts[token] = message.text
        self._go(moment)

    @precondition(lambda self: self.asks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.asks)))
        delivery = self.world.stack.cancel(id)
        if delivery is not None:
            self.asks[id].cancelled = True
            self._told(id, delivery)

    @rule(name=st.sampled_from([None, e.SPEAK]), kept=st.booleans(), limit=st.sampled_from([None, 1, 2]))
    def subscribe(self, name: str | None, kept: bool, limit: int | None) -> None:
        id = self.world.stack.subscribe(name, self.world.now, kept=kept, limit=limit)
        self.subscriptions[id] = name
        self._go(0.0)

    @precondition(lambda self: self.subscriptions)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        self.world.stack.unsubscribe(data.draw(st.sampled_from(sorted(self.subscriptions))))

    @rule(timeout=st.sampled_from([0.0, 3.0]), moment=MOMENTS)
    def close(self, timeout: float, moment: float | None) -> None:
        self.world.stack.close(self.world.now, timeout=timeout)
        self._go(moment)

    # --- the hub ---

    @precondition(lambda self: self.world.hub.utterances())
    @rule(data=st.data(), type=ANSWERS, moment=MOMENTS)
    def hub_answers(self, data: st.DataObject, type: str, moment: float | None) -> None:
        """Any utterance that it ever heard, in any order, late ones too."""
        asked = data.draw(st.sampled_from(self.world.hub.utterances()))
        self._hub_says(type, {"utterance": f"re: {asked.text}"}, asked.context, moment)

    @precondition(lambda self: self._open_utterances())
    @rule(data=st.data(), type=st.sampled_from([e.SPEAK, e.UTTERANCE_HANDLED, e.POLICY_DENIED]))
    def hub_answers_without_ids(self, data: st.DataObject, type: str) -> None:
        """About one that is still open: an answer to an old one could not be told apart, by anybody."""
        asked = data.draw(st.sampled_from(self._open_utterances()))
        self._hub_says(type, {"utterance": f"re: {asked.text}", "denied_type": e.UTTERANCE}, {}, 0.0)

    @rule(moment=MOMENTS)
    def hub_speaks_unasked(self, moment: float | None) -> None:
        self.number += 1
        self._hub_says(e.SPEAK, {"utterance": f"note {self.number}"}, {"request_id": f"foreign-{self.number}"}, moment)

    @rule(code=st.sampled_from([1001, 1008, 1011]), moment=MOMENTS)
    def hub_hangs_up(self, code: int, moment: float | None) -> None:
        if self.world.hub.peers:
            self.world.hub.peer.close(self.world.now, code=code)
            self._go(moment)

    @rule()
    def hub_restarts(self) -> None:
        self.world.restart_hub()

    @rule(listening=st.booleans())
    def hub_listens(self, listening: bool) -> None:
        self.world.hub.listening = listening

    # --- the network, and time ---

    @rule()
    def cut_now(self) -> None:
        self.world.lose()

    @rule(after=st.integers(1, 3000), silently=st.booleans())
    def cut_later(self, after: int, silently: bool) -> None:
        """After so many bytes, which may be in the middle of anything; silently, so that only deadlines find out."""
        self.world.wire.breaks(after, silently=silently and self.world.links.notices)

    @rule(hears=st.booleans())
    def stall(self, hears: bool) -> None:
        """Nothing arrives, for a while."""
        self.world.hears = hears
        self._go(0.0)

    @rule(held=st.booleans())
    def slow_keys(self, held: bool) -> None:
        """Derivations take their time, at both ends."""
        self.world.held = held
        self._go(0.0)

    @precondition(lambda self: self.world.links.mishaps)
    @rule(data=st.data(), number=st.integers(1, 1500), moment=MOMENTS)
    def mishap(self, data: st.DataObject, number: int, moment: float | None) -> None:
        """What goes wrong on this transport only."""
        mishaps = self.world.links.mishaps
        mishaps[data.draw(st.sampled_from(sorted(mishaps)))](number)
        self._go(moment)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 2.5, 40.0]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)  # and every timer must move

    # --- what always holds ---

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "world"):
            return
        for outcome in self.world.outcomes[self.seen :]:
            self._check(outcome)
        self.seen = len(self.world.outcomes)
        texts = [utterance.text for utterance in self.world.hub.utterances()]
        asked = {ask.text for ask in self.asks.values()} if self.idempotent else set()
        once = [text for text in texts if text not in asked]
        assert len(once) == len(set(once)), "an utterance was executed twice"
        assert once == sorted(once, key=lambda text: int(text[1:])), "utterances were executed in another order"
        assert self.never.isdisjoint(texts), "what was said not to have been sent was executed"
        for ask in self.asks.values():
            assert ask.cancelled or ask.resolved or self.world.now <= ask.deadline, "an ask outlived its deadline"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self._recover()
        self.world.stack.close(self.world.now, timeout=0)
        self.world.drive()
        self.all_is_well()
        assert all(ask.resolved == (0 if ask.cancelled else 1) for ask in self.asks.values())
        assert all(told == 1 for told in self.sends.values()), "a message without an end, or with two"
        assert self.world.stack.next_timeout is None
        self.world.advance(400)
        assert self.world.hub.live == [], "a hub keeps somebody who has gone"

    def _recover(self) -> None:
        """With a network that does nothing any more, and a hub that answers, an ask has its reply."""
        world = self.world
        world.hears = world.hub.listening = True
        world.held = False
        world.wire.breaks(None)
        world.links.calm()
        world.hub.answer = _answer
        world.advance(60)
        for _ in range(RELAPSES):
            world.stack.open(world.now)
            world.advance(RECOVERY, until=lambda: self.world.stack.state in (READY, FAILED, DISPLACED))
            if (id := self._ask(self._utterance(None, False), 60.0)) is None:
                continue
            world.advance(60, until=lambda: any(id == ended.ask for ended in world.got(AskEnded | AskFailed)))
            self.all_is_well()
            if self.asks[id].answered:
                return
        raise AssertionError(f"nothing is answered any more: {world.stack.state}, {world.stack.failure}")

    # --- below ---

    def _check(self, outcome: Any) -> None:
        match outcome:
            case AskPiece(ask=id, event=event):
                assert self._answers(id, event), "another's reply"
                assert not self.asks[id].resolved
            case AskEnded(ask=id, pieces=pieces):
                assert all(self._answers(id, piece) for piece in pieces), "another's reply"
                self.asks[id].answered = bool(pieces)
                self._resolve(id)
            case AskFailed(ask=id, delivery=delivery):
                self._told(id, delivery)
                self._resolve(id)
            case Sent(token=token):
                self._sent(token)
            case SendFailed(token=token, delivery=delivery):
                assert token in self.sends, "an ask has an end of its own"
                self._told(token, delivery)
                self._sent(token)
            case Delivered(subscription=id, event=event):
                assert self.subscriptions[id] in (None, event.type)
                if (text := event.data.get("utterance", "")).startswith("note"):
                    assert (id, text) not in self.delivered, "given twice"
                    self.delivered.add((id, text))
            case _ if hasattr(outcome, "state"):
                assert outcome.state in LEGAL[self.state], f"from {self.state} to {outcome.state}"
                self.state = outcome.state

    def _answers(self, id: int, event: e.Bus) -> bool:
        text = event.data["utterance"]
        if text == f"re: {self.asks[id].text}":
            return True
        # Without an id, what comes when its own ask has ended could not be told apart, by anybody.
        late = {f"re: {ask.text}" for ask in self.asks.values() if ask.resolved or ask.cancelled}
        return event.request_id is None and text in late

    def _ask(self, message: e.Utterance, timeout: float) -> int | None:
        try:
            id = self.world.stack.ask(message, self.world.now, timeout=timeout)
        except LocalProtocolError:
            return None
        self.asks[id] = Asked(message.text, self.world.now + timeout)
        self.texts[id] = message.text
        return id

    def _sent(self, token: int) -> None:
        if token in self.sends:
            self.sends[token] += 1

    def _told(self, token: int, delivery: str) -> None:
        if delivery == "no":
            self.never.add(self.texts[token])

    def _resolve(self, id: int) -> None:
        assert not self.asks[id].cancelled
        self.asks[id].resolved += 1
        assert self.asks[id].resolved == 1, "an ask ended twice"

    def _utterance(self, session: str | None, own_id: bool, size: int = 0) -> e.Utterance:
        self.number += 1
        context: dict[str, Any] = {"request_id": f"own-{self.number}"} if own_id else {}
        context["more"] = "x" * size
        if session is not None:
            context["session"] = {"session_id": session}
        return e.Utterance(text=f"q{self.number}", context=context)

    def _open_utterances(self) -> list[e.Utterance]:
        """Those that the hub heard of asks that have not ended."""
        waiting = {ask.text for ask in self.asks.values() if not (ask.resolved or ask.cancelled)}
        return [utterance for utterance in self.world.hub.utterances() if utterance.text in waiting]

    def _hub_says(self, type: str, data: dict[str, Any], context: dict[str, Any], moment: float | None) -> None:
        self.world.hub.says(e.bus(type=type, data=data, context=context), self.world.now)
        self._go(moment)

    def _go(self, moment: float | None) -> None:
        if moment is not None:
            self.world.advance(moment)

    def _known(self, credentials: Credentials) -> HubSide | None:
        """Real hubs of v3 pin the key of the first contact; those but the oldest name each connection anew."""
        if credentials.access_key != Secret(ACCESS_KEY):
            return None
        hub = self.world.hub
        proofs = [event.peer_static for event in hub.heard if isinstance(event, e.HandshakeCompleted)]
        return evolve(
            hub.side,
            pinned=proofs[0] if self.pins and proofs else None,
            peer=f"agent::{len(hub.peers)}::client::session" if self.renames else hub.side.peer,
        )


def _answer(event: e.Event) -> list[e.Message]:
    if not isinstance(event, e.Utterance):
        return []
    return [e.Speak(text=f"re: {event.text}", context=event.context), e.UtteranceHandled(context=event.context)]
