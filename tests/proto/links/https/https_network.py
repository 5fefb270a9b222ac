"""A hub's HTTPS port for a `World`: sessions that outlive sockets, and a way there on which answers get lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from tests.proto.links.https.https_world import entropy, response
from tests.proto.links.networks import Machine, Network
from thalovant_proto.carrier import CloseKind
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.client.stack import ClientLink
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.links.https.client import HttpsClientLink
from thalovant_proto.links.https.server import HttpsServerConnection, HttpsServerHub
from thalovant_proto.links.https.session import HttpsSession
from thalovant_proto.links.https.stream import DEFAULT_HTTPS_LIMITS, HttpsLimits, Resource
from thalovant_proto.trust import Trust

if TYPE_CHECKING:
    pass


class Proxied:
    """A socket to the hub, with a proxy in between that may lose an answer or give its own."""

    def __init__(self, network: HttpsNetwork, hub: HttpsServerConnection) -> None:
        self.network = network
        self.hub = hub
        self._owes = b""  # its own answer to a request that the hub does not see

    @property
    def finished(self) -> bool:
        return self.hub.finished and not self._owes

    def receive_data(self, data: bytes, now: float) -> None:
        if self.network.turned_away:
            self._owes = self.network.page()
        else:
            self.hub.receive_data(data, now)

    def data_to_send(self) -> bytes:
        if self._owes:
            data, self._owes = self._owes, b""
            self.network.turned_away = False
            return data
        data = self.hub.data_to_send()
        if data and self.network.lost:
            self.network.lost = False
            self.hub.eof(0.0)  # the client learns that the socket has ended, and no more
            return b""
        if data and self.network.covered:
            self.network.covered = False
            return self.network.page()
        return data

    def eof(self, now: float, reason: str = "") -> None:
        self.hub.eof(now)


class HttpsNetwork(Network):
    """The way to an `HttpsServerHub`."""

    def __init__(self, limits: HttpsLimits = DEFAULT_HTTPS_LIMITS) -> None:
        self._limits = limits
        self._entropy = entropy()
        self._sockets: list[HttpsServerConnection] = []
        self._peers: dict[HttpsSession, HubPeer] = {}
        self.turned_away = False  # the next request does not get to the hub
        self.lost = False  # the next answer does not get to the client
        self.covered = False  # the next answer is another than the hub's
        self._start()

    def link(self, config: ClientConfig, known: Trust) -> ClientLink:
        return HttpsClientLink(
            "http://127.0.0.1:5679",
            access_key=config.access_key,
            user_agent=config.user_agent,
            limits=self._limits,
            secure=True,
        )

    def accept(self, link: ClientLink) -> Proxied:
        self._sockets = [socket for socket in self._sockets if not socket.finished]
        self._sockets.append(self._server.connection("127.0.0.1", self.world.now))
        return Proxied(self, self._sockets[-1])

    def move(self) -> bool:
        """The driver's duty to the hub: what requests brought goes to their sessions' owners."""
        ready = self._server.ready()
        for session in ready:
            if session not in self._peers and session.ending is None:
                self._peers = {known: peer for known, peer in self._peers.items() if not peer.finished}
                self._peers[session] = self.world.join(session)
            if (peer := self._peers.get(session)) is not None:
                peer.receive_data(b"", self.world.now)
        return bool(ready)

    @property
    def machines(self) -> Iterable[Machine]:
        return self._sockets

    def restart(self) -> None:
        self._peers.clear()
        for socket in self._sockets:
            socket.eof(self.world.now)
        self._start()

    @property
    def mishaps(self) -> Mapping[str, Callable[[int], None]]:
        return {
            "the hub forgets its sessions": self._forget,
            "the hub drops what it has queued": self._drop,
            "an answer is lost": self._lose_answer,
            "a proxy has no hub to ask": self._turn_away,
            "a proxy gives up waiting": self._cover,
        }

    def calm(self) -> None:
        self.turned_away = self.lost = self.covered = False

    def page(self) -> bytes:
        """What a proxy says that got no answer from the hub."""
        return response(502, b"<html>Bad Gateway</html>", content_type="text/html")

    # --- below

    def _start(self) -> None:
        self._server = HttpsServerHub(entropy=self._entropy, limits=self._limits, secure=True)

    def _open(self) -> list[HttpsSession]:
        return [session for session in self._peers if session.ending is None]

    def _forget(self, number: int) -> None:
        for session in self._open():
            session.end(CloseKind.LOST, "a session store was lost", self.world.now)

    def _drop(self, number: int) -> None:
        for session in self._open():
            for queue in (Resource.TEXT, Resource.BINARY):
                while session.take_frames(binary=queue is Resource.BINARY):
                    pass

    def _lose_answer(self, number: int) -> None:
        self.lost = True

    def _turn_away(self, number: int) -> None:
        self.turned_away = True

    def _cover(self, number: int) -> None:
        self.covered = True
