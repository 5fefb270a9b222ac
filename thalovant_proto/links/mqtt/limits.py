"""The limits of MQTT, in one object. Sizes in bytes, times in seconds."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import ge, gt, le

from ...limits import DEFAULT_LIMITS, KIB, MIB, SLOWEST


@frozen(kw_only=True)
class MqttLimits:
    """The defaults suit a broker on the internet."""

    # One frame of the hub protocol, as on every other carrier.
    frame: int = field(default=DEFAULT_LIMITS.frame, validator=gt(0))
    # One frame before the hub has answered.
    handshake_frame: int = field(default=DEFAULT_LIMITS.handshake_frame, validator=gt(0))
    # A CONNECT, at a front door: client id and user name of a kilobyte, a will and a token as password.
    connect_packet: int = field(default=16 * KIB, validator=gt(0))
    # What a client may send behind its CONNECT before the door has answered (§3.1.4 allows it).
    parked: int = field(default=64 * KIB, validator=gt(0))
    # Topic filters in one SUBSCRIBE or UNSUBSCRIBE, and levels in one topic: brokers walk a tree for each.
    filters: int = field(default=64, validator=gt(0))
    levels: int = field(default=16, validator=gt(0))
    # PUBLISH packets of QoS 1 on their way. Brokers take 20 to 100 before they hold a client back.
    window: int = field(default=64, validator=[gt(0), le(4096)])
    # With so much waiting for the window, a client's link has enough to send for now.
    ahead: int = field(default=1 * MIB, validator=gt(0))
    # What may wait for it at most: two of the largest messages that hubs put together.
    queue: int = field(default=64 * MIB, validator=gt(0))
    # Messages of QoS 1 remembered so as to know their duplicates: more than brokers keep on their way.
    remembered: int = field(default=128, validator=gt(0))

    # Promised to the broker, which drops us after one and a half of it; hubs and SDKs use 60 s. 0 for no pings.
    keepalive: int = field(default=60, validator=[ge(0), le(0xFFFF)])
    # From PINGREQ to PINGRESP: how long a frozen broker stays unnoticed once it is asked.
    pingresp_time: float = field(default=10.0, validator=gt(0))
    # From CONNECT to CONNACK, and from SUBSCRIBE to SUBACK: a round trip and the broker's look at its user database.
    answer_time: float = field(default=10.0, validator=gt(0))
    # From PUBLISH to PUBACK: brokers may write it to disk, or ask each other, first.
    puback_time: float = field(default=30.0, validator=gt(0))
    # Bytes a second that the line to the broker takes at least: answers that come behind megabytes have so much longer.
    slowest: int = field(default=SLOWEST, validator=gt(0))
    # From an accepted socket to its whole CONNECT.
    connect_time: float = field(default=10.0, validator=gt(0))

    # A hub that was not there when it was woken is woken again so soon after it is back.
    wake_time: float = field(default=1.0, validator=gt(0))
    # Hubs take their own `offline` for ours and drop a session that is new by then (real-hubs.md §8). Their echo comes
    # within 100 ms, delayed acknowledgements included.
    settle_time: float = field(default=0.25, validator=gt(0))
    # How long the layout on which the hub answered last time is tried alone.
    alone_time: float = field(default=3.0, validator=gt(0))
    # Without a frame of ours for so long the hub is asked whether it is there: real ones forget a client after 300 s,
    # and the end of one shows nowhere, since the broker lives.
    idle_probe: float = field(default=100.0, validator=gt(0))
    # How long closing may wait for the broker to take what is queued.
    close_time: float = field(default=2.0, validator=gt(0))
    # As a hub: a client without a frame for so long is forgotten, as by real hubs.
    idle_time: float = field(default=300.0, validator=gt(0))
    # As a hub: clients at a time. Beyond it new ones get no answer.
    peers: int = field(default=10_000, validator=gt(0))


DEFAULT_MQTT_LIMITS: Final = MqttLimits()
