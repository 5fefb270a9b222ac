"""MQTT QoS 1, PUBLISH to PUBACK, over a blocking socket: our session machine and paho, in one run.

    python benchmarks/mqtt_roundtrips.py                       # starts a mosquitto of its own
    python benchmarks/mqtt_roundtrips.py --broker HOST:PORT --user NAME --password WORD --topic T

Figures are round trips a second, with a payload of 300 bytes: one at a time, and with 20 on their way. paho is measured
if it is installed (`pip install paho-mqtt`).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Connect
from thalovant_proto.links.mqtt.session import MqttSession, Published, State
from thalovant_proto.secret import Secret

PAYLOAD = b"x" * 300
WINDOW = 20
TOPIC = "benchmark/roundtrips"


class Ours:
    """The session machine, driven by a plain blocking socket."""

    name = "thalovant_proto"

    def __init__(self, where: argparse.Namespace) -> None:
        self.topic = where.topic
        self.socket = socket.create_connection((where.host, where.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        password = Secret(where.password.encode()) if where.password else None
        connect = Connect(client_id="thalovant-benchmark", username=where.user, password=password)
        self.session = MqttSession(connect, packet_limit=65_536, limits=MqttLimits(window=WINDOW))
        self.session.open(time.monotonic())
        while self.session.state is not State.READY:
            self.turn()

    def turn(self) -> int:
        """Write, wait for bytes, take them; how many messages they acknowledge."""
        if data := self.session.data_to_send():
            self.socket.sendall(data)
        received = self.socket.recv(65_536)
        return sum(isinstance(event, Published) for event in self.session.receive_data(received, time.monotonic()))

    def run(self, count: int, window: int) -> float:
        """Seconds for `count` messages, `window` at a time."""
        session, topic = self.session, self.topic
        sent = done = 0
        start = time.perf_counter()
        while done < count:
            while sent < count and sent - done < window:
                session.publish(topic, PAYLOAD, time.monotonic(), token=sent)
                sent += 1
            done += self.turn()
        return time.perf_counter() - start

    def close(self) -> None:
        """Say goodbye."""
        self.session.disconnect(time.monotonic())
        self.socket.sendall(self.session.data_to_send())
        self.socket.close()


class Paho:
    """paho with its own network thread, as its users run it."""

    name = "paho-mqtt"

    def __init__(self, where: argparse.Namespace) -> None:
        paho = importlib.import_module("paho.mqtt.client")

        self.topic = where.topic
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="paho-benchmark", protocol=paho.MQTTv311)
        if where.user:
            self.client.username_pw_set(where.user, where.password)
        self.client.max_inflight_messages_set(WINDOW)
        self.free = threading.Semaphore(0)
        ready = threading.Event()
        self.client.on_connect = lambda *_: ready.set()
        self.client.on_publish = lambda *_: self.free.release()
        self.client.connect(where.host, where.port)
        self.client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.loop_start()
        ready.wait(5)

    def run(self, count: int, window: int) -> float:
        """Seconds for `count` messages, `window` at a time."""
        start = time.perf_counter()
        for sent in range(count):
            if sent >= window:
                self.free.acquire()
            self.client.publish(self.topic, PAYLOAD, qos=1)
        for _ in range(min(window, count)):
            self.free.acquire()
        return time.perf_counter() - start

    def close(self) -> None:
        """Say goodbye."""
        self.client.disconnect()
        self.client.loop_stop()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mosquitto() -> Iterator[argparse.Namespace]:
    """A mosquitto of our own, on loopback."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/bin")
    if program is None:
        raise SystemExit("mosquitto is not installed; name a broker with --broker")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "mosquitto.conf")
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n")
        process = subprocess.Popen([program, "-c", str(config)])
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield argparse.Namespace(host="127.0.0.1", port=port, user=None, password=None, topic=TOPIC)
        finally:
            process.terminate()
            process.wait()


def measure(where: argparse.Namespace, count: int) -> None:
    """Print both machines' figures, in turns so that they share the weather; the best of five each."""
    print(f"QoS 1, {len(PAYLOAD)} B, plain TCP; round trips a second, best and worst of 5")
    print(f"{'':18}{'sequential':>22}{f'windowed ({WINDOW})':>22}")
    figures: dict[str, list[list[float]]] = {}
    for _ in range(5):
        for machine in (Ours, Paho):
            try:
                running = machine(where)
            except ImportError:
                continue
            rates = [count / running.run(count, 1), 3 * count / running.run(3 * count, WINDOW)]
            running.close()
            figures.setdefault(machine.name, []).append(rates)
    for name, runs in figures.items():
        columns = [f"{max(column):,.0f} … {min(column):,.0f}" for column in zip(*runs, strict=True)]
        print(f"{name:18}{columns[0]:>22}{columns[1]:>22}")
    if Paho.name not in figures:
        print("paho-mqtt is not installed: nothing to compare with")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", metavar="HOST:PORT")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--topic", default=TOPIC)
    parser.add_argument("--count", type=int, default=5000)
    arguments = parser.parse_args()
    if arguments.broker is None:
        with mosquitto() as where:
            measure(where, arguments.count)
        return
    arguments.host, _, port = arguments.broker.rpartition(":")
    arguments.port = int(port)
    measure(arguments, arguments.count)


if __name__ == "__main__":
    main()
