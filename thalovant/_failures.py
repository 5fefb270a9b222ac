"""From the core's verdicts to the errors that users see. The one place that knows both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thalovant_proto.errors import PeerKeyChanged
from thalovant_proto.failures import FailureKind
from thalovant_proto.outcomes import AskFailed, AskFault

from .errors import (
    ThalovantClientKeyRejectedError,
    ThalovantConnectionError,
    ThalovantDisplacedError,
    ThalovantDowngradeError,
    ThalovantError,
    ThalovantHubKeyChangedError,
    ThalovantHubRefusedError,
    ThalovantPolicyDeniedError,
    ThalovantQuota,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
    ThalovantUnansweredError,
)

if TYPE_CHECKING:
    from thalovant_proto.events import Bus
    from thalovant_proto.failures import Failure
    from thalovant_proto.outcomes import Delivery

_REFUSED = frozenset((FailureKind.REFUSED, FailureKind.WRONG_PASSWORD, FailureKind.WRONG_CRYPTO_KEY))


def link_error(failure: Failure, *, delivery: Delivery | None = None) -> ThalovantConnectionError:
    """The error for a link that could not be had or did not last."""
    kind: type[ThalovantConnectionError] = ThalovantConnectionError
    if failure.kind in _REFUSED:
        kind = ThalovantHubRefusedError
    elif failure.kind is FailureKind.CLIENT_KEY_REJECTED:
        kind = ThalovantClientKeyRejectedError
    elif failure.kind is FailureKind.HUB_KEY_CHANGED:
        kind = ThalovantHubKeyChangedError
    elif failure.kind is FailureKind.DOWNGRADE:
        kind = ThalovantDowngradeError
    elif failure.kind is FailureKind.DISPLACED:
        kind = ThalovantDisplacedError
    error = kind(
        _sentence(failure.message),
        code=failure.kind.value,
        hint=_sentence(failure.hint),
        retryable=not failure.final,
        delivery=delivery,
    )
    if isinstance(error, ThalovantHubKeyChangedError) and isinstance(failure.cause, PeerKeyChanged):
        error.expected, error.received = failure.cause.expected, failure.cause.received
    return error


def ask_error(failed: AskFailed, *, timeout: float) -> ThalovantError:
    """The error for an ask that ended without speech."""
    delivery = failed.delivery
    if failed.fault is AskFault.LINK and failed.failure is not None:
        return link_error(failed.failure, delivery=delivery)
    if failed.event is None:
        return _timeout(failed, timeout)
    if failed.fault is AskFault.DENIED:
        return _denied(failed.event, delivery)
    reason = failure_reason(failed.event)
    if failed.fault is AskFault.UNANSWERED:
        return ThalovantUnansweredError(reason, hint="No skill of the hub took the utterance.", delivery=delivery)
    return ThalovantRuntimeError(reason, code="hub_failure", delivery=delivery)


def failure_reason(event: Bus) -> str:
    """What a failure event says: reason, error or code, else its name (sdk.md row 88)."""
    for key in ("reason", "error", "code"):
        if isinstance(found := event.data.get(key), str) and found.strip():
            return found.strip()
    return f"Hub reported {event.type}."


def _timeout(failed: AskFailed, timeout: float) -> ThalovantTimeoutError:
    message = f"Hub did not finish handling the utterance within {timeout:g}s."
    if failed.failure is None:
        return ThalovantTimeoutError(message, code="timeout", retryable=True, delivery=failed.delivery)
    cause = link_error(failed.failure)
    error = ThalovantTimeoutError(
        f"{message} {cause}", code="timeout", hint=cause.hint, retryable=True, delivery=failed.delivery
    )
    error.__cause__ = cause
    return error


def _denied(event: Bus, delivery: Delivery) -> ThalovantPolicyDeniedError:
    data, nested = event.data, event.data.get("data")
    allowed: Any = nested.get("allowed") if isinstance(nested, dict) else data.get("allowed")
    return ThalovantPolicyDeniedError(
        _text(data, "denied_type"),
        code=_text(data, "code"),
        reason=_text(data, "reason"),
        allowed=tuple(name for name in allowed if isinstance(name, str)) if isinstance(allowed, list) else (),
        quota=ThalovantQuota.from_event_data(data),
        delivery=delivery,
    )


def _text(data: dict[str, Any], key: str) -> str:
    found = data.get(key)
    return found if isinstance(found, str) else ""


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."
