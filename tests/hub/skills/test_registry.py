"""Which skill an utterance reaches, and what a skill may give back."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, strategies as st

from thalovant.hub.actions import HIVE, Request, RoutedPeer
from thalovant.hub.skills.registry import Skill, SkillRegistry, skill, words
from thalovant.hub.skills.runner import choose
from thalovant.hub.skills.speech import InvalidSkillResult, speech, spoken
from thalovant.hub.skills.turn_state import Conversation, TurnInfo, TurnState
from thalovant.hub.storage.clients import Client
from thalovant_proto import events as e


class Silence:
    """An outlet for turns that say nothing."""

    hub: Any = None

    def send(self, peer: RoutedPeer, *events: e.Message, more: bool = False) -> None:
        raise AssertionError("nothing is said here")

    def hold(self, peer: RoutedPeer, hold: bool) -> None:
        raise AssertionError("nothing is read here")

    async def drained(self, peer: RoutedPeer) -> None:
        raise AssertionError("nothing is said here")


def turn(text: str, *, data: dict[str, Any] | None = None, context: dict[str, Any] | None = None) -> TurnState:
    """A turn in which `text` was said."""
    client = Client(id=1, name="kiosk", site_id="shop")
    peer = RoutedPeer(id="a::1::kiosk::u", client=client, session_id="s")
    bus = e.bus(type=e.UTTERANCE, data={"utterances": [text], "lang": "de-de", **(data or {})}, context=context or {})
    full = {"peer": peer.id, **(context or {})}
    request = Request(peer=peer, bus=bus, context=full, session_id="s", reply_context={"source": HIVE})
    return TurnState(Silence(), request, Conversation())


def nothing(turn: object) -> None:
    """A skill."""


def made(*phrases: str, **options: Any) -> Skill:
    """A skill with these phrases."""
    return skill(*phrases, **options)(nothing)


def taken(core: TurnState, *skills: Skill) -> str | None:
    """The name of the skill that a turn reaches."""
    found = choose(skills, core)
    return None if found is None else found.name


# --- phrases ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["What can this hub do", "what can this hub do?", "  WHAT can, this -- hub do!? ", "What can\nthis hub do."],
)
def test_case_and_punctuation_do_not_count(text: str) -> None:
    """A phrase is its words."""
    assert taken(turn(text), made("What can this hub do?", name="found")) == "found"


@pytest.mark.parametrize("text", ["What can this hub", "What can this hub do now", "whatcan this hub do", "", "?!"])
def test_all_words_count(text: str) -> None:
    """No more, no fewer, and none run together."""
    assert taken(turn(text), made("What can this hub do")) is None


@pytest.mark.parametrize(
    ("phrase", "text", "slots"),
    [
        ("turn on the {what}", "Turn on the Big Lamp!", {"what": "Big Lamp"}),
        ("remember that {fact}", "remember that, well, 1 + 1 = 2.", {"fact": "well, 1 + 1 = 2"}),
        ("{who} likes {what}", "Ada likes green-ish tea", {"who": "Ada", "what": "green-ish tea"}),
        ("set {a} to {b} to {c}", "set x to y to z to w", {"a": "x", "b": "y", "c": "z to w"}),
        ("say {text}", "say Grüße\nund mehr", {"text": "Grüße\nund mehr"}),
    ],
)
def test_slots_take_words_as_they_were_said(phrase: str, text: str, slots: dict[str, str]) -> None:
    """One or more words each, with their case and inner punctuation."""
    core = turn(text)

    assert taken(core, made(phrase, name="found")) == "found"
    assert TurnInfo(core).slots == slots


@pytest.mark.parametrize("text", ["turn on the", "turn on the !", "please turn on the lamp", "turn on thelamp"])
def test_a_slot_is_never_empty(text: str) -> None:
    """And the words around it must be there."""
    assert taken(turn(text), made("turn on the {what}")) is None


def test_phrases_of_a_skill_are_alternatives() -> None:
    """Any of them reaches it, and the slots are those of the one that did."""
    one = made("hello", "hello {name}", name="found")
    core = turn("Hello Ada")

    assert taken(turn("hello"), one) == "found"
    assert taken(core, one) == "found"
    assert core.slots == {"name": "Ada"}


@pytest.mark.parametrize("phrase", ["{a} and {a}", "{1} x", "{class!r}x {a}{a}"])
def test_a_slot_needs_a_name_of_its_own(phrase: str) -> None:
    """A mistake in a phrase is found where it is written."""
    with pytest.raises(ValueError, match="needs a name of its own"):
        made(phrase)


@pytest.mark.parametrize("phrase", ["", " ", "?!"])
def test_a_phrase_needs_words(phrase: str) -> None:
    """One without words would take anything that has none."""
    with pytest.raises(ValueError, match="has no words"):
        made(phrase)


def test_a_skill_needs_something_that_reaches_it() -> None:
    """`@skill()` alone would never be called."""
    with pytest.raises(ValueError, match="needs a phrase"):
        skill()


def test_long_texts_are_no_phrases() -> None:
    """Only fallbacks and `when` take them, so matching costs little whatever a client sends."""
    text = "a " * 2_000_000
    patterns = [made("{a} a {b} a {c} b", name="phrase"), made("a", name="word")]

    assert taken(turn(text), *patterns) is None
    assert taken(turn(text), *patterns, made(fallback=True, name="all")) == "all"


@given(st.text(max_size=60))
def test_any_text_is_its_own_phrase(text: str) -> None:
    """Whatever words people use, saying a phrase reaches its skill."""
    if "{" not in text and words(text):
        assert taken(turn(text), made(text, name="found")) == "found"


# --- order -----------------------------------------------------------------------------------------------------------


def test_the_first_that_matches_is_taken_and_fallbacks_last() -> None:
    """Order is priority; a fallback waits until nobody else wants the turn."""
    skills = (
        made(fallback=True, name="late"),
        made("hello", name="one"),
        made("hello", name="two"),
        made(fallback=True, name="later"),
    )

    assert taken(turn("hello"), *skills) == "one"
    assert taken(turn("something"), *skills) == "late"


def test_a_fallback_may_be_choosy() -> None:
    """With phrases or `when` it takes only what these match."""
    skills = (
        made("joke", fallback=True, name="phrase"),
        made(fallback=True, when=lambda turn: turn.lang == "de-de", name="lang"),
    )

    assert taken(turn("joke"), *skills) == "phrase"
    assert taken(turn("else"), *skills) == "lang"
    assert taken(turn("else", data={"lang": "fr"}), *skills) is None


def test_when_sees_the_turn() -> None:
    """What a skill asks for besides phrases: the input, the context, anything of the turn."""
    scan = made(when=lambda turn: turn.input is not None and turn.input.kind == "qr", name="scan")

    assert taken(turn("SN-1", context={"input": {"kind": "qr", "value": "SN-1"}}), scan) == "scan"
    assert taken(turn("SN-1"), scan) is None


def test_what_when_raises_counts_as_no(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with the skill, and the next one is asked."""

    def broken(turn: object) -> bool:
        raise RuntimeError("oops")

    bad, good = made(when=broken, name="bad"), made("hello", name="good")

    found = choose((bad, good), turn("hello"))

    assert found is good
    assert [(record.getMessage(), str(record.exc_info and record.exc_info[1])) for record in caplog.records] == [
        ("The `when` of skill 'bad' raised", "oops")
    ]


def test_the_registry_keeps_the_order() -> None:
    """Added skills come in their order, before those that it was made with."""
    old, one, two = made("a"), made("b"), made("c")
    registry = SkillRegistry([old])
    registry.add(one)
    registry.add(two)

    assert registry.skills == (one, two, old)


# --- functions -------------------------------------------------------------------------------------------------------


async def _coroutine(turn: object) -> str:
    """Say something.

    At length.
    """
    return "x"


async def _generator(turn: object) -> Any:
    yield "x"


class _Callable:
    async def __call__(self, turn: object) -> str:
        return "x"


class _Plain:
    def __call__(self, turn: object) -> str:
        return "x"


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (_coroutine, True),
        (_generator, True),
        (_Callable(), True),
        (functools.partial(_coroutine), True),
        (nothing, False),
        (_Plain(), False),
        (print, False),
    ],
)
def test_async_functions_are_told_from_others(function: Any, is_async: bool) -> None:
    """Whatever can be called: the others go to threads."""
    assert skill("x")(function).is_async is is_async


def test_a_skill_is_named_and_described_by_its_function() -> None:
    """The name for logs, the first line of the docstring for people; calling the skill calls the function."""
    one = skill("x")(_coroutine)

    assert (one.name, one.help) == ("_coroutine", "Say something.")
    assert skill("x")(_Plain()).name == "_Plain"
    assert skill("x")(_Plain())(TurnInfo(turn("x"))) == "x"  # type: ignore[arg-type]  # a view is enough for it


# --- results ---------------------------------------------------------------------------------------------------------


def test_a_text_is_speech() -> None:
    """The plainest result."""
    assert spoken("hi") == {"utterance": "hi", "expect_response": False}


@pytest.mark.parametrize(
    ("item", "data"),
    [
        ({"text": "hi"}, {"utterance": "hi"}),
        ({"utterance": "hi", "lang": "fr"}, {"utterance": "hi", "lang": "fr"}),
        ({"table": [1]}, {"utterance": "", "table": [1]}),
        ({"image": "http://x/y.png", "text": ""}, {"utterance": "", "image": "http://x/y.png"}),
    ],
)
def test_a_mapping_is_the_data_of_speech(item: dict[str, Any], data: dict[str, Any]) -> None:
    """With a text, or with rich media that needs none."""
    assert spoken(item) == data


@pytest.mark.parametrize("item", [7, None, b"bytes", object(), {}, {"text": ""}, {"text": 7}, {"other": "x"}, ["x"]])
def test_anything_else_is_nonsense(item: object) -> None:
    """It cannot be said."""
    with pytest.raises(InvalidSkillResult):
        spoken(item)


def test_speech_holds_rich_media() -> None:
    """Everything that a client's display knows, and nothing that was not given."""
    full = speech(
        "Parts",
        lang="en-us",
        table={"rows": []},
        choices=("A", {"title": "B", "payload": "/b"}),
        images=["http://x/y.png"],
        attachments=[{"title": "T", "url": "http://x"}],
        silent=True,
        expect_response=True,
    )

    assert full == {
        "utterance": "Parts",
        "expect_response": True,
        "lang": "en-us",
        "table": {"rows": []},
        "quick_replies": ["A", {"title": "B", "payload": "/b"}],
        "images": ["http://x/y.png"],
        "attachments": [{"title": "T", "url": "http://x"}],
        "silent": True,
    }
    assert speech() == {"utterance": "", "expect_response": False}


# --- what a turn shows -----------------------------------------------------------------------------------------------


def test_a_turn_shows_what_was_said() -> None:
    """Text, language, who, where, and the message itself."""
    seen = TurnInfo(turn("  hello ", context={"request_id": "r1"}))

    assert (
        seen.text,
        seen.lang,
        seen.client,
        seen.peer,
        seen.session_id,
    ) == ("hello", "de-de", "kiosk", "a::1::kiosk::u", "s")
    assert (seen.request_id, seen.type) == ("r1", "recognizer_loop:utterance")
    assert seen.data["utterances"] == ["  hello "]
    assert seen.context["peer"] == "a::1::kiosk::u"
    assert (seen.slots, seen.memory, seen.binary, seen.input) == ({}, {}, None, None)


@pytest.mark.parametrize(
    ("data", "context", "expected"),
    [
        (
            {"input": {"kind": "invoice", "label": "L", "value": "V", "exact": True}},
            {},
            ("invoice", "V", "L", True),
        ),
        ({}, {"input": {"kind": "action", "title": "T", "payload": "/p"}}, ("action", "/p", "T", False)),
        ({}, {"input": {"kind": "action", "title": None}}, ("action", "said", None, False)),
        ({}, {"input": {"kind": 7}}, None),
        ({}, {"input": "text"}, None),
    ],
)
def test_buttons_and_codes_are_told_from_speech(data: dict[str, Any], context: dict[str, Any], expected: Any) -> None:
    """In the shapes that clients send; what has no kind is speech."""
    found = TurnInfo(turn("said", data=data, context=context)).input

    assert (None if found is None else (found.kind, found.value, found.title, found.exact)) == expected


@pytest.mark.parametrize("lang", ["", 7, None])
def test_without_a_language_it_is_english(lang: object) -> None:
    """The default of every client."""
    assert TurnInfo(turn("x", data={"lang": lang})).lang == "en-us"
