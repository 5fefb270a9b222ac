"""The story of `story.py` on every transport, in every generation. C4.

`THOROUGHNESS=100 pytest tests/proto/test_model.py -k MqttNoise` explores: 6000 stories, other ones each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck

from tests.examples import THOROUGHNESS, examples
from tests.proto.links.frame_link import FrameLinks
from tests.proto.links.https.https_network import HttpsNetwork
from tests.proto.links.mqtt.network import PREFIX, MqttNetwork
from tests.proto.links.networks import Network, WssLinks
from tests.proto.story import Story
from tests.proto.world import ACCESS_KEY
from thalovant_proto.links.https.stream import HttpsLimits
from thalovant_proto.links.mqtt.limits import MqttLimits

WSS: Sequence[Callable[[], Network]] = (
    lambda: WssLinks(),
    lambda: FrameLinks(window=2),
    lambda: FrameLinks(window=1, largest=4000),
)
HTTPS: Sequence[Callable[[], Network]] = (
    lambda: HttpsNetwork(),
    lambda: HttpsNetwork(HttpsLimits(request=4000, queue_bytes=100_000)),
)
MQTT: Sequence[Callable[[], Network]] = (
    lambda: MqttNetwork(),
    lambda: MqttNetwork(topic_prefix=f"{PREFIX}/{ACCESS_KEY}", qos=0),
    lambda: MqttNetwork(legacy_prefix=PREFIX, limits=MqttLimits(frame=4000, window=1, queue=10_000)),
)

pytestmark = pytest.mark.untraced


def case(generation: int, networks: Sequence[Callable[[], Network]], *, stories: int = 60) -> Any:
    """The test of one combination."""
    story: Any = type(f"Story{generation}", (Story,), {"generation": generation, "networks": networks})
    story.TestCase.settings = examples(
        stories,
        stateful_step_count=30,
        derandomize=THOROUGHNESS == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return story.TestCase


TestWssPreshared = case(0, WSS)
TestWssPassword = case(1, WSS)
TestWssNoise = case(3, WSS)
TestHttpsPreshared = case(0, HTTPS, stories=20)  # it polls: a story takes six times as long
TestHttpsPassword = case(1, HTTPS, stories=20)
TestHttpsNoise = case(3, HTTPS, stories=20)
TestMqttPreshared = case(0, MQTT)
TestMqttPassword = case(1, MQTT)
TestMqttNoise = case(3, MQTT)
