"""The context of a message: the ids by which its answers are found, its language and site, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import events as e

if TYPE_CHECKING:
    from ..entropy import Entropy
    from .config import ClientConfig


def message_context(
    context: Mapping[str, Any],
    config: ClientConfig,
    *,
    session_id: str | None = None,
    lang: str | None = None,
    request_id: str | None = None,
) -> e.Json:
    """`context` with what hubs and skills look for on every message (docs/protocol/real-hubs.md §3).

    `session_id` and `request_id` overwrite; the rest fills gaps. A message without a session, or with the one called
    "default" that all clients of a hub share, belongs to the client's own. What came out goes through unchanged.
    Where messages are not to be `addressed`, only what was given here and the site of a session are in it.
    """
    if not config.addressed and not (session_id or lang or request_id):
        return dict(context)
    given = context.get("session")
    session = dict(given) if isinstance(given, Mapping) else {}
    if session_id:
        session["session_id"] = session_id
    elif config.addressed and session.get("session_id") in (None, "", "default"):
        session["session_id"] = config.session_id
    session.setdefault("site_id", config.site_id)
    if lang:
        session.setdefault("lang", lang)
    agent = config.user_agent
    built = {**context, "session": session}
    if config.addressed:
        built = {"source": agent, "platform": agent, "destination": "HiveMind", **built}
    if request_id:
        # Hubs give the one at the top back, skills read any of the three.
        session["request_id"] = built["request_id"] = built["thalovant_request_id"] = request_id
    return built


def new_request_id(entropy: Entropy) -> str:
    """An id that no other request has."""
    return f"thalovant-request-{entropy(16).hex()}"


def new_session_id(entropy: Entropy) -> str:
    """An id that no other conversation has."""
    return f"thalovant-session-{entropy(16).hex()}"
