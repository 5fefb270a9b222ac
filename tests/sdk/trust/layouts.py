"""What is in a folder of trust, as other software leaves it and as we read it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from thalovant import ThalovantError
from thalovant_proto.secret import Secret

from ..identities import write

WSS, HTTPS = "wss://hub.example:443", "https://hub.example:443/voice"
KEY, PIN, OTHER_PIN = b"\x0f" * 32, b"\xa1" * 32, b"\xb2" * 32
ACCESS, PASSWORD = Secret("AK-1"), Secret("PW-1")
NODE_ID = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
DIGEST = hashlib.sha256(b"AK-1").hexdigest()[:16]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def layout(folder: Path, *, name: str | None = None, key: bytes = KEY, pins: Any = None, psks: Any = None) -> Path:
    """A folder as other software leaves it."""
    folder.mkdir(parents=True, mode=0o700)
    node = {"name": name} if name else {}
    write(folder / "_identity.json", node | {"pinned_noise_keys": pins or {}})
    write(folder / f"{name or 'unnamed-node'}_noise.key", key.hex())
    if psks:
        write(folder / f"{name or 'unnamed-node'}_noise_psks.json", psks)
    return folder


def refusal(call, *arguments) -> ThalovantError:
    with pytest.raises(ThalovantError) as caught:
        call(*arguments)
    assert str(caught.value).count("\n") < 3
    return caught.value
