"""`AsyncThalovantClient` against a hub in this process: asking, and sending without waiting for an answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    HubProtocol,
    ThalovantConnectionError,
    ThalovantPolicyDeniedError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)

from .lab import Lab, States


async def test_reply(each: Lab) -> None:
    """A reply has the speech, all that came with it, and the ids of the request."""
    async with each.talking() as client:
        reply = await client.ask("say one and two and two", session_id="S-1", request_id="R-reply")
    assert (reply.text, reply.utterances) == ("one two", ("one", "two"))
    assert (reply.handled, reply.ok, reply.failure_event) == (True, True, None)
    assert (reply.session_id, reply.request_id) == ("S-1", "R-reply")
    assert [event.name for event in reply.events] == ["speak", "speak", "speak", "ovos.utterance.handled"]
    assert reply.skill_ids == ("say",)


async def test_reply_without_words(each: Lab) -> None:
    """A skill that has nothing to say is no error."""
    async with each.talking() as client:
        reply = await client.ask("stay silent")
    assert (reply.text, reply.handled, reply.ok) == ("", True, True)


async def test_failure_without_words(each: Lab) -> None:
    """A failure is an error with the hub's reason."""
    async with each.talking() as client:
        with pytest.raises(ThalovantRuntimeError, match="the lamp is gone") as caught:
            await client.ask("fail because the lamp is gone", request_id="R-fails")
        assert type(caught.value) is ThalovantRuntimeError  # a skill took the question
        assert (caught.value.name, caught.value.code, caught.value.delivery) == ("skill_failed", "skill_failed", "yes")
        assert caught.value.request_id == "R-fails"
        assert (await client.ask("hi")).text == "You said: hi"


async def test_policy(each: Lab) -> None:
    """What the hub does not allow is an error that names it; the connection goes on."""
    identity = each.stranger(allowed=["test.note"])
    async with AsyncThalovantClient(identity) as client:
        states = States(client)
        with pytest.raises(ThalovantPolicyDeniedError) as caught:
            await client.ask("hi")
        assert caught.value.denied_type == "recognizer_loop:utterance"
        assert caught.value.hint
        await client.emit("test.note")
        await each.wait_for("test.note")
        assert states.names == ["ready"]
        await client.close(timeout=0)  # older hubs are waited for else: they may still answer


async def test_silence_is_a_timeout(each: Lab) -> None:
    """Where nothing is heard in time, nobody knows whether the hub did it; the client goes on."""
    async with each.talking(goodbye=False) as client:
        await client.ask("hi")
        with pytest.raises(ThalovantTimeoutError, match=r"within 0\.05s") as caught:
            await client.ask("hang", timeout=0.05)
        assert (caught.value.delivery, caught.value.name) == ("unknown", "timeout")
        assert "timeout=" in caught.value.hint
        assert (await client.ask("hi")).text == "You said: hi"


async def test_speech_is_not_lost_at_the_deadline(each: Lab) -> None:
    """What was said until the time was up is the reply, not handled."""
    async with each.talking(goodbye=False, reply_settle_seconds=5) as client:
        await client.connect()
        reply = await client.ask("start and hang", timeout=1)
    assert (reply.text, reply.handled, reply.ok) == ("started", False, False)


async def test_quiet_ends_a_reply(each: Lab) -> None:
    """A hub that never says that it is done has said all when it is quiet for a while."""
    async with each.talking(goodbye=False, reply_settle_seconds=0.01) as client:
        reply = await client.ask("start and hang")
    assert (reply.text, reply.handled) == ("started", False)


async def test_stream_gives_pieces_as_they_come(each: Lab) -> None:
    """The first piece is there while the skill still waits for us to say that it may go on."""
    async with each.talking() as client:
        said = []
        async for piece in client.stream("two steps stream"):
            said.append(piece.text)
            if said == ["one"]:
                await client.emit("test.go", {"gate": "stream"})
        assert said == ["one", "two"]


async def test_stream_can_be_left(each: Lab) -> None:
    """Leaving the loop gives the ask up; the client goes on."""
    async with each.talking() as client:
        stream = client.stream("two steps left")
        assert (await anext(stream)).text == "one"
        await stream.aclose()
        assert (await client.ask("hi")).text == "You said: hi"
        await client.emit("test.go", {"gate": "left"})


async def test_stream_raises_what_ask_raises(each: Lab) -> None:
    """If nothing was said."""
    async with each.talking() as client:
        with pytest.raises(ThalovantRuntimeError, match="no reason"):
            await anext(client.stream("fail because no reason"))


async def test_many_asks_at_once(each: Lab) -> None:
    """Each gets its own answer."""
    async with each.talking() as client:
        replies = await asyncio.gather(*(client.ask(f"number {number}") for number in range(100)))
        assert [reply.text for reply in replies] == [f"You said: number {number}" for number in range(100)]


async def test_request_id_in_flight_is_refused(v3: Lab) -> None:
    """Two asks with one id could not be told apart."""
    async with v3.talking() as client:
        first = asyncio.create_task(client.ask("two steps twice", request_id="twice"))
        await v3.wait_for("recognizer_loop:utterance", text="two steps twice")
        with pytest.raises(ThalovantRuntimeError, match="in flight") as caught:
            await client.ask("hi", request_id="twice")
        assert (caught.value.name, caught.value.delivery) == ("request_in_flight", "no")
        assert "id of its own" in caught.value.hint
        await client.emit("test.go", {"gate": "twice"})
        assert (await first).text == "one two"


async def test_link_lost_while_asking(each: Lab) -> None:
    """The hub may have acted on it, so it is not sent again: the caller is told, and decides."""
    identity = each.stranger()
    async with AsyncThalovantClient(identity) as client:
        asked = asyncio.create_task(client.ask("hang with me"))
        await each.wait_for("recognizer_loop:utterance", text="hang with me")
        await asyncio.to_thread(each.hub.disconnect, identity.site_id)
        with pytest.raises(ThalovantConnectionError) as caught:
            await asked
        assert (caught.value.name, caught.value.delivery) == ("lost", "unknown")
        assert (await client.ask("hi")).text == "You said: hi"


async def test_idempotent_asks_are_sent_again(own: Lab) -> None:
    """With `retry="idempotent"` the same request is sent again after the reconnect, under the same id."""
    async with own.async_client(retry="idempotent") as client:
        asked = asyncio.create_task(client.ask("hang twice", request_id="again"))
        await own.wait_for("recognizer_loop:utterance", text="hang twice")
        own.hub.skill("hang twice")(lambda turn: "Now I know.")
        await asyncio.to_thread(own.hub.disconnect, "shared")
        assert (await asked).text == "Now I know."
        assert [event.request_id for event in own.heard("hang twice")] == ["again", "again"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.ask(" "), "ask() requires a non-empty text prompt."),
        (lambda client: anext(client.stream("")), "stream() requires a non-empty text prompt."),
        (lambda client: client.send_utterance("\n"), "send_utterance() requires a non-empty text prompt."),
        (lambda client: client.send_action(""), "send_action() requires a non-empty payload."),
        (lambda client: client.send_code(" "), "send_code() requires a non-empty value."),
        (lambda client: client.emit(" "), "emit() requires a non-empty event type."),
        (lambda client: client.send_binary(b"", "tts"), "unknown kind of binary message: 'tts'"),
        (lambda client: client.send_binary(b"", 16), "unknown kind of binary message: 16"),
        (lambda client: client.emit("test.note", {"a": object()}), "A message cannot be sent"),
        (lambda client: client.ask("hi", timeout=float("nan")), "timeout must be a number of seconds"),
        (lambda client: client.connect("5"), "timeout must be a number of seconds"),
        (
            lambda client: client.listen("speak", max_buffered_events=0),
            "max_buffered_events must be a whole number, 1 or more, not 0",
        ),
    ],
)
async def test_mistakes_in_calls(v3: Lab, call: Any, message: str) -> None:
    """What cannot be meant is a `ValueError` that says why, and nothing is sent."""
    async with v3.talking() as client:
        with pytest.raises(ValueError) as caught:
            await call(client)
        assert str(caught.value).startswith(message)
        assert (await client.ask("hi")).text == "You said: hi"


@pytest.mark.parametrize("protocol", ["wss", "https", "mqtt"])
async def test_what_is_too_long_to_send_costs_nobody_else(v3: Lab, protocol: HubProtocol) -> None:
    """It is the caller's mistake, found before anything leaves: asks in flight and the connection go on."""
    async with v3.talking(protocol=protocol) as client:
        await client.connect()
        states = States(client)
        innocent = asyncio.create_task(client.ask(f"two steps {protocol}"))
        await v3.wait_for("recognizer_loop:utterance", text=f"two steps {protocol}")
        for call in (client.ask("x" * 5_000_000), client.send_utterance("x" * 5_000_000)):
            with pytest.raises(ValueError, match="over the limit") as caught:
                await call
            assert "Send less at a time" in "".join(caught.value.__notes__)
        await client.emit("test.go", {"gate": protocol})
        assert (await innocent).text == "one two"
        assert states.names == ["ready"]


@pytest.mark.parametrize("option", ["connect_timeout", "handshake_timeout", "send_timeout", "reply_settle_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
def test_mistakes_in_settings(v3: Lab, option: str, value: object) -> None:
    """Times that are none are found when the client is made; a wait may be none."""
    if (option, value) == ("reply_settle_seconds", 0):
        v3.async_client(**{option: value})
        return
    with pytest.raises(ValueError, match=f"{option} must be a positive number of seconds"):
        v3.async_client(**{option: value})


def test_unknown_retry(v3: Lab) -> None:
    """A word that is no policy."""
    with pytest.raises(ValueError, match='retry must be "never" or "idempotent", not \'always\''):
        v3.async_client(retry="always")


# --- sending ---


async def test_messages_as_the_hub_hears_them(each: Lab) -> None:
    """Utterance, action, code and event: data and context of each."""
    async with each.talking() as client:
        await client.send_utterance(" open ", lang="de-de", session_id="S-2", request_id="R-utterance")
        await client.send_action("/choose", title="Choose", request_id="R-action")
        await client.send_code("4006381333931", kind="ean", label="Pen", request_id="R-code")
        await client.emit("test.note", {"text": "hi"}, {"device": "d1", "request_id": "R-emit"})
        await client.ask("Has everything arrived?")  # the hub hears in order
    found = {event.request_id: event for event in each.hub.heard}

    said = found["R-utterance"]
    assert (said.utterances, said.lang) == (("open",), "de-de")
    assert said.session_id == "S-2"
    assert each.identity().site_id == said.site_id
    action = found["R-action"].context["input"]
    assert action == {"kind": "action", "title": "Choose", "payload": "/choose"}
    code = {"kind": "ean", "label": "Pen", "value": "4006381333931", "exact": True}
    assert code == found["R-code"].context["input"] == found["R-code"].data["input"]
    assert (found["R-emit"].data["text"], found["R-emit"].context["device"]) == ("hi", "d1")


async def test_metadata_of_the_identity_goes_along(v3: Lab) -> None:
    """Under `metadata`; the caller's keys win."""
    identity = replace(v3.identity(), metadata={"room": "kitchen", "floor": 1})
    async with AsyncThalovantClient(identity, noise_state_dir=v3.state_dir()) as client:
        await client.ask("hi", context={"metadata": {"floor": 2}}, request_id="R-meta")
    (heard,) = [event for event in v3.hub.heard if event.request_id == "R-meta"]
    assert heard.context["metadata"] == {"room": "kitchen", "floor": 2}


async def test_everything_connects_by_itself(each: Lab) -> None:
    """No call needs `connect` before it, the first time or after `close`."""
    client = each.async_client()
    for _ in range(2):
        await client.send_utterance("send first")
        assert (await client.wait_for_event("speak")).text == "You said: send first"
        await client.close()
        await client.emit("test.flood", {"count": 1})
        assert [event.data["number"] async for event in client.listen("test.tick", max_events=1)] == [0]
        await client.close()


async def test_binary_to_the_hub(each: Lab) -> None:
    """Bytes arrive whole, under the kind and with the metadata that they were sent with."""
    arrived: list[tuple[bytes, object]] = []
    payload = bytes(range(256)) * 300
    each.hub.on_binary(3)(lambda turn: arrived.append((turn.binary.payload, turn.binary.metadata.get("file_name"))))
    each.hub.on_binary(6)(lambda turn: arrived.append((turn.binary.payload, None)))
    async with each.talking() as client:
        await client.send_binary(payload, "file", metadata={"file_name": "a.bin"})
        await client.send_binary(b"short", 6)
        while len(arrived) < 2:
            await client.ask("arrived?")

    assert sorted(arrived, key=lambda one: -len(one[0])) == [(payload, "a.bin"), (b"short", None)]


async def test_large_messages(each: Lab) -> None:
    """A megabyte of text goes there and comes back."""
    text = "x" * 1_000_000
    async with each.talking() as client:
        assert (await client.ask(text)).text == f"You said: {text}"


async def test_message_that_is_too_large(v3: Lab) -> None:
    """What no connection could carry is refused here, and the connection goes on."""
    async with v3.talking() as client:
        with pytest.raises(ValueError, match="over"):
            await client.send_binary(b"\0" * (33 * 1024 * 1024))
        assert (await client.ask("hi")).text == "You said: hi"
