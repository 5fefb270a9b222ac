"""Identities for tests: a full one, and files to read it from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from thalovant import ThalovantIdentityError

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")

PLAIN: dict[str, Any] = {
    "access_key": "AK-1",
    "password": "PW-1",
    "site_id": "kitchen",
    "default_master": "https://hub.example",
    "default_port": 443,
    "default_path": "/voice",
}

FULL: dict[str, Any] = PLAIN | {
    "crypto_key": "CK-1",
    "data_plane_endpoints": {
        "https": "https://hub.example/voice",
        "wss": "wss://hub.example/voice",
        "mqtt": "mqtts://broker.example:8883",
    },
    "protocols": {"wss": {"enabled": True}, "http": {"enabled": True}, "mqtt": {"enabled": False}},
    "mqtt": {
        "endpoint": "mqtts://broker.example:8883",
        "username": "AK-1",
        "password": "BP-1",
        "topic_prefix": "hivemind/hub/AK-1",
        "tls": True,
    },
    "metadata": {"room": "kitchen", "api-token": "MT-1"},
}


def write(path: Path, content: object, mode: int = 0o600) -> Path:
    """A file with JSON, text or bytes in it, with a mode."""
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(mode)
    return path


def refusal(read, *arguments, **options) -> ThalovantIdentityError:
    """The error of a call, which is short."""
    with pytest.raises(ThalovantIdentityError) as caught:
        read(*arguments, **options)
    assert str(caught.value).count("\n") < 3
    return caught.value
