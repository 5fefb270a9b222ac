"""The client's end of a WSS link: it asks a hub for the upgrade and shows its access key."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final, cast

from wsproto.connection import ConnectionType
from wsproto.events import RejectConnection, Request
from wsproto.frame_protocol import XorMaskerSimple
from wsproto.utilities import RemoteProtocolError as BadUpgrade

from ...carrier import CloseKind, Target
from ...entropy import Entropy, checked
from ...errors import RemoteProtocolError
from ...secret import Secret
from ..base import LinkClosed, LinkEvent
from ..endpoint import NO_HEADERS, TRY_TLS, authorization, more_headers, parse_endpoint, portable_agent
from ..http_status import retry_after, status_hint
from ..strangers import fault_of_head
from .common import DEFAULT_WSS_LIMITS, WssLimits, WssLink

# Statuses that mean the client. Any other one is of something else in the hub's place: a portal, a proxy, a service.
_OF_THE_CLIENT: Final = frozenset({401, 403})
#: Characters of an access key that may not be shown; a shorter one keeps nobody out, and may be a word of the hub's.
_A_SECRET: Final = 8

# Where the payload begins, by the byte that says its length; elsewhere it does after that byte (RFC 6455 §5.2).
_HEADER_SIZES: Final = {126: 4, 127: 10}


class WssClientLink(WssLink):
    """One WebSocket to the hub at `url` (`ws://` or `wss://`, any path and query).

    `secure`: the driver verifies TLS, or the target is loopback. Raises `ValueError` for a URL, user agent or access
    key that cannot work; its message holds none of them.

    `entropy(n)` gives n random bytes: 16 for the key of the upgrade, 4 for the mask of each frame, which nobody on the
    way may be able to foretell (RFC 6455 §10.3). `headers` are added to the upgrade, for a gateway before the hub.

    An HTTP answer other than 101 ends the link with its status as `code`: refused by 401 and 403, else lost.
    """

    _role = ConnectionType.CLIENT

    def __init__(
        self,
        url: str,
        *,
        access_key: Secret[str],
        user_agent: str,
        entropy: Entropy,
        limits: WssLimits = DEFAULT_WSS_LIMITS,
        headers: Mapping[str, Secret[str]] = NO_HEADERS,
        secure: bool,
    ) -> None:
        super().__init__(limits=limits, secure=secure)
        endpoint = parse_endpoint(url, name="WSS", plain="ws", tls="wss")
        self._target = endpoint.target
        self._unanswered = "" if endpoint.target.tls else TRY_TLS.format("wss")
        self._entropy = checked(entropy)
        # That a hub may repeat.
        self._secrets = (access_key, Secret(authorization(user_agent, access_key)), *headers.values())
        more = [(name.encode(), value.encode()) for name, value in more_headers(headers)]
        # No Origin and no subprotocol: hubs look at neither. No compression: they have none, and the length of what is
        # compressed next to a secret tells of it (security.md §11).
        request = self._handshake.send(
            Request(
                host=endpoint.host_header,
                target=endpoint.request_target(user_agent, access_key),
                extra_headers=[(b"User-Agent", portable_agent(user_agent).encode()), *more],
            )
        )
        self._request = self._with_own_key(request)

    @property
    def target(self) -> Target:
        """The address that the driver dials."""
        return self._target

    @property
    def full(self) -> bool:
        """Never: what waits leaves with the next write, all of it."""
        return False

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """Ask for the upgrade, whose deadline starts now. Once per link."""
        self._urgent.append(self._request)
        self._request = b""
        return super().socket_opened(now)

    def _shown(self, words: str) -> str:
        for secret in self._secrets:
            if len(secret.reveal()) >= _A_SECRET:
                words = words.replace(secret.reveal(), "…")
        return super()._shown(words)

    def _with_own_key(self, request: bytes) -> bytes:
        """`request` with a Sec-WebSocket-Key that follows from `entropy`; wsproto has put one of its own there."""
        key = base64.b64encode(self._entropy(16))
        theirs = cast(bytes, self._handshake._nonce)
        self._handshake._nonce = key
        return request.replace(theirs, key)

    def _finish(self, frame: bytearray) -> bytes:
        """`frame` with a mask of its own (RFC 6455 §5.3)."""
        mask = self._entropy(4)
        start = _HEADER_SIZES.get(frame[1], 2)
        frame[1] |= 0x80
        return b"".join((frame[:start], mask, XorMaskerSimple(mask).process(frame[start:])))

    def _is_http(self, head: bytearray) -> bool:
        return head.startswith(b"HTTP/"[: len(head)])

    def _upgrade(self, head: bytes, now: float) -> list[LinkEvent]:
        try:
            self._handshake.receive_data(head)
            answer = next(self._handshake.events())
        except (BadUpgrade, UnicodeError) as fault:  # the latter for a header that is not ASCII
            what, hint = fault_of_head(fault) or ("a bad answer to the upgrade request", "")
            return [self._bad_head(what, status=400, hint=hint)]
        if not isinstance(answer, RejectConnection):
            return [self._open(now)]
        return [self._turned_away(answer)]

    def _turned_away(self, answer: RejectConnection) -> LinkClosed:
        status = answer.status_code
        if status < 200:
            return self._bad_head(f"HTTP {status} in place of 101", status=400)
        reason = f"HTTP {status}: {'redirects are not followed' if 300 <= status < 400 else 'no WebSocket there'}"
        if status in _OF_THE_CLIENT:
            return self._end(CloseKind.REFUSED, code=status, reason=reason)
        headers = {name.lower(): value for name, value in answer.headers}
        wait, date = headers.get(b"retry-after", b""), headers.get(b"date", b"")
        return self._end(
            CloseKind.LOST,
            code=status,
            reason=reason,
            error=RemoteProtocolError(
                f"the endpoint answered the WebSocket upgrade with {reason}",
                code="http_status",
                hint=status_hint(status),
            ),
            retry_after=retry_after(wait, date),
        )

    def _bad_head(self, what: str, *, status: int, hint: str = "") -> LinkClosed:
        return self._end_by_fault(None, what, hint=hint)
