"""The oracle: amqtt's packet classes read what we write and write what we read, for every type of packet."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given

from tests.proto.links.mqtt import values
from tests.proto.links.mqtt.test_packets import read
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.secret import Secret

amqtt = pytest.importorskip("amqtt.mqtt")
adapters = pytest.importorskip("amqtt.adapters")
connect_module = pytest.importorskip("amqtt.mqtt.connect")
packet_module = pytest.importorskip("amqtt.mqtt.packet")

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


def ours(theirs: Any) -> p.Packet:
    """What amqtt read, as our packet."""
    match theirs:
        case amqtt.ConnectPacket():
            header, payload = theirs.variable_header, theirs.payload
            will = None
            if header.will_flag:
                will = p.Will(
                    topic=payload.will_topic,
                    payload=bytes(payload.will_message),
                    qos=header.will_qos,
                    retain=bool(header.will_retain_flag),
                )
            return p.Connect(
                client_id=payload.client_id,
                clean_session=bool(header.clean_session_flag),
                keepalive=header.keep_alive,
                will=will,
                username=payload.username if header.username_flag else None,
                password=Secret(payload.password.encode()) if header.password_flag else None,
            )
        case amqtt.ConnackPacket():
            return p.Connack(
                session_present=bool(theirs.variable_header.session_parent),
                code=p.ConnectCode(theirs.variable_header.return_code),
            )
        case amqtt.PublishPacket():
            return p.Publish(
                topic=theirs.topic_name,
                payload=bytes(theirs.data),
                qos=theirs.qos,
                retain=bool(theirs.retain_flag),
                dup=bool(theirs.dup_flag),
                packet_id=theirs.variable_header.packet_id if theirs.qos else None,
            )
        case amqtt.SubscribePacket():
            return p.Subscribe(packet_id=theirs.variable_header.packet_id, filters=tuple(theirs.payload.topics))
        case amqtt.SubackPacket():
            return p.Suback(packet_id=theirs.variable_header.packet_id, codes=tuple(theirs.payload.return_codes))
        case amqtt.UnsubscribePacket():
            return p.Unsubscribe(packet_id=theirs.variable_header.packet_id, filters=tuple(theirs.payload.topics))
    for kind, peer in NUMBERED.items():
        if type(theirs) is peer:
            return cast(p.Packet, kind(theirs.variable_header.packet_id))
    return next(cast(p.Packet, kind()) for kind, peer in BARE.items() if type(theirs) is peer)


async def _read(wire: bytes) -> Any:
    reader = adapters.BufferReader(wire)
    header = await packet_module.MQTTFixedHeader.from_stream(reader)
    kind = amqtt.packet_class(header)
    return await kind.from_stream(reader, fixed_header=header)


def their_reading(wire: bytes) -> Any:
    """What amqtt makes of these bytes."""
    return asyncio.run(_read(wire))


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
def test_amqtt_reads_what_we_write(packet: p.Packet) -> None:
    """Our bytes are the same packet to amqtt."""
    assert ours(their_reading(packet.encode())) == packet


@given(peers)
def test_we_read_what_amqtt_writes(packet: p.Packet) -> None:
    """amqtt's bytes are the same packet to us, and the very bytes that we would write."""
    wire = theirs(packet).to_bytes()

    assert read(wire) == packet
    assert packet.encode() == wire


@pytest.mark.parametrize("packet", values.EXAMPLES, ids=lambda packet: type(packet).__name__)
def test_every_type_meets_the_oracle(packet: p.Packet) -> None:
    """One of each type, both ways, so that none can be missing from the strategies above."""
    assert len({type(example) for example in values.EXAMPLES}) == 14
    assert packet.encode() == theirs(packet).to_bytes()
    assert ours(their_reading(packet.encode())) == packet
