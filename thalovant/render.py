"""What a hub says, made harmless and readable: for terminals, as Markdown, as HTML.

Every function here is pure. Text of a hub may hold whatever its skills, or those who reached them, put there; what
comes out of here has no control character, no markup of theirs and no link that runs code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from .rich import ThalovantDisplayItem

#: Rows and columns of a table that are shown; what is beyond is counted. All of it is in the item.
MAX_ROWS: Final = 500
MAX_COLUMNS: Final = 50
_MAX_PADDED = 40  # a longer cell does not widen its column
_MAX_DATA = 200_000  # characters of an image inside its address

# C0, DEL and C1 control terminals; line and paragraph separators forge lines; bidi controls and the controls after
# them (deprecated, annotations, tags) change what is read; lone surrogates cannot be written.
_UNSEEN = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
# Patterns stay text until they are needed: to compile one costs a start of the command a millisecond.
_ONE_LINE = rf"[\x00-\x1f{_UNSEEN}]"
_LINES = rf"[\x00-\x08\x0b-\x1f{_UNSEEN}]"

_WEB = r"(?i:https?)://[^\s/?#]"
_PICTURE = r"(?i:data:image/(?:png|jpeg|gif|webp);base64),[A-Za-z0-9+/]+={0,2}"
_NOT_IN_URLS = r"""[\s"'<>\\^`{|}$]"""

# Entities where a backslash would mean something to those who look for formulas first; they are never markup.
_MARKUP = r"[\\`*_{}\[\]<>|~^$&]"
_ENTITIES = {"\\": "&#92;", "$": "&#36;", "<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;"}
_BLOCK = r"(?P<sign>[#+\-=:])|(?P<number>\d+)(?=[.)])"


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text with everything that acts on a terminal, or on the order of letters, written as an escape.

    Newlines and tabs stay if it may have `lines`. A text without such characters is given back as it is.

    Example:
        >>> visible("It is \x1b[31mred\x1b[0m.\n")
        'It is \\x1b[31mred\\x1b[0m.\\n'
    """
    return text if text.isprintable() else re.sub(_LINES if lines else _ONE_LINE, _escaped, text)


def safe_url(url: str | None) -> str | None:
    """The address if it leads to the web (`http` or `https`) and nothing else, otherwise None.

    Example:
        >>> safe_url("https://parts.example/p-100.pdf")
        'https://parts.example/p-100.pdf'
        >>> safe_url("javascript:alert(1)") is None
        True
    """
    if url is None or not re.match(_WEB, url) or visible(url) != url or any(sign.isspace() for sign in url):
        return None
    return url


class Table(NamedTuple):
    """A table as text: its header (perhaps empty), its rows, and how many rows and columns are left out."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more_rows: int = 0
    more_columns: int = 0

    @property
    def left_out(self) -> str:
        """What is left out, in words; "" if it is all there."""
        parts = [f"{count} more {what}" for count, what in ((self.more_rows, "rows"), (self.more_columns, "columns"))
                 if count]  # fmt: skip
        return f"({', '.join(parts)})" if parts else ""


def table_of(data: Any) -> Table:
    """The table that an item's `data` means, each cell on one line and harmless on a terminal.

    Takes rows as lists or mappings, beside their `columns` or `headers` or without; a mapping of names and values; any
    other value is a table of one cell.

    Example:
        >>> table_of({"columns": ["Part", "Stock"], "rows": [["Cable", 3]]})
        Table(header=('Part', 'Stock'), rows=(('Cable', '3'),), more_rows=0, more_columns=0)
    """
    header: list[Any] = []
    rows: Any = data
    if isinstance(data, Mapping):
        rows = data.get("rows")
        header = next((list(data[key]) for key in ("columns", "headers", "header") if _is_list(data.get(key))), [])
        if not _is_list(rows):
            header, rows = [], [list(pair) for pair in data.items()]
    elif not _is_list(data):
        rows = [[data]]
    shown = rows[:MAX_ROWS]
    if not header and shown and all(isinstance(row, Mapping) for row in shown):
        header = list(dict.fromkeys(key for row in shown for key in row))
    keys = [_first(column, "key", "field", "name", "title", "label") for column in header]
    cells = [_row(row, keys) for row in shown]
    titles = [_first(column, "title", "label", "name", "key", "field") for column in header]
    return Table(
        header=tuple(_cell(one) for one in titles[:MAX_COLUMNS]),
        rows=tuple(tuple(_cell(one) for one in row[:MAX_COLUMNS]) for row in cells),
        more_rows=len(rows) - len(shown),
        more_columns=max(0, max(map(len, (header, *cells))) - MAX_COLUMNS),
    )


def to_text(items: Iterable[ThalovantDisplayItem]) -> str:
    """The items for a terminal or a file, one below the other; nothing in it controls a terminal.

    Example:
        >>> from thalovant import ThalovantDisplayItem
        >>> print(to_text([ThalovantDisplayItem("choices", data=[{"title": "Cable", "payload": "p-2"}])]))
        1) Cable [p-2]
    """
    return "\n".join(line for item in items for line in _text_lines(item))


def to_markdown(items: Iterable[ThalovantDisplayItem]) -> str:
    """The items as Markdown with tables (GFM), in which no text of theirs is markup. `reply` shows so in notebooks.

    Links and images lead to the web only; other addresses are shown as text.

    Example:
        >>> from thalovant import ThalovantDisplayItem
        >>> print(to_markdown([ThalovantDisplayItem("text", text="*It is* <b>ten</b>.")]))
        \\*It is\\* &lt;b&gt;ten&lt;/b&gt;.
    """
    return "\n\n".join(filter(None, map(_markdown, items)))


def to_html(items: Iterable[ThalovantDisplayItem]) -> str:
    """The items as HTML, escaped: a `p`, `table`, `ul`, `img` or link each, of the class `thalovant-KIND`.

    A choice has what it sends in `data-payload`. Links and images lead to the web only, or images are inside.

    Example:
        >>> from thalovant import ThalovantDisplayItem
        >>> to_html([ThalovantDisplayItem("text", text="<script>")])
        '<p class="thalovant-text">&lt;script&gt;</p>'
    """
    return "\n".join(filter(None, map(_html, items)))


def label_of(item: ThalovantDisplayItem) -> str:
    """What an image or attachment is called: its title, else the end of its address, on one line.

    Example:
        >>> from thalovant import ThalovantDisplayItem
        >>> label_of(ThalovantDisplayItem("image", url="https://parts.example/p-100.png?size=2"))
        'p-100.png'
    """
    title = item.title or (_first(item.data, "title", "alt", "name") if isinstance(item.data, Mapping) else None)
    if isinstance(title, str) and title.strip():
        return visible(" ".join(title.split()))
    url = item.url or ""
    path = "" if url[:5].lower() == "data:" else re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/")
    return visible(path.rpartition("/")[2]) or item.kind


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _first(value: Any, *keys: str) -> Any:
    """The value itself, or that of the first key which it has."""
    if not isinstance(value, Mapping):
        return value
    return next((value[key] for key in keys if key in value), "")


def _row(row: Any, keys: list[Any]) -> list[Any]:
    if isinstance(row, Mapping):
        return [row.get(key, "") if isinstance(key, str) else "" for key in keys] if keys else list(row.values())
    return list(row) if _is_list(row) else [row]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping | list | tuple):
        import json

        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, RecursionError):
            value = "…"
    return visible(" ".join(str(value).split()))


def _address(item: ThalovantDisplayItem) -> str:
    """The address to show; of an image that is inside it only its size."""
    url = item.url or ""
    return f"({len(url)} characters of data)" if url[:5].lower() == "data:" else visible(url)


def _choices(item: ThalovantDisplayItem) -> Iterator[tuple[str, str]]:
    """Title and payload of each choice; the payload is exact."""
    for one in item.data if _is_list(item.data) else ():
        title, payload = (str(_first(one, key)) for key in ("title", "payload"))
        yield " ".join(title.split()) or payload, payload


# --- terminals ---


def _text_lines(item: ThalovantDisplayItem) -> Iterator[str]:
    match item.kind:
        case "table":
            yield from table_lines(table_of(item.data))
        case "choices":
            for number, (title, payload) in enumerate(_choices(item), 1):
                sends = "" if payload == title else f" [{visible(payload)}]"
                yield f"{number}) {visible(title)}{sends}"
        case "text":
            yield visible(item.text or "", lines=True)
        case _:
            yield f"{item.kind}: {label_of(item)} {_address(item)}".rstrip()


def table_lines(table: Table) -> Iterator[str]:
    """The lines of a table, in columns."""
    rows = [table.header, *table.rows] if table.header else list(table.rows)
    widths: list[int] = []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        for at, cell in enumerate(row):
            if (width := _width(cell)) <= _MAX_PADDED:
                widths[at] = max(widths[at], width)
    if table.header:
        rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        padded = (cell + " " * max(0, width - _width(cell)) for cell, width in zip(row, widths, strict=False))
        yield "  ".join(padded).rstrip()
    if table.left_out:
        yield table.left_out


def _width(text: str) -> int:
    """Columns that a terminal takes for it."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(2 if east_asian_width(sign) in "WF" else not combining(sign) for sign in text)


# --- Markdown ---


def _markdown(item: ThalovantDisplayItem) -> str:
    match item.kind:
        case "text":
            kept = (_marked_line(line) for line in (item.text or "").splitlines())
            return "  \n".join(line for line in kept if line)
        case "table":
            table = table_of(item.data)
            columns = max(map(len, (table.header, *table.rows)))
            header = (*map(_marked, table.header), *[""] * (columns - len(table.header)))
            rows = (header, ("---",) * columns, *(tuple(map(_marked, row)) for row in table.rows))
            lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            return f"{lines}\n\n{table.left_out}".rstrip()
        case "choices":
            return "\n".join(f"{at}. {_marked_line(title)}" for at, (title, _) in enumerate(_choices(item), 1))
    url, label = safe_url(item.url), _marked(label_of(item))
    if url is None:
        return f"{item.kind}: {label} {_marked(_address(item))}".rstrip()
    quoted = re.sub(_NOT_IN_URLS, _percent, url).replace("&", "&amp;")
    return f"{'!' if item.kind == 'image' else ''}[{label}](<{quoted}>)"


def _marked(text: str) -> str:
    """The text within a line of Markdown, none of it markup."""
    return re.sub(_MARKUP, lambda found: _ENTITIES.get(found[0]) or f"\\{found[0]}", visible(text))


def _marked_line(text: str) -> str:
    """The text as a line of Markdown: no list, headline, rule or block of code either."""
    marked = _marked(text.strip())
    start = re.match(_BLOCK, marked)
    if start is None:
        return marked
    return f"\\{marked}" if start["sign"] else f"{start['number']}\\{marked[start.end() :]}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


# --- HTML ---


def _html(item: ThalovantDisplayItem) -> str:
    match item.kind:
        case "text":
            return _tag("p", item, "<br>".join(_plain(line) for line in (item.text or "").splitlines()))
        case "table":
            table = table_of(item.data)
            head = f"<thead>{_html_row('th', table.header)}</thead>" if table.header else ""
            foot = f"<caption>{table.left_out}</caption>" if table.left_out else ""
            return _tag(
                "table", item, f"{foot}{head}<tbody>{''.join(_html_row('td', row) for row in table.rows)}</tbody>"
            )
        case "choices":
            rows = (f'<li data-payload="{_quoted(payload)}">{_plain(title)}</li>' for title, payload in _choices(item))
            return _tag("ul", item, "".join(rows))
    url, label = safe_url(item.url), _plain(label_of(item))
    if item.kind == "image" and (source := url or _picture(item.url)):
        return f'<img class="thalovant-image" src="{_quoted(source)}" alt="{label}" referrerpolicy="no-referrer">'
    if url is None:
        return _tag("p", item, f"{label} {_plain(_address(item))}".rstrip())
    return _tag("p", item, f'<a href="{_quoted(url)}" rel="noopener noreferrer nofollow">{label}</a>')


def _picture(url: str | None) -> str | None:
    """An image inside its address, of a kind that holds no program."""
    return url if url and len(url) <= _MAX_DATA and re.fullmatch(_PICTURE, url) else None


def _tag(name: str, item: ThalovantDisplayItem, inside: str) -> str:
    return f'<{name} class="thalovant-{_quoted(item.kind)}">{inside}</{name}>'


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_plain(cell)}</{tag}>' for cell in cells)}</tr>"


def _plain(text: str) -> str:
    """The text for people, within HTML."""
    return _quoted(visible(text))


def _quoted(text: str) -> str:
    """The exact text, within HTML or an attribute; a character that HTML cannot hold is written as an escape."""
    from html import escape

    return re.sub(_ONE_LINE, _referenced, escape(text))


def _referenced(found: re.Match[str]) -> str:
    code = ord(found[0])
    held = code in (0x09, 0x0A) or (code >= 0xA0 and not 0xD800 <= code <= 0xDFFF)  # others mean something else in HTML
    return f"&#{code};" if held else _escaped(found)
