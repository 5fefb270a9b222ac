"""The fourteen packets of MQTT 3.1.1 as values, and their way into bytes; `decoding` is the way back.

A packet that breaks a rule of the standard cannot be built: constructors raise `ValueError` naming the clause
(`[MQTT-x.x.x-n]`) and never the content. Topics, user names and payloads are kept out of `repr`: topics hold the access
key.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Final

from attrs import field, frozen

from ...secret import Secret
from .fields import encode_binary, encode_length, encode_text, encode_topic_filter, encode_topic_name

MAX_ID: Final = 65_535

SUBSCRIPTION_REFUSED: Final = 0x80


class ConnectCode(enum.IntEnum):
    """The return codes of CONNACK (table 3.1); all others are reserved."""

    ACCEPTED = 0
    VERSION = 1
    IDENTIFIER = 2
    UNAVAILABLE = 3
    CREDENTIALS = 4
    NOT_AUTHORIZED = 5


def _check_id(packet_id: int) -> None:
    if not 0 < packet_id <= MAX_ID:
        raise ValueError("a packet id is 1 to 65535 [MQTT-2.3.1-1]")


def _valid_id(instance: object, attribute: object, packet_id: int) -> None:
    _check_id(packet_id)


@frozen(kw_only=True)
class Will:
    """The message that the broker publishes for a client that goes without DISCONNECT."""

    topic: str = field(repr=False)
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False

    def __attrs_post_init__(self) -> None:
        encode_topic_name(self.topic)
        encode_binary(self.payload, "a will message")
        if self.qos not in (0, 1, 2):
            raise ValueError("a will's QoS is 0, 1 or 2 [MQTT-3.1.2-14]")


@frozen(kw_only=True)
class Connect:
    """A client opens its session (§3.1). `keepalive` in seconds, 0 for none."""

    client_id: str
    clean_session: bool = True
    keepalive: int = 60
    will: Will | None = None
    username: str | None = field(default=None, repr=False)
    password: Secret[bytes] | None = None

    def __attrs_post_init__(self) -> None:
        encode_text(self.client_id, "the client id")
        if not (self.client_id or self.clean_session):
            raise ValueError("an empty client id needs a clean session [MQTT-3.1.3-7]")
        if not 0 <= self.keepalive <= 0xFFFF:
            raise ValueError("the keepalive is 0 to 65535 seconds (§3.1.2.10)")
        if self.username is not None:
            encode_text(self.username, "the user name")
        elif self.password is not None:
            raise ValueError("a password needs a user name [MQTT-3.1.2-22]")
        if self.password is not None:
            encode_binary(self.password.reveal(), "the password")

    def encode(self) -> bytes:
        """The packet's bytes."""
        flags = self.clean_session << 1
        payload = encode_text(self.client_id, "the client id")  # in this order [MQTT-3.1.3-1]
        if self.will is not None:
            flags |= 0x04 | self.will.qos << 3 | self.will.retain << 5
            payload += encode_topic_name(self.will.topic) + encode_binary(self.will.payload, "a will message")
        if self.username is not None:
            flags |= 0x80
            payload += encode_text(self.username, "the user name")
        if self.password is not None:
            flags |= 0x40
            payload += encode_binary(self.password.reveal(), "the password")
        return _packet(0x10, _PROTOCOL + bytes((flags,)) + self.keepalive.to_bytes(2, "big") + payload)


@frozen(kw_only=True)
class Connack:
    """The broker's answer to CONNECT (§3.2)."""

    session_present: bool = False
    code: ConnectCode = ConnectCode.ACCEPTED

    def __attrs_post_init__(self) -> None:
        if self.session_present and self.code is not ConnectCode.ACCEPTED:
            raise ValueError("a refusing CONNACK cannot have a session present [MQTT-3.2.2-4]")

    def encode(self) -> bytes:
        """The packet's bytes."""
        return bytes((0x20, 2, self.session_present, self.code))


@frozen(kw_only=True)
class Publish:
    """An application message (§3.3). `packet_id` is there for QoS 1 and 2 only."""

    topic: str = field(repr=False)
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None

    def __attrs_post_init__(self) -> None:
        encode_topic_name(self.topic)
        if self.qos == 0:
            if self.packet_id is not None:
                raise ValueError("a PUBLISH of QoS 0 has no packet id [MQTT-2.3.1-5]")
            if self.dup:
                raise ValueError("a PUBLISH of QoS 0 is never a duplicate [MQTT-3.3.1-2]")
        elif self.qos in (1, 2):
            _check_id(self.packet_id or 0)
        else:
            raise ValueError("a PUBLISH has QoS 0, 1 or 2 [MQTT-3.3.1-4]")

    def encode(self) -> bytes:
        """The packet's bytes."""
        name = encode_topic_name(self.topic)
        return publish_head(name, len(self.payload), self.qos, self.retain, self.packet_id, self.dup) + self.payload


def publish_head(
    name: bytes, size: int, qos: int, retain: bool, packet_id: int | None = None, dup: bool = False
) -> bytes:
    """A PUBLISH up to its payload of `size` bytes, which need not be copied then.

    `name` is from `encode_topic_name`; nothing else is checked here but the size: `ValueError` over `MAX_REMAINING`.
    """
    first = bytes((0x30 | dup << 3 | qos << 1 | retain,))
    if packet_id is None:
        return first + encode_length(len(name) + size) + name
    return first + encode_length(len(name) + 2 + size) + name + packet_id.to_bytes(2, "big")


@frozen
class _Numbered:
    """A packet that holds a packet id and nothing else."""

    packet_id: int = field(validator=_valid_id)
    _first: ClassVar[int]

    def encode(self) -> bytes:
        """The packet's bytes."""
        return bytes((self._first, 2, self.packet_id >> 8, self.packet_id & 0xFF))


class Puback(_Numbered):
    """The receiver has a PUBLISH of QoS 1 (§3.4)."""

    __slots__ = ()
    _first = 0x40


class Pubrec(_Numbered):
    """The receiver has a PUBLISH of QoS 2 (§3.5)."""

    __slots__ = ()
    _first = 0x50


class Pubrel(_Numbered):
    """The sender lets go of a PUBLISH of QoS 2 (§3.6)."""

    __slots__ = ()
    _first = 0x62  # [MQTT-3.6.1-1]


class Pubcomp(_Numbered):
    """A PUBLISH of QoS 2 is complete (§3.7)."""

    __slots__ = ()
    _first = 0x70


@frozen(kw_only=True)
class Subscribe:
    """A client asks for topics (§3.8): pairs of topic filter and the highest QoS it wants."""

    packet_id: int = field(validator=_valid_id)
    filters: tuple[tuple[str, int], ...] = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.filters:
            raise ValueError("a SUBSCRIBE names at least one topic filter [MQTT-3.8.3-3]")
        for topic_filter, qos in self.filters:
            encode_topic_filter(topic_filter)
            if qos not in (0, 1, 2):
                raise ValueError("a subscription's QoS is 0, 1 or 2 [MQTT-3-8.3-4]")

    def encode(self) -> bytes:
        """The packet's bytes."""
        pairs = b"".join(encode_topic_filter(name) + bytes((qos,)) for name, qos in self.filters)
        return _packet(0x82, self.packet_id.to_bytes(2, "big") + pairs)


@frozen(kw_only=True)
class Suback:
    """The broker's answer to SUBSCRIBE (§3.9): for each filter the QoS granted, or `SUBSCRIPTION_REFUSED`."""

    packet_id: int = field(validator=_valid_id)
    codes: tuple[int, ...]

    def __attrs_post_init__(self) -> None:
        if not self.codes:
            raise ValueError("a SUBACK has a return code for every filter [MQTT-3.8.4-5]")
        if any(code not in (0, 1, 2, SUBSCRIPTION_REFUSED) for code in self.codes):
            raise ValueError("a SUBACK's return codes are 0, 1, 2 and 128 [MQTT-3.9.3-2]")

    def encode(self) -> bytes:
        """The packet's bytes."""
        return _packet(0x90, self.packet_id.to_bytes(2, "big") + bytes(self.codes))


@frozen(kw_only=True)
class Unsubscribe:
    """A client wants topics no more (§3.10)."""

    packet_id: int = field(validator=_valid_id)
    filters: tuple[str, ...] = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.filters:
            raise ValueError("an UNSUBSCRIBE names at least one topic filter [MQTT-3.10.3-2]")
        for topic_filter in self.filters:
            encode_topic_filter(topic_filter)

    def encode(self) -> bytes:
        """The packet's bytes."""
        names = b"".join(encode_topic_filter(name) for name in self.filters)
        return _packet(0xA2, self.packet_id.to_bytes(2, "big") + names)


class Unsuback(_Numbered):
    """The broker's answer to UNSUBSCRIBE (§3.11)."""

    __slots__ = ()
    _first = 0xB0


@frozen
class _Bare:
    """A packet that holds nothing."""

    _first: ClassVar[int]

    def encode(self) -> bytes:
        """The packet's bytes."""
        return bytes((self._first, 0))


class Pingreq(_Bare):
    """A client asks whether the broker is there (§3.12)."""

    __slots__ = ()
    _first = 0xC0


class Pingresp(_Bare):
    """The broker is there (§3.13)."""

    __slots__ = ()
    _first = 0xD0


class Disconnect(_Bare):
    """A client goes for good: no will is published (§3.14)."""

    __slots__ = ()
    _first = 0xE0


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)

_PROTOCOL: Final = b"\x00\x04MQTT\x04"  # §3.1.2.1, §3.1.2.2


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + encode_length(len(body)) + body
