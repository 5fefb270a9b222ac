"""The rig itself: every hub answers, comes back from a restart as the same hub, and forgets pins when told."""

import base64
import json
import os
import socket
import ssl
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from .rigs import Hub, HubName, Rig, RigError

HUBS: tuple[HubName, ...] = ("legacy", "dual", "noise")


def first_frame(rig: Rig, hub: Hub) -> dict[str, object]:
    """Upgrade to a WebSocket over TLS as an ordinary client and return the JSON text frame that the hub opens with."""
    key = hub.clients["ok"].fields()["access_key"]
    authorization = base64.b64encode(f"rig-test:{key}".encode()).decode()
    context = ssl.create_default_context(cafile=rig.ca)
    with (
        socket.create_connection(("localhost", hub.ports.wss), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
        tls.makefile("rb") as reader,
    ):
        nonce = base64.b64encode(os.urandom(16)).decode()
        tls.sendall(
            f"GET /?authorization={authorization} HTTP/1.1\r\nHost: localhost:{hub.ports.wss}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n".encode()
        )
        assert reader.readline().startswith(b"HTTP/1.1 101 ")
        while reader.readline() != b"\r\n":
            pass
        opcode, length = reader.read(2)
        assert opcode == 0x81, "one whole text frame"
        size = {126: ">H", 127: ">Q"}.get(length)
        if size:
            (length,) = struct.unpack(size, reader.read(struct.calcsize(size)))
        frame: dict[str, object] = json.loads(reader.read(length))
        return frame


@pytest.mark.parametrize("name", HUBS)
def test_every_hub_greets_an_ordinary_client(rig: Rig, name: HubName) -> None:
    """A hub of each generation is up behind its TLS front and knows the rig's client."""
    frame = first_frame(rig, rig.hubs[name])

    assert frame["msg_type"] == "hello"


@pytest.mark.parametrize("name", HUBS)
def test_identity_files_are_private_and_name_all_endpoints(rig: Rig, name: HubName) -> None:
    """What tests hand to a client is what a hub's owner would hand out."""
    hub = rig.hubs[name]

    for client in hub.clients.values():
        assert stat.S_IMODE(client.identity.stat().st_mode) == 0o600
        assert client.fields()["data_plane_endpoints"] == {
            "https": f"https://localhost:{hub.ports.https}",
            "wss": f"wss://localhost:{hub.ports.wss}",
            "mqtt": f"mqtts://localhost:{hub.ports.mqtts}",
        }


def test_a_restarted_hub_is_the_same_hub(rig: Rig) -> None:
    """While stopped it refuses; afterwards it is back on its ports with its keys (the noise hub's node id is one)."""
    hub = rig.hubs["noise"]
    before = first_frame(rig, hub)

    with rig.stopped("noise"), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", hub.ports.ws), 10).close()

    payload, again = before["payload"], first_frame(rig, hub)["payload"]
    assert isinstance(payload, dict)
    assert isinstance(again, dict)
    assert payload["node_id"] == again["node_id"]


def test_commands_that_fail_say_why(rig: Rig) -> None:
    """A command of the rig that fails is an error with the reason, not a test that goes on."""
    with pytest.raises(RigError, match="unpin noise psk"):
        rig.unpin("noise", "psk")  # hubs of this generation have no such client


def test_a_forked_identity_changes_what_it_is_told(rig: Rig, forked: Callable[..., Path]) -> None:
    """Wrong credentials for a test come as a private file that is right in all the rest."""
    client = rig.hubs["legacy"].clients["psk"]

    changed = forked(client.identity, password="wrong", mqtt={"password": "wrong"})

    right, wrong = client.fields(), json.loads(changed.read_text())
    assert stat.S_IMODE(changed.stat().st_mode) == 0o600
    assert wrong == {**right, "password": "wrong", "mqtt": {**right["mqtt"], "password": "wrong"}}
    with pytest.raises(KeyError, match="pasword"):
        forked(client.identity, pasword="wrong")
