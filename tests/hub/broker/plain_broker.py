"""Any broker: the one of the protocol's tests on a plain TCP port of this machine, with an access list and a switch."""

from __future__ import annotations

import asyncio

from tests.proto.links.mqtt.broker import Broker, Connection
from thalovant_proto.links.mqtt.packets import Connect, ConnectCode


class PlainBroker:
    """A broker that can go and come back at the same port. What it retains it keeps."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: dict[Connection, asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://127.0.0.1:{self.port}"

    def only(self, username: str, password: str) -> None:
        """Let nobody else in."""

        def authenticate(connect: Connect) -> ConnectCode:
            given = connect.password.reveal() if connect.password is not None else b""
            right = (connect.username, given) == (username, password.encode())
            return ConnectCode.ACCEPTED if right else ConnectCode.NOT_AUTHORIZED

        self.broker.authenticate = authenticate

    def cut_off(self, client_id: str) -> None:
        """Break the connection of whoever has a client id that begins so."""
        for connection, writer in tuple(self._writers.items()):
            if connection.connect is not None and connection.connect.client_id.startswith(client_id):
                writer.transport.abort()

    async def start(self) -> None:
        """Listen, at the port it had before if it had one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go, as if killed: no goodbye, and no wills."""
        if self._server is not None:
            self._server.close()
            for connection, writer in tuple(self._writers.items()):
                connection.connect = None
                writer.transport.abort()
            await self._server.wait_closed()
            while self._writers:
                await asyncio.sleep(0)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self.broker)
        self._writers[connection] = writer
        try:
            while not connection.gone and (data := await reader.read(65_536)):
                connection.receive(data)
                self._flush()
        except ConnectionError:
            pass
        finally:
            connection.drop()
            del self._writers[connection]
            self._flush()
            writer.close()

    def _flush(self) -> None:
        for connection, writer in self._writers.items():
            data, connection.out = connection.out, b""
            writer.write(data)
