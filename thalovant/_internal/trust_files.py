"""The folders of a client's trust, and what is in their files: see `trust_store.py` for the layout."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from thalovant_proto.secret import Secret

from ..errors import ThalovantIdentityError
from ..identity import ThalovantIdentity
from .identity_files import expanded
from .secret_files import TooPermissive, read_secret

NODE_FILE: Final = "_identity.json"
OWN_FILE: Final = "_thalovant.json"
LOCK_FILE: Final = "._identity.json.lock"
DEFAULT_NAME: Final = "unnamed-node"
PINS: Final = "pinned_noise_keys"
FOLDERS: Final = "folders"  # of access keys that were first used elsewhere, in the shared folder's own file

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


def shared_folder() -> Path:
    """The folder of clients without a place of their own: `$XDG_CONFIG_HOME/hivemind`, else in `~/.config`.

    Raises `ThalovantIdentityError` for a user without a home.
    """
    configured = os.environ.get("XDG_CONFIG_HOME")
    with suppress(RuntimeError):
        return (Path(configured).expanduser() if configured else Path.home() / ".config") / "hivemind"
    raise ThalovantIdentityError(
        "This user has no home folder for the client's keys.",
        name="trust_folder",
        hint="Let noise_state_dir name a folder that this user may write, and that outlives the process.",
    )


def default_folder(identity: ThalovantIdentity) -> Path:
    """The trust folder of an identity, the same whatever it was loaded from.

    That is its `noise_state_dir`. Without one it is, of `hivemind` beside its file, the folder of an official client's
    identity file, the folder where this access key was first used, and the shared one, the first whose key this access
    key has been used with. Where there is none it is the place beside the file if it can be there, else the shared one.
    """
    if identity.noise_state_dir is not None:
        return expanded(identity.noise_state_dir).absolute()
    here, owner = _beside(identity), owner_of(identity)
    with suppress(ThalovantIdentityError):
        used = next((place for place in search_order(identity) if is_used(place, owner)), None)
        used = used or pointer(shared_folder(), owner)
        # What the shared folder holds is copied to a place of our own, as other software does it.
        if used is not None and (here is None or has_key(here) or used != shared_folder()):
            return used
    return shared_folder() if here is None else here


def _beside(identity: ThalovantIdentity) -> Path | None:
    """The folder of an identity that came from a file, None if nothing can be there."""
    if identity.source_path is None:
        return None
    source = Path(identity.source_path).absolute()
    beside = source.parent / "hivemind"
    if not has_key(beside) and source.name == NODE_FILE and has_key(source.parent):
        return source.parent
    writable = has_key(beside) or os.access(beside if beside.exists() else source.parent, os.W_OK | os.X_OK)
    return beside if writable else None


def search_order(identity: ThalovantIdentity) -> list[Path]:
    """The folders in which a key of an identity may be, in the order in which they count."""
    places = []
    if identity.source_path is not None:
        source = Path(identity.source_path).absolute()
        places = [source.parent / "hivemind", *([source.parent] if source.name == NODE_FILE else [])]
    with suppress(ThalovantIdentityError):
        shared = shared_folder()
        first = pointer(shared, owner_of(identity))
        places += [*([] if first is None else [first]), shared]
    return list(dict.fromkeys(places))


def pointer(shared: Path, owner: str) -> Path | None:
    """The folder where an access key was first used, as the shared one has it, if its key is still there."""
    with suppress(ThalovantIdentityError):
        first = as_mapping(read_object(shared / OWN_FILE).get(FOLDERS)).get(owner)
        if isinstance(first, str) and has_key(Path(first)):
            return Path(first)
    return None


def is_used(folder: Path, owner: str) -> bool:
    """Whether a hub has accepted an access key with the key in a folder."""
    with suppress(ThalovantIdentityError):
        if not has_key(folder) or static_key_in(folder) is None:
            return False
        facts = as_mapping(as_mapping(read_object(folder / OWN_FILE).get("identities")).get(owner))
        psks = read_cache(psk_file(folder))
        return facts.get("noise_seen") is True or any(psk.startswith(f"{owner}@") for psk in psks)
    return False


def owner_of(identity: ThalovantIdentity) -> str:
    return hashlib.sha256(identity.access_key.encode()).hexdigest()[:16]


# --- files -----------------------------------------------------------------------------------------------------------


def node_of(folder: Path) -> dict[str, Any]:
    # Official clients write it for all to read, with their own credentials; ours are not in it, but who may write it
    # chooses whom we trust.
    return read_object(folder / NODE_FILE, forbidden=0o022)


def name_in(folder: Path) -> str:
    name = node_of(folder).get("name")
    if not isinstance(name, str) or not name:
        return DEFAULT_NAME
    if "\0" in name or "/" in name or "\\" in name:
        raise ThalovantIdentityError(
            f"The name in {folder / NODE_FILE} names files and must not have slashes in it.", name="trust_file"
        )
    return name


def key_file(folder: Path) -> Path:
    return folder / f"{name_in(folder)}_noise.key"


def psk_file(folder: Path) -> Path:
    return folder / f"{name_in(folder)}_noise_psks.json"


def has_key(folder: Path) -> bool:
    return any(folder.glob("*_noise.key"))


def static_key_in(folder: Path) -> Secret[bytes] | None:
    path = key_file(folder)
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
    hint = None
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
        hint = "Let noise_state_dir name a folder that this user may read and write."
    raise ThalovantIdentityError(problem, name="trust_file", hint=hint)


def read_object(path: Path, forbidden: int = 0o077) -> dict[str, Any]:
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


def read_cache(path: Path) -> dict[str, Any]:
    """The same, but what cannot be parsed is as good as nothing."""
    return _parsed(_read_text(path) or "{}") or {}


def _parsed(text: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        values = json.loads(text)
        return values if isinstance(values, dict) else None
    return None


def as_mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def hex_keys(values: Mapping[str, Any]) -> dict[str, bytes]:
    """The entries that are keys in hex; what else other software keeps there is not ours."""
    return {
        name: bytes.fromhex(value)
        for name, value in values.items()
        if isinstance(value, str) and _HEX_KEY.fullmatch(value)
    }
