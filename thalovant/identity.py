"""`ThalovantIdentity`: the credentials of a client, and the endpoints of its hub. Its secrets are never shown.

Sources of identities are in `_internal/identity_files.py`, endpoints in `protocols.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from ._internal import identity_files, keyrings
from ._internal.identity_files import DEFAULT_CONFIG_FILENAME, IDENTITY_FILENAME, default_config_path
from ._internal.redact import REDACTED, HoldsSecrets, redact_text, redact_url, redact_values
from .errors import ThalovantIdentityError, without_frames
from .protocols import (
    DEFAULT_PORT,
    HubDataPlaneEndpoints,
    HubProtocol,
    HubProtocolSettings,
    as_flag,
    unclear_flag,
    unfit_endpoint,
    wss_of_master,
)

__all__ = ["DEFAULT_CONFIG_FILENAME", "MqttBrokerCredentials", "ThalovantIdentity", "default_config_path"]

# The names under which files, the API and older releases know each field. The first that is present counts.
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "access_key": ("access_key", "key", "api_key", "apiKey"),
    "password": ("password",),
    "default_master": ("default_master", "defaultMaster", "host", "hub_http_host", "hubHttpHost", "master"),
    "site_id": ("site_id", "siteId", "site", "client_id", "clientId"),
    "default_port": ("default_port", "port", "hub_http_port"),
    "default_path": ("default_path", "defaultPath", "hub_http_path", "path", "uri_path"),
    "crypto_key": ("crypto_key", "cryptoKey"),
    "ca_file": ("ca_file", "caFile"),
    "client_cert_file": ("client_cert_file", "clientCertFile"),
    "client_key_file": ("client_key_file", "clientKeyFile"),
    "noise_state_dir": ("noise_state_dir", "noiseStateDir"),
}
_NAMES: Final = ("access_key", "password", "site_id", "crypto_key")  # may be numbers
_OBJECTS: Final = (
    "headers",
    "metadata",
    "data_plane_endpoints",
    "dataPlaneEndpoints",
    "endpoints",
    "protocols",
    "network",
)
_KNOWN: Final = frozenset(
    (*(one for names in _ALIASES.values() for one in names), *_OBJECTS, "mqtt", "secrets", "spec")
)
_TLS_SCHEMES: Final = ("mqtts", "ssl")
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True, repr=False)
class MqttBrokerCredentials(HoldsSecrets):
    """Credentials of a client for the MQTT broker: attributes, or `credentials["host"]` as in the documents.

    The topics are the broker's concern: a `topic_prefix`, or for older hubs `hub_id` and explicit topics.
    """

    endpoint: str
    username: str
    password: str
    topic_prefix: str | None = None
    qos: int = 1
    tls: bool = True
    hub_id: str | None = None
    c2s_topic: str | None = None
    s2c_topic: str | None = None
    status_topic: str | None = None
    hash_topics: bool = False

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | None) -> Self | None:
        """Read credentials; None unless endpoint, username and password are all there."""
        if not isinstance(values, Mapping):
            return None

        def text(*keys: str) -> str | None:
            return next((found for key in keys if (found := _text(values.get(key)))), None)

        endpoint = text("endpoint", "broker_url", "brokerUrl")
        username = text("username", "broker_username", "brokerUsername")
        password = text("password", "broker_password", "brokerPassword")
        if not (endpoint and username and password):
            return None
        tls = as_flag(values.get("tls"))
        return cls(
            endpoint=endpoint,
            username=username,
            password=password,
            topic_prefix=text("topic_prefix", "topicPrefix"),
            qos=0 if text("qos") == "0" else 1,
            tls=endpoint.lower().startswith("mqtts://") if tls is None else tls,
            hub_id=text("hub_id", "hubId"),
            c2s_topic=text("c2s_topic", "c2sTopic"),
            s2c_topic=text("s2c_topic", "s2cTopic"),
            status_topic=text("status_topic", "statusTopic"),
            hash_topics=as_flag(text("hash_topics", "hashTopics")) or False,
        )

    @property
    def host(self) -> str:
        """The broker's host, "" if the endpoint has none."""
        return self._address.hostname or ""

    @property
    def port(self) -> int:
        """The broker's port: the endpoint's, else 8883 with TLS and 1883 without.

        Raises `ThalovantIdentityError` for an endpoint whose port is no number from 0 to 65535.
        """
        encrypted = self.tls or self._address.scheme in _TLS_SCHEMES
        with suppress(ValueError):
            return self._address.port or (8883 if encrypted else 1883)
        raise ThalovantIdentityError("The port in the MQTT endpoint is not a number up to 65535.")

    @property
    def _address(self) -> SplitResult:
        return urlsplit(self.endpoint if "://" in self.endpoint else f"//{self.endpoint}")

    def __getitem__(self, key: str) -> Any:
        if key in _MQTT_KEYS:
            return getattr(self, key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return key in _MQTT_KEYS

    def get(self, key: str, default: Any = None) -> Any:
        """The value under that name, `default` if there is no such name."""
        return getattr(self, key) if key in _MQTT_KEYS else default

    def as_dict(self, *, include_secrets: bool = False) -> dict[str, Any]:
        """The credentials, ready for JSON; without secrets only endpoint and TLS."""
        if not include_secrets:
            return {"endpoint": redact_url(self.endpoint), "tls": self.tls}
        shown = {key: value for key, value in vars(self).items() if value and key not in ("tls", "qos")}
        return shown | {"tls": self.tls} | ({"qos": self.qos} if self.qos != 1 else {})

    def __repr__(self) -> str:
        return f"MqttBrokerCredentials(endpoint={redact_url(self.endpoint)!r}, qos={self.qos}, tls={self.tls})"


_MQTT_KEYS: Final = frozenset((*MqttBrokerCredentials.__dataclass_fields__, "host", "port"))


@dataclass(frozen=True, repr=False)
class ThalovantIdentity(HoldsSecrets):
    """A client's identity for one hub. Make it with `from_file`, `from_config`, `from_env` or `from_mapping`.

    `access_key` and `password` are the client's credentials, `crypto_key` the pre-shared key of old hubs. The hub is
    reached over `data_plane_endpoints` where these have the protocol, else over `default_master`, `default_port` and
    `default_path`. `protocols` are those that the hub has on, `mqtt` the broker's credentials. `ca_file` is a PEM file
    of authorities to trust instead of the system's; `client_cert_file` and `client_key_file` are PEM files of the
    client's own certificate, and `headers` are added to the requests of WSS and HTTPS, where a gateway before the hub
    wants such. `noise_state_dir` is the folder of the client's keys and pins,
    found by itself if None. `source_path` is the file it came from.
    """

    access_key: str
    password: str
    default_master: str
    site_id: str
    default_port: int = DEFAULT_PORT
    default_path: str = ""
    crypto_key: str | None = None
    data_plane_endpoints: HubDataPlaneEndpoints = field(default_factory=HubDataPlaneEndpoints)
    protocols: HubProtocolSettings = field(default_factory=HubProtocolSettings)
    mqtt: MqttBrokerCredentials | None = None
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    headers: dict[str, str] = field(default_factory=dict, hash=False)
    noise_state_dir: str | None = field(default=None, compare=False)
    source_path: str | None = field(default=None, compare=False)

    # --- reading ---

    @classmethod
    @without_frames
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read an identity in any spelling that files and the API use.

        Raises `ThalovantIdentityError` for a missing field, a master that is no URL, or a port that is no number from
        1 to 65535.
        """
        if not isinstance(values, Mapping):
            raise ThalovantIdentityError("An identity must be a mapping of names and values.")
        mqtt = MqttBrokerCredentials.from_mapping(values.get("mqtt"))
        metadata = values.get("metadata")
        crypto_key = _field(values, "crypto_key") or None  # all that a client of the oldest hubs needs
        return cls(
            access_key=_required(values, "access_key"),
            password=_field(values, "password") or "" if crypto_key else _required(values, "password"),
            default_master=_master(values),
            site_id=_required(values, "site_id"),
            default_port=_port(values),
            default_path=_path(_field(values, "default_path")),
            crypto_key=crypto_key,
            data_plane_endpoints=HubDataPlaneEndpoints.from_mapping(values),
            protocols=HubProtocolSettings.from_mapping(values),
            mqtt=mqtt,
            metadata=dict(metadata) if isinstance(metadata, Mapping) else {},
            ca_file=_field(values, "ca_file") or None,
            client_cert_file=_field(values, "client_cert_file") or None,
            client_key_file=_field(values, "client_key_file") or None,
            headers=_headers(values.get("headers")),
            noise_state_dir=_field(values, "noise_state_dir") or None,
        )

    @classmethod
    @without_frames
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read an identity file: JSON that only its owner may read, as the dashboard gives it.

        A folder stands for the file `_identity.json` in it. Without a `site_id` the site is `unknown`.

        Raises `ThalovantIdentityError` that names the file, what is wrong with it, and how to mend it.
        """
        file = identity_files.file_at(path, IDENTITY_FILENAME)
        return cls._located(identity_files.from_json_file(file), file)

    @classmethod
    @without_frames
    def from_config(cls, path: str | os.PathLike[str] | None = None, *, profile: str | None = None) -> Self:
        """Read a profile of the YAML config file: `profile`, else the one that the file names, else `default`.

        Raises `ThalovantIdentityError` that names the file, what is wrong with it, and how to mend it.
        """
        file = default_config_path() if path is None else identity_files.file_at(path, DEFAULT_CONFIG_FILENAME)
        return cls._located(identity_files.from_yaml_file(file, profile), file)

    @classmethod
    @without_frames
    def from_env(cls, prefix: str = "THALOVANT_") -> Self:
        """Read an identity from environment variables: `THALOVANT_ACCESS_KEY` and so on.

        Raises `ThalovantIdentityError` that names the variable that is missing or wrong.
        """
        values = identity_files.from_environment(prefix)
        try:
            return cls.from_mapping(values)
        except ThalovantIdentityError as error:
            names = ", ".join(prefix + name for name in _VARIABLES.get(error.name, ()))
            raise ThalovantIdentityError(str(error), name=error.name, hint=f"Set {names}." if names else None) from None

    @classmethod
    def _located(cls, values: Mapping[str, Any], file: Path) -> Self:
        try:
            identity = cls.from_mapping(_checked(keyrings.resolved(values)))
        except ThalovantIdentityError as error:
            raise ThalovantIdentityError(f"{error} (in {file})", name=error.name, hint=error.hint) from None
        paths = {name: path for name in identity_files.PATHS if (path := getattr(identity, name))}
        located: dict[str, Any] = {
            name: str(file.parent / identity_files.expanded(path)) for name, path in paths.items()
        }
        return replace(identity, **located, source_path=str(file))

    # --- where the hub is ---

    def enabled_protocols(self) -> tuple[HubProtocol, ...]:
        """The protocols that the hub has on, whether or not the identity can use them."""
        return self.protocols.enabled_protocols()

    def supports_protocol(self, protocol: str) -> bool:
        """Whether the hub has "wss", "https" or "mqtt" on; False for any other word."""
        return self.protocols.is_enabled(protocol)

    def endpoint_for(self, protocol: str) -> str | None:
        """The URL for "wss", "https" (always there) or "mqtt"; None if there is none."""
        endpoints = self.data_plane_endpoints
        match protocol:
            case "https":
                return self.endpoint_base()
            case "wss":
                return endpoints.wss or wss_of_master(self.default_master, self.default_port)
            case "mqtt":
                return endpoints.mqtt or (self.mqtt.endpoint if self.mqtt else None)
        return None

    def endpoint_base(self) -> str:
        """The base URL of the HTTPS protocol, with the port in it where it is known."""
        return self.data_plane_endpoints.http_base(self.default_master, self.default_port, self.default_path)

    # --- writing ---

    def as_dict(self, *, include_secrets: bool = False) -> dict[str, Any]:
        """The identity, ready for JSON. `from_mapping` reads it back if `include_secrets`; never log that."""
        secrets: dict[str, Any] = {}
        if include_secrets:
            secrets = {"access_key": self.access_key, "password": self.password, "crypto_key": self.crypto_key}
        endpoints = self.data_plane_endpoints.as_dict(include_secrets=include_secrets)
        flags = self.protocols.as_dict() if include_secrets or self.protocols != _DEFAULT_FLAGS else None
        optional = {
            "data_plane_endpoints": endpoints,
            "protocols": flags,
            "mqtt": self.mqtt.as_dict(include_secrets=include_secrets) if self.mqtt else None,
            "metadata": dict(self.metadata) if include_secrets else redact_values(self.metadata),
            **{name: getattr(self, name) for name in identity_files.PATHS},
            "headers": dict(self.headers) if include_secrets else dict.fromkeys(self.headers, REDACTED),
        }
        return {
            **secrets,
            "site_id": self.site_id,
            "default_master": self.default_master if include_secrets else redact_url(self.default_master),
            "default_port": self.default_port,
            "default_path": self.default_path if include_secrets else redact_text(self.default_path),
            **{key: value for key, value in optional.items() if value},
        }

    @without_frames
    def save(self, path: str | os.PathLike[str], *, keyring: bool = False) -> Path:
        """Write an identity file, secrets included, that only this user may read; returns where it is.

        A folder stands for the file `_identity.json` in it. The file is replaced whole or not at all, never through a
        symbolic link. `keyring`: the secrets go into the system's keyring (extra `keyring`), and the file names the
        entry. Raises `ThalovantIdentityError`.
        """
        from ._internal.identity_saving import save

        return save(self.as_dict(include_secrets=True), path, keyring=keyring)

    @without_frames
    def save_to_config(
        self, *, profile: str | None = None, path: str | os.PathLike[str] | None = None, keyring: bool = False
    ) -> Path:
        """Put the identity into a profile of the config file, for `from_config`; returns where the file is.

        `profile`: the one that the file names if None, else `default`. `path`: `default_config_path()` if None. The
        file is made if there is none; other profiles, flags and unknown fields in it are kept, comments are not. As
        with `save` it is replaced whole or not at all, and `keyring` keeps the secrets elsewhere. Raises
        `ThalovantIdentityError`, also for a file that cannot be read, which is left as it is.

        Example:
            >>> identity.save_to_config(profile="prod")
            PosixPath('/home/ada/.config/thalovant/config.yaml')
        """
        from ._internal.identity_saving import save_to_config

        return save_to_config(self.as_dict(include_secrets=True), profile, path, _KNOWN, keyring=keyring)

    def __repr__(self) -> str:
        shown = (
            f"default_master={redact_url(self.default_master)!r}",
            f"site_id={self.site_id!r}",
            f"default_port={self.default_port!r}",
            f"default_path={redact_text(self.default_path)!r}",
            f"data_plane_endpoints={self.data_plane_endpoints!r}",
            f"protocols={self.protocols!r}",
            f"mqtt={self.mqtt!r}",
        )
        return f"ThalovantIdentity({', '.join(shown)})"


_DEFAULT_FLAGS: Final = HubProtocolSettings()

# Which variable to set, by what the error is about.
_VARIABLES: Final = {
    "missing_access_key": ("ACCESS_KEY",),
    "missing_password": ("PASSWORD",),
    "missing_default_master": ("HUB_WSS_HOST", "HUB_HTTPS_HOST", "HUB_HTTP_HOST"),
    "missing_site_id": ("SITE_ID",),
    "invalid_port": ("HUB_HTTP_PORT to a number from 1 to 65535",),
}


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _found(values: Mapping[str, Any], name: str) -> Any:
    return next((values[key] for key in _ALIASES[name] if key in values), None)


def _field(values: Mapping[str, Any], name: str) -> str:
    return _text(_found(values, name))


def _required(values: Mapping[str, Any], name: str) -> str:
    if found := _field(values, name):
        return found
    present = next((key for key in _ALIASES[name] if key in values), None)
    raise ThalovantIdentityError(
        f"Missing required identity field: {', '.join(_ALIASES[name])}",
        name=f"missing_{name}",
        hint=f"`{present}` is there, but empty." if present else f"Add `{_ALIASES[name][0]}`.",
    )


def _headers(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, Mapping) and all(isinstance(one, str) for pair in given.items() for one in pair):
        return dict(given)
    raise _wrong("names and texts: headers", 'Write them like {"CF-Access-Client-Id": "..."}.')


def _master(values: Mapping[str, Any]) -> str:
    master = _required(values, "default_master").rstrip("/")
    with suppress(ValueError):
        if urlsplit(master if "://" in master else f"//{master}").port != 0:
            return master
    raise ThalovantIdentityError(
        f"Identity field must be a URL: {', '.join(_ALIASES['default_master'])}",
        name="invalid_master",
        hint="Write where the hub is like https://hub.example or wss://hub.example:5678.",
    )


def _port(values: Mapping[str, Any]) -> int:
    given = _found(values, "default_port")
    text = _text(int(given) if isinstance(given, float) and given.is_integer() else given)
    if not given or not text:
        return DEFAULT_PORT
    if not _INTEGER.fullmatch(text):
        raise _wrong_port("an integer")
    if not 0 < int(text) < 65536:
        raise _wrong_port("from 1 to 65535")
    return int(text)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a file, if each is of its type; where no site is named, it is `unknown`."""
    for name in _ALIASES.keys() - {"default_port"}:
        key = next((key for key in _ALIASES[name] if key in values), name)
        value = values.get(key)
        number = name in _NAMES and isinstance(value, int) and not isinstance(value, bool)
        if not (value is None or isinstance(value, str) or number):
            raise _wrong(f"text: {key}", "Put its value in quotes.")
        if isinstance(value, str) and _UNFIT.search(value):
            raise _wrong(f"text on one line: {key}", "Copy it again, without line breaks and control characters.")
    for key in _OBJECTS:
        if not isinstance(values.get(key), Mapping | None):
            raise _wrong(f"an object: {key}", "Give it names and values, or leave it out.")
    if not isinstance(values.get("mqtt"), Mapping | str | None):
        raise _wrong("an object: mqtt", "Give it endpoint, username and password, or leave it out.")
    if (flag := unclear_flag(values)) is not None:
        raise _wrong(f"true or false: {flag}", 'Write it like `"enabled": true`.')
    if (kind := unfit_endpoint(values)) is not None:
        raise _wrong(f"a URL: {kind}", "Write host and port like wss://hub.example:5678, or leave the field out.")
    sites = (values.get(key) for key in _ALIASES["site_id"])
    return {**values, "site_id": next((site for site in sites if site is not None), "unknown")}


_UNFIT: Final = re.compile("[\0-\x1f\x7f\ud800-\udfff]")


def _wrong(what: str, hint: str) -> ThalovantIdentityError:
    return ThalovantIdentityError(f"Identity field must be {what}", name="invalid_field", hint=hint)


def _wrong_port(what: str) -> ThalovantIdentityError:
    return ThalovantIdentityError(
        f"Identity field must be {what}: {', '.join(_ALIASES['default_port'])}",
        name="invalid_port",
        hint="Write the hub's port as a number from 1 to 65535, or leave the field out.",
    )


def _path(path: str) -> str:
    inner = path.strip("/")
    return f"/{inner}" if inner else ""
