"""The bounds of a hub, in one object. Times in seconds."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from attrs.validators import gt

from thalovant_proto.limits import DEFAULT_LIMITS, MIB, Limits
from thalovant_proto.links.https.stream import DEFAULT_HTTPS_LIMITS, HttpsLimits
from thalovant_proto.links.mqtt.limits import DEFAULT_MQTT_LIMITS, MqttLimits


@frozen(kw_only=True)
class Settings:
    """The bounds on what a hub spends, in all and for each client."""

    limits: Limits = DEFAULT_LIMITS  # of each connection
    https: HttpsLimits = DEFAULT_HTTPS_LIMITS
    mqtt: MqttLimits = DEFAULT_MQTT_LIMITS
    # Clients that have proven nothing, in all and from one address: a handshake takes milliseconds, so 256 at a time
    # is thousands a second. When all places are taken, the oldest that had this long gives way.
    unproven: int = field(default=256, validator=gt(0))
    unproven_per_address: int = field(default=128, validator=gt(0))
    unproven_grace: float = field(default=5.0, validator=gt(0))
    # Connections, those of registered clients included.
    connections: int = field(default=16_384, validator=gt(0))
    # Bytes that wait for a client that does not read; if there is more to say then, the connection is cut. One message
    # may be larger, for it cannot wait in parts.
    unsent: int = field(default=8 * MIB, validator=gt(0))
    # From here on skills wait before they say more.
    unsent_pause: int = field(default=256 * 1024, validator=gt(0))
    # How long a skill may take.
    skill_timeout: float = field(default=30.0, validator=gt(0))
    # Conversations that are remembered; then the one that was silent longest is forgotten.
    conversations: int = field(default=4096, validator=gt(0))
    # How long running turns may take when the hub stops.
    drain_time: float = field(default=5.0, validator=gt(0))
    # How long clients may take to answer its goodbye.
    goodbye_time: float = field(default=2.0, validator=gt(0))

    @property
    def unhandled(self) -> int:
        """Bytes of one client that wait for a handler of raw bytes; beyond it nothing more is read from the client."""
        return self.unsent // 2


DEFAULT_SETTINGS: Final = Settings()
