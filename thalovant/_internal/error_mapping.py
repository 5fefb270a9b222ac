"""The errors that users see, made of the core's verdicts. The one place that knows both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from thalovant_proto.errors import LocalProtocolError, PeerKeyChanged, ProtocolError
from thalovant_proto.failures import MEND_KEY, FailureKind
from thalovant_proto.outcomes import AskFailed, AskFault, SendFailed, SessionState, StateChanged

from ..errors import (
    ThalovantClientKeyRejectedError,
    ThalovantConnectionError,
    ThalovantDisplacedError,
    ThalovantDowngradeError,
    ThalovantError,
    ThalovantHubKeyChangedError,
    ThalovantHubRefusedError,
    ThalovantRuntimeError,
    ThalovantTimeoutError,
)
from ..events import ThalovantEvent, failure_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from thalovant_proto.failures import Failure
    from thalovant_proto.outcomes import Delivery

    from ..trust_store import TrustStore

_LINK_ERRORS: dict[FailureKind, type[ThalovantConnectionError]] = {
    FailureKind.REFUSED: ThalovantHubRefusedError,
    FailureKind.WRONG_PASSWORD: ThalovantHubRefusedError,
    FailureKind.WRONG_CRYPTO_KEY: ThalovantHubRefusedError,
    FailureKind.CLIENT_KEY_REJECTED: ThalovantClientKeyRejectedError,
    FailureKind.HUB_KEY_CHANGED: ThalovantHubKeyChangedError,
    FailureKind.DOWNGRADE: ThalovantDowngradeError,
    FailureKind.DISPLACED: ThalovantDisplacedError,
}


class KeyFolders(ProtocolError):
    """The cause of a client's rejected key: the folder of that key, and perhaps one of another."""

    def __init__(self, used: Path, other: Path | None) -> None:
        self.used = str(used)
        self.other = None if other is None else str(other)
        super().__init__("a key that the hub rejects")


def with_folders(failure: Failure, store: TrustStore) -> Failure:
    """The failure; if a key was rejected, with the folders of that key and of another one."""
    if failure.kind is not FailureKind.CLIENT_KEY_REJECTED:
        return failure
    cause = KeyFolders(store.folder, store.other_folder)
    where = f"Ours is in {cause.used}{'' if cause.other is None else f', another one in {cause.other}'}"
    said = failure.message.removesuffix(MEND_KEY)
    hint = "Let noise_state_dir name the folder of the first contact, or have the operator of the hub reset its pin."
    return evolve(failure, cause=cause, message=f"{said}{where}. {MEND_KEY}", hint=hint)


def told(outcome: object, store: TrustStore) -> object:
    """The outcome; if it is about a rejected key, with the folders."""
    if isinstance(outcome, StateChanged | AskFailed | SendFailed) and outcome.failure is not None:
        return evolve(outcome, failure=with_folders(outcome.failure, store))
    return outcome


def link_error(failure: Failure, *, delivery: Delivery | None = None) -> ThalovantConnectionError:
    """The error for a link that could not be had or did not last."""
    error = _LINK_ERRORS.get(failure.kind, ThalovantConnectionError)(
        _sentence(failure.message),
        name="hub_down" if failure.kind is FailureKind.CONNECT else failure.kind.value,
        hint=_sentence(failure.hint),
        retryable=not failure.final,
        delivery=delivery,
    )
    if isinstance(error, ThalovantHubKeyChangedError) and isinstance(failure.cause, PeerKeyChanged):
        error.expected, error.received = failure.cause.expected, failure.cause.received
    if isinstance(error, ThalovantClientKeyRejectedError) and isinstance(failure.cause, KeyFolders):
        error.key_folder, error.other_key_folder = failure.cause.used, failure.cause.other
    return error


def state_error(state: SessionState, failure: Failure | None) -> ThalovantConnectionError | None:
    """The error that a state of the session comes of; None for one that was wanted."""
    return None if failure is None or state is SessionState.CLOSED else link_error(failure)


def closed_error(*, delivery: Delivery | None = None) -> ThalovantConnectionError:
    """The error for calls that a `close` ended."""
    return ThalovantConnectionError("The session was closed.", name="closed", delivery=delivery)


def crash_error(error: Exception) -> ThalovantConnectionError:
    """The error for all calls of a client whose machines failed."""
    return ThalovantConnectionError(
        f"The connection ended because of a bug in thalovant: {type(error).__name__}.",
        name="internal",
        hint="Please report it, with what was logged.",
        retryable=False,
        delivery="unknown",
    )


def send_error(failure: Failure, delivery: Delivery) -> Exception:
    """The error for a message that was not sent: `ValueError` if the message is to blame."""
    if isinstance(failure.cause, LocalProtocolError):
        error = ValueError(_sentence(failure.message))
        if failure.cause.hint:
            error.add_note(_sentence(failure.cause.hint))
        return error
    return link_error(failure, delivery=delivery)


def queued(call: Callable[[], int]) -> int:
    """The token of what `call` queues. Raises `ThalovantRuntimeError` for a message that is not even queued."""
    try:
        return call()
    except LocalProtocolError as error:
        name, hint = error.code, _sentence(error.hint)
        raise ThalovantRuntimeError(_sentence(str(error)), name=name, hint=hint, delivery="no") from None


def ask_error(failed: AskFailed, *, timeout: float) -> Exception:
    """The error for an ask that ended without speech."""
    delivery = failed.delivery
    if failed.fault is AskFault.LINK and failed.failure is not None:
        return send_error(failed.failure, delivery)
    if failed.event is None:
        return ask_timeout(timeout, delivery, failed.failure)
    return failure_error(ThalovantEvent.from_bus(failed.event))


def ask_timeout(timeout: float, delivery: Delivery, failure: Failure | None) -> ThalovantError:
    """The error for an ask whose time is up. `failure` is what the link suffers from, if anything."""
    message = f"Hub did not finish handling the utterance within {timeout:g}s."
    return out_of_time(message, None if failure is None else link_error(failure), delivery=delivery)


def out_of_time(
    message: str,
    cause: ThalovantError | None,
    *,
    kind: type[ThalovantError] = ThalovantTimeoutError,
    name: str | None = None,
    delivery: Delivery | None = None,
) -> ThalovantError:
    """The error for a call whose time is up: of this `kind` and `name`, or those of what the link suffers from.

    So a hub that is down is one family of errors, whether or not there was a connection before.
    """
    if cause is None:
        return kind(message, name=name, delivery=delivery)
    error = type(cause)(
        f"{message} {cause}", name=cause.name, hint=cause.hint, retryable=cause.retryable, delivery=delivery
    )
    error.__cause__ = cause
    return error


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."
