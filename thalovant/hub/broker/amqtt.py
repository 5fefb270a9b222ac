"""The embedded MQTT broker: amqtt in this process, without a socket of its own, behind our front door."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import Any, Final

from thalovant_proto.links.mqtt.packets import Connect, Disconnect

from ..errors import HubSetupError
from ..listeners.base import QuietConnection, QuietPort
from ..settings import Settings
from .accounts import Accounts
from .gatekeeper import BrokerEnd, Gatekeeper, MqttConnection

log: logging.Logger = logging.getLogger("thalovant.hub")

#: What to do about a missing amqtt.
INSTALL: Final = "pip install 'thalovant[hub]'"

_LISTENER: Final = "default"  # amqtt wants one of that name
_CONFIG: Final = {
    "listeners": {_LISTENER: {"type": "external"}},
    # Everybody whom the door let in; and no other plugins, some of which publish what the hub is doing.
    "plugins": {"amqtt.plugins.base.BaseAuthPlugin": {}},
}
#: Bytes of a DISCONNECT, the last thing that a client says.
_GOODBYE: Final = len(Disconnect().encode())
#: Turns of the loop in which amqtt has taken up what it was given: from the packet to its queue, and from there on.
_STEPS: Final = 8
#: And how many it gets, whatever it still has by then: some tens of milliseconds.
_PATIENCE: Final = 4096
#: How long sessions may take to end after their connections.
_ENDING: Final = 2.0


def installed() -> bool:
    """Whether amqtt is there, which comes with the extra `hub`."""
    return find_spec("amqtt") is not None


class BrokerListener(QuietPort):
    """The MQTT port of a hub, and the broker behind it. `start` it once."""

    def __init__(
        self, accounts: Accounts, host: str, port: int, context: ssl.SSLContext | None, *, settings: Settings
    ) -> None:
        super().__init__(self._make_peer, host, port, context, setting="mqtt_port", connections=settings.connections)
        self._door = Gatekeeper(accounts.authenticate, self._enter, settings=settings)
        self._visitors: dict[QuietConnection, MqttConnection] = {}
        self._sessions: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._broker: Any = None  # amqtt has no types

    async def start(self) -> None:
        """Begin to accept. Raises `HubSetupError` if the address cannot be had, or amqtt is not there."""
        try:
            # Slow, and most hubs need it not.
            broker_module = await asyncio.to_thread(import_module, "amqtt.broker")
        except ModuleNotFoundError:
            raise HubSetupError(f"A port for MQTT needs a package that is not installed: {INSTALL}") from None
        _silence("amqtt")
        self._broker = broker_module.Broker(_CONFIG)
        await self._broker.start()
        try:
            await super().start()
        except BaseException:
            await self._broker.shutdown()
            raise

    async def close(self, grace: float) -> None:
        """Accept no more, and end all connections: who has said goodbye has done so to the hub."""
        for visitor in tuple(self._visitors.values()):
            visitor.close()
        await super().close(grace)
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=_ENDING)
        for session in self._sessions:
            session.cancel()
        await self._broker.shutdown()

    def gone(self, connection: QuietConnection) -> None:
        if (visitor := self._visitors.pop(connection, None)) is not None:
            visitor.close()

    def _make_peer(self, connection: QuietConnection) -> MqttConnection:
        loop = asyncio.get_running_loop()
        visitor = self._door.visitor(_Wire(connection, loop), loop.time())
        self._visitors[connection] = visitor
        return visitor

    def _enter(self, visitor: MqttConnection, connect: Connect, before: BrokerEnd | None) -> BrokerEnd:
        room = _AmqttEnd(visitor, next(self._numbers), partial(self._unsaid, connect.client_id))
        room.hear(connect.encode())
        after = before.session if isinstance(before, _AmqttEnd) else None
        room.session = asyncio.create_task(self._run(room, visitor, after))
        self._sessions.add(room.session)
        room.session.add_done_callback(self._sessions.discard)
        return room

    def _unsaid(self, client_id: str) -> bool:
        """Whether the broker still holds something that it has acknowledged to this client, and not passed on."""
        session, _ = self._broker.sessions.get(client_id, (None, None))
        return session is not None and not session.delivered_message_queue.empty()

    async def _run(self, room: _AmqttEnd, visitor: MqttConnection, after: asyncio.Task[None] | None) -> None:
        """One session with the broker, once the one whose place it takes is over and its will published."""
        if after is not None:
            await asyncio.wait([after])
        try:
            await self._broker.external_connected(room, room, _LISTENER)
        except Exception as error:
            # Without its words, which may hold topics, and with them access keys.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("The MQTT broker failed in a session: %s\n%s", type(error).__name__, where)
        room.leave()  # what is left of a session that failed still reads
        visitor.ended()


class _Wire:
    """The wire of a visitor. Wakes once for all that happens at a time."""

    __slots__ = ("_connection", "_loop", "_waking")

    def __init__(self, connection: QuietConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._waking = False

    def wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self._wake)

    def hold(self, hold: bool) -> None:
        if self._connection.wire is not None:
            transport = self._connection.wire.transport
            (transport.pause_reading if hold else transport.resume_reading)()

    def abort(self) -> None:
        self._connection.abort()

    def _wake(self) -> None:
        self._waking = False
        self._connection.wake()


class _AmqttEnd:
    """A connection as amqtt sees it: its reader and its writer in one. `unsaid`: something is still to be passed on."""

    def __init__(self, visitor: MqttConnection, number: int, unsaid: Callable[[], bool]) -> None:
        self.session: asyncio.Task[None]
        self._visitor = visitor
        self._number = number
        self._unsaid = unsaid
        self._unread = bytearray()
        self._left = False
        self._news = asyncio.Event()

    # --- the door's side

    def hear(self, data: bytes) -> None:
        self._unread += data
        self._news.set()

    def leave(self) -> None:
        self._left = True
        self._news.set()

    # --- amqtt's side

    async def read(self, n: int) -> bytes:
        """`n` bytes; fewer only if the client has left."""
        while len(self._unread) < n and not self._left:
            self._news.clear()
            await self._news.wait()
        if self._left and len(self._unread) <= _GOODBYE:
            await self._settle()
        data = bytes(self._unread[:n])
        del self._unread[:n]
        return data

    async def _settle(self) -> None:
        """Let everything be passed on: with a session amqtt forgets what is still to be, though it is acknowledged."""
        quiet = 0
        for _ in range(_PATIENCE):
            quiet = 0 if self._unsaid() else quiet + 1
            if quiet == _STEPS or self.session.done():
                return
            await asyncio.sleep(0)

    def feed_eof(self) -> None:
        self.leave()

    def write(self, data: bytes) -> None:
        self._visitor.said(data)

    async def drain(self) -> None:
        """The door cuts off who does not read."""

    def get_peer_info(self) -> tuple[str, int]:
        return "visitor", self._number

    def get_ssl_info(self) -> None:
        return None

    async def close(self) -> None:
        self._visitor.ended()


def _silence(name: str) -> None:
    """Keep a library from logging: its lines hold topics, and thereby access keys."""
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
