"""Gatekeeper of the embedded MQTT broker: accounts that are signed in, subscriptions, and the routes of messages. Pure.

Only one account and the hub may use a topic. Messages between the two travel here, and what is retained is kept here;
the broker behind it carries messages between the connections of one account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from thalovant_proto.limits import KIB
from thalovant_proto.links.mqtt.packets import Connect, Publish, Will

from ..settings import Settings
from .accounts import Account
from .hub_end import HubEnd

#: Connections of one account at a time. For a hub two are one too many: the rest are those that broke unseen.
CONNECTIONS: Final = 16
#: Bytes of one account that are on their way to the hub or through the broker; with more, nothing is read from it.
ON_THE_WAY: Final = 256 * KIB
#: Bytes of a message that is retained, at most. Presence is a word; a larger message travels, and is not kept.
RETAINED: Final = 4 * KIB


class Subscriber(Protocol):
    """A client's connection, as far as messages for it are concerned."""

    subscribed: dict[str, int]  # topics, and the QoS of each

    def deliver(self, message: Publish | Will, qos: int) -> None:
        """Write a message for the client."""

    def expect(self, size: int) -> None:
        """Count bytes that the broker is to bring."""

    def resume(self) -> None:
        """Read on, unless something still holds the client back."""

    def close(self) -> None:
        """End the connection."""

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to read."""


class Backpressure:
    """The connections of one account, and the bytes that are on their way from them."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.connections: dict[Subscriber, str] = {}  # and the client id of each
        self.on_the_way: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent for now."""
        return self.on_the_way >= ON_THE_WAY

    def sent(self, size: int) -> None:
        """Count bytes that are on their way from now on."""
        self.on_the_way += size

    def arrived(self, size: int) -> None:
        """Count bytes that are not any more: they arrived, or never will."""
        was_full = self.full
        self.on_the_way -= size
        if was_full and not self.full:
            for connection in tuple(self.connections):
                connection.resume()


class Gatekeeper:
    """All connections of a broker, and the hub.

    `authenticate` returns the account of a CONNECT if it shows the right password. `publish_in_broker` passes a message
    to the sessions in the broker that subscribed to its topic, at QoS 0.
    """

    def __init__(
        self,
        authenticate: Callable[[Connect], Account | None],
        publish_in_broker: Callable[[str, bytes], None],
        *,
        settings: Settings,
    ) -> None:
        self.authenticate = authenticate
        self.settings = settings
        self._publish_in_broker = publish_in_broker
        self._hub: HubEnd | None = None
        self._accounts: dict[str, Backpressure] = {}  # by owner
        self._subscribers: dict[str, dict[Subscriber, int]] = {}  # by topic, with the QoS of each
        self._retained: dict[str, Publish | Will] = {}  # by topic

    # --- the hub

    def connect_hub(self, wake: Callable[[], None], on_drained: Callable[[], None]) -> HubEnd:
        """Make the broker's end of a new session of the hub, in the place of an earlier one; see `HubEnd`."""
        if self._hub is not None:
            self._hub.close()
        self._hub = HubEnd(self._publish_from_hub, wake, on_drained)
        return self._hub

    def unsent(self, owner: str) -> int:
        """The number of bytes that an account has to read: on the one of its connections that reads best."""
        account = self._accounts.get(owner)
        connections = account.connections if account is not None else ()
        return min((one.unsent for one in connections if one.subscribed), default=0)

    # --- connections

    def admit(self, connection: Subscriber, account: Account, client_id: str) -> Backpressure:
        """Let a connection in; one of the same account and client id has to go [MQTT-3.1.4-2]."""
        state = self._accounts.get(account.owner) or Backpressure(account)
        for other, its_id in tuple(state.connections.items()):
            if its_id == client_id != "":
                other.close()
        if len(state.connections) >= CONNECTIONS:
            next(iter(state.connections)).close()
        self._accounts[account.owner] = state
        state.connections[connection] = client_id
        return state

    def forget(self, connection: Subscriber, account: Backpressure | None) -> None:
        """Drop a connection that is gone. Harmless if repeated."""
        if account is None or account.connections.pop(connection, None) is None:
            return
        self.unsubscribe(connection, tuple(connection.subscribed))
        if not account.connections:
            del self._accounts[account.account.owner]

    def subscribe(self, connection: Subscriber, topic: str, qos: int) -> None:
        """Deliver what is published on a topic from now on."""
        connection.subscribed[topic] = qos
        self._subscribers.setdefault(topic, {})[connection] = qos

    def unsubscribe(self, connection: Subscriber, topics: Iterable[str]) -> None:
        """End subscriptions; unknown ones are fine."""
        for topic in topics:
            if connection.subscribed.pop(topic, None) is not None:
                del self._subscribers[topic][connection]
                if not self._subscribers[topic]:
                    del self._subscribers[topic]

    def publish(self, message: Publish | Will, sender: Backpressure) -> None:
        """Pass on a message of a client: to the hub, and to those of the account's connections that subscribed."""
        if message.retain:
            self._retain(message, sender.account)
        size = len(message.topic) + len(message.payload)
        if self._hub is not None and self._hub.subscribed:
            sender.sent(size)
            self._hub.deliver(message, sender.arrived)
        if subscribers := self._subscribers.get(message.topic):
            for connection in subscribers:
                connection.expect(size)
            self._publish_in_broker(message.topic, message.payload)

    def retained(self, topic: str) -> Publish | Will | None:
        """The message that a new subscriber to a topic gets. Clients subscribe to names only, so that one will do."""
        return self._retained.get(topic)

    def drained(self) -> None:
        """Report that a connection that had much to read has read."""
        if self._hub is not None:
            self._hub.on_drained()

    def _publish_from_hub(self, message: Publish) -> None:
        if message.retain:
            self._retain(message)
        for connection, qos in tuple(self._subscribers.get(message.topic, {}).items()):
            connection.deliver(message, min(qos, message.qos))

    def _retain(self, message: Publish | Will, sender: Account | None = None) -> None:
        """Keep a message for later subscribers, in place of the one before; an empty one only ends that.

        What a client sends to the hub alone is not kept: the hub ignores retained messages.
        """
        self._retained.pop(message.topic, None)
        kept = sender is None or message.topic in sender.subscribes
        if kept and 0 < len(message.payload) <= RETAINED:
            self._retained[message.topic] = message
