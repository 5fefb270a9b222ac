"""The hint of every error, read from the source: none is empty, and none says what its message says already."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from thalovant import errors
from thalovant._internal.error_mapping import link_error
from thalovant_proto import dial
from thalovant_proto.failures import Failure, FailureKind
from thalovant_proto.links import http_status, strangers
from thalovant_proto.links.https import answer
from thalovant_proto.links.mqtt import connect

ROOT = Path(__file__).parent.parent
PACKAGES = ("thalovant_proto", "thalovant_io", "thalovant")


def _text(node: ast.expr) -> str | None:
    """The text of a literal, its fields as `…`; None for what is no literal."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or "…" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{_text(left) or '…'}{_text(right) or '…'}"
    return None


def _hints() -> Iterator[tuple[str, str, str]]:
    """Where, message, hint: of every call that gives both as literals, and of the tables."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(call, ast.Call):
                    continue
                given = {word.arg: _text(word.value) for word in call.keywords}
                if (hint := given.get("hint")) is not None:
                    message = given.get("message") or (_text(call.args[0]) if call.args else None) or ""
                    yield f"{path.relative_to(ROOT)}:{call.lineno}", message, hint
    for table in (errors._HINTS, dial._HINTS, http_status._HINTS, answer._HINTS):
        yield from ((f"{table is errors._HINTS} {key}", "", hint) for key, hint in table.items())
    yield from ((code.name, reason, hint) for code, (_, _, reason, hint) in connect._REFUSALS.items())
    yield from ((start, what, hint) for start, what, hint in strangers._FAULTS if hint)


def _clauses(text: str) -> set[str]:
    """Clauses of two words and more."""
    return {" ".join(words) for one in re.split(r"[.,;:?()]", text.lower()) if len(words := one.split()) > 1}


HINTS = list(_hints())


@pytest.mark.parametrize(("message", "hint"), [pytest.param(*rest, id=where) for where, *rest in HINTS])
def test_hint(message: str, hint: str) -> None:
    """It is there, on one line, and goes on where the message ends."""
    assert hint.strip()
    assert "\n" not in hint
    assert not _clauses(message) & _clauses(hint)


def test_the_walk_finds_them() -> None:
    """It would find nothing wrong in nothing."""
    assert len([where for where, *_ in HINTS if ".py:" in where]) > 30


@pytest.mark.parametrize("kind", FailureKind)
def test_every_verdict_has_a_hint(kind: FailureKind) -> None:
    """Where the core says none, the name has one, or the class."""
    error = link_error(Failure(kind=kind, message="it failed"))

    assert error.hint
    assert error.name
