"""What the hub's ports have in common: they listen, make something that drives a connection, and hear when it is gone.

A quiet port is one whose connections are not clients themselves: HTTPS requests, and whoever comes to the broker.
"""

from __future__ import annotations

import errno
import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Never, TypeAlias, TypeVar

from thalovant_io.asyncio_connection import Connection, MakePeer, PeerAddress
from thalovant_io.asyncio_listener import Listener
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.secret import Secret

from ..errors import HubSetupError

OutcomeT = TypeVar("OutcomeT")

log: logging.Logger = logging.getLogger("thalovant.hub")


class Port(ABC, Generic[OutcomeT]):
    """One TCP port of a hub; 0 is any free one. `start` it once.

    `make_peer` makes what drives a connection once its TLS, if `context` asks for it, is done. `setting` is the
    parameter of `Hub` that says which port.
    """

    def __init__(
        self,
        make_peer: MakePeer[OutcomeT],
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        *,
        setting: str,
        connections: int,
    ) -> None:
        self._host = host
        self._port = port
        self._setting = setting
        self._listener = Listener(
            make_peer=make_peer,
            on_outcome=self.heard,
            on_fault=_fault,
            on_gone=self.gone,
            tls=context,
            max_connections=connections,
        )

    @property
    def port(self) -> int:
        """The port that it has."""
        return self._port

    async def start(self) -> None:
        """Begin to accept. Raises `HubSetupError` if the address cannot be had."""
        try:
            await self._listener.listen(self._host, self._port)
        except OSError as error:
            raise self._trouble(error) from None
        self._port = self._listener.addresses[0][1]

    async def close(self, grace: float) -> None:
        """Accept no more; wait `grace` seconds for the connections to end, then end them."""
        await self._listener.close(grace=grace)

    @abstractmethod
    def heard(self, connection: Connection[OutcomeT], outcome: OutcomeT) -> None:
        """Something became true on a connection."""

    @abstractmethod
    def gone(self, connection: Connection[OutcomeT]) -> None:
        """A connection is over, however that came; it may never have had a peer."""

    def _trouble(self, error: OSError) -> HubSetupError:
        message, setting = f"{self._host} is no address of this machine", "host"
        if error.errno == errno.EADDRINUSE:
            message, setting = f"Port {self._port} on {self._host} is taken by another program", self._setting
        elif error.errno == errno.EACCES:
            message, setting = f"Port {self._port} may be used by the system administrator only", self._setting
        return HubSetupError(message, setting=setting)


QuietConnection: TypeAlias = Connection[Never]


class QuietPort(Port[Never]):
    """A port whose connections report nothing."""

    def heard(self, connection: QuietConnection, outcome: Never) -> None:
        raise RuntimeError("a quiet connection has said something")


class Quiet:
    """What drives a connection of a quiet port has these: no keys to derive, nothing to report."""

    def effects(self) -> list[DeriveKey]:
        """None."""
        return []

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """Never, then."""
        raise RuntimeError("a quiet connection has derived a key")

    def outcomes(self) -> Sequence[Never]:
        """None."""
        return ()


def _fault(address: PeerAddress, message: str) -> None:
    log.debug("%s", message)
