"""Load for a hub: many sessions in one process, on plain sockets, with as little of a client around them as can be.

    child_load.py IDENTITY

Link, TLS and connection are those of the SDK; sessions, replies and coroutines are left out, so that the load takes
less of the machine's second core than the hub takes of the first. Silent sessions are read too: a hub drops those that
leave its pings unanswered.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from children import allow_files, serve

from thalovant import ThalovantIdentity
from thalovant.trust_store import TrustStore, pin_id
from thalovant_io.tls import TlsPipe, default_context
from thalovant_proto.connection import HubConnection
from thalovant_proto.events import Utterance, UtteranceHandled
from thalovant_proto.handshake.client import ClientSide
from thalovant_proto.links.base import FrameReceived, LinkOpened
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.secret import Secret
from thalovant_proto.state import State

UTTERANCE = Utterance(text="hello", context={"session": {"session_id": "benchmark"}, "request_id": "benchmark"})


class Session:
    """One client's connection, on a blocking socket until it is ready."""

    def __init__(self, identity: ThalovantIdentity, store: TrustStore) -> None:
        endpoint = identity.endpoint_for("wss") or ""
        parts = urlsplit(endpoint)
        self.due = 0.0  # when the ask that runs was to begin
        self.waiting: deque[float] = deque()  # when asks are due that wait for it
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = None
        if parts.scheme == "wss":
            self._tls = TlsPipe(default_context(identity.ca_file), "the hub", server_hostname=parts.hostname)
        self._link = WssClientLink(
            endpoint, access_key=Secret(identity.access_key), user_agent="load", entropy=os.urandom, secure=True
        )
        self._side = ClientSide(
            access_key=Secret(identity.access_key),
            password=Secret(identity.password),
            crypto_key=None,
            trust=store.load(),
            pin_id=pin_id(identity, "wss"),
            session={"session_id": "benchmark"},
            site_id=identity.site_id,
        )
        self._connection: HubConnection | None = None
        self._opened = False
        while self._connection is None or self._connection.state is not State.READY:
            self._flush()
            self.receive()

    def ask(self) -> None:
        """Say something."""
        assert self._connection is not None
        self._connection.send(UTTERANCE, time.monotonic())
        self._flush()

    def receive(self) -> int:
        """Take what the socket has, and answer what is no answer; how many answers are whole by it."""
        data, now, handled = self.socket.recv(65_536), time.monotonic(), 0
        if not data:
            raise ConnectionError("the hub has hung up")
        if self._tls is not None:
            data = self._tls.receive(data)
        if not self._opened and (self._tls is None or self._tls.ready):
            self._opened = True
            self._link.socket_opened(now)
        for event in self._link.receive_data(data, now) if data else ():
            if isinstance(event, LinkOpened):
                self._connection = HubConnection(self._side, event.carrier, entropy=os.urandom, now=now)
            elif isinstance(event, FrameReceived) and self._connection is not None:
                handled += sum(isinstance(e, UtteranceHandled) for e in self._connection.receive(event.frame, now))
        self._flush()
        return handled

    def _flush(self) -> None:
        if not self._opened and self._tls is None:
            self._opened = True
            self._link.socket_opened(time.monotonic())
        for frame, _ in self._connection.frames_to_send() if self._connection is not None else ():
            self._link.send(frame, 0.0)
        data = self._link.data_to_send() if self._opened else b""
        if self._tls is not None:
            if data:
                self._tls.send(data)
            data = self._tls.data_to_send()
        if data:
            self.socket.sendall(data)


identity = ThalovantIdentity.from_file(sys.argv[1])
store = TrustStore(Path(sys.argv[1]).parent / "hivemind", identity)
sessions: list[Session] = []


def connect(*, count: int) -> None:
    """So many more sessions, ready."""
    sessions.extend(Session(identity, store) for _ in range(count))


def closed_loop(*, active: int, count: int) -> list[float]:
    """Every one of `active` sessions asks `count` times, the next once it has the answer; two figures.

    Asks a second, and what each cost this process in seconds of processor time.
    """
    with selectors.DefaultSelector() as selector:
        for session in sessions:
            selector.register(session.socket, selectors.EVENT_READ, session)
        left = dict.fromkeys(sessions[:active], count)
        spent, started = time.process_time(), time.perf_counter()
        for session in left:
            session.ask()
        while left:
            for key, _ in selector.select():
                session = key.data
                if session.receive():
                    left[session] -= 1
                    if left[session]:
                        session.ask()
                    else:
                        del left[session]
        elapsed, spent = time.perf_counter() - started, time.process_time() - spent
    return [active * count / elapsed, spent / (active * count)]


def open_loop(*, rate: float, seconds: float) -> list[float]:
    """Ask `rate` times a second, whatever comes back, each session in its turn: seconds from when each ask was due.

    A session that still waits for an answer asks once it has it; the time runs meanwhile.
    """
    taken: list[float] = []
    with selectors.DefaultSelector() as selector:
        for session in sessions:
            selector.register(session.socket, selectors.EVENT_READ, session)
        total, sent, started = round(rate * seconds), 0, time.monotonic()
        while len(taken) < total:
            now = time.monotonic()
            while sent < total and (due := started + sent / rate) <= now:
                session = sessions[sent % len(sessions)]
                sent += 1
                if session.due:
                    session.waiting.append(due)
                else:
                    session.due = due
                    session.ask()
            until = max(0.0, started + sent / rate - time.monotonic()) if sent < total else None
            for key, _ in selector.select(until):
                session = key.data
                if session.receive():
                    taken.append(time.monotonic() - session.due)
                    session.due = session.waiting.popleft() if session.waiting else 0.0
                    if session.due:
                        session.ask()
    return taken


if __name__ == "__main__":
    allow_files(4096)
    serve({call.__name__: call for call in (connect, closed_loop, open_loop)})
