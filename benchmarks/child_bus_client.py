"""A published hivemind-bus-client in an environment of its own, by its public API only: its codec, and a connection."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from children import serve
from hivemind_bus_client.client import HiveMessageBusClient
from hivemind_bus_client.encryption import decrypt_bin, decrypt_from_json, encrypt_as_json, encrypt_bin
from hivemind_bus_client.message import HiveMessage, HiveMessageType, HiveMindBinaryPayloadType
from hivemind_bus_client.serialization import decode_bitstring, get_bitstring
from ovos_bus_client.message import Message
from ovos_bus_client.session import Session
from ovos_utils.log import LOG

KEY = b"0123456789abcdef"


def json_codec(*, data: dict[str, Any], context: dict[str, Any], encoding: str, count: int) -> float:
    """Seconds for a bus message: to its sealed text frame and back."""
    message = HiveMessage(HiveMessageType.BUS, Message("speak", data, context))

    def work() -> None:
        frame = encrypt_as_json(KEY, message.serialize(), cipher="AES-GCM", encoding=encoding)
        heard = HiveMessage.deserialize(decrypt_from_json(KEY, frame, cipher="AES-GCM", encoding=encoding))
        assert heard.payload.data == data

    return _timed(work, count)


def binary_codec(*, size: int, sealed: bool, compressed: bool, count: int) -> float:
    """Seconds for a message of raw bytes: to its binary frame and back.

    `sealed`: encrypted too. `compressed`: its metadata are; the older release reads nothing else.
    """
    payload = bytes(size)

    def work() -> None:
        frame = get_bitstring(
            hive_type=HiveMessageType.BINARY,
            payload=payload,
            hivemeta={},
            binary_type=HiveMindBinaryPayloadType.RAW_AUDIO,
            compressed=compressed,
        )
        data = frame if isinstance(frame, bytes) else frame.bytes
        if sealed:
            data = decrypt_bin(KEY, encrypt_bin(KEY, data, "AES-GCM"), "AES-GCM")
        assert len(decode_bitstring(data).payload) == size

    return _timed(work, count)


clients: list[HiveMessageBusClient] = []
session = Session(session_id=str(uuid.uuid4()))
handled = threading.Event()


def connect(*, identity: str) -> None:
    """One client more, ready."""
    values = json.loads(Path(identity).read_text())
    endpoint = urlsplit(values["data_plane_endpoints"]["wss"])
    client = HiveMessageBusClient(
        key=values["access_key"],
        password=values["password"],
        host=f"{endpoint.scheme}://{endpoint.hostname}",
        port=endpoint.port,
        useragent="benchmark",
        self_signed=False,
    )
    threading.Thread(target=client.connect, kwargs={"site_id": values["site_id"]}, daemon=True).start()
    client.wait_for_handshake(30)
    client.on_mycroft("ovos.utterance.handled", lambda _: handled.set())
    clients.append(client)


def ask(*, count: int) -> list[float]:
    """Seconds for each of `count` asks, one after the other: until the hub says that it is done."""
    client = clients[0]
    taken = []
    for _ in range(count):
        handled.clear()
        started = time.perf_counter()
        context = {"session": session.serialize()}
        utterance = Message("recognizer_loop:utterance", {"utterances": ["hello"], "lang": "en-us"}, context)
        client.emit(HiveMessage(HiveMessageType.BUS, utterance))
        if not handled.wait(10):
            raise TimeoutError("not answered")
        taken.append(time.perf_counter() - started)
    return taken


def binary_up(*, size: int, count: int) -> float:
    """MB/s of raw bytes to the hub, until it says that it has them all."""
    client = clients[0]
    arrived = threading.Event()
    client.on_mycroft("benchmark.arrived", lambda _: arrived.set())
    message = HiveMessage(HiveMessageType.BINARY, bytes(size), bin_type=HiveMindBinaryPayloadType.RAW_AUDIO)
    started = time.perf_counter()
    expect = Message("benchmark.expect", {"bytes": size * count}, {"session": session.serialize()})
    client.emit(HiveMessage(HiveMessageType.BUS, expect))
    for _ in range(count):
        client.emit(message, binary_type=HiveMindBinaryPayloadType.RAW_AUDIO)
    if not arrived.wait(120):
        raise TimeoutError("not everything arrived")
    return size * count / (time.perf_counter() - started) / 1e6


def _timed(work: Callable[[], None], count: int) -> float:
    work()
    started = time.process_time()  # as `measuring.timed`
    for _ in range(count):
        work()
    return (time.process_time() - started) / count


LOG.set_level("ERROR")  # two lines for each message otherwise
bytes(8 << 20)  # as `measuring.settle_allocator` says
serve({call.__name__: call for call in (json_codec, binary_codec, connect, ask, binary_up)})
