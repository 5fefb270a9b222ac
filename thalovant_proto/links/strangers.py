"""Words for what answers in a hub's place, and for heads of HTTP that are none: the kind of a fault, never its content.

For all links. A first byte is enough to guess by, so that nothing depends on how the bytes were cut.
"""

from __future__ import annotations

from typing import Final

_BEGINNINGS: Final = {
    0x15: "TLS", 0x16: "TLS", 0x20: "MQTT", 0x2A: "mail", 0x2B: "mail", 0x32: "mail or FTP", 0x48: "HTTP", 0x53: "SSH",
}  # fmt: skip

_BY_PROXY: Final = "have the hub, or the proxy before it, pass the upgrade on as it is"
_FAULTS: Final = (
    # how the words of wsproto and h11 begin, what is wrong, the next step
    ("unrecognized extension", "an extension that was not asked for", "have the proxy before the hub leave it off"),
    ("unrecognized subprotocol", "a subprotocol that was not asked for", "check that the path is the hub's"),
    ("bad accept token", "an upgrade for another key than ours", _BY_PROXY),
    ("missing header", "a 101 without its headers Upgrade and Connection", _BY_PROXY),
    # Which of these h11 says depends on how the bytes were cut.
    ("illegal status line", "a malformed start line", ""),
    ("illegal request line", "a malformed start line", ""),
    ("no response line", "a malformed start line", ""),
    ("no request line", "a malformed start line", ""),
    ("illegal header", "a malformed header line", "look for it in the settings of the proxy before the hub"),
    ("continuation line", "a malformed header line", "look for it in the settings of the proxy before the hub"),
    ("illegal chunk", "a malformed chunk", ""),
    ("malformed chunk", "a malformed chunk", ""),
)  # fmt: skip


def looks_like(first: int, *, but: str) -> str:
    """A guess at a peer by its first byte, in brackets for the end of a message; empty if there is none.

    It is not `but`, which is what was expected.
    """
    guess = _BEGINNINGS.get(first, but)
    return "" if guess == but else f" (it looks like {guess})"


def fault_of_head(error: BaseException) -> tuple[str, str] | None:
    """What is wrong with a head that wsproto or h11 refuses, and the next step; None for all else.

    Their own words may quote headers, and a server could quote our request, with the access key, in those.
    """
    for words in (str(error), str(error.__context__)):
        for start, what, hint in _FAULTS:
            if words.lower().startswith(start):
                return what, hint
    return None
