"""Programs like those of the published documents: the same calls in the same order, with words of our own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from thalovant import (
    EVENT_RECOGNIZER_LOOP_UTTERANCE,
    EVENT_SPEAK,
    EVENT_UTTERANCE_HANDLED,
    AsyncThalovantClient,
    ThalovantClient,
    ThalovantIdentity,
    build_client_context,
)

from .lab import Lab, run

FILE = "_identity.json"
pytestmark = pytest.mark.usefixtures("at_home", "nothing_left")


@pytest.fixture
def at_home(v3: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThalovantIdentity:
    """An identity in a file of this folder, in the config file's profile "prod", and in the environment."""
    identity = v3.stranger()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    identity.save(FILE)
    identity.save_to_config(profile="prod")
    for name, value in {
        "ACCESS_KEY": identity.access_key,
        "PASSWORD": identity.password,
        "SITE_ID": identity.site_id,
        "HUB_HTTP_HOST": identity.endpoint_for("https"),
        "HUB_WSS_HOST": identity.endpoint_for("wss"),
        "CA_FILE": identity.ca_file,
    }.items():
        monkeypatch.setenv(f"THALOVANT_{name}", str(value))
    return identity


def test_first_ask() -> None:
    """From a file, in a block."""
    with ThalovantClient.from_identity_file(FILE) as client:
        reply = client.ask("Tell me a short clean joke.")
        assert reply.text.startswith("Why ")


def test_first_ask_on_a_loop() -> None:
    """The same, awaited."""

    async def main() -> str:
        async with AsyncThalovantClient.from_identity_file(FILE) as client:
            return (await client.ask("What time is it?")).text

    assert run(main()).startswith("It is ")


def test_where_identities_come_from(at_home: ThalovantIdentity) -> None:
    """A profile, a file and the environment are the same client."""
    identity = ThalovantIdentity.from_config(profile="prod")
    assert ThalovantIdentity.from_file(FILE).access_key == identity.access_key == at_home.access_key
    made = [
        ThalovantClient.from_config(profile="prod", protocol="wss"),
        ThalovantClient.from_identity_file(FILE),
        ThalovantClient.from_env(protocol="https"),
        ThalovantClient.from_env(),
    ]
    for client in made:
        with client:
            assert client.ask("Say hello.").text == "hello"
    assert [client.protocol for client in made] == ["wss", "wss", "https", "wss"]


def test_every_protocol_that_the_identity_has(at_home: ThalovantIdentity) -> None:
    """Helpers say which, and where; the broker's host and port are read like those of a mapping."""
    assert at_home.enabled_protocols() == ("wss", "https", "mqtt")
    assert at_home.mqtt is not None
    assert at_home.endpoint_for("mqtt") == f"mqtts://{at_home.mqtt['host']}:{at_home.mqtt['port']}"
    said = []
    for protocol in at_home.enabled_protocols():
        assert at_home.supports_protocol(protocol)
        with ThalovantClient(at_home, protocol=protocol) as client:
            said.append((client.protocol, client.ask(f"Over {protocol}.").text))
    assert said == [(name, f"You said: Over {name}.") for name in ("wss", "https", "mqtt")]


def test_a_session_from_connect_to_doctor(v3: Lab, at_home: ThalovantIdentity) -> None:
    """One client all the way: health, close, and everything after it, which connects by itself."""
    client = ThalovantClient(at_home, protocol="wss")
    client.connect()
    assert str(client.healthcheck()) == "ok connected=True handshake_complete=True transport_alive=True"
    client.close()
    reply = client.ask("What can this hub do?")
    assert [item.text for item in reply.display_items()] == [reply.text]
    client.emit("thalovant.client.status", {"state": "waiting"}, {"source": "till-3"})
    client.send_utterance("What is the status?", lang="en-us", session_id="status")
    client.send_action("/approve order-7", title="Approve order", session_id="approval")
    client.send_code("ORD-7", kind="order", session_id="scan")
    with client.conversation(lang="en-us") as convo:
        assert convo.ask("Remember that my favorite tea is mint.").text == "I will remember that."
        assert convo.ask("What tea did I mention?").text == "You mentioned that your favorite tea is mint."
    assert client.wait_for_event(EVENT_UTTERANCE_HANDLED, timeout=12).text == ""
    said = sorted(event.text for event in client.listen(EVENT_SPEAK, timeout=30, max_events=3))
    assert [text.split("/")[0].rstrip(".") for text in said if text.startswith("You sent")] == [
        "You sent the action ",
        "You sent the order ORD-7",
    ]
    assert str(client.doctor()).startswith("Thalovant doctor: ok\n- identity: ok - site_id=")
    client.close()
    assert v3.hub.wait_for("thalovant.client.status").data == {"state": "waiting"}


def test_context_and_rich_replies(v3: Lab) -> None:
    """Who asks travels with the question; what is shown comes in kinds."""
    context = build_client_context(
        user_id="u-7",
        user_name="Grace",
        auth_provider="oidc",
        roles=["member"],
        platform="till",
        source="till-3",
        channel="chat",
        locale="en-US",
        metadata={"trace_id": "t-1"},
    )
    with ThalovantClient.from_identity_file(FILE) as client:
        assert client.ask("Show the next instruction.", context=context).text.startswith("Step 1")
        items = client.ask("Show matching parts.").display_items(max_text_chars=600)
    heard = v3.heard("Show the next instruction.")[-1].context

    assert (heard["user"]["id"], heard["metadata"]["trace_id"], heard["channel"]) == ("u-7", "t-1", "chat")
    assert {"text", "choices"} <= {item.kind for item in items}
    choices = next(item.data for item in items if item.kind == "choices")
    assert [choice["title"] for choice in choices] == ["Bracket", "Cable"]


def test_buttons_and_scans_in_a_conversation(v3: Lab) -> None:
    """Sent without waiting, they say what they are."""
    with ThalovantClient.from_identity_file(FILE) as client, client.conversation(session_id="work") as convo:
        convo.send_action('/pick{"id":"7"}', title="Pick")
        convo.send_code("SN-7", kind="qr", label="serial")
        assert len(list(convo.listen(EVENT_SPEAK, timeout=30, max_events=2))) == 2
    action, code = (v3.heard(text)[-1].context for text in ('/pick{"id":"7"}', "SN-7"))

    assert action["input"] == {"kind": "action", "title": "Pick", "payload": '/pick{"id":"7"}'}
    assert code["input"] == {"kind": "qr", "label": "serial", "value": "SN-7", "exact": True}
    assert action["session"]["session_id"] == code["session"]["session_id"] == "work"


def test_send_then_listen() -> None:
    """What is said before the program listens is not lost, for an utterance and for the raw event of one."""
    with ThalovantClient.from_identity_file(FILE, protocol="wss") as client:
        client.send_utterance("Say hello.")
        assert [event.text for event in client.listen(EVENT_SPEAK, timeout=30, max_events=1)] == ["hello"]
        client.emit(EVENT_RECOGNIZER_LOOP_UTTERANCE, {"utterances": ["dim the lamp"], "lang": "en-us"})
        assert [event.text for event in client.listen(EVENT_SPEAK, timeout=30, max_events=1)] == [
            "You said: dim the lamp"
        ]


def test_asks_at_once_on_a_loop() -> None:
    """Several questions of one client do not mix."""

    async def main() -> list[str]:
        async with AsyncThalovantClient.from_config(profile="prod") as client:
            return [reply.text for reply in await asyncio.gather(*(client.ask(f"ask {n}") for n in range(3)))]

    assert run(main()) == [f"You said: ask {n}" for n in range(3)]
