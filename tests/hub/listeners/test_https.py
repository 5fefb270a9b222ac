"""The hub over HTTPS on real sockets: our own client in every generation, and strangers with nothing but HTTP."""

from __future__ import annotations

import base64
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import thalovant.testing
from tests.hub.listeners.relay import Relay
from tests.hub.listeners.strangers import PATIENCE, Browser
from thalovant.client import ThalovantClient
from thalovant.hub import Settings, Turn
from thalovant.identity import ThalovantIdentity
from thalovant.testing import LocalHub
from thalovant_proto.links.https.stream import HttpsLimits

NOT_CONNECTED = {"error": "Client is not connected"}


def client(hub: LocalHub, name: str, **options: Any) -> ThalovantClient:
    """A client that speaks HTTPS."""
    return hub.client(name, protocol="https", **options)


def serves(identity: ThalovantIdentity, source: str) -> bool:
    """Whether, in the end, a socket from that address is served."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError), Browser(identity, source=source) as browser:  # one that is refused gets no TLS
            browser.write(b"GET /nothing HTTP/1.1\r\nHost: hub\r\n\r\n")
            if b"404" in browser.read():
                return True
    return False


# --- our own client --------------------------------------------------------------------------------------------------


def test_a_message_may_be_as_large_as_on_every_transport(hub: LocalHub, name: str):
    """20 MB, which a client fetches in a few polls; then the conversation goes on."""

    @hub.skill("send much")
    async def much(turn: Turn) -> str:
        await turn.send_binary(b"\5" * 20_000_000, metadata={"name": "five"})
        return "that was it"

    heard: queue.Queue[int] = queue.Queue()
    with client(hub, name) as device, device.on_binary(lambda message: heard.put(len(message.data))):
        assert device.ask("send much", timeout=PATIENCE).text == "that was it"
        assert heard.get(timeout=PATIENCE) == 20_000_000


def test_a_burst_of_news_arrives_whole(hub: LocalHub, name: str):
    """A skill that says a thousand things in one breath, between two polls."""

    @hub.skill("what happened")
    async def much(turn: Turn) -> str:
        for number in range(1000):
            hub._hub.emit_to(name, "app.news", {"number": number})
        return "a lot"

    numbers: queue.Queue[int] = queue.Queue()
    with client(hub, name) as device, device.on("app.news", lambda event: numbers.put(event.data["number"])):
        assert device.ask("what happened", timeout=PATIENCE).text == "a lot"

        assert [numbers.get(timeout=PATIENCE) for _ in range(1000)] == list(range(1000))


def test_a_connection_that_breaks_leaves_no_session_behind():
    """With a frame under way: the next session ends the broken one, and the hub knows the client once."""
    with thalovant.testing.hub() as hub, Relay(hub.identity("device")) as relay:
        options: dict[str, Any] = {"protocol": "https", "noise_state_dir": hub.state_dir("device")}
        with ThalovantClient(relay.identity, **options, retry="idempotent") as device:
            device.ask("one")
            hub._hub.watch(lambda turn: relay.deafen_once())  # before the request is answered that brought it
            with ThreadPoolExecutor() as pool:
                asked = pool.submit(device.ask, "two", timeout=PATIENCE)
                assert relay.lost.wait(PATIENCE)
                relay.cut()

            assert asked.result().text == "You said: two"
            assert hub.speak_to("device", "are you there once?") == 1


# --- strangers -------------------------------------------------------------------------------------------------------


def test_what_a_stranger_is_answered(hub: LocalHub, name: str):
    """Statuses and words of real hubs where these are sound (real-hubs.md §7), all on one connection."""
    identity = hub.identity(name)
    with Browser(identity) as browser:
        nobody = base64.b64encode(b"stranger/1:nobody").decode()
        asked = [
            ("GET", "nothing", None, {}),
            ("GET", "connect", None, {}),
            ("POST", "get_messages", None, {}),
            ("POST", "connect", None, {"authorization": ""}),
            ("POST", "connect", None, {"authorization": "!"}),
            ("POST", "connect", None, {"authorization": nobody}),
            ("GET", "get_messages", None, {}),
            ("GET", "get_binary_messages", None, {}),
            ("POST", "send_message", {"message": "x"}, {}),
            ("POST", "send_message", {}, {}),
            ("POST", "disconnect", None, {}),
        ]
        answers = [browser.call(method, path, form, **options) for method, path, form, options in asked]

    assert [(answer.status, answer.body.get("error")) for answer in answers] == [
        (404, "Not found"), (405, "Method not allowed"), (405, "Method not allowed"), (400, "Missing authorization"),
        (403, "Invalid authorization"), (403, "Invalid authorization"), (200, NOT_CONNECTED["error"]),
        (200, NOT_CONNECTED["error"]), (409, NOT_CONNECTED["error"]), (400, "Missing message"),
        (200, "Already Disconnected"),
    ]  # fmt: skip


def test_authorization_may_be_in_the_form(hub: LocalHub, name: str):
    """Where no log of a proxy has it."""
    with Browser(hub.identity(name)) as browser:
        answer = browser.call("POST", "connect", {"authorization": browser.authorization}, authorization="")

    assert answer.status == 200


def test_nothing_but_the_offer_is_said_to_who_has_proven_nothing(hub: LocalHub, name: str):
    """A bus message in clear ends the session, and no skill hears it."""
    with Browser(hub.identity(name)) as browser:
        cookie = browser.connect()
        offered = browser.poll(cookie).body["messages"]
        message = '{"msg_type":"bus","payload":{"type":"recognizer_loop:utterance","data":{"utterances":["in clear"]}}}'
        sent = browser.call("POST", "send_message", {"message": message}, cookie=cookie)
        after = browser.call("POST", "send_message", {"message": message}, cookie=cookie)

    assert len(offered) == 2
    assert sent.status >= 400
    assert (after.status, after.body) == (409, NOT_CONNECTED)
    assert not any("in clear" in str(event.data) for event in hub.heard)
    assert name not in hub.connected


@pytest.mark.parametrize(
    ("thief", "returned"),
    [("agent", False), ("address", False), ("cookie", False), ("agent", True), ("address", True), ("cookie", True),
     ("no cookie", True)],
)  # fmt: skip
def test_nobody_gets_at_a_session_of_another(hub: LocalHub, name: str, thief: str, returned: bool):
    """Neither its frames nor its end, by access key alone: from another address or program, or with another cookie.

    A client that never returns its cookie is known by address and user agent; one that has done so once, by nothing
    else (wire.md §0.1, security.md §5).
    """
    identity = hub.identity(name)
    where = {"agent": {"agent": "thief/1"}, "address": {"source": "127.0.0.2"}}.get(thief, {})
    with Browser(identity) as victim, Browser(identity, **where) as other:
        cookie = victim.connect()
        own = cookie if returned else ""
        if returned:
            victim.call("GET", "get_binary_messages", cookie=cookie)
        shown = "hivemind_http_replica=guessed" if thief == "cookie" else ""

        stolen = other.poll(shown)
        ended = other.call("POST", "disconnect", cookie=shown)
        sent = other.call("POST", "send_message", {"message": "{"}, cookie=shown)
        kept = victim.poll(own)

    assert (stolen.body, ended.body["error"], sent.status) == (NOT_CONNECTED, "Already Disconnected", 409)
    assert len(kept.body["messages"]) == 2


def test_a_cookie_is_of_use_from_anywhere(hub: LocalHub, name: str):
    """A client whose address changes keeps its session."""
    identity = hub.identity(name)
    with Browser(identity) as here, Browser(identity, source="127.0.0.2") as there:
        cookie = here.connect()

        assert len(there.poll(cookie).body["messages"]) == 2


def test_who_only_knows_the_access_key_locks_nobody_out(hub: LocalHub, name: str):
    """Sessions that prove nothing fill places of their own address only."""
    identity = hub.identity(name)
    statuses = []
    with ExitStack() as thieves:
        for number in range(9):
            thief = thieves.enter_context(Browser(identity, agent=f"thief{number}/1", source="127.0.0.2"))
            statuses.append(thief.call("POST", "connect").status)

        with client(hub, name) as device:
            assert device.ask("hello").text == "You said: hello"
            assert thief.call("POST", "connect").status == 503

    assert statuses == [200] * 8 + [503]


def test_sockets_of_strangers_are_few():
    """Beyond so many from one address the next is closed before its TLS, until the oldest has had its time."""
    settings = Settings(unproven_per_address=2, unproven_grace=PATIENCE)
    with thalovant.testing.hub(settings=settings) as hub, ExitStack() as strangers:
        identity = hub.identity("device")
        taken = [strangers.enter_context(Browser(identity, source="127.0.0.2")) for _ in range(2)]
        for stranger in taken:
            stranger.connect()

        with pytest.raises(OSError):
            Browser(identity, source="127.0.0.2")
        elsewhere = strangers.enter_context(Browser(identity, source="127.0.0.3"))

        assert elsewhere.call("POST", "connect").status == 200
        taken[0].close()
        assert serves(identity, "127.0.0.2")
        assert taken[1].call("POST", "connect").status == 200


def test_sockets_of_strangers_give_way():
    """To newer ones, when they have had their time without serving a client that is proven."""
    settings = Settings(unproven_per_address=1, unproven_grace=0.01)
    with thalovant.testing.hub(settings=settings) as hub:
        identity = hub.identity("device")
        with Browser(identity, source="127.0.0.2") as old:
            old.connect()
            assert serves(identity, "127.0.0.2")
            assert old.read() == b""


def test_sockets_of_clients_are_no_strangers():
    """A proven client takes no place from the next, from the same address, however long it stays."""
    settings = Settings(unproven_per_address=1, unproven_grace=PATIENCE)
    with thalovant.testing.hub(settings=settings) as hub, ExitStack() as exits:
        for name in ("one", "two", "three"):
            relay = exits.enter_context(Relay(hub.identity(name), source="127.0.0.2"))
            device = ThalovantClient(relay.identity, protocol="https", noise_state_dir=hub.state_dir(name))
            assert exits.enter_context(device).ask("hello").text == "You said: hello"

        assert tuple(sorted(hub.connected)) == ("one", "three", "two")


def test_sessions_outlive_connections(hub: LocalHub, name: str):
    """One request, one socket, as old clients do."""
    identity = hub.identity(name)
    with Browser(identity) as first:
        cookie = first.connect()
    with Browser(identity) as second:
        assert len(second.poll(cookie).body["messages"]) == 2


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /send_message HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST /send_message HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000, 431),
        (b"\x16\x03\x01 not HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ],
    ids=["1 MiB and a byte", "2^63 bytes", "a long head", "no HTTP", "two lengths"],
)
def test_what_is_too_large_or_no_http_ends_the_connection(hub: LocalHub, name: str, request_bytes: bytes, status: int):
    """With the status that says why, before the body is there."""
    with Browser(hub.identity(name)) as browser:
        browser.write(request_bytes)
        head = browser.read()
        while chunk := browser.read():
            head += chunk

    assert head.startswith(b"HTTP/1.1 %d " % status)


def test_endless_chunks_are_cut_off(hub: LocalHub, name: str):
    """A body without a length has the same limit."""
    with Browser(hub.identity(name)) as browser:
        head = b"POST /send_message HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        browser.write(head + b"10000\r\n%b\r\n" % (b"x" * 65_536) * 17)

        assert b"413" in browser.read()


def test_slow_requests_are_cut_off():
    """A request that began has so long to end; the answer says so."""
    settings = Settings(https=HttpsLimits(request_time=0.1))
    with (
        thalovant.testing.hub(settings=settings) as hub,
        Browser(hub.identity()) as slow,
    ):
        slow.write(b"POST /connect HTTP/1.1\r\nHost:")

        assert slow.answer().status == 408
        assert slow.read() == b""


def test_a_client_that_does_not_read_its_messages_loses_its_session():
    """What waits for it is bounded: then the hub lets it go, and says so when it asks."""
    settings = Settings(https=HttpsLimits(queue_bytes=10_000))
    # An answer that finds the queue full of what came before is lost with the session, too.
    with thalovant.testing.hub(settings=settings) as hub, client(hub, "device", retry="idempotent") as device:
        device.connect()
        for number in range(100):
            hub.emit_to("device", "app.news", {"number": number})

        assert device.ask("still there?", timeout=PATIENCE).text == "You said: still there?"


def test_a_hub_that_is_full_does_not_refuse_anybody():
    """Who comes while others prove nothing is told to come again later."""
    settings = Settings(unproven=1, unproven_grace=PATIENCE)
    with (
        thalovant.testing.hub(settings=settings) as hub,
        Browser(hub.identity("first")) as browser,
    ):
        browser.connect()
        second = base64.b64encode(f"stranger/1:{hub.identity('second').access_key}".encode()).decode()

        answer = browser.call("POST", "connect", authorization=second)

    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_a_removed_client_is_turned_away():
    """Its session ends, and it gets no other."""
    with thalovant.testing.hub() as hub, Browser(hub.identity("gone")) as browser:
        cookie = browser.connect()
        hub._portal.run(lambda: hub._hub.remove_client("gone"))

        assert browser.call("POST", "connect", cookie=cookie).status == 403


def test_a_hub_that_stops_does_not_wait_for_idle_connections():
    """Keep-alive is no reason to wait."""
    with thalovant.testing.hub(settings=Settings(goodbye_time=PATIENCE * 10)) as hub:
        with Browser(hub.identity()) as browser:
            browser.connect()
            stopping = threading.Thread(target=hub.stop)
            stopping.start()

            assert browser.read() == b""
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
