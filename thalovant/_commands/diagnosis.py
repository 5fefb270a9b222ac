"""What `doctor` says where no client can be made: what is wrong with the identity, and what is well nevertheless."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from .._internal.redact import redact_url
from ..errors import ThalovantError
from ..identity import ThalovantIdentity
from ..models import ThalovantDoctorCheck, ThalovantDoctorReport
from ..protocols import HubProtocol
from .complaints import in_options
from .elsewhere import moved
from .sources import read_source

_PATIENCE: Final = 4.0
_PORTS: Final = {"wss": 443, "https": 443, "ws": 80, "http": 80, "mqtts": 8883, "ssl": 8883}
_MISSING: Final = {"access_key": "-", "password": "-", "site_id": "-"}


def without_client(options: dict[str, Any], error: ThalovantError) -> ThalovantDoctorReport:
    """The report of an identity that cannot be used, for this reason."""
    problem = ThalovantDoctorCheck("identity", False, f"{error} {in_options(error.hint)}".strip())
    found = _endpoint(options)
    if found is None:
        nothing = "not looked at: nothing says where the hub is"
        others = [ThalovantDoctorCheck(name, False, nothing) for name in ("endpoint", "connect")]
    else:
        others = [ThalovantDoctorCheck("endpoint", True, redact_url(found)), _reach(found)]
    last = ThalovantDoctorCheck("transport", False, "not looked at: it takes an identity")
    return ThalovantDoctorReport({}, (problem, *others, last))


def _endpoint(options: dict[str, Any]) -> str | None:
    """Where the hub is, if the identity says that, whatever else it lacks."""
    with suppress(ThalovantError, ValueError):
        given = {name: value for name, value in read_source(options).values.items() if value}
        identity = ThalovantIdentity.from_mapping({**_MISSING, **given})
        if options["host"] or options["port"]:
            identity = moved(identity, options)
        wanted: tuple[HubProtocol, ...] = ("wss", "https", "mqtt")
        for protocol in (options["protocol"],) if options["protocol"] else wanted:
            url = identity.endpoint_for(protocol)
            if url and urlsplit(url).hostname:
                return url
    return None


def _reach(url: str) -> ThalovantDoctorCheck:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 1883)
    started = time.perf_counter()
    try:
        socket.create_connection((parts.hostname or "", port), _PATIENCE).close()
        ok, detail = True, f"something listens at {parts.hostname}:{port}; that it is the hub takes an identity"
    except OSError as error:
        ok, detail = False, f"nothing can be reached at {parts.hostname}:{port}: {error.strerror or error}"
    return ThalovantDoctorCheck("connect", ok, detail, (time.perf_counter() - started) * 1000)
