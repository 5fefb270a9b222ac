"""Our MQTT beside that of others: paho at our broker and at mosquitto, our packets and our table of faults there."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import thalovant.testing
from tests.proto.links.mqtt.test_packets import MALFORMED, text
from thalovant import ThalovantIdentity
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import encode_length
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import (
    Connack,
    Connect,
    ConnectCode,
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
from thalovant_proto.secret import Secret

from .brokers import PATIENCE, Broker
from .conftest import unavailable
from .rig.installing import venv
from .rigs import cache

DEVICE = ThalovantIdentity.from_mapping(
    {
        "access_key": "device",
        "password": "-",
        "site_id": "-",
        "default_master": "wss://hub.test",
        "mqtt": {"endpoint": "mqtts://localhost", "username": "device", "password": "secret"},
    }
)


@pytest.fixture(scope="session")
def paho() -> Path:
    """The interpreter of an environment with paho-mqtt."""
    try:
        return venv(cache() / "clients" / "paho", ["paho-mqtt>=2.1,<3"])
    except SystemExit as refusal:
        unavailable(RuntimeError(str(refusal)))


@pytest.fixture
def mosquitto_port(broker: Broker) -> int:
    """The TLS port of a mosquitto that lets the device in."""
    broker.allow(DEVICE)
    broker.start()
    return broker.port


# --- paho ------------------------------------------------------------------------------------------------------------


def what_paho_saw(python: Path, device: ThalovantIdentity, port: int, ca: Path) -> dict[str, Any]:
    """paho's report of one broker."""
    broker = device.mqtt
    assert broker is not None
    account = {"username": broker.username, "password": broker.password, "prefix": f"hivemind/{broker.username}"}
    where = {"host": "localhost", "port": port, "ca": str(ca), **account}
    script = Path(__file__).parent / "foreign" / "talk_paho.py"
    done = subprocess.run(
        [str(python), str(script), json.dumps(where)], capture_output=True, text=True, timeout=4 * PATIENCE, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    saw: dict[str, Any] = json.loads(done.stdout)
    return saw


def seen(granted_to_strangers: int, lower: int) -> dict[str, Any]:
    """What paho should see. `lower` is the QoS at which the broker passes on what was published at QoS 0."""
    return {
        "wrong password": True,
        "connected": 0,
        "granted": [[1], [0, granted_to_strangers]],
        "unsubscribed": True,
        "published": [True, True, True],
        "heard": [["/status", f"qos {qos}", 1 if qos else lower, False] for qos in (0, 1, 2)],
        "large": [True, ["/status", 200_000, 1, False]],
        "up": [True, True, True],
        "live": ["/status", "online", 1, False],
        "late": ["/status", "online", 1, True],
        "taken over": [True, ["/status", "offline", 1, False]],
        "will": ["/status", "offline", 1, False],
        "goodbye": ["/status", "last words", lower, False],
        "ponged": True,
    }


def test_paho_at_our_broker(paho: Path) -> None:
    """Every packet that a client has, in each QoS: our packets read it, and it reads ours."""
    with thalovant.testing.hub() as hub:
        device = hub.identity("paho")
        assert device.mqtt is not None

        saw = what_paho_saw(paho, device, device.mqtt.port, Path(str(device.ca_file)))

    assert saw == seen(granted_to_strangers=0x80, lower=1)  # amqtt passes everything on at what was granted


def test_paho_at_mosquitto(paho: Path, mosquitto_port: int, broker: Broker) -> None:
    """The same there, so that what ours is held to is what brokers do."""
    saw = what_paho_saw(paho, DEVICE, mosquitto_port, broker.ca)

    assert saw == seen(granted_to_strangers=1, lower=0)  # it grants what it will never pass on


# --- mosquitto -------------------------------------------------------------------------------------------------------


class Wire:
    """A connection to mosquitto, in packets."""

    def __init__(self, port: int, ca: Path) -> None:
        context = ssl.create_default_context(cafile=ca)
        raw = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket = context.wrap_socket(raw, server_hostname="localhost")
        self._framer = Framer(1 << 20)

    def say(self, *packets: Packet | bytes) -> None:
        """Write packets, or bytes; whether anybody reads them is seen in the answer."""
        try:
            self._socket.sendall(b"".join(one if isinstance(one, bytes) else one.encode() for one in packets))
        except OSError:
            pass

    def hear(self) -> Packet | None:
        """The next packet, None at the end."""
        while (raw := self._framer.next_packet()) is None:
            try:
                data = self._socket.recv(65_536)
            except OSError:
                data = b""
            if not data:
                return None
            self._framer.feed(data)
        return decode(raw.first, raw.body)

    def close(self) -> None:
        """Go without a word."""
        self._socket.close()


@pytest.fixture
def wires(mosquitto_port: int, broker: Broker) -> Iterator[Any]:
    """Makes connections, and closes them at the end."""
    made: list[Wire] = []

    def make() -> Wire:
        made.append(Wire(mosquitto_port, broker.ca))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


def hello(**changes: Any) -> Connect:
    """The device's CONNECT."""
    fields = {"client_id": "", "username": "device", "password": Secret(b"secret"), **changes}
    return Connect(**fields)


def account(flags: int, *fields: bytes, level: int = 4) -> bytes:
    """The body of a CONNECT with the device's user name and password behind other fields."""
    return (
        text(b"MQTT") + bytes((level, flags | 0xC0)) + b"\0\x3c" + b"".join(map(text, (*fields, b"device", b"secret")))
    )


# Where mosquitto 2.0 lets pass what the standard does not: flags and spare bytes of acknowledgements and pings, and a
# duplicate of QoS 0.
LENIENT = {0x38, 0x39, 0x41, 0x54, 0x7F, 0xC0, 0xC1, 0xD4}
SPARE = {(0x40, b"\0\1\0"), (0x50, b"\0\1\0"), (0x62, b"\0\1\0"), (0x70, b"\0\1\0")}
FROM_CLIENTS = [
    (first, body)
    for first, body, _ in MALFORMED
    if first >> 4 not in (2, 9, 11, 13) and first not in LENIENT and (first, body) not in SPARE
]


def test_mosquitto_refuses_what_we_refuse(wires: Any) -> None:
    """Each row of our table that a client could send ends the connection there too."""
    taken = []
    for first, body in FROM_CLIENTS:
        wire = wires()
        if first >> 4 != 1:
            wire.say(hello())
            assert wire.hear() == Connack()
        wire.say(bytes((first,)) + encode_length(len(body)) + body, Pingreq())
        if wire.hear() is not None:
            taken.append((hex(first), body))
        wire.close()

    assert taken == []


def test_mosquitto_takes_what_we_write(wires: Any) -> None:
    """Every packet that a client sends, at its borders; and we read each answer."""
    listener, wire = wires(), wires()
    status, out, up = (f"hivemind/device/{level}" for level in ("status", "out", "in"))
    will = Will(topic=status, payload=b"\0\xff", qos=2, retain=True)
    listener.say(hello(client_id="\ufefflistener", clean_session=False, keepalive=65_535))
    assert listener.hear() == Connack()
    listener.say(Subscribe(packet_id=65_535, filters=((status, 2), (out, 0))))
    assert listener.hear() == Suback(packet_id=65_535, codes=(2, 0))
    wire.say(hello(client_id="c" * 23, keepalive=0, will=will), Pingreq())  # need not wait: MQTT §3.1.4
    assert [wire.hear(), wire.hear()] == [Connack(), Pingresp()]

    for qos, answers in ((0, []), (1, [Puback(7)]), (2, [Pubrec(7)])):
        wire.say(Publish(topic=status, payload=bytes(300), qos=qos, packet_id=7 if qos else None))
        assert [wire.hear() for _ in answers] == answers
    wire.say(Pubrel(7))
    assert wire.hear() == Pubcomp(7)
    heard = [listener.hear() for _ in range(3)]
    assert [packet.qos for packet in heard if isinstance(packet, Publish)] == [0, 1, 2]
    assert isinstance(heard[1], Publish) and isinstance(heard[2], Publish)
    listener.say(Puback(heard[1].packet_id or 0), Pubrec(heard[2].packet_id or 0))
    assert listener.hear() == Pubrel(heard[2].packet_id or 0)
    listener.say(Pubcomp(heard[2].packet_id or 0))
    wire.say(Publish(topic=up, payload=b"", qos=1, packet_id=8, dup=True), Unsubscribe(packet_id=9, filters=(out, up)))
    assert [wire.hear(), wire.hear()] == [Puback(8), Unsuback(9)]

    wire.close()
    gone = listener.hear()
    assert isinstance(gone, Publish)
    assert (gone.topic, gone.payload, gone.qos, gone.retain) == (status, b"\0\xff", 2, False)


@pytest.mark.parametrize(
    ("connect", "answer"),
    [
        (hello(password=Secret(b"wrong")), Connack(code=ConnectCode.NOT_AUTHORIZED)),
        (Connect(client_id="nobody"), Connack(code=ConnectCode.NOT_AUTHORIZED)),
        (account(2, b"c", level=0x7F), Connack(code=ConnectCode.VERSION)),
        (account(0, b""), Connack(code=ConnectCode.IDENTIFIER)),
    ],
    ids=["password", "nobody", "version", "client id"],
)
def test_mosquitto_refuses_as_we_read_it(wires: Any, connect: Connect | bytes, answer: Connack) -> None:
    """The codes of its CONNACK are those that we know, and nothing follows."""
    wire = wires()
    wire.say(connect if isinstance(connect, Connect) else b"\x10" + encode_length(len(connect)) + connect)

    assert [wire.hear(), wire.hear()] == [answer, None]
