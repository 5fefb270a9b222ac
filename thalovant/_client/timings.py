"""What became of a connection and when: the times of its phases, and its outages."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from attrs import define

from thalovant_proto.outcomes import SessionState

from .. import logs
from ..models import ThalovantConnectionInfo, ThalovantConnectionPhase

_PHASES: dict[SessionState, ThalovantConnectionPhase] = {
    SessionState.IDLE: "idle",
    SessionState.CONNECTING: "connecting",
    SessionState.HANDSHAKE: "handshake",
    SessionState.READY: "ready",
    SessionState.WAITING: "connecting",
    SessionState.CLOSING: "closed",
    SessionState.CLOSED: "closed",
    SessionState.DISPLACED: "error",
    SessionState.FAILED: "error",
}


@define(eq=False)
class Timings:
    """The present attempt, or the connection that it became. Times of the loop's clock, None before they come."""

    started_at: datetime | None = None
    connected_at: datetime | None = None
    started: float | None = None
    socket: float | None = None  # TCP and TLS are up
    opened: float | None = None  # frames can travel
    completed: float | None = None  # both sides hold the keys
    connected: float | None = None

    @classmethod
    def begin(cls, now: float) -> Timings:
        """An attempt begins."""
        return cls(started_at=datetime.now(UTC), started=now)

    def socket_up(self, now: float) -> None:
        """The socket is there; HTTPS may have several, one after the other."""
        self.socket = now if self.socket is None else self.socket

    def up(self, now: float) -> None:
        """The connection is there for use."""
        self.connected, self.connected_at = now, datetime.now(UTC)

    def info(self, state: SessionState, *, websocket: bool, error: Exception | None) -> ThalovantConnectionInfo:
        """All of it, for users."""
        phase = _PHASES[state]
        if state is SessionState.CONNECTING and self.socket is not None:
            phase = "open"
        return ThalovantConnectionInfo(
            phase=phase,
            started_at=_iso(self.started_at),
            connected_at=_iso(self.connected_at),
            transport_open_ms=_ms(self.started, self.socket),
            socket_open_ms=_ms(self.started, self.opened) if websocket else None,
            handshake_ms=_ms(self.opened, self.completed),
            connect_ms=_ms(self.started, self.connected),
            last_error=None if error is None else str(error),
        )


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 3)


@define(eq=False)
class Outages:
    """Logs one warning for each outage, however many tries it takes, and that it is over.

    A connection that the first try brings back was no outage. A first one that is sought until it is there is one.
    """

    was_up: bool = False
    tries: int = 0  # that a connection has waited for
    told: bool = False
    skips: int = 0  # of this connection

    def skipped(self, place: str, reason: str) -> None:
        """A frame held no message. A hub that goes on so is named once for each connection."""
        self.skips += 1
        level = logging.WARNING if self.skips == 1 else logging.DEBUG
        logs.link.log(level, "%s sent what is no message: %s", place, reason)

    def tell(self, state: SessionState, place: str, error: Exception | None, *, seeks: bool) -> None:
        """The session is in `state`, because of `error`; whether it `seeks` a first connection until it is there."""
        self.skips = 0 if state is SessionState.CONNECTING else self.skips
        if state is SessionState.READY:
            if self.told:
                logs.client.info("Connected to %s%s.", place, " again" if self.was_up else "")
            self.was_up, self.tries, self.told = True, 0, False
        elif state is SessionState.WAITING:
            self.tries += 1
            if self.tries > 1 and not self.told and (self.was_up or seeks):
                self.told = True
                logs.client.warning("The connection to %s is down, and is tried again: %s", place, error)
        elif _PHASES[state] in ("closed", "error") and state is not SessionState.CLOSING:
            self.was_up, self.tries, self.told = False, 0, False
