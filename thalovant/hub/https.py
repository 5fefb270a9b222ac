"""The hub's HTTPS port: accepted sockets bring requests, requests make sessions, and each session becomes a seat."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

from thalovant_io.asyncio_session import SessionRunner
from thalovant_proto.events import Proven
from thalovant_proto.links.https_server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https_session import HttpsSession

from .ports import Quiet, QuietConnection, QuietPort

if TYPE_CHECKING:
    from .seats import PeerOutcome
    from .switchboard import Switchboard


class HttpsListener(QuietPort):
    """Accepts HTTP requests for a switchboard. `start` it once."""

    protocol = "https"

    def __init__(self, board: Switchboard, host: str, port: int, context: ssl.SSLContext | None) -> None:
        connections = board.settings.connections
        super().__init__(self._make_peer, host, port, context, setting="https_port", connections=connections)
        self.board = board
        self._hub = HttpsServerHub(entropy=os.urandom, limits=board.settings.https, secure=context is not None)
        self._requests: dict[QuietConnection, _Requests] = {}
        self._sessions: dict[HttpsSession, _Session] = {}

    async def close(self, grace: float) -> None:
        """Accept no more; requests that are there have their answers within `grace` seconds."""
        for connection, requests in tuple(self._requests.items()):
            requests.leaving = True
            connection.wake()
        await super().close(grace)
        for session in tuple(self._sessions.values()):
            session.abort()

    def gone(self, connection: QuietConnection) -> None:
        self._requests.pop(connection, None)  # sessions do not notice

    def deliver(self) -> None:
        """Let sessions hear what requests have brought, new ones first being given a seat."""
        while ready := self._hub.ready():  # what one hears may end another
            for session in ready:
                if session not in self._sessions and session.ending is None:
                    self._sessions[session] = _Session(self, session)
                if (found := self._sessions.get(session)) is not None:
                    found.hear()

    def forget(self, session: HttpsSession) -> None:
        """A session is over."""
        del self._sessions[session]

    def _make_peer(self, connection: QuietConnection) -> _Requests:
        http = self._hub.connection(connection.address.host, asyncio.get_running_loop().time())
        requests = self._requests[connection] = _Requests(self, http)
        return requests


class _Session:
    """One client's session, and the driver of its seat. Its frames leave when it polls."""

    def __init__(self, listener: HttpsListener, session: HttpsSession) -> None:
        self._listener = listener
        self._session = session
        self._held = False
        self._seat = listener.board.accept(session, self, address=session.address)
        self._runner = SessionRunner(self._seat, on_outcome=self._tell, on_end=self._end)
        session.on_taken = self._seat.room

    @property
    def unread(self) -> int:
        return self._session.unread

    def hear(self) -> None:
        """Requests have brought something, or ended the session."""
        if not self._held:
            self._runner.receive(b"")

    def wake(self) -> None:
        self._runner.wake()

    def hold(self, hold: bool) -> None:
        self._held = hold
        self._runner.hold(hold)
        self.hear()

    def abort(self) -> None:
        self._runner.abort()

    def _tell(self, outcome: PeerOutcome) -> None:
        if isinstance(outcome, Proven):
            self._session.prove(self._runner.now)
        self._listener.board.heard(self._seat, outcome)

    def _end(self) -> None:
        self._session.close(self._runner.now, code=1011)  # harmless if it has ended
        self._listener.forget(self._session)
        self._listener.board.left(self._seat)


class _Requests(Quiet):
    """One accepted socket, as listeners drive it. What is said is said by the sessions."""

    def __init__(self, listener: HttpsListener, http: HttpsServerConnection) -> None:
        self._listener = listener
        self._http = http
        self.leaving = False  # the socket ends when no answer is owed

    @property
    def finished(self) -> bool:
        return self.leaving or self._http.finished

    @property
    def next_timeout(self) -> float | None:
        return self._http.next_timeout

    def receive_data(self, data: bytes, now: float) -> None:
        self._http.receive_data(data, now)

    def eof(self, now: float, reason: str = "") -> None:
        self._http.eof(now)

    def handle_timeout(self, now: float) -> None:
        self._http.handle_timeout(now)

    def data_to_send(self) -> bytes:
        # Before each answer, for the answer tells what its request led to.
        self._listener.deliver()
        return self._http.data_to_send()
