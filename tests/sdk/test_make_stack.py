"""`make_stack`: what it refuses before anything is dialed, and what its options do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest

from thalovant import HubProtocol, ThalovantIdentity, ThalovantIdentityError, ThalovantUnsupportedProtocolError
from thalovant.embedding import make_stack
from thalovant_io.blocking_driver import BlockingDriver
from thalovant_proto import Connected, FailureKind, Secret, SessionState, Trust

from .identities import FULL, PLAIN
from .lab import Lab

TRUST = Trust(static_key=Secret(b"\7" * 32))
PLAIN_ENDPOINTS = {"wss": "ws://hub.example", "https": "http://hub.example", "mqtt": "mqtt://broker.example"}


def test_the_best_protocol_is_the_default() -> None:
    """As for clients: WSS where the identity has it."""
    stack = make_stack(ThalovantIdentity.from_mapping(FULL), trust=TRUST)
    stack.open(0.0)

    assert "hub.example" in str(stack.step())
    assert stack.state is SessionState.CONNECTING


@pytest.mark.parametrize("protocol", PLAIN_ENDPOINTS)
def test_plain_endpoints_are_refused(protocol: HubProtocol) -> None:
    """Off this machine, unless they are allowed."""
    identity = ThalovantIdentity.from_mapping(
        {**FULL, "data_plane_endpoints": PLAIN_ENDPOINTS, "mqtt": {**FULL["mqtt"], "tls": False}}
    )
    with pytest.raises(ThalovantIdentityError, match="not encrypted"):
        make_stack(identity, protocol, trust=TRUST)

    assert make_stack(identity, protocol, trust=TRUST, allow_insecure=True).state is SessionState.IDLE


def test_what_cannot_work_is_refused() -> None:
    """A protocol that the identity lacks, and times that are none."""
    identity = ThalovantIdentity.from_mapping(PLAIN)
    with pytest.raises(ThalovantUnsupportedProtocolError):
        make_stack(identity, "mqtt", trust=TRUST)
    with pytest.raises(ValueError, match="handshake_timeout"):
        make_stack(identity, trust=TRUST, handshake_timeout=0)
    with pytest.raises(ValueError, match="retry"):
        make_stack(identity, trust=TRUST, retry="sometimes")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"verified": False}, {"verified": False, "allow_legacy": True}])
def test_legacy_handshakes_need_a_verified_carrier(labs: Callable[[int], Lab], options: dict[str, bool]) -> None:
    """Who does not check certificates says so, and then tells an older hub nothing unless it is allowed."""
    identity = replace(labs(1).identity(), source_path=None)
    context = ssl.create_default_context(cafile=identity.ca_file)
    if not options.get("verified", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    stack = make_stack(identity, "wss", trust=TRUST, **options)
    ups: list[Connected] = []

    def take(outcome: object) -> None:
        if isinstance(outcome, Connected):
            ups.append(outcome)
            stack.close(driver.now)

    driver = BlockingDriver(stack, on_outcome=take, tls=context)
    stack.open(driver.now)
    driver.run()

    allowed = options.get("verified", True) or "allow_legacy" in options
    assert bool(ups) is allowed
    assert (stack.failure is not None and stack.failure.kind is FailureKind.DOWNGRADE) is not allowed
