"""The one place for JSON: bounded and strict on the way in, compact on the way out, canonical for transcripts.

orjson does the work if it is installed, the standard library if not. Both give the same values and refuse the same
texts; a property test holds them to it.
"""

from __future__ import annotations

import enum
import json
import re
from itertools import accumulate
from math import isfinite, isinf
from typing import Any, Final

from .errors import DecodeError

# One pass over a text answers both questions that are asked before parsing: every `{` and `[` becomes `[`, every
# digit becomes 0.
_SHAPE: Final = bytes.maketrans(b"{123456789", b"[000000000")
# A whole number with fewer digits fits in 64 bits. Beyond that orjson gives a float, the standard library an int.
_LONG_NUMBER: Final = b"0" * 19
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")  # as signed bytes: one level down, one up
_ESCAPED_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(data: bytes, *, max_size: int, max_depth: int) -> Any:
    """The value of a JSON text (RFC 8259, UTF-8, no byte order mark). Of equal keys the last wins.

    Refuses more than `max_size` bytes or `max_depth` levels of nesting before it parses, then NaN, infinities, numbers
    that overflow a double and lone surrogates. Raises `DecodeError` and nothing else.
    """
    shape = check(data, max_size=max_size, max_depth=max_depth)
    return _parse_stdlib(data) if _LONG_NUMBER in shape else _parse(data)


def check(data: bytes, *, max_size: int, max_depth: int) -> bytes:
    """Refuse what `loads` refuses before it parses, with `DecodeError`: a writer's peer has limits too.

    Returns the text with its braces as brackets and its digits as zeros.
    """
    if len(data) > max_size:
        raise DecodeError(f"JSON text of {len(data)} bytes is over the limit of {max_size}")
    shape = data.translate(_SHAPE)
    if shape.count(b"[") > max_depth and _depth(data) > max_depth:
        raise DecodeError(f"JSON text nests deeper than the limit of {max_depth}")
    return shape


def dumps(value: object) -> bytes:
    """Compact JSON, UTF-8, unescaped. Spelling of floats may differ between parsers, their value does not.

    Raises `ValueError` for what JSON cannot carry: NaN, infinities, lone surrogates, foreign types, cycles.
    """
    return _write(value)


def canonical(value: object) -> bytes:
    """The form that both ends hash: sorted keys, no spaces, no ASCII escaping (wire.md §5.3).

    Always the standard library's, whose spelling of numbers is the agreed one. Raises `ValueError` like `dumps`.
    """
    return _encode(_CANONICAL, value)


def _depth(data: bytes) -> int:
    """The nesting depth of brackets outside strings. Linear, and never recurses."""
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # what is left of `"` delimits strings
    outside = unescaped.translate(None, _NOT_STRUCTURE).split(b'"')[::2]
    steps = b"".join(outside).translate(_STEPS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


# --- the standard library


def _parse_stdlib(data: bytes) -> Any:
    try:
        value = _DECODER.decode(data.decode())
    except (ValueError, RecursionError):
        raise DecodeError("not a JSON text") from None
    if b"\\u" in data and _has_lone_surrogate(data):
        raise DecodeError("not a JSON text: it escapes half a surrogate pair")
    return value


def _has_lone_surrogate(data: bytes) -> bool:
    """Whether a valid JSON text escapes half a surrogate pair, be it in a value that a later equal key replaces."""
    without_pairs = _ESCAPED_PAIR.sub(b".", data.replace(b"\\\\", b"."))
    return _ESCAPED_SURROGATE.search(without_pairs) is not None


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("a number that overflows a double")
    return number


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _write_stdlib(value: object) -> bytes:
    return _encode(_ENCODER, value)


def _encode(encoder: json.JSONEncoder, value: object) -> bytes:
    try:
        return encoder.encode(value).encode()
    except UnicodeEncodeError:
        raise ValueError("not a JSON value: a text holds half a surrogate pair") from None
    except RecursionError:
        raise ValueError("not a JSON value: it nests too deep") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a JSON value: {error}") from None


def _plain(value: object) -> object:
    """The plain form of types that orjson writes by itself, so that installing it changes nothing."""
    if isinstance(value, enum.Enum):
        return value.value
    if type(value).__module__ == "uuid":
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_DECODER: Final = json.JSONDecoder(parse_float=_float, parse_constant=_constant)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
_CANONICAL: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=True)


# --- orjson

try:
    import orjson
except ImportError:
    _parse, _write = _parse_stdlib, _write_stdlib
else:
    # What the two libraries spell differently goes to the standard library.
    _FOREIGN = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

    def _parse_orjson(data: bytes) -> Any:
        """Reads whole numbers beyond 64 bits as floats: `loads` does not let it see them."""
        try:
            return orjson.loads(data)
        except ValueError:
            raise DecodeError("not a JSON text") from None

    def _write_orjson(value: object) -> bytes:
        try:
            data = orjson.dumps(value, option=_FOREIGN)
        except TypeError:
            return _write_stdlib(value)
        if b"null" in data and not _is_finite(value):  # NaN becomes null in silence
            return _write_stdlib(value)  # which says what is wrong
        return data

    def _is_finite(value: Any) -> bool:
        items = [value]
        for item in items:  # grows as it goes
            kind = type(item)
            if kind is dict:
                items.extend(item.values())
            elif kind is list or kind is tuple:
                items.extend(item)
            elif kind is float and not isfinite(item):
                return False
        return True

    _parse, _write = _parse_orjson, _write_orjson
