"""Fixtures of the interop tests: real hubs, started once per session unless `THALOVANT_RIG` names a running rig.

What cannot be started is a skip with its reason on a developer's machine and a failure where `CI` is set.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from .brokers import Broker, mosquitto_program
from .foreign.asking import ForeignClients
from .rigs import Rig, RigError, fork_identity, running_rig


def pytest_configure() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does, so that fixtures stop what they started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """All real hubs, running. A test that stops a hub starts it again before it ends."""
    if state := os.environ.get("THALOVANT_RIG"):
        yield Rig.load(Path(state))
        return
    with contextlib.ExitStack() as stack:
        try:
            rig = stack.enter_context(running_rig())
        except RigError as error:
            unavailable(error)
        yield rig


def unavailable(error: Exception) -> NoReturn:
    """End the test: as a failure in CI, where everything has to run, else as a skip."""
    if os.environ.get("CI"):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def foreign() -> ForeignClients:
    """The clients that others published, each in an environment of its own."""
    try:
        return ForeignClients.installed()
    except RigError as error:
        unavailable(error)


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The broker's program."""
    try:
        return mosquitto_program()
    except RigError as error:
        unavailable(error)


@pytest.fixture
def broker(mosquitto: str, tmp_path: Path) -> Iterator[Broker]:
    """A broker that nobody has started yet; ended with the test."""
    broker = Broker(mosquitto, tmp_path / "broker")
    yield broker
    broker.stop(signal.SIGKILL)


@pytest.fixture
def forked(tmp_path: Path) -> Callable[..., Path]:
    """Writes a changed copy of an identity file: `forked(hub.identity(), password="wrong")`."""
    return lambda identity, **changes: fork_identity(identity, tmp_path, **changes)
