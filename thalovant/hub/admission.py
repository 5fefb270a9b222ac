"""Admission of sockets to a hub: few of those that have proven nothing, and none beyond the limit of open files."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

from thalovant_io.asyncio_connection import Connection
from thalovant_proto.links.admission import AdmissionLimit

from .settings import Settings

log: logging.Logger = logging.getLogger("thalovant.hub")

#: Addresses behind which there may be a proxy, or a whole test: only the total counts for them.
LOCAL: Final = ("127.0.0.1", "::1")
#: Files that the hub needs beside its clients' sockets: storage, listening sockets, its broker, the program around it.
RESERVED_FILES: Final = 64
#: For so many addresses a minute there is a line in the log.
REPORTED: Final = 64
_MINUTE: Final = 60.0
#: The most that macOS takes, whatever it tells.
_OPEN_MAX: Final = 10_240


def source_of(address: str) -> str | None:
    """The source that a peer is counted for, None if only the total counts."""
    return None if address in LOCAL else address


def raise_open_files() -> int | None:
    """Raise the limit of open files as far as this process may. Gives it, None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (hard, _OPEN_MAX):
        if 0 <= soft < most or most == resource.RLIM_INFINITY != soft:
            with suppress(ValueError, OSError):  # macOS takes less than the hard limit that it tells
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
                soft = most
    return None if soft == resource.RLIM_INFINITY else soft


class RefusalLog:
    """A log of refusals with one line for each address and minute, whatever is tried from there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._reported: set[str] = set()

    def report(self, address: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log why somebody at an address is refused, unless there was a line in this minute."""
        now = self._loop.time()
        if now >= self._until:
            self._until = now + _MINUTE
            self._reported.clear()
        if address not in self._reported and len(self._reported) < REPORTED:
            self._reported.add(address)
            log.log(level, "A client from %s is refused: %s", address, message)


class SocketAdmission:
    """The sockets of all listeners of a hub. `open_files` is what the process may have open, if that is limited."""

    def __init__(self, settings: Settings, refusals: RefusalLog, *, open_files: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._refusals = refusals
        self._open: set[Connection[Any]] = set()
        self.most: int = settings.connections  # sockets
        if open_files is not None:
            self.most = max(1, min(self.most, open_files - RESERVED_FILES))
        # Half the sockets are for proven clients, and no address gets all of the other half.
        self._unproven: AdmissionLimit[Connection[Any]] = AdmissionLimit(
            total=max(1, min(settings.unproven, self.most // 2)),
            per_source=max(1, min(settings.unproven_per_address, self.most // 4)),
            grace=settings.unproven_grace,
        )

    def admits(self, address: str) -> bool:
        """Whether there is a place for one more socket of an address. If not, that is logged."""
        if len(self._open) >= self.most:
            self._refusals.report(address, "the hub has as many connections as it may")
        elif self._unproven.refuses(source_of(address), self._loop.time()):
            self._refusals.report(address, "too many connections prove nothing")
        else:
            return True
        return False

    def accepted(self, connection: Connection[Any]) -> None:
        """Count a socket that was admitted; one that had its time without a proof may have to go for it."""
        self._open.add(connection)
        stale = self._unproven.admit(connection, source_of(connection.address.host), self._loop.time())
        if stale is not None:
            stale.abort()

    def proven(self, connection: Connection[Any]) -> None:
        """The client on a socket is proven. Harmless if repeated."""
        self._unproven.release(connection)

    def gone(self, connection: Connection[Any]) -> None:
        """A socket is closed. Harmless if repeated."""
        self._open.discard(connection)
        self._unproven.release(connection)
