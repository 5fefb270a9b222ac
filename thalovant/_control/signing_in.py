"""Flows that sign in and out: by password, on a device (RFC 8628), in an app with a browser (RFC 7636)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import (
    ThalovantAPIError,
    ThalovantAuthError,
    ThalovantDeviceLoginDenied,
    ThalovantDeviceLoginExpired,
    ThalovantDeviceLoginPending,
    ThalovantTimeoutError,
)
from ..resources import DEFAULT_DEVICE_POLL_INTERVAL, DeviceAuthorization, token_of
from .account import Account, part
from .answers import failure, parsed
from .flows import Flow, Request, Wait

SLOW_DOWN = 5.0  # seconds, RFC 8628 §3.5
_REMEMBERED = 64  # codes that were told to slow down


def sign_in(account: Account, path: str, body: Mapping[str, Any]) -> Flow[dict[str, Any]]:
    """Ask for a token and keep it; the whole answer."""
    request = Request(method="POST", path=path, json=dict(body), auth=False)
    answer = yield from account.attempted(request)
    if not answer.ok:
        error = failure(answer, account.secrets(request))
        if isinstance(error, ThalovantAuthError):
            error.hint = "Check what you sign in with: e-mail address and password, or the code that was given."
        raise error
    value = parsed(answer.body)
    reply: dict[str, Any] = value if isinstance(value, dict) else {}
    account.sign_in(token_of(reply), reply.get("token_id"))
    return reply


def poll(account: Account, authorization: DeviceAuthorization | str) -> Flow[dict[str, Any]]:
    """Ask once whether a device is signed in. What the API adds to the interval stays with the code."""
    if isinstance(authorization, str):
        code, interval = authorization, DEFAULT_DEVICE_POLL_INTERVAL
    else:
        code, interval = authorization.device_code, authorization.interval
    try:
        reply = yield from sign_in(account, "v1/auth/device/token", {"device_code": code})
    except ThalovantAPIError as error:
        word = (error.problem or {}).get("error") if error.status_code == 400 else None
        carried: dict[str, Any] = {
            "status_code": 400,
            "code": error.code,
            "detail": error.detail,
            "problem": error.problem,
        }
        if word == "slow_down":
            while len(account.slow) >= _REMEMBERED:
                account.slow.pop(next(iter(account.slow)))
            account.slow[code] = account.slow.get(code, 0.0) + SLOW_DOWN
        if word in ("slow_down", "authorization_pending"):
            raise ThalovantDeviceLoginPending(
                "The device sign-in has not been approved yet.",
                interval=interval + account.slow.get(code, 0.0),
                **carried,
            ) from None
        if word == "expired_token":
            raise ThalovantDeviceLoginExpired("The device sign-in was not approved in time.", **carried) from None
        if word == "access_denied":
            raise ThalovantDeviceLoginDenied(
                "The device sign-in request was denied in the browser.", **carried
            ) from None
        raise
    account.slow.pop(code, None)
    return reply


def begin(
    account: Account, scopes: list[str], client_name: str | None, client_id: str | None
) -> Flow[DeviceAuthorization]:
    """Ask for a code that a person can approve."""
    given = {"scopes": scopes or None, "client_name": client_name or None, "client_id": client_id}
    body = {key: value for key, value in given.items() if value is not None}
    reply = yield from account.call(Request(method="POST", path="v1/auth/device/authorize", json=body, auth=False))
    return DeviceAuthorization.from_dict(reply)


def approved(
    account: Account, grant: DeviceAuthorization, timeout: float, now: Callable[[], float]
) -> Flow[dict[str, Any]]:
    """Ask until the person has decided; a network or an API that is away for a moment only takes time."""
    until = now() + timeout
    interval = grant.interval
    while True:
        try:
            return (yield from poll(account, grant))
        except ThalovantAPIError as error:
            if not error.retryable:
                raise
            interval = max(getattr(error, "interval", interval), error.retry_after_seconds or 0.0)
        left = until - now()
        yield Wait(max(0.0, min(interval, left)))
        if interval >= left:
            raise ThalovantTimeoutError("Timed out waiting for the device sign-in to be approved.")


def revoke(account: Account, token_id: str | None) -> Flow[None]:
    """Give a token back. That in use is forgotten, also if the API knows it no more; doing so twice sends nothing."""
    if account.revoked and not account.access_token and token_id in (None, account.revoked):
        return
    token_id = token_id or account.token_id
    if not token_id:
        raise ThalovantAPIError(
            "No API token id to revoke: pass token_id, or sign in with a device login first.",
            hint="Tokens of a password sign-in have no id.",
        )
    used = account.access_token if token_id == account.token_id else None
    answer = yield from account.attempted(Request(method="DELETE", path=f"v1/auth/api-tokens/{part(token_id)}"))
    if not answer.ok and not (used and answer.status == 401):
        raise failure(answer)
    if used and used == account.access_token:  # another sign-in may have ended meanwhile
        account.access_token = account.token_id = None
        account.revoked = token_id
