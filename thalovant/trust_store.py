"""The trust of a client, on disk: its Noise key, the pinned hubs, cached PSKs, and what was seen of the hub.

The layout is the one that HiveMind clients and earlier releases have, so that a device keeps its key when software is
swapped: a hub refuses a second one for good. In one folder, shared by every identity that uses it:

* `_identity.json`: `name` (else "unnamed-node") and `pinned_noise_keys`, pin id → key in hex; other keys are not ours
* `<name>_noise.key`: our static key in hex
* `<name>_noise_psks.json`: "<sha256(access_key)[:16]>@<node id>" → PSK in hex, at most 32, oldest first
* `_thalovant.json`: what only we know, by identity: v3 seen, MQTT layout, and of which password a PSK is

Everybody who changes them holds the lock file `._identity.json.lock`. Written by earlier releases: the same names, the
same lock. Official clients: the same names, no lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import evolve

from thalovant_proto.secret import KEY_SIZE, Secret
from thalovant_proto.trust import MAX_PSKS, PskEntry, Trust, fingerprint

from ._internal.secret_files import (
    LockHeld,
    TooPermissive,
    create_secret,
    locked,
    private_folder,
    read_secret,
    write_secret,
)
from .errors import ThalovantError, ThalovantHubKeyChangedError, ThalovantIdentityError
from .identity import ThalovantIdentity
from .protocols import HubProtocol

NODE_FILE: Final = "_identity.json"
OWN_FILE: Final = "_thalovant.json"
LOCK_FILE: Final = "._identity.json.lock"
DEFAULT_NAME: Final = "unnamed-node"
PINS: Final = "pinned_noise_keys"

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
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


def shared_folder() -> Path:
    """The folder of clients without a place of their own: `$XDG_CONFIG_HOME/hivemind`, else in `~/.config`."""
    configured = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configured).expanduser() if configured else Path.home() / ".config") / "hivemind"


def default_folder(identity: ThalovantIdentity) -> Path:
    """The trust folder of an identity: `hivemind` beside the file it came from if it can be there, else the shared.

    An identity file of the official client has its trust beside it already; that place wins over an empty one.
    """
    if identity.source_path is None:
        return shared_folder()
    source = Path(identity.source_path).absolute()
    beside = source.parent / "hivemind"
    if _has_key(beside):
        return beside
    if source.name == NODE_FILE and _has_key(source.parent):
        return source.parent
    return beside if os.access(beside if beside.exists() else source.parent, os.W_OK | os.X_OK) else shared_folder()


class TrustStore:
    """The trust of one identity, in a folder that other identities and processes may use at the same time.

    `folder` is the place, `default_folder(identity)` if None. Errors are `ThalovantIdentityError`; they name the file.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: ThalovantIdentity) -> None:
        self._given = None if folder is None else Path(folder).expanduser().absolute()
        self._folder = self._given
        self._identity = identity
        self._owner = hashlib.sha256(identity.access_key.encode()).hexdigest()[:16]
        self._base: Trust | None = None  # what was read or written last; the next change is told by comparing

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        if self._folder is None:
            self._folder = default_folder(self._identity)
        return self._folder

    def load(self) -> Trust:
        """Read everything. The static key is on disk when this returns, made if there was none."""
        folder = self.folder
        key = _static_key(folder)
        if key is None:
            with _changing(folder):
                key = _static_key(folder) or self._new_key(folder)
        self._base = self._read(folder, key)
        return self._base

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
        return _keys(_mapping(_node(self.folder).get(PINS)))

    def forget(self, pin: str) -> bool:
        """Forget a hub's key, so that the next one it shows is pinned; whether there was one.

        That it once spoke v3 is not forgotten.
        """
        folder = self.folder
        with _changing(folder):
            node = _node(folder)
            known = _mapping(node.get(PINS))
            kept = {one: key for one, key in known.items() if one not in (pin, self._names().get(pin))}
            if kept != known:
                _write_object(folder / NODE_FILE, {**node, PINS: kept})
        return kept != known

    # --- reading ---

    def _read(self, folder: Path, static_key: Secret[bytes]) -> Trust:
        own = self._record(_read_object(folder / OWN_FILE))
        bindings = _mapping(own.get("psk_bindings"))
        pins = self._pins(folder)
        psks = {
            psk: PskEntry(Secret(key), binding if isinstance(binding := bindings.get(psk), str) else None)
            for psk, key in _keys(_read_cache(_psk_file(folder))).items()
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
        known = _mapping(_node(folder).get(PINS))
        pins = _keys(known)
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
        return _mapping(_mapping(own.get("identities")).get(self._owner))

    # --- writing, all of it under the lock ---

    def _new_key(self, folder: Path) -> Secret[bytes]:
        """Make the key of a folder that has none; rather than a new one, that which the hub knows us by."""
        adopted = self._adoptable(folder)
        if adopted is not None:
            node = _node(folder)
            node.setdefault("name", _name(shared_folder()))
            _write_object(folder / NODE_FILE, node)
        key = adopted.static_key if adopted is not None else Secret(os.urandom(KEY_SIZE))
        while (kept := _static_key(folder)) is None:  # official clients hold no lock: whoever is first wins
            create_secret(_key_file(folder), key.reveal().hex().encode())
        if adopted is not None and kept == adopted.static_key:
            self._write(folder, Trust(static_key=kept), adopted)
        return kept

    def _adoptable(self, folder: Path) -> Trust | None:
        """The shared folder's trust in this hub, kept there by earlier software, for a place of our own."""
        shared = shared_folder()
        if self._given is not None or folder == shared:
            return None
        pins: dict[str, bytes] = {}
        with suppress(ThalovantIdentityError):  # what is broken there is no concern of a place of our own
            known = self._pins(shared)
            pins = {one: known[one] for one in self._names() if one in known}
        key = _static_key(shared) if pins else None
        return None if key is None else evolve(self._read(shared, key), pins=pins)

    def _write(self, folder: Path, base: Trust, trust: Trust) -> None:
        node = _node(folder)
        if _merge_pins(node, base, trust):
            _write_object(folder / NODE_FILE, node)
        psks = _read_cache(_psk_file(folder))
        if _merge_psks(psks, base, trust):
            _write_object(_psk_file(folder), psks)
        own = _read_object(folder / OWN_FILE)
        record = self._record(own)
        merged = _merge_record(record, psks, base, trust)
        if merged != record:
            identities = {**_mapping(own.get("identities")), self._owner: merged}
            _write_object(folder / OWN_FILE, {**own, "identities": identities})


# --- what changed, put into what is there ----------------------------------------------------------------------------


def _merge_pins(node: dict[str, Any], base: Trust, trust: Trust) -> bool:
    known = _mapping(node.get(PINS))
    pinned = _keys(known)
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
        **_mapping(record.get("psk_bindings")),
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


def _node(folder: Path) -> dict[str, Any]:
    # Official clients write it for all to read, with their own credentials; ours are not in it, but who may write it
    # chooses whom we trust.
    return _read_object(folder / NODE_FILE, forbidden=0o022)


def _name(folder: Path) -> str:
    name = _node(folder).get("name")
    if not isinstance(name, str) or not name:
        return DEFAULT_NAME
    if "\0" in name or "/" in name or "\\" in name:
        raise ThalovantIdentityError(
            f"The name in {folder / NODE_FILE} names files and must not have slashes in it.", name="trust_file"
        )
    return name


def _key_file(folder: Path) -> Path:
    return folder / f"{_name(folder)}_noise.key"


def _psk_file(folder: Path) -> Path:
    return folder / f"{_name(folder)}_noise_psks.json"


def _has_key(folder: Path) -> bool:
    return any(folder.glob("*_noise.key"))


def _static_key(folder: Path) -> Secret[bytes] | None:
    path = _key_file(folder)
    text = _read_text(path)
    if text is None:
        return None
    if not _HEX_KEY.fullmatch(text.strip()):
        raise ThalovantIdentityError(
            f"The Noise key of this client cannot be read: {path}",
            name="trust_file",
            hint="Restore the file: with another key the hub refuses this client until its operator resets the pin.",
        )
    return Secret(bytes.fromhex(text.strip()))


def _read_text(path: Path, forbidden: int = 0o077) -> str | None:
    try:
        return read_secret(path, forbidden=forbidden).decode()
    except FileNotFoundError:
        return None
    except TooPermissive:
        problem = f"Trust file is too permissive: {path}. Run `chmod 600 {path}`."
    except UnicodeDecodeError:
        problem = f"Trust file is not text: {path}"
    except OSError as error:
        problem = f"Unable to read trust file: {path}: {error.strerror or error}."
    raise ThalovantIdentityError(problem, name="trust_file")


def _read_object(path: Path, forbidden: int = 0o077) -> dict[str, Any]:
    """The JSON object in a file, empty if there is no file."""
    text = _read_text(path, forbidden)
    values = {} if text is None else _parsed(text)
    if values is not None:
        return values
    raise ThalovantIdentityError(
        f"Trust file is not a JSON object: {path}",
        name="trust_file",
        hint="Restore it from a backup, or remove it: the hub's key is then pinned again at the next connection.",
    )


def _read_cache(path: Path) -> dict[str, Any]:
    """The same, but what cannot be parsed is as good as nothing."""
    return _parsed(_read_text(path) or "{}") or {}


def _parsed(text: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        values = json.loads(text)
        return values if isinstance(values, dict) else None
    return None


def _write_object(path: Path, values: Mapping[str, Any]) -> None:
    write_secret(path, f"{json.dumps(values, indent=2)}\n".encode())


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _keys(values: Mapping[str, Any]) -> dict[str, bytes]:
    """The entries that are keys in hex; what else other software keeps there is not ours."""
    return {
        name: bytes.fromhex(value)
        for name, value in values.items()
        if isinstance(value, str) and _HEX_KEY.fullmatch(value)
    }
