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
from ..errors import ThalovantIdentityError
from ..identity import ThalovantIdentity
from ..trust_store import TrustStore, pin_id
from .errors import HubSetupError

if TYPE_CHECKING:
    from .hub import Hub

IDENTITY: Final = "_identity.json"
CONFIG: Final = "config.yaml"
VARIABLES: Final = "variables.env"
CA: Final = "ca.pem"
#: Where clients look for their trust if nothing else is said, in an identity that came from a file.
TRUST: Final = "hivemind"


async def write_identity(hub: Hub, name: str, folder: Path) -> dict[str, Path]:
    """Write identity, config and variables of a client, 0600; what is there is replaced. Gives where each is.

    Raises `HubSetupError`; files that were there before are whole then, old or new.
    """
    identity = hub.identity(name)
    if identity is None:
        raise ValueError(f"the hub has no client named {name!r}")
    values = {key: value for key, value in identity.as_dict(include_secrets=True).items() if value is not None}
    authority = hub.ca_file.read_bytes() if identity.ca_file else None
    if authority is not None:
        values["ca_file"] = CA  # beside the others, wherever the folder goes
        identity = replace(identity, ca_file=str((folder / CA).absolute()))
    contents = {
        CA: authority,
        CONFIG: _config(name, values),
        VARIABLES: _exports(identity),
        IDENTITY: json.dumps(values, indent=2).encode() + b"\n",
    }
    found = {file: folder / file for file, content in contents.items() if content is not None}
    try:
        await prepare_trust(hub, name, folder / TRUST)
        for file, path in found.items():
            write_secret(path, contents[file] or b"")
    except (OSError, ThalovantIdentityError) as error:
        why = getattr(error, "strerror", None) or error
        raise HubSetupError(f"The identity cannot be written to {folder}: {why}", setting="write") from None
    return found


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


async def prepare_trust(hub: Hub, name: str, folder: Path | None) -> None:
    """Let a client and this hub know each other's keys, and the client forget an earlier hub at the same address.

    `folder` is where the client keeps its trust, None for where it does without being told. Raises
    `ThalovantIdentityError` if that cannot be used.
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

    config = {"version": 1, "profile": name, "profiles": {name: {"identity": dict(values)}}}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()
