"""A table of hostile TLS servers: every driver refuses each, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.io.hostile import HOSTILE
from tests.io.pki import Pki
from tests.io.running import DRIVERS, Running, Server, assert_says_it_once
from tests.io.stacks import Failed, FrameClient
from thalovant_io.dialer import Timeouts
from thalovant_io.tls import default_context
from thalovant_proto.carrier import Target


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_servers_are_refused_in_words(driver: str, name: str, pki: Pki) -> None:
    """The fault is the right one; the message is one line and names host, port and cause."""
    hostile = HOSTILE[name]
    patience = 0.05 if "silent" in name else 30.0
    with Server(hostile.make(pki)) as server:
        stack = FrameClient(Target(host=hostile.host, port=server.port, tls=True))
        options: dict[str, Any] = {
            "tls": lambda: default_context(pki.ca_file),
            "timeouts": Timeouts(tls=patience, linger=0.1),
        }
        with Running(driver, stack, **options) as running:
            failure = running.expect(Failed).failure
            running.join()

    assert running.no_more()
    assert running.error is None
    assert (failure.phase, failure.fault) == ("tls", hostile.fault), failure
    assert hostile.words in failure.message
    assert f"{hostile.host}:{server.port}" in failure.message
    assert_says_it_once(failure)
