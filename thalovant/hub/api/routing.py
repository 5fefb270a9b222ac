"""The table of routes, and what every request goes through: who asks, what for, whether it may, and one transaction."""

from __future__ import annotations

import datetime
import hashlib
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import h11
from attrs import define, field, frozen

from thalovant_proto import jsontext
from thalovant_proto.errors import DecodeError
from thalovant_proto.limits import MIB
from thalovant_proto.links.https.server import Reply
from thalovant_proto.links.https.stream import FORM_TYPE, HttpMessage

from ..errors import HubSetupError
from ..hub import Hub
from ..storage.clients import Client, Registry
from ..storage.records import Record, Records, stamp
from .http import Problem, answer, invalid, missing
from .models import structure

log: logging.Logger = logging.getLogger("thalovant.hub.api")

#: What a hub belongs to, for everybody or for its owner only.
PUBLIC: Final = "public"
PRIVATE: Final = "private"
_DEPTH: Final = 32
_VALUES: Final = 20_000  # commas and brackets of a body: what is parsed takes some hundred bytes for each
_KEY_LIFE: Final = 24 * 3600
_MOST_KEYS: Final = 4096
#: The part before the path in a request that was meant for a proxy; and what the API may be named with.
_PREFIX: Final = re.compile(r"\A(?:https?://[^/?]*)?/(?:api(?=/))?")


def digest(*texts: str) -> str:
    """What is kept of a secret of ours, which has 32 random bytes; or of a request."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


@define(kw_only=True)
class Parts:
    """What handlers work with."""

    hub: Hub
    registry: Registry
    records: Records
    clock: Callable[[], datetime.datetime]
    admission_delay: float
    poll_interval: float
    form_key: bytes = field(repr=False)
    url: str = ""
    held: dict[str, float] = field(factory=dict)  # names of clients, and when they are admitted
    _busy: dict[str, float] = field(factory=dict)  # when each has all its tries back

    @property
    def now(self) -> float:
        """Seconds since 1970."""
        return self.clock().timestamp()

    def stamp(self, later: float = 0.0) -> str:
        """The time in so many seconds."""
        return stamp(self.clock() + datetime.timedelta(seconds=later))

    def admits(self, client: Client) -> bool:
        """Whether a client's time has come."""
        return self.held.get(client.name, 0.0) <= self.now

    def count(self, key: str, code: str, *, burst: int, every: float) -> None:
        """Count a try: there may be `burst` at once, then one each `every` seconds. Raises `Problem` for more."""
        until = max(self._busy.pop(key, 0.0), self.now)
        self._busy[key] = until
        if (wait := until - self.now - (burst - 1) * every) > 0:
            seconds = int(wait) + 1
            told = {"code": code, "message": "Too many requests.", "retry_after_seconds": seconds}
            raise Problem(429, told, {"Retry-After": str(seconds)})
        self._busy[key] += every
        if len(self._busy) > _MOST_KEYS:
            del self._busy[next(iter(self._busy))]

    def forgive(self, key: str) -> None:
        """Forget the tries of a key."""
        self._busy.pop(key, None)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep all that the block changes, clients included, or nothing."""
        before = self.records.store.changes
        try:
            with self.records.store.transaction():
                yield
        except BaseException:
            if self.records.store.changes != before:
                with suppress(HubSetupError):
                    self.registry.reload()
            raise


Handler = Callable[..., Any]


@frozen(kw_only=True)
class Route:
    """One call of the API. `scope` is None for a call without a sign-in, "" for one with any token."""

    method: str
    path: str
    parts: tuple[str, ...]
    handler: Handler = field(repr=False)
    scope: str | None
    body: type | None
    status: int

    def values(self, path: tuple[str, ...]) -> list[str] | None:
        """What stands in a path of this form, None for another path."""
        pairs = list(zip(self.parts, path, strict=False))
        if len(self.parts) != len(path) or any(mine not in (given, "{}") for mine, given in pairs):
            return None
        return [given for mine, given in pairs if mine == "{}"]


ROUTES: Final[list[Route]] = []


def route(
    what: str, *, scope: str | None = "", body: type | None = None, status: int = 200
) -> Callable[[Handler], Handler]:
    """Put a handler into the table: `@route("GET /v1/things/{}")`. It gets the call, the path's parts, the body."""
    method, _, path = what.partition(" ")
    parts = tuple(path.strip("/").split("/"))

    def add(handler: Handler) -> Handler:
        ROUTES.append(
            Route(method=method, path=path, parts=parts, handler=handler, scope=scope, body=body, status=status)
        )
        return handler

    return add


@define(kw_only=True)
class Call:
    """One request on its way through a handler."""

    parts: Parts
    message: HttpMessage = field(repr=False)
    route: Route = field(init=False)
    query: Mapping[str, str] = field(init=False, repr=False)
    values: list[Any] = field(init=False, repr=False)
    account: Record = field(init=False)

    @property
    def user(self) -> str:
        """The account that asks."""
        return self.account.id

    @property
    def mine(self) -> str:
        """The account whose things are listed: that of the one who asks, or nobody's for a foreign one."""
        return self.user if self.query.get("owner_id") in (None, "", self.user) else ""

    @property
    def records(self) -> Records:
        return self.parts.records

    @property
    def method(self) -> str:
        assert isinstance(self.message.head, h11.Request)  # noqa: S101 - of a stream of a server
        return self.message.head.method.decode().replace("HEAD", "GET")

    def header(self, name: str) -> str:
        """The value of a header by its lower-case name, empty if there is none."""
        return self.message.header(name.encode()).decode("latin-1")

    def read(self) -> None:
        """Find the route, who asks, and what is given. Raises `Problem`."""
        head = self.message.head
        assert isinstance(head, h11.Request)  # noqa: S101 - of a stream of a server
        target, _, query = _PREFIX.sub("", head.target.decode("latin-1")).partition("?")
        try:
            path = tuple(unquote_to_bytes(part).decode() for part in target.strip("/").split("/"))
        except ValueError:
            raise missing("address") from None
        self.query = _pairs(query)
        found = {one.method: (one, values) for one in ROUTES if (values := one.values(path)) is not None}
        if not found:
            raise missing("address")
        if self.method not in found:
            raise Problem(405, "This address does not take the method", {"Allow": ", ".join(sorted(found))})
        self.route, values = found[self.method]
        self.values = [*values]
        if self.route.scope is not None:
            self._sign_in()
        if self.route.body is not None:
            self.values.append(structure(self.route.body, self.json()))

    def _sign_in(self) -> None:
        scheme, _, text = self.header("authorization").partition(" ")
        known = self.records.get("token", digest(text.strip()), by="ref") if scheme.lower() == "bearer" else None
        if known is None or known.body["expires"] <= self.parts.stamp():
            raise Problem(401, "The token is missing, unknown or expired", {"WWW-Authenticate": "Bearer"})
        self.account = self.records["account", str(known.owner)]
        if self.route.scope and self.route.scope not in known.body["scopes"]:
            raise Problem(403, "Insufficient scopes", scope=self.route.scope)
        if self.route.scope and self.account.body["plan"] == "free":
            raise Problem(402, "API access requires a paid plan.")
        if rate := self.account.body.get("requests_per_minute"):
            self.parts.count(f"account {self.user}", "token_rate_limited", burst=rate, every=60 / rate)

    def json(self) -> dict[str, Any]:
        """The JSON object of the body. Raises `Problem`."""
        body = self.message.body
        if self.header("content-encoding") or not self.message.media_type.endswith("json"):
            raise Problem(415, "The body is compressed or no JSON: send application/json as it is")
        if sum(map(body.count, (b",", b"[", b"{"))) > _VALUES:
            raise Problem(413, "The body has too many values")
        try:
            value = jsontext.loads(body, max_size=MIB, max_depth=_DEPTH)
        except DecodeError:
            raise Problem(400, f"The body is no JSON of at most {_DEPTH} levels", code="malformed_json") from None
        if not isinstance(value, dict):
            raise invalid((("body",), "must be an object"))
        return value

    def form(self) -> dict[str, str]:
        """The fields of a form. Raises `Problem`."""
        if self.message.media_type != FORM_TYPE:
            raise Problem(415, "The body is no form")
        return _pairs(self.message.body.decode("latin-1"))

    def own(self, kind: str, id: str) -> Record:
        """A record of the one who asks. Raises `Problem`, the same one for what is somebody else's."""
        found = self.records.get(kind, id)
        if found is None or found.owner != self.user:
            raise missing(kind)
        return found

    def seen_hub(self, id: str) -> Record:
        """A hub, by id or slug, that the one who asks may use: their own or a public one. Raises `Problem`."""
        found = self.records.get("hub", id) or self.records.get("hub", id, by="ref")
        if found is None or (found.owner != self.user and found.parent != PUBLIC):
            raise missing("hub")
        return found

    def check_etag(self, record: Record) -> None:
        """Raise `Problem` unless the caller knows the record as it is."""
        given = self.header("if-match")
        if not given:
            raise Problem(428, "If-Match with the etag of the resource is missing", code="precondition_required")
        if given != "*" and record.etag not in (one.strip().strip('"') for one in given.split(",")):
            raise Problem(412, "The resource has changed: read it again", code="etag_mismatch")

    def number(self, name: str, default: int, most: int, *, least: int = 1) -> int:
        """A number of the query. Raises `Problem`."""
        text = self.query.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise invalid((("query", name), f"must be a number from {least} to {most}"))
        return int(text)

    def listed(self, show: Callable[[Record], Any], where: str, *values: object, limit: int = 100) -> dict[str, Any]:
        """One page of the records of a condition. Raises `Problem`."""
        most, after = self.number("limit", limit, 100), self.number("cursor", 0, 10**17, least=0)
        found = self.records.select(f"seq > ? AND {where}", after, *values, limit=most + 1)
        cursor = str(found[most - 1].seq) if len(found) > most else None
        again = urlencode({**self.query, "limit": most, "cursor": cursor})
        link = cursor and f"{self.route.path.format(*self.values)}?{again}"
        data = [show(record) for record in found[:most]]
        return {"data": data, "meta": {"count": len(data), "next": cursor}, "links": {"next": link}}

    def handled(self) -> Any:
        """What the handler makes of it; for a repeated Idempotency-Key, what it has made before. Raises `Problem`."""
        key = self.header("idempotency-key")
        if self.method != "POST" or not key or not self.route.scope:
            return self.route.handler(self, *self.values)
        asked, id = digest(jsontext.canonical(self.json()).decode()), digest(self.user, self.route.path, key)
        self.records.remove("kind = 'key' AND created < ?", self.parts.stamp(-_KEY_LIFE))
        known = self.records.get("key", id)
        if known is None:
            made = self.route.handler(self, *self.values)
            known = self.records.add("key", {"asked": asked, "made": made}, id=id, owner=self.user)
        elif known.body["asked"] != asked:
            raise Problem(409, "This Idempotency-Key was used for another request", code="idempotency_key_reused")
        return known.body["made"]


def _pairs(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=64, errors="strict"))
    except ValueError:
        raise Problem(400, "The query or form is not UTF-8, or has too many fields") from None


def serve(parts: Parts, message: HttpMessage, on_known: Callable[[], object]) -> Reply | Awaitable[Reply]:
    """The answer to a request; `on_known` is called once it is known who asks."""
    call = Call(parts=parts, message=message)
    try:
        call.read()
        if call.route.scope is not None:
            on_known()
        if inspect.iscoroutinefunction(call.route.handler):
            return _later(call)
        with nullcontext() if call.method == "GET" else parts.writing():
            made = call.handled()
        return _reply(call, made)
    except Exception as error:
        return _failed(error)


async def _later(call: Call) -> Reply:
    try:
        return _reply(call, await call.route.handler(call, *call.values))
    except Exception as error:
        return _failed(error)


def _reply(call: Call, made: Any) -> Reply:
    if isinstance(made, Reply):
        return made
    return answer(made, call.route.status, {"ETag": f'"{made["etag"]}"'} if made and "etag" in made else None)


def _failed(error: Exception) -> Reply:
    if isinstance(error, Problem):
        return error.reply
    if isinstance(error, HubSetupError):
        log.error("A request to the API failed: %s", error)
        return Problem(503, "The hub's storage cannot be used now", code="storage_unavailable").reply
    log.error("A request to the API failed", exc_info=error)
    return Problem(500, "The hub has made a mistake; its log says more", code="internal_error").reply
