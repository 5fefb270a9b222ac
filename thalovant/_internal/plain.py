"""Dataclasses that are told as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Plain:
    """A dataclass that is ready for JSON by `as_dict`; `_told` are properties that belong to it."""

    _told: ClassVar[tuple[str, ...]] = ()

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**_plain(vars(self)), **{name: _plain(getattr(self, name)) for name in self._told}}


def _plain(value: Any) -> Any:
    if isinstance(value, Plain):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
