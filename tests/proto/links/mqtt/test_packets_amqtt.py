"""The oracle: amqtt's packet classes write what we write and read, for every type of packet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.test_packets import read
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.secret import Secret

amqtt = pytest.importorskip("amqtt.mqtt")
connect_module = pytest.importorskip("amqtt.mqtt.connect")

NUMBERED: dict[type, Any] = {
    p.Puback: amqtt.PubackPacket,
    p.Pubrec: amqtt.PubrecPacket,
    p.Pubrel: amqtt.PubrelPacket,
    p.Pubcomp: amqtt.PubcompPacket,
    p.Unsuback: amqtt.UnsubackPacket,
}
BARE: dict[type, Any] = {
    p.Pingreq: amqtt.PingReqPacket,
    p.Pingresp: amqtt.PingRespPacket,
    p.Disconnect: amqtt.DisconnectPacket,
}


def theirs(packet: p.Packet) -> Any:
    """The same packet, built with amqtt."""
    match packet:
        case p.Connect():
            header = connect_module.ConnectVariableHeader(keep_alive=packet.keepalive)
            header.clean_session_flag = packet.clean_session
            payload = connect_module.ConnectPayload(client_id=packet.client_id)
            if packet.will is not None:
                header.will_flag = True
                header.will_qos = packet.will.qos
                header.will_retain_flag = packet.will.retain
                payload.will_topic = packet.will.topic
                payload.will_message = packet.will.payload
            if packet.username is not None:
                header.username_flag = True
                payload.username = packet.username
            if packet.password is not None:
                header.password_flag = True
                payload.password = packet.password.reveal().decode()
            return amqtt.ConnectPacket(variable_header=header, payload=payload)
        case p.Connack():
            return amqtt.ConnackPacket.build(int(packet.session_present), int(packet.code))
        case p.Publish():
            built = (packet.topic, packet.payload, packet.packet_id, packet.dup, packet.qos, packet.retain)
            return amqtt.PublishPacket.build(*built)
        case p.Subscribe():
            return amqtt.SubscribePacket.build(list(packet.filters), packet.packet_id)
        case p.Suback():
            return amqtt.SubackPacket.build(packet.packet_id, list(packet.codes))
        case p.Unsubscribe():
            return amqtt.UnsubscribePacket.build(list(packet.filters), packet.packet_id)
        case p.Puback() | p.Pubrec() | p.Pubrel() | p.Pubcomp() | p.Unsuback():
            return NUMBERED[type(packet)].build(packet.packet_id)
        case _:
            return BARE[type(packet)]()


# amqtt keeps passwords as text, and has no use for an empty client id, so these two are taken out of the comparison.
def comparable(packet: p.Packet) -> bool:
    """Whether amqtt can hold this packet."""
    if not isinstance(packet, p.Connect):
        return True
    try:
        (packet.password or Secret(b"")).reveal().decode()
    except UnicodeDecodeError:
        return False
    return bool(packet.client_id)


peers = values.packets.filter(comparable)


@given(peers)
def test_we_read_and_write_what_amqtt_writes(packet: p.Packet) -> None:
    """amqtt's bytes are the same packet to us, and the very bytes that we would write: so amqtt reads ours, too."""
    wire = theirs(packet).to_bytes()

    assert read(wire) == packet
    assert packet.encode() == wire


@pytest.mark.parametrize("packet", values.EXAMPLES, ids=lambda packet: type(packet).__name__)
def test_every_type_meets_the_oracle(packet: p.Packet) -> None:
    """One of each type, so that none can be missing from the strategies above."""
    assert len({type(example) for example in values.EXAMPLES}) == 14
    assert packet.encode() == theirs(packet).to_bytes()
