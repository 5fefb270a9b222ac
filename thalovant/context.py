"""The context of messages: what apps tell about user, device and channel, and the ids that make answers findable."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


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
    user is (see `build_location`); a location that the context has wins.
    """
    built = dict(context or {})
    if stt_lang:
        built["stt_lang"] = stt_lang
    if pipeline:
        stages = [pipeline] if isinstance(pipeline, str) else list(pipeline)
        built["session"] = {**_mapping(built.get("session")), "pipeline": stages}
    if location:
        built.setdefault("location", dict(location))
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
    if None not in place and place != (0, 0):  # where everybody is who is nowhere
        built["coordinate"] = {"latitude": place[0], "longitude": place[1]}
    return built


# --- what is sent ----------------------------------------------------------------------------------------------------


class Request(NamedTuple):
    """Data and context of a message that is about to be sent. `request_id` is what its answers carry."""

    data: dict[str, Any]
    context: dict[str, Any]
    request_id: str


def utterance_request(
    text: str,
    *,
    site_id: str,
    lang: str = "en-us",
    context: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
    method: str = "send_utterance",
) -> Request:
    """An utterance of the user. `metadata` is the identity's, `method` the caller's name for the error.

    Raises `ValueError` for a blank text.
    """
    text = required_text(text, method, "text prompt")
    return _request(text, None, site_id, lang, with_metadata(context, metadata), session_id, request_id)


def action_request(
    payload: str,
    *,
    site_id: str,
    title: str | None = None,
    lang: str = "en-us",
    context: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
) -> Request:
    """A pressed button or a picked item: an utterance that says so. Raises `ValueError` for a blank payload."""
    payload = required_text(payload, "send_action", "payload")
    built = with_metadata(context, metadata)
    built["input"] = {"kind": "action", "title": title, "payload": payload}
    return _request(payload, None, site_id, lang, built, session_id, request_id)


def code_request(
    value: str,
    *,
    site_id: str,
    kind: str = "code",
    label: str | None = None,
    lang: str = "en-us",
    context: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
) -> Request:
    """A scanned or typed value that must not be interpreted as speech. Raises `ValueError` for a blank value."""
    value = required_text(value, "send_code", "value")
    given = {"kind": kind, "label": label, "value": value, "exact": True}
    built = with_metadata(context, metadata)
    built["input"] = given
    return _request(value, dict(given), site_id, lang, built, session_id, request_id)


def required_text(text: str, method: str, what: str) -> str:
    """The text without surrounding space. Raises `ValueError` if nothing is left."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{method}() requires a non-empty {what}.")
    return text.strip()


def with_metadata(context: Mapping[str, Any] | None, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of `context` with the identity's metadata under its own, whose keys win."""
    built = dict(context or {})
    if metadata:
        built["metadata"] = {**metadata, **_mapping(built.get("metadata"))}
    return built


def with_ids(
    context: Mapping[str, Any],
    *,
    site_id: str,
    lang: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
) -> dict[str, Any]:
    """A copy of `context` with session, site, language and, if given, request id where hubs and skills look for them.

    A session id overwrites, site and language fill gaps.
    """
    built = dict(context)
    session = _mapping(built.get("session"))
    if session_id:
        session["session_id"] = session_id
    _fill(session, {"site_id": site_id, "lang": lang})
    if request_id:
        session["request_id"] = built["request_id"] = built["thalovant_request_id"] = request_id
    built["session"] = session
    return built


def reply_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context for an answer to a message with `context`: the same, back to where it came from."""
    built = dict(context)
    ends = {"source": context.get("destination"), "destination": context.get("source")}
    for key, value in ends.items():
        if value is None:
            built.pop(key, None)
        else:
            built[key] = value
    return built


def new_request_id() -> str:
    """An id that no other request has."""
    return f"thalovant-request-{uuid.uuid4().hex}"


def new_session_id() -> str:
    """An id that no other conversation has."""
    return f"thalovant-session-{uuid.uuid4().hex}"


def _request(
    text: str,
    given: dict[str, Any] | None,
    site_id: str,
    lang: str,
    context: dict[str, Any],
    session_id: str | None,
    request_id: str | None,
) -> Request:
    # A request id in the context is replaced: the same context may serve many requests.
    request_id = request_id or new_request_id()
    data: dict[str, Any] = {"utterances": [text], "lang": lang}
    if given is not None:
        data["input"] = given
    built = with_ids(context, site_id=site_id, lang=lang, session_id=session_id, request_id=request_id)
    return Request(data, built, request_id)


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
    except ValueError:
        return None
    return degrees if abs(degrees) <= limit else None
