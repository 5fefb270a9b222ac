"""What a close says at which moment, and which handshakes one connect takes (wire.md §5.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.proto.links.https.https_network import HttpsNetwork
from tests.proto.links.mqtt.network import MqttNetwork
from tests.proto.links.networks import PIN, Network, WssLinks
from tests.proto.world import Hub, World, config, hub_side, met_before, trust
from thalovant_proto import events as e
from thalovant_proto.codec.envelope import clear_frame
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.failures import FailureKind
from thalovant_proto.hub.peer import HubPeer
from thalovant_proto.links.base import Link
from thalovant_proto.outcomes import SessionState, StateChanged
from thalovant_proto.secret import Secret

REFUSALS = (FailureKind.REFUSED, FailureKind.WRONG_PASSWORD, FailureKind.CLIENT_KEY_REJECTED)
WRONG, OTHER = Secret("not the password"), Secret(b"\x07" * 32)
NOISE = b"\x82\x20" + bytes(32)  # a WebSocket frame that opens under no keys


class Watched(World):
    """A world that knows the far end of the newest link."""

    far: Link

    def join(self, link: Link) -> HubPeer:
        self.far = link
        return super().join(link)


def world_of(before: World, links: Network | None = None) -> Watched:
    """The same client and hub, over these links."""
    return Watched(hub=before.hub, client=before.config, knows=before.stack.trust, links=links)


def patterns(world: World) -> list[str]:
    """The patterns that the hub saw; over MQTT what comes too late wakes it once more."""
    seen = [peer._linked.connection for peer in world.hub.peers]
    return [one.pattern for one in seen if one is not None and one.pattern is not None]


def failures(world: World) -> list[FailureKind]:
    """What the ends of links came to."""
    return [changed.failure.kind for changed in world.got(StateChanged) if changed.failure is not None]


def close(world: World, code: int) -> World:
    """The hub's close frame arrives, or with 1006 the end of the socket; 1005 is a frame without a code."""
    if code == 1006:
        return world.lose()
    payload = b"" if code == 1005 else code.to_bytes(2, "big")
    world.stack.receive_data(bytes((0x88, len(payload))) + payload, world.now)
    return world.drive()


@pytest.mark.parametrize("pinned", [False, True], ids=["XX", "KK"])
@pytest.mark.parametrize(
    ("code", "after", "then", "refused"),
    [
        *((code, None, "", True) for code in (1000, 1005, 1008)),
        *((code, None, "", False) for code in (1001, 1006, 1011, 1013, 3000, 4001)),
        (1005, 0.0, "", True),
        (1005, 0.1, "", True),
        (1000, 0.749, "", True),
        (1008, 0.751, "", False),
        (1001, 0.1, "", False),
        (1006, 0.1, "", False),
        (1005, 0.1, "message", False),
        (1005, 0.1, "noise", True),
    ],
)
def test_a_close_is_a_refusal_or_a_drop(pinned, code, after, then, refused):
    """By its code, its time (None: during the handshake), and whether the hub has proven itself."""
    world = world_of(met_before() if pinned else World())
    world.hub.proves, world.held = False, after is None
    world.open().advance(after or 0)
    if then == "message":
        world.says(e.Ping())
    elif then == "noise":
        world.stack.receive_data(NOISE, world.now)

    world.held = False
    close(world, code)

    if pinned and after is None and refused:
        assert (patterns(world), failures(world)) == (["KKpsk0", "XXpsk2"], [])
    else:
        assert (failures(world)[0] in REFUSALS, failures(world)[0] is FailureKind.LOST) == (refused, not refused)
        assert not refused or (len(world.dials), world.stack.state) == (1, SessionState.FAILED)


def test_a_close_between_hello_and_offer_is_a_refusal():
    """The handshake begins with the hello."""
    world = World()
    world.hears = False
    world.open()
    world._up()
    data = world._socket.data_to_send()
    offer = data.index(b'"max_protocol_version"')
    world.stack.receive_data(data[: data.rindex(b"\x81", 0, offer)], world.now)

    assert world.stack.state is SessionState.HANDSHAKE
    close(world, 1005)

    assert failures(world) == [FailureKind.REFUSED]


def test_noise_of_an_unproven_hub_is_borne_for_a_while():
    """The fifth frame that does not open is the end, whatever they were."""
    world = World()
    world.hub.proves = False
    world.open()

    for _ in range(4):
        world.stack.receive_data(NOISE, world.now)
        assert failures(world.drive()) == []
    world.stack.receive_data(NOISE, world.now)

    assert failures(world.drive())[0] is FailureKind.PROTOCOL


# --- one connect


def changed(**hub: Any) -> World:
    """Both have pinned the other; then the hub has changed."""
    return met_before(**hub)


def strange(*, pinned: bool) -> World:
    """A client with a key that is not the one that the hub has pinned; `pinned`: it has pinned the hub's."""
    hub = Hub(hub_side(pinned=b"\x09" * 32))
    return World(hub=hub, knows=trust().with_pin(PIN, public_key(hub.side.static_key)) if pinned else None)


def stranger(**changes: Any) -> World:
    """First contact."""
    return World(client=config(**changes))


REJECTED, CHANGED, PASSWORD = (
    FailureKind.CLIENT_KEY_REJECTED, FailureKind.HUB_KEY_CHANGED, FailureKind.WRONG_PASSWORD,
)  # fmt: skip
BOTH = ["KKpsk0", "XXpsk2"]
SITUATIONS: dict[str, tuple[Callable[[], World], FailureKind | None, list[str]]] = {
    "first contact": (stranger, None, ["XXpsk2"]),
    "pinned": (changed, None, ["KKpsk0"]),
    "wrong password": (lambda: stranger(password=WRONG), PASSWORD, ["XXpsk2"]),
    "password changed since": (lambda: changed(password=WRONG), PASSWORD, BOTH),
    "hub key changed": (lambda: changed(static_key=OTHER), CHANGED, BOTH),
    "hub key changed, KK not offered": (lambda: changed(static_key=OTHER, pinned=None), CHANGED, ["XXpsk2"]),
    "hub key and password changed": (lambda: changed(static_key=OTHER, password=WRONG), CHANGED, BOTH),
    "client key changed": (lambda: strange(pinned=False), REJECTED, ["XXpsk2"]),
    "client key changed, hub pinned": (lambda: strange(pinned=True), REJECTED, BOTH),
}
CARRIERS: dict[str, Callable[[], Network]] = {"wss": WssLinks, "https": HttpsNetwork, "mqtt": MqttNetwork}
on_each = pytest.mark.parametrize("links", CARRIERS.values(), ids=CARRIERS)


@on_each
@pytest.mark.parametrize(("make", "kind", "tries"), SITUATIONS.values(), ids=SITUATIONS)
def test_one_connect(make, kind, tries, links):
    """A failed KK is followed by one XX, whose outcome is that of both; nobody is told of the first, no pin changes."""
    world = world_of(make(), links())
    pins = dict(world.stack.trust.pins)

    world.open().advance(5)

    assert patterns(world) == tries
    assert failures(world) == ([] if kind is None else [kind])
    assert world.stack.state is (SessionState.READY if kind is None else SessionState.FAILED)
    assert {**world.stack.trust.pins, **pins} == world.stack.trust.pins


@on_each
def test_a_kk_answer_that_does_not_authenticate_is_followed_by_xx(links):
    """At once and within the same connect, since the hub has lost or changed what both had."""
    world = world_of(met_before(), links())
    world.held = True
    world.open().advance(2)
    assert patterns(world) == ["KKpsk0"]

    world.far.send(clear_frame(e.Noise2(message=bytes(48)), text=True), world.now)
    world.held = False
    world.drive().advance(5)

    assert (patterns(world), failures(world), world.stack.state) == (BOTH, [], SessionState.READY)


@on_each
def test_a_kk_that_runs_out_of_time_is_not_followed(links):
    """Silence is no answer."""
    world = world_of(met_before(), links())
    world.held = True
    world.open().advance(25, until=lambda: bool(failures(world)))
    world.held = False
    world.drive().advance(5)

    assert (patterns(world), failures(world)) == (["KKpsk0", "KKpsk0"], [FailureKind.HANDSHAKE_TIMEOUT])
