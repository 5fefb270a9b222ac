"""A client's memory of itself and of hubs, as one frozen value: goes in before the dial, comes out changed.

Nothing here touches a disk; whoever drives the core stores the value (the static key **before** the first dial, since
a hub pins the first one it sees for an access key and refuses every other for good, wire.md §5.6).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from .errors import LocalProtocolError
from .secret import KEY_SIZE, Secret

MAX_PSKS: Final = 32  # what the real clients keep in their cache (wire.md §5.6)


def psk_id(access_key: Secret[str], node_id: str) -> str:
    """The name of a cached PSK, the same in every client's cache: `<sha256(access_key)[:16]>@<node_id>`."""
    return f"{hashlib.sha256(access_key.as_bytes()).hexdigest()[:16]}@{node_id}"


def password_binding(node_id: str, password: Secret[str]) -> str:
    """The digest (64 hex characters) that says which password a PSK came from (wire.md §1.5)."""
    bound = b"hivemind-noise-psk-binding\0" + node_id.encode() + b"\0" + password.as_bytes()
    return hashlib.sha256(bound).hexdigest()


def fingerprint(public_key: bytes) -> str:
    """A hub's key as people see it: SHA-256, 64 hex characters."""
    return hashlib.sha256(public_key).hexdigest()


def _frozen_pins(pins: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return MappingProxyType(dict(pins))


def _frozen_psks(psks: Mapping[str, PskEntry]) -> Mapping[str, PskEntry]:
    return MappingProxyType(dict(psks))


def key_sized(instance: Any, attribute: Any, value: Any) -> None:
    """Validator of a key, `bytes` or a `Secret` of such. Raises `ValueError`."""
    size = len(value.reveal() if isinstance(value, Secret) else value)
    if size != KEY_SIZE:
        raise ValueError(f"{attribute.name} must be {KEY_SIZE} bytes, not {size}")


def _pins_sized(instance: Any, attribute: Any, value: Mapping[str, bytes]) -> None:
    if any(len(key) != KEY_SIZE for key in value.values()):
        raise ValueError(f"every pinned key must be {KEY_SIZE} bytes")


@frozen
class PskEntry:
    """A derived PSK (32 bytes) and the digest of the password it came from; None if other software wrote it."""

    key: Secret[bytes] = field(validator=key_sized)
    binding: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Trust:
    """The identity's static key, pinned hubs, cached PSKs and what was learnt about the hub. Updates return a new one.

    `pins` maps a pin id to the hub's 32-byte public key, `psks` a `psk_id` to its entry, oldest first.
    `noise_seen` is never taken back: an identity once seen with v3 does not speak less (security.md §4).
    `mqtt_layout` names the topic layout on which a hub answered.
    """

    static_key: Secret[bytes] = field(validator=key_sized)
    pins: Mapping[str, bytes] = field(factory=dict, converter=_frozen_pins, validator=_pins_sized)
    psks: Mapping[str, PskEntry] = field(factory=dict, converter=_frozen_psks, repr=False)
    noise_seen: bool = False
    mqtt_layout: str | None = None

    def with_pin(self, pin_id: str, public_key: bytes) -> Trust:
        """Pin a hub's key at first contact. Raises `LocalProtocolError` if another key is pinned: forget that first."""
        pinned = self.pins.get(pin_id)
        if pinned is not None and pinned != public_key:
            raise LocalProtocolError("another hub key is pinned here; a pin is never replaced by itself")
        return evolve(self, pins={**self.pins, pin_id: public_key})

    def without_pin(self, pin_id: str) -> Trust:
        """Forget a hub's key; unknown ids are fine."""
        return evolve(self, pins={known: key for known, key in self.pins.items() if known != pin_id})

    def psk_for(self, access_key: Secret[str], node_id: str, password: Secret[str]) -> Secret[bytes] | None:
        """The cached PSK, or None where it must be derived: unknown, of another password, or bound to none.

        A cached PSK hides a wrong password until the hub refuses it (wire.md §5.7), so an entry that does not say
        which password it came from is derived once more and stored with its binding.
        """
        entry = self.psks.get(psk_id(access_key, node_id))
        if entry is None or entry.binding is None:
            return None
        bound = hmac.compare_digest(entry.binding.encode(), password_binding(node_id, password).encode())
        return entry.key if bound else None

    def with_psk(self, access_key: Secret[str], node_id: str, password: Secret[str], key: Secret[bytes]) -> Trust:
        """Cache a PSK as the newest entry, bound to its password; beyond `MAX_PSKS` the oldest goes."""
        name = psk_id(access_key, node_id)
        kept = {known: entry for known, entry in self.psks.items() if known != name}
        kept[name] = PskEntry(key, password_binding(node_id, password))
        return evolve(self, psks=dict(list(kept.items())[-MAX_PSKS:]))

    def without_psk(self, access_key: Secret[str], node_id: str) -> Trust:
        """Drop a PSK, as after a failed KK handshake; unknown ones are fine."""
        name = psk_id(access_key, node_id)
        return evolve(self, psks={known: entry for known, entry in self.psks.items() if known != name})

    def with_noise_seen(self) -> Trust:
        """The hub proved itself under v3."""
        return evolve(self, noise_seen=True)

    def with_mqtt_layout(self, layout: str | None) -> Trust:
        """Remember the MQTT topic layout that worked; None forgets it."""
        return evolve(self, mqtt_layout=layout)
