"""`Hub`: a whole hub in one object, on the running asyncio loop."""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, evolve, field, frozen

from thalovant_io.derivation import start_derivation
from thalovant_proto.crypto.kdf import DeriveKey, Kdf, psk_salt
from thalovant_proto.events import Generation, Message
from thalovant_proto.secret import Secret

from .._internal.binaries import bin_type, binary
from .._internal.redact import redact_text
from .._internal.secret_files import write_secret
from ..identity import ThalovantIdentity
from .actions import RoutedPeer
from .broker.accounts import Accounts, broker_key
from .dispatcher import Dispatcher
from .errors import HubSetupError
from .listeners.all import ANY_HOST, Addresses, Broker, Listeners
from .router import unasked
from .settings import DEFAULT_SETTINGS, Settings
from .skills.registry import Skill, SkillFunction, SkillRegistry, skill
from .skills.speech import spoken
from .skills.turn import Turn
from .skills.turn_state import TurnInfo
from .storage.certificates import load_into, server_context
from .storage.clients import DEFAULT_ALLOWED, STATUS, Client, Registry
from .storage.keys import HubKeys, certificates, load_keys
from .storage.sqlite import Store

log: logging.Logger = logging.getLogger("thalovant.hub")

_TEND_EVERY: Final = 3600.0


class Hub:
    """A hub for clients of any wire generation. Use it as `async with Hub(...) as hub`, or `start` and `close` it.

    `skills` are tried after those that are added by `skill`. It listens on `host`, at `wss_port`, `https_port` and
    `mqtt_port` (0: any free port, None: not at all; MQTT needs the extra `hub`); `public_host` is what clients are told
    to dial, if not that. Instead of its own MQTT port it uses a `broker`, if there is the URL of one: see `Broker.at`,
    also for `broker_ca`. `state` is the folder where keys and clients are kept; without one they are gone when the hub
    is closed. `site_id` is where the hub is, for messages to that site. Without `tls` all ports are plain. `settings`
    are its bounds, `clock` gives the time of day.

    Raises `HubSetupError` for a broker that cannot work.
    """

    def __init__(
        self,
        *,
        skills: Iterable[Skill] = (),
        host: str = "127.0.0.1",
        wss_port: int = 0,
        https_port: int | None = None,
        mqtt_port: int | None = None,
        broker: str | None = None,
        broker_ca: Path | str | None = None,
        public_host: str | None = None,
        state: Path | str | None = None,
        site_id: str | None = None,
        tls: bool = True,
        settings: Settings = DEFAULT_SETTINGS,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._skills = SkillRegistry(skills)
        self._addresses = Addresses(
            host=host,
            public_host=public_host or ("localhost" if host in ANY_HOST else host),
            wss_port=wss_port,
            https_port=https_port,
            mqtt_port=mqtt_port,
            broker=None if broker is None else Broker.at(broker, ca_file=broker_ca),
        )
        self._folder = None if state is None else Path(state).expanduser()
        self._site_id = site_id
        self._tls = tls
        self.settings = settings
        self.clock = clock
        self._running: Running | None = None

        self.client_status: dict[str, Mapping[str, Any]] = {}  # by name: what each client said of itself last
        self._skills.on(STATUS, self._hear_status)

    # --- life ---

    async def start(self) -> None:
        """Begin to listen. Raises `HubSetupError`, and then nothing is left running."""
        if self._running is not None:
            raise RuntimeError("the hub is running already")
        async with AsyncExitStack() as exits:
            now = self.clock()
            state = await asyncio.to_thread(Store.open, self._folder, now=now)
            exits.callback(lambda: state.close(now=self.clock()))
            keys = await asyncio.to_thread(load_keys, state, self._names, now)
            broker = self._addresses.broker
            others = b"" if broker is None else await asyncio.to_thread(broker.authorities)
            ca_file = self._publish(keys.authority.pem + others, exits)
            context = await asyncio.to_thread(server_context, keys.server) if self._tls else None
            registry = Registry(state)
            dispatcher = Dispatcher(self, keys, registry, self._skills, site_id=self._site_id, settings=self.settings)
            listeners = Listeners(dispatcher, Accounts(registry, broker_key(state)), self._addresses, context)
            await listeners.start()
            exits.push_async_callback(listeners.close, self.settings.goodbye_time)
            exits.callback(dispatcher.goodbye)
            self._running = running = Running(
                state=state,
                keys=keys,
                dispatcher=dispatcher,
                context=context,
                ca_file=ca_file,
                listeners=listeners,
                exits=exits.pop_all(),
            )
        running.tending = asyncio.create_task(self._tend())
        running.deriving = asyncio.create_task(_derive_all(running))
        for client in registry:
            running.underived.put_nowait(client)

    async def drain(self, grace: float | None = None) -> None:
        """Take no more requests, and wait for the running ones: `grace` seconds, else as long as the settings say."""
        if self._running is not None:
            await self._running.dispatcher.runner.drain(self.settings.drain_time if grace is None else grace)

    async def close(self, grace: float | None = None) -> None:
        """`drain`, say goodbye to all clients, and let go of everything. Harmless if repeated."""
        await self.drain(grace)
        running, self._running = self._running, None
        if running is not None:
            for task in (running.tending, running.deriving):
                task.cancel()
            await asyncio.wait((running.tending, running.deriving))
            await running.exits.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        urls = () if self._running is None else self._running.listeners.endpoints.values()
        return f"<{type(self).__name__} {redact_text(' '.join(urls)) or 'stopped'}>"

    # --- what it is ---

    @property
    def endpoints(self) -> Mapping[str, str]:
        """The URL of each protocol that it listens on."""
        return dict(self.running.listeners.endpoints)

    @property
    def ca_file(self) -> Path:
        """The certificate (PEM) of the authority that clients must trust."""
        return self.running.ca_file

    @property
    def node_id(self) -> str:
        """Its name to clients: its RSA public key as PEM."""
        return self.running.keys.pubkey

    @property
    def skills(self) -> tuple[Skill, ...]:
        """Its skills, in the order in which they are tried."""
        return self._skills.skills

    # --- clients ---

    def add_client(
        self,
        name: str,
        *,
        generation: int = 3,
        site_id: str | None = None,
        allowed: Iterable[str] = DEFAULT_ALLOWED,
        admin: bool = False,
        can_escalate: bool = True,
        can_propagate: bool = True,
        can_broadcast: bool = True,
        access_key: str | None = None,
        password: str | None = None,
    ) -> ThalovantIdentity:
        """Register a client and give its identity, the only time that it is made: keep it, or ask `identity` again.

        Its `access_key` and `password` are random ones if they are not given.

        `generation` is the wire's: 3 (Noise), 1 (password), or 0 (pre-shared key: replayable from one connection to
        the next). `allowed` are the bus messages that it may send; with none it may send no bytes either. Only an
        `admin` may broadcast. Raises `ValueError` for a name that is taken or unfit.
        """
        running = self.running
        client = running.dispatcher.registry.add(
            name,
            generation=generation,
            site_id=site_id,
            allowed=allowed,
            admin=admin,
            can_escalate=can_escalate,
            can_propagate=can_propagate,
            can_broadcast=can_broadcast,
            access_key=access_key,
            password=password,
        )
        if client.generation is Generation.PRESHARED:
            log.warning("Client %r speaks generation 0: what it sends can be replayed in another connection", name)
        running.underived.put_nowait(client)
        return self._identity(client)

    def identity(self, name: str) -> ThalovantIdentity | None:
        """The identity of a registered client, None if there is none of that name."""
        client = self.running.dispatcher.registry.named(name)
        return None if client is None else self._identity(client)

    def remove_client(self, name: str) -> bool:
        """Forget a client and close its connections; whether there was one."""
        removed = self.running.dispatcher.registry.remove(name)
        self.disconnect(name, code=1008, reason="this client was removed")
        return removed is not None

    def disconnect(self, name: str, *, code: int = 1001, reason: str = "") -> int:
        """Close the connections of a client, which may come back; gives their number."""
        peers = self._peers(name)
        for peer in peers:
            self.running.dispatcher.kick(peer, code=code, reason=reason)
        return len(peers)

    async def introduce(self, name: str, public_key: bytes) -> Introduction | None:
        """Pin the Noise key (32 bytes, public) of a client in place of any other; gives what it can know in turn.

        None if there is no such client, or it is of a generation that has no keys.
        """
        running = self.running
        registry = running.dispatcher.registry
        client = registry.named(name)
        if client is None or client.generation is not Generation.NOISE:
            return None
        psk = await _derive(running, client)
        registry.change(name, lambda client: evolve(client, pinned=public_key))
        return Introduction(public_key=running.keys.public_key, node_id=running.keys.pubkey, psk=psk)

    def forget_keys(self, name: str) -> bool:
        """Let a client that lost its keys come with new ones; whether there is one of that name."""
        return self.running.dispatcher.registry.forget_keys(name) is not None

    @property
    def clients(self) -> tuple[str, ...]:
        """The names of all registered clients."""
        return tuple(client.name for client in self.running.dispatcher.registry)

    @property
    def connected(self) -> tuple[str, ...]:
        """The names of the clients that are connected and proven, each once."""
        return tuple(dict.fromkeys(peer.client.name for peer in self.running.dispatcher.peers))

    async def wait_connected(self, name: str) -> None:
        """Wait until a client is connected and proven."""
        while name not in self.connected:
            await self.running.dispatcher.joined()

    # --- answering ---

    def skill(
        self,
        *phrases: str,
        name: str | None = None,
        when: Callable[[TurnInfo], object] | None = None,
        fallback: bool = False,
        timeout: float | None = None,
        lang: str = "en-us",
    ) -> Callable[[SkillFunction], Skill]:
        """Add a function as a skill, before or after `start`: `@hub.skill("light the {what}")`. See `skills.skill`."""
        make = skill(*phrases, name=name, when=when, fallback=fallback, timeout=timeout, lang=lang)
        return lambda function: self._skills.add(make(function))

    def add_skill(self, one: Skill) -> Skill:
        """Add a skill that was made elsewhere."""
        return self._skills.add(one)

    def on(self, type: str) -> Callable[[SkillFunction], SkillFunction]:
        """Call a function for each bus message of a type: `@hub.on("my.event")`. It answers by the turn's methods.

        It hears those clients whose `allowed` names that type (`add_client`); to others the hub answers
        `hive.policy.denied`.
        """
        return partial(self._skills.on, type)

    def on_binary(self, kind: str | int) -> Callable[[SkillFunction], SkillFunction]:
        """Call a function for raw bytes of a kind: `@hub.on_binary("raw_audio")`; they are in `turn.binary`."""
        return partial(self._skills.on, bin_type(kind))

    def watch(self, function: Callable[[TurnInfo], object]) -> None:
        """Call a function with each bus message that a client may send, before it is answered. It must not wait."""
        self._skills.watchers.append(function)

    # --- saying something unasked ---

    def speak_to(self, client: str, text: str | Mapping[str, Any], *, session_id: str | None = None) -> int:
        """Say something (a text, or what `speech` makes) on all connections of a client; gives their number."""
        return self.emit_to(client, "speak", {"lang": "en-us", **spoken(text)}, session_id=session_id)

    def emit_to(
        self, client: str, type: str, data: Mapping[str, Any] | None = None, *, session_id: str | None = None
    ) -> int:
        """Send an event on all connections of a client; gives their number. Raises `ValueError` for what is no JSON."""
        return self._emit(self._peers(client), type, data, session_id)

    def send_binary_to(
        self, client: str, payload: bytes, kind: str | int = "tts_audio", *, metadata: Mapping[str, Any] | None = None
    ) -> int:
        """Send raw bytes on all connections of a client; gives their number. Raises `ValueError` for no kind."""
        return self.send_to(client, binary("send_binary_to", payload, kind, metadata))

    def send_to(self, client: str, message: Message) -> int:
        """Send any message of the protocol on all connections of a client, a frame of the mesh for one."""
        for peer in (peers := self._peers(client)):
            self.running.dispatcher.send(peer, message)
        return len(peers)

    def broadcast(self, type: str, data: Mapping[str, Any] | None = None) -> int:
        """Send an event to everybody who is connected; gives the number. Raises `ValueError` for what is no JSON."""
        return self._emit(self.running.dispatcher.peers, type, data)

    # --- inside ---

    @property
    def running(self) -> Running:
        """Its parts, for the rest of this package. Raises `RuntimeError` unless it runs."""
        if self._running is None:
            raise RuntimeError("the hub is not running: start it first")
        return self._running

    @property
    def _names(self) -> tuple[str, ...]:
        names = dict.fromkeys((self._addresses.public_host, self._addresses.host))
        return tuple(name for name in names if name not in ANY_HOST)

    def _emit(
        self, peers: list[RoutedPeer], type: str, data: Mapping[str, Any] | None, session_id: str | None = None
    ) -> int:
        for peer in peers:
            self.running.dispatcher.send(peer, unasked(peer, type, dict(data or {}), session_id=session_id))
        return len(peers)

    def _peers(self, name: str) -> list[RoutedPeer]:
        return [peer for peer in self.running.dispatcher.peers if peer.client.name == name]

    def _identity(self, client: Client) -> ThalovantIdentity:
        running, broker = self.running, self._addresses.broker
        trusting = self._tls or (broker is not None and broker.ca_file is not None)
        return ThalovantIdentity.from_mapping(
            {
                "access_key": client.access_key.reveal(),
                "password": client.password.reveal(),
                "crypto_key": client.crypto_key and client.crypto_key.reveal(),
                "site_id": client.site_id,
                "ca_file": str(running.ca_file) if trusting else None,
                **running.listeners.tell(client),
            }
        )

    def _publish(self, pem: bytes, exits: AsyncExitStack) -> Path:
        """Put the certificates of authorities where clients find them."""
        folder = self._folder
        if folder is None:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="thalovant-hub-")))
        path = folder / "ca.pem"
        _write_authority(path, pem)
        return path

    async def _tend(self) -> None:
        """Keep certificate and clock mark fresh, as long as the hub runs."""
        while True:
            await asyncio.sleep(_TEND_EVERY)
            try:
                self.renew()
            except HubSetupError as error:
                log.error("The hub's certificate could not be looked after: %s", error)

    def renew(self) -> None:
        """Take a new certificate if the present one ends soon; connections that are open keep theirs."""
        running, now = self.running, self.clock()
        running.state.touch_clock(now)
        authority, server = certificates(running.state, self._names, now)
        if running.context is not None and server != running.keys.server:
            load_into(running.context, server)
            # A broker's authorities may be in that file too: only ours is replaced.
            known = running.ca_file.read_bytes()
            _write_authority(running.ca_file, known.replace(running.keys.authority.pem, authority.pem))
            log.info("The hub's certificate was renewed")
        running.keys = evolve(running.keys, authority=authority, server=server)

    async def _hear_status(self, turn: Turn) -> None:
        self.client_status[turn.client] = dict(turn.data)


@frozen(kw_only=True)
class Introduction:
    """A hub as a client knows it after first contact: its Noise key (32 bytes, public), node id, and their PSK."""

    public_key: bytes = field(repr=False)
    node_id: str = field(repr=False)
    psk: Secret[bytes]


@define(eq=False)
class Running:
    """The parts of a hub between `start` and `close`."""

    state: Store
    keys: HubKeys
    dispatcher: Dispatcher
    context: ssl.SSLContext | None
    ca_file: Path
    listeners: Listeners
    exits: AsyncExitStack
    underived: asyncio.Queue[Client] = field(factory=asyncio.Queue)
    tending: asyncio.Task[None] = field(init=False)
    deriving: asyncio.Task[None] = field(init=False)


def _write_authority(path: Path, pem: bytes) -> None:
    try:
        if not (path.is_file() and path.read_bytes() == pem):
            write_secret(path, pem)
    except OSError as error:
        raise HubSetupError(f"{path} cannot be written: {error.strerror or error}", setting="state") from None


async def _derive_all(running: Running) -> None:
    """Derive the PSKs of registered clients, one after the other, so that their first contact is quick."""
    while True:
        client = await running.underived.get()
        if client.generation is not Generation.NOISE:
            continue
        try:
            await _derive(running, client)
        except (RuntimeError, MemoryError, HubSetupError) as error:  # it is derived at first contact, then
            log.warning("The key of client %r could not be derived ahead: %s", client.name, error)


async def _derive(running: Running, client: Client) -> Secret[bytes]:
    known = running.dispatcher.registry.with_key(client.access_key)
    if known is not None and known.psk is not None:
        return known.psk
    secret, salt = Secret(client.password.as_bytes()), psk_salt(running.keys.pubkey)
    effect = DeriveKey(id=0, kdf=Kdf.ARGON2ID, secret=secret, salt=salt)
    psk = await asyncio.wrap_future(start_derivation(effect))
    running.dispatcher.registry.learn(client, psk=psk)
    return psk
