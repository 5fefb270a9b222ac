"""Folders of trust that are broken, open to others, or not to be read or written."""

from __future__ import annotations

import pytest

from thalovant import ThalovantIdentityError, TrustStore
from thalovant_proto.secret import Secret
from thalovant_proto.trust import psk_id

from ..identities import POSIX, write
from .layouts import ACCESS, DIGEST, KEY, NODE_ID, PASSWORD, PIN, WSS, layout, refusal


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
