"""Contexts: what apps tell of themselves, and the ids in what is sent."""

from __future__ import annotations

import copy
import math

import pytest

from thalovant import build_client_context, build_location, request_context
from thalovant.context import (
    action_request,
    code_request,
    new_request_id,
    new_session_id,
    reply_context,
    utterance_request,
    with_ids,
    with_metadata,
)

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
        ({"location": 1}, {"location": {"city": "x"}}, {"location": 1}),
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
        ({"city": "L", "latitude": 0, "longitude": 0}, {"city": "L"}),
    ],
)
def test_location(options, built):
    """A city and what is known of it; degrees that cannot be are left out."""
    assert build_location(**options) == built


# --- what is sent ---

IDS = {"request_id": "R", "thalovant_request_id": "R"}
SESSION = {"site_id": "site", "lang": "en-us", "request_id": "R"}


def test_utterance():
    """The bus data, and ids where hubs and skills look for them."""
    request = utterance_request(" hi ", site_id="site", session_id="S", request_id="R", lang="de")

    assert request.data == {"utterances": ["hi"], "lang": "de"}
    assert request.context == IDS | {"session": {"session_id": "S", "site_id": "site", "lang": "de", "request_id": "R"}}
    assert request.request_id == "R"


def test_action():
    """An utterance whose context says that it was a button."""
    request = action_request(" /x ", site_id="site", title="T", request_id="R", context={"input": {"other": 1}})

    assert request.data == {"utterances": ["/x"], "lang": "en-us"}
    assert request.context == IDS | {"session": SESSION, "input": {"kind": "action", "title": "T", "payload": "/x"}}


def test_code():
    """An utterance whose data and context say that it is exact."""
    given = {"kind": "qr", "label": "serial", "value": "SN-1", "exact": True}

    request = code_request(" SN-1 ", site_id="site", kind="qr", label="serial", request_id="R")

    assert request.data == {"utterances": ["SN-1"], "lang": "en-us", "input": given}
    assert request.context == IDS | {"session": SESSION, "input": given}


def test_precedence():
    """A session id that is given overwrites, site and language fill gaps, the rest of the session stays."""
    context = {"session": {"lang": "fr", "x": 1}, "source": "me"}

    request = utterance_request("hi", site_id="site", session_id="S1", request_id="R1", context=context)

    assert request.context == {
        "session": {"lang": "fr", "x": 1, "session_id": "S1", "site_id": "site", "request_id": "R1"},
        "source": "me",
        "request_id": "R1",
        "thalovant_request_id": "R1",
    }
    assert context == {"session": {"lang": "fr", "x": 1}, "source": "me"}


def test_request_ids_are_new_each_time():
    """The same context may serve many requests: an id in it is replaced, and none is used twice."""
    context = {"request_id": "old", "session": {"session_id": "k", "request_id": "old"}}

    one, other = (utterance_request("x", site_id="s", context=context) for _ in range(2))

    assert one.request_id != other.request_id
    assert one.request_id.startswith("thalovant-request-")
    assert one.context["session"] == {"session_id": "k", "request_id": one.request_id, "site_id": "s", "lang": "en-us"}
    assert one.context["request_id"] == one.context["thalovant_request_id"] == one.request_id


def test_session_that_is_none():
    """What is no mapping cannot hold ids."""
    assert (
        utterance_request("x", site_id="site", request_id="R", context={"session": "text"}).context["session"]
        == SESSION
    )


@pytest.mark.parametrize("make", [utterance_request, action_request, code_request])
def test_identity_metadata(make):
    """The identity's metadata is under every message's own."""
    request = make("x", site_id="s", metadata={"m": 1, "n": 2}, context={"metadata": {"m": 0}})

    assert request.context["metadata"] == {"m": 0, "n": 2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (utterance_request, r"send_utterance\(\) requires a non-empty text prompt\."),
        (action_request, r"send_action\(\) requires a non-empty payload\."),
        (code_request, r"send_code\(\) requires a non-empty value\."),
    ],
)
@pytest.mark.parametrize("text", ["", "  \n", None, 5])
def test_blank(make, message, text):
    """Nothing to say is the caller's mistake, with the documented words."""
    with pytest.raises(ValueError, match=message):
        make(text, site_id="s")


def test_blank_question():
    """`ask` has its own name in the error."""
    with pytest.raises(ValueError, match=r"ask\(\) requires a non-empty text prompt\."):
        utterance_request(" ", site_id="s", method="ask")


@pytest.mark.parametrize(
    ("context", "metadata", "built"),
    [
        (None, None, {}),
        ({"a": 1}, {}, {"a": 1}),
        (None, {"m": 1}, {"metadata": {"m": 1}}),
        ({"metadata": "text"}, {"m": 1}, {"metadata": {"m": 1}}),
    ],
)
def test_emitted_metadata(context, metadata, built):
    """A raw event gets the identity's metadata and nothing else."""
    assert with_metadata(context, metadata) == built


def test_ids_without_a_request():
    """What a conversation emits has its session and no request id."""
    assert with_ids({"a": 1}, site_id="s", lang="de", session_id="S") == {
        "a": 1,
        "session": {"session_id": "S", "site_id": "s", "lang": "de"},
    }


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ({"source": "a", "destination": "b", "x": 1}, {"source": "b", "destination": "a", "x": 1}),
        ({"source": "a"}, {"destination": "a"}),
        ({"destination": "b"}, {"source": "b"}),
        ({}, {}),
    ],
)
def test_answer_goes_back(context, answer):
    """Source and destination change places, everything else stays."""
    before = dict(context)

    assert reply_context(context) == answer
    assert before == context


def test_ids_are_told_apart():
    """By eye, and from each other."""
    assert new_session_id().startswith("thalovant-session-")
    assert len({new_session_id(), new_session_id(), new_request_id(), new_request_id()}) == 4
