"""Connections of a hub, with a limit on those that are not authenticated yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials
from thalovant_proto.crypto.kdf import DeriveKey, Kdf
from thalovant_proto.entropy import Entropy
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.limits import Limits
from thalovant_proto.links.admission import AdmissionLimit
from thalovant_proto.links.base import HubLink
from thalovant_proto.outcomes import Outcome

from .actions import RoutedPeer
from .admission import source_of
from .settings import Settings
from .storage.clients import Client, Registry

PeerOutcome: TypeAlias = Outcome | e.Event


class Driver(Protocol):
    """The driver of a connection: it moves the bytes."""

    def wake(self) -> None:
        """Do what the peer wants: something was said to it outside its own turn."""

    def hold(self, hold: bool) -> None:
        """Read nothing more from the client, until told otherwise."""

    def abort(self) -> None:
        """End at once, without goodbye."""


class ClientConnection(HubPeer):
    """One connection of a client, over whatever link. Its driver runs it like any `HubPeer`.

    `on_proven` is called when the client is. `unsent` counts the bytes that wait for it, where its link cannot.
    """

    def __init__(
        self,
        link: HubLink,
        driver: Driver,
        *,
        address: str,
        unsent: Callable[[], int] | None,
        on_proven: Callable[[], None],
        register: Callable[[ClientConnection, Credentials], HubSide | None],
        registry: Registry,
        entropy: Entropy,
        now: float,
        limits: Limits,
    ) -> None:
        self.driver = driver
        self.address = address
        self.on_proven = on_proven
        self.peer_id: str = ""
        self.client: Client | None = None
        self.completed: e.HandshakeCompleted | None = None
        self.routed: RoutedPeer | None = None  # once it is proven
        self.gone: bool = False
        self._link = link
        self._unsent = unsent
        self._registry = registry
        self._writable: asyncio.Event | None = None  # while somebody waits for it
        super().__init__(link, lambda credentials: register(self, credentials), entropy=entropy, now=now, limits=limits)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client."""
        return self._link.unsent if self._unsent is None else self._unsent()

    def effects(self) -> list[DeriveKey]:
        """Derivations to start. Not of a PSK that was derived since this connection began: it goes on with that."""
        wanted = super().effects()
        known = self._registry.with_key(self.client.access_key) if wanted and self.client is not None else None
        if known is None or known.psk is None:
            return wanted
        for effect in wanted:
            if effect.kdf is Kdf.ARGON2ID:
                self.effect_done(effect.id, known.psk, asyncio.get_running_loop().time())
                self.driver.wake()
        return [effect for effect in wanted if effect.kdf is not Kdf.ARGON2ID]

    def end(self, now: float, *, code: int, reason: str) -> None:
        """Close the connection, and let its driver say so to the client."""
        self.close(now, code=code, reason=reason)
        self.driver.wake()

    def bytes_left(self) -> None:
        """Let whoever waits to send look again: fewer bytes wait, or the connection is gone."""
        if self._writable is not None:
            self._writable.set()

    async def writable(self, limit: int) -> None:
        """Wait until fewer than `limit` bytes wait for the client, or it is gone."""
        while self.unsent >= limit and not self.gone:
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            self._link.on_taken = self._writable.set
            await self._writable.wait()
        self._writable = self._link.on_taken = None


class ConnectionTable:
    """All connections of a hub. Those without a socket of their own, which is counted when it is accepted, are few."""

    def __init__(self, settings: Settings) -> None:
        self._unproven: dict[ClientConnection, None] = {}  # oldest first
        self.proven: dict[str, ClientConnection] = {}  # by peer id
        self._limit: AdmissionLimit[ClientConnection] = AdmissionLimit(
            total=settings.unproven, per_source=settings.unproven_per_address, grace=settings.unproven_grace
        )

    def __iter__(self) -> Iterator[ClientConnection]:
        yield from tuple(self._unproven)
        yield from tuple(self.proven.values())

    @property
    def unproven(self) -> int:
        """The number of connections that have proven nothing."""
        return len(self._unproven)

    def admit(self, connection: ClientConnection, now: float, *, counted: bool) -> bool:
        """Enter a new connection; False if there is no place for it. One that is `counted` as a socket has its place.

        One that had its time without a proof may have to go: a client needs milliseconds.
        """
        if not counted:
            gone = self._limit.admit(connection, source_of(connection.address), now)
            if gone is connection:
                return False
            if gone is not None:
                self.forget(gone)
                gone.end(now, code=1013, reason="others are waiting")
        self._unproven[connection] = None
        return True

    def prove(self, connection: ClientConnection) -> None:
        """Enter a connection as that of a proven peer."""
        self._stop_counting(connection)
        self.proven[connection.peer_id] = connection

    def forget(self, connection: ClientConnection) -> None:
        """The connection is over. Harmless if repeated."""
        self._stop_counting(connection)
        if self.proven.get(connection.peer_id) is connection:
            del self.proven[connection.peer_id]
        connection.gone = True
        connection.bytes_left()

    def _stop_counting(self, connection: ClientConnection) -> None:
        self._unproven.pop(connection, None)
        self._limit.release(connection)
