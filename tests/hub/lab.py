"""A dispatcher with clients in memory: real links, seats and handshakes, no socket; keys are derived by a hash.

A visitor is a client that holds its keys and obeys no rule: it says whatever a test wants, in clear or sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from attrs import evolve

from tests.proto.pair import client_side, quick
from tests.proto.puppet import Puppet
from thalovant.hub.connections import ClientConnection
from thalovant.hub.dispatcher import Dispatcher
from thalovant.hub.settings import DEFAULT_SETTINGS
from thalovant.hub.skills.registry import SkillRegistry, skill
from thalovant.hub.storage.clients import Client, Registry
from thalovant.hub.storage.keys import HubKeys, load_keys
from thalovant.hub.storage.sqlite import Store
from thalovant_proto import events as e
from thalovant_proto.carrier import Frame
from thalovant_proto.hub.peer import PeerClosed
from thalovant_proto.links.base import FrameReceived, LinkClosed
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret
from thalovant_proto.trust import Trust

PATIENCE = 20.0
NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
PIN = "wss://hub.test:5678"
STATIC = Secret(b"\7" * 32)
RSA = "-----BEGIN PUBLIC KEY-----\nmine\n-----END PUBLIC KEY-----"

_keys: list[HubKeys] = []


def hub_keys() -> HubKeys:
    """The keys of every hub in these tests: made once."""
    if not _keys:
        state = Store.open(None, now=NOW)
        _keys.append(load_keys(state, [], NOW))
        state.close(now=NOW)
    return _keys[0]


class MqttConnection:
    """One connection of a client: the driver of its connection, and the client itself."""

    def __init__(self, lab: Lab, puppet: Puppet, access_key: str, *, address: str, agent: str) -> None:
        self.puppet = puppet
        self.closed: tuple[int | None, str] | None = None  # what the client learns of the end
        self.ended: PeerClosed | None = None  # what the hub says of it
        self.holds: list[bool] = []
        self.aborted = False
        self.reads = True
        self._lab = lab
        self._link = WssClientLink(
            PIN, access_key=Secret(access_key), user_agent=agent, entropy=os.urandom, secure=True
        )
        self._link.socket_opened(lab.now)
        self._hub_link = WssServerLink(secure=True)
        self._turning = True
        self.connection: ClientConnection = lab.dispatcher.accept(self._hub_link, self, address=address)
        self._turning = False
        self.wake()

    # what a connection's driver is

    def wake(self) -> None:
        """Move bytes both ways until nothing more comes."""
        if self._turning:
            return
        self._turning = True
        try:
            while not self.aborted and self._move():
                pass
        finally:
            self._turning = False

    def hold(self, hold: bool) -> None:
        self.holds.append(hold)

    def abort(self) -> None:
        self.aborted = True

    def _move(self) -> bool:
        lab, moved = self._lab, False
        if up := self._link.data_to_send():
            moved = True
            self.connection.receive_data(up, lab.now)
        for effect in self.connection.effects():
            moved = True
            self.connection.effect_done(effect.id, quick(effect), lab.now)
        for outcome in self.connection.outcomes():
            moved = True
            if isinstance(outcome, PeerClosed):
                self.ended = outcome
            lab.dispatcher.on_outcome(self.connection, outcome)
        if self.reads and (down := self.connection.data_to_send()):
            moved = True
            for event in self._link.receive_data(down, lab.now):
                if isinstance(event, FrameReceived):
                    self.puppet.hear(event.frame)
                elif isinstance(event, LinkClosed):
                    self.closed = (event.code, event.reason)
        return moved

    # what a client does

    @property
    def heard(self) -> list[e.Event]:
        """What the hub said."""
        return self.puppet.heard

    def bus(self, type: str = "speak") -> list[e.Bus]:
        """The bus messages of a type that the hub said."""
        return [event for event in self.heard if isinstance(event, e.Bus) and event.type == type]

    @property
    def joined(self) -> bool:
        """Whether the hub counts it as proven."""
        return self.connection.routed is not None and self.connection.routed in self._lab.dispatcher.peers

    def shake_hands(self) -> MqttConnection:
        """Say everything that is due, the sealed hello included."""
        while self.puppet.due:
            self.say(self.puppet.due.popleft())
        return self

    def say(self, *events: e.Event) -> None:
        """Say events as they travel: messages sealed, all else in clear."""
        for event in events:
            for frame in self.puppet.frames(event):
                self.send(frame)

    def say_in_clear(self, event: e.Event) -> None:
        """Say an event in clear, also one that must never be."""
        self.send(self.puppet.in_clear(event))

    def send(self, frame: Frame) -> None:
        """Send a frame."""
        if self.closed is None:
            self._link.send(frame, self._lab.now)
            self.wake()

    def hang_up(self) -> None:
        """End the connection without a word."""
        self.connection.eof(self._lab.now)
        self.wake()

    def tick(self) -> None:
        """Let the hub look at its clock."""
        self.connection.handle_timeout(self._lab.now)
        self.wake()


class Lab:
    """A dispatcher, its clients and their visits."""

    def __init__(self, **settings: Any) -> None:
        self.hub: Any = None
        self.state = Store.open(None, now=NOW)
        self.registry = Registry(self.state)
        self.skills = SkillRegistry()
        self.keys = hub_keys()
        self.dispatcher = Dispatcher(
            self.hub,
            self.keys,
            self.registry,
            self.skills,
            site_id=None,
            settings=evolve(DEFAULT_SETTINGS, **settings),
        )
        self._loop = asyncio.get_running_loop()
        self.ahead = 0.0

    @property
    def now(self) -> float:
        """The hub's time."""
        return self._loop.time() + self.ahead

    def echo(self) -> None:
        """Add a skill that repeats what is said."""

        async def echo(turn: Any) -> str:
            return f"You said: {turn.text}"

        self.skills.add(skill(fallback=True)(echo))

    def client(self, name: str = "kiosk", **options: Any) -> Client:
        """Register a client."""
        return self.registry.add(name, **options)

    def visit(
        self,
        client: Client,
        *,
        static: Secret[bytes] = STATIC,
        address: str = "192.0.2.1",
        agent: str = "app",
        pinned: bool = False,
        **changes: Any,
    ) -> MqttConnection:
        """A connection of a client, up to the hub's offer. `changes` are those of `client_side`."""
        pins = {PIN: self.keys.public_key} if pinned else {}
        fields = {
            "access_key": client.access_key,
            "password": client.password,
            "crypto_key": client.crypto_key,
            "trust": Trust(static_key=static, pins=pins),
            "pin_id": PIN,
            **changes,
        }
        side = client_side(**fields)
        return MqttConnection(self, Puppet(side), client.access_key.reveal(), address=address, agent=agent)

    async def end(self) -> None:
        """End what skills are doing."""
        await self.dispatcher.runner.drain(0)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let the loop run until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Lab]:
    """A lab for one test."""
    lab = Lab(**settings)
    try:
        yield lab
        await lab.end()
    finally:
        lab.state.close(now=NOW)
