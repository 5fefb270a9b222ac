"""What the control plane tells of hubs, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NAMELESS: Final = "A Thalovant hub"


def hub_display_name(hub: Mapping[str, Any] | None) -> str:
    """The name to show for a hub of the control plane's lists. Never raises, whatever is in it.

    The title of its catalog; else its name, unless that is its slug; else the slug in words.

    Example:
        >>> hub_display_name({"name": "summer-house", "slug": "summer-house"})
        'Summer House'
    """
    title = _word(_within(_within(hub, "spec"), "catalog"), "title")
    name, slug = _word(hub, "name"), _word(hub, "slug")
    if title or name not in ("", slug):
        return title or name
    words = slug.replace("-", " ").replace("_", " ").split()
    return " ".join(word[0].upper() + word[1:] for word in words) or _NAMELESS


def _within(values: object, key: str) -> object:
    return values.get(key) if isinstance(values, Mapping) else None


def _word(values: object, key: str) -> str:
    found = _within(values, key)
    return found.strip() if isinstance(found, str) else ""
