"""Signing in: by password, on a device, in an app with a browser; and signing out."""

from __future__ import annotations

import datetime

import pytest

import thalovant.control
from thalovant import (
    HOME_ASSISTANT_CLIENT_ID,
    HOME_ASSISTANT_SCOPES,
    DeviceAuthorization,
    ThalovantAPIError,
    ThalovantAuthError,
    ThalovantDeviceLoginDenied,
    ThalovantDeviceLoginExpired,
    ThalovantDeviceLoginPending,
    ThalovantTimeoutError,
    begin_native_sign_in,
    challenge_for,
    is_thalovant_url,
    new_verifier,
)

from .control_lab import PROBLEM, Ask, Reply

CODE, SECRET = "dc-never-to-be-printed-0123456789", "tvt_never_to_be_printed"
GRANT = {
    "device_code": CODE,
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://thalovant.com/activate",
    "verification_uri_complete": "https://thalovant.com/activate?code=WDJB-MJHT",
    "expires_in": 900,
    "interval": 5,
}
STARTED = DeviceAuthorization.from_dict(GRANT)
TOKEN = {
    "access_token": SECRET,
    "token_type": "bearer",
    "scopes": [*HOME_ASSISTANT_SCOPES],
    "expires_at": "2027-09-27T10:00:00Z",
    "token_id": "7b0e1c52",
}
APP = "thalovant-home-assistant"
NO_TOKEN = "Thalovant API token response did not include access_token."


def pending(error: str = "authorization_pending") -> Reply:
    return Reply(400, {"error": error})


@pytest.fixture(autouse=True)
def nobody_is_signed_in(monkeypatch):
    """Tokens of the environment are none of these tests'."""
    monkeypatch.delenv("THALOVANT_API_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"scope": "", "otp_code": "123456"}, {"otp_code": "123456"}),
        ({"scope": "hubs:read", "recovery_code": "r"}, {"scope": "hubs:read", "recovery_code": "r"}),
    ],
)
def test_password(asking: Ask, given, sent):
    """Only what is given is sent, without a token; the one in the answer is kept, and its whole answer given."""
    api, plane = asking({"access_token": "T", "more": 1})
    plane.plane.token_id = "old"

    assert plane("login", "you@example.com", "password", **given) == {"access_token": "T", "more": 1}
    assert api.sent[0].json == {"email": "you@example.com", "password": "password", **sent}
    assert "authorization" not in api.sent[0].headers
    assert (plane.plane.access_token, plane.plane.token_id) == ("T", None)


def test_wrong_password(asking: Ask):
    """The next step is about what was entered, not about scopes."""
    _, plane = asking(Reply(401, {"detail": "No such account"}))

    with pytest.raises(ThalovantAuthError) as caught:
        plane("login", "you@example.com", "password")
    assert caught.value.hint.startswith("Check what you sign in with")


@pytest.mark.parametrize("reply", [{}, {"access_token": ""}, {"access_token": 5}, Reply(200, "<p>"), Reply(200, "[]")])
def test_success_without_a_token(asking: Ask, reply):
    """Is none, however it is spelled."""
    _, plane = asking(reply)

    for method, arguments in (("login", ("you@example.com", "p")), ("poll_device_login", (STARTED,))):
        with pytest.raises(ThalovantAPIError) as caught:
            plane(method, *arguments)
        assert (str(caught.value), caught.value.status_code) == (NO_TOKEN, None)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"scopes": HOME_ASSISTANT_SCOPES, "client_name": "Home Assistant"}, {"client_name": "Home Assistant"}),
        ({"scopes": HOME_ASSISTANT_SCOPES}, {}),
        (
            {"scopes": [*HOME_ASSISTANT_SCOPES], "client_id": HOME_ASSISTANT_CLIENT_ID},
            {"client_id": "thalovant-home-assistant"},
        ),
        ({"scopes": [], "client_id": None}, None),
    ],
)
def test_beginning(asking: Ask, given, sent):
    """What is shown to a person, and what is not."""
    api, plane = asking(GRANT)

    started = plane("begin_device_login", **given)

    assert (started, started.as_dict()) == (STARTED, GRANT)
    assert CODE not in repr(started)
    expected = {} if sent is None else {"scopes": [*HOME_ASSISTANT_SCOPES], **sent}
    assert (str(api.sent[0]), api.sent[0].json) == ("POST /v1/auth/device/authorize", expected)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({"interval": None, "expires_in": "soon"}, (5.0, 900)),
        ({"interval": 2.5, "expires_in": 60}, (2.5, 60)),
        ({"interval": True, "expires_in": -1}, (5.0, 900)),
        ({"verification_uri_complete": None}, (5.0, 900)),
        *(
            ({"verification_uri": url}, None)
            for url in ("https://u:p@t.com/a", "javascript:x", "/activate", "https://", "")
        ),
        ({"verification_uri_complete": "ftp://thalovant.com"}, None),
        ({"user_code": ""}, None),
    ],
)
def test_what_the_api_starts(asking: Ask, change, read):
    """Numbers that make no sense are the usual ones; addresses that no browser should open are errors."""
    _, plane = asking({**GRANT, **change})

    if read is None:
        with pytest.raises(ThalovantAPIError) as caught:
            plane("begin_device_login")
        assert caught.value.status_code is None
        return
    started = plane("begin_device_login")
    assert (started.interval, started.expires_in) == read


def test_approved(asking: Ask):
    """The token is kept, with its id, and is in no repr."""
    api, plane = asking(TOKEN)

    token = plane("poll_device_login", CODE)

    assert (str(api.sent[0]), api.sent[0].json) == ("POST /v1/auth/device/token", {"device_code": CODE})
    assert token.expires_at == datetime.datetime(2027, 9, 27, 10, tzinfo=datetime.UTC)
    assert (token.token_type, token.scopes, token.token_id) == ("bearer", HOME_ASSISTANT_SCOPES, "7b0e1c52")
    assert (plane.plane.access_token, plane.plane.token_id) == (SECRET, "7b0e1c52")
    assert token.as_dict()["expires_at"] == "2027-09-27T10:00:00+00:00"
    assert SECRET not in repr(token)


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (pending("expired_token"), ThalovantDeviceLoginExpired, 400),
        (pending("access_denied"), ThalovantDeviceLoginDenied, 400),
        (pending("odd"), ThalovantAPIError, 400),
        (Reply(503, {"detail": "None now.", "code": "service_unavailable"}, kind=PROBLEM), ThalovantAPIError, 503),
        (Reply(400, {"detail": f"unknown: {CODE}"}), ThalovantAPIError, 400),
        (Reply(401, {"error": "authorization_pending"}), thalovant.control.ThalovantAuthError, 401),
    ],
)
def test_not_approved(asking: Ask, reply, kind, status):
    """Each its own error, which names no code."""
    api, plane = asking(reply)

    with pytest.raises(ThalovantAPIError) as caught:
        plane("poll_device_login", STARTED)

    assert (type(caught.value), caught.value.status_code, len(api.sent)) == (kind, status, 1)
    assert CODE not in str(caught.value) + repr(caught.value)


def test_slow_down_sticks(asking: Ask):
    """To the code, on that plane."""
    _, plane = asking(pending("slow_down"), pending(), pending("slow_down"), pending())
    intervals = []

    for grant in (STARTED, STARTED, STARTED, "another code"):
        with pytest.raises(ThalovantDeviceLoginPending) as caught:
            plane("poll_device_login", grant)
        intervals.append(caught.value.interval)

    assert intervals == [10.0, 10.0, 15.0, 5.0]


def test_browser(asking: Ask, monkeypatch):
    """It is opened at the address with the code in it; what gets in the way meanwhile only takes time."""
    opened, shown = [], []
    monkeypatch.setattr(thalovant.control.webbrowser, "open", opened.append)
    _, plane = asking(GRANT, pending(), pending("slow_down"), Reply(503), pending(), TOKEN)

    reply = plane("login_with_browser", scopes=["hubs:read"], prompt=shown.append)

    assert (reply, plane.plane.access_token) == (TOKEN, SECRET)
    assert (opened, shown) == ([GRANT["verification_uri_complete"]], [GRANT])
    assert plane.pauses == [5.0, 10.0, 10.0, 10.0]


def test_browser_that_is_not_opened(asking: Ask, capsys):
    """The words for the terminal, and the end of patience."""
    _, plane = asking(GRANT, pending())

    with pytest.raises(ThalovantTimeoutError, match=r"^Timed out waiting for the device sign-in to be approved\."):
        plane("login_with_browser", open_browser=False, timeout=12)

    assert capsys.readouterr().out == "To sign in, visit https://thalovant.com/activate and enter the code WDJB-MJHT\n"
    assert sum(plane.pauses) == 12


@pytest.mark.parametrize(
    ("change", "client_id", "verified"),
    [
        ({"client_id": "app", "client_verified": True}, "app", True),
        ({"client_verified": True}, None, False),
        ({"client_id": "app", "client_verified": "yes"}, "app", False),
    ],
)
def test_describing(asking: Ask, change, client_id, verified):
    """Who asks, and whether that is known."""
    told = {"scopes": ["a", 5], "client_name": "HA", "expires_at": "2026-09-28T12:15:00Z", "device_name": "attic"}
    api, plane = asking({**told, **change})

    asked = plane("describe_device_login", "WD/B")

    assert (asked.client_id, asked.client_verified, asked.scopes, asked.device_name) == (
        client_id,
        verified,
        ("a",),
        "attic",
    )
    assert str(api.sent[0]) == "GET /v1/auth/device/codes/WD%2FB"


@pytest.mark.parametrize("reply", [Reply(204), Reply(401, {"detail": "gone"})])
def test_revoking(asking: Ask, reply):
    """The token in use is forgotten, known to the API or not; once more sends nothing."""
    api, plane = asking(TOKEN, reply)
    plane("poll_device_login", STARTED)

    plane("revoke_api_token")
    plane("revoke_api_token")
    plane("revoke_api_token", "7b0e1c52")

    assert [*map(str, api.sent[1:])] == ["DELETE /v1/auth/api-tokens/7b0e1c52"]
    assert api.sent[1].headers["authorization"] == f"Bearer {SECRET}"
    assert (plane.plane.access_token, plane.plane.token_id) == (None, None)


def test_revoking_another_token(asking: Ask):
    """Its refusal is raised, and nothing is forgotten; without any id there is nothing to revoke."""
    api, plane = asking(Reply(404, {"detail": "No such token"}), access_token="mine")

    with pytest.raises(ThalovantAPIError, match="No such token"):
        plane("revoke_api_token", "other")
    with pytest.raises(ThalovantAPIError, match=r"^No API token id"):
        plane("revoke_api_token")

    assert (plane.plane.access_token, len(api.sent)) == ("mine", 1)


def test_native_sign_in(asking: Ask):
    """Only the challenge travels; the code that comes back is turned into a token."""
    begun = begin_native_sign_in(
        client_id="my app", redirect_uri="http://127.0.0.1:1/cb", dashboard_url="http://localhost:3/d/"
    )
    api, plane = asking(TOKEN)

    assert begun.authorization_url == (
        "http://localhost:3/d/authorize?client_id=my+app&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb&response_type=code"
        f"&code_challenge={challenge_for(begun.verifier)}&code_challenge_method=S256"
        f"&scope=hubs%3Aread+clients%3Aread+clients%3Awrite&state={begun.state}"
    )
    assert (len(begun.verifier), len(begun.state)) == (86, 32)
    assert begun.verifier not in repr(begun) + begun.authorization_url
    code = begun.code_from(f"http://127.0.0.1:1/cb?code=K&state={begun.state}")
    assert plane("complete_native_sign_in", code, begun.verifier, "my app", begun.redirect_uri) == TOKEN
    assert (str(api.sent[0]), plane.plane.token_id) == ("POST /v1/auth/native/token", "7b0e1c52")
    sent = {
        "code": "K",
        "code_verifier": begun.verifier,
        "client_id": "my app",
        "redirect_uri": "http://127.0.0.1:1/cb",
    }
    assert api.sent[0].json == sent


@pytest.mark.parametrize(
    "redirect",
    [
        "http://127.0.0.1:1/cb?code=K&state=other",
        "http://127.0.0.1:1/other?code=K&state={state}",
        "http://elsewhere.example/cb?code=K&state={state}",
        "https://127.0.0.1:1/cb?code=K&state={state}",
        "http://127.0.0.1:1/cb?code=K&error=denied&state={state}",
        "http://127.0.0.1:1/cb?code=&state={state}",
        "http://127.0.0.1:1/cb?state={state}",
        "http://[/cb",
        "",
    ],
)
def test_redirect_without_a_code(redirect):
    """Of another sign-in, of nobody, or of somebody who said no."""
    begun = begin_native_sign_in(client_id="app", redirect_uri="http://127.0.0.1:1/cb")

    assert begun.code_from(redirect.replace("{state}", begun.state)) is None


@pytest.mark.parametrize(
    "given",
    [
        {"client_id": " "},
        {"redirect_uri": ""},
        *({"dashboard_url": url} for url in ("http://x.example", "", "https://u@x")),
    ],
)
def test_native_sign_in_that_cannot_begin(given):
    """What is blank, or goes over the network in the clear."""
    with pytest.raises(ValueError, match=next(iter(given))):
        begin_native_sign_in(**{"client_id": "app", "redirect_uri": "app:/cb", **given})


def test_verifiers_differ():
    """Each sign-in has its own."""
    assert len({new_verifier() for _ in range(10)}) == 10


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://thalovant.com", True),
        ("https://DASH.thalovant.com:8443/x", True),
        ("http://thalovant.com", False),
        ("https://user@thalovant.com", False),
        ("https://eviltha-thalovant.com", False),
        ("https://thalovant.com.example", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_addresses_of_thalovant(url, ours):
    """Its domain and those below it, by https."""
    assert is_thalovant_url(url) is ours
