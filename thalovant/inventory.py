"""Inventories: what a hub can be asked, to show and to keep, and the names under which lists show it.

A screen that lists skills and sentences needs them at once, while a hub takes a moment to tell them: `InventoryCache`
keeps the last inventory of each hub for an hour.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from . import listing
from ._internal import secret_files
from ._internal.languages import fold, nearest
from ._internal.plain import Plain
from .errors import ThalovantIdentityError
from .identity import ThalovantIdentity

#: Sources that told what there is now, unlike a catalog.
LIVE_SOURCES: Final = ("hub", "ovos-runtime")
CACHE_VERSION: Final = 1
CACHE_TTL_SECONDS: Final = 3600.0

_MAX_FILE: Final = 64 << 20
_KEY: Final = re.compile(r"\w[\w.-]{0,199}")
_PREFIXES: Final = re.compile(r"^(?:thalovant-skill-|ovos-skill-|skill-)")
_SEPARATORS: Final = "._- "


@dataclass(frozen=True)
class Intent(Plain):
    """An intent; `phrases` are its sentences by language, the language that was registered first at first."""

    id: str
    name: str
    skill_id: str
    engine: str
    phrases: Mapping[str, tuple[str, ...]]

    _told = ("languages",)  # JSON objects lose their order

    @property
    def languages(self) -> tuple[str, ...]:
        """Its languages, in the order of registration."""
        return tuple(self.phrases)

    def examples(self, language: str | None = None, limit: int = 2) -> tuple[str, ...]:
        """Sentences to show, in the nearest language that is registered, or in the first: the best `limit`.

        All of them in their order if `limit` is 0.
        """
        found = next(iter(self.phrases), None) if language is None else nearest(language, self.phrases)
        return () if found is None else listing.shown(self.phrases[found], found, limit)


@dataclass(frozen=True)
class Skill(Plain):
    """A skill; `locales` are the languages that it declares, () if it declares none."""

    id: str
    title: str
    locales: tuple[str, ...] = ()
    intents: tuple[Intent, ...] = ()

    def speaks(self, language: str) -> bool | None:
        """Whether it speaks a language, in whatever form of it; None if it declares no languages."""
        return nearest(language, self.locales) is not None if self.locales else None


@dataclass(frozen=True)
class Inventory(Plain):
    """What a hub can be asked. `generated_at` is a time as text (ISO 8601), `notes` are for the reader."""

    hub_id: str
    hub_name: str
    source: str
    generated_at: str
    skills: tuple[Skill, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether it tells what there is, and not what there could be."""
        return self.source in LIVE_SOURCES

    @property
    def intents(self) -> tuple[Intent, ...]:
        """The intents of all skills."""
        return tuple(intent for skill in self.skills for intent in skill.intents)

    @property
    def has_phrases(self) -> bool:
        """Whether there is a sentence at all."""
        return any(any(one.phrases.values()) for one in self.intents)

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON, with the version of this format."""
        return {"cache_version": CACHE_VERSION, **super().as_dict()}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inventory of `as_dict`. Raises `ValueError` for another version or shape."""
        version = values.get("cache_version") if isinstance(values, dict) else None
        if version != CACHE_VERSION or isinstance(version, bool):
            raise ValueError(f"an inventory of version {version!r} cannot be read, only of {CACHE_VERSION}")
        found: Self = _made(cls, values)
        return found


#: What is in these fields.
_PARTS: Final[Mapping[str, type[Any]]] = {"skills": Skill, "intents": Intent}


class InventoryCache:
    """Inventories on disk, each under a key, for `ttl` seconds; in the user's cache folder unless told otherwise.

    cache = InventoryCache()
    key = cache.key("hub", client.identity)
    inventory = cache.load(key)  # None: ask the hub, then `cache.store(key, inventory)`
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        ttl: float = CACHE_TTL_SECONDS,
        app: str = "thalovant",
    ) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        self.directory: Path = Path(directory) if directory is not None else Path(base).expanduser() / app
        self.ttl: float = ttl

    def key(self, mode: str, identity: ThalovantIdentity | str | os.PathLike[str] | None = None) -> str:
        """The key of what is learnt in a `mode` ("hub", for example) by an identity or its file, or without one."""
        who, found = "", identity
        if isinstance(identity, str | os.PathLike):
            who, found = os.fspath(identity), None
            with contextlib.suppress(ThalovantIdentityError):  # then it is a file of no hub that can be told
                found = ThalovantIdentity.from_file(identity)
        elif identity is not None:
            who = identity.access_key
        master = found.default_master if isinstance(found, ThalovantIdentity) else ""
        host = urlsplit(master).hostname or "local"
        digest = hashlib.sha256(f"{mode}|{who}|{host}".encode()).hexdigest()[:8]
        return f"{mode}-{re.sub(r'[^a-z0-9.]+', '_', host)[:100]}-{digest}"

    def path(self, key: str) -> Path:
        """The file of a key. Raises `ValueError` for what is no key, or leaves the folder."""
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(f"a key of the cache is letters, digits, dots and dashes, not {key!r}")
        return self.directory / f"intents-{key}.json"

    def store(self, key: str, inventory: Inventory) -> Path:
        """Keep an inventory, whole or not at all. Raises `OSError` if it cannot be written, or is no plain file."""
        path = self.path(key)
        secret_files.write_secret(path, json.dumps(inventory.as_dict()).encode())
        return path

    def load(self, key: str) -> Inventory | None:
        """The inventory of a key; None for one that is old, broken, of another version or another's to write."""
        path = self.path(key)
        try:
            old = abs(time.time() - path.lstat().st_mtime) >= self.ttl
            data = b"" if old else secret_files.read_secret(path, forbidden=0o002, limit=_MAX_FILE)
            return None if old else Inventory.from_dict(json.loads(data))
        except (OSError, ValueError, RecursionError):
            return None


def languages_present(skills: Inventory | Iterable[Skill]) -> tuple[str, ...]:
    """The languages of the skills' sentences and those that they declare, each once, in order."""
    skills = skills.skills if isinstance(skills, Inventory) else skills
    found: dict[str, str] = {}
    for skill in skills:
        for language in (*skill.locales, *(language for intent in skill.intents for language in intent.phrases)):
            found.setdefault(fold(language), language)
    return tuple(sorted(found.values()))


def friendly_title(skill_id: str) -> str:
    """A skill's id as a title.

    >>> friendly_title("thalovant-skill-weather.thalovant")
    'Weather'
    """
    words = re.split(r"[-_\s]+", _PREFIXES.sub("", skill_id.partition(".")[0]))
    return " ".join(word[:1].upper() + word[1:] for word in words if word) or skill_id


def humanize(name: str) -> str:
    """A name without dots and underscores: `weather.to_day` is `weather to day`."""
    return " ".join(re.sub(r"[._]", " ", name).split())


def common_affix(names: Iterable[str]) -> tuple[Literal["prefix", "suffix"] | None, str]:
    """The word that all names begin or end with, and which of both: a list need not repeat it.

    >>> common_affix(["weather.now", "weather.tomorrow"])
    ('prefix', 'weather')
    """
    parts = [re.split(rf"[{re.escape(_SEPARATORS)}]+", name) for name in dict.fromkeys(names)]
    if len(parts) > 1 and all(len(one) > 1 for one in parts):
        if parts[0][0] and len({one[0] for one in parts}) == 1:
            return "prefix", parts[0][0]
        if parts[0][-1] and len({one[-1] for one in parts}) == 1:
            return "suffix", parts[0][-1]
    return None, ""


def strip_affix(name: str, kind: str | None, token: str) -> str:
    """A name for people, without the word that `common_affix` found unless there is nothing else; as it is for None."""
    if kind is None:
        return name
    left = name
    if kind == "prefix" and name.startswith(token):
        left = name.removeprefix(token).lstrip(_SEPARATORS)
    if kind == "suffix" and name.endswith(token):
        left = name.removesuffix(token).rstrip(_SEPARATORS)
    return humanize(left or name)


class _Number(int):
    """A number within a name, before any letters."""

    def __lt__(self, other: object) -> bool:
        return isinstance(other, str) or int(self) < int(other)  # type: ignore[call-overload]

    def __gt__(self, other: object) -> bool:
        return not isinstance(other, str) and int(self) > int(other)  # type: ignore[call-overload]


def sort_key(text: str) -> list[int | str]:
    """A key that sorts as people do: numbers by their value, letters whatever their case.

    >>> sorted(["Room 10", "room 2"], key=sort_key)
    ['room 2', 'Room 10']
    """
    parts = re.split(r"([0-9]{1,4000})", text.casefold())
    return [_Number(one) if at % 2 else one for at, one in enumerate(parts) if one]


def _made(kind: Any, values: Any) -> Any:
    """A dataclass of this module from what its `as_dict` told. Raises `ValueError` for another shape."""
    made: dict[str, Any] = {}
    for one in fields(kind):
        found = _checked(values, dict, kind.__name__).get(one.name, () if one.default == () else None)
        if one.type == "str":
            made[one.name] = _checked(found, str, one.name)
        elif one.name == "phrases":
            texts = _checked(found, dict, one.name)
            order = dict.fromkeys((*_texts(values.get("languages", ()), "languages"), *texts))
            made[one.name] = {key: _texts(texts[key], one.name) for key in order if key in texts}
        elif one.name in _PARTS:
            made[one.name] = tuple(_made(_PARTS[one.name], part) for part in _checked(found, list, one.name))
        else:
            made[one.name] = _texts(found, one.name)
    return kind(**made)


def _checked(value: Any, kind: type[Any] | tuple[type[Any], ...], what: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{what} of an inventory cannot be {type(value).__name__}")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_checked(one, str, what) for one in _checked(value, (list, tuple), what))
