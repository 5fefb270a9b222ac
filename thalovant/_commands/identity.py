"""`identity` and `config`: what the client's identity is, whether it can work, and where each setting comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from thalovant_io.tls import CaFileError

from .._client.settings import choose_protocol, tls_source
from .._internal.redact import redact_text, redact_url
from ..errors import ThalovantError, ThalovantUnsupportedProtocolError
from ..identity import ThalovantIdentity
from ..models import ThalovantDoctorCheck
from ..protocols import DEFAULT_PROTOCOL_PREFERENCE as PROTOCOLS
from .app import Group
from .common import make_client, make_trust, show
from .complaints import in_options
from .sources import read_identity, read_source

_SECRET: Final = ("access_key", "password", "crypto_key")
#: The settings that `config show` lists, the options that win over each, and the variables that give it, best first.
_SETTINGS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "access_key": ((), ("ACCESS_KEY",)),
    "password": ((), ("PASSWORD",)),
    "crypto_key": ((), ("CRYPTO_KEY",)),
    "site_id": ((), ("SITE_ID",)),
    "wss": (("host", "port"), ("HUB_WSS_HOST", "HUB_WEBSOCKET_HOST", "HUB_HTTP_HOST", "DEFAULT_MASTER")),
    "https": (("host", "port"), ("HUB_HTTPS_HOST", "HUB_HTTP_HOST", "DEFAULT_MASTER", "HUB_WSS_HOST")),
    "mqtt": ((), ("MQTT_ENDPOINT", "HUB_MQTT_HOST")),
    "protocol": (("protocol", "host"), ()),
    "ca_file": (("ca_file",), ("CA_FILE",)),
    "state_dir": (("state_dir",), ("NOISE_STATE_DIR",)),
}


@click.group(cls=Group)
def identity() -> None:
    """The client's identity: show it, check it, see its protocols."""


@identity.command("show")
@click.pass_obj
def show_identity(options: dict[str, Any]) -> None:
    """Print the identity without its secrets."""
    found = read_identity(options)
    fields = {"source": _place(options), **found.as_dict()}
    show(options, fields, "\n".join(_lines(fields)))


@identity.command()
@click.pass_obj
def check(options: dict[str, Any]) -> int:
    """Look at the identity without connecting; exit code 0 if a client can be made of it."""
    found = read_identity(options)
    checks = [
        ThalovantDoctorCheck("identity", True, f"site_id={found.site_id}, from {_place(options)}"),
        _tried("endpoint", lambda: _endpoint(options)),
        _tried("ca_file", lambda: _authorities(options, found)),
        _tried("keys", lambda: f"{len(make_trust(options).pins())} hubs pinned in {make_trust(options).folder}"),
    ]
    ok = all(one.ok for one in checks)
    lines = (f"- {one.name}: {'ok' if one.ok else 'failed'} - {one.detail}" for one in checks)
    fields = {"ok": ok, "checks": [{"name": one.name, "ok": one.ok, "detail": one.detail} for one in checks]}
    show(options, fields, "\n".join(lines))
    return 0 if ok else 1


@identity.command()
@click.pass_obj
def protocols(options: dict[str, Any]) -> None:
    """Print each protocol: whether the hub has it on, where, and which one a client takes."""
    found = read_identity(options)
    try:
        chosen = choose_protocol(found, options["protocol"])
    except ThalovantUnsupportedProtocolError:
        chosen = None
    fields = [
        {
            "protocol": name,
            "enabled": found.supports_protocol(name),
            "endpoint": redact_url(found.endpoint_for(name) or "") or None,
            "chosen": name == chosen,
        }
        for name in PROTOCOLS
    ]
    lines = (
        f"{one['protocol']:<6}{'on' if one['enabled'] else 'off':<4} {one['endpoint'] or 'no endpoint'}"
        f"{'  (chosen)' if one['chosen'] else ''}"
        for one in fields
    )
    show(options, fields, "\n".join(lines))


@click.group(cls=Group)
def config() -> None:
    """The settings that count, and where they come from."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Say where each comes from: an option, a file, a variable, or by itself.")
@click.pass_obj
def show_config(options: dict[str, Any], origin: bool) -> None:
    """Print the settings that a command with these options would have; secrets are not shown."""
    found = read_identity(options)
    values: dict[str, Any] = {
        **{name: "(hidden)" if getattr(found, name) else None for name in _SECRET},
        "site_id": found.site_id,
        **{name: redact_url(found.endpoint_for(name) or "") or None for name in PROTOCOLS},
        "protocol": choose_protocol(found, options["protocol"]),
        "ca_file": options["ca_file"] or found.ca_file,
        "state_dir": str(make_trust(options).folder),
    }
    shown = {
        name: {"value": value, "origin": _origin(name, options, found)} if origin else value
        for name, value in values.items()
        if value is not None
    }
    lines = (f"{name}: {values[name]}{f'  ({_origin(name, options, found)})' if origin else ''}" for name in shown)
    show(options, shown, "\n".join(lines))


def _origin(name: str, options: dict[str, Any], found: ThalovantIdentity) -> str:
    """Where a setting comes from, in words."""
    given, variables = _SETTINGS[name]
    if by := [f"--{option.replace('_', '-')}" for option in given if options[option] is not None]:
        return " and ".join(by)
    written = {"protocol": None, "state_dir": found.noise_state_dir, "site_id": found.site_id != "unknown"}
    if not written.get(name, True):
        return "found by itself"
    source = read_source(options)
    if source.file is not None:
        derived = name in ("wss", "https") and not found.data_plane_endpoints.endpoint_for(name)
        return f"default_master in {source.place}" if derived else source.place
    names = (f"THALOVANT_{one}" for one in variables)
    return next((one for one in names if os.environ.get(one, "").strip()), "found by itself")


def _tried(name: str, look: Callable[[], str]) -> ThalovantDoctorCheck:
    try:
        return ThalovantDoctorCheck(name, True, look())
    except (ThalovantError, ValueError, CaFileError) as error:
        hint = in_options(getattr(error, "hint", None) or "")
        return ThalovantDoctorCheck(name, False, redact_text(" ".join(f"{error} {hint}".split())))


def _endpoint(options: dict[str, Any]) -> str:
    client = make_client(options)  # which looks at its endpoints, and dials nothing
    client.close()
    return redact_url(client.identity.endpoint_for(client.protocol) or "")


def _authorities(options: dict[str, Any], found: ThalovantIdentity) -> str:
    file = options["ca_file"] or found.ca_file
    tls_source(file, None, found.client_cert_file, found.client_key_file)()
    return file or "the system's"


def _place(options: dict[str, Any]) -> str:
    return read_source(options).place


def _lines(fields: Any, indent: str = "") -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {value}"
