"""`transport=`: a client over a transport that its user hands in, and the hub's own transports as objects."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    HiveMindMQTTTransport,
    ThalovantBinary,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantConnectionInfo,
    ThalovantHealth,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    ThalovantIdentityError,
    ThalovantPolicyDeniedError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
    mqtt_topics_for_identity,
)
from thalovant.transport import HiveMindHTTPTransport, HiveMindWSSTransport

from .identities import PLAIN
from .lab import PATIENCE, Lab, run
from .transports import IDENTITY, Fake, message

BROKER = {"endpoint": "mqtts://broker.example", "username": "u", "password": "p"}
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


@pytest.fixture
def fake() -> Fake:
    return Fake()


def _client(fake: Any, **options: Any) -> ThalovantClient:
    return ThalovantClient(IDENTITY, transport=fake, **options)


# --- asking ---


def test_ask(fake: Fake) -> None:
    """It connects, subscribes, sends what the caller said and nothing else, and leaves no subscription."""
    with _client(fake) as client:
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
    with _client(fake, reply_settle_seconds=0, empty_reply_wait_seconds=0) as client:
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
    with _client(fake) as client:
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
    with _client(fake) as client:
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
    with _client(fake) as client:
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
    client, heard, asked = _client(fake), [], []
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
    with _client(fake) as client, client.on("e", heard.append):
        fake.is_connected = False
        client.connect()
        client.connect()
        fake.fire("e")
    assert len(heard) == 1
    assert fake.calls == ["connect", "disconnect", "connect", "disconnect"]


# --- what fails ---


def test_publish_is_tried_twice(fake: Fake) -> None:
    """What raised was not sent: it goes again after reconnecting, once."""
    with _client(fake) as client:
        fake.faults["emit_event"] = [OSError("1")]
        assert client.ask("x").text == "hello"
        assert fake.calls == ["connect", "emit_event", "disconnect", "connect", "emit_event"]
        for call in (lambda: client.ask("x"), lambda: client.emit("x")):
            fake.faults["emit_event"] = [OSError("1"), OSError("2")]
            with pytest.raises(
                ThalovantConnectionError, match=r"^HiveMind transport failed after reconnect\."
            ) as caught:
                call()
            assert (str(caught.value.__cause__), caught.value.delivery) == ("2", "no")
        fake.faults["emit_event"], fake.faults["connect"] = [OSError("1")], [OSError("2"), OSError("3")]
        with pytest.raises(ThalovantConnectionError, match="failed after reconnect"):
            client.emit("x")
        assert client.ask("x").text == "hello"


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), ThalovantRuntimeError("x"), ThalovantConnectionError("x", delivery="unknown")],
    ids=lambda error: type(error).__name__,
)
def test_publish_that_must_not_be_tried_again(fake: Fake, error: Exception) -> None:
    """What the message is to blame for, and what may have left, is raised as it is."""
    with _client(fake) as client:
        for call in (lambda: client.ask("x"), lambda: client.emit("x")):
            fake.faults["emit_event"] = [error]
            with pytest.raises(type(error), match=r"^x"):
                call()
    assert fake.calls == ["connect", "emit_event", "emit_event", "disconnect"]


@pytest.mark.parametrize(
    ("faults", "attempts", "expected"),
    [
        ([OSError("a")], 1, None),
        ([OSError("a"), OSError("b")], 1, "The transport could not connect: b"),
        ([ThalovantConnectionError("a")], 0, "a"),
        ([ThalovantHubRefusedError("no", retryable=False)], 3, "no"),
        ([OSError("a")] * 3, 3, None),
        ([OSError("a")] * 4, None, None),
    ],
)
def test_connect_is_tried_again(
    fake: Fake, faults: list[Exception], attempts: int | None, expected: str | None
) -> None:
    """As often as `reconnect_attempts` says; what cannot be mended by that ends it."""
    fake.faults["connect"] = faults
    client = _client(fake, reconnect_attempts=attempts)
    if expected is None:
        assert client.ask("x").text == "hello"
    else:
        with pytest.raises(ThalovantConnectionError) as caught:
            client.ask("x")
        assert str(caught.value) == expected
        assert client.ask("x").text == "hello"
    client.close()


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.ask("x", timeout=PATIENCE),
        lambda client: client.wait_for_event("x", timeout=PATIENCE),
        lambda client: list(client.listen("x", timeout=PATIENCE)),
    ],
    ids=["ask", "wait_for_event", "listen"],
)
@pytest.mark.parametrize("auto_reconnect", [True, False])
def test_transport_that_dies(fake: Fake, wait: Callable[[ThalovantClient], Any], auto_reconnect: bool) -> None:
    """What waits ends with the transport's words; the next call connects again."""
    fake.answers = (("x", {}),)
    with _client(fake, auto_reconnect=auto_reconnect) as client:
        subscribe, fake.last_error = fake.on_mycroft, "cut off at wss://u:p@hub"

        def last(name: str, handler: Any) -> None:
            subscribe(name, handler)
            fake.is_connected = False

        fake.on_mycroft = last  # type: ignore[method-assign]
        with pytest.raises(ThalovantConnectionError, match=r"^HiveMind transport stopped: cut off at wss://hub\b"):
            wait(client)
        fake.on_mycroft = subscribe  # type: ignore[method-assign]
        client.emit("y")
        assert fake.calls[-2:] == ["connect", "emit_event"]


def test_another_connection(fake: Fake) -> None:
    """A session token that changes is another connection, which has no answer."""
    fake.session_token = 1  # type: ignore[attr-defined]
    said = fake.emit_event

    def emit(*sent: Any) -> None:
        fake.answers = ()
        said(*sent)
        fake.session_token += 1  # type: ignore[attr-defined]

    fake.emit_event = emit  # type: ignore[method-assign]
    with _client(fake) as client, pytest.raises(ThalovantConnectionError, match=r"^HiveMind transport stopped\."):
        client.ask("x", timeout=PATIENCE)


class Hanging(Fake):
    """One of its methods does not return until the test is over."""

    def __init__(self, where: str, over: threading.Event) -> None:
        super().__init__()
        self._where = (where, over)

    def _called(self, name: str) -> None:
        super()._called(name)
        if name == self._where[0]:
            self._where[1].wait(PATIENCE)


def test_transport_that_hangs() -> None:
    """Deadlines hold, and nothing is held up at the end."""
    over = threading.Event()
    try:
        client = _client(fake := Hanging("connect", over))
        with pytest.raises(ThalovantConnectionError, match=r"^Hub connection did not complete within 0\.1s\."):
            client.connect(0.1)
        client.close()
        assert fake.calls == ["connect", "disconnect"]
        client = _client(fake := Hanging("emit_event", over), send_timeout=0.1)
        with pytest.raises(ThalovantTimeoutError, match=r"within 0\.1s"):
            client.ask("x", timeout=0.1)
        with pytest.raises(ThalovantTimeoutError, match="was not sent"):
            client.emit("x")
        client.close()
        assert fake.calls == ["connect", "emit_event", "emit_event", "disconnect"]
        client = _client(Hanging("disconnect", over))
        client.connect()
        client.close()
    finally:
        over.set()


def test_client_that_is_forgotten(fake: Fake) -> None:
    """The transport is disconnected all the same."""
    gone, left = threading.Event(), fake.disconnect
    fake.disconnect = lambda: (left(), gone.set())  # type: ignore[method-assign, func-returns-value, assignment, return-value]
    client = _client(fake)
    client.connect()
    with pytest.warns(ResourceWarning):
        del client
        gc.collect()
    assert gone.wait(PATIENCE)


@pytest.mark.parametrize("given", ["wss", Fake, object(), 7])
def test_what_is_no_transport(given: Any) -> None:
    """One error, at once, that says what to do."""
    with pytest.raises(TypeError, match=r"transport must be an object with connect\(\).*protocol="):
        _client(given)


class Mute:
    """A transport that can only send."""

    def connect(self) -> None: ...

    def emit_event(self, *sent: Any) -> None: ...


def test_transport_that_lacks_methods() -> None:
    """The call that needs one says so; the others work."""
    with _client(Mute()) as client:
        client.emit("x")
        client.send_utterance("x")
        assert client.healthcheck().ok
        for call in (lambda: client.ask("x"), lambda: client.wait_for_event("x"), lambda: client.on("x", print)):
            with pytest.raises(ThalovantRuntimeError, match=r"^The transport has no method on_mycroft\(\)\."):
                call()
        with pytest.raises(ThalovantRuntimeError, match=r"^This transport does not support HiveMind query frames\."):
            client.query("x")
        with pytest.raises(ThalovantRuntimeError, match="send_binary"):
            client.send_binary(b"x")


@pytest.mark.parametrize(("options", "said"), [({"auto_reconnect": False}, "1"), ({"reconnect_attempts": 0}, "failed")])
def test_publish_without_reconnecting(fake: Fake, options: dict[str, Any], said: str) -> None:
    """Whoever wants no reconnect has no second try."""
    with _client(fake, **options) as client:
        fake.faults["emit_event"] = [ThalovantConnectionError("1")]
        with pytest.raises(ThalovantConnectionError, match=said):
            client.emit("x")
    assert fake.calls == ["connect", "emit_event", "disconnect"]


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
    with _client(fake) as client:
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
    with _client(plain) as client:
        client.escalate("a.b")
    with _client(fake) as client:
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
    with _client(fake) as client:
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


# --- the hub's own transports ---


@pytest.mark.parametrize("kind", [HiveMindWSSTransport, HiveMindHTTPTransport])
def test_hub_transports(v3: Lab, kind: Any) -> None:
    """A program that makes a transport and hands it in works as one that does not."""
    identity = v3.stranger()
    transport = kind(identity, noise_state_dir=v3.state_dir(identity.site_id))
    assert (transport.is_connected, transport.last_error) == (False, None)
    with ThalovantClient(identity, transport=transport) as client:
        assert transport.is_connected
        assert client.ask("say one and two").utterances == ("one", "two")
        assert client.query("hi").text == "You said: hi"
        assert client.healthcheck().ok
        assert client.doctor().ok
        heard = v3.heard("hi")[-1]
        assert heard.context["session"]["session_id"]
        v3.hub.disconnect(identity.site_id)
        assert client.ask("hi").text == "You said: hi"
    transport.disconnect()
    assert not transport.is_connected


@pytest.mark.parametrize(
    ("kind", "endpoints", "said"),
    [
        (HiveMindWSSTransport, {}, "The identity does not include a WSS endpoint."),
        (HiveMindWSSTransport, {"wss": "https://hub.example"}, "WSS endpoint must start with ws:// or wss://."),
        (HiveMindMQTTTransport, {}, "The identity does not include MQTT broker credentials."),
    ],
)
def test_hub_transports_without_an_endpoint(kind: Any, endpoints: dict[str, str], said: str) -> None:
    """They say so when they connect."""
    transport = kind(ThalovantIdentity.from_mapping({**PLAIN, "data_plane_endpoints": endpoints}))
    transport.disconnect()
    with pytest.raises(ThalovantConnectionError) as caught:
        transport.connect()
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ({"topic_prefix": " /hive/hub/AK-1/ "}, ("hive/hub/AK-1/in", "hive/hub/AK-1/out", "hive/hub/AK-1/status")),
        ({"topic_prefix": "h", "c2s_topic": "a", "s2c_topic": "b", "status_topic": "c"}, ("a", "b", "c")),
        ({"c2s_topic": "a", "s2c_topic": "b"}, ("a", "b", "")),
        (
            {"topic_prefix": "h/AK-1", "hash_topics": True},
            ("h/c2s/2e5b72522291f7a9", "h/s2c/2e5b72522291f7a9", "h/status/2e5b72522291f7a9"),
        ),
        ({}, "MQTT credentials must include topic_prefix."),
        ({"topic_prefix": "a/#"}, "MQTT topic_prefix contains characters that are not valid in an MQTT topic."),
        ({"topic_prefix": "a+b"}, "MQTT topic_prefix contains characters that are not valid in an MQTT topic."),
        (None, "The identity does not include MQTT broker credentials."),
    ],
)
def test_mqtt_topics(broker: dict[str, Any] | None, expected: Any) -> None:
    """Explicit topics win, then the present layout; a digest of the key is an option of older hubs."""
    identity = ThalovantIdentity.from_mapping({**PLAIN, "mqtt": None if broker is None else {**BROKER, **broker}})
    if isinstance(expected, str):
        with pytest.raises(ThalovantConnectionError) as caught:
            mqtt_topics_for_identity(identity)
        assert str(caught.value) == expected
    else:
        topics = mqtt_topics_for_identity(identity)
        assert topics == expected
        assert (topics.inbound, topics.outbound, topics.status) == expected
