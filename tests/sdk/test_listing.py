"""Questions, dangling phrases and sentences, by the language data of the extra `listing`, and without it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest

from thalovant import listing
from thalovant._internal.languages import distance, nearest, usual_form
from thalovant.listing import as_sentence

#: Characters that are called question marks by Unicode 15.1, and neighbours of theirs that are none.
MARKS = "?¿\u037e\u055e\u061f\u1367\u1945\u2047\u2049❓❔\u2a7b\u2a7c\u2cfa\u2cfb\u2e2e\u2e54\ua60f\ua6f7\ufe16\ufe56？"
MARKS += "\U00011143\U0001e95f\U0001fbc4\U000e003f"
NO_MARKS = "\U00010441\U00011144\U0001e960\U0001fbc5\U000e0040"
LANGUAGES = (None, "", "en", "fr-CA", "ar", "xq", "ja")
#: Languages whose rules make a question of a phrase, None and "" being any of them.
ASKED = {
    "": (),
    "  ": (),
    "go home": (),
    "is it ready": (None, "", "en"),
    "weather in": (),
    "ai je besoin d une veste": (None, "", "fr-CA"),
    "y a t il de la neige": (None, "", "fr-CA"),
    "hello!": (),
    "?hello": (),
}


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation without the extra."""
    monkeypatch.setattr(listing, "_package", lambda: None)
    for cached in (listing._words, listing._patterns, listing._unspaced, listing.sentence_ends):
        cached.cache_clear()
    yield
    for cached in (listing._words, listing._patterns, listing._unspaced, listing.sentence_ends):
        cached.cache_clear()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_questions(lang: str | None) -> None:
    """By the rules of the language only, or by a mark at the end, whatever stands behind it."""
    assert {text: listing.asks(text, lang) for text in ASKED} == {text: lang in asked for text, asked in ASKED.items()}
    assert "".join(mark for mark in MARKS + NO_MARKS if listing.asks(f"hello{mark}  ", lang)) == MARKS


def test_question_marks_are_those_of_a_version() -> None:
    """What this interpreter calls so, as far as it knows that version, and nothing of later ones."""
    named = {chr(code) for code in range(0x110000) if "QUESTION MARK" in unicodedata.name(chr(code), "")}
    assert named & set(MARKS) == set(MARKS) == listing.QUESTION_MARKS


@pytest.mark.parametrize(
    ("text", "lang", "written"),
    [
        ("what time is it", "en-gb", "What time is it?"),
        ("what's the time ", "en", "What's the time?"),
        ("turn it on", "en", "Turn it on."),
        ("what am i doing", "en", "What am I doing?"),
        ("quelle heure est-il", "fr-ca", "Quelle heure est-il?"),
        ("电气", "zh-cn", "电气."),
        ("什麼時候出發", "zh-TW", "什麼時候出發?"),
        ("電気をつけて", "ja", "電気をつけて"),
        ("go home!", "en", "Go home!"),
        ("go home", "xq", "Go home"),
        ("go home", None, "Go home"),
        ("", "en", ""),
    ],
)
def test_sentences(text: str, lang: str | None, written: str) -> None:
    """A capital and an end where the language has rules; writing a sentence again changes nothing."""
    assert as_sentence(text, lang) == written == as_sentence(written, lang)


def test_rank_and_dangling() -> None:
    """Whole before dangling, sentences before patterns, fuller first; without a limit in their own order."""
    phrases = ["weather in", "rain", "weather for {day}", "is it raining"]
    assert listing.rank(phrases, "en-us") == ("is it raining", "rain", "weather for {day}", "weather in")
    assert listing.shown(phrases, "en-us", 0) == tuple(phrases)
    ends = {"weather in": "en", "allume l'": "fr", "allume l\u2019": "fr", "電気を": "ja"}
    assert all(listing.dangling(text, lang) for text, lang in ends.items())
    assert not any(listing.dangling(text, "en") for text in ("weather in {city}", "weather in?", "turn it on", ""))
    assert (listing.dangling("weather in"), listing.dangling("weather in", "xq")) == (True, False)


def test_language_data() -> None:
    """By the nearest tag; nothing for a language that is not described, or for what is no tag."""
    assert listing.available()
    assert listing.language_data("fr-CA") == listing.language_data("fr") != {}
    assert listing.slot_examples("en-GB")["location"] == "Toronto"
    assert {"?", ".", "。"} <= listing.sentence_ends()
    assert [listing.language_data(tag) for tag in (None, "", "xq", "../en", "\0", "a" * 9000)] == [{}] * 6


@pytest.mark.usefixtures("without_data")
def test_without_the_extra() -> None:
    """No rules at all: a mark is a question, and nothing else is known."""
    assert (listing.available(), listing.language_data("en"), listing.slot_examples("en")) == (False, {}, {})
    assert [listing.asks(text, "en") for text in ("is it ready", "ready?")] == [False, True]
    assert [as_sentence("is it ready", lang) for lang in ("en", None)] == ["Is it ready", "Is it ready"]
    assert listing.rank(["in", "b {c}", "a b"], "en") == ("a b", "in", "b {c}")


@pytest.mark.parametrize(
    ("tag", "usual"),
    [("en-CA", "en-us"), ("EN_us", "en-us"), ("en-us", None), ("en", "en-us"), ("fr-CA", "fr-fr"), ("pt-PT", "pt-br"),
     ("zh-HK", "zh-cn"), ("zh-cn", None), ("zh", "zh-cn"), ("nb", "nb-no"), ("xq", None), ("", None)],
)  # fmt: skip
def test_usual_form(tag: str, usual: str | None) -> None:
    """The region that most who write the language live in."""
    assert usual_form(tag) == usual


@pytest.mark.parametrize(
    ("tag", "tags", "found"),
    [
        ("en_US", ("fr", "EN-us"), "EN-us"),
        ("en-au", ("en-us", "en-gb", "en"), "en-gb"),
        ("en-pr", ("en-gb", "en-us"), "en-us"),
        ("es-mx", ("es-es", "es-419", "es-ar"), "es-419"),
        ("pt-ao", ("pt-br", "pt-pt"), "pt-pt"),
        ("no", ("da", "nb-no"), "nb-no"),
        ("gsw", ("fr", "de-de"), "de-de"),
        ("sr-latn", ("sr",), "sr"),
        ("iw", ("he-il",), "he-il"),
        ("zh-tw", ("zh-cn",), None),
        ("de", ("en", "nl"), None),
        ("de", (), None),
    ],
)
def test_nearest(tag: str, tags: tuple[str, ...], found: str | None) -> None:
    """Another form of the language; never another language that its readers do not read."""
    assert nearest(tag, tags) == found
    assert distance(tag, tag) == 0
