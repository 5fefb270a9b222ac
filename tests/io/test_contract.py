"""The machines of the core are what drivers take, and drivers know nothing else of them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import thalovant_io
from thalovant_io._endpoint import ClientStack, HubPeer
from thalovant_proto.client import stack
from thalovant_proto.hub import peer

FOLDER = Path(thalovant_io.__file__).parent


@pytest.mark.parametrize(("wanted", "real"), [(ClientStack, stack.ClientStack), (HubPeer, peer.HubPeer)])
def test_the_cores_machines_are_what_drivers_take(wanted: type, real: type) -> None:
    """Every method has the same parameters, every property is one."""
    names = [name for name in dir(wanted) if not name.startswith("_")]
    assert len(names) >= 9
    for name in names:
        ours, theirs = getattr(wanted, name), getattr(real, name)
        if isinstance(ours, property):
            assert isinstance(theirs, property), name
        else:
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name


@pytest.mark.parametrize("name", ["asyncio_driver", "asyncio_listener", "trio_driver", "blocking_driver"])
def test_drivers_are_thin(name: str) -> None:
    """At most 150 lines each."""
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_drivers_know_nothing_of_the_protocol(path: Path) -> None:
    """Of the core they import only what the contract names."""
    allowed = {"carrier", "dial", "crypto.kdf", "secret", "client.stack"}
    if path.stem == "http_client":  # no driver: it speaks HTTP itself
        allowed |= {"limits", "links.endpoint", "links.https.stream"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("thalovant_proto"):
            assert (node.module or "").removeprefix("thalovant_proto.") in allowed


@pytest.mark.parametrize("module", ["tls", "dialer", "_endpoint", "_sockets", "derivation", "_threads"])
def test_shared_parts_belong_to_no_event_loop(module: str) -> None:
    """Neither asyncio nor trio is imported by what all drivers share."""
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {"asyncio", "trio", "selectors"}
