"""The names of files that a peer sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def base_name(name: str) -> str:
    """The last part of a file's name, whatever system wrote it, without what cannot be shown; "" if nothing is left.

    A peer chooses it, so that it may lead nowhere else and do nothing to a terminal (security.md §12).
    """
    shown = "".join(filter(str.isprintable, name))
    bare = shown.replace("\\", "/").rstrip("/").rpartition("/")[2]
    bare = (bare[2:] if bare[1:2] == ":" else bare).strip()  # without the letter of a drive
    return "" if bare in (".", "..") else bare


def received(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of bytes from a peer, with such a name in it."""
    name = metadata.get("file_name")
    return {**metadata, "file_name": base_name(name)} if isinstance(name, str) else dict(metadata)
