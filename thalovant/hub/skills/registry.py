"""Skills: functions that answer utterances, and the phrases that reach them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from attrs import define, field

from .turn_state import TurnInfo

SkillFunction: TypeAlias = Callable[[Any], Any]
"""Takes the turn. Gives None, a text, a mapping (see `speech`), an iterable of these, or an asynchronous one."""

#: Longer texts reach a skill by `when` or as fallback only: a phrase is something that people say.
MAX_PHRASE_TEXT: Final = 500
_SLOT: Final = re.compile(r"\{(\w+)\}")
_WORD: Final = re.compile(r"\w+")
_EDGES: Final = re.compile(r"^\W+|\W+$")


@define(eq=False)
class Skill:
    """A function and what reaches it. Made by `skill` or `Hub.skill`; calling it calls the function."""

    name: str
    function: SkillFunction
    phrases: tuple[str, ...] = ()
    when: Callable[[TurnInfo], object] | None = None
    fallback: bool = False
    timeout: float | None = None
    help: str = ""
    lang: str = "en-us"
    is_async: bool = field(init=False)
    _exact: frozenset[str] = field(init=False)
    _patterns: tuple[re.Pattern[str], ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.is_async = any(
            check(candidate)
            for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
            for candidate in (self.function, getattr(self.function, "__call__", None))  # noqa: B004 - not whether it is
        )
        self._exact = frozenset(words(phrase) for phrase in self.phrases if not _SLOT.search(phrase))
        self._patterns = tuple(_pattern(phrase) for phrase in self.phrases if _SLOT.search(phrase))

    def __call__(self, turn: TurnInfo) -> Any:
        return self.function(turn)

    def match(self, text: str, heard: str) -> dict[str, str] | None:
        """The slots if `text` is one of the phrases, else None. `heard` is `words(text)`."""
        if heard in self._exact:
            return {}
        if self._patterns and len(text) <= MAX_PHRASE_TEXT:
            bare = _EDGES.sub("", text)
            for pattern in self._patterns:
                if found := pattern.fullmatch(bare):
                    return found.groupdict()
        return None


def skill(
    *phrases: str,
    name: str | None = None,
    when: Callable[[TurnInfo], object] | None = None,
    fallback: bool = False,
    timeout: float | None = None,
    lang: str = "en-us",
) -> Callable[[SkillFunction], Skill]:
    """Make a function a skill: `@skill("turn on the {what}")`.

    A phrase matches whatever the case and punctuation; `{what}` takes one or more words, found in `turn.slots`. `when`
    is asked with the turn where no phrase matches. A `fallback` is tried last and, with neither phrases nor `when`,
    takes everything. `timeout` (seconds) is how long it may take instead of the hub's own. `lang` is the language of
    the phrases, for clients that ask what the hub understands; they match whatever a client says it speaks.

    Raises `ValueError` for a phrase without words or with a slot that has no name of its own.
    """
    if not phrases and when is None and not fallback:
        raise ValueError("a skill needs a phrase, `when`, or `fallback=True`")
    if any(not words(phrase) for phrase in phrases):
        raise ValueError("a phrase of a skill has no words")

    def decorate(function: SkillFunction) -> Skill:
        own = name or _name(function)
        about = (inspect.getdoc(function) or "").partition("\n")[0]
        return Skill(own, function, phrases, when=when, fallback=fallback, timeout=timeout, help=about, lang=lang)

    return decorate


class SkillRegistry:
    """The skills of a hub in the order in which they are tried, and its handlers of other messages."""

    def __init__(self, skills: Iterable[Skill] = ()) -> None:
        self.skills: tuple[Skill, ...] = tuple(skills)  # in the order in which they are tried
        self._added = 0
        self._handlers: dict[str | int, list[Skill]] = {}
        self.watchers: list[Callable[[TurnInfo], object]] = []

    def add(self, one: Skill) -> Skill:
        """Try a skill after those that were added before, and before those that the registry was made with."""
        self.skills = (*self.skills[: self._added], one, *self.skills[self._added :])
        self._added += 1
        return one

    def on(self, kind: str | int, function: SkillFunction) -> SkillFunction:
        """Call a function for bus messages of a type, or for raw bytes of a kind, and give it back."""
        self._handlers.setdefault(kind, []).append(Skill(_name(function), function))
        return function

    def handlers(self, kind: str | int) -> Sequence[Skill]:
        """The handlers of a bus message of this type, or of raw bytes of this kind."""
        return self._handlers.get(kind, ())


def _name(function: SkillFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)


def words(text: str) -> str:
    """A text reduced to what phrases are compared by; empty for one that is too long to be a phrase."""
    return "" if len(text) > MAX_PHRASE_TEXT else " ".join(_WORD.findall(text.casefold()))


def _pattern(phrase: str) -> re.Pattern[str]:
    parts: list[str] = []
    for index, part in enumerate(_SLOT.split(phrase)):
        if index % 2:
            if not part.isidentifier() or f"(?P<{part}>" in "".join(parts):
                raise ValueError(f"a slot of {phrase!r} needs a name of its own: {part!r}")
            parts.append(f"(?P<{part}>.+?)")
        else:
            parts += [re.escape(word) for word in _WORD.findall(part)]
    return re.compile(r"\W+".join(parts), re.IGNORECASE | re.DOTALL)
