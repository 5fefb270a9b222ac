"""Client × hub × a network that cuts: whatever happens in whatever order, every ask ends once, with its own reply.

Hypothesis makes up the story; the machines of both roles are real, time and bytes are the test's. C4.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.proto.frame_link import FrameLinks
from tests.proto.networks import WssLinks
from tests.proto.world import World, config
from thalovant_proto import events as e
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.limits import Limits
from thalovant_proto.outcomes import AskEnded, AskFailed, AskPiece, Delivered, SendFailed, Sent, SessionState

IDLE, CONNECTING, HANDSHAKE, READY, WAITING, CLOSING, CLOSED, DISPLACED, FAILED = SessionState
LEGAL = {
    IDLE: {CONNECTING},
    CONNECTING: {HANDSHAKE, WAITING, CLOSING, FAILED},
    HANDSHAKE: {CONNECTING, READY, WAITING, CLOSING, FAILED},
    READY: {WAITING, CLOSING, FAILED},
    WAITING: {CONNECTING, CLOSING, FAILED},
    CLOSING: {CLOSED},
    CLOSED: {CONNECTING},
    FAILED: {CONNECTING},
}
SESSIONS = st.sampled_from([None, "one", "two"])
ANSWERS = st.sampled_from([e.SPEAK, e.SPEAK, e.UTTERANCE_HANDLED, e.INTENT_FAILURE, e.QUERY_TIMEOUT])


@define
class Asked:
    """What the model knows of an ask."""

    text: str
    deadline: float
    resolved: int = 0
    cancelled: bool = False


class Story(RuleBasedStateMachine):
    """The model. An utterance is known by its text, and every answer says to which one it belongs."""

    generation = 3

    @initialize(
        idempotent=st.booleans(),
        wss=st.booleans(),
        cut=st.sampled_from([None, 7]),
        frames=st.sampled_from([24, 1 << 16]),
    )
    def begin(self, idempotent: bool, wss: bool, cut: int | None, frames: int) -> None:
        self.idempotent = idempotent
        links: Any = WssLinks() if wss else FrameLinks(window=2)
        limits = Limits(legacy_frames=frames)
        client = config(self.generation, idempotent=idempotent, queue=8, limits=limits)
        self.world = World(self.generation, client=client, links=links, cut=cut)
        self.asks: dict[int, Asked] = {}
        self.sends: dict[int, int] = {}
        self.subscriptions: dict[int, str | None] = {}
        self.number = self.seen = 0
        self.state = IDLE
        self.delivered: set[tuple[int, str]] = set()
        self.texts: dict[int, str] = {}  # of every message, by token
        self.never: set[str] = set()  # what the application was told will not be executed
        self.world.open()

    # --- the application ---

    @rule()
    def open(self) -> None:
        self.world.open()

    @rule(session=SESSIONS, own_id=st.booleans(), timeout=st.sampled_from([0.5, 3.0, 12.0]), now=st.booleans())
    def ask(self, session: str | None, own_id: bool, timeout: float, now: bool) -> None:
        message, world = self._utterance(session, own_id), self.world
        try:
            id = world.stack.ask(message, world.now, timeout=timeout)
        except LocalProtocolError:
            return
        self.asks[id] = Asked(message.text, world.now + timeout)
        self.texts[id] = message.text
        self._go(now)

    @rule(session=SESSIONS, now=st.booleans())
    def send(self, session: str | None, now: bool) -> None:
        message = self._utterance(session, True)
        try:
            token = self.world.stack.send(message, self.world.now)
        except LocalProtocolError:
            return
        self.sends[token] = 0
        self.texts[token] = message.text
        self._go(now)

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
        self.world.drive()

    @rule(timeout=st.sampled_from([0.0, 3.0]))
    def close(self, timeout: float) -> None:
        self.world.stack.close(self.world.now, timeout=timeout)
        self.world.drive()

    # --- the hub ---

    @precondition(lambda self: self.world.hub.utterances())
    @rule(data=st.data(), type=ANSWERS)
    def hub_answers(self, data: st.DataObject, type: str) -> None:
        """Any utterance that it ever heard, in any order, late ones too."""
        asked = data.draw(st.sampled_from(self.world.hub.utterances()))
        self._hub_says(type, {"utterance": f"re: {asked.text}"}, asked.context)

    @precondition(lambda self: self._open_utterances())
    @rule(data=st.data(), type=st.sampled_from([e.SPEAK, e.UTTERANCE_HANDLED, e.POLICY_DENIED]))
    def hub_answers_without_ids(self, data: st.DataObject, type: str) -> None:
        """About one that is still open: an answer to an old one could not be told apart, by anybody."""
        asked = data.draw(st.sampled_from(self._open_utterances()))
        self._hub_says(type, {"utterance": f"re: {asked.text}", "denied_type": e.UTTERANCE}, {})

    @rule()
    def hub_speaks_unasked(self) -> None:
        self.number += 1
        self._hub_says(e.SPEAK, {"utterance": f"note {self.number}"}, {"request_id": f"foreign-{self.number}"})

    @rule()
    def hub_hangs_up(self) -> None:
        if self.world.hub.peers:
            self.world.hub.peer.close(self.world.now, code=1001)
            self.world.drive()

    @rule(listening=st.booleans())
    def hub_listens(self, listening: bool) -> None:
        self.world.hub.listening = listening

    # --- the network, and time ---

    @rule()
    def cut_now(self) -> None:
        self.world.lose()

    @rule(after=st.integers(1, 1500), silently=st.booleans())
    def cut_later(self, after: int, silently: bool) -> None:
        """After so many bytes, which may be in the middle of a frame; silently, so that only pings find out."""
        self.world.wire.breaks(after, silently=silently and self.world.network.notices)

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
        assert self.never.isdisjoint(texts), "what was said not to have been sent was executed"
        for ask in self.asks.values():
            assert ask.cancelled or ask.resolved or self.world.now <= ask.deadline, "an ask outlived its deadline"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.advance(60)
        self.world.stack.close(self.world.now, timeout=0)
        self.world.drive()
        self.all_is_well()
        assert all(ask.resolved == (0 if ask.cancelled else 1) for ask in self.asks.values())
        assert all(1 == told for told in self.sends.values()), "a message without an end, or with two"
        assert self.world.stack.next_timeout is None

    # --- below ---

    def _check(self, outcome: Any) -> None:
        match outcome:
            case AskPiece(ask=id, event=event):
                assert f"re: {self.asks[id].text}" == event.data["utterance"], "another's reply"
                assert not self.asks[id].resolved
            case AskEnded(ask=id, pieces=pieces):
                assert {f"re: {self.asks[id].text}"} >= {piece.data["utterance"] for piece in pieces}
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
                assert outcome.state in LEGAL[self.state]
                self.state = outcome.state

    def _sent(self, token: int) -> None:
        if token in self.sends:
            self.sends[token] += 1

    def _told(self, token: int, delivery: str) -> None:
        if delivery == "no":
            self.never.add(self.texts[token])

    def _resolve(self, id: int) -> None:
        assert not self.asks[id].cancelled
        self.asks[id].resolved += 1
        assert 1 == self.asks[id].resolved, "an ask ended twice"

    def _utterance(self, session: str | None, own_id: bool) -> e.Utterance:
        self.number += 1
        context: dict[str, Any] = {"request_id": f"own-{self.number}"} if own_id else {}
        if session is not None:
            context["session"] = {"session_id": session}
        return e.Utterance(text=f"q{self.number}", context=context)

    def _open_utterances(self) -> list[e.Utterance]:
        """Those that the hub heard of asks that have not ended."""
        waiting = {ask.text for ask in self.asks.values() if not (ask.resolved or ask.cancelled)}
        return [utterance for utterance in self.world.hub.utterances() if utterance.text in waiting]

    def _hub_says(self, type: str, data: dict[str, Any], context: dict[str, Any]) -> None:
        self.world.hub.says(e.bus(type=type, data=data, context=context), self.world.now)
        self.world.drive()

    def _go(self, now: bool) -> None:
        if now:
            self.world.drive()


class PresharedStory(Story):
    generation = 0


class PasswordStory(Story):
    generation = 1


TestNoise = Story.TestCase
TestPassword = PasswordStory.TestCase
TestPreshared = PresharedStory.TestCase
TestNoise.settings = TestPassword.settings = TestPreshared.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, derandomize=True
)
