"""What a hub says on terminals, in Markdown and in HTML: readable, and without any power over who shows it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from unicodedata import bidirectional, category

import pytest
from hypothesis import given, strategies as st
from markdown_it import MarkdownIt

from thalovant import ThalovantDisplayItem, ThalovantError, render
from thalovant.render import label_of, safe_url, table_of, to_html, to_markdown, to_text, visible

HOSTILE = "\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\x08\x7f\r\x00\u202e\u2066\u200f\u061c\u2028\u2029\ufeff\udc80\U000e0041"
MARKUP = r"""<script>[x](javascript:alert`1`)![](//e)`*_~#|$\&amp; {}"'-+=.)"""

TAGS = {"p", "br", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "img", "a"}

texts = st.text(st.one_of(st.characters(), st.sampled_from(HOSTILE + MARKUP + "\n\t 1")))


def forbidden(text: str, *, allowed: str = "") -> list[str]:
    """Characters that no terminal may get, by what Unicode says of them."""
    return [
        sign
        for sign in text
        if sign not in allowed
        and (
            category(sign) in ("Cc", "Cs", "Zl", "Zp")
            or bidirectional(sign) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
            or sign in "\u061c\u200e\u200f"
        )
    ]


def item(kind: str, **fields: Any) -> ThalovantDisplayItem:
    return ThalovantDisplayItem(kind, **fields)


def choices(*pairs: tuple[str, str]) -> ThalovantDisplayItem:
    return item("choices", data=[{"title": title, "payload": payload, "data": {}} for title, payload in pairs])


def kinds(words: str) -> list[ThalovantDisplayItem]:
    """An item of each kind, with the same text wherever text can be."""
    return [
        item("text", text=words),
        item("table", data={"columns": [words, {"title": words}], "rows": [[words, {words: [words]}], {words: words}]}),
        item("table", data=[{words: words}]),
        item("image", url=words, title=words),
        item("image", url=f"https://hub.example/{words}"),
        item("attachment", url=words, data={"title": words}),
        item("attachment", url=f"data:{words}"),
        choices((words, words), ("x", words)),
    ]


# --- escapes ---


@given(texts)
def test_nothing_forbidden_passes(words: str) -> None:
    """Whatever the text, and whoever shows it."""
    assert forbidden(visible(words)) == []
    assert forbidden(visible(words, lines=True), allowed="\n\t") == []
    for show in (to_text, to_markdown, to_html):
        assert forbidden(show(kinds(words)), allowed="\n\t") == []
    assert forbidden(f"{ThalovantError(words)}{ThalovantError('x', hint=words).hint}", allowed="\n\t") == []


@pytest.mark.parametrize(
    ("text", "shown", "with_lines"),
    [
        ("a\x1b]0;t\x07\x9b\x7f", r"a\x1b]0;t\x07\x9b\x7f", None),
        ("a\r\n\tb", r"a\r\n\tb", "a\\r\n\tb"),
        ("\u202eevil\u2069\u2028", r"\u202eevil\u2069\u2028", None),
        ("\U000e0041\udc80", r"\U000e0041\udc80", None),
        ("👩‍👩‍👧 می‌خواهم é ß 日本 \\ \xa0", "👩‍👩‍👧 می‌خواهم é ß 日本 \\ \xa0", None),
    ],
)
def test_escapes(text: str, shown: str, with_lines: str | None) -> None:
    """As Python writes them; what only joins letters or emoji stays."""
    assert visible(text) == shown
    assert visible(text, lines=True) == (shown if with_lines is None else with_lines)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://x.example/a?b=c#d", True),
        ("HTTP://[::1]:80/", True),
        *((url, False) for url in ("javascript:alert(1)", " https://x", "java\tscript:x", "https://x/a b", "//x/y")),
        *((url, False) for url in ("https://x/\u202e", "https:///x", "data:text/html,x", "vbscript:x", "", None)),
    ],
)
def test_addresses(url: str | None, safe: bool) -> None:
    """Only those of the web can be followed."""
    assert safe_url(url) == (url if safe else None)


# --- terminals ---


@pytest.mark.parametrize(
    ("shown", "lines"),
    [
        (item("text", text="one\ntwo\x07"), ["one", "two\\x07"]),
        (choices(("Yes", "Yes"), ("No\nno", "/no"), ("", "only")), ["1) Yes", "2) No no [/no]", "3) only"]),
        (item("image", url="https://x/p.png", title="A\nB"), ["image: A B https://x/p.png"]),
        (item("image", url="data:image/png;base64,AAAA"), ["image: image (26 characters of data)"]),
        (item("attachment", url="https://x/a/sheet.pdf?k=1"), ["attachment: sheet.pdf https://x/a/sheet.pdf?k=1"]),
        (item("attachment"), ["attachment: attachment"]),
        (
            item("table", data={"columns": ["Part", "Stück"], "rows": [["日本", 12], ["x"]]}),
            ["Part  Stück", "----  -----", "日本  12", "x"],
        ),
        (item("table", data={"Tea": 2.5, "Coffee": None}), ["Tea     2.5", "Coffee"]),
        (item("table", data={"headers": ["a", "b"], "rows": []}), ["a  b", "-  -"]),
        (item("table", data=[["x" * 41, 1], ["y", 2]]), [f"{'x' * 41}  1", "y  2"]),
        (item("table", data=[{"a": 1}, {"b": {"c": "é\n"}}]), ["a  b", "-  ------------", "1", '   {"c": "é\\n"}']),
        (item("table", data="plain"), ["plain"]),
        (item("table", data=[]), []),
        (item("table", data=[["a"]] * 502), ["a"] * 500 + ["(2 more rows)"]),
        (item("table", data=[["a"] * 52]), ["  ".join("a" * 50), "(2 more columns)"]),
    ],
)
def test_text(shown: ThalovantDisplayItem, lines: list[str]) -> None:
    """Aligned and numbered, one below the other; a table that is too large says so."""
    assert [line for line in to_text([shown]).split("\n") if line] == lines


@pytest.mark.parametrize(
    ("data", "header", "rows"),
    [
        ({"columns": [{"key": "n", "title": "Name"}], "rows": [{"n": 1, "m": 2}]}, ("Name",), (("1",),)),
        ({"columns": [5, None], "rows": [{"5": 1}]}, ("5", ""), (("", ""),)),
        ({"rows": "none"}, (), (("rows", "none"),)),
        ([{}, 5], (), ((), ("5",))),
        (None, (), (("",),)),
    ],
)
def test_shapes_of_tables(data: Any, header: tuple[str, ...], rows: tuple[Any, ...]) -> None:
    """Columns by key, and whatever else skills make of a table."""
    assert table_of(data) == (header, rows, 0, 0)


def test_cell_without_an_end() -> None:
    """A cell that is too deep to be written is left out, the rest is shown."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    assert to_text([item("table", data=[[deep, 1]])]) == "…  1"
    while deep:  # Python's own clean-up of this would be recursive
        deep = deep[0]


def test_labels() -> None:
    """The title, wherever it is; else the name of the file."""
    named = [item("image", url="u", data={"alt": "Alt"}), item("image", url="https://x/y/"), item("image", data="d")]
    assert [label_of(one) for one in named] == ["Alt", "y", "image"]


# --- Markdown ---


def parsed(markdown: str) -> tuple[set[str], str, list[str]]:
    """What a reader of Markdown makes of it: its marks, its text, and where it leads."""
    marks: set[str] = set()
    words, links = "", []
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        marks.add(block.type)
        for piece in block.children or ():
            marks.add(piece.type)
            words += "\n" if piece.type == "hardbreak" else piece.content
            links += [str(piece.attrs[key]) for key in ("href", "src") if key in piece.attrs]
    return marks, words, links


@given(texts)
def test_no_text_is_markdown(words: str) -> None:
    """A reader sees the text itself, in one paragraph."""
    lines = [visible(line.strip()) for line in words.splitlines()]

    marks, seen, _ = parsed(to_markdown([item("text", text=words)]))

    assert marks <= {"paragraph_open", "paragraph_close", "inline", "text", "hardbreak"}
    assert "".join(seen.split()) == "".join("\n".join(lines).split())


@given(texts)
def test_markdown_leads_to_the_web_only(words: str) -> None:
    """Nor do titles, cells and choices become markup, and addresses are ours or none."""
    marks, _, links = parsed(to_markdown(kinds(words)))

    assert not marks & {"html_inline", "html_block", "code_inline", "code_block", "fence", "em_open", "strong_open"}
    assert not marks & {"heading_open", "hr", "blockquote_open", "bullet_list_open", "s_open"}
    assert all(link.startswith(("https://hub.example/", "http")) for link in links)


@pytest.mark.parametrize(
    ("shown", "markdown"),
    [
        (item("text", text="# a\n\n  1. b\n- c\n*d*"), "\\# a  \n1\\. b  \n\\- c  \n\\*d\\*"),
        (item("text", text="It's $x$ \\ a|b"), "It's &#36;x&#36; &#92; a&#124;b"),
        (item("table", data={"columns": ["a|b"], "rows": [["<c>", 1]]}),
         "| a&#124;b |  |\n| --- | --- |\n| &lt;c&gt; | 1 |"),
        (choices(("Yes", "/y"), ("- [x]", "/n")), "1. Yes\n2. \\- \\[x\\]"),
        (item("image", url="https://x/a b.png", title="t"), "image: t https://x/a b.png"),
        (item("image", url="https://x/p.png?a=1&b=$", title="[t]"), "![\\[t\\]](<https://x/p.png?a=1&amp;b=%24>)"),
        (item("attachment", url="https://x/p.pdf"), "[p.pdf](<https://x/p.pdf>)"),
        (item("attachment", url="javascript:alert(1)", title="t"), "attachment: t javascript:alert(1)"),
    ],
)  # fmt: skip
def test_markdown(shown: ThalovantDisplayItem, markdown: str) -> None:
    """Tables, lists, images and links, and text that reads well in the source too."""
    assert to_markdown([shown]) == markdown


# --- HTML ---


class Page(HTMLParser):
    """The elements and words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@given(texts)
def test_no_text_is_html(words: str) -> None:
    """Every element and attribute is ours, and what is read is the text."""
    page = Page(to_html(kinds(words)))

    assert {tag for tag, _ in page.tags} <= TAGS
    names = {name for _, attributes in page.tags for name in attributes}
    assert names <= {"class", "src", "alt", "href", "rel", "referrerpolicy", "data-payload"}
    links = [attributes.get("src") or attributes.get("href") for tag, attributes in page.tags if tag in ("img", "a")]
    assert all(link and link.startswith(("https://", "http://", "data:image/")) for link in links)
    assert Page(to_html([item("text", text=words)])).words == visible("".join(words.splitlines()))


@pytest.mark.parametrize(
    ("shown", "html"),
    [
        (item("text", text="a\n<b>"), '<p class="thalovant-text">a<br>&lt;b&gt;</p>'),
        (item("table", data={"columns": ["<a>"], "rows": [[1]]}),
         '<table class="thalovant-table"><thead><tr><th>&lt;a&gt;</th></tr></thead>'
         "<tbody><tr><td>1</td></tr></tbody></table>"),
        (item("table", data=[[1]] * 501), '<table class="thalovant-table"><caption>(1 more rows)</caption>'
         f"<tbody>{'<tr><td>1</td></tr>' * 500}</tbody></table>"),
        (choices(("Yes", '/y{"id":\n\u202e1}')),
         '<ul class="thalovant-choices"><li data-payload="/y{&quot;id&quot;:&#10;&#8238;1}">Yes</li></ul>'),
        (item("image", url="https://x/p.png", title='"x'),
         '<img class="thalovant-image" src="https://x/p.png" alt="&quot;x" referrerpolicy="no-referrer">'),
        (item("image", url="data:image/png;base64,AAAA"),
         '<img class="thalovant-image" src="data:image/png;base64,AAAA" alt="image" referrerpolicy="no-referrer">'),
        (item("image", url="data:image/svg+xml;base64,AAAA"),
         '<p class="thalovant-image">image (30 characters of data)</p>'),
        (item("attachment", url="https://x/p.pdf"),
         '<p class="thalovant-attachment">'
         '<a href="https://x/p.pdf" rel="noopener noreferrer nofollow">p.pdf</a></p>'),
        (item("attachment", url="javascript:alert(1)", title="t"),
         '<p class="thalovant-attachment">t javascript:alert(1)</p>'),
    ],
)  # fmt: skip
def test_html(shown: ThalovantDisplayItem, html: str) -> None:
    """Plain elements with a class each, for the page to style."""
    assert to_html([shown]) == html


def test_nothing_to_render() -> None:
    """No item, no text."""
    assert [show([]) for show in (to_text, to_markdown, to_html)] == [""] * 3
    assert render.MAX_ROWS > render.MAX_COLUMNS
