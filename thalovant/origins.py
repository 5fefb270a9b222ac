"""Addresses of a hub: its host, and a nearer way to it than its name leads."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import define, field

from thalovant_io import dialer

from . import logs
from .errors import ThalovantError

if TYPE_CHECKING:
    from .client import ThalovantClient

__all__ = ["OriginPreference", "hub_hostname", "preferred_origin"]


@define(eq=False, repr=False, slots=False)
class OriginPreference:
    """A nearer address of a hub, as in the network at home: tried first, and left alone for a while when it fails.

    `handshake_seconds`: how long a connection there may take; `cooldown_seconds`: how long it is left alone after a
    failure. TLS and the hub's keys are checked as ever, for the hub's own name.

    Example:
        >>> home = OriginPreference("192.168.1.20")
        >>> client = home.connect(
        ...     lambda: ThalovantClient(identity), host=hub_hostname(identity.default_master), connect_timeout=10.0
        ... )
    """

    _address: str
    _handshake_seconds: float = field(default=1.5, kw_only=True)
    _cooldown_seconds: float = field(default=300.0, kw_only=True)
    _clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    _rests_until: float = field(init=False, default=-math.inf)

    @property
    def cooling_down(self) -> bool:
        """Whether the address is left alone now."""
        return self._clock() < self._rests_until

    def connect(
        self,
        build: Callable[[], ThalovantClient],
        *,
        host: str,
        connect_timeout: float,
        handshake_seconds: float | None = None,
    ) -> ThalovantClient:
        """A connected client, of those that `build()` makes: over the address, or else as `host` is looked up.

        The second way may take `connect_timeout` seconds. Raises what connecting there raises.
        """
        if self._address and not self.cooling_down:
            try:
                with dialer.preferred_origin(host, self._address, only=True):
                    return _connected(build(), handshake_seconds or self._handshake_seconds)
            except (ThalovantError, OSError) as error:
                logs.link.debug("Not over %s: %s", self._address, error)
                self._rests_until = max(self._rests_until, self._clock() + self._cooldown_seconds)
        return _connected(build(), connect_timeout)

    def close(self) -> None:
        """Leave the address alone for good."""
        self._rests_until = math.inf


@contextlib.contextmanager
def preferred_origin(host: str, address: str) -> Iterator[None]:
    """Have connections to `host` go to `address` first, then to where its name leads, until the block ends.

    In this process, for every client that connects meanwhile. TLS and the hub's keys are checked as ever, for `host`.

    Example:
        >>> with preferred_origin("hub.example", "192.168.1.20"):
        ...     client.connect()
    """
    with dialer.preferred_origin(host, address):
        yield


def hub_hostname(master: str | None) -> str:
    """The host in an address, or the bare host, IPv6 without brackets; "" for nothing.

    Example:
        >>> hub_hostname("wss://hub.example:443/public")
        'hub.example'
    """
    given = (master or "").strip()
    if "//" not in given:
        given = f"//[{given}]" if given.count(":") > 1 and "[" not in given else f"//{given}"
    try:
        return urlsplit(given).hostname or ""
    except ValueError:
        return ""


def _connected(client: ThalovantClient, timeout: float) -> ThalovantClient:
    try:
        client.connect(timeout)
    except BaseException:
        client.close(0)
        raise
    return client
