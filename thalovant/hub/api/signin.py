"""Sign-in with a person's consent: device codes (RFC 8628), and codes for apps with a proof key (RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from thalovant_proto.links.https.server import Reply

from ...protocols import is_loopback
from ..storage.records import Record
from .accounts import TOKEN_LIFE, check_password, mint
from .http import Problem, answer, missing
from .models import DEVICE_CODE, DEVICE_REQUEST, NATIVE_CODE, SCOPES
from .routing import Call, digest, route

#: The apps that are known by their id; of any other an id proves nothing.
APPS: Final = {"thalovant-home-assistant": "Home Assistant", "thalovant-cli": "The command thalovant"}
_DEFAULT_SCOPES: Final = ["hubs:read", "clients:read", "clients:write"]
_GRANT_LIFE: Final = 900
_CODE_LIFE: Final = 60
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
_SLOWER: Final = 5.0
_MOST_GRANTS: Final = 1000
_GONE: Final = "No device shows this code, or not any more."
_COOKIE: Final = "thalovant_form"
_NOTHING: Final = dict.fromkeys(("request", "name", "place", "scopes", "trusted"), "")
_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
)
#: What an app must ask with.
_ASKED: Final = {
    "client_id": r"[ -~]{1,200}", "redirect_uri": r"[!-~]{1,2000}", "response_type": "code", "state": r"[ -~]{1,1000}",
    "code_challenge": r"[A-Za-z0-9_-]{43}", "code_challenge_method": "S256", "scope": rf"(?:(?:{'|'.join(SCOPES)}) ?)*",
}  # fmt: skip


# --- devices


@route("POST /v1/auth/device/authorize", scope=None, body=DEVICE_REQUEST)
def begin_device(call: Call, body: Any) -> dict[str, Any]:
    """Begin the sign-in of a device."""
    if body.client_id is not None and body.client_id not in APPS:
        raise Problem(400, {"code": "unknown_client", "message": "No app has this client_id"})
    call.records.remove("kind = 'device' AND created < ?", call.parts.stamp(-2 * _GRANT_LIFE))
    if call.records.count("kind = 'device'") >= _MOST_GRANTS:
        raise Problem(429, "Too many devices wait for a person", {"Retry-After": "60"})
    code, letters = secrets.token_urlsafe(32), "".join(secrets.choice(_LETTERS) for _ in range(8))
    user_code, name, app = f"{letters[:4]}-{letters[4:]}", body.client_name, APPS.get(body.client_id or "")
    kept = {
        "scopes": body.scopes or _DEFAULT_SCOPES, "client_id": body.client_id, "client_verified": app is not None,
        "client_name": app or name, "device_name": name if app else None, "expires_at": call.parts.stamp(_GRANT_LIFE),
    }  # fmt: skip
    interval, uri = call.parts.poll_interval, f"{call.parts.url}/activate"
    state = {"status": "pending", "interval": interval, "polled": 0.0, "asked": kept}
    call.records.add("device", state, id=digest(code), ref=user_code)
    told = {"device_code": code, "user_code": user_code, "expires_in": _GRANT_LIFE, "interval": interval}
    return {**told, "verification_uri": uri, "verification_uri_complete": f"{uri}?code={user_code}"}


@route("POST /v1/auth/device/token", scope=None, body=DEVICE_CODE)
def poll_device(call: Call, body: Any) -> Reply | dict[str, Any]:
    """Say whether a device is signed in; its token is given once."""
    grant = call.records.get("device", digest(body.device_code))
    if grant is None:
        return answer({"error": "invalid_grant"}, 400)
    kept, asked, now = grant.body, grant.body["asked"], call.parts.now
    if asked["expires_at"] < call.parts.stamp():
        return answer({"error": "expired_token"}, 400)
    if kept["status"] == "approved":
        call.records.remove("seq = ?", grant.seq)
        return mint(call.parts, kept["by"], asked["scopes"], asked["client_name"] or "device", TOKEN_LIFE)
    if kept["status"] == "denied":
        return answer({"error": "access_denied"}, 400)
    slow = now - kept["polled"] < kept["interval"]
    call.records.change(grant, {"polled": now, "interval": kept["interval"] + slow * _SLOWER})
    return answer({"error": "slow_down" if slow else "authorization_pending"}, 400)


@route("GET /v1/auth/device/codes/{}")
def describe_device(call: Call, user_code: str) -> dict[str, Any]:
    """What a device asks for that shows this code."""
    if (grant := _waiting(call, user_code)) is None:
        raise missing("code")
    return dict(grant.body["asked"])


def _waiting(call: Call, user_code: str) -> Record | None:
    plain = "".join(letter for letter in user_code.upper() if letter in _LETTERS)
    grant = call.records.get("device", f"{plain[:4]}-{plain[4:]}", by="ref")
    if grant is None or grant.body["status"] != "pending" or grant.body["asked"]["expires_at"] < call.parts.stamp():
        return None
    return grant


@route("GET /activate", scope=None)
def show_device(call: Call) -> Reply:
    """The page where a person lets a device in."""
    code = call.query.get("code", "")
    return _ask_device(call, code) if code else _page(call)


@route("POST /activate", scope=None)
async def decide_device(call: Call) -> Reply:
    """A person's decision about a device."""
    form = call.form()
    fault, account = await _decided(call, form)
    if fault:
        return _ask_device(call, form.get("request", ""), fault)
    with call.parts.writing():
        if (grant := _waiting(call, form["request"])) is None:
            return _page(call, _GONE, status=404)
        status = "denied" if account is None else "approved"
        call.records.change(grant, {"status": status, "by": account and account.id})
    return _page(call, f"The device was {status}. You can close this page.")


def _ask_device(call: Call, code: str, said: str = "") -> Reply:
    if (grant := _waiting(call, code)) is None:
        return _page(call, _GONE, status=404)
    asked = grant.body["asked"]
    name, place = asked["client_name"] or "A device without a name", asked["device_name"] or ""
    return _consent(call, said, str(grant.ref), name, place, asked["scopes"], asked["client_verified"])


# --- apps


@route("GET /authorize", scope=None)
def show_app(call: Call) -> Reply:
    """The page where a person lets an app in."""
    return _ask_app(call, {name: call.query.get(name, "") for name in _ASKED})


@route("POST /authorize", scope=None)
async def decide_app(call: Call) -> Reply:
    """A person's decision about an app: back to it, with a code or a refusal."""
    form = call.form()
    asked = dict.fromkeys(_ASKED, "") | dict(parse_qsl(form.get("request", ""), keep_blank_values=True))
    scopes = _check_app(asked)
    fault, account = await _decided(call, form)
    if fault:
        return _ask_app(call, asked, fault)
    found, code = {"error": "access_denied"}, secrets.token_urlsafe(32)
    if account is not None:
        found = {"code": code}
        with call.parts.writing():
            call.records.remove("kind = 'native' AND created < ?", call.parts.stamp(-_CODE_LIFE))
            call.records.add("native", {**asked, "scopes": scopes}, id=digest(code), owner=account.id)
    uri = asked["redirect_uri"]
    target = f"{uri}{'&' if '?' in uri else '?'}{urlencode({**found, 'state': asked['state']})}"
    return Reply(303, b"", (("Location", target),), "text/html")


def _ask_app(call: Call, asked: dict[str, str], said: str = "") -> Reply:
    scopes, target, known = _check_app(asked), urlsplit(asked["redirect_uri"]), asked["client_id"] in APPS
    name, place = APPS.get(asked["client_id"], asked["client_id"]), target.netloc or target.scheme
    return _consent(call, said, urlencode(asked), name, place, scopes, known)


def _check_app(asked: dict[str, str]) -> list[str]:
    """The scopes that an app asks for. Raises `Problem` for a request that no person should see.

    A code may go to https, to this machine, or to a scheme of an app's own (RFC 8252 §7).
    """
    good = all(re.fullmatch(pattern, asked[name]) for name, pattern in _ASKED.items())
    try:
        target = urlsplit(asked["redirect_uri"])
        secure = target.scheme == "https" or is_loopback(target.hostname or "")
        good &= bool(target.hostname) and secure if target.scheme.startswith("http") else "." in target.scheme
    except ValueError:
        good = False
    if not good or target.fragment or target.username is not None:
        raise Problem(400, "The app's request is incomplete or not valid", code="invalid_request")
    return asked["scope"].split() or _DEFAULT_SCOPES


@route("POST /v1/auth/native/token", scope=None, body=NATIVE_CODE)
def native_token(call: Call, body: Any) -> Reply | dict[str, Any]:
    """Exchange an app's code for a token; it can be tried once."""
    grant = call.records.get("native", digest(body.code))
    call.records.remove("kind = 'native' AND id = ?", digest(body.code))
    proof = base64.urlsafe_b64encode(hashlib.sha256(body.code_verifier.encode()).digest()).rstrip(b"=").decode()
    shown = {"client_id": body.client_id, "redirect_uri": body.redirect_uri, "code_challenge": proof}
    late = grant is None or grant.created < call.parts.stamp(-_CODE_LIFE)
    if grant is None or late or any(grant.body[name] != value for name, value in shown.items()):
        return Problem(400, "The code is unknown, used, late, or for another app", code="invalid_grant").reply
    return mint(call.parts, str(grant.owner), grant.body["scopes"], body.client_id, TOKEN_LIFE)


# --- pages


async def _decided(call: Call, form: dict[str, str]) -> tuple[str, Record | None]:
    """What is wrong with a form, and the account that approves; None if the person says no."""
    mark = _mark(call, _cookie(call), form.get("request", ""))
    if not _cookie(call) or not hmac.compare_digest(form.get("form", "").encode(), mark.encode()):
        return "The page was too old. Please decide again.", None
    if form.get("decision") != "approve":
        return "", None
    try:
        return "", await check_password(call, form.get("email", ""), form.get("password", "")[:4000])
    except Problem as problem:
        return "Too many tries: wait a while." if problem.reply.status == 429 else str(problem.detail), None


def _cookie(call: Call) -> str:
    pairs = (pair.strip().partition("=") for pair in call.header("cookie").split(";"))
    return next((value for name, _, value in pairs if name == _COOKIE and re.fullmatch(r"[\w-]{43}", value)), "")


def _mark(call: Call, cookie: str, request: str) -> str:
    """What only a page of ours in the same browser can send back."""
    return hmac.new(call.parts.form_key, f"{cookie}\0{request}".encode(), hashlib.sha256).hexdigest()


def _consent(call: Call, said: str, request: str, name: str, place: str, scopes: list[str], trusted: bool) -> Reply:
    told = {"request": request, "name": name, "place": place and f"({place})", "scopes": ", ".join(scopes)}
    return _page(call, said, values={**told, "trusted": "hidden" if trusted else ""})


def _page(call: Call, said: str = "", *, status: int = 200, values: Mapping[str, str] = _NOTHING) -> Reply:
    request = values["request"]
    cookie = _cookie(call) or secrets.token_urlsafe(32)
    hidden = {"no_code": "hidden", "no_consent": ""} if request else {"no_code": "", "no_consent": "hidden"}
    told = {"action": call.route.path, "form": _mark(call, cookie, request), **hidden, **values}
    body = _template().substitute({name: escape(value) for name, value in {**told, "said": said}.items()})
    secure = "; Secure" if call.parts.url.startswith("https:") else ""
    kept = ("Set-Cookie", f"{_COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/{secure}")
    return Reply(status, body.encode(), (*_HEADERS, kept), "text/html")


@cache
def _template() -> Template:
    return Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
