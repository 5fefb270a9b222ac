"""Puts paho-mqtt through its paces at one broker, in paho's own environment, and prints what it saw as one JSON line.

    talk_paho.py '{"host": …, "port": …, "ca": …, "username": …, "password": …, "prefix": …}'

Of the account it needs: to write `<prefix>/in`, to read `<prefix>/out`, both for `<prefix>/status`, and nothing else.
"""

import json
import queue
import sys
import threading
from typing import Any

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv311

PATIENCE = 20.0
WHERE: dict[str, Any] = json.loads(sys.argv[1])
PREFIX = WHERE["prefix"]
OUT, STATUS, IN = (f"{PREFIX}/{level}" for level in ("out", "status", "in"))


class Device:
    """A client with everything that happens to it in queues."""

    def __init__(self, client_id: str = "", *, password: str | None = None, keepalive: int = 60, will: int = -1):
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv311, reconnect_on_failure=False
        )
        self.client.username_pw_set(WHERE["username"], password or WHERE["password"])
        self.client.tls_set(WHERE["ca"])
        if will >= 0:
            self.client.will_set(STATUS, b"offline", qos=will, retain=True)
        self.connected: queue.Queue[int] = queue.Queue()
        self.ended = threading.Event()
        self.ponged = threading.Event()
        self.granted: queue.Queue[list[int]] = queue.Queue()
        self.unsubscribed = threading.Event()
        self.heard: queue.Queue[list[Any]] = queue.Queue()
        self.client.on_connect = lambda client, data, flags, code, properties: self.connected.put(code.value)
        self.client.on_disconnect = lambda *_: self.ended.set()
        self.client.on_subscribe = lambda client, data, mid, codes, properties: self.granted.put(
            [code.value for code in codes]
        )
        self.client.on_unsubscribe = lambda *_: self.unsubscribed.set()
        self.client.on_message = self._hear
        self.client.on_log = self._note
        self.client.connect(WHERE["host"], WHERE["port"], keepalive=keepalive)
        self.client.loop_start()
        self.code = self.connected.get(timeout=PATIENCE)

    def _note(self, client: Client, data: object, level: int, text: str) -> None:
        if "PINGRESP" in text:
            self.ponged.set()

    def _hear(self, client: Client, data: object, message: MQTTMessage) -> None:
        payload = message.payload.decode() if len(message.payload) < 100 else len(message.payload)
        self.heard.put([message.topic.removeprefix(PREFIX), payload, message.qos, message.retain])

    def subscribe(self, *pairs: tuple[str, int]) -> list[int]:
        """The codes of the SUBACK."""
        self.client.subscribe(list(pairs))
        return self.granted.get(timeout=PATIENCE)

    def say(self, topic: str, payload: bytes, qos: int, *, retain: bool = False) -> bool:
        """Publish, and wait until paho has what it takes for the whole flow of that QoS."""
        sent = self.client.publish(topic, payload, qos=qos, retain=retain)
        sent.wait_for_publish(PATIENCE)
        return bool(sent.is_published())

    def hear(self) -> list[Any]:
        """The next message: the end of its topic, payload, QoS, retained."""
        return self.heard.get(timeout=PATIENCE)

    def leave(self) -> None:
        """With DISCONNECT."""
        self.client.disconnect()
        self.client.loop_stop()

    def die(self) -> None:
        """Without."""
        sock = self.client.socket()
        assert sock is not None
        sock.close()
        self.client.loop_stop()


def main() -> None:
    saw: dict[str, Any] = {}

    wrong = Device(password="wrong")
    saw["wrong password"] = wrong.code in (4, 5, 134, 135)  # paho translates into the words of MQTT 5
    wrong.client.loop_stop()

    listener = Device("listener")
    saw["connected"] = listener.code
    saw["granted"] = [listener.subscribe((STATUS, 1)), listener.subscribe((OUT, 0), ("somebody/else", 1))]
    listener.client.unsubscribe(OUT)
    saw["unsubscribed"] = listener.unsubscribed.wait(PATIENCE)
    speaker = Device("speaker", will=1)
    saw["published"] = [speaker.say(STATUS, f"qos {qos}".encode(), qos) for qos in (0, 1, 2)]
    saw["heard"] = [listener.hear() for _ in range(3)]
    saw["large"] = [speaker.say(STATUS, bytes(200_000), 1), listener.hear()]
    speaker.say(STATUS, b"online", 1, retain=True)
    saw["live"] = listener.hear()
    late = Device()
    late.subscribe((STATUS, 1))
    saw["late"] = late.hear()
    late.leave()

    second = Device("speaker", will=1)
    saw["taken over"] = [speaker.ended.wait(PATIENCE), listener.hear()]
    speaker.client.loop_stop()
    second.die()
    saw["will"] = listener.hear()
    third = Device("speaker", will=2)
    third.say(STATUS, b"last words", 0)
    third.leave()
    saw["goodbye"] = listener.hear()

    # Last of all: where there is a hub it hears that this is none of its clients, and says so on the status topic.
    quiet = Device(keepalive=1)
    saw["up"] = [quiet.say(IN, b"{}", qos) for qos in (0, 1, 2)]
    saw["ponged"] = quiet.ponged.wait(PATIENCE)
    quiet.leave()
    listener.leave()
    print(json.dumps(saw), flush=True)


main()
