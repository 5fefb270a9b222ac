"""Transports as objects: what a client takes as `transport=`, and the hub's own three.

A client makes its own transport; these are for programs that hand one in, most of all in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias

from . import logs
from .client import ThalovantClient
from .errors import ThalovantConnectionError

if TYPE_CHECKING:
    from thalovant_proto.events import Bus, Message

    from ._client.session import ClientSession
    from .identity import ThalovantIdentity
    from .models import ThalovantConnectionInfo, ThalovantHealth
    from .protocols import HubProtocol

MessageHandler: TypeAlias = Callable[[Any], Any]


class TransportMessage(NamedTuple):
    """One bus message, as a transport hands it to its handlers."""

    msg_type: str | None
    data: dict[str, Any]
    context: dict[str, Any]


class Transport(Protocol):
    """What a client needs of a `transport=`; each method may be a coroutine function instead.

    Handlers are called with an object that has `data`, `context` and `msg_type`, from any thread, also before
    `emit_event` returns. `last_error`, `healthcheck()`, `connection_info()` and `session_token`, which differs from
    connection to connection, are used where they are there. `query` and the mesh need `send_hive_message(frame, *,
    encrypt=True)`, `on_hive_message(kind, handler)` and `remove_hive_message(kind, handler)`; what goes to the mesh
    goes through `send_hive_frame(kind, event_type, data, context)` where there is one. Raw bytes need
    `send_binary(payload, kind, metadata)`, `on_binary(handler)` and `remove_binary(handler)`.
    """

    @property
    def is_connected(self) -> bool:
        """Whether messages can travel. What waits for an answer ends when it is false."""

    def connect(self) -> Any:
        """Connect, or raise."""

    def disconnect(self) -> Any:
        """Disconnect; harmless where there is no connection."""

    def on_mycroft(self, event_name: str, handler: MessageHandler) -> Any:
        """Call `handler` for every message of that type."""

    def remove_mycroft(self, event_name: str, handler: MessageHandler) -> Any:
        """Do so no more."""

    def emit_event(self, event_type: str, data: dict[str, Any], context: dict[str, Any]) -> Any:
        """Send a message; what raises was not sent, and is tried once more after `disconnect` and `connect`."""


class _HubTransport:
    """A transport of a hub. `options` are those of `ThalovantClient`; what is lost stays lost until `connect`."""

    _protocol: ClassVar[HubProtocol]

    def __init__(self, identity: ThalovantIdentity, **options: Any) -> None:
        self.identity: ThalovantIdentity = identity
        self._options = {"auto_reconnect": False, "reconnect_attempts": 0, **options}
        self._made: ThalovantClient | None = None
        self._ends: dict[tuple[str, MessageHandler], Callable[[], None]] = {}

    @property
    def _client(self) -> ThalovantClient:
        if self._made is None:
            _check(self.identity, self._protocol)
            self._made = ThalovantClient(self.identity, protocol=self._protocol, **self._options)
        return self._made

    @property
    def is_connected(self) -> bool:
        """Whether messages can travel."""
        return self._made is not None and self._made.connected

    @property
    def last_error(self) -> str | None:
        """Why there is no connection, None if nothing is wrong."""
        error = None if self._made is None else self._made._original._session.last_error
        return None if error is None else str(error)

    def connect(self, timeout: float | None = None) -> None:
        """Connect, within `timeout` seconds. Raises a `ThalovantConnectionError` that names the reason."""
        self._client.connect(timeout)

    def disconnect(self) -> None:
        """Say goodbye. Idempotent; it can be connected again."""
        if self._made is not None:
            self._made.close()

    def healthcheck(self) -> ThalovantHealth:
        """Whether the connection works; connects first."""
        return self._client.healthcheck()

    def connection_info(self) -> ThalovantConnectionInfo:
        """The history of the present connection, or the reason why there is none."""
        return self._client.connection_info()

    def emit_event(
        self, event_type: str, data: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Put a message of any type on the hub's bus."""
        self._client.emit(event_type, data, context)

    def on_mycroft(self, event_name: str, handler: MessageHandler) -> None:
        """Call `handler(message)` for every message of that type; see `TransportMessage`."""

        def deliver(bus: Bus) -> None:
            self._hand(handler, TransportMessage(bus.type, bus.data, bus.context))

        self._begin((event_name, handler), lambda session: session.subscribe(event_name, deliver))

    def remove_mycroft(self, event_name: str, handler: MessageHandler) -> None:
        """Do so no more."""
        self._ends.pop((event_name, handler), lambda: None)()

    def on_hive_message(self, msg_type: str, handler: MessageHandler) -> None:
        """Call `handler(frame)` for every HiveMind message of that kind: `msg_type`, `payload`, `metadata`."""
        from thalovant_proto import events as wire

        def deliver(frame: Message) -> None:
            self._hand(handler, frame)

        frames: type[Message] = getattr(wire, msg_type.capitalize())
        self._begin((f"hive {msg_type}", handler), lambda session: session.frames.add(frames, deliver))

    def remove_hive_message(self, msg_type: str, handler: MessageHandler) -> None:
        """Do so no more."""
        self.remove_mycroft(f"hive {msg_type}", handler)

    def on_binary(self, handler: MessageHandler) -> None:
        """Call `handler(frame)` for raw bytes of the hub."""
        self.on_hive_message("binary", handler)

    def remove_binary(self, handler: MessageHandler) -> None:
        """Do so no more."""
        self.remove_hive_message("binary", handler)

    def send_hive_message(self, message: Any, *, encrypt: bool = True) -> None:
        """Send a HiveMind message: an envelope, or an object with `msg_type`, `payload` and `metadata`.

        It is sealed whatever `encrypt` says.
        """
        from thalovant_proto.codec.envelope import message_from

        from ._client.transporting import envelope_from

        self._send(message_from(envelope_from(message)))

    def send_hive_frame(
        self,
        kind: str,
        event_type: str,
        data: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Send an event to the mesh: `kind` is "propagate", "escalate" or "broadcast"."""
        calls = {name: getattr(self._client, name) for name in ("propagate", "escalate", "broadcast")}
        if kind not in calls:
            raise ValueError(f"send_hive_frame() takes one of {', '.join(calls)}, not {kind!r}")
        calls[kind](event_type, data, context)

    def send_binary(self, payload: bytes, kind: str | int, metadata: Mapping[str, Any] | None = None) -> None:
        """Send raw bytes, as `ThalovantClient.send_binary` does."""
        self._client.send_binary(payload, kind, metadata=metadata)

    def _send(self, frame: Any) -> None:
        original = self._client._original
        self._client._here().call(lambda: original._session.send(frame, original._send_timeout))

    def _begin(self, key: tuple[str, MessageHandler], begin: Callable[[ClientSession], Callable[[], None]]) -> None:
        client = self._client
        end = client._here().run(lambda: begin(client._original._session))
        self._ends[key] = lambda: client._visit(end)

    def _hand(self, handler: MessageHandler, item: Any) -> None:
        """One thread calls all handlers, so that they hear everything in the order in which the hub said it."""

        def handle() -> None:
            try:
                handler(item)
            except Exception:
                logs.handlers.exception("A handler of a transport raised")

        self._client._handlers.submit(handle)


class HiveMindWSSTransport(_HubTransport):
    """The hub over WSS.

    Example:
        >>> client = ThalovantClient(identity, transport=HiveMindWSSTransport(identity))
    """

    _protocol = "wss"


class HiveMindHTTPTransport(_HubTransport):
    """The hub over HTTPS.

    Example:
        >>> client = ThalovantClient(identity, transport=HiveMindHTTPTransport(identity))
    """

    _protocol = "https"


class HiveMindMQTTTransport(_HubTransport):
    """The hub over MQTT.

    Example:
        >>> client = ThalovantClient(identity, transport=HiveMindMQTTTransport(identity))
    """

    _protocol = "mqtt"


class MqttTopicSet(NamedTuple):
    """The MQTT topics of one client: to the hub, from the hub, and for its presence ("" if it has none).

    Example:
        >>> mqtt_topics_for_identity(identity)
        MqttTopicSet(inbound='h/in', outbound='h/out', status='h/status')
    """

    inbound: str
    outbound: str
    status: str

    @property
    def c2s(self) -> str:
        """`inbound`, as the first releases called it."""
        return self.inbound

    @property
    def s2c(self) -> str:
        """`outbound`, as the first releases called it."""
        return self.outbound


def mqtt_topics_for_identity(identity: ThalovantIdentity) -> MqttTopicSet:
    """The topics that an identity names, or that follow from its `topic_prefix`.

    Raises `ThalovantConnectionError` for an identity without MQTT credentials, or with a prefix that is no topic.

    Example:
        >>> mqtt_topics_for_identity(identity).inbound
        'hivemind/hub/client/in'
    """
    from thalovant_proto.links.mqtt.topics import candidate_layouts
    from thalovant_proto.secret import Secret

    from ._client.settings import explicit_topics

    if (broker := identity.mqtt) is None:
        raise ThalovantConnectionError(_NO_BROKER)
    try:
        layouts = candidate_layouts(
            access_key=Secret(identity.access_key),
            topic_prefix=broker.topic_prefix or "",
            topics=explicit_topics(broker),
            hash_topics=broker.hash_topics,
        )
    except ValueError as error:
        raise ThalovantConnectionError(str(error)) from None
    topics = layouts[-1 if broker.hash_topics else 0].topics
    return MqttTopicSet(topics.up, topics.down, topics.status or "")


_NO_BROKER = "The identity does not include MQTT broker credentials."


def _check(identity: ThalovantIdentity, protocol: HubProtocol) -> None:
    endpoint = identity.endpoint_for(protocol)
    if protocol == "mqtt" and identity.mqtt is None:
        raise ThalovantConnectionError(_NO_BROKER)
    if protocol == "wss" and endpoint is None:
        raise ThalovantConnectionError("The identity does not include a WSS endpoint.")
    if protocol == "wss" and not str(endpoint).lower().startswith(("ws://", "wss://")):
        raise ThalovantConnectionError("WSS endpoint must start with ws:// or wss://.")
