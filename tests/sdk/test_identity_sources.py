"""Where identities come from and go to: JSON files, the YAML config, the environment; and what goes wrong there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from thalovant import ThalovantIdentity, ThalovantIdentityError, default_config_path

from .identities import FULL, PLAIN, write

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No variable of the machine, and a home of our own."""
    for name in list(os.environ):
        if name.startswith(("THALOVANT_", "KUBERNETES_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def refusal(read, *arguments, **options) -> ThalovantIdentityError:
    with pytest.raises(ThalovantIdentityError) as caught:
        read(*arguments, **options)
    assert str(caught.value).count("\n") < 3
    return caught.value


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


# --- config ---


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


# --- environment ---

SECRETS = {"ACCESS_KEY": "AK-1", "PASSWORD": "PW-1", "SITE_ID": "kitchen"}


def from_env(environment, variables, prefix="THALOVANT_") -> ThalovantIdentity:
    for name, value in variables.items():
        environment.setenv(prefix + name, value)
    return ThalovantIdentity.from_env() if prefix == "THALOVANT_" else ThalovantIdentity.from_env(prefix)


def test_environment(environment):
    """The documented block: the path is applied, the port too, and MQTT is complete."""
    identity = from_env(
        environment,
        SECRETS
        | {
            "CRYPTO_KEY": "CK-1",
            "CA_FILE": "/ca.crt",
            "HUB_HTTP_HOST": "https://hub.example",
            "HUB_HTTP_PORT": "443",
            "HUB_HTTP_PATH": "/public",
            "HUB_WSS_HOST": "wss://hub.example",
            "HUB_MQTT_HOST": "mqtts://mqtt.example:8883",
            "MQTT_USERNAME": "u",
            "MQTT_PASSWORD": "p",
            "MQTT_TOPIC_PREFIX": "hivemind/hub/client",
        },
    )

    assert (identity.access_key, identity.password, identity.crypto_key) == ("AK-1", "PW-1", "CK-1")
    assert identity.ca_file == "/ca.crt"
    assert identity.endpoint_for("https") == "https://hub.example:443/public"
    assert identity.endpoint_for("wss") == "wss://hub.example"
    assert identity.endpoint_for("mqtt") == "mqtts://mqtt.example:8883"
    assert (identity.mqtt.endpoint, identity.mqtt.topic_prefix) == ("mqtts://mqtt.example:8883", "hivemind/hub/client")
    assert identity.enabled_protocols() == ("wss",)
    assert identity.source_path is None


@pytest.mark.parametrize(
    ("variables", "https", "wss"),
    [
        ({"HUB_HTTPS_HOST": "https://h"}, "https://h", None),
        ({"HUB_WSS_HOST": "wss://h"}, "https://h:5679", "wss://h"),
        ({"HUB_HTTP_HOST": "https://h"}, "https://h", None),
        ({"HUB_HTTP_HOST": "https://h", "HUB_HTTP_PORT": "5679"}, "https://h:5679", None),
        ({"HUB_HTTP_HOST": "http://127.0.0.1", "HUB_HTTP_PORT": "1"}, "http://127.0.0.1:1", None),
        ({"HUB_HTTP_HOST": "https://h/has", "HUB_HTTP_PATH": "/other"}, "https://h/has", None),
        ({"HUB_HTTP_HOST": "https://h:9", "HUB_HTTP_PORT": "1", "HUB_HTTP_PATH": "p"}, "https://h:9/p", None),
        ({"HUB_HTTP_HOST": "https://[::1]", "HUB_HTTP_PORT": "1"}, "https://[::1]:1", None),
        ({"HUB_HTTP_HOST": "h.example", "HUB_HTTP_PORT": "1"}, "https://h.example:1", None),
        ({"DEFAULT_MASTER": "https://m", "DEFAULT_PORT": "1", "DEFAULT_PATH": "x"}, "https://m:1/x", None),
        ({"DEFAULT_MASTER": "wss://m"}, "https://m:5679", "wss://m"),
        (
            {"HUB_HTTP_HOST": "https://a", "HUB_HTTPS_HOST": "https://b", "HUB_WEBSOCKET_HOST": "wss://c"},
            "https://b",
            "wss://c",
        ),
    ],
)
def test_environment_endpoints(environment, variables, https, wss):
    """Any one of the hosts is enough; port and path belong to the HTTP host that has none."""
    identity = from_env(environment, SECRETS | variables)

    assert identity.endpoint_for("https") == https
    assert identity.endpoint_for("wss") == wss


def test_environment_with_another_prefix(environment):
    """Several identities in one environment."""
    identity = from_env(environment, SECRETS | {"HUB_WSS_HOST": "wss://h"}, prefix="LAMP_")

    assert identity.site_id == "kitchen"


def test_environment_mqtt(environment):
    """The older topics and the quality of service can be set as well."""
    identity = from_env(
        environment,
        SECRETS
        | {"HUB_HTTP_HOST": "https://h", "MQTT_ENDPOINT": "mqtts://b", "MQTT_USERNAME": "u", "MQTT_PASSWORD": "p"}
        | {"MQTT_QOS": "0", "MQTT_HUB_ID": "h", "MQTT_C2S_TOPIC": "c", "MQTT_S2C_TOPIC": "s"}
        | {"MQTT_STATUS_TOPIC": "t", "MQTT_HASH_TOPICS": "1"},
    )

    broker = identity.mqtt
    assert (broker.qos, broker.hub_id, broker.c2s_topic, broker.s2c_topic) == (0, "h", "c", "s")
    assert (broker.status_topic, broker.hash_topics) == ("t", True)
    assert identity.endpoint_for("mqtt") == "mqtts://b"


@pytest.mark.parametrize(
    ("without", "hint"),
    [
        ("ACCESS_KEY", "Set THALOVANT_ACCESS_KEY."),
        ("PASSWORD", "Set THALOVANT_PASSWORD."),
        ("SITE_ID", "Set THALOVANT_SITE_ID."),
        ("HUB_WSS_HOST", "Set THALOVANT_HUB_WSS_HOST, THALOVANT_HUB_HTTPS_HOST, THALOVANT_HUB_HTTP_HOST."),
    ],
)
def test_incomplete_environment(environment, without, hint):
    """The hint names the variable to set; an empty one is like none."""
    complete = SECRETS | {"HUB_WSS_HOST": "wss://h"}

    error = refusal(from_env, environment, complete | {without: " "})

    assert str(error).startswith("Missing required identity field: ")
    assert error.hint == hint


def test_wrong_port_in_the_environment(environment):
    """The variable is named, not its content."""
    error = refusal(from_env, environment, SECRETS | {"HUB_HTTP_HOST": "https://h", "HUB_HTTP_PORT": "no-number"})

    assert "THALOVANT_HUB_HTTP_PORT" in error.hint
    assert "no-number" not in f"{error} {error.hint}"
