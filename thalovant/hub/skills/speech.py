"""The results of skills as the hub says them, and the exceptions by which a skill declines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

#: What a `speak` may carry beside or instead of its text.
MEDIA_KEYS: Final = frozenset(
    ("table", "quick_replies", "buttons", "image", "images", "attachment", "attachments", "rich_media", "display")
)


class SkillFailure(Exception):
    """Raise it in a skill to say that it cannot answer; the client is told the reason."""


class NoAnswer(SkillFailure):
    """Nobody answered the follow-up question in time, or something else was asked meanwhile."""


class InvalidSkillResult(Exception):
    """A skill gave something back that cannot be said. A bug of the skill."""


def speech(
    text: str = "",
    *,
    lang: str | None = None,
    table: Any = None,
    choices: Sequence[str | Mapping[str, Any]] | None = None,
    images: Sequence[str | Mapping[str, Any]] | None = None,
    attachments: Sequence[Mapping[str, Any]] | None = None,
    silent: bool = False,
    expect_response: bool = False,
) -> dict[str, Any]:
    """The data of an answer, with rich media beside the text: a skill's result.

    `table` is anything that is a table to the client, `choices` are texts or mappings with `title` and `payload`,
    `images` URLs or mappings with `url`, `attachments` mappings with `title` and `url`. `silent` is for showing only.
    """
    optional = {
        "lang": lang,
        "table": table,
        "quick_replies": None if choices is None else list(choices),
        "images": None if images is None else list(images),
        "attachments": None if attachments is None else list(attachments),
        "silent": silent or None,
    }
    data = {key: value for key, value in optional.items() if value is not None}
    return {"utterance": text, "expect_response": expect_response, **data}


def spoken(item: object) -> dict[str, Any]:
    """One item of a skill's result as the data of a `speak`. Raises `InvalidSkillResult`."""
    if isinstance(item, str):
        return {"utterance": item, "expect_response": False}
    if isinstance(item, Mapping):
        data = {("utterance" if key == "text" else key): value for key, value in item.items()}
        if isinstance(data.setdefault("utterance", ""), str) and (data["utterance"] or MEDIA_KEYS & data.keys()):
            return data
        raise InvalidSkillResult("gave a mapping with neither a text nor rich media")
    raise InvalidSkillResult(f"gave {type(item).__name__} where a text or a mapping must be")
