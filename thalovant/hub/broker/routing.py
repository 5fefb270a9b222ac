"""Routes of the embedded broker's messages, and the messages that it retains.

On every topic only one account and the hub may say or hear anything. Messages between the two travel here; those
between the connections of one account go through the broker behind the gatekeeper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from thalovant_proto.limits import KIB
from thalovant_proto.links.mqtt.packets import Publish, Will

from .accounts import Account
from .hub_end import HubEnd

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
        self.connections: dict[Subscriber, tuple[str, str]] = {}  # and the place of each
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


class Router:
    """The subscriptions of all connections, the hub's end, and the last retained message on each topic.

    `publish_in_broker` passes a message to the sessions in the broker that subscribed to its topic.
    """

    def __init__(self, publish_in_broker: Callable[[str, bytes], None]) -> None:
        self._publish_in_broker = publish_in_broker
        self._hub: HubEnd | None = None
        self._subscribers: dict[str, dict[Subscriber, int]] = {}  # by topic, with the QoS of each
        self._retained: dict[str, Publish | Will] = {}  # by topic

    def connect_hub(self, wake: Callable[[], None], on_drained: Callable[[], None]) -> HubEnd:
        """Make the broker's end of a new session of the hub, in the place of an earlier one; see `HubEnd`."""
        if self._hub is not None:
            self._hub.close()
        self._hub = HubEnd(self._publish_from_hub, wake, on_drained)
        return self._hub

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

        Nobody but the hub hears what a client sends it, and the hub has no use for yesterday's: that is not kept.
        """
        self._retained.pop(message.topic, None)
        kept = sender is None or sender.may_subscribe(message.topic)
        if kept and 0 < len(message.payload) <= RETAINED:
            self._retained[message.topic] = message
