"""The options --host and --port: the identity's credentials for a hub at another address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import click

from .._client.settings import choose_protocol
from ..identity import ThalovantIdentity
from ..protocols import HubDataPlaneEndpoints, HubProtocol, HubProtocolSettings

_PROTOCOLS: Final[dict[str, HubProtocol]] = {"wss": "wss", "ws": "wss", "https": "https", "http": "https"}


def moved(identity: ThalovantIdentity, options: dict[str, Any]) -> ThalovantIdentity:
    """The identity with one endpoint, which `host` and `port` of the options have changed.

    A URL chooses the transport by its scheme; a name alone keeps scheme and path of the endpoint that it moves. Raises
    `click.UsageError` for what would not be reached.
    """
    host, forced = options["host"], options["protocol"]
    scheme, found, rest = ("" if host is None else host.rstrip("/")).partition("://")
    if not found:
        scheme, rest = "", scheme
    elif scheme.lower() not in _PROTOCOLS:
        raise click.UsageError("--host takes wss://NAME, https://NAME or NAME")
    protocol = forced or _PROTOCOLS.get(scheme.lower()) or choose_protocol(identity)
    if protocol == "mqtt":
        raise click.UsageError(
            "--host and --port do not move the broker of MQTT; use --protocol wss, or another identity"
        )
    old = urlsplit(identity.endpoint_for(protocol) or f"{protocol}://")
    url = urlsplit(f"{scheme or old.scheme}://{rest or old.netloc}")
    try:
        port = options["port"] or url.port or (None if found or "://" in rest else old.port)
        name = url.hostname
    except ValueError:
        name = None
    if not name or (host is not None and (not rest or url.username is not None)):
        raise click.UsageError("--host takes wss://NAME, https://NAME or NAME, and --port the number")
    shown = f"[{name}]" if ":" in name else name
    path = url.path if found else old.path
    if protocol == "wss" and url.scheme in ("http", "https"):  # as the hub's own address, it names both transports
        url = url._replace(scheme=url.scheme.replace("http", "ws"))
    elif protocol == "https" and url.scheme in ("ws", "wss"):
        raise click.UsageError("--protocol https needs an https:// address in --host")
    endpoint = f"{url.scheme}://{shown}{f':{port}' if port else ''}{path}"
    return replace(
        identity,
        default_master=endpoint,
        default_port=port or identity.default_port,
        data_plane_endpoints=HubDataPlaneEndpoints(**{protocol: endpoint}),
        protocols=HubProtocolSettings(wss=protocol == "wss", http=protocol == "https"),
        mqtt=None,
    )
