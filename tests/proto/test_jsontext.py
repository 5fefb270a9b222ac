"""JSON: bounded, strict, and the same whether orjson is installed or not."""

from __future__ import annotations

import enum
import importlib.util
import json
import math
import sys
import uuid
from collections import OrderedDict, namedtuple
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, strategies as st

from tests.proto.vectors import load
from thalovant_proto import jsontext
from thalovant_proto.errors import DecodeError


def _without_orjson() -> ModuleType:
    """A second copy of the module, imported where orjson is not installed."""
    spec = importlib.util.spec_from_file_location("thalovant_proto.jsontext_plain", jsontext.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"orjson": None}):
        spec.loader.exec_module(module)
    return module


plain = _without_orjson()
both = pytest.mark.parametrize("module", [jsontext, plain], ids=["orjson", "stdlib"])


def read(module: ModuleType, data: bytes, *, max_size: int = 1 << 20, max_depth: int = 64) -> Any:
    return module.loads(data, max_size=max_size, max_depth=max_depth)


def outcome(module: ModuleType, data: bytes) -> str:
    """The value with its types (1 is not 1.0, 0.0 is not -0.0), or "refused"."""
    try:
        return repr(read(module, data))
    except DecodeError:
        return "refused"


def test_both_parsers_are_under_test():
    """The comparison below compares two libraries, not one with itself."""
    pytest.importorskip("orjson")
    assert jsontext._parse is not jsontext._parse_stdlib
    assert plain._parse is plain._parse_stdlib


# --- reading


@both
@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a": [1, -2.5, true, false, null, "\\u00e9"]}\n', {"a": [1, -2.5, True, False, None, "é"]}),
        (b'{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),  # of equal keys the last wins
        (b'"\\ud83d\\ude00 \xf0\x9f\x98\x80"', "😀 😀"),
        (b'"\\\\ud800"', "\\ud800"),  # an escaped backslash is no escape
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"[10000000000000000000000]", [10**22]),
        (b'"1234567890123456789012345"', "1234567890123456789012345"),
        (b"1e-400", 0.0),
        (b"0.1234567890123456789", 0.1234567890123456789),
    ],
)
def test_reads_what_json_says(module, data, value):
    """Values and their types, whatever the parser: whole numbers beyond 64 bits stay whole."""
    got = read(module, data)

    assert got == value
    assert type(got) is type(value)


@both
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}x",
        b"[1,]",
        b"01",
        b"\xef\xbb\xbf{}",  # byte order mark
        b'"\xff"',
        b'"\xed\xa0\x80"',  # a surrogate in UTF-8
        '"é"'.encode("utf-16"),
        '"é"'.encode("latin-1"),
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"-1e400",
        b'"\\ud800"',
        b'"\\uDC00x"',
        b'"\\ud83d\\\\\\ude00"',  # halves that a backslash keeps apart
        b'"\\ud83d\\ud83d\\ude00"',
        b'{"a": "\\ud800", "a": 1}',  # in a value that the next one replaces
        b'"\x01"',
        b'"\\x41"',
        b"9" * 5000,
        b"-" + b"9" * 5000,
    ],
)
def test_refuses_what_json_does_not_say(module, data):
    """Both parsers refuse it, with the one error of codecs."""
    with pytest.raises(DecodeError):
        read(module, data)


@both
def test_size_is_checked_before_anything_else(module):
    """A text over the limit is refused for its size, whatever it holds; one at the limit is read."""
    assert read(module, b"[]  ", max_size=4) == []
    with pytest.raises(DecodeError, match="5 bytes is over the limit of 4"):
        read(module, b"\xff" * 5, max_size=4)


@both
@pytest.mark.parametrize(
    ("data", "deep"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b'{"a":' * 63 + b"{}" + b"}" * 63, False),
        (b"[" + b"[{}]," * 500 + b"[]]", False),  # many, but not deep
        (b'["' + b"[{" * 500 + b'"]', False),  # in a text
        (b'["' + b'\\"[' * 500 + b'"]', False),  # behind escaped quotes
        (b'["\\\\",' + b"[]," * 500 + b"0]", False),  # behind a text that ends in a backslash
        (b"[" * 65 + b"]" * 65, True),
        (b"[" * 100_000, True),
        (b'{"a":' * 100_000, True),
        (b'["\\\\",' * 65 + b"0" + b"]" * 65, True),  # each text ends in a backslash
        (b'["\\"",' * 65 + b"0" + b"]" * 65, True),  # each text is a quote
        (b'{"[":' * 65 + b"0" + b"}" * 65, True),
    ],
)
def test_depth_is_limited(module, data, deep):
    """What counts is nesting, not brackets, found without recursion before the parser sees it.

    A limit that was set too high ends in the same error, never in RecursionError.
    """
    if deep:
        with pytest.raises(DecodeError, match="deeper than the limit of 64"):
            read(module, data)
    else:
        assert read(module, data) == json.loads(data)
    with pytest.raises(DecodeError):
        read(module, b"[" * 200_000 + b"]" * 200_000, max_depth=10**6)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
_SCRAPS = [
    *'[]{},:"\\-019.e é',
    *("\\u", "d83d", "\\ude00", "999999999999999999", "E+", "400", "null", "true", "NaN", "Infinity", '"a"', '{"a":'),
    *("\t", "\x0c", "\x00", "\ufeff", "\u2028"),
]
scraps = st.lists(st.sampled_from(_SCRAPS), max_size=12).map("".join)


@given(scraps.map(str.encode) | json_values.map(json.dumps).map(str.encode) | st.binary(max_size=40))
@example(b"-0")
@example(b"-0.0")
@example(b'{"b":1,"a":2,"b":3}')
@example(b"123456789012345678e3")
def test_both_parsers_read_the_same(data):
    """Any text gives the same value, types and order included, or is refused by both."""
    assert outcome(plain, data) == outcome(jsontext, data)


@given(st.recursive(st.just([]), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=40))
def test_depth_is_counted_exactly(value):
    """The limit refuses exactly what nests deeper than it says."""

    def depth(item: list[Any]) -> int:
        return 1 + max(map(depth, item), default=0)

    data = json.dumps(value).encode()

    assert read(jsontext, data, max_depth=depth(value)) == value
    with pytest.raises(DecodeError):
        read(jsontext, data, max_depth=depth(value) - 1)


# --- writing


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    pass


Point = namedtuple("Point", "x y")
SOME_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@both
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True], "é": "\u2028 \x7f/"}, '{"a":[1,2.5,null,true],"é":"\u2028 \x7f/"}'),
        ('\x00\n"\\', '"\\u0000\\n\\"\\\\"'),
        (2**64, "18446744073709551616"),
        ({1: "a", None: "b", False: "c", 1.5: "d"}, '{"1":"a","null":"b","false":"c","1.5":"d"}'),
        ((1, Point(2, 3)), "[1,[2,3]]"),
        (OrderedDict(b=1, a=Name("x")), '{"b":1,"a":"x"}'),
        ([Colour.RED, Level.LOW], '["red",1]'),
        ([SOME_ID, None], '["12345678-1234-5678-1234-567812345678",null]'),
    ],
)
def test_writes_compact_json(module, value, text):
    """No spaces, no escapes that JSON does not ask for; what one library cannot write the other does."""
    assert module.dumps(value) == text.encode()


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@both
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        {"a": [None, (math.inf,)]},
        [None, -math.inf],
        {math.nan: 1},
        "\ud800",
        {"\udc00": 1},
        b"bytes",
        {1, 2},
        {b"key": 1},
        object(),
        cycle(),
        deep(100_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refuses_what_json_cannot_carry(module, value):
    """`ValueError` from both; orjson alone would turn NaN into null."""
    with pytest.raises(ValueError, match="not a JSON value"):
        module.dumps(value)


def test_errors_do_not_repeat_the_text():
    """Half a surrogate pair in a secret must not bring the secret into the error."""
    with pytest.raises(ValueError) as caught:
        plain.dumps({"password": "hunter2\ud800"})

    assert "hunter2" not in repr(caught.value)
    assert caught.value.__suppress_context__


python_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from([Colour.RED, Level.LOW, Name("n"), SOME_ID, b"", object]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3) | st.just(Name("k")), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(python_values)
def test_both_parsers_write_the_same(value):
    """What one writes the other does, with the same meaning; what one refuses the other does."""

    def written(module: ModuleType) -> str:
        try:
            return repr(read(module, module.dumps(value)))
        except ValueError as error:
            assert type(error) is ValueError
            return "refused"

    assert written(plain) == written(jsontext)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_is_written_is_read_back(value):
    """A round trip through either parser changes nothing."""
    assert repr(value) == repr(read(jsontext, plain.dumps(value))) == repr(read(plain, jsontext.dumps(value)))


# --- the canonical form


@both
@pytest.mark.parametrize("case", load("canonical_json")["cases"])
def test_canonical_vectors(module, case):
    """The agreed form, byte for byte, of a value as written and of what either parser reads from it."""
    canonical = bytes.fromhex(case["canonical_utf8_hex"])

    assert module.canonical(case["value"]) == canonical
    assert module.canonical(read(module, canonical)) == canonical
    assert canonical.decode() == case["canonical_text"]


@given(json_values)
def test_canonical_is_what_the_protocol_says(value):
    """It equals the one expression that the protocol defines it by, and has no form for NaN."""
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        got = jsontext.canonical(value)
    except ValueError:
        assert "NaN" in expected or "Infinity" in expected
    else:
        assert got == expected.encode()


@pytest.mark.parametrize("value", [{"a": 1, 2: 3}, "\ud800", SOME_ID, math.nan])
def test_canonical_refuses(value):
    """Keys that do not sort, lone surrogates and foreign types have no canonical form."""
    with pytest.raises(ValueError, match="not a JSON value"):
        jsontext.canonical(value)
