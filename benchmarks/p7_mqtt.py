"""P7: MQTT QoS 1, PUBLISH to PUBACK, at a broker on this machine: our session under both drivers, paho and aiomqtt.

    python benchmarks/p7_mqtt.py                       # starts mosquittos of its own
    python benchmarks/p7_mqtt.py --broker HOST:PORT --user NAME --password WORD --topic T

Figures are round trips a second over plain TCP, with a payload of 300 bytes: one at a time, and with 20 on their way;
at a mosquitto with `set_tcp_nodelay`, and at one as it is shipped.
Our drivers and paho are told by a callback that a message has arrived, aiomqtt and our asyncio driver are awaited. The
blocking driver and paho differ in one thing: paho hands each message to a thread of its own, as all its users do.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import measuring
import peers
from broker import mosquitto
from children import Child
from measuring import Figure, Weather

from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.blocking_driver import BlockingDriver
from thalovant_proto.carrier import Target
from thalovant_proto.client.stack import Dial, Run, Stop
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed
from thalovant_proto.links.mqtt.limits import MqttLimits
from thalovant_proto.links.mqtt.packets import Connect
from thalovant_proto.links.mqtt.session import Connected, MqttSession, Published, SessionEvent, State
from thalovant_proto.secret import Secret

PAYLOAD = b"x" * 300
WINDOW = 20
TOPIC = "benchmark/roundtrips"
SEQUENTIAL, WINDOWED = 3_000, 15_000  # a second, at least


class Machine:
    """The session as drivers want a stack: one socket, dialed once. Its events are its outcomes."""

    def __init__(self, where: argparse.Namespace) -> None:
        self._target = Target(host=where.host, port=where.port, tls=False)
        self._topic = where.topic
        password = Secret(where.password.encode()) if where.password else None
        connect = Connect(client_id="thalovant-benchmark", username=where.user, password=password)
        self.session = MqttSession(connect, packet_limit=65_536, limits=MqttLimits(window=WINDOW))
        self._events: list[SessionEvent] = []

    def publish(self, token: int, now: float) -> None:
        """Send the message."""
        self.session.publish(self._topic, PAYLOAD, now, token=token)

    def step(self) -> Dial | Run | Stop:
        if self.session.state is State.IDLE:
            return Dial(self._target, serial=1)
        return Run(serial=1) if self.session.state is not State.CLOSED else Stop()

    def socket_opened(self, now: float) -> None:
        self.session.open(now)

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        raise SystemExit(failed.message)

    def receive_data(self, data: bytes, now: float) -> None:
        self._events += self.session.receive_data(data, now)

    def eof(self, now: float, reason: str = "") -> None:
        raise SystemExit(f"the broker has hung up: {reason}")

    def data_to_send(self) -> bytes:
        return self.session.data_to_send()

    @property
    def next_timeout(self) -> float | None:
        return self.session.next_timeout

    def handle_timeout(self, now: float) -> None:
        self._events += self.session.handle_timeout(now)

    def effects(self) -> list[DeriveKey]:
        return []

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        """There are none."""

    def outcomes(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events


def blocking(where: argparse.Namespace, count: int, window: int) -> float:
    """Round trips a second under the blocking driver."""
    machine = Machine(where)
    sent = done = 0
    started = ended = 0.0

    def told(event: SessionEvent) -> None:
        nonlocal sent, done, started, ended
        if isinstance(event, Connected):
            started = time.perf_counter()
        elif isinstance(event, Published):
            done += 1
        while sent < count and sent - done < window:
            machine.publish(sent, driver.now)
            sent += 1
        if done == count:
            ended = time.perf_counter()
            machine.session.disconnect(driver.now)

    driver = BlockingDriver(machine, on_outcome=told)
    driver.run()
    return count / (ended - started)


def awaited(where: argparse.Namespace, count: int, window: int) -> float:
    """Round trips a second under the asyncio driver; each is awaited, by as many tasks as the window is wide."""
    return asyncio.run(_awaited(where, count, window))


async def _awaited(where: argparse.Namespace, count: int, window: int) -> float:
    loop = asyncio.get_running_loop()
    machine, connected = Machine(where), loop.create_future()
    waiting: dict[int | None, asyncio.Future[None]] = {}

    def told(event: SessionEvent) -> None:
        if isinstance(event, Connected):
            connected.set_result(None)
        elif isinstance(event, Published):
            waiting.pop(event.token).set_result(None)

    async def worker() -> None:
        for token in numbers:
            future = waiting[token] = loop.create_future()
            machine.publish(token, loop.time())
            driver.wake()
            await future

    driver = AsyncioDriver(machine, on_outcome=told)
    driver.start()
    await connected
    numbers = iter(range(count))
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(window):
            group.create_task(worker())
    rate = count / (time.perf_counter() - started)
    machine.session.disconnect(loop.time())
    driver.wake()
    await driver.closed()
    return rate


def measure(where: argparse.Namespace, rounds: int, count: int, title: str = "") -> list[Figure]:
    """All clients in turns."""
    pairs = (("blocking driver", blocking, "paho"), ("asyncio driver", awaited, "aiomqtt"))
    with ExitStack() as exits:
        runs: dict[str, Callable[[], float]] = {}
        python = peers.mqtt_clients()
        child = None if python is None else exits.enter_context(Child("child_mqtt.py", python=python))
        for window in (1, WINDOW):
            work = count if window == 1 else 3 * count
            for name, run, peer in pairs:
                runs[f"{name} {window}"] = partial(run, where, work, window)
                if child is not None:
                    given = {**vars(where), "payload": len(PAYLOAD), "window": window, "count": work}
                    runs[f"{peer} {window}"] = partial(child.ask, peer, **given)
        rates = {name: max(values) for name, values in measuring.in_turns(rounds, runs).items()}
    figures = []
    for name, _, peer in pairs:
        for window, least in ((1, SEQUENTIAL), (WINDOW, WINDOWED)):
            what = f"{name}, {'one at a time' if window == 1 else f'{window} on their way'}{title}, best round"
            figures.append(Figure(id="P7", what=what, ours=rates[f"{name} {window}"], unit="msg/s", least=least,
                                  peer=peer if child else "", theirs=rates.get(f"{peer} {window}")))  # fmt: skip
    return figures


def main() -> None:
    """The command."""
    parser = measuring.options(__doc__)
    parser.add_argument("--broker", metavar="HOST:PORT")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--topic", default=TOPIC)
    arguments = parser.parse_args()
    rounds, count = (2, 1_000) if arguments.quick else (6, 4_000)
    weather = Weather()
    if arguments.broker is None:
        figures = []
        for title in ("", ", stock mosquitto"):
            with mosquitto(stock=bool(title)) as (port, _):
                where = argparse.Namespace(host="127.0.0.1", port=port, user=None, password=None, topic=TOPIC)
                figures += measure(where, rounds, count, title)
    else:
        host, _, port = arguments.broker.rpartition(":")
        named = {"user": arguments.user, "password": arguments.password, "topic": arguments.topic}
        figures = measure(argparse.Namespace(host=host, port=int(port), **named), rounds, count)
    measuring.show(figures, weather, arguments)


if __name__ == "__main__":
    main()
