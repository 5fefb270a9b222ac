"""Every driver runs the same stacks over real sockets, with the same result."""

from __future__ import annotations

import pytest

from tests.io.pki import Pki
from tests.io.running import DRIVERS, Running, Server, echo
from tests.io.stacks import Ended, FrameClient, Heard, Opened

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


@pytest.mark.parametrize("tls", [False, True])
def test_frames_travel_both_ways(driver: str, tls: bool, pki: Pki) -> None:
    """What the stack sends arrives, what arrives is told, over TCP and TLS."""
    with Server(echo, tls=pki.server() if tls else None) as server:
        stack = FrameClient(server.target)
        with Running(driver, stack, tls=pki.client()) as running:
            assert Opened(1) == running.expect(Opened)
            for size in (0, 1, 1000, 100_000):
                running.call(stack.send, bytes(size))
                assert Heard(bytes(size)) == running.expect(Heard)
            running.call(stack.stop)
            running.join()
        assert running.no_more()
        assert running.error is None
