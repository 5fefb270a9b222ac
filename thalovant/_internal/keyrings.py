"""Secrets of identities in the system's keyring, by the `keyring` package; files then hold the name of the entry."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from ..errors import ThalovantIdentityError

#: The service under which the keyring lists our entries.
SERVICE: Final = "thalovant"
_FIELD: Final = "secrets"  # of an identity: {"keyring": name of the entry}
_SECRETS: Final = ("access_key", "password", "crypto_key", "mqtt", "headers")

T = TypeVar("T")


def entry_of(values: Mapping[str, Any]) -> str | None:
    """The name of the entry that an identity's fields point to, None if they hold the secrets themselves."""
    pointer = values.get(_FIELD)
    name = pointer.get("keyring") if isinstance(pointer, Mapping) else None
    return name if isinstance(name, str) and name else None


def put(values: Mapping[str, Any], entry: str | None) -> dict[str, Any]:
    """Move an identity's secrets into the keyring, under `entry` or a new name; returns what is left for the file."""
    name = entry or f"identity-{os.urandom(8).hex()}"
    secrets = json.dumps({key: values[key] for key in _SECRETS if key in values})
    _call(lambda keyring: keyring.set_password(SERVICE, name, secrets))
    return {**{key: value for key, value in values.items() if key not in _SECRETS}, _FIELD: {"keyring": name}}


def remove(entry: str) -> None:
    """Forget an entry that nothing points to any more, if the keyring can be used."""
    with suppress(ThalovantIdentityError):
        _call(lambda keyring: keyring.delete_password(SERVICE, entry))


def resolved(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The identity's fields with the secrets that the keyring holds. Raises `ThalovantIdentityError`."""
    if (entry := entry_of(values)) is None:
        return values
    found = _call(lambda keyring: keyring.get_password(SERVICE, entry))
    with suppress(ValueError):
        secrets = json.loads(found) if found else None
        if isinstance(secrets, dict):
            return {**{key: value for key, value in values.items() if key != _FIELD}, **secrets}
    raise ThalovantIdentityError(
        f"The system's keyring has no entry {entry!r} of {SERVICE!r}.",
        name="keyring_entry",
        hint="Save the identity again on this machine, as this user.",
    )


def _call(work: Callable[[Any], T]) -> T:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise ThalovantIdentityError(
            "The secrets of this identity belong in the system's keyring, and the package for it is not installed.",
            name="no_keyring",
            hint="Install it: pip install 'thalovant[keyring]'.",
        ) from None
    try:
        return work(keyring)
    except (KeyringError, OSError, RuntimeError) as error:  # backends raise what their systems do
        raise ThalovantIdentityError(
            f"The system's keyring cannot be used: {type(error).__name__}.",
            name="keyring_unusable",
            hint="Unlock it, or log in to the desktop that it belongs to; without one, save without keyring=True.",
        ) from None
