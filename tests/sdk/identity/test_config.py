"""Identities of the YAML configuration and its profiles, and what goes wrong there."""

from __future__ import annotations

import pytest

from thalovant import ThalovantIdentity, default_config_path

from ..identities import PLAIN, POSIX, refusal, write


def test_config_path(tmp_path, environment):
    """`$XDG_CONFIG_HOME`, else `~/.config`."""
    assert default_config_path() == tmp_path / ".config/thalovant/config.yaml"
    environment.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert default_config_path() == tmp_path / "xdg/thalovant/config.yaml"
    environment.setenv("XDG_CONFIG_HOME", "~/own")
    assert default_config_path() == tmp_path / "own/thalovant/config.yaml"


def test_config_is_found(tmp_path):
    """Without a path the default one is read, and it is where the identity came from."""
    path = tmp_path / ".config/thalovant/config.yaml"
    path.parent.mkdir(parents=True)
    write(path, {"identity": PLAIN | {"ca_file": "ca.crt"}})

    identity = ThalovantIdentity.from_config()

    assert identity.source_path == str(path)
    assert identity.ca_file == str(path.parent / "ca.crt")


YAML = """
version: 1
profile: prod
profiles:
  prod:
    identity:
      access_key: AK-1
      password: PW-1
      site_id: kitchen
      default_master: https://hub.example
      data_plane_endpoints:
        https: https://hub.example/public   # no port: 443
  two:
    {access_key: AK-2, password: PW-2, site_id: hall, default_master: "wss://hub.example"}
"""


@pytest.mark.parametrize(("profile", "site"), [(None, "kitchen"), ("prod", "kitchen"), ("two", "hall")])
def test_profile(tmp_path, profile, site):
    """The named profile, else the file's own choice; with or without `identity:`."""
    identity = ThalovantIdentity.from_config(write(tmp_path / "c.yaml", YAML), profile=profile)

    assert identity.site_id == site


def test_public_endpoint_of_a_config_has_no_port_of_hubs(tmp_path):
    """The documented example names no port; 5679 is not what it means."""
    identity = ThalovantIdentity.from_config(write(tmp_path / "c.yaml", YAML))

    assert identity.endpoint_for("https") == "https://hub.example/public"


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        {"identity": PLAIN},
        {"profiles": {"default": PLAIN}},
        {"default_profile": "x", "profiles": {"x": PLAIN}},
        {"defaultProfile": "x", "profiles": {"x": PLAIN}},
        {"profile": 5, "profiles": {5: PLAIN}},
        {"profiles": None, "identity": PLAIN},
    ],
)
def test_config_shapes(tmp_path, config):
    """Every documented shape (JSON is YAML)."""
    assert ThalovantIdentity.from_config(write(tmp_path / "c.yaml", config)).site_id == "kitchen"


@pytest.mark.parametrize("own", [{}, {"noise_state_dir": "own"}])
def test_folder_of_a_profile(tmp_path, own):
    """The folder of keys may be named in the profile or in its identity."""
    profile = {"noise_state_dir": "keys", "identity": PLAIN | own}

    identity = ThalovantIdentity.from_config(write(tmp_path / "c.yaml", {"profiles": {"default": profile}}))

    assert identity.noise_state_dir == str(tmp_path / (own or profile)["noise_state_dir"])


def test_profile_of_a_config_without_profiles(tmp_path):
    """There is one identity; a profile that is asked for is it."""
    assert ThalovantIdentity.from_config(write(tmp_path / "c.yaml", PLAIN), profile="any").site_id == "kitchen"


@pytest.mark.parametrize(
    ("content", "profile", "message"),
    [
        ("a: [", None, "Thalovant config file is not valid YAML: {path}"),
        ("a:\n\t- b", None, "Thalovant config file is not valid YAML: {path}"),
        ("!!python/object/apply:os.getcwd []", None, "Thalovant config file is not valid YAML: {path}"),
        (b"\xff\xfe\xff", None, "Thalovant config file is not valid YAML: {path}"),
        ("text", None, "Thalovant config file must contain a YAML object."),
        ("[1]", None, "Thalovant config file must contain a YAML object."),
        ("", None, "Missing required identity field: access_key, key, api_key, apiKey (in {path})"),
        ({"profiles": {"prod": PLAIN}}, "nope", "Missing Thalovant config profile: nope"),
        ({"profiles": {"prod": PLAIN}}, None, "Missing Thalovant config profile: default"),
        ({"profiles": {}}, None, "Missing Thalovant config profile: default"),
        ({"profiles": {"default": 5}}, None, "Missing Thalovant config profile: default"),
    ],
)
def test_broken_config(tmp_path, content, profile, message):
    """Each mistake has its sentence, and file and fix are named."""
    path = write(tmp_path / "c.yaml", content)

    error = refusal(ThalovantIdentity.from_config, path, profile=profile)

    assert str(error) == message.format(path=path)
    assert str(path) in f"{error} {error.hint}"


def test_unknown_profile_lists_those_that_there_are(tmp_path):
    """A typo is found at a glance."""
    error = refusal(ThalovantIdentity.from_config, write(tmp_path / "c.yaml", YAML), profile="pord")

    assert error.hint.endswith("has these profiles: prod, two.")


@POSIX
def test_permissive_config(tmp_path):
    """The config holds the same secrets and is held to the same rule."""
    path = write(tmp_path / "c.yaml", PLAIN, 0o644)

    error = refusal(ThalovantIdentity.from_config, path)

    assert str(error) == f"Thalovant config file is too permissive: {path}. Run `chmod 600 {path}`."


def test_no_config(tmp_path):
    """The default place is named."""
    error = refusal(ThalovantIdentity.from_config)

    assert str(error) == f"Unable to read Thalovant config file: {tmp_path}/.config/thalovant/config.yaml"
