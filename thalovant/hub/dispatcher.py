"""Between connections and decisions: who is let in, what becomes of what they say, and how answers leave."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from typing import Final

from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import PeerClosed
from thalovant_proto.links.base import Link
from thalovant_proto.secret import Secret

from .actions import Hear, HearBinary, Kick, Learn, RoutedPeer, Say
from .connections import ClientConnection, ConnectionTable, Driver, PeerOutcome
from .errors import HubSetupError
from .mesh import Mesh
from .router import Router
from .settings import Settings
from .skills.registry import SkillRegistry
from .skills.runner import SkillRunner
from .skills.turn_state import HubView
from .storage.clients import Client, Registry
from .storage.keys import HubKeys

log: logging.Logger = logging.getLogger("thalovant.hub")

#: How much of what a client calls itself becomes part of its peer id.
MAX_AGENT: Final = 64
KEY_REJECTED: Final = "client Noise static key contradicts the pinned key"
STOPPING: Final = "the hub is stopping"


class Dispatcher:
    """What all listeners of a hub share. Use it on the hub's loop.

    A listener gives each link to `accept`, runs the seat that it gets, tells `heard` the seat's outcomes, and `left`
    when the connection is gone.
    """

    def __init__(
        self,
        hub: HubView,
        keys: HubKeys,
        registry: Registry,
        repertoire: SkillRegistry,
        *,
        site_id: str | None,
        settings: Settings,
    ) -> None:
        self.hub = hub
        self.registry = registry
        self.seats: ConnectionTable = ConnectionTable(settings)
        self.stage: SkillRunner = SkillRunner(repertoire, self, settings)
        self.settings = settings
        self.stopping: bool = False
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._joined = asyncio.Event()
        self._router = Router(Mesh(keys.pubkey, wall_clock=time.time, site_id=site_id))

    # --- for listeners ---

    def accept(self, link: Link, driver: Driver, *, address: str) -> ClientConnection:
        """A seat for a link whose socket is up."""
        now = self._loop.time()
        seat = ClientConnection(
            link,
            driver,
            address=address,
            register=self._register,
            known_psk=self._known_psk,
            entropy=os.urandom,
            now=now,
            limits=self.settings.limits,
        )
        if self.stopping:
            seat.close(now, code=1001, reason=STOPPING)
        elif not self.seats.admit(seat, now):
            log.warning("Too many clients that prove nothing: one from %s was turned away", address)
            seat.close(now, code=1013, reason="too many connections that prove nothing")
        return seat

    def heard(self, seat: ClientConnection, outcome: PeerOutcome) -> None:
        """Something became true on a seat."""
        if isinstance(outcome, e.Message):
            if seat.routed is not None:
                self._act(seat.routed, outcome)
        elif isinstance(outcome, e.HandshakeCompleted):
            seat.completed = outcome
        elif isinstance(outcome, e.Proven):
            self._proven(seat)
        elif isinstance(outcome, PeerClosed):
            if outcome.cause is not None:
                log.error("The client at %s could not be looked up", seat.address, exc_info=outcome.cause)
            if outcome.error is not None:
                log.info("%s: %s", seat.peer_id or seat.address, outcome.error)
            self.left(seat)

    def left(self, seat: ClientConnection) -> None:
        """The connection of a seat is over. Harmless if repeated."""
        if seat.routed is not None and not seat.gone:
            log.info("%s left", seat.peer_id)
            self._router.leave(seat.routed)
        self.seats.forget(seat)

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
        seat = self.seats.at(peer.id)
        if seat is None or not seat.proven:
            return
        now, waited = self._loop.time(), seat.driver.unread  # of the new ones, one may be larger than what may wait
        try:
            for event in events:
                seat.send(event, now)
        except LocalProtocolError as error:
            if seat.proven:  # else it was just closed
                raise ValueError(str(error)) from None
        if more:
            return
        seat.driver.wake()
        if events and waited > self.settings.unread:
            log.warning("%s does not read: %d bytes wait for it; cut off", peer.id, seat.driver.unread)
            self.left(seat)
            seat.driver.abort()

    async def drained(self, peer: RoutedPeer) -> None:
        """Let everything leave, and wait while the peer is behind with reading; others get their turn in any case."""
        self.send(peer)
        await asyncio.sleep(0)
        if (seat := self.seats.at(peer.id)) is not None:
            await seat.has_room(self.settings.unread_pause)

    def hold(self, peer: RoutedPeer, hold: bool) -> None:
        """Read nothing more from a peer, until told otherwise."""
        if (seat := self.seats.at(peer.id)) is not None:
            seat.driver.hold(hold)

    def kick(self, peer: RoutedPeer, *, code: int, reason: str) -> None:
        """Close the connection of a peer."""
        if (seat := self.seats.at(peer.id)) is not None:
            log.info("%s is closed: %s", peer.id, reason)
            seat.close(self._loop.time(), code=code, reason=reason)
            seat.driver.wake()

    def goodbye(self) -> None:
        """Close every connection."""
        self.stopping = True
        now = self._loop.time()
        for seat in self.seats:
            seat.close(now, code=1001, reason=STOPPING)
            seat.driver.wake()

    # --- inside ---

    def _register(self, seat: ClientConnection, credentials: Credentials) -> HubSide | None:
        client = self.registry.with_key(credentials.access_key)
        if client is None:
            log.info("A client from %s showed an unknown access key", seat.address)
            return None
        agent = "".join(char if char.isprintable() else "_" for char in credentials.user_agent[:MAX_AGENT])
        seat.client = client
        seat.peer_id = f"{agent}::{client.id}::{client.name}::{uuid.uuid4()}"
        return HubSide(
            node_id=self._keys.pubkey,
            pubkey=self._keys.pubkey,
            static_key=self._keys.static_key,
            peer=seat.peer_id,
            generation=client.generation,
            # A v0 client that holds the password too may prove it unasked, as old clients do.
            password=client.password,
            offers_password=client.generation is not e.Generation.PRESHARED,
            crypto_key=client.crypto_key,
            psk=client.psk,
            pinned=client.pinned,
        )

    def _known_psk(self, client: Client) -> Secret[bytes] | None:
        known = self.registry.with_key(client.access_key)
        return None if known is None else known.psk

    def _proven(self, seat: ClientConnection) -> None:
        client, completed = seat.client, seat.completed
        if client is None:
            return
        if completed is not None and completed.peer_static is not None:
            try:
                client = self.registry.learn(client, pinned=completed.peer_static, psk=completed.psk)
            except HubSetupError as error:
                log.error("%s", error)
                self._turn_away(seat, "the hub cannot keep the client's key", code=1011)
                return
            if client is not None and client.pinned != completed.peer_static:
                # Another connection of this client was first, with another key.
                self._turn_away(seat, KEY_REJECTED)
                return
        else:
            client = self.registry.with_key(client.access_key)
        if client is None:
            self._turn_away(seat, "this client was removed")
            return
        seat.client = client
        seat.routed = RoutedPeer(
            id=seat.peer_id,
            client=client,
            generation=client.generation,
            session_id=seat.peer_id.rpartition("::")[2],
            site_id=client.site_id,
        )
        self.seats.prove(seat)
        self._router.join(seat.routed)
        log.info("%s joined", seat.peer_id)
        self._joined.set()  # which wakes who waits now, and nobody later
        self._joined.clear()

    def _turn_away(self, seat: ClientConnection, reason: str, *, code: int = 1008) -> None:
        log.warning("%s: %s", seat.peer_id, reason)
        seat.close(self._loop.time(), code=code, reason=reason)
        seat.driver.wake()

    def _act(self, peer: RoutedPeer, event: e.Message) -> None:
        for action in self._router.receive(peer, event, self._loop.time()):
            match action:
                case Hear(request):
                    self.stage.hear(request)
                case Say(to, message):
                    self._pass_on(to, message)
                case HearBinary(sender, binary):
                    self.stage.hear_binary(sender, binary)
                case Kick(whom, code, reason):
                    self.kick(whom, code=code, reason=reason)
                case Learn(whom, pubkey):
                    self._learn(whom, pubkey)

    def _pass_on(self, peer: RoutedPeer, message: e.Message) -> None:
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
