"""Signing in from an app that has a browser: OAuth 2.0 for native apps (RFC 8252) with PKCE (RFC 7636)."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from .protocols import is_loopback

DEFAULT_DASHBOARD_URL: Final = "https://dash.thalovant.com"
DEFAULT_NATIVE_SCOPES: Final = ("hubs:read", "clients:read", "clients:write")
_DOMAIN: Final = "thalovant.com"


@dataclass(frozen=True)
class NativeSignIn:
    """A sign-in that has begun: the address for the browser, and what proves later that it was begun here.

    Example:
        >>> webbrowser.open(sign_in.authorization_url)
        True
    """

    authorization_url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str

    def code_from(self, redirect: str) -> str | None:
        """The code in the address that the browser was sent back to; None if it answers another sign-in, or none.

        Example:
            >>> sign_in.code_from("myapp://signed-in?code=abc&state=" + sign_in.state)
            'abc'
        """
        try:
            parts, ours = urlsplit(redirect), urlsplit(self.redirect_uri)
            if _target(parts) != _target(ours):
                return None
            values = {name: found[-1] for name, found in parse_qs(parts.query).items()}
        except ValueError:
            return None
        if "error" in values or not hmac.compare_digest(values.get("state", "").encode(), self.state.encode()):
            return None
        return values.get("code") or None


def begin_native_sign_in(
    *,
    client_id: str,
    redirect_uri: str,
    scopes: tuple[str, ...] | list[str] | None = None,
    dashboard_url: str = DEFAULT_DASHBOARD_URL,
) -> NativeSignIn:
    """Begin a sign-in: open `authorization_url` in a browser, then give the code to `complete_native_sign_in`.

    `scopes` are `DEFAULT_NATIVE_SCOPES` if None. Raises `ValueError` for a blank id or redirect, and for a dashboard
    that is neither https nor this machine.

    Example:
        >>> sign_in = begin_native_sign_in(client_id="my-app", redirect_uri="myapp://signed-in")
        >>> sign_in.authorization_url[:44]
        'https://dash.thalovant.com/authorize?client_'
    """
    for name, value in (("client_id", client_id), ("redirect_uri", redirect_uri)):
        if not value.strip():
            raise ValueError(f"{name} is required to start a sign-in.")
    dashboard = urlsplit(dashboard_url)
    host = dashboard.hostname or ""
    if "@" in dashboard.netloc:
        raise ValueError("dashboard_url must not carry credentials.")
    if not host or not (dashboard.scheme == "https" or (dashboard.scheme == "http" and is_loopback(host))):
        raise ValueError("dashboard_url must be https, or a loopback address while developing.")
    verifier, state = new_verifier(), secrets.token_urlsafe(24)
    query = {
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "code_challenge": challenge_for(verifier),
        "code_challenge_method": "S256",
        "scope": " ".join(DEFAULT_NATIVE_SCOPES if scopes is None else scopes),
        "state": state,
    }
    return NativeSignIn(f"{dashboard_url.rstrip('/')}/authorize?{urlencode(query)}", state, verifier, redirect_uri)


def new_verifier() -> str:
    """A secret of 86 characters for one sign-in (RFC 7636 §4.1).

    Example:
        >>> len(new_verifier())
        86
    """
    return secrets.token_urlsafe(64)


def challenge_for(verifier: str) -> str:
    """What a verifier is shown as: base64url of its SHA-256, without padding (RFC 7636 §4.2).

    Example:
        >>> challenge_for("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
        'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def is_thalovant_url(url: str) -> bool:
    """Whether an address is https at thalovant.com or below it, and carries no user.

    Example:
        >>> is_thalovant_url("https://dash.thalovant.com/activate"), is_thalovant_url("https://thalovant.com.example")
        (True, False)
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "https" and "@" not in parts.netloc and (host == _DOMAIN or host.endswith(f".{_DOMAIN}"))


def _target(url: SplitResult) -> tuple[object, ...]:
    """Where a redirect leads; the port of this machine may be another one than was asked for (RFC 8252 §7.3)."""
    host = url.hostname or ""
    return url.scheme, host, None if is_loopback(host) else url.port, url.path.rstrip("/")
