"""Identities in JSON files: read, saved, and what goes wrong there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from thalovant import ThalovantIdentity

from ..identities import FULL, PLAIN, POSIX, refusal, write

# --- files ---


def test_file(tmp_path):
    """What is in the file, and where it was."""
    path = write(tmp_path / "id.json", FULL)

    identity = ThalovantIdentity.from_file(path)

    assert ThalovantIdentity.from_mapping(FULL) == identity
    assert identity.source_path == str(path)


def test_file_in_the_home_folder(tmp_path):
    """`~` is the user's home."""
    write(tmp_path / "id.json", PLAIN)

    assert ThalovantIdentity.from_file("~/id.json").site_id == "kitchen"


def test_file_with_a_byte_order_mark(tmp_path):
    """Editors on Windows write one; it is no reason to refuse a file."""
    path = write(tmp_path / "id.json", b"\xef\xbb\xbf" + json.dumps(PLAIN).encode())

    assert ThalovantIdentity.from_file(path).site_id == "kitchen"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Identity file is not valid JSON: {path}"),
        ("", "Identity file is not valid JSON: {path}"),
        ("[" * 100_000, "Identity file is not valid JSON: {path}"),
        (b"\xff", "Identity file is not valid JSON: {path}"),
        ("[]", "Identity file must contain a JSON object."),
        ("5", "Identity file must contain a JSON object."),
        ("{}", "Missing required identity field: access_key, key, api_key, apiKey (in {path})"),
        (
            PLAIN | {"port": 5, "default_port": "x"},
            "Identity field must be an integer: default_port, port, hub_http_port (in {path})",
        ),
        (" " * (1 << 20) + "{}", "Unable to read identity file: {path}"),
    ],
    ids=["cut", "empty", "deep", "not text", "list", "number", "no field", "wrong field", "huge"],
)
def test_broken_file(tmp_path, content, message):
    """Each mistake has its sentence with the file in text or hint, and a next step."""
    path = write(tmp_path / "id.json", content)

    error = refusal(ThalovantIdentity.from_file, path)

    assert str(error) == message.format(path=path)
    assert error.hint
    assert str(path) in f"{error} {error.hint}"


def test_no_such_file(tmp_path, environment):
    """A relative path is the usual mistake: say from where it was looked for."""
    environment.chdir(tmp_path)

    error = refusal(ThalovantIdentity.from_file, "nope.json")

    assert str(error) == "Unable to read identity file: nope.json"
    assert str(tmp_path) in error.hint
    assert refusal(ThalovantIdentity.from_file, tmp_path / "nope.json").hint == "It is not there: check the path."


def test_folder_in_place_of_a_file(tmp_path):
    """A folder stands for the file in it that the documents name; without one, folder and name are told."""
    error = refusal(ThalovantIdentity.from_file, tmp_path)
    assert str(error) == f"Unable to read identity file: {tmp_path / '_identity.json'}"
    assert error.hint.startswith(f"The folder {tmp_path} has no _identity.json: name the file.")

    write(tmp_path / "_identity.json", PLAIN)
    write(tmp_path / "config.yaml", PLAIN)
    assert ThalovantIdentity.from_file(tmp_path).source_path == str(tmp_path / "_identity.json")
    assert ThalovantIdentity.from_config(tmp_path).source_path == str(tmp_path / "config.yaml")


@POSIX
def test_fifo_in_place_of_a_file(tmp_path):
    """A named pipe does not hang the reader."""
    os.mkfifo(tmp_path / "id.json", 0o600)

    error = refusal(ThalovantIdentity.from_file, tmp_path / "id.json")
    assert error.hint == "It is not a plain file: name the file that the hub's operator gave you."


@POSIX
def test_link_to_itself(tmp_path):
    """The system's own words, where there are no better ones."""
    (tmp_path / "id.json").symlink_to("id.json")

    error = refusal(ThalovantIdentity.from_file, tmp_path / "id.json")
    assert error.hint == "Too many levels of symbolic links: check the path."


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_file_of_somebody_else(tmp_path):
    """A file that this user may not read."""
    path = write(tmp_path / "id.json", PLAIN, 0o000)

    assert refusal(ThalovantIdentity.from_file, path).hint.startswith("This user may not read it")


@POSIX
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o777])
def test_permissive_file(tmp_path, mode):
    """Any bit for group or others is refused, with the command that mends it."""
    path = write(tmp_path / "id.json", PLAIN, mode)

    error = refusal(ThalovantIdentity.from_file, path)

    assert str(error) == f"Identity file is too permissive: {path}. Run `chmod 600 {path}`."
    assert error.name == "too_permissive"


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_private_file(tmp_path, mode):
    """The owner's own bits do not matter."""
    assert ThalovantIdentity.from_file(write(tmp_path / "id.json", PLAIN, mode)).site_id == "kitchen"


@POSIX
def test_link_to_a_private_file(tmp_path):
    """A link is fine; its target is held to the rule, and the identity's place is the link's."""
    target = write(tmp_path / "target.json", PLAIN)
    link = tmp_path / "link.json"
    link.symlink_to(target)

    assert ThalovantIdentity.from_file(link).source_path == str(link)

    target.chmod(0o644)
    assert refusal(ThalovantIdentity.from_file, link).name == "too_permissive"


@pytest.fixture
def projected(tmp_path) -> Path:
    """A secret as Kubernetes mounts it: `id.json` → `..data/id.json`, `..data` → a folder with the time in its name."""
    (tmp_path / "..2026").mkdir()
    write(tmp_path / "..2026" / "id.json", PLAIN, 0o644)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "id.json").symlink_to("..data/id.json")
    return tmp_path / "id.json"


@POSIX
def test_projected_secret(projected, environment):
    """Kubernetes gives no other mode to a pod that does not run as root; there such a file is read."""
    environment.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    assert ThalovantIdentity.from_file(projected).site_id == "kitchen"


@POSIX
@pytest.mark.parametrize("lacks", ["a pod", "the data link", "the file link"])
def test_almost_projected_secret(projected, environment, lacks):
    """Only in a pod, only through both links: each alone can be had by accident."""
    if lacks != "a pod":
        environment.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    if lacks == "the data link":
        (projected.parent / "..data").unlink()
        (projected.parent / "..2026").rename(projected.parent / "..data")
    if lacks == "the file link":
        projected.unlink()
        write(projected, PLAIN, 0o644)

    assert refusal(ThalovantIdentity.from_file, projected).name == "too_permissive"


def test_ca_file_is_relative_to_the_identity_file(tmp_path):
    """An identity and its CA travel in one folder, wherever the process runs."""
    write(tmp_path / "id.json", PLAIN | {"caFile": "pki/ca.crt", "noise_state_dir": "keys"})
    write(tmp_path / "absolute.json", PLAIN | {"ca_file": "/etc/ca.crt", "noise_state_dir": "~/keys"})

    for name, ca_file, folder in (("id", tmp_path / "pki/ca.crt", "keys"), ("absolute", Path("/etc/ca.crt"), "keys")):
        identity = ThalovantIdentity.from_file(tmp_path / f"{name}.json")
        assert (identity.ca_file, identity.noise_state_dir) == (str(ca_file), str(tmp_path / folder))


# --- saving ---


def test_save(tmp_path):
    """What is saved is read back as it was, the CA where it is."""
    identity = ThalovantIdentity.from_mapping(FULL | {"ca_file": str(tmp_path / "ca.crt")})

    path = identity.save(tmp_path / "deep" / "id.json")

    assert ThalovantIdentity.from_file(path) == identity


def test_save_makes_a_relative_ca_absolute(tmp_path, environment):
    """The file may end up in another folder than the one that the CA was named from."""
    environment.chdir(tmp_path)
    path = ThalovantIdentity.from_mapping(PLAIN | {"ca_file": "ca.crt", "noise_state_dir": "keys"}).save("deep/id.json")

    saved = ThalovantIdentity.from_file(path)
    assert (saved.ca_file, saved.noise_state_dir) == (str(tmp_path / "ca.crt"), str(tmp_path / "keys"))


@POSIX
def test_saved_file_is_private(tmp_path):
    """0600 in 0700, where the folder had to be made."""
    path = ThalovantIdentity.from_mapping(PLAIN).save(tmp_path / "deep" / "id.json")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@POSIX
def test_save_does_not_write_through_a_link(tmp_path):
    """A link might lead to a place that others read."""
    victim = write(tmp_path / "victim", "as it was")
    (tmp_path / "id.json").symlink_to(victim)

    error = refusal(ThalovantIdentity.from_mapping(PLAIN).save, tmp_path / "id.json")

    assert str(tmp_path / "id.json") in str(error)
    assert victim.read_text() == "as it was"


def test_save_where_nothing_can_be_written(tmp_path):
    """The error names file and reason."""
    write(tmp_path / "file", "")

    error = refusal(ThalovantIdentity.from_mapping(PLAIN).save, tmp_path / "file" / "id.json")

    assert str(error) == f"Unable to write identity file: {tmp_path / 'file' / 'id.json'}: Not a directory."
