"""Two ends of a hub connection, joined in memory: the real machines, a clock that tests move, fixed entropy.

`Pair` is two `HubConnection`s that talk to each other, over what a WSS, HTTPS or MQTT link would be to them. The same
arguments give the same frames.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from thalovant_proto.carrier import Carrier, Frame, FrameType
from thalovant_proto.codec.channel import LegacyChannel
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.crypto.legacy import LegacyCipher
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.events import Event, Generation
from thalovant_proto.handshake.client import ClientSide
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.limits import DEFAULT_LIMITS, Limits
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role
from thalovant_proto.trust import Trust

WSS: Final = Carrier(secure=True)
HTTPS: Final = Carrier(legacy_binary_up=False, rehello=True, secure=True, receipts=True)
MQTT: Final = Carrier(typed=False, rehello=True, secure=True, receipts=True, idle=100.0)
LEGACY_MQTT: Final = Carrier(text_up=False, typed=False, rehello=True, secure=True, receipts=True, idle=100.0)
CARRIERS: Final = {"wss": WSS, "https": HTTPS, "mqtt": MQTT, "legacy-mqtt": LEGACY_MQTT}

ACCESS_KEY: Final = Secret("pair-access-key")
PASSWORD: Final = Secret("pair password, long enough")
CRYPTO_KEY: Final = Secret("0123456789abcdef")
CLIENT_STATIC: Final = Secret(hashlib.sha256(b"client's static key").digest())
HUB_STATIC: Final = Secret(hashlib.sha256(b"hub's static key").digest())
PIN_ID: Final = "wss://hub.test:5678"
NODE_ID: Final = "-----BEGIN PUBLIC KEY-----\nnot parsed, only hashed\n-----END PUBLIC KEY-----\n"

Derive = Callable[[DeriveKey], Secret[bytes]]


def stream(seed: str) -> Callable[[int], bytes]:
    """Entropy that is the same every time, and never the same twice."""
    count = 0

    def entropy(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(size)

    return entropy


def quick(effect: DeriveKey) -> Secret[bytes]:
    """A key that depends on all that the real one does, at the cost of a hash."""
    hashed = hashlib.sha256(effect.kdf.value.encode() + b"\0" + effect.salt + b"\0" + effect.secret.reveal())
    return Secret(hashed.digest())


def legacy_channel(cipher: LegacyCipher, generation: Generation, seed: str = "channel") -> LegacyChannel:
    """What somebody seals and opens with who holds the key of a legacy session."""
    return LegacyChannel(
        cipher,
        generation=generation,
        text=True,
        binary=True,
        binarize=False,
        entropy=stream(seed),
        limits=DEFAULT_LIMITS,
    )


def carried(frame: Frame, carrier: Carrier) -> Frame:
    """A frame as the other end of the carrier gets it."""
    return frame if carrier.typed else Frame(frame.data, FrameType.UNTYPED)


def client_side(*, pinned: bool = False, **changes: Any) -> ClientSide:
    """A client with every secret. `pinned`: it was here before, and knows the hub's key."""
    pins = {PIN_ID: public_key(HUB_STATIC)} if pinned else {}
    whole: dict[str, Any] = {
        "access_key": ACCESS_KEY,
        "password": PASSWORD,
        "crypto_key": CRYPTO_KEY,
        "trust": Trust(static_key=CLIENT_STATIC, pins=pins),
        "pin_id": PIN_ID,
        "session": {"session_id": "session-1", "site_id": "kitchen"},
        "site_id": "kitchen",
    }
    return ClientSide(**(whole | changes))


def hub_side(generation: Generation = Generation.NOISE, *, pinned: bool = False, **changes: Any) -> HubSide:
    """A hub that offers that client one generation. `pinned`: it knows the client's key.

    A v0 client has no password at the hub, so that it is not offered one.
    """
    preshared = generation is Generation.PRESHARED
    whole: dict[str, Any] = {
        "node_id": NODE_ID,
        "static_key": HUB_STATIC,
        "peer": "agent::1::client::default",
        "generation": generation,
        "password": None if preshared else PASSWORD,
        "crypto_key": CRYPTO_KEY if preshared else None,
        "pinned": public_key(CLIENT_STATIC) if pinned else None,
    }
    return HubSide(**(whole | changes))


class Pair:
    """A client and a hub.

    `client` and `hub` name what differs from `client_side` and `hub_side`. `derive` answers derivations at once; None
    leaves them in `derivations` until `answer`. What travels waits in `to_hub` and `to_client`, for tests to look at,
    drop or change, and is in `travelled` once it arrived.
    """

    def __init__(
        self,
        generation: Generation = Generation.NOISE,
        *,
        pinned: bool = False,
        carrier: Carrier = WSS,
        derive: Derive | None = quick,
        limits: Limits = DEFAULT_LIMITS,
        now: float = 0.0,
        client: Mapping[str, Any] | None = None,
        hub: Mapping[str, Any] | None = None,
    ) -> None:
        self.carrier = carrier
        self.now = now
        self.client = HubConnection(
            client_side(pinned=pinned, **(client or {})), carrier, entropy=stream("client"), now=now, limits=limits
        )
        self.hub = HubConnection(
            hub_side(generation, pinned=pinned, **(hub or {})), carrier, entropy=stream("hub"), now=now, limits=limits
        )
        self.heard_by_client: list[Event] = []
        self.heard_by_hub: list[Event] = []
        self.to_client: deque[Frame] = deque()
        self.to_hub: deque[Frame] = deque()
        self.travelled: list[tuple[Role, Frame]] = []
        self.derivations: deque[tuple[Role, DeriveKey]] = deque()
        self._derive = derive
        self._collect()

    def drive(self) -> Pair:
        """Go on until both ends are quiet."""
        while self.step():
            pass
        return self

    def step(self) -> bool:
        """Let one frame arrive, one of the client's if there is any. Whether there was one."""
        for role in Role:
            if queue := self._on_the_way_from(role):
                self.arrive(role, queue.popleft())
                return True
        return False

    def arrive(self, sender: Role, frame: Frame) -> list[Event]:
        """Let a frame arrive as if `sender` had sent it. Returns what the other end makes of it."""
        self.travelled.append((sender, frame))
        receiver = self.end(sender.peer)
        return self._heard(sender.peer, receiver.receive(frame, self.now))

    def answer(self, derive: Derive = quick) -> list[Event]:
        """Answer the oldest derivation that waits."""
        role, effect = self.derivations.popleft()
        return self._heard(role, self.end(role).effect_done(effect.id, derive(effect), self.now))

    def wait(self, seconds: float) -> Pair:
        """Let time pass for both ends, at once."""
        self.now += seconds
        for role in Role:
            self._heard(role, self.end(role).handle_timeout(self.now))
        return self

    def send(self, sender: Role, *events: Any) -> Pair:
        """Have one end send messages; they are on the way, then."""
        for event in events:
            self.end(sender).send(event, self.now)
        self._collect()
        return self

    def end(self, role: Role) -> HubConnection:
        """One of the two ends."""
        return self.client if role is Role.CLIENT else self.hub

    def heard_by(self, role: Role) -> list[Event]:
        """All events of one end."""
        return self.heard_by_client if role is Role.CLIENT else self.heard_by_hub

    def _on_the_way_from(self, role: Role) -> deque[Frame]:
        return self.to_hub if role is Role.CLIENT else self.to_client

    def _heard(self, role: Role, events: Iterable[Event]) -> list[Event]:
        heard = list(events)
        self.heard_by(role).extend(heard)
        self._collect()
        return heard

    def _collect(self) -> None:
        for role in Role:
            end = self.end(role)
            self._on_the_way_from(role).extend(carried(frame, self.carrier) for frame, _ in end.frames_to_send())
            self.derivations.extend((role, effect) for effect in end.effects())
        while self._derive is not None and self.derivations:
            self.answer(self._derive)
