"""The client's end of an MQTT link: a session with a broker, and the search for the hub behind it.

A hub on MQTT speaks only when spoken to, on topics that changed over time, and keeps one session per access key. So:
subscribe to every layout the hub may use, then wake it on each; the layout that answers is the hub's. Late
`offline` messages of a previous link may still arrive. The hub applies each to the session that it has now, so they can
end the new one too (real-hubs.md §8).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from ...carrier import Carrier, CloseKind, Frame, FrameType, Target
from ...errors import CredentialsRefused, LocalProtocolError, RemoteProtocolError
from ...limits import HANDSHAKE_FRAME
from ...secret import Secret
from ..base import Accepted, FrameReceived, LinkClosed, LinkEvent, LinkOpened
from ..endpoint import TRY_TLS
from .connect import kind_of, login, parse_broker
from .limits import CLOSE_TIME, DEFAULT_MQTT_LIMITS, MqttLimits
from .packets import SUBSCRIPTION_REFUSED
from .session import MessageReceived, MqttSession, Published, SessionClosed, SessionEvent, Subscribed
from .topics import DEFAULT_PREFIX, OFFLINE, ONLINE, TOPIC_HEAD, Layout, Topics, candidate_layouts

#: A hello that tells nothing: the hub answers with its own. Hubs that read bit frames only drop it unread and answer
#: too: any frame wakes them (seen with all three generations).
WAKE_UP: Final = b'{"msg_type": "hello", "payload": {}, "metadata": {}, "route": []}'

# A hub that was not there when it was woken is woken again so soon after it is back.
_WAKE_TIME: Final = 1.0
# Hubs take their own `offline` for ours and drop a session that is new by then (real-hubs.md §8). Their echo comes
# within 100 ms, delayed acknowledgements included.
_SETTLE_TIME: Final = 0.25
# The layout on which the hub answered last time is tried alone for so long.
_ALONE_TIME: Final = 3.0
# Without a frame of ours for so long the hub is asked whether it is there: real ones forget a client after 300 s, and
# the end of one shows nowhere, since the broker lives.
_IDLE_PROBE: Final = 100.0

# A hub that holds half a handshake for our access key, left by a link that died, answers no second wake-up. After so
# many it is told that we are offline, and woken again: the `/disconnect` before `/connect` of MQTT.
_WAKES_BEFORE_RESET: Final = 3


class _State(enum.Enum):
    IDLE = enum.auto()
    CONNECTING = enum.auto()  # to the broker
    WAKING = enum.auto()  # subscribing and calling, until the hub answers
    OPEN = enum.auto()
    CLOSING = enum.auto()  # the broker has not yet room for what is queued
    CLOSED = enum.auto()


# Words for the state in which a socket ended.
_WHEN: Final = {
    _State.CONNECTING: " before it answered CONNECT",
    _State.WAKING: " when it was asked for our topics",
}
_NEXT_STEP: Final = {
    _State.CONNECTING: "check that this is the broker's MQTT port",
    _State.WAKING: "check the identity's topics, and the broker's access list",
}


class MqttClientLink:
    """One session with a hub, over the broker at `url`. See `Link` for the contract.

    `client_id` must be another for each process, or brokers end the session of the one for the other; the same for
    each link of one client, so that its old session ends before the new one begins. Topics are those of
    `candidate_layouts`; `remembered_layout` is the `layout` of an earlier link. `qos` 0 or 1 is for frames, both ways;
    presence is always 1. `tls` asks for TLS whatever the URL says. `secure`: verified TLS, or the target is loopback.

    `LinkOpened` comes with the hub's answer; an access key that the hub does not know gets none, so the deadline is the
    owner's. `LinkClosed.code` is CONNACK's return code, or `SUBSCRIPTION_REFUSED` (128) if the broker refused every
    layout. Kinds: `REFUSED` by the broker (codes 1, 2, 4, 5, 128), or by the hub, which has only one word for it,
    `offline`; `FORGOTTEN` if that word came before we had said anything; `DISPLACED` if another program announced
    itself on our status topic; `LOST` for the rest, with an `error` where the broker broke MQTT.

    Raises `ValueError` for a URL, topics or names that cannot work; the message holds none of them.
    """

    def __init__(
        self,
        url: str,
        *,
        access_key: Secret[str],
        client_id: str,
        username: str | None = None,
        password: Secret[str] | None = None,
        topic_prefix: str = DEFAULT_PREFIX,
        topics: Topics | None = None,
        hub_id: str | None = None,
        hash_topics: bool = False,
        qos: int = 1,
        tls: bool = False,
        secure: bool,
        remembered_layout: str | None = None,
        limits: MqttLimits = DEFAULT_MQTT_LIMITS,
    ) -> None:
        if qos not in (0, 1):
            raise ValueError("MQTT qos must be 0 or 1.")
        self.target: Target = parse_broker(url, tls=tls)
        self._qos = qos
        self._secure = secure
        self._limits = limits
        layouts = candidate_layouts(
            access_key=access_key, topic_prefix=topic_prefix, topics=topics, hub_id=hub_id, hash_topics=hash_topics
        )
        remembered = [layout for layout in layouts if layout.name == remembered_layout]
        self._layouts = layouts
        self._first = remembered or list(layouts)
        self._untried = [layout for layout in layouts if layout not in self._first]
        status = self._first[0].topics.status
        self._session = MqttSession(
            login(client_id, username, password, keepalive=limits.keepalive, status=status),
            packet_limit=min(HANDSHAKE_FRAME, limits.frame) + TOPIC_HEAD,
            limits=limits,
        )
        self._state = _State.IDLE
        self._timers: dict[str, float] = {}
        self._subscribing: dict[int, Sequence[Layout]] = {}
        self._called: list[Layout] = []  # the broker lets us listen there
        self._calls = 0
        self._layout: Layout | None = None
        self._spoken = False  # a frame of ours is out
        self._announced = False
        self._echo_due = False  # of our announcement

    # --- what it is now -----------------------------------------------------------------------------------------------

    @property
    def layout(self) -> str | None:
        """The name of the layout on which the hub answered, to be remembered; None until it has."""
        return None if self._layout is None else self._layout.name

    @property
    def wants_socket(self) -> bool:
        """True from the start until the link has closed and its goodbye is drained."""
        return self._state is not _State.CLOSED or self._session.has_data

    @property
    def full(self) -> bool:
        """Whether enough waits for the broker's acknowledgements."""
        return not self._session.has_room

    @property
    def next_timeout(self) -> float | None:
        """The time at which the broker is due with an answer, or the hub is to be called again."""
        times = [*self._timers.values()]
        if (session := self._session.next_timeout) is not None:
            times.append(session)
        return min(times, default=None)

    # --- the driver ---------------------------------------------------------------------------------------------------

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """Send CONNECT. Once per link."""
        self._state = _State.CONNECTING
        self._session.open(now)
        return []

    def receive_data(self, data: bytes, now: float) -> Iterator[LinkEvent]:
        """Bytes from the socket, cut in any way. Raises nothing; what follows the end of the link is ignored."""
        return self._take(self._session.receive_data(data, now), now)

    def eof(self, now: float) -> list[LinkEvent]:
        """The socket ended."""
        closed = self._session.eof(now)
        when, hint = _WHEN.get(self._state, ""), _NEXT_STEP.get(self._state, "")
        if self._state is _State.CONNECTING and not self.target.tls:
            hint = TRY_TLS.format("mqtts")
        return [] if closed is None else [self._session_closed(closed, when, hint)]

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        """Time has passed. Harmless if early."""
        events = list(self._take(self._session.handle_timeout(now), now))
        for name in [name for name, at in self._timers.items() if at <= now]:
            del self._timers[name]
            match name:
                case "alone":
                    self._try_others(now)
                case "call" if self._calls % _WAKES_BEFORE_RESET == 0:
                    self._say_offline(self._called, now)
                    self._settle(now)
                case "call" | "settle":
                    self._call(self._called, now)
                case _:  # "close": the broker is too slow; leaving without DISCONNECT, the will says the rest
                    events.append(self._end(CloseKind.CLOSED, unsent=self._session.disconnect(now, will=True)))
        return events

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        return self._session.data_to_send()

    # --- the stack ----------------------------------------------------------------------------------------------------

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        """Publish a frame. Raises `LocalProtocolError` if it cannot be: link, size, or a layout that takes no text."""
        if self._state is not _State.OPEN or self._layout is None:
            raise LocalProtocolError(f"no frame can be sent while the MQTT link is {self._state.name}")
        if len(frame.data) > self._limits.frame:
            raise LocalProtocolError(f"a frame is longer than {self._limits.frame} bytes")
        if frame.type is FrameType.TEXT and not self._layout.text_up:
            raise LocalProtocolError("this hub reads bit frames only")
        self._session.publish(self._layout.topics.up, frame.data, now, qos=self._qos, token=token)
        self._spoken = True

    def announce(self, now: float) -> None:
        """Publish `online`, once, for the hub and for whoever watches: call it when the keys are proven.

        Before that it could meet the hub's echo of an earlier end. Left out if more waits for the broker than may.
        Raises `LocalProtocolError` unless the link is open.
        """
        if self._state is not _State.OPEN or self._layout is None:
            raise LocalProtocolError(f"nothing to announce while the MQTT link is {self._state.name}")
        if self._layout.topics.status is not None and not self._announced:
            self._announced = True
            with suppress(LocalProtocolError):
                self._session.publish(self._layout.topics.status, ONLINE, now, retain=True)
                self._echo_due = True

    def pace(self, eager: bool, now: float) -> None:
        """Nothing is polled here."""

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        """Say `offline`, then DISCONNECT. At once, if the broker has room for what is queued; MQTT takes no reason."""
        if self._state in (_State.CLOSED, _State.CLOSING):
            return []
        if self._session.has_room:
            return [self._leave(now)]
        self._state = _State.CLOSING
        self._timers = {"close": now + CLOSE_TIME}
        return []

    # --- below --------------------------------------------------------------------------------------------------------

    def _take(self, events: Iterable[SessionEvent], now: float) -> Iterator[LinkEvent]:
        for event in events:
            match event:
                case Published(token=token):
                    if token is not None:
                        yield Accepted(token=token)
                case MessageReceived():
                    yield from self._message(event, now)
                case Subscribed():
                    yield from self._subscribed(event, now)
                case SessionClosed():
                    yield self._session_closed(event)
                case _:  # Connected
                    self._connected(now)
            if self._state is _State.CLOSING and self._session.has_room:
                yield self._leave(now)
            if self._state is _State.CLOSED:
                break

    def _connected(self, now: float) -> None:
        self._state = _State.WAKING
        if self._untried:
            self._timers["alone"] = now + _ALONE_TIME
        self._subscribe(self._first, now)

    def _try_others(self, now: float) -> None:
        self._timers.pop("alone", None)
        untried, self._untried = self._untried, []
        self._subscribe(untried, now)

    def _subscribe(self, layouts: Sequence[Layout], now: float) -> None:
        """To the ways down first, then to presence: `_subscribed` reads the answer in that order."""
        down = [(layout.topics.down, self._qos) for layout in layouts]
        status = [(layout.topics.status, 1) for layout in layouts if layout.topics.status is not None]
        self._subscribing[self._session.subscribe([*down, *status], now)] = layouts

    def _subscribed(self, event: Subscribed, now: float) -> list[LinkEvent]:
        layouts = self._subscribing.pop(event.packet_id)
        granted = [
            layout
            for layout, code in zip(layouts, event.granted, strict=False)  # presence may be refused
            if code != SUBSCRIPTION_REFUSED
        ]
        if self._state is not _State.WAKING:
            return []  # the hub answered meanwhile on another layout
        if granted:
            self._called += granted
            if "settle" not in self._timers:
                self._call(granted, now)
        elif self._untried:
            self._try_others(now)
        elif not self._called:
            self._session.disconnect(now)
            reason = "the broker refuses this client every topic on which a hub may answer"
            error = CredentialsRefused(reason, code="mqtt_topics_refused", hint="check the identity's topic_prefix")
            return [self._end(CloseKind.REFUSED, code=SUBSCRIPTION_REFUSED, reason=reason, error=error)]
        return []

    def _call(self, layouts: Iterable[Layout], now: float) -> None:
        self._calls += 1
        self._timers["call"] = now + _WAKE_TIME
        self._say([(layout.topics.up, WAKE_UP) for layout in layouts], now, qos=self._qos)

    def _settle(self, now: float) -> None:
        """Hear nothing until the `offline` messages have stopped, then call anew."""
        self._timers.pop("call", None)
        self._timers["settle"] = now + _SETTLE_TIME

    def _message(self, message: MessageReceived, now: float) -> list[LinkEvent]:
        if message.retain or self._state is _State.CLOSING:
            return []  # retained: from another time
        if self._layout is not None:
            if message.topic == self._layout.topics.down:
                return [_frame(message)]
            heard = message.topic == self._layout.topics.status
            return self._presence(message.payload, now) if heard else []
        if any(message.topic == layout.topics.status for layout in self._layouts):
            return self._presence(message.payload, now)
        for layout in self._called:
            if message.topic == layout.topics.down and "settle" not in self._timers and _is_hello(message.payload):
                return [self._open(layout), _frame(message)]
        return []

    def _open(self, layout: Layout) -> LinkOpened:
        self._state = _State.OPEN
        self._layout = layout
        self._timers.clear()
        self._session.packet_limit = self._limits.frame + TOPIC_HEAD
        return LinkOpened(
            carrier=Carrier(
                text_up=layout.text_up,
                typed=False,
                rehello=True,
                secure=self._secure,
                receipts=self._qos == 1,
                idle=_IDLE_PROBE,
            )
        )

    def _presence(self, said: bytes, now: float) -> list[LinkEvent]:
        if said == ONLINE:
            if self._echo_due:
                self._echo_due = False
                return []
            # No `offline` from us: the session at the hub is the other program's now.
            unsent = self._session.disconnect(now, drop=True)
            reason = "another program is online with this access key"
            return [self._end(CloseKind.DISPLACED, reason=reason, unsent=unsent)]
        if said != OFFLINE:
            return []
        if self._layout is None:
            self._settle(now)
            return []
        # What is queued is for a session that is over: a hub of v0 would do it for whoever sends it.
        unsent = self._session.disconnect(now, drop=True)
        reason = "the hub ended the session: it is 'offline' on our status topic"
        return [self._end(CloseKind.REFUSED if self._spoken else CloseKind.FORGOTTEN, reason=reason, unsent=unsent)]

    def _say_offline(self, layouts: Iterable[Layout], now: float) -> None:
        topics = (layout.topics.status for layout in layouts)
        self._say([(topic, OFFLINE) for topic in topics if topic is not None], now, retain=True)

    def _say(self, messages: Iterable[tuple[str, bytes]], now: float, *, qos: int = 1, retain: bool = False) -> None:
        """As many as there is room for, at once: what waits for the broker wakes nobody, and must not pile up."""
        if self._session.has_room:
            with suppress(LocalProtocolError):  # there is no room for all of them
                for topic, payload in messages:
                    self._session.publish(topic, payload, now, qos=qos, retain=retain)

    def _leave(self, now: float) -> LinkClosed:
        if self._state not in (_State.IDLE, _State.CONNECTING):
            self._say_offline(self._called if self._layout is None else [self._layout], now)
        return self._end(CloseKind.CLOSED, unsent=self._session.disconnect(now))

    def _session_closed(self, closed: SessionClosed, when: str = "", hint: str = "") -> LinkClosed:
        kind = CloseKind.CLOSED if self._state is _State.CLOSING else kind_of(closed.code)
        hint = hint if closed.code is None else "look into the broker's log, or try again later"
        reason, unsent = closed.reason + when, closed.unsent
        return self._end(kind, code=closed.code, reason=reason, error=closed.error, hint=hint, unsent=unsent)

    def _end(
        self,
        kind: CloseKind,
        *,
        code: int | None = None,
        reason: str = "",
        error: RemoteProtocolError | None = None,
        hint: str = "",
        unsent: tuple[int, ...] = (),
    ) -> LinkClosed:
        self._state = _State.CLOSED
        self._timers.clear()
        return LinkClosed(kind=kind, code=code, reason=reason, error=error, hint=hint, unsent=unsent)


def _frame(message: MessageReceived) -> FrameReceived:
    return FrameReceived(frame=Frame(message.payload, FrameType.UNTYPED))


def _is_hello(payload: bytes) -> bool:
    """Whether this may be a hub's clear hello: what the hub still says to our last session must not open this one."""
    return payload.lstrip()[:1] == b"{" and b'"hello"' in payload
