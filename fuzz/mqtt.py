"""MQTT packets made of fuzzed choices, so that what comes behind a valid packet is reached too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from fuzz.harness import Tape
from thalovant_proto.limits import KIB
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from thalovant_proto.links.mqtt.topics import TOPIC_HEAD
from thalovant_proto.secret import Secret

# Small, so that a few packets already reach them.
LIMITS: Final = MqttLimits(frame=4000, window=3, queue=5000, peers=3)
#: What a client may send behind its CONNECT before the door has answered.
PARKED: Final = 64 * KIB
#: A packet with its topic while it is put together, its copy as an event, and what waits to be sent.
HELD: Final = 4 * (LIMITS.frame + TOPIC_HEAD) + 2 * LIMITS.queue

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, CONNECT, SUBSCRIBE, UNSUBSCRIBE, OTHER = range(9)
QOS, RETAIN, DUP = 3, 4, 8  # of a PUBLISH's flags

_NUMBERED: Final[Sequence[Callable[[int], Packet]]] = (Pubrec, Pubrel, Pubcomp, Unsuback)
_BARE: Final[Sequence[Callable[[], Packet]]] = (Pingreq, Disconnect, Pingresp)


def packet(tape: Tape, topics: Sequence[str]) -> bytes:
    """A packet as the tape says: its type, then its fields. Nothing if there is no such packet."""
    try:
        return _packet(tape, topics).encode()
    except ValueError:
        return b""


def _packet(tape: Tape, topics: Sequence[str]) -> Packet:
    match tape.byte() % 9:
        case 0:
            return Connack(code=tape.pick(list(ConnectCode)), session_present=bool(tape.byte() & 1))
        case 1:
            topic, flags, number, payload = tape.pick(topics), tape.byte(), tape.byte(), tape.chunk()
            qos = flags & QOS
            return Publish(
                topic=topic,
                payload=payload,
                qos=qos,
                retain=bool(flags & RETAIN),
                dup=bool(flags & DUP),
                packet_id=number if qos else None,
            )
        case 2:
            return Puback(tape.byte())
        case 3:
            return Suback(packet_id=tape.byte(), codes=tuple(tape.chunk()))
        case 4:
            return Pingresp()
        case 5:
            return _connect(tape)
        case 6:
            number, count = tape.byte(), tape.byte() % 8
            return Subscribe(packet_id=number, filters=tuple((tape.pick(topics), tape.byte()) for _ in range(count)))
        case 7:
            number, count = tape.byte(), tape.byte() % 8
            return Unsubscribe(packet_id=number, filters=tuple(tape.pick(topics) for _ in range(count)))
        case _:
            number, kind = tape.byte(), tape.byte()
            numbered = kind < 128
            return _NUMBERED[kind % len(_NUMBERED)](number) if numbered else _BARE[kind % len(_BARE)]()


def _connect(tape: Tape) -> Connect:
    flags, keepalive, client_id = tape.byte(), tape.byte(), tape.chunk().decode("utf-8", "replace")
    will = Will(topic="will", payload=tape.chunk(), qos=flags >> 4 & 3) if flags & 1 else None
    return Connect(
        client_id=client_id,
        clean_session=not flags & 2,
        keepalive=keepalive,
        will=will,
        username="user" if flags & 4 else None,
        password=Secret(b"password") if flags & 8 else None,
    )
