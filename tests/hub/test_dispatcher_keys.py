"""Keys of clients: pinned at the first contact, held to afterwards, and kept or not taken."""

from __future__ import annotations

import pytest

from tests.hub.lab import RSA, STATIC, Lab
from thalovant.hub.errors import HubSetupError
from thalovant.hub.storage.clients import Client, Registry
from thalovant_proto import events as e
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.errors import CredentialsRefused
from thalovant_proto.secret import Secret

OTHER = Secret(b"\x09" * 32)


async def test_first_contact_pins_the_client(lab: Lab) -> None:
    """Its Noise key, its PSK and, from the sealed hello, its RSA key: saved once it is proven, not earlier."""
    client = lab.client()
    visitor = lab.visit(client, pubkey=RSA)
    while len(visitor.puppet.due) and not isinstance(visitor.puppet.due[0], e.Message):
        visitor.say(visitor.puppet.due.popleft())
    assert lab.registry.with_key(client.access_key) == client
    visitor.shake_hands()
    learnt = lab.registry.with_key(client.access_key)
    assert learnt is not None
    assert (learnt.pinned, learnt.pubkey) == (public_key(STATIC), RSA)
    assert learnt.psk is not None
    assert list(lab.state.load()) == [learnt]


async def test_a_pinned_client_is_quick(lab: Lab) -> None:
    """From the second contact on there is KKpsk0, and nothing to derive."""
    client = lab.client()
    lab.visit(client).shake_hands().hang_up()
    visitor = lab.visit(client, pinned=True)
    offer = next(event for event in visitor.heard if isinstance(event, e.Offer))
    assert offer.payload["noise"]["patterns"] == ["KKpsk0", "XXpsk2"]
    assert isinstance(visitor.puppet.due[0], e.Kk1)
    visitor.shake_hands()
    assert visitor.joined


async def test_another_key_of_a_pinned_client_is_refused(lab: Lab) -> None:
    """Until the operator forgets the first one; the reason is that of real hubs (wire.md §5.6)."""
    client = lab.client()
    lab.visit(client).shake_hands().hang_up()
    visitor = lab.visit(client, static=OTHER).shake_hands()
    assert visitor.closed == (1008, "client Noise static key contradicts the pinned key")
    lab.registry.forget_keys(client.name)
    assert lab.visit(client, static=OTHER).shake_hands().joined


async def test_of_two_first_contacts_one_wins(lab: Lab) -> None:
    """Both began before either was pinned: the second to prove itself is refused, with another key than the first."""
    client = lab.client()
    first, second = lab.visit(client), lab.visit(client, static=OTHER)
    first.shake_hands()
    second.shake_hands()
    assert first.joined
    assert second.closed == (1008, "client Noise static key contradicts the pinned key")
    assert lab.dispatcher.peers == [first.connection.routed]
    assert lab.visit(client).shake_hands().joined  # with the first key there may be many


async def test_a_psk_that_became_known_meanwhile_is_used(lab: Lab) -> None:
    """A connection that began before the derivation at registration was done does not derive again."""
    client = lab.client()
    visitor = lab.visit(client)
    lab.registry.learn(client, psk=Secret(b"\5" * 32))
    # The puppet derives by a hash, which this PSK is not: it was the registry's that answered.
    with pytest.raises(CredentialsRefused):
        visitor.say(visitor.puppet.due.popleft())


async def test_a_removed_client_gets_no_further(lab: Lab) -> None:
    """Removed between hello and proof, as if it had never been there."""
    for generation in (3, 0):
        client = lab.client(generation=generation)
        visitor = lab.visit(client)
        lab.registry.remove(client.name)
        visitor.shake_hands()
        assert visitor.closed == (1008, "this client was removed")
        assert lab.dispatcher.peers == []


async def test_another_rsa_key_is_ignored(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The first one stays, and the log says so; the connection is fine."""
    visitor = lab.visit(lab.client(), pubkey=RSA).shake_hands()
    visitor.say(e.ClientHello(payload={"session": {}, "pubkey": RSA.replace("mine", "other")}))
    assert visitor.joined
    (client,) = lab.registry
    assert client.pubkey == RSA
    await lab.end()
    assert "another RSA key" in caplog.text


class FullDisk:
    """A store that has no room."""

    def __init__(self) -> None:
        self.full = False

    def load(self) -> list[Client]:
        return []

    def save(self, client: Client) -> None:
        if self.full:
            raise HubSetupError("The hub's state in /x cannot be used: database or disk is full", setting="state")

    remove = save


async def test_a_key_that_cannot_be_kept_is_not_taken(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told to come back; with its key known, what else cannot be kept does no harm."""
    store = FullDisk()
    lab.registry = lab.dispatcher.registry = Registry(store)
    client = lab.client()
    store.full = True
    visitor = lab.visit(client).shake_hands()
    assert visitor.closed == (1011, "the hub cannot keep the client's key")
    assert lab.dispatcher.peers == []
    store.full = False
    lab.visit(client).shake_hands().hang_up()
    store.full = True
    again = lab.visit(client, pinned=True, pubkey=RSA).shake_hands()
    assert again.joined
    await lab.end()
    assert caplog.text.count("disk is full") == 2
