"""Endpoint URLs, and the `authorization` query of WSS and HTTPS.

Both directions live here, so that what a client writes and what a hub reads cannot drift apart.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from ..carrier import Credentials, Target
from ..secret import Secret

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_AUTHORITY: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:@\[\]%\\]+))(?::(?P<port>[0-9]{1,5})?)?")
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_PARAMETER: Final = "authorization"
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_FIELD_VALUE: Final = re.compile(r"(?! )[\x20-\x7e]{1,8192}(?<! )")
# Headers that a link sets, or whose meaning would change how a peer reads it.
_OWN: Final = frozenset(
    (
        *("host", "user-agent", "accept", "accept-encoding", "connection", "upgrade", "cookie", "expect", "te"),
        *("content-length", "content-type", "content-encoding", "transfer-encoding", "trailer", "keep-alive"),
    )
)

#: The headers of an application that adds none.
NO_HEADERS: Final[Mapping[str, Secret[str]]] = MappingProxyType({})
#: The next step where a peer ends a plain connection without a word, by the scheme that has TLS.
TRY_TLS: Final = "a TLS port does that to a plain connection: if it is one, use {}:// in the endpoint"

# In ASCII text only these four make a `+` or `/` of base64, and only as the third byte of a group; `:` ends the user
# agent, and the rest cannot be written into a header (real-hubs.md §7).
_UNSAFE_IN_AGENT: Final = re.compile(r"[^\x20-\x7d]|[>?]")


@frozen(kw_only=True)
class Endpoint:
    """A URL taken apart. Path and query are printable ASCII, ready for a request line, and stay out of repr."""

    target: Target
    path: str = field(repr=False)
    query: str = field(repr=False)

    @property
    def host_header(self) -> str:
        """The value of `Host`: brackets around IPv6, the port only where it is not the scheme's own."""
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return host if self.target.port == _default_port(self.target.tls) else f"{host}:{self.target.port}"

    def request_target(self, user_agent: str, access_key: Secret[str]) -> str:
        """Path and query with our `authorization` in place of any other. Secret: never log it.

        With no other parameter and no path this is `/?authorization=…`, the one form that every hub reads
        (wire.md §7.0). Raises `ValueError` like `authorization`.
        """
        others = [pair for pair in self.query.split("&") if pair and pair.partition("=")[0].lower() != _PARAMETER]
        return f"{self.path}?{'&'.join([*others, f'{_PARAMETER}={authorization(user_agent, access_key)}'])}"


def parse_endpoint(url: str, *, name: str, plain: str, tls: str) -> Endpoint:
    """Take apart the URL of the transport `name` ("WSS"), whose schemes are `plain` ("ws") and `tls` ("wss").

    Raises `ValueError`, whose message never holds the URL: it may carry an `authorization`.
    """
    parts = _URL.fullmatch(url.strip())
    if parts is None or (scheme := parts["scheme"].lower()) not in (plain, tls):
        raise ValueError(f"{name} endpoint must start with {plain}:// or {tls}://.")
    if "@" in parts["authority"]:
        raise ValueError(f"{name} endpoint must not hold a user name or password.")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise ValueError(f"{name} endpoint must name a host and, at most, a port.")
    port = int(authority["port"]) if authority["port"] else _default_port(scheme == tls)
    if not 0 < port < 1 << 16:
        raise ValueError(f"{name} endpoint's port must be from 1 to 65535.")
    return Endpoint(
        target=Target(host=authority["v6"] or _ascii_host(authority["name"], name), port=port, tls=scheme == tls),
        path=_printable(parts["path"]) or "/",
        query=_printable(parts["query"] or ""),
    )


def authorization(user_agent: str, access_key: Secret[str]) -> str:
    """The value of `authorization`: standard base64 of "<user agent>:<access key>", to be sent as it is.

    One hub generation reads `+` as a space, another reads no percent-encoding (wire.md §7.0), so the value must do
    without both: up to two `_` are added to the portable user agent until the access key falls on a position where it
    makes neither. A key for which no position helps has its `+` escaped: current hubs read that.

    Raises `ValueError` if either part is empty or the user agent contains a colon.
    """
    agent = portable_agent(user_agent)
    if not access_key:
        raise ValueError("The access key is empty.")
    # "replace": an error of the codec would carry the key
    key = access_key.reveal().encode("utf-8", "replace")
    values = [base64.b64encode(f"{agent}{pad}:".encode() + key).decode() for pad in ("", "_", "__")]
    return next((v for v in values if "+" not in v and "/" not in v), values[0].replace("+", "%2B"))


def portable_agent(user_agent: str) -> str:
    """`user_agent` as every hub and every header takes it: ASCII, unsafe characters replaced by `_`.

    Raises `ValueError` if it is empty or contains a colon, which would move the split from the access key.
    """
    agent = _UNSAFE_IN_AGENT.sub("_", user_agent.strip())
    if not agent or ":" in agent:
        raise ValueError("The user agent must not be empty and must not contain a colon.")
    return agent


def more_headers(headers: Mapping[str, Secret[str]]) -> list[tuple[str, str]]:
    """Headers that the application adds to every request, as for a gateway before the hub (RFC 9110 §5).

    Raises `ValueError` for a name that is no token or that the link itself sets, and for a value that is not printable
    ASCII; the message holds no value.
    """
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError("A header's name must be a token of RFC 9110: letters, digits and hyphens.")
        if name.lower() in _OWN or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"The header {name} is the link's own: leave it out.")
        if not _FIELD_VALUE.fullmatch(value.reveal()):
            raise ValueError(f"The value of header {name} must be printable ASCII on one line, without spaces around.")
    return [(name, value.reveal()) for name, value in headers.items()]


def read_authorization(request_target: str) -> Credentials | None:
    """The credentials in `request_target` (path and query), None if no hub could use them.

    Reads all that any hub generation reads: any path, other parameters, base64 raw or percent-encoded, with or without
    its padding, with a `+` that became a space on the way.
    """
    pairs = (pair.partition("=") for pair in request_target.partition("?")[2].split("&"))
    value = next((value for key, _, value in pairs if key == _PARAMETER), "")
    token = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), value).replace(" ", "+").rstrip("=")
    try:
        agent, _, key = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode().partition(":")
    except ValueError:
        return None
    return Credentials(access_key=Secret(key), user_agent=agent) if agent and key else None


def _default_port(tls: bool) -> int:
    return 443 if tls else 80


def _ascii_host(host: str, name: str) -> str:
    try:
        return host.lower().encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{name} endpoint's host is not a valid name.") from None


def _printable(text: str) -> str:
    """Percent-encode what may not stand in a request line."""
    return _UNPRINTABLE.sub(lambda bad: "".join(f"%{byte:02X}" for byte in bad[0].encode("utf-8", "replace")), text)
