"""Hubs for all tests of clients: one for each wire generation, started when the first test needs it."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loops import each_loop  # noqa: F401 - a fixture

from . import control_lab
from .command import bare, good, run, values, write  # noqa: F401 - fixtures
from .lab import GENERATIONS, PATIENCE, Lab, lab
from .transports import fake  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def labs() -> Iterator[Callable[[int], Lab]]:
    """The hub of a generation. Tests that stop it or spoil it take one of their own."""
    with contextlib.ExitStack() as exits:
        running: dict[int, Lab] = {}

        def of(generation: int) -> Lab:
            if generation not in running:
                running[generation] = exits.enter_context(lab(generation))
            return running[generation]

        yield of


@pytest.fixture(params=GENERATIONS, ids=lambda generation: f"v{generation}")
def each(request: pytest.FixtureRequest, labs: Callable[[int], Lab]) -> Lab:
    """The hub of each generation, one after the other."""
    return labs(request.param)


@pytest.fixture
def v3(labs: Callable[[int], Lab]) -> Lab:
    """The hub of the present generation, for what does not depend on it."""
    return labs(3)


@pytest.fixture
def own() -> Iterator[Lab]:
    """A hub of this test's own."""
    with lab() as made:
        yield made


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No test leaves a thread of a client, or anything that the garbage collector complains about."""
    yield
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith(("thalovant-client", "thalovant-handlers")):
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread} is left"


@pytest.fixture(params=["sync", "async"])
def asking(request: pytest.FixtureRequest) -> Iterator[control_lab.Ask]:
    """An API that answers as it is told, and a plane of each kind that asks it."""
    with contextlib.ExitStack() as stack:

        def ask(*replies: Any, path: str = "", **options: Any) -> tuple[control_lab.Api, control_lab.Caller]:
            api = stack.enter_context(control_lab.serving(control_lab.Api(*replies)))
            caller = control_lab.Caller(request.param, api.url + path, **options)
            stack.callback(caller.close)
            return api, caller

        yield ask
