"""Conversations: one session for many turns, and what it carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from thalovant import AsyncThalovantConversation, ThalovantConversation
from thalovant.conversation import FURTHER_IDS, SESSIONS
from thalovant.events import CONVERSATION_SESSION_FIELDS, carry_conversation
from thalovant.hub.skills.turn import Turn
from thalovant_proto.events import Bus

from .lab import PATIENCE, Lab


def test_documented_conversation(each: Lab) -> None:
    """What was said is remembered in the conversation."""
    with each.client() as client, client.conversation(lang="en-us") as convo:
        assert isinstance(convo, ThalovantConversation)
        assert convo.ask("Remember that my favorite color is blue.").text == "I will remember that."
        assert convo.ask("What color did I mention?").text == "You mentioned that your favorite color is blue."


async def test_async_conversation(each: Lab) -> None:
    """The same, awaited, and in pieces."""
    async with each.talking() as client, client.conversation() as convo:
        assert isinstance(convo, AsyncThalovantConversation)
        await convo.ask("Remember that my hat is green")
        assert [e.text async for e in convo.stream("What hat did I mention")] == [
            "You mentioned that your hat is green."
        ]


async def test_conversations_do_not_mix(v3: Lab) -> None:
    """Each has a session of its own, which every message of it names; a given one is taken."""
    async with v3.talking() as client:
        one, two, named = client.conversation(), client.conversation(), client.conversation(session_id="work")
        assert one.session_id != two.session_id
        assert one.session_id.startswith("thalovant-session-")
        for convo in (one, two, named):
            reply = await convo.ask("which session")
            assert (convo.session_id, convo.session_id) == (reply.text, reply.session_id)
        await one.ask("Remember that my cat is old")
        assert (await two.ask("What cat did I mention")).text == "You did not mention that in this conversation."


def test_messages_of_a_conversation(v3: Lab) -> None:
    """Session, language and merged context of each; `emit` has no request id."""
    context = {"channel": "chat", "session": {"a": 1, "b": 1}}
    with v3.client() as client, client.conversation(session_id="work-1", lang="de-de", context=context) as convo:
        context["channel"] = "changed"  # the conversation has its own copy
        assert (convo.client, convo.session_id, convo.lang) == (client, "work-1", "de-de")
        convo.send_utterance("convo utterance", request_id="V-1", context={"session": {"b": 2}})
        convo.send_action("/go", title="Go", request_id="V-2", lang="fr-fr")
        convo.send_code("1", kind="qr", label="One", request_id="V-3", context={"channel": "scan"})
        convo.emit("test.note", {"convo": True})
        noted = v3.hub.wait_for("test.note", timeout=PATIENCE, predicate=lambda event: event.data.get("convo") is True)
        client.ask("all there?")
    found = {event.request_id: event for event in v3.hub.heard}

    assert {event.session_id for event in (*(found[f"V-{n}"] for n in (1, 2, 3)), noted)} == {"work-1"}
    assert [found[f"V-{n}"].lang for n in (1, 2, 3)] == ["de-de", "fr-fr", "de-de"]
    assert [found[f"V-{n}"].context["channel"] for n in (1, 2, 3)] == ["chat", "chat", "scan"]
    assert tuple(found["V-1"].context["session"][key] for key in "ab") == (1, 2)
    assert noted.request_id is None
    assert tuple(noted.context["session"][key] for key in ("site_id", "lang")) == (v3.identity().site_id, "de-de")


async def test_hearing_in_a_conversation(v3: Lab) -> None:
    """`on`, `listen` and `wait_for_event` take what belongs to the session."""
    async with v3.talking() as client:
        convo, other = client.conversation(), client.conversation()
        heard: list[int] = []
        convo.on("test.tick", lambda event: heard.append(event.data["number"]))
        await other.ask("count to 3")
        assert heard == []
        await convo.ask("count to 1")
        assert heard == [0]
        await convo.send_utterance("first of this")
        await other.send_utterance("first of the other")
        assert (await other.wait_for_event("speak")).text == "You said: first of the other"
        assert [e.text async for e in convo.listen("speak", max_events=1)] == ["You said: first of this"]


# --- what a session carries ---

HANDLER = [{"skill_id": "joke", "activated_at": 1.0}]


@pytest.mark.parametrize(
    ("previous", "session", "expected"),
    [
        (None, None, {}),
        ({"context": {"a": 1}}, None, {"context": {"a": 1}}),
        ({}, {"session_id": "S", "lang": "fr"}, {"session_id": "S", "lang": "fr"}),
        ({"converse_handlers": HANDLER}, {"session_id": "S"}, {"session_id": "S", "converse_handlers": HANDLER}),
        ({"lang": "fr", "site_id": "x", "session_id": "T", "pipeline": ["a"], "is_speaking": True}, {}, {}),
        ({"active_handlers": HANDLER}, {"active_handlers": []}, {"active_handlers": []}),
        ({"context": {"a": 1}}, {"context": {}}, {"context": {}}),
        ({"response_mode": "x"}, {"response_mode": ""}, {"response_mode": ""}),
        (
            {"active_skills": [1], "utterance_states": {"a": 1}},
            {"active_skills": [2]},
            {"active_skills": [2], "utterance_states": {"a": 1}},
        ),
    ],
)
def test_session_of_the_next_turn(previous: Any, session: Any, expected: Any) -> None:
    """The known fields go along unless the turn brings them itself, empty ones too; neither side is changed."""
    before = repr((previous, session))

    assert carry_conversation(previous, session) == expected
    assert repr((previous, session)) == before


class Talk:
    """A hub that says of each session what the test wants, and a client of it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.session: dict[str, Any] = {}
        lab.hub.skill("carried {what}")(self._answer)

    async def _answer(self, turn: Turn) -> str:
        self.name(turn)
        return "yes"

    def name(self, turn: Turn) -> None:
        """Say it from now on in this turn."""
        context = turn._core.request.reply_context
        context["session"] = {**context["session"], **self.session}

    def heard(self, text: str) -> dict[str, Any]:
        """What the hub was told of the session with that turn."""
        session = self._lab.heard(text)[-1].context["session"]
        return {key: session[key] for key in CONVERSATION_SESSION_FIELDS if key in session}


@pytest.fixture
def talk(own: Lab) -> Talk:
    """A hub of this test's own."""
    return Talk(own)


async def test_state_of_the_session_goes_along(own: Lab, talk: Talk) -> None:
    """What the hub said about the session comes back with its next turn, asked or streamed, and with no other."""
    async with own.talking() as client:
        for first, *then in (("S", "S"), (None, None), (None, client._messages._config.session_id), ("T", "default")):
            talk.session = {"active_skills": [str(first)], "other": 1}
            await client.ask("carried first", session_id=first)
            talk.session = {}
            for number, session in enumerate(then):
                stream = client.stream(f"carried {first} {number}", session_id=session)
                assert [piece.text async for piece in stream] == ["yes"]
            await client.ask(f"carried elsewhere {first}", session_id="else")
            assert talk.heard(f"carried elsewhere {first}") == {}
        assert talk.heard("carried S 0") == {"active_skills": ["S"]}
        assert talk.heard("carried None 0") == {"active_skills": ["None"]}
        assert talk.heard("carried T 0") == {}


@pytest.mark.parametrize("context", [{"session": {"session_id": "S"}}, {"session_id": "S"}])
async def test_session_of_the_context(own: Lab, talk: Talk, context: dict[str, Any]) -> None:
    """A turn may name its session anywhere; what it brings itself wins."""
    async with own.talking() as client:
        talk.session = {"active_skills": ["joke"], "response_mode": "x"}
        assert (await client.ask("carried first", context=context)).session_id == "S"
        own_part = {"session": {"session_id": "S", "active_skills": []}}
        await client.ask("carried second", context=own_part)
        assert talk.heard("carried second") == {"active_skills": [], "response_mode": "x"}


async def test_further_ids_of_a_session(own: Lab, talk: Talk) -> None:
    """The hub answers under other ids: those lead to the session too, the newest of them, and never to two."""
    async with own.talking() as client:
        talk.session = {"active_skills": ["own"]}
        await client.ask("carried zero", session_id="opened")
        for number in range(FURTHER_IDS + 1):
            talk.session = {"session_id": f"alias-{number}", "active_skills": [number]}
            reply = await client.ask("carried one", session_id="S")
            assert reply.session_id == f"alias-{number}"
        talk.session = {"session_id": "opened", "active_skills": ["S"]}
        await client.ask("carried one", session_id="S")
        talk.session = {"session_id": "alias-8", "active_skills": ["T"]}
        await client.ask("carried two", session_id="T")
        talk.session = {}
        found = {}
        for session in ("S", "alias-1", "alias-7", "alias-8", "alias-0", "opened"):
            await client.ask(f"carried for {session}", session_id=session)
            found[session] = talk.heard(f"carried for {session}").get("active_skills")
    assert found == {
        "S": ["S"],
        "alias-1": ["S"],
        "alias-7": ["S"],
        "alias-8": ["T"],
        "alias-0": None,
        "opened": ["own"],
    }


async def test_sessions_that_are_remembered(own: Lab, talk: Talk) -> None:
    """So many; the one that was quiet longest goes, with all its ids, whatever these are."""
    async with own.talking() as client:
        for number in (*range(SESSIONS), 0, SESSIONS):
            talk.session = {"session_id": f"alias-{number}", "active_skills": [number]}
            await client.ask("carried one", session_id=f"S-{number}")
        talk.session = {}
        for session in ("alias-1", "S-1", "alias-0", f"alias-{SESSIONS}"):
            await client.ask(f"carried by {session}", session_id=session)
    assert [talk.heard(f"carried by {one}") for one in ("alias-1", "S-1")] == [{}, {}]
    assert talk.heard("carried by alias-0") == {"active_skills": [0]}
    assert talk.heard(f"carried by alias-{SESSIONS}") == {"active_skills": [SESSIONS]}


async def test_state_that_comes_after_the_reply(own: Lab, talk: Talk) -> None:
    """A reply may end by quiet; what the hub says as it is done, a moment later, counts."""
    done = asyncio.Event()

    async def late(turn: Turn) -> None:
        await turn.speak("yes")
        await own._gates.setdefault("late", asyncio.Event()).wait()
        talk.name(turn)

    own.hub.skill("late")(late)
    async with own.talking(reply_settle_seconds=0.01) as client:
        client.on("ovos.utterance.handled", lambda event: done.set())
        talk.session = {"active_skills": ["late"]}
        assert not (await client.ask("late", session_id="S")).handled
        await client.emit("test.go", {"gate": "late"})
        await done.wait()
        await client.ask("carried second", session_id="S")
    assert talk.heard("carried second") == {"active_skills": ["late"]}


async def test_query_in_a_conversation(own: Lab, talk: Talk) -> None:
    """It takes along what was carried; one without a session leaves no trace."""
    async with own.talking() as client, client.conversation() as convo:
        talk.session = {"active_skills": ["joke"]}
        await convo.ask("carried first")
        assert (await convo.query("carried asked")).text == "yes"
        assert talk.heard("carried asked") == {"active_skills": ["joke"]}
        assert (await client.query("carried by nobody")).text == "yes"
        assert talk.heard("carried by nobody") == {}


async def test_session_that_is_none(own: Lab, talk: Talk) -> None:
    """What was known stays."""
    async with own.talking() as client:
        talk.session = {"active_skills": ["joke"]}
        await client.ask("carried first", session_id="S")
        client._carry.hear("S", Bus(type="ovos.utterance.handled", context={"session": 5}))
        client._carry.hear("S", Bus(type="speak", context={"session": {"active_skills": ["x"]}}))
        await client.ask("carried second", session_id="S")
        assert talk.heard("carried second") == {"active_skills": ["joke"]}
