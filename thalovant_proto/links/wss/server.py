"""The hub's end of a WSS link: it grants the upgrade and reads the access key."""

from __future__ import annotations

from typing import Final, cast

import h11
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, Request
from wsproto.utilities import RemoteProtocolError as BadUpgrade

from ..base import LinkClosed, LinkEvent
from ..endpoint import read_authorization
from .common import DEFAULT_WSS_LIMITS, WssLimits, WssLink

# The answer for a browser or a health check. No body: the question may have been HEAD.
_REFUSAL: Final = (
    "HTTP/1.1 {status} {phrase}\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
)
_PHRASES: Final = {400: "Bad Request", 426: "Upgrade Required", 431: "Request Header Fields Too Large"}


class WssServerLink(WssLink):
    """One client's WebSocket, any path, any Origin, no extension or subprotocol whatever it offers.

    `LinkOpened.credentials` holds what the client showed; whether the key is known is for the owner to say, with
    `close(now, code=1008, reason="invalid api key")`. A client that shows nothing usable never opens: it gets the
    upgrade and 1008 `invalid authorization`, as from real hubs (wire.md §7.0). A request that is no WebSocket upgrade
    gets HTTP 426, and one that is not HTTP 400; that status is then the `code` of `LinkClosed`.
    """

    _role = ConnectionType.SERVER

    def __init__(self, *, limits: WssLimits = DEFAULT_WSS_LIMITS, secure: bool) -> None:
        super().__init__(limits=limits, secure=secure)

    def _is_http(self, head: bytearray) -> bool:
        return head[:1].isalpha()  # a method

    def _upgrade(self, head: bytes, now: float) -> list[LinkEvent]:
        try:
            self._handshake.receive_data(head)
            request = cast(Request, next(self._handshake.events()))
        except BadUpgrade as fault:
            if isinstance(fault.__context__, h11.RemoteProtocolError):
                return [self._bad_head("a bad HTTP request", status=400)]
            return [self._bad_head("an HTTP request that is no WebSocket upgrade", status=426)]
        except UnicodeError:  # a host that is no name, a header that is not ASCII
            return [self._bad_head("a bad HTTP header", status=400)]
        credentials = read_authorization(request.target)
        self._urgent.append(self._handshake.send(AcceptConnection()))
        opened = self._open(now, credentials)
        if credentials is None:
            return self.close(now, code=1008, reason="invalid authorization")
        return [opened]

    def _bad_head(self, what: str, *, status: int, hint: str = "") -> LinkClosed:
        self._urgent.append(_REFUSAL.format(status=status, phrase=_PHRASES[status]).encode())
        return self._end_by_fault(status, what, hint=hint)
