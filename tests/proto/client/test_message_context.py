"""The context of a message: what is decided, and what is left as it came."""

from typing import Any

import pytest

from tests.proto.world import Entropy, config
from thalovant_proto.client.message_context import message_context, new_request_id, new_session_id

CONFIG = config(session_id="own", site_id="site", user_agent="tests/1")
AGENT = {"source": "tests/1", "platform": "tests/1", "destination": "HiveMind"}
REQUEST = {"request_id": "R", "thalovant_request_id": "R"}

#: Context, additions, and what becomes of both.
CONTEXTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}, {**AGENT, "session": {"session_id": "own", "site_id": "site"}}),
    "no object": ({"session": "S"}, {}, {**AGENT, "session": {"session_id": "own", "site_id": "site"}}),
    "what all share": (
        {"session": {"session_id": "default", "site_id": "s"}, "source": "app", "x": 1},
        {},
        {**AGENT, "source": "app", "x": 1, "session": {"session_id": "own", "site_id": "s"}},
    ),
    "ids overwrite, a language fills": (
        {"session": {"session_id": "A", "lang": "de", "request_id": "old"}, "request_id": "old"},
        {"session_id": "B", "lang": "en", "request_id": "R"},
        {
            **AGENT,
            **REQUEST,
            "session": {"session_id": "B", "site_id": "site", "lang": "de", "request_id": "R"},
        },
    ),
    "a language": ({}, {"lang": "en"}, {**AGENT, "session": {"session_id": "own", "site_id": "site", "lang": "en"}}),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_ids_overwrite_and_the_rest_fills_gaps(name):
    """And what came out goes through once more unchanged; what went in is not touched."""
    given, additions, expected = CONTEXTS[name]
    before = repr(given)

    built = message_context(given, CONFIG, **additions)

    assert built == expected
    assert message_context(built, CONFIG) == expected
    assert repr(given) == before


@pytest.mark.parametrize(
    ("given", "additions", "expected"),
    [
        ({"session": {"session_id": "default"}, "x": 1}, {}, {"session": {"session_id": "default"}, "x": 1}),
        (
            {"session": {"lang": "fr"}},
            {"request_id": "R", "lang": "en"},
            {**REQUEST, "session": {"lang": "fr", "site_id": "site", "request_id": "R"}},
        ),
    ],
)
def test_what_something_else_addresses(given, additions, expected):
    """Only what the caller decides is added; source, destination and session are left to what sends it."""
    assert message_context(given, config(site_id="site", addressed=False), **additions) == expected


def test_ids_are_new():
    """Of requests and of conversations."""
    entropy = Entropy("ids")

    ids = [new_request_id(entropy), new_request_id(entropy), new_session_id(entropy), new_session_id(entropy)]

    assert [id.rpartition("-")[0] for id in ids] == ["thalovant-request"] * 2 + ["thalovant-session"] * 2
    assert len(set(ids)) == 4
