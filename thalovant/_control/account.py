"""`Account`: what a control plane knows of its API: the address, who is signed in, and how much to ask of it."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from attrs import evolve

from ..errors import ThalovantAPIError, ThalovantAPIUnreachableError
from ..protocols import is_loopback
from .answers import failure, read, texts_of
from .flows import Answer, Flow, Request, Wait, answered

DEFAULT_CONTROL_API_URL: Final = "https://api.thalovant.com"

ATTEMPTS: Final = 3  # of a request that may be repeated
_RETRIED: Final = frozenset((429, 502, 503, 504))
_BACKOFF: Final = 0.5  # the most that the first pause takes, in seconds; twice as much each time
MAX_PAUSE: Final = 10.0  # an API that asks for more is heard by the caller, who knows what is at stake
# While an API is down, every call would make three of itself: of ten requests in a row that fail, the rest is spared.
_BUDGET: Final = 10.0
_REFILL: Final = 0.1


class Account:
    """The state of one plane. `entropy(n)` gives random bytes; `retries` is off where a session has its own."""

    def __init__(
        self, api_url: str, access_token: str | None, timeout: float, user_agent: str, *, retries: bool
    ) -> None:
        url = api_url.strip().rstrip("/") or DEFAULT_CONTROL_API_URL
        self.api_url = url.removesuffix("/v1").rstrip("/") + "/"
        self.access_token = access_token
        self.token_id: str | None = None
        self.timeout = timeout
        self.user_agent = user_agent
        self.entropy: Callable[[int], bytes] = os.urandom
        self.own_credentials = False  # of the session, which sends them along
        self.slow: dict[str, float] = {}  # by device code: the seconds that the API added to its interval
        self.revoked: str | None = None
        self._retries = retries
        self._budget = _BUDGET

    # --- requests ---

    def prepared(self, request: Request) -> Request:
        """The request as it is sent: a whole URL, all headers. Raises `ThalovantAPIError` if it may not be sent."""
        url = request.path if "://" in request.path else self.api_url + request.path
        try:
            parts = urlsplit(url)
            secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
            valid = bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise ThalovantAPIError("The address of the Thalovant API is no URL.", hint=_WRITE_URL) from None
        if request.auth and not self.access_token:
            raise ThalovantAPIError("Missing Thalovant API access token.", hint="Sign in, or pass access_token=.")
        if "@" in parts.netloc:
            raise ThalovantAPIError("Control-plane URLs must not include embedded credentials.")
        if not secure and (request.auth or request.path.startswith("v1/auth/") or self.own_credentials):
            raise ThalovantAPIError(_NEEDS_TLS)
        if not valid or parts.scheme not in ("http", "https"):
            raise ThalovantAPIError("The address of the Thalovant API is no URL of HTTP.", hint=_WRITE_URL)
        headers = {
            "accept": "application/json",
            "user-agent": self.user_agent,
            **({} if request.json is None else {"content-type": "application/json"}),
            **request.headers,
            **({"authorization": f"Bearer {self.access_token}"} if request.auth else {}),
        }
        for name, value in headers.items():
            if not (isinstance(value, str) and value.isascii() and value.isprintable()):
                raise ThalovantAPIError(f"The header {name} of the request cannot be sent: it is no plain text.")
        timeout = self.timeout if request.timeout is None else request.timeout
        return evolve(request, path=url, headers=headers, timeout=timeout)

    def call(self, request: Request) -> Flow[dict[str, Any]]:
        """The object of the answer to a request, which is repeated where that is safe and may help."""
        return read((yield from self.attempted(request)), self.secrets(request))

    def attempted(self, request: Request) -> Flow[Answer]:
        """The answer to a request, repeated if it may be: after a pause by full jitter, or as long as the API asks."""
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS or not (self._retries and request.repeatable)
            pause = _BACKOFF * 2 ** (attempt - 1) * int.from_bytes(self.entropy(4)) / 2**32
            try:
                answer = yield from answered(request)
            except TimeoutError:
                if last or not self._spend():
                    raise self.unreachable() from None
            except ThalovantAPIUnreachableError:
                if last or not self._spend():
                    raise
            else:
                if answer.status not in _RETRIED:
                    self._budget = min(_BUDGET, self._budget + _REFILL)
                    return answer
                asked = failure(answer).retry_after_seconds
                pause = max(pause, asked or 0.0)
                if last or pause > MAX_PAUSE or not self._spend():
                    return answer
            yield Wait(pause)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    def _spend(self) -> bool:
        affordable = self._budget >= 1
        self._budget -= affordable
        return affordable

    def unreachable(self) -> ThalovantAPIUnreachableError:
        """The error for an answer that did not come in time."""
        hint = f"There was no answer within {self.timeout:g} s: check the network, or allow more time (timeout=)."
        return ThalovantAPIUnreachableError("Could not reach the Thalovant API.", hint=hint)

    def secrets(self, request: Request) -> frozenset[str]:
        """The texts of a request that no error may repeat."""
        return frozenset((*texts_of(request.json), *([self.access_token] if self.access_token else ())))

    # --- who is signed in ---

    def sign_in(self, token: str, token_id: object) -> None:
        """Keep a token."""
        self.access_token, self.revoked = token, None
        self.token_id = token_id if isinstance(token_id, str) and token_id else None

    # --- randomness ---

    def secret(self) -> str:
        """A text of 43 random characters that a URL can hold."""
        return urlsafe_b64encode(self.entropy(32)).rstrip(b"=").decode()

    def key(self, given: str | None) -> dict[str, str]:
        """The header of a request that creates something, so that repeating it creates no second one."""
        return {"Idempotency-Key": given or str(UUID(bytes=self.entropy(16), version=4))}


_NEEDS_TLS: Final = "Credential-bearing control-plane requests require HTTPS (except explicit loopback HTTP)."
_WRITE_URL: Final = "Write api_url like https://api.thalovant.com, or leave it out."


def part(value: str) -> str:
    """An id as one part of a path. Raises `ThalovantAPIError` for one that is empty."""
    if not isinstance(value, str) or not value.strip():
        raise ThalovantAPIError("The path of a request needs an id that is text and not empty.")
    return quote(value, safe="").replace(".", "%2E") if value in (".", "..") else quote(value, safe="")


def given(**values: Any) -> dict[str, Any]:
    """The values that say something: not None, and no blank text."""
    return {key: value for key, value in values.items() if value is not None and str(value).strip()}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, the usual port spelled out. Raises `ValueError`."""
    parts = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or usual


def missing(payload: Mapping[str, Any], key: str) -> str:
    """A text that a resource must have. Raises `ThalovantAPIError`."""
    if isinstance(value := payload.get(key), str) and value.strip():
        return value
    raise ThalovantAPIError(f"Hub resource is missing {key}.")
