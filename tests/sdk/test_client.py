"""`ThalovantClient` against a hub in this process: every method, from an ordinary thread."""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thalovant import (
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantEvent,
    ThalovantRuntimeError,
    ThalovantUnsupportedProtocolError,
)

from .lab import PATIENCE, Lab, States, free_port, logged

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_session(each: Lab) -> None:
    """Connect, ask, stream, send, close, and the same once more: the client can be used again."""
    client = each.client()
    for _ in range(2):
        info = client.connect_with_info()
        assert "ready" == info.phase == client.connection_info().phase
        assert client.healthcheck().ok
        assert client.ask("say one and two").text == "one two"
        assert [piece.text for piece in client.stream("say one and two")] == ["one", "two"]
        client.disconnect()
        client.close()
        client.wait_closed()
        assert client.connection_info().phase == "closed"


def test_as_a_context(v3: Lab) -> None:
    """`with` connects and closes."""
    with v3.client() as client:
        assert client.connection_info().phase == "ready"
    assert client.connection_info().phase == "closed"


def test_block_that_is_not_entered(v3: Lab) -> None:
    """Where `with` cannot connect nothing is left: no thread, nothing to complain about."""
    url = f"wss://127.0.0.1:{free_port()}"
    identity = v3.identity()
    moved = replace(identity, data_plane_endpoints=replace(identity.data_plane_endpoints, wss=url))
    client = ThalovantClient(moved, noise_state_dir=v3.state_dir(), protocol="wss")
    with pytest.raises(ThalovantConnectionError, match="refused"), client:
        raise AssertionError("it was entered")

    assert not [thread for thread in threading.enumerate() if thread.name == "thalovant-client"]


def test_without_a_thread(v3: Lab) -> None:
    """Making a client and asking what it is starts nothing."""
    client = v3.client()

    assert (client.connection_info().phase, client.protocol, client.identity) == ("idle", "wss", v3.identity())
    client.wait_closed()
    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "thalovant-client"]


def test_sending(each: Lab) -> None:
    """Each kind of message arrives as its own."""
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    each.hub.on_binary(2)(lambda turn: arrived.put(turn.binary.payload))
    with each.client() as client:
        client.send_utterance("sync utterance", request_id="S-utterance")
        client.send_action("/sync", title="Sync", request_id="S-action")
        client.send_code("123", kind="ean", label="Box", request_id="S-code")
        client.emit("test.note", {"a": 1}, {"request_id": "S-emit"})
        client.send_binary(b"image", "numpy_image")
        assert arrived.get(timeout=PATIENCE) == b"image"
        client.ask("all there?")
    found = {event.request_id: event for event in each.hub.heard}

    assert found["S-utterance"].utterances == ("sync utterance",)
    assert found["S-action"].context["input"]["kind"] == "action"
    assert tuple(found["S-code"].data["input"][key] for key in ("kind", "label")) == ("ean", "Box")
    assert found["S-emit"].data == {"a": 1}


def test_send_then_listen(each: Lab) -> None:
    """As the documents do it: what is answered at once is not lost."""
    with each.client() as client:
        client.send_utterance("count to 3")
        assert client.wait_for_event("speak").text == "done"
        assert client.wait_for_event("test.tick").data["number"] == 0
        assert [event.data["number"] for event in client.listen("test.tick", timeout=5, max_events=2)] == [1, 2]
        assert list(client.listen("test.tick", timeout=0)) == []


def test_listen_can_be_left(v3: Lab) -> None:
    """Leaving the loop ends the subscription: what comes afterwards is kept for others."""
    with v3.client() as client:
        client.send_utterance("count to 1")
        for event in client.listen("test.tick"):
            assert event.data["number"] == 0
            break
        gc.collect()
        client.ask("count to 1")
        assert client.wait_for_event("test.tick").data["number"] == 0


def test_handlers_run_in_their_own_thread(each: Lab) -> None:
    """In order, and free to call the client; what they raise is logged."""
    heard: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def answers(event: ThalovantEvent) -> None:
        text = client.ask(f"tick {event.data['number']}").text
        heard.put((threading.current_thread().name, text))

    with each.client() as client:
        with client.on("test.tick", answers) as subscription:
            assert (subscription.event_name, subscription.dropped) == ("test.tick", 0)
            client.ask("count to 2")
            found = [heard.get(timeout=PATIENCE) for _ in range(2)]
        client.ask("count to 1")  # nobody listens
    assert found == [("thalovant-handlers", f"You said: tick {number}") for number in range(2)]
    assert heard.empty()


def test_handler_that_raises(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The next event is handled all the same."""
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()

    def fails_once(event: ThalovantEvent) -> None:
        if event.data["number"] == 0:
            raise ZeroDivisionError
        heard.put(event.data["number"])

    with v3.client() as client:
        client.on("test.tick", fails_once)
        client.ask("count to 2")
        assert heard.get(timeout=PATIENCE) == 1

    assert [record.message for record in logged(caplog)] == ["A handler of 'test.tick' raised"]


def test_handler_that_closes(v3: Lab) -> None:
    """A handler may close its subscription, and the client too."""
    closed = threading.Event()

    def closes(event: ThalovantEvent) -> None:
        subscription.close()
        client.close()
        closed.set()

    client = v3.client()
    subscription = client.on("test.tick", closes)
    client.send_utterance("count to 3")
    assert closed.wait(PATIENCE)

    assert client.connection_info().phase == "closed"


def test_binary_handler(v3: Lab) -> None:
    """Raw bytes of the hub reach it."""
    heard: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    with v3.client(reply_settle_seconds=0.01) as client:
        client.on_binary(lambda binary: heard.put((binary.kind, binary.data)))
        client.ask("send 3 bytes")
        assert heard.get(timeout=PATIENCE) == ("tts_audio", b"\5\5\5")


def test_predicate(v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It decides; one that waits for the client, on the loop's thread, is told so in the log and means no."""
    with v3.client() as client:
        client.send_utterance("count to 3")
        found = client.wait_for_event("test.tick", predicate=lambda event: event.data["number"] == 2)
        assert found.data["number"] == 2
        assert list(client.listen("test.tick", timeout=0, predicate=lambda event: bool(client.ask("hi")))) == []

    assert "A predicate for 'test.tick' raised" in {record.message for record in logged(caplog)}


def test_states(own: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """They come on the handler thread, in order; what a handler of them raises is logged."""
    client = own.client()
    states = States(client)
    client.on_state(lambda state, error: 1 / 0 if state == "ready" else None)
    client.connect()
    own.hub.disconnect("shared")
    states.wait("ready", times=2)
    states.end()
    client.close()

    up = ["connecting", "handshake", "ready"]
    assert states.names == ["idle", *up, "waiting", *up]
    assert isinstance(states.seen[4][1], ThalovantConnectionError)
    assert "A handler of state changes raised" in {record.message for record in logged(caplog)}


def test_subscription_survives_close(v3: Lab) -> None:
    """As it survives reconnects: it hears what the next connection brings, until it is closed."""
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()
    client = v3.client()
    subscription = client.on("test.tick", lambda event: heard.put(event.data["number"]))
    client.connect()
    client.close()
    client.ask("count to 1")
    assert heard.get(timeout=PATIENCE) == 0
    client.close()
    subscription.close()  # with no loop running
    client.ask("count to 1")
    client.close()

    assert heard.empty()


def test_inside_a_running_loop(v3: Lab) -> None:
    """As in notebooks: the loop that runs here is not ours."""

    async def cell() -> str:
        with v3.client() as client:
            return client.ask("from a cell").text

    assert asyncio.run(cell()) == "You said: from a cell"


def test_dropped_without_close(v3: Lab) -> None:
    """A client that is forgotten says so once, and its connection and thread are gone."""
    client = v3.client()
    client.connect()
    states = States(client)
    states.end()
    gone = weakref.ref(client)
    with pytest.warns(ResourceWarning, match="client was not closed") as caught:
        del client, states
        until = time.monotonic() + PATIENCE  # its handler of states, told the present one, may hold it yet
        while gone() is not None and time.monotonic() < until:
            gc.collect()

    assert gone() is None
    assert len(caught) == 1


def test_from_what_is_stored(v3: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity file, config profile and variables; options go to the constructor."""
    values = {key: value for key, value in v3.identity().as_dict(include_secrets=True).items() if value}
    options: dict[str, Any] = {"noise_state_dir": v3.state_dir(), "protocol": "wss"}
    identity, config = tmp_path / "id.json", tmp_path / "config.yaml"
    for file, content in ((identity, values), (config, {"profiles": {"lab": values}})):
        file.write_text(json.dumps(content))
        file.chmod(0o600)
    variables = {
        "ACCESS_KEY": values["access_key"],
        "PASSWORD": values["password"],
        "SITE_ID": values["site_id"],
        "HUB_WSS_HOST": values["data_plane_endpoints"]["wss"],
        "CA_FILE": values["ca_file"],
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"THALOVANT_{name}", value)

    for client in (
        ThalovantClient.from_identity_file(identity, **options),
        ThalovantClient.from_config(config, profile="lab", **options),
        ThalovantClient.from_env(**options),
    ):
        with client:
            assert client.ask("hi").text == "You said: hi"


def test_constructor_that_raises(v3: Lab) -> None:
    """A client that never came to be leaves nothing to complain about."""
    with pytest.raises(ThalovantUnsupportedProtocolError):
        ThalovantClient(replace(v3.identity(), mqtt=None), protocol="mqtt")
    with pytest.raises(ValueError, match="send_timeout"):
        v3.client(send_timeout=-1)


@pytest.mark.parametrize("call", ["ask", "stream", "send_utterance", "send_action", "send_code", "emit"])
def test_blank(v3: Lab, call: str) -> None:
    """A `ValueError` at the call, also for what is walked later; nobody dials for it."""
    client = v3.client()
    with pytest.raises(ValueError, match=rf"{call}\(\) requires a non-empty"):
        getattr(client, call)(" ")
    assert client.connection_info().phase == "idle"
    client.close()


def test_close_from_another_thread(v3: Lab) -> None:
    """Who waits is told; nobody hangs."""
    client = v3.client()
    failures: queue.SimpleQueue[str] = queue.SimpleQueue()

    def waits() -> None:
        try:
            client.ask("hang for a thread")
        except (ThalovantConnectionError, ThalovantRuntimeError) as error:
            failures.put(error.name)

    thread = threading.Thread(target=waits)
    thread.start()
    v3.hub.wait_for(
        "recognizer_loop:utterance",
        timeout=PATIENCE,
        predicate=lambda event: "hang for a thread" in event.utterances,
    )
    client.close(timeout=0)
    thread.join(PATIENCE)

    assert failures.get(timeout=PATIENCE) == "closed"
