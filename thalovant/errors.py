"""Every error users see. Each says what happened, what to do next, and whether trying again can help.

The text of an error is what happened, at most three lines, never a secret. `hint` is the next step; it is a note of the
exception too, so that a traceback shows it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar

from .render import visible

P = ParamSpec("P")
R = TypeVar("R")
Delivery: TypeAlias = Literal["no", "unknown", "yes"]

QUOTA_EXCEEDED: Final = "intent_quota_exceeded"
MAX_COUNT: Final = 2**53 - 1  # the largest whole number that every JSON reader keeps exact
MAX_TEXT: Final = 200  # characters of a hub's own words that an error repeats

# The next step by name, for errors whose maker knows no better one. None repeats the text of its error.
_HINTS: Final = {
    "admission_failed": "Create the client again, or look at its operation in the control plane.",
    "admission_timeout": "Wait for it once more: it was not turned down.",
    "already_linked": "Remove the old link first, or use its client.",
    "api": "Look at status_code and detail; what is retryable can be tried again later.",
    "api_unreachable": "Check api_url and the network.",
    "auth": "Sign in again, with the scopes that this call needs.",
    "authorization_pending": "Ask again after the interval.",
    "access_denied": "Begin another login, and have the person approve it.",
    "client_key_rejected": "Use the key folder of the first contact, or have the pin reset at the hub.",
    "closed": "Call again: the client connects anew by itself.",
    "connection": "Check that the hub runs, and that the identity's endpoint leads to it.",
    "connect_timeout": "Check host and port of the endpoint, and that the hub runs, or allow more time (timeout=).",
    "displaced": "Give each program a client identity of its own.",
    "downgrade": "Somebody may be in between; if the hub really went back, forget its pins.",
    "expired_token": "Begin another login.",
    "forgotten": "Call again: the client connects anew by itself.",
    "handler_exit": "End the program in its main thread: handlers run in other ones.",
    "handler_timeout": "Find out what it waits for, or give the agent a longer handler_timeout.",
    "hub_failure": "Look into the hub's log for the cause.",
    "hub_key_changed": "If the hub was really replaced, forget the pinned key; otherwise somebody is in between.",
    "refused": "Check access_key, password and endpoint of the identity.",
    "identity": "Correct that in the identity, or create a fresh one.",
    "lost": "If that goes on, check that scheme, host and port of the endpoint are the hub's.",
    "not_expected": "Call wait() inside: with client.expect(...) as expected.",
    "overflow": "Take events faster, or allow more to wait: max_buffered_events.",
    "plan": "Upgrade the plan of the workspace, or do without this.",
    "policy_denied": "Allow this message type in the settings of the connection on the hub.",
    "quota_exceeded": "Wait until the quota resets, or raise the limit in the plan.",
    "backend_unavailable": "Try again later: the hub is up, and what it needs for this is not.",
    "renewed": "Call again: the client connects anew by itself.",
    "running": "Stop it first, or make another agent.",
    "runtime": "Look into the log of the hub.",
    "protocol": "Check that the endpoint is a hub's; if it is, update the older side.",
    "send_timeout": "Check the network, and whether the hub is overloaded, or allow more time (send_timeout=).",
    "silent": "Look into the hub's log for the skill that took the question.",
    "timeout": "Allow more time (timeout=), or look into the hub's log for what holds it up.",
    "skill_failed": "Look into the hub's log for what went wrong in the skill.",
    "unanswered": "Ask in other words, or add a skill to the hub that takes them.",
    "unsupported_connection_type": "Update the control plane, or leave connection_type out.",
    "unsupported_protocol": "Use a protocol that the identity has an endpoint for, or create a fresh identity.",
}


class ThalovantError(Exception):
    """Base of everything this package raises on purpose.

    `name` is a stable word of ours for programs (`"wrong_password"`, `"timeout"`), `code` the word of the hub or the
    API, None where it said none. `hint` is the next step for people, `retryable` whether the same call can succeed
    later without anybody changing anything. `delivery` says whether what was to be sent reached the hub: "no",
    "unknown" or "yes"; None where nothing was to be sent. `request_id` is that of the ask, None elsewhere.

        try:
            reply = client.ask("turn on the lamp")
        except ThalovantError as error:
            print(error)
            print(error.hint)
            if error.retryable and error.delivery == "no":
                ...  # later
    """

    name: str = "error"
    code: str | None = None
    hint: str = ""
    retryable: bool = False
    delivery: Delivery | None = None
    request_id: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        name: str | None = None,
        code: str | None = None,
        hint: str | None = None,
        retryable: bool | None = None,
        delivery: Delivery | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(*([visible(message, lines=True)] if message else []))  # a traceback shows it as it is
        if name:
            self.name = name
        if code is not None:
            self.code = code
        if hint := hint or self.hint or _HINTS.get(self.name) or _class_hint(type(self)):
            self.hint = visible(hint, lines=True)
        if retryable is not None:
            self.retryable = retryable
        if delivery is not None:
            self.delivery = delivery
        if request_id is not None:
            self.request_id = request_id
        if self.hint:
            self.add_note(self.hint)

    def __reduce__(self) -> tuple[Callable[..., ThalovantError], tuple[Any, ...]]:
        # Signatures differ from class to class; what an error carries is its arguments and its attributes.
        return _restored, (type(self), self.args, self.__dict__)


def _class_hint(kind: type[ThalovantError]) -> str:
    """The next step for errors of a class, where their own name has none."""
    return next((hint for base in kind.__mro__ if (hint := _HINTS.get(getattr(base, "name", "")))), "")


def _restored(kind: type[ThalovantError], args: tuple[Any, ...], attributes: dict[str, Any]) -> ThalovantError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ThalovantIdentityError(ThalovantError):
    """An identity, config or trust file, or the environment, cannot be used. Names the file and the field."""

    name = "identity"


class ThalovantUnsupportedProtocolError(ThalovantError):
    """The identity has no way to reach the hub over the protocol that was asked for."""

    name = "unsupported_protocol"


class ThalovantTimeoutError(ThalovantError, TimeoutError):
    """Something did not happen in time; it may happen yet."""

    name = "timeout"
    retryable = True


class ThalovantConnectionError(ThalovantError, ConnectionError):
    """There is no connection to the hub."""

    name = "connection"
    retryable = True


class ThalovantHubRefusedError(ThalovantConnectionError):
    """The hub, or its broker, turned the identity down. The same credentials will be turned down again."""

    name = "refused"
    retryable = False


class ThalovantClientKeyRejectedError(ThalovantHubRefusedError):
    """The hub knows this client by another Noise key. `key_folder` holds ours, `other_key_folder` perhaps the other."""

    name = "client_key_rejected"

    def __init__(
        self, message: str = "", *, key_folder: str | None = None, other_key_folder: str | None = None, **details: Any
    ) -> None:
        self.key_folder = key_folder
        self.other_key_folder = other_key_folder
        super().__init__(message, **details)


class ThalovantHubKeyChangedError(ThalovantConnectionError):
    """The hub shows another key than the pinned one. `expected` and `received` are fingerprints (SHA-256, hex)."""

    name = "hub_key_changed"
    retryable = False

    def __init__(self, message: str = "", *, expected: str = "", received: str = "", **details: Any) -> None:
        self.expected = expected
        self.received = received
        super().__init__(message, **details)


class ThalovantDowngradeError(ThalovantConnectionError):
    """The hub offers a weaker protocol than it must: than was seen before, or than is allowed over this carrier."""

    name = "downgrade"
    retryable = False


class ThalovantDisplacedError(ThalovantConnectionError):
    """Another process with the same access key keeps taking over the session."""

    name = "displaced"
    retryable = False


class ThalovantAdmissionTimeoutError(ThalovantConnectionError, ThalovantTimeoutError):
    """The hub did not admit a new client in time."""

    name = "admission_timeout"


class ThalovantRuntimeError(ThalovantError, RuntimeError):
    """The hub answered, and the answer is no."""

    name = "runtime"


class EventLike(Protocol):
    """A `ThalovantEvent`, or anything with its data."""

    @property
    def data(self) -> Mapping[str, Any]:
        """What the hub says."""


@dataclass(frozen=True)
class ThalovantQuota:
    """A limit of a plan, and the part of it that is used up.

    `limit` and `used` count questions per `period`, `reset_after` is in seconds. What the hub did not say is 0 or "".
    """

    period: str
    limit: int
    used: int
    reset_after: int

    @classmethod
    def from_event_data(cls, data: Mapping[str, Any]) -> ThalovantQuota | None:
        """Read the data of a `hive.policy.denied` event; None unless a used-up quota is the reason.

        Whatever is not a whole number from 0 to 2**53 - 1 counts as 0.
        """
        if data.get("code") != QUOTA_EXCEEDED:
            return None
        given = _nested(data)
        return cls(
            period=_said(given, "period"),
            limit=_count(given.get("limit")),
            used=_count(given.get("used")),
            reset_after=_count(given.get("reset_after")),
        )


class ThalovantPolicyDeniedError(ThalovantRuntimeError):
    """The hub's policy does not let this client send `denied_type`. The connection stays open.

    `code` and `reason` are the hub's own words ("" where it said none), `allowed` the types it would take. `quota`
    is set when the reason is a used-up limit.
    """

    name = "policy_denied"
    code: str = ""
    BACKEND_UNAVAILABLE: Final = "backend_unavailable"
    QUOTA_EXCEEDED: Final = QUOTA_EXCEEDED

    def __init__(
        self,
        denied_type: str = "",
        *,
        code: str = "",
        reason: str = "",
        allowed: Iterable[str] = (),
        quota: ThalovantQuota | None = None,
        hint: str | None = None,
        delivery: Delivery | None = "yes",
    ) -> None:
        self.denied_type = denied_type
        self.reason = reason
        self.allowed: tuple[str, ...] = tuple(allowed)
        self.quota = quota
        what = repr(shortened(denied_type)) if denied_type else "the message"
        why = shortened(reason).rstrip(".") or (_used_up(quota) if quota else shortened(code))
        why = why or "its policy does not allow it"
        super().__init__(
            f"The hub refused {what}: {why}.",
            code=code,
            hint=hint or _HINTS.get("quota_exceeded" if quota else code),
            retryable=quota is not None or code == self.BACKEND_UNAVAILABLE,
            delivery=delivery,
        )

    @classmethod
    def from_event(cls, event: EventLike, *, delivery: Delivery | None = "yes") -> ThalovantPolicyDeniedError:
        """The error for a `hive.policy.denied` event."""
        data = event.data
        allowed = _nested(data).get("allowed")
        return cls(
            _said(data, "denied_type"),
            code=_said(data, "code"),
            reason=_said(data, "reason"),
            allowed=tuple(item.strip() for item in allowed if isinstance(item, str) and item.strip())
            if isinstance(allowed, list)
            else (),
            quota=ThalovantQuota.from_event_data(data),
            delivery=delivery,
        )


class ThalovantUnansweredError(ThalovantRuntimeError):
    """No skill of the hub took the question. `said` is what the person said, "" if the hub does not tell."""

    name = "unanswered"

    def __init__(self, said: str = "", *, message: str = "", **details: Any) -> None:
        self.said = said
        details.setdefault("delivery", "yes")
        what = repr(shortened(said)) if said.strip() else "this"
        super().__init__(message or f"The hub has no skill that answers {what}.", **details)


class ThalovantAPIError(ThalovantError):
    """The control plane did not do what was asked.

    `status_code` is the HTTP status, `code` and `detail` the API's own words, `problem` its whole answer,
    `retry_after_seconds` when it said to come back; each None where the API said nothing.
    """

    name = "api"

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        code: str | None = None,
        detail: str | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
        retryable: bool | None = None,
        **details: Any,
    ) -> None:
        self.status_code = status_code
        self.detail = detail
        self.problem = problem
        if retry_after_seconds is None and problem is not None:
            retry_after_seconds = _seconds(problem.get("retry_after_seconds"))
        self.retry_after_seconds = retry_after_seconds
        if retryable is None and status_code is not None:
            retryable = status_code in (408, 425, 429) or status_code >= 500
        super().__init__(message, code=code, retryable=retryable, **details)


class ThalovantAPIUnreachableError(ThalovantAPIError, ThalovantConnectionError):
    """No answer came from the control plane."""

    name = "api_unreachable"
    retryable = True


class ThalovantAuthError(ThalovantAPIError):
    """The control plane wants a sign-in, another one, or one with more scopes."""

    name = "auth"


class ThalovantPlanError(ThalovantAPIError):
    """The workspace's plan does not include this."""

    name = "plan"


class ThalovantAlreadyLinkedError(ThalovantAPIError):
    """This hub already has such a link. `client_id` is the client that holds it."""

    name = "already_linked"

    def __init__(self, message: str = "", *, client_id: str | None = None, **details: Any) -> None:
        self.client_id = client_id
        super().__init__(message, **details)


class ThalovantUnsupportedConnectionTypeError(ThalovantAPIError):
    """The control plane does not know this type of connection."""

    name = "unsupported_connection_type"


class ThalovantDeviceLoginPending(ThalovantAPIError):
    """The person has not confirmed the login yet. Ask again after `interval` seconds."""

    name = "authorization_pending"
    retryable = True

    def __init__(self, message: str = "", *, interval: float = 5.0, **details: Any) -> None:
        self.interval = interval
        super().__init__(message, **{"retryable": True, **details})


class ThalovantDeviceLoginExpired(ThalovantAPIError):
    """Nobody confirmed the login in time. Begin another one."""

    name = "expired_token"


class ThalovantDeviceLoginDenied(ThalovantAPIError):
    """The person refused the login."""

    name = "access_denied"


class ThalovantAdmissionFailedError(ThalovantConnectionError):
    """The hub will not admit the new client. `error_code` is the operation's own word for why."""

    name = "admission_failed"
    retryable = False

    def __init__(
        self,
        message: str = "",
        *,
        error_code: str | None = None,
        status_code: int | None = None,
        code: str | None = None,
        detail: str | None = None,
        problem: Mapping[str, Any] | None = None,
        **details: Any,
    ) -> None:
        self.error_code = error_code
        self.status_code = status_code
        self.detail = detail
        self.problem = problem
        super().__init__(message, code=code, **details)


def _nested(data: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = data.get("data")
    return nested if isinstance(nested, Mapping) else {}


def _said(data: Mapping[str, Any], key: str) -> str:
    return value if isinstance(value := data.get(key), str) else ""


def shortened(text: str) -> str:
    """A hub's own words on one line, at most `MAX_TEXT` characters of them."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_COUNT)):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= MAX_COUNT else 0


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MAX_COUNT else None


def _used_up(quota: ThalovantQuota) -> str:
    if not quota.limit:
        return "a quota has run out"
    when = f"; it resets in {quota.reset_after} s" if quota.reset_after else ""
    return f"{quota.used} of {quota.limit} {quota.period} questions used{when}".replace("  ", " ")


def without_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Let our errors leave the function without the frames below it, whose variables hold secrets."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except ThalovantError as error:
            problem = error
        problem.__traceback__ = problem.__cause__ = problem.__context__ = None
        del args, options
        raise problem

    return call
