"""The vocabulary of carriers: frames, the properties of a carrier, close kinds, credentials and dial targets."""

from __future__ import annotations

import enum

from attrs import field, frozen

from .secret import Secret


class FrameType(enum.Enum):
    """The payload type of a frame, as the carrier tells it."""

    TEXT = enum.auto()
    BINARY = enum.auto()
    UNTYPED = enum.auto()  # MQTT: bytes are bytes


@frozen(slots=True)
class Frame:
    """One frame of the hub protocol, as the carrier delivers or takes it. `TEXT` data is UTF-8."""

    data: bytes = field(repr=False)
    type: FrameType


@frozen(kw_only=True)
class Carrier:
    """The properties of a link, told to the connection when it opens."""

    text_up: bool = True  # the hub reads JSON text frames from clients here
    legacy_binary_up: bool = True  # it reads binary ones in v0 and v1 sessions too (over HTTPS real hubs do not)
    typed: bool = True  # text and binary frames can be told apart
    rehello: bool = False  # a hub that lost the session says hello again in clear
    secure: bool = False  # verified TLS or loopback
    receipts: bool = False  # `Accepted` tells when the next hop took a frame
    idle: float | None = None  # a hub that heard nothing for so long is asked: it may be gone unseen, or forget us soon


class CloseKind(enum.Enum):
    """The reason for which a link ended."""

    LOST = "lost"  # network trouble, or a peer that crashed or restarts
    REFUSED = "refused"  # the peer closed on purpose
    FORGOTTEN = "forgotten"  # the hub lost the session; the credentials may be fine
    DISPLACED = "displaced"  # another process with the same access key took over
    CLOSED = "closed"  # we closed it


@frozen(kw_only=True)
class Credentials:
    """The credentials that a client showed the carrier, as the hub's side of a link reads them."""

    access_key: Secret[str]
    user_agent: str = ""


@frozen(kw_only=True)
class Target:
    """The address that a driver dials for a link: TCP to `host:port`, TLS with `host` as server name if `tls`."""

    host: str
    port: int
    tls: bool
