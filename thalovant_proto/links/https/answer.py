"""The meaning of a hub's answers over HTTP, whichever generation of hub gives them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import h11
from attrs import field, frozen

from ...carrier import CloseKind, Frame, FrameType
from ...errors import DecodeError
from ...secret import Secret
from ..http_status import IN_ITS_PLACE, REDIRECTED, retry_after, status_hint
from .stream import FRAMES_FIELD, JSON_TYPE, HttpFault, HttpMessage, HttpsLimits, Resource, decode_object, escape


@frozen
class Answer:
    """A whole response, read. `error` is the hub's own words, which also come with status 200."""

    status: int
    fields: dict[str, Any] = field(repr=False)
    error: str | None = field(repr=False)
    retry_after: float | None


def read_answer(message: HttpMessage, limits: HttpsLimits) -> Answer:
    """Raises `HttpFault` for what a hub never says: a redirect, a page, a compressed or broken body."""
    status = cast(h11.Response, message.head).status_code
    if status in _REDIRECTS:
        raise HttpFault("a redirect, which is not followed", code="http_redirect", status=status)
    try:
        fields = _read_body(message, status, limits)
    except HttpFault:
        if status == 200:
            raise
        fields = {}  # a gateway's page: the status says it all
    error = fields.get("error")
    return Answer(
        status,
        fields,
        str(error) if error else None,
        retry_after(message.header(b"retry-after"), message.header(b"date")),
    )


def _read_body(message: HttpMessage, status: int, limits: HttpsLimits) -> dict[str, Any]:
    if message.header(b"content-encoding").lower() not in (b"", b"identity"):
        raise HttpFault("a compressed body, which was not asked for", code="http_encoding", status=status)
    if message.media_type not in ("", JSON_TYPE):
        raise HttpFault("a page, not JSON: a portal or a proxy?", code="http_content_type", status=status)
    try:
        return decode_object(message.body, limit=limits.response)
    except DecodeError as fault:
        raise HttpFault(str(fault), code="http_bad_body", status=status) from None


def judge(resource: Resource, answer: Answer, *, clearing: bool) -> CloseKind | None:
    """The one table of what answers mean (real-hubs.md §7, wire.md §7.1). None: the hub did what it was asked.

    `clearing`: the request only ends whatever session the hub may still hold.
    """
    said = (answer.error or "").lower()
    match answer.status:
        case 401 | 403:
            return CloseKind.REFUSED
        case 200 | 409 | 500 if clearing:
            return None  # nothing is left there now, or `/connect` will say what is wrong
        case 409:
            return CloseKind.FORGOTTEN
        case 200 if not said:
            return None
        case 200 if "not connected" in said:
            return CloseKind.FORGOTTEN
        case 400 | 500 if resource is Resource.CONNECT and said:
            return CloseKind.REFUSED  # how legacy hubs answer an unknown access key, and all an unreadable one
    return CloseKind.LOST


def read_frames(queue: Resource, answer: Answer) -> Iterator[Frame]:
    """The frames that a polled queue gave up; `DecodeError` in place of the first that is none."""
    name = FRAMES_FIELD[queue]
    listed = answer.fields.get(name)
    if not isinstance(listed, list):
        raise DecodeError(f"a poll without a list of {name}")
    for item in listed:
        if not isinstance(item, str):
            raise DecodeError(f"a poll whose {name} are not texts")
        if queue is Resource.TEXT:
            yield Frame(item.encode(), FrameType.TEXT)
            continue
        try:
            data = base64.b64decode(item, validate=True)
        except ValueError:
            raise DecodeError(f"a poll whose {name} are not base64") from None
        yield Frame(data, FrameType.BINARY)


_LONG_WORD: Final = re.compile(r"[A-Za-z0-9+/_=%-]{24,}")
_NO_WORD: Final = re.compile(r"[^\x21-\x7e…]+")
_QUOTE: Final = 120
_ENOUGH: Final = 4096  # characters to make a quote of


def quote(said: str | None, secrets: Iterable[Secret[str]]) -> str:
    """The hub's words as one short line, without `secrets` and anything else in them that could be a key."""
    words = said or ""
    rest = words[_ENOUGH:]
    words = words[:_ENOUGH]
    for secret in secrets:
        for spelling in (secret.reveal(), escape(secret.as_bytes())):
            words = re.sub(re.escape(spelling), "…", words, flags=re.IGNORECASE)
            if rest:
                words = words[: -len(spelling)]  # where one may have been cut in two
    return _LONG_WORD.sub("…", _NO_WORD.sub(" ", words))[:_QUOTE].strip()


_REDIRECTS: Final = (301, 302, 303, 307, 308)

_TOO_MUCH: Final = "no hub says so much at once: check the endpoint"
_HINTS: Final = {
    "http_malformed": "check scheme, host and port of the endpoint: are they the hub's HTTPS port?",
    "http_header": "look for it in the settings of the proxy before the hub",
    "http_head_too_large": _TOO_MUCH,
    "http_body_too_large": _TOO_MUCH,
    "http_too_many_chunks": _TOO_MUCH,
    "http_content_type": IN_ITS_PLACE,
    "http_bad_body": IN_ITS_PLACE,
    "http_encoding": "the proxy before the hub must leave answers as they are",
    "http_redirect": REDIRECTED,
    "http_truncated": "if that goes on, look into the log of the hub and of the proxy before it",
    "http_timeout": "if that goes on, look whether the hub, or the proxy before it, hangs",
    "hub_error": "look into the hub's log",
}


def hint(code: str, status: int | None) -> str:
    """The next step for whoever gets an answer that no hub should give."""
    return _HINTS[code] if code in _HINTS else status_hint(status or 0)
