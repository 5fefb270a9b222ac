"""Items that a screen shows of an event: text, tables, attachments, choices and images, in all shapes of skills."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_MEDIA_KEYS: Final = ("table", "attachment", "attachments", "quick_replies", "buttons", "image", "images")
_MARKUP: Final = re.compile(r"<(?:/?[A-Za-z]|!--|\?)")
_TAG_STOP: Final = re.compile(r""">|=\s*(["'])""")  # the end of a tag, or the beginning of a quoted value


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
    start, ends = 0, _MarkupEnds(text)
    found = _MARKUP.search(text)
    while found is not None:
        if end := ends.after(found):
            kept.append(text[start : found.start()])
            start = end
        found = _MARKUP.search(text, end or found.end())
    kept.append(text[start:])
    return "".join(kept)


class _MarkupEnds:
    """The ends of the markup of one text. What was found to lead nowhere is remembered, and not looked at again."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._closings = {"<!--": "-->", "<?": "?>"}  # gone once it does not occur any more
        self._dead: set[int] = set()  # quoted values after which no tag ends
        self._looked: tuple[int, re.Match[str] | None] = (len(text), None)  # from where, and the stop found

    def after(self, opening: re.Match[str]) -> int:
        """The end of the markup that begins there, 0 if it never closes."""
        at, kind = opening.end(), opening[0]
        if kind[-1].isalpha():
            return self._tag_end(at)
        end = self._text.find(closing, at) if (closing := self._closings.get(kind)) else -1
        if end < 0:
            self._closings.pop(kind, None)
            return 0
        return end + len(self._closings[kind])

    def _tag_end(self, at: int) -> int:
        path = []
        since, stop = self._looked
        if at < since or (stop is not None and at > stop.start()):
            stop = _TAG_STOP.search(self._text, at)
            self._looked = (at, stop)
        while stop is not None and stop.start() not in self._dead:
            if not stop[1]:
                return stop.end()
            path.append(stop.start())
            at = self._text.find(stop[1], stop.end()) + 1
            stop = _TAG_STOP.search(self._text, at) if at else None
        self._dead.update(path)
        return 0


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
