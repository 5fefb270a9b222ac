"""Answers of the control plane: an object, or an error that repeats no secret; pauses are numbers, cursors texts."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fuzz.harness import Tape, tape
from thalovant._control.answers import failure, next_cursor, read, retry_after
from thalovant._control.flows import Answer
from thalovant.errors import ThalovantAPIError

SECRET = "a secret of the request"
STATUSES = (200, 204, 302, 400, 401, 403, 409, 422, 429, 503)


def one(data: bytes) -> object:
    reader = Tape(data)
    names = ("retry-after", "ratelimit-reset", "link", "x-request-id")
    headers = tuple((name, reader.chunk().decode("latin-1")) for name in names)
    answer = Answer(status=reader.pick(STATUSES), headers=headers, body=reader.rest(), date=1e9)
    asked = retry_after(answer)
    assert asked is None or asked >= 0
    try:
        page = read(answer, frozenset((SECRET,)))
    except ThalovantAPIError as error:
        assert SECRET not in f"{error}{error!r}"
        assert "\n" not in str(error)
        assert error.retry_after_seconds is None or error.retry_after_seconds >= 0
        return None if answer.ok else error
    assert isinstance(failure(answer), ThalovantAPIError)
    assert isinstance(next_cursor(page, answer.header("link")), str | None)
    return page


def seeds() -> Iterator[bytes]:
    link = b'</v1/hubs?limit=2&cursor=c2>; rel="next", </v1/hubs>; rel="last"'
    invalid = {"detail": [{"loc": ["body"], "msg": "no", "input": {"a": [SECRET]}}], "message": f"not {SECRET}"}
    bodies = (
        {"data": [], "meta": {"next": "c"}},
        {"links": {"next": "/x?cursor=d"}},
        invalid,
        {"retry_after_seconds": 3},
        [],
    )
    for index in range(len(STATUSES)):
        for wait in (b"7", b"2.5", b"-1", b"nan", b"Wed, 21 Oct 2015 07:28:00 GMT", b"Wed, 21 Oct 2015 99:99:99 +9999"):
            for body in bodies:
                yield tape(wait, b"2000000000, 3", link, b"r-1", index) + json.dumps(body).encode()
    yield tape(b"", b"", b"", b"", 0) + b"<html>"
