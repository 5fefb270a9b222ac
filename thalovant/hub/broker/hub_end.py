"""Broker's end of the hub's own session, in memory: the bytes of an `MqttHubGateway` in and out."""

from __future__ import annotations

from collections.abc import Callable

from thalovant_proto.links.mqtt import packets
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING, topic_matches
from thalovant_proto.links.mqtt.framing import Framer


class HubEnd:
    """One session of the hub. The hub is trusted: nothing that it sends is checked.

    `publish` takes its messages; `wake` is called when there is something for it, `on_drained` when a client that was
    slow to read has read.
    """

    def __init__(
        self, publish: Callable[[packets.Publish], None], wake: Callable[[], None], on_drained: Callable[[], None]
    ) -> None:
        self.on_drained = on_drained
        self._publish = publish
        self._wake = wake
        self._framer = Framer(MAX_REMAINING)
        self._filters: tuple[str, ...] = ()
        self._out = bytearray()
        self._arrivals: list[tuple[Callable[[int], None], int]] = []  # of the messages in `_out`: a call with each size

    @property
    def subscribed(self) -> bool:
        """Whether messages of clients reach the hub."""
        return bool(self._filters)

    @property
    def full(self) -> bool:
        """False: what the hub sends is passed on at once."""
        return False

    def write(self, data: bytes) -> None:
        """Take bytes of the hub."""
        self._wake()  # for the answers
        self._framer.feed(data)
        while (raw := self._framer.next_packet()) is not None:
            match decode(raw.first, raw.body):
                case packets.Publish(topic=topic, packet_id=packet_id) as message:
                    if packet_id is not None:
                        self._out += packets.Puback(packet_id).encode()
                    self._publish(message)
                    if any(topic_matches(own, topic) for own in self._filters):
                        self.deliver(message)
                case packets.Connect():
                    self._out += packets.Connack().encode()
                case packets.Subscribe(packet_id=packet_id, filters=filters):
                    self._filters = tuple(name for name, _ in filters)
                    # At QoS 0: nothing is lost in memory, and the hub need not acknowledge it.
                    self._out += packets.Suback(packet_id=packet_id, codes=(0,) * len(filters)).encode()
                case packets.Pingreq():
                    self._out += packets.Pingresp().encode()
                case packets.Disconnect():
                    self.close()

    def deliver(self, message: packets.Publish | packets.Will, arrived: Callable[[int], None] | None = None) -> None:
        """Queue a message for the hub. `arrived` is called with its size once the hub has it."""
        self._out += packets.Publish(topic=message.topic, payload=message.payload).encode()
        if arrived is not None:
            self._arrivals.append((arrived, len(message.topic) + len(message.payload)))
        self._wake()

    def data_to_send(self) -> bytes:
        """Everything for the hub now."""
        data = bytes(self._out)
        self._out.clear()
        arrivals, self._arrivals = self._arrivals, []
        for arrived, size in arrivals:
            arrived(size)
        return data

    def close(self) -> None:
        """End the session: nothing is queued any more, and what is queued will never arrive."""
        self._filters = ()
        self.data_to_send()
