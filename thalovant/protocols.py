"""Protocols over which a hub can be reached, and their endpoints."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from ._internal.redact import redact_url

HubProtocol: TypeAlias = Literal["wss", "https", "mqtt"]

DEFAULT_PROTOCOL_PREFERENCE: Final[tuple[HubProtocol, ...]] = ("wss", "https", "mqtt")
DEFAULT_PORT: Final = 5679  # of a hub's own HTTP listener, and what an identity has that names none

_SCHEMES: Final = frozenset(("http", "https", "ws", "wss", "mqtt", "mqtts"))
_HTTP_SCHEMES: Final = {"wss": "https", "ws": "http"}
_USUAL_PORTS: Final = {"wss": (443, DEFAULT_PORT), "ws": (80, DEFAULT_PORT)}
_WORDS: Final = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}
_FLAGS: Final = frozenset(("wss", "websocket", "http", "https", "mqtt"))
_PORT = re.compile(r":[^@\]]*$")


@dataclass(frozen=True)
class HubProtocolSettings:
    """Protocols that the hub has switched on. `http` is HTTPS at the hub's edge."""

    wss: bool = True
    http: bool = False
    mqtt: bool = False

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | None) -> HubProtocolSettings:
        """Read `spec.protocols`, else `protocols`, else `network`; what is not there or not clear stays as it is."""
        flags = _protocol_map(values or {})
        return cls(
            wss=_enabled(flags, ("wss", "websocket"), default=True),
            http=_enabled(flags, ("http", "https"), default=False),
            mqtt=_enabled(flags, ("mqtt",), default=False),
        )

    @property
    def https(self) -> bool:
        """The same as `http`."""
        return self.http

    def is_enabled(self, protocol: str) -> bool:
        """Whether "wss", "https" or "mqtt" is on; False for any other word."""
        return {"wss": self.wss, "https": self.http, "mqtt": self.mqtt}.get(protocol, False)

    def enabled_protocols(self) -> tuple[HubProtocol, ...]:
        """The protocols that are on, in the order of preference."""
        return tuple(protocol for protocol in DEFAULT_PROTOCOL_PREFERENCE if self.is_enabled(protocol))

    def as_dict(self) -> dict[str, dict[str, bool]]:
        """The shape that the API and identity files have."""
        return {"wss": {"enabled": self.wss}, "http": {"enabled": self.http}, "mqtt": {"enabled": self.mqtt}}


@dataclass(frozen=True, repr=False)
class HubDataPlaneEndpoints:
    """The URL of each protocol, None where there is none."""

    https: str | None = None
    wss: str | None = None
    mqtt: str | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | None) -> HubDataPlaneEndpoints:
        """Read the map under `data_plane_endpoints`, `dataPlaneEndpoints` or `endpoints`, else the mapping itself.

        What is no URL of a hub counts as not there. Of a nested mapping only its endpoint is taken.
        """
        source = _endpoint_map(values or {})
        return cls(
            https=_endpoint(source, "https", "http"),
            wss=_endpoint(source, "wss", "ws"),
            mqtt=_endpoint(source, "mqtt", "mqtts"),
        )

    @classmethod
    def from_hub(cls, hub: Mapping[str, Any]) -> HubDataPlaneEndpoints:
        """The endpoints of a hub resource; WSS and HTTPS follow from its `domain` where they are on, MQTT never."""
        given = cls.from_mapping(_endpoint_map(hub, default={}))
        domain = hub.get("domain")
        host = re.sub(r"^\w+://", "", domain.strip()).rstrip("/") if isinstance(domain, str) else ""
        if not host:
            return given
        flags = HubProtocolSettings.from_mapping(hub)
        return cls(
            https=given.https or (f"https://{host}" if flags.http else None),
            wss=given.wss or (f"wss://{host}" if flags.wss else None),
            mqtt=given.mqtt,
        )

    def endpoint_for(self, protocol: str) -> str | None:
        """The URL for "wss", "https" or "mqtt"."""
        return {"wss": self.wss, "https": self.https, "mqtt": self.mqtt}.get(protocol)

    def http_base(self, fallback_master: str, fallback_port: int, fallback_path: str) -> str:
        """The base of HTTPS calls: the endpoint, else the master with its path; the port named where it is known.

        A public `https://` endpoint without a port means 443: the default port of hubs is not put on it.
        """
        if self.https is None:
            return _base(fallback_master, fallback_port, fallback_path)
        public = fallback_port == DEFAULT_PORT and not self.https.lower().startswith(("http://", "ws://"))
        return _base(self.https, None if public else fallback_port, "")

    def as_dict(self, *, include_secrets: bool = False, redact_credentials: bool | None = None) -> dict[str, str]:
        """The endpoints that there are, without user and query unless asked for.

        `redact_credentials` is what earlier releases call the contrary of `include_secrets`, and wins where given.
        """
        if redact_credentials is not None:
            include_secrets = not redact_credentials
        found = {"https": self.https, "wss": self.wss, "mqtt": self.mqtt}
        return {key: url if include_secrets else redact_url(url) for key, url in found.items() if url}

    def __repr__(self) -> str:
        shown = {"wss": None, "https": None, "mqtt": None, **self.as_dict()}
        return f"HubDataPlaneEndpoints(https={shown['https']!r}, wss={shown['wss']!r}, mqtt={shown['mqtt']!r})"


@dataclass(frozen=True, repr=False)
class SelectedHubEndpoint:
    """A protocol and the URL to use with it."""

    protocol: HubProtocol
    endpoint: str

    def __repr__(self) -> str:
        return f"SelectedHubEndpoint(protocol={self.protocol!r}, endpoint={redact_url(self.endpoint)!r})"


def select_data_plane_endpoint(
    endpoints: HubDataPlaneEndpoints,
    protocols: HubProtocolSettings,
    preferred_protocols: Iterable[HubProtocol] = DEFAULT_PROTOCOL_PREFERENCE,
) -> SelectedHubEndpoint | None:
    """The first preferred protocol that is on and has an endpoint."""
    for protocol in preferred_protocols:
        endpoint = endpoints.endpoint_for(protocol)
        if endpoint and protocols.is_enabled(protocol):
            return SelectedHubEndpoint(protocol, endpoint)
    return None


# --- reading ---------------------------------------------------------------------------------------------------------


def as_flag(value: object) -> bool | None:
    """The truth of a boolean, 0, 1 or one of the words true/yes/on/false/no/off; None for anything else."""
    return value if isinstance(value, bool) else _WORDS.get(str(value).strip().lower())


def _protocol_map(values: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = values.get("spec")
    places = (spec, values) if isinstance(spec, Mapping) else (values,)
    found = (place.get(key) for key in ("protocols", "network") for place in places)
    return next((item for item in found if isinstance(item, Mapping) and item), {})


def _enabled(flags: Mapping[str, Any], keys: tuple[str, ...], *, default: bool) -> bool:
    for key in keys:
        value = flags.get(key)
        flag = as_flag(value.get("enabled") if isinstance(value, Mapping) else value)
        if flag is not None:
            return flag
    return default


def unclear_flag(values: Mapping[str, Any]) -> str | None:
    """The name of a protocol that is neither on nor off; None if all are clear."""
    for key, value in _protocol_map(values).items():
        given = value.get("enabled") if isinstance(value, Mapping) else value
        if key in _FLAGS and given is not None and as_flag(given) is None:
            return str(key)
    return None


def _endpoint_map(values: Mapping[str, Any], default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    found = (values.get(key) for key in ("data_plane_endpoints", "dataPlaneEndpoints", "endpoints"))
    return next((item for item in found if isinstance(item, Mapping) and item), values if default is None else default)


def _endpoint(source: Mapping[str, Any], *keys: str) -> str | None:
    for key in keys:
        value = source.get(key)
        if isinstance(value, Mapping):  # MQTT credentials: their endpoint and nothing else
            value = value.get("endpoint") or value.get("broker_url") or value.get("brokerUrl")
        url = value.strip() if isinstance(value, str) else ""
        if url and _is_hub_url(url):
            return url.rstrip("/")
    return None


def unfit_endpoint(values: Mapping[str, Any]) -> str | None:
    """The name of an endpoint that is there, but is no URL of a hub; None if all are well."""
    source = _endpoint_map(values)
    for key in ("https", "http", "wss", "ws", "mqtt", "mqtts"):
        value = source.get(key)
        if isinstance(value, Mapping):
            value = next((value[name] for name in ("endpoint", "broker_url", "brokerUrl") if value.get(name)), None)
        if value is not None and not (isinstance(value, str) and (not value.strip() or _is_whole(value.strip()))):
            return key
    return None


def _is_whole(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        return _is_hub_url(url) and parts.port != 0 and bool(parts.hostname) and not re.search(r"\s", url)
    except ValueError:
        return False


def _is_hub_url(url: str) -> bool:
    if "://" not in url:
        return True  # a bare host
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in _SCHEMES and bool(parts.hostname)


# --- endpoint mathematics --------------------------------------------------------------------------------------------


def wss_of_master(master: str, port: int) -> str | None:
    """A master that is a WebSocket URL, None for any other; `port` is its own where it names none.

    The usual port of the scheme needs no naming, and the default port of hubs is that of their HTTP listener.
    """
    scheme = master.partition("://")[0].lower()
    if scheme not in _USUAL_PORTS:
        return None
    return master if port in _USUAL_PORTS[scheme] else _with_port(master, port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or address. No other name is looked up."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def _base(url: str, port: int | None, path: str) -> str:
    url = _with_port(url if "://" in url else f"https://{url}", port)
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # no URL at all; dialing will say so
    scheme = _HTTP_SCHEMES.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + path, "", ""))


def _with_port(url: str, port: int | None) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    netloc = parts.netloc.removesuffix(":")
    named = port is None or _PORT.search(netloc)
    return parts._replace(netloc=netloc if named else f"{netloc}:{port}").geturl()
