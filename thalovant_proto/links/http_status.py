"""HTTP statuses in place of a hub's answer: hints for people, and the pause that `Retry-After` asks for.

For both links that begin with a request: what stands between a client and its hub treats them alike.
"""

from __future__ import annotations

from typing import Final

from .http_dates import read_date

#: A page came: of a network that wants a sign-in, of a proxy, of another service.
IN_ITS_PLACE: Final = (
    "something else answers in the hub's place: sign in to the network's portal, or check the endpoint"
)
#: Redirects are never followed.
REDIRECTED: Final = "open the endpoint in a browser; if it leads to the hub, use the URL where it ends"

# The longest Retry-After that is believed.
_LONGEST_WAIT: Final = 60.0

_PATH: Final = "check the path of the hub's endpoint"
_PORT: Final = "check scheme, port and path of the hub's endpoint"
_UNREACHED: Final = "the proxy there does not reach the hub: is the hub running?"
_HINTS: Final = {
    400: _PORT,
    404: _PATH,
    405: _PATH,
    407: "a proxy on the way wants a password: reach the hub without it",
    413: "the proxy before the hub does not let so large a message through",
    426: _PORT,
    429: "the hub, or the proxy before it, is asked too often: wait",
    502: _UNREACHED,
    503: "the hub, or the proxy before it, is busy or starting: try again later",
    504: _UNREACHED,
}


def status_hint(status: int) -> str:
    """The next step for whoever gets a status that no hub should give."""
    if status < 300:
        return IN_ITS_PLACE
    if status < 400:
        return REDIRECTED
    return _HINTS.get(
        status, "look into the log of the hub and of the proxy before it" if status >= 500 else "check the endpoint"
    )


def retry_after(wait: bytes, date: bytes) -> float | None:
    """Seconds to wait, one minute at most, None for what says nothing (RFC 9110 §10.2.3).

    `wait` is the header's value: seconds, or a date, which is compared with `date`, that of the answer: it says what
    time it is over there.
    """
    if wait.isdigit():
        return min(float(wait), _LONGEST_WAIT)
    until, today = read_date(wait), read_date(date)
    return None if until is None or today is None else max(0.0, min(until - today, _LONGEST_WAIT))
