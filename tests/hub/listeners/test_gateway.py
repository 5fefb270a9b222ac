"""The hub's session with its broker, as the machine that drivers run."""

from __future__ import annotations

from thalovant.hub.listeners.mqtt import BrokerLost, Gateway
from thalovant_proto.client.stack import Dial
from thalovant_proto.links.mqtt.gateway import MqttHubGateway


def test_a_timer_that_ends_a_session_begins_the_next() -> None:
    """The first try after a loss is at once: that is no timer that stays where it is."""
    gateway = Gateway(
        lambda: MqttHubGateway("mqtt://broker", client_id="hub", secure=True),
        on_event=lambda event: None,
        on_room=lambda: None,
        known=lambda: (),
        pause=1 << 20,
        entropy=bytes,
    )
    first = gateway.step()
    gateway.socket_opened(100.0)
    gateway.data_to_send()
    due = gateway.next_timeout
    assert due is not None

    gateway.handle_timeout(due)  # no CONNACK

    assert [type(outcome) for outcome in gateway.outcomes()] == [BrokerLost]
    assert gateway.next_timeout is None
    again = gateway.step()
    assert isinstance(first, Dial)
    assert isinstance(again, Dial)
    assert first.serial != again.serial
