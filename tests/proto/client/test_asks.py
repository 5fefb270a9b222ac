"""When an ask is answered, and by what: the measured matrix of real hubs, and which event belongs to which ask."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proto.world import World, config
from thalovant_proto import events as e
from thalovant_proto.client.asks import MAX_EVENTS, QUIET_SETTLES, Ask, Asks
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.failures import Failure, FailureKind
from thalovant_proto.outcomes import AskEnded, AskFailed, AskFault, AskPiece, Delivered, Outcome

SETTLE = 0.25
QUIET = QUIET_SETTLES * SETTLE
TIMEOUT = 12.0

SAY, HANDLED, FAILED, DENIED = e.SPEAK, e.UTTERANCE_HANDLED, e.INTENT_FAILURE, e.POLICY_DENIED
SOUND = e.AUDIO_QUEUE, {"uri": "ding.wav"}
NOT_ALLOWED = {"denied_type": e.UTTERANCE, "code": "acl_disallowed_type", "reason": "not in allowed_types"}


def say(text: str) -> tuple[str, dict[str, Any]]:
    """A line of a script: the hub speaks."""
    return SAY, {"utterance": text}


def listening(generation: int = 3, **changes: Any) -> World:
    """A client that is connected to a hub which says nothing by itself."""
    return World(generation, client=config(generation, **changes)).open()


def play(world: World, script: list[Any], *, echoes: bool = True) -> None:
    """Ask, and let the hub go through a script of pauses (numbers), types, and types with data."""
    asked = e.Utterance(text="what is up")
    world.ask(asked, timeout=TIMEOUT)
    context = world.hub.utterances()[-1].context if echoes else {}
    for line in script:
        if isinstance(line, float):
            world.advance(line)
        else:
            type, data = (line, {}) if isinstance(line, str) else line
            world.says(e.bus(type=type, data=data, context=context))
    world.advance(60)


def end(world: World) -> tuple[list[str], bool, str | None]:
    """The reply: texts, handled, and the failure that came beside it."""
    assert world.got(AskFailed) == []
    (ended,) = world.got(AskEnded)
    return (
        [piece.data.get("utterance", "") for piece in ended.pieces],
        ended.handled,
        None if ended.failure is None else ended.failure.type,
    )


REPLIES = {
    "speech, then handled": ([say("a"), HANDLED], ["a"], True, None, 0.0),
    "two sentences with a pause, then handled": ([say("a"), 0.6, say("b"), HANDLED], ["a", "b"], True, None, 0.6),
    "repetitions are the collector's business": (
        [say("a"), say("a"), say("b"), say("a"), HANDLED], ["a", "a", "b", "a"], True, None, 0.0,
    ),
    "speech just after handled": ([HANDLED, 0.1, say("late")], ["late"], True, None, 0.1),
    "handled, and no speech": ([HANDLED], [], True, None, SETTLE),
    "speech, and never handled": ([say("a")], ["a"], False, None, QUIET),
    "quiet starts over with each sentence": (
        [say("a"), 1.9, say("b"), 1.9, say("c")], ["a", "b", "c"], False, None, 3.8 + QUIET,
    ),
    "a failure, then a fallback speaks": ([FAILED, 0.1, say("sorry"), HANDLED], ["sorry"], True, None, 0.1),
    "a failure after speech": ([say("a"), FAILED], ["a"], True, None, SETTLE),
    "a failure after speech, then handled": ([say("a"), FAILED, HANDLED], ["a"], True, None, 0.0),
    "a sound, and never handled": ([SOUND], [], False, None, QUIET),
    "a sound, then handled": ([SOUND, 0.1, HANDLED], [], True, None, 0.1 + SETTLE),
    "a sound just after handled": ([HANDLED, 0.1, SOUND], [], True, None, 0.1 + SETTLE),
    "a sound after speech": ([say("a"), 1.9, SOUND], ["a"], False, None, 1.9 + QUIET),
    "a sound until the deadline": ([SOUND] + [1.5, SOUND] * 8, [], False, None, TIMEOUT),
    "policy after speech": ([say("a"), (DENIED, NOT_ALLOWED)], ["a"], False, DENIED, 0.0),
    "the new name of speech": ([(e.OVOS_SPEAK, {"utterance": "a"}), HANDLED], ["a"], True, None, 0.0),
    "speech without text": ([(SAY, {"media": "picture"}), HANDLED], [""], True, None, 0.0),
    "speech until the deadline": ([say("a")] + [1.5, say("b")] * 8, ["a"] + ["b"] * 7, False, None, TIMEOUT),
    "handled so late that the settle ends after the deadline": ([11.9, HANDLED], [], True, None, TIMEOUT),
}  # fmt: skip

FAILURES = {
    "nothing at all": ([], AskFault.TIMEOUT, "unknown", TIMEOUT),
    "a soft failure": ([FAILED], AskFault.UNANSWERED, "yes", SETTLE),
    "the other soft failure": ([e.INTENT_UNMATCHED], AskFault.UNANSWERED, "yes", SETTLE),
    "a soft failure, then handled": ([FAILED, 0.1, HANDLED], AskFault.UNANSWERED, "yes", 0.1),
    "handled, then a soft failure": ([HANDLED, 0.1, FAILED], AskFault.UNANSWERED, "yes", 0.1 + SETTLE),
    "a soft failure so late that the settle ends after the deadline": (
        [11.9, FAILED], AskFault.UNANSWERED, "yes", TIMEOUT,
    ),
    "policy": ([(DENIED, NOT_ALLOWED)], AskFault.DENIED, "yes", 0.0),
    "a soft failure with its sound": ([FAILED, 0.1, SOUND], AskFault.UNANSWERED, "yes", 0.1 + SETTLE),
    "a query timeout": ([e.QUERY_TIMEOUT], AskFault.HUB, "yes", 0.0),
}  # fmt: skip


@pytest.mark.parametrize("echoes", [True, False], ids=["context echoed", "no context"])
@pytest.mark.parametrize("row", REPLIES)
def test_matrix_of_replies(row, echoes):
    """What is heard, whether it counts as handled, and when the ask ends: nothing is lost, nothing waited for twice."""
    script, texts, handled, failure, after = REPLIES[row]
    world = listening()
    start = world.now

    play(world, script, echoes=echoes)

    assert end(world) == (texts, handled, failure)
    assert world.when(AskEnded) == pytest.approx(start + after)
    assert len(texts) == len(world.got(AskPiece))


@pytest.mark.parametrize("echoes", [True, False], ids=["context echoed", "no context"])
@pytest.mark.parametrize("row", FAILURES)
def test_matrix_of_failures(row, echoes):
    """An ask without speech ends with the reason, as soon as no speech can be expected any more."""
    script, fault, delivery, after = FAILURES[row]
    world = listening()
    start = world.now

    play(world, script, echoes=echoes)

    (failed,) = world.got(AskFailed)
    assert world.got(AskEnded) == []
    assert (failed.fault, failed.delivery) == (fault, delivery)
    assert (fault is AskFault.TIMEOUT) == (failed.event is None)
    assert world.when(AskFailed) == pytest.approx(start + after)


@pytest.mark.parametrize(("settle", "empty_wait", "after"), [(0.05, 5.0, 0.05), (1.0, 5.0, 1.0), (1.0, 0.1, 0.1)])
def test_settle_is_the_callers(settle, empty_wait, after):
    """What is short is short in settles; where nothing was said it has a limit of its own."""
    world = listening(settle=settle, empty_wait=empty_wait)
    start = world.now

    play(world, [HANDLED])

    assert world.when(AskEnded) == pytest.approx(start + after)


def test_all_that_came_is_in_the_end():
    """`events` holds every event of the ask in order, `pieces` the speech among them."""
    world = listening()

    play(world, [FAILED, say("a"), say("b"), HANDLED])

    (ended,) = world.got(AskEnded)
    assert [event.type for event in ended.events] == [FAILED, SAY, SAY, HANDLED]


# --- whose answer it is ---


def asking(generation: int = 3, *contexts: dict[str, Any]) -> World:
    """A client with one ask for each context, all of them with the hub."""
    world = listening(generation)
    for number, context in enumerate(contexts):
        world.stack.ask(e.Utterance(text=str(number), context=context), world.now)
    return world.drive()


def says(world: World, type: str, data: dict[str, Any] | None = None, **context: Any) -> None:
    """The hub says something, about whatever the context tells."""
    world.says(e.bus(type=type, data=data or {}, context=context))


def test_request_id_alone_decides():
    """Both sides have one: the session that the hub names does not matter, hubs rewrite those."""
    world = asking(3, {"request_id": "r0"}, {"request_id": "r1"})

    says(world, SAY, {"utterance": "for one"}, request_id="r1", session={"session_id": "rewritten"})
    says(world, SAY, {"utterance": "for nobody"}, request_id="r2")

    assert [(piece.ask, piece.event.text) for piece in world.got(AskPiece)] == [(2, "for one")]


@pytest.mark.parametrize("place", ["request_id", "thalovant_request_id", "correlation_id"])
def test_request_id_is_found_under_every_name(place):
    """Whatever the caller called it, the hub's answer to that is the answer, and it stands where hubs keep it."""
    world = asking(3, {place: "r0"}, {})

    says(world, SAY, {"utterance": "yes"}, request_id="r0")

    assert [piece.ask for piece in world.got(AskPiece)] == [1]
    assert world.hub.utterances()[0].context["request_id"] == "r0"


def test_request_ids_of_our_own_are_different():
    """An ask without one gets one, at the top of the context."""
    world = asking(3, {}, {"request_id": ""})

    ids = [utterance.context["request_id"] for utterance in world.hub.utterances()]

    assert len(set(ids)) == 2
    assert all(id.startswith("thalovant-request-") for id in ids)


def test_request_id_in_flight_is_refused():
    """Two asks cannot have one id: nobody could tell their answers apart. Afterwards it is free."""
    world = asking(3, {"request_id": "same"})

    with pytest.raises(LocalProtocolError, match="request id"):
        world.stack.ask(e.Utterance(text="again", context={"request_id": "same"}), world.now)

    says(world, HANDLED, request_id="same")
    world.advance(1)
    world.stack.ask(e.Utterance(text="again", context={"request_id": "same"}), world.now)


@pytest.mark.parametrize(
    ("contexts", "said", "answered"),
    [
        ([{}], {}, [1]),
        ([{}, {}], {}, []),  # a guess would be another's reply
        ([{}, {}], {"session": {"session_id": "session-of-the-client"}}, []),
        # a v3 hub answers with the session that was asked in
        ([{"session": {"session_id": "conversation"}}], {"session": {"session_id": "session-of-the-client"}}, []),
    ],
    ids=["one", "two", "two of one session", "the hello's session"],
)
def test_event_without_ids_is_for_the_only_ask(contexts, said, answered):
    """If there are several, it is nobody's, and subscriptions have it."""
    world = asking(3, *contexts)
    world.stack.subscribe(SAY, world.now)

    says(world, SAY, {"utterance": "hello"}, **said)

    assert [piece.ask for piece in world.got(AskPiece)] == answered
    assert len(world.got(Delivered)) == 1


def test_session_id_decides_without_request_ids():
    """Two conversations, one ask each: the session tells them apart; another's session is nobody's."""
    world = asking(3, {"session": {"session_id": "s0"}}, {"session": {"session_id": "s1"}})

    says(world, SAY, {"utterance": "b"}, session={"session_id": "s1"})
    says(world, SAY, {"utterance": "?"}, session={"session_id": "s2"})
    says(world, SAY, {"utterance": "?"})

    assert [(piece.ask, piece.event.text) for piece in world.got(AskPiece)] == [(2, "b")]


@pytest.mark.parametrize("space", ["", "9519690c3a7c8993:", "a:b:"])
@pytest.mark.parametrize("session", ["conversation", "session-of-the-client"])
def test_session_may_come_back_in_a_namespace(session, space):
    """Some hubs hand an id back as `namespace:id`: it is the same session, and no other that ends alike."""
    world = asking(3, {"session": {"session_id": session}})

    says(world, SAY, {"utterance": "?"}, session={"session_id": f"{space}not-{session}"})
    says(world, SAY, {"utterance": "a"}, session={"session_id": f"{space}{session}"})

    assert [piece.event.text for piece in world.got(AskPiece)] == ["a"]


@pytest.mark.parametrize("generation", [0, 1])
def test_legacy_hub_answers_with_the_sessions_of_the_hello(generation):
    """One session per connection: its id is everybody's, so that it excludes no ask; a foreign one does."""
    world = asking(generation, {"session": {"session_id": "conversation"}})

    says(world, SAY, {"utterance": "a"}, session={"session_id": "session-of-the-client"})
    says(world, SAY, {"utterance": "b"}, session={"session_id": "conversation"})
    says(world, SAY, {"utterance": "?"}, session={"session_id": "another"})

    assert [piece.event.text for piece in world.got(AskPiece)] == ["a", "b"]


def test_ask_that_has_not_left_has_no_answer():
    """Only what is with the hub can be meant, by id or without."""
    asks, told = started()
    asks.unsent(0)

    assert not asks.on_message(e.Speak(text="?", context={"request_id": "0"}), 0.0, own_session=None)
    assert not asks.on_message(e.Speak(text="?"), 0.0, own_session=None)
    assert told == []


def test_other_events_are_no_answers():
    """An ask listens to its nine types; all else is for subscriptions."""
    world = asking(3, {"request_id": "r"})
    world.stack.subscribe("mycroft.audio.service.play", world.now)

    says(world, "mycroft.audio.service.play", request_id="r")
    world.advance(60)

    assert len(world.got(Delivered)) == 1
    assert world.got(AskFailed)[0].fault is AskFault.TIMEOUT


# --- bounds, and time ---


def started(count: int = 1, *, deadline: float = 10.0) -> tuple[Asks, list[Outcome]]:
    """The machine by itself, with asks that were sent."""
    told: list[Outcome] = []
    asks = Asks(told.append, settle=SETTLE)
    for id in range(count):
        context = {"request_id": str(id)}
        message = e.Utterance(text="x", context=context)
        asks.start(Ask(id=id, message=message, request_id=str(id), deadline=deadline + id))
        asks.sent(id)
    return asks, told


def test_endless_talk_ends():
    """A hub that sends more than an ask keeps has said enough."""
    asks, told = started()
    for _ in range(MAX_EVENTS + 1):
        asks.on_message(e.Speak(text="and"), 0.0, own_session=None)

    (ended,) = [one for one in told if isinstance(one, AskEnded)]
    assert MAX_EVENTS == len(ended.events) == len(ended.pieces)
    assert len(asks) == 0


def test_time_costs_no_look_at_every_ask():
    """`next_timeout` is never late, and exact once time has passed; calling early changes nothing."""
    asks, told = started(3)
    assert asks.next_timeout == 10.0

    asks.on_message(e.Speak(text="a", context={"request_id": "1"}), 1.0, own_session=None)
    assert asks.next_timeout == 1.0 + QUIET
    asks.on_message(e.UtteranceHandled(context={"request_id": "1"}), 1.5, own_session=None)
    told.clear()

    assert not asks.handle_timeout(2.0, failure=None)
    assert not asks.handle_timeout(1.0 + QUIET, failure=None)
    assert asks.next_timeout == 10.0
    assert asks.handle_timeout(10.0, failure=None)
    assert (asks.next_timeout, len(told)) == (12.0, 1)
    assert asks.handle_timeout(12.0, failure=None)
    assert (asks.next_timeout, asks.handle_timeout(99.0, failure=None)) == (None, False)


def test_timeout_says_what_the_link_suffers_from():
    """The caller of an ask that never left learns why."""
    world = listening()
    world.hub.listening = False
    world.lose()

    world.stack.ask(e.Utterance(text="anybody?"), world.now, timeout=3)
    world.advance(3)

    (failed,) = world.got(AskFailed)
    assert (failed.fault, failed.delivery, failed.failure.kind) == (AskFault.TIMEOUT, "no", FailureKind.CONNECT)


@pytest.mark.parametrize(
    ("heard", "outcome"),
    [
        ([], (AskFailed, AskFault.LINK)),
        ([e.Speak(text="half")], (AskEnded, False)),
        ([e.UtteranceHandled()], (AskEnded, True)),
        ([e.IntentFailure()], (AskFailed, AskFault.UNANSWERED)),
    ],
)
def test_lost_link_ends_what_was_sent(heard, outcome):
    """Whatever was heard by then is the reply."""
    asks, told = started()
    for event in heard:
        asks.on_message(event, 0.0, own_session=None)

    asks.lose([0, 7], Failure(kind=FailureKind.LOST, message="gone"))

    kind, said = outcome
    assert type(told[-1]) is kind
    assert (told[-1].handled if isinstance(told[-1], AskEnded) else told[-1].fault) == said
    assert len(asks) == 0


def test_unknown_ids_are_fine():
    """The session tells the machine about all its messages."""
    asks, told = started()
    asks.sent(9)
    asks.receipted(9)
    asks.unsent(9)

    assert asks.cancel(9) is None
    assert (0 in asks, 9 in asks, asks.known("0")) == (True, False, True)
    assert told == []
