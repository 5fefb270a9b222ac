"""Writing identities: to files of their own, to profiles of the config file, their secrets to the system's keyring."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import ThalovantIdentityError
from . import identity_files, keyrings
from .secret_files import locked, write_secret

_CHOICES: Final = ("profile", "default_profile", "defaultProfile")


def save(fields: Mapping[str, Any], path: str | os.PathLike[str], *, keyring: bool) -> Path:
    """Write the fields of an identity to a file of its own; returns where that is."""
    file = identity_files.file_at(path, identity_files.IDENTITY_FILENAME)
    old: Mapping[str, Any] = {}
    with suppress(ThalovantIdentityError):
        old = identity_files.from_json_file(file)

    def write(values: dict[str, Any]) -> None:
        _write(file, f"{json.dumps(values, indent=2, ensure_ascii=False)}\n", "identity file")

    _keep(fields, old, write, keyring=keyring)
    return file


def save_to_config(
    fields: Mapping[str, Any],
    profile: str | None,
    path: str | os.PathLike[str] | None,
    known: frozenset[str],
    *,
    keyring: bool,
) -> Path:
    """Put the fields of an identity into a profile of the config file; returns where that is.

    `known`: all names that its fields may have.
    """
    import yaml

    name = identity_files.DEFAULT_CONFIG_FILENAME
    file = identity_files.default_config_path() if path is None else identity_files.file_at(path, name)
    try:
        with locked(file.with_name(f".{file.name}.lock")):
            config = dict(identity_files.config_in(file)) if os.path.lexists(file) else {"version": 1}
            holder, key = _place(config, profile)
            old = holder.get(key)
            old = dict(old) if isinstance(old, Mapping) else {}
            nested = old.get("identity")
            before = nested if isinstance(nested, Mapping) else old

            def write(values: dict[str, Any]) -> None:
                after = {field: value for field, value in before.items() if field not in known} | values
                holder[key] = old | {"identity": after} if before is nested or not old else after
                text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1 << 16)
                _write(file, text, "Thalovant config file")

            _keep(fields, before, write, keyring=keyring)
    except OSError as error:
        raise _unwritable("Thalovant config file", file, error) from None
    return file


def _place(config: dict[str, Any], profile: str | None) -> tuple[dict[Any, Any], Any]:
    """The mapping of profiles in `config`, made if there is none, and the key of the one that is meant."""
    chosen = next((str(found) for key in _CHOICES if (found := config.get(key))), None)
    profiles = config.get("profiles")
    if not isinstance(profiles, Mapping):
        # A file of one identity: what it has becomes the profile that is used where none is named.
        bare = {key: config.pop(key) for key in tuple(config) if key not in ("version", "profiles", *_CHOICES)}
        profiles = {chosen or "default": bare} if bare else {}
        if not bare and chosen is None:
            config["profile"] = chosen = profile or "default"
    holder = config["profiles"] = dict(profiles)
    name = profile or chosen or "default"
    return holder, next((key for key in holder if str(key) == name), name)


def _keep(
    fields: Mapping[str, Any], old: Mapping[str, Any], write: Callable[[dict[str, Any]], None], *, keyring: bool
) -> None:
    """Have `write` write the identity's fields, its secrets kept in the keyring instead if asked for.

    The keyring's entry of what is replaced is used again, or removed.
    """
    values = dict(fields)
    values |= {
        key: str(identity_files.expanded(values[key]).absolute()) for key in identity_files.PATHS if key in values
    }
    entry = keyrings.entry_of(old)
    if keyring:
        write(keyrings.put(values, entry))
    else:
        write(values)
        if entry is not None:
            keyrings.remove(entry)


def _write(file: Path, text: str, what: str) -> None:
    try:
        write_secret(file, text.encode())
    except (OSError, UnicodeEncodeError) as error:
        raise _unwritable(what, file, error) from None


def _unwritable(what: str, file: Path, error: Exception) -> ThalovantIdentityError:
    why = getattr(error, "strerror", None) or str(error)
    return ThalovantIdentityError(f"Unable to write {what}: {file}: {why}.", name="unwritable")
