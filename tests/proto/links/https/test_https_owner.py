"""Whose session a request belongs to, at the hub's end of the HTTPS link, and how many there may be."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from thalovant_proto.carrier import CloseKind
from thalovant_proto.links.base import LinkClosed, LinkOpened

from .https_front import ELSEWHERE, Answered, Front, closes, connected, front
from .https_world import AGENT, KEY, NOT_CONNECTED, binary, frames, text

# --- whose session it is (wire.md §0.1, security.md §5)


def test_a_client_without_cookies_is_known_by_address_and_agent():
    """bus-client's HTTP client never returns a cookie, and must work."""
    hub, _ = connected()
    hub.session.send(text("for you"), hub.now)

    sent = hub.call("send_message", form={"message": "x"})
    found = hub.call("get_messages")

    assert sent.status == 200
    assert found.body["messages"] == ["for you"]


def thief_elsewhere(hub: Front, cookie: str) -> dict[str, Any]:
    return {"address": ELSEWHERE}


def thief_with_another_agent(hub: Front, cookie: str) -> dict[str, Any]:
    return {"query": {"authorization": b64encode(f"other/1:{KEY}".encode()).decode()}}


def thief_at_home_after_the_cookie_was_returned(hub: Front, cookie: str) -> dict[str, Any]:
    hub.call("get_messages", cookie=cookie)
    return {}


def thief_who_guesses(hub: Front, cookie: str) -> dict[str, Any]:
    return {"cookie": cookie[:-1] + ("A" if cookie[-1] != "A" else "B")}


def thief_with_an_empty_cookie(hub: Front, cookie: str) -> dict[str, Any]:
    return {"cookie": "hivemind_http_replica="}


def client_with_another_key(hub: Front, cookie: str) -> dict[str, Any]:
    return {"cookie": cookie, "query": {"authorization": b64encode(f"{AGENT}:another-key".encode()).decode()}}


@pytest.mark.parametrize(
    "thief",
    [
        thief_elsewhere,
        thief_with_another_agent,
        thief_at_home_after_the_cookie_was_returned,
        thief_who_guesses,
        thief_with_an_empty_cookie,
        client_with_another_key,
    ],
)
def test_the_access_key_alone_takes_nothing(thief):
    """Real hubs give the frames to anybody with the key, and let him end the session. Ours does neither."""
    hub, cookie = connected()
    how = thief(hub, cookie)
    hub.session.send(text("private"), hub.now)
    hub.session.send(binary(b"private"), hub.now)

    stolen = [hub.call(name, **how) for name in ("get_messages", "get_binary_messages")]
    injected = hub.call("send_message", form={"message": "x"}, **how)
    ended = hub.call("disconnect", **how)
    replaced = hub.call("connect", **how)

    assert [answer.body for answer in stolen] == [NOT_CONNECTED] * 2
    assert (injected.status, injected.body) == (409, NOT_CONNECTED)
    assert ended.body == {"error": "Already Disconnected"}
    assert replaced.status == 200  # a session of his own, for what it is worth
    assert frames(hub.events) == []
    assert closes(hub.events) == []
    assert hub.call("get_messages", cookie=cookie).body["messages"] == ["private"]
    assert hub.call("get_binary_messages", cookie=cookie).body["b64_messages"] == [b64encode(b"private").decode()]


@pytest.mark.parametrize("form", ["{}", "lb=1; {}", "{}; lb=1", "bad; {}", "x=; {};", "a=1;{} ;b=2"])
def test_the_cookie_is_found_among_others(form):
    """Load balancers add their own. A phone that changes networks keeps its session."""
    hub, cookie = connected()

    answer = hub.call("get_messages", cookie=form.format(cookie), address=ELSEWHERE)

    assert answer.body["messages"] == []


def test_cookies_that_are_not_ours_count_as_none():
    """A client that returns only a load balancer's cookie is known by address and agent."""
    hub, _ = connected()

    assert hub.call("get_messages", cookie="lb=1").body["messages"] == []


def test_cookies_differ():
    """Each session has its own, of 32 bytes of entropy."""
    hub = front()

    cookies = {hub.connect(address=f"192.0.2.{n}") for n in range(8)}

    assert len(cookies) == 8
    assert all(len(cookie.partition("=")[2]) == 43 for cookie in cookies)


@pytest.mark.parametrize("returns_cookies", [True, False])
def test_the_same_client_connecting_again_gets_a_new_session(returns_cookies):
    """Never silence: the old session ends, the new one says hello anew (real hubs stay silent, wire.md §7.1)."""
    hub, cookie = connected()
    old = hub.session
    old.send(text("unread"), hub.now, token=9)

    second = hub.connect(cookie=cookie if returns_cookies else None)

    assert closes(hub.events) == [(CloseKind.LOST, (9,))]
    assert [type(event) for event in hub.events] == [LinkClosed, LinkOpened]
    assert hub.session is not old
    assert second != cookie
    assert len(hub.hub) == 1
    assert hub.call("get_messages", cookie=second).body["messages"] == []
    assert hub.call("get_messages", cookie=cookie).body == NOT_CONNECTED


def test_a_client_that_lost_its_cookies_gets_a_session_beside_the_old_one():
    """A restarted program cannot prove that the session is its own; the old one stays until it is too old."""
    hub, cookie = connected()
    hub.call("get_messages", cookie=cookie)

    second = hub.connect()

    assert closes(hub.events) == []
    assert len(hub.hub) == 2
    assert hub.call("disconnect", cookie=cookie).body == {"status": "Disconnected"}
    for shown in (None, second):  # the newer one, whose cookie has not come back yet
        assert hub.call("get_messages", cookie=shown).body["messages"] == []


def shown(agent: str) -> str:
    """The `authorization` of another program with the same access key."""
    return b64encode(f"{agent}:{KEY}".encode()).decode()


def test_sessions_of_one_key_are_bounded():
    """A newcomer takes the place of the one that was silent longest, if that was 10 s; else it must wait."""
    hub = front()
    cookies = []
    for n in range(8):
        cookies.append(hub.connect(address=f"192.0.2.{n}"))
        hub.session.prove(hub.now)
        hub.now += 1
    for cookie in (cookies[0], *cookies[2:]):
        hub.call("get_messages", cookie=cookie)
    hub.events.clear()

    early = hub.call("connect", address=ELSEWHERE)
    other = hub.call("connect", query={"authorization": b64encode(b"agent:another-key").decode()}, address=ELSEWHERE)
    hub.now += 10
    late = hub.call("connect", address=ELSEWHERE)
    before = closes(hub.events)
    hub.session.prove(hub.now)
    hub.serve()

    assert (early.status, early.body, early.headers["retry-after"]) == (503, {"error": "Too many sessions"}, "5")
    assert other.status == 200
    assert late.status == 200
    assert before == []
    assert closes(hub.events) == [(CloseKind.DISPLACED, ())]
    gone = [hub.call("get_messages", cookie=cookie).body == NOT_CONNECTED for cookie in cookies]
    assert gone == [False, True, *[False] * 6]


def test_a_proof_that_finds_no_stale_place_makes_one():
    """One more than there are places was let in: all stay."""
    hub = front()
    cookies = [hub.connect(address=f"192.0.2.{n}") for n in range(9)]

    for session in hub.sessions:
        session.prove(hub.now)

    assert all(hub.call("get_messages", cookie=cookie).status == 200 for cookie in cookies)
    assert hub.call("connect", address=ELSEWHERE).status == 503


def test_a_proof_that_comes_too_late_changes_nothing():
    """The session ended while its owner was busy."""
    hub, cookie = connected()
    hub.call("disconnect", cookie=cookie)

    hub.session.prove(hub.now)

    assert len(hub.hub) == 0
    assert hub.call("connect").status == 200


def test_sessions_that_prove_nothing_are_bounded_by_address():
    """Whoever only has the access key fills places of his own address, and loses them after 10 s however he polls."""
    hub = front()

    def attack(number: int) -> Answered:
        return hub.call("connect", query={"authorization": shown(f"agent{number}")}, address=ELSEWHERE)

    cookies = [attack(number).cookie for number in range(8)]
    hub.events.clear()

    full = attack(8)
    victim = hub.call("connect")
    hub.now += 10
    for cookie in cookies:
        hub.call("get_messages", cookie=cookie)
    late = attack(9)

    assert (full.status, victim.status, late.status) == (503, 200, 200)
    assert closes(hub.events) == [(CloseKind.DISPLACED, ())]


def test_who_proves_nothing_takes_no_place_from_who_did():
    """A client that sleeps keeps its session, whatever comes with its access key."""
    hub = front()
    cookie = hub.connect()
    hub.session.prove(hub.now)
    hub.now += 100

    for n in range(40):
        hub.call("connect", query={"authorization": shown(f"agent{n}")}, address=f"198.51.100.{n % 4}")
        hub.now += 1

    assert hub.call("get_messages", cookie=cookie).status == 200
    assert hub.sessions[0].ending is None


def test_sessions_of_all_keys_are_bounded():
    """Somebody with many invented keys cannot fill the memory."""
    hub = front(sessions=5)

    answers = [
        hub.call("connect", query={"authorization": b64encode(f"agent:key{n}".encode()).decode()}) for n in range(8)
    ]

    assert [answer.status for answer in answers] == [200] * 5 + [503] * 3
    assert len(hub.hub) == 5
