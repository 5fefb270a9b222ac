"""What a hub does with a message of a proven client: allowed or not, whose session, which answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hub.routing import ALLOWED, PUBKEY, Hive, denied, heard, kicked, said, utterance, wrapped
from thalovant.hub.actions import HearBinary, Learn, Say
from thalovant_proto import events as e

# --- allow-list ------------------------------------------------------------------------------------------------------


def test_an_allowed_message_reaches_the_skills() -> None:
    """An utterance goes to the skills as it came."""
    hive = Hive()
    peer = hive.peer()

    request = heard(hive.say(peer, utterance("turn on the lamp"))).request

    assert request.peer is peer
    assert isinstance(request.bus, e.Utterance)
    assert request.bus.text == "turn on the lamp"
    assert request.query is None


@pytest.mark.parametrize("generation", [3, 1, 0])
def test_what_is_not_allowed_is_denied_in_the_words_of_real_hubs(generation: int) -> None:
    """`hive.policy.denied` names the type and what is allowed, and carries no session and no request id."""
    hive = Hive()
    peer = hive.peer(generation=generation)

    event = said(hive.say(peer, e.Bus(type="app.forbidden", context={"request_id": "r1"})))

    assert isinstance(event, e.Bus)
    assert event.type == "hive.policy.denied"
    assert event.data == {
        "denied_type": "app.forbidden",
        "code": "acl_disallowed_type",
        "reason": "app.forbidden not in allowed_types",
        "data": {"msg_type": "app.forbidden", "allowed": list(ALLOWED)},
    }
    assert event.context == {"source": "hivemind-core", "destination": peer.id}


def test_nothing_is_allowed_unless_it_is_listed() -> None:
    """A client with an empty list may not even speak."""
    hive = Hive()
    peer = hive.peer(allowed=())

    assert denied(hive.say(peer, utterance()))["denied_type"] == e.UTTERANCE


@pytest.mark.parametrize(
    "data",
    [{}, {"utterances": []}, {"utterances": [7]}, {"utterances": "text"}, {"utterances": ["  "]}, {"utterances": [""]}],
)
@pytest.mark.parametrize("name", ["recognizer_loop:utterance", "ovos.utterance.handle"])
def test_an_utterance_without_a_text_is_malformed(name: str, data: dict[str, Any]) -> None:
    """Under either name: the client learns at once that nobody will answer."""
    hive = Hive()

    refusal = denied(hive.say(hive.peer(), e.bus(type=name, data=data, context={})))

    assert (refusal["denied_type"], refusal["code"]) == (name, "malformed_payload")


# --- contexts and sessions -------------------------------------------------------------------------------------------


def test_who_sent_it_is_the_hubs_word() -> None:
    """Source, peer and destination of a client are overwritten; a forged proof of origin is taken out."""
    hive = Hive()
    peer = hive.peer()
    forged = {"source": "boss", "peer": "boss", "destination": "spoof", "hivemind_verified_source_peer": "boss"}

    context = heard(hive.say(peer, utterance(**forged))).request.context

    assert (context["source"], context["peer"], context["destination"]) == (peer.id, peer.id, "hivemind")
    assert "hivemind_verified_source_peer" not in context


def test_answers_go_back_with_everything_that_the_client_wrote() -> None:
    """Source and destination are swapped; request ids and all other keys of the context survive."""
    hive = Hive()
    peer = hive.peer()
    own = {"request_id": "r1", "user": {"id": "u"}, "source": "app", "destination": "HiveMind", "peer": "spoof"}

    context = heard(hive.say(peer, utterance(**own))).request.reply_context

    assert {key: context[key] for key in ("source", "destination", "peer")} == {
        "source": "hive",
        "destination": peer.id,
        "peer": peer.id,
    }
    assert (context["request_id"], context["user"]) == ("r1", {"id": "u"})


@pytest.mark.parametrize("generation", [3, 1, 0])
@pytest.mark.parametrize(
    ("context", "session_id"),
    [
        ({"session": {"session_id": "mine"}}, "mine"),
        ({"session": {"session_id": "default"}}, "default"),
        ({"session_id": "top"}, "top"),
        ({"session": {"session_id": ""}}, "own-1"),
        ({"session": {}}, "own-1"),
        ({"session": "text"}, "own-1"),
        ({}, "own-1"),
    ],
)
def test_a_session_is_the_messages_own(context: dict[str, Any], session_id: str, generation: int) -> None:
    """One connection carries many sessions, whatever its generation; without one it is that of the hello."""
    hive = Hive()

    request = heard(hive.say(hive.peer(generation=generation), utterance(**context))).request

    assert request.session_id == request.reply_context["session"]["session_id"] == session_id
    assert request.context["session"] == request.reply_context["session"]


def test_a_session_is_echoed_whole() -> None:
    """Keys that the hub does not know survive inside the session; the site is filled in, not replaced."""
    hive = Hive()
    peer = hive.peer()

    own = heard(hive.say(peer, utterance(session={"session_id": "s", "lang": "pt-PT", "x": [1]}))).request
    sited = heard(hive.say(peer, utterance(session={"session_id": "s", "site_id": "attic"}))).request

    assert own.reply_context["session"] == {"session_id": "s", "lang": "pt-PT", "x": [1], "site_id": "shop"}
    assert sited.reply_context["session"]["site_id"] == "attic"


def test_a_message_without_a_session_has_that_of_the_hello() -> None:
    """What the hello said of the session holds for messages that say nothing."""
    hive = Hive()
    peer = hive.peer(session={"session_id": "s", "lang": "fr-fr"})

    session = heard(hive.say(peer, utterance())).request.reply_context["session"]

    assert session == {"session_id": "s", "lang": "fr-fr", "site_id": "shop"}


def test_the_clients_message_is_not_changed() -> None:
    """What came is left as it came: others may hold it."""
    hive = Hive()
    context = {"session": {"session_id": "s"}, "source": "app"}
    bus = utterance(**context)

    heard(hive.say(hive.peer(), bus))

    assert bus.context == {"session": {"session_id": "s"}, "source": "app"}


# --- hello -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "session_id", "lang"),
    [
        ({"session_id": "s", "lang": "fr"}, "s", "fr"),
        ('{"session_id": "s", "lang": "fr"}', "s", "fr"),
        ("s", "s", None),
        ("[1]", "[1]", None),
        ("{" * 100_000, "own-1", None),
        ({"session_id": 7}, "own-1", None),
        (None, "own-1", None),
    ],
)
def test_hello_sets_the_session(session: object, session_id: str, lang: str | None) -> None:
    """As an object, as older clients' JSON text, or as its id alone; anything else leaves the session as it is."""
    hive = Hive()
    peer = hive.peer()

    assert hive.say(peer, e.ClientHello(payload={"session": session, "site_id": "attic", "pubkey": ""})) == []

    request = heard(hive.say(peer, utterance())).request
    assert request.session_id == session_id
    assert request.reply_context["session"].get("lang") == lang
    assert request.reply_context["session"]["site_id"] == "attic"


@pytest.mark.parametrize(
    ("pubkey", "learnt"),
    [
        ("-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n", True),
        ("", False),
        (None, False),
        ("ssh-rsa AAAA", False),
        ("-----BEGIN PUBLIC KEY-----" + "x" * 20_000, False),
    ],
)
def test_hello_brings_the_key_for_intercom(pubkey: str | None, learnt: bool) -> None:
    """A PEM of bearable size is learnt, without the newline at its end."""
    hive = Hive()
    peer = hive.peer()

    actions = hive.say(peer, e.ClientHello(payload={"session": {}, "pubkey": pubkey}))

    assert bool(actions) is learnt
    for action in actions:
        assert isinstance(action, Learn)
        assert action.pubkey == (pubkey or "").strip()


# --- raw bytes -------------------------------------------------------------------------------------------------------


def test_raw_bytes_reach_their_handlers() -> None:
    """With any entry in its list a client may send bytes."""
    hive = Hive()
    event = e.Binary(bin_type=e.BinType.RAW_AUDIO, payload=b"\1\2", metadata={"sample_rate": 16000})

    (action,) = hive.say(hive.peer(), event)

    assert isinstance(action, HearBinary)
    assert action.event == event


def test_raw_bytes_need_a_list_that_is_not_empty() -> None:
    """An empty allow-list denies all of them (wire.md §4.4)."""
    hive = Hive()

    refusal = denied(hive.say(hive.peer(allowed=()), e.Binary(bin_type=e.BinType.FILE, payload=b"x")))

    assert (refusal["denied_type"], refusal["code"], refusal["bin_type"]) == ("binary", "acl_disallowed_type", 3)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\x\\passwd", "a/..\\passwd", "passwd"])
def test_files_come_without_folders(name: str) -> None:
    """Only the last part of a file's name is kept, whatever system wrote it."""
    hive = Hive()

    (action,) = hive.say(hive.peer(), e.Binary(bin_type=e.BinType.FILE, payload=b"x", metadata={"file_name": name}))

    assert isinstance(action, HearBinary)
    assert action.event.metadata == {"file_name": "passwd"}


# --- what asks for little --------------------------------------------------------------------------------------------


def test_rendezvous_is_answered() -> None:
    """The hub has no mailbox, and says so under the keys: that is what proves a session (real-hubs.md §3)."""
    hive = Hive()

    event = said(hive.say(hive.peer(allowed=()), e.Rendezvous()))

    assert isinstance(event, e.Rendezvous)
    assert event.payload == {"status": "error", "reason": "not_a_rendezvous_node", "mailbox_node": PUBKEY}


@pytest.mark.parametrize(
    "event", [e.SharedBus(payload={"type": "speak"}), e.Ping(payload={}), e.Ping(payload={"flood_id": 1})]
)
def test_some_messages_are_only_looked_at(event: e.Message) -> None:
    """A shared bus message is for looking at, and a ping means something inside `propagate` only."""
    hive = Hive()
    hive.peer()

    assert hive.say(hive.peer(), event) == []


def test_a_peer_that_left_hears_nothing() -> None:
    """What goes to everybody goes to those that are there."""
    hive = Hive()
    one, other = hive.peer(), hive.peer()

    hive.router.leave(other)
    hive.router.leave(other)

    assert hive.say(one, e.Propagate(payload=wrapped(utterance()))) == []


# --- permissions -----------------------------------------------------------------------------------------------------

_MESH: list[tuple[type[e.PayloadMessage], dict[str, Any]]] = [
    (e.Broadcast, {}),
    (e.Broadcast, {"admin": True, "can_broadcast": False}),
    (e.Propagate, {"can_propagate": False}),
    (e.Escalate, {"can_escalate": False}),
    (e.Query, {"can_escalate": False}),
    (e.Cascade, {"can_propagate": False}),
]


@pytest.mark.parametrize(("kind", "fields"), _MESH)
def test_what_a_client_may_not_start_closes_its_connection(
    kind: type[e.PayloadMessage], fields: dict[str, Any]
) -> None:
    """4003 with the reason of real hubs; nobody else hears of it (wire.md §1.6)."""
    hive = Hive()
    hive.peer()

    closed = kicked(hive.say(hive.peer(**fields), kind(payload=wrapped(utterance()))))

    assert closed == (4003, f"{kind.msg_type.upper()} is not allowed for this client")


@pytest.mark.parametrize("kind", [e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade])
@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "speak", "data": {}, "context": {}},
        {"msg_type": "nonsense", "payload": {}},
        {"msg_type": "bus", "payload": {"data": {}}},
        {"msg_type": "bus", "payload": []},
        {"msg_type": "bin", "payload": "x"},
    ],
)
def test_a_payload_that_is_no_envelope_is_malformed(kind: type[e.PayloadMessage], payload: dict[str, Any]) -> None:
    """The connection lives, the client is told, and nobody else hears of it (wire.md §1.6)."""
    hive = Hive()
    hive.peer()

    refusal = denied(hive.say(hive.peer(admin=True), kind(payload=payload)))

    assert (refusal["denied_type"], refusal["code"]) == (kind.msg_type, "malformed_payload")


@pytest.mark.parametrize("kind", [e.Query, e.Cascade])
def test_only_bus_messages_can_be_asked(kind: type[e.PayloadMessage]) -> None:
    """A question is a bus message; any other envelope in it is malformed."""
    hive = Hive()

    assert denied(hive.say(hive.peer(), kind(payload=wrapped(e.Ping()))))["code"] == "malformed_payload"


@pytest.mark.parametrize("kind", [e.Query, e.Cascade])
def test_the_allow_list_holds_inside_a_question(kind: type[e.PayloadMessage]) -> None:
    """A wrapper is no way around it."""
    hive = Hive()
    others = hive.peer()

    actions = hive.say(hive.peer(), kind(payload=wrapped(e.Bus(type="app.forbidden"))))

    assert denied(actions)["denied_type"] == "app.forbidden"
    assert all(action.peer is not others for action in actions if isinstance(action, Say))
