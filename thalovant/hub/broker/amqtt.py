"""The embedded MQTT broker: amqtt in this process, without a socket of its own, behind the gatekeeper."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import Any, Final

from thalovant_proto.links.mqtt.packets import Connect

from ..errors import HubSetupError
from ..listeners.base import Binding, RequestConnection, RequestListener, Soon
from ..settings import Settings
from .accounts import Accounts
from .connection import MqttConnection
from .gatekeeper import Gatekeeper

log: logging.Logger = logging.getLogger("thalovant.hub")

#: The command that installs a missing amqtt.
INSTALL: Final = "pip install 'thalovant[hub]'"

_LISTENER: Final = "default"  # amqtt wants one of that name
_CONFIG: Final = {
    "listeners": {_LISTENER: {"type": "external"}},
    # Everybody whom the gatekeeper let in, and no other plugins: some publish what the hub is doing.
    "plugins": {"amqtt.plugins.base.BaseAuthPlugin": {}},
}
#: How long sessions may take to end after their connections.
_ENDING: Final = 2.0


def installed() -> bool:
    """Whether amqtt is there, which comes with the extra `hub`."""
    return find_spec("amqtt") is not None


class BrokerListener(RequestListener):
    """The MQTT port of a hub, and the broker behind it. `start` it once."""

    def __init__(self, accounts: Accounts, binding: Binding, *, settings: Settings) -> None:
        super().__init__(self._make_peer, binding)
        self.gatekeeper: Gatekeeper = Gatekeeper(accounts.authenticate, self._publish, settings=settings)
        self._connections: dict[MqttConnection, RequestConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._broker: Any = None  # amqtt has no types

    async def start(self) -> None:
        """Begin to accept. Raises `HubSetupError` if the address cannot be had, or amqtt is not installed."""
        try:
            # The import is slow, and most hubs do not need it.
            broker_module = await asyncio.to_thread(import_module, "amqtt.broker")
        except ModuleNotFoundError:
            raise HubSetupError(f"A port for MQTT needs a package that is not installed: {INSTALL}") from None
        # Its lines hold topics, and thereby access keys.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)
        self._broker = broker_module.Broker(_CONFIG)
        await self._broker.start()
        try:
            await super().start()
        except BaseException:
            await self._broker.shutdown()
            raise

    async def close(self, grace: float) -> None:
        """Accept no more, and end all connections. The hub has said goodbye to its clients before."""
        for connection in tuple(self._connections):
            connection.close()
        await super().close(grace)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_ENDING)
        for task in self._tasks:
            task.cancel()
        await self._broker.shutdown()

    def on_gone(self, connection: RequestConnection) -> None:
        if isinstance(connection.peer, MqttConnection):
            del self._connections[connection.peer]
            connection.peer.close()

    def connect(self, connection: MqttConnection) -> _AmqttEnd:
        """Begin a session for a client that signed in."""
        self.admission.proven(self._connections[connection])
        number = next(self._numbers)
        end = _AmqttEnd(connection, number)
        # A session that outlives the connection would be of no use to anybody.
        end.receive_data(Connect(client_id=f"connection-{number}", clean_session=True, keepalive=0).encode())
        self._start(self._run_session(end, connection))
        return end

    # --- inside

    def _make_peer(self, connection: RequestConnection) -> MqttConnection:
        machine = MqttConnection(self.gatekeeper, self, _Driver(connection), connection.now)
        self._connections[machine] = connection
        return machine

    def _publish(self, topic: str, payload: bytes) -> None:
        self._start(self._broker.internal_message_broadcast(topic, payload, 0))  # only puts it into a queue

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_session(self, end: _AmqttEnd, connection: MqttConnection) -> None:
        try:
            await self._broker.external_connected(end, end, _LISTENER)
        except Exception as error:
            # Without its words, which may hold topics, and with them access keys.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("The MQTT broker failed in a session: %s\n%s", type(error).__name__, where)
        end.feed_eof()  # the reader of a session that failed goes on without it
        connection.broker_ended()


class _Driver:
    """The driver of a connection. Wakes once for all that happens at a time."""

    __slots__ = ("abort", "hold", "wake")

    def __init__(self, connection: RequestConnection) -> None:
        self.wake = Soon(connection.wake)
        self.hold = connection.hold
        self.abort = connection.abort


class _AmqttEnd:
    """A connection as amqtt sees it: its reader and its writer in one."""

    def __init__(self, connection: MqttConnection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._reader = asyncio.StreamReader()

    # --- the gatekeeper's side

    def receive_data(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    # --- amqtt's side

    async def read(self, n: int) -> bytes:
        """`n` bytes; fewer only if the client is gone."""
        try:
            return await self._reader.readexactly(n)
        except asyncio.IncompleteReadError as ended:
            return ended.partial

    def write(self, data: bytes) -> None:
        self._connection.receive_from_broker(data)

    async def drain(self) -> None:
        """The gatekeeper cuts off a client that does not read."""

    def get_peer_info(self) -> tuple[str, int]:
        return "connection", self._number

    def get_ssl_info(self) -> None:
        return None

    async def close(self) -> None:
        self._connection.broker_ended()
