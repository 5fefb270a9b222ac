"""The broker's side of one client's connection, as far as a front door needs it.

The door sees a whole, valid CONNECT before anything else happens, decides, and then sees each packet before the broker
behind it does, as value and as bytes: it checks topics, the broker never meets a malformed packet. What the broker
writes to the client does not pass here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from attrs import field, frozen

from ...errors import DecodeError, LocalProtocolError, RemoteProtocolError
from ...limits import KIB
from .decoding import ConnectRefusal, decode
from .framing import Framer, PacketTooLarge
from .limits import DEFAULT_MQTT_LIMITS, MqttLimits
from .packets import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
)


@frozen(kw_only=True)
class ServerEvent:
    """Base of what a server session reports."""


@frozen(kw_only=True)
class ConnectReceived(ServerEvent):
    """The client's CONNECT: call `accept` or `refuse`. `wire` is the packet as it came, with the password in it."""

    connect: Connect
    wire: bytes = field(repr=False)


@frozen(kw_only=True)
class PacketReceived(ServerEvent):
    """A packet that a client may send, DISCONNECT included. `wire` is the packet as it came."""

    packet: Packet
    wire: bytes = field(repr=False)


@frozen(kw_only=True)
class ClientClosed(ServerEvent):
    """The last event: close the socket once `data_to_send` is written.

    `clean` after DISCONNECT: the will is void. `error` if the client broke the protocol or a limit. No event comes
    after our own `refuse` or `close`.
    """

    reason: str
    clean: bool = False
    error: RemoteProtocolError | None = None


class ServerState(enum.Enum):
    """The state of the connection."""

    CONNECTING = enum.auto()  # CONNECT is next [MQTT-3.1.0-1]
    DECIDING = enum.auto()  # `accept` or `refuse` is next; what the client sends meanwhile is parked unread
    OPEN = enum.auto()
    CLOSED = enum.auto()


# The packets that a client may send once it is connected; a second CONNECT is not among it [MQTT-3.1.0-2].
_FROM_CLIENT: Final = frozenset({Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe, Unsubscribe, Pingreq, Disconnect})

# A CONNECT: client id and user name of a kilobyte, a will and a token as password.
_CONNECT_PACKET: Final = 16 * KIB
# What a client may send behind its CONNECT before the door has answered (§3.1.4 allows it).
_PARKED: Final = 64 * KIB
# Topic filters in one SUBSCRIBE or UNSUBSCRIBE, and levels in one topic: brokers walk a tree for each.
_FILTERS: Final = 64
_LEVELS: Final = 16
_PATIENCE: Final = 1.5  # keepalive intervals without a packet [MQTT-3.1.2-24]


class ServerSession:
    """One accepted connection, from `now` on.

    `packet_limit` is the largest packet accepted after CONNECT, in bytes after the fixed header. Receiving raises
    nothing; `accept` and `refuse` raise `LocalProtocolError` out of turn.
    """

    def __init__(self, *, now: float, packet_limit: int, limits: MqttLimits = DEFAULT_MQTT_LIMITS) -> None:
        self._limits = limits
        self._packet_limit = packet_limit
        self._framer = Framer(_CONNECT_PACKET)
        self._state = ServerState.CONNECTING
        self._silence = 0.0  # how long the client may send no packet; 0 for ever
        self._deadline: float | None = now + limits.answer_time
        self._out = b""

    @property
    def state(self) -> ServerState:
        """The state of the connection."""
        return self._state

    @property
    def buffered(self) -> int:
        """Bytes received that were not given as events."""
        return self._framer.buffered

    @property
    def next_timeout(self) -> float | None:
        """The time at which CONNECT, or by the client's own keepalive its next packet, is overdue."""
        return self._deadline

    def data_to_send(self) -> bytes:
        """Everything to write now: a refusal, or nothing."""
        data, self._out = self._out, b""
        return data

    # --- the door -----------------------------------------------------------------------------------------------------

    def accept(self, now: float) -> None:
        """Let the client in. The CONNACK is the broker's; what is parked comes with the next `receive_data`."""
        self._must_be_deciding("accept")
        self._framer.limit = self._packet_limit
        self._state = ServerState.OPEN
        self._heard(now)

    def refuse(self, code: ConnectCode) -> None:
        """Answer CONNECT with a code but `ACCEPTED`, and be closed. What is parked stays unread [MQTT-3.1.4-5]."""
        self._must_be_deciding("refuse")
        if code is ConnectCode.ACCEPTED:
            raise LocalProtocolError("a refusal needs another code than ACCEPTED")
        self._out = Connack(code=code).encode()
        self._shut()

    def close(self) -> None:
        """Read nothing more: the door or the broker ends the connection."""
        self._shut()

    # --- the driver ---------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> Iterator[ServerEvent]:
        """Bytes from the socket. Each event is made when it is asked for, so that a decision counts for the next."""
        if self._state is not ServerState.CLOSED:
            self._framer.feed(data)
        return self._events(now)

    def eof(self, now: float) -> ClientClosed | None:
        """The socket ended. None if the session had already."""
        return None if self._state is ServerState.CLOSED else self._closed("the client closed the connection")

    def handle_timeout(self, now: float) -> list[ServerEvent]:
        """Time has passed. Harmless if early."""
        if self._deadline is None or now < self._deadline:
            return []
        what = "CONNECT" if self._state is ServerState.CONNECTING else "packet within its keepalive"
        return [self._closed(f"the client sent no {what} in time")]

    # --- below --------------------------------------------------------------------------------------------------------

    def _must_be_deciding(self, what: str) -> None:
        if self._state is not ServerState.DECIDING:
            raise LocalProtocolError(f"there is no CONNECT to {what} while the MQTT session is {self._state.name}")

    def _events(self, now: float) -> Iterator[ServerEvent]:
        try:
            while self._state in (ServerState.CONNECTING, ServerState.OPEN) and (raw := self._framer.next_packet()):
                packet = decode(raw.first, raw.body)
                if self._state is ServerState.CONNECTING:
                    if not isinstance(packet, Connect):
                        raise _violation("a client's first packet is not CONNECT [MQTT-3.1.0-1]")
                    self._state = ServerState.DECIDING
                    self._silence = packet.keepalive * _PATIENCE
                    self._deadline = None
                    yield ConnectReceived(connect=packet, wire=raw.wire)
                    continue
                if type(packet) not in _FROM_CLIENT:
                    raise _violation(f"a client sent {type(packet).__name__.upper()} in {self._state.name}")
                self._check_caps(packet)
                self._heard(now)
                yield PacketReceived(packet=packet, wire=raw.wire)
                if isinstance(packet, Disconnect):
                    yield self._closed("the client left", clean=True)
            if self._state is ServerState.DECIDING and self._framer.buffered > _PARKED:
                raise _violation(f"a client sent more than {_PARKED} bytes ahead of CONNACK", "mqtt_limit")
        except ConnectRefusal as fault:
            if self._state is ServerState.CONNECTING:  # a second one is only a fault [MQTT-3.1.0-2]
                self._out = Connack(code=fault.code).encode()
            yield self._closed(str(fault), _violation(str(fault), "mqtt_connect_refused"))
        except DecodeError as fault:
            word = "mqtt_packet_too_large" if isinstance(fault, PacketTooLarge) else "mqtt_malformed"
            yield self._closed(str(fault), _violation(str(fault), word))
        except RemoteProtocolError as fault:
            yield self._closed(str(fault), fault)

    def _check_caps(self, packet: Packet) -> None:
        match packet:
            case Publish(topic=topic):
                topics = [topic]
            case Subscribe(filters=pairs):
                topics = [topic_filter for topic_filter, _ in pairs]
            case Unsubscribe(filters=names):
                topics = list(names)
            case _:
                return
        if len(topics) > _FILTERS:
            raise _violation(f"a packet has more than {_FILTERS} topic filters", "mqtt_limit")
        if any(topic.count("/") >= _LEVELS for topic in topics):
            raise _violation(f"a topic has more than {_LEVELS} levels", "mqtt_limit")

    def _heard(self, now: float) -> None:
        self._deadline = now + self._silence if self._silence else None

    def _closed(self, reason: str, error: RemoteProtocolError | None = None, *, clean: bool = False) -> ClientClosed:
        self._shut()
        return ClientClosed(reason=reason, clean=clean, error=error)

    def _shut(self) -> None:
        self._state = ServerState.CLOSED
        self._deadline = None


def _violation(message: str, word: str = "mqtt_protocol_error") -> RemoteProtocolError:
    return RemoteProtocolError(message, code=word)
