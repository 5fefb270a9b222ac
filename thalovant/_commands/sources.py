"""The client's identity that the options name: ready for use, or as it is written, with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._internal import identity_files
from ..errors import ThalovantIdentityError
from ..identity import ThalovantIdentity


def read_identity(options: dict[str, Any]) -> ThalovantIdentity:
    """The identity that the options name, moved to the hub of --host and --port."""
    if options["identity_file"] is not None:
        identity = ThalovantIdentity.from_file(options["identity_file"])
    elif options["config"] is not None or options["profile"] is not None:
        identity = ThalovantIdentity.from_config(options["config"], profile=options["profile"])
    elif any(name.startswith("THALOVANT_") and name != "THALOVANT_LOG" for name in os.environ):
        identity = ThalovantIdentity.from_env()
    else:
        raise ThalovantIdentityError(
            "There is no client identity.",
            name="missing_identity",
            hint="Give one: --identity FILE, --profile NAME, or THALOVANT_* variables.",
        )
    if options["host"] is None and options["port"] is None:
        return identity
    from .elsewhere import moved

    return moved(identity, options)


class Source(NamedTuple):
    """The place of an identity in words, and its names and values as they stand there."""

    place: str
    values: Mapping[str, Any]
    file: str | None = None


def read_source(options: dict[str, Any]) -> Source:
    """The identity that the options name. Raises `ThalovantIdentityError` for a file that cannot be read."""
    if options["identity_file"] is not None:
        path = identity_files.file_at(options["identity_file"], identity_files.IDENTITY_FILENAME)
        return Source(str(path), identity_files.from_json_file(path), str(path))
    if options["config"] is not None or options["profile"] is not None:
        path = identity_files.default_config_path()
        if options["config"] is not None:
            path = identity_files.file_at(options["config"], identity_files.DEFAULT_CONFIG_FILENAME)
        profile = f", profile {options['profile']}" if options["profile"] else ""
        return Source(f"{path}{profile}", identity_files.from_yaml_file(path, options["profile"]), str(path))
    return Source("THALOVANT_* variables", identity_files.from_environment("THALOVANT_"))
