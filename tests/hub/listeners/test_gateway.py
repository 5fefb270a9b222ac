"""The hub's session with its broker, as the machine that drivers run."""

from __future__ import annotations

from thalovant.hub.listeners.mqtt import BrokerEvent, BrokerLost, BrokerSession
from thalovant_proto.client.stack import Dial
from thalovant_proto.links.mqtt.gateway import MqttHubGateway


def test_a_timer_that_ends_a_session_begins_the_next() -> None:
    """The first try after a loss is at once: that is no timer that stays where it is."""
    lost: list[BrokerEvent] = []
    session = BrokerSession(
        lambda: MqttHubGateway("mqtt://broker", client_id="hub", secure=True),
        on_event=lambda event, now: lost.append(event),
        on_drained=lambda: None,
        entropy=bytes,
    )
    first = session.step()
    session.socket_opened(100.0)
    session.data_to_send()
    due = session.next_timeout
    assert due is not None

    session.handle_timeout(due)  # no CONNACK

    assert lost == [BrokerLost(message="the broker sent no CONNACK in time", final=False)]
    assert session.next_timeout is None
    again = session.step()
    assert isinstance(first, Dial)
    assert isinstance(again, Dial)
    assert first.serial != again.serial
