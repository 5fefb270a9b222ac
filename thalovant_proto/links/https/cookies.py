"""The cookies that a hub, or the load balancer before it, gives a client: kept for that one endpoint, and given back.

Behind a load balancer a session lives on one replica, and what is left of it when a link dies can only be ended there.
So one jar serves all links of a client.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field, frozen
from attrs.validators import gt

from ...limits import KIB
from ..http_dates import read_date

_COOKIE: Final = re.compile(rb"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\x21-\x3a\x3c-\x7e]*)\s*")
_WHOLE: Final = re.compile(rb"-?[0-9]{1,15}")
# Where an answer does not say what day it is: dates before it mean "delete", and they are all in 1970.
_EARLY: Final = 366 * 86_400


def read_cookie(pair: bytes) -> tuple[str, str] | None:
    """Name and value of one `name=value`, None if it is not one: the rest is nothing to put into a header."""
    found = _COOKIE.fullmatch(pair)
    return (found[1].decode(), found[2].decode()) if found is not None else None


@frozen
class _Kept:
    value: str = field(repr=False)
    until: float | None


@define(eq=False)
class Cookies:
    """The jar of one client for one endpoint. Holds secrets: whoever has the cookie has the session.

    `count` and `size` bound what is kept: one or two affinity cookies of a few dozen bytes are usual.
    """

    count: int = field(default=8, validator=gt(0))
    size: int = field(default=4 * KIB, validator=gt(0))
    _kept: dict[str, _Kept] = field(factory=dict, init=False, repr=False)

    def header(self, now: float) -> str:
        """The value of `Cookie` for a request, empty if there is none."""
        self._forget(now)
        return "; ".join(f"{name}={kept.value}" for name, kept in self._kept.items())

    def take(self, header: bytes, *, host: str, folder: str, encrypted: bool, date: bytes, now: float) -> None:
        """One `Set-Cookie` of an answer (RFC 6265), which came from `host` and was about something in `folder`.

        `date` is the answer's own, if it has one: expiry dates are compared with it. Passed over: what is no cookie,
        too large or too many, and what is not for `folder` on `host`.
        """
        pair, *rest = header.split(b";")
        if (cookie := read_cookie(pair)) is None or len(header) > self.size:
            return
        said = {
            name.strip().lower(): value.strip().strip(b'"')
            for name, _, value in (part.partition(b"=") for part in rest)
        }
        if not _is_for(said, host, folder) or (b"secure" in said and not encrypted):
            return
        name, value = cookie
        lifetime = _lifetime(said, date)
        if lifetime is not None and lifetime <= 0:
            self._kept.pop(name, None)
            return
        self._forget(now)
        if name not in self._kept and len(self._kept) >= self.count:
            del self._kept[next(iter(self._kept))]  # the oldest: the jar may serve for weeks, and the newest is needed
        self._kept[name] = _Kept(value, None if lifetime is None else now + lifetime)

    def _forget(self, now: float) -> None:
        for name in [name for name, kept in self._kept.items() if kept.until is not None and now >= kept.until]:
            del self._kept[name]


def _is_for(said: dict[bytes, bytes], host: str, folder: str) -> bool:
    domain = said.get(b"domain", b"").lstrip(b".").lower().decode("latin-1")
    path = said.get(b"path", b"").rstrip(b"/").decode("latin-1")
    here = not domain or host == domain or host.endswith(f".{domain}")
    return here and (not path.startswith("/") or f"{folder.rstrip('/')}/".startswith(f"{path}/"))


def _lifetime(said: dict[bytes, bytes], date: bytes) -> float | None:
    """Seconds, None for as long as the program runs."""
    if _WHOLE.fullmatch(age := said.get(b"max-age", b"")):
        return float(age)
    expires = read_date(said.get(b"expires", b""))
    if expires is None:
        return None
    today = read_date(date)
    return float(expires - (_EARLY if today is None else today))
