"""The diagnosis of a client's connection: four checks in order, each of which reports and none of which raises."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._internal.redact import redact_text
from ..models import ThalovantDoctorCheck, ThalovantDoctorReport

if TYPE_CHECKING:
    from ..async_client import AsyncThalovantClient

_SCHEMES = {
    "wss": ("wss", "ws"),
    "https": ("https", "http"),
    "mqtt": ("mqtts", "mqtt", "ssl", "tcp", ""),
}


async def examine(client: AsyncThalovantClient) -> ThalovantDoctorReport:
    """Identity, endpoint, connection, and the transport that it came to."""

    async def identity() -> str:
        return f"site_id={client.identity.site_id}"

    async def endpoint() -> str:
        protocol = client.protocol
        url = client.identity.endpoint_for(protocol) or ""
        parts = urlsplit(url if "://" in url else f"//{url}")
        if parts.scheme not in _SCHEMES[protocol]:
            raise ValueError(f"the {protocol.upper()} endpoint must start with {_SCHEMES[protocol][0]}://")
        if not parts.hostname:
            raise ValueError(f"the {protocol.upper()} endpoint must include a host")
        return url

    async def connect() -> str:
        await client.connect(client._connect_once)
        return "connected and handshake completed"

    async def transport() -> str:
        info, health = await client.connection_info(), await client._session.health()
        if not health.ok:
            phase = info.phase if info.phase != "ready" else str(health)
            raise ConnectionError(f"{client.protocol.upper()} is {phase}, not ready")
        return f"{client.protocol.upper()} is alive"

    checks = [
        await _check("identity", identity, timed=False),
        await _check("endpoint", endpoint, timed=False),
        await _check("connect", connect),
        await _check("transport", transport, timed=False),
    ]
    return ThalovantDoctorReport(client.identity.as_dict(), tuple(checks))


async def _check(name: str, look: Callable[[], Awaitable[str]], *, timed: bool = True) -> ThalovantDoctorCheck:
    started, ok = time.perf_counter(), True
    try:
        detail = await look()
    except Exception as error:  # whatever it is, it is what the doctor found
        ok, detail = False, f"{error} {getattr(error, 'hint', '')}".strip() or type(error).__name__
    took = (time.perf_counter() - started) * 1000 if timed else 0.0
    return ThalovantDoctorCheck(name, ok, redact_text(" ".join(detail.split())), took)
