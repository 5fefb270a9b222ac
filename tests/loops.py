"""The event loops that asyncio has here: its own, and uvloop where it is installed."""

from __future__ import annotations

import asyncio
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
