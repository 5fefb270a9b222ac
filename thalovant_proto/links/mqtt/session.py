"""A client's session with a broker: CONNECT to DISCONNECT, QoS 0 and 1, receipts, keepalive. Always a clean session.

Nothing is ever sent twice: a clean session ends with its connection, and what was not acknowledged by then is reported,
not repeated. QoS 2 is never asked for, so that it is never received either.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, field, frozen

from ...errors import DecodeError, LocalProtocolError, RemoteProtocolError
from ...limits import SLOWEST
from ..strangers import looks_like
from .connect import refusal
from .decoding import decode
from .fields import MAX_REMAINING, encode_topic_name, topic_matches
from .framing import Framer, PacketTooLarge
from .limits import DEFAULT_MQTT_LIMITS, MqttLimits
from .packets import (
    MAX_ID,
    SUBSCRIPTION_REFUSED,
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    publish_head,
)


@frozen(kw_only=True)
class SessionEvent:
    """Base of what a session reports."""


@frozen(kw_only=True)
class Connected(SessionEvent):
    """The broker took the CONNECT: publish and subscribe."""


@frozen(kw_only=True)
class Subscribed(SessionEvent):
    """The broker answered the SUBSCRIBE `packet_id`: for each filter the QoS granted, or `SUBSCRIPTION_REFUSED`."""

    packet_id: int
    granted: tuple[int, ...]


@frozen(kw_only=True)
class MessageReceived(SessionEvent):
    """A message arrived. If `missing` is not 0 it was over the limit, and its payload was thrown away."""

    topic: str = field(repr=False)
    payload: bytes = field(repr=False)
    retain: bool
    missing: int = 0


@frozen(kw_only=True)
class Published(SessionEvent):
    """The broker has a message of QoS 1: the one that was published with this token."""

    token: int | None


@frozen(kw_only=True)
class SessionClosed(SessionEvent):
    """The last event, unless we disconnected.

    `code` is CONNACK's if that was the end. `error` is None unless the broker refused us or broke the protocol: not for
    a socket that ended, an answer that did not come in time, or a broker that is unavailable. `unsent` are the tokens
    of messages that never left: not drained by `data_to_send`, or still waiting for the window.
    """

    reason: str
    code: ConnectCode | None = None
    error: RemoteProtocolError | None = None
    unsent: tuple[int, ...] = ()


class State(enum.Enum):
    """The state of a session."""

    IDLE = enum.auto()  # CONNECT is not out
    CONNECTING = enum.auto()  # CONNACK is next [MQTT-3.2.0-1]
    READY = enum.auto()
    CLOSED = enum.auto()


# Pinging at three quarters of the promised interval keeps the promise [MQTT-3.1.2-23] with a late timer too.
_PING_AFTER: Final = 0.75
# From PUBLISH to PUBACK: brokers may write it to disk, or ask each other, first.
_PUBACK_TIME: Final = 30.0
# Messages of QoS 1 remembered so as to know their duplicates: more than brokers keep on their way.
_REMEMBERED: Final = 128

_UNAVAILABLE: Final = "the broker says that it is unavailable"
_CONNACK: Final = 2
_NOT_MQTT: Final = "is this the broker's MQTT port, and with TLS where the broker wants it?"


@frozen
class _Waiting:
    name: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    qos: int
    retain: bool
    token: int | None


class MqttSession:
    """One session with a broker, as its client.

    `connect` says who we are; its session must be clean. `packet_limit` is the largest packet accepted, in bytes after
    the fixed header. Sends raise `LocalProtocolError` unless the session is `READY`; receiving raises nothing.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        packet_limit: int,
        limits: MqttLimits = DEFAULT_MQTT_LIMITS,
        cut_oversize: bool = False,
    ) -> None:
        if not connect.clean_session:
            raise LocalProtocolError("only clean sessions: nothing is repeated after a reconnect")
        self._connect = connect
        self._limits = limits
        self._framer = Framer(packet_limit, cut_oversize=cut_oversize)
        self._state = State.IDLE
        self._timers: dict[str, float] = {}
        # Acknowledgements are sent first, so that the output does not depend on how the input was split.
        self._acknowledgements: list[bytes] = []
        self._out: list[bytes] = []
        self._undrained: list[int] = []  # tokens of what is in _out
        self._last_id = 0
        # Packet id: token, size, when its PUBACK is due; oldest first.
        self._in_flight: dict[int, tuple[int | None, int, float]] = {}
        self._in_flight_bytes = 0
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._subscribing: dict[int, tuple[int, ...]] = {}  # packet id: QoS asked for
        self._topics: set[str] = set()
        self._patterns: list[str] = []
        self._remembered: dict[int, int] = {}  # packet id: mark of the message, oldest first
        self._sent_at = self._received_at = 0.0
        self._pings = 0  # without their PINGRESP

    # --- what the owner asks ------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the session."""
        return self._state

    @property
    def packet_limit(self) -> int:
        """The largest packet accepted, in bytes after the fixed header. May change between two events."""
        return self._framer.limit

    @packet_limit.setter
    def packet_limit(self, limit: int) -> None:
        self._framer.limit = limit

    @property
    def buffered(self) -> int:
        """Bytes received that wait for the rest of their packet."""
        return self._framer.buffered

    @property
    def has_data(self) -> bool:
        """Whether `data_to_send` would give something."""
        return bool(self._acknowledgements or self._out)

    @property
    def waiting(self) -> int:
        """Bytes of messages that wait for the window."""
        return self._waiting_bytes

    @property
    def has_room(self) -> bool:
        """Whether a message of QoS 1 would leave at once."""
        return not self._waiting and len(self._in_flight) < self._limits.window

    @property
    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called."""
        return min(self._timers.values(), default=None)

    def data_to_send(self) -> bytes:
        """Everything to write now."""
        data = b"".join((*self._acknowledgements, *self._out))
        self._drop_output()
        return data

    # --- sending ------------------------------------------------------------------------------------------------------

    def open(self, now: float) -> None:
        """Send CONNECT: the socket is up."""
        if self._state is not State.IDLE:
            raise LocalProtocolError(f"an MQTT session opens once, and this one is {self._state.name}")
        self._state = State.CONNECTING
        self._received_at = now
        self._timers["connack"] = now + self._limits.answer_time
        self._write(self._connect.encode(), now)

    def subscribe(self, filters: Sequence[tuple[str, int]], now: float) -> int:
        """Ask for topics: pairs of filter and QoS 0 or 1. Gives the packet id that `Subscribed` will name."""
        self._must_be_ready("subscribe")
        if any(qos > 1 for _, qos in filters):
            raise LocalProtocolError("subscriptions are of QoS 0 or 1")
        packet_id = self._free_id()
        try:
            encoded = Subscribe(packet_id=packet_id, filters=tuple(filters)).encode()
        except ValueError as fault:
            raise LocalProtocolError(str(fault), code="mqtt_topic_invalid") from None
        self._subscribing[packet_id] = tuple(qos for _, qos in filters)
        # From here on the broker may send messages that match, before its SUBACK too (§3.8.4).
        for topic_filter, _ in filters:
            if "+" in topic_filter or "#" in topic_filter:
                self._patterns.append(topic_filter)
            else:
                self._topics.add(topic_filter)
        self._timers.setdefault("suback", now + self._limits.answer_time)
        self._write(encoded, now)
        return packet_id

    def publish(
        self, topic: str, payload: bytes, now: float, *, qos: int = 1, retain: bool = False, token: int | None = None
    ) -> None:
        """Send a message, after those that wait already. `token` is what `Published` will name (QoS 1 only)."""
        self._must_be_ready("publish")
        try:
            name = encode_topic_name(topic)
        except ValueError as fault:
            raise LocalProtocolError(str(fault), code="mqtt_topic_invalid") from None
        if qos not in (0, 1):
            raise LocalProtocolError("messages are of QoS 0 or 1")
        if len(name) + 2 + len(payload) > MAX_REMAINING:
            raise LocalProtocolError(f"an MQTT packet holds at most {MAX_REMAINING} bytes")
        if self.has_room or (qos == 0 and not self._waiting):
            self._emit(name, payload, qos, retain, token, now)
            return
        size = len(name) + len(payload)
        if self._waiting_bytes + size > self._limits.queue:
            message = f"more than {self._limits.queue} bytes wait for the broker's acknowledgements"
            raise LocalProtocolError(message, code="mqtt_queue_full")
        self._waiting_bytes += size
        self._waiting.append(_Waiting(name, payload, qos, retain, token))

    def disconnect(self, now: float, *, will: bool = False, drop: bool = False) -> tuple[int, ...]:
        """Be closed, behind what is queued; with `drop`, instead of it. Gives the tokens of what will not leave.

        DISCONNECT is what keeps the broker from publishing our will [MQTT-3.14.4-3]: `will` leaves it out.
        """
        unsent = self._waiting_tokens()
        if drop:
            unsent = (*self._undrained, *unsent)
            self._drop_output()
        if self._state in _TABLE and not will:
            self._write(Disconnect().encode(), now)
        self._shut()
        return unsent

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> Iterator[SessionEvent]:
        """Bytes from the socket.

        Each event is made when it is asked for, so that what the owner does about one (raise the limit, disconnect)
        counts for the next, however the bytes were cut.
        """
        if self._state in _TABLE:
            self._received_at = now
            self._framer.feed(data)
        return self._events(now)

    def eof(self, now: float) -> SessionClosed | None:
        """The socket ended. None if the session had already; then what it still had to say is dropped."""
        if self._state is not State.CLOSED:
            return self._close("the broker closed the connection")
        self._drop_output()
        return None

    def handle_timeout(self, now: float) -> list[SessionEvent]:
        """Time has passed. Harmless if early; afterwards `next_timeout` is None or later than `now`."""
        for name in [name for name, at in self._timers.items() if at <= now]:
            if name == "ping":
                self._ping(now)
            elif name == "pingresp" and self._received_at + self._limits.answer_time > now:
                # A broker in the middle of something large answers behind it.
                self._timers[name] = self._received_at + self._limits.answer_time
            else:
                return [self._close(f"the broker sent no {name.upper()} in time")]
        return []

    # --- below --------------------------------------------------------------------------------------------------------

    def _must_be_ready(self, what: str) -> None:
        if self._state is not State.READY:
            raise LocalProtocolError(f"cannot {what} while the MQTT session is {self._state.name}")

    def _drop_output(self) -> None:
        self._acknowledgements.clear()
        self._out.clear()
        self._undrained.clear()

    def _write(self, data: bytes, now: float) -> None:
        self._out.append(data)
        self._sent_at = now

    def _emit(self, name: bytes, payload: bytes, qos: int, retain: bool, token: int | None, now: float) -> None:
        packet_id = None
        if qos:
            packet_id = self._free_id()
            size = len(payload)
            self._in_flight_bytes += size
            # What is on its way may take its time on a slow line, and what is behind it waits for that.
            due = now + _PUBACK_TIME + self._in_flight_bytes / SLOWEST
            self._in_flight[packet_id] = (token, size, due)
            if len(self._in_flight) == 1:
                self._timers["puback"] = due
        self._out.append(publish_head(name, len(payload), qos, retain, packet_id))
        self._write(payload, now)
        if token is not None:
            self._undrained.append(token)

    def _free_id(self) -> int:
        while True:  # [MQTT-2.3.1-2]; the window and a handful of subscriptions leave ids free
            self._last_id = self._last_id % MAX_ID + 1
            if self._last_id not in self._in_flight and self._last_id not in self._subscribing:
                return self._last_id

    def _events(self, now: float) -> Iterator[SessionEvent]:
        try:
            while (handlers := _TABLE.get(self._state)) and (raw := self._framer.next_packet()):
                packet = decode(raw.first, raw.body)
                handler = handlers.get(type(packet))
                if handler is None:
                    raise _violation(f"the broker sent {type(packet).__name__.upper()} in {self._state.name}")
                event = handler(self, packet, now)
                if raw.missing and isinstance(event, MessageReceived):
                    event = evolve(event, missing=raw.missing)
                if event is not None:
                    yield event
        except DecodeError as fault:
            word = "mqtt_packet_too_large" if isinstance(fault, PacketTooLarge) else "mqtt_malformed"
            what, hint = str(fault), ""
            if self._state is State.CONNECTING:
                first = self._framer.first
                if first >> 4 == _CONNACK:
                    hint = "the broker may speak another version: have MQTT 3.1.1 switched on there"
                else:
                    what, hint = f"something that is not MQTT answers{looks_like(first, but='MQTT')}", _NOT_MQTT
            yield self._close(what, RemoteProtocolError(what, code=word, hint=hint))
        except RemoteProtocolError as fault:
            yield self._close(str(fault), fault)

    def _connack(self, packet: Connack, now: float) -> SessionEvent:
        del self._timers["connack"]
        if packet.code is ConnectCode.UNAVAILABLE:
            return self._close(_UNAVAILABLE, code=packet.code)
        if packet.code is not ConnectCode.ACCEPTED:
            error = refusal(packet.code)
            return self._close(str(error), error, packet.code)
        if packet.session_present:
            raise _violation("a clean session cannot be present [MQTT-3.2.2-1]")
        self._state = State.READY
        if self._connect.keepalive:
            self._timers["ping"] = self._ping_due()
        return Connected()

    def _suback(self, packet: Suback, now: float) -> SessionEvent:
        wanted = self._subscribing.pop(packet.packet_id, None)
        if wanted is None:
            raise _violation("a SUBACK answers no SUBSCRIBE [MQTT-3.8.4-2]")
        if len(packet.codes) != len(wanted):
            raise _violation("a SUBACK has not one return code for every filter [MQTT-3.8.4-5]")
        if any(qos < code != SUBSCRIPTION_REFUSED for qos, code in zip(wanted, packet.codes, strict=True)):
            raise _violation("a SUBACK grants more than was asked for [MQTT-3.8.4-6]")
        if self._subscribing:
            self._timers["suback"] = now + self._limits.answer_time
        else:
            del self._timers["suback"]
        return Subscribed(packet_id=packet.packet_id, granted=packet.codes)

    def _publish(self, packet: Publish, now: float) -> SessionEvent | None:
        topic, payload, packet_id = packet.topic, packet.payload, packet.packet_id
        if topic not in self._topics and not any(topic_matches(pattern, topic) for pattern in self._patterns):
            raise _violation("a message matches no subscription [MQTT-3.3.2-3]")
        if packet_id is not None:
            if packet.qos == 2:
                raise _violation("a message has a QoS that was never asked for [MQTT-3.8.4-6]")
            if len(self._acknowledgements) >= MAX_ID:
                raise _violation("the broker reads no PUBACK, and uses packet ids again [MQTT-2.3.1-4]")
            self._acknowledgements.append(Puback(packet_id).encode())  # [MQTT-3.3.4-1]
            self._sent_at = now
            # A duplicate on the connection that had the original is one by the sender's own word [MQTT-3.3.1-1]: a
            # frame given on twice would end a Noise session. Without the flag the id is a new message's, always
            # [MQTT-4.3.2-2]. Every sealed frame differs in its tag, so both ends of the payload tell frames apart.
            mark = hash((topic, len(payload), payload[:32], payload[-32:]))
            if self._remembered.pop(packet_id, None) == mark and packet.dup:
                self._remembered[packet_id] = mark
                return None
            if len(self._remembered) >= _REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[packet_id] = mark
        return MessageReceived(topic=topic, payload=payload, retain=packet.retain)

    def _puback(self, packet: Puback, now: float) -> SessionEvent:
        acknowledged = self._in_flight.pop(packet.packet_id, None)
        if acknowledged is None:
            raise _violation("a PUBACK answers no PUBLISH [MQTT-2.3.1-6]")
        token, size, _ = acknowledged
        self._in_flight_bytes -= size
        if token in self._undrained:
            raise _violation("a PUBACK answers a PUBLISH that has not left [MQTT-2.3.1-6]")
        while self._waiting and (self._waiting[0].qos == 0 or len(self._in_flight) < self._limits.window):
            waiting = self._waiting.popleft()
            self._waiting_bytes -= len(waiting.name) + len(waiting.payload)
            self._emit(waiting.name, waiting.payload, waiting.qos, waiting.retain, waiting.token, now)
        if self._in_flight:
            self._timers["puback"] = next(iter(self._in_flight.values()))[2]
        else:
            del self._timers["puback"]
        return Published(token=token)

    def _pingresp(self, packet: Pingresp, now: float) -> None:
        if not self._pings:
            raise _violation("a PINGRESP answers no PINGREQ (§3.13)")
        self._pings -= 1
        if not self._pings:
            del self._timers["pingresp"]
        self._timers["ping"] = self._ping_due()

    def _ping_due(self) -> float:
        # What we receive counts too, unless we are asking already: who only sends would never learn of a broker's end.
        last = self._sent_at if self._pings else min(self._sent_at, self._received_at)
        return last + self._connect.keepalive * _PING_AFTER

    def _ping(self, now: float) -> None:
        if self._ping_due() <= now:
            self._pings += 1
            due = now + self._limits.answer_time + self._in_flight_bytes / SLOWEST
            self._timers.setdefault("pingresp", due)
            self._write(Pingreq().encode(), now)
        self._timers["ping"] = self._ping_due()

    def _waiting_tokens(self) -> tuple[int, ...]:
        return tuple(waiting.token for waiting in self._waiting if waiting.token is not None)

    def _close(
        self, reason: str, error: RemoteProtocolError | None = None, code: ConnectCode | None = None
    ) -> SessionClosed:
        # Without DISCONNECT: something is wrong, and then the will is the truth [MQTT-3.1.2-8].
        unsent = (*self._undrained, *self._waiting_tokens())
        self._drop_output()
        self._shut()
        return SessionClosed(reason=reason, error=error, code=code, unsent=unsent)

    def _shut(self) -> None:
        self._state = State.CLOSED
        self._timers.clear()
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._waiting.clear()
        self._waiting_bytes = 0


def _violation(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, code="mqtt_protocol_error")


# The packets that a broker may send us, by state; anything else is a violation [MQTT-4.8.0-1].
_TABLE: Final[Mapping[State, Mapping[type, Callable[[MqttSession, Any, float], SessionEvent | None]]]] = {
    State.CONNECTING: {Connack: MqttSession._connack},
    State.READY: {
        Publish: MqttSession._publish,
        Puback: MqttSession._puback,
        Suback: MqttSession._suback,
        Pingresp: MqttSession._pingresp,
    },
}
