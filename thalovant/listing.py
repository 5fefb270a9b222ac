"""Sentences for lists of what a hub understands: which are whole, which ask, and how they are written.

The words that this takes come from the package `thalovant-languages` (`pip install "thalovant[listing]"`). Without it,
and for languages that it does not describe, there are no rules: nothing is guessed from another language's.

    >>> as_sentence("what time is it", "en-us")
    'What time is it?'
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

#: Every character of Unicode 15.1 that is called a question mark, whatever the interpreter knows.
QUESTION_MARKS: Final = frozenset(
    "?\u00bf\u037e\u055e\u061f\u1367\u1945\u2047\u2049\u2753\u2754\u2a7b\u2a7c\u2cfa\u2cfb\u2e2e\u2e54\ua60f\ua6f7"
    "\ufe16\ufe56\uff1f\U00011143\U0001e95f\U0001fbc4\U000e003f"
)
_RULES: Final = ("question_openers", "question_words_anywhere", "question_patterns")
_ENDS: Final = frozenset(".!\u2026") | QUESTION_MARKS
_WORD: Final = re.compile(r"\w+'?")


def available() -> bool:
    """Whether there is language data."""
    return _package() is not None


def language_data(lang: str | None) -> Mapping[str, Any]:
    """What is known about a language, found by the nearest tag; nothing for none, or one that is not described."""
    package = _package()
    found = package.language(lang) if package is not None and lang else {}
    return found if isinstance(found, Mapping) else {}


def slot_examples(lang: str | None) -> Mapping[str, str]:
    """Words that can stand for a slot when a phrase is read aloud, by the slot's name."""
    found = language_data(lang).get("slot_examples")
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, Mapping) else {}


@functools.cache
def sentence_ends() -> frozenset[str]:
    """The marks that close a sentence, in any script."""
    package = _package()
    kinds = () if package is None else ("spaced", "unspaced")
    return _ENDS.union(*(package.marks("sentence_ends", kind) for kind in kinds if package is not None))


def asks(text: str, lang: str | None = None) -> bool:
    """Whether a phrase is a question: by its question mark, or by the rules of its language; of any without one.

    A phrase that wants more words (`dangling`) is none.
    """
    text = text.strip()
    if not text:
        return False
    if text[-1] in QUESTION_MARKS:
        return True
    said = _heard(text)
    first, spoken = said.partition(" ")[0], set(_spoken(said))
    opens = _words(lang, "question_openers")
    if lang and dangling(text, lang):  # without a language any of their words could be meant to end it
        return False
    if not opens.isdisjoint(_spoken(first)) or any(first.startswith(one) for one in opens if _unspaced(one)):
        return True
    return not spoken.isdisjoint(_words(lang, "question_words_anywhere")) or any(
        pattern.search(said) for pattern in _patterns(lang)
    )


def dangling(text: str, lang: str | None = None) -> bool:
    """Whether a phrase ends in a word that others have to follow, as in "weather in"."""
    last = _heard(text).rpartition(" ")[2]
    trailing = _words(lang, "trailing_words")
    return last in trailing or any(last.endswith(one) for one in trailing if _unspaced(one))


def rank(phrases: Iterable[str], lang: str | None = None) -> tuple[str, ...]:
    """The phrases, best to show first: whole before dangling, no slot before a slot, more words, then less letters."""
    return tuple(sorted(phrases, key=lambda one: (dangling(one, lang), "{" in one, -len(one.split()), len(one))))


def shown(phrases: Sequence[str], lang: str | None, limit: int) -> tuple[str, ...]:
    """All phrases in their order if `limit` is 0, else so many of the best."""
    return tuple(phrases) if limit <= 0 else rank(phrases, lang)[:limit]


def as_sentence(text: str, lang: str | None = None) -> str:
    """The phrase as a sentence is written: a capital, and `?` or `.` where the language has rules to tell which.

    A phrase that wants more words (`dangling`), or is of no language, is not closed.
    """
    text = text.strip()
    data = language_data(lang)
    forms = data.get("written_forms")
    for word, form in forms.items() if isinstance(forms, Mapping) else ():
        text = re.sub(rf"(?<![\w'\u2019]){re.escape(str(word))}(?!\w)", str(form).replace("\\", r"\\"), text)
    if not text or text[-1] in sentence_ends() or not lang or dangling(text, lang):
        return text[:1].title() + text[1:]
    end = "?" if asks(text, lang) else "." if any(data.get(rule) for rule in _RULES) else ""
    return text[:1].title() + text[1:] + end


@functools.cache
def _package() -> Any:
    try:
        return importlib.import_module("thalovant_languages")
    except ImportError:
        return None


def _heard(text: str) -> str:
    return " ".join(text.casefold().replace("\u2019", "'").split())


def _spoken(text: str) -> set[str]:
    """Its words, those before an apostrophe with and without it."""
    found = set(_WORD.findall(text))
    return found | {one.rstrip("'") for one in found}


@functools.lru_cache(4096)
def _unspaced(word: str) -> bool:
    """Whether a word is of a script without spaces between words, so that it is found inside others."""
    package = _package()
    return package is not None and package.script_pattern("unspaced").search(word) is not None


@functools.lru_cache(512)
def _words(lang: str | None, key: str) -> frozenset[str]:
    package = _package()
    if package is None:
        return frozenset()
    return frozenset(str(word).casefold() for word in package.words(lang or None, key))


@functools.lru_cache(512)
def _patterns(lang: str | None) -> tuple[re.Pattern[str], ...]:
    package = _package()
    tags = () if package is None else (lang,) if lang else package.described()
    texts = dict.fromkeys(str(one) for tag in tags for one in language_data(tag).get("question_patterns") or ())
    return tuple(re.compile(text, re.IGNORECASE) for text in texts)
