"""What flows are made of. A flow is a generator: it yields requests and waits, and is sent the answers.

It does no input or output and knows no clock: whoever runs it sends an `Answer` for each `Request`, None for each
`Wait`, and throws in `ThalovantAPIUnreachableError` or `TimeoutError` where there was no answer.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeAlias, TypeVar

from attrs import field, frozen

R = TypeVar("R")


@frozen(kw_only=True)
class Request:
    """A request to the API. `path` is below its address, or a whole URL of the same origin."""

    method: str
    path: str
    query: Mapping[str, str | int] | None = None
    json: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    auth: bool = True
    timeout: float | None = None

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once (RFC 9110 §9.2.2, or by its key)."""
        return self.method in ("GET", "DELETE") or "Idempotency-Key" in self.headers


@frozen
class Wait:
    """A pause, in seconds."""

    seconds: float


@frozen(kw_only=True)
class Answer:
    """An answer; `at` is when it came by a monotonic clock, `date` by the calendar (seconds since 1970)."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    at: float = 0.0
    date: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the API did what was asked."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """The value of a header, None if it is not there."""
        return next((value.strip() for key, value in self.headers if key.lower() == name), None)


Flow: TypeAlias = Generator[Request | Wait, Answer | None, R]


def answered(request: Request) -> Flow[Answer]:
    """The answer to one request, whatever it is."""
    answer = yield request
    assert answer is not None  # noqa: S101 - only a wait is sent None
    return answer
