"""The package itself: cheap to import, every public name where it belongs."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import thalovant.hub
import thalovant.testing
import thalovant_proto
from tests.signatures import hidden

HEAVY = {"asyncio", "attr", "attrs", "cattrs", "click", "cryptography", "dataclasses", "h11", "socket", "ssl", "yaml"}


def _in_a_bare_interpreter(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_loads_nothing_heavy():
    """`import thalovant` takes a few milliseconds because it loads no library and no event loop."""
    loaded = json.loads(_in_a_bare_interpreter("import json, sys, thalovant; print(json.dumps(list(sys.modules)))"))

    assert "thalovant" in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"import thalovant.{name}" for name in ("errors", "events", "identity", "models", "protocols", "rich")),
        "import thalovant.context",
        "from thalovant import AsyncThalovantClient, ThalovantClient",
    ],
)
def test_what_talks_to_no_hub_loads_no_event_loop(statement):
    """Reading an identity or an event, or naming a client, needs no asyncio, TLS, or library of the protocol."""
    loaded = set(
        json.loads(_in_a_bare_interpreter(f"import json, sys; {statement}; print(json.dumps([*sys.modules]))"))
    )

    assert not (HEAVY - {"dataclasses"}) & loaded


@pytest.mark.parametrize("name", thalovant.__all__)
def test_public_name_is_there(name):
    """Every promised name can be had from the package, is found by dir(), and is one and the same each time."""
    assert getattr(thalovant, name) is getattr(thalovant, name)
    assert name in dir(thalovant)


def test_types_in_public_signatures_can_be_imported():
    """Of the package, its hub and its testing module: from a module without an underscore, or from the protocol."""
    paths = [
        module.name for module in pkgutil.walk_packages(thalovant.__path__, "thalovant.") if "._" not in module.name
    ]
    homes = [thalovant_proto, *map(importlib.import_module, paths)]
    importable = [
        value
        for home in homes
        for name, value in vars(home).items()
        if not name.startswith("_") and "._" not in getattr(value, "__module__", "")
    ]
    importable += [getattr(thalovant_proto, name) for name in thalovant_proto.__all__]
    public = [getattr(thalovant, name) for name in thalovant.__all__]
    public += [getattr(thalovant.hub, name) for name in thalovant.hub.__all__]
    public += [thalovant.testing.hub, thalovant.testing.LocalHub]

    assert hidden(public, importable) == {}


def test_type_checkers_see_the_same_names():
    """The imports for type checkers and the table of lazy names agree, modules included."""
    tree = ast.parse(Path(thalovant.__file__).read_text())
    seen = {
        (name.asname, node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in node.names
        if name.asname
    }

    assert seen == set(thalovant._HOME.items())


def test_unknown_name():
    """A typo is an AttributeError that says so, as with any module."""
    with pytest.raises(AttributeError, match="module 'thalovant' has no attribute 'ThalovantCleint'"):
        thalovant.ThalovantCleint


def test_import_of_a_name():
    """`from thalovant import X` works for lazy names, in a bare interpreter too."""
    assert _in_a_bare_interpreter("from thalovant import EVENT_SPEAK; print(EVENT_SPEAK)") == "speak\n"
