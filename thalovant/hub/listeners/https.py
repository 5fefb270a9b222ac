"""The hub's HTTPS port: accepted sockets bring requests, requests make sessions, and each session becomes a seat."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

from thalovant_io.asyncio_connection import SessionRunner
from thalovant_proto.events import Proven
from thalovant_proto.links.https.server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession

from ..connections import LOCAL
from .base import Quiet, QuietConnection, QuietPort

if TYPE_CHECKING:
    from ..connections import PeerOutcome
    from ..dispatcher import Dispatcher
    from ..settings import Settings


class HttpsListener(QuietPort):
    """Accepts HTTP requests for a dispatcher. `start` it once."""

    protocol = "https"

    def __init__(self, board: Dispatcher, host: str, port: int, context: ssl.SSLContext | None) -> None:
        connections = board.settings.connections
        super().__init__(self._make_peer, host, port, context, setting="https_port", connections=connections)
        self.board = board
        self._hub = HttpsServerHub(entropy=os.urandom, limits=board.settings.https, secure=context is not None)
        self._requests: dict[QuietConnection, _Requests] = {}
        self._strangers = _Strangers(board.settings)
        self._sessions: dict[HttpsSession, _Session] = {}

    async def close(self, grace: float) -> None:
        """Accept no more; requests that are there have their answers within `grace` seconds."""
        for requests in tuple(self._requests.values()):
            requests.leave()
        await super().close(grace)
        for session in tuple(self._sessions.values()):
            session.abort()

    def gone(self, connection: QuietConnection) -> None:
        requests = self._requests.pop(connection, None)  # sessions do not notice
        if requests is not None:
            self._strangers.forget(requests)

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
        now = asyncio.get_running_loop().time()
        http = self._hub.connection(connection.address.host, now)
        requests = self._requests[connection] = _Requests(self, connection, http, since=now)
        self._strangers.admit(requests)
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

    def __init__(
        self, listener: HttpsListener, connection: QuietConnection, http: HttpsServerConnection, *, since: float
    ) -> None:
        self.since = since
        self._listener = listener
        self._connection = connection
        self._http = http
        self.leaving = False  # the socket ends when no answer is owed

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self._http.address

    @property
    def proven(self) -> bool:
        """Whether it serves a client that is proven."""
        return self._http.proven

    def leave(self) -> None:
        """End the socket, once what is owed is said."""
        self.leaving = True
        self._connection.wake()

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


class _Strangers:
    """Sockets that serve no client that is proven: so many from one address, for they cost as much as any other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._from: dict[str, dict[_Requests, None]] = {}  # by address, oldest first

    def admit(self, requests: _Requests) -> None:
        """Count a new one. Where all places are taken, one that has had its time gives way, or the new one must."""
        if requests.address in LOCAL:
            return
        others = self._from.setdefault(requests.address, {})
        if len(others) >= self._settings.unproven_per_address:
            for one in [one for one in others if one.proven]:
                del others[one]
        if len(others) >= self._settings.unproven_per_address:
            oldest = next(iter(others))
            if requests.since - oldest.since < self._settings.unproven_grace:
                requests.leaving = True
                return
            del others[oldest]
            oldest.leave()
        others[requests] = None

    def forget(self, requests: _Requests) -> None:
        """It is gone."""
        others = self._from.get(requests.address, {})
        others.pop(requests, None)
        if not others:
            self._from.pop(requests.address, None)
