"""Objects as a notebook or a debugger shows them: one line each, no secret; and short tracebacks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import thalovant
from thalovant import (
    AsyncThalovantClient,
    HubDataPlaneEndpoints,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantError,
    ThalovantEvent,
    ThalovantIdentity,
    ThalovantIdentityError,
    ThalovantReply,
)
from thalovant.hub import Hub

from .lab import Lab, free_port
from .test_render import HOSTILE, forbidden

IDENTITY = ThalovantIdentity("AK-secret", "PW-secret", "https://user:PW-secret@hub.example/path?token=secret", "s")


@pytest.mark.parametrize("kind", [ThalovantClient, AsyncThalovantClient])
@pytest.mark.parametrize(
    ("endpoints", "where"),
    [
        ({"wss": "wss://hub.example/?secret"}, "WSS hub.example:443"),
        ({"wss": "wss://[2001:db8::1]:5678"}, "WSS [2001:db8::1]:5678"),
        ({"https": "https://hub.example:5679/secret"}, "HTTPS hub.example:5679"),
    ],
)
def test_client(tmp_path: Path, kind: Any, endpoints: dict[str, str], where: str) -> None:
    """Transport, host and state; its conversations have these too."""
    (protocol,) = endpoints
    identity = replace(IDENTITY, data_plane_endpoints=HubDataPlaneEndpoints(**endpoints))
    client = kind(identity, noise_state_dir=tmp_path, protocol=protocol)
    conversation = client.conversation(session_id="S-1", lang="de-de")

    assert repr(client) == f"<{kind.__name__} {where} idle>"
    name = kind.__name__.replace("Client", "Conversation")
    assert repr(conversation) == f"<{name} 'S-1' 'de-de' of {client!r}>"


def test_what_is_connected(v3: Lab) -> None:
    """State, subscriptions and the hub, as they are at the moment."""
    with v3.client(protocol="wss") as client:
        port = v3.identity().endpoint_for("wss")
        subscription = client.on("speak", lambda event: None)
        shown = [repr(one) for one in (client, subscription, subscription._subscription, v3.hub)]
        subscription.close()

    assert shown[0] == f"<ThalovantClient {str(port).replace('wss://', 'WSS ')} ready>"
    assert shown[1:3] == ["<ThalovantSubscription 'speak' open>", "<AsyncThalovantSubscription 'speak' open>"]
    assert shown[3].startswith("<LocalHub <Hub wss://127.0.0.1:")
    assert repr(subscription) == "<ThalovantSubscription 'speak' closed>"
    assert repr(client).endswith(" closed>")
    assert repr(Hub()) == "<Hub stopped>"


def reply(data: dict[str, Any], **options: Any) -> ThalovantReply:
    return ThalovantReply.from_events([ThalovantEvent("speak", data, {"token": "secret"})], **options)


@pytest.mark.parametrize(
    ("data", "options", "shown"),
    [
        ({"utterance": "Hi\nyou"}, {"handled": True}, "<ThalovantReply 'Hi you' ok>"),
        ({"utterance": "x" * 201}, {}, f"<ThalovantReply '{'x' * 200}…' unfinished>"),
        ({"text": "", "table": [1], "images": ["a", "b"]}, {"handled": True}, "<ThalovantReply '' ok, table, image>"),
        ({}, {"failure_event": ThalovantEvent("no.way")}, "<ThalovantReply '' failed: 'no.way'>"),
    ],
)
def test_reply(data: dict[str, Any], options: dict[str, Any], shown: str) -> None:
    """Its text, how it ended, and what else there is to see."""
    assert repr(reply(data, **options)) == shown


def test_hostile_reply() -> None:
    """One line, whatever is said."""
    shown = repr(reply({"utterance": HOSTILE}, failure_event=ThalovantEvent(HOSTILE)))

    assert forbidden(shown) == []


def test_reply_in_a_notebook() -> None:
    """Markdown, of which none is the hub's."""
    shown = reply({"utterance": "*Hi* <b>", "table": {"columns": ["a"], "rows": [["|"]]}, "buttons": ["Yes"]})

    assert shown._repr_markdown_() == "\\*Hi\\*\n\n| a |\n| --- |\n| &#124; |\n\n1. Yes"
    assert ThalovantReply("")._repr_markdown_() == "(nothing was said)"


def own_frames(error: BaseException) -> int:
    """Frames of ours in what Python prints about an error."""
    folder = str(Path(thalovant.__file__).parent)
    printed = "".join(traceback.format_exception(error))
    return printed.count(f'File "{folder}')


@pytest.fixture
def absent(v3: Lab, tmp_path: Path) -> Iterator[ThalovantClient]:
    """A client of a hub that is not there."""
    endpoints = HubDataPlaneEndpoints(wss=f"wss://127.0.0.1:{free_port()}")
    client = ThalovantClient(
        replace(v3.identity(), data_plane_endpoints=endpoints), noise_state_dir=tmp_path, protocol="wss"
    )
    yield client
    client.close(timeout=0)


def _enter(client: ThalovantClient) -> None:
    with client:
        pass


@pytest.mark.parametrize(
    ("mistake", "kind"),
    [
        (lambda absent, folder: ThalovantClient.from_identity_file(folder / "none"), ThalovantIdentityError),
        (lambda absent, folder: ThalovantIdentity.from_file(folder), ThalovantIdentityError),
        (lambda absent, folder: ThalovantIdentity.from_config(folder / "none"), ThalovantIdentityError),
        (lambda absent, folder: ThalovantClient(IDENTITY, protocol="mqtt"), ThalovantError),
        (lambda absent, folder: absent.connect(), ThalovantConnectionError),
        (lambda absent, folder: absent.ask("hi"), ThalovantConnectionError),
        (lambda absent, folder: absent.conversation().ask("hi"), ThalovantConnectionError),
        (lambda absent, folder: list(absent.stream("hi")), ThalovantConnectionError),
        (lambda absent, folder: _enter(absent), ThalovantConnectionError),
        (lambda absent, folder: absent.ask(" "), ValueError),
        (lambda absent, folder: absent.emit(" "), ValueError),
    ],
)
def test_short_traceback(
    absent: ThalovantClient,
    tmp_path: Path,
    mistake: Callable[[ThalovantClient, Path], object],
    kind: type[Exception],
) -> None:
    """The caller's line, and few of ours below it."""
    with pytest.raises(kind) as caught:
        mistake(absent, tmp_path)

    assert own_frames(caught.value) <= 5
