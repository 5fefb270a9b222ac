"""The limits of MQTT, in one object. Sizes in bytes, times in seconds."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import ge, gt, le

from ...limits import DEFAULT_LIMITS, MIB


@frozen(kw_only=True)
class MqttLimits:
    """Limits of one connection to a broker. The defaults suit a broker on the internet."""

    # One frame of the hub protocol, as on every other carrier.
    frame: int = field(default=DEFAULT_LIMITS.frame, validator=gt(0))
    # PUBLISH packets of QoS 1 on their way. Brokers take 20 to 100 before they hold a client back.
    window: int = field(default=64, validator=[gt(0), le(4096)])
    # Bytes that wait for that window at most: two of the largest messages that hubs put together. With a sixty-fourth
    # of it a client's link has enough to send for now.
    queue: int = field(default=64 * MIB, validator=gt(0))
    # Promised to the broker, which drops us after one and a half of it; hubs and SDKs use 60 s. 0 for no pings.
    keepalive: int = field(default=60, validator=[ge(0), le(0xFFFF)])
    # Of the broker, from CONNECT to CONNACK, from SUBSCRIBE to SUBACK, and from PINGREQ to PINGRESP: a round trip and
    # its look at its user database. At a front door, from an accepted socket to its whole CONNECT.
    answer_time: float = field(default=10.0, validator=gt(0))
    # As a hub: clients at a time. Beyond it new ones get no answer.
    peers: int = field(default=10_000, validator=gt(0))


DEFAULT_MQTT_LIMITS: Final = MqttLimits()

#: Closing may wait so long for the broker to take what is queued.
CLOSE_TIME: Final = 2.0
