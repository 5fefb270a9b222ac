"""The HTTPS listener of a hub: sockets bring requests, and a session, which they make, is a client's connection."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Protocol

from thalovant_io.asyncio_connection import SessionRunner
from thalovant_proto.links.https.server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession

from ..admission import SocketAdmission
from ..connections import PeerOutcome
from .base import Binding, NoOutcomes, RequestConnection, RequestListener

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher


class HttpsListener(RequestListener):
    """Accepts HTTP requests for a dispatcher. `start` it once."""

    protocol = "https"

    def __init__(self, dispatcher: Dispatcher, binding: Binding) -> None:
        super().__init__(self._make_peer, binding)
        self.dispatcher = dispatcher
        self._hub = HttpsServerHub(
            entropy=os.urandom, limits=dispatcher.settings.https, secure=binding.context is not None
        )
        self._requests: dict[RequestConnection, Requests] = {}
        self._sessions: dict[HttpsSession, _Session] = {}

    async def close(self, grace: float) -> None:
        """Accept no more; requests that are there have their answers within `grace` seconds."""
        for requests in tuple(self._requests.values()):
            requests.leave()
        await super().close(grace)
        for session in tuple(self._sessions.values()):
            session.abort()

    def on_gone(self, connection: RequestConnection) -> None:
        self._requests.pop(connection, None)  # sessions do not notice

    def deliver(self) -> None:
        """Let sessions take in their requests; a new one gets a connection first."""
        while ready := self._hub.ready():  # a message of one may end another
            for session in ready:
                if session not in self._sessions and session.ending is None:
                    self._sessions[session] = _Session(self, session)
                if (found := self._sessions.get(session)) is not None:
                    found.take_requests()

    def forget(self, session: HttpsSession) -> None:
        """A session is over."""
        del self._sessions[session]

    def _make_peer(self, connection: RequestConnection) -> Requests:
        http = self._hub.connection(connection.address.host, asyncio.get_running_loop().time())
        requests = self._requests[connection] = Requests(self, connection, http)
        return requests


class _Session(SessionRunner[PeerOutcome]):
    """One client's session: runs its connection, whose frames leave when the client polls."""

    def __init__(self, listener: HttpsListener, session: HttpsSession) -> None:
        self._listener = listener
        self._session = session
        self._keeping = False
        dispatcher = listener.dispatcher
        self._connection = dispatcher.accept(
            session, self, address=session.address, on_proven=lambda: session.prove(self.now)
        )
        super().__init__(
            self._connection, on_outcome=partial(dispatcher.on_outcome, self._connection), on_end=self._finish
        )

    def take_requests(self) -> None:
        """Take in the requests that came, or the end of the session."""
        if not self._keeping:
            self.receive(b"")

    def hold(self, hold: bool) -> None:
        """Leave requests where they are, or take in those that came meanwhile."""
        self._keeping = hold
        super().hold(hold)
        self.take_requests()

    def _finish(self) -> None:
        self._session.close(self.now, code=1011)  # harmless if it has ended
        self._listener.forget(self._session)
        self._listener.dispatcher.on_gone(self._connection)


class Deliverer(Protocol):
    """A listener whose sockets bring requests."""

    admission: SocketAdmission

    def deliver(self) -> None:
        """See to it that what requests led to has happened."""


class Requests(NoOutcomes):
    """The peer on one accepted socket. Outcomes are those of the sessions."""

    def __init__(self, listener: Deliverer, connection: RequestConnection, http: HttpsServerConnection) -> None:
        self._listener = listener
        self._connection = connection
        self._http = http
        self._leaving = False  # the socket ends when no answer is owed

    def leave(self) -> None:
        """End the socket, once the answers that are owed are written."""
        self._leaving = True
        self._connection.wake()

    @property
    def finished(self) -> bool:
        return self._leaving or self._http.finished

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
        # Before each answer, for the answer tells the result of its request.
        self._listener.deliver()
        if self._http.proven:
            self._listener.admission.proven(self._connection)
        return self._http.data_to_send()
