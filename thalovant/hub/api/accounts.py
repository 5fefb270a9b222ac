"""Accounts and tokens: sign-in by password, the profile, revoking. Passwords are kept as argon2id, tokens as hashes."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import Iterable
from typing import Any, Final

from thalovant_io.derivation import start_derivation
from thalovant_proto.crypto.kdf import DeriveKey, Kdf
from thalovant_proto.secret import Secret

from ..storage.records import Record, Records
from .http import Problem
from .models import LOGIN, SCOPES
from .routing import Call, Parts, digest, route

_LOGIN_LIFE: Final = 12 * 3600
TOKEN_LIFE: Final = 90 * 24 * 3600
# Failures of one account; then there is one try a minute.
_TRIES: Final = 5
_AGAIN: Final = 60.0
_NOBODY: Final = {"salt": "00" * 16, "hash": ""}


async def _hash(password: str, salt: bytes) -> str:
    effect = DeriveKey(id=0, kdf=Kdf.ARGON2ID, secret=Secret(password.encode()), salt=salt)
    return (await asyncio.wrap_future(start_derivation(effect))).reveal().hex()


async def hashed(password: str) -> dict[str, str]:
    """What is kept of a password."""
    salt = os.urandom(16)
    return {"salt": salt.hex(), "hash": await _hash(password, salt)}


def add_account(
    records: Records, emails: Iterable[str], password: dict[str, str], id: str | None = None, /, **more: Any
) -> Record:
    """Keep a new account, or one of that `id` anew; each address signs in to it. Raises `ValueError` for one taken."""
    names = [email.casefold() for email in emails]
    if any(records.get("login", name) for name in names):
        raise ValueError(f"there is an account {names[0]!r} already")
    body = {"email": names[0], "display_name": names[0].partition("@")[0], "plan": "paid", **more}
    account = (id and records.get("account", id)) or records.add("account", body, id=id)
    for name in names:
        records.add("login", password, id=name, owner=account.id)
    return account


async def check_password(call: Call, email: str, password: str) -> Record:
    """The account of an address. Raises `Problem`; takes as long for one that nobody has."""
    name = email.strip().casefold()
    key, known = f"login {digest(name)}", call.records.get("login", name)
    call.parts.count(key, "login_rate_limited", burst=_TRIES, every=_AGAIN)  # before the wait: all at once count too
    kept = _NOBODY if known is None else known.body
    right = hmac.compare_digest(await _hash(password, bytes.fromhex(kept["salt"])), kept["hash"])
    if known is None or not right:
        raise Problem(401, "Email or password is wrong", code="invalid_credentials")
    call.parts.forgive(key)
    return call.records["account", str(known.owner)]


def mint(parts: Parts, owner: str, scopes: list[str], name: str, life: int) -> dict[str, Any]:
    """A new token, as an answer tells it."""
    parts.records.remove("kind = 'token' AND json_extract(body, '$.expires') < ?", parts.stamp())
    text, kept = f"tvt_{secrets.token_urlsafe(32)}", {"scopes": scopes, "name": name, "expires": parts.stamp(life)}
    id = parts.records.add("token", kept, owner=owner, ref=digest(text)).id
    told = {"access_token": text, "token_type": "bearer", "expires_in": life, "expires_at": kept["expires"]}
    return {**told, "scopes": scopes, "token_id": id}


@route("POST /v1/auth/token", scope=None, body=LOGIN)
async def login(call: Call, body: Any) -> dict[str, Any]:
    """Sign in by password."""
    account = await check_password(call, body.email, body.password)
    wanted = (body.scope or " ".join(SCOPES)).split()
    with call.parts.writing():
        token = mint(call.parts, account.id, [one for one in SCOPES if one in wanted], "password", _LOGIN_LIFE)
    del token["token_id"]  # whoever knows it takes the token for that of a device
    return token


@route("GET /v1/users/profile")
def profile(call: Call) -> dict[str, Any]:
    """Who is signed in."""
    return {"data": call.account.shown()}


@route("DELETE /v1/auth/api-tokens/{}", status=204)
def revoke(call: Call, token_id: str) -> None:
    """Take back a token."""
    call.records.remove("seq = ?", call.own("token", token_id).seq)
