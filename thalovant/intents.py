"""What a hub understands: its intents, the sentences that reach them, and the skills that take what nothing else takes.

`ThalovantClient.intents` asks a hub; these are its answers, and the rules by which languages are matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

from . import listing
from ._internal.languages import NEAR, distance, fold, language_of, nearest, usual_form as _usual_form
from ._internal.plain import Plain

usual_form: Final = _usual_form

#: The hub's own list of intents: sentences, by language.
SOURCE_MANIFEST: Final = "intent-manifest"
#: The lists of its engines: names only.
SOURCE_ENGINES: Final = "engine-manifests"

#: Rows and phrases of one answer that count; what a hub has beyond is not looked at.
MAX_ROWS: Final = 10_000
#: A skill, an intent and a language.
Key: TypeAlias = tuple[str, str, str]
_ENGINES: Final = {"template": "padatious", "keyword": "adapt"}
_PARTS: Final = re.compile(r"\{[^{}]*\}|[()\[\]|]|[^{}()\[\]|]+|[{}]")


@dataclass(frozen=True)
class IntentDefinition(Plain):
    """One registration of an intent: `method` is "template" (sentences) or "keyword", `definition` what was registered.

    Both are the hub's own words: treat `definition` as read-only, and nothing in it as given.
    """

    skill_id: str
    intent_name: str
    lang: str
    method: str = "template"
    definition: Mapping[str, Any] | None = None

    _told = ("id", "engine", "phrases")

    @property
    def id(self) -> str:
        """Skill and name, as in `weather:today`."""
        return f"{self.skill_id}:{self.intent_name}"

    @property
    def engine(self) -> str:
        """The engine that takes it: "padatious" for sentences, "adapt" for keywords."""
        return _ENGINES.get(self.method, self.method)

    @property
    def phrases(self) -> tuple[str, ...]:
        """The sentences that it was registered with, as patterns: see `speakable`."""
        samples = (self.definition or {}).get("samples") if self.method == "template" else None
        texts = samples[:MAX_ROWS] if isinstance(samples, list) else ()
        return tuple(dict.fromkeys(one.strip() for one in texts if isinstance(one, str) and one.strip()))

    @property
    def key(self) -> Key:
        """Skill, name and language, by which a hub knows it."""
        return self.skill_id, self.intent_name, self.lang

    @classmethod
    def from_rows(cls, rows: object, **given: str) -> list[Self]:
        """The registrations in a hub's answer, whose rows may leave out what is `given`; what is no row is left out."""
        found = []
        for row in rows_of(rows):
            definition = own if isinstance(own := row.get("definition"), dict) and own else None
            said = {
                key: one for key, one in {**(definition or {}), **row}.items() if isinstance(one, str) and one.strip()
            }
            fields: dict[str, Any] = {
                key: said.get(key, given.get(key, "")) for key in ("skill_id", "intent_name", "lang")
            }
            fields["enabled"] = row.get("enabled") is not False
            if fields["skill_id"] and fields["intent_name"]:
                wanted = {key: one for key, one in fields.items() if key in cls.__dataclass_fields__}
                found.append(cls(**wanted, method=said.get("method", "template"), definition=definition))
        return found


@dataclass(frozen=True)
class IntentRegistration(IntentDefinition):
    """A row of a hub's list of intents; its `definition` is None unless the hub told it along."""

    enabled: bool = True


@dataclass(frozen=True)
class HubIntent(Plain):
    """One intent: `phrases` are its sentences by language, in the order of the hub; empty for keyword intents."""

    skill_id: str
    name: str
    engine: str
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    enabled: bool = True

    _told = ("id",)

    @property
    def id(self) -> str:
        """Skill and name, as in `weather:today`."""
        return f"{self.skill_id}:{self.name}"

    @property
    def languages(self) -> tuple[str, ...]:
        """The tags that it is registered under."""
        return tuple(self.phrases)

    def phrases_for(self, lang: str | None) -> tuple[str, ...]:
        """Its sentences in a language, or in the nearest form of it that is there; without one in its first."""
        found = next(iter(self.phrases), None) if lang is None else nearest(lang, self.phrases)
        return () if found is None else tuple(self.phrases[found])

    def examples(
        self,
        lang: str | None = None,
        limit: int = 2,
        *,
        speakable: bool = False,
        slots: Mapping[str, str] | None = None,
        sentence: bool = False,
    ) -> tuple[str, ...]:
        """Sentences worth showing: the best `limit`, or all in their order if it is 0.

        `speakable` reads patterns as somebody says them, with `slots` filled; `sentence` writes those as sentences.

            >>> HubIntent("weather", "today", "padatious", {"en-us": ("what is the weather (today|now)",)}).examples(
            ...     speakable=True)
            ('what is the weather today',)
        """
        lang = next(iter(self.phrases), None) if lang is None else lang
        found = listing.shown(self.phrases_for(lang), lang, limit)
        if speakable or sentence:
            found = tuple(dict.fromkeys(filter(None, (_spoken(one, slots, lang) for one in found))))
        return tuple(listing.as_sentence(one, lang) for one in found) if sentence else found


@dataclass(frozen=True)
class HubSkillIntents(Plain):
    """The intents of one skill, by name."""

    skill_id: str
    intents: tuple[HubIntent, ...] = ()

    _told = ("languages",)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of its intents, each once."""
        return tuple(dict.fromkeys(language for one in self.intents for language in one.languages))


@dataclass(frozen=True)
class HubFallback(Plain):
    """A skill that takes what no intent takes. Hubs tell no priorities: `priority` is None."""

    skill_id: str
    priority: int | None = None


@dataclass(frozen=True)
class HubIntentInventory(Plain):
    """What a hub understands, by skill.

    `languages` are those asked for. `listed_in` has for each of them the tag under which the hub lists it, which is
    another where the hub has it not, and under which its sentences are. `source` is `SOURCE_MANIFEST`, or
    `SOURCE_ENGINES` where the hub did not tell its sentences; `denied` then names what it did not answer. `fallbacks`
    counts if `fallbacks_known`.
    """

    languages: tuple[str, ...]
    skills: tuple[HubSkillIntents, ...] = ()
    source: str = SOURCE_MANIFEST
    listed_in: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    fallbacks: tuple[HubFallback, ...] = ()
    fallbacks_known: bool = False

    @property
    def intents(self) -> tuple[HubIntent, ...]:
        """The intents of all skills."""
        return tuple(intent for skill in self.skills for intent in skill.intents)

    @property
    def has_phrases(self) -> bool:
        """Whether there is a sentence at all."""
        return any(any(one.phrases.values()) for one in self.intents)

    def may_answer(self, lang: str) -> bool:
        """Whether saying something in that language can lead to an answer.

        False only if the hub has said that it has neither intents in it nor skills that take everything.
        """
        asked = nearest(lang, self.languages)
        used = dict(zip(self.languages, self.listed_in, strict=False)).get(asked or "", asked)
        if asked is None or self.source != SOURCE_MANIFEST or not self.fallbacks_known or self.fallbacks:
            return True
        return any(one.enabled and used in one.phrases for one in self.intents)


def speakable(pattern: str, slots: Mapping[str, str] | None = None, lang: str | None = None) -> str:
    """A pattern as somebody says it: the first of alternatives, nothing optional, slots filled or read as their name.

    Alternatives of which one is empty, as in `(please|)`, are optional.

    >>> speakable("[please] (turn|switch) on the {device_name}", {"device_name": "lamp"})
    'turn on the lamp'
    """
    values = {**listing.slot_examples(lang), **(slots or {})}
    out: list[str] = []
    opened: list[tuple[str, int]] = []  # each bracket that is open, and where what is in it begins
    left_out: int | None = None  # how many were open at the `|` whose other side is left out
    before = ""  # what came before, blanks aside
    for part in _PARTS.findall(pattern):  # one pass, whatever a hub has sent
        if part in ("|", ")") and before in ("(", "|") and opened:
            opened[-1] = ("[", opened[-1][1])  # nothing is one of the alternatives
        before = part if part.strip() else before
        if part in ("(", "["):
            opened.append((part, len(out)))
        elif part in (")", "]") and opened:
            bracket, start = opened.pop()
            left_out = None if left_out is not None and len(opened) < left_out else left_out
            del out[start if bracket == "[" else len(out) :]
        elif part == "|":
            left_out = len(opened) if left_out is None else left_out
        elif left_out is None:
            name = part[1:-1].rpartition(":")[2].strip() if part[0] == "{" else ""
            out.append(str(values.get(name, name.replace("_", " "))) if name else part)
    return " ".join("".join(out).split())


_spoken = speakable  # where the name is that of an option


def same_language(one: str, other: str) -> bool:
    """Whether two tags are the same but for case and separator.

    >>> same_language("en_US", "en-us")
    True
    """
    return fold(one) == fold(other)


def nearest_hub_language(
    asked: str, groups: Mapping[str, Sequence[IntentRegistration]], hub_lang: str | None = None
) -> str | None:
    """The language of a hub whose sentences to show for one that it has not. `groups` are its rows by language.

    The same language in another region; else the hub's own; else the one with the most sentences. None without any.
    """
    kept = {lang: count for lang, rows in groups.items() if (count := sum(map(has_sentences, rows)))}
    same = [lang for lang in kept if language_of(lang) == language_of(asked) or distance(asked, lang) <= NEAR]
    if same:
        return min(same, key=lambda lang: distance(asked, lang))
    return nearest(hub_lang or "", kept) or max(kept, key=kept.__getitem__, default=None)


def rows_of(found: object) -> list[Mapping[str, Any]]:
    """The rows of a list in a hub's answer; a bare name counts as one."""
    rows = found[:MAX_ROWS] if isinstance(found, list) else ()
    return [one for row in rows if isinstance(one := {"name": row} if isinstance(row, str) else row, dict)]


def has_sentences(row: IntentRegistration) -> bool:
    """Whether a row is of an intent that sentences reach now."""
    return row.enabled and row.method == "template"


def by_skill(listed: Mapping[str, Iterable[IntentRegistration]]) -> tuple[HubSkillIntents, ...]:
    """The intents of these rows, which are by the tag that they are listed under, sorted."""
    rows: dict[tuple[str, str], list[tuple[str, IntentRegistration]]] = {}
    for lang, row in ((lang, row) for lang, found in listed.items() for row in found):
        rows.setdefault((row.skill_id, row.intent_name), []).append((lang, row))
    skills: dict[str, list[HubIntent]] = {}
    for key in sorted(rows):
        texts: dict[str, dict[str, None]] = {}
        for lang, row in rows[key]:
            texts.setdefault(lang, {}).update(dict.fromkeys(row.phrases))
        own = [row for _, row in rows[key]]
        engine = next((row.engine for row in own if has_sentences(row)), own[0].engine)
        phrases = {lang: tuple(found) for lang, found in texts.items() if lang}
        skills.setdefault(key[0], []).append(HubIntent(*key, engine, phrases, any(row.enabled for row in own)))
    return tuple(HubSkillIntents(skill_id, tuple(found)) for skill_id, found in skills.items())
