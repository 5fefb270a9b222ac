"""Clients of a running hub that are not ours: bytes on verified TLS sockets, read by h11 and by our packet decoder."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import h11
from attrs import frozen

from thalovant.identity import ThalovantIdentity
from thalovant_proto.links.mqtt.decoding import decode
from thalovant_proto.links.mqtt.fields import MAX_REMAINING
from thalovant_proto.links.mqtt.framing import Framer
from thalovant_proto.links.mqtt.packets import Connect, Packet
from thalovant_proto.secret import Secret

PATIENCE = 20.0


class Stranger:
    """A TLS connection to the hub of an identity, from any address of this machine."""

    def __init__(self, identity: ThalovantIdentity, protocol: str, *, source: str = "127.0.0.1") -> None:
        parts = urlsplit(str(identity.endpoint_for(protocol)))
        host = str(parts.hostname)
        context = ssl.create_default_context(cafile=identity.ca_file)
        raw = socket.create_connection((host, parts.port or 0), timeout=PATIENCE, source_address=(source, 0))
        self._socket = context.wrap_socket(raw, server_hostname=host)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it without a word."""
        self._socket.close()

    def write(self, data: bytes) -> None:
        """Send bytes; a hub that has hung up meanwhile is no fault."""
        try:
            self._socket.sendall(data)
        except OSError:
            pass

    def read(self) -> bytes:
        """Some bytes, none at the end however that came."""
        try:
            return self._socket.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return b""


@frozen
class Answer:
    """A response: its status, headers, and body as JSON."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


class Browser(Stranger):
    """Speaks HTTP, one request after the other on one connection. Keeps no cookies: a test says which it shows."""

    def __init__(self, identity: ThalovantIdentity, *, agent: str = "stranger/1", source: str = "127.0.0.1") -> None:
        super().__init__(identity, "https", source=source)
        self._http = h11.Connection(h11.CLIENT)
        self.authorization = base64.b64encode(f"{agent}:{identity.access_key}".encode()).decode()

    def call(
        self,
        method: str,
        resource: str,
        form: Mapping[str, str] | None = None,
        *,
        cookie: str = "",
        authorization: str | None = None,
        extra: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """One request, with `authorization` in its query: our own, none if it is ""."""
        shown = self.authorization if authorization is None else authorization
        target = f"/{resource}?{urlencode({'authorization': shown})}" if shown else f"/{resource}"
        body = b"" if form is None else urlencode(form).encode()
        headers = [("Host", "hub"), ("Content-Length", str(len(body))), *extra]
        headers += [("Content-Type", "application/x-www-form-urlencoded")] if form is not None else []
        headers += [("Cookie", cookie)] if cookie else []
        for event in (
            h11.Request(method=method, target=target, headers=headers), h11.Data(data=body), h11.EndOfMessage(),
        ):  # fmt: skip
            self.write(self._http.send(event) or b"")
        return self.answer()

    def answer(self) -> Answer:
        """The next response."""
        head, body = None, b""
        while True:
            match self._http.next_event():
                case h11.NEED_DATA:
                    self._http.receive_data(self.read())
                case h11.Response() as head:
                    pass
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage():
                    break
        assert isinstance(head, h11.Response)
        if self._http.our_state is self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        headers = {name.decode().lower(): value.decode() for name, value in head.headers}
        return Answer(head.status_code, headers, json.loads(body) if body else {})

    def connect(self) -> str:
        """Open a session; gives its cookie."""
        answer = self.call("POST", "connect")
        assert (answer.status, answer.body) == (200, {"status": "Connected"})
        return answer.headers["set-cookie"].partition(";")[0]

    def poll(self, cookie: str = "") -> Answer:
        """What waits in clear."""
        return self.call("GET", "get_messages", cookie=cookie)


class MqttStranger(Stranger):
    """Speaks MQTT, packet by packet."""

    def __init__(self, identity: ThalovantIdentity) -> None:
        super().__init__(identity, "mqtt")
        self._framer = Framer(MAX_REMAINING)
        self._identity = identity

    def say(self, *packets: Packet) -> None:
        """Send packets."""
        self.write(b"".join(packet.encode() for packet in packets))

    def hear(self) -> Packet | None:
        """The next packet, None at the end."""
        while (raw := self._framer.next_packet()) is None:
            data = self.read()
            if not data:
                return None
            self._framer.feed(data)
        return decode(raw.first, raw.body)

    def connect(self, **changes: Any) -> Packet | None:
        """Sign in as the identity's client, but for `changes`; gives the answer."""
        broker = self._identity.mqtt
        assert broker is not None
        fields = {"client_id": "", "username": broker.username, "password": Secret(broker.password.encode())}
        self.say(Connect(**{**fields, **changes}))
        return self.hear()

    def topic(self, level: str) -> str:
        """A topic of the identity's client."""
        assert self._identity.mqtt is not None
        return f"{self._identity.mqtt.topic_prefix}/{level}"
