"""The core as a package: pure in its source and in what importing it loads, every public name where it belongs."""

from __future__ import annotations

import ast
import enum
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import thalovant_proto
from tests.proto.pair import client_side
from tests.signatures import hidden, scope
from thalovant_proto import ClientLink, Link, Secret, WssServerLink

ROOT = Path(thalovant_proto.__file__).parent
IMPURE = {
    "asyncio", "concurrent", "contextvars", "datetime", "http", "io", "logging", "multiprocessing", "os", "pathlib",
    "queue", "random", "secrets", "select", "selectors", "signal", "socket", "socketserver", "ssl", "subprocess",
    "tempfile", "threading", "time", "urllib", "uuid", "warnings", "amqtt", "anyio", "trio",
}  # fmt: skip
IO = {"asyncio", "socket", "ssl", "select", "selectors", "logging"}


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_imports_io_clock_randomness_thread_or_log(file):
    """Purity is read off the source, imports inside functions included."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module.partition(".")[0])

    assert not imported & IMPURE


def test_importing_the_core_with_its_links_loads_no_io():
    """A bare interpreter: no socket, TLS, event loop or log comes with the stacks and the WSS, HTTPS and MQTT links."""
    code = (
        "import json, sys, thalovant_proto as p; "
        "p.ClientStack, p.HubPeer, p.WssClientLink, p.WssServerLink, p.HttpsClientLink, p.HttpsServerHub, "
        "p.MqttClientLink, p.MqttHubGateway; print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert not IO & set(json.loads(done.stdout))


@pytest.mark.parametrize("name", thalovant_proto.__all__)
def test_public_name_is_there(name):
    """Every promised name can be had from the package, documented, and is found by dir()."""
    found = getattr(thalovant_proto, name)

    assert found is getattr(thalovant_proto, name)
    assert name in dir(thalovant_proto)


#: Their constructors are for those who make them: the listener's hub, the gateway.
MADE_FOR_EMBEDDERS = (thalovant_proto.HttpsServerConnection, thalovant_proto.HttpsSession, thalovant_proto.MqttPeerLink)


def test_types_in_public_signatures_are_public():
    """Whoever annotates what a public function takes or gives finds the name in the package."""
    public = [getattr(thalovant_proto, name) for name in thalovant_proto.__all__]

    assert hidden(public, made=MADE_FOR_EMBEDDERS) == {}


def test_unknown_names_are_refused():
    """A wrong name is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="Telepathy"):
        thalovant_proto.Telepathy  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names():
    """The imports for type checkers and the table of lazy names agree, modules included."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    seen = {
        (name.asname, node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in node.names
    }

    assert seen == set(thalovant_proto._HOME.items())


#: An argument for each annotation, where no class says how to make one; a URL for each class that wants one.
SAMPLES: dict[str, object] = {
    "str": "text",
    "int": 1,
    "float": 0.0,
    "bool": True,
    "bytes": b"",
    "Exception": Exception("fault"),
    "Json": {},
    "T": "any",
    "int | None": None,
    "Secret[str]": Secret("key"),
    "Secret[bytes]": Secret(bytes(32)),
    "Entropy": bytes,
    "Delivery": "no",
    "tuple[e.Bus, ...]": (),
    "Link": WssServerLink(secure=True),
    "ClientSide | HubSide": client_side(),
    "Literal['dns', 'connect', 'tls']": "dns",
}
URLS = {"HttpsClientLink": "https://hub", "MqttClientLink": "mqtts://hub", "MqttHubGateway": "mqtt://hub"}
CONSTRUCTED = [
    found
    for found in (getattr(thalovant_proto, name) for name in thalovant_proto.__all__)
    if isinstance(found, type)
    and not issubclass(found, enum.Enum | BaseException)
    and found not in (*MADE_FOR_EMBEDDERS, Link, ClientLink)
]


@pytest.mark.parametrize("cls", CONSTRUCTED)
def test_default_arguments_do_not_raise(cls):
    """Every public class can be made of what it requires alone."""
    assert isinstance(made(cls), cls)


def made(cls: type) -> Any:
    arguments = inspect.signature(cls).parameters.values()
    values = [
        (argument, URLS.get(cls.__name__, "wss://hub") if argument.name == "url" else sample(argument.annotation, cls))
        for argument in arguments
        if argument.default is argument.empty and argument.kind is not argument.VAR_POSITIONAL
    ]
    return cls(
        *(value for argument, value in values if argument.kind is not argument.KEYWORD_ONLY),
        **{argument.name: value for argument, value in values if argument.kind is argument.KEYWORD_ONLY},
    )


def sample(annotation: str, cls: type) -> object:
    if annotation in SAMPLES:
        return SAMPLES[annotation]
    if annotation.startswith("Callable"):
        return lambda *arguments: None
    kind = eval(annotation, scope(cls.__module__))
    return next(iter(kind)) if issubclass(kind, enum.Enum) else made(kind)
