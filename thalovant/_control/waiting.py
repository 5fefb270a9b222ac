"""Flows that wait for what the API does later: operations, and the admission of a new client to its hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urljoin

from ..errors import (
    ThalovantAdmissionFailedError,
    ThalovantAdmissionTimeoutError,
    ThalovantAPIError,
    ThalovantTimeoutError,
    shortened,
)
from ..resources import BootstrapIdentityResult, HubSkillOperation, HubSkillOperationState, OperationResource
from .account import Account, origin, part
from .answers import failure, read
from .flows import Flow, Request, Wait, answered

Awaited = BootstrapIdentityResult | OperationResource | Mapping[str, Any] | str | None

SKILL_POLL: Final = 2.0  # seconds between two looks at a change

_NO_ID: Final = "An operation needs an id to wait on."
_LINK = re.compile(r"(?:.*/)?v1/operations/([^/?#]+)")


class Overdue(Exception):
    """The time is over; `slowed` if the API asked for a longer pause than was left."""

    def __init__(self, *, slowed: bool = False) -> None:
        super().__init__()
        self.slowed = slowed


def operation_of(connection: Awaited) -> tuple[str, str | None]:
    """The id and the link of what is to be awaited, both empty where there is nothing."""
    if isinstance(connection, BootstrapIdentityResult):
        connection = connection.operation
    if isinstance(connection, str):
        is_link = connection.startswith("/") or "://" in connection
        return ("", connection) if is_link else (connection, None)
    if isinstance(connection, Mapping):
        nested = connection.get("operation")
        given = nested if isinstance(nested, Mapping) else connection
        operation_id, links = given.get("id"), given.get("links")
    else:
        operation_id, links = (connection.id, connection.links) if connection else ("", {})
    link = links.get("self") if isinstance(links, Mapping) else None
    return operation_id if isinstance(operation_id, str) else "", link if isinstance(link, str) and link else None


def path_of(account: Account, operation_id: str, link: str | None) -> str:
    """Where to ask for an operation. Raises `ThalovantAPIError` for a link that leads away from the API."""
    if link is None:
        return f"v1/operations/{part(operation_id)}"
    try:
        url = urljoin(account.api_url, link)
        foreign = origin(url) != origin(account.api_url) or "@" in url.partition("://")[2].partition("/")[0]
    except ValueError:
        foreign = True
    if foreign:
        raise ThalovantAPIError("The operation's link leads away from the Thalovant API; it was not followed.")
    known = _LINK.fullmatch(url.partition("?")[0])  # the API may be reached below another path than it knows of
    return f"v1/operations/{known[1]}" if known else url


def settled(account: Account, path: str, timeout: float, poll_interval: float, now: float) -> Flow[dict[str, Any]]:
    """Ask for an operation until it has ended; its resource. Raises `Overdue`, or what the API's refusal stands for."""
    until = now + timeout
    request = Request(method="GET", path=path)
    while True:
        left = until - now
        bounded = Request(method="GET", path=path, timeout=max(0.001, min(account.timeout, left)))
        try:
            answer = yield from answered(bounded)
        except TimeoutError:
            if left <= account.timeout:
                raise Overdue from None
            raise account.unreachable() from None
        now, pause = answer.at, poll_interval
        if answer.ok:
            operation = read(answer)
            if operation.get("status") in ("ready", "failed", "timed_out"):
                return operation
        elif answer.status == 429:
            pause = max(pause, failure(answer).retry_after_seconds or 0.0)
        elif answer.status < 500:
            raise failure(answer, account.secrets(request))
        left = until - now
        if pause >= left:
            if pause <= poll_interval and left > 0:
                yield Wait(left)
            raise Overdue(slowed=pause > poll_interval)
        yield Wait(pause)
        now += pause


def operation(
    account: Account, awaited: Awaited, timeout: float, poll_interval: float, now: float
) -> Flow[OperationResource]:
    """An operation that has ended well."""
    operation_id, link = operation_of(awaited)
    if not operation_id and not link:
        raise ThalovantAPIError(_NO_ID)
    path = path_of(account, operation_id, link)
    named = operation_id or path.rpartition("/")[2]
    try:
        found = yield from settled(account, path, timeout, poll_interval, now)
    except Overdue as over:
        slowed = " (the API asked to slow down)" if over.slowed else ""
        raise ThalovantTimeoutError(f"Operation {named} did not finish within {timeout:g}s{slowed}.") from None
    if found["status"] != "ready":
        raise ThalovantAPIError(
            _ended(found, named), code=_text(found, "error_code"), detail=_text(found, "error_message")
        )
    return OperationResource.from_dict(found)


def admission(account: Account, awaited: Awaited, timeout: float, poll_interval: float, now: float) -> Flow[None]:
    """Wait until the hub has let a new client in. Without an operation it has, and where the API knows of none."""
    if awaited is None or (isinstance(awaited, BootstrapIdentityResult) and awaited.operation is None):
        return
    operation_id, link = operation_of(awaited)
    if not operation_id and not link:
        raise _failed(_NO_ID)
    try:
        found = yield from settled(account, path_of(account, operation_id, link), timeout, poll_interval, now)
    except Overdue:
        raise ThalovantAdmissionTimeoutError(
            f"The hub did not admit the connection within {timeout:g}s; it may still admit it later."
        ) from None
    except ThalovantAPIError as error:
        if error.status_code == 404:
            return
        if error.status_code in (None, 401, 403) or 200 <= error.status_code < 300:
            raise
        raise _failed(
            str(error), status_code=error.status_code, code=error.code, detail=error.detail, problem=error.problem
        ) from None
    if found["status"] != "ready":
        code, detail = _text(found, "error_code"), _text(found, "error_message")
        raise _failed(_ended(found, operation_id or "of the connection"), error_code=code, code=code, detail=detail)


def _failed(why: str, **details: Any) -> ThalovantAdmissionFailedError:
    return ThalovantAdmissionFailedError(f"The hub could not admit the connection: {why}", **details)


def _ended(found: Mapping[str, Any], named: str) -> str:
    why = _text(found, "error_message") or _text(found, "error_code") or "no detail"
    return f"Operation {named} ended with status {found['status']}: {shortened(why)}"


def _text(found: Mapping[str, Any], key: str) -> str | None:
    return text if isinstance(text := found.get(key), str) and text.strip() else None


def skill_change(account: Account, accepted: HubSkillOperation, timeout: float, now: float) -> Flow[HubSkillOperation]:
    """A change to a hub's skills that has been made."""
    operation_id, what = accepted.operation_id, shortened(accepted.skill)
    path = path_of(account, operation_id, None)
    try:
        found = yield from settled(account, path, timeout, SKILL_POLL, now)
    except Overdue:
        raise ThalovantTimeoutError(
            f"Timed out after {timeout:g}s waiting for the hub skill change ({what}, operation {operation_id}) "
            "to converge."
        ) from None
    if found["status"] != "ready":
        why = shortened(_text(found, "error_message") or _text(found, "error_code") or found["status"])
        raise ThalovantAPIError(f"Hub skill change for {what} failed: {why} (operation {operation_id})")
    state: HubSkillOperationState = "removed" if accepted.state == "removing" else "installed"
    return replace(accepted, state=state, operation=OperationResource.from_dict(found))
