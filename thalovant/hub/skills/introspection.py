"""What a hub tells of its own skills: the questions of `thalovant.intents`, answered as real hubs do.

A skill with phrases is an intent with sentences; one that takes what nothing else takes is a fallback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalovant_proto import events as e

from ... import events as names
from ..._internal.languages import fold
from .registry import Skill


def answer(skills: Sequence[Skill], question: e.Bus) -> tuple[str, dict[str, Any]] | None:
    """The type and data of the answer to a message; None if it is no such question."""
    data, phrased = question.data, [one for one in skills if one.phrases]
    match question.type:
        case names.EVENT_INTENT_LIST:
            whole = data.get("include_definitions") is True
            rows = [_row(one, whole=whole) for one in phrased if _fits(one, data)]
            return names.EVENT_INTENT_LIST_RESPONSE, {"ok": True, "intents": rows}
        case names.EVENT_INTENT_DESCRIBE:
            found = [_row(one, whole=True) for one in phrased if _fits(one, data) and data.get("skill_id")]
            told = {"ok": True, "definitions": found} if found else {"ok": False, "error": "no such intent"}
            return names.EVENT_INTENT_DESCRIBE_RESPONSE, told
        case names.EVENT_SKILLS_LIST:
            able = [{"skill_id": one.name, "capabilities": ["fallback"] if one.fallback else []} for one in skills]
            return names.EVENT_SKILLS_LIST_RESPONSE, {"ok": True, "skills": able}
        case names.EVENT_PADATIOUS_MANIFEST_GET:
            return names.EVENT_PADATIOUS_MANIFEST, {"intents": [f"{one.name}:{one.name}" for one in phrased]}
        case names.EVENT_ADAPT_MANIFEST_GET:
            return names.EVENT_ADAPT_MANIFEST, {"intents": []}
    return None


def _fits(one: Skill, filters: e.Json) -> bool:
    own = {"skill_id": one.name, "intent_name": one.name, "lang": fold(one.lang)}
    given = {key: filters[key] for key in own if isinstance(filters.get(key), str)}
    return {**own, **given, "lang": fold(given.get("lang", one.lang))} == own


def _row(one: Skill, *, whole: bool) -> dict[str, Any]:
    row = {"skill_id": one.name, "intent_name": one.name, "lang": one.lang, "method": "template", "enabled": True}
    return {**row, "definition": {"samples": list(one.phrases)}} if whole else row
