"""The hub's end of MQTT: one session with any broker, and one link for each client behind it.

The gateway is what a driver drives; it says which link has what. To `HubPeer` such a link is like any other, only that
its "bytes from the socket" are one message each, and that its own bytes leave through the gateway.

The broker's access list is what says who a client is: it must let nobody but the client write to its topics.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import field, frozen

from ...carrier import Carrier, CloseKind, Credentials, Frame, FrameType, Target
from ...errors import CredentialsRefused, LocalProtocolError, RemoteProtocolError
from ...secret import Secret
from ..base import FrameReceived, LinkClosed, LinkEvent, LinkOpened
from .connect import kind_of, login, parse_broker
from .limits import CLOSE_TIME, DEFAULT_MQTT_LIMITS, MqttLimits
from .packets import SUBSCRIPTION_REFUSED
from .session import Connected, MessageReceived, MqttSession, SessionClosed, SessionEvent, State, Subscribed
from .topics import DEFAULT_PREFIX, OFFLINE, ONLINE, TOPIC_HEAD, HubLayout, client_of, hub_layouts, topic_of

# A client without a frame for so long is forgotten, as by real hubs.
_IDLE_TIME: Final = 300.0


@frozen(kw_only=True)
class GatewayEvent:
    """Base of what a gateway reports."""


@frozen(kw_only=True)
class GatewayReady(GatewayEvent):
    """The broker granted every subscription: clients can be heard."""


@frozen(kw_only=True)
class PeerArrived(GatewayEvent):
    """A client that has no link sent something: make a `HubPeer` of this one. Its access key may be unknown."""

    link: MqttPeerLink


@frozen(kw_only=True)
class PeerInput(GatewayEvent):
    """One message for a link: give it to `receive_data` of its `HubPeer`."""

    link: MqttPeerLink
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class PeerEnded(GatewayEvent):
    """A link has ended from without: call `eof` of its `HubPeer`."""

    link: MqttPeerLink


@frozen(kw_only=True)
class RivalSeen(GatewayEvent):
    """Another hub said under our name that it is there. Of clients that both know, neither can serve one."""


@frozen(kw_only=True)
class EchoMissed(GatewayEvent):
    """Our own presence did not come back from the broker, which drops what its access list does not allow."""


@frozen(kw_only=True)
class GatewayClosed(GatewayEvent):
    """The last event, after the `PeerEnded` of every link. `code` as in `MqttClientLink`; make a new gateway."""

    kind: CloseKind
    code: int | None = None
    reason: str = ""
    error: RemoteProtocolError | None = None


class _State(enum.Enum):
    IDLE = enum.auto()
    CONNECTING = enum.auto()
    READY = enum.auto()
    CLOSING = enum.auto()  # the broker has not yet room for what is queued
    CLOSED = enum.auto()


class MqttPeerLink:
    """A link to one client, behind a gateway. See `Link` for the contract.

    `receive_data` takes one message, whole; the bytes to send leave through the gateway, so there are none here. Frames
    to a client whose link has ended, but was not told so yet, are dropped like those to a broken socket.
    """

    def __init__(self, gateway: MqttHubGateway, layout: HubLayout, client: str) -> None:
        self._gateway = gateway
        self._layout = layout
        self._client = client
        self._opened = False
        self._spoken = False
        self._closed = False
        self._end: LinkClosed | None = None
        self._heard_at = 0.0
        self.on_taken: Callable[[], None] | None = None  # never called: the gateway's owner sees what waits

    @property
    def unsent(self) -> int:
        """Bytes that wait for the broker, whomever they are for: all clients share the way to it."""
        return self._gateway.unsent

    @property
    def wants_socket(self) -> bool:
        """True until the link has closed."""
        return not self._closed

    @property
    def next_timeout(self) -> float | None:
        """None: the gateway keeps the time."""
        return None

    def socket_opened(self, now: float) -> list[LinkEvent]:
        """Nothing to do: the link opens with its first message."""
        return []

    def receive_data(self, data: bytes, now: float) -> list[LinkEvent]:
        """One message from the client."""
        if self._closed:
            return []
        events: list[LinkEvent] = [FrameReceived(frame=Frame(data, FrameType.UNTYPED))]
        if not self._opened:
            self._opened = True
            carrier = Carrier(text_up=self._layout.text_up, typed=False, rehello=True, secure=self._gateway.secure)
            events.insert(0, LinkOpened(carrier=carrier, credentials=Credentials(access_key=Secret(self._client))))
        return events

    def eof(self, now: float) -> list[LinkEvent]:
        """The link has ended, as `PeerEnded` says."""
        if self._closed:
            return []
        self._closed = True
        self._gateway._forget(self)
        return [self._end or LinkClosed(kind=CloseKind.LOST, reason="the link was given up")]

    def handle_timeout(self, now: float) -> list[LinkEvent]:
        """Nothing is due here."""
        return []

    def send(self, frame: Frame, now: float, *, token: int | None = None) -> None:
        """Publish a frame, at QoS 1 whatever it is: a Noise session survives no loss. There are no receipts.

        Raises `LocalProtocolError` if the link is not open or the frame is over the limit.
        """
        if self._closed or not self._opened:
            raise LocalProtocolError("no frame can be sent: the client's MQTT link is not open")
        if len(frame.data) > self._gateway.limits.frame:
            raise LocalProtocolError(f"a frame is longer than {self._gateway.limits.frame} bytes")
        if self._end is None:
            self._spoken = True
            self._gateway._send(self, frame.data, now)

    def data_to_send(self) -> bytes:
        """Nothing: the gateway has it."""
        return b""

    def pace(self, eager: bool, now: float) -> None:
        """Nothing is polled here."""

    def close(self, now: float, *, code: int = 1000, reason: str = "") -> list[LinkEvent]:
        """End the session with the client: `offline` on its status topic, which is all that MQTT has for it.

        A client that was never answered hears nothing either: its access key may be unknown.
        """
        if self._closed:
            return []
        self._closed = True
        self._gateway._forget(self)
        if self._end is None and self._spoken:
            self._gateway._say_offline(self._layout, self._client, now)
        return [LinkClosed(kind=CloseKind.CLOSED, code=code, reason=reason)]


class MqttHubGateway:
    """A hub's session with the broker at `url`, and the links of its clients.

    Clients write to `<topic_prefix>/<access key>/in`, and to `<legacy_prefix>/c2s/<access key>` if that is given.
    `hub_name` stands in the hub's own status topic. `secure`: verified TLS, or the broker is on loopback.

    Drive it like a link, with `events` in place of link events. Each event of `receive_data` is made when it is asked
    for: do what it says before asking for the next.

    Bounded: as many links as `limits.peers`, new clients beyond that get no answer; a message over `limits.frame` ends
    its sender's link, not the gateway; a link for whose frame the broker has no room ends, since frames may not be
    lost; a client without a frame for five minutes is told `offline` and forgotten.

    Raises `ValueError` for a URL, prefix or name that cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        username: str | None = None,
        password: Secret[str] | None = None,
        topic_prefix: str = DEFAULT_PREFIX,
        legacy_prefix: str | None = None,
        hub_name: str = "master",
        tls: bool = False,
        secure: bool,
        limits: MqttLimits = DEFAULT_MQTT_LIMITS,
    ) -> None:
        self.target: Target = parse_broker(url, tls=tls)
        self.secure = secure
        self.limits = limits
        self._layouts = hub_layouts(topic_prefix, hub_name, legacy_prefix)
        self._session = MqttSession(
            login(client_id, username, password, keepalive=limits.keepalive, status=self._layouts[0].hub_status),
            packet_limit=limits.frame + TOPIC_HEAD,
            limits=limits,
            cut_oversize=True,
        )
        self._state = _State.IDLE
        self._leave_by: float | None = None
        self._peers: OrderedDict[str, MqttPeerLink] = OrderedDict()  # by the topic they write to, longest silent first
        self._echoes: dict[str, int] = {}  # status topic: our own `offline` messages that are still to come back
        self._greetings: set[str] = set()  # our own status topics whose `online` is still to come back
        self._greetings_by: float | None = None
        self._ended: list[GatewayEvent] = []  # to be reported
        self._now = 0.0
        #: Messages of new clients that got no answer since there were too many clients.
        self.turned_away: int = 0

    # --- what it is now -----------------------------------------------------------------------------------------------

    @property
    def peers(self) -> int:
        """The number of clients that have a link."""
        return len(self._peers)

    @property
    def buffered(self) -> int:
        """Bytes received that wait for the rest of their packet."""
        return self._session.buffered

    @property
    def unsent(self) -> int:
        """Bytes for clients that wait until the broker has acknowledged others."""
        return self._session.waiting

    @property
    def wants_socket(self) -> bool:
        """True from the start until the gateway has closed and its goodbye is drained."""
        return self._state is not _State.CLOSED or self._session.has_data

    @property
    def next_timeout(self) -> float | None:
        """The time at which the broker owes an answer, a client was silent too long, or a link has to be ended."""
        if self._ended:
            return self._now
        times = [self._leave_by, self._greetings_by, self._session.next_timeout]
        if self._peers:
            times.append(next(iter(self._peers.values()))._heard_at + _IDLE_TIME)
        return min((time for time in times if time is not None), default=None)

    # --- the driver ---------------------------------------------------------------------------------------------------

    def socket_opened(self, now: float) -> list[GatewayEvent]:
        """Send CONNECT. Once per gateway."""
        self._state = _State.CONNECTING
        self._session.open(now)
        return []

    def receive_data(self, data: bytes, now: float) -> Iterator[GatewayEvent]:
        """Bytes from the socket, cut in any way. Raises nothing."""
        return self._take(self._session.receive_data(data, now), now)

    def eof(self, now: float) -> list[GatewayEvent]:
        """The socket ended."""
        closed = self._session.eof(now)
        return [] if closed is None else list(self._take([closed], now))

    def handle_timeout(self, now: float) -> list[GatewayEvent]:
        """Time has passed. Harmless if early."""
        events = [*self._flush(), *self._take(self._session.handle_timeout(now), now)]
        while self._peers:
            oldest = next(iter(self._peers.values()))
            if oldest._heard_at + _IDLE_TIME > now:
                break
            self._say_offline(oldest._layout, oldest._client, now)
            self._end_peer(oldest, f"no frame within {_IDLE_TIME:g} s", now)
        if self._greetings_by is not None and self._greetings_by <= now:
            self._greetings_by = None
            events += [EchoMissed()] if self._greetings else []
        if self._leave_by is not None and self._leave_by <= now:
            events += self._leave(now, will=True)
        return [*events, *self._flush()]

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now, the frames of all links included."""
        return self._session.data_to_send()

    def close(self, now: float) -> list[GatewayEvent]:
        """Say that the hub is `offline`, then DISCONNECT; at once, if the broker has room for what is queued.

        Close the `HubPeer`s first: links that are left end without a word to their clients.
        """
        if self._state in (_State.CLOSED, _State.CLOSING):
            return []
        if self._session.has_room:
            return self._leave(now)
        self._state = _State.CLOSING
        self._leave_by = now + CLOSE_TIME
        return []

    def dismiss(self, access_key: Secret[str], now: float) -> None:
        """Tell a client that there is no session with it: it may believe in one that ended with an earlier gateway.

        Where brokers outlive hubs, one that only listens would go on to do so. Call it when the gateway is ready.
        """
        for layout in self._layouts:
            self._say_offline(layout, access_key.reveal(), now)

    # --- for the links ------------------------------------------------------------------------------------------------

    def _send(self, link: MqttPeerLink, data: bytes, now: float) -> None:
        try:
            self._session.publish(topic_of(link._layout.down, link._client), data, now)
        except LocalProtocolError as fault:
            self._end_peer(link, f"a frame could not be published: {fault}", now)

    def _say_offline(self, layout: HubLayout, client: str, now: float) -> None:
        """Best effort: a client that misses it finds out when it speaks."""
        topic = topic_of(layout.status, client)
        try:
            self._session.publish(topic, OFFLINE, now, retain=True)
        except LocalProtocolError:
            return
        self._echoes[topic] = self._echoes.get(topic, 0) + 1

    def _forget(self, link: MqttPeerLink) -> None:
        topic = topic_of(link._layout.up, link._client)
        if self._peers.get(topic) is link:
            del self._peers[topic]

    # --- below --------------------------------------------------------------------------------------------------------

    def _take(self, events: Iterable[SessionEvent], now: float) -> Iterator[GatewayEvent]:
        for event in events:
            match event:
                case MessageReceived(retain=False) if self._state is not _State.CLOSING:  # retained: from another time
                    yield from self._message(event, now)
                case Connected():
                    filters = [(name, 1) for layout in self._layouts for name in (layout.up, layout.status)]
                    self._session.subscribe(filters, now)
                case Subscribed():
                    yield from self._subscribed(event, now)
                case SessionClosed():
                    yield from self._close(kind_of(event.code), event.reason, event.code, event.error)
            yield from self._flush()
            if self._state is _State.CLOSING and self._session.has_room:
                yield from self._leave(now)
            if self._state is _State.CLOSED:
                break

    def _subscribed(self, event: Subscribed, now: float) -> Iterable[GatewayEvent]:
        if SUBSCRIPTION_REFUSED in event.granted:
            self._session.disconnect(now)
            reason = "the broker refuses the hub its topics"
            error = CredentialsRefused(reason, code="mqtt_topics_refused", hint="check the broker's access list")
            return self._close(CloseKind.REFUSED, reason, SUBSCRIPTION_REFUSED, error)
        self._state = _State.READY
        for layout in self._layouts:
            self._session.publish(layout.hub_status, ONLINE, now, retain=True)
            self._greetings.add(layout.hub_status)
        self._greetings_by = now + self.limits.answer_time
        return [GatewayReady()]

    def _message(self, message: MessageReceived, now: float) -> Iterator[GatewayEvent]:
        for layout in self._layouts:
            if (client := client_of(layout.up, message.topic)) is not None:
                yield from self._frame(layout, client, message, now)
            elif message.topic == layout.hub_status:
                if message.payload == ONLINE and message.topic not in self._greetings:
                    yield RivalSeen()
                self._greetings.discard(message.topic)
            elif (client := client_of(layout.status, message.topic)) is not None:
                self._presence(topic_of(layout.up, client), message, now)

    def _frame(self, layout: HubLayout, client: str, message: MessageReceived, now: float) -> Iterator[GatewayEvent]:
        link = self._peers.get(message.topic)
        if message.missing:
            if link is not None:
                self._say_offline(layout, client, now)
                self._end_peer(link, f"a frame longer than {self.limits.frame} bytes", now)
            return
        if link is None:
            if len(self._peers) >= self.limits.peers:
                self.turned_away += 1
                return
            link = self._peers[message.topic] = MqttPeerLink(self, layout, client)
            link._heard_at = now
            yield PeerArrived(link=link)
        if self._peers.get(message.topic) is link:  # it was not turned away
            link._heard_at = now
            self._peers.move_to_end(message.topic)
            yield PeerInput(link=link, data=message.payload)

    def _presence(self, up: str, message: MessageReceived, now: float) -> None:
        if message.payload != OFFLINE:
            return
        if (due := self._echoes.pop(message.topic, 0)) > 0:
            # Real hubs take this for the client's word, and drop a session that is new by then.
            if due > 1:
                self._echoes[message.topic] = due - 1
        elif (link := self._peers.get(up)) is not None:
            self._end_peer(link, "the client is 'offline'", now)

    def _end_peer(self, link: MqttPeerLink, reason: str, now: float) -> None:
        self._forget(link)
        self._now = now
        link._end = LinkClosed(kind=CloseKind.LOST, reason=reason)
        self._ended.append(PeerEnded(link=link))

    def _flush(self) -> list[GatewayEvent]:
        ended, self._ended = self._ended, []
        return ended

    def _leave(self, now: float, *, will: bool = False) -> list[GatewayEvent]:
        if self._session.state is State.READY and not will:
            for layout in self._layouts:
                self._session.publish(layout.hub_status, OFFLINE, now, retain=True)
        self._session.disconnect(now, will=will)
        return self._close(CloseKind.CLOSED, "the gateway was closed")

    def _close(
        self, kind: CloseKind, reason: str, code: int | None = None, error: RemoteProtocolError | None = None
    ) -> list[GatewayEvent]:
        self._state = _State.CLOSED
        self._leave_by = self._greetings_by = None
        for link in list(self._peers.values()):
            self._end_peer(link, reason, self._now)
        return [*self._flush(), GatewayClosed(kind=kind, code=code, reason=reason, error=error)]
