"""Items that a screen shows of an event: text, tables, attachments, choices and images, in all shapes of skills."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_MEDIA_KEYS: Final = ("table", "attachment", "attachments", "quick_replies", "buttons", "image", "images")
_TAG = re.compile(r"""/?[A-Za-z](?:[^<>"']|"[^"<]*"|'[^'<]*')*>""")


@dataclass(frozen=True)
class ThalovantDisplayItem:
    """One thing to show. `kind` is "text", "table", "image", "attachment" or "choices".

    `text` is set for texts, `url` and perhaps `title` for images and attachments, `data` is the table, the original
    of an image or attachment, or for choices a list of `{"title", "payload", "data"}`. `silent`: show, do not say.
    """

    kind: str
    text: str | None = None
    data: Any = None
    title: str | None = None
    payload: str | None = None
    url: str | None = None
    silent: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The seven fields, ready for JSON."""
        return dict(vars(self))


def strip_ssml(text: str) -> str:
    """The text without its tags, comments and processing instructions; a plain `<` or `>` stays.

    Takes time in proportion to the text, whatever is in it.
    """
    kept: list[str] = []
    start = 0
    ends = {"!--": "-->", "?": "?>"}  # what closes each; gone once it does not occur any more
    at = text.find("<")
    while at >= 0:
        end = _markup_end(text, at + 1, ends)
        if end:
            kept.append(text[start:at])
            start = end
        at = text.find("<", end or at + 1)
    kept.append(text[start:])
    return "".join(kept)


def _markup_end(text: str, at: int, ends: dict[str, str]) -> int:
    for opening, closing in ends.items():
        if text.startswith(opening, at):
            end = text.find(closing, at + len(opening))
            if end >= 0:
                return end + len(closing)
            del ends[opening]
            return 0
    found = _TAG.match(text, at)
    return found.end() if found else 0


def rich_media_from_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an event's data that holds media: `rich_media_data`, `rich_media` or `display`, else its own keys."""
    for key in ("rich_media_data", "rich_media", "display"):
        if data.get(key):
            media = _decoded(data[key])
            if isinstance(media, Mapping):
                return dict(media)
    return {key: data[key] for key in _MEDIA_KEYS if key in data}


def display_items_from_event_data(
    data: Mapping[str, Any], *, event_name: str | None = None, max_text_chars: int | None = None
) -> tuple[ThalovantDisplayItem, ...]:
    """Items to show of an event, in this order: text, table, attachments, choices, images.

    Texts longer than `max_text_chars` become several items, cut at spaces. Raises `ValueError` if that is below 1.
    """
    media = rich_media_from_data(data)
    silent = bool(data.get("silent")) or event_name == "write"
    items = list(text_items(_spoken(data), max_text_chars=max_text_chars, silent=silent))
    if (table := media.get("table")) is not None:
        items.append(ThalovantDisplayItem("table", data=_decoded(table)))
    items += _attachments(_listed(_first(media, "attachments", "attachment")))
    choices = list(_choices(_listed(_first(media, "quick_replies", "buttons"))))
    if choices:
        items.append(ThalovantDisplayItem("choices", data=choices))
    items += _images(_listed(_first(media, "image", "images")))
    return tuple(items)


def text_items(text: str, *, max_text_chars: int | None = None, silent: bool = False) -> Iterator[ThalovantDisplayItem]:
    """The text without SSML as display items of at most `max_text_chars` characters each.

    Raises `ValueError` if `max_text_chars` is below 1.
    """
    if max_text_chars is not None and max_text_chars < 1:
        raise ValueError("max_text_chars must be at least 1")
    plain = strip_ssml(text)
    pieces = [plain] if max_text_chars is None else _split(plain.strip(), max_text_chars)
    for piece in pieces:
        if piece.strip():
            yield ThalovantDisplayItem("text", text=piece, silent=silent)


def _split(text: str, limit: int) -> Iterator[str]:
    at = 0
    while len(text) - at > limit:
        space = text.rfind(" ", at + 1, at + limit + 1)
        end = space if space > at else at + limit
        yield text[at:end].strip()
        at = end
        while at < len(text) and text[at].isspace():
            at += 1
    yield text[at:]


def _spoken(data: Mapping[str, Any]) -> str:
    for key in ("utterance", "text"):
        if isinstance(found := data.get(key), str) and found:
            return found
    found = data.get("utterances")
    if isinstance(found, str):
        return found
    return " ".join(item for item in found if isinstance(item, str)) if isinstance(found, list | tuple) else ""


def _attachments(found: list[Any]) -> Iterator[ThalovantDisplayItem]:
    for item in found:
        if isinstance(item, Mapping):
            payload = _decoded(item.get("payload"))
            url = _first(payload, "src", "url") if isinstance(payload, Mapping) else None
            yield ThalovantDisplayItem(
                "image" if item.get("type") == "image" else "attachment",
                data=item,
                title=_word(item.get("title")),
                url=_word(url or _first(item, "src", "url")),
            )


def _choices(found: list[Any]) -> Iterator[dict[str, Any]]:
    for item in found:
        if isinstance(item, str):
            yield {"title": item, "payload": item, "data": item}
        elif isinstance(item, Mapping):
            title = _first(item, "title", "label", "text")
            payload = _first(item, "payload", "value") or title
            yield {"title": _word(title) or "", "payload": _word(payload) or "", "data": item}


def _images(found: list[Any]) -> Iterator[ThalovantDisplayItem]:
    for item in found:
        url = _first(item, "src", "url") if isinstance(item, Mapping) else item
        if url:
            yield ThalovantDisplayItem("image", data=item, url=_word(url))


def _first(values: Mapping[str, Any], *keys: str) -> Any:
    return next((values[key] for key in keys if values.get(key)), None)


def _listed(value: Any) -> list[Any]:
    value = _decoded(value)
    if isinstance(value, list | tuple):
        return list(value)
    return [value] if value else []


def _decoded(value: Any) -> Any:
    """Containers may come as JSON text; any other text is meant as it is."""
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return decoded if isinstance(decoded, dict | list) else value


def _word(value: Any) -> str | None:
    return None if value is None else str(value)
