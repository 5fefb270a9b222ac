"""The stack that clients run on, over every transport, on every driver: 3 × 3 cells, over TLS, against a real hub."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from tests.io.running import DRIVERS, PATIENCE, Running
from thalovant import HubProtocol, TrustStore
from thalovant.embedding import make_stack
from thalovant_io.tls import default_context
from thalovant_proto import (
    AskEnded,
    AskPiece,
    Binary,
    BinType,
    Bus,
    Connected,
    Delivered,
    Generation,
    SessionState,
    StateChanged,
    TrustChanged,
    Utterance,
)

from .lab import Lab, lab

PROTOCOLS: tuple[HubProtocol, ...] = ("wss", "https", "mqtt")
CLIENT = "shared"
LARGE = "x" * 200_000

pytestmark = [pytest.mark.parametrize("driver", DRIVERS), pytest.mark.parametrize("protocol", PROTOCOLS)]

_numbers = count(1)


@pytest.fixture(scope="module")
def hub() -> Iterator[Lab]:
    """A hub for all tests here; those that stop it start it again."""
    with lab() as made:
        yield made


class Session:
    """A stack on a driver, connected."""

    def __init__(self, hub: Lab, driver: str, protocol: HubProtocol) -> None:
        identity = hub.identity(CLIENT)
        store = TrustStore(hub.state_dir(CLIENT), identity)
        self.stack = make_stack(identity, protocol, trust=store.load())
        self.ports = {urlsplit(str(identity.endpoint_for(one))).port for one in PROTOCOLS}

        def learn(outcome: object) -> None:
            if isinstance(outcome, TrustChanged):
                store.store(outcome.trust)

        self.running = Running(
            driver, self.stack, begin=self.stack.open, hook=learn, tls=lambda: default_context(identity.ca_file)
        )

    def send(self, message: Bus | Binary) -> None:
        """Send a message to the hub."""
        self.running.call(lambda: self.stack.send(message, self.running.now()))

    def say(self, text: str) -> None:
        """Ask the hub something."""
        self.running.call(lambda: self.stack.ask(Utterance(text=text), self.running.now(), timeout=PATIENCE))

    def ask(self, text: str) -> list[str]:
        """Ask the hub something, and give its answer."""
        self.say(text)
        return [piece.data["utterance"] for piece in self.running.until(AskEnded).pieces]

    def hear(self, name: str) -> dict[str, Any]:
        """The data of the next event of that name."""
        return dict(self.running.until(Delivered, lambda one: one.event.type == name).event.data)

    def listen(self, *names: str) -> None:
        """Subscribe; what comes is a `Delivered`."""
        for name in names:
            self.running.call(lambda name=name: self.stack.subscribe(name, self.running.now()))

    def sockets(self) -> int:
        """How many sockets of this process are connected to the hub."""
        found = 0
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the hub's come and go meanwhile
                if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                    with socket.socket(fileno=os.dup(int(descriptor))) as sock:
                        found += sock.family == socket.AF_INET and sock.getpeername()[1] in self.ports
        return found


@contextlib.contextmanager
def connected(hub: Lab, driver: str, protocol: HubProtocol) -> Iterator[Session]:
    """A session, connected and proven; closed at the end, so that the next one of this client displaces nobody."""
    session = Session(hub, driver, protocol)
    with session.running as running:
        running.until(Connected)
        assert session.stack.generation is Generation.NOISE
        yield session
        running.call(lambda: session.stack.close(running.now()))
        running.join()
        assert running.error is None
        assert running.reported == []
        assert session.stack.state is SessionState.CLOSED


def test_asking(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """Speech comes piece by piece and in order, then the end; the next question has the next answer."""
    with connected(hub, driver, protocol) as session:
        session.say("say one and two and three")
        pieces = [session.running.until(AskPiece).event.data["utterance"] for _ in range(3)]
        end = session.running.until(AskEnded)

        assert ["one", "two", "three"] == pieces == [piece.data["utterance"] for piece in end.pieces]
        assert end.handled
        assert session.ask("hi") == ["You said: hi"]
        assert session.ask("stay silent") == []


def test_hearing_what_is_said_unasked(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """A subscription hears every event of its name, in order."""
    with connected(hub, driver, protocol) as session:
        session.listen("test.tick")
        session.send(Bus(type="test.flood", data={"count": 100}))

        assert [session.hear("test.tick")["number"] for _ in range(100)] == list(range(100))


def test_large_messages(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """200 kB up and down, whole: more than a frame of the handshake's cipher, and than a socket takes at once."""
    number = next(_numbers)
    with connected(hub, driver, protocol) as session:
        session.listen("test.large")
        session.send(Bus(type="test.note", data={"text": LARGE, "number": number}))
        heard = hub.hub.wait_for(
            "test.note", timeout=PATIENCE, predicate=lambda event: event.data.get("number") == number
        )
        assert hub.hub.emit_to(CLIENT, "test.large", {"text": LARGE, "number": number}) == 1

        assert heard.data["text"] == LARGE
        assert session.hear("test.large") == {"text": LARGE, "number": number}


def test_raw_bytes(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """Every byte, up and down, also more than fits into one frame."""
    heard: queue.Queue[Binary] = queue.Queue()
    hub.hub.on_binary(BinType.FILE)(cast(Any, lambda turn: heard.put(turn.binary)))
    payload = bytes(range(256)) * 800
    with connected(hub, driver, protocol) as session:
        session.send(Binary(bin_type=BinType.FILE, payload=payload))
        session.say(f"send {len(payload)} bytes")

        assert heard.get(timeout=PATIENCE).payload == payload
        assert session.running.until(Binary).payload == b"\5" * len(payload)


def test_a_socket_that_is_cut(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """The session is ready again by itself, and hears what it subscribed to before."""
    with connected(hub, driver, protocol) as session:
        session.listen("test.tick")
        with socket.socket(fileno=os.dup(session.running.socket().fileno())) as same:  # uvloop's own cuts nothing
            same.shutdown(socket.SHUT_RDWR)
        if protocol != "https":  # where a session outlives its sockets
            session.running.until(Connected)
        hub.hub.emit_to(CLIENT, "test.tick", {"number": 1})

        assert session.hear("test.tick") == {"number": 1}
        assert session.ask("hi") == ["You said: hi"]


def test_a_hub_that_restarts(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """The same after an outage: the session dials until the hub is back."""
    with connected(hub, driver, protocol) as session:
        session.listen("test.tick")
        hub.hub.stop()
        session.running.until(StateChanged, lambda changed: changed.state is SessionState.WAITING)
        hub.hub.start()
        session.running.until(Connected)
        assert hub.hub.wait_for_connection(CLIENT, timeout=PATIENCE)
        hub.hub.emit_to(CLIENT, "test.tick", {"number": 2})

        assert session.hear("test.tick") == {"number": 2}
        assert session.ask("hi") == ["You said: hi"]


def test_closing_leaves_nothing(hub: Lab, driver: str, protocol: HubProtocol) -> None:
    """No socket and no thread; no task and no timer either, which every test here finds out (`Running.join`)."""
    threads = set(threading.enumerate())
    with connected(hub, driver, protocol) as session:
        before = session.sockets()
        session.ask("hi")
        assert before >= 1
        running = session.running
        running.call(lambda: session.stack.close(running.now()))
        running.join()

        assert session.sockets() == before - 1
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)  # a derivation's may take a moment
        assert not thread.is_alive(), f"{thread} is left"
