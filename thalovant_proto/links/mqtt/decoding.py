"""A packet's bytes back into the packet: every MUST of MQTT 3.1.1 that bytes alone can break is checked here.

What a packet's fields may hold is checked by its constructor; here are their borders and the flags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ...errors import DecodeError
from ...secret import Secret
from .fields import decode_text
from .packets import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)


class ConnectRefusal(DecodeError):
    """A CONNECT that the standard answers with a return code instead of silence: `code` says which."""

    def __init__(self, message: str, code: ConnectCode) -> None:
        super().__init__(message)
        self.code = code


class _Fields:
    """A packet's body, field after field."""

    def __init__(self, body: bytes, what: str) -> None:
        self._body = body
        self._what = what
        self._at = 0

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._body):
            raise DecodeError(f"a {self._what} ends inside a field")
        return self._body[start : self._at]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self, what: str) -> str:
        return decode_text(self.binary(), what)

    @property
    def more(self) -> bool:
        return self._at < len(self._body)

    def end(self) -> None:
        if self.more:
            raise DecodeError(f"a {self._what} has bytes after its last field")


def _connect(_: int, body: bytes) -> Connect:
    fields = _Fields(body, "CONNECT")
    name = fields.binary()
    level = fields.take(1)[0]
    if (name, level) != (b"MQTT", 4):
        # Nothing behind these two can be read: another version lays it out otherwise [MQTT-3.1.2-1].
        if name in (b"MQTT", b"MQIsdp"):
            raise ConnectRefusal("the client speaks another MQTT than 3.1.1 [MQTT-3.1.2-2]", ConnectCode.VERSION)
        raise DecodeError("a CONNECT is not for MQTT [MQTT-3.1.2-1]")
    flags = fields.take(1)[0]
    keepalive = fields.number()
    if flags & 0x01:
        raise DecodeError("CONNECT's reserved flag is set [MQTT-3.1.2-3]")
    if not flags & 0x04 and flags & 0x38:
        raise DecodeError("a CONNECT without a will has will flags [MQTT-3.1.2-13, -15]")
    if flags & 0xC0 == 0x40:
        raise DecodeError("a CONNECT has a password without a user name [MQTT-3.1.2-22]")
    client_id = fields.text("the client id")  # [MQTT-3.1.3-3]
    will = None
    if flags & 0x04:
        topic = fields.text("the will topic")  # [MQTT-3.1.3-10]
        will = Will(topic=topic, payload=fields.binary(), qos=flags >> 3 & 3, retain=bool(flags & 0x20))
    username = fields.text("the user name") if flags & 0x80 else None  # [MQTT-3.1.3-11]
    password = Secret(fields.binary()) if flags & 0x40 else None
    fields.end()
    if not client_id and not flags & 0x02:
        message = "an empty client id needs a clean session [MQTT-3.1.3-8]"
        raise ConnectRefusal(message, ConnectCode.IDENTIFIER)
    return Connect(
        client_id=client_id,
        clean_session=bool(flags & 0x02),
        keepalive=keepalive,
        will=will,
        username=username,
        password=password,
    )


def _connack(_: int, body: bytes) -> Connack:
    if body[0] > 1:
        raise DecodeError("CONNACK's reserved flags are set (§3.2.2.1)")
    if body[1] > ConnectCode.NOT_AUTHORIZED:
        raise DecodeError("CONNACK's return code is reserved (table 3.1)")
    return Connack(session_present=bool(body[0]), code=ConnectCode(body[1]))


def _publish(first: int, body: bytes) -> Publish:
    # By hand, since this is the packet that counts.
    qos = first >> 1 & 3
    end = 2 + int.from_bytes(body[:2], "big")
    start = end + 2 if qos else end
    if start > len(body) or len(body) < 2:
        raise DecodeError("a PUBLISH ends inside a field")
    return Publish(
        topic=decode_text(body[2:end], "a topic name"),  # [MQTT-3.3.2-1]
        payload=body[start:],
        qos=qos,
        retain=bool(first & 0x01),
        dup=bool(first & 0x08),
        packet_id=body[end] << 8 | body[end + 1] if qos else None,
    )


def _numbered(packet: Callable[[int], Packet]) -> Callable[[int, bytes], Packet]:
    return lambda _, body: packet(body[0] << 8 | body[1])


def _subscribe(_: int, body: bytes) -> Subscribe:
    fields = _Fields(body, "SUBSCRIBE")
    packet_id = fields.number()
    filters = []
    while fields.more:
        filters.append((fields.text("a topic filter"), fields.take(1)[0]))  # [MQTT-3.8.3-1]
    return Subscribe(packet_id=packet_id, filters=tuple(filters))


def _suback(_: int, body: bytes) -> Suback:
    fields = _Fields(body, "SUBACK")
    return Suback(packet_id=fields.number(), codes=tuple(body[2:]))


def _unsubscribe(_: int, body: bytes) -> Unsubscribe:
    fields = _Fields(body, "UNSUBSCRIBE")
    packet_id = fields.number()
    filters = []
    while fields.more:
        filters.append(fields.text("a topic filter"))  # [MQTT-3.10.3-1]
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters))


def _empty(packet: Callable[[], Packet]) -> Callable[[int, bytes], Packet]:
    return lambda _, body: packet()


# Keyed by the whole first byte, since the standard leaves no freedom in it but PUBLISH's flags [MQTT-2.2.2-1].
_DECODERS: Final[Mapping[int, Callable[[int, bytes], Packet]]] = {
    0x10: _connect,
    0x20: _connack,
    **{0x30 | flags: _publish for flags in (0, 1, 2, 3, 4, 5, 10, 11, 12, 13)},
    0x40: _numbered(Puback),
    0x50: _numbered(Pubrec),
    0x62: _numbered(Pubrel),
    0x70: _numbered(Pubcomp),
    0x82: _subscribe,
    0x90: _suback,
    0xA2: _unsubscribe,
    0xB0: _numbered(Unsuback),
    0xC0: _empty(Pingreq),
    0xD0: _empty(Pingresp),
    0xE0: _empty(Disconnect),
}

_SIZES: Final[Mapping[int, int]] = {
    0x20: 2,
    0x40: 2,
    0x50: 2,
    0x62: 2,
    0x70: 2,
    0xB0: 2,
    0xC0: 0,
    0xD0: 0,
    0xE0: 0,
}


def check_first_byte(first: int) -> None:
    """Refuse at its first byte what can be no packet. Raises `DecodeError`."""
    if first in _DECODERS:
        return
    if first >> 4 in (0, 15):
        raise DecodeError("packet types 0 and 15 are reserved (table 2.1)")
    if first >> 4 != 3:
        raise DecodeError("a packet's reserved flags are not what they must be [MQTT-2.2.2-2]")
    if first & 0x06 == 0x06:
        raise DecodeError("a PUBLISH has QoS 3 [MQTT-3.3.1-4]")
    raise DecodeError("a PUBLISH of QoS 0 is marked as a duplicate [MQTT-3.3.1-2]")


def check_size(first: int, size: int) -> None:
    """Refuse a packet of a fixed size whose remaining length is another. Raises `DecodeError`."""
    if _SIZES.get(first, size) != size:
        raise DecodeError("a packet of a fixed size has another one (§3)")


def decode(first: int, body: bytes) -> Packet:
    """The packet with this first byte and what follows its remaining length.

    Raises `DecodeError`, as `ConnectRefusal` where the standard wants a CONNACK in answer.
    """
    check_first_byte(first)
    check_size(first, len(body))
    try:
        return _DECODERS[first](first, body)
    except DecodeError:
        raise
    except ValueError as fault:  # the constructors' rules
        raise DecodeError(str(fault)) from None
