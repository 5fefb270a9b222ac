"""Rich media: SSML out, tables, choices, images and attachments in one shape."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from thalovant import ThalovantDisplayItem, strip_ssml
from thalovant.rich import display_items_from_event_data, rich_media_from_data


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<speak>Hi <b>you</b></speak>", "Hi you"),
        ("<speak>hello<break time='1s'/>world</speak>", "helloworld"),
        ("a <b c='>'>d</b>", "a d"),
        ('<a:b c="1">y</a:b>', "y"),
        ("<b\n>x<b/ >", "x"),
        ("<?xml version='1'?>z", "z"),
        ("x <!-- c > --> y", "x  y"),
        ("  a   b ", "  a   b "),
        ("a &amp; b", "a &amp; b"),
        ("5 < 6 and 7 >", "5 < 6 and 7 >"),
        ("I <3 you", "I <3 you"),
        ("<1>x < b> </ b> <> <_a>", "<1>x < b> </ b> <> <_a>"),
        ("<![CDATA[x]]>y", "<![CDATA[x]]>y"),
        ("<unclosed a", "<unclosed a"),
        ("a<!--b <i>c</i>", "a<!--b c"),
        ("<?x y <i>c</i>", "<?x y c"),
        ("<!-- a --><i>b</i><!-- c", "b<!-- c"),
        ("don't <b>do 'it</b>", "don't do 'it"),
        ("<b it's>x", "x"),
        ("<a b='<i>'>x", "x"),
        ('<a b= "\'>" c>x', "x"),
        ("<a <b>x", "x"),
        ("<a b='>x", "<a b='>x"),
        ("<a b=\"<i c='>'>d", '<a b="d'),
        ("", ""),
    ],
)
def test_ssml(text, plain):
    """Tags, comments and processing instructions go; everything else that has a `<` stays."""
    assert strip_ssml(text) == plain


@given(st.text(alphabet="<>/a b!-?'\"="))
def test_ssml_only_takes_away(text):
    """What is left are letters of the text in their order, and stripping again takes no plain text."""
    plain = iter(text)

    assert all(letter in plain for letter in strip_ssml(text))
    assert strip_ssml(text.replace("<", "")) == text.replace("<", "")


def by_the_rules(text):
    """The same, rule by rule and letter by letter."""
    kept, at = "", 0
    while at < len(text):
        end = -1
        if opened := re.compile("</?[A-Za-z]").match(text, at):
            quote, value, end = "", False, opened.end()
            while end < len(text) and (quote or text[end] != ">"):
                if quote:
                    quote = "" if text[end] == quote else quote
                elif value and text[end] in "\"'":
                    quote = text[end]
                value = not quote and (text[end] == "=" or (value and text[end].isspace()))
                end += 1
            end = -1 if end == len(text) else end + 1
        else:
            for opening, closing in (("<!--", "-->"), ("<?", "?>")):
                if text.startswith(opening, at) and (found := text.find(closing, at + len(opening))) >= 0:
                    end = found + len(closing)
        kept, at = (kept, end) if end >= 0 else (kept + text[at], at + 1)
    return kept


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(["<", "<a", "</a", ">", "=", "='", '="', "'", '"', " ", "b", "<!--", "-->", "<?", "?>"]))
)
def test_ssml_by_the_rules(pieces):
    """What is remembered of a text on the way changes nothing."""
    text = "".join(pieces)

    assert strip_ssml(text) == by_the_rules(text)


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<?", "<a ", "<a b='", '<a b="', "</", "<a b='c'", "<a =", "<a b=\"<c d='"]
)
def test_ssml_takes_linear_time(piece):
    """A hostile text of many beginnings costs what its length costs: quadratic work would take hours here."""
    text = piece * 300_000

    assert strip_ssml(text) == text


def items(data, name="speak", **options):
    return list(display_items_from_event_data(data, event_name=name, **options))


def text(words, silent=False):
    return ThalovantDisplayItem("text", text=words, silent=silent)


def choices(*data):
    return [
        ThalovantDisplayItem(
            "choices", data=[dict(zip(("title", "payload", "data"), one, strict=True)) for one in data]
        )
    ]


def test_order():
    """Text, table, attachments, choices, images."""
    found = items({"images": ["c"], "buttons": ["b"], "attachments": [{"url": "a"}], "table": [1], "utterance": "t"})

    assert [item.kind for item in found] == ["text", "table", "attachment", "choices", "image"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"utterance": "<speak>hi</speak>"}, "hi"),
        ({"text": "hi"}, "hi"),
        ({"utterances": ["a", 5, "b"]}, "a b"),
        ({"utterances": "a"}, "a"),
        ({"utterance": "", "text": "x"}, "x"),
    ],
)
def test_text(data, words):
    """Utterance or text, else all utterances, without SSML."""
    assert items(data) == [text(words)]


@pytest.mark.parametrize(
    "data", [{}, {"utterance": "  "}, {"utterance": "<b/>"}, {"utterances": 5}, {"quick_replies": []}]
)
def test_nothing_to_show(data):
    """No text, no media, no item."""
    assert items(data) == []


def test_silent_text():
    """Shown, not said: told so, or by the event's name."""
    assert items({"utterance": "x", "silent": 1}) == [text("x", silent=True)]
    assert items({"utterance": "x"}, "write") == [text("x", silent=True)]


@pytest.mark.parametrize(
    ("limit", "pieces"),
    [
        (None, ["hello big wide world  and morelongword"]),
        (100, ["hello big wide world  and morelongword"]),
        (11, ["hello big", "wide world", "and", "morelongwor", "d"]),
        (10, ["hello big", "wide world", "and", "morelongwo", "rd"]),
        (5, ["hello", "big", "wide", "world", "and", "morel", "ongwo", "rd"]),
        (1, list("hellobigwideworldandmorelongword")),
    ],
)
def test_long_text(limit, pieces):
    """Cut at the last space that fits, else in the word; no blank pieces."""
    words = {"utterance": "hello big wide world  and morelongword"}

    assert [item.text for item in items(words, max_text_chars=limit)] == pieces


@given(st.text(), st.integers(1, 9))
def test_pieces_are_the_text(words, limit):
    """Pieces are never too long, and together they have every letter of the text."""
    pieces = [item.text for item in items({"utterance": words}, max_text_chars=limit)]

    assert all(0 < len(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(strip_ssml(words).split())


@pytest.mark.parametrize("limit", [0, -1])
def test_no_room_for_text(limit):
    """A limit that nothing fits into is the caller's mistake, not an endless loop."""
    with pytest.raises(ValueError, match="at least 1"):
        items({"utterance": "x"}, max_text_chars=limit)


@pytest.mark.parametrize(
    ("table", "data"),
    [([[1]], [[1]]), ("[[1, 2]]", [[1, 2]]), ('{"a": 1}', {"a": 1}), ("no json", "no json"), ([], []), ("5", "5")],
)
def test_table(table, data):
    """One item, JSON decoded."""
    assert items({"table": table}) == [ThalovantDisplayItem("table", data=data)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"attachment": {"type": "image", "title": "T", "payload": {"src": "s", "url": "u"}, "src": "o"}},
            [("image", "s", "T")],
        ),
        (
            {"attachments": [{"payload": '{"url": "pu"}', "url": "own"}, 5, {"url": "own2"}]},
            [("attachment", "pu", None), ("attachment", "own2", None)],
        ),
        ({"attachments": '[{"src": "z", "title": 5}]'}, [("attachment", "z", "5")]),
        ({"attachments": {"payload": "no json"}}, [("attachment", None, None)]),
    ],
)
def test_attachments(data, expected):
    """One or several, as JSON text too; the payload's address, else their own."""
    assert [(item.kind, item.url, item.title) for item in items(data)] == expected


def test_attachment_has_its_original():
    """Whatever else a skill put there can be had."""
    original = {"url": "u", "mime": "text/plain"}

    assert items({"attachment": original}) == [ThalovantDisplayItem("attachment", data=original, url="u")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"quick_replies": ["a", 5, None]}, choices(("a", "a", "a"))),
        ({"quick_replies": "plain"}, choices(("plain", "plain", "plain"))),
        ({"quick_replies": {"title": "one"}}, choices(("one", "one", {"title": "one"}))),
        ({"buttons": '[{"title": "j"}]'}, choices(("j", "j", {"title": "j"}))),
        ({"quick_replies": ["a"], "buttons": ["b"]}, choices(("a", "a", "a"))),
        ({"quick_replies": [], "buttons": ["b"]}, choices(("b", "b", "b"))),
        (
            {
                "buttons": [
                    {"title": "T", "payload": "P"},
                    {"label": "L"},
                    {"text": "X", "value": 6},
                    {"payload": "only"},
                ]
            },
            choices(
                ("T", "P", {"title": "T", "payload": "P"}),
                ("L", "L", {"label": "L"}),
                ("X", "6", {"text": "X", "value": 6}),
                ("", "only", {"payload": "only"}),
            ),
        ),
    ],
)
def test_choices(data, expected):
    """All in one item; each with a title to show and a payload to send."""
    assert items(data) == expected


@pytest.mark.parametrize(
    ("data", "urls"),
    [
        ({"image": "http://i"}, ["http://i"]),
        ({"images": ["http://i", {"src": "s", "title": "t"}, {"url": "u"}, {"x": 1}, ""]}, ["http://i", "s", "u"]),
        ({"images": '["a", "b"]'}, ["a", "b"]),
        ({"image": "a", "images": ["b"]}, ["a"]),
    ],
)
def test_images(data, urls):
    """One or several, text or mapping; without an address none."""
    assert [(item.kind, item.url) for item in items(data)] == [("image", url) for url in urls]


@pytest.mark.parametrize(
    ("data", "media"),
    [
        ({"rich_media_data": {"table": [1]}, "table": [2]}, {"table": [1]}),
        ({"rich_media": '{"image": "http://x"}'}, {"image": "http://x"}),
        ({"display": {"buttons": ["a"]}}, {"buttons": ["a"]}),
        ({"rich_media_data": {}, "rich_media": {"table": [3]}}, {"table": [3]}),
        ({"rich_media": "no json", "image": "u"}, {"image": "u"}),
        ({"rich_media": [1], "image": "u"}, {"image": "u"}),
        ({"rich_media": "[" * 100_000}, {}),
        ({"utterance": "x", "table": [1], "quick_replies": []}, {"table": [1], "quick_replies": []}),
    ],
)
def test_where_media_are(data, media):
    """In one of three places, as JSON text too, else among the data."""
    assert rich_media_from_data(data) == media


def test_text_is_never_taken_from_the_media():
    """What is said is beside the media, not in them."""
    found = items({"rich_media": {"text": "inner", "table": [1]}, "utterance": "outer"})

    assert found == [text("outer"), ThalovantDisplayItem("table", data=[1])]


def test_item_as_dict():
    """The seven documented keys."""
    assert ThalovantDisplayItem("image", url="u").as_dict() == {
        "kind": "image",
        "text": None,
        "data": None,
        "title": None,
        "payload": None,
        "url": "u",
        "silent": False,
    }
