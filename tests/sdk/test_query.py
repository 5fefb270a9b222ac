"""`query`: a question as a frame that hubs pass on, and its answer, piece by piece."""

from __future__ import annotations

import asyncio

import pytest

from thalovant import AsyncThalovantClient, ThalovantConnectionError, ThalovantRuntimeError, ThalovantTimeoutError
from thalovant_proto.events import QUERY_COMPLETE

from .lab import Lab, run


async def test_query(each: Lab) -> None:
    """The reply has all that was said; each query has a session of its own."""
    async with each.talking() as client:
        reply = await client.query("say one and two", request_id="Q-1")
        assert (reply.text, reply.utterances, reply.handled, reply.ok) == ("one two", ("one", "two"), True, True)
        assert (reply.request_id, reply.events[-1].name) == ("Q-1", QUERY_COMPLETE)
        other = await client.query("hi")
        assert None is not reply.session_id != other.session_id
        named = await client.query("hi", session_id="S-q", query_id="my query")
        assert (named.text, named.session_id) == ("You said: hi", "S-q")


def test_sync_query_and_conversation(v3: Lab) -> None:
    """The synchronous client and both conversations have it too."""
    with v3.client() as client, client.conversation() as convo:
        assert client.query("hi").text == "You said: hi"
        assert convo.session_id == convo.query("hi").session_id

    async def asks() -> None:
        async with v3.talking() as client:
            convo = client.conversation()
            assert convo.session_id == (await convo.query("hi")).session_id

    run(asks())


async def test_many_queries_at_once(v3: Lab) -> None:
    """Each gets its own answer, beside asks."""
    async with v3.talking() as client:
        calls = [client.query(f"query {n}") if n % 2 else client.ask(f"query {n}") for n in range(20)]
        replies = await asyncio.gather(*calls)
        assert [reply.text for reply in replies] == [f"You said: query {n}" for n in range(20)]


async def test_query_without_answer(each: Lab) -> None:
    """Silence, a failure and time that runs out are different errors; the client goes on."""
    async with each.talking(goodbye=False) as client:
        with pytest.raises(ThalovantTimeoutError, match="said nothing") as silent:
            await client.query("stay silent")
        assert (silent.value.name, silent.value.delivery) == ("silent", "yes")
        with pytest.raises(ThalovantRuntimeError):
            await client.query("fail because of a query")
        with pytest.raises(ThalovantTimeoutError, match=r"within 0\.05s") as late:
            await client.query("hang", timeout=0.05)
        assert late.value.delivery == "unknown"
        assert (await client.query("hi")).text == "You said: hi"


async def test_query_that_is_not_finished(v3: Lab) -> None:
    """What was said until the time was up is the reply, not handled."""
    async with v3.talking() as client:
        reply = await client.query("start and hang", timeout=0.5)
        assert (reply.text, reply.handled, reply.ok) == ("started", False, False)


async def test_link_lost_during_a_query(v3: Lab) -> None:
    """Nobody knows whether it was acted on; it is not sent again."""
    identity = v3.stranger()
    async with AsyncThalovantClient(identity, protocol="wss") as client:
        asked = asyncio.create_task(client.query("hang in a query"))
        await v3.wait_for("recognizer_loop:utterance", text="hang in a query")
        await asyncio.to_thread(v3.hub.disconnect, identity.site_id)
        with pytest.raises(ThalovantConnectionError) as caught:
            await asked
        assert (caught.value.name, caught.value.delivery) == ("lost", "unknown")
        assert (await client.query("hi")).text == "You said: hi"


def test_blank_query(v3: Lab) -> None:
    """A `ValueError`, as for an ask."""
    client = v3.client()
    with pytest.raises(ValueError, match=r"query\(\) requires a non-empty text prompt\."):
        client.query(" ")
    client.close()
