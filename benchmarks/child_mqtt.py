"""paho-mqtt and aiomqtt, in an environment of their own: QoS 1 round trips a second, each as its users run it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import aiomqtt
from children import serve
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv311


def paho(
    *, host: str, port: int, user: str | None, password: str | None, topic: str, payload: int, window: int, count: int
) -> float:
    """With its own network thread."""
    client = Client(CallbackAPIVersion.VERSION2, client_id="paho-benchmark", protocol=MQTTv311)
    if user:
        client.username_pw_set(user, password)
    client.max_inflight_messages_set(window)
    free, ready, data = threading.Semaphore(window), threading.Event(), bytes(payload)
    client.on_connect = lambda *_: ready.set()
    client.on_publish = lambda *_: free.release()
    client.connect(host, port)
    client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.loop_start()
    if not ready.wait(10):
        raise TimeoutError("not connected")
    started = time.perf_counter()
    for _ in range(count):
        free.acquire()
        client.publish(topic, data, qos=1)
    for _ in range(window):
        free.acquire()
    rate = count / (time.perf_counter() - started)
    client.disconnect()
    client.loop_stop()
    return rate


def awaited(*, window: int, count: int, **where: Any) -> float:
    """Each publish awaited, by as many tasks as the window is wide."""
    return asyncio.run(_awaited(window=window, count=count, **where))


async def _awaited(
    *, host: str, port: int, user: str | None, password: str | None, topic: str, payload: int, window: int, count: int
) -> float:
    data, numbers = bytes(payload), iter(range(count))
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    async with aiomqtt.Client(
        host,
        port,
        username=user,
        password=password,
        protocol=aiomqtt.ProtocolVersion.V311,
        max_inflight_messages=window,
        max_concurrent_outgoing_calls=window,
        socket_options=options,
    ) as client:

        async def worker() -> None:
            for _ in numbers:
                await client.publish(topic, data, qos=1)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(window):
                group.create_task(worker())
        return count / (time.perf_counter() - started)


serve({"paho": paho, "aiomqtt": awaited})
