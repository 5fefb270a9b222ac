"""Which folder the trust of an identity is in, and what is taken along to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thalovant import ThalovantIdentity, TrustStore
from thalovant.trust_store import default_folder, shared_folder
from thalovant_proto.secret import Secret
from thalovant_proto.trust import psk_id

from ..identities import FULL, write
from .layouts import ACCESS, HTTPS, KEY, NODE_ID, OTHER_PIN, PIN, WSS, layout, read, refusal


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
