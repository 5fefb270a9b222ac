"""The hub as a client of an MQTT broker, embedded or any other: one session with it, and a seat for each client behind.

`Gateway` is the machine, `MqttService` runs it on the loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from attrs import frozen

from thalovant_io.asyncio_connection import SessionRunner
from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.dialer import ContextSource
from thalovant_proto.carrier import CloseKind
from thalovant_proto.client.backoff import Redial
from thalovant_proto.client.stack import Dial, Run, Stop, Wait
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed
from thalovant_proto.entropy import Entropy
from thalovant_proto.links.mqtt.gateway import (
    EchoMissed,
    GatewayClosed,
    GatewayEvent,
    GatewayReady,
    MqttHubGateway,
    MqttPeerLink,
    PeerArrived,
    PeerEnded,
    PeerInput,
    RivalSeen,
)
from thalovant_proto.secret import Secret

from ..broker.accounts import HUB_NAME, Accounts
from ..connections import ClientConnection, PeerOutcome
from ..errors import HubSetupError

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

log: logging.Logger = logging.getLogger("thalovant.hub")

#: How long a hub that starts waits for its broker before it goes on without.
_FIRST_TRY: Final = 5.0
_RIVAL: Final = "Another hub uses the same topics of the MQTT broker: no client may be registered with both"
_NO_ECHO: Final = "The MQTT broker keeps what the hub says from it: check the hub's account in the broker's access list"
#: What a message costs that waits, beside its bytes, of which there may be none.
_HELD: Final = 64


@frozen(kw_only=True)
class BrokerReady:
    """The broker serves us: clients can be heard."""


@frozen(kw_only=True)
class BrokerLost:
    """There is no session with the broker. `verdict`: it, or its certificate, says that there can be none."""

    message: str
    verdict: bool


@frozen(kw_only=True)
class BrokerDoubt:
    """There is a session with the broker, and something about it that people should know."""

    message: str


BrokerOutcome = BrokerReady | BrokerLost | BrokerDoubt


class Gateway:
    """A session with a broker that is begun again whenever it ends: what drivers run like a client stack.

    `make` makes the gateway of each attempt. `on_event` is told of clients, and has to act before it returns; `on_room`
    when fewer than `pause` bytes wait for the broker again. `known` are the access keys of those who may believe that
    they have a session, when a gateway begins.
    """

    def __init__(
        self,
        make: Callable[[], MqttHubGateway],
        *,
        on_event: Callable[[PeerArrived | PeerInput | PeerEnded], None],
        on_room: Callable[[], None],
        known: Callable[[], Iterable[Secret[str]]],
        pause: int,
        entropy: Entropy,
    ) -> None:
        self._known = known
        self._make = make
        self._on_event = on_event
        self._on_room = on_room
        self._pause = pause
        self._redial = Redial(entropy)
        self._current: MqttHubGateway | None = make()
        self._serial = 1  # of it
        self._up = False  # its socket is
        self._again_at: float | None = None  # while there is none
        self._closing = False
        self._outcomes: list[BrokerOutcome] = []

    @property
    def unread(self) -> int:
        """Bytes that wait for the broker."""
        return 0 if self._current is None else self._current.unread

    def close(self, now: float) -> None:
        """Say goodbye to the broker, for good."""
        self._closing = True
        self._again_at = None
        if self._current is not None and self._up:
            self._take(self._current.close(now), now)
        else:
            self._current = None

    # --- the driver

    def step(self) -> Dial | Run | Wait | Stop:
        """What to do about sockets now."""
        if self._current is None or not self._current.wants_socket:
            return Stop() if self._closing else Wait()
        return Run(self._serial) if self._up else Dial(self._current.target, self._serial)

    def socket_opened(self, now: float) -> None:
        """The socket of the last dial is up."""
        if self._current is not None:
            self._up = True
            self._take(self._current.socket_opened(now), now)

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        """The last dial ended without a socket."""
        self._lose(failed.message, now, verdict=failed.fault.final)

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        if self._current is not None:
            before = self.unread
            self._take(self._current.receive_data(data, now), now)
            if self.unread < self._pause <= before:
                self._on_room()

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended."""
        if self._current is not None:
            self._take(self._current.eof(now), now)
        self._up = False

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        return b"" if self._current is None else self._current.data_to_send()

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        return self._again_at if self._current is None else self._current.next_timeout

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        if self._current is not None:
            self._take(self._current.handle_timeout(now), now)
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._serial += 1
            self._current = self._make()

    def effects(self) -> list[DeriveKey]:
        """None: keys are between the hub and its clients."""
        return []

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """Never, then."""
        raise RuntimeError("a gateway has derived a key")

    def outcomes(self) -> list[BrokerOutcome]:
        """How it goes with the broker."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # --- inside

    def _take(self, events: Iterable[GatewayEvent], now: float) -> None:
        for event in events:
            match event:
                case GatewayReady():
                    self._redial.proven(now)
                    self._outcomes.append(BrokerReady())
                    if self._current is not None:
                        for access_key in self._known():
                            self._current.dismiss(access_key, now)
                case GatewayClosed(kind=kind, reason=reason, error=error):
                    hint = error.hint if error is not None else ""
                    self._lose(f"{reason}; {hint}" if hint else reason, now, verdict=kind is CloseKind.REFUSED)
                case RivalSeen():
                    self._outcomes.append(BrokerDoubt(message=_RIVAL))
                case EchoMissed():
                    self._outcomes.append(BrokerDoubt(message=_NO_ECHO))
                case PeerArrived() | PeerInput() | PeerEnded():
                    self._on_event(event)

    def _lose(self, message: str, now: float, *, verdict: bool) -> None:
        if not self._closing:  # else its goodbye is still to be written
            self._current, self._up = None, False
            self._again_at = self._redial.failed(now)
            self._outcomes.append(BrokerLost(message=message, verdict=verdict))


class MqttService:
    """Serves the clients behind a broker. `start` it once.

    The broker at `url` knows the hub by `username` and `password`. `tls` makes the context that verifies it, `secure`
    says that it is verified, or on this machine. `outlives` us: clients that it has may have been ours before.
    """

    protocol = "mqtt"

    def __init__(
        self,
        board: Dispatcher,
        accounts: Accounts,
        url: str,
        *,
        username: str | None,
        password: Secret[str] | None,
        tls: ContextSource,
        secure: bool,
        outlives: bool,
    ) -> None:
        settings = board.settings
        client_id = f"thalovant-hub-{secrets.token_hex(8)}"

        def make() -> MqttHubGateway:
            return MqttHubGateway(
                url,
                client_id=client_id,
                username=username,
                password=password,
                topic_prefix=accounts.prefix,
                legacy_prefix=accounts.legacy_prefix,
                hub_name=HUB_NAME,
                secure=secure,
                limits=settings.mqtt,
            )

        self.board = board
        self.address: str = make().target.host
        self._loop = asyncio.get_running_loop()
        self._peers: dict[MqttPeerLink, _Peer] = {}
        self._gateway = Gateway(
            make,
            on_event=self._hear,
            on_room=self._give_room,
            known=lambda: [client.access_key for client in board.registry] if outlives else (),
            pause=settings.unread_pause,
            entropy=os.urandom,
        )
        self._driver = AsyncioDriver(self._gateway, on_outcome=self._tell, tls=tls)
        self._first: asyncio.Future[BrokerOutcome] = self._loop.create_future()
        self._lost = False  # and said so
        self._flushing = False

    async def start(self) -> None:
        """Begin to serve; a broker that cannot be reached is tried again for as long as it takes.

        Raises `HubSetupError` if it refuses us, or its certificate does not hold.
        """
        self._driver.start()
        try:
            async with asyncio.timeout(_FIRST_TRY):
                first = await asyncio.shield(self._first)
        except TimeoutError:
            return
        if isinstance(first, BrokerLost) and first.verdict:
            await self.close(0)
            raise HubSetupError(f"The MQTT broker cannot be used: {first.message}", setting="broker")

    async def close(self, grace: float) -> None:
        """Say goodbye to the broker, within `grace` seconds."""
        self._gateway.close(self._loop.time())
        self._driver.wake()
        try:
            async with asyncio.timeout(grace):
                await self._driver.closed()
        except TimeoutError:
            self._driver.abort()
            await self._driver.closed()
        for peer in tuple(self._peers.values()):
            peer.abort()

    # --- for its clients

    @property
    def unread(self) -> int:
        """Bytes that wait for the broker, whomever they are for."""
        return self._gateway.unread

    def flush(self) -> None:
        """Write what clients have been sent, soon: once for all of them."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def forget(self, link: MqttPeerLink) -> None:
        """A client is gone."""
        del self._peers[link]

    # --- inside

    def _flush(self) -> None:
        self._flushing = False
        self._driver.wake()

    def _hear(self, event: PeerArrived | PeerInput | PeerEnded) -> None:
        if isinstance(event, PeerArrived):
            self._peers[event.link] = _Peer(self, event.link)
        elif (peer := self._peers.get(event.link)) is not None:
            if isinstance(event, PeerInput):
                peer.hear(event.data)
            else:
                peer.eof()

    def _give_room(self) -> None:
        for peer in tuple(self._peers.values()):
            peer.seat.room()

    def _tell(self, outcome: BrokerOutcome) -> None:
        if not self._first.done():
            self._first.set_result(outcome)
            if isinstance(outcome, BrokerLost) and outcome.verdict:
                return  # `start` says so
        if isinstance(outcome, BrokerReady):
            log.log(logging.WARNING if self._lost else logging.INFO, "The MQTT broker serves the hub")
            self._lost = False
        elif isinstance(outcome, BrokerDoubt):
            log.warning("%s", outcome.message)
        elif not self._lost:
            log.warning("No MQTT for now: %s", outcome.message)
            self._lost = True


class _Peer:
    """One client behind the broker, and the driver of its seat."""

    def __init__(self, service: MqttService, link: MqttPeerLink) -> None:
        self._service = service
        self._link = link
        self._held = False
        self._waiting: deque[bytes] = deque()  # while it is held
        self._waiting_bytes = 0
        self.seat: ClientConnection = service.board.accept(link, self, address=service.address)
        # Its frames leave by the gateway.
        self._runner = SessionRunner(self.seat, on_outcome=self._tell, on_end=self._end, on_settled=service.flush)

    @property
    def unread(self) -> int:
        # All share the way to the broker, so that one who sends much waits; nobody is cut off for what others sent.
        return min(self._service.unread, self._service.board.settings.unread)

    def hear(self, data: bytes) -> None:
        """A message came."""
        if not self._held:
            self._runner.receive(data)
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data) + _HELD
        if self._waiting_bytes > self._service.board.settings.unheard:
            self.seat.close(self._runner.now, code=1013, reason="it sends faster than it is heard")
            self._runner.wake()

    def eof(self) -> None:
        """The link has ended."""
        self._runner.socket_ended()

    def wake(self) -> None:
        self._runner.wake()

    def hold(self, hold: bool) -> None:
        self._held = hold
        self._runner.hold(hold)
        while self._waiting and not self._held:
            data = self._waiting.popleft()
            self._waiting_bytes -= len(data) + _HELD
            self._runner.receive(data)

    def abort(self) -> None:
        self._runner.abort()

    def _tell(self, outcome: PeerOutcome) -> None:
        self._service.board.heard(self.seat, outcome)

    def _end(self) -> None:
        self._link.close(self._runner.now, code=1011)  # harmless if it has ended
        self._service.forget(self._link)
        self._service.board.left(self.seat)
        self._service.flush()
