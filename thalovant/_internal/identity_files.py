"""Sources of identities: JSON files, the YAML config file, environment variables. Each becomes one mapping.

Parsers show what they stumble over; none of their errors is chained to ours, since that would show secrets.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ThalovantIdentityError
from .secret_files import NotAFile, TooPermissive, read_secret

if TYPE_CHECKING:
    import yaml

_APP: Final = "thalovant"
IDENTITY_FILENAME: Final = "_identity.json"
DEFAULT_CONFIG_FILENAME: Final = "config.yaml"
_MAX_NODES: Final = 20_000  # of a config, with what its aliases stand for; a profile has about thirty
_NAME: Final = re.compile(r"[A-Za-z_]{1,32}")  # what may be shown of a broken file
# Fields with a variable of the same name each, the broker's after `MQTT_`; the first of them are paths.
PATHS: Final = ("ca_file", "client_cert_file", "client_key_file", "noise_state_dir")
_OF_CLIENT: Final = ("access_key", "password", "crypto_key", "site_id", *PATHS)
_OF_BROKER: Final = (
    *("endpoint", "username", "password", "qos", "hub_id"),
    *("topic_prefix", "c2s_topic", "s2c_topic", "status_topic", "hash_topics"),
)
_VARIABLES: Final = {
    *(field.upper() for field in _OF_CLIENT),
    *(f"MQTT_{field.upper()}" for field in _OF_BROKER),
    *(f"HUB_{kind}_HOST" for kind in ("HTTP", "HTTPS", "WSS", "WEBSOCKET", "MQTT")),
    *("HUB_HTTP_PORT", "HUB_HTTP_PATH", "DEFAULT_MASTER", "DEFAULT_PORT", "DEFAULT_PATH"),
}


def default_config_path() -> Path:
    """The place of the config file: under `$XDG_CONFIG_HOME`, on Windows `%APPDATA%`, else under `~/.config`."""
    if configured := os.environ.get("XDG_CONFIG_HOME"):
        return Path(configured).expanduser() / _APP / DEFAULT_CONFIG_FILENAME
    if sys.platform == "win32" and (roaming := os.environ.get("APPDATA")):
        return Path(roaming) / "Thalovant" / DEFAULT_CONFIG_FILENAME
    return Path.home() / ".config" / _APP / DEFAULT_CONFIG_FILENAME


def file_at(path: str | os.PathLike[str], name: str) -> Path:
    """The file that a path means: `~` is the user's home, a folder stands for the file of that name in it."""
    file = expanded(path)
    return file / name if os.path.isdir(file) else file


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` as the user's home, as it is where nobody has that home."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def from_json_file(path: Path) -> Mapping[str, Any]:
    """The object in an identity file."""
    text = _text(path, "identity file", "not valid JSON")
    try:
        if not text.strip():
            raise ThalovantIdentityError(f"Identity file is not valid JSON: {path}", hint=f"It is empty. {_AGAIN}")
        return _object(json.loads(text, object_pairs_hook=_once), "Identity file must contain a JSON object.", path)
    except json.JSONDecodeError as error:
        hint = f"Line {error.lineno}, column {error.colno}: {_lower(error.msg)}. {_MEND}"
    except _Twice as twice:
        hint = f"{twice} is there twice: keep one of the two."
    except RecursionError:
        hint = f"It is nested too deeply. {_MEND}"
    except ValueError:
        hint = f"One of its numbers is too long. {_MEND}"
    raise ThalovantIdentityError(f"Identity file is not valid JSON: {path}", hint=hint)


def from_yaml_file(path: Path, profile: str | None) -> Mapping[str, Any]:
    """The identity of a profile in a config file: the named one, else the file's own choice, else `default`."""
    config = config_in(path)
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


def config_in(path: Path) -> Mapping[str, Any]:
    """The object in a config file, with all its profiles."""
    return _yaml(_text(path, "Thalovant config file", "not valid YAML"), path)


def is_variable(name: str) -> bool:
    """Whether a variable is part of the identity in `THALOVANT_*`."""
    return name.startswith("THALOVANT_") and name.removeprefix("THALOVANT_") in _VARIABLES


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
    if not isinstance(nested, Mapping):
        return values
    return {name: values[name] for name in ("noise_state_dir",) if name in values} | dict(nested)


def _yaml(text: str, path: Path) -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(count > _MAX_NODES for count, _ in enumerate(yaml.parse(text, Loader=loader))):
            raise _TooMuch
        parsed = loader(text)
        # Words and numbers stay as they are written, where JSON would: `no` is a name, 0123 a password.
        parsed.yaml_implicit_resolvers = _resolvers()
        node = parsed.get_single_node()
        if node is not None:
            _weigh(node, {})
        values = {} if node is None else parsed.construct_document(node)
        return _object(values, "Thalovant config file must contain a YAML object.", path)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        hint = "" if mark is None else f"Line {mark.line + 1}, column {mark.column + 1}. "
        hint += "Indent with spaces, not tabs, and quote values that have other signs than letters and digits in them."
    except _Twice as twice:
        hint = f"{twice} is there twice: keep one of the two."
    except (_TooMuch, RecursionError):
        hint = f"It holds more than {_MAX_NODES} values, or they are nested too deeply: remove what is no identity."
    except ValueError:
        hint = "One of its numbers is too long: put it in quotes."
    raise ThalovantIdentityError(f"Thalovant config file is not valid YAML: {path}", hint=hint)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    kinds = {
        "null": ("~nN", r"~|null|Null|NULL|"),
        "bool": ("tTfF", r"true|True|TRUE|false|False|FALSE"),
        "int": ("-0123456789", r"-?(?:0|[1-9][0-9]*)"),
        "float": ("-0123456789", r"-?(?:0|[1-9][0-9]*)\.[0-9]+"),
        "merge": ("<", r"<<"),
    }
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, (starts, pattern) in kinds.items():
        for start in (*starts, *([""] if kind == "null" else [])):
            found.setdefault(start, []).append((f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})\\Z")))
    return found


def _weigh(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values in a node, with what its aliases stand for; no name may be there twice."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MAX_NODES  # a node within itself
    inner = node.value if isinstance(node.value, list) else ()
    names = [part[0] for part in inner if isinstance(part, tuple)]
    seen = set()
    for name in names:
        if isinstance(name.value, str) and name.value in seen:
            raise _Twice(name.value, line=name.start_mark.line + 1)
        seen.add(name.value if isinstance(name.value, str) else id(name))
    parts = (one for part in inner for one in (part if isinstance(part, tuple) else (part,)))
    known[id(node)] = weight = 1 + sum(_weigh(one, known) for one in parts)
    if weight >= _MAX_NODES:
        raise _TooMuch
    return weight


class _TooMuch(Exception):
    """A file that would take too long."""


class _Twice(Exception):
    """A name that is there twice in one object."""

    def __init__(self, name: str, *, line: int = 0) -> None:
        shown = f"`{name}`" if _NAME.fullmatch(name) else "a name"
        super().__init__(f"Line {line}: {shown}" if line else shown[0].upper() + shown[1:])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _text(path: Path, what: str, invalid: str) -> str:
    title = what[0].upper() + what[1:]
    problem = ThalovantIdentityError(f"{title} is {invalid}: {path}", hint="It is not text in UTF-8: save it as that.")
    try:
        text = read_secret(path, follow=True).decode("utf-8-sig")
        if "\0" not in text:  # a sign of UTF-16
            return text
    except TooPermissive:
        problem = ThalovantIdentityError(
            f"{title} is too permissive: {path}. Run `chmod 600 {path}`.",
            name="too_permissive",
            hint="Others on this machine may have read it: consider a fresh identity.",
        )
    except UnicodeDecodeError:
        pass
    except (OSError, ValueError) as error:
        problem = ThalovantIdentityError(f"Unable to read {what}: {path}", hint=_why(error, path))
    raise problem


_AGAIN: Final = "Download it again, or let `thalovant hub --write DIR` write one."
_MEND: Final = "Mend it there, or download the file again."


def _why(error: OSError | ValueError, path: Path) -> str:
    match error:
        case FileNotFoundError() if path.parent.is_dir() and path.name in (IDENTITY_FILENAME, DEFAULT_CONFIG_FILENAME):
            return f"The folder {path.parent} has no {path.name}: name the file. {_AGAIN}"
        case FileNotFoundError() if not path.is_absolute():
            return f"There is no such file (looked from {Path.cwd()}): check the path."
        case FileNotFoundError():
            return "It is not there: check the path."
        case PermissionError():
            return "This user may not read it: make it this user's own, with mode 600."
        case NotAFile():
            return f"{str(error).capitalize()}: name the file that the hub's operator gave you."
        case OSError() if error.strerror:
            return f"{error.strerror}: check the path."
    return "Such a path cannot be: check it."


def _object(values: Any, otherwise: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ThalovantIdentityError(otherwise, hint=f"Look at {path}: it must hold names and values.")
    return values
