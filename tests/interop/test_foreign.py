"""The published clients against the real hubs: a failure of one of them at our own hub is then not the driver's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .foreign.asking import ForeignClients, Protocol
from .foreign.venvs import ClientName
from .rigs import HubName, Rig


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A device of its own for every test."""
    return tmp_path / "device"


@pytest.mark.parametrize(
    ("client", "hub", "protocols"),
    [
        ("bus-0.4.4", "legacy", ("wss", "https")),
        ("bus-1.2.12", "noise", ("wss", "https")),
        ("sdk-0.4.29", "dual", ("wss",)),
        ("sdk-0.9.7", "noise", ("wss", "https", "mqtt")),
    ],
)
def test_each_client_is_answered_on_its_protocols(
    rig: Rig, foreign: ForeignClients, home: Path, client: ClientName, hub: HubName, protocols: tuple[Protocol, ...]
) -> None:
    """One device asks on one protocol after the other, as it would after a change of its settings."""
    rig.unpin(hub, "second")

    for protocol in protocols:
        answer = foreign.ask(client, rig.hubs[hub].identity("second"), protocol, "say 2 hello", ca=rig.ca, home=home)

        assert (answer.ok, answer.replies, answer.error) == (True, ["1 hello", "2 hello"], None), protocol


@pytest.mark.parametrize("client", ["bus-1.2.12", "sdk-0.9.7"])
def test_a_denied_utterance_is_reported(rig: Rig, foreign: ForeignClients, home: Path, client: ClientName) -> None:
    """The driver tells a refusal by policy from silence."""
    rig.unpin("noise", "limited")

    answer = foreign.ask(client, rig.hubs["noise"].identity("limited"), "wss", "hello", ca=rig.ca, home=home)

    assert (answer.ok, answer.replies) == (False, [])
    assert "not in allowed_types" in str(answer.error)


def test_a_wrong_password_is_reported(
    rig: Rig, foreign: ForeignClients, home: Path, forked: Callable[..., Path]
) -> None:
    """The driver tells a client that never got in from one that was not answered."""
    rig.unpin("noise", "second")
    identity = forked(rig.hubs["noise"].identity("second"), password="not the password of anybody")

    answer = foreign.ask("sdk-0.9.7", identity, "wss", "hello", ca=rig.ca, home=home)

    assert (answer.ok, answer.replies) == (False, [])
    assert "HubRefused" in str(answer.error)
