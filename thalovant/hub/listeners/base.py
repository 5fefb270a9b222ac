"""The parts that all listeners of a hub share: accepting, admission, and the end of a connection.

The connections of a request listener are no clients themselves: they bring HTTPS requests, or MQTT packets for the
broker.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Never, TypeAlias, TypeVar

from attrs import frozen

from thalovant_io import asyncio_listener
from thalovant_io.asyncio_connection import Connection, MakePeer, PeerAddress
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.secret import Secret

from ..admission import SocketAdmission
from ..errors import HubSetupError

OutcomeT = TypeVar("OutcomeT")

log: logging.Logger = logging.getLogger("thalovant.hub")


@frozen(kw_only=True)
class Binding:
    """The TCP port that a listener takes, 0 for any free one, and the terms of its connections.

    `setting` is the parameter of `Hub` that says which port. With `context` connections have TLS.
    """

    host: str
    port: int
    setting: str
    context: ssl.SSLContext | None
    admission: SocketAdmission


class Listener(ABC, Generic[OutcomeT]):
    """A listener on one TCP port of a hub. `start` it once.

    `make_peer` makes the peer of a connection once its TLS, if any, is done. A subclass tells `admission` of the
    connections that serve proven clients.
    """

    def __init__(self, make_peer: MakePeer[OutcomeT], binding: Binding) -> None:
        self.admission: SocketAdmission = binding.admission
        self._binding = binding
        self.port: int = binding.port  # once it listens, the one that it has
        self._listener = asyncio_listener.Listener(
            make_peer=make_peer,
            on_outcome=self.on_outcome,
            on_fault=_log_fault,
            admit=self.admission.admits,
            on_accepted=self.admission.accepted,
            on_gone=self._forget,
            tls=binding.context,
            max_connections=self.admission.most,
        )

    async def start(self) -> None:
        """Begin to accept. Raises `HubSetupError` if the address cannot be had."""
        try:
            await self._listener.listen(self._binding.host, self.port)
        except OSError as error:
            raise self._setup_error(error) from None
        self.port = self._listener.addresses[0][1]

    async def close(self, grace: float) -> None:
        """Accept no more; wait `grace` seconds for the connections to end, then end them."""
        await self._listener.close(grace=grace)

    def on_outcome(self, connection: Connection[OutcomeT], outcome: OutcomeT) -> None:
        """Act on an outcome of a connection's peer. Those of a request listener have none."""
        raise RuntimeError("a connection without outcomes has reported one")

    @abstractmethod
    def on_gone(self, connection: Connection[OutcomeT]) -> None:
        """A connection is over, however that came; it may never have had a peer."""

    def _forget(self, connection: Connection[OutcomeT]) -> None:
        self.admission.gone(connection)
        self.on_gone(connection)

    def _setup_error(self, error: OSError) -> HubSetupError:
        host, setting = self._binding.host, self._binding.setting
        message = f"{host} is no address of this machine"
        if error.errno == errno.EADDRINUSE:
            message = f"Port {self.port} on {host} is taken by another program"
        elif error.errno == errno.EACCES:
            message = f"Port {self.port} may be used by the system administrator only"
        else:
            setting = "host"
        return HubSetupError(message, setting=setting)


RequestConnection: TypeAlias = Connection[Never]
RequestListener: TypeAlias = Listener[Never]


class NoOutcomes:
    """The part that peers of a request listener share: no keys to derive, nothing to report."""

    def effects(self) -> list[DeriveKey]:
        """None."""
        return []

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """Never called."""
        raise RuntimeError("a connection without keys has derived one")

    def outcomes(self) -> Sequence[Never]:
        """None."""
        return ()


class Soon:
    """A function that runs once, on the loop's next round, for all calls until then."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._due = False

    def __call__(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._due = False
        self._function()


def _log_fault(address: PeerAddress, message: str) -> None:
    log.debug("%s", message)
