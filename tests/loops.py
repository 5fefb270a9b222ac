"""The event loops that asyncio has here: its own, and uvloop where it is installed."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator

import pytest

try:
    import uvloop
except ImportError:
    UVLOOP: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    UVLOOP = uvloop.new_event_loop
    UVLOOP().close()  # the first one opens files that stay for the whole process; tests count files

LOOPS = (
    pytest.param("asyncio"),
    pytest.param("uvloop", marks=pytest.mark.skipif(UVLOOP is None, reason="uvloop has no wheel for this Python")),
)


@pytest.fixture(params=LOOPS)
def each_loop(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every loop that asyncio makes during the test is of this kind."""
    if request.param == "uvloop":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield request.param
    asyncio.set_event_loop_policy(None)


class _Skipping(selectors.DefaultSelector):
    """Skips the time in which nothing would happen."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.passed += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for coroutines without sockets and threads: waiting for a time takes none."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed
