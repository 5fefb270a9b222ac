"""Contexts: what apps tell of themselves, and the ids in what is sent."""

from __future__ import annotations

import copy
import math

import pytest

from thalovant import build_client_context, build_location, request_context
from thalovant._client.messages import Messages
from thalovant.client import reply_context
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.secret import Secret

EVERYTHING = {
    "user_id": "new",
    "user_name": "N",
    "auth_token": "TOK",
    "auth_provider": "oidc",
    "auth_claims": {"c": 1},
    "roles": ("r",),
    "platform": "kiosk",
    "source": "src",
    "destination": "dst",
    "channel": "chat",
    "device_id": "dev",
    "locale": "en",
    "metadata": {"m": 1},
    "session_id": "S",
}


def test_everything():
    """Each option has its places."""
    assert build_client_context(**EVERYTHING) == {
        "user": {"id": "new", "name": "N", "roles": ["r"]},
        "user_id": "new",
        "user_name": "N",
        "roles": ["r"],
        "auth": {"token": "TOK", "provider": "oidc", "claims": {"c": 1}},
        "auth_token": "TOK",
        "platform": "kiosk",
        "source": "src",
        "destination": "dst",
        "channel": "chat",
        "locale": "en",
        "device": {"id": "dev", "platform": "kiosk"},
        "metadata": {"m": 1},
        "session": {"session_id": "S"},
        "session_id": "S",
    }


def test_base_wins():
    """Keys of the given context stay, except inside user, auth and metadata; it is not changed itself."""
    base = {
        "user_id": "keep",
        "platform": "old",
        "device": {"x": 1},
        "user": {"id": "old", "z": 1},
        "auth": {"token": "old"},
        "auth_token": "keep",
        "metadata": {"m": 0, "n": 2},
        "session": {"session_id": "keep", "q": 1},
        "session_id": "keep too",
        "roles": ["k"],
        "source": "s",
        "locale": "l",
    }
    before = copy.deepcopy(base)

    built = build_client_context(base, **EVERYTHING)

    assert built == base | {
        "user": {"id": "new", "z": 1, "name": "N", "roles": ["r"]},
        "user_name": "N",
        "auth": {"token": "TOK", "provider": "oidc", "claims": {"c": 1}},
        "device": {"x": 1, "id": "dev", "platform": "kiosk"},
        "metadata": {"m": 1, "n": 2},
        "destination": "dst",
        "channel": "chat",
    }
    assert before == base


@pytest.mark.parametrize(
    ("options", "built"),
    [
        ({}, {}),
        ({"user_id": "", "roles": [], "metadata": {}, "device_id": "", "auth_claims": {}}, {}),
        ({"device_id": "d"}, {"device": {"id": "d"}}),
        ({"metadata": {"zero": 0}}, {"metadata": {"zero": 0}}),
        ({"roles": "admin"}, {"roles": ["admin"], "user": {"roles": ["admin"]}}),
    ],
)
def test_what_is_not_given(options, built):
    """Empty options leave no trace; a role alone is one role."""
    assert build_client_context(**options) == built


def test_base_of_other_shapes():
    """What is no mapping where skills look for one gives way."""
    base = dict.fromkeys(("user", "auth", "device", "session", "metadata"), "text")

    assert build_client_context(base, **EVERYTHING) == build_client_context(**EVERYTHING)


@pytest.mark.parametrize(
    ("context", "hints", "built"),
    [
        (None, {}, None),
        ({}, {"stt_lang": "", "pipeline": [], "location": {}}, None),
        ({"a": 1}, {}, {"a": 1}),
        (None, {"stt_lang": "de"}, {"stt_lang": "de"}),
        ({"stt_lang": "z"}, {"stt_lang": "de"}, {"stt_lang": "de"}),
        (
            {"session": {"x": 1, "pipeline": ["k"]}},
            {"pipeline": ("a", "b")},
            {"session": {"x": 1, "pipeline": ["a", "b"]}},
        ),
        ({"session": "text"}, {"pipeline": "adapt"}, {"session": {"pipeline": ["adapt"]}}),
        (None, {"location": {"city": "x"}}, {"location": {"city": "x"}}),
        ({"location": 1}, {"location": {"city": "x"}}, {"location": {"city": "x"}}),
    ],
)
def test_hints(context, hints, built):
    """Language, stages and place for one request; nothing is None."""
    assert request_context(context, **hints) == built


@pytest.mark.parametrize(
    ("options", "built"),
    [
        ({}, None),
        ({"region": "r", "timezone": "z", "latitude": 1, "longitude": 2}, None),
        ({"city": " Lyon ", "country": " fr "}, {"city": "Lyon", "country_code": "FR"}),
        (
            {"city": "L", "region": "ARA", "timezone": "Europe/Paris", "latitude": "45.7", "longitude": 4.8},
            {
                "city": "L",
                "region": "ARA",
                "timezone": {"code": "Europe/Paris"},
                "coordinate": {"latitude": 45.7, "longitude": 4.8},
            },
        ),
        ({"city": "L", "latitude": 1}, {"city": "L"}),
        ({"city": "L", "latitude": "x", "longitude": 3}, {"city": "L"}),
        ({"city": "L", "latitude": 91, "longitude": 3}, {"city": "L"}),
        ({"city": "L", "latitude": 3, "longitude": 181}, {"city": "L"}),
        ({"city": "L", "latitude": math.nan, "longitude": 3}, {"city": "L"}),
        ({"city": "L", "latitude": 0, "longitude": "0.0"}, {"city": "L"}),
        *(
            (place, {"city": "L", "coordinate": {"latitude": place["latitude"], "longitude": place["longitude"]}})
            for place in (
                {"city": "L", "latitude": 0, "longitude": 3},
                {"city": "L", "latitude": 51.48, "longitude": 0},
            )
        ),
        ({"city": "L", "latitude": 10**400, "longitude": []}, {"city": "L"}),
    ],
)
def test_location(options, built):
    """A city and what is known of it; degrees that cannot be are left out."""
    assert build_location(**options) == built


@pytest.mark.parametrize(
    ("context", "turned"),
    [
        (
            {"source": "skill", "destination": ["kiosk", "hall"], "session": {"session_id": "s"}, "request_id": "r"},
            {"source": "kiosk", "destination": "skill", "session": {"session_id": "s"}, "request_id": "r"},
        ),
        ({"source": "skill", "destination": "kiosk"}, {"source": "kiosk", "destination": "skill"}),
        ({"destination": "kiosk"}, {"source": "kiosk"}),
        ({"source": "skill"}, {"source": "skill", "destination": "skill"}),
        ({"source": "skill", "destination": []}, {"source": "skill", "destination": "skill"}),
        ({"session": {"session_id": "s"}}, {"session": {"session_id": "s"}}),
        ({}, {}),
    ],
)
def test_reply_context(context, turned):
    """Back to where it came from; a deep copy, so that what is done to it is done to nothing else."""
    before = copy.deepcopy(context)

    built = reply_context(context)
    assert built == turned
    built.setdefault("session", {})["session_id"] = "other"

    assert context == before


# --- what is sent ----------------------------------------------------------------------------------------------------

CONFIG = ClientConfig(access_key=Secret("k"), password=None, session_id="own", site_id="site", user_agent="us")
ROUTE = {"source": "us", "platform": "us", "destination": "HiveMind"}
IDS = {"request_id": "R", "thalovant_request_id": "R"}
SESSION = {"session_id": "own", "site_id": "site", "lang": "en-us", "request_id": "R"}


def says(text, context=None, *, lang="en-us", session_id=None, request_id="R", metadata=None):
    return Messages(CONFIG, metadata or {}).utterance("ask", text, lang, context, session_id, request_id)


def presses(payload, context=None, *, title=None, metadata=None):
    return Messages(CONFIG, metadata or {}).action(payload, title, "en-us", context, None, "R")


def scans(value, context=None, *, kind="code", label=None, metadata=None):
    return Messages(CONFIG, metadata or {}).code(value, kind, label, "en-us", context, None, "R")


def emits(event_type, context=None, *, metadata=None):
    return Messages(CONFIG, metadata or {}).emitted("emit", event_type, None, context)


def test_utterance():
    """The bus data, and ids where hubs and skills look for them."""
    message = says(" hi ", session_id="S", lang="de")

    assert message.data == {"utterances": ["hi"], "lang": "de"}
    assert message.context == ROUTE | IDS | {"session": {**SESSION, "session_id": "S", "lang": "de"}}


def test_action():
    """An utterance whose context says that it was a button."""
    message = presses(" /x ", {"input": {"other": 1}}, title="T")

    assert message.data == {"utterances": ["/x"], "lang": "en-us"}
    given = {"kind": "action", "title": "T", "payload": "/x"}
    assert message.context == ROUTE | IDS | {"session": SESSION, "input": given}


def test_code():
    """An utterance whose data and context say that it is exact."""
    given = {"kind": "qr", "label": "serial", "value": "SN-1", "exact": True}

    message = scans(" SN-1 ", kind="qr", label="serial")

    assert message.data == {"utterances": ["SN-1"], "lang": "en-us", "input": given}
    assert message.context == ROUTE | IDS | {"session": SESSION, "input": given}


def test_precedence():
    """A session id that is given overwrites, site and language fill gaps, the rest of the session stays."""
    context = {"session": {"lang": "fr", "x": 1}, "source": "me"}

    message = says("hi", context, session_id="S1")

    session = {**SESSION, "lang": "fr", "x": 1, "session_id": "S1"}
    assert message.context == ROUTE | IDS | {"session": session, "source": "me"}
    assert context == {"session": {"lang": "fr", "x": 1}, "source": "me"}


def test_request_ids_are_new_each_time():
    """The same context may serve many requests: an id in it is replaced, and none is used twice."""
    context = {"request_id": "old", "session": {"session_id": "k", "request_id": "old"}}

    one, other = (says("x", context, request_id=None) for _ in range(2))

    assert one.request_id != other.request_id
    assert one.request_id.startswith("thalovant-request-")
    assert one.context["session"] == {**SESSION, "session_id": "k", "request_id": one.request_id}
    assert one.context["request_id"] == one.context["thalovant_request_id"] == one.request_id


def test_session_that_is_none():
    """What is no mapping cannot hold ids."""
    assert says("x", {"session": "text"}).context["session"] == SESSION


def test_session_of_a_question():
    """A query has a session of its own, unless one is named."""
    messages = Messages(CONFIG, {})

    one, other, named = (messages.question("x", "en-us", None, session, None) for session in (None, None, "S"))

    assert one.session_id.startswith("thalovant-session-")
    assert one.session_id != other.session_id
    assert named.session_id == "S"


def test_session_that_the_caller_named():
    """The client's own session, where messages go that have none, is nobody's conversation."""
    messages = Messages(CONFIG, {})

    assert messages.session_of(says("x")) is None
    assert messages.session_of(says("x", session_id="S")) == "S"


@pytest.mark.parametrize("make", [says, presses, scans, emits])
@pytest.mark.parametrize(
    ("context", "metadata", "built"),
    [
        (None, {"m": 1}, {"m": 1}),
        ({"metadata": "text"}, {"m": 1}, {"m": 1}),
        ({"metadata": {"m": 0}}, {"m": 1, "n": 2}, {"m": 0, "n": 2}),
        ({"metadata": {"m": 0}}, {}, {"m": 0}),
        ({}, {}, None),
    ],
)
def test_identity_metadata(make, context, metadata, built):
    """The identity's metadata is under every message's own."""
    assert make("x", context, metadata=metadata).context.get("metadata") == built


def test_emitted():
    """A raw event has a route and a session, and no request id."""
    message = emits("app.event", {"a": 1})

    assert (message.type, message.data) == ("app.event", {})
    assert message.context == ROUTE | {"a": 1, "session": {"session_id": "own", "site_id": "site"}}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (says, r"ask\(\) requires a non-empty text prompt\."),
        (presses, r"send_action\(\) requires a non-empty payload\."),
        (scans, r"send_code\(\) requires a non-empty value\."),
        (emits, r"emit\(\) requires a non-empty event type\."),
    ],
)
@pytest.mark.parametrize("text", ["", "  \n", None, 5])
def test_blank(make, message, text):
    """Nothing to say is the caller's mistake, with the documented words."""
    with pytest.raises(ValueError, match=message):
        make(text)
