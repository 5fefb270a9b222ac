"""Dispatcher between connections and decisions: it lets clients in, acts on their messages and sends answers."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable
from typing import Final

from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import PeerClosed
from thalovant_proto.links.base import HubLink

from ..errors import shortened
from .actions import Hear, HearBinary, Kick, Learn, RoutedPeer, Say
from .admission import RefusalLog
from .connections import ClientConnection, ConnectionTable, Driver, PeerOutcome
from .errors import HubSetupError
from .mesh import Mesh
from .router import Router
from .settings import Settings
from .skills.registry import SkillRegistry
from .skills.runner import SkillRunner
from .skills.turn_state import HubView
from .storage.clients import Registry
from .storage.keys import HubKeys

log: logging.Logger = logging.getLogger("thalovant.hub")

#: How much of what a client calls itself becomes part of its peer id.
MAX_AGENT: Final = 64
KEY_REJECTED: Final = "client Noise static key contradicts the pinned key"
STOPPING: Final = "the hub is stopping"


class Dispatcher:
    """The part that all listeners of a hub share. Use it on the hub's loop.

    A listener gives each link to `accept`, runs the connection that it gets, tells `on_outcome` the connection's
    outcomes, and `on_gone` when it is over.
    """

    def __init__(
        self,
        hub: HubView,
        keys: HubKeys,
        registry: Registry,
        skills: SkillRegistry,
        *,
        site_id: str | None,
        settings: Settings,
    ) -> None:
        self.hub = hub
        self.registry = registry
        self.connections: ConnectionTable = ConnectionTable(settings)
        self.runner: SkillRunner = SkillRunner(skills, self, settings)
        self.settings = settings
        self.refusals: RefusalLog = RefusalLog()
        self.stopping: bool = False
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._joined = asyncio.Event()
        self._router = Router(Mesh(keys.pubkey, wall_clock=time.time, site_id=site_id))

    # --- for listeners ---

    def accept(
        self,
        link: HubLink,
        driver: Driver,
        *,
        address: str,
        counted: bool = False,
        unsent: Callable[[], int] | None = None,
        on_proven: Callable[[], None] = lambda: None,
    ) -> ClientConnection:
        """Make the connection of a link that is up. `counted`: the limit of the unproven was applied to its socket.

        See `ClientConnection` for the rest.
        """
        now = self._loop.time()
        connection = ClientConnection(
            link,
            driver,
            address=address,
            unsent=unsent,
            on_proven=on_proven,
            register=self._register,
            registry=self.registry,
            entropy=os.urandom,
            now=now,
            limits=self.settings.limits,
        )
        if self.stopping:
            connection.close(now, code=1001, reason=STOPPING)
        elif not self.connections.admit(connection, now, counted=counted):
            self.refusals.report(address, "too many connections prove nothing")
            connection.close(now, code=1013, reason="too many connections that prove nothing")
        return connection

    def on_outcome(self, connection: ClientConnection, outcome: PeerOutcome) -> None:
        """Act on an outcome of a connection."""
        if isinstance(outcome, e.Message):
            peer = connection.routed
            for action in () if peer is None else self._router.receive(peer, outcome, self._loop.time()):
                match action:
                    case Hear(request):
                        self.runner.on_request(request)
                    case Say(to, message):
                        self._pass_on(to, message)
                    case HearBinary(sender, binary):
                        self.runner.on_binary(sender, binary)
                    case Kick(whom, code, reason):
                        self.kick(whom, code=code, reason=reason)
                    case Learn(whom, pubkey):
                        self._learn(whom, pubkey)
        elif isinstance(outcome, e.HandshakeCompleted):
            connection.completed = outcome
        elif isinstance(outcome, e.Proven):
            self._proven(connection)
        elif isinstance(outcome, PeerClosed):
            if outcome.cause is not None:
                log.error("The client at %s could not be looked up", connection.address, exc_info=outcome.cause)
            if outcome.error is not None and connection.routed is not None:
                log.info("%s: %s", connection.peer_id, outcome.error)
            elif outcome.error is not None:
                self.refusals.report(connection.address, str(outcome.error), level=logging.INFO)
            self.on_gone(connection)

    def on_gone(self, connection: ClientConnection) -> None:
        """The connection is over. Harmless if repeated."""
        if connection.routed is not None and not connection.gone:
            log.info("%s left", connection.peer_id)
            self._router.leave(connection.routed)
        self.connections.forget(connection)

    # --- for what answers ---

    @property
    def peers(self) -> list[RoutedPeer]:
        """All proven peers."""
        return list(self._router.peers.values())

    async def joined(self) -> None:
        """Wait until another peer is proven."""
        await self._joined.wait()

    def send(self, peer: RoutedPeer, *events: e.Message, more: bool = False) -> None:
        """Send to a peer; dropped if it is gone. With `more` to come at once, it leaves with that.

        Raises `ValueError` for what is no JSON, or too long.
        """
        connection = self.connections.proven.get(peer.id)
        if connection is None:
            return
        now = self._loop.time()
        waited = 0 if more else connection.unsent  # of the new ones, one may be larger than what may wait
        try:
            for event in events:
                connection.send(event, now)
        except LocalProtocolError as error:
            if connection.proven:  # else it was closed, now or before
                raise ValueError(str(error)) from None
        if more:
            return
        connection.driver.wake()
        if events and waited > self.settings.unsent:
            log.warning("%s does not read: %d bytes wait for it; cut off", peer.id, connection.unsent)
            self.on_gone(connection)
            connection.driver.abort()

    async def drained(self, peer: RoutedPeer) -> None:
        """Let everything leave, and wait while the peer is behind with reading; others get their turn in any case."""
        self.send(peer)
        await asyncio.sleep(0)
        if (connection := self.connections.proven.get(peer.id)) is not None:
            await connection.writable(self.settings.unsent_pause)

    def hold(self, peer: RoutedPeer, hold: bool) -> None:
        """Read nothing more from a peer, until told otherwise."""
        if (connection := self.connections.proven.get(peer.id)) is not None:
            connection.driver.hold(hold)

    def kick(self, peer: RoutedPeer, *, code: int, reason: str) -> None:
        """Close the connection of a peer."""
        if (connection := self.connections.proven.get(peer.id)) is not None:
            log.info("%s is closed: %s", peer.id, reason)
            connection.end(self._loop.time(), code=code, reason=reason)

    def goodbye(self) -> None:
        """Close every connection."""
        self.stopping = True
        now = self._loop.time()
        for connection in self.connections:
            connection.end(now, code=1001, reason=STOPPING)

    # --- inside ---

    def _register(self, connection: ClientConnection, credentials: Credentials) -> HubSide | None:
        client = self.registry.with_key(credentials.access_key)
        if client is None:
            self.refusals.report(connection.address, "it showed an unknown access key", level=logging.INFO)
            return None
        agent = "".join(char if char.isprintable() else "_" for char in credentials.user_agent[:MAX_AGENT])
        connection.client = client
        connection.peer_id = f"{agent}::{client.id}::{client.name}::{uuid.uuid4()}"
        return HubSide(
            node_id=self._keys.pubkey,
            pubkey=self._keys.pubkey,
            static_key=self._keys.static_key,
            peer=connection.peer_id,
            generation=client.generation,
            # A v0 client that holds the password too may prove it unasked, as old clients do.
            password=client.password,
            offers_password=client.generation is not e.Generation.PRESHARED,
            crypto_key=client.crypto_key,
            psk=client.psk,
            pinned=client.pinned,
        )

    def _proven(self, connection: ClientConnection) -> None:
        client, completed = connection.client, connection.completed
        if client is None:
            return
        if completed is not None and completed.peer_static is not None:
            try:
                client = self.registry.learn(client, pinned=completed.peer_static, psk=completed.psk)
            except HubSetupError as error:
                log.error("%s", error)
                self._turn_away(connection, "the hub cannot keep the client's key", code=1011)
                return
            if client is not None and client.pinned != completed.peer_static:
                # Another connection of this client was first, with another key.
                self._turn_away(connection, KEY_REJECTED)
                return
        else:
            client = self.registry.with_key(client.access_key)
        if client is None:
            self._turn_away(connection, "this client was removed")
            return
        connection.client = client
        connection.routed = RoutedPeer(
            id=connection.peer_id,
            client=client,
            session_id=connection.peer_id.rpartition("::")[2],
            site_id=client.site_id,
        )
        self.connections.prove(connection)
        connection.on_proven()
        self._router.join(connection.routed)
        log.info("%s joined", connection.peer_id)
        self._joined.set()  # which wakes who waits now, and nobody later
        self._joined.clear()

    def _turn_away(self, connection: ClientConnection, reason: str, *, code: int = 1008) -> None:
        log.warning("%s: %s", connection.peer_id, reason)
        connection.end(self._loop.time(), code=code, reason=reason)

    def _pass_on(self, peer: RoutedPeer, message: e.Message) -> None:
        if isinstance(message, e.Bus) and message.type == e.POLICY_DENIED:  # whoever sent it may not wait for an answer
            log.info("%s is denied %r: %s", peer.id, shortened(message.data["denied_type"]), message.data["code"])
        try:
            self.send(peer, message)
        except ValueError as error:  # one that the sender's connection could carry, and this one cannot
            log.warning("A message for %s was dropped: %s", peer.id, error)

    def _learn(self, peer: RoutedPeer, pubkey: str) -> None:
        try:
            client = self.registry.learn(peer.client, pubkey=pubkey)
        except HubSetupError as error:
            log.error("%s", error)
            return
        if client is None:
            return
        peer.client = client
        if client.pubkey != pubkey:
            log.warning("%s shows another RSA key than at first contact: the first one stays", peer.id)
