"""Inventories: their shape, their examples, the cache on disk, and the names that lists show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from thalovant import (
    Intent,
    Inventory,
    InventoryCache,
    Skill,
    ThalovantIdentity,
    common_affix,
    friendly_title,
    humanize,
    languages_present,
    sort_key,
    strip_affix,
)
from thalovant.inventory import CACHE_TTL_SECONDS, CACHE_VERSION, LIVE_SOURCES

WEATHER = Intent(
    "weather.now", "weather.now", "weather", "padatious",
    {"fr-fr": ("météo",), "en-us": ("weather in", "what is the weather")},
)  # fmt: skip
INVENTORY = Inventory(
    "hub", "Kitchen", "hub", "2026-09-13T00:00:00Z",
    (Skill("weather", "Weather", ("en-us",), (WEATHER,)), Skill("unknown", "Unknown")),
)  # fmt: skip


def told(**changes: Any) -> dict[str, Any]:
    """The inventory as JSON gives it back, with other fields."""
    return {**json.loads(json.dumps(INVENTORY.as_dict(), sort_keys=True)), **changes}


@pytest.mark.parametrize(
    ("language", "limit", "expected"),
    [
        (None, 0, ["météo"]),
        ("en-gb", 0, ["weather in", "what is the weather"]),
        ("en-gb", 1, ["what is the weather"]),
        ("en_US", 2, ["what is the weather", "weather in"]),
        ("fr-ca", 2, ["météo"]),
        ("de", 0, []),
    ],
)
def test_examples(language: str | None, limit: int, expected: list[str]) -> None:
    """In the nearest language that is registered, in the first without one; a limit takes whole sentences first."""
    assert WEATHER.examples(language, limit) == tuple(expected)
    assert Inventory.from_dict(told()).intents[0].examples(language, limit) == tuple(expected)


def test_what_a_skill_speaks() -> None:
    """Any form of a language that it declares; unknown if it declares none."""
    weather, unknown = INVENTORY.skills
    assert [weather.speaks(tag) for tag in ("en-gb", "en", "de")] == [True, True, False]
    assert unknown.speaks("en") is None


def test_as_json_and_back() -> None:
    """The version is told, and the order of languages survives JSON, which sorts them."""
    assert (told()["cache_version"], told()["skills"][0]["intents"][0]["languages"]) == (1, ["fr-fr", "en-us"])
    again = Inventory.from_dict(told(notes=["from a test"], unknown=1))
    assert (again.skills, again.notes, again.intents[0].languages) == (
        INVENTORY.skills, ("from a test",), ("fr-fr", "en-us"),
    )  # fmt: skip
    assert (again.live, again.has_phrases, languages_present(again)) == (True, True, ("en-us", "fr-fr"))
    catalog = Inventory("hub", "", "catalog", "", INVENTORY.skills[1:])
    assert (catalog.live, catalog.has_phrases, languages_present(catalog.skills)) == (False, False, ())
    assert (CACHE_VERSION, CACHE_TTL_SECONDS, "ovos-runtime" in LIVE_SOURCES) == (1, 3600.0, True)


WRONG: tuple[Any, ...] = (
    None, [], "x", {}, told(cache_version=2), told(cache_version=True), told(hub_id=None), told(skills={}),
    told(skills=[1]), told(notes=[1]), told(skills=[{"id": "a", "title": "A", "locales": "en", "intents": []}]),
    told(skills=[{"id": "a", "title": "A", "locales": [], "intents": [{"id": "i"}]}]),
    told(skills=[{**told()["skills"][0], "intents": [{**told()["skills"][0]["intents"][0], "phrases": {"en": "a"}}]}]),
)  # fmt: skip


@pytest.mark.parametrize("values", WRONG)
def test_wrong_shapes(values: Any, tmp_path: Path) -> None:
    """Another version or shape is refused, and is no inventory on disk either."""
    with pytest.raises(ValueError, match="inventory"):
        Inventory.from_dict(values)
    cache = InventoryCache(tmp_path)
    cache.path("hub-x").write_text(json.dumps(values))
    assert cache.load("hub-x") is None


def test_keys() -> None:
    """The host and a digest tell identities apart; a key that leaves the folder is refused."""
    cache = InventoryCache("cache")

    def key(host: str, access_key: str = "a") -> str:
        return cache.key("hub", ThalovantIdentity(access_key, "p", host, "site"))

    assert cache.key("hub", None) == "hub-local-8bf294c3"
    keys = {key("wss://a.example"), key("wss://b.example"), key("wss://a.example", "b"), key("wss://[::1]:5678")}
    assert len(keys) == 4
    assert key("wss://a.example").startswith("hub-a.example-")
    assert all(cache.path(one).parent == Path("cache") for one in keys)
    for wrong in ("../x", "a/b", "", ".hidden", "a\\b", "a\0", "a\n", cache.key("../hub"), "x" * 300, None):
        with pytest.raises(ValueError, match="key"):
            cache.path(wrong)  # type: ignore[arg-type]


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored comes back until it is old; it is the user's own, in the user's folder for caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = InventoryCache()
    assert cache.load("hub-1") is None
    path = cache.store("hub-1", INVENTORY)
    assert (path, path.stat().st_mode & 0o777) == (tmp_path / "thalovant" / "intents-hub-1.json", 0o600)
    assert cache.load("hub-1") == INVENTORY
    assert InventoryCache(ttl=0).load("hub-1") is None
    assert InventoryCache(app="other").load("hub-1") is None
    for seconds in (-3601, 3601):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + seconds))
        assert cache.load("hub-1") is None
        cache.store("hub-1", INVENTORY)


def test_cache_takes_no_foreign_file(tmp_path: Path) -> None:
    """Nothing through a symbolic link, nothing that anybody may write, nothing that is broken."""
    cache = InventoryCache(tmp_path / "cache")
    path = cache.store("hub-1", INVENTORY)
    path.chmod(0o666)
    assert cache.load("hub-1") is None
    path.chmod(0o644)
    assert cache.load("hub-1") == INVENTORY
    cache.path("hub-2").symlink_to(path)
    assert cache.load("hub-2") is None
    with pytest.raises(OSError, match="symbolic link"):
        cache.store("hub-2", INVENTORY)
    for broken in (b"", b"{", b"\xff", b"[" * 100_000, b'{"cache_version": 1e999}'):
        path.write_bytes(broken)
        assert cache.load("hub-1") is None


@pytest.mark.parametrize(
    ("skill_id", "title"),
    [("thalovant-skill-weather.thalovant", "Weather"), ("ovos-skill-date-time.openvoiceos", "Date Time"),
     ("skill-TTS", "TTS"), ("plain", "Plain"), (".odd", ".odd"), ("", "")],
)  # fmt: skip
def test_titles(skill_id: str, title: str) -> None:
    """Prefixes of skills go, and what follows the first dot."""
    assert friendly_title(skill_id) == title


def test_names() -> None:
    """What names share is told once, and they sort as people sort."""
    assert humanize("weather.to_day") == "weather to day"
    assert common_affix(["weather.now", "weather_later"]) == ("prefix", "weather")
    assert common_affix(iter(["now.intent", "later.intent"])) == ("suffix", "intent")
    assert [common_affix(names) for names in ([], ["a.b"], ["a.b", "a"], ["ab", "ac"], ["a.b", "c.d"])] == [
        (None, "")
    ] * 5
    assert [strip_affix("weather.now", *affix) for affix in (("prefix", "weather"), ("suffix", "now"), (None, ""))] == [
        "now", "weather", "weather.now",
    ]  # fmt: skip
    assert strip_affix("set_a.timer", "prefix", "get") == "set a timer"
    assert [strip_affix("weather", "prefix", token) for token in ("weather", "time")] == ["weather", "weather"]
    rooms = ["Room 10", "room 2", "room 02", "attic", "9", "room " + "9" * 5000]
    assert sorted(rooms, key=sort_key) == ["9", "attic", "room 2", "room 02", "Room 10", rooms[-1]]
    assert sort_key("Room 10b") == ["room ", 10, "b"]
