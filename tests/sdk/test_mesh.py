"""Frames of the mesh: heard by kind, and sent around a bus message."""

from __future__ import annotations

import logging
import queue
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from thalovant import HIVE_KINDS, AsyncThalovantClient, ThalovantClient
from thalovant_proto import events as wire
from thalovant_proto.codec.envelope import envelope_of

from .lab import PATIENCE, Lab

TAKEN = ["broadcast", "propagate", "escalate", "intercom", "rendezvous"]
REFUSED = ["query", "cascade", "bus", "hello", "shake", "binary", "bin", "ping", "shared_bus", "Broadcast", "", None]
INNER = {"type": "test.news", "data": {"n": [1]}, "context": {"a": {"b": 1}}}
FRAMES = [
    kind(
        payload={"msg_type": "bus", "payload": INNER},
        metadata={"m": 1},
        route=[{"source": "a", "targets": ["b"]}],
        source_peer="peer",
    )
    for kind in (wire.Broadcast, wire.Propagate, wire.Escalate, wire.Intercom, wire.Rendezvous)
]


def test_kinds() -> None:
    """Those that can be heard."""
    assert list(HIVE_KINDS) == TAKEN


@pytest.mark.parametrize("kind", REFUSED)
async def test_kinds_that_are_heard_otherwise(v3: Lab, kind: Any) -> None:
    """Refused at once, and nothing connects for them."""
    client = v3.async_client()
    with pytest.raises(ValueError, match=r"on_hive\(\) takes one of broadcast, propagate, "):
        client.on_hive(kind, print)
    assert client.state == "idle"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.msg_type)
async def test_frames_reach_handlers_as_they_came(v3: Lab, frame: Any) -> None:
    """Each handler of the kind has a copy of its own, whatever another one does; those of other kinds hear nothing."""
    heard: dict[str, list[Any]] = {"first": [], "second": [], "coroutine": [], "other": []}

    def spoils(got: Any) -> None:
        heard["first"].append(got)
        got.payload.clear()
        got.route.append("spoilt")
        raise RuntimeError("which costs nobody else theirs")

    async def later(got: Any) -> None:
        heard["coroutine"].append(got)

    async with v3.talking() as client:
        client.on_hive(frame.msg_type, spoils)
        end = await client.on_hive(frame.msg_type, heard["second"].append)
        await client.on_hive(frame.msg_type, later)
        for other in set(TAKEN) - {frame.msg_type}:
            await client.on_hive(other, heard["other"].append)
        await client.connect()
        v3.hub.send_to("shared", frame)
        await client.ask("say heard")
        end()
        end()
        v3.hub.send_to("shared", frame)
        await client.ask("say heard")

    (got,) = heard["second"]
    assert (got.msg_type, got.payload, got.metadata) == (frame.msg_type, frame.payload, frame.metadata)
    assert (got.route, got.source_peer) == (frame.route, frame.source_peer)
    assert (heard["coroutine"], len(heard["first"]), heard["other"]) == ([frame, frame], 2, [])


@pytest.mark.parametrize("kind", ["propagate", "broadcast"])
def test_spreading(v3: Lab, kind: str) -> None:
    """It reaches the other clients as that kind, around a bus message that strict peers read, with the hops it made.

    The type is trimmed, and the identity's metadata rides along under the caller's.
    """
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    boss = replace(v3.identity("boss", admin=True), metadata={"room": "attic", "a": 1})
    with v3.client() as client, ThalovantClient(boss, noise_state_dir=v3.state_dir("boss")) as sender:
        end = client.on_hive(kind, heard.put)
        client.connect()
        getattr(sender, kind)("  test.news ", {"n": 1}, {"request_id": "R", "metadata": {"a": 2}})
        frame = heard.get(timeout=PATIENCE)
        end()

    inner = frame.payload["payload"]
    assert (frame.msg_type, inner["type"], inner["data"]) == (kind, "test.news", {"n": 1})
    assert (inner["context"]["request_id"], inner["context"]["metadata"]) == ("R", {"room": "attic", "a": 2})
    assert frame.payload.keys() == envelope_of(wire.Bus(type="x")).keys()
    assert [sorted(hop) for hop in frame.route] == [["source", "targets"]] * 2


@pytest.mark.parametrize("kind", ["propagate", "escalate", "broadcast"])
async def test_grants(own: Lab, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A hub closes the connection of a client that may not; one that may goes on, and nothing is denied."""
    caplog.set_level(logging.INFO, "thalovant.hub")
    denied: list[object] = []
    for name, granted in (("may", True), ("may-not", False)):
        grants = {"admin": True, **dict.fromkeys(("can_propagate", "can_escalate", "can_broadcast"), granted)}
        identity = own.identity(name, **grants)
        async with AsyncThalovantClient(identity, noise_state_dir=own.state_dir(name), auto_reconnect=False) as client:
            client.on("hive.policy.denied", denied.append)
            spread: Callable[..., Awaitable[None]] = getattr(client, kind)
            await spread("test.news")
            if granted:
                await client.ask("say go on")
            else:
                await client.wait_closed()

    told = [record.message for record in caplog.records if record.name == "thalovant.hub"]
    assert denied == []
    assert [f"{kind.upper()} is not allowed for this client" in message for message in told].count(True) == 1


@pytest.mark.parametrize("kind", ["propagate", "escalate", "broadcast"])
@pytest.mark.parametrize("type", ["", " \n", None, 5])
async def test_blank_types(v3: Lab, kind: str, type: Any) -> None:
    """What names no event is not sent."""
    client = v3.async_client()
    with pytest.raises(ValueError, match=rf"{kind}\(\) requires a non-empty event type\."):
        await getattr(client, kind)(type)
    assert client.state == "idle"
