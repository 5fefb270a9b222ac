"""Answers and problems of the API (RFC 9457). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from thalovant_proto import jsontext
from thalovant_proto.links.https.server import Reply


class Problem(Exception):
    """A refusal. `more` are fields of the body beside `status` and `detail`; nothing of the request may be in them."""

    def __init__(self, status: int, detail: Any, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(f"HTTP {status}")
        head = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
        self.detail = detail
        self.reply: Reply = answer({**head, "detail": detail, **more}, status, headers, "application/problem+json")


def answer(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = "application/json"
) -> Reply:
    """An answer in JSON; one without a body for None."""
    content = b"" if body is None else jsontext.dumps(body)
    return Reply(204 if body is None else status, content, tuple((headers or {}).items()), media_type)


def invalid(*faults: tuple[Iterable[str], str]) -> Problem:
    """The problem of fields, each with its path and what it must be."""
    errors = [{"type": "invalid", "loc": [*where], "msg": reason} for where, reason in faults]
    detail = "; ".join(f"{'.'.join(one['loc'][1:]) or 'body'}: {one['msg']}" for one in errors)
    return Problem(422, detail, code="schema_validation_failed", errors=errors)


def missing(kind: str) -> Problem:
    """The problem of something that is not there, or not for whoever asks."""
    return Problem(404, f"No such {kind.replace('_', ' ')}", code="not_found")
