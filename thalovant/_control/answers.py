"""Answers of the API, read: their JSON, the errors they stand for, and when to come back. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from thalovant_proto import jsontext
from thalovant_proto.errors import DecodeError
from thalovant_proto.limits import MIB

from .._internal.redact import names_secret
from ..errors import ThalovantAlreadyLinkedError, ThalovantAPIError, ThalovantAuthError, ThalovantPlanError, shortened
from .flows import Answer

MAX_BODY: Final = 8 * MIB  # as much as the HTTP client takes
MAX_DEPTH: Final = 64
OMITTED: Final = "[omitted]"

_CODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_NEXT: Final = re.compile(r"<([^<>]*)>(?:\s*;[^,<]*)?;\s*rel\s*=\s*\"?next\b", re.IGNORECASE)
_EPOCH: Final = 1_000_000_000  # a RateLimit-Reset beyond it is a point in time, not seconds from now


def parsed(body: bytes) -> Any:
    """The value of a body, None for what is no JSON."""
    try:
        return jsontext.loads(body, max_size=MAX_BODY, max_depth=MAX_DEPTH)
    except DecodeError:
        return None


def read(answer: Answer, secrets: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The object of an answer, empty if it has no body. Raises the error that any other answer stands for."""
    if not answer.ok:
        raise failure(answer, secrets)
    if not answer.body.strip():
        return {}
    value = parsed(answer.body)
    if value is None and answer.body.strip() != b"null":
        raise ThalovantAPIError("Thalovant API returned a non-JSON response.", status_code=answer.status)
    if not isinstance(value, dict):
        raise ThalovantAPIError("Thalovant API returned an unexpected response shape.", status_code=answer.status)
    return value


def failure(answer: Answer, secrets: frozenset[str] = frozenset()) -> ThalovantAPIError:
    """The error for an answer that is no success; its text repeats nothing of what was sent."""
    status = answer.status
    value = parsed(answer.body)
    problem = value if isinstance(value, dict) else None
    given = problem or {}
    inner = given.get("detail")
    places = (given, inner if isinstance(inner, dict) else {})
    code, detail = (
        next((text for place in places if isinstance(text := place.get(key), str) and text.strip()), None)
        for key in ("code", "detail")
    )
    request_id = answer.header("x-request-id") or ""
    error = _kind(status, code, detail)(
        _message(status, given, secrets),
        status_code=status,
        code=code,
        detail=detail,
        problem=problem,
        retry_after_seconds=retry_after(answer, places),
        request_id=request_id if _CODE.fullmatch(request_id) else None,
    )
    if isinstance(error, ThalovantAlreadyLinkedError):
        error.client_id = next((one for place in places if isinstance(one := place.get("client_id"), str)), None)
    return error


def _kind(status: int, code: str | None, detail: str | None) -> type[ThalovantAPIError]:
    if status in (401, 423) or (status == 403 and (detail or "").strip().rstrip(".") == "Insufficient scopes"):
        return ThalovantAuthError
    if status == 402 or (status == 403 and code == "plan_limit"):
        return ThalovantPlanError
    if status == 409 and code == "home_assistant_already_linked":
        return ThalovantAlreadyLinkedError
    return ThalovantAPIError


def _message(status: int, given: Mapping[str, Any], secrets: frozenset[str]) -> str:
    if 300 <= status < 400:
        return "Thalovant API redirected the request; redirects are disabled."
    texts = (text for key in ("detail", "message", "error") if isinstance(text := given.get(key), str))
    said = next((text for text in texts if text.strip()), "")
    for secret in sorted({*secrets, *_echoes(given)}, key=len, reverse=True):
        for spelling in (secret, *(json.dumps(secret, ensure_ascii=one)[1:-1] for one in (True, False))):
            said = said.replace(spelling, OMITTED)
    code = given.get("code")
    code = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) and code not in secrets else ""
    return f"Thalovant API request failed with HTTP {status}" + (f": {shortened(said)}{code}" if said else f"{code}.")


def texts_of(value: object, secret: bool = False) -> Iterator[str]:
    """The texts of a value that are under names of secrets; all of them if it is `secret`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_of(item, secret or names_secret(key) or "code" in str(key))  # device_code, code_verifier
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_of(item, secret)
    elif secret and isinstance(value, str) and len(value.strip()) > 3:  # shorter ones are in every sentence
        yield value


def _echoes(value: object) -> Iterator[str]:
    """What entries of validation errors repeat of the request."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_of(item, secret=True) if key == "input" else _echoes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _echoes(item)


def retry_after(answer: Answer, places: tuple[Mapping[str, Any], ...] | None = None) -> float | None:
    """How long the API asks to stay away, in seconds; None where it says nothing that makes sense.

    `retry_after_seconds` within the problem's `detail`, else at its top, else the header Retry-After (seconds or a
    date, RFC 9110 §10.2.3), else RateLimit-Reset.
    """
    for place in reversed(places or ()):
        if (seconds := _seconds(place.get("retry_after_seconds"))) is not None:
            return seconds
    given = answer.header("retry-after") or ""
    if (seconds := _seconds(given)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - answer.date)
    except (ValueError, TypeError, OverflowError, IndexError):
        reset = _seconds((answer.header("ratelimit-reset") or "").partition(",")[0])
    return None if reset is None else max(0.0, reset - answer.date) if reset > _EPOCH else reset


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def next_cursor(page: Mapping[str, Any], link: str | None = None) -> str | None:
    """The cursor of the page after this one: `meta.next`, else that of `links.next` or of a Link header (RFC 8288)."""
    for name in ("meta", "links"):
        place = page.get(name)
        found = place.get("next") if isinstance(place, Mapping) else None
        if isinstance(found, str) and found.strip():
            return found if name == "meta" else _cursor_of(found)
    linked = _NEXT.search(link or "")
    return _cursor_of(linked[1]) if linked else None


def _cursor_of(link: str) -> str | None:
    try:
        return parse_qs(urlsplit(link).query).get("cursor", [None])[0]
    except ValueError:
        return None
