"""Saving identities: to files, to profiles of the config file, with their secrets in the system's keyring."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keyring
import pytest
import yaml
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import KeyringLocked, PasswordDeleteError

from thalovant import ThalovantIdentity, ThalovantIdentityError
from thalovant._internal.secret_files import MAX_SIZE

from .identities import FULL, PLAIN, write

IDENTITY = ThalovantIdentity.from_mapping(FULL)
OTHER = ThalovantIdentity.from_mapping(PLAIN | {"access_key": "AK-2", "password": "PW-2"})
SECRETS = ("AK-1", "PW-1", "CK-1", "BP-1")


class Memory(KeyringBackend):
    """A keyring of this process."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError("not there")


@pytest.fixture
def memory() -> Iterator[Memory]:
    before, made = keyring.get_keyring(), Memory()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def config(tmp_path) -> Path:
    return tmp_path / "config.yaml"


def profiles(file: Path) -> dict[str, ThalovantIdentity]:
    return {
        str(name): ThalovantIdentity.from_config(file, profile=str(name))
        for name in yaml.safe_load(file.read_text())["profiles"]
    }


def test_a_new_config_file(tmp_path, monkeypatch):
    """It is made where `from_config` looks, for nobody else, and its one profile is the one that is used."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    file = IDENTITY.save_to_config(profile="prod")

    assert file == tmp_path / "config" / "thalovant" / "config.yaml"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    assert ThalovantIdentity.from_config() == IDENTITY


def test_a_folder_stands_for_the_file_in_it(tmp_path):
    """As it does where identities are read."""
    saved = IDENTITY.save(tmp_path), IDENTITY.save_to_config(path=tmp_path)

    assert saved == (tmp_path / "_identity.json", tmp_path / "config.yaml")
    assert ThalovantIdentity.from_file(tmp_path) == ThalovantIdentity.from_config(tmp_path) == IDENTITY


@pytest.mark.parametrize(
    ("before", "profile", "after"),
    [
        pytest.param(
            {"version": 1, "profile": "a", "x-flag": True, "profiles": {"a": {"identity": PLAIN, "note": "n"}}},
            "b",
            {"version": 1, "profile": "a", "x-flag": True, "profiles": {"a": {"identity": PLAIN, "note": "n"}, "b": 1}},
            id="another profile",
        ),
        pytest.param(
            {"profile": "a", "profiles": {"a": {"identity": FULL | {"x-own": 1}, "note": "n"}, "b": PLAIN}},
            None,
            {"profile": "a", "profiles": {"a": {"identity": {"x-own": 1}, "note": "n"}, "b": PLAIN}},
            id="the chosen profile",
        ),
        pytest.param(
            {"profiles": {"default": FULL | {"key": "old", "x-own": 1}}},
            None,
            {"profiles": {"default": {"x-own": 1}}},
            id="fields without `identity`",
        ),
        pytest.param({"profiles": {7: PLAIN}}, "7", {"profiles": {7: {}}}, id="a number as a name"),
        pytest.param(
            PLAIN | {"x-own": 1}, "b", {"profiles": {"default": PLAIN | {"x-own": 1}, "b": 1}}, id="a file of one"
        ),
        pytest.param({"identity": PLAIN, "x": 1}, None, {"profiles": {"default": {"identity": {}, "x": 1}}}, id="bare"),
        pytest.param(None, "b", {"profile": "b", "profiles": {"b": 1}}, id="empty"),
    ],
)
def test_what_else_is_in_the_file_is_kept(before, profile, after, config):
    """Other profiles, flags and unknown fields stay; old spellings of the fields written do not."""
    write(config, "" if before is None else yaml.safe_dump(before))

    OTHER.save_to_config(profile=profile, path=config)

    found = yaml.safe_load(config.read_text())
    written = OTHER.as_dict(include_secrets=True)
    for name, entry in after["profiles"].items():
        if entry == 1:
            after["profiles"][name] = {"identity": written}
        elif entry not in (PLAIN, {"identity": PLAIN, "note": "n"}, PLAIN | {"x-own": 1}):
            after["profiles"][name] = (
                entry | {"identity": entry["identity"] | written} if "identity" in entry else entry | written
            )
    assert found == after
    assert profiles(config)[profile or before.get("profile", "default")] == OTHER


def test_words_that_yaml_could_read_otherwise_stay(config):
    """What looks like a truth value, a number or a date in another profile is still the same text afterwards."""
    fields = ("access_key: 0123", "password: no", "site_id: 2024-01-01", "default_master: h.example")
    write(config, "\n    ".join(("profiles:\n  a:", *fields)))
    before = profiles(config)["a"]

    IDENTITY.save_to_config(profile="b", path=config)

    assert profiles(config) == {"a": before, "b": IDENTITY}


def test_many_write_at_once(config):
    """None loses another's profile."""
    many = {f"p{number}": replace(OTHER, site_id=f"site-{number}") for number in range(12)}

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda name: many[name].save_to_config(profile=name, path=config), many))

    assert profiles(config) == many


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("profiles: [", 0o600, "Thalovant config file is not valid YAML: {}"),
        ("- a", 0o600, "Thalovant config file must contain a YAML object."),
        ("a: 1\na: 2", 0o600, "Thalovant config file is not valid YAML: {}"),
        ("a: 1", 0o644, "Thalovant config file is too permissive: {0}. Run `chmod 600 {0}`."),
        ("a: " + "x" * MAX_SIZE, 0o600, "Unable to read Thalovant config file: {}"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_alone(content, mode, message, config):
    """Nothing that somebody else wrote is thrown away."""
    write(config, content, mode)

    with pytest.raises(ThalovantIdentityError) as caught:
        IDENTITY.save_to_config(path=config)

    assert str(caught.value) == message.format(config)
    assert config.read_text() == content


@pytest.mark.skipif(os.name != "posix", reason="links and modes are POSIX")
@pytest.mark.parametrize("call", ["save", "save_to_config"])
def test_where_nothing_can_be_written(call, tmp_path):
    """The error names the file and says no secret; nothing else is touched."""
    target = write(tmp_path / "target", "{}")
    link = tmp_path / "link"
    link.symlink_to(target)

    for path in (link, target / "below"):
        with pytest.raises(ThalovantIdentityError) as caught:
            getattr(IDENTITY, call)(path=path)
        assert str(path) in str(caught.value)
        assert not any(secret in repr(caught.value) for secret in SECRETS)
    assert target.read_text() == "{}"


# --- the keyring ---


@pytest.mark.parametrize("call", ["save", "save_to_config"])
def test_secrets_in_the_keyring(call, memory, tmp_path):
    """The file holds none of them; who reads it gets the same identity."""
    read = {"save": ThalovantIdentity.from_file, "save_to_config": ThalovantIdentity.from_config}[call]

    for identity in (IDENTITY, replace(IDENTITY, password="PW-9")):
        file = getattr(identity, call)(path=tmp_path, keyring=True)
        assert read(file) == identity
        assert not any(secret in file.read_text() for secret in (*SECRETS, "PW-9"))
        assert len(memory.entries) == 1  # the same one again

    getattr(IDENTITY, call)(path=tmp_path)
    assert read(file) == IDENTITY
    assert memory.entries == {}


def test_keyring_that_cannot_be_used(memory, tmp_path, monkeypatch):
    """Each error says what to do; what was there before is still there."""
    file = IDENTITY.save(tmp_path, keyring=True)
    text = file.read_text()

    def told(call) -> tuple[str | None, str]:
        with pytest.raises(ThalovantIdentityError) as caught:
            call()
        assert not any(secret in str(caught.value) for secret in SECRETS)
        return caught.value.name, str(caught.value).removesuffix(f" (in {file})")

    memory.locked = True
    locked = told(lambda: ThalovantIdentity.from_file(file))
    memory.locked = False
    memory.entries.clear()
    gone = told(lambda: ThalovantIdentity.from_file(file))
    keyring.set_keyring(NoKeyring())
    none = told(lambda: IDENTITY.save(tmp_path, keyring=True))
    monkeypatch.setitem(sys.modules, "keyring", None)
    missing = told(lambda: ThalovantIdentity.from_file(file))

    entry = json.loads(text)["secrets"]["keyring"]
    assert [locked, gone, none, missing] == [
        ("keyring_unusable", "The system's keyring cannot be used: KeyringLocked."),
        ("keyring_entry", f"The system's keyring has no entry {entry!r} of 'thalovant'."),
        ("keyring_unusable", "The system's keyring cannot be used: NoKeyringError."),
        (
            "no_keyring",
            "The secrets of this identity belong in the system's keyring, and the package for it is not installed.",
        ),
    ]
    assert file.read_text() == text
