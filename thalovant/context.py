"""Contexts of messages: about user, device, channel and place, and the way back to whoever sent one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ._internal.options import mapping


def build_client_context(
    context: Mapping[str, Any] | None = None,
    *,
    user_id: str | None = None,
    user_name: str | None = None,
    auth_token: str | None = None,
    auth_provider: str | None = None,
    auth_claims: Mapping[str, Any] | None = None,
    roles: Sequence[str] | None = None,
    platform: str | None = None,
    source: str | None = None,
    destination: str | None = None,
    channel: str | None = None,
    device_id: str | None = None,
    locale: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    session_id: str | None = None,
) -> dict[str, Any]:
    """A context for `ask`, `send_*` and `emit` that tells skills who asks, from what, and over which channel.

    Keys that `context` already has win, except inside `user`, `auth` and `metadata`. What is not given is left out.
    """
    built = dict(context or {})
    listed = ([roles] if isinstance(roles, str) else list(roles)) if roles else None
    _merge(built, "user", {"id": user_id, "name": user_name, "roles": listed})
    _fill(built, {"user_id": user_id, "user_name": user_name, "roles": listed})
    _merge(built, "auth", {"token": auth_token, "provider": auth_provider, "claims": dict(auth_claims or {})})
    _fill(built, {"auth_token": auth_token})
    _fill(
        built,
        {"platform": platform, "source": source, "destination": destination, "channel": channel, "locale": locale},
    )
    if device_id:
        device = _mapping(built.get("device"))
        _fill(device, {"id": device_id, "platform": platform})
        built["device"] = device
    if metadata:
        built["metadata"] = {**_mapping(built.get("metadata")), **metadata}
    if session_id:
        session = _mapping(built.get("session"))
        _fill(session, {"session_id": session_id})
        built["session"] = session
        _fill(built, {"session_id": session_id})
    return built


def request_context(
    context: Mapping[str, Any] | None = None,
    *,
    stt_lang: str | None = None,
    pipeline: Sequence[str] | None = None,
    location: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """`context` with hints for the hub, None if there is nothing in it.

    `stt_lang` is the language that was spoken, `pipeline` the stages that may answer, in order, `location` where the
    user is (see `build_location`).
    """
    built = mapping(context, "context")
    if stt_lang:
        built["stt_lang"] = stt_lang
    if pipeline:
        stages = [pipeline] if isinstance(pipeline, str) else list(pipeline)
        built["session"] = {**_mapping(built.get("session")), "pipeline": stages}
    if location:
        built["location"] = dict(location)
    return built or None


def build_location(
    city: str = "",
    region: str = "",
    country: str = "",
    latitude: float | str | None = None,
    longitude: float | str | None = None,
    timezone: str = "",
) -> dict[str, Any] | None:
    """A location as skills read it, None without a city. Degrees that are not on the globe are left out."""
    if not city.strip():
        return None
    built: dict[str, Any] = {"city": city.strip()}
    _fill(built, {"region": region.strip(), "country_code": country.strip().upper()})
    if timezone.strip():
        built["timezone"] = {"code": timezone.strip()}
    place = _degrees(latitude, 90), _degrees(longitude, 180)
    if None not in place and any(place):  # two zeros mean unset
        built["coordinate"] = {"latitude": place[0], "longitude": place[1]}
    return built


def reply_context(context: Mapping[str, Any] | None) -> dict[str, Any]:
    """A deep copy of a message's context, turned round for an answer to it.

    `destination` is the old `source`, and `source` the old `destination`, the first of them if there are several.
    What the context does not name stays as it is.

    Example:
        >>> reply_context({"source": "skills", "destination": ["kitchen"]})
        {'source': 'kitchen', 'destination': 'skills'}
    """
    built: dict[str, Any] = copied(_mapping(context))
    source, destination = built.get("source"), built.get("destination")
    if isinstance(destination, list | tuple):
        destination = next(iter(destination), None)
    if destination:
        built["source"] = destination
        built.pop("destination")
    if source:
        built["destination"] = source
    return built


def copied(value: Any) -> Any:
    """A deep copy of what JSON can hold; what is neither object nor list is shared."""
    if isinstance(value, dict):
        return {key: copied(item) if isinstance(item, dict | list) else item for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def _mapping(value: Any) -> dict[str, Any]:
    """A copy; what is no mapping gives way, since hubs and skills look for one there."""
    return dict(value) if isinstance(value, Mapping) else {}


def _fill(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if value:
            target.setdefault(key, value)


def _merge(target: dict[str, Any], key: str, values: Mapping[str, Any]) -> None:
    given = {name: value for name, value in values.items() if value}
    if given:
        target[key] = {**_mapping(target.get(key)), **given}


def _degrees(value: float | str | None, limit: int) -> float | None:
    try:
        degrees = float(value) if value is not None else math.nan
    except (ValueError, TypeError, OverflowError):
        return None
    return degrees if abs(degrees) <= limit else None
