"""The clients of a hub: who they are, what they may, and what the hub has learnt of them.

Lookup goes by the SHA-256 of the access key, so its time tells nothing about the keys.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from attrs import evolve, field, frozen

from thalovant_proto.events import UTTERANCE, Generation
from thalovant_proto.secret import Secret

from ... import events as names

STATUS: Final = "thalovant.client.status"
#: What a new client may put on the bus: utterances under both names, its status, and what the hub understands.
DEFAULT_ALLOWED: Final = (
    *(
        UTTERANCE,
        "ovos.utterance.handle",
        STATUS,
        names.EVENT_INTENT_LIST,
        names.EVENT_INTENT_DESCRIBE,
        names.EVENT_SKILLS_LIST,
    ),
    *(names.EVENT_PADATIOUS_MANIFEST_GET, names.EVENT_ADAPT_MANIFEST_GET),
)
MAX_NAME: Final = 64


def _key() -> Secret[str]:
    return Secret(secrets.token_urlsafe(32))  # 43 characters


@frozen(kw_only=True)
class Client:
    """One registered client. `generation` is the only handshake it is offered.

    `pinned` is its Noise static key (32 bytes) and `pubkey` its RSA key for intercom (PEM), both from first contact;
    `psk` the Noise PSK of its password. `crypto_key` is for generation 0 only.
    """

    id: int
    name: str
    site_id: str
    generation: Generation = Generation.NOISE
    allowed: tuple[str, ...] = DEFAULT_ALLOWED
    admin: bool = False
    can_escalate: bool = True
    can_propagate: bool = True
    can_broadcast: bool = True
    access_key: Secret[str] = field(factory=_key)
    password: Secret[str] = field(factory=_key)
    crypto_key: Secret[str] | None = None
    psk: Secret[bytes] | None = None
    pinned: bytes | None = field(default=None, repr=False)
    pubkey: str | None = field(default=None, repr=False)


class ClientStore(Protocol):
    """The store of clients."""

    def load(self) -> Iterable[Client]:
        """All of them."""

    def save(self, client: Client) -> None:
        """Keep a new client, or the new state of a known one."""

    def remove(self, client: Client) -> None:
        """Forget a client."""


class Registry:
    """All clients, in memory and in their store."""

    def __init__(self, store: ClientStore) -> None:
        self._store = store
        self._by_key: dict[bytes, Client] = {}
        self._by_name: dict[str, Client] = {}
        #: Whether a registered client may come in yet.
        self.admits: Callable[[Client], bool] = lambda client: True
        self.reload()

    def reload(self) -> None:
        """Forget what is in memory for what is in the store."""
        clients = tuple(self._store.load())
        self._by_key.clear()
        self._by_name.clear()
        for client in clients:
            self._keep(client)

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def add(
        self,
        name: str,
        *,
        site_id: str | None = None,
        generation: int = Generation.NOISE,
        allowed: Iterable[str] = DEFAULT_ALLOWED,
        access_key: str | None = None,
        password: str | None = None,
        **permissions: Any,  # flags
    ) -> Client:
        """Register a client, with fresh random secrets where none are given; `permissions` are flags of `Client`.

        Raises `ValueError` for a name that is taken or cannot stand in a peer id, and for an unknown generation.
        """
        if not name or len(name) > MAX_NAME or "::" in name or not name.isprintable() or name != name.strip():
            raise ValueError(f"a client's name must be 1 to {MAX_NAME} printable characters without '::': {name!r}")
        if name in self._by_name:
            raise ValueError(f"the hub has a client named {name!r} already")
        try:
            known = Generation(generation)
        except ValueError:
            meant = "3 (Noise), 1 (password) or 0 (pre-shared key)"
            raise ValueError(f"generation must be {meant}, not {generation}") from None
        key = _key() if access_key is None else Secret(access_key)
        if _digest(key) in self._by_key:
            raise ValueError("the hub has a client with this access key already")
        client = Client(
            id=1 + max((one.id for one in self._by_name.values()), default=0),
            name=name,
            site_id=site_id or name,
            generation=known,
            allowed=tuple(dict.fromkeys(allowed)),
            access_key=key,
            password=_key() if password is None else Secret(password),
            **permissions,
            # 16 characters are the AES key that every v0 client takes whole (wire.md §2.3).
            crypto_key=Secret(secrets.token_hex(8)) if known is Generation.PRESHARED else None,
        )
        self._store.save(client)
        self._keep(client)
        return client

    def remove(self, name: str) -> Client | None:
        """Forget a client; None if there is none of that name. Its open connections are the caller's to close."""
        client = self._by_name.pop(name, None)
        if client is not None:
            del self._by_key[_digest(client.access_key)]
            self._store.remove(client)
        return client

    def named(self, name: str) -> Client | None:
        """The client of that name."""
        return self._by_name.get(name)

    def with_key(self, access_key: Secret[str]) -> Client | None:
        """The client that shows this access key, None if there is none or it is not admitted yet."""
        client = self._by_key.get(_digest(access_key))
        return client if client is not None and self.admits(client) else None

    def learn(
        self,
        client: Client,
        *,
        pinned: bytes | None = None,
        psk: Secret[bytes] | None = None,
        pubkey: str | None = None,
    ) -> Client | None:
        """Keep what was learnt of a client; what is known already stays, since a pin is never replaced by itself.

        Gives the client as it is now, None if it is not registered any more.
        """
        known = self._by_key.get(_digest(client.access_key))
        if known is None:
            return None
        learnt = evolve(
            known,
            pinned=known.pinned or pinned,
            psk=known.psk or psk,
            pubkey=known.pubkey or pubkey,
        )
        return self._replace(known, learnt)

    def forget_keys(self, name: str) -> Client | None:
        """Take back both pins of a client, for one that lost its keys. None if there is none of that name."""
        return self.change(name, lambda client: evolve(client, pinned=None, pubkey=None))

    def change(self, name: str, how: Callable[[Client], Client]) -> Client | None:
        """Replace a client by `how` of it, which must keep id, name and access key. None if there is none."""
        known = self._by_name.get(name)
        return None if known is None else self._replace(known, how(known))

    def _replace(self, known: Client, client: Client) -> Client:
        if client != known:
            self._store.save(client)
            self._keep(client)
        return client

    def _keep(self, client: Client) -> None:
        self._by_key[_digest(client.access_key)] = client
        self._by_name[client.name] = client


def _digest(access_key: Secret[str]) -> bytes:
    return hashlib.sha256(access_key.as_bytes()).digest()
