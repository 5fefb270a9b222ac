"""Sources of identities: JSON files, the YAML config file, environment variables. Each becomes one mapping.

Parsers show what they stumble over; none of their errors is chained to ours, since that would show secrets.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import ThalovantIdentityError
from .secret_files import NotAFile, TooPermissive, read_secret

_APP: Final = "thalovant"
DEFAULT_CONFIG_FILENAME: Final = "config.yaml"
# Fields with a variable of the same name each, the broker's after `MQTT_`.
_OF_CLIENT: Final = ("access_key", "password", "crypto_key", "site_id", "ca_file")
_OF_BROKER: Final = (
    *("endpoint", "username", "password", "qos", "hub_id"),
    *("topic_prefix", "c2s_topic", "s2c_topic", "status_topic", "hash_topics"),
)


def default_config_path() -> Path:
    """The place of the config file: under `$XDG_CONFIG_HOME`, on Windows `%APPDATA%`, else under `~/.config`."""
    if configured := os.environ.get("XDG_CONFIG_HOME"):
        return Path(configured).expanduser() / _APP / DEFAULT_CONFIG_FILENAME
    if sys.platform == "win32" and (roaming := os.environ.get("APPDATA")):
        return Path(roaming) / "Thalovant" / DEFAULT_CONFIG_FILENAME
    return Path.home() / ".config" / _APP / DEFAULT_CONFIG_FILENAME


def from_json_file(path: Path) -> Mapping[str, Any]:
    """The object in an identity file."""
    text = _text(path, "identity file", "not valid JSON")
    with suppress(ValueError, RecursionError):
        return _object(json.loads(text), "Identity file must contain a JSON object.", path)
    raise ThalovantIdentityError(
        f"Identity file is not valid JSON: {path}", hint="Download it again, or look for a missing comma or quote."
    )


def from_yaml_file(path: Path, profile: str | None) -> Mapping[str, Any]:
    """The identity of a profile in a config file: the named one, else the file's own choice, else `default`."""
    import yaml

    text = _text(path, "Thalovant config file", "not valid YAML")
    config = None
    with suppress(yaml.YAMLError, ValueError, RecursionError):
        loaded = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
        config = _object({} if loaded is None else loaded, "Thalovant config file must contain a YAML object.", path)
    if config is None:
        raise ThalovantIdentityError(
            f"Thalovant config file is not valid YAML: {path}",
            hint="Look for tabs, and quote values with : or # inside.",
        )
    profiles = config.get("profiles")
    if not isinstance(profiles, Mapping):
        return _identity_of(config)
    chosen = (config.get(key) for key in ("profile", "default_profile", "defaultProfile"))
    name = profile if profile is not None else str(next(filter(None, chosen), "default"))
    found = next((item for key, item in profiles.items() if str(key) == name), None)
    if not isinstance(found, Mapping):
        known = ", ".join(sorted(str(key) for key in profiles)) or "none"
        raise ThalovantIdentityError(
            f"Missing Thalovant config profile: {name}", hint=f"{path} has these profiles: {known}."
        )
    return _identity_of(found)


def from_environment(prefix: str) -> dict[str, Any]:
    """The identity in the variables that start with `prefix`, with absent ones left out."""

    def value(*names: str) -> str | None:
        return next((found for name in names if (found := os.environ.get(prefix + name, "").strip())), None)

    def named(fields: tuple[str, ...], kind: str = "") -> dict[str, Any]:
        return _present({name: value(kind + name.upper()) for name in fields})

    http = value("HUB_HTTP_HOST")
    https, wss = value("HUB_HTTPS_HOST") or http, value("HUB_WSS_HOST", "HUB_WEBSOCKET_HOST")
    mqtt = value("HUB_MQTT_HOST")
    port, path = value("HUB_HTTP_PORT"), value("HUB_HTTP_PATH")
    found = {
        **named(_OF_CLIENT),
        "default_master": http or value("DEFAULT_MASTER") or https or wss,
        "default_port": port or value("DEFAULT_PORT"),
        "default_path": path or value("DEFAULT_PATH"),
        "data_plane_endpoints": _present({"https": _with_port_and_path(https, port, path), "wss": wss, "mqtt": mqtt}),
        "mqtt": _present({"endpoint": mqtt, **named(_OF_BROKER, "MQTT_")}),
    }
    return _present(found)


def _with_port_and_path(url: str | None, port: str | None, path: str | None) -> str | None:
    """The endpoint as the variables mean it: port and path are its own where the URL has none."""
    if url is None:
        return None
    scheme, slashes, rest = url.rpartition("://")
    host, _, own_path = rest.partition("/")
    if port and ":" not in host.rpartition("]")[2].rpartition("@")[2]:
        host = f"{host}:{port}"
    return f"{scheme}{slashes}{host}/{own_path or (path or '').lstrip('/')}".rstrip("/")


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _identity_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = values.get("identity")
    return nested if isinstance(nested, Mapping) else values


def _text(path: Path, what: str, invalid: str) -> str:
    title = what[0].upper() + what[1:]
    try:
        return read_secret(path, follow=True).decode("utf-8-sig")
    except TooPermissive:
        problem = ThalovantIdentityError(
            f"{title} is too permissive: {path}. Run `chmod 600 {path}`.",
            code="too_permissive",
            hint="Others on this machine may have read it: consider a fresh identity.",
        )
    except UnicodeDecodeError:
        problem = ThalovantIdentityError(f"{title} is {invalid}: {path}", hint="It must be UTF-8 text.")
    except OSError as error:
        problem = ThalovantIdentityError(f"Unable to read {what}: {path}", hint=_why(error, path))
    raise problem


def _why(error: OSError, path: Path) -> str:
    match error:
        case FileNotFoundError():
            return (
                f"There is no such file (looked from {Path.cwd()})." if not path.is_absolute() else "It is not there."
            )
        case PermissionError():
            return "This user may not read it."
        case NotAFile():
            return f"{str(error).capitalize()}."
    return f"{error.strerror}." if error.strerror else ""


def _object(values: Any, otherwise: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ThalovantIdentityError(otherwise, hint=f"Look at {path}: it must hold names and values.")
    return values
