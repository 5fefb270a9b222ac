"""What a hub passes on, to whom, and what it remembers so that nothing runs round."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hub.routing import PUBKEY, WALL, Hive, heard, utterance, wrapped
from thalovant.hub.actions import Action, Hear, RoutedPeer, Say
from thalovant.hub.mesh import Recent
from thalovant_proto import events as e


def passed(actions: list[Action]) -> list[tuple[RoutedPeer, e.Message]]:
    """What goes to whom."""
    return [(action.peer, action.event) for action in actions if isinstance(action, Say)]


# --- passing on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [e.Broadcast, e.Propagate])
def test_a_wrapper_goes_to_everybody_else_as_it_came(kind: type[e.PayloadMessage]) -> None:
    """Payload, metadata and targets are kept; the route grows by the sender's hop and ours (wire.md §1.6)."""
    hive = Hive()
    sender, *others = hive.peer(admin=True), hive.peer(), hive.peer()
    event = kind(
        payload=wrapped(utterance("to all")),
        metadata={"k": 1},
        target_site_id="attic",
        target_pubkey="pem",
        node="forged",
        source_peer="forged",
    )

    actions = hive.say(sender, event)

    assert [peer for peer, _ in passed(actions)] == others
    for peer, copy in passed(actions):
        assert isinstance(copy, kind)
        assert (event.payload, event.metadata) == (copy.payload, copy.metadata)
        assert (copy.target_site_id, copy.target_pubkey) == ("attic", "pem")
        assert (copy.source_peer, copy.node) == (sender.id, None)
        assert copy.route == [
            {"source": sender.id, "targets": [sender.id]},
            {"source": PUBKEY, "targets": [peer.id]},
        ]


def test_a_hop_that_is_there_is_not_written_again() -> None:
    """A sender that wrote its own hop is on the route once."""
    hive = Hive()
    sender, _ = hive.peer(), hive.peer()
    route = ["junk", {"source": sender.id, "targets": []}]

    ((_, copy),) = passed(hive.say(sender, e.Propagate(payload=wrapped(utterance()), route=route)))

    assert [hop["source"] if isinstance(hop, dict) else hop for hop in copy.route] == ["junk", sender.id, PUBKEY]


def test_what_was_here_before_is_not_passed_on() -> None:
    """The loop rule: our own hop on the route ends it."""
    hive = Hive()
    sender, _ = hive.peer(), hive.peer()
    route = [{"source": PUBKEY, "targets": []}, {"source": "elsewhere", "targets": []}]

    assert hive.say(sender, e.Propagate(payload=wrapped(utterance()), route=route)) == []


def test_nobody_is_above() -> None:
    """An escalation is taken and goes no further: this hub is the top."""
    hive = Hive()
    sender, _ = hive.peer(), hive.peer()

    assert hive.say(sender, e.Escalate(payload=wrapped(utterance()))) == []


@pytest.mark.parametrize("kind", [e.Broadcast, e.Propagate, e.Escalate])
@pytest.mark.parametrize("inside", [True, False])
def test_what_is_for_our_site_is_heard_here(kind: type[e.PayloadMessage], inside: bool) -> None:
    """By the site on the wrapper or on the envelope inside; the allow-list of the sender holds."""
    hive = Hive(site_id="attic")
    sender = hive.peer(admin=True)
    target = {"target_site_id": "attic"}
    inner = e.Bus(type="app.event", **(target if inside else {}))

    request = heard(hive.say(sender, kind(payload=wrapped(inner), **({} if inside else target)))).request

    assert request.bus.type == "app.event"


def test_what_is_for_another_site_is_not_heard_here() -> None:
    """Only our site; and a hub without a site hears none of it."""
    for site in ("attic", None):
        hive = Hive(site_id=site)

        assert hive.say(hive.peer(), e.Propagate(payload=wrapped(utterance()), target_site_id="cellar")) == []


def test_the_allow_list_holds_for_our_site() -> None:
    """A wrapper is no way around it."""
    hive = Hive(site_id="attic")
    sender = hive.peer()

    ((_, event),) = passed(hive.say(sender, e.Escalate(payload=wrapped(e.Bus(type="no")), target_site_id="attic")))

    assert isinstance(event, e.Bus)
    assert event.type == "hive.policy.denied"


# --- ping ------------------------------------------------------------------------------------------------------------


def ping(flood: str = "f1", peer: str = "node", **fields: Any) -> e.Propagate:
    """A ping as it travels."""
    return e.Propagate(payload=wrapped(e.Ping(payload={"flood_id": flood, "peer": peer, **fields})))


def test_a_ping_is_answered_and_passed_on() -> None:
    """Everybody learns that this hub is here, once, and the others of the node that asks."""
    hive = Hive(site_id="attic")
    sender, other = hive.peer(), hive.peer()

    answers = passed(hive.say(sender, ping()))

    assert [peer for peer, _ in answers] == [sender, other, other]
    own, for_other, forwarded = (event for _, event in answers)
    assert own is for_other
    assert isinstance(own, e.Propagate)
    assert own.payload["msg_type"] == "ping"
    assert own.payload["payload"] == {
        "flood_id": "f1",
        "peer": PUBKEY,
        "site_id": "attic",
        "timestamp": WALL,
        "public_key": PUBKEY,
    }
    assert isinstance(forwarded, e.Propagate)
    assert forwarded.payload["payload"]["peer"] == "node"


def test_the_same_ping_counts_once() -> None:
    """By flood and node: neither answered nor passed on again."""
    hive = Hive()
    sender, _ = hive.peer(), hive.peer()
    hive.say(sender, ping())

    assert hive.say(sender, ping()) == []


def test_answers_to_a_ping_are_not_answered() -> None:
    """Another node's ping of the same flood is passed on, and that is all: nothing runs round."""
    hive = Hive()
    sender, other = hive.peer(), hive.peer()
    hive.say(sender, ping())

    assert [peer for peer, _ in passed(hive.say(other, ping(peer="other")))] == [sender]


def test_everybody_is_told_every_thirty_seconds_at_most() -> None:
    """In between only who asks is answered."""
    hive = Hive()
    sender, other = hive.peer(), hive.peer()
    told = []
    for step, flood in ((0.0, "f1"), (29.9, "f2"), (0.1, "f3")):
        hive.now += step
        own = [peer for peer, event in passed(hive.say(sender, ping(flood))) if event.route == []]
        told.append(own)

    assert [[sender, other], [sender], [sender, other]] == told


# --- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [e.Query, e.Cascade])
def test_a_question_is_answered_in_frames_of_its_kind(kind: type[e.Query | e.Cascade]) -> None:
    """Each piece a frame with the question's id, then `hive.query.complete` (wire.md §1.7)."""
    hive = Hive()
    sender = hive.peer()
    event = kind(payload=wrapped(utterance("what")), metadata={"query_id": "q1", "originator_peer": "far"})

    request = heard(hive.say(sender, event)).request
    frames = [request.speech({"utterance": "this", "lang": "en-us"}), *request.handled()]

    for frame in frames:
        assert isinstance(frame, kind)
        assert frame.metadata == {
            "query_id": "q1",
            "originator_peer": "far",
            "responder_peer": PUBKEY,
            "is_response": True,
        }
        assert frame.route == [{"source": sender.id, "targets": [sender.id]}]
        assert frame.payload["msg_type"] == "bus"
    speak, complete = (frame.payload["payload"] for frame in frames if isinstance(frame, kind))
    assert speak == {"type": "speak", "data": {"utterance": "this", "lang": "en-us"}, "context": {"query_id": "q1"}}
    assert complete == {"type": "hive.query.complete", "data": {}, "context": {}}


def test_a_question_without_an_id_gets_one() -> None:
    """The hub mints an id, and names the asker where it named nobody."""
    hive = Hive()
    sender = hive.peer()
    for metadata in ({}, {"query_id": ""}, {"query_id": 7, "originator_peer": 7}, {"query_id": "x" * 300}):
        query = heard(hive.say(sender, e.Query(payload=wrapped(utterance()), metadata=metadata))).request.query

        assert query is not None
        assert (query.id, query.originator) == ("minted", sender.id)


def test_a_question_that_nobody_answers_times_out() -> None:
    """`hive.query.timeout` with the id, unless something was said: then the answer is just over."""
    hive = Hive()
    request = heard(hive.say(hive.peer(), e.Query(payload=wrapped(utterance()), metadata={"query_id": "q1"}))).request

    (silent,), (broken,) = request.failed("?", spoke=False, code=""), request.failed("?", spoke=True, code="")

    assert isinstance(silent, e.Query)
    assert isinstance(broken, e.Query)
    assert silent.payload["payload"]["type"] == "hive.query.timeout"
    assert silent.payload["payload"]["data"] == {"query_id": "q1", "error": "no_answer"}
    assert broken.payload["payload"]["type"] == "hive.query.complete"


def test_a_cascade_asks_everybody() -> None:
    """The hub's skills and all other peers, with the id; if its skills know nothing, others may."""
    hive = Hive()
    sender, other = hive.peer(), hive.peer()

    asked, forwarded = hive.say(sender, e.Cascade(payload=wrapped(utterance()), metadata={"k": 1}))

    assert isinstance(asked, Hear)
    assert isinstance(forwarded, Say)
    assert forwarded.peer is other
    assert forwarded.event.metadata == {"k": 1, "query_id": "minted", "originator_peer": sender.id}
    assert asked.request.failed("?", spoke=False, code="") == ()


def test_answers_go_to_who_asked_and_to_nobody_else() -> None:
    """By the question's id, for 300 seconds; nobody can take a question over, or answer himself."""
    hive = Hive()
    asker, other, third = hive.peer(), hive.peer(), hive.peer()
    hive.say(asker, e.Cascade(payload=wrapped(utterance()), metadata={"query_id": "q1"}))
    answer = e.Cascade(payload=wrapped(e.Speak(text="me")), metadata={"query_id": "q1", "is_response": True})

    ((to, copy),) = passed(hive.say(other, answer))
    assert to is asker
    assert isinstance(copy, e.Cascade)
    assert (copy.payload, copy.metadata, copy.source_peer) == (answer.payload, answer.metadata, other.id)
    assert hive.say(asker, answer) == []

    ((to, refused),) = passed(hive.say(third, e.Cascade(payload=wrapped(utterance()), metadata={"query_id": "q1"})))
    assert to is third
    assert isinstance(refused, e.Bus)
    assert refused.data["code"] == "policy_error"

    hive.now += 300
    assert hive.say(other, answer) == []


def test_answers_without_a_question_go_nowhere() -> None:
    """An id that nobody asked with, or whose asker has left."""
    hive = Hive()
    asker, other = hive.peer(), hive.peer()
    hive.say(asker, e.Query(payload=wrapped(utterance()), metadata={"query_id": "q1"}))
    hive.router.leave(asker)

    for query_id in ("q1", "q2"):
        answer = e.Query(payload=wrapped(e.Speak(text="me")), metadata={"query_id": query_id, "is_response": True})
        assert hive.say(other, answer) == []


# --- intercom --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_intercom_goes_to_the_peer_with_that_key(inside: bool) -> None:
    """Sealed as it is; plainly or inside `propagate`, which others get too."""
    hive = Hive()
    sender, target, other = hive.peer(), hive.peer(pubkey="PEM"), hive.peer(pubkey="OTHER")
    sealed = e.Intercom(payload={"ciphertext": "x"}, target_pubkey="PEM\n")

    actions = passed(hive.say(sender, e.Propagate(payload=wrapped(sealed)) if inside else sealed))

    to, event = actions[0]
    assert to is target
    assert isinstance(event, e.Intercom)
    assert (event.payload, event.source_peer) == ({"ciphertext": "x"}, sender.id)
    assert [peer for peer, _ in actions[1:]] == ([target, other] if inside else [])


@pytest.mark.parametrize("target", [None, "", "NOBODY"])
def test_intercom_for_nobody_here_is_dropped(target: str | None) -> None:
    """Unknown keys, or none."""
    hive = Hive()
    sender, _ = hive.peer(), hive.peer()

    assert hive.say(sender, e.Intercom(payload={}, target_pubkey=target)) == []


# --- memory ----------------------------------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded() -> None:
    """The oldest goes, and an entry that is too old is as good as none."""
    recent: Recent[int, str] = Recent(2, 10.0)
    for key in range(3):
        recent.first(key, f"v{key}", float(key))

    assert len(recent) == 2
    assert [recent.get(key, 3.0) for key in range(3)] == [None, "v1", "v2"]
    assert recent.first(1, "new", 10.9) == "v1"
    assert recent.first(1, "new", 11.0) == "new"
