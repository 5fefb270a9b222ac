"""For all tests: how much hypothesis tries, what coverage measures, and the cost of a run."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import time
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from tests.examples import THOROUGHNESS

# A busy machine is no fault of the code, and speed has benchmarks: hypothesis measures no time.
settings.register_profile(
    "timeless",
    deadline=None,
    max_examples=100 * THOROUGHNESS,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("timeless")

STARTED = time.monotonic()
PATIENCE = 30.0

# A shell starts what runs in the background with Ctrl-C ignored, and every process of a test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_config_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Clients keep in the user's folder where the keys of identity files are; those of tests are no concern of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let coverage see only what has to cover the core by itself: what is traced takes two to three times as long."""
    traced = "tests/proto" in item.path.as_posix() and item.get_closest_marker("untraced") is None
    stopped: list[Coverage] = []
    while not traced and (coverage := Coverage.current()) is not None:  # a worker of xdist has two, of which one rests
        coverage.stop()
        stopped.append(coverage)
    try:
        return (yield)
    finally:
        for coverage in reversed(stopped):
            coverage.start()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on a loop of its own, within its fixtures that are async contexts; no task may be left."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None

    async def run() -> None:
        async with AsyncExitStack() as exits, asyncio.timeout(PATIENCE):
            arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
            for name, value in arguments.items():
                if isinstance(value, AbstractAsyncContextManager):
                    arguments[name] = await exits.enter_async_context(value)
            await test(**arguments)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    if "tests/sdk" in pyfuncitem.path.as_posix():  # where nothing may be left for the garbage collector either
        gc.collect()
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the cost: workers and whatever else was started and has ended are counted."""
    terminalreporter.write_line(f"{time.monotonic() - STARTED:.0f} s by the clock, {sum(os.times()[:4]):.0f} s of CPU")
