"""The trust of a client, on disk: its Noise key, the pinned hubs, cached PSKs, and what was seen of the hub.

The layout is the one that HiveMind clients and earlier releases have, so that a device keeps its key when software is
swapped: a hub refuses a second one for good. In one folder, shared by every identity that uses it:

* `_identity.json`: `name` (else "unnamed-node") and `pinned_noise_keys`, pin id → key in hex; other keys are not ours
* `<name>_noise.key`: our static key in hex
* `<name>_noise_psks.json`: "<sha256(access_key)[:16]>@<node id>" → PSK in hex, at most 32, oldest first
* `_thalovant.json`: what only we know, by identity: v3 seen, MQTT layout, and of which password a PSK is; in the shared
  folder also in which folder each identity has its key, so that it is found from wherever the identity is loaded

Everybody who changes them holds the lock file `._identity.json.lock`. Written by earlier releases: the same names, the
same lock. Official clients: the same names, no lock.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from thalovant_proto.secret import KEY_SIZE, Secret
from thalovant_proto.trust import MAX_PSKS, PskEntry, Trust, fingerprint

from ._internal.identity_files import expanded
from ._internal.secret_files import (
    LockHeld,
    create_secret,
    locked,
    private_folder,
    write_secret,
)
from ._internal.trust_files import (
    FOLDERS,
    LOCK_FILE,
    NODE_FILE,
    OWN_FILE,
    PINS,
    as_mapping,
    default_folder,
    has_key,
    hex_keys,
    is_used,
    key_file,
    name_in,
    node_of,
    owner_of,
    pointer,
    psk_file,
    read_cache,
    read_object,
    search_order,
    shared_folder,
    static_key_in,
)
from .errors import ThalovantError, ThalovantHubKeyChangedError, ThalovantIdentityError, without_frames
from .identity import ThalovantIdentity
from .protocols import HubProtocol

log: Final = logging.getLogger("thalovant.trust")

_PORTS: Final = {"ws": 80, "wss": 443}


def pin_id(identity: ThalovantIdentity, protocol: HubProtocol) -> str:
    """The name of the identity's hub among the pins: scheme, host and port for WSS, the HTTPS base for the others."""
    parts = urlsplit((identity.endpoint_for("wss") or "") if protocol == "wss" else identity.endpoint_base())
    place = parts.netloc.rpartition("@")[2]
    if protocol != "wss":
        return parts._replace(netloc=place).geturl()
    place = place.lower().removesuffix(":")
    port = "" if re.search(r":\d+$", place) else f":{_PORTS.get(parts.scheme, 443)}"
    return f"{parts.scheme}://{place}{port}"


class TrustStore:
    """The trust of one identity, in a folder that other identities and processes may use at the same time.

    `folder` is the place, `default_folder(identity)` if None. Errors are `ThalovantIdentityError`; they name the file.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: ThalovantIdentity) -> None:
        self._given = None if folder is None else expanded(folder).absolute()
        self._folder = self._given
        self._identity = identity
        self._owner = owner_of(identity)
        self._base: Trust | None = None  # what was read or written last; the next change is told by comparing

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        if self._folder is None:
            self._folder = default_folder(self._identity)
        return self._folder

    @property
    def other_folder(self) -> Path | None:
        """A folder with another key that may be this client's, if there is one."""
        if self._base is None:
            return None
        key = self._base.static_key
        return next((place for place in search_order(self._identity) if self._differs(place, key)), None)

    @without_frames
    def load(self) -> Trust:
        """Read everything. The static key is on disk when this returns, made if there was none."""
        searched = self._given is None and self._identity.noise_state_dir is None
        folder = self.folder
        key = static_key_in(folder)
        if key is None or (searched and not self._is_found(folder)):
            with ExitStack() as locks:
                shared = None
                if searched:  # who loads the same identity from elsewhere at the same time must not make a second key
                    with suppress(ThalovantIdentityError):
                        locks.enter_context(_changing(shared_folder()))
                        shared = shared_folder()
                    folder = self._folder = default_folder(self._identity)
                key = static_key_in(folder)
                if key is None:
                    if folder != shared:
                        locks.enter_context(_changing(folder))
                    key = static_key_in(folder) or self._new_key(folder)
                if shared is not None and not self._is_found(folder):
                    self._point(shared, folder)
        self._base = self._read(folder, key)
        other = self.other_folder if self._given is None else None
        if other is not None and is_used(other, self._owner) and is_used(folder, self._owner):
            log.warning("There are two Noise keys of one access key, in %s (used now) and in %s.", folder, other)
        return self._base

    @without_frames
    def store(self, trust: Trust) -> None:
        """Write what has changed since the last `load` or `store`; what others wrote meanwhile stays.

        The static key is not written: `load` did. Raises `ThalovantHubKeyChangedError` if another process pinned
        another key for the same hub meanwhile.
        """
        if trust == self._base:
            return
        with _changing(self.folder):
            self._write(self.folder, self._base or Trust(static_key=trust.static_key), trust)
        self._base = trust

    def pins(self) -> dict[str, bytes]:
        """Every hub that is pinned in the folder: pin id → 32-byte public key."""
        return hex_keys(as_mapping(node_of(self.folder).get(PINS)))

    def forget(self, pin: str) -> bool:
        """Forget a hub's key, so that the next one it shows is pinned; whether there was one.

        That it once spoke v3 is not forgotten.
        """
        folder = self.folder
        with _changing(folder):
            node = node_of(folder)
            known = as_mapping(node.get(PINS))
            kept = {one: key for one, key in known.items() if one not in (pin, self._names().get(pin))}
            if kept != known:
                _write_object(folder / NODE_FILE, {**node, PINS: kept})
        return kept != known

    # --- the folder ---

    def _is_found(self, folder: Path) -> bool:
        """Whether whoever has the identity from elsewhere finds that folder, or the one that was used before."""
        first = self._pointer
        return first is not None and (first == folder or first != shared_folder())

    @property
    def _pointer(self) -> Path | None:
        with suppress(ThalovantIdentityError):
            return pointer(shared_folder(), self._owner)
        return None

    def _point(self, shared: Path, folder: Path) -> None:
        with suppress(ThalovantIdentityError):
            own = read_object(shared / OWN_FILE)
            known = as_mapping(own.get(FOLDERS)).items()
            kept = {owner: place for owner, place in known if isinstance(place, str) and has_key(Path(place))}
            _write_object(shared / OWN_FILE, {**own, FOLDERS: {**kept, self._owner: str(folder)}})

    def _differs(self, place: Path, key: Secret[bytes]) -> bool:
        with suppress(ThalovantIdentityError):
            return place != self.folder and has_key(place) and static_key_in(place) not in (None, key)
        return False

    # --- reading ---

    def _read(self, folder: Path, static_key: Secret[bytes]) -> Trust:
        own = self._record(read_object(folder / OWN_FILE))
        bindings = as_mapping(own.get("psk_bindings"))
        pins = self._pins(folder)
        psks = {
            psk: PskEntry(Secret(key), binding if isinstance(binding := bindings.get(psk), str) else None)
            for psk, key in hex_keys(read_cache(psk_file(folder))).items()
            if psk.startswith(f"{self._owner}@")
        }
        layout = own.get("mqtt_layout")
        return Trust(
            static_key=static_key,
            pins=pins,
            psks=psks,
            # Only v3 pins keys, whoever did it.
            noise_seen=own.get("noise_seen") is True or any(one in pins for one in self._names()),
            mqtt_layout=layout if isinstance(layout, str) else None,
        )

    def _pins(self, folder: Path) -> dict[str, bytes]:
        known = as_mapping(node_of(folder).get(PINS))
        pins = hex_keys(known)
        for one, official in self._names().items():
            place = one if one in known else official
            if place in known and place not in pins:
                raise ThalovantIdentityError(
                    f"The pinned key of {place} cannot be read: {folder / NODE_FILE}",
                    name="trust_file",
                    hint="Restore the file, or forget that hub's key if you trust the network now.",
                )
            if place in pins:
                pins[one] = pins[place]
        return pins

    def _names(self) -> dict[str, str]:
        """Our names for the hub, and the official client's for the same: `host:port`, "" where it has none (paths)."""
        identity, names = self._identity, {}
        protocols: tuple[HubProtocol, ...] = ("wss", "https")
        for protocol in protocols:
            if url := identity.endpoint_for(protocol):
                one = pin_id(identity, protocol)
                names[one] = "" if urlsplit(url).path.strip("/") else urlsplit(one).netloc
        return names

    def _record(self, own: Mapping[str, Any]) -> dict[str, Any]:
        return as_mapping(as_mapping(own.get("identities")).get(self._owner))

    # --- writing, all of it under the lock ---

    def _new_key(self, folder: Path) -> Secret[bytes]:
        """Make the key of a folder that has none; rather than a new one, that which the hub knows us by."""
        name, adopted = self._adoptable(folder)
        if adopted is not None:
            node = node_of(folder)
            node.setdefault("name", name)
            _write_object(folder / NODE_FILE, node)
            self._write(folder, Trust(static_key=adopted.static_key), adopted)
        key = adopted.static_key if adopted is not None else Secret(os.urandom(KEY_SIZE))
        while (kept := static_key_in(folder)) is None:  # official clients hold no lock: whoever is first wins
            create_secret(key_file(folder), key.reveal().hex().encode())
        return kept

    def _adoptable(self, folder: Path) -> tuple[str, Trust | None]:
        """The trust of this client in another folder and its name there, for a place that has no key yet."""
        for place in () if self._given is not None else search_order(self._identity):
            with suppress(ThalovantIdentityError):  # what is broken there is no concern of a place of our own
                known = self._pins(place)
                pins = {one: known[one] for one in self._names() if one in known}
                ours = pins or is_used(place, self._owner) or place == self._pointer
                key = static_key_in(place) if place != folder and ours else None
                if key is not None:
                    seen = not pins and self._read(place, key).noise_seen  # pins say so themselves
                    return name_in(place), Trust(static_key=key, pins=pins, noise_seen=seen)
        return "", None

    def _write(self, folder: Path, base: Trust, trust: Trust) -> None:
        node = node_of(folder)
        if _merge_pins(node, base, trust):
            _write_object(folder / NODE_FILE, node)
        psks = read_cache(psk_file(folder))
        if _merge_psks(psks, base, trust):
            _write_object(psk_file(folder), psks)
        own = read_object(folder / OWN_FILE)
        record = self._record(own)
        merged = _merge_record(record, psks, base, trust)
        if merged != record:
            identities = {**as_mapping(own.get("identities")), self._owner: merged}
            _write_object(folder / OWN_FILE, {**own, "identities": identities})


# --- what changed, put into what is there ----------------------------------------------------------------------------


def _merge_pins(node: dict[str, Any], base: Trust, trust: Trust) -> bool:
    known = as_mapping(node.get(PINS))
    pinned = hex_keys(known)
    merged = dict(known)
    for one in base.pins.keys() - trust.pins.keys():
        merged.pop(one, None)
    for one, key in trust.pins.items():
        if base.pins.get(one) == key:
            continue
        if one in pinned and pinned[one] not in (key, base.pins.get(one)):
            raise ThalovantHubKeyChangedError(
                f"Another process has pinned another key for {one} meanwhile.",
                expected=fingerprint(pinned[one]),
                received=fingerprint(key),
                hint="Somebody may be between you and the hub. Compare both with the hub's own before you trust one.",
            )
        merged[one] = key.hex()
    node[PINS] = merged
    return merged != known


def _merge_psks(psks: dict[str, Any], base: Trust, trust: Trust) -> bool:
    before = list(psks.items())
    for psk in base.psks.keys() - trust.psks.keys():
        psks.pop(psk, None)
    for psk, entry in trust.psks.items():
        if base.psks.get(psk) != entry:
            psks.pop(psk, None)  # the newest is the last
            psks[psk] = entry.key.reveal().hex()
    for psk in list(psks)[:-MAX_PSKS]:
        del psks[psk]
    return list(psks.items()) != before


def _merge_record(record: dict[str, Any], psks: Mapping[str, Any], base: Trust, trust: Trust) -> dict[str, Any]:
    bindings = {
        **as_mapping(record.get("psk_bindings")),
        **{psk: entry.binding for psk, entry in trust.psks.items() if entry.binding and base.psks.get(psk) != entry},
    }
    layout = record.get("mqtt_layout") if trust.mqtt_layout == base.mqtt_layout else trust.mqtt_layout
    facts = {
        "noise_seen": trust.noise_seen or record.get("noise_seen") is True,
        "mqtt_layout": layout,
        "psk_bindings": {psk: binding for psk, binding in bindings.items() if psk in psks},
    }
    return {**record, **facts} if record or any(facts.values()) else record


# --- files -----------------------------------------------------------------------------------------------------------


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    try:
        private_folder(folder)
        with locked(folder / LOCK_FILE):
            yield
    except ThalovantError:
        raise
    except OSError as error:
        hint = "Let noise_state_dir name a folder that this user may write, and that outlives the process."
        if isinstance(error, LockHeld):
            hint = f"Look for a process that is stopped and has {folder / LOCK_FILE} open, and end it."
        raise ThalovantIdentityError(
            f"Unable to write to the trust folder: {folder}: {error.strerror or error}.", name="trust_folder", hint=hint
        ) from None


def _write_object(path: Path, values: Mapping[str, Any]) -> None:
    write_secret(path, f"{json.dumps(values, indent=2)}\n".encode())
