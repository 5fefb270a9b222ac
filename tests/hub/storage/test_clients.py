"""The clients of a hub: their secrets, how they are found, and what the hub keeps of first contact."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from attrs import evolve

from thalovant.hub.storage.clients import DEFAULT_ALLOWED, Client, Registry
from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret


class Shelf:
    """A store in memory that writes down what it is told."""

    def __init__(self, *clients: Client) -> None:
        self.clients = {client.id: client for client in clients}
        self.saves = 0

    def load(self) -> Iterable[Client]:
        return list(self.clients.values())

    def save(self, client: Client) -> None:
        self.saves += 1
        self.clients[client.id] = client

    def remove(self, client: Client) -> None:
        del self.clients[client.id]


def test_a_client_gets_random_secrets() -> None:
    """43 characters each, as the control plane makes them, and never the same twice."""
    registry = Registry(Shelf())
    one, two = registry.add("one"), registry.add("two")
    secrets = [secret.reveal() for client in (one, two) for secret in (client.access_key, client.password)]

    assert len(set(secrets)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in secrets)
    assert one.crypto_key is None


def test_a_client_is_what_was_asked_for() -> None:
    """Defaults: Noise, utterances, status and questions allowed, everything of the mesh but to broadcast."""
    client = Registry(Shelf()).add("kiosk")

    assert (client.id, client.name, client.site_id, client.generation) == (1, "kiosk", "kiosk", Generation.NOISE)
    assert client.allowed[:3] == ("recognizer_loop:utterance", "ovos.utterance.handle", "thalovant.client.status")
    assert client.allowed[3:6] == ("ovos.intent.list", "ovos.intent.describe", "ovos.skills.list")
    assert client.allowed == DEFAULT_ALLOWED
    assert (client.admin, client.can_escalate, client.can_propagate) == (False, True, True)
    full = Registry(Shelf()).add("a", site_id="attic", generation=1, allowed=["x", "y", "x"], admin=True)
    assert (
        full.site_id,
        full.generation,
        full.allowed,
        full.admin,
    ) == ("attic", Generation.PASSWORD, ("x", "y"), True)


def test_the_oldest_generation_has_a_key_of_sixteen_characters() -> None:
    """Every v0 client takes that one whole (wire.md §2.3)."""
    client = Registry(Shelf()).add("old", generation=0)

    assert client.crypto_key is not None
    assert re.fullmatch(r"[0-9a-f]{16}", client.crypto_key.reveal())


@pytest.mark.parametrize("name", ["", " x", "x\n", "a::b", "x" * 65, "tab\tbed"])
def test_a_name_must_fit_into_a_peer_id(name: str) -> None:
    """It stands between `::` in logs and answers."""
    with pytest.raises(ValueError, match="name must be"):
        Registry(Shelf()).add(name)


def test_names_are_taken_once() -> None:
    """Registering twice is a mistake that is named."""
    registry = Registry(Shelf())
    registry.add("kiosk")

    with pytest.raises(ValueError, match="has a client named 'kiosk' already"):
        registry.add("kiosk")


@pytest.mark.parametrize("generation", [2, 4, -1])
def test_unknown_generations_are_named(generation: int) -> None:
    """What dual hubs call 2 is 1 with binary frames."""
    with pytest.raises(ValueError, match=f"not {generation}"):
        Registry(Shelf()).add("kiosk", generation=generation)


def test_a_client_is_found_by_its_access_key() -> None:
    """And by its name; unknown ones are nobody."""
    registry = Registry(Shelf())
    client = registry.add("kiosk")

    assert client is registry.with_key(client.access_key) is registry.named("kiosk")
    assert registry.with_key(Secret("other")) is None
    assert registry.named("other") is None


def test_a_removed_client_is_unknown() -> None:
    """In memory and in the store; its id is not given to the next one while others are newer."""
    shelf = Shelf()
    registry = Registry(shelf)
    gone, kept = registry.add("gone"), registry.add("kept")

    assert registry.remove("gone") is gone
    assert registry.remove("gone") is None
    assert registry.with_key(gone.access_key) is None
    assert (list(registry), list(shelf.clients.values())) == ([kept], [kept])
    assert registry.add("new").id == 3


def test_what_was_learnt_first_stays() -> None:
    """A pin is never replaced by itself; what is known already is not written again."""
    shelf = Shelf()
    registry = Registry(shelf)
    client = registry.add("kiosk")

    learnt = registry.learn(client, pinned=b"1" * 32, psk=Secret(b"2" * 32))
    again = registry.learn(client, pinned=b"3" * 32, pubkey="PEM")
    saves = shelf.saves
    registry.learn(client, pinned=b"3" * 32)

    assert learnt is not None
    assert again is not None
    assert (b"1" * 32, Secret(b"2" * 32), None) == (learnt.pinned, learnt.psk, learnt.pubkey)
    assert (again.pinned, again.pubkey) == (b"1" * 32, "PEM")
    assert again == registry.named("kiosk") == shelf.clients[1]
    assert saves == shelf.saves


def test_nothing_is_learnt_of_clients_that_are_gone() -> None:
    """A connection may outlive its client's registration."""
    registry = Registry(Shelf())
    client = registry.add("kiosk")
    registry.remove("kiosk")

    assert registry.learn(client, pinned=b"1" * 32) is None
    assert list(registry) == []


def test_keys_can_be_forgotten() -> None:
    """For a client that lost its own: the next ones it shows are pinned. Its PSK is the password's, and stays."""
    registry = Registry(Shelf())
    client = registry.add("kiosk")
    registry.learn(client, pinned=b"1" * 32, psk=Secret(b"2" * 32), pubkey="PEM")

    forgotten = registry.forget_keys("kiosk")

    assert forgotten is not None
    assert (None, None, Secret(b"2" * 32)) == (forgotten.pinned, forgotten.pubkey, forgotten.psk)
    assert registry.forget_keys("other") is None


def test_clients_come_back_from_their_store() -> None:
    """All of them, with everything that was learnt."""
    shelf = Shelf()
    first = Registry(shelf)
    first.add("one")
    first.learn(first.add("two"), pinned=b"1" * 32)
    first.change("two", lambda client: evolve(client, allowed=("x",)))

    second = Registry(shelf)

    assert list(first) == list(second)
    assert len(second) == 2
    assert second.named("two") == first.named("two")


def test_secrets_are_not_shown() -> None:
    """In no repr of a client."""
    client = Registry(Shelf()).add("kiosk", generation=0)
    shown = repr(evolve(client, psk=Secret(b"\1" * 32), pinned=b"\2" * 32))

    assert client.crypto_key is not None
    for secret in (client.access_key, client.password, client.crypto_key):
        assert secret.reveal() not in shown
    assert "x01" not in shown
    assert "x02" not in shown
