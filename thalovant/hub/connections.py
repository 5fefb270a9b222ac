"""Who is connected to a hub: a seat for each connection, few of them for those that have proven nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias

from thalovant_proto import events as e
from thalovant_proto.carrier import Credentials
from thalovant_proto.crypto.kdf import DeriveKey, Kdf
from thalovant_proto.entropy import Entropy
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.limits import Limits
from thalovant_proto.links.base import Link
from thalovant_proto.outcomes import Outcome
from thalovant_proto.secret import Secret

from .actions import RoutedPeer
from .settings import Settings
from .storage.clients import Client

PeerOutcome: TypeAlias = Outcome | e.Event


#: Addresses behind which there may be a proxy, or a whole test.
LOCAL: Final = ("127.0.0.1", "::1")


class Driver(Protocol):
    """What moves a seat's bytes."""

    @property
    def unread(self) -> int:
        """Bytes that wait for the client to read."""

    def wake(self) -> None:
        """Do what the peer wants: something was said to it outside its own turn."""

    def hold(self, hold: bool) -> None:
        """Read nothing more from the client, until told otherwise."""

    def abort(self) -> None:
        """End at once, without goodbye."""


class ClientConnection(HubPeer):
    """One connection of a client, over whatever link. Its driver runs it like any `HubPeer`."""

    def __init__(
        self,
        link: Link,
        driver: Driver,
        *,
        address: str,
        register: Callable[[ClientConnection, Credentials], HubSide | None],
        known_psk: Callable[[Client], Secret[bytes] | None],
        entropy: Entropy,
        now: float,
        limits: Limits,
    ) -> None:
        self.driver = driver
        self.address = address
        self.since = now
        self.peer_id = ""
        self.client: Client | None = None
        self.completed: e.HandshakeCompleted | None = None
        self.routed: RoutedPeer | None = None  # once it is proven
        self.gone: bool = False
        self._known_psk = known_psk
        self._room: asyncio.Event | None = None
        super().__init__(link, lambda credentials: register(self, credentials), entropy=entropy, now=now, limits=limits)

    def data_to_send(self) -> bytes:
        data = super().data_to_send()
        if data:
            self.room()
        return data

    def effects(self) -> list[DeriveKey]:
        """Derivations to start. Not of a PSK that was derived since this connection began: it goes on with that."""
        wanted = super().effects()
        psk = self._known_psk(self.client) if wanted and self.client is not None else None
        if psk is None:
            return wanted
        for effect in wanted:
            if effect.kdf is Kdf.ARGON2ID:
                self.effect_done(effect.id, psk, asyncio.get_running_loop().time())
                self.driver.wake()
        return [effect for effect in wanted if effect.kdf is not Kdf.ARGON2ID]

    def left(self) -> None:
        """The connection is over: nobody waits for it any more."""
        self.gone = True
        self.room()

    def room(self) -> None:
        """Some bytes have left: whoever waits for room looks again."""
        if self._room is not None:
            self._room.set()

    async def has_room(self, pause: int) -> None:
        """Wait until fewer than `pause` bytes wait for the client, or it is gone."""
        while self.driver.unread >= pause and not self.gone:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            await self._room.wait()
        self._room = None


class ConnectionTable:
    """All seats of a hub."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._unproven: dict[ClientConnection, None] = {}  # oldest first
        self._addresses: Counter[str] = Counter()  # of these
        self._proven: dict[str, ClientConnection] = {}

    def __iter__(self) -> Iterator[ClientConnection]:
        yield from tuple(self._unproven)
        yield from tuple(self._proven.values())

    @property
    def unproven(self) -> int:
        """How many connections have proven nothing."""
        return len(self._unproven)

    def at(self, peer_id: str) -> ClientConnection | None:
        """The seat of a proven peer."""
        return self._proven.get(peer_id)

    def admit(self, seat: ClientConnection, now: float) -> bool:
        """Count a new connection; False if there is no place for it.

        When all places are taken, one that has had its time without a proof gives way: a client needs milliseconds.
        """
        settings = self._settings
        if len(self._unproven) >= settings.unproven:
            oldest = next(iter(self._unproven))
            if now - oldest.since < settings.unproven_grace:
                return False
            self.forget(oldest)
            oldest.close(now, code=1013, reason="others are waiting")
            oldest.driver.wake()
        if self._addresses[seat.address] >= settings.unproven_per_address and seat.address not in LOCAL:
            return False
        self._unproven[seat] = None
        self._addresses[seat.address] += 1
        return True

    def prove(self, seat: ClientConnection) -> None:
        """The peer on this seat is proven."""
        self._stop_counting(seat)
        self._proven[seat.peer_id] = seat

    def forget(self, seat: ClientConnection) -> None:
        """The connection is over. Harmless if repeated."""
        self._stop_counting(seat)
        if self._proven.get(seat.peer_id) is seat:
            del self._proven[seat.peer_id]
        seat.left()

    def _stop_counting(self, seat: ClientConnection) -> None:
        if seat in self._unproven:
            del self._unproven[seat]
            self._addresses[seat.address] -= 1
            if not self._addresses[seat.address]:
                del self._addresses[seat.address]
