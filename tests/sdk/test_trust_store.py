"""Trust on disk: the layout of other HiveMind software is read and kept, nothing is lost among processes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thalovant import ThalovantError, ThalovantHubKeyChangedError, ThalovantIdentity, ThalovantIdentityError, TrustStore
from thalovant.trust_store import default_folder, pin_id, shared_folder
from thalovant_proto.secret import Secret
from thalovant_proto.trust import MAX_PSKS, Trust, psk_id

from .identities import FULL, PLAIN, write

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")
WSS, HTTPS = "wss://hub.example:443", "https://hub.example:443/voice"
KEY, PIN, OTHER_PIN = b"\x0f" * 32, b"\xa1" * 32, b"\xb2" * 32
ACCESS, PASSWORD = Secret("AK-1"), Secret("PW-1")
NODE_ID = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
DIGEST = hashlib.sha256(b"AK-1").hexdigest()[:16]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """A home of our own, where nothing is."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def identity() -> ThalovantIdentity:
    return ThalovantIdentity.from_mapping(FULL)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "trust"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def layout(folder: Path, *, name: str | None = None, key: bytes = KEY, pins: Any = None, psks: Any = None) -> Path:
    """A folder as other software leaves it."""
    folder.mkdir(parents=True, mode=0o700)
    node = {"name": name} if name else {}
    write(folder / "_identity.json", node | {"pinned_noise_keys": pins or {}})
    write(folder / f"{name or 'unnamed-node'}_noise.key", key.hex())
    if psks:
        write(folder / f"{name or 'unnamed-node'}_noise_psks.json", psks)
    return folder


def refusal(call, *arguments) -> ThalovantError:
    with pytest.raises(ThalovantError) as caught:
        call(*arguments)
    assert str(caught.value).count("\n") < 3
    return caught.value


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


# --- what is broken ---


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("unnamed-node_noise.key", "zz", "The Noise key of this client cannot be read"),
        ("unnamed-node_noise.key", KEY.hex() + "00", "The Noise key of this client cannot be read"),
        ("unnamed-node_noise.key", b"\xff" * 32, "Trust file is not text"),
        ("_identity.json", "{", "Trust file is not a JSON object"),
        ("_identity.json", "[]", "Trust file is not a JSON object"),
        ("_identity.json", "[" * 100_000, "Trust file is not a JSON object"),
        ("_identity.json", {"pinned_noise_keys": {WSS: "zz"}}, f"The pinned key of {WSS} cannot be read"),
        ("_thalovant.json", "{", "Trust file is not a JSON object"),
    ],
)
def test_broken_file(identity, folder, file, content, message):
    """A broken file is named and never replaced: a second key, or a second pin, would be worse."""
    layout(folder)
    write(folder / file, content)
    before = (folder / file).read_bytes()

    error = refusal(TrustStore(folder, identity).load)

    assert isinstance(error, ThalovantIdentityError)
    assert str(error) == f"{message}: {folder / file}"
    assert (folder / file).read_bytes() == before
    if file.endswith(".key"):
        assert before.decode(errors="replace") not in f"{error} {error.hint}"


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_broken_psk_cache_is_a_cache(identity, folder, content):
    """PSKs can be derived again; a broken cache is as good as an empty one, and replaced."""
    layout(folder)
    write(folder / "unnamed-node_noise_psks.json", content)
    store = TrustStore(folder, identity)

    store.store(store.load().with_psk(ACCESS, NODE_ID, PASSWORD, Secret(KEY)))

    assert store.load().psk_for(ACCESS, NODE_ID, PASSWORD) == Secret(KEY)


@pytest.mark.parametrize(
    "own",
    [
        {"identities": []},
        {"identities": {DIGEST: 5}},
        {"identities": {DIGEST: {"psk_bindings": 5, "mqtt_layout": 5, "noise_seen": "yes"}}},
    ],
)
def test_facts_of_other_shapes(identity, folder, own):
    """What we do not understand in our own file, perhaps of a later release, counts as not known."""
    layout(folder, psks={psk_id(ACCESS, NODE_ID): KEY.hex()})
    write(folder / "_thalovant.json", own)

    trust = TrustStore(folder, identity).load()

    assert (trust.noise_seen, trust.mqtt_layout) == (False, None)
    assert trust.psk_for(ACCESS, NODE_ID, PASSWORD) is None


@POSIX
@pytest.mark.parametrize("file", ["unnamed-node_noise.key", "unnamed-node_noise_psks.json", "_thalovant.json"])
def test_permissive_file(identity, folder, file):
    """A key that others may read is refused, with the command that mends it."""
    layout(folder, psks={"a@b": KEY.hex()})
    write(folder / "_thalovant.json", {})
    (folder / file).chmod(0o640)

    error = refusal(TrustStore(folder, identity).load)

    assert str(error) == f"Trust file is too permissive: {folder / file}. Run `chmod 600 {folder / file}`."


@POSIX
@pytest.mark.parametrize("file", ["unnamed-node_noise.key", "_identity.json", "_thalovant.json"])
def test_links_are_not_followed(identity, folder, file):
    """Neither read through a link nor written: it may lead where others are."""
    layout(folder, pins={WSS: PIN.hex()})
    elsewhere = write(folder.parent / "elsewhere", "{}")
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(elsewhere)

    error = refusal(TrustStore(folder, identity).load)

    assert str(error) == f"Unable to read trust file: {folder / file}: it is a symbolic link."
    assert elsewhere.read_text() == "{}"


def test_folder_that_cannot_be_read(identity, tmp_path):
    """The error names the file and the reason."""
    write(tmp_path / "file", "")

    error = refusal(TrustStore(tmp_path / "file", identity).load)

    assert str(error) == f"Unable to read trust file: {tmp_path / 'file' / '_identity.json'}: Not a directory."


def test_folder_that_cannot_be_written(identity, folder):
    """The error names the folder and the reason, the hint the option to give another."""
    (folder / "._identity.json.lock").mkdir(parents=True)

    error = refusal(TrustStore(folder, identity).load)

    assert str(error) == f"Unable to write to the trust folder: {folder}: Is a directory."
    assert "noise_state_dir" in error.hint


# --- which folder ---


def test_shared_folder(home, monkeypatch, tmp_path):
    """`$XDG_CONFIG_HOME/hivemind`, else `~/.config/hivemind`, as other software has it."""
    assert shared_folder() == home / ".config/hivemind"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert shared_folder() == tmp_path / "xdg/hivemind"


def test_user_without_a_home(identity, monkeypatch, tmp_path):
    """An identity of a file keeps its trust beside it; any other is told how to name a folder."""
    monkeypatch.setattr(Path, "home", _nowhere)

    assert TrustStore(None, ThalovantIdentity.from_file(write(tmp_path / "id.json", FULL))).load().pins == {}
    assert "noise_state_dir" in refusal(TrustStore(None, identity).load).hint


def _nowhere():
    raise RuntimeError("Could not determine home directory.")


def test_identity_without_a_file_uses_the_shared_folder(identity, home):
    """From the environment or from code there is no better place."""
    store = TrustStore(None, identity)
    store.load()

    assert store.folder == home / ".config/hivemind"
    assert (home / ".config/hivemind/unnamed-node_noise.key").exists()


def test_identity_of_a_file_uses_the_folder_beside(tmp_path):
    """`hivemind` beside the identity or config file; for a link, beside the link."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/id.json").symlink_to(write(tmp_path / "id.json", FULL))
    write(tmp_path / "config.yaml", FULL)

    assert TrustStore(None, ThalovantIdentity.from_file(tmp_path / "conf/id.json")).folder == tmp_path / "conf/hivemind"
    assert default_folder(ThalovantIdentity.from_config(tmp_path / "config.yaml")) == tmp_path / "hivemind"


def test_given_folder_wins(tmp_path, home):
    """`noise_state_dir` is the place, `~` included."""
    identity = ThalovantIdentity.from_file(write(tmp_path / "id.json", FULL))

    assert TrustStore(tmp_path / "given", identity).folder == tmp_path / "given"
    assert TrustStore("~/given", identity).folder == home / "given"


def test_folder_beside_that_cannot_be_made(identity, home):
    """An identity in a place where nothing can be written has its trust in the shared folder."""
    assert default_folder(replace(identity, source_path="/dev/null/id.json")) == home / ".config/hivemind"


def test_trust_of_the_official_client_is_beside_its_identity(tmp_path):
    """It keeps credentials, key and pins in one folder, which stays the place if there is none below."""
    config = layout(tmp_path / "hivemind", pins={"hub.example:443": PIN.hex()})
    write(config / "_identity.json", FULL | read(config / "_identity.json"))
    identity = ThalovantIdentity.from_file(config / "_identity.json")
    store = TrustStore(None, identity)

    store.store(store.load().with_pin(HTTPS, PIN))

    assert store.load().static_key == Secret(KEY)
    assert read(config / "_identity.json") == FULL | {
        "pinned_noise_keys": {"hub.example:443": PIN.hex(), HTTPS: PIN.hex()}
    }
    assert not (config / "hivemind").exists()


def test_earlier_releases_have_it_below(tmp_path):
    """A key in the folder below is the one that the hub knows."""
    config = layout(tmp_path / "conf", key=PIN)
    write(config / "_identity.json", FULL)
    layout(config / "hivemind", key=KEY)

    assert TrustStore(None, ThalovantIdentity.from_file(config / "_identity.json")).load().static_key == Secret(KEY)


def test_key_that_the_hub_knows_is_taken_along(tmp_path, home):
    """A device that kept its key in the shared folder, and now has an identity file, must not make a second one."""
    psk = psk_id(ACCESS, NODE_ID)
    layout(
        home / ".config/hivemind",
        name="lamp",
        pins={WSS: PIN.hex(), "other": OTHER_PIN.hex()},
        psks={psk: KEY.hex(), "x@y": KEY.hex()},
    )
    store = TrustStore(None, ThalovantIdentity.from_file(write(tmp_path / "id.json", FULL)))

    trust = store.load()

    assert store.folder == tmp_path / "hivemind"
    assert trust.static_key == Secret(KEY)
    assert trust.pins == {WSS: PIN}
    assert trust.psks == {}  # they can be derived again
    assert trust.noise_seen
    assert read(store.folder / "_identity.json") == {"name": "lamp", "pinned_noise_keys": {WSS: PIN.hex()}}
    assert not (store.folder / "_thalovant.json").exists()
    assert (store.folder / "lamp_noise.key").read_text() == KEY.hex()
    assert read(home / ".config/hivemind/_identity.json")["pinned_noise_keys"] == {
        WSS: PIN.hex(),
        "other": OTHER_PIN.hex(),
    }


@pytest.mark.parametrize("pins", [{}, {"wss://another.hub:443": PIN.hex()}, {WSS: "zz"}])
def test_key_of_other_hubs_is_not_taken_along(tmp_path, home, pins):
    """A shared folder that knows nothing of this hub, or that is broken, is no concern of ours."""
    layout(home / ".config/hivemind", pins=pins)

    trust = TrustStore(None, ThalovantIdentity.from_file(write(tmp_path / "id.json", FULL))).load()

    assert trust.static_key != Secret(KEY)
    assert trust.pins == {}


def test_given_folder_takes_nothing_along(identity, folder, home):
    """Who names a folder wants that one."""
    layout(home / ".config/hivemind", pins={WSS: PIN.hex()})

    assert TrustStore(folder, identity).load().static_key != Secret(KEY)


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
