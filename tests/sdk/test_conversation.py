"""Conversations: one session for many turns, and what it carries."""

from __future__ import annotations

from typing import Any

import pytest

from thalovant import AsyncThalovantConversation, ThalovantConversation, ThalovantEvent
from thalovant.conversation import CARRIED, SESSIONS, Carry

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


def _handled(**session: Any) -> list[ThalovantEvent]:
    return [
        ThalovantEvent("speak", {"utterance": "x"}, {"session": {"active_skills": ["of the speech"]}}),
        ThalovantEvent("ovos.utterance.handled", {}, {"session": session}),
    ]


async def test_state_of_the_session_goes_along(v3: Lab) -> None:
    """What the hub said about the session comes back with the next turn of it, and with no other."""
    async with v3.talking() as client:
        state = {"active_skills": [["joke", 1]], "response_mode": "x", "other": 1}
        convo = client.conversation(context={"session": state})
        await convo.ask("hi", request_id="K-1")
        await client.ask("again", session_id=convo.session_id, request_id="K-2")
        await client.ask("elsewhere", session_id="S-else", request_id="K-3")
    heard = {event.request_id: event.context["session"] for event in v3.hub.heard}
    assert heard["K-1"]["active_skills"] == [["joke", 1]]
    carried = {key: heard["K-2"].get(key) for key in ("active_skills", "response_mode", "other")}
    assert carried == {"active_skills": [["joke", 1]], "response_mode": "x", "other": None}
    assert "active_skills" not in heard["K-3"]


def test_carry() -> None:
    """The known fields of the handled event go along, under what the caller sets, and in that session only."""
    carry = Carry()
    carry.learn("S", _handled(**{key: key for key in CARRIED}, site_id="x"))

    assert carry.add(None, "S") == {"session": {key: key for key in CARRIED}}
    own = carry.add({"a": 1, "session": {"session_id": "S", "context": "mine"}}, None)
    assert own is not None
    assert (own["a"], own["session"]["context"], own["session"]["active_skills"]) == (1, "mine", "active_skills")
    assert carry.add(None, "T") is None
    assert carry.add(None, None) is None


@pytest.mark.parametrize("events", [[], _handled()[:1], [ThalovantEvent("ovos.utterance.handled", {}, {"session": 1})]])
def test_nothing_to_carry(events: list[ThalovantEvent]) -> None:
    """Without a handled event, or without a session in it, what was known stays."""
    carry = Carry()
    carry.learn("S", _handled(context=1))
    carry.learn("S", events)
    carry.learn(None, _handled(context=2))

    assert carry.add(None, "S") == {"session": {"context": 1}}


def test_carry_is_bounded() -> None:
    """The session that was quiet longest is forgotten."""
    carry = Carry()
    for number in range(SESSIONS):
        carry.learn(f"S-{number}", _handled(context=number))
    carry.learn("S-0", _handled(context="again"))
    carry.learn("S-new", _handled(context="new"))

    assert carry.add(None, "S-1") is None
    assert carry.add(None, "S-0") == {"session": {"context": "again"}}
