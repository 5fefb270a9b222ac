"""`pins`: the keys of hubs that a client trusts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from thalovant_proto.trust import fingerprint

from ..errors import ThalovantIdentityError
from .app import Group
from .common import make_trust, show


@click.group(cls=Group)
def pins() -> None:
    """The keys of hubs that this client trusts."""


@pins.command("list")
@click.pass_obj
def list_pins(options: dict[str, Any]) -> None:
    """Print every pinned hub and the fingerprint of its key."""
    found = {pin: fingerprint(key) for pin, key in sorted(make_trust(options).pins().items())}
    show(options, found, "\n".join(f"{pin} {shown}" for pin, shown in found.items()) or "no hub is pinned")


@pins.command("show")
@click.argument("pin")
@click.pass_obj
def show_pin(options: dict[str, Any], pin: str) -> None:
    """Print the fingerprint of PIN's key, to compare it with the hub's own."""
    known = make_trust(options).pins()
    if pin not in known:
        raise _unknown_pin(pin, known)
    show(options, {"pin": pin, "fingerprint": fingerprint(known[pin])}, fingerprint(known[pin]))


@pins.command("forget")
@click.argument("pin")
@click.pass_obj
def forget_pin(options: dict[str, Any], pin: str) -> None:
    """Forget PIN's key: the next one that the hub shows is trusted."""
    trust = make_trust(options)
    if not trust.forget(pin):
        raise _unknown_pin(pin, trust.pins())
    show(options, {"forgotten": pin}, f"forgotten: {pin}")


def _unknown_pin(pin: str, known: Mapping[str, bytes]) -> Exception:
    names = ", ".join(sorted(known)) or "none"
    return ThalovantIdentityError(f"No hub is pinned as {pin}.", name="unknown_pin", hint=f"Pinned are: {names}.")
