"""Interfaces of the machines that drivers drive. No driver knows more of them than this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from thalovant_proto.client.stack import Dial, Run, Stop, Wait
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed
from thalovant_proto.secret import Secret

__all__ = ["ClientStack", "Dial", "HubPeer", "Machine", "Run", "Stop", "Wait"]

O_co = TypeVar("O_co", covariant=True)


class Machine(Protocol[O_co]):
    """The common part of client stacks and hub peers: bytes and time in, bytes, effects and outcomes out."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the peer."""

    def eof(self, now: float, reason: str = "") -> None:
        """The socket ended; `reason` says how, on one line."""

    def data_to_send(self) -> bytes:
        """Bytes for the peer."""

    @property
    def next_timeout(self) -> float | None:
        """The time to call `handle_timeout` at, None for never."""

    def handle_timeout(self, now: float) -> None:
        """Time has passed."""

    def effects(self) -> list[DeriveKey]:
        """Slow work to start."""

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """Slow work that ended."""

    def outcomes(self) -> Sequence[O_co]:
        """News for the application, in order."""


class ClientStack(Machine[O_co], Protocol[O_co]):
    """One hub session as a client. It outlives sockets and says when it wants one."""

    def step(self) -> Dial | Wait | Run | Stop:
        """The present instruction about sockets."""

    def socket_opened(self, now: float) -> None:
        """The socket of the last `Dial` is up, TLS included."""

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        """The last `Dial` ended without a socket."""


class HubPeer(Machine[O_co], Protocol[O_co]):
    """One accepted connection as a hub."""

    @property
    def finished(self) -> bool:
        """Whether to close the socket, after writing what `data_to_send` gives."""
