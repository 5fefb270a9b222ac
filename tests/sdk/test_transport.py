"""`transport=`: a client over a transport that its user hands in, and the hub's own transports as objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    ThalovantBinary,
    ThalovantClient,
    ThalovantConnectionInfo,
    ThalovantHealth,
    ThalovantIdentity,
    ThalovantIdentityError,
    ThalovantPolicyDeniedError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)

from .lab import PATIENCE, run
from .transports import IDENTITY, Fake, client_over, message

pytestmark = pytest.mark.usefixtures("nothing_left")


class AsyncFake(Fake):
    """The same with coroutine functions."""

    async def connect(self) -> None:  # type: ignore[override]
        super().connect()

    async def disconnect(self) -> None:  # type: ignore[override]
        super().disconnect()

    async def on_mycroft(self, name: str, handler: Any) -> None:  # type: ignore[override]
        super().on_mycroft(name, handler)

    async def emit_event(self, *message: Any) -> None:  # type: ignore[override]
        super().emit_event(*message)


# --- asking ---


def test_ask(fake: Fake) -> None:
    """It connects, subscribes, sends what the caller said and nothing else, and leaves no subscription."""
    with client_over(fake) as client:
        context = {"session": {"lang": "fr"}, "source": "me"}
        reply = client.ask(" hi ", session_id="S1", request_id="R1", context=context)
    session = {"lang": "fr", "session_id": "S1", "site_id": "site", "request_id": "R1"}
    ids = {"request_id": "R1", "thalovant_request_id": "R1"}
    data = {"utterances": ["hi"], "lang": "en-us"}

    assert (reply.text, reply.ok, reply.session_id, reply.request_id) == ("hello", True, "S1", "R1")
    assert [type(raw) for raw in reply.raw_messages] == [SimpleNamespace] * 2
    assert fake.sent == [("recognizer_loop:utterance", data, {"session": session, "source": "me", **ids})]
    assert (fake.calls, fake.subscribed) == (["connect", "emit_event", "disconnect"], [])


@pytest.mark.parametrize(
    ("answers", "echo", "expected"),
    [
        pytest.param([("speak", {"utterance": "hi"}), ("ovos.utterance.handled", {})], False, "hi", id="no ids"),
        pytest.param([("ovos.utterance.handled", {})], True, "", id="nothing said"),
        pytest.param([("speak", {"utterance": "hi"})], True, "hi", id="never handled"),
        pytest.param(
            [("hive.policy.denied", {"reason": "no", "denied_type": "recognizer_loop:utterance"})],
            False,
            ThalovantPolicyDeniedError,
            id="denied",
        ),
        pytest.param([("hive.query.timeout", {})], True, ThalovantRuntimeError, id="gave up"),
        pytest.param([("other", {})], True, ThalovantTimeoutError, id="no answer"),
        pytest.param([("speak", None), ("speak", ["x"]), ("speak", {"utterance": 7})], True, "", id="garbage"),
    ],
)
def test_answers(answers: list[Any], echo: bool, expected: Any) -> None:
    """An ask ends as it does with a hub."""
    fake = Fake(*answers, echo=echo)
    with client_over(fake, reply_settle_seconds=0, empty_reply_wait_seconds=0) as client:
        if isinstance(expected, str):
            assert client.ask("x").text == expected
        else:
            with pytest.raises(expected):
                client.ask("x", timeout=0.2 if expected is ThalovantTimeoutError else PATIENCE)
        assert fake.subscribed == []


def test_another_session_and_request(fake: Fake) -> None:
    """What belongs to another one does not answer."""
    fake.answers = (("speak", {"utterance": "mine"}), ("ovos.utterance.handled", {}))
    said = fake.emit_event

    def emit(*sent: Any) -> None:
        fake.fire("speak", {"utterance": "other"}, {"request_id": "R9"})
        fake.fire("speak", {"utterance": "other"}, {"session": {"session_id": "S9"}})
        said(*sent)

    fake.emit_event = emit  # type: ignore[method-assign]
    with client_over(fake) as client:
        assert client.ask("x", session_id="S1").text == "mine"


def test_answers_from_another_thread(fake: Fake) -> None:
    """A transport may answer from a thread of its own, and the message's own type counts."""
    fake.answers = (("none", {}),)

    def answer() -> None:
        for handler in tuple(fake.handlers["speak"]):
            handler(message({"utterance": "late"}, fake.sent[-1][2], "speak"))
        fake.fire("ovos.utterance.handled", {}, fake.sent[-1][2])

    said = fake.emit_event

    def emit(*sent: Any) -> None:
        said(*sent)
        threading.Thread(target=answer).start()

    fake.emit_event = emit  # type: ignore[method-assign]
    with client_over(fake) as client:
        assert client.ask("x").text == "late"
        assert [event.text for event in client.stream("x")] == ["late"]
        assert client.conversation(session_id="S").ask("x").session_id == "S"


@pytest.mark.parametrize("kind", [Fake, AsyncFake])
def test_async(kind: type[Fake]) -> None:
    """The asynchronous client takes plain methods and coroutine functions."""

    async def work() -> None:
        fake, heard = kind(), []
        async with AsyncThalovantClient(IDENTITY, transport=fake) as client:
            assert (await client.ask("x")).text == "hello"
            client.on("other", heard.append)
            await asyncio.sleep(0)
            fake.fire("other", {"text": "1"})
            assert [event.text for event in heard] == ["1"]
            asyncio.get_running_loop().call_later(0.05, fake.fire, "next")
            assert (await client.wait_for_event("next", timeout=PATIENCE)).name == "next"
        assert fake.calls == ["connect", "emit_event", "disconnect"]
        assert fake.subscribed == []

    run(work())


# --- sending and hearing ---


@pytest.mark.parametrize(
    ("send", "data", "context"),
    [
        (lambda client: client.emit("a"), {}, {"metadata": {"m": 1}}),
        (lambda client: client.emit("a", {"d": 1}, {"c": 1}), {"d": 1}, {"c": 1, "metadata": {"m": 1}}),
        (lambda client: client.emit("a", None, {"metadata": {"m": 2}}), {}, {"metadata": {"m": 2}}),
        (
            lambda client: client.conversation(session_id="S").emit("a"),
            {},
            {"session": {"session_id": "S", "site_id": "site", "lang": "en-us"}, "metadata": {"m": 1}},
        ),
    ],
)
def test_emit(fake: Fake, send: Callable[[ThalovantClient], None], data: Any, context: Any) -> None:
    """Only the identity's metadata is added; the rest is the transport's business."""
    identity = ThalovantIdentity.from_mapping({**IDENTITY.as_dict(include_secrets=True), "metadata": {"m": 1}})
    with ThalovantClient(identity, transport=fake) as client:
        send(client)
    assert fake.sent == [("a", data, context)]


def test_actions_codes_and_listening_afterwards(fake: Fake) -> None:
    """What answers a message that was sent is kept for who listens next."""
    with client_over(fake) as client:
        client.send_action(" /go ", title="Go", request_id="R")
        client.send_code(" 42 ", kind="qr", label="No", request_id="R")
        assert [event.text for event in client.listen("speak", timeout=PATIENCE, max_events=2)] == ["hello"] * 2
    action, code = fake.sent
    given = {"kind": "qr", "label": "No", "value": "42", "exact": True}

    assert action[2]["input"] == {"kind": "action", "title": "Go", "payload": "/go"}
    assert code[1] == {"utterances": ["42"], "lang": "en-us", "input": given}
    assert code[2]["input"] == given


def test_on(fake: Fake) -> None:
    """It connects and subscribes before it returns; what a test then feeds is handled before that goes on."""
    client, heard, asked = client_over(fake), [], []
    mine = client.on("e", heard.append, session_id="S", predicate=lambda event: event.data.get("n") != 2)
    again = client.on("e", lambda event: asked.append(client.ask("inner").text))
    for number, session in ((1, "S"), (2, "S"), (3, "T")):
        fake.fire("e", {"n": number}, {"session": {"session_id": session}})

    assert [event.data["n"] for event in heard] == [1]
    assert asked == ["hello"] * 3
    assert (mine.event_name, fake.subscribed) == ("e", ["e"])
    mine.close()
    again.unsubscribe()
    again.close()
    assert fake.subscribed == []
    client.close()
    assert fake.calls == ["connect", *["emit_event"] * 3, "disconnect"]


def test_events_survive_reconnects(fake: Fake) -> None:
    """A dead transport is left and connected again by the next call, and everything is subscribed once."""
    heard: list[Any] = []
    with client_over(fake) as client, client.on("e", heard.append):
        fake.is_connected = False
        client.connect()
        client.connect()
        fake.fire("e")
    assert len(heard) == 1
    assert fake.calls == ["connect", "disconnect", "connect", "disconnect"]


# --- frames, health, identity ---


class Hive(Fake):
    """A transport that carries HiveMind messages too."""

    def on_hive_message(self, kind: str, handler: Any) -> None:
        self.on_mycroft(f"hive {kind}", handler)

    def remove_hive_message(self, kind: str, handler: Any) -> None:
        self.remove_mycroft(f"hive {kind}", handler)

    def send_hive_message(self, frame: Any, *, encrypt: bool = True) -> None:
        assert encrypt
        query_id = frame.metadata["query_id"]
        said = SimpleNamespace(msg_type="speak", data={"utterance": "from above"}, context={})
        inner = SimpleNamespace(msg_type="bus", payload=said, metadata={})
        for handler in tuple(self.handlers["hive query"]):
            handler(SimpleNamespace(msg_type="query", payload=inner, metadata={"query_id": query_id}))
            done = {"type": "hive.query.complete", "data": {}, "context": {}}
            frame = {"msg_type": "query", "payload": {"msg_type": "bus", "payload": done}}
            handler({**frame, "metadata": {"query_id": query_id}})
            handler({"msg_type": "query", "payload": 7})
            handler(object())


def test_query() -> None:
    """A query travels as a frame, and both kinds of frame are unsubscribed afterwards."""
    fake = Hive()
    with client_over(fake) as client:
        reply = client.query("x", query_id="Q")
    assert (reply.text, reply.ok) == ("from above", True)
    assert fake.subscribed == []


def test_mesh_and_raw_bytes() -> None:
    """The mesh goes through the method that is for it, else as a frame; raw bytes come and go as they are."""
    plain, fake = Hive(), Hive()
    sent: list[Any] = []
    heard: list[Any] = []
    plain.send_hive_message = lambda frame, **_: sent.append((frame["msg_type"], frame["payload"]["payload"]["type"]))
    fake.send_hive_frame = lambda *frame: sent.append(frame)  # type: ignore[attr-defined]
    fake.send_binary = lambda *binary: sent.append(binary)  # type: ignore[attr-defined]
    fake.on_binary = lambda handler: fake.on_mycroft("raw", handler)  # type: ignore[attr-defined]
    fake.remove_binary = lambda handler: fake.remove_mycroft("raw", handler)  # type: ignore[attr-defined]
    with client_over(plain) as client:
        client.escalate("a.b")
    with client_over(fake) as client:
        client.propagate(" a.b ", {"x": 1}, {"metadata": {"m": 2}})
        client.send_binary(b"y", "file", metadata={"file_name": "z"})
        with client.on_binary(heard.append):
            for binary in (
                SimpleNamespace(kind="tts_audio", data=b"1", metadata={"lang": "de"}),
                SimpleNamespace(kind="binary:9", data=bytearray(b"2"), metadata=None),
                SimpleNamespace(kind="file", data="text"),
                None,
            ):
                for handler in tuple(fake.handlers["raw"]):
                    handler(binary)
    assert sent == [
        ("escalate", "a.b"),
        ("propagate", "a.b", {"x": 1}, {"metadata": {"m": 2}}),
        (b"y", "file", {"file_name": "z"}),
    ]
    assert heard == [ThalovantBinary("tts_audio", b"1", {"lang": "de"}), ThalovantBinary("binary:9", b"2", {})]


def test_health_and_doctor(fake: Fake) -> None:
    """The transport's own word counts where it has one; the doctor goes the same four steps."""
    with client_over(fake) as client:
        assert client.healthcheck().ok
        fake.healthcheck = lambda: {"transport_alive": False, "last_error": "x"}  # type: ignore[method-assign, dict-item]
        assert client.healthcheck() == ThalovantHealth(True, True, False, "x", client.connection_info())
        own = ThalovantHealth(connected=True, handshake_complete=False, transport_alive=True)
        fake.healthcheck = lambda: own  # type: ignore[method-assign, return-value, assignment]
        assert client.healthcheck() is own
        assert [check.ok for check in client.doctor().checks] == [True, True, True, False]
        own = ThalovantHealth(connected=True, handshake_complete=True, transport_alive=True)
        assert [check.name for check in client.doctor().checks] == ["identity", "endpoint", "connect", "transport"]
        assert client.connect_with_info().phase == "ready"
        info = ThalovantConnectionInfo(phase="ready", connect_ms=7.0)
        fake.connection_info = lambda: info  # type: ignore[attr-defined]
        assert client.connection_info() is info
        assert repr(client) == "<ThalovantClient HTTPS (transport=) ready>"


@pytest.mark.parametrize("protocol", [None, "wss", "https", "mqtt", "other"])
def test_identity_is_not_checked(fake: Fake, protocol: Any) -> None:
    """Whatever the identity and the protocol say, the transport decides; no plain endpoint is refused."""
    identity = ThalovantIdentity(access_key="a", password="b", default_master="http://192.0.2.1", site_id="s")
    with pytest.raises(ThalovantIdentityError):
        ThalovantClient(identity)
    with ThalovantClient(identity, transport=fake, protocol=protocol) as client:
        assert client.ask("x").text == "hello"
