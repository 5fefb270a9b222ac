"""Both ends of every link as one kind of thing, for properties that hold for all: bytes in, a log and bytes out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from attrs import Factory, define, field, frozen

from tests.proto.links.https.https_world import (
    AGENT,
    AUTHORIZATION,
    at,
    by_hand,
    entropy,
    polled,
    polled_binary,
    response,
)
from tests.proto.links.mqtt.values import EXAMPLES
from tests.proto.links.wss.ws_wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    REQUEST,
    TEXT,
    client_link,
    hostile,
    hub_link,
    link_of,
    opened,
    said,
)
from tests.proto.memory import retained
from thalovant_proto.links.base import LinkClosed
from thalovant_proto.links.https.server import HttpsServerHub
from thalovant_proto.links.https.stream import HttpsLimits
from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.links.mqtt.gateway import GatewayClosed, MqttHubGateway
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.server_session import ClientClosed, ConnectReceived, ServerSession
from thalovant_proto.links.wss.common import WssLimits
from thalovant_proto.secret import Secret

WSS = WssLimits(message=4000)
HTTPS = HttpsLimits(request=4000, response=4000, queue_bytes=4000, sessions=8)
MQTT = MqttLimits(frame=4000, queue=4000, peers=8)
#: More than any of these ends may keep: twice what it reads, at a broker's door 64 KiB, and what waits for others.
KEPT = 150_000
#: The last event of an end.
ENDED = (LinkClosed.__name__, GatewayClosed.__name__, ClientClosed.__name__)


def plain(event: object) -> object:
    """To be compared: errors have no equality, and most events hide their bytes."""
    if isinstance(event, LinkClosed | GatewayClosed | ClientClosed):
        return type(event).__name__, event.reason, str(event.error), getattr(event, "unsent", ())
    names = getattr(type(event), "__attrs_attrs__", ())
    return type(event).__name__, *(str(getattr(event, each.name)) for each in names if each.name != "link")


@define(eq=False)
class Target:
    """One end, with nothing behind it but a log. `root` is all that it consists of, `timed` what has its timers."""

    root: Any
    feed: Callable[[bytes], Iterable[object]]
    drain: Callable[[], object]
    finish: Callable[[], Iterable[object] | None]
    log: list[object] = field(factory=list)
    timed: Any = field(default=Factory(lambda self: self.root, takes_self=True))
    now: float = 1.0

    def hear(self, data: bytes) -> Target:
        """Bytes from the peer."""
        self.log += map(plain, self.feed(data))
        return self

    def end(self) -> Target:
        """The socket ends, and with it the end, once and last."""
        self.log += map(plain, self.finish() or ())
        assert [each for each in self.log[:-1] if isinstance(each, tuple) and each[0] in ENDED] == []
        return self

    @property
    def kept(self) -> int:
        """The bytes of all texts and byte strings in it, but those of the modules."""
        return retained(self.root)


@frozen
class End:
    """How to make one, and what a lawful peer says to it, whole or in part."""

    make: Callable[[], Target]
    says: list[bytes]


def _link(link: Any, now: float = 1.0) -> Target:
    return Target(link, lambda data: link.receive_data(data, now), link.data_to_send, lambda: link.eof(now), now=now)


def _wss(end: str) -> Target:
    """What it says is unmasked: the mask is random."""
    link = link_of(opened(WSS), end)
    return Target(link, lambda data: link.receive_data(data, 1.0), lambda: said(link, end), lambda: link.eof(1.0))


def _upgrading(end: str) -> Target:
    link = client_link(WSS) if end == "client" else hub_link(WSS)
    link.socket_opened(1.0)
    link.data_to_send()
    return _link(link)


def _https_client(stage: str) -> Target:
    """The request of that name is out, or none."""
    hand = by_hand(base=HTTPS).idle() if stage == "idle" else at(stage, HTTPS)
    return _link(hand.link, hand.now)


def _https_hub() -> Target:
    """A socket of a hub that has nobody behind it: what requests brought goes to the log."""
    hub = HttpsServerHub(entropy=entropy(), limits=HTTPS, secure=True)
    connection = hub.connection("192.0.2.1", 1.0)

    def feed(data: bytes) -> list[object]:
        connection.receive_data(data, 1.0)
        return []

    def drain() -> bytes:
        said = b""
        while True:
            target.log += [[plain(event)] for session in hub.ready() for event in session.receive_data(b"", 1.0)]
            if not (more := connection.data_to_send()):
                return said
            said += more

    target = Target((hub, connection), feed, drain, lambda: connection.eof(1.0), timed=connection)
    return target


def _mqtt_client() -> Target:
    """Subscribed, and the hub has been called."""
    link = MqttClientLink(
        "mqtt://b", access_key=Secret("k"), client_id="c", topic_prefix="p/k", limits=MQTT, secure=True
    )
    link.socket_opened(1.0)
    link.data_to_send()
    list(link.receive_data(p.Connack().encode() + p.Suback(packet_id=1, codes=(1, 1, 1, 1)).encode(), 1.0))
    link.data_to_send()
    return _link(link)


def _gateway() -> Target:
    """Ready; the links of its clients are left alone."""
    gateway = MqttHubGateway("mqtt://b", client_id="hub", topic_prefix="p", limits=MQTT, secure=True)
    gateway.socket_opened(1.0)
    gateway.data_to_send()
    list(gateway.receive_data(p.Connack().encode() + p.Suback(packet_id=1, codes=(1, 1)).encode(), 1.0))
    gateway.data_to_send()
    return _link(gateway)


def _door() -> Target:
    """At CONNECT; whoever comes is let in."""
    door = ServerSession(now=1.0, packet_limit=4000, limits=MQTT)

    def feed(data: bytes) -> Iterable[object]:
        for event in door.receive_data(data, 1.0):
            yield event
            if isinstance(event, ConnectReceived):
                door.accept(1.0)

    return Target(door, feed, door.data_to_send, lambda: filter(None, [door.eof(1.0)]))


def _frames(end: str) -> list[bytes]:
    """What the peer of one end of a WebSocket says."""
    return [
        hostile(end, TEXT, b"{}"),
        hostile(end, BINARY, bytes(200)),
        hostile(end, BINARY, bytes(3000), fin=False),
        hostile(end, CONTINUATION, bytes(900), fin=False),
        hostile(end, CONTINUATION, b"x"),
        hostile(end, BINARY, length=3999),
        hostile(end, BINARY, length=4001),
        hostile(end, TEXT, b"\xc3"),
        hostile(end, PING, b"?"),
        hostile(end, CLOSE, b"\x03\xe8bye"),
        hostile(end, 3),
    ]


def _requests() -> list[bytes]:
    def request(method: str, name: str, more: str = "") -> bytes:
        return f"{method} /{name}?authorization={AUTHORIZATION}{more} HTTP/1.1\r\nHost: x\r\n".encode()

    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    return [
        request("POST", "connect") + b"\r\n",
        request("GET", "get_messages") + b"\r\n",
        request("GET", "get_binary_messages") + b"\r\n",
        request("POST", "send_message", "&message=hi") + b"\r\n",
        request("POST", "send_message") + form + b"Content-Length: 11\r\n\r\nmessage=hey",
        request("POST", "send_message") + form + b"Transfer-Encoding: chunked\r\n\r\n",
        request("POST", "send_message") + form + b"Content-Length: 3900\r\n\r\nmessage=",
        request("POST", "send_message") + form + b"Content-Length: 4001\r\n\r\nmessage=",
        request("POST", "disconnect") + b"Connection: close\r\n\r\n",
        b"8\r\nmessage=\r\n",
        b"1\r\na\r\n",
        b"0\r\n\r\n",
        b"GET /" + AGENT.encode(),
        b"Expect: 100-continue\r\n",
        b"Cookie: hivemind_http_replica=",
        b"\r\n",
    ]


_ANSWERS = [
    response(body=polled("hello", "offer")),
    response(body=polled_binary(b"sealed")),
    response(body={"status": "message sent"}),
    response(409, {"error": "Client is not connected"}),
    response(503, b"<html>", [("Retry-After", "5")], content_type="text/html"),
    response(200, polled(), [("Set-Cookie", "a=" + "b" * 400)]),
    response(body=polled("x" * 3900)),
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4001\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    b"e\r\n" + b'{"messages":["' + b"\r\n",
    b"1\r\na\r\n",
    b'3\r\n"]}\r\n0\r\n\r\n',
    base64.b64encode(bytes(90)),
]

_HELLO = b'{"msg_type": "hello", "payload": {}}'


def _published(*said: tuple[str, bytes, int]) -> list[bytes]:
    ids = {0: None, 1: 7}
    return [
        p.Publish(
            topic=topic, payload=payload, qos=qos, dup=bool(qos) and payload == b"again", packet_id=ids[qos]
        ).encode()
        for topic, payload, qos in said
    ]


_BROKER = [
    p.Puback(2).encode(),
    p.Puback(9).encode(),
    p.Pingresp().encode(),
    p.Suback(packet_id=1, codes=(1,)).encode(),
    b"\x30\xff\xff\xff\x7f\x00\x03p/k",
    b"\x30\xa0\x1f",
    b"\x32\x10\x00\x07p/k/out",
    b"\xf0\x00",
    b"\x30\x80\x80\x80\x80",
]

ENDS = {
    "wss-client": End(lambda: _wss("client"), _frames("client")),
    "wss-hub": End(lambda: _wss("hub"), _frames("hub")),
    "wss-client-upgrading": End(
        lambda: _upgrading("client"),
        [
            b"HTTP/1.1 101 Switching Protocols\r\n",
            b"HTTP/1.1 503 Busy\r\n",
            b"Upgrade: websocket\r\n",
            b"\r\n",
            b"\x16\x03",
        ],
    ),
    "wss-hub-upgrading": End(lambda: _upgrading("hub"), [REQUEST, REQUEST[:-2], b"x-y: z\r\n", *_frames("hub")]),
    **{
        f"https-client-{stage}": End(partial(_https_client, stage), _ANSWERS)
        for stage in ("idle", "disconnect", "connect", "get_messages", "get_binary_messages", "send_message")
    },
    "https-hub": End(_https_hub, _requests()),
    "mqtt-client": End(
        _mqtt_client,
        [
            *_published(
                ("p/k/out", _HELLO, 1),
                ("p/k/out", b"sealed", 1),
                ("p/k/out", b"again", 1),
                ("p/k/out", bytes(3900), 0),
                ("p/k/out", bytes(5000), 0),
                ("p/k/status", b"online", 0),
                ("p/k/status", b"offline", 1),
                ("p/other/out", b"?", 0),
            ),
            *_BROKER,
        ],
    ),
    "mqtt-gateway": End(
        _gateway,
        [
            *_published(
                ("p/k/in", _HELLO, 1),
                ("p/k/in", b"again", 1),
                ("p/j/in", bytes(3900), 0),
                ("p/j/in", bytes(5000), 1),
                ("p/k/status", b"offline", 0),
                ("p/master/status", b"online", 1),
                ("q/k/in", b"?", 0),
            ),
            *[p.Publish(topic=f"p/{number}/in", payload=b"x").encode() for number in range(9)],
            *_BROKER,
        ],
    ),
    "mqtt-door": End(
        _door,
        [
            p.Connect(client_id="c", username="k", password=Secret(b"p")).encode(),
            p.Connect(client_id="c", keepalive=5).encode(),
            p.Connect(client_id="c" * 3000).encode(),
            p.Subscribe(packet_id=1, filters=(("p/k/out", 1),)).encode(),
            *_published(("p/k/in", _HELLO, 1), ("p/k/in", bytes(3900), 0), ("p/k/in", bytes(5000), 0)),
            p.Pingreq().encode(),
            *[packet.encode() for packet in EXAMPLES],
            *_BROKER,
        ],
    ),
}
