"""Certificates for all tests here, and the watch over what tests leave behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from tests.io.pki import Pki
from tests.io.running import PATIENCE
from tests.loops import each_loop  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority that the clients of the tests trust."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a file descriptor or a thread; a key derivation may take a moment to end."""
    files, threads = _files(), set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread} is left"
    assert _files() == files, "file descriptors are left"


def _files() -> int:
    """How many file descriptors are open."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
