"""Whose a refusal is, what a reply keeps of its sounds, and what is left of an ask that has ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proto.client.test_asks import DENIED, HANDLED, NOT_ALLOWED, SAY, asking, listening, says
from tests.proto.world import World
from thalovant_proto import events as e
from thalovant_proto.client.asks import ENDED_ASKS, LATE_HANDLED, QUIET_SETTLES
from thalovant_proto.client.ownership import (
    MAX_AUDIO_CLIP_BYTES,
    MAX_REPLY_MEDIA_BYTES,
    UNTRACKED_UTTERANCE_GRACE_SECONDS,
    Sounds,
    refusal_belongs_to_ask,
)
from thalovant_proto.codec.envelope import envelope_of
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.outcomes import AskEnded, AskFailed, AskFault, AskHandled, Delivered, SendFailed

GRACE = UNTRACKED_UTTERANCE_GRACE_SECONDS
QUIET = QUIET_SETTLES * 0.25


@pytest.mark.parametrize(
    ("request_id", "denied_type", "asks", "queries", "sends", "taken"),
    [
        (None, e.UTTERANCE, 1, 0, 0, True),
        ("", e.UTTERANCE, 1, 0, 0, True),
        (None, e.UTTERANCE, 2, 0, 0, False),
        (None, e.UTTERANCE, 0, 0, 0, False),
        (None, e.UTTERANCE, 1, 1, 0, False),
        (None, e.UTTERANCE, 1, 0, 1, False),
        (None, "app.status", 1, 0, 0, False),
        (None, "bus", 1, 0, 0, False),
        (None, "", 1, 0, 0, False),
        (None, None, 1, 0, 0, False),
        ("own", e.UTTERANCE, 2, 1, 3, True),
        ("own", "app.status", 1, 0, 0, True),
        ("other", e.UTTERANCE, 1, 0, 0, False),
    ],
)
def test_table_of_refusals(request_id, denied_type, asks, queries, sends, taken):
    """An id decides alone; without one it is the ask's only if nothing else can be meant."""
    assert taken == refusal_belongs_to_ask(
        request_id=request_id,
        own_request_id="own",
        denied_type=denied_type,
        asks_in_flight=asks,
        queries_in_flight=queries,
        sends_in_flight=sends,
    )


# --- with a hub ---


def faults(world: World) -> list[AskFault]:
    """What became of the asks that failed."""
    return [failed.fault for failed in world.got(AskFailed)]


@pytest.mark.parametrize("data", [{"denied_type": "bus"}, {"denied_type": "query"}, {"denied_type": ["x"]}, {}])
def test_refusal_of_something_else(data):
    """The ask runs to its own end, and subscriptions have the refusal."""
    world = asking(3, {})
    world.stack.subscribe(DENIED, world.now)

    says(world, DENIED, data)
    assert (faults(world), len(world.got(Delivered))) == ([], 1)
    world.advance(60)

    assert faults(world) == [AskFault.TIMEOUT]


def test_refusal_with_an_id_is_for_that_ask():
    """Whatever else is in flight, and whatever was refused."""
    world = asking(3, {"request_id": "r0"}, {"request_id": "r1"})

    says(world, DENIED, {"denied_type": "bus"}, request_id="r1")

    assert [failed.ask for failed in world.got(AskFailed)] == [2]


@pytest.mark.parametrize("waits", [False, True], ids=["within the grace", "after it"])
def test_utterance_sent_without_waiting_may_be_the_refused_one(waits):
    """For ten seconds; any other message does not count."""
    world = listening()
    world.send(e.Utterance(text="sent"))
    world.advance(GRACE if waits else GRACE - 0.1)
    world.send(e.bus(type="app.status", data={}, context={}))
    world.ask(e.Utterance(text="asked"))

    says(world, DENIED, NOT_ALLOWED)

    assert faults(world) == ([AskFault.DENIED] if waits else [])


def test_grace_begins_with_the_connection():
    """What could not be sent since there was no hub is not what a later hub refuses."""
    world = listening()
    world.hub.listening = False
    world.lose()
    token = world.send(e.Utterance(text="lost"))
    world.stack.cancel(token)
    world.hub.listening = True
    world.advance(5)
    world.ask(e.Utterance(text="asked"))

    says(world, DENIED, NOT_ALLOWED)

    assert faults(world) == [AskFault.DENIED]


def test_grace_of_what_cannot_be_framed():
    """It counts as published: who knows how far it came."""
    world = listening()
    world.send(e.Utterance(text="x" * 5_000_000))
    world.ask(e.Utterance(text="asked"))

    says(world, DENIED, NOT_ALLOWED)

    assert (len(world.got(SendFailed)), faults(world)) == (1, [])


@pytest.mark.parametrize("context", [{}, {"request_id": "sent"}])
def test_answers_to_an_utterance_without_a_request_id(context):
    """What is said without an id is meant for it, until the hub is done with it; then for the ask."""
    world = listening()
    for _ in range(2):
        world.send(e.Utterance(text="sent", context=context))
    world.ask(e.Utterance(text="asked"))
    for text in ("first", "second", "third"):
        says(world, SAY, {"utterance": text})
        says(world, HANDLED)

    assert world.texts() == [["third" if not context else "first"]]


def test_answers_that_never_come():
    """After the grace nothing waits for them."""
    world = listening()
    world.send(e.Utterance(text="sent"))
    world.advance(GRACE)
    world.send(e.Utterance(text="sent", context={"request_id": "sent"}))
    world.ask(e.Utterance(text="asked"))
    says(world, SAY, {"utterance": "yes"})
    says(world, HANDLED)

    assert world.texts() == [["yes"]]


# --- queries ---


def answers(world: World, type: str, data: dict[str, Any] | None = None, *, query_id: Any = "q", kind=e.Query) -> None:
    """The hub sends a piece of the answer to a query."""
    inner = e.bus(type=type, data=data or {}, context={})
    world.says(kind(payload=envelope_of(inner), metadata={"query_id": query_id}))


def query(world: World, **context: Any) -> int:
    """Ask by a query frame."""
    return world.ask(e.Utterance(text="who?", context=context), query_id="q")


@pytest.mark.parametrize("kind", [e.Query, e.Cascade])
def test_answer_to_a_query(kind):
    """Its frames are pieces whenever they come, the last one says so; what holds no message or is another's is none."""
    world = listening()
    query(world)
    (frame,) = [event for event in world.hub.heard if isinstance(event, e.Query)]
    assert (frame.metadata, frame.payload["payload"]["data"]["utterances"]) == ({"query_id": "q"}, ["who?"])

    answers(world, SAY, {"utterance": "a"}, kind=kind)
    world.advance(QUIET + 1)
    world.says(kind(payload={"msg_type": "nonsense"}, metadata={"query_id": "q"}))
    world.says(kind(payload=envelope_of(e.Ping()), metadata={"query_id": "q"}))
    answers(world, SAY, {"utterance": "?"}, query_id=["q"])
    answers(world, SAY, {"utterance": "?"}, query_id="other")
    answers(world, HANDLED, kind=kind)
    answers(world, "app.note", kind=kind)
    answers(world, SAY, {"utterance": "b"}, kind=kind)
    assert world.got(AskEnded) == []
    answers(world, e.QUERY_COMPLETE, kind=kind)
    answers(world, SAY, {"utterance": "late"}, kind=kind)

    (ended,) = world.got(AskEnded)
    assert [event.type for event in ended.events] == [SAY, HANDLED, "app.note", SAY, e.QUERY_COMPLETE]
    assert (world.texts(), ended.handled, world.got(AskHandled)) == ([["a", "b"]], True, [])


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ([e.QUERY_TIMEOUT], AskFault.HUB),
        ([e.INTENT_FAILURE], AskFault.UNANSWERED),
        ([e.INTENT_FAILURE, e.QUERY_COMPLETE], AskFault.UNANSWERED),
        ([e.AUDIO_QUEUE], None),
        ([], AskFault.TIMEOUT),
    ],
)
def test_query_without_speech(script, fault):
    """The reason; a sound is an answer."""
    world = listening()
    query(world)

    for type in script:
        answers(world, type)
    world.advance(60)

    assert faults(world) == ([] if fault is None else [fault])


def test_miss_before_speech_is_forgotten_in_a_query():
    """Another hub of the chain has the answer; it waits for the end of that one."""
    world = listening()
    query(world)

    answers(world, e.INTENT_FAILURE)
    answers(world, SAY, {"utterance": "a"})
    world.advance(QUIET)
    answers(world, e.QUERY_COMPLETE)

    (ended,) = world.got(AskEnded)
    assert (ended.handled, ended.failure) == (True, None)


@pytest.mark.parametrize(
    ("denied", "context", "failed"),
    [
        ({"denied_type": "query"}, {}, [2]),
        ({"denied_type": "bus"}, {"request_id": "rq"}, [2]),
        (NOT_ALLOWED, {}, []),
    ],
)
def test_refusal_beside_a_query(denied, context, failed):
    """A refused query is the query's; a refused utterance may be inside it, so that it is nobody's."""
    world = asking(3, {"request_id": "r0"})
    query(world, request_id="rq")

    says(world, DENIED, denied, **context)

    assert [one.ask for one in world.got(AskFailed)] == failed


def test_only_frames_answer_a_query():
    """What hubs send besides, under the same request id, would be said twice."""
    world = listening()
    query(world, request_id="rq")

    says(world, SAY, {"utterance": "a"}, request_id="rq")
    says(world, SAY, {"utterance": "a"})
    says(world, DENIED, {"denied_type": "query"}, request_id="another")
    world.stack.cancel(1)
    answers(world, SAY, {"utterance": "a"})

    assert world.got(AskEnded | AskFailed) == []


@pytest.mark.parametrize(("request_id", "query_id"), [("r", None), ("r", "other"), ("other", "q")])
def test_id_of_a_query_in_flight_is_refused(request_id, query_id):
    """Whether an ask or another query comes with it; nothing is sent."""
    world = listening()
    query(world, request_id="r")

    with pytest.raises(LocalProtocolError, match="in flight"):
        world.ask(e.Utterance(text="again", context={"request_id": request_id}), query_id=query_id)

    assert len([event for event in world.hub.heard if isinstance(event, e.Query | e.Utterance)]) == 1


def test_query_that_has_not_left_has_no_answer():
    """As with an ask: nobody has heard it."""
    world = listening()
    world.hub.listening = False
    world.lose()
    query(world)
    world.hub.listening = True
    world.advance(5)
    answers(world, e.QUERY_COMPLETE)

    assert len(world.got(AskEnded)) == 1


# --- sounds ---


def clip(size: int, filling: str = "0") -> dict[str, Any]:
    """The data of a sound of so many bytes."""
    return {"binary_data": filling * 2 * size}


def test_sounds_of_a_reply():
    """Each clip once; one that is too large, or too much, is counted. What is only named takes no room."""
    sounds = Sounds()
    rest = MAX_REPLY_MEDIA_BYTES - 3 * MAX_AUDIO_CLIP_BYTES - 1

    offered = [
        *(clip(MAX_AUDIO_CLIP_BYTES, filling) for filling in "0112"),
        {"binary_data": "0" * (2 * MAX_AUDIO_CLIP_BYTES + 1)},
        clip(rest, "3"),
        clip(2, "4"),
        clip(1, "5"),
        clip(1, "6"),
        {"uri": "ding.wav"},
        {"uri": "ding.wav", "binary_data": None},
    ]

    assert [sounds.admit(data) for data in offered] == [
        *(True, True, False, True, False),
        *(True, False, True, False, True, True),
    ]
    assert (sounds.kept, sounds.dropped) == (7, 3)


def test_sounds_belong_to_the_ask():
    """By request id, as speech does; they are among the events, and the end counts what was left out."""
    world = asking(3, {"request_id": "r0"}, {"request_id": "r1"})

    for data in (clip(2), clip(2), {"binary_data": "00" * (MAX_AUDIO_CLIP_BYTES + 1)}):
        world.stack._session._asks.on_message(
            e.bus(type=e.AUDIO_QUEUE, data=data, context={"request_id": "r1"}), world.now, own_session=None
        )
    says(world, e.AUDIO_QUEUE, clip(3))
    says(world, SAY, {"utterance": "a"}, request_id="r1")
    says(world, HANDLED, request_id="r1")

    (ended,) = world.got(AskEnded)
    assert [event.type for event in ended.events] == [e.AUDIO_QUEUE, SAY, HANDLED]
    assert (ended.ask, ended.dropped_media) == (2, 1)


# --- what is left of an ask ---


def kept(world: World, name: str) -> list[str]:
    """What a listener who comes now finds, by the text."""
    before = len(world.got(Delivered))
    world.stack.subscribe(name, world.now, kept=True)
    world.drive()
    return [one.event.data.get("utterance", "") for one in world.got(Delivered)[before:]]


def test_speech_of_an_ended_ask_is_for_nobody_else():
    """It belongs to a turn that is over; what answers a send is for who listens afterwards."""
    world = listening()
    world.send(e.Utterance(text="sent", context={"request_id": "sent"}))
    for number, outcome in enumerate((HANDLED, DENIED, None)):
        token = world.ask(e.Utterance(text="asked", context={"request_id": f"r{number}"}))
        if outcome is None:
            world.stack.cancel(token)
        else:
            says(world, SAY, {"utterance": "in time"}, request_id=f"r{number}")
            says(world, outcome, request_id=f"r{number}")
        says(world, SAY, {"utterance": "late"}, request_id=f"r{number}")
    says(world, SAY, {"utterance": "of the send"}, request_id="sent")

    assert kept(world, SAY) == ["of the send"]


@pytest.mark.parametrize("again", ["send", "ask"])
def test_request_id_that_serves_again(again):
    """Then its speech is that of the new turn."""
    world = asking(3, {"request_id": "r"})
    says(world, HANDLED, request_id="r")
    world.advance(1)

    message = e.Utterance(text="again", context={"request_id": "r"})
    if again == "send":
        world.send(message)
    else:
        world.ask(message)
    says(world, SAY, {"utterance": "yes"}, request_id="r")

    assert kept(world, SAY) == (["yes"] if again == "send" else [])


@pytest.mark.parametrize("context", [{"request_id": "r"}, {}, {"session": {"session_id": "hub:s"}}])
@pytest.mark.parametrize(("late", "told"), [(LATE_HANDLED - 0.1, 1), (LATE_HANDLED, 0)])
def test_handled_may_come_late(context, late, told):
    """Its session is that of the turn, for two seconds after the end; without ids if only one can be meant."""
    world = asking(3, {"request_id": "r", "session": {"session_id": "s"}})
    says(world, SAY, {"utterance": "a"}, request_id="r")
    world.advance(QUIET)
    assert (len(world.got(AskEnded)), world.got(AskHandled)) == (1, [])

    world.advance(late)
    says(world, HANDLED, **context)

    assert [handled.session_id for handled in world.got(AskHandled)] == ["s"] * told


@pytest.mark.parametrize("meanwhile", ["a send", "an ask", "another session", "another that ended"])
def test_handled_without_an_id_may_be_anothers(meanwhile):
    """Then it is not told of the ask that has ended."""
    world = asking(3, {"request_id": "r", "session": {"session_id": "s"}})
    if meanwhile == "another that ended":
        world.ask(e.Utterance(text="b", context={"request_id": "other"}))
        says(world, SAY, {"utterance": "b"}, request_id="other")
    says(world, SAY, {"utterance": "a"}, request_id="r")
    world.advance(QUIET)
    if meanwhile == "a send":
        world.send(e.Utterance(text="sent"))
    elif meanwhile == "an ask":
        world.ask(e.Utterance(text="asked", context={"session": {"session_id": "t"}}))

    says(world, HANDLED, **({"session": {"session_id": "t"}} if meanwhile == "another session" else {}))

    assert [handled.session_id for handled in world.got(AskHandled) if handled.session_id == "s"] == []


def test_ended_asks_are_forgotten_in_time():
    """So many are known by their ids, the oldest goes first."""
    world = listening()
    world.send(e.bus(type="app.status", data={}, context={}))
    for number in range(ENDED_ASKS + 1):
        world.stack.cancel(world.ask(e.Utterance(text="x", context={"request_id": f"r{number}"})))
    for number in (0, 1):
        says(world, SAY, {"utterance": f"r{number}"}, request_id=f"r{number}")

    assert kept(world, SAY) == ["r0"]
