"""The hub behind an MQTT broker, embedded or any other: one session with it, and a connection for each client behind.

`BrokerSession` is the machine, `MqttService` runs it on the loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, Never, TypeAlias

from attrs import frozen

from thalovant_io.asyncio_connection import SessionRunner
from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.dialer import ContextSource
from thalovant_proto.carrier import CloseKind
from thalovant_proto.client.backoff import Redial
from thalovant_proto.client.stack import Dial, Run, Stop, Wait
from thalovant_proto.dial import DialFailed
from thalovant_proto.entropy import Entropy
from thalovant_proto.links.mqtt import gateway
from thalovant_proto.secret import Secret

from ..broker.accounts import HUB_NAME, PREFIX, Accounts
from ..connections import ClientConnection, PeerOutcome
from ..errors import HubSetupError
from .base import NoOutcomes, Soon

if TYPE_CHECKING:
    from ..broker.gatekeeper import Gatekeeper
    from ..dispatcher import Dispatcher
    from ..storage.clients import Client

log: logging.Logger = logging.getLogger("thalovant.hub")

#: How long a hub that starts waits for its broker before it goes on without.
_FIRST_TRY: Final = 5.0
_RIVAL: Final = "Another hub uses the same topics of the MQTT broker: no client may be registered with both"
_NO_ECHO: Final = "The MQTT broker drops the hub's messages: check the hub's account in the broker's access list"
_UNREACHABLE: Final = "check the broker's URL, and its certificate against the CA that broker_ca names"
#: Memory for a message that waits, beside its bytes, of which there may be none.
_HELD: Final = 64


@frozen(kw_only=True)
class BrokerLost:
    """There is no session with the broker. `final`: the broker, or its certificate, says that there can be none."""

    message: str
    hint: str = ""
    final: bool


BrokerEvent: TypeAlias = gateway.GatewayEvent | BrokerLost


class BrokerSession(NoOutcomes):
    """A session with a broker that begins again whenever it ends. Drivers run it like a client stack, or a peer.

    `make` makes the machine of each attempt. `on_event` is told what happens and has to act before it returns,
    `on_drained` that fewer bytes wait for the broker.
    """

    def __init__(
        self,
        make: Callable[[], gateway.MqttHubGateway],
        *,
        on_event: Callable[[BrokerEvent, float], None],
        on_drained: Callable[[], None],
        entropy: Entropy,
    ) -> None:
        self.gateway: gateway.MqttHubGateway = make()  # of this attempt, or of the next one
        self._make = make
        self._on_event = on_event
        self._on_drained = on_drained
        self._redial = Redial(entropy)
        self._serial = 1  # of the attempt
        self._connected = False
        self._again_at: float | None = None  # while there is no attempt
        self._closing = False

    def close(self, now: float) -> None:
        """Say goodbye to the broker, for good."""
        self._closing = True
        if self._connected:
            self._handle_events(self.gateway.close(now), now)

    # --- the driver

    def step(self) -> Dial | Run | Wait | Stop:
        """The order for the driver: what to do about sockets now."""
        if self.finished:
            return Stop()
        if self._connected:
            return Run(self._serial)
        return Wait() if self._again_at is not None else Dial(self.gateway.target, self._serial)

    @property
    def finished(self) -> bool:
        """Whether the session is over for good."""
        return self._closing and not (self._connected and self.gateway.wants_socket)

    def socket_opened(self, now: float) -> None:
        """The socket of the last dial is up."""
        self._connected = True
        self._handle_events(self.gateway.socket_opened(now), now)

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        """The last dial ended without a socket."""
        self._lose(BrokerLost(message=f"{failed.message}; {failed.hint}", final=failed.fault.final), now)

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the socket."""
        before = self.gateway.unsent
        self._handle_events(self.gateway.receive_data(data, now), now)
        if self.gateway.unsent < before:
            self._on_drained()

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended."""
        self._handle_events(self.gateway.eof(now), now)
        self._connected = False

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        return self.gateway.data_to_send()

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called."""
        return self.gateway.next_timeout if self._again_at is None else self._again_at

    def handle_timeout(self, now: float) -> None:
        """Time has passed. Harmless if early."""
        if self._again_at is None:
            self._handle_events(self.gateway.handle_timeout(now), now)
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._serial += 1

    # --- inside

    def _handle_events(self, events: Iterable[gateway.GatewayEvent], now: float) -> None:
        for event in events:
            if isinstance(event, gateway.GatewayClosed):
                hint = event.error.hint if event.error is not None else ""
                self._lose(BrokerLost(message=event.reason, hint=hint, final=event.kind is CloseKind.REFUSED), now)
                continue
            if isinstance(event, gateway.GatewayReady):
                self._redial.proven(now)
            self._on_event(event, now)

    def _lose(self, lost: BrokerLost, now: float) -> None:
        if not self._closing:  # else its goodbye is still to be written
            self.gateway, self._connected = self._make(), False
            self._again_at = self._redial.failed(now)
            self._on_event(lost, now)


class MqttService:
    """Serves the clients behind a broker. `start` it once.

    The broker at `url` knows the hub by `credentials`, user name and password; `tls` makes the context that verifies
    it. Or it is our own, behind the `gatekeeper`, and there is no socket between the two.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        accounts: Accounts,
        url: str = "mqtt://127.0.0.1",
        *,
        credentials: tuple[str | None, Secret[str] | None] = (None, None),
        tls: ContextSource = None,
        gatekeeper: Gatekeeper | None = None,
    ) -> None:
        username, password = credentials
        make = partial(
            gateway.MqttHubGateway,
            url,
            client_id=f"thalovant-hub-{secrets.token_hex(8)}",
            username=username,
            password=password,
            topic_prefix=PREFIX,
            legacy_prefix=accounts.legacy_prefix,
            hub_name=HUB_NAME,
            secure=True,  # verified TLS, or a broker on this machine: there is no third
            limits=dispatcher.settings.mqtt,
        )
        self.dispatcher = dispatcher
        self.address: str = make().target.host
        self._loop = asyncio.get_running_loop()
        self._clients: dict[gateway.MqttPeerLink, _Client] = {}
        self._session = BrokerSession(
            make, on_event=self._handle_event, on_drained=self._wake_senders, entropy=os.urandom
        )
        self._gatekeeper = gatekeeper
        self._driver: AsyncioDriver[Never] | _MemoryDriver
        if gatekeeper is None:
            self._driver = AsyncioDriver(self._session, on_outcome=_unexpected, tls=tls)
        else:
            self._driver = _MemoryDriver(self._session, gatekeeper, self._wake_senders)
        self._first: asyncio.Future[BrokerLost | None] = self._loop.create_future()
        self._lost = False  # and that is logged
        #: Writes what clients have been sent, soon: once for all of them.
        self.flush: Soon = Soon(self._driver.wake)

    async def start(self) -> None:
        """Begin to serve; a broker that cannot be reached is tried again for as long as it takes.

        Raises `HubSetupError` if it refuses us, or its certificate does not hold.
        """
        self._driver.wake()
        await asyncio.wait((self._first,), timeout=_FIRST_TRY)
        lost = self._first.result() if self._first.done() else None
        if lost is not None and lost.final:
            await self.close(0)
            message = f"The MQTT broker cannot be used: {lost.message}"
            raise HubSetupError(message, setting="broker", hint=lost.hint or _UNREACHABLE)

    async def close(self, grace: float) -> None:
        """Say goodbye to the broker, within `grace` seconds."""
        self._session.close(self._loop.time())
        self._driver.wake()
        try:
            async with asyncio.timeout(grace):
                await self._driver.closed()
        except TimeoutError:
            self._driver.abort()
            await self._driver.closed()
        for client in tuple(self._clients.values()):
            client.abort()

    # --- for its clients

    def unsent(self, client: Client | None) -> int:
        """Bytes that wait for a client: in our own broker, or for the broker, whomever they are for.

        At most the bound at which a client is cut off, since others may be the slow ones.
        """
        unsent = self._session.gateway.unsent
        if self._gatekeeper is not None and client is not None:
            unsent = max(unsent, self._gatekeeper.unsent(client.access_key.reveal()))
        return min(unsent, self.dispatcher.settings.unsent)

    def forget(self, link: gateway.MqttPeerLink) -> None:
        """A client is gone."""
        del self._clients[link]

    # --- inside

    def _handle_event(self, event: BrokerEvent, now: float) -> None:
        match event:
            case gateway.PeerArrived(link=link):
                self._clients[link] = _Client(self, link)
            case gateway.PeerInput(link=link, data=data) if link in self._clients:
                self._clients[link].receive_message(data)
            case gateway.PeerEnded(link=link) if link in self._clients:
                self._clients[link].socket_ended()
            case gateway.GatewayReady() | BrokerLost():
                self._report(event)
                if isinstance(event, gateway.GatewayReady) and self._gatekeeper is None:
                    for known in self.dispatcher.registry:  # another broker may still have them, in sessions that ended
                        self._session.gateway.dismiss(known.access_key, now)
            case gateway.RivalSeen():
                log.warning(_RIVAL)
            case gateway.EchoMissed():
                log.warning(_NO_ECHO)

    def _wake_senders(self) -> None:
        for client in tuple(self._clients.values()):
            client.connection.bytes_left()

    def _report(self, event: gateway.GatewayReady | BrokerLost) -> None:
        lost = event if isinstance(event, BrokerLost) else None
        if not self._first.done():
            self._first.set_result(lost)
            # `start` says that it was refused, and nothing is to be said of the goodbye that follows.
            self._lost = lost is not None and lost.final
        if lost is None:
            log.log(logging.WARNING if self._lost else logging.INFO, "The MQTT broker serves the hub")
        elif not self._lost:
            log.warning("No MQTT for now: %s%s", lost.message, lost.hint and f"; {lost.hint}")
        self._lost = lost is not None


class _MemoryDriver(SessionRunner[Never]):
    """Runs the session with our own broker: its bytes travel to the gatekeeper and back in memory."""

    def __init__(self, session: BrokerSession, gatekeeper: Gatekeeper, on_drained: Callable[[], None]) -> None:
        super().__init__(session, on_outcome=_unexpected, on_end=self._disconnect)
        self._session = session
        self._connect = partial(gatekeeper.connect_hub, Soon(self._receive), on_drained)
        self._hub_end = self.wire = self._connect()
        self._ended = asyncio.Event()

    async def closed(self) -> None:
        """Wait until the session has ended."""
        await self._ended.wait()

    def settled(self) -> None:
        super().settled()
        if not self.over and isinstance(self._session.step(), Dial):
            self._hub_end = self.wire = self._connect()
            self._session.socket_opened(self.now)
            self.wake()

    def _receive(self) -> None:
        self.receive(self._hub_end.data_to_send())

    def _disconnect(self) -> None:
        self._hub_end.close()
        self._ended.set()


class _Client(SessionRunner[PeerOutcome]):
    """One client behind the broker: runs its connection, whose bytes travel with the session."""

    def __init__(self, service: MqttService, link: gateway.MqttPeerLink) -> None:
        self._service = service
        self._link = link
        self._keeping = False
        self._waiting: deque[bytes] = deque()  # messages that came while it is held
        self._waiting_bytes = 0
        self.connection: ClientConnection = service.dispatcher.accept(
            link, self, address=service.address, unsent=lambda: service.unsent(self.connection.client)
        )
        super().__init__(
            self.connection,
            on_outcome=partial(service.dispatcher.on_outcome, self.connection),
            on_end=self._finish,
            on_settled=service.flush,  # its frames leave with the session
        )

    def receive_message(self, data: bytes) -> None:
        """Take a message of the client."""
        if not self._keeping:
            self.receive(data)
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data) + _HELD
        if self._waiting_bytes > self._service.dispatcher.settings.unhandled:
            self.connection.end(self.now, code=1013, reason="it sends faster than it is heard")

    def hold(self, hold: bool) -> None:
        """Keep messages of the client back, or take those that were."""
        self._keeping = hold
        super().hold(hold)
        while self._waiting and not self._keeping:
            data = self._waiting.popleft()
            self._waiting_bytes -= len(data) + _HELD
            self.receive(data)

    def _finish(self) -> None:
        self._link.close(self.now, code=1011)  # harmless if it has ended
        self._service.forget(self._link)
        self._service.dispatcher.on_gone(self.connection)
        self._service.flush()


def _unexpected(outcome: Never) -> None:
    raise RuntimeError("a session with a broker has reported an outcome")
