"""The client's end of an MQTT link: any bytes and packets of a broker, and of whoever is behind it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from fuzz.harness import Act, Driven, Held, Tape, Twins, tape
from fuzz.mqtt import CONNACK, HELD, LIMITS, PUBACK, PUBLISH, SUBACK, packet
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.secret import Secret

KEY: Final = "key-of-the-client"
TOPICS: Final = [
    f"p/{KEY}/out",
    f"p/{KEY}/status",
    f"p/s2c/{KEY}",
    f"p/status/{KEY}",
    f"p/{KEY}/in",
    f"p/{KEY}/other",
    "$SYS/broker",
]
OUT, STATUS, LEGACY_OUT, LEGACY_STATUS = range(4)
HELLO: Final = b'{"msg_type": "hello", "payload": {"node_id": "n"}}'
REMEMBERED: Final = [None, "prefix", "c2s", "explicit"]


class Do(enum.IntEnum):
    """What happens next, besides `Act`."""

    PACKET = 8
    ANNOUNCE = 9
    AGAIN = 10  # count: the last bytes so often


DOINGS: Final[list[Act | Do]] = [*Act, *Do]


class Announcing(Driven):
    """A link that can say that it is there."""

    link: MqttClientLink

    def announce(self) -> None:
        if self.opened and self.closed is None and not self._closing:
            self.link.announce(self.now)

    _closing = False

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._closing = True
        super().close(code, reason)


def one(data: bytes) -> object:
    tape = Tape(data)
    size, remembered, qos = 1 + tape.byte() % 64, tape.pick(REMEMBERED), tape.byte() & 1

    def make() -> Driven:
        link = MqttClientLink(
            "mqtt://broker",
            access_key=Secret(KEY),
            client_id="client",
            topic_prefix=f"p/{KEY}",
            username="user",
            password=Secret("password"),
            qos=qos,
            secure=True,
            remembered_layout=remembered,
            limits=LIMITS,
        )
        return Announcing(link, secret=KEY)

    twins = Twins(make, size)
    twins.each(Driven.turn)
    memory = Held(twins.pieces.link, HELD)
    last = b""
    for _ in tape.steps():
        match tape.pick(DOINGS):
            case Do.PACKET:
                last = packet(tape, TOPICS)
                twins.receive(last)
                memory.feed(len(last))
            case Do.AGAIN:
                count = tape.byte() % 32
                twins.receive(last * count)
                memory.feed(len(last) * count)
            case Do.ANNOUNCE:
                for driven in (twins.whole, twins.pieces):
                    assert isinstance(driven, Announcing)
                    driven.announce()
            case act:
                assert isinstance(act, Act)
                twins.act(act, tape)
        memory.check()
    twins.each(Driven.turn)
    return twins.whole if twins.whole.opened else None


def seeds() -> Iterator[bytes]:
    granted = tape(Do.PACKET, CONNACK, 0, 0, Act.DRAIN, Do.PACKET, SUBACK, 1, b"\1\1\1\1", Act.DRAIN)
    opened = granted + tape(Do.PACKET, PUBLISH, OUT, 1, 1, HELLO, Act.DRAIN)
    for head in (tape(1, 0, 1), tape(1, 0, 0)):
        yield head + opened + tape(Do.PACKET, PUBLISH, OUT, 1, 2, b"\1sealed", Act.SEND, 1, b"sealed", Act.DRAIN)
        yield (
            head + opened + tape(Act.SEND, 0, "text", Act.DRAIN, Do.PACKET, PUBACK, 6, Act.CLOSE, 3, 232, "", Act.DRAIN)
        )
        yield head + opened + tape(Do.ANNOUNCE, Act.DRAIN, Do.PACKET, PUBLISH, STATUS, 1, 3, b"online", Do.AGAIN, 1)
        yield head + opened + tape(Do.PACKET, PUBLISH, STATUS, 1, 3, b"offline", Act.DRAIN)
        yield head + opened + tape(Act.SEND, 1, b"x", Do.PACKET, PUBLISH, STATUS, 1, 3, b"offline", Act.DRAIN)
        yield head + granted + tape(Do.PACKET, PUBLISH, LEGACY_OUT, 1, 1, HELLO, Act.SEND, 0, "t", Act.SEND, 1, b"b")
        yield head + granted + tape(*[Act.TIMER, Act.DRAIN] * 6, Do.PACKET, PUBLISH, LEGACY_STATUS, 1, 3, b"offline")
        yield head + opened + 12 * tape(Act.SEND, 1, b"x" * 900) + tape(Act.CLOSE, 3, 232, "", Act.WAIT, 3, Act.DRAIN)
        yield head + tape(Do.PACKET, CONNACK, 0, 0, Do.PACKET, SUBACK, 1, b"\x80\x80\x80\x80", Act.DRAIN)
        yield head + tape(Act.WAIT, 11, Act.DRAIN)
    for remembered in range(1, len(REMEMBERED)):
        alone = tape(Do.PACKET, CONNACK, 0, 0, Act.DRAIN, Do.PACKET, SUBACK, 1, b"\1\1", Act.WAIT, 4, Act.DRAIN)
        yield (
            tape(1, remembered, 1)
            + alone
            + tape(Do.PACKET, SUBACK, 3, b"\1\1", Act.DRAIN, Do.PACKET, PUBLISH, OUT, 1, 1, HELLO)
        )
        yield tape(1, remembered, 1) + tape(Do.PACKET, CONNACK, 0, 0, Do.PACKET, SUBACK, 1, b"\x80\1", Act.DRAIN)
    for code in range(6):
        yield tape(1, 0, 1, Do.PACKET, CONNACK, code, 0, Act.EOF, Act.DRAIN)
