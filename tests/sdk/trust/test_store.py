"""Trust on disk: the layout of other HiveMind software is read and kept, nothing is lost among processes."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys

import pytest

from thalovant import ThalovantHubKeyChangedError, ThalovantIdentity, TrustStore
from thalovant.trust_store import pin_id
from thalovant_proto.secret import Secret
from thalovant_proto.trust import MAX_PSKS, Trust, psk_id

from ..identities import PLAIN, POSIX, write
from .layouts import ACCESS, DIGEST, HTTPS, KEY, NODE_ID, OTHER_PIN, PASSWORD, PIN, WSS, layout, read, refusal

# --- first contact ---


def test_key_is_on_disk_before_anything_else(identity, folder):
    """A new folder gets a key, and the same one is there for the next load and the next process."""
    trust = TrustStore(folder, identity).load()

    assert (folder / "unnamed-node_noise.key").read_text() == trust.static_key.reveal().hex()
    assert (trust.pins, trust.psks, trust.noise_seen, trust.mqtt_layout) == ({}, {}, False, None)
    assert TrustStore(folder, identity).load() == trust


def test_keys_are_random(identity, tmp_path):
    """Two folders, two keys."""
    one, other = (TrustStore(tmp_path / name, identity).load().static_key for name in "ab")

    assert one != other


def test_everything_survives(identity, folder):
    """What one process learnt, the next one knows."""
    store = TrustStore(folder, identity)
    trust = (
        store.load()
        .with_pin(WSS, PIN)
        .with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY))
        .with_noise_seen()
        .with_mqtt_layout("in_out")
    )

    store.store(trust)

    again = TrustStore(folder, identity).load()
    assert again == trust
    assert again.psk_for(ACCESS, NODE_ID, PASSWORD) == Secret(KEY)
    assert again.psk_for(ACCESS, NODE_ID, Secret("changed")) is None


def test_layout_is_that_of_other_software(identity, folder):
    """Names and shapes as others write and read them (wire.md §5.6)."""
    store = TrustStore(folder, identity)
    store.store(store.load().with_pin(WSS, PIN).with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)))

    assert read(folder / "_identity.json") == {"pinned_noise_keys": {WSS: PIN.hex()}}
    assert read(folder / "unnamed-node_noise_psks.json") == {f"{DIGEST}@{NODE_ID}": KEY.hex()}


@POSIX
def test_all_files_are_private(identity, folder):
    """0600 in 0700, the folder too if it was there before and open."""
    folder.mkdir(mode=0o755)
    store = TrustStore(folder, identity)
    store.store(store.load().with_pin(WSS, PIN).with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)).with_noise_seen())

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

    assert modes == dict.fromkeys(
        [
            "_identity.json",
            "unnamed-node_noise.key",
            "unnamed-node_noise_psks.json",
            "_thalovant.json",
            "._identity.json.lock",
        ],
        0o600,
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- what other software left ---


def test_layout_of_other_software_is_read(identity, folder):
    """Key, pins and PSKs are taken over; a PSK that names no password is there, but not used before it is bound."""
    psk = f"{DIGEST}@{NODE_ID}"
    layout(folder, pins={WSS: PIN.hex().upper()}, psks={psk: KEY.hex(), f"{'0' * 16}@{NODE_ID}": KEY.hex()})

    trust = TrustStore(folder, identity).load()

    assert trust.static_key == Secret(KEY)
    assert trust.pins == {WSS: PIN}
    assert list(trust.psks) == [psk]
    assert trust.psk_for(ACCESS, NODE_ID, PASSWORD) is None
    assert trust.noise_seen


@pytest.mark.parametrize("name", ["kitchen lamp", " a ", "über"])
def test_named_node(identity, folder, name):
    """`name` in `_identity.json` names the files, as it is."""
    layout(folder, name=name)
    store = TrustStore(folder, identity)

    store.store(store.load().with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)))

    assert store.load().static_key == Secret(KEY)
    assert (folder / f"{name}_noise_psks.json").exists()
    assert not list(folder.glob("unnamed*"))


@pytest.mark.parametrize("name", ["", 5, None, ["x"]])
def test_name_that_is_none(identity, folder, name):
    """What is no name counts as none, as with other software: the device keeps its key."""
    layout(folder)
    write(folder / "_identity.json", {"name": name})

    assert TrustStore(folder, identity).load().static_key == Secret(KEY)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "a\\b", "a\0b"])
def test_name_that_leads_elsewhere(identity, folder, name):
    """A name cannot put keys into other folders."""
    folder.mkdir()
    write(folder / "_identity.json", {"name": name})

    assert "must not have slashes" in str(refusal(TrustStore(folder, identity).load))
    assert [path.name for path in folder.parent.rglob("*_noise.key")] == []


def test_what_is_not_ours_is_kept(identity, folder):
    """Other software's keys, entries of other identities and kinds we do not know survive our writing."""
    layout(folder, pins={"other:1": "not a key", "another:2": OTHER_PIN.hex()}, psks={"x@y": "??", "z@y": KEY.hex()})
    write(folder / "_identity.json", read(folder / "_identity.json") | {"site_id": "s", "future": [1]})
    write(
        folder / "_thalovant.json", {"future": 1, "identities": {"someone": {"noise_seen": True}, DIGEST: {"new": 2}}}
    )
    store = TrustStore(folder, identity)

    store.store(
        store.load().with_pin(WSS, PIN).with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)).with_mqtt_layout("in_out")
    )

    assert read(folder / "_identity.json") == {
        "pinned_noise_keys": {"other:1": "not a key", "another:2": OTHER_PIN.hex(), WSS: PIN.hex()},
        "site_id": "s",
        "future": [1],
    }
    assert list(read(folder / "unnamed-node_noise_psks.json")) == ["x@y", "z@y", psk_id(ACCESS, NODE_ID)]
    own = read(folder / "_thalovant.json")
    assert (own["future"], own["identities"]["someone"]) == (1, {"noise_seen": True})
    assert own["identities"][DIGEST]["new"] == 2


@pytest.fixture
def pathless() -> ThalovantIdentity:
    return ThalovantIdentity.from_mapping(PLAIN | {"default_path": "", "default_master": "wss://hub.example"})


def test_pin_of_the_official_client_counts(pathless, folder):
    """It calls the hub `host:port`; a device that is moved from it does not trust anew."""
    identity = pathless
    layout(folder, pins={"hub.example:443": PIN.hex()})

    trust = TrustStore(folder, identity).load()

    assert trust.pins[WSS] == trust.pins["https://hub.example:443"] == PIN
    assert trust.noise_seen


def test_pin_of_the_official_client_does_not_count_for_paths(identity, folder):
    """One host may serve several hubs by path; the official client's pin does not say which it meant."""
    layout(folder, pins={"hub.example:443": PIN.hex()})

    trust = TrustStore(folder, identity).load()

    assert not {WSS, HTTPS} & set(trust.pins)
    assert not trust.noise_seen


def test_our_pin_wins_over_the_official_one(pathless, folder):
    """Where both are there, ours is the more precise."""
    layout(folder, pins={"hub.example:443": OTHER_PIN.hex(), WSS: PIN.hex()})

    assert TrustStore(folder, pathless).load().pins[WSS] == PIN


@POSIX
def test_identity_file_of_the_official_client_may_be_read_by_others(identity, folder):
    """It writes 0644. No secret of ours is in it; but who may write it decides whom we trust."""
    layout(folder, pins={WSS: PIN.hex()})
    (folder / "_identity.json").chmod(0o644)
    assert TrustStore(folder, identity).load().pins == {WSS: PIN}

    (folder / "_identity.json").chmod(0o664)
    assert str(refusal(TrustStore(folder, identity).load)) == (
        f"Trust file is too permissive: {folder / '_identity.json'}. Run `chmod 600 {folder / '_identity.json'}`."
    )


# --- several at once ---


def test_stores_do_not_lose_each_others_changes(identity, folder):
    """Both loaded the same; each writes what it changed, no more (a removal included)."""
    first = TrustStore(folder, identity)
    first.store(first.load().with_pin("gone", PIN).with_psk(ACCESS, "old hub", PASSWORD, Secret(KEY)))
    one, other = TrustStore(folder, identity), TrustStore(folder, identity)
    by_one, by_other = one.load(), other.load()

    one.store(by_one.with_pin("a", PIN).without_pin("gone").without_psk(ACCESS, "old hub").with_noise_seen())
    other.store(
        by_other.with_pin("b", OTHER_PIN).with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)).with_mqtt_layout("x")
    )

    both = TrustStore(folder, identity).load()
    assert both.pins == {"a": PIN, "b": OTHER_PIN}
    assert list(both.psks) == [psk_id(ACCESS, NODE_ID)]
    assert both.noise_seen
    assert both.mqtt_layout == "x"


def test_identities_share_a_folder(identity, folder):
    """One static key and one set of pins for all; PSKs and facts are each one's own."""
    second = ThalovantIdentity.from_mapping(PLAIN | {"access_key": "AK-2"})
    one, other = TrustStore(folder, identity), TrustStore(folder, second)

    one.store(one.load().with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)).with_noise_seen().with_mqtt_layout("x"))
    other.store(other.load().with_pin("p", PIN).with_psk(Secret("AK-2"), NODE_ID, PASSWORD, Secret(PIN)))

    assert other.load().static_key == one.load().static_key
    assert one.load().pins == other.load().pins == {"p": PIN}
    assert (one.load().noise_seen, other.load().noise_seen) == (True, False)
    assert (one.load().mqtt_layout, other.load().mqtt_layout) == ("x", None)
    assert [entry.key for entry in one.load().psks.values()] == [Secret(KEY)]
    assert other.load().psk_for(Secret("AK-2"), NODE_ID, PASSWORD) == Secret(PIN)


def test_two_pins_for_one_hub_at_the_same_time(identity, folder):
    """Two processes met two keys at first contact: the second is told, the first pin stays."""
    one, other = TrustStore(folder, identity), TrustStore(folder, identity)
    by_one, by_other = one.load(), other.load()
    one.store(by_one.with_pin(WSS, PIN))

    error = refusal(other.store, by_other.with_pin(WSS, OTHER_PIN))

    assert isinstance(error, ThalovantHubKeyChangedError)
    assert (error.expected, error.received) == tuple(hashlib.sha256(pin).hexdigest() for pin in (PIN, OTHER_PIN))
    assert one.pins() == {WSS: PIN}


def test_same_pin_at_the_same_time_is_fine(identity, folder):
    """The usual case of two processes at first contact."""
    one, other = TrustStore(folder, identity), TrustStore(folder, identity)
    by_one, by_other = one.load(), other.load()

    one.store(by_one.with_pin(WSS, PIN))
    other.store(by_other.with_pin(WSS, PIN))

    assert one.pins() == {WSS: PIN}


def test_replaced_pin_of_ours(identity, folder):
    """Forgetting and pinning anew in one step is what the user wanted."""
    store = TrustStore(folder, identity)
    store.store(store.load().with_pin(WSS, PIN))

    store.store(store.load().without_pin(WSS).with_pin(WSS, OTHER_PIN))

    assert store.pins() == {WSS: OTHER_PIN}


CONTACT = """
import sys
from thalovant import ThalovantIdentity, TrustStore
from thalovant_proto.secret import Secret
number = sys.argv[2]
store = TrustStore(sys.argv[1], ThalovantIdentity(f"AK-{number}", "PW", "wss://hub", "site"))
trust = store.load()
print(trust.static_key.reveal().hex())
access = Secret(f"AK-{number}")
store.store(trust.with_pin(f"pin-{number}", bytes([int(number)] * 32)).with_noise_seen())
store.store(store.load().with_psk(access, "node", Secret("PW"), Secret(bytes(32))))
"""


def test_processes_at_first_contact(folder, identity):
    """Started at the same time on an empty folder: one key for all, and no pin, PSK or fact is lost."""
    numbers = [str(number) for number in range(6)]
    started = [
        subprocess.Popen([sys.executable, "-c", CONTACT, str(folder), number], stdout=subprocess.PIPE, text=True)
        for number in numbers
    ]
    keys = {one.communicate()[0] for one in started}

    assert [one.returncode for one in started] == [0] * 6
    assert len(keys) == 1
    assert TrustStore(folder, identity).pins() == {f"pin-{number}": bytes([int(number)] * 32) for number in numbers}
    assert len(read(folder / "unnamed-node_noise_psks.json")) == 6
    assert all(record["noise_seen"] for record in read(folder / "_thalovant.json")["identities"].values())
    assert list(folder.glob("*.tmp")) == []


# --- bounds, pins, no needless writing ---


def test_psk_file_is_bounded(identity, folder):
    """32 entries for all who share the folder; the oldest go, and their bindings with them."""
    layout(folder, psks={f"other@{number}": KEY.hex() for number in range(MAX_PSKS)})
    store = TrustStore(folder, identity)

    store.store(store.load().with_psk(ACCESS, "a", PASSWORD, Secret(KEY)))
    store.store(store.load().with_psk(ACCESS, "b", PASSWORD, Secret(KEY)))

    assert list(read(folder / "unnamed-node_noise_psks.json")) == [
        *(f"other@{number}" for number in range(2, MAX_PSKS)),
        psk_id(ACCESS, "a"),
        psk_id(ACCESS, "b"),
    ]

    store.store(store.load().without_psk(ACCESS, "a"))
    assert list(read(folder / "_thalovant.json")["identities"][DIGEST]["psk_bindings"]) == [psk_id(ACCESS, "b")]


def test_nothing_changed_nothing_written(identity, folder):
    """An unchanged trust touches no file, and an unchanged part not its file."""
    store = TrustStore(folder, identity)
    trust = store.load().with_pin(WSS, PIN).with_noise_seen()
    store.store(trust)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}

    store.store(trust)
    TrustStore(folder, identity).load()
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before

    store.store(trust.with_mqtt_layout("x"))
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"_thalovant.json"}


def test_store_without_load(identity, folder):
    """A trust that came from elsewhere is added to what is there."""
    layout(folder, pins={"a": PIN.hex()})

    TrustStore(folder, identity).store(Trust(static_key=Secret(KEY), pins={"b": OTHER_PIN}))

    assert TrustStore(folder, identity).pins() == {"a": PIN, "b": OTHER_PIN}


def test_pins_of_a_folder(identity, folder):
    """All hubs of the folder, keys that are none left out; nothing is made by asking."""
    assert TrustStore(folder, identity).pins() == {}
    assert not folder.exists()

    layout(folder, pins={WSS: PIN.hex(), "x": "none"})
    assert TrustStore(folder, identity).pins() == {WSS: PIN}


def test_forget(identity, folder):
    """A forgotten hub is trusted anew; that it spoke v3 is not forgotten. Unknown ones are told apart."""
    store = TrustStore(folder, identity)
    store.store(store.load().with_pin(WSS, PIN).with_pin("other", OTHER_PIN).with_noise_seen())

    assert store.forget(WSS)
    assert not store.forget(WSS)

    assert store.load().pins == {"other": OTHER_PIN}
    assert store.load().noise_seen


def test_forget_includes_the_official_name(pathless, folder):
    """Else the next load would find the old key under it."""
    layout(folder, pins={WSS: PIN.hex(), "hub.example:443": PIN.hex()})
    store = TrustStore(folder, pathless)

    assert store.forget(WSS)

    assert store.load().pins == {}


def test_forgotten_pin_does_not_return(identity, folder):
    """A running client that still has the pin in memory writes only what it changed."""
    client = TrustStore(folder, identity)
    client.store(client.load().with_pin(WSS, PIN))
    running = client.load()

    assert TrustStore(folder, identity).forget(WSS)
    client.store(running.with_noise_seen())

    assert client.pins() == {}


# --- names of hubs ---


@pytest.mark.parametrize(
    ("fields", "wss", "https"),
    [
        ({"default_master": "wss://h"}, "wss://h:443", "https://h:443/voice"),
        ({"default_master": "ws://h:80"}, "ws://h:80", "http://h:80/voice"),
        (
            {"default_master": "ws://127.0.0.1", "default_port": 5678},
            "ws://127.0.0.1:5678",
            "http://127.0.0.1:5678/voice",
        ),
        ({"default_master": "ws://127.0.0.1", "default_port": 80}, "ws://127.0.0.1:80", "http://127.0.0.1:80/voice"),
        ({"default_master": "WSS://LOCALHOST/public/"}, "wss://localhost:443", "https://LOCALHOST:443/public/voice"),
        ({"default_master": "wss://[::1]/x", "default_path": ""}, "wss://[::1]:443", "https://[::1]:443/x"),
        ({"default_master": "wss://u:p@h:99?authorization=x", "default_path": ""}, "wss://h:99", "https://h:99"),
    ],
)
def test_names_of_hubs(fields, wss, https):
    """As the published SDK names them: scheme, host and port for WSS, the HTTPS base for the others; no credentials."""
    identity = ThalovantIdentity.from_mapping(PLAIN | fields)

    assert [pin_id(identity, protocol) for protocol in ("wss", "https", "mqtt")] == [wss, https, https]
