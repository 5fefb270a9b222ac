"""What a hub understands: asked of the hub in memory, and of hubs that answer oddly, late, twice or not at all."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    HubIntent,
    HubIntentInventory,
    HubSkillIntents,
    IntentDefinition,
    IntentRegistration,
    ThalovantConnectionError,
    ThalovantPolicyDeniedError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
    speakable,
)
from thalovant.hub.storage.clients import DEFAULT_ALLOWED
from thalovant.intents import (
    SOURCE_ENGINES,
    SOURCE_MANIFEST,
    HubFallback,
    nearest_hub_language,
    same_language,
    usual_form,
)

from .command import Run
from .lab import Lab, run

LIST, DESCRIBE, SKILLS = "ovos.intent.list", "ovos.intent.describe", "ovos.skills.list"
ADAPT, PADATIOUS = "intent.service.adapt.manifest", "intent.service.padatious.manifest"
NO_SKILLS = {SKILLS: {"ok": True, "skills": []}}

Answer = Callable[[dict[str, Any]], Any] | Any


def row(name: str, lang: str = "en-US", method: str = "template", **more: Any) -> dict[str, Any]:
    """A row of a hub's list, of the skill before the colon."""
    skill, _, intent = name.partition(":")
    return {"skill_id": skill, "intent_name": intent, "lang": lang, "method": method, "enabled": True, **more}


def rows(*found: Any) -> dict[str, Any]:
    """A hub's list."""
    return {"ok": True, "intents": list(found)}


def by_lang(*found: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A list with the filter of a real hub."""
    return lambda data: rows(*(one for one in found if "lang" not in data or same_language(one["lang"], data["lang"])))


def described(*samples: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Definitions as real hubs give them, with the registration inside."""
    return lambda data: {
        "ok": True,
        "definitions": [{"method": "template", "session_id": "default", "definition": {**data, "samples": [*samples]}}],
    }


class Puppet:
    """A hub whose answers are data, or functions of the question's data; None is silence. The last one counts."""

    def __init__(self, lab: Any, answers: dict[str, Answer], *, ids: bool = True, times: int = 1) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers = {**NO_SKILLS, **answers}
        self.ids, self.times = ids, times
        self.client = lab.async_client()
        if not hasattr(lab, "puppet"):
            for kind in (LIST, DESCRIBE, SKILLS, f"{ADAPT}.get", f"{PADATIOUS}.get"):
                lab.hub.on(kind)(functools.partial(_answer, lab))
        lab.puppet = self

    def intents(self, *languages: str, **options: Any) -> HubIntentInventory:
        """The inventory that a client makes of it."""

        async def asks() -> HubIntentInventory:
            async with self.client as client:
                return await client.intents(languages, **{"timeout": 0.3, **options})

        return run(asks())

    def langs(self) -> list[str | None]:
        """The languages of the lists that it was asked for."""
        return [data.get("lang") for kind, data in self.asked if kind == LIST]


async def _answer(lab: Any, turn: Any) -> None:
    puppet: Puppet = lab.puppet
    reply = turn.type.removesuffix(".get") if turn.type.endswith(".get") else f"{turn.type}.response"
    puppet.asked.append((turn.type, dict(turn.data)))
    answer = puppet.answers.get(turn.type)
    found = answer(dict(turn.data)) if callable(answer) else answer
    for data in [] if found is None else [found] * puppet.times:
        if puppet.ids:
            await turn.emit(reply, data)
        else:
            lab.hub.emit_to("shared", reply, data)


@pytest.fixture
def own(own: Lab) -> Lab:
    """A hub whose shared client may ask all this."""
    own.identity(allowed=DEFAULT_ALLOWED)
    return own


# --- the hub in memory ---


def test_what_the_hub_in_memory_understands(own: Lab) -> None:
    """Its skills by language, their sentences, and those that take everything; the synchronous client too."""
    own.hub.skill("quel temps fait il (à|pour) {location}", name="meteo", lang="fr-FR")(lambda turn: None)
    with own.client() as client:
        found = client.intents(["en_US", "EN-us", "fr-CA"])
        listed = client.list_intents("fr-fr", include_definitions=True)
        defined = client.describe_intent("meteo", "meteo", "fr-FR")
        assert client.describe_intent("meteo", "rain") == []
    by_id = {intent.id: intent for intent in found.intents}
    assert (found.languages, found.listed_in, found.source) == (("en-us", "fr-ca"), ("en-us", "fr-fr"), SOURCE_MANIFEST)
    assert by_id["say:say"].phrases == {"en-us": ("say {items}",)}
    meteo = by_id["meteo:meteo"]
    assert (meteo.engine, meteo.languages, meteo.enabled) == ("padatious", ("fr-fr",), True)
    assert meteo.examples("fr-ca", speakable=True, sentence=True) == ("Quel temps fait il à Toronto?",)
    assert (found.fallbacks, found.fallbacks_known, found.denied) == ((HubFallback("echo"),), True, ())
    assert listed[0].phrases == defined[0].phrases == meteo.phrases_for("fr")
    assert (type(listed[0]), type(defined[0])) == (IntentRegistration, IntentDefinition)
    assert json.loads(json.dumps(found.as_dict()))["skills"][-1]["skill_id"] == found.skills[-1].skill_id


def test_refused_by_the_hub_in_memory(own: Lab) -> None:
    """A client that may not ask is told so at once; one that may ask the engines has names."""
    guest = AsyncThalovantClient(own.identity("guest", allowed=()), noise_state_dir=own.state_dir("guest"))
    half = own.identity("half", allowed=(f"{PADATIOUS}.get",))

    async def asks() -> None:
        async with guest as client:
            for fallback in (True, False):
                with pytest.raises(ThalovantPolicyDeniedError) as denied:
                    await client.intents(fallback=fallback)
                assert denied.value.denied_type == LIST
        async with AsyncThalovantClient(half, noise_state_dir=own.state_dir("half")) as client:
            found = await client.intents()
            assert (found.source, found.denied) == (SOURCE_ENGINES, (LIST,))
            assert (found.fallbacks_known, found.has_phrases, found.may_answer("en-us")) == (False, False, True)
            assert "say:say" in [intent.id for intent in found.intents]
            with pytest.raises(ThalovantPolicyDeniedError):
                await client.describe_intent("say", "say")

    run(asks())


def test_command(good: Run) -> None:
    """A row for each sentence, all of it as JSON, and harmless text."""
    code, out, err = good("intents", "--lang", "en-us", "--lang", "fr-fr", "--speakable", "--all")
    assert (code, err) == (0, "thalovant: fr-fr is listed in en-us\n")
    lines = out.splitlines()
    assert lines[0].split() == ["skill", "intent", "language", "say"]
    assert ["say", "say", "en-us", "say", "items"] in [line.split() for line in lines]
    assert lines[-1] == "Anything else: echo"
    code, out, err = good("--json", "intents")
    assert (code, err, json.loads(out)["fallbacks"]) == (0, "", [{"skill_id": "echo", "priority": None}])


# --- languages ---


def test_usual_form_then_nearest(own: Lab) -> None:
    """Each language, its usual form, and once in all what there is in any; the tag that was used is told."""
    hub = Puppet(own, {LIST: by_lang(row("a:us", definition={"samples": ["hi"]}),
                                     row("a:at", "de-AT", definition={"samples": ["servus"]}))})  # fmt: skip
    found = hub.intents("en-ca", "de-ch", "ja")
    assert hub.langs() == ["en-ca", "en-us", "de-ch", "de-de", None, "ja", "ja-jp"]
    assert found.listed_in == ("en-us", "de-AT", "en-us")
    assert {one.name: dict(one.phrases) for one in found.intents} == {
        "us": {"en-us": ("hi",)}, "at": {"de-AT": ("servus",)},
    }  # fmt: skip
    assert found.intents[0].phrases_for("de") == ("servus",)


@pytest.mark.parametrize(
    "everything", [None, {"ok": False, "error": "no"}, {"ok": True, "intents": 7}, rows(), rows(row("a:x", None))]
)
def test_nearest_changes_nothing_where_it_fails(own: Lab, everything: Any) -> None:
    """Keyword rows of the language itself are kept if there is nothing better; `nearest=False` does not look."""
    keywords = rows(row("a:k", "fr-fr", "keyword"), row("a:off", "fr-fr", enabled=False, definition={"samples": ["x"]}))
    hub = Puppet(own, {LIST: lambda data: keywords if data.get("lang") == "fr-fr" else everything})
    found = hub.intents("fr-fr")
    assert hub.langs() == ["fr-fr", None]
    assert [(one.name, one.engine, one.enabled) for one in found.intents] == [
        ("k", "adapt", True),
        ("off", "padatious", False),
    ]
    assert (found.listed_in, found.may_answer("fr-fr")) == (("fr-fr",), True)


def test_without_nearest(own: Lab) -> None:
    """Nothing for a language that the hub has not; it said so, and has no fallbacks."""
    hub = Puppet(own, {LIST: by_lang(row("a:b"))})
    found = hub.intents("de-de", nearest=False)
    assert (hub.langs(), found.skills, found.listed_in) == (["de-de"], (), ("de-de",))
    assert [found.may_answer(lang) for lang in ("de", "fr")] == [False, True]


GROUPS = {
    "en-US": [IntentRegistration("a", "1", "en-US"), IntentRegistration("a", "2", "en-US")],
    "fr-FR": [IntentRegistration("a", str(number), "fr-FR") for number in range(3)],
    "de-DE": [IntentRegistration("a", str(number), "de-DE", "keyword") for number in range(9)],
    "zh-CN": [IntentRegistration("a", "1", "zh-CN")],
}


@pytest.mark.parametrize(
    ("asked", "hub_lang", "found"),
    [("en-gb", "fr-fr", "en-US"), ("zh-tw", "fr-fr", "zh-CN"), ("ja", "en_us", "en-US"), ("ja", "en-gb", "en-US"),
     ("ja", "", "fr-FR"), ("ja", None, "fr-FR"), ("de-de", "ja-jp", "fr-FR")],
)  # fmt: skip
def test_nearest_hub_language(asked: str, hub_lang: str | None, found: str) -> None:
    """The same language, the hub's own, the one with most sentences; keywords are none."""
    assert nearest_hub_language(asked, GROUPS, hub_lang) == found
    assert nearest_hub_language(asked, {"de-DE": GROUPS["de-DE"]}, hub_lang) is None
    assert (same_language("en_US", "en-us"), same_language("en", "en-us"), usual_form("en-CA")) == (
        True,
        False,
        "en-us",
    )


# --- answers without ids, twice, foreign, silent ---


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("ids", [True, False])
def test_answers_without_ids_and_twice(own: Lab, ids: bool, times: int) -> None:
    """Each answer is that of its question; what names nothing is that of the only question."""
    hub = Puppet(
        own,
        {LIST: by_lang(row("a:x"), row("a:y"), row("a:z", "fr-fr")),
         DESCRIBE: lambda data: described(data["intent_name"])(data)},
        ids=ids, times=times,
    )  # fmt: skip
    found = hub.intents("en-us", "fr-fr")
    assert [one.phrases for one in found.intents] == [{"en-us": ("x",)}, {"en-us": ("y",)}, {"fr-fr": ("z",)}]
    assert (found.listed_in, found.fallbacks_known) == (("en-us", "fr-fr"), True)


def test_foreign_answers(own: Lab) -> None:
    """An answer to another request is never taken."""

    def foreign(data: dict[str, Any]) -> None:
        own.hub.emit_to("shared", f"{LIST}.response", {**rows(row("a:x")), "request_id": "another"})

    with pytest.raises(ThalovantTimeoutError, match="did not list"):
        Puppet(own, {LIST: foreign}).intents(fallback=False)


def test_definitions_in_batches(own: Lab) -> None:
    """32 at a time; one that does not come ends it, and what came before is kept."""
    names = [f"{number:02}" for number in range(70)]
    hub = Puppet(own, {
        LIST: rows(*(row(f"a:{name}") for name in names)),
        DESCRIBE: lambda data: None if data["intent_name"] >= "40" else described(data["intent_name"])(data),
    })  # fmt: skip
    found = hub.intents()
    assert len([kind for kind, _ in hub.asked if kind == DESCRIBE]) == 64
    assert [one.name for one in found.intents if one.phrases["en-us"]] == names[:40]
    silent = Puppet(own, {LIST: rows(row("a:x")), DESCRIBE: None})
    assert hub.intents(describe=False).intents[0].phrases == {"en-us": ()}
    with pytest.raises(ThalovantTimeoutError, match="did not describe"):
        silent.intents()


def test_silence_and_the_engines(own: Lab) -> None:
    """The names that the engines tell, each engine by itself; the first error if none does."""
    mixed = {"intents": ["a:x", {"name": "b:y"}, 7, None, {"name": 3}, "", "bare"]}
    found = Puppet(own, {f"{PADATIOUS}.get": mixed, f"{ADAPT}.get": {"intents": [{"name": "a:x"}]}}).intents("de")
    assert [(one.id, one.engine) for one in found.intents] == [
        (":bare", "padatious"),
        ("a:x", "adapt"),
        ("b:y", "padatious"),
    ]
    assert (found.source, found.languages, found.denied) == (SOURCE_ENGINES, ("de",), (LIST,))


@pytest.mark.parametrize("fallback", [True, False])
def test_failures(own: Lab, fallback: bool) -> None:
    """Silence of all, and a list that failed, are errors and no empty hub; the session's end is one too."""
    with pytest.raises(ThalovantTimeoutError, match="did not list"):
        Puppet(own, {}).intents(fallback=fallback)
    with pytest.raises(ThalovantRuntimeError, match="it is broken"):
        Puppet(own, {LIST: {"ok": False, "error": "it is broken"}}).intents(fallback=fallback)

    async def closed() -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        Puppet(own, {LIST: lambda data: loop.call_soon_threadsafe(heard.set) and None})
        async with own.async_client() as client:
            asking = asyncio.ensure_future(client.intents("de", timeout=20))
            await heard.wait()
            await client.close()
            with pytest.raises(ThalovantConnectionError):
                await asking

    run(closed())


@pytest.mark.parametrize(
    ("answer", "known", "names"),
    [
        (None, False, []),
        ({"ok": False, "skills": []}, False, []),
        ({"skills": {"a": 1}}, False, []),
        ({"skills": [
            {"skill_id": "z", "capabilities": ["fallback"]}, {"skill_id": "z", "capabilities": ["fallback", 3]},
            {"skill_id": "a", "capabilities": ["fallback"], "session_id": ""},
            {"skill_id": "b", "capabilities": ["fallback"], "session_id": "default"},
            {"skill_id": "c", "capabilities": ["fallback"], "session_id": "S-1"},
            {"skill_id": "d", "capabilities": "fallback"}, {"skill_id": 7, "capabilities": ["fallback"]},
            {"skill_id": "e", "capabilities": ["converse"]}, {"skill_id": "f"}, 7, None, ["fallback"],
        ]}, True, ["a", "b", "z"]),
    ],
)  # fmt: skip
def test_fallbacks(own: Lab, answer: Any, known: bool, names: list[str]) -> None:
    """Rows that say so, of no session of somebody's own; unknown is not none."""
    found = Puppet(own, {LIST: rows(), SKILLS: answer}).intents("en-us", nearest=False)
    assert ([one.skill_id for one in found.fallbacks], found.fallbacks_known) == (names, known)
    assert found.may_answer("en-us") is (not known or bool(names))


NESTED: list[Any] = ["a"]
for _ in range(50):
    NESTED = [NESTED]
MALFORMED: list[Any] = [
    None, 7, "text", [], {}, {"skill_id": 7, "intent_name": "x"}, {"skill_id": "a"},
    {"skill_id": " ", "intent_name": "x"},
    row("a:lang", 7), row("a:none", None, definition=[1]), row("a:method", method=None),
    row("a:nested", definition={"samples": NESTED}),
    row("a:odd", definition={"samples": ["\x1b[31m", 7, None, "", " ", "ok", "ok", "{" * 1000, "(" * 1000 + "x"]}),
]  # fmt: skip


@pytest.mark.parametrize("describe", [True, False])
def test_malformed_answers(own: Lab, describe: bool) -> None:
    """Rows that are none are left out, and what is missing in a row is what was asked for."""
    odd = {"ok": "yes", "definitions": [None, 7, {"definition": 7}, {"method": 3, "definition": {"samples": 3}}]}
    found = Puppet(own, {LIST: {"intents": MALFORMED}, DESCRIBE: odd}).intents(describe=describe)
    assert [one.name for one in found.intents] == ["lang", "method", "nested", "none", "odd"]
    texts = {"\x1b[31m", "ok", "{" * 1000, "(" * 1000 + "x"}
    assert set(found.intents[-1].phrases_for("en-us")) == texts
    assert found.intents[-1].examples("en-us", 0, speakable=True)[-1] == "x"
    for answer in ({"intents": {}}, {"intents": None}, {}):
        assert Puppet(own, {LIST: answer}).intents(describe=describe).skills == ()


def test_huge_lists(own: Lab) -> None:
    """Ten thousand rows count, and ten thousand of their sentences."""
    many = [row(f"a:{number}", definition={"samples": ["x"]}) for number in range(10_050)]
    assert len(Puppet(own, {LIST: rows(*many)}).intents(timeout=20).intents) == 10_000
    samples = {"samples": [str(number) for number in range(10_050)]}
    assert len(IntentDefinition("a", "b", "en-us", "template", samples).phrases) == 10_000


# --- what is done with it ---


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(turn|switch) on the {device_name}", "turn on the lamp"),
        ("[please] play {query} (now|)", "play query"),
        ("(x|(a | )|y) z", "x z"),
        ("(x||y) z", "z"),
        ("(|please) go  home", "go home"),
        ("a (b [c|d] (e|f)|g) h", "a b e h"),
        ("play {duration:how_long}", "play how long"),
        ("left | right", "left"),
        ("odd ) ] } { ( [", "odd ) ] } {"),
        ("{}", "{}"),
        ("", ""),
        ("(" * 100_000 + "x" + "|y)" * 100_000, "x"),
        ("[" * 100_000 + "x", "x"),
    ],
)
def test_speakable(pattern: str, said: str) -> None:
    """The first alternative, nothing optional, slots filled or read as their names; in time for any pattern."""
    assert speakable(pattern, {"device_name": "lamp"}) == said


def test_examples() -> None:
    """The best in the nearest language, as patterns, as they are said or as they are written; each once."""
    intent = HubIntent("a", "b", "padatious", {
        "en-us": ("set {level}", "what (is|was) it", "what is it", "a of"), "fr-fr": ("quelle heure est il",),
    })  # fmt: skip
    assert intent.examples() == ("what is it", "what (is|was) it")
    assert intent.examples("en-gb", 0, speakable=True) == ("set fifty", "what is it", "a of")
    assert intent.examples("en-gb", 3, slots={"level": "9"}, sentence=True) == ("What is it?", "Set 9.")
    assert (intent.examples("de"), intent.phrases_for(None)) == ((), intent.phrases_for("en"))
    assert HubIntent("a", "b", "adapt").examples() == ()
    found = HubIntentInventory(("en-us",), (HubSkillIntents("a", (intent,)),))
    assert (found.has_phrases, found.may_answer("en"), found.intents) == (True, True, (intent,))


@pytest.mark.parametrize("languages", ["", " ", [""], [7], ["en", None]])
def test_wrong_languages(v3: Lab, languages: Any) -> None:
    """What is no tag is a mistake of the caller."""
    with v3.client() as client, pytest.raises(ValueError, match="a language must be text"):
        client.intents(languages)
