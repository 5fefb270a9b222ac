"""Handing an identity to the programs that use it: as files in a folder, or as environment variables.

The folder holds the client's trust too, with the hub's key pinned and the client's key known to the hub: what both
would learn at first contact, and nothing that an earlier hub at the same address left behind.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thalovant_proto.crypto.noise import public_key
from thalovant_proto.secret import Secret

from .._internal.secret_files import write_secret
from ..errors import ThalovantIdentityError, without_frames
from ..identity import ThalovantIdentity
from ..trust_store import TrustStore, pin_id
from .errors import HubSetupError

if TYPE_CHECKING:
    from .hub import Hub

IDENTITY: Final = "_identity.json"
CONFIG: Final = "config.yaml"
#: The profile of the documents' programs, beside one with the client's name.
PROFILE: Final = "prod"
VARIABLES: Final = "variables.env"
IGNORED: Final = ".gitignore"
CA: Final = "ca.pem"
#: Where clients look for their trust if nothing else is said, in an identity that came from a file.
TRUST: Final = "hivemind"


async def write_identity(hub: Hub, name: str, folder: Path) -> dict[str, Path]:
    """Write identity, config and variables of a client, 0600; what is there is replaced. Gives where each is.

    A `.gitignore` beside them keeps them out of git. Raises `HubSetupError`; files that were there before are whole
    then, old or new.
    """
    try:
        await prepare_trust(hub, name, folder / TRUST)
    except ThalovantIdentityError as error:
        raise _unwritable(folder, error) from None
    identity = hub.identity(name)
    assert identity is not None  # noqa: S101 - its trust was prepared
    return _write_all(identity, name, folder, hub.ca_file if identity.ca_file else None)


@without_frames
def _write_all(identity: ThalovantIdentity, name: str, folder: Path, authority: Path | None) -> dict[str, Path]:
    # Beside each other, wherever the folder goes; variables know no folder of their own.
    within = replace(identity, ca_file=None if authority is None else CA, noise_state_dir=TRUST)
    values = {key: value for key, value in within.as_dict(include_secrets=True).items() if value is not None}
    contents = {
        CA: authority and authority.read_bytes(),
        CONFIG: _config(name, values),
        VARIABLES: _exports(
            replace(
                identity,
                ca_file=None if authority is None else str((folder / CA).absolute()),
                noise_state_dir=str((folder / TRUST).absolute()),
            )
        ),
        IDENTITY: json.dumps(values, indent=2).encode() + b"\n",
    }
    found = {file: folder / file for file, content in contents.items() if content is not None}
    try:
        _ignore(folder / IGNORED, (*found, f"{TRUST}/"))
        for file, path in found.items():
            write_secret(path, contents[file] or b"")
    except (OSError, UnicodeDecodeError) as error:
        raise _unwritable(folder, error) from None
    return found


def _ignore(path: Path, names: tuple[str, ...]) -> None:
    """Have git ignore the names, and the file itself unless somebody else has made it."""
    if not path.exists():
        write_secret(path, "".join(f"/{name}\n" for name in (IGNORED, *names)).encode())
        return
    text = path.read_text(encoding="utf-8")
    missing = [f"/{name}\n" for name in names if f"/{name}" not in text.splitlines()]
    if missing:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(("" if text.endswith("\n") or not text else "\n", *missing)))


def _unwritable(folder: Path, error: Exception) -> HubSetupError:
    why = getattr(error, "strerror", None) or error
    return HubSetupError(f"The identity cannot be written to {folder}: {why}", setting="write")


def variables(identity: ThalovantIdentity) -> dict[str, str]:
    """The environment variables that `ThalovantIdentity.from_env` reads back."""
    mqtt = identity.mqtt
    endpoints = identity.data_plane_endpoints.as_dict(include_secrets=True)
    found = {
        "ACCESS_KEY": identity.access_key,
        "PASSWORD": identity.password,
        "CRYPTO_KEY": identity.crypto_key,
        "SITE_ID": identity.site_id,
        "CA_FILE": identity.ca_file,
        "NOISE_STATE_DIR": identity.noise_state_dir,
        "HUB_WSS_HOST": endpoints.get("wss"),
        "HUB_HTTPS_HOST": endpoints.get("https"),
        "HUB_MQTT_HOST": endpoints.get("mqtt"),
        "MQTT_USERNAME": mqtt and mqtt.username,
        "MQTT_PASSWORD": mqtt and mqtt.password,
        "MQTT_TOPIC_PREFIX": mqtt and mqtt.topic_prefix,
        "MQTT_C2S_TOPIC": mqtt and mqtt.c2s_topic,
        "MQTT_S2C_TOPIC": mqtt and mqtt.s2c_topic,
        "MQTT_STATUS_TOPIC": mqtt and mqtt.status_topic,
    }
    return {f"THALOVANT_{name}": value for name, value in found.items() if value}


def _exports(identity: ThalovantIdentity) -> bytes:
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in variables(identity).items()).encode()


async def prepare_trust(hub: Hub, name: str, folder: Path) -> None:
    """Let a client and this hub know each other's keys, and the client forget an earlier hub at the same address.

    `folder` is where the client keeps its trust. Raises `ThalovantIdentityError` if that cannot be used.
    """
    identity = hub.identity(name)
    if identity is None:
        raise ValueError(f"the hub has no client named {name!r}")
    store = TrustStore(folder, identity)
    pins = [pin_id(identity, protocol) for protocol in identity.enabled_protocols()]
    for pin in pins:
        await asyncio.to_thread(store.forget, pin)  # a frozen client may hold the folder's lock
    trust = await asyncio.to_thread(store.load)
    introduced = await hub.introduce(name, public_key(trust.static_key))
    if introduced is not None:  # before v3 there are no keys to know
        for pin in pins:
            trust = trust.with_pin(pin, introduced.public_key)
        access_key, password = Secret(identity.access_key), Secret(identity.password)
        trust = trust.with_psk(access_key, introduced.node_id, password, introduced.psk)
        await asyncio.to_thread(store.store, trust)


def _config(name: str, values: Mapping[str, object]) -> bytes:
    import yaml

    # Each profile is written out: an alias is more than small readers of YAML take.
    text = json.dumps(values)
    profiles = {profile: {"identity": json.loads(text)} for profile in (name, PROFILE)}
    config = {"version": 1, "profile": name, "profiles": profiles}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()
