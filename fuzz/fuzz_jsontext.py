"""JSON texts: bounded, strict, the same with and without orjson; what was read can be written, and is read the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

from fuzz.seeds import clear_texts, sealed_texts
from tests.proto.vectors import load
from thalovant_proto import jsontext
from thalovant_proto.errors import DecodeError

SIZE, DEPTH = 4096, 16
# A number may be spelled longer than it came (1e300), never by more than this factor.
LONGER = 310
REFUSED = object()


def _without_orjson() -> ModuleType:
    """A second copy of the module, imported where orjson is not installed."""
    spec = importlib.util.spec_from_file_location("thalovant_proto.jsontext_plain", jsontext.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"orjson": None}):
        spec.loader.exec_module(module)
    return module


plain = _without_orjson()


def read(module: Any, data: bytes) -> Any:
    try:
        return module.loads(data, max_size=SIZE, max_depth=DEPTH)
    except DecodeError:
        return REFUSED


def one(data: bytes) -> object:
    value = read(jsontext, data)
    # With types: 1 is not 1.0, 0.0 is not -0.0.
    assert repr(value) == repr(read(plain, data)), "orjson and the standard library differ"
    if value is REFUSED:
        return None
    canonical = jsontext.canonical(value)
    assert canonical == plain.canonical(value)
    for written in (jsontext.dumps(value), plain.dumps(value), canonical):
        again = jsontext.loads(written, max_size=LONGER * SIZE, max_depth=DEPTH)
        assert repr(again) == repr(value) or written is canonical, "a value does not survive"
        assert again == value
        assert jsontext.canonical(again) == canonical
    return value


def seeds() -> Iterator[bytes]:
    yield from clear_texts("hub")
    yield from sealed_texts()
    for case in load("canonical_json")["cases"]:
        yield bytes.fromhex(case["canonical_utf8_hex"])
        yield json.dumps(case["value"]).encode()
    yield from (b"1e400", b"-0.0", b"18446744073709551616", b"1" * 5000, b"NaN", b"[" * 20 + b"]" * 20)
    yield from (rb'"\ud83d\ude00"', rb'"\ud83d"', rb'"\\ud83d"', b"\xef\xbb\xbf1", b'{"a":1,"a":"\\udc00"}', b'"\\""')
