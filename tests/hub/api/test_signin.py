"""Sign-in: by password, on a device whose code a person approves, and of an app with a proof key."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from thalovant.hub.api.accounts import add_account, hashed
from thalovant.hub.storage.records import Records

from .lab import EMAIL, PASSWORD, Answered, Lab

HOME = {"client_id": "thalovant-home-assistant", "client_name": "Home Assistant (attic)"}
SCOPES = ["hubs:read", "clients:read", "clients:write"]
# RFC 7636, appendix B.
VERIFIER, CHALLENGE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
APP = {
    "client_id": "my app", "redirect_uri": "http://127.0.0.1:7777/back?x=1", "response_type": "code",
    "code_challenge": CHALLENGE, "code_challenge_method": "S256", "scope": "hubs:read", "state": "s&t",
}  # fmt: skip


def fields(page: Answered) -> tuple[dict[str, str], str]:
    """The hidden fields of a page's form, and the cookie that goes with it."""
    found = dict(re.findall(r'name="(request|form)" value="([^"]*)"', page.body))
    return {name: value.replace("&amp;", "&") for name, value in found.items()}, page.headers["set-cookie"]


async def decide(lab: Lab, page: Answered, path: str, **change: str) -> Answered:
    """Send a page's form as a browser does."""
    given, cookie = fields(page)
    filled = {"email": EMAIL, "password": PASSWORD, "decision": "approve", **given, **change}
    return await lab.post_form(path, filled, cookie=change.pop("cookie", cookie.partition(";")[0]))


async def begun(lab: Lab, **body: Any) -> tuple[dict[str, Any], Answered]:
    """What a device gets, and the page where a person lets it in."""
    grant = await lab.get("POST /v1/auth/device/authorize", body, token=None)
    target = urlsplit(grant["verification_uri_complete"])
    return grant, await lab.ask(f"GET {target.path}?{target.query}", token=None)


async def poll(lab: Lab, grant: dict[str, Any]) -> Answered:
    return await lab.ask("POST /v1/auth/device/token", {"device_code": grant["device_code"]}, token=None)


# --- by password


@pytest.mark.parametrize("email", [EMAIL, "YOU@example.com ", "[email protected]", "[email\xa0protected]"])
async def test_the_accounts_of_the_demonstration(lab: Lab, email: str) -> None:
    """One person, however pages spell the address; a password's token has all scopes and no id."""
    found = await lab.get("POST /v1/auth/token", {"email": email, "password": PASSWORD}, token=None)
    assert (found["token_type"], len(found["scopes"]), "token_id" in found) == ("bearer", 7, False)
    profile = await lab.get("GET /v1/users/profile", token=found["access_token"])
    assert (profile["data"]["email"], profile["data"]["demo"]) == (EMAIL, True)


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_guessing_is_slow(lab: Lab, email: str) -> None:
    """Five tries, then one a minute, even with the right password; an account that is none answers alike."""
    wrong = {"email": email, "password": "wrong"}
    answers = [await lab.ask("POST /v1/auth/token", wrong, token=None) for _ in range(6)]
    assert [one.problem for one in answers] == [(401, "invalid_credentials")] * 5 + [(429, "login_rate_limited")]
    assert answers[5].headers["retry-after"] == "61"
    assert (await lab.ask("POST /v1/auth/token", {**wrong, "password": PASSWORD}, token=None)).status == 429
    lab.later(61)
    expected = 200 if email == EMAIL else 401
    assert (await lab.ask("POST /v1/auth/token", {**wrong, "password": PASSWORD}, token=None)).status == expected


async def test_what_is_kept_of_secrets_is_no_secret(lab: Lab) -> None:
    """Neither password nor token is in the records."""
    grant, _ = await begun(lab)
    kept = str(lab.hub.running.state.execute("SELECT * FROM records"))
    assert not any(secret in kept for secret in ("'password'", str(lab.token), grant["device_code"]))


# --- on a device


async def test_a_device_is_let_in(lab: Lab) -> None:
    """It waits, a person sees who asks for what and approves, and it has its token once."""
    grant, page = await begun(lab, scopes=SCOPES, **HOME)
    assert (grant["interval"], grant["expires_in"]) == (5.0, 900)
    assert (await poll(lab, grant)).body == {"error": "authorization_pending"}
    assert await lab.get(f"GET /v1/auth/device/codes/{grant['user_code'].lower()}") == {
        "scopes": SCOPES, "client_id": HOME["client_id"], "client_verified": True, "client_name": "Home Assistant",
        "device_name": HOME["client_name"], "expires_at": "2026-12-01T12:15:00Z",
    }  # fmt: skip
    assert "<strong>Home Assistant</strong> (Home Assistant (attic))" in page.body
    assert "hubs:read, clients:read, clients:write" in page.body
    assert "The device was approved" in (await decide(lab, page, "/activate")).body
    lab.later(5)
    token = (await poll(lab, grant)).body
    assert (token["scopes"], token["expires_at"]) == (SCOPES, "2027-03-01T12:00:05Z")
    assert (await poll(lab, grant)).body == {"error": "invalid_grant"}
    assert (await lab.ask("GET /v1/hubs", token=token["access_token"])).status == 200
    hub = {"name": "x", "spec": {"version": "1"}}
    assert (await lab.ask("POST /v1/hubs", hub, token=token["access_token"])).body["detail"] == "Insufficient scopes"
    gone = f"/v1/auth/api-tokens/{token['token_id']}"
    assert (await lab.ask(f"DELETE {gone}", token=await lab.add_account("x@example.com"))).status == 404
    assert (await lab.ask(f"DELETE {gone}", token=token["access_token"])).status == 204
    assert (await lab.ask(f"DELETE {gone}", token=token["access_token"])).status == 401


async def test_a_device_that_asks_too_often_must_ask_less(lab: Lab) -> None:
    """Five seconds less often each time, and that stays."""
    grant, _ = await begun(lab)
    for pause, error in (
        (0, "authorization_pending"),
        (4, "slow_down"),
        (9, "slow_down"),
        (15, "authorization_pending"),
    ):
        lab.later(pause)
        assert (await poll(lab, grant)).body == {"error": error}
    lab.later(900)
    answered = await poll(lab, grant)
    assert (answered.status, answered.body) == (400, {"error": "expired_token"})
    assert (await lab.ask(f"GET /v1/auth/device/codes/{grant['user_code']}")).status in (401, 404)


async def test_a_device_is_refused(lab: Lab) -> None:
    """By whoever sees the page; nobody can decide again."""
    grant, page = await begun(lab)
    assert "denied" in (await decide(lab, page, "/activate", decision="deny", password="")).body
    assert (await poll(lab, grant)).body == {"error": "access_denied"}
    assert (await decide(lab, page, "/activate")).status == 404
    assert (await lab.ask("GET /activate?code=BBBB-BBBB", token=None)).status == 404
    assert 'name="code"' in (await lab.ask("GET /activate", token=None)).body


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"form": ""}, "too old"),
        ({"form": "0" * 64}, "too old"),
        ({"cookie": ""}, "too old"),
        ({"cookie": "thalovant_form=" + "x" * 43}, "too old"),
        ({"cookie": "thalovant_form="}, "too old"),
        ({"password": "wrong"}, "Email or password is wrong"),
        ({"email": "nobody\ud7ff"}, "Email or password is wrong"),
    ],
)
async def test_a_form_that_is_not_the_persons(lab: Lab, change: dict[str, str], said: str) -> None:
    """It comes from elsewhere, or the person is not known: the page asks again, and the device still waits."""
    grant, page = await begun(lab)
    again = await decide(lab, page, "/activate", **change)
    assert (again.status, said in again.body, "Approve" in again.body) == (200, True, True)
    assert (await poll(lab, grant)).body == {"error": "authorization_pending"}


async def test_pages_are_safe(lab: Lab) -> None:
    """What a device says is text; no page may be framed, run scripts, or be kept."""
    name = "<script>alert(1)</script>\"'&"
    _, page = await begun(lab, client_name=name)
    assert "<script" not in page.body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in page.body
    assert re.search(r"<p >Anybody can use that name", page.body)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (page.headers["x-frame-options"], page.headers["cache-control"]) == ("DENY", "no-store")
    assert page.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict; Path=/")
    broken = await lab.ask("POST /activate", b"%", token=None)
    assert broken.problem == (415, None)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"client_id": "who"}, (400, "unknown_client")),
        ({"scopes": ["everything"]}, (422, "schema_validation_failed")),
        ({"scopes": "hubs:read"}, (422, "schema_validation_failed")),
    ],
)
async def test_a_device_that_cannot_be_let_in(lab: Lab, body: dict[str, Any], problem: tuple[int, str]) -> None:
    """An app that nobody knows, scopes that there are not."""
    assert (await lab.ask("POST /v1/auth/device/authorize", body, token=None)).problem == problem


# --- of an app


async def test_an_app_is_let_in(lab: Lab) -> None:
    """The browser goes back with a code and the app's state; the code is good once, with its proof."""
    page = await lab.ask(f"GET /authorize?{urlencode(APP)}", token=None)
    assert "<strong>my app</strong> (127.0.0.1:7777) wants to sign in and to use: hubs:read." in page.body
    back = await decide(lab, page, "/authorize")
    target, code = urlsplit(back.headers["location"]), parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
    assert (back.status, back.body, target.netloc, target.path) == (303, "", "127.0.0.1:7777", "/back")
    assert dict(parse_qsl(target.query)) == {"x": "1", "code": code, "state": "s&t"}
    body = {name: APP[name] for name in ("client_id", "redirect_uri")} | {"code": code, "code_verifier": VERIFIER}
    token = await lab.get("POST /v1/auth/native/token", body, token=None)
    assert (token["scopes"], bool(token["token_id"])) == (["hubs:read"], True)
    assert (await lab.ask("GET /v1/hubs", token=token["access_token"])).status == 200
    assert (await lab.ask("POST /v1/auth/native/token", body, token=None)).problem == (400, "invalid_grant")


@pytest.mark.parametrize(
    "change",
    [{"client_id": "other"}, {"redirect_uri": "http://127.0.0.1:7777/"}, {"code_verifier": "v" * 43}, {"late": "61"}],
)
async def test_a_code_is_for_whoever_asked_for_it(lab: Lab, change: dict[str, str]) -> None:
    """Another app, address or proof, or one that comes late, spoils it."""
    back = await decide(lab, await lab.ask(f"GET /authorize?{urlencode(APP)}", token=None), "/authorize")
    code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
    right = {name: APP[name] for name in ("client_id", "redirect_uri")} | {"code": code, "code_verifier": VERIFIER}
    lab.later(float(change.pop("late", 0)))
    for body in ({**right, **change}, right):
        assert (await lab.ask("POST /v1/auth/native/token", body, token=None)).problem == (400, "invalid_grant")


async def test_an_app_is_refused(lab: Lab) -> None:
    """It learns that, and nothing else."""
    page = await lab.ask(f"GET /authorize?{urlencode({**APP, 'redirect_uri': 'com.example.app:/back'})}", token=None)
    back = await decide(lab, page, "/authorize", decision="deny")
    assert back.headers["location"] == "com.example.app:/back?error=access_denied&state=s%26t"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redirect_uri", "javascript:alert(1)"),
        ("redirect_uri", "http://elsewhere.example/"),
        ("redirect_uri", "https:///nowhere"),
        ("redirect_uri", "https://user@app.example/"),
        ("redirect_uri", "https://app.example/\r\nSet-Cookie: a=b"),
        ("redirect_uri", "https://[::1"),
        ("code_challenge_method", "plain"),
        ("code_challenge", "short"),
        ("response_type", "token"),
        ("scope", "everything"),
        ("client_id", ""),
        ("state", ""),
    ],
)
async def test_an_app_that_nobody_should_see(lab: Lab, name: str, value: str) -> None:
    """No page for it, and nothing is sent anywhere."""
    answered = await lab.ask(f"GET /authorize?{urlencode({**APP, name: value})}", token=None)
    assert answered.problem == (400, "invalid_request")


async def test_an_account_is_added_once(lab: Lab) -> None:
    """Whatever the case of its address."""
    with pytest.raises(ValueError, match=r"there is an account 'you@example\.com' already"):
        add_account(Records(lab.hub.running.state, lambda: lab.now), ["You@Example.com"], await hashed("x"))
